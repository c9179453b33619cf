//! Where a certificate stops to be what RFC 5280 §4.1 has.

use std::fmt;

use webpki::Error as E;
use x509_parser::asn1_rs::{Any, FromDer};

use super::quoted::leaf;
use super::rejection::Rejection;

/// The fields of `TBSCertificate` after its version.
const FIELDS: [&str; 6] = [
    "serial number",
    "signature algorithm",
    "issuer",
    "validity",
    "subject",
    "public key",
];

const SEQUENCE: u32 = 16;

/// The first place at which the structure of a certificate breaks.
#[derive(Debug, PartialEq, Eq)]
struct Fault {
    field: String,
    /// From the certificate's first byte.
    offset: usize,
}

/// One level of a certificate.
struct Level<'a> {
    whole: &'a [u8],
    rest: &'a [u8],
}

/// Of a certificate that cannot be used, for a reason that has no words of its own.
pub(super) fn malformed_words(rejection: &Rejection, error: &dyn fmt::Display) -> String {
    let faults = rejection.chain.iter().enumerate();
    let fault = faults
        .map(|(at, der)| (at, fault(der)))
        .find_map(|(at, fault)| fault.map(|fault| (at, fault)));
    match fault {
        Some((0, Fault { field, offset })) => {
            format!("the client's certificate is malformed: its {field}, at byte {offset}")
        }
        Some((at, Fault { field, offset })) => format!(
            "certificate {at} of those that the client sent with its own is malformed: its {field}, at \
             byte {offset}"
        ),
        None => format!("{} cannot be used: {error}", leaf(rejection)),
    }
}

/// What is wrong with a certificate of which each field can be read.
pub(super) fn unusable(error: &E) -> &'static str {
    match error {
        E::BadDer => "a value in it, or in a CA above it, is not what DER allows there",
        E::BadDerTime => "a time in it, or in a CA above it, is none of RFC 5280 §4.1.2.5",
        E::ExtensionValueInvalid | E::MalformedExtensions => {
            "an extension of it, or of a CA above it, has another value than RFC 5280 §4.2 allows, or stands there twice"
        }
        E::InvalidCertValidity => "its validity, or that of a CA above it, ends before it begins",
        E::InvalidNetworkMaskConstraint | E::MalformedNameConstraint => {
            "a name constraint of a CA above it is none of RFC 5280 §4.2.1.10"
        }
        E::InvalidSerialNumber => {
            "its serial number, or that of a CA above it, is none of RFC 5280 §4.1.2.2"
        }
        E::MalformedDnsIdentifier | E::UnsupportedNameType => {
            "a name in it has a form that cannot be checked against the name constraints of a CA above it"
        }
        E::SignatureAlgorithmMismatch => {
            "it, or a CA above it, names one algorithm in the part that is signed and another beside its signature"
        }
        E::TrailingData(_) => "something follows a value in it, or in a CA above it",
        _ => "it, or a CA above it, is not as RFC 5280 has it",
    }
}

fn fault(der: &[u8]) -> Option<Fault> {
    certificate(der).err()
}

fn certificate(der: &[u8]) -> Result<(), Fault> {
    let mut outer = Level {
        whole: der,
        rest: der,
    };
    let mut fields = outer.sequence("outer frame")?;
    outer.end("end: bytes follow the certificate")?;
    let mut signed = fields.sequence("signed part")?;
    fields.sequence("signature algorithm")?;
    fields.value("signature")?;
    fields.end("end: something follows the signature")?;
    if signed.next_is(0) {
        signed.value("version")?;
    }
    for field in FIELDS {
        match field {
            "serial number" => signed.value(field).map(|_| ())?,
            _ => signed.sequence(field).map(|_| ())?,
        }
    }
    // Unique identifiers of the issuer and the subject.
    for number in [1, 2] {
        if signed.next_is(number) {
            signed.value("unique identifier")?;
        }
    }
    if signed.next_is(3) {
        let mut tagged = signed.value("extensions")?;
        let mut extensions = tagged.sequence("extensions")?;
        while !extensions.rest.is_empty() {
            let mut extension = extensions.sequence("extensions")?;
            extension.extension()?;
        }
    }
    signed.end("end: something follows the last field")
}

impl<'a> Level<'a> {
    fn offset(&self) -> usize {
        self.rest.as_ptr().addr() - self.whole.as_ptr().addr()
    }

    fn fault(&self, field: &str) -> Fault {
        Fault {
            field: field.to_owned(),
            offset: self.offset(),
        }
    }

    fn any(&mut self, field: &str) -> Result<Any<'a>, Fault> {
        let (rest, any) = Any::from_der(self.rest).map_err(|_| self.fault(field))?;
        self.rest = rest;
        Ok(any)
    }

    /// The inside of the next value.
    fn value(&mut self, field: &str) -> Result<Self, Fault> {
        let any = self.any(field)?;
        Ok(Self {
            whole: self.whole,
            rest: any.data,
        })
    }

    fn sequence(&mut self, field: &str) -> Result<Self, Fault> {
        let fault = self.fault(field);
        let any = self.any(field)?;
        if any.tag().0 != SEQUENCE {
            return Err(fault);
        }
        Ok(Self {
            whole: self.whole,
            rest: any.data,
        })
    }

    /// Whether a field with this tag of its own comes next.
    fn next_is(&self, number: u8) -> bool {
        self.rest
            .first()
            .is_some_and(|tag| tag & 0xc0 == 0x80 && tag & 0x1f == number)
    }

    fn end(&self, field: &str) -> Result<(), Fault> {
        if self.rest.is_empty() {
            return Ok(());
        }
        Err(self.fault(field))
    }

    /// One extension, whose value is DER again.
    fn extension(&mut self) -> Result<(), Fault> {
        let oid = self.any("extensions")?;
        let name = match oid.oid() {
            Ok(oid) => format!("extension {oid}"),
            Err(_) => return Err(self.fault("extensions")),
        };
        if self.rest.first() == Some(&0x01) {
            self.value(&name)?;
        }
        let mut content = self.value(&name)?;
        self.end(&name)?;
        // An extension of another arc is opaque, and its content need be no DER.
        if !name.starts_with("extension 2.5.29.") {
            return Ok(());
        }
        content.deep(&name)?;
        content.end(&name)
    }

    /// All of a value, with what is inside it.
    fn deep(&mut self, field: &str) -> Result<(), Fault> {
        let mut levels = vec![(self.rest, 0)];
        while let Some((mut rest, depth)) = levels.pop() {
            while !rest.is_empty() {
                let level = Level {
                    whole: self.whole,
                    rest,
                };
                let (after, any) = Any::from_der(rest).map_err(|_| level.fault(field))?;
                // No extension is deeper.
                if any.header.is_constructed() && depth < 16 {
                    levels.push((any.data, depth + 1));
                }
                rest = after;
                if depth == 0 {
                    self.rest = after;
                    break;
                }
            }
        }
        Ok(())
    }
}
