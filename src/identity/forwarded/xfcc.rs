//! Envoy's `X-Forwarded-Client-Cert`: elements parted by commas, `key=value` pairs parted by
//! semicolons, values quoted where they have either or `=` in them, with backslash escapes.

use super::ForwardedError;
use crate::identity::IdentityError;

/// What one proxy forwards of its client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Element {
    /// The URI names of the proxy's own certificate.
    pub by: Vec<String>,
    /// SHA-256 of the client's certificate in hexadecimal.
    pub hash: Option<String>,
    /// The client's certificate, PEM in URL encoding.
    pub cert: Option<String>,
    /// The client's chain with its certificate first, PEM in URL encoding.
    pub chain: Option<String>,
    /// The client's subject in RFC 2253 form.
    pub subject: Option<String>,
    /// The URI names of the client's certificate.
    pub uri: Vec<String>,
    /// The DNS names of the client's certificate.
    pub dns: Vec<String>,
}

/// Reads a header's value. The last element is that of the nearest proxy.
///
/// # Errors
/// Returns the rule that the value breaks; nothing is used of a value that is wrong anywhere.
pub fn parse(value: &str) -> Result<Vec<Element>, IdentityError> {
    if !value
        .bytes()
        .all(|byte| matches!(byte, b' '..=b'~' | b'\t'))
    {
        return Err(ForwardedError::Characters.into());
    }
    let mut elements = Vec::new();
    let mut element = Element::default();
    let mut rest = value;
    loop {
        let (key, after) = rest.split_once('=').ok_or(ForwardedError::NoValue)?;
        // A separator or a quote before the equals sign belongs to a part without one.
        let in_a_key = |byte: u8| byte.is_ascii_alphanumeric() || b"-_ \t".contains(&byte);
        if !key.bytes().all(in_a_key) || key.trim().is_empty() {
            return Err(ForwardedError::NoValue.into());
        }
        let (value, after) = pair_value(after)?;
        element.set(key.trim(), value)?;
        match after.as_bytes().first() {
            None => {
                elements.push(element);
                return Ok(elements);
            }
            Some(b',') => elements.push(std::mem::take(&mut element)),
            Some(b';') => {}
            Some(_) => return Err(ForwardedError::AfterQuote.into()),
        }
        rest = &after[1..];
    }
}

/// The value at the beginning, unquoted, and what follows it from its separator on.
fn pair_value(text: &str) -> Result<(String, &str), IdentityError> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([',', ';']).unwrap_or(text.len());
        let (value, rest) = text.split_at(end);
        // A quote inside would be read otherwise by another parser.
        if value.contains('"') {
            return Err(ForwardedError::AfterQuote.into());
        }
        return Ok((value.trim_end().to_owned(), rest));
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => {
                let (_, escaped) = characters.next().ok_or(ForwardedError::OpenQuote)?;
                value.push(escaped);
            }
            '"' => return Ok((value, quoted[at + 1..].trim_start())),
            _ => value.push(character),
        }
    }
    Err(ForwardedError::OpenQuote.into())
}

impl Element {
    fn set(&mut self, key: &str, value: String) -> Result<(), IdentityError> {
        let once = match key.to_ascii_lowercase().as_str() {
            "by" => return push(&mut self.by, value),
            "uri" => return push(&mut self.uri, value),
            "dns" => return push(&mut self.dns, value),
            "hash" => &mut self.hash,
            "cert" => &mut self.cert,
            "chain" => &mut self.chain,
            "subject" => &mut self.subject,
            // Keys to come say nothing to us.
            _ => return Ok(()),
        };
        // Envoy writes `Subject=""` for a certificate without one.
        match once.replace(value) {
            Some(_) => Err(ForwardedError::Twice.into()),
            None => Ok(()),
        }
    }
}

#[allow(clippy::unnecessary_wraps, reason = "the arms of one match")]
fn push(values: &mut Vec<String>, value: String) -> Result<(), IdentityError> {
    if !value.is_empty() {
        values.push(value);
    }
    Ok(())
}
