//! Credentials that are good for no caller, at no time or from nowhere.

use super::Problem;
use super::advice::Advice;
use crate::auth::file::{Doubt, doubts};
use crate::config::{ClientAuthMode, HtpasswdEntry, Key, Requirement, SecretEntry};
use crate::util::clock;

impl Advice<'_> {
    pub(super) fn credentials(&mut self) {
        let Some(auth) = &self.config.auth else {
            return;
        };
        let tls = self.config.tls.as_ref();
        if matches!(
            auth.require,
            Requirement::Certificate | Requirement::TokenAndCertificate
        ) && !auth.anonymous
            && tls.is_some_and(|tls| tls.mode() == ClientAuthMode::None)
        {
            self.here("auth.require", Problem::CertificateNotAsked);
        }
        let now = clock::now();
        for (index, token) in auth.tokens.iter().enumerate() {
            let key = Key::from("auth.token").at(index);
            let (from, until) = token.validity();
            let id = || token.id().into();
            if until.is_some_and(|until| until <= now) {
                self.here(key.clone().key("expires"), Problem::Expired { id: id() });
            } else if from.is_some_and(|from| from > now) {
                let problem = Problem::NotYetGood { id: id() };
                self.here(key.clone().key("not_before"), problem);
            }
            if token.is_good_nowhere() {
                self.here(key.key("networks"), Problem::NoNetwork);
            }
        }
        let htpasswd = auth.htpasswd.iter().map(HtpasswdEntry::is_good_nowhere);
        let htpasswd = htpasswd.enumerate().map(|found| ("auth.htpasswd", found));
        let secrets = auth.secrets.iter().map(SecretEntry::is_good_nowhere);
        let secrets = secrets.enumerate().map(|found| ("auth.secrets", found));
        for (list, (index, nowhere)) in htpasswd.chain(secrets) {
            if nowhere {
                let key = Key::from(list).at(index).key("networks");
                self.here(key, Problem::NoNetwork);
            }
        }
        for document in self.credentials_files() {
            for (key, id, doubt) in doubts(&document, now) {
                let problem = match doubt {
                    Doubt::Expired => Problem::Expired { id },
                    Doubt::NotYetGood => Problem::NotYetGood { id },
                    Doubt::NoNetwork => Problem::NoNetwork,
                };
                self.tell(&document, &key, problem);
            }
        }
    }
}
