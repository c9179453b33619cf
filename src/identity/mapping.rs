use std::fmt::Write as _;
use std::net::IpAddr;
use std::str::FromStr;

use ipnet::IpNet;
use regex_lite::Regex;

use super::mapping_error::MappingError;
use super::{IdentityError, Method, PeerIdentity, Principal};

/// Rules that make a [`Principal`] of a certificate: the first that matches wins, and where none
/// does, the certificate's own name without groups.
///
/// ```
/// use portcullis::identity::{Mapping, Rule};
///
/// let nodes = Rule::new("node:{name}")?
///     .when("subject.O", "system:nodes")?
///     .when("subject.CN", "system:node:{name}")?
///     .in_group("nodes")?;
/// let builds = Rule::new("ci:{account}")?.when("spiffe", "spiffe://example.org/ns/ci/sa/{account}")?;
/// let mapping = Mapping::new([nodes, builds])?;
/// # Ok::<_, portcullis::identity::IdentityError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Mapping {
    rules: Vec<Rule>,
    common_name: bool,
}

/// One rule: all its conditions must hold.
#[derive(Clone, Debug)]
pub struct Rule {
    id: Template,
    groups: Vec<Template>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug)]
struct Condition {
    field: Field,
    test: Test,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Subject,
    SubjectAttribute(&'static str),
    Issuer,
    Anchor,
    AnchorKey,
    Spiffe,
    Dns,
    Ip,
    Email,
    Uri,
    Serial,
    Fingerprint,
}

#[derive(Clone, Debug)]
enum Test {
    Text { regex: Regex, captures: Vec<String> },
    Network(IpNet),
}

/// Text with captures to fill in.
#[derive(Clone, Debug)]
struct Template(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Capture(String),
}

/// What the conditions of a rule captured.
type Captured = Vec<(String, String)>;

impl Mapping {
    /// Makes a mapping of these rules, in this order.
    ///
    /// # Errors
    /// Returns an error for a rule without a condition, and for one that uses what none of its conditions
    /// captures.
    pub fn new(rules: impl IntoIterator<Item = Rule>) -> Result<Self, IdentityError> {
        let rules = rules.into_iter().map(Rule::checked);
        Ok(Self {
            rules: rules.collect::<Result<_, _>>()?,
            common_name: false,
        })
    }

    /// Sets whether a certificate that matches no rule is called by its common name, where it has exactly one
    /// and no SPIFFE ID. A common name with `/` or `=` in it is not taken: it could be another's SPIFFE ID or
    /// subject. Default: no, a common name is not an identity.
    pub fn with_common_name(mut self, common_name: bool) -> Self {
        self.common_name = common_name;
        self
    }

    #[cfg(feature = "auth")]
    pub(crate) fn len(&self) -> usize {
        self.rules.len()
    }

    #[cfg(feature = "auth")]
    pub(crate) fn takes_common_names(&self) -> bool {
        self.common_name
    }

    /// Every group that a rule gives; `None` if what a certificate says is part of one.
    #[cfg(all(feature = "auth", feature = "policy"))]
    pub(crate) fn groups(&self) -> Option<Vec<String>> {
        let groups = self.rules.iter().flat_map(|rule| &rule.groups);
        groups.map(Template::literal).collect()
    }

    /// Returns the principal of this certificate's owner.
    pub fn principal(&self, peer: &PeerIdentity) -> Principal {
        for rule in &self.rules {
            let Some(captured) = rule.matches(peer) else {
                continue;
            };
            let groups = rule.groups.iter().map(|group| group.fill(&captured));
            return Principal::new(Method::Certificate, rule.id.fill(&captured))
                .in_groups(groups)
                .on_peer(peer.clone());
        }
        match common_name(peer).filter(|_| self.common_name) {
            Some(name) => Principal::new(Method::Certificate, name).on_peer(peer.clone()),
            None => Principal::from_peer(peer.clone()),
        }
    }
}

fn common_name(peer: &PeerIdentity) -> Option<&str> {
    let name = peer.single_subject_attribute("CN")?;
    let only = peer.spiffe_id().is_none() && !name.contains(['/', '=']);
    only.then_some(name)
}

impl Rule {
    /// Makes a rule for callers of this id, in which `{name}` stands for what a condition captured.
    ///
    /// # Errors
    /// Returns an error for an empty id, and for braces that are no capture.
    pub fn new(id: &str) -> Result<Self, IdentityError> {
        Ok(Self {
            id: Template::of_name(id)?,
            groups: Vec::new(),
            conditions: Vec::new(),
        })
    }

