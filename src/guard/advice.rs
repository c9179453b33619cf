//! What a configuration says that is no error and yet probably not meant, with its place.

use std::collections::HashSet;
use std::path::Path;
use std::time::SystemTime;

use super::certificates::{
    ClientCa, client_cas, first, not_for_servers, unknown_issuer, unknown_key,
};
use super::{Builder, Problem, SecurityWarning};
use crate::auth::Authentication;
use crate::config::{ClientAuthMode, Config, Document, Key, PolicyRules};
use crate::crl::CrlRequirement;
use crate::identity::Method;
use crate::policy::{Policy, Who};
use crate::util::clock;
use crate::util::file::{DOCUMENT, read_text};

/// Everything that is doubtful in `config`, of which `builder` was made.
pub(super) fn of(config: &Config, builder: &Builder) -> Vec<SecurityWarning> {
    let mut advice = Advice {
        config,
        builder,
        found: Vec::new(),
    };
    advice.networks();
    advice.credentials();
    advice.serving();
    advice.policy();
    advice.identity();
    advice.limits();
    advice.tls();
    #[cfg(unix)]
    advice.secrets();
    advice.found
}

pub(super) struct Advice<'a> {
    pub(super) config: &'a Config,
    pub(super) builder: &'a Builder,
    found: Vec<SecurityWarning>,
}

