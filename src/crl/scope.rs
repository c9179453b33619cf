use super::CrlError;
use super::der::{self, Reader};
use super::path::Facts;

/// Which certificates of its issuer a CRL is about (RFC 5280 §5.2.5).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Scope {
    /// The full names of the distribution point, DER; empty: all of them.
    names: Vec<Box<[u8]>>,
    certificates: Certificates,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
enum Certificates {
    #[default]
    All,
    OfUsers,
    OfCas,
    OfAttributes,
}

impl Scope {
    /// Reads an `IssuingDistributionPoint`.
    pub(super) fn parse(value: &[u8]) -> Result<Self, CrlError> {
        let mut scope = Self::default();
        let mut fields = Reader::new(value).expect(der::SEQUENCE)?.reader();
        if let Some(point) = fields.optional(der::context(0, true))? {
            scope.names = full_names(point.reader())?.ok_or(CrlError::RelativeName)?;
        }
        for (number, certificates) in [(1, Certificates::OfUsers), (2, Certificates::OfCas)] {
            if let Some(only) = fields.optional(der::context(number, false))?
                && only.boolean()?
            {
                scope.restrict(certificates)?;
            }
        }
        if fields.optional(der::context(3, false))?.is_some() {
            return Err(CrlError::SomeReasons);
        }
        if let Some(indirect) = fields.optional(der::context(4, false))?
            && indirect.boolean()?
        {
            return Err(CrlError::Indirect);
        }
        if let Some(only) = fields.optional(der::context(5, false))?
            && only.boolean()?
        {
            scope.restrict(Certificates::OfAttributes)?;
        }
        fields.finish()?;
        Ok(scope)
    }

    /// RFC 5280 §5.2.5: at most one of the three may be asserted.
    fn restrict(&mut self, certificates: Certificates) -> Result<(), CrlError> {
        if self.certificates != Certificates::All {
            return Err(CrlError::Malformed);
        }
        self.certificates = certificates;
        Ok(())
    }

    /// Whether a certificate is among them (RFC 5280 §6.3.3 (b) (2)).
    pub(super) fn covers(&self, certificate: &Facts) -> bool {
        let kind = match self.certificates {
            Certificates::All => true,
            Certificates::OfUsers => !certificate.is_ca,
            Certificates::OfCas => certificate.is_ca,
            Certificates::OfAttributes => false,
        };
        kind && (self.names.is_empty()
            || self
                .names
                .iter()
                .any(|name| certificate.points.contains(name)))
    }
}

/// The `fullName` of a `DistributionPointName`; `None` where it is relative to the issuer.
pub(super) fn full_names(mut name: Reader<'_>) -> Result<Option<Vec<Box<[u8]>>>, der::Malformed> {
    let Some(full) = name.optional(der::context(0, true))? else {
        return Ok(None);
    };
    let mut names = Vec::new();
    let mut reader = full.reader();
    while !reader.is_empty() {
        names.push(reader.any()?.encoded.into());
    }
    Ok(Some(names))
}
