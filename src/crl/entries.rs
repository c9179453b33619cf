use super::der::{self, Malformed, Reader, Value};
use super::{CrlError, RevocationReason};

/// What a CRL says of one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// When it was revoked, in seconds after 1970.
    pub(super) date: u64,
    /// Why.
    pub(super) reason: RevocationReason,
}

/// Reads `revokedCertificates` (RFC 5280 §5.1.2.6) one after another.
///
/// A list of a million entries is read three times to be indexed, so that the usual form of an entry
/// has a path of its own: a short SEQUENCE of a serial number, a `UTCTime` and at most a reason.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entries<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// One entry, whole.
#[derive(Clone, Copy, Debug)]
pub(super) struct Revoked<'a> {
    /// The content of the INTEGER.
    pub(super) serial: &'a [u8],
    pub(super) entry: Entry,
    /// The DER of its date.
    pub(super) time: &'a [u8],
    /// `certificateIssuer` (RFC 5280 §5.3.3), the DER of its directory name.
    pub(super) issuer: Option<&'a [u8]>,
}

/// `SEQUENCE { SEQUENCE { OID reasonCode, OCTET STRING { ENUMERATED { … } } } }` up to the reason.
const REASON: [u8; 13] = [
    0x30, 0x0c, 0x30, 0x0a, 0x06, 0x03, 0x55, 0x1d, 0x15, 0x04, 0x03, 0x0a, 0x01,
];

/// No list and no entry has more extensions.
const MOST_EXTENSIONS: usize = 32;

/// Tag and length of a `UTCTime` as RFC 5280 has it, and its digits with the `Z`.
const UTC_TIME: [u8; 2] = [der::UTC_TIME, 13];

impl<'a> Entries<'a> {
    /// Of the content of the SEQUENCE.
    pub(super) fn new(content: &'a [u8]) -> Self {
        Self {
            bytes: content,
            at: 0,
        }
    }

    /// The serial number of the next entry, whose other fields are not looked at.
    #[inline]
    pub(super) fn skim(&mut self) -> Option<Result<&'a [u8], CrlError>> {
        let rest = &self.bytes[self.at..];
        if let [
            der::SEQUENCE,
            length @ ..=0x7f,
            der::INTEGER,
            serial @ ..=0x7f,
            ..,
        ] = *rest
        {
            let (length, serial) = (usize::from(length), usize::from(serial));
            if serial + 2 <= length && length + 2 <= rest.len() {
                self.at += length + 2;
                return Some(Ok(&rest[4..4 + serial]));
            }
        }
        if rest.is_empty() {
            return None;
        }
        let before = self.at;
        let serial = self.slowly().map(|(serial, _)| serial);
        Some(serial.map_err(|error| error.after(before).into()))
    }

    /// The next entry, checked.
    #[inline]
    pub(super) fn read(&mut self) -> Option<Result<Revoked<'a>, CrlError>> {
        let rest = &self.bytes[self.at..];
        if let Some((length, revoked)) = usual(rest) {
            self.at += length;
            return Some(Ok(revoked));
        }
        if rest.is_empty() {
            return None;
        }
        let before = self.at;
        Some(self.read_slowly().map_err(|error| error.after(before)))
    }

    /// How many bytes were read.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// The serial number of the next entry and what follows it. Errors are by where the entry begins.
    fn slowly(&mut self) -> Result<(&'a [u8], Reader<'a>), Malformed> {
        let rest = &self.bytes[self.at..];
        let entry = Reader::new(rest)
            .at("revokedCertificates")
            .expect(der::SEQUENCE)?;
        self.at += entry.encoded.len();
        let mut fields = entry.reader();
        let serial = fields.at("userCertificate").expect(der::INTEGER)?;
        if serial.content.is_empty() {
            return Err(serial.wrong());
        }
        Ok((serial.content, fields))
    }

    #[cold]
    fn read_slowly(&mut self) -> Result<Revoked<'a>, CrlError> {
        let (serial, mut fields) = self.slowly()?;
        let time = fields.at("revocationDate").any()?;
        let date = time.time()?;
        let mut reason = RevocationReason::Unspecified;
        let mut issuer = None;
        if let Some(extensions) = fields.at("crlEntryExtensions").optional(der::SEQUENCE)? {
            each_extension(extensions, |extension| {
                match extension.id_ce() {
                    Some(id_ce::REASON_CODE) => {
                        let mut value = extension.value.reader();
                        let code = value.at("reasonCode").expect(der::ENUMERATED)?;
                        reason = RevocationReason::from_code(code.content)
                            .ok_or_else(|| code.wrong())?;
                    }
                    Some(id_ce::CERTIFICATE_ISSUER) => {
                        issuer = Some(directory_name(extension.value.reader())?);
                    }
                    Some(id_ce::INVALIDITY_DATE) => {}
                    _ if extension.critical => return Err(extension.unknown()),
                    _ => {}
                }
                Ok(())
            })?;
        }
        fields.finish()?;
        Ok(Revoked {
            serial,
            entry: Entry { date, reason },
            time: time.encoded,
            issuer,
        })
    }
}

