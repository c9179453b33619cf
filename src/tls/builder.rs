#[cfg(feature = "crl")]
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::time_provider::TimeProvider;

use super::chain::ChainLimits;
use super::loader::Loader;
use super::requirements::Requirements;
use super::settings::{ClientAuth, Settings};
use super::{CertificateFiles, ClientCas, Material, TlsError};
use crate::Watched;
use crate::reload::{Load, WatchOptions};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
#[cfg(feature = "crl")]
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Makes a TLS server's [`Material`], step by step: [a certificate](Builder::with_certificate), then what is required
/// of clients, then options with defaults.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(super) settings: Settings,
}

/// The step of a [`Builder`] in which the requirements for clients must come next.
#[derive(Clone, Debug)]
pub struct WantsClientAuth {
    certificates: Vec<CertificateFiles>,
}

impl WantsClientAuth {
    /// Serves this certificate too, to clients that ask for one of its DNS names (SNI).
    pub fn and_certificate(mut self, files: CertificateFiles) -> Self {
        self.certificates.push(files);
        self
    }

    /// Refuses clients without a certificate of these CAs.
    pub fn require_client_certificates(self, cas: ClientCas) -> Builder {
        self.ready(ClientAuth::Require(cas))
    }

    /// Asks clients for a certificate and accepts those that have none. A certificate that is not of these CAs
    /// is refused all the same.
    pub fn request_client_certificates(self, cas: ClientCas) -> Builder {
        self.ready(ClientAuth::Request(cas))
    }

    /// Asks clients for no certificate.
    pub fn without_client_certificates(self) -> Builder {
        self.ready(ClientAuth::None)
    }

    fn ready(self, client_auth: ClientAuth) -> Builder {
        let settings = Settings {
            certificates: self.certificates,
            client_auth,
            provider: None,
            clock: None,
            tls13_only: false,
            alpn: vec![b"h2".to_vec(), b"http/1.1".to_vec()],
            resumption: true,
            requirements: Requirements::default(),
            chain_limits: ChainLimits::default(),
            expiry_warnings: [30, 7, 1].map(|days| DAY * days).into(),
            #[cfg(feature = "crl")]
            crl_warnings: vec![HOUR],
            #[cfg(feature = "crl")]
            revocation: None,
            #[cfg(feature = "crl")]
            crls: None,
        };
        Builder { settings }
    }
}

impl Builder {
    /// Serves this certificate to clients that ask for no name or for one that no certificate has.
    pub fn with_certificate(files: CertificateFiles) -> WantsClientAuth {
        WantsClientAuth {
            certificates: vec![files],
        }
    }

    /// Uses this cryptography provider, for example a FIPS provider. Default: that of the feature `aws-lc-rs`,
    /// else of `ring`, else the process's default.
    pub fn with_provider(mut self, provider: Arc<CryptoProvider>) -> Self {
        self.settings.provider = Some(provider);
        self
    }

    /// Takes the time from `clock`, for validity periods and for CRLs. Default: the system's clock.
    pub fn with_clock(mut self, clock: Arc<dyn TimeProvider>) -> Self {
        self.settings.clock = Some(clock);
        self
    }

    /// Sets whether TLS 1.2 is refused. Default: no.
    pub fn with_tls13_only(mut self, only: bool) -> Self {
        self.settings.tls13_only = only;
        self
    }

    /// Offers these protocols (RFC 7301), the preferred first. Default: `h2`, `http/1.1`.
    pub fn with_alpn<P: Into<Vec<u8>>>(mut self, protocols: impl IntoIterator<Item = P>) -> Self {
        self.settings.alpn = protocols.into_iter().map(Into::into).collect();
        self
    }

    /// Sets whether clients may resume sessions. Default: yes. A resumed session's certificate is checked like
    /// a new one's, and no session outlives the material that it began under.
    pub fn with_resumption(mut self, resumption: bool) -> Self {
        self.settings.resumption = resumption;
        self
    }

    /// Refuses client certificates that are no X.509-SVID: exactly one URI name, a SPIFFE ID with a path, and
    /// the key usages that SPIFFE's specification requires. Default: no.
    pub fn with_strict_svids(mut self, strict: bool) -> Self {
        self.settings.requirements.svid = strict;
        self
    }

