use std::path::PathBuf;

use ipnet::IpNet;

use super::blame::{doubtful_rule, unusable_tls};
use super::groups::{Grouped, Groups};
use super::section::{Section, follow};
use super::{Builder, Guard, advice, restart};
use crate::config::{
    ClientAuthMode, Config, ConfigError, Document, ForwardedSection, HeaderText, Key,
    LimitsSection, PolicyRules, SourceSection,
};
use crate::crl::RevocationLayer;
#[cfg(feature = "digest-binding")]
use crate::policy::BindingLayer;
use crate::policy::{Policy, PolicyFile, PolicyLayer, Rule};
use crate::rate::Limits;
use crate::reload::Load;
use crate::source::Networks;
use crate::tls;
use crate::util::file::{DOCUMENT, read_text};
use crate::{Preset, Responder, Watched, source};

impl Guard {
    /// Makes the guard that a configuration file describes. Networks, proxies, rules of identity, credentials,
    /// policy and limits follow the file from then on; its other sections are read once, though the files that
    /// they name (keys, tokens, CRLs) are followed too.
    ///
    /// # Errors
    /// Returns an error if what the file names cannot be used.
    pub fn from_config(config: &Config) -> Result<Self, ConfigError> {
        Ok(Self::builder().configure(config)?.build())
    }
}

