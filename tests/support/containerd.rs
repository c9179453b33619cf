use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::namespace::Namespace;
use super::process::{Daemon, Said, as_root, run, tool};

/// A containerd of the test's own, without CRI: it pulls into a store in a temporary folder.
#[derive(Debug)]
pub struct Containerd {
    // Dropped, and so ended, before its folder.
    daemon: Daemon,
    folder: TempDir,
    place: Place,
}

/// Where it runs: beside the test, or in a network namespace, where `ctr` takes a proxy.
#[derive(Debug, Default)]
struct Place(Option<(Namespace, String)>);

impl Place {
    fn command(&self, name: &str) -> Command {
        let program = tool(name, "containerd");
        let Some((namespace, proxy)) = &self.0 else {
            return as_root(program);
        };
        let mut command = namespace.command(&tool("env", "coreutils"));
        command.arg(format!("HTTP_PROXY={proxy}")).arg(program);
        command
    }

    /// One whose configuration is in this folder, once it answers.
    fn daemon(&self, folder: &Path) -> Daemon {
        let mut command = self.command("containerd");
        let file = folder.join("containerd.toml");
        let mut daemon = Daemon::start("containerd", command.arg("-c").arg(file));
        let ready = daemon.wait_for("a containerd that answers", |_| {
            let mut command = self.command("ctr");
            command.arg("-a").arg(folder.join("sock")).arg("version");
            run(&mut command).status.success().then_some(())
        });
        ready.unwrap_or_else(|error| panic!("{error}"));
        daemon
    }
}

/// One host of a `hosts.toml`.
#[derive(Debug, Default)]
pub struct Host<'a> {
    pub url: String,
    pub ca: Option<&'a Path>,
    pub client: Option<(&'a Path, &'a Path)>,
    pub authorization: Option<String>,
}

impl Containerd {
    pub fn start() -> Self {
        Self::start_at(Place::default())
    }

    /// One in a network namespace, which asks by a proxy.
    pub fn start_in(namespace: Namespace, proxy: String) -> Self {
        Self::start_at(Place(Some((namespace, proxy))))
    }

    fn start_at(place: Place) -> Self {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let configuration = format!(
            "version = 2\n\
             root = {:?}\n\
             state = {:?}\n\
             disabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\n\
             address = {:?}\n\
             [ttrpc]\n\
             address = {:?}\n",
            at("root"),
            at("state"),
            at("sock"),
            at("sock.ttrpc"),
        );
        fs::write(folder.path().join("containerd.toml"), configuration).unwrap();
        let daemon = place.daemon(folder.path());
        Self {
            daemon,
            folder,
            place,
        }
    }

    /// Ends it; what it holds stays.
    pub fn stop(&mut self) {
        self.daemon.terminate();
        self.daemon.ended();
    }

    /// Starts it again after [`Containerd::stop`].
    pub fn start_again(&mut self) {
        self.daemon = self.place.daemon(self.folder.path());
    }

    /// Writes the `hosts.toml` of the references to `registry`.
    pub fn set_hosts(&self, registry: &str, server: &str, hosts: &[Host<'_>]) {
        use std::fmt::Write as _;

        let mut text = format!("server = {server:?}\n");
        for host in hosts {
            writeln!(text, "[host.{:?}]", host.url).unwrap();
            writeln!(text, "capabilities = [\"pull\", \"resolve\", \"push\"]").unwrap();
            if let Some(ca) = host.ca {
                writeln!(text, "ca = \"{}\"", ca.display()).unwrap();
            }
            if let Some((certificate, key)) = host.client {
                let (certificate, key) = (certificate.display(), key.display());
                writeln!(text, "client = [[\"{certificate}\", \"{key}\"]]").unwrap();
            }
            if let Some(authorization) = &host.authorization {
                writeln!(text, "[host.{:?}.header]", host.url).unwrap();
                writeln!(text, "Authorization = {authorization:?}").unwrap();
            }
        }
        let folder = self.hosts_dir().join(registry);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("hosts.toml"), text).unwrap();
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("sock")
    }

    /// The folder of the `hosts.toml` files.
    pub fn hosts_dir(&self) -> PathBuf {
        self.folder.path().join("hosts")
    }

    pub fn ctr(&self, arguments: &[&str]) -> Said {
        let mut command = self.place.command("ctr");
        command.arg("-a").arg(self.socket()).args(arguments);
        run(&mut command)
    }

    /// Pulls by the `hosts.toml` files, with more arguments before the reference.
    pub fn pull_with(&self, reference: &str, more: &[&str]) -> Said {
        let hosts = self.hosts_dir().display().to_string();
        let mut arguments = vec!["images", "pull", "--snapshotter", "native"];
        arguments.extend(["--hosts-dir", &hosts]);
        arguments.extend(more);
        arguments.push(reference);
        self.ctr(&arguments)
    }

    pub fn pull(&self, reference: &str) -> Said {
        self.pull_with(reference, &[])
    }

    /// Pushes an image that it has to the hosts of the `hosts.toml` files.
    pub fn push(&self, reference: &str) -> Said {
        let hosts = self.hosts_dir().display().to_string();
        self.ctr(&["images", "push", "--hosts-dir", &hosts, reference])
    }

    /// A blob of its content store.
    pub fn content(&self, digest: &str) -> Vec<u8> {
        let got = self.bytes(&["content", "get", digest]);
        got.unwrap_or_else(|said| panic!("{said}"))
    }

    /// Content by its digest, asked of the hosts of the `hosts.toml` files: first as a manifest, then
    /// as a blob.
    pub fn fetch(&self, reference: &str) -> Result<Vec<u8>, Said> {
        let hosts = self.hosts_dir().display().to_string();
        self.bytes(&["content", "fetch-object", "--hosts-dir", &hosts, reference])
    }

    /// What `ctr` writes.
    fn bytes(&self, arguments: &[&str]) -> Result<Vec<u8>, Said> {
        let mut command = self.place.command("ctr");
        command
            .arg("-a")
            .arg(self.folder.path().join("sock"))
            .args(arguments);
        let output = command.output().unwrap();
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err(Said {
            status: output.status,
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// The process with what is in this folder, once it answers.
impl Drop for Containerd {
    fn drop(&mut self) {
        // What root has made in the folder only root can remove.
        self.daemon.terminate();
        self.daemon.ended();
        let mut remove = as_root(tool("rm", "coreutils"));
        let state = ["root", "state"].map(|name| self.folder.path().join(name));
        run(remove.arg("-rf").args(state));
    }
}
