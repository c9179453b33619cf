//! Routes, policy decisions and network sets, beside what one would write without them: the routes'
//! regular expression of distribution, a scan over all rules with `globset`, a scan over all
//! networks.
//!
//! ```text
//! cargo bench --bench policy --features digest-binding
//! ```
//!
//! `benches/cedar` has the decisions beside cedar-policy.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on has failed")]

#[path = "../figures/mod.rs"]
mod figures;
mod routes;
#[path = "../time/mod.rs"]
mod time;

use std::convert::Infallible;
use std::future::ready;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;
use figures::Figures;
use futures_util::FutureExt;
use globset::GlobMatcher;
use http::{Method, Request, Response, Uri};
use http_body_util::Empty;
use ipnet::IpNet;
use portcullis::oci::Route;
use portcullis::policy::{Actions, Caller, DigestBinding, Pattern, Policy, PolicyLayer, Rule, Who};
use portcullis::source::Networks;
use portcullis::{Connection, PeerIdentity, Principal, identity};
use time::time;
use tower::{Service, ServiceBuilder};

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 4711);
const RULES: usize = 10_000;
const NETWORKS: u32 = 100_000;

fn main() {
    let mut figures = Figures::new("policy");
    routes::measure(&mut figures);
    decisions(&mut figures);
    other_decisions(&mut figures);
    networks(&mut figures);
    binding(&mut figures);
    figures.report();
}

/// One rule a team, for its own token on its own repositories.
fn by_repository(number: usize) -> (String, String) {
    (format!("token:ci-{number}"), format!("team-{number}/**"))
}

/// One rule a token, all on the same repositories.
fn by_caller(number: usize) -> (String, String) {
    (format!("token:ci-{number}"), "shared/*".to_owned())
}

/// One rule a workload, all on the same repositories.
fn by_certificate(number: usize) -> (String, String) {
    let who = format!("spiffe://example.org/ns/team-{number}/sa/ci");
    (who, "shared/*".to_owned())
}

fn workload(number: usize) -> Principal {
    let id = format!("spiffe://example.org/ns/team-{number}/sa/ci");
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.subject_alt_names = vec![rcgen::SanType::URI(id.try_into().unwrap())];
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    Principal::from_peer(PeerIdentity::from_der(certificate.der()).unwrap())
}

fn decisions(figures: &mut Figures) {
    let token = Principal::new(identity::Method::Token, "ci-7777");
    for (name, rule_of, repository, principal) in [
        (
            "decision: 10,000 rules by repository",
            by_repository as fn(usize) -> _,
            "team-7777/app",
            &token,
        ),
        (
            "decision: 10,000 rules by caller",
            by_caller,
            "shared/app",
            &token,
        ),
        (
            "decision: 10,000 rules by SPIFFE ID",
            by_certificate,
            "shared/app",
            &workload(7777),
        ),
    ] {
        let rules: Vec<_> = (0..RULES).map(rule_of).collect();
        let policy = Policy::new(made(&rules)).unwrap();
        let scanned: Vec<Scanned> = rules.iter().map(Scanned::new).collect();
        let address: IpAddr = "10.0.0.1".parse().unwrap();
        let caller = Caller::new(Some(principal), Some(address));
        let uri: Uri = format!("/v2/{repository}/blobs/{DIGEST}").parse().unwrap();
        let route = Route::parse(&Method::GET, &uri).unwrap();
        let verdict = policy.decide(&caller, &route, None);
        assert!(verdict.is_allowed() && scan(&scanned, principal, repository));
        let ours = time(|| policy.decide(black_box(&caller), black_box(&route), None));
        let theirs = time(|| scan(&scanned, black_box(principal), black_box(repository)));
        figures
            .row(name, "ns", ours)
            .peer("scan with globset", theirs)
            .at_most(1000.0);

        let mut service = ServiceBuilder::new()
            .layer(PolicyLayer::new(policy))
            .service_fn(|_: Request<Empty<Bytes>>| {
                ready(Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new())))
            });
        for (kept, connection) in [
            ("uncached", None),
            ("cached", Some(Connection::builder(PEER).build())),
        ] {
            // The same request again and again, as on a connection that pulls the parts of an image.
            let mut request = Request::get(uri.clone())
                .header("host", "registry.example")
                .body(Empty::<Bytes>::new())
                .unwrap();
            request
                .extensions_mut()
                .extend(extensions(principal, connection.as_ref()));
            let whole = time(|| {
                let answer = service.call(black_box(request.clone()));
                assert_eq!(answer.now_or_never().unwrap().unwrap().status(), 200);
            });
            let row = figures.row(format!("{name}, the layer, {kept}"), "ns", whole);
            if kept == "uncached" {
                row.at_most(1000.0);
            }
        }
        let policy = Policy::new(made(&rules)).unwrap();

        let stranger = Principal::new(identity::Method::Token, "stranger");
        let caller = Caller::new(Some(&stranger), Some(address));
        let refused = time(|| policy.decide(black_box(&caller), black_box(&route), None));
        let theirs = time(|| scan(&scanned, black_box(&stranger), black_box(repository)));
        figures
            .row(format!("{name}, refused"), "ns", refused)
            .peer("scan with globset", theirs)
            .at_most(1000.0);
    }
}