    /// Matches only if a value of `field` matches `pattern` as a whole. `issuer` is the name of the CA that
    /// signed the certificate, which an intermediate of another client CA may have too; `anchor` is the name of
    /// the client CA that the path was verified up to, and `anchor.key` the SHA-256 of its public key. In a
    /// pattern `*` is any text without a slash, `**` any text, and `{name}` captures a non-empty text without a
    /// slash. In `dns` the dot takes the slash's place, so that both stay within one label, and case does not
    /// count. For `ip` the pattern is a network.
    ///
    /// # Errors
    /// Returns an error for an unknown field, and for a pattern that is none.
    pub fn when(mut self, field: &str, pattern: &str) -> Result<Self, IdentityError> {
        let field = field.parse()?;
        let test = if field == Field::Ip {
            let single = pattern.parse::<IpAddr>().map(IpNet::from);
            let network = single.or_else(|_| pattern.parse());
            Test::Network(network.map_err(|_| MappingError::Network(pattern.to_owned()))?)
        } else {
            pattern_test(field, pattern)?
        };
        if let Test::Text { captures, .. } = &test
            && captures.iter().any(|name| self.captures(name))
        {
            return Err(MappingError::Pattern(pattern.to_owned()).into());
        }
        self.conditions.push(Condition { field, test });
        Ok(self)
    }

    /// Puts such callers in this group, with `{name}` as in the id.
    ///
    /// # Errors
    /// Returns an error for braces that are no capture.
    pub fn in_group(mut self, group: &str) -> Result<Self, IdentityError> {
        let group = Template::of_name(group)?;
        self.groups.push(group);
        Ok(self)
    }

    pub(crate) fn checked(self) -> Result<Self, MappingError> {
        // Such a rule would make everybody the same caller.
        if self.conditions.is_empty() {
            return Err(MappingError::Unconditional);
        }
        for template in std::iter::once(&self.id).chain(&self.groups) {
            for part in &template.0 {
                if let Part::Capture(name) = part
                    && !self.captures(name)
                {
                    return Err(MappingError::Template(name.clone()));
                }
            }
        }
        Ok(self)
    }

    fn captures(&self, name: &str) -> bool {
        self.conditions
            .iter()
            .any(|condition| match &condition.test {
                Test::Text { captures, .. } => captures.iter().any(|one| one == name),
                Test::Network(_) => false,
            })
    }

    fn matches(&self, peer: &PeerIdentity) -> Option<Captured> {
        let mut captured = Captured::new();
        for condition in &self.conditions {
            captured.extend(condition.matches(peer)?);
        }
        Some(captured)
    }
}

impl Condition {
    fn matches(&self, peer: &PeerIdentity) -> Option<Captured> {
        let (regex, captures) = match &self.test {
            Test::Network(network) => {
                let within = |address: &IpAddr| network.contains(&address.to_canonical());
                return peer.ip_addresses().iter().any(within).then(Vec::new);
            }
            Test::Text { regex, captures } => (regex, captures),
        };
        let test = |value: &str| {
            let found = regex.captures(value)?;
            let named = |name: &String| Some((name.clone(), found.name(name)?.as_str().to_owned()));
            captures.iter().map(named).collect::<Option<Captured>>()
        };
        let boxed = |values: &[Box<str>]| values.iter().find_map(|value| test(value));
        match self.field {
            Field::Subject => test(peer.subject()),
            Field::SubjectAttribute(keyword) => peer.subject_attribute(keyword).find_map(test),
            Field::Issuer => test(peer.issuer()),
            Field::Anchor => peer.anchor_subject().and_then(test),
            Field::AnchorKey => peer.anchor_key_hex().and_then(test),
            Field::Spiffe => peer.spiffe_id().and_then(test),
            Field::Dns => boxed(peer.dns_names()),
            Field::Email => boxed(peer.emails()),
            Field::Uri => boxed(peer.uris()),
            Field::Serial => test(peer.serial()),
            Field::Fingerprint => test(&peer.fingerprint_hex()),
            Field::Ip => None,
        }
    }
}

impl FromStr for Field {
    type Err = MappingError;

