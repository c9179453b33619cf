use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::UnixTime;
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ConfigBuilder, InconsistentKeys, ServerConfig, WantsVerifier};

use super::anchors::Anchors;
use super::builder::{ClientAuth, Settings};
#[cfg(feature = "crl")]
use super::crls::{self, Crls};
use super::expiry::Warnings;
use super::resolver::Resolver;
use super::verifier::Verifier;
use super::{CertificateFiles, ClientCas, TlsError, provider, tickets, time};
use crate::PeerIdentity;
use crate::audit::metrics;
use crate::reload::{Load, Pinned};

/// Everything that a TLS server needs, of one moment: certificates, client CAs, ticket keys.
///
/// Sessions are resumed only within one `Material`: the keys of its tickets are its own, so that
/// no session outlives a change of certificates or client CAs.
#[derive(Clone, Debug)]
pub struct Material {
    pub(super) config: Arc<ServerConfig>,
    pub(super) verifier: Option<Arc<Verifier>>,
    expiries: Arc<[Expiry]>,
    tls13_only: bool,
}

/// The end of a certificate that the server depends on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Expiry {
    /// What it is: `server` or `client_ca`.
    pub kind: &'static str,
    /// Its subject in RFC 4514 form; without one, the name by which it is called.
    pub subject: Box<str>,
    /// The first moment at which it is valid.
    pub not_before: SystemTime,
    /// The last moment at which it is valid.
    pub not_after: SystemTime,
}

impl Material {
    /// The server configuration, for an acceptor that is not of this crate. Such an acceptor
    /// verifies full handshakes alike, but does not look again at resumed sessions.
    pub fn server_config(&self) -> &Arc<ServerConfig> {
        &self.config
    }

    /// When each server certificate and client CA ends.
    pub fn expiries(&self) -> &[Expiry] {
        &self.expiries
    }

    /// Whether the configuration is FIPS-approved, which its provider decides: a program that enables
    /// rustls's own feature `fips` has such a provider by the feature `aws-lc-rs`. A server of one that
    /// was brought by [`Builder::with_provider`](super::Builder::with_provider) remembers sessions
    /// instead of sending tickets, unless the built-in provider is approved too.
    pub fn is_fips(&self) -> bool {
        self.config.fips()
    }

    pub(crate) fn is_tls13_only(&self) -> bool {
        self.tls13_only
    }

    /// Whether clients must have a certificate; `None` if they are not asked for one.
    pub(crate) fn client_certificate_needed(&self) -> Option<bool> {
        self.verifier
            .as_ref()
            .map(|verifier| verifier.is_mandatory())
    }

    /// How many client CAs are trusted, and how many certificates among them are not.
    pub(crate) fn client_cas(&self) -> Option<(usize, usize)> {
        let anchors = self.verifier.as_ref()?.anchors();
        Some((anchors.trusted.len(), anchors.left_out))
    }

    #[cfg(feature = "crl")]
    pub(crate) fn revocation(&self) -> Option<&crate::crl::Revocation> {
        self.verifier.as_ref()?.revocation()
    }

    pub(crate) fn system_time(&self) -> Option<SystemTime> {
        self.now().map(time::system)
    }

    pub(super) fn now(&self) -> Option<UnixTime> {
        self.config.time_provider.current_time()
    }
}

impl Expiry {
    pub(super) fn new(kind: &'static str, identity: &PeerIdentity) -> Self {
        Self {
            kind,
            subject: match identity.subject() {
                "" => identity.name().into(),
                subject => subject.into(),
            },
            not_before: identity.not_before(),
            not_after: identity.not_after(),
        }
    }
}

pub(super) struct Loader {
    settings: Settings,
    warnings: Warnings,
    #[cfg(feature = "crl")]
    crls: Option<Crls>,
}

impl Loader {
    pub(super) fn new(settings: Settings) -> Result<Self, TlsError> {
        #[cfg(feature = "crl")]
        let crls = match settings.crls.clone() {
            // Known when the lists are read, the client CAs' signatures are not checked in a handshake.
            Some((builder, paths)) => {
                let cas = match &settings.client_auth {
                    ClientAuth::None => &[][..],
                    ClientAuth::Request(cas) | ClientAuth::Require(cas) => &cas.paths,
                };
                Some(Crls::new(builder.with_authority_files(cas), paths)?)
            }
            None => None,
        };
        #[cfg(feature = "crl")]
        let lists = &settings.crl_warnings;
        #[cfg(not(feature = "crl"))]
        let lists = &[];
        Ok(Self {
            warnings: Warnings::at(&settings.expiry_warnings, lists),
            #[cfg(feature = "crl")]
            crls,
            settings,
        })
    }

