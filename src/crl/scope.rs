use std::fmt;

use super::CrlError;
use super::der::{self, Malformed, Reader, Value};
use super::general_name::GeneralName;
use crate::identity::DistinguishedName;

/// The reasons for which there can be a revocation, as bits of `ReasonFlags` (RFC 5280 §4.2.1.13).
pub(super) const ALL_REASONS: u16 = 0b1_1111_1110;

/// Which certificates a CRL is about, and for which reasons: its `IssuingDistributionPoint` (RFC 5280
/// §5.2.5). Two lists of one issuer that have the same replace each other, and a delta belongs to a
/// base that has the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Scope {
    /// The names of the distribution point; `None`: all of them.
    names: Option<Vec<GeneralName>>,
    certificates: Certificates,
    pub(super) reasons: u16,
    pub(super) indirect: bool,
}

/// Where a certificate's issuer says that its CRLs are: a `DistributionPoint` (RFC 5280 §4.2.1.13).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DistributionPoint {
    names: Option<Vec<GeneralName>>,
    reasons: u16,
    /// Who issues the CRL, if another than the certificate's issuer.
    pub(super) crl_issuers: Vec<DistinguishedName>,
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
            names: None,
            certificates: Certificates::All,
            reasons: ALL_REASONS,
            indirect: false,
        }
    }
}

impl Scope {
    /// Whether certificates of users are among those that it is about.
    #[cfg(feature = "config")]
    pub(super) fn is_about_users(&self) -> bool {
        matches!(self.certificates, Certificates::All | Certificates::OfUsers)
    }

    /// Whether it is about all that `other` is about, for as many reasons.
    pub(super) fn covers(&self, other: &Self) -> bool {
        (self.names.is_none() || self.names == other.names)
            && (self.certificates == Certificates::All || self.certificates == other.certificates)
            && self.reasons & other.reasons == other.reasons
            && (self.indirect || !other.indirect)
    }

    /// Reads the extension of a list by this issuer.
    pub(super) fn parse(
        mut value: Reader<'_>,
        issuer: &DistinguishedName,
    ) -> Result<Self, CrlError> {
        let mut scope = Self::default();
        let extension = value.at("issuingDistributionPoint").expect(der::SEQUENCE)?;
        let mut fields = extension.reader();
        if let Some(point) = fields.optional(der::context(0, true))? {
            scope.names = Some(names(&point, issuer)?);
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
            _ => return Err(extension.wrong().into()),
        };
        Ok(scope)
    }

    /// The reasons for which a list of this scope answers for a certificate, of a CA or a user, at
    /// one of its points (RFC 5280 §6.3.3 (b) and (d)); 0 if for none.
    pub(super) fn answers(&self, is_ca: bool, point: &DistributionPoint) -> u16 {
        let kind = match self.certificates {
            Certificates::All => true,
            Certificates::OfUsers => !is_ca,
            Certificates::OfCas => is_ca,
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
        names.any(|name| match name {
            GeneralName::Uri(uri) => reqwest::Url::parse(uri).is_ok_and(|uri| uri == *url),
            _ => false,
        })
    }

    /// (b) (2) (i): the names of the two points meet.
    fn is_at(&self, point: &DistributionPoint) -> bool {
        let Some(own) = &self.names else {
            return true;
        };
        if let Some(names) = &point.names {
            return own.iter().any(|name| names.contains(name));
        }
        own.iter().any(|name| match name {
            GeneralName::Directory(name) => point.crl_issuers.contains(name),
            _ => false,
        })
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
            Some(first) => write!(f, " {first}"),
            None => Ok(()),
        }
    }
}

/// The most distribution points that a certificate may have.
const MOST_POINTS: usize = 64;

/// What is wrong with a certificate that has more.
pub(super) const TOO_MANY_POINTS: &str = "a distribution point after the 64th";

impl DistributionPoint {
    /// Where the CRLs of an issuer are if a certificate does not say (RFC 5280 §6.3.3, last
    /// paragraph).
    pub(super) fn implicit(issuer: &DistinguishedName) -> Self {
        Self {
            names: Some(vec![GeneralName::Directory(issuer.clone())]),
            reasons: ALL_REASONS,
            crl_issuers: Vec::new(),
        }
    }

