use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::server::{ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ConfigBuilder, ServerConfig, WantsVerifier};

use super::anchors::Anchors;
use super::certified_key::certified_key;
#[cfg(feature = "crl")]
use super::crls::{self, Crls};
use super::expiry::{Expiry, Warnings};
use super::material::Material;
use super::own_certificates::OwnCertificates;
use super::resolver::Resolver;
use super::settings::{ClientAuth, Settings};
use super::trusted::{self, Trusted};
use super::verifier::Verifier;
use super::{CertificateFiles, ClientCas, TlsError, provider, tickets, time};
use crate::reload::{Load, Pinned};
use crate::telemetry::metrics;
use crate::util::left_out::{self, Block};

/// Loads a [`Material`] from its files.
pub(super) struct Loader {
    settings: Settings,
    warnings: Warnings,
    own: OwnCertificates,
    #[cfg(feature = "crl")]
    crls: Option<Crls>,
}

impl Loader {
    pub(super) fn new(settings: Settings) -> Self {
        #[cfg(feature = "crl")]
        let crls = match settings.crls.clone() {
            // Known when the lists are read, the client CAs' signatures are not checked in a handshake.
            Some((builder, paths)) => {
                let cas = match &settings.client_auth {
                    ClientAuth::None => &[][..],
                    ClientAuth::Request(cas) | ClientAuth::Require(cas) => &cas.paths,
                };
                Some(Crls::new(builder.with_authority_files(cas), paths))
            }
            None => None,
        };
        #[cfg(feature = "crl")]
        let lists = &settings.crl_warnings;
        #[cfg(not(feature = "crl"))]
        let lists = &[];
        Self {
            warnings: Warnings::at(&settings.expiry_warnings, lists),
            own: OwnCertificates::default(),
            #[cfg(feature = "crl")]
            crls,
            settings,
        }
    }

    fn client_cas(&self) -> Option<&ClientCas> {
        match &self.settings.client_auth {
            ClientAuth::None => None,
            ClientAuth::Request(cas) | ClientAuth::Require(cas) => Some(cas),
        }
    }

    /// Whether a client CA's file is named for what such a section is, too.
    fn is_read_elsewhere(&self, file: &Path, block: Block) -> bool {
        let mut own = self.settings.certificates.iter();
        match block {
            #[cfg(feature = "crl")]
            Block::Crl => {
                let lists = self.settings.crls.as_ref();
                lists.is_some_and(|(_, lists)| left_out::is_named(file, lists))
            }
            Block::PrivateKey => own.any(|own| own.key == file),
            _ => false,
        }
    }

    fn anchors(&self, pinned: &mut Pinned, now: SystemTime) -> Result<Option<Anchors>, TlsError> {
        let Some(cas) = self.client_cas() else {
            return Ok(None);
        };
        let mut anchors = Anchors::load(cas, pinned, now)?;
        for (file, others) in std::mem::take(&mut anchors.others) {
            left_out::warn(&file, "CAs", &others, |block| {
                self.is_read_elsewhere(&file, block)
            });
        }
        Ok(Some(anchors))
    }

    fn verifier(&self, anchors: Arc<Anchors>, provider: &CryptoProvider) -> Verifier {
        let mandatory = matches!(self.settings.client_auth, ClientAuth::Require(_));
        let algorithms = provider.signature_verification_algorithms;
        let requirements = self.settings.requirements.clone();
        Verifier::new(anchors, algorithms, mandatory, requirements)
            .with_limits(self.settings.chain_limits)
    }

    fn own(
        &mut self,
        pinned: &mut Pinned,
        provider: &CryptoProvider,
        now: SystemTime,
    ) -> Result<Own, TlsError> {
        let mut own = Own::default();
        let mut resolver: Option<Resolver> = None;
        for files in &self.settings.certificates {
            let load = |previous: Option<&CertifiedKey>| {
                certified_key(files, pinned, provider, now, previous)
            };
            let (key, identity) = self.own.read(files, now, load)?;
            own.expiries.push(Expiry::new("server", &identity));
            resolver
                .get_or_insert_with(|| Resolver::new(Arc::clone(&key)))
                .add(&identity, &key);
            own.keys.push(key);
        }
        own.resolver = resolver;
        Ok(own)
    }
}

