use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::process::{Said, as_root, run, tool};

/// A network namespace that goes with its last user. `Clone` is the same one.
#[derive(Clone, Debug)]
pub struct Namespace(Arc<Name>);

#[derive(Debug)]
struct Name(String);

impl Namespace {
    /// Two of them with a wire between them, at these addresses of one IPv4 /24 or IPv6 /64. `None`, which is said,
    /// where this machine lets the test make none; a continuous integration (`CI`) must.
    pub fn pair(addresses: [&str; 2]) -> Option<[Self; 2]> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = |end: &str| format!("portcullis-{}-{number}{end}", std::process::id());
        let made = ip(&["netns", "add", &name("a")]);
        if !made.status.success() {
            assert!(std::env::var_os("CI").is_none(), "{made}");
            eprintln!("skipped: this machine lets the test make no network namespace: {made}");
            return None;
        }
        let first = Self(Arc::new(Name(name("a"))));
        ip(&["netns", "add", &name("b")]).succeeded();
        let pair = [first, Self(Arc::new(Name(name("b"))))];
        let [a, b] = [pair[0].name(), pair[1].name()];
        let wire = ["link", "add", "wire", "netns", a, "type", "veth"];
        let wire = [&wire[..], &["peer", "name", "wire", "netns", b]].concat();
        ip(&wire).succeeded();
        // An address of IPv6 that is there before the wire is up has its first solicitations of neighbours lost.
        for namespace in &pair {
            for device in ["lo", "wire"] {
                ip(&["-n", namespace.name(), "link", "set", device, "up"]).succeeded();
            }
        }
        for (namespace, address) in pair.iter().zip(addresses) {
            // No other has an address of IPv6, for which the system would look a while.
            let (length, more) = if address.contains(':') {
                (64, &["nodad"][..])
            } else {
                (24, &[][..])
            };
            let address = format!("{address}/{length}");
            let add = [
                "-n",
                namespace.name(),
                "address",
                "add",
                &address,
                "dev",
                "wire",
            ];
            ip(&[&add[..], more].concat()).succeeded();
        }
        Some(pair)
    }

    fn name(&self) -> &str {
        &self.0.0
    }

    /// A program in it. Unlike `ip netns exec` this leaves `/sys` as it is, where dockerd looks for its cgroups.
    pub fn command(&self, program: &Path) -> Command {
        let mut command = as_root(tool("nsenter", "util-linux"));
        command.arg(format!("--net=/run/netns/{}", self.name()));
        command.arg(program);
        command
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        ip(&["netns", "delete", &self.0]);
    }
}

fn ip(arguments: &[&str]) -> Said {
    run(as_root(tool("ip", "iproute2")).args(arguments))
}