impl Builder {
    /// Applies what a configuration file describes, for a guard as [`Guard::from_config`] makes it with
    /// something besides that only a program has.
    ///
    /// # Errors
    /// Returns an error if what the file names cannot be used.
    pub fn configure(self, config: &Config) -> Result<Self, ConfigError> {
        let document = &config.document;
        let mut builder = self
            .responder(responder(config)?)
            .access_log(config.access_log.layer(document)?);
        #[cfg(feature = "serve")]
        {
            builder.serve_options = config.serve.options();
        }
        if config.source.is_some() {
            let networks = Section::of(config, "source", |config| {
                Ok(config.source.as_ref().map(SourceSection::networks))
            });
            let networks = networks.lapsing(|| Some(Networks::allow([])));
            let options = config.document.watch.clone();
            builder = builder.networks(Watched::watch(networks, options)?);
        }
        if let Some(section) = &config.auth {
            let authentication = section.authentication(&config.document)?;
            builder = builder
                .authentication(authentication)
                .authorization_passed_on(section.pass_authorization_on);
        }
        let warn_before = config.auth.as_ref().and_then(|auth| auth.warn_before);
        builder = builder.client_warnings(config.client_warnings.layer(warn_before));
        if config.identity.is_some() {
            builder = builder.mapping(follow(config, "identity", |config| {
                let section = config.identity.as_ref();
                let mapping = section.map(|section| section.mapping(&config.document));
                mapping.transpose()
            })?);
        }
        if let Some(section) = &config.policy {
            let file = policy_file(config);
            let file = file.as_deref().unwrap_or(document.name());
            builder.policy_file = Some(file.into());
            let mut layer =
                PolicyLayer::watching(policy(config, &section.rules, builder.groups())?);
            if let Some(shadow) = &section.shadow {
                let file = PolicyFile::shadow(document.resolve(shadow));
                let shadow = Watched::watch(file, document.watch.clone())
                    .map_err(|error| document.unusable("policy.shadow", error))?;
                layer = layer.with_shadow(shadow);
            }
            builder = builder.policy_layer(layer);
            #[cfg(feature = "digest-binding")]
            if let Some(section) = &section.digest_binding {
                let oracle = builder.digest_oracle.take().map(|oracle| oracle.0);
                let binding = section.binding(document, oracle)?;
                let layer = BindingLayer::new(binding);
                builder = builder.digest_binding(
                    layer.with_exempt_groups(section.exempt_groups.iter().map(String::as_str)),
                );
            }
        }
        if config.deny.is_some() && !asks_for_certificates(config) {
            return Err(ConfigError::NobodyToDeny {
                place: document.place(&"deny".into()),
            });
        }
        if config.crl.is_some() && !asks_for_certificates(config) {
            return Err(ConfigError::NothingToRevoke {
                place: document.place(&"crl".into()),
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
            let denied = config.deny.as_ref();
            let denied = denied.map(|deny| deny.watch(document)).transpose()?;
            let acceptor = section
                .acceptor(document, config.crl.as_ref(), denied)
                .map_err(|error| unusable_tls(config, section, error))?;
            builder = builder.acceptor(acceptor);
        }
        if let Some(section) = &config.forwarded {
            builder = forwarded(builder, config, section)?;
        }
        let strict = config.tls.as_ref().is_some_and(|tls| tls.strict_host);
        builder = builder.strict_host(strict);
        if config.limits.is_some() {
            let besides = policy_file(config).into_iter().chain(fleet_file(config));
            let limits = Section::of(config, "limits", limits).depending_on(besides);
            builder = builder.limits(Watched::watch(limits, document.watch.clone())?);
        }
        builder.restart = restart::watch(config)?;
        builder.advice = advice::of(config, &builder);
        Ok(builder)
    }
}

fn forwarded(
    mut builder: Builder,
    config: &Config,
    section: &ForwardedSection,
) -> Result<Builder, ConfigError> {
    let proxies = Section::of(config, "forwarded", |config| {
        let section = config.forwarded.as_ref();
        Ok(section.map(|section| section.proxies.clone()))
    });
    let proxies = proxies.lapsing(|| Some(Vec::<IpNet>::new()));
    let proxies = Watched::watch(proxies, config.document.watch.clone())?;
    builder = builder.forwarded(match section.address {
        Some(header) => source::ForwardedLayer::believing(header.header(), proxies.clone()),
        None => source::ForwardedLayer::without_address(proxies.clone()),
    });
    let removed = section.remove.iter().map(HeaderText::name);
    let without = tls::ForwardedLayer::without_proxies().with_removed(removed.clone());
    builder = builder.forwarded_certificate(without);
    if let Some(header) = &section.certificate {
        let acceptor = builder.acceptor.as_ref();
        let acceptor = acceptor.filter(|_| asks_for_certificates(config));
        let acceptor = acceptor.ok_or_else(|| ConfigError::NothingToVerifyBy {
            place: config.document.place(&"forwarded.certificate".into()),
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
        let challenging = responder.with_bearer_challenge(&bearer.realm, &bearer.service);
        return challenging.map_err(|error| config.document.unusable("auth.bearer", error));
    }
    match &config.realm {
        // A mirror does not challenge, whatever realm it has.
        Some(realm) if config.preset == Preset::Registry => {
            let challenging = responder.with_basic_challenge(realm);
            challenging.map_err(|error| config.document.unusable("realm", error))
        }
        _ => Ok(responder),
    }
}

fn policy(
    config: &Config,
    rules: &PolicyRules,
    groups: Groups,
) -> Result<Watched<Policy>, ConfigError> {
    let options = config.document.watch.clone();
    match rules {
        PolicyRules::File(file) => {
            let policy = ClassedPolicy {
                policy: PolicyFile::new(config.document.resolve(file)),
                document: config.document.clone(),
                wrong: None,
            };
            Watched::watch(Grouped { policy, groups }, options)
        }
        PolicyRules::Here(_) => {
            // No rule allows nothing.
            let policy = Section::of(config, "policy", rules_here);
            let policy = policy.lapsing(|| Policy::new([]).ok());
            Watched::watch(Grouped { policy, groups }, options)
        }
    }
}

fn rules_here(config: &Config) -> Result<Option<Policy>, ConfigError> {
    match config.policy.as_ref().map(|section| &section.rules) {
        Some(PolicyRules::Here(rules)) => {
            let policy = Policy::new(rules.iter().cloned())
                .map_err(|error| config.document.unusable(doubtful_rule(&error), error))?;
            check_classes(config, policy.rules())?;
            for warning in policy.warnings() {
                tracing::warn!(file = %config.document.name().display(), "{warning}");
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
                // A policy that cannot be read is reported by its own watcher.
                let text = read_text(&config.document.resolve(file), DOCUMENT).unwrap_or_default();
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
        .fleet(&config.document)
        .map_err(|error| config.document.unusable(fleet.key(), error))?;
    Ok(section.limits().with_fleet(&fleet, section.shared()))
}

#[cfg(not(feature = "redis"))]
fn shared(config: &Config, section: &LimitsSection) -> Result<Limits, ConfigError> {
    match section.fleet() {
        None => Ok(section.limits()),
        Some(_) => Err(ConfigError::NoFeature {
            place: config.document.place(&"limits.fleet".into()),
            section: "limits.fleet",
            feature: "redis",
        }),
    }
}

/// The file with the URL of the fleet's server.
fn fleet_file(config: &Config) -> Option<PathBuf> {
    #[cfg(feature = "redis")]
    return config.limits.as_ref()?.fleet()?.file(&config.document);
    #[cfg(not(feature = "redis"))]
    {
        let _ = config;
        None
    }
}

fn policy_file(config: &Config) -> Option<PathBuf> {
    match &config.policy.as_ref()?.rules {
        PolicyRules::File(file) => Some(config.document.resolve(file)),
        PolicyRules::Here(_) => None,
    }
}

/// Fail closed: a class that no limit is for must not be no limit.
fn check_classes(config: &Config, rules: &[Rule]) -> Result<(), ConfigError> {
    let limits = config.limits.as_ref().map(LimitsSection::limits);
    for (index, rule) in rules.iter().enumerate() {
        let Some(class) = rule.rate_class() else {
            continue;
        };
        let limited = |limits: &Limits| limits.classes().any(|limited| limited == class);
        if !limits.as_ref().is_some_and(limited) {
            let key = match config.policy.as_ref().map(|section| &section.rules) {
                Some(PolicyRules::File(_)) => Key::from("policy.file"),
                _ => Key::from("policy.rules").at(index).key("rate_class"),
            };
            return Err(ConfigError::RateClass {
                place: config.document.place(&key),
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
    document: Document,
    /// What is wrong with the configuration: what a policy means depends on who the callers are.
    wrong: Option<String>,
}

impl Load for ClassedPolicy {
    type Value = Policy;
    type Error = ConfigError;

    fn name(&self) -> &'static str {
        self.policy.name()
    }

    fn paths(&self) -> Vec<PathBuf> {
        let mut paths = self.policy.paths();
        paths.extend(self.document.file().map(PathBuf::from));
        paths
    }

    fn load(&mut self, previous: Option<&Policy>) -> Result<Policy, ConfigError> {
        let policy = self
            .policy
            .load(previous)
            .map_err(|error| self.document.unusable("policy.file", error))?;
        let config = Config::again(&self.document);
        self.wrong = config.as_ref().err().map(ToString::to_string);
        if let Ok(config) = config {
            check_classes(&config, policy.rules())?;
        }
        Ok(policy)
    }

    fn refused(&self, _: &Policy) -> Option<String> {
        self.wrong.clone()
    }

    fn lapsed(&mut self, current: &Policy) -> Option<Policy> {
        self.policy.lapsed(current)
    }
}
