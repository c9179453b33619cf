use axum::http::Uri;

use super::problem::Problem;

/// The parameters of a target. The route's parser has refused those that come twice.
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    pub(super) fn parse(uri: &Uri) -> Result<Self, Problem> {
        let query = axum::extract::Query::try_from_uri(uri);
        query
            .map(|axum::extract::Query(pairs)| Self(pairs))
            .map_err(|_| Problem::QueryInvalid("it cannot be decoded"))
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// `n`: how many entries a page may have.
    pub(super) fn page(&self) -> Result<Option<usize>, Problem> {
        let number = |text: &str| text.parse().map_err(|_| Problem::PageInvalid);
        self.get("n").map(number).transpose()
    }
}

/// `text` as a value in a query (RFC 3986 §2.3).
pub(super) fn encode(text: &str) -> String {
    use std::fmt::Write as _;

    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