    /// Reads the `CRLDistributionPoints` of a certificate by this issuer.
    pub(super) fn parse_all(
        value: &[u8],
        issuer: &DistinguishedName,
    ) -> Result<Vec<Self>, Malformed> {
        let mut points = Vec::new();
        let mut value = Reader::new(value);
        let value = value.at("cRLDistributionPoints").expect(der::SEQUENCE)?;
        let mut reader = value.reader();
        while !reader.is_empty() {
            // Each is compared with each list.
            if points.len() == MOST_POINTS {
                return Err(Malformed {
                    field: TOO_MANY_POINTS,
                    ..reader.wrong()
                });
            }
            let mut fields = reader.expect(der::SEQUENCE)?.reader();
            let name = fields.optional(der::context(0, true))?;
            let reasons = match fields.optional(der::context(1, false))? {
                Some(reasons) => reasons.flags()? & ALL_REASONS,
                None => ALL_REASONS,
            };
            let mut crl_issuers = Vec::new();
            let issuers = fields.optional(der::context(2, true))?;
            if let Some(issuers) = &issuers {
                for name in GeneralName::all(issuers.reader())? {
                    if let GeneralName::Directory(name) = name {
                        crl_issuers.push(name);
                    }
                }
            }
            fields.finish()?;
            if issuers.is_some() && crl_issuers.is_empty() {
                // No list is by a signer without a directory name, and one of the certificate's own issuer is not meant.
                continue;
            }
            let relative_to = crl_issuers.first().unwrap_or(issuer);
            let names = match name {
                Some(name) => Some(names(&name, relative_to)?),
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

/// The names of a `DistributionPointName`, whether full or relative to `issuer`.
fn names(point: &Value<'_>, issuer: &DistinguishedName) -> Result<Vec<GeneralName>, Malformed> {
    let mut name = point.reader();
    if let Some(full) = name.optional(der::context(0, true))? {
        return GeneralName::all(full.reader());
    }
    let relative = name.expect(der::context(1, true))?;
    let mut sequence = match Reader::new(issuer.der()).expect(der::SEQUENCE) {
        Ok(issuer) => issuer.content.to_vec(),
        Err(_) => return Err(point.wrong()),
    };
    sequence.extend(der::encode(der::SET, relative.content));
    let whole = der::encode(der::SEQUENCE, &sequence);
    Ok(vec![GeneralName::Directory(DistinguishedName::new(&whole))])
}

#[cfg(test)]
mod tests {
    use super::*;

    const UTF8: u8 = 0x0c;
    const PRINTABLE: u8 = 0x13;

    fn attribute(tag: u8, kind: u8, text: &str) -> Vec<u8> {
        let value = der::encode(tag, text.as_bytes());
        der::encode(
            der::SEQUENCE,
            &[&[0x06, 0x03, 0x55, 0x04, kind], &*value].concat(),
        )
    }

    /// A name of an organization and, below it, a common name.
    fn name(tag: u8, organization: &str, common: Option<&str>) -> Vec<u8> {
        let mut sets = der::encode(der::SET, &attribute(tag, 10, organization));
        if let Some(common) = common {
            sets.extend(der::encode(der::SET, &attribute(tag, 3, common)));
        }
        der::encode(der::SEQUENCE, &sets)
    }

    fn full(name: &[u8]) -> Vec<u8> {
        der::encode(
            der::context(0, true),
            &der::encode(der::context(4, true), name),
        )
    }

    fn relative(tag: u8, common: &str) -> Vec<u8> {
        der::encode(der::context(1, true), &attribute(tag, 3, common))
    }

    fn scope(point: &[u8], issuer: &[u8]) -> Scope {
        let point = der::encode(der::context(0, true), point);
        let value = der::encode(der::SEQUENCE, &point);
        Scope::parse(Reader::new(&value), &DistinguishedName::new(issuer)).unwrap()
    }

    fn point(point: &[u8], crl_issuer: Option<&[u8]>, issuer: &[u8]) -> DistributionPoint {
        let mut fields = der::encode(der::context(0, true), point);
        if let Some(crl_issuer) = crl_issuer {
            let name = der::encode(der::context(4, true), crl_issuer);
            fields.extend(der::encode(der::context(2, true), &name));
        }
        let points = der::encode(der::SEQUENCE, &der::encode(der::SEQUENCE, &fields));
        let mut points =
            DistributionPoint::parse_all(&points, &DistinguishedName::new(issuer)).unwrap();
        points.remove(0)
    }

    #[test]
    fn distribution_points_meet_however_their_names_are_written() {
        let (ours, theirs) = (name(UTF8, "Nodes", None), name(PRINTABLE, "NODES ", None));
        let lists = [
            scope(&full(&name(PRINTABLE, "nodes", Some("Shard  1"))), &theirs),
            scope(&relative(PRINTABLE, "SHARD 1"), &theirs),
        ];
        let points = [
            point(&full(&name(UTF8, "Nodes", Some("Shard 1"))), None, &ours),
            point(&relative(UTF8, "Shard 1"), None, &ours),
            point(
                &relative(UTF8, "shard 1"),
                Some(&theirs),
                &name(UTF8, "Users", None),
            ),
        ];
        for (list, point) in lists
            .iter()
            .flat_map(|list| points.iter().map(move |one| (list, one)))
        {
            assert!(list.is_at(point), "{list:?} {point:?}");
        }
        let others = [
            point(&relative(UTF8, "Shard 2"), None, &ours),
            point(&relative(UTF8, "Shard 1"), None, &name(UTF8, "Users", None)),
            point(&full(&name(UTF8, "Shard 1", Some("Nodes"))), None, &ours),
        ];
        for (list, point) in lists
            .iter()
            .flat_map(|list| others.iter().map(move |one| (list, one)))
        {
            assert!(!list.is_at(point), "{list:?} {point:?}");
        }
        // However they are written, they are of one scope, and so replace each other.
        assert_eq!(lists[0], lists[1]);
    }
}
