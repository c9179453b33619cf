use std::fs;
use std::path::PathBuf;

use ipnet::IpNet;

use super::groups::{Grouped, Groups};
use super::{Builder, Guard};
use crate::config::{
    ClientAuthMode, Config, ConfigError, ForwardedSection, HeaderText, IdentitySection,
    LimitsSection, PolicyRules, SourceSection,
};
use crate::crl::RevocationLayer;
use crate::policy::{BindingLayer, Policy, PolicyFile, PolicyLayer, Rule};
use crate::rate::Limits;
use crate::refusal::Challenge;
use crate::reload::Load;
use crate::tls::{self, TlsError};
use crate::{Preset, Responder, Watched, source};

impl Guard {
    /// The guard that a configuration file describes. Networks, proxies, rules of identity, credentials,
    /// policy and limits follow the file from then on; what else it says is read once, though the files
    /// that it names (keys, tokens, CRLs) are followed too.
    ///
    /// # Errors
    /// What the file names cannot be used.
    pub fn from_config(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self::builder().configure(config)?.build())
    }
}

impl Builder {
    /// Sets what a configuration file describes, for [`Guard::from_config`] with something besides
    /// that only a program has.
    ///
    /// # Errors
    /// What the file names cannot be used.
    pub fn configure(mut self, config: &Config) -> Result<Self, ConfigError> {
        let digest_oracle = self.digest_oracle.take();
        let mut builder = self
            .responder(responder(config)?)
            .access_log(config.access_log.layer());
        if config.source.is_some() {
            builder = builder.networks(follow(config, "source", |config| {
                Ok(config.source.as_ref().map(SourceSection::networks))
            })?);
        }
        if let Some(section) = &config.auth {
            let authentication = section
                .authentication(config)
                .map_err(|error| config.unusable("auth", error))?;
            builder = builder
                .authentication(authentication)
                .authorization_passed_on(section.pass_authorization_on);
        }
        if config.identity.is_some() {
            builder = builder.mapping(follow(config, "identity", |config| {
                let section = config.identity.as_ref();
                let mapping = section.map(IdentitySection::mapping).transpose();
                mapping.map_err(|error| config.unusable("identity.map", error))
            })?);
        }
        if let Some(section) = &config.policy {
            let mut layer =
                PolicyLayer::watching(policy(config, &section.rules, builder.groups())?);
            if let Some(shadow) = &section.shadow {
                let file = PolicyFile::new(config.resolve(shadow)).as_shadow();
                let shadow = Watched::watch(file, config.reload.options())
                    .map_err(|error| config.unusable("policy.shadow", error))?;
                layer = layer.with_shadow(shadow);
            }
            builder = builder.policy_layer(layer);
            if let Some(section) = &section.digest_binding {
                let binding = section.binding(config, digest_oracle.map(|oracle| oracle.0))?;
                builder = builder.digest_binding(BindingLayer::new(binding));
            }
        }
        if config.crl.is_some() && !asks_for_certificates(config) {
            return Err(ConfigError::NothingToRevoke {
                file: config.file.clone(),
            });
        }
        if config
            .crl
            .as_ref()
            .is_some_and(|crl| crl.require_certificate)
        {
            builder = builder.revocation(RevocationLayer::new().with_certificate_required());
        }
        if let Some(section) = &config.tls {
            let acceptor = section.acceptor(config).map_err(|error| match error {
                TlsError::Crl(error) => config.unusable("crl", error),
                error => config.unusable("tls", error),
            })?;
            builder = builder.acceptor(acceptor);
        }
        if let Some(section) = &config.forwarded {
            builder = forwarded(builder, config, section)?;
        }
        if config.limits.is_some() {
            let limits = Section {
                besides: policy_file(config)
                    .into_iter()
                    .chain(fleet_file(config))
                    .collect(),
                ..Section::of(config, "limits", limits)
            };
            builder = builder.limits(Watched::watch(limits, config.reload.options())?);
        }
        Ok(builder)
    }
}