    fn from_str(text: &str) -> Result<Self, MappingError> {
        Ok(match text {
            "subject" => Self::Subject,
            "issuer" => Self::Issuer,
            "anchor" => Self::Anchor,
            "anchor.key" => Self::AnchorKey,
            "spiffe" => Self::Spiffe,
            "dns" => Self::Dns,
            "ip" => Self::Ip,
            "email" => Self::Email,
            "uri" => Self::Uri,
            "serial" => Self::Serial,
            "fingerprint" => Self::Fingerprint,
            _ => {
                let keyword = text.strip_prefix("subject.");
                let known = ["CN", "O", "OU", "UID", "DC", "C", "L", "ST", "STREET"];
                let known = known.into_iter().find(|known| Some(*known) == keyword);
                Self::SubjectAttribute(known.ok_or_else(|| MappingError::Field(text.to_owned()))?)
            }
        })
    }
}

impl Template {
    /// The text of an id or a group: with none, each caller that the rule is about would be one without a name.
    fn of_name(text: &str) -> Result<Self, MappingError> {
        if text.trim().is_empty() {
            return Err(MappingError::Empty);
        }
        Self::parse(text)
    }

    fn parse(text: &str) -> Result<Self, MappingError> {
        let wrong = || MappingError::Pattern(text.to_owned());
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (before, after) = rest.split_at(open);
            let (name, after) = after
                .strip_prefix('{')
                .and_then(|after| after.split_once('}'))
                .ok_or_else(wrong)?;
            parts.push(Part::Text(before.to_owned()));
            parts.push(Part::Capture(
                capture_name(name).ok_or_else(wrong)?.to_owned(),
            ));
            rest = after;
        }
        parts.push(Part::Text(rest.to_owned()));
        Ok(Self(parts))
    }

    #[cfg(all(feature = "auth", feature = "policy"))]
    fn literal(&self) -> Option<String> {
        let text = |part: &Part| match part {
            Part::Text(text) => Some(text.clone()),
            Part::Capture(_) => None,
        };
        self.0.iter().map(text).collect()
    }

    fn fill(&self, captured: &Captured) -> String {
        let text = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Capture(name) => captured
                .iter()
                .find_map(|(known, value)| (known == name).then(|| value.clone()))
                .unwrap_or_default(),
        };
        self.0.iter().map(text).collect()
    }
}

fn capture_name(name: &str) -> Option<&str> {
    let mut bytes = name.bytes();
    let first = bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    (first && rest).then_some(name)
}

fn pattern_test(field: Field, pattern: &str) -> Result<Test, MappingError> {
    // A certificate's DNS names are in lower case.
    let (within, lower) = match field {
        Field::Dns => ("[^.]", true),
        _ => ("[^/]", false),
    };
    let wrong = || MappingError::Pattern(pattern.to_owned());
    let mut expression = String::from("^");
    let mut captures: Vec<String> = Vec::new();
    for part in Template::parse(pattern)?.0 {
        match part {
            Part::Text(text) => {
                let text = if lower {
                    text.to_ascii_lowercase()
                } else {
                    text
                };
                for (at, run) in text.split("**").enumerate() {
                    expression.push_str(if at > 0 { "(?s:.*)" } else { "" });
                    let runs = run.split('*').map(regex_lite::escape);
                    expression.push_str(&runs.collect::<Vec<_>>().join(&format!("{within}*")));
                }
            }
            Part::Capture(name) => {
                if captures.contains(&name) {
                    return Err(wrong());
                }
                let _ = write!(expression, "(?P<{name}>{within}+)");
                captures.push(name);
            }
        }
    }
    expression.push_str("\\z");
    let regex = Regex::new(&expression).map_err(|_| wrong())?;
    Ok(Test::Text { regex, captures })
}
