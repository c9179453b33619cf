use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::str::FromStr;

use sha2::{Digest as _, Sha256, Sha512};

/// `sha256:<64 lower-case hexadecimal digits>` or `sha512:<128>` (image-spec, "Digests").
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Digest {
    algorithm: Algorithm,
    hex: Box<str>,
}

/// The registered algorithms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Algorithm {
    #[default]
    Sha256,
    Sha512,
}

/// Not a digest that this store can verify.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a sha256 or sha512 digest in lower-case hexadecimal")]
pub(crate) struct DigestError;

/// Content being hashed.
#[derive(Clone)]
pub(super) enum Hasher {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Digest {
    pub(crate) fn of(algorithm: Algorithm, content: &[u8]) -> Self {
        let mut hasher = Hasher::new(algorithm);
        hasher.update(content);
        hasher.finish()
    }

    /// The digest of a whole file. Its position stays where it is.
    pub(super) fn of_file(algorithm: Algorithm, file: &File) -> io::Result<Self> {
        let mut hasher = Hasher::new(algorithm);
        hasher.read(file)?;
        Ok(hasher.finish())
    }

    pub(crate) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn hex(&self) -> &str {
        &self.hex
    }
}

impl Algorithm {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    fn digits(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

impl FromStr for Algorithm {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        match text {
            "sha256" => Ok(Self::Sha256),
            "sha512" => Ok(Self::Sha512),
            _ => Err(DigestError),
        }
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (algorithm, hex) = text.split_once(':').ok_or(DigestError)?;
        let algorithm: Algorithm = algorithm.parse()?;
        let lower_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        if hex.len() != algorithm.digits() || !hex.bytes().all(lower_hex) {
            return Err(DigestError);
        }
        Ok(Self {
            algorithm,
            hex: hex.into(),
        })
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str(), self.hex)
    }
}

impl Hasher {
    pub(super) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Sha512 => Self::Sha512(Sha512::new()),
        }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        match self {
            Self::Sha256(_) => Algorithm::Sha256,
            Self::Sha512(_) => Algorithm::Sha512,
        }
    }

    pub(super) fn update(&mut self, content: &[u8]) {
        match self {
            Self::Sha256(hasher) => hasher.update(content),
            Self::Sha512(hasher) => hasher.update(content),
        }
    }

    /// Hashes a file from its beginning, and gives its length.
    pub(super) fn read(&mut self, file: &File) -> io::Result<u64> {
        self.read_part(file, 0, u64::MAX)
    }

    /// Hashes at most `length` bytes of a file from `start` on, and gives how many there were.
    pub(super) fn read_part(&mut self, file: &File, start: u64, length: u64) -> io::Result<u64> {
        let mut buffer = vec![0; 256 * 1024];
        let mut done = 0;
        while done < length {
            let most = usize::try_from(length - done).unwrap_or(buffer.len());
            let most = most.min(buffer.len());
            let read = file.read_at(&mut buffer[..most], start + done)?;
            if read == 0 {
                break;
            }
            self.update(&buffer[..read]);
            done += read as u64;
        }
        Ok(done)
    }

    pub(super) fn finish(&self) -> Digest {
        let algorithm = self.algorithm();
        let hex = match self.clone() {
            Self::Sha256(hasher) => hex(&hasher.finalize()),
            Self::Sha512(hasher) => hex(&hasher.finalize()),
        };
        Digest { algorithm, hex }
    }
}

fn hex(bytes: &[u8]) -> Box<str> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |nibble: u8| char::from(DIGITS[usize::from(nibble & 15)]);
    let text: String = bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(*byte)])
        .collect();
    text.into()
}