fn forwarded(
    mut builder: Builder,
    config: &Config,
    section: &ForwardedSection,
) -> Result<Builder, ConfigError> {
    let proxies: Watched<Vec<IpNet>> = follow(config, "forwarded", |config| {
        let section = config.forwarded.as_ref();
        Ok(section.map(|section| section.proxies.clone()))
    })?;
    builder = builder.forwarded(match section.address {
        Some(header) => source::ForwardedLayer::watching(header.header(), proxies.clone()),
        None => source::ForwardedLayer::without_address(proxies.clone()),
    });
    let removed = section.remove.iter().map(HeaderText::name);
    let nobody = tls::ForwardedLayer::nobody().with_removed(removed.clone());
    builder = builder.forwarded_certificate(nobody);
    if let Some(header) = &section.certificate {
        let acceptor = builder.acceptor.as_ref();
        let acceptor = acceptor.filter(|_| asks_for_certificates(config));
        let acceptor = acceptor.ok_or_else(|| ConfigError::NothingToVerifyBy {
            file: config.file.clone(),
        })?;
        let material = acceptor.material().clone();
        let layer = tls::ForwardedLayer::new(header.form(), [], material)
            .with_proxies(proxies)
            .with_removed(removed)
            .with_trusted_fields(header.trusts_fields());
        builder = builder.forwarded_certificate(layer);
    }
    Ok(builder)
}

fn asks_for_certificates(config: &Config) -> bool {
    let tls = config.tls.as_ref();
    tls.is_some_and(|section| section.mode() != ClientAuthMode::None)
}

fn responder(config: &Config) -> Result<Responder, ConfigError> {
    let responder = Responder::new(config.preset).with_hidden(config.hidden);
    #[cfg(feature = "jwt")]
    if let Some(bearer) = config.auth.as_ref().and_then(|auth| auth.bearer.as_ref()) {
        let challenge = Challenge::bearer(&bearer.realm, &bearer.service)
            .map_err(|error| config.unusable("auth.bearer", error))?;
        return Ok(responder.with_challenge(Some(challenge)));
    }
    match &config.realm {
        // A mirror does not challenge, whatever realm it has.
        Some(realm) if config.preset == Preset::Registry => {
            let challenge =
                Challenge::basic(realm).map_err(|error| config.unusable("realm", error))?;
            Ok(responder.with_challenge(Some(challenge)))
        }
        _ => Ok(responder),
    }
}

fn policy(
    config: &Config,
    rules: &PolicyRules,
    groups: Groups,
) -> Result<Watched<Policy>, ConfigError> {
    let options = config.reload.options();
    match rules {
        PolicyRules::File(file) => {
            let policy = ClassedPolicy {
                policy: PolicyFile::new(config.resolve(file)),
                config: config.file.clone(),
            };
            Watched::watch(Grouped { policy, groups }, options)
        }
        PolicyRules::Here(_) => {
            let policy = Section::of(config, "policy", rules_here);
            Watched::watch(Grouped { policy, groups }, options)
        }
    }
}

fn rules_here(config: &Config) -> Result<Option<Policy>, ConfigError> {
    match config.policy.as_ref().map(|section| &section.rules) {
        Some(PolicyRules::Here(rules)) => {
            let policy = Policy::new(rules.iter().cloned())
                .map_err(|error| config.unusable("policy.rules", error))?;
            check_classes(config, policy.rules())?;
            for warning in policy.warnings() {
                tracing::warn!(file = %config.file.display(), "{warning}");
            }
            Ok(Some(policy))
        }
        _ => Ok(None),
    }
}

fn limits(config: &Config) -> Result<Option<Limits>, ConfigError> {
    if let Some(section) = &config.policy {
        match &section.rules {
            PolicyRules::Here(rules) => check_classes(config, rules)?,
            PolicyRules::File(file) => {
                // A policy that cannot be read is told of by its own watcher.
                let text = fs::read_to_string(config.resolve(file)).unwrap_or_default();
                if let Ok(policy) = Policy::from_toml(&text) {
                    check_classes(config, policy.rules())?;
                }
            }
        }
    }
    let section = config.limits.as_ref();
    section.map(|section| shared(config, section)).transpose()
}

/// The limits of a section, with the fleet that some are shared with.
#[cfg(feature = "redis")]
fn shared(config: &Config, section: &LimitsSection) -> Result<Limits, ConfigError> {
    let Some(fleet) = section.fleet() else {
        return Ok(section.limits());
    };
    let fleet = fleet
        .fleet(config)
        .map_err(|error| config.unusable("limits.fleet", error))?;
    Ok(section.limits().with_fleet(&fleet, section.shared()))
}

