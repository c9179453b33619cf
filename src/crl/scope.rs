use std::fmt;

use super::CrlError;
use super::der::{self, Malformed, Reader};
use super::path::Facts;
use super::verdict::{hexadecimal, name};

/// The reasons for which there can be a revocation, as bits of `ReasonFlags` (RFC 5280 §4.2.1.13).
pub(super) const ALL_REASONS: u16 = 0b1_1111_1110;

/// `uniformResourceIdentifier`, a kind of `GeneralName`.
const URI: u8 = der::context(6, false);

/// Which certificates a CRL is about, and for which reasons: its `IssuingDistributionPoint` (RFC 5280
/// §5.2.5).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Scope {
    /// The extension itself, which names the scope: two lists of one issuer that have the same
    /// replace each other, and a delta belongs to a base that has the same.
    extension: Option<Box<[u8]>>,
    /// The names of the distribution point, each a `GeneralName`; `None`: all of them.
    names: Option<Vec<Box<[u8]>>>,
    certificates: Certificates,
    pub(super) reasons: u16,
    pub(super) indirect: bool,
}

/// Where a certificate's issuer says that its CRLs are: a `DistributionPoint` (RFC 5280 §4.2.1.13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Point {
    /// Its names, each a `GeneralName`.
    names: Option<Vec<Box<[u8]>>>,
    reasons: u16,
    /// Who issues the CRL, if another than the certificate's issuer; each a `Name`.
    pub(super) crl_issuers: Vec<Box<[u8]>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Certificates {
    #[default]
    All,
    OfUsers,
    OfCas,
    OfAttributes,
}

impl Default for Scope {
    fn default() -> Self {
        Self {
            extension: None,
            names: None,
            certificates: Certificates::All,
            reasons: ALL_REASONS,
            indirect: false,
        }
    }
}

impl Scope {
    /// Reads the extension of a list by this issuer.
    pub(super) fn parse(value: &[u8], issuer: &[u8]) -> Result<Self, CrlError> {
        let mut scope = Self {
            extension: Some(value.into()),
            ..Self::default()
        };
        let mut fields = Reader::new(value).expect(der::SEQUENCE)?.reader();
        if let Some(point) = fields.optional(der::context(0, true))? {
            scope.names = Some(names(point.reader(), issuer)?);
        }
        let mut only = |number| match fields.optional(der::context(number, false))? {
            Some(only) => only.boolean(),
            None => Ok(false),
        };
        let of_users = only(1)?;
        let of_cas = only(2)?;
        if let Some(some) = fields.optional(der::context(3, false))? {
            scope.reasons = some.flags()? & ALL_REASONS;
        }
        let mut only = |number| match fields.optional(der::context(number, false))? {
            Some(only) => only.boolean(),
            None => Ok(false),
        };
        scope.indirect = only(4)?;
        let of_attributes = only(5)?;
        fields.finish()?;
        // At most one of the three may be asserted.
        scope.certificates = match (of_users, of_cas, of_attributes) {
            (false, false, false) => Certificates::All,
            (true, false, false) => Certificates::OfUsers,
            (false, true, false) => Certificates::OfCas,
            (false, false, true) => Certificates::OfAttributes,
            _ => return Err(CrlError::Malformed),
        };
        Ok(scope)
    }

    /// The reasons for which a list of this scope answers for a certificate at one of its points
    /// (RFC 5280 §6.3.3 (b) and (d)); 0 if for none.
    pub(super) fn answers(&self, certificate: &Facts, point: &Point) -> u16 {
        let kind = match self.certificates {
            Certificates::All => true,
            Certificates::OfUsers => !certificate.is_ca,
            Certificates::OfCas => certificate.is_ca,
            Certificates::OfAttributes => false,
        };
        // (b) (1): who issues for others has to say so.
        let issuer = point.crl_issuers.is_empty() || self.indirect;
        if kind && issuer && self.is_at(point) {
            self.reasons & point.reasons
        } else {
            0
        }
    }

    /// Whether this URL is one of its distribution point's names.
    #[cfg(feature = "crl-fetch")]
    pub(super) fn is_at_url(&self, url: &reqwest::Url) -> bool {
        let mut names = self.names.iter().flatten();
        names.any(|name| match Reader::new(name).any() {
            Ok(name) if name.tag == URI => {
                let text = str::from_utf8(name.content).ok();
                text.and_then(|text| reqwest::Url::parse(text).ok())
                    .as_ref()
                    == Some(url)
            }
            _ => false,
        })
    }