    /// Accepts SPIFFE IDs of this trust domain from these client CAs alone, each named by its subject in RFC
    /// 4514 form or by the SHA-256 of its public key in hexadecimal. Where any trust domain is named, a
    /// certificate with a SPIFFE ID of another is refused. Default: every client CA may vouch for every trust
    /// domain.
    pub fn with_trust_domain<C: Into<Box<str>>>(
        mut self,
        domain: impl Into<Box<str>>,
        cas: impl IntoIterator<Item = C>,
    ) -> Self {
        let cas = cas.into_iter().map(Into::into).collect();
        let domains = &mut self.settings.requirements.trust_domains;
        domains.insert(domain.into(), cas);
        self
    }

    /// Refuses clients that send more certificates than this besides their own. Default: 5. webpki follows a
    /// path of no more than 6, and the work before a client is known grows with this number.
    #[must_use]
    pub fn with_max_intermediates(mut self, most: usize) -> Self {
        self.settings.chain_limits.intermediates = most;
        self
    }

    /// Refuses clients whose certificates have more than `bytes` bytes together. Default: 32 KiB. rustls takes
    /// no more than 64 KiB.
    #[must_use]
    pub fn with_max_chain_size(mut self, bytes: usize) -> Self {
        self.settings.chain_limits.bytes = bytes;
        self
    }

    /// Logs a warning at these distances before a server certificate or client CA ends: when it is loaded, and
    /// as time goes by where the files are watched. A distance of more than a third of a certificate's whole
    /// time is passed over, so that short-lived certificates are not warned of all their life.
    /// `portcullis_certificate_not_after_timestamp_seconds` has the ends. Default: 30, 7 and 1 days.
    pub fn with_expiry_warnings(mut self, distances: impl IntoIterator<Item = Duration>) -> Self {
        self.settings.expiry_warnings = distances.into_iter().collect();
        self
    }

    /// Logs a warning as [`Builder::with_expiry_warnings`] does, before the `nextUpdate` of an active CRL.
    /// Default: 1 h.
    #[cfg(feature = "crl")]
    pub fn with_crl_warnings(mut self, distances: impl IntoIterator<Item = Duration>) -> Self {
        self.settings.crl_warnings = distances.into_iter().collect();
        self
    }

    /// Refuses client certificates that are revoked by CRLs in these files and directories. They are read with
    /// the client CAs, and both take effect together or not at all: no client is refused because its CA is known
    /// before its CA's CRL is, and none is accepted because it is the other way round. While one of the files is
    /// damaged, certificates and client CAs stay as they are; what the other files
    /// revoke counts all the same. A server's own certificate or key that cannot be read anew holds up neither
    /// CRLs nor client CAs. Default: no CRLs.
    #[cfg(feature = "crl")]
    pub fn with_crls<P: Into<PathBuf>>(
        mut self,
        crls: crate::crl::Builder,
        files: impl IntoIterator<Item = P>,
    ) -> Self {
        let files = files.into_iter().map(Into::into).collect();
        self.settings.crls = Some((crls, files));
        self
    }

    /// Refuses client certificates that are revoked by these CRLs, which change on their own.
    /// [`Builder::with_crls`], if called too, replaces them.
    #[cfg(feature = "crl")]
    pub fn with_revocation(mut self, revocation: crate::crl::Revocation) -> Self {
        self.settings.revocation = Some(revocation);
        self
    }

    /// Reads the files once.
    ///
    /// # Errors
    /// Returns what is wrong with the files.
    pub fn load(self) -> Result<Material, TlsError> {
        let mut loader = Loader::new(self.settings);
        let material = loader.load(None)?;
        loader.look(&material);
        Ok(material)
    }

    /// Reads the files now and whenever they change.
    ///
    /// # Errors
    /// Returns what is wrong with the files now. Later errors leave the last good material active.
    pub fn watch(self, options: WatchOptions) -> Result<Watched<Material>, TlsError> {
        Watched::watch(Loader::new(self.settings), options)
    }
}
