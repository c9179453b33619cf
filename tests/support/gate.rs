use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use super::mirror::{Mirror, Setup};
use super::pki::{Pair, Pki, replace};
use super::secret;

/// A mirror with keys for all who come to it.
///
/// `ci` may do everything to everything; `reader` may only pull `lib/*`. Each is the name of a token
/// and of a certificate.
#[derive(Debug)]
pub struct Gate {
    pub mirror: Mirror,
    pub keys: Keys,
    pub demands: Demands,
}

/// Everybody's keys.
#[derive(Debug)]
pub struct Keys {
    pub folder: PathBuf,
    pub pki: Pki,
    pub ca: PathBuf,
    pub server: Pair,
    pub ci: Pair,
    pub reader: Pair,
    pub revoked: Pair,
    /// Of another CA.
    pub stranger: Pair,
}

/// What the gate asks for.
#[derive(Debug)]
pub struct Demands {
    pub preset: &'static str,
    pub tokens: bool,
    pub certificates: bool,
    /// Whether everything is logged that any crate has to say.
    pub trace: bool,
    pub denied_networks: &'static [&'static str],
    pub upstream: Option<String>,
    /// A host to which the upstream may redirect.
    pub upstream_redirect: Option<String>,
    /// The registry in front of which the `gate` example is, where it is not the mirror that is asked.
    pub in_front_of: Option<String>,
    /// The socket of the containerd whose content the `node` example serves, where it is not the mirror that is asked.
    pub node_of: Option<PathBuf>,
    pub place: Place,
    /// More flags.
    pub flags: &'static [&'static str],
    /// The address of the operator's port, if there is one.
    pub admin: Option<SocketAddr>,
    /// More of the section `[tls]`.
    pub tls: &'static str,
    /// What of the section `[tls]` names the server's certificate and key.
    pub server: &'static str,
    /// More of the configuration file.
    pub more: String,
}

/// Where the keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In a folder that a configuration file names.
    Plain,
    /// The same, laid out as Kubernetes mounts a Secret.
    Secret,
    /// Where the demo looks for them, which has its own configuration.
    Demo,
}

pub const CI_TOKEN: &str = "ci-4f1c9a7be03d58264c9e1fa0b7d25836";
pub const READER_TOKEN: &str = "reader-8d3e60b1f9a2c47d5e8016b3cf94a27d";
pub const WRONG_TOKEN: &str = "nobodys-token-with-enough-entropy-0";

impl Default for Demands {
    fn default() -> Self {
        Self {
            preset: "mirror",
            tokens: true,
            certificates: true,
            trace: false,
            denied_networks: &[],
            upstream: None,
            upstream_redirect: None,
            in_front_of: None,
            node_of: None,
            place: Place::Plain,
            flags: &[],
            admin: None,
            tls: "",
            server: "certificate = \"server.crt\"\nkey = \"server.key\"\n",
            more: String::new(),
        }
    }
}

impl Demands {
    pub fn token() -> Self {
        Self {
            certificates: false,
            ..Self::default()
        }
    }

    pub fn certificate() -> Self {
        Self {
            tokens: false,
            ..Self::default()
        }
    }

    pub fn demo() -> Self {
        Self {
            place: Place::Demo,
            ..Self::default()
        }
    }

    pub fn start(self) -> Gate {
        let mut setup = match (&self.in_front_of, &self.node_of) {
            (Some(registry), _) => Setup::in_front_of(registry),
            (None, Some(socket)) => Setup::node_of(socket),
            (None, None) => Setup::new(),
        };
        let folder = match self.place {
            Place::Demo => "data/demo",
            Place::Plain | Place::Secret => "keys",
        };
        let mut keys = Keys::new(setup.folder().join(folder), &setup.folder().join("others"));
        match self.place {
            Place::Demo => keys.lay_out_as_demo(),
            Place::Plain => setup = setup.config(&keys.folder, &self.toml()),
            Place::Secret => {
                secret::mount(&keys.folder);
                setup = setup.config(&keys.folder, &self.toml());
            }
        }
        if self.trace {
            setup = setup.trace();
        }
        if let Some(upstream) = &self.upstream {
            setup = setup.argument("--upstream").argument(upstream);
        }
        if let Some(host) = &self.upstream_redirect {
            setup = setup.argument("--upstream-redirect").argument(host);
        }
        for flag in self.flags {
            setup = setup.argument(flag);
        }
        if let Some(address) = self.admin {
            setup = setup.argument("--admin").argument(address.to_string());
        }
        Gate {
            mirror: setup.start(),
            keys,
            demands: self,
        }
    }