/// 10,000 rules of one more kind, and a question that one of them answers.
struct Many {
    name: &'static str,
    /// The caller that the rule of this number names, on which repositories, and of which tags.
    rule_of: fn(usize) -> (String, String, Option<String>),
    denies: bool,
    principal: Principal,
    target: String,
    /// Whether the rules are found by a key. Where they are not, each is looked at.
    found: bool,
}

fn other_decisions(figures: &mut Figures) {
    let token = |id: &str| Principal::new(identity::Method::Token, id);
    let blob = |repository: &str| format!("/v2/{repository}/blobs/{DIGEST}");
    for many in [
        Many {
            name: "by group",
            rule_of: |number| (format!("group:team-{number}"), "shared/*".into(), None),
            denies: false,
            principal: token("ci").in_groups(["team-7777"]),
            target: blob("shared/app"),
            found: true,
        },
        Many {
            name: "by caller on a wildcard first",
            rule_of: |number| {
                let who = format!("token:ci-{number}");
                (who, format!("*/app-{number}"), None)
            },
            denies: false,
            principal: token("ci-7777"),
            target: blob("team/app-7777"),
            found: true,
        },
        Many {
            name: "on a wildcard first for all the known, each looked at",
            rule_of: |number| ("authenticated".into(), format!("*/app-{number}"), None),
            denies: false,
            principal: token("ci"),
            target: blob("team/app-7777"),
            found: false,
        },
        Many {
            name: "that deny, not this caller",
            rule_of: by_caller_of_tags,
            denies: true,
            principal: token("ci"),
            target: blob("shared/app"),
            found: true,
        },
        Many {
            name: "that deny, this caller",
            rule_of: by_caller_of_tags,
            denies: true,
            principal: token("ci-7777"),
            target: blob("shared/app"),
            found: true,
        },
        Many {
            name: "of tags, by repository",
            rule_of: |number| {
                let (who, repositories) = by_repository(number);
                (who, repositories, Some("v*".into()))
            },
            denies: false,
            principal: token("ci-7777"),
            target: "/v2/team-7777/app/manifests/v1".into(),
            found: true,
        },
        Many {
            name: "of tags alone, each looked at",
            rule_of: |number| {
                let tag = Some(format!("v{number}"));
                ("token:ci".into(), "shared/*".into(), tag)
            },
            denies: false,
            principal: token("ci"),
            target: "/v2/shared/app/manifests/v7777".into(),
            found: false,
        },
    ] {
        many.measure(figures);
    }
}

/// One rule a token, all on the same repositories, of whatever tags.
fn by_caller_of_tags(number: usize) -> (String, String, Option<String>) {
    let (who, repositories) = by_caller(number);
    (who, repositories, None)
}

impl Many {
    fn measure(self, figures: &mut Figures) {
        let rules: Vec<_> = (0..RULES).map(self.rule_of).collect();
        let denying = self.denies;
        // Without it nothing is allowed that could be denied.
        let allowing = denying.then(|| {
            Rule::allow("all", Who::Authenticated, Actions::PULL)
                .on_repositories([Pattern::repository("**").unwrap()])
        });
        let made = rules.iter().enumerate().map(|(number, rule)| {
            let (who, pattern, tag) = rule;
            let (name, who) = (number.to_string(), who.parse().unwrap());
            let rule = if self.denies {
                Rule::deny(name, who, Actions::PULL)
            } else {
                Rule::allow(name, who, Actions::PULL)
            };
            rule.on_repositories([Pattern::repository(pattern).unwrap()])
                .with_tags(tag.iter().map(|tag| Pattern::tag(tag).unwrap()))
        });
        let policy = Policy::new(made.chain(allowing)).unwrap();
        let uri: Uri = self.target.parse().unwrap();
        let route = Route::parse(&Method::GET, &uri).unwrap();
        let caller = Caller::new(Some(&self.principal), Some(PEER.ip()));
        let named = rules.iter().any(|(who, ..)| {
            let id = who.strip_prefix("token:");
            id == Some(self.principal.id())
        });
        let allowed = policy.decide(&caller, &route, None).is_allowed();
        assert_eq!(allowed, !(denying && named), "{}", self.name);
        let ours = time(|| policy.decide(black_box(&caller), black_box(&route), None));
        let name = format!("decision: 10,000 rules {}", self.name);
        let row = figures.row(name, "ns", ours);
        if self.found {
            row.at_most(1000.0);
        }
    }
}