/// The server's own certificates.
#[derive(Default)]
struct Own {
    keys: Vec<Arc<CertifiedKey>>,
    expiries: Vec<Expiry>,
    /// The builder's types see to it that there is one.
    resolver: Option<Resolver>,
}

impl Own {
    fn differ_from(&self, material: &Material) -> bool {
        let before = material.own.iter().map(|key| &key.cert);
        !self.keys.iter().map(|key| &key.cert).eq(before)
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
            .flat_map(CertificateFiles::paths)
            .collect();
        if let Some(cas) = self.client_cas() {
            paths.extend(cas.paths.iter().cloned());
        }
        #[cfg(feature = "crl")]
        paths.extend(self.crls.iter().flat_map(Crls::paths));
        paths
    }

    fn load(&mut self, previous: Option<&Material>) -> Result<Material, TlsError> {
        let provider = provider::choose(self.settings.provider.clone());
        let clock = self.settings.clock();
        let now = time::system(clock.current_time().ok_or(TlsError::NoTime)?);
        let mut pinned = Pinned::new();
        // Logged even where the certificates cannot be used either.
        #[cfg(feature = "crl")]
        let read = self
            .crls
            .as_mut()
            .map_or(Ok(()), |crls| crls.read(&mut pinned));
        #[cfg(feature = "crl")]
        let read = read.map_err(TlsError::from);
        #[cfg(not(feature = "crl"))]
        let read = Ok(());
        self.own.begin(previous.is_none());
        let own = self.own(&mut pinned, &provider, now)?;
        let found = self.anchors(&mut pinned, now);
        let is_renewed = previous.is_some_and(|previous| own.differ_from(previous));
        let Trusted { anchors, withheld } = trusted::choose(found, read, previous, is_renewed)?;
        let verifier = anchors.map(|anchors| self.verifier(anchors, &provider));
        let resolver = own.resolver.ok_or_else(|| TlsError::NoCertificate {
            path: PathBuf::new(),
        })?;
        let config = with_versions(&self.settings, provider)?;
        // The last step that can fail, and its CRLs are active before the client CAs are: a new CA never meets
        // old CRLs, and of no client whose CA is new is it unknown whether it is revoked. An old CA may meet
        // new CRLs for the moment until the material is active, which can only refuse more.
        #[cfg(feature = "crl")]
        let revocation = match &mut self.crls {
            Some(crls) if withheld.is_none() => crls.put(),
            Some(_) => previous.and_then(Material::revocation).cloned(),
            None => self.settings.revocation.clone(),
        };
        let settings = &self.settings;
        #[cfg(feature = "crl")]
        let verifier = verifier
            .map(|verifier| verifier.with_revocation(revocation.clone(), settings.clock.clone()));
        let verifier = verifier.map(Arc::new);
        let mut expiries = own.expiries;
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
        set_gauges(&expiries, previous.map_or(&[], Material::expiries));
        Ok(Material {
            config: Arc::new(config),
            verifier,
            expiries: expiries.into(),
            tls13_only: settings.tls13_only,
            own: own.keys.into(),
            withheld,
        })
    }

    fn refused(&self, material: &Material) -> Option<String> {
        let reasons = [self.own.refused(), material.withheld.as_deref()];
        let reasons: Vec<&str> = reasons.into_iter().flatten().collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }

    /// By the server's own certificate no client is let in.
    fn refused_can_wait(&self, material: &Material) -> bool {
        material.withheld.is_none()
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
        set_gauges(&own, &current.expiries);
        Some(Material {
            config: Arc::new(config),
            verifier: Some(verifier),
            expiries: own.into(),
            tls13_only: current.tls13_only,
            own: current.own.clone(),
            withheld: current.withheld.clone(),
        })
    }

    fn look(&mut self, current: &Material) {
        #[cfg(feature = "crl")]
        if let Some(crls) = &mut self.crls {
            crls.look();
        }
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
fn set_gauges(expiries: &[Expiry], previous: &[Expiry]) {
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
