use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::image::cert_dir;
use super::namespace::Namespace;
use super::pki::Pair;
use super::process::{Daemon, Said, as_root, run, run_with_input, tool};

/// A dockerd of the test's own, without networks. Its certificates of registries are in a folder that stands for
/// `/etc/docker` in its mount namespace.
#[derive(Debug)]
pub struct Dockerd {
    daemon: Daemon,
    folder: TempDir,
}

impl Dockerd {
    /// One that knows of the registry `host` this CA and has this certificate for it, beside the test or in a network
    /// namespace. dockerd heeds neither at a loopback address. `None`, which is said, where this machine lets dockerd
    /// not run; a continuous integration (`CI`) must.
    pub fn start(
        host: &str,
        ca: &Path,
        client: Option<&Pair>,
        namespace: Option<&Namespace>,
    ) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let certs = folder.path().join("etc/certs.d").join(host);
        cert_dir(&certs, ca, client.map(Pair::files));
        let unshare = tool("unshare", "util-linux");
        let mut command = match namespace {
            Some(namespace) => namespace.command(&unshare),
            None => as_root(unshare),
        };
        command.args(["--mount", "sh", "-c"]);
        command.arg("mkdir -p /etc/docker && mount --bind \"$0\" /etc/docker && exec \"$@\"");
        command.arg(at("etc")).arg(tool("dockerd", "docker.io"));
        command.args(["--iptables=false", "--ip6tables=false", "--bridge=none"]);
        command.args(["--storage-driver", "vfs", "--host"]);
        command.arg(format!("unix://{}", at("sock")));
        command.args(["--data-root", &at("root"), "--exec-root", &at("exec")]);
        command.args(["--pidfile", &at("pid")]);
        let mut dockerd = Self {
            daemon: Daemon::start("dockerd", &mut command),
            folder,
        };
        let ready = {
            let docker = dockerd.docker();
            dockerd.daemon.wait_for("a dockerd that answers", |_| {
                let mut command = Command::new(docker.get_program());
                command.args(docker.get_args()).arg("version");
                run(&mut command).status.success().then_some(())
            })
        };
        if let Err(why) = ready {
            assert!(std::env::var_os("CI").is_none(), "{why}");
            eprintln!("skipped: {why}");
            return None;
        }
        Some(dockerd)
    }

    fn docker(&self) -> Command {
        let mut command = as_root(tool("docker", "docker.io"));
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        command.args(["--config", &at("client")]);
        command.args(["--host", &format!("unix://{}", at("sock"))]);
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Said {
        run(self.docker().args(arguments))
    }

    pub fn login(&self, host: &str, user: &str, password: &str) -> Said {
        let mut command = self.docker();
        command.args(["login", "--username", user, "--password-stdin", host]);
        run_with_input(&mut command, password)
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // It ends its containerd, and what root has made in the folder only root can remove.
        self.daemon.terminate();
        self.daemon.ended();
        let mut remove = as_root(tool("rm", "coreutils"));
        let made = fs::read_dir(self.folder.path()).unwrap();
        remove
            .arg("-rf")
            .args(made.map(|entry| entry.unwrap().path()));
        run(&mut remove);
    }
}
