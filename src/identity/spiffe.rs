use super::IdentityError;

/// A SPIFFE ID (SPIFFE-ID §2): a trust domain and a path within it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SpiffeId {
    text: Box<str>,
    domain_end: usize,
}

/// Why a text is no SPIFFE ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SpiffeIdError {
    /// The text is empty.
    #[error("a SPIFFE ID cannot be empty")]
    Empty,
    /// The text is longer than 2,048 bytes (§2.3).
    #[error("a SPIFFE ID has at most 2048 bytes")]
    TooLong,
    /// The text does not begin with `spiffe://`.
    #[error("a SPIFFE ID begins with spiffe://")]
    Scheme,
    /// Nothing is between the scheme and the path.
    #[error("the trust domain is missing")]
    TrustDomainMissing,
    /// The trust domain is longer than 255 bytes (§2.1).
    #[error("a trust domain has at most 255 bytes")]
    TrustDomainTooLong,
    /// The trust domain has another character than the allowed.
    #[error("a trust domain has lowercase letters, digits, dots, dashes and underscores only")]
    TrustDomainCharacter,
    /// A path segment has another character than the allowed.
    #[error("a path segment has letters, digits, dots, dashes and underscores only")]
    PathCharacter,
    /// A path segment is empty.
    #[error("a path has no empty segments")]
    EmptySegment,
    /// A path segment is `.` or `..`.
    #[error("a path has no dot segments")]
    DotSegment,
    /// The path ends in a slash.
    #[error("a path has no trailing slash")]
    TrailingSlash,
}

/// Why a certificate is no X.509-SVID leaf, though it may be a good certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SvidError {
    /// X.509-SVID §2: there must be exactly one URI name.
    #[error("an X.509-SVID has exactly one URI name, this one has {0}")]
    UriNames(usize),
    /// The URI name is no SPIFFE ID.
    #[error(transparent)]
    SpiffeId(#[from] SpiffeIdError),
    /// §5.2: a leaf's SPIFFE ID must have a path.
    #[error("a leaf's SPIFFE ID has a path")]
    NoPath,
    /// §4.1: a leaf must not be a CA.
    #[error("a leaf is no CA")]
    Ca,
    /// §4.3: key usage must be there and critical, with digitalSignature, without keyCertSign and
    /// cRLSign.
    #[error(
        "a leaf's key usage is critical, for signatures, and not for signing certificates or CRLs"
    )]
    KeyUsage,
    /// §4.4: extended key usage, where it is there, must name both serverAuth and clientAuth.
    #[error("a leaf's extended key usage names serverAuth and clientAuth")]
    ExtendedKeyUsage,
}

impl From<SpiffeIdError> for IdentityError {
    fn from(error: SpiffeIdError) -> Self {
        Self::SpiffeId(error.to_string().into())
    }
}

impl From<SvidError> for IdentityError {
    fn from(error: SvidError) -> Self {
        Self::Svid(error.to_string().into())
    }
}

const SCHEME: &str = "spiffe://";

impl SpiffeId {
    /// Reads a SPIFFE ID.
    ///
    /// # Errors
    /// Returns the rule that the text breaks.
    pub(crate) fn parse(text: &str) -> Result<Self, IdentityError> {
        Ok(Self::read(text)?)
    }

    pub(super) fn read(text: &str) -> Result<Self, SpiffeIdError> {
        if text.is_empty() {
            return Err(SpiffeIdError::Empty);
        }
        if text.len() > 2_048 {
            return Err(SpiffeIdError::TooLong);
        }
        let rest = text.strip_prefix(SCHEME).ok_or(SpiffeIdError::Scheme)?;
        let (domain, path) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        trust_domain(domain)?;
        if let Some(segments) = path.strip_prefix('/') {
            let count = segments.split('/').count();
            for (at, one) in segments.split('/').enumerate() {
                segment(one, at + 1 == count)?;
            }
        }
        Ok(Self {
            domain_end: SCHEME.len() + domain.len(),
            text: text.into(),
        })
    }

    /// Returns the whole ID.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the trust domain.
    pub(crate) fn trust_domain(&self) -> &str {
        &self.text[SCHEME.len()..self.domain_end]
    }

    /// Returns the path with its slash; empty without a path.
    pub(crate) fn path(&self) -> &str {
        &self.text[self.domain_end..]
    }
}

fn trust_domain(domain: &str) -> Result<(), SpiffeIdError> {
    let allowed =
        |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-_".contains(&byte);
    match domain.len() {
        0 => Err(SpiffeIdError::TrustDomainMissing),
        256.. => Err(SpiffeIdError::TrustDomainTooLong),
        _ if domain.bytes().all(allowed) => Ok(()),
        _ => Err(SpiffeIdError::TrustDomainCharacter),
    }
}

fn segment(text: &str, last: bool) -> Result<(), SpiffeIdError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    match text {
        "" if last => Err(SpiffeIdError::TrailingSlash),
        "" => Err(SpiffeIdError::EmptySegment),
        "." | ".." => Err(SpiffeIdError::DotSegment),
        _ if text.bytes().all(allowed) => Ok(()),
        _ => Err(SpiffeIdError::PathCharacter),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spiffe_ids_are_read_as_go_spiffe_reads_them() {
        let vectors = include_str!("../../tests/vectors/spiffe_id_vectors.json");
        let vectors: Vec<serde_json::Value> = serde_json::from_str(vectors).unwrap();
        assert_eq!(vectors.len(), 535);
        for vector in vectors {
            let input = vector["input"].as_str().unwrap();
            let parsed = SpiffeId::read(input);
            assert_eq!(parsed.is_ok(), vector["ok"] == true, "{parsed:?}");
            if let Ok(id) = parsed {
                assert_eq!(id.trust_domain(), vector["trust_domain"], "{input:?}");
                assert_eq!(id.path(), vector["path"], "{input:?}");
                assert_eq!(id.as_str(), input);
            }
        }
    }

    #[test]
    fn spiffe_ids_have_the_lengths_of_the_specification() {
        let read = |text: String| SpiffeId::read(&text).err();
        let domain = "d".repeat(255);
        assert_eq!(read(format!("spiffe://{domain}/p")), None);
        let longer = read(format!("spiffe://{domain}d/p"));
        assert_eq!(longer, Some(SpiffeIdError::TrustDomainTooLong));
        let path = "p".repeat(2_048 - "spiffe://d/".len());
        assert_eq!(read(format!("spiffe://d/{path}")), None);
        assert_eq!(
            read(format!("spiffe://d/{path}p")),
            Some(SpiffeIdError::TooLong)
        );
    }
}
