//! Two nodes, each in a network namespace of its own, that have images of each other's registry.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::support::docker::Dockerd;
use crate::support::image::Image;
use crate::support::namespace::Namespace;
use crate::support::node::Node;
use crate::support::pki::Pki;
use crate::support::process::{Daemon, run, tool};
use crate::support::wait::until;

const ADDRESSES: [&str; 2] = ["10.93.0.1", "10.93.0.2"];

const IPV6_ADDRESSES: [&str; 2] = ["fd00:93::1", "fd00:93::2"];

/// Of what a node gives to others, that one goes slowly.
const SLOW: &str = r#"
[[limits.limit]]
name = "slow"
key = "total"
class = "slow"
rate = "1MB"
burst = "1MB"

[[policy.rules]]
name = "what goes slowly"
who = ["spiffe://example.org/**"]
actions = ["pull"]
repositories = ["slow/**"]
rate_class = "slow"

[[policy.rules]]
name = "the rest"
who = ["spiffe://example.org/**"]
actions = ["pull"]
repositories = ["lib/**"]
"#;

fn nodes(pki: &Pki) -> Option<[Node; 2]> {
    nodes_at(ADDRESSES, "127.0.0.1", pki)
}

/// Nodes at these addresses, each with its egress at this one.
fn nodes_at(addresses: [&str; 2], egress: &str, pki: &Pki) -> Option<[Node; 2]> {
    let [a, b] = Namespace::pair(addresses)?;
    Some([
        Node::start(a, "node-a", (addresses[0], egress), (pki, 21), SLOW),
        Node::start(b, "node-b", (addresses[1], egress), (pki, 22), SLOW),
    ])
}

/// Reads whatever goes over a node's wire.
const CAPTURE: &str = "\
import socket, sys
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
wire.setsockopt(socket.SOL_SOCKET, 33, 1 << 26)
wire.bind(('wire', 0))
out = open(sys.argv[1], 'wb', buffering=0)
print('ready', flush=True)
while True:
    out.write(wire.recv(1 << 17))
";

/// What goes over the wire of a node, from now on.
struct Capture {
    _daemon: Daemon,
    file: PathBuf,
}

impl Capture {
    fn start(node: &Node) -> Self {
        let file = node.file("capture");
        let mut python = node.namespace.command(&tool("python3", "python3"));
        let mut daemon = Daemon::start("capture", python.args(["-c", CAPTURE]).arg(&file));
        let ready = daemon.wait_for("an open wire", |daemon| daemon.out().all().first().cloned());
        ready.unwrap_or_else(|error| panic!("{error}"));
        Self {
            _daemon: daemon,
            file,
        }
    }

    fn length(&self) -> u64 {
        fs::metadata(&self.file).unwrap().len()
    }

    fn has(&self, text: &str) -> bool {
        let captured = fs::read(&self.file).unwrap();
        let mut windows = captured.windows(text.len());
        windows.any(|window| window == text.as_bytes())
    }
}

fn pull(node: &Node, image: &Image, name: &str) {
    let reference = format!("docker.io/{name}");
    node.containerd.pull(&reference).succeeded();
    for digest in image.layout().layers() {
        let content = node.containerd.content(&digest);
        image.layout().assert_blob(&digest, &content);
    }
}

fn answered(node: &Node, by: &str, path: &str) -> usize {
    let lines = node.gate.err().all();
    let lines = lines.iter().filter(|line| {
        line.contains("portcullis::access") && line.contains(by) && line.contains(path)
    });
    lines.count()
}