    fn client_cas(&self) -> Option<&ClientCas> {
        match &self.settings.client_auth {
            ClientAuth::None => None,
            ClientAuth::Request(cas) | ClientAuth::Require(cas) => Some(cas),
        }
    }

    fn verifier(
        &self,
        pinned: &mut Pinned,
        provider: &CryptoProvider,
        now: SystemTime,
    ) -> Result<Option<Verifier>, TlsError> {
        let Some(cas) = self.client_cas() else {
            return Ok(None);
        };
        let anchors = Anchors::load(cas, pinned, now)?;
        let mandatory = matches!(self.settings.client_auth, ClientAuth::Require(_));
        let algorithms = provider.signature_verification_algorithms;
        let wanted = self.settings.wanted.clone();
        let verifier = Verifier::new(anchors, algorithms, mandatory, wanted);
        Ok(Some(verifier.with_limits(self.settings.chain_limits)))
    }
}

impl Load for Loader {
    type Value = Material;
    type Error = TlsError;

    fn name(&self) -> &'static str {
        "tls"
    }

    fn paths(&self) -> Vec<PathBuf> {
        let mut paths: Vec<_> = self
            .settings
            .certificates
            .iter()
            .flat_map(|files| [files.chain.clone(), files.key.clone()])
            .collect();
        if let Some(cas) = self.client_cas() {
            paths.extend(cas.paths.iter().cloned());
        }
        #[cfg(feature = "crl")]
        paths.extend(self.crls.iter().flat_map(Crls::paths));
        paths
    }

    fn load(&mut self, previous: Option<&Material>) -> Result<Material, TlsError> {
        let settings = &self.settings;
        let provider = provider::choose(settings.provider.clone());
        let now = time::system(settings.clock().current_time().ok_or(TlsError::NoTime)?);
        let mut pinned = Pinned::new();
        // Told of even where the certificates cannot be used either.
        #[cfg(feature = "crl")]
        let read = match &mut self.crls {
            Some(crls) => crls.read(&mut pinned),
            None => Ok(()),
        };
        let mut expiries = Vec::new();
        let mut resolver: Option<Resolver> = None;
        for files in &settings.certificates {
            let (key, identity) = certified_key(files, &mut pinned, &provider, now)?;
            expiries.push(Expiry::new("server", &identity));
            resolver
                .get_or_insert_with(|| Resolver::new(Arc::clone(&key)))
                .add(&identity, &key);
        }
        // The builder's types see to it that there is a certificate.
        let resolver = resolver.ok_or_else(|| TlsError::NoCertificate {
            path: PathBuf::new(),
        })?;
        let verifier = self.verifier(&mut pinned, &provider, now)?;
        let config = with_versions(settings, provider)?;
        // The last that can fail, and in force before the client CAs are: a new CA never meets old
        // lists, and of no client whose CA is new is it unknown whether it is revoked. An old CA may
        // meet new lists for the moment until the material is in force, which can only refuse more.
        #[cfg(feature = "crl")]
        let revocation = match &mut self.crls {
            Some(crls) => {
                read?;
                crls.put()
            }
            None => self.settings.revocation.clone(),
        };
        let settings = &self.settings;
        #[cfg(feature = "crl")]
        let verifier = verifier
            .map(|verifier| verifier.with_revocation(revocation.clone(), settings.clock.clone()));
        let verifier = verifier.map(Arc::new);
        if let Some(verifier) = &verifier {
            expiries.extend(verifier.anchors().expiries.iter().cloned());
        }
        let resolver = Arc::new(resolver);
        let mut config = server_config(settings, config, verifier.clone(), resolver);
        tickets::install(
            settings.resumption,
            #[cfg(feature = "crl")]
            revocation,
            &mut config,
        );
        tell(&expiries, previous.map_or(&[], Material::expiries));
        Ok(Material {
            config: Arc::new(config),
            verifier,
            expiries: expiries.into(),
            tls13_only: settings.tls13_only,
        })
    }

    /// Trusts no client CA: one of them may have been withdrawn. The server's own certificate stays.
    fn lapsed(&mut self, current: &Material) -> Option<Material> {
        let verifier = Arc::new(current.verifier.as_ref()?.without_anchors());
        #[cfg(feature = "crl")]
        if let Some(crls) = &mut self.crls {
            crls.lapse();
        }
        let settings = &self.settings;
        let provider = Arc::clone(current.config.crypto_provider());
        // It could be made of the same provider before.
        let config = with_versions(settings, provider).ok()?;
        let resolver = Arc::clone(&current.config.cert_resolver);
        let mut config = server_config(settings, config, Some(Arc::clone(&verifier)), resolver);
        tickets::install(
            settings.resumption,
            #[cfg(feature = "crl")]
            verifier.revocation().cloned(),
            &mut config,
        );
        let expiries = current.expiries.iter();
        let own: Vec<_> = expiries
            .filter(|one| one.kind == "server")
            .cloned()
            .collect();
        tell(&own, &current.expiries);
        Some(Material {
            config: Arc::new(config),
            verifier: Some(verifier),
            expiries: own.into(),
            tls13_only: current.tls13_only,
        })
    }

    fn look(&mut self, current: &Material) {
        let Some(now) = current.system_time() else {
            return;
        };
        #[cfg_attr(not(feature = "crl"), allow(unused_mut, reason = "CRLs are added"))]
        let mut ends = current.expiries().to_vec();
        #[cfg(feature = "crl")]
        ends.extend(current.revocation().iter().flat_map(|all| crls::ends(all)));
        self.warnings.look(ends, now);
    }
}