fn made(rules: &[(String, String)]) -> impl Iterator<Item = Rule> {
    rules.iter().enumerate().map(|(number, (who, pattern))| {
        let who: Who = who.parse().unwrap();
        Rule::allow(number.to_string(), who, Actions::PULL)
            .on_repositories([Pattern::repository(pattern).unwrap()])
    })
}

fn extensions(principal: &Principal, connection: Option<&Connection>) -> http::Extensions {
    let mut extensions = http::Extensions::new();
    extensions.insert(principal.clone());
    if let Some(connection) = connection {
        extensions.insert(connection.clone());
    }
    extensions
}

struct Scanned {
    id: String,
    glob: GlobMatcher,
    denies: bool,
}

impl Scanned {
    fn new((who, pattern): &(String, String)) -> Self {
        Self {
            id: who.trim_start_matches("token:").to_owned(),
            glob: globset::GlobBuilder::new(pattern)
                .literal_separator(true)
                .build()
                .unwrap()
                .compile_matcher(),
            denies: false,
        }
    }
}

/// Deny wins, so all rules are looked at.
fn scan(rules: &[Scanned], principal: &Principal, repository: &str) -> bool {
    let spiffe = principal.peer().and_then(PeerIdentity::spiffe_id);
    let id = spiffe.unwrap_or(principal.id());
    let mut allowed = false;
    for rule in rules {
        if rule.id == id && rule.glob.is_match(repository) {
            if rule.denies {
                return false;
            }
            allowed = true;
        }
    }
    allowed
}

fn networks(figures: &mut Figures) {
    // Of lengths as in a routing table, spread over the whole space.
    let v4 = (0..NETWORKS).map(|number| {
        let address = Ipv4Addr::from(number.wrapping_mul(2_654_435_761));
        let length = 16 + u8::try_from(number % 9).unwrap();
        IpNet::new(address.into(), length).unwrap().trunc()
    });
    let v6 = (0..NETWORKS).map(|number| {
        let high = 0x2000_0000_u128 + u128::from(number.wrapping_mul(2_654_435_761) >> 3);
        let address = Ipv6Addr::from(high << 96 | u128::from(number) << 64);
        let length = 32 + u8::try_from(number % 33).unwrap();
        IpNet::new(address.into(), length).unwrap().trunc()
    });
    for (name, list) in [
        ("source: 100,000 IPv4 networks", v4.collect::<Vec<_>>()),
        ("source: 100,000 IPv6 networks", v6.collect::<Vec<_>>()),
    ] {
        let set = Networks::allow(list.iter().copied());
        // Addresses within and outside, in turn, so that not one path is hot.
        let within = list.iter().step_by(97).map(IpNet::addr);
        let addresses: Vec<IpAddr> = within
            .flat_map(|address| match address {
                IpAddr::V4(ip) => [
                    ip.into(),
                    Ipv4Addr::from(u32::from(ip) ^ 0x0080_0000).into(),
                ],
                IpAddr::V6(ip) => [ip.into(), Ipv6Addr::from(u128::from(ip) ^ 1 << 100).into()],
            })
            .collect();
        let mut turn = addresses.iter().cycle();
        let mut next = || *turn.next().unwrap_or(&IpAddr::V4(Ipv4Addr::LOCALHOST));
        let ours = time(|| set.permits(next()));
        let far = addresses
            .last()
            .copied()
            .unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let theirs = time(|| list.iter().any(|network| network.contains(black_box(&far))));
        figures
            .row(name, "ns", ours)
            .peer("scan", theirs)
            .at_most(100.0);
    }
}

fn binding(figures: &mut Figures) {
    let binding = DigestBinding::new(1_000_000);
    binding.bind(Some("docker.io"), "library/busybox", DIGEST);
    let ours = time(|| {
        binding.leads_to(
            Some("docker.io"),
            black_box("library/busybox"),
            black_box(DIGEST),
        )
    });
    figures.row("digest binding: a million digests", "ns", ours);
}