#[test]
fn pulls_go_from_gate_to_gate_and_no_byte_of_them_is_plain_on_the_wire() {
    let keys = TempDir::new().unwrap();
    let pki = Pki::new(keys.path(), "the nodes' CA");
    let Some([mut a, b]) = nodes(&pki) else {
        return;
    };
    let image = Image::build(1 << 20);
    b.push(&image, "lib/of-b:1");
    a.push(&image, "lib/of-a:1");
    let capture = Capture::start(&a);
    a.ask(&b);
    b.ask(&a);
    for (asks, asked, by, name) in [
        (&a, &b, "spiffe://example.org/node-a", "of-b"),
        (&b, &a, "spiffe://example.org/node-b", "of-a"),
    ] {
        pull(asks, &image, &format!("lib/{name}:1"));
        let path = format!("/v2/lib/{name}/manifests/1");
        until("the pull in the log of the gate that was asked", || {
            (answered(asked, by, &path) > 0).then_some(())
        });
    }
    until("all of it on the wire", || {
        (capture.length() > 2 << 20).then_some(())
    });
    for plain in ["/v2/", "HTTP/1.", "sha256:", "docker.io", "ustar"] {
        assert!(!capture.has(plain), "{plain:?} on the wire");
    }
    // The capture would have had it.
    let mut curl = a.namespace.command(&tool("curl", "curl"));
    let plainly = format!("{}/v2/plainly", b.url());
    run(curl.args(["--silent", "--max-time", "20", &plainly]));
    until("what is plain", || capture.has("/v2/plainly").then_some(()));

    // Without its gate containerd goes on to its next host.
    a.gate.kill();
    goes_on(&a, &image);
}

#[test]
fn containerd_goes_on_at_once_where_the_other_nodes_gate_is_gone() {
    let keys = TempDir::new().unwrap();
    let pki = Pki::new(keys.path(), "the nodes' CA");
    let Some([a, mut b]) = nodes(&pki) else {
        return;
    };
    a.ask(&b);
    b.gate.kill();
    goes_on(&a, &Image::small());
}