impl Revoked<'_> {
    /// Writes the entry with another serial number and without its issuer, of the usual form if it can
    /// be.
    pub(super) fn write_as(&self, serial: &[u8], to: &mut Vec<u8>) {
        let reason = match self.entry.reason {
            RevocationReason::Unspecified => None,
            reason => Some(reason.code()),
        };
        let length = 2 + serial.len() + self.time.len() + reason.map_or(0, |_| REASON.len() + 1);
        let write = |to: &mut Vec<u8>, of_serial: &[u8]| {
            to.extend_from_slice(of_serial);
            to.extend_from_slice(serial);
            to.extend_from_slice(self.time);
            if let Some(code) = reason {
                to.extend_from_slice(&REASON);
                to.push(code);
            }
        };
        if let (Ok(length @ ..=0x7f), Ok(of_serial)) =
            (u8::try_from(length), u8::try_from(serial.len()))
        {
            to.extend_from_slice(&[der::SEQUENCE, length]);
            write(to, &[der::INTEGER, of_serial]);
        } else {
            let mut fields = Vec::new();
            let of_serial = der::encode(der::INTEGER, serial);
            write(&mut fields, &of_serial[..of_serial.len() - serial.len()]);
            to.extend(der::encode(der::SEQUENCE, &fields));
        }
    }
}

/// An entry of the usual form, and how long it is.
#[inline]
fn usual(rest: &[u8]) -> Option<(usize, Revoked<'_>)> {
    let [
        der::SEQUENCE,
        length @ ..=0x7f,
        der::INTEGER,
        serial @ 1..=0x7f,
        ..,
    ] = *rest
    else {
        return None;
    };
    let (length, serial) = (usize::from(length), usize::from(serial));
    let entry = rest.get(4..2 + length)?;
    let (serial, fields) = entry.split_at_checked(serial)?;
    let time = fields.strip_prefix(&UTC_TIME)?;
    let (digits, extensions) = time.split_at_checked(13)?;
    let reason = match extensions {
        [] => RevocationReason::Unspecified,
        [prefix @ .., code] if *prefix == REASON => RevocationReason::from_code(&[*code])?,
        _ => return None,
    };
    let date = der::time(der::UTC_TIME, digits)?;
    let revoked = Revoked {
        serial,
        entry: Entry { date, reason },
        time: &fields[..UTC_TIME.len() + 13],
        issuer: None,
    };
    Some((2 + length, revoked))
}

/// The one directory name in `GeneralNames`, DER.
fn directory_name(mut value: Reader<'_>) -> Result<&[u8], Malformed> {
    let all = value.at("certificateIssuer").expect(der::SEQUENCE)?;
    let mut names = all.reader();
    let mut found = None;
    while !names.is_empty() {
        let name = names.any()?;
        if name.tag == der::context(4, true) && found.replace(name.content).is_some() {
            return Err(all.wrong());
        }
    }
    found.ok_or_else(|| all.wrong())
}

/// Extensions by the last arc of 2.5.29.
pub(super) mod id_ce {
    pub(in super::super) const CRL_NUMBER: u8 = 20;
    pub(in super::super) const REASON_CODE: u8 = 21;
    pub(in super::super) const INVALIDITY_DATE: u8 = 24;
    pub(in super::super) const DELTA_CRL_INDICATOR: u8 = 27;
    pub(in super::super) const ISSUING_DISTRIBUTION_POINT: u8 = 28;
    pub(in super::super) const CERTIFICATE_ISSUER: u8 = 29;
    pub(in super::super) const AUTHORITY_KEY_IDENTIFIER: u8 = 35;
}

/// An `Extension` (RFC 5280 §4.1).
pub(super) struct Extension<'a> {
    pub(super) oid: &'a [u8],
    pub(super) critical: bool,
    /// The OCTET STRING.
    pub(super) value: Value<'a>,
}

pub(super) fn each_extension<'a>(
    extensions: Value<'a>,
    mut read: impl FnMut(Extension<'a>) -> Result<(), CrlError>,
) -> Result<(), CrlError> {
    let mut extensions = extensions.reader();
    let mut seen: [&[u8]; MOST_EXTENSIONS] = [&[]; MOST_EXTENSIONS];
    for number in 0.. {
        if extensions.is_empty() {
            break;
        }
        let mut fields = extensions.expect(der::SEQUENCE)?.reader();
        let oid = fields.expect(der::OID)?.content;
        let critical = match fields.optional(der::BOOLEAN)? {
            Some(critical) => critical.boolean()?,
            None => false,
        };
        let value = fields.expect(der::OCTET_STRING)?;
        fields.finish()?;
        let extension = Extension {
            oid,
            critical,
            value,
        };
        // RFC 5280 §4.2: of two values it would depend on the reader which one counts.
        if seen[..number].contains(&oid) {
            return Err(extension.is_twice());
        }
        *seen.get_mut(number).ok_or_else(|| value.wrong())? = oid;
        read(extension)?;
    }
    Ok(())
}

impl Extension<'_> {
    pub(super) fn id_ce(&self) -> Option<u8> {
        match *self.oid {
            [0x55, 0x1d, arc] => Some(arc),
            _ => None,
        }
    }

    pub(super) fn unknown(&self) -> CrlError {
        CrlError::UnknownCritical(self.oid_text())
    }

    #[cold]
    fn is_twice(&self) -> CrlError {
        CrlError::ExtensionTwice(self.oid_text())
    }

    fn oid_text(&self) -> String {
        let oid = x509_parser::der_parser::Oid::new(self.oid.into());
        oid.to_id_string()
    }
}