    /// (b) (2) (i): the names of the two points meet.
    fn is_at(&self, point: &Point) -> bool {
        let Some(own) = &self.names else {
            return true;
        };
        if let Some(names) = &point.names {
            return own.iter().any(|name| names.contains(name));
        }
        let mut issuers = point.crl_issuers.iter();
        issuers.any(|issuer| own.contains(&directory_name(issuer)))
    }
}

/// What sets it apart from the scope of everything, each with a space before it.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.certificates {
            Certificates::All => "",
            Certificates::OfUsers => " users",
            Certificates::OfCas => " cas",
            Certificates::OfAttributes => " attributes",
        })?;
        if self.reasons != ALL_REASONS {
            write!(f, " reasons={:#05x}", self.reasons)?;
        }
        if self.indirect {
            f.write_str(" indirect")?;
        }
        match self.names.as_deref().and_then(<[_]>::first) {
            Some(first) => write!(f, " {}", general_name(first)),
            None => Ok(()),
        }
    }
}

/// A `GeneralName` as text, so far as it is one that names a distribution point.
fn general_name(der: &[u8]) -> String {
    let value = Reader::new(der).any();
    let text = value.ok().and_then(|value| match value.tag {
        URI => std::str::from_utf8(value.content).ok().map(str::to_owned),
        tag if tag == der::context(4, true) => Some(name(value.content)),
        _ => None,
    });
    text.unwrap_or_else(|| hexadecimal(der))
}

/// The most distribution points that a certificate may have.
pub(super) const MOST_POINTS: usize = 64;

impl Point {
    /// Where the CRLs of an issuer are if a certificate does not say (RFC 5280 §6.3.3, last
    /// paragraph).
    pub(super) fn implicit(issuer: &[u8]) -> Self {
        Self {
            names: Some(vec![directory_name(issuer)]),
            reasons: ALL_REASONS,
            crl_issuers: Vec::new(),
        }
    }

    /// Reads the `CRLDistributionPoints` of a certificate by this issuer.
    pub(super) fn parse_all(value: &[u8], issuer: &[u8]) -> Result<Vec<Self>, Malformed> {
        let mut points = Vec::new();
        let mut reader = Reader::new(value).expect(der::SEQUENCE)?.reader();
        while !reader.is_empty() {
            // Each is compared with each list.
            if points.len() == MOST_POINTS {
                return Err(Malformed);
            }
            let mut fields = reader.expect(der::SEQUENCE)?.reader();
            let name = fields.optional(der::context(0, true))?;
            let reasons = match fields.optional(der::context(1, false))? {
                Some(reasons) => reasons.flags()? & ALL_REASONS,
                None => ALL_REASONS,
            };
            let mut crl_issuers = Vec::new();
            if let Some(issuers) = fields.optional(der::context(2, true))? {
                let mut issuers = issuers.reader();
                while !issuers.is_empty() {
                    let issuer = issuers.any()?;
                    if issuer.tag == der::context(4, true) {
                        crl_issuers.push(issuer.content.into());
                    }
                }
            }
            fields.finish()?;
            let relative_to = crl_issuers.first().map_or(issuer, AsRef::as_ref);
            let names = match name {
                Some(name) => Some(names(name.reader(), relative_to)?),
                None => None,
            };
            points.push(Self {
                names,
                reasons,
                crl_issuers,
            });
        }
        Ok(points)
    }
}

/// The `GeneralName`s of a `DistributionPointName`, whether full or relative to `issuer`.
fn names(mut name: Reader<'_>, issuer: &[u8]) -> Result<Vec<Box<[u8]>>, Malformed> {
    if let Some(full) = name.optional(der::context(0, true))? {
        let mut names = Vec::new();
        let mut reader = full.reader();
        while !reader.is_empty() {
            names.push(reader.any()?.encoded.into());
        }
        return Ok(names);
    }
    let relative = name.expect(der::context(1, true))?;
    let mut sequence = Reader::new(issuer).expect(der::SEQUENCE)?.content.to_vec();
    sequence.extend(der::encode(der::SET, relative.content));
    let whole = der::encode(der::SEQUENCE, &sequence);
    Ok(vec![directory_name(&whole)])
}

/// A `Name` as a `GeneralName`.
fn directory_name(name: &[u8]) -> Box<[u8]> {
    der::encode(der::context(4, true), name).into()
}