/// Pulls what only the node's own registry has, which is containerd's next host.
fn goes_on(node: &Node, image: &Image) {
    node.push(image, "lib/own:1");
    let began = Instant::now();
    pull(node, image, "lib/own:1");
    let took = began.elapsed();
    eprintln!("containerd went on to its next host, and pulled, in {took:?}");
    // It waits for 30 s for a host that does not answer.
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[test]
fn dockerd_pulls_by_its_nodes_certificate_and_without_one_nothing() {
    let keys = TempDir::new().unwrap();
    let pki = Pki::new(keys.path(), "the nodes' CA");
    let Some([a, b]) = nodes(&pki) else {
        return;
    };
    let image = Image::small();
    b.push(&image, "lib/of-b:1");
    let host = b.url().replace("http://", "");
    let reference = format!("{host}/lib/of-b:1");
    for pair in [None, Some(&a.pair)] {
        let docker = Dockerd::start(&host, &pki.ca(), pair, Some(&a.namespace));
        let Some(docker) = docker else {
            return;
        };
        let pulled = docker.run(&["pull", &reference]);
        if pair.is_none() {
            pulled.failed_saying(&["certificate required"]);
            continue;
        }
        pulled.succeeded();
        let id = docker.run(&["image", "inspect", "--format", "{{.Id}}", &reference]);
        // dockerd goes by the digest of the configuration.
        assert_eq!(id.succeeded().out.trim(), image.layout().config());
    }
}

#[test]
fn what_is_redirected_to_a_gate_goes_where_it_was_going_and_nowhere_else() {
    redirected(ADDRESSES, "127.0.0.1");
}

#[test]
fn what_is_redirected_to_an_ipv4_address_of_an_ipv6_socket_goes_where_it_was_going() {
    redirected(ADDRESSES, "::ffff:127.0.0.1");
}

#[test]
fn what_is_redirected_by_ipv6_goes_where_it_was_going_and_nowhere_else() {
    redirected(IPV6_ADDRESSES, "::1");
}

/// A program that takes no proxy.
fn redirected(addresses: [&str; 2], egress: &str) {
    let keys = TempDir::new().unwrap();
    let pki = Pki::new(keys.path(), "the nodes' CA");
    let Some([a, b]) = nodes_at(addresses, egress, &pki) else {
        return;
    };
    b.push(&Image::small(), "lib/of-b:1");
    a.redirect_user(65534);
    let asking = |address: &str, host: Option<&str>| {
        let mut curl = a.namespace.command(&tool("setpriv", "util-linux"));
        curl.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        curl.arg(tool("curl", "curl"));
        curl.args([
            "--silent",
            "--output",
            "/dev/null",
            "--write-out",
            "%{http_code}",
        ]);
        curl.args([
            "--header",
            "Accept: application/vnd.oci.image.manifest.v1+json",
        ]);
        if let Some(host) = host {
            curl.args(["--header", &format!("Host: {host}")]);
        }
        curl.arg(format!("http://{address}/v2/lib/of-b/manifests/1"));
        run(&mut curl).succeeded().out
    };
    let at = |ip: &str, port| SocketAddr::new(ip.parse().unwrap(), port).to_string();
    let [own, other] = addresses.map(|address| at(address, 5443));
    let registry = at(addresses[1], 5000);
    for (address, host, status) in [
        (&other, None, "200"),
        // Its name is nothing to go by, and need not be known.
        (&other, Some("registry.example"), "200"),
        (&other, Some(&*own), "400"),
        // Not a port that is listed, whatever the request says.
        (&registry, None, "403"),
        (&registry, Some("registry.example:5443"), "403"),
        (&registry, Some(&*other), "400"),
    ] {
        assert_eq!(asking(address, host), status, "{address} {host:?}");
    }
    let path = "/v2/lib/of-b/manifests/1";
    until("what was let through in the other gate's log", || {
        (answered(&b, "spiffe://example.org/node-a", path) == 2).then_some(())
    });
}

/// How long it takes that a node which is revoked has lost its transfer, and has been refused its next pull.
fn revoked(pki: &Pki, nodes: &[Node; 2], image: &Image, to: &Path) -> Duration {
    let [a, b] = nodes;
    let layers = image.layout().layers();
    let large = layers.iter().max_by_key(|digest| {
        let file = image.layout().blob_file(digest);
        fs::metadata(file).unwrap().len()
    });
    let path = format!("/v2/slow/of-b/blobs/{}", large.unwrap());
    let mut curl = a.curl(b, &path);
    let mut transfer = Daemon::start("curl", curl.arg("--output").arg(to));
    until("its first bytes", || {
        let length = fs::metadata(to).map_or(0, |found| found.len());
        (length > 100_000).then_some(())
    });
    let began = Instant::now();
    pki.revoke(&[&a.pair]);
    let ended = transfer.ended();
    let next = run(&mut a.curl(b, "/v2/slow/of-b/manifests/1"));
    let took = began.elapsed();
    // By the other gate's answer, or because it does not let this one in any more.
    let refused = ["DENIED", "UNAVAILABLE"].map(|code| next.out.contains(code));
    assert!(refused.contains(&true), "{next}");
    assert!(!ended.success(), "the transfer went on to its end");
    let cut = fs::metadata(to).unwrap().len();
    assert!(cut < 6 << 20, "{cut}");
    took
}

#[test]
fn a_node_that_is_revoked_loses_its_transfer_and_its_next_pull_within_a_second() {
    let keys = TempDir::new().unwrap();
    let pki = Pki::new(keys.path(), "the nodes' CA");
    let Some(nodes) = nodes(&pki) else {
        return;
    };
    let image = Image::build(8 << 20);
    nodes[1].push(&image, "slow/of-b:1");
    let mut tries = Vec::new();
    for _ in 0..3 {
        let took = revoked(&pki, &nodes, &image, &nodes[0].file("layer"));
        nodes[0].ask(&nodes[1]);
        let pulled = nodes[0].containerd.pull("docker.io/slow/of-b:1");
        assert!(!pulled.status.success(), "{pulled}");
        tries.push(took);
        if took < Duration::from_secs(1) {
            eprintln!("both were over after {tries:?}");
            return;
        }
        // A machine that has other things to do gets another try.
        pki.revoke(&[]);
        until("it is let in again", || {
            let again = run(&mut nodes[0].curl(&nodes[1], "/v2/"));
            again.status.success().then_some(())
        });
    }
    panic!("both were over after {tries:?}");
}
