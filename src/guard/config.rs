use std::path::PathBuf;

use super::Guard;
use crate::config::{
    ClientAuthMode, Config, ConfigError, LimitsSection, PolicyRules, SourceSection,
};
use crate::policy::{BindingLayer, Policy, PolicyFile, PolicyLayer};
use crate::refusal::Challenge;
use crate::reload::Load;
use crate::{Preset, Responder, Watched};

impl Guard {
    /// The guard that a configuration file describes. Networks, policy and limits follow the file
    /// from then on; the other sections are read once, though the files that they name (keys,
    /// tokens, CRLs) are followed too.
    ///
    /// # Errors
    /// What the file names cannot be used.
    pub fn from_config(config: &Config) -> Result<Self, ConfigError> {
        let mut builder = Self::builder()
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
                .map_err(|error| config.unusable("auth.token", error))?;
            builder = builder.authentication(authentication);
        }
        if let Some(section) = &config.policy {
            let mut layer = PolicyLayer::watching(policy(config, &section.rules)?);
            if let Some(shadow) = &section.shadow {
                let file = PolicyFile::new(config.resolve(shadow)).as_shadow();
                let shadow = Watched::watch(file, config.reload.options())
                    .map_err(|error| config.unusable("policy.shadow", error))?;
                layer = layer.with_shadow(shadow);
            }
            builder = builder.policy_layer(layer);
            if let Some(binding) = &section.digest_binding {
                builder = builder.digest_binding(BindingLayer::new(binding.binding()));
            }
        }
        if config.crl.is_some() && !asks_for_certificates(config) {
            return Err(ConfigError::NothingToRevoke {
                file: config.file.clone(),
            });
        }
        if let Some(section) = &config.tls {
            let revocation = match &config.crl {
                Some(section) => Some(
                    section
                        .revocation(config)
                        .map_err(|error| config.unusable("crl", error))?,
                ),
                None => None,
            };
            let acceptor = section
                .acceptor(config, revocation)
                .map_err(|error| config.unusable("tls", error))?;
            builder = builder.acceptor(acceptor);
        }
        if config.limits.is_some() {
            builder = builder.limits(follow(config, "limits", |config| {
                Ok(config.limits.as_ref().map(LimitsSection::limits))
            })?);
        }
        Ok(builder.build())
    }
}

fn asks_for_certificates(config: &Config) -> bool {
    let tls = config.tls.as_ref();
    tls.is_some_and(|section| section.mode() != ClientAuthMode::None)
}

fn responder(config: &Config) -> Result<Responder, ConfigError> {
    let responder = Responder::new(config.preset).with_hidden(config.hidden);
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

fn policy(config: &Config, rules: &PolicyRules) -> Result<Watched<Policy>, ConfigError> {
    match rules {
        PolicyRules::File(file) => {
            let file = PolicyFile::new(config.resolve(file));
            Watched::watch(file, config.reload.options())
                .map_err(|error| config.unusable("policy.file", error))
        }
        PolicyRules::Here(_) => follow(config, "policy", |config| {
            match config.policy.as_ref().map(|section| &section.rules) {
                Some(PolicyRules::Here(rules)) => {
                    let policy = Policy::new(rules.iter().cloned())
                        .map_err(|error| config.unusable("policy.rules", error))?;
                    for warning in policy.warnings() {
                        tracing::warn!(file = %config.file.display(), "{warning}");
                    }
                    Ok(Some(policy))
                }
                _ => Ok(None),
            }
        }),
    }
}

fn follow<T: Send + Sync + 'static>(
    config: &Config,
    section: &'static str,
    pick: fn(&Config) -> Result<Option<T>, ConfigError>,
) -> Result<Watched<T>, ConfigError> {
    let section = Section {
        file: config.file.clone(),
        name: section,
        pick,
    };
    Watched::watch(section, config.reload.options())
}

/// One section of the configuration file, read again when the file changes.
struct Section<T> {
    file: PathBuf,
    name: &'static str,
    pick: fn(&Config) -> Result<Option<T>, ConfigError>,
}

impl<T: Send + Sync + 'static> Load for Section<T> {
    type Value = T;
    type Error = ConfigError;

    fn name(&self) -> &'static str {
        self.name
    }

    fn paths(&self) -> Vec<PathBuf> {
        vec![self.file.clone()]
    }

    fn load(&mut self, _previous: Option<&T>) -> Result<T, ConfigError> {
        let config = Config::load(&self.file)?;
        (self.pick)(&config)?.ok_or_else(|| ConfigError::SectionGone {
            file: self.file.clone(),
            section: self.name,
        })
    }
}