impl Advice<'_> {
    pub(super) fn tell(&mut self, document: &Document, key: &Key, problem: Problem) {
        let place = document.place(key);
        self.found
            .push(SecurityWarning::Doubtful { place, problem });
    }

    pub(super) fn here(&mut self, key: impl Into<Key>, problem: Problem) {
        self.tell(&self.config.document, &key.into(), problem);
    }

    /// The documents with rules of the policy, of that which is enforced and of its shadow, and the key of these.
    pub(super) fn rules(&self) -> Vec<(Document, Key)> {
        let Some(policy) = &self.config.policy else {
            return Vec::new();
        };
        let enforced = match &policy.rules {
            PolicyRules::Here(_) => Some((self.config.document.clone(), "policy.rules".into())),
            PolicyRules::File(file) => self.rules_of(file),
        };
        let shadow = policy.shadow.iter().filter_map(|file| self.rules_of(file));
        enforced.into_iter().chain(shadow).collect()
    }

    fn rules_of(&self, file: &Path) -> Option<(Document, Key)> {
        let file = self.config.document.resolve(file);
        let text = read_text(&file, DOCUMENT).ok()?;
        Some((Document::of_file(&file, text), "rules".into()))
    }

    fn policy(&mut self) {
        let Some(policy) = self.builder.policy_now() else {
            return;
        };
        let allows = policy.rules().iter().any(|rule| !rule.denies());
        if !allows {
            let here = matches!(
                self.config.policy.as_ref().map(|policy| &policy.rules),
                Some(PolicyRules::Here(_))
            );
            let key = if here { "policy.rules" } else { "policy.file" };
            self.here(key, Problem::AllowsNothing);
        }
        let cas = client_cas(self.config);
        for (document, rules) in self.rules() {
            self.callers_and_repositories(&document, &rules, &cas);
        }
    }

    fn callers_and_repositories(&mut self, document: &Document, rules: &Key, cas: &[ClientCa]) {
        for (key, text) in document.texts() {
            if !key.to_string().starts_with(&rules.to_string()) {
                continue;
            }
            let problem = match key.name() {
                Some("who") => {
                    let who = text.parse::<Who>().ok();
                    who.and_then(|who| self.nobody(&who, &text, cas))
                }
                Some("repositories") => host_in_repository(&text),
                _ => None,
            };
            if let Some(problem) = problem {
                self.tell(document, &key, problem);
            }
        }
    }

    /// Returns why no caller can be one of these; groups are reported where the policy is.
    fn nobody(&self, who: &Who, text: &str, cas: &[ClientCa]) -> Option<Problem> {
        let nobody = |why| {
            let who = text.into();
            Some(Problem::Nobody { who, why })
        };
        let authentication = self.builder.authentication.as_ref();
        let tokens = authentication.is_some_and(Authentication::takes_tokens);
        let by_certificate = authentication.is_none_or(Authentication::takes_certificates);
        match who {
            Who::Anonymous if authentication.is_some_and(|all| !all.lets_anonymous_in()) => {
                nobody("[auth] lets nobody in who shows nothing (`anonymous = true` would)")
            }
            Who::Principal(..) | Who::Anonymous if self.builder.authenticator.is_some() => None,
            Who::Principal(Method::Certificate | Method::Jwt, id) if is_pattern(id) => nobody(
                "an id is compared as it is written, and is no pattern: write `authenticated`, a group, or a name of \
                 certificates, as \"dns:*.nodes.example.org\"",
            ),
            Who::Principal(Method::Custom, _) => {
                nobody("the program finds out by no way of its own who calls (`authenticate_with`)")
            }
            Who::Principal(Method::Token, _) if !tokens => nobody("[auth] takes no tokens"),
            Who::Principal(Method::Token, id) => {
                let credentials = authentication.and_then(Authentication::credentials);
                let credentials = credentials.map(crate::Watched::load);
                let known = credentials.is_some_and(|all| all.owner(id).is_some());
                if known {
                    None
                } else {
                    nobody("[auth] has no credential of this id")
                }
            }
            #[cfg(feature = "jwt")]
            Who::Principal(Method::Jwt, _)
                if authentication.is_none_or(|all| all.issuers().next().is_none()) =>
            {
                nobody("[[auth.jwt]] names no issuer")
            }
            #[cfg(not(feature = "jwt"))]
            Who::Principal(Method::Jwt, _) => nobody("signed tokens are not taken"),
            Who::Principal(Method::Certificate, _)
            | Who::Spiffe(_)
            | Who::Dns(_)
            | Who::Email(_)
            | Who::Uri(_)
            | Who::Subject(_)
            | Who::Issuer(_)
            | Who::Fingerprint(_)
                if self.asks_for_no_certificate(cas) =>
            {
                nobody(
                    "[tls] asks no client for a certificate: name the CAs in `client_ca`, and no `client_auth = \"none\"`",
                )
            }
            Who::Principal(Method::Certificate, _) if !by_certificate => {
                nobody("[auth] looks at no certificate: write \"token-or-certificate\"")
            }
            Who::Spiffe(pattern) => {
                let domains = self.config.tls.as_ref().map(|tls| &tls.trust_domains);
                let domains = domains.filter(|domains| !domains.is_empty())?;
                let rest = pattern.as_str().strip_prefix("spiffe://")?;
                let domain = rest.split('/').next()?;
                if domains.contains_key(domain) {
                    return None;
                }
                nobody("tls.trust_domains does not have this trust domain")
            }
            Who::Issuer(issuer) => unknown_issuer(issuer, cas),
            _ => None,
        }
    }

    fn asks_for_no_certificate(&self, cas: &[ClientCa]) -> bool {
        let tls = self.config.tls.as_ref();
        tls.is_some_and(|tls| cas.is_empty() || tls.mode() == ClientAuthMode::None)
    }

    fn identity(&mut self) {
        if self.config.identity.is_none() {
            return;
        }
        let cas = client_cas(self.config);
        for (key, text) in self.config.document.texts() {
            let rule = key.to_string().starts_with("identity.map[");
            let named = matches!(key.name(), Some("issuer" | "anchor"));
            let whole = !text.contains(['*', '{']);
            let problem = match key.name() {
                Some("anchor.key") => unknown_key(&text, &cas),
                _ if named => unknown_issuer(&text, &cas),
                _ => None,
            };
            if let Some(problem) = problem.filter(|_| rule && whole) {
                self.here(key, problem);
            }
        }
    }

    /// Names that nothing has, in limits and among the groups that are exempt from digest binding.
    fn limits(&mut self) {
        let policy = self.builder.policy_now();
        let rules = policy.as_ref().map(|policy| policy.rules());
        let classes: HashSet<String> = rules
            .into_iter()
            .flatten()
            .filter_map(|rule| Some(rule.rate_class()?.name().to_owned()))
            .collect();
        let groups = self.builder.groups();
        let nobody_is_known =
            self.builder.authentication.is_none() && client_cas(self.config).is_empty();
        for (key, text) in self.config.document.texts() {
            let path = key.to_string();
            if !path.starts_with("limits.") && !path.starts_with("policy.digest_binding.") {
                continue;
            }
            let problem = match key.name() {
                Some("class") if !classes.contains(&text) => {
                    Some(Problem::UnusedClass { class: text.into() })
                }
                Some("groups" | "group" | "exempt_groups") if !groups.may_have(&text) => {
                    Some(Problem::NobodysGroup { group: text.into() })
                }
                Some("key" | "by") if text == "principal" && nobody_is_known => {
                    Some(Problem::UnusedKey {
                        key: "principal",
                        why: "callers show neither a token nor a certificate",
                    })
                }
                Some("key" | "by") if text == "group" && groups.are_none() => {
                    Some(Problem::UnusedKey {
                        key: "group",
                        why: "no credential, rule of [identity] or issuer gives one",
                    })
                }
                _ => None,
            };
            if let Some(problem) = problem {
                self.here(key, problem);
            }
        }
    }

    fn tls(&mut self) {
        let Some(tls) = &self.config.tls else {
            return;
        };
        let document = &self.config.document;
        for (key, file) in tls.files(document) {
            if matches!(key.name(), Some("certificate" | "bundle"))
                && let Some(problem) = first(&file).and_then(|der| not_for_servers(&der))
            {
                self.here(key, problem);
            }
        }
        let known = client_cas(self.config);
        for (domain, names) in &tls.trust_domains {
            let digest =
                |name: &str| name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
            let unknown = names
                .iter()
                .enumerate()
                .find(|(_, name)| !digest(name) && !known.iter().any(|ca| *ca.subject == **name));
            if let Some((index, name)) = unknown {
                let key = Key::from("tls.trust_domains").key(domain).at(index);
                let problem = Problem::UnknownAuthority {
                    ca: name.as_str().into(),
                    known: known.iter().map(|ca| format!("{:?}", ca.subject)).collect(),
                };
                self.here(key, problem);
            }
        }
        let material = self
            .builder
            .acceptor
            .as_ref()
            .map(|acceptor| acceptor.material().load());
        let Some(revocation) = material.as_ref().and_then(|material| material.revocation()) else {
            return;
        };
        let (options, lists) = (revocation.options(), revocation.lists().load());
        let (cas, requirements) = (client_cas(self.config), revocation.requirements());
        let needs_lists = !options.leaf_only || lists.is_empty();
        for ca in &cas {
            let required = requirements.of(&ca.info);
            let (key, subject) = (ca.key.clone(), ca.subject.clone());
            if required.requirement != CrlRequirement::None
                && let Some(why) = lists.why_none_counts(&ca.name)
            {
                let subject = subject.clone();
                self.here(key.clone(), Problem::NoListCounts { subject, why });
            }
            match (required.requirement, lists.has_of(&ca.name)) {
                (CrlRequirement::Required, false)
                    if needs_lists && required.short_lived.is_none() =>
                {
                    self.here(key, Problem::NoList { subject });
                }
                (CrlRequirement::None, true) => self.here(key, Problem::ListNotAsked { subject }),
                _ => {}
            }
        }
        let infos: Vec<_> = cas.iter().map(|ca| &ca.info).collect();
        for index in requirements.without_ca(&infos) {
            let key = Key::from("crl.authority").at(index).key("ca");
            let sections = self.config.crl.iter().flat_map(|crl| &crl.authority);
            let written = sections.map(|section| &*section.ca).nth(index);
            let problem = Problem::UnknownAuthority {
                ca: written.unwrap_or_default().into(),
                known: cas.iter().map(|ca| format!("{:?}", ca.subject)).collect(),
            };
            self.here(key, problem);
        }
        let now = clock::now().duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default().saturating_sub(options.grace);
        let ended = lists.ended(now.as_secs());
        if ended > 0 {
            let all = lists.active();
            self.here("crl.files", Problem::ListsEnded { ended, all });
        }
        for (issuer, base) in lists.without_base() {
            let (issuer, base) = (issuer.into(), base.into());
            self.here("crl.files", Problem::NoBase { issuer, base });
        }
        for why in lists.held_back() {
            self.here("crl.files", Problem::HeldBack(why.into()));
        }
    }

    #[cfg(unix)]
    fn secrets(&mut self) {
        for (key, file) in super::secrets::files(self.config) {
            if let Some(mode) = super::secrets::everybodys(&file) {
                let file = file.display().to_string().into();
                self.here(key, Problem::Readable { file, mode });
            }
        }
        let auth = self.config.auth.iter();
        for (key, file) in auth.flat_map(|auth| auth.digest_files(&self.config.document)) {
            if let Some(mode) = super::secrets::everybodys(&file) {
                let file = file.display().to_string().into();
                self.here(key, Problem::DigestsReadable { file, mode });
            }
        }
        // A folder that several files are in is named once.
        let mut known = HashSet::new();
        let own = super::secrets::own_groups();
        for (key, file) in super::secrets::deciding(self.config) {
            if let Some((mode, group)) = super::secrets::group_writes(&file, &own) {
                let path = file.display().to_string().into();
                let problem = Problem::GroupWritable { path, mode, group };
                self.here(key.clone(), problem);
            }
            if let Some((path, mode)) = super::secrets::everybody_writes(&file)
                && known.insert(path.clone())
            {
                let path = path.display().to_string().into();
                self.here(key, Problem::Writable { path, mode });
            }
        }
    }
}

impl Builder {
    fn policy_now(&self) -> Option<crate::reload::Current<Policy>> {
        self.policy.as_ref().map(|layer| layer.policy.load())
    }
}

/// As Docker distinguishes a registry's host from a repository's first component.
fn host_in_repository(pattern: &str) -> Option<Problem> {
    let (host, rest) = pattern.split_once('/')?;
    let is_host = host == "localhost" || host.contains(['.', ':']);
    (is_host && !host.contains(['{', '*'])).then(|| Problem::HostInRepository {
        pattern: pattern.into(),
        host: host.into(),
        rest: rest.into(),
    })
}

/// Whether an id is probably meant as a pattern. A certificate may have the name `*.example.org` itself.
fn is_pattern(id: &str) -> bool {
    id.contains('*') && !id.starts_with("*.")
}