#[cfg(not(feature = "redis"))]
fn shared(config: &Config, section: &LimitsSection) -> Result<Limits, ConfigError> {
    match section.fleet() {
        None => Ok(section.limits()),
        Some(_) => Err(ConfigError::NoFeature {
            file: config.file.clone(),
            section: "limits.fleet",
            feature: "redis",
        }),
    }
}

/// The file with the URL of the fleet's server.
fn fleet_file(config: &Config) -> Option<PathBuf> {
    #[cfg(feature = "redis")]
    return config.limits.as_ref()?.fleet()?.file(config);
    #[cfg(not(feature = "redis"))]
    {
        let _ = config;
        None
    }
}

fn policy_file(config: &Config) -> Option<PathBuf> {
    match &config.policy.as_ref()?.rules {
        PolicyRules::File(file) => Some(config.resolve(file)),
        PolicyRules::Here(_) => None,
    }
}

/// Fail closed: a class that no limit is for must not be no limit.
fn check_classes(config: &Config, rules: &[Rule]) -> Result<(), ConfigError> {
    let limits = config.limits.as_ref().map(LimitsSection::limits);
    for rule in rules {
        let Some(class) = rule.rate_class() else {
            continue;
        };
        let limited = |limits: &Limits| limits.classes().any(|limited| limited == class);
        if !limits.as_ref().is_some_and(limited) {
            return Err(ConfigError::RateClass {
                file: config.file.clone(),
                rule: rule.name().into(),
                class: class.name().into(),
            });
        }
    }
    Ok(())
}

/// A policy file whose rate classes are those of the configuration's limits.
struct ClassedPolicy {
    policy: PolicyFile,
    config: PathBuf,
}

impl Load for ClassedPolicy {
    type Value = Policy;
    type Error = ConfigError;

    fn name(&self) -> &'static str {
        self.policy.name()
    }

    fn paths(&self) -> Vec<PathBuf> {
        let mut paths = self.policy.paths();
        paths.push(self.config.clone());
        paths
    }

    fn load(&mut self, previous: Option<&Policy>) -> Result<Policy, ConfigError> {
        let policy = self
            .policy
            .load(previous)
            .map_err(|error| ConfigError::Unusable {
                file: self.config.clone(),
                key: "policy.file",
                error: Box::new(error),
            })?;
        // A configuration that cannot be read is told of by its sections' own watchers.
        if let Ok(config) = Config::load(&self.config) {
            check_classes(&config, policy.rules())?;
        }
        Ok(policy)
    }
}

fn follow<T: Send + Sync + 'static>(
    config: &Config,
    section: &'static str,
    pick: fn(&Config) -> Result<Option<T>, ConfigError>,
) -> Result<Watched<T>, ConfigError> {
    let section = Section::of(config, section, pick);
    Watched::watch(section, config.reload.options())
}

/// One section of the configuration file, read again when the file changes.
struct Section<T> {
    file: PathBuf,
    /// Other files that it depends on.
    besides: Vec<PathBuf>,
    name: &'static str,
    pick: fn(&Config) -> Result<Option<T>, ConfigError>,
}

impl<T> Section<T> {
    fn of(
        config: &Config,
        name: &'static str,
        pick: fn(&Config) -> Result<Option<T>, ConfigError>,
    ) -> Self {
        Self {
            file: config.file.clone(),
            besides: Vec::new(),
            name,
            pick,
        }
    }
}

impl<T: Send + Sync + 'static> Load for Section<T> {
    type Value = T;
    type Error = ConfigError;

    fn name(&self) -> &'static str {
        self.name
    }

    fn paths(&self) -> Vec<PathBuf> {
        let mut paths = self.besides.clone();
        paths.push(self.file.clone());
        paths
    }

    fn load(&mut self, _previous: Option<&T>) -> Result<T, ConfigError> {
        let config = Config::load(&self.file)?;
        (self.pick)(&config)?.ok_or_else(|| ConfigError::SectionGone {
            file: self.file.clone(),
            section: self.name,
        })
    }
}
