use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::containerd::{Containerd, Host};
use super::image::Image;
use super::mirror::example;
use super::namespace::Namespace;
use super::pki::{Pair, Pki};
use super::process::{Daemon, run, tool};

/// A node of a cluster in a network namespace of its own: a containerd, Debian's `docker-registry` on loopback
/// in the clear, and a gate, which is in front of the registry for other nodes and carries what containerd asks
/// of them.
#[derive(Debug)]
pub struct Node {
    pub containerd: Containerd,
    pub gate: Daemon,
    pub registry: Daemon,
    pub pair: Pair,
    pub namespace: Namespace,
    address: IpAddr,
    egress: SocketAddr,
    folder: TempDir,
}

/// The gate's port for other nodes, that for its own, and the registry's.
const GATE: u16 = 5443;
const EGRESS: u16 = 15000;
const REGISTRY: u16 = 5000;

/// The networks of nodes, of IPv4 and of IPv6.
const NETWORKS: [&str; 2] = ["10.0.0.0/8", "fd00::/8"];

impl Node {
    /// `name` at `address`, its egress at another, with a certificate of the CA and this number, and more of the gate's
    /// configuration.
    pub fn start(
        namespace: Namespace,
        name: &'static str,
        (address, egress): (&str, &str),
        (pki, serial): (&Pki, u64),
        more: &str,
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let address: IpAddr = address.parse().unwrap();
        let pair = pki.node(name, address, serial);
        let registry = registry(&namespace, folder.path());
        let config = folder.path().join("gate.toml");
        fs::write(&config, toml(pki, &pair, more)).unwrap();
        let mut command = namespace.command(&example("gate"));
        let egress = SocketAddr::new(egress.parse().unwrap(), EGRESS);
        command.args(["--listen", &SocketAddr::new(address, GATE).to_string()]);
        command.args(["--egress", &egress.to_string()]);
        command.args(["--upstream", &format!("http://127.0.0.1:{REGISTRY}")]);
        let mut gate = Daemon::start("gate", command.arg("--config").arg(&config));
        let ready = gate.wait_for("both ports", |gate| {
            (gate.out().all().len() >= 2).then_some(())
        });
        ready.unwrap_or_else(|error| panic!("{error}"));
        let egress = SocketAddr::new(egress.ip().to_canonical(), EGRESS);
        let proxy = format!("http://{egress}");
        Self {
            containerd: Containerd::start_in(namespace.clone(), proxy),
            gate,
            registry,
            pair,
            namespace,
            address,
            egress,
            folder,
        }
    }

    /// As another node's programs name its gate: in the clear, for their own gate makes TLS of it.
    pub fn url(&self) -> String {
        format!("http://{}", SocketAddr::new(self.address, GATE))
    }

    /// Puts an image into its registry.
    pub fn push(&self, image: &Image, name: &str) {
        let mut skopeo = self.namespace.command(&tool("skopeo", "skopeo"));
        skopeo.args(["--insecure-policy", "copy", "--dest-tls-verify=false"]);
        skopeo.args(["--dest-no-creds", &image.source()]);
        skopeo.arg(format!("docker://127.0.0.1:{REGISTRY}/{name}"));
        run(&mut skopeo).succeeded();
    }

    /// Has its containerd ask this node first, and then its own registry.
    pub fn ask(&self, other: &Self) {
        let hosts = [Host {
            url: other.url(),
            ..Host::default()
        }];
        let own = format!("http://127.0.0.1:{REGISTRY}");
        self.containerd.set_hosts("docker.io", &own, &hosts);
    }

    /// Has what this user sends to other nodes go to the gate.
    pub fn redirect_user(&self, user: u32) {
        let program = match self.address {
            IpAddr::V4(_) => "iptables",
            IpAddr::V6(_) => "ip6tables",
        };
        let network = NETWORKS[usize::from(self.address.is_ipv6())];
        let mut iptables = self.namespace.command(&tool(program, "iptables"));
        iptables.args(["--wait", "--table", "nat", "--append", "OUTPUT"]);
        iptables.args(["--protocol", "tcp", "--destination", network]);
        iptables.args(["--match", "owner", "--uid-owner", &user.to_string()]);
        iptables.args(["--jump", "REDIRECT", "--to-ports", &EGRESS.to_string()]);
        run(&mut iptables).succeeded();
    }

    /// curl, by its gate, for a path of another node's.
    pub fn curl(&self, other: &Self, path: &str) -> Command {
        let mut curl = self.namespace.command(&tool("curl", "curl"));
        curl.args(["--silent", "--show-error", "--fail-with-body"]);
        curl.args(["--proxy", &format!("http://{}", self.egress)]);
        curl.arg(format!("{}{path}", other.url()));
        curl
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn registry(namespace: &Namespace, folder: &Path) -> Daemon {
    let store = folder.join("store");
    fs::create_dir(&store).unwrap();
    let file = folder.join("registry.yml");
    let text = format!(
        "version: 0.1\n\
         log: {{level: info}}\n\
         storage: {{filesystem: {{rootdirectory: {}}}}}\n\
         http: {{addr: '127.0.0.1:{REGISTRY}'}}\n",
        store.display(),
    );
    fs::write(&file, text).unwrap();
    let mut command = namespace.command(&tool("docker-registry", "docker-registry"));
    let mut daemon = Daemon::start("docker-registry", command.arg("serve").arg(&file));
    let ready = daemon.wait_for("a registry that listens", |daemon| {
        let lines = daemon.out().all().into_iter().chain(daemon.err().all());
        let mut lines = lines.filter(|line| line.contains("listening on"));
        lines.next()
    });
    ready.unwrap_or_else(|error| panic!("{error}"));
    daemon
}

fn toml(pki: &Pki, pair: &Pair, more: &str) -> String {
    let text = |path: &Path| path.display().to_string();
    let (ca, crl) = (text(&pki.ca()), text(&pki.crl()));
    let (certificate, key) = (text(&pair.certificate), text(&pair.key));
    format!(
        "preset = \"mirror\"\n\
         [tls]\n\
         certificate = {certificate:?}\n\
         key = {key:?}\n\
         client_ca = [{ca:?}]\n\
         [crl]\n\
         files = [{crl:?}]\n\
         [auth]\n\
         require = \"certificate\"\n\
         [program.egress]\n\
         networks = {NETWORKS:?}\n\
         ports = [{GATE}]\n\
         tls = {{ ca = {ca:?}, crl = [{crl:?}], certificate = {certificate:?}, key = {key:?} }}\n\
         {more}\n"
    )
}
