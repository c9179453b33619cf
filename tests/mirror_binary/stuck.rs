//! A file of which nothing ever comes, as on a mount whose server is gone.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use reqwest::{Certificate, Client, Identity};
use tempfile::TempDir;

use crate::operate::free_address;
use crate::pki::Ca;
use crate::support::{Mirror, PATIENCE, ask, provider, replace, until};

/// Listens for the opening of a file (fanotify(7)) and never answers, so that each waits until this ends.
const LISTENER: &str = r#"
import ctypes, os, sys

CLASS_CONTENT, MARK_ADD, OPEN_PERM, CWD = 0x4, 0x1, 0x10000, -100
libc = ctypes.CDLL(None, use_errno=True)

def check(result):
    if result < 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    return result

listener = check(libc.fanotify_init(CLASS_CONTENT, os.O_RDONLY))
file = os.fsencode(sys.argv[1])
check(libc.fanotify_mark(listener, MARK_ADD, ctypes.c_uint64(OPEN_PERM), CWD, file))
print("hung", flush=True)
sys.stdin.read()
"#;

/// A file that hangs each program that opens it, until this is dropped.
struct Hung(Child);

impl Hung {
    /// Needs root, or sudo. `None`, which is said, where this machine does not let the test; a continuous integration
    /// (`CI`) must.
    fn up(file: &Path) -> Option<Self> {
        let mut command = if fs::metadata("/proc/self").unwrap().uid() == 0 {
            Command::new("python3")
        } else {
            let mut command = Command::new("sudo");
            command.args(["-n", "python3"]);
            command
        };
        let command = command.args(["-c", LISTENER]).arg(file);
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        if line.trim_end() == "hung" {
            return Some(Self(child));
        }
        let mut why = String::new();
        let mut err = child.stderr.take().unwrap();
        err.read_to_string(&mut why).unwrap();
        child.wait().unwrap();
        assert!(std::env::var_os("CI").is_none(), "{why}");
        eprintln!("skipped: this machine does not let the test hang a file: {why}");
        None
    }
}

impl Drop for Hung {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

async fn eventually(what: &str, mut reached: impl AsyncFnMut() -> bool) {
    let reached = async {
        while !reached().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let reached = tokio::time::timeout(PATIENCE, reached).await;
    reached.unwrap_or_else(|_| panic!("never: {what}"));
}

const CONFIG: &str = r#"
[reload]
poll_interval = "50ms"
read_timeout = "500ms"

[tls]
certificate = "server.crt"
key = "server.key"
client_ca = ["ca.crt"]

[crl]
files = ["lists"]

[auth]
require = "certificate"

[[policy.rules]]
name = "read"
who = ["authenticated"]
actions = ["probe"]
"#;

#[tokio::test]
async fn a_list_that_can_never_be_read_is_reported_and_holds_up_no_other_of_its_folder() {
    let data = TempDir::new().unwrap();
    let at = |name: &str| data.path().join(name);
    let (ca, other) = (Ca::new("CA"), Ca::new("other CA"));
    let server = ca.server(&["localhost"]);
    let client = ca.client_with("node", |one| one.serial_number = Some(7.into()));
    fs::create_dir(at("lists")).unwrap();
    for (name, text) in [
        ("ca.crt", ca.pem.clone() + &other.pem),
        ("server.crt", server.pem),
        ("server.key", server.key_pem),
        ("lists/a.pem", ca.crl(1, &[]).pem().unwrap()),
        ("lists/hung.pem", other.crl(1, &[]).pem().unwrap()),
        ("gate.toml", CONFIG.to_owned()),
    ] {
        fs::write(at(name), text).unwrap();
    }
    let admin = free_address().await;
    let (config, operator) = (at("gate.toml"), admin.to_string());
    let arguments = ["--config", config.to_str().unwrap(), "--admin", &operator];
    let mirror = Mirror::with(&data, &arguments).await;
    provider();
    // On a connection of its own each time.
    let status = async || {
        let identity = Identity::from_pem((client.key_pem.clone() + &client.pem).as_bytes());
        let roots = [Certificate::from_pem(ca.pem.as_bytes()).unwrap()];
        let builder = Client::builder().no_proxy().tls_certs_only(roots);
        let client = builder.identity(identity.unwrap()).build().unwrap();
        let port = mirror.address.rsplit(':').next().unwrap();
        let url = format!("https://localhost:{port}/v2/");
        let answer = client.get(url).send().await;
        answer.ok().map(|answer| answer.status().as_u16())
    };
    assert_eq!(status().await, Some(200));
    let Some(hung) = Hung::up(&at("lists/hung.pem")) else {
        return;
    };
    let logged = |words: &str| {
        let log = mirror.log();
        let mut lines = log.lines().map(str::to_owned);
        lines.find(|line| line.contains(words) && line.contains("lists/hung.pem"))
    };
    until("the file in the log", || {
        logged("reading this file does not end")
    })
    .await;
    until("the reload in the log", || logged("reload failed")).await;
    let ready = ask(admin, "/readyz").await;
    assert!(
        ready.contains("lists/hung.pem: reading it does not end"),
        "{ready}"
    );
    let stale = "portcullis_snapshot_stale{what=\"crl\"} ";
    let metrics = ask(admin, "/metrics").await;
    assert!(metrics.contains(&format!("{stale}1")), "{metrics}");
    let failed = "portcullis_reloads_total{what=\"crl\",outcome=\"failed\"} ";
    assert!(metrics.contains(failed), "{metrics}");

    // What another file of the folder revokes does not wait.
    let newer = ca.crl_with(2, &[7], |list| list.this_update += time::Duration::MINUTE);
    replace(&at("lists/a.pem"), newer.pem().unwrap().as_bytes());
    eventually("refused", async || status().await.is_none()).await;
    assert!(ask(admin, "/readyz").await.contains("lists/hung.pem"));

    drop(hung);
    let good = format!("{stale}0");
    eventually("good again", async || {
        ask(admin, "/metrics").await.contains(&good)
    })
    .await;
    // Readiness is updated after the metric, by another thread.
    eventually("no longer reported", async || {
        !ask(admin, "/readyz").await.contains("lists/hung.pem")
    })
    .await;
}