/// Sets the gauges: of certificates with the same name the first to end counts.
fn tell(expiries: &[Expiry], previous: &[Expiry]) {
    let mut ends: HashMap<(&'static str, &str), SystemTime> = HashMap::new();
    for expiry in expiries {
        let end = ends.entry((expiry.kind, &expiry.subject));
        let end = end.or_insert(expiry.not_after);
        *end = expiry.not_after.min(*end);
    }
    for gone in previous {
        if !ends.contains_key(&(gone.kind, &*gone.subject)) {
            metrics::certificate_gone(gone.kind, &gone.subject);
        }
    }
    for ((kind, subject), end) in ends {
        metrics::certificate_in_force(kind, subject, end);
    }
}

type WithVersions = ConfigBuilder<ServerConfig, WantsVerifier>;

fn with_versions(
    settings: &Settings,
    provider: Arc<CryptoProvider>,
) -> Result<WithVersions, TlsError> {
    let versions: &[_] = if settings.tls13_only {
        &[&rustls::version::TLS13]
    } else {
        &[&rustls::version::TLS13, &rustls::version::TLS12]
    };
    ServerConfig::builder_with_details(provider, settings.clock())
        .with_protocol_versions(versions)
        .map_err(TlsError::Provider)
}

fn server_config(
    settings: &Settings,
    builder: WithVersions,
    verifier: Option<Arc<Verifier>>,
    resolver: Arc<dyn ResolvesServerCert>,
) -> ServerConfig {
    let mut config = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_client_cert_verifier(WebPkiClientVerifier::no_client_auth()),
    }
    .with_cert_resolver(resolver);
    config.alpn_protocols.clone_from(&settings.alpn);
    config
}

fn certified_key(
    files: &CertificateFiles,
    pinned: &mut Pinned,
    provider: &CryptoProvider,
    now: SystemTime,
) -> Result<(Arc<CertifiedKey>, PeerIdentity), TlsError> {
    let chain = files.chain(pinned)?;
    let key = files.key(pinned)?;
    let leaf = chain.first().ok_or_else(|| TlsError::NoCertificate {
        path: files.chain.clone(),
    })?;
    let identity = PeerIdentity::from_der(leaf).map_err(|source| TlsError::Certificate {
        path: files.chain.clone(),
        source,
    })?;
    valid_now(files, &identity, now)?;
    let certified = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => TlsError::KeyMismatch {
            certificate: files.chain.clone(),
            key: files.key.clone(),
        },
        error => TlsError::Key {
            path: files.key.clone(),
            reason: error.to_string(),
        },
    })?;
    Ok((Arc::new(certified), identity))
}

fn valid_now(
    files: &CertificateFiles,
    identity: &PeerIdentity,
    now: SystemTime,
) -> Result<(), TlsError> {
    let path = files.chain.clone();
    let subject = identity.subject().to_owned();
    if let Ok(since) = now.duration_since(identity.not_after())
        && !since.is_zero()
    {
        let ago = time::words(since);
        return Err(TlsError::Expired { path, subject, ago });
    }
    if let Ok(until) = identity.not_before().duration_since(now)
        && !until.is_zero()
    {
        let until = time::words(until);
        return Err(TlsError::NotYetValid {
            path,
            subject,
            until,
        });
    }
    Ok(())
}
