//! Which key of a configuration an error is about.

use std::path::PathBuf;

use crate::config::{Config, ConfigError, Key, TlsSection};
use crate::policy::PolicyError;
use crate::tls::TlsError;

/// Points at the key that names the file that is wrong.
pub(super) fn unusable_tls(config: &Config, section: &TlsSection, error: TlsError) -> ConfigError {
    let document = &config.document;
    let mut files = section.files(document);
    let lists = config.crl.as_ref().map(|crl| crl.named(document));
    files.extend(lists.into_iter().flatten());
    let is_about = |file: &PathBuf| error.path().is_some_and(|path| path.starts_with(file));
    let named = match &error {
        // One key may stand beside several certificates.
        TlsError::KeyMismatch { certificate, key } => files
            .windows(2)
            .find(|pair| pair[0].1 == *certificate && pair[1].1 == *key)
            .map(|pair| &pair[1]),
        // A file can be named by two keys.
        TlsError::NoCertificate { .. } => files
            .iter()
            .find(|(key, file)| key.name() != Some("key") && is_about(file)),
        TlsError::NoKey { .. } => files
            .iter()
            .find(|(key, file)| key.name() != Some("certificate") && is_about(file)),
        _ => files.iter().find(|(_, file)| is_about(file)),
    };
    let key = named.map(|(key, _)| key.clone());
    match error {
        TlsError::Crl(error) => document.unusable(key.unwrap_or_else(|| "crl".into()), error),
        error => document.unusable(key.unwrap_or_else(|| "tls".into()), error),
    }
}

/// Which rule of those in the configuration an error is about.
pub(super) fn doubtful_rule(error: &PolicyError) -> Key {
    let rules = Key::from("policy.rules");
    match error {
        PolicyError::Rule { index, .. } => rules.at(index - 1),
        PolicyError::DuplicateName { second, .. } => rules.at(second - 1).key("name"),
        _ => rules,
    }
}
