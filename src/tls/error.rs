use std::io;
use std::path::PathBuf;

use crate::identity::IdentityError;

/// Why no TLS server can be made of the material.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A file or directory cannot be read.
    #[error("{path}: cannot be read", path = path.display())]
    Read {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file is not what PEM (RFC 7468) allows, so that not all of it can be read.
    #[error("{path}:{line}: {problem}", path = path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong there.
        problem: Box<str>,
    },
    /// A file, or a directory's files, hold no certificate.
    #[error("{path}: holds no certificate (PEM, `BEGIN CERTIFICATE`, or DER)", path = path.display())]
    NoCertificate {
        /// The file or directory.
        path: PathBuf,
    },
    /// A key file holds no private key.
    #[error("{path}: holds no private key (PKCS#8, PKCS#1 or SEC1, unencrypted)", path = path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The provider cannot use a private key.
    #[error(
        "{path}: the private key cannot be used: {reason}. RSA keys of 2048 to 8192 bits, EC keys on P-256, P-384 and \
         P-521, and Ed25519 keys are supported",
        path = path.display()
    )]
    Key {
        /// The file.
        path: PathBuf,
        /// What the provider says.
        reason: String,
    },
    /// A private key belongs to another certificate.
    #[error(
        "{key}: is not the key of the first certificate in {certificate}: give the one that it was made with",
        key = key.display(), certificate = certificate.display()
    )]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A bundle holds a private key, and certificates of which none is of this key.
    #[error("{path}: no certificate in it is that of the private key in it: it may be written only in part", path = path.display())]
    BundleMismatch {
        /// The file.
        path: PathBuf,
    },
    /// The signature of a certificate in a bundle is by none of the certificates in it that have its issuer's name,
    /// or none beside the key's own has.
    #[error(
        "{path}:{line}: the certificate is not signed by one of the others in the same file: it may be written only in part",
        path = path.display()
    )]
    BundleSignature {
        /// The file.
        path: PathBuf,
        /// The line of the certificate's first, from 1.
        line: usize,
    },
    /// A certificate in a bundle has the end of another, which was there the last time that the bundle was read.
    #[error(
        "{path}:{line}: this certificate ends as another did: the file is being written, or was written in part",
        path = path.display()
    )]
    BundleInPart {
        /// The file.
        path: PathBuf,
        /// The line at which the certificate begins, from 1.
        line: usize,
    },
    /// A bundle was another each time that it was read.
    #[error("{path}: it is being written: no two readings agree", path = path.display())]
    BundleUnsettled {
        /// The file.
        path: PathBuf,
    },
    /// A certificate cannot be read.
    #[error("{path}: unusable certificate", path = path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: IdentityError,
    },
    /// A certificate in a named file is not fit to be a trust anchor, or none in a folder is.
    #[error("{path}: `{subject}` cannot be a client CA: {reason}", path = path.display())]
    Anchor {
        /// The file.
        path: PathBuf,
        /// The certificate's subject.
        subject: String,
        /// Why not.
        reason: String,
    },
    /// A server certificate, or every client CA, is past its end.
    #[error("{path}: `{subject}` expired {ago} ago", path = path.display())]
    Expired {
        /// The file or directory.
        path: PathBuf,
        /// The certificate's subject.
        subject: String,
        /// For how long, in words.
        ago: String,
    },
    /// A server certificate or a client CA is not valid yet.
    #[error("{path}: `{subject}` is not valid for another {until}", path = path.display())]
    NotYetValid {
        /// The file.
        path: PathBuf,
        /// The certificate's subject.
        subject: String,
        /// For how long, in words.
        until: String,
    },
    /// The validity of a server certificate, or of every client CA, ends before it begins.
    #[error(
        "{path}: `{subject}` is never valid, for its validity ends before it begins: have it made anew",
        path = path.display()
    )]
    NeverValid {
        /// The file or directory.
        path: PathBuf,
        /// The certificate's subject.
        subject: String,
    },
    /// The CRLs that belong to the client CAs cannot be used.
    #[cfg(feature = "crl")]
    #[error(transparent)]
    Crl(#[from] crate::crl::LoadError),
    /// The clock cannot be read.
    #[error("the clock is before 1970 or cannot be read")]
    NoTime,
    /// The provider does not do what was asked for.
    #[error("the cryptography provider cannot serve this configuration")]
    Provider(#[source] rustls::Error),
}

impl TlsError {
    /// The file or directory that is wrong.
    #[cfg(feature = "config")]
    pub(crate) fn path(&self) -> Option<&std::path::Path> {
        match self {
            Self::Read { path, .. }
            | Self::Pem { path, .. }
            | Self::NoCertificate { path }
            | Self::NoKey { path }
            | Self::Key { path, .. }
            | Self::KeyMismatch { key: path, .. }
            | Self::BundleMismatch { path }
            | Self::BundleSignature { path, .. }
            | Self::BundleUnsettled { path }
            | Self::Certificate { path, .. }
            | Self::Anchor { path, .. }
            | Self::Expired { path, .. }
            | Self::NotYetValid { path, .. }
            | Self::NeverValid { path, .. } => Some(path),
            #[cfg(feature = "crl")]
            Self::Crl(error) => error.path(),
            _ => None,
        }
    }
}
