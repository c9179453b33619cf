use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use super::TokenError;
use super::authorization::is_b64token;
use crate::identity::Method;
use crate::reload::{Load, WatchOptions};
use crate::{Principal, Watched};

/// The shortest token that is taken from a file or a variable, in characters.
const SHORTEST: usize = 16;

type Sha256Digest = [u8; 32];

/// Tokens by their SHA-256 digests, all that is ever kept of them.
#[derive(Debug)]
pub struct Tokens {
    by_digest: HashMap<Sha256Digest, Token>,
}

/// Whose a token is and where it comes from.
#[derive(Clone, Debug)]
pub struct TokenSpec {
    id: String,
    groups: Vec<Box<str>>,
    origin: Origin,
}

#[derive(Clone, Debug)]
enum Origin {
    Variable(String),
    File(PathBuf),
    Sha256(Vec<String>),
}

#[derive(Debug)]
struct Token {
    digest: Sha256Digest,
    principal: Principal,
}

impl TokenSpec {
    /// A token in an environment variable, or in the file that `NAME_FILE` names.
    pub fn variable(id: impl Into<String>, name: impl Into<String>) -> Self {
        Self::new(id.into(), Origin::Variable(name.into()))
    }

    /// A token in a file, of which one newline at the end is not part.
    pub fn file(id: impl Into<String>, file: impl Into<PathBuf>) -> Self {
        Self::new(id.into(), Origin::File(file.into()))
    }

    /// A token of which only the SHA-256 digest is known, in hexadecimal. Several are several tokens
    /// of one caller, so that one can be changed for the next without a gap.
    pub fn sha256<D: Into<String>>(
        id: impl Into<String>,
        digests: impl IntoIterator<Item = D>,
    ) -> Self {
        let digests = digests.into_iter().map(Into::into).collect();
        Self::new(id.into(), Origin::Sha256(digests))
    }

    /// Puts the caller in these groups.
    pub fn in_groups<G: Into<Box<str>>>(mut self, groups: impl IntoIterator<Item = G>) -> Self {
        self.groups.extend(groups.into_iter().map(Into::into));
        self
    }

    fn new(id: String, origin: Origin) -> Self {
        Self {
            id,
            groups: Vec::new(),
            origin,
        }
    }

    /// The file to read and to watch, if the token is in one.
    fn path(&self) -> Option<PathBuf> {
        match &self.origin {
            Origin::File(file) => Some(file.clone()),
            Origin::Variable(name) if env::var_os(name).is_none() => {
                env::var_os(format!("{name}_FILE")).map(PathBuf::from)
            }
            _ => None,
        }
    }

    fn digests(&self) -> Result<Vec<Sha256Digest>, TokenError> {
        if self.id.is_empty() || self.id.contains(|c: char| c == ':' || c.is_control()) {
            let id = self.id.clone();
            return Err(TokenError::Id { id });
        }
        if let Origin::Sha256(texts) = &self.origin {
            if texts.is_empty() {
                let id = self.id.clone();
                return Err(TokenError::NoDigest { id });
            }
            return texts.iter().map(|text| self.hexadecimal(text)).collect();
        }
        let token = match (self.path(), &self.origin) {
            (Some(file), _) => self.read(&file)?,
            (None, Origin::Variable(name)) => {
                let no_variable = || TokenError::NoVariable {
                    id: self.id.clone(),
                    name: name.clone(),
                };
                Zeroizing::new(env::var(name).map_err(|_| no_variable())?.into_bytes())
            }
            (None, _) => return Err(TokenError::None),
        };
        self.digest(&token).map(|digest| vec![digest])
    }

    fn read(&self, file: &Path) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        let unreadable = |error| TokenError::Unreadable {
            id: self.id.clone(),
            file: file.to_owned(),
            error,
        };
        fs::read(file).map(Zeroizing::new).map_err(unreadable)
    }

    fn digest(&self, text: &[u8]) -> Result<Sha256Digest, TokenError> {
        let token = text.strip_suffix(b"\n").unwrap_or(text);
        let token = token.strip_suffix(b"\r").unwrap_or(token);
        let id = || self.id.clone();
        if token.len() < SHORTEST {
            return Err(TokenError::TooShort {
                id: id(),
                found: token.len(),
                least: SHORTEST,
            });
        }
        if !is_b64token(token) {
            return Err(TokenError::Characters { id: id() });
        }
        Ok(Sha256::digest(token).into())
    }

    fn hexadecimal(&self, text: &str) -> Result<Sha256Digest, TokenError> {
        let wrong = || TokenError::Digest {
            id: self.id.clone(),
        };
        let nibble = |byte: u8| {
            char::from(byte)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        let mut digest = Sha256Digest::default();
        if text.len() != 2 * digest.len() {
            return Err(wrong());
        }
        for (byte, pair) in digest.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let (high, low) = nibble(pair[0]).zip(nibble(pair[1])).ok_or_else(wrong)?;
            *byte = high << 4 | low;
        }
        Ok(digest)
    }
}

impl Tokens {
    /// Reads the tokens now, and again whenever their files change.
    ///
    /// # Errors
    /// A token that is missing, empty or not to be used.
    pub fn watch(
        specs: impl IntoIterator<Item = TokenSpec>,
        options: WatchOptions,
    ) -> Result<Watched<Self>, TokenError> {
        Watched::watch(Specs(specs.into_iter().collect()), options)
    }

    fn load(specs: &[TokenSpec]) -> Result<Self, TokenError> {
        let mut by_digest: HashMap<Sha256Digest, Token> = HashMap::new();
        for spec in specs {
            let principal = Principal::new(Method::Token, spec.id.as_str())
                .in_groups(spec.groups.iter().cloned());
            for digest in spec.digests()? {
                match by_digest.entry(digest) {
                    Entry::Vacant(entry) => {
                        let principal = principal.clone();
                        entry.insert(Token { digest, principal });
                    }
                    Entry::Occupied(entry) if *entry.get().principal.id() == *spec.id => {}
                    Entry::Occupied(entry) => {
                        return Err(TokenError::Same {
                            first: entry.get().principal.id().to_owned(),
                            second: spec.id.clone(),
                        });
                    }
                }
            }
        }
        if by_digest.is_empty() {
            return Err(TokenError::None);
        }
        Ok(Self { by_digest })
    }

    /// The caller whose token this is, and, with a user, whose id that is.
    pub(super) fn find(&self, user: Option<&[u8]>, secret: &[u8]) -> Option<Principal> {
        let digest: Sha256Digest = Sha256::digest(secret).into();
        let found = self.by_digest.get(&digest);
        let (known, id) = match found {
            Some(token) => (&token.digest, token.principal.id().as_bytes()),
            // The same work for what is unknown.
            None => (&Sha256Digest::default(), b"".as_slice()),
        };
        let same_user = user.map_or(Choice::from(1), |user| user.ct_eq(id));
        let same = known.ct_eq(&digest) & same_user;
        let principal = found.map(|token| token.principal.clone());
        principal.filter(|_| same.into())
    }
}

struct Specs(Vec<TokenSpec>);

impl Load for Specs {
    type Value = Tokens;
    type Error = TokenError;

    fn name(&self) -> &'static str {
        "tokens"
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.0.iter().filter_map(TokenSpec::path).collect()
    }

    fn load(&mut self, _previous: Option<&Tokens>) -> Result<Tokens, TokenError> {
        Tokens::load(&self.0)
    }
}