    fn toml(&self) -> String {
        let mut text = format!("preset = {:?}\n", self.preset);
        text.push_str("[tls]\n");
        text.push_str(self.server);
        text.push_str(self.tls);
        if self.certificates {
            text.push_str("client_ca = [\"ca.crt\"]\n[crl]\nfiles = [\"crl.pem\"]\n");
        }
        if !self.denied_networks.is_empty() {
            writeln!(text, "[source]\ndeny = {:?}", self.denied_networks).unwrap();
        }
        let require = match (self.tokens, self.certificates) {
            (true, true) => "token-and-certificate",
            (true, false) => "token",
            (false, _) => "certificate",
        };
        writeln!(text, "[auth]\nrequire = {require:?}").unwrap();
        if self.tokens {
            for id in ["ci", "reader"] {
                writeln!(text, "[[auth.token]]\nid = {id:?}\nfile = \"{id}.token\"").unwrap();
            }
        }
        text.push_str(POLICY);
        text.push_str(&self.more);
        text
    }
}

const POLICY: &str = r#"
[[policy.rules]]
name = "everything"
who = ["token:ci", "spiffe://example.org/ci"]
actions = ["any"]
repositories = ["**"]

[[policy.rules]]
name = "the library"
who = ["token:reader", "spiffe://example.org/reader"]
actions = ["pull", "list"]
repositories = ["lib/**"]
"#;

impl Keys {
    fn new(folder: PathBuf, others: &Path) -> Self {
        let pki = Pki::new(&folder, "the mirror's CA");
        let others = Pki::new(others, "another CA");
        // A deny list without an entry, for those that have one.
        replace(&folder.join("denied"), b"# nothing yet\n");
        for (id, token) in [("ci", CI_TOKEN), ("reader", READER_TOKEN)] {
            replace(&folder.join(format!("{id}.token")), token.as_bytes());
        }
        let revoked = pki.client("revoked", 13);
        pki.revoke(&[&revoked]);
        let server = pki.server();
        server.bundle();
        Self {
            server,
            ci: pki.client("ci", 11),
            reader: pki.client("reader", 12),
            revoked,
            stranger: others.client("ci", 11),
            ca: pki.ca(),
            pki,
            folder,
        }
    }

    /// `ci` is the demo's client.
    fn lay_out_as_demo(&mut self) {
        fs::copy(self.folder.join("ci.token"), self.folder.join("token")).unwrap();
        self.ci = self.pki.client_of("demo.example", "client", 14);
    }
}

/// What a client shows of itself.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The id of a credential and its token.
    pub token: Option<(&'a str, &'a str)>,
    pub pair: Option<&'a Pair>,
}

impl Gate {
    /// All that the gate may ask for, as `ci`.
    pub fn ci(&self) -> Shown<'_> {
        Shown {
            token: Some(("ci", CI_TOKEN)),
            pair: Some(&self.keys.ci),
        }
    }

    /// All that the gate may ask for, as `reader`.
    pub fn reader(&self) -> Shown<'_> {
        Shown {
            token: Some(("reader", READER_TOKEN)),
            pair: Some(&self.keys.reader),
        }
    }
}

impl<'a> Shown<'a> {
    pub fn without_token(self) -> Self {
        Self {
            token: None,
            ..self
        }
    }

    pub fn without_pair(self) -> Self {
        Self { pair: None, ..self }
    }

    pub fn with_token(self, id: &'a str, token: &'a str) -> Self {
        Self {
            token: Some((id, token)),
            ..self
        }
    }

    pub fn with_pair(self, pair: &'a Pair) -> Self {
        Self {
            pair: Some(pair),
            ..self
        }
    }
}
