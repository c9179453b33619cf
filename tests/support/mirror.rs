use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::process::{Daemon, as_root};
use super::wait::until;

/// The built `mirror` example, on loopback, with its data in a temporary folder.
#[derive(Debug)]
pub struct Mirror {
    // Dropped, and so ended, before its folder.
    pub daemon: Daemon,
    address: SocketAddr,
    folder: TempDir,
}

/// A line of its access log.
#[derive(Clone, Debug)]
pub struct Entry(Value);

/// Where the folder is and what goes in before the start.
#[derive(Debug)]
pub struct Setup {
    folder: TempDir,
    command: Command,
}

impl Setup {
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let mut command = Command::new(example("mirror"));
        command
            .args(["--listen", "127.0.0.1:0", "--data"])
            .arg(folder.path().join("data"))
            .current_dir(folder.path())
            .env_remove("RUST_LOG");
        Self { folder, command }
    }

    /// The built `gate` example in front of this registry, in the mirror's place.
    pub fn in_front_of(url: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mut command = Command::new(example("gate"));
        command
            .args(["--listen", "127.0.0.1:0", "--upstream", url])
            .current_dir(folder.path())
            .env_remove("RUST_LOG");
        Self { folder, command }
    }

    /// The built `node` example with the content of the containerd at this socket, in the mirror's place.
    pub fn node_of(socket: &Path) -> Self {
        let folder = TempDir::new().unwrap();
        let mut command = as_root(example("node"));
        command
            .args(["--listen", "127.0.0.1:0", "--namespace", "default"])
            .arg("--containerd")
            .arg(socket)
            .current_dir(folder.path())
            .env_remove("RUST_LOG");
        Self { folder, command }
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Puts the configuration file in `folder`, from which its paths are read.
    pub fn config(self, folder: &Path, text: &str) -> Self {
        let file = folder.join("gate.toml");
        std::fs::write(&file, text).unwrap();
        self.argument("--config").argument(file)
    }

    pub fn trace(mut self) -> Self {
        self.command.env("RUST_LOG", "trace");
        self
    }

    pub fn argument(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    pub fn start(mut self) -> Mirror {
        let mut daemon = Daemon::start("mirror", &mut self.command);
        let address = daemon.wait_for("a first line", |daemon| daemon.out().all().first().cloned());
        let line = address.unwrap_or_else(|error| panic!("{error}"));
        let address = line
            .strip_prefix("listening on https://")
            .and_then(|address| address.parse().ok())
            .unwrap_or_else(|| panic!("its first line is {line:?}"));
        Mirror {
            daemon,
            address,
            folder: self.folder,
        }
    }
}

impl Mirror {
    /// With its demo keys.
    pub fn start() -> Self {
        Setup::new().start()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    pub fn url(&self) -> String {
        format!("https://{}", self.address)
    }

    /// As skopeo names an image here.
    pub fn image(&self, name: &str) -> String {
        format!("docker://{}/{name}", self.address)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn demo(&self, name: &str) -> PathBuf {
        self.folder.path().join("data/demo").join(name)
    }

    pub fn token(&self) -> String {
        let text = std::fs::read_to_string(self.demo("token")).unwrap();
        text.trim_end().to_owned()
    }

    /// The access log so far.
    pub fn log(&self) -> Vec<Entry> {
        let lines = self.daemon.err().all();
        let lines = lines
            .iter()
            .filter_map(|line| serde_json::from_str(line).ok());
        lines
            .filter(|line: &Value| line["target"] == "portcullis::access")
            .map(Entry)
            .collect()
    }

    /// The first line of the access log of which `is` holds, once there is one.
    #[track_caller]
    pub fn logged(&self, what: &str, is: impl Fn(&Entry) -> bool) -> Entry {
        until(&format!("{what} in the access log"), || {
            self.log().into_iter().find(&is)
        })
    }

    /// The line of a request refused for this reason.
    #[track_caller]
    pub fn refused(&self, reason: &str) -> Entry {
        self.logged(reason, |entry| entry.text("refusal.reason") == reason)
    }

    /// A line on standard error that contains all of `parts`.
    #[track_caller]
    pub fn said(&self, parts: &[&str]) -> String {
        until(&format!("{parts:?} on standard error"), || {
            let has_all = |line: &String| parts.iter().all(|part| line.contains(part));
            self.daemon.err().all().into_iter().find(has_all)
        })
    }
}

impl Entry {
    /// A field's text, empty where there is none.
    pub fn text(&self, field: &str) -> &str {
        self.0["fields"][field].as_str().unwrap_or_default()
    }

    pub fn number(&self, field: &str) -> u64 {
        self.0["fields"][field].as_u64().unwrap_or_default()
    }

    pub fn float(&self, field: &str) -> f64 {
        self.0["fields"][field].as_f64().unwrap_or_default()
    }

    pub fn status(&self) -> u64 {
        self.number("http.response.status_code")
    }
}

/// A built example: cargo puts it beside the folder of this test program.
pub fn example(name: &str) -> PathBuf {
    let mut file = std::env::current_exe().unwrap();
    file.pop();
    file.pop();
    file.push("examples");
    file.push(name);
    assert!(
        file.is_file(),
        "{} is not built: cargo build --all-features --examples",
        file.display()
    );
    file
}
