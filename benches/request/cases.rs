//! The servers of ours that are compared.

/// The token that callers show.
pub(crate) const TOKEN: &str = "cK7wQ2xRt9LmZ4vB8nPyD3sHf6Jg";
/// Hyper without anything of this crate.
pub(crate) const BARE: &str = "bare hyper";
/// `Server` with TLS and without a guard.
pub(crate) const UNGUARDED: &str = "serve, TLS, no guard";
/// Everything, with the access log as lines of JSON in a file.
pub(crate) const JSON: &str = "Guard, JSON lines";

/// A server under a name.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// What the configuration has besides `[tls]`; none for the bare server.
    pub(crate) sections: Option<String>,
    /// Whether it can be asked over TLS alone.
    pub(crate) wants_certificate: bool,
    pub(crate) log: Log,
}

/// What becomes of the access log and the metrics.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Log {
    /// Neither.
    Off,
    /// What the configuration says.
    File,
    /// A recorder counts.
    Metrics,
    /// `tracing-subscriber` writes the events as JSON into a file.
    Tracing,
}

const CRL: &str = "[crl]\nfiles = [\"crl.pem\"]\n";
const SOURCE: &str = "[source]\nallow = [\"127.0.0.0/8\"]\ndeny = [\"127.9.0.0/16\"]\n";
// Without the throttle, so that each wrong token costs what the first does.
const AUTH: &str = "[auth]\nrequire = \"token-and-certificate\"\nthrottle = { enabled = false }\n\
                    [[auth.token]]\nid = \"node\"\nfile = \"token\"\n";
const POLICY: &str = "[[policy.rules]]\nname = \"library\"\nwho = [\"token:node\"]\n\
                      actions = [\"pull\"]\nrepositories = [\"library/**\"]\n";
const LIMITS: &str = "[[limits.limit]]\nname = \"line\"\nkey = \"total\"\nrate = \"100GB\"\n\
                      [[limits.limit]]\nname = \"caller\"\nkey = \"principal\"\nrate = \"100GB\"\n";
const FULL: &str = "[access_log]\nfile = \"full.jsonl\"\n";
const COMPACT: &str = "[access_log]\nfile = \"compact.jsonl\"\nfields = \"compact\"\n";

/// Every case, the bare server first, then with a layer more each.
pub(crate) fn all() -> Vec<Case> {
    let layers = [CRL, SOURCE, AUTH, POLICY, LIMITS];
    let some = |count: usize| layers[..count].concat();
    let token = AUTH.replace("token-and-certificate", "token");
    let plain = [SOURCE, &token, POLICY, LIMITS].concat();
    let case = |name, sections: String, log| Case {
        name,
        wants_certificate: !sections.contains("\"token\"\n") || sections.contains("[crl]"),
        sections: Some(sections),
        log,
    };
    let mut cases = vec![
        Case {
            name: BARE,
            sections: None,
            wants_certificate: false,
            log: Log::Off,
        },
        case(UNGUARDED, some(0), Log::Off),
        case("Guard of TLS alone", some(0), Log::Off),
        case("and revocation", some(1), Log::Off),
        case("and source networks", some(2), Log::Off),
        case("and token", some(3), Log::Off),
        case("and policy", some(4), Log::Off),
        case("Guard, no log", some(5), Log::Off),
        case("Guard, metrics", some(5), Log::Metrics),
        case("Guard, JSON lines, compact", some(5) + COMPACT, Log::File),
        case(JSON, some(5) + FULL, Log::File),
        case("Guard, tracing's JSON", some(5), Log::Tracing),
    ];
    cases.push(case(
        "Guard without certificates, no log",
        plain.clone(),
        Log::Off,
    ));
    cases.push(case(
        "Guard without certificates, JSON lines",
        plain + FULL,
        Log::File,
    ));
    cases
}

/// The case of this name.
pub(crate) fn named(name: &str) -> Case {
    let mut cases = all().into_iter();
    cases.find(|case| case.name == name).unwrap()
}
