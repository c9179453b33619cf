use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::wait::{PATIENCE, until};

/// Where a program of another's is. Without it the test fails and names the Debian package.
pub fn tool(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| panic!("`{name}` is missing: install the Debian package `{package}`"))
}

/// A command that must be run as root: by `sudo` where the test is not.
pub fn as_root(program: PathBuf) -> Command {
    if is_root() {
        return Command::new(program);
    }
    let mut command = Command::new(tool("sudo", "sudo"));
    command.arg("-n").arg(program);
    command
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// What a program that has ended said.
#[derive(Debug)]
pub struct Said {
    pub status: ExitStatus,
    pub out: String,
    pub err: String,
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Said {
    run_with_input(command, "")
}

/// Runs a command to its end, with this on its standard input.
pub fn run_with_input(command: &mut Command, input: &str) -> Said {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let out = collect(child.stdout.take().unwrap());
    let err = collect(child.stderr.take().unwrap());
    // A program that ends without reading it has its reasons.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let deadline = Instant::now() + PATIENCE * 2;
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{command:?} did not end\n{}", err.join().unwrap());
        }
        thread::sleep(Duration::from_millis(10));
    };
    Said {
        status,
        out: out.join().unwrap(),
        err: err.join().unwrap(),
    }
}

fn collect(mut from: impl Read + Send + 'static) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

impl Said {
    /// That it went well.
    #[track_caller]
    pub fn succeeded(self) -> Self {
        assert!(self.status.success(), "{self}");
        self
    }

    /// That it did not, and that its message has all of `parts`.
    #[track_caller]
    pub fn failed_saying(self, parts: &[&str]) -> Self {
        assert!(!self.status.success(), "it was let in: {self}");
        for part in parts {
            assert!(
                self.err.contains(part) || self.out.contains(part),
                "no {part:?} in: {self}"
            );
        }
        self
    }
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}", self.status, self.out, self.err)
    }
}

/// A process that runs until it is dropped, and the lines that it has written so far.
#[derive(Debug)]
pub struct Daemon {
    name: &'static str,
    child: Child,
    elevated: bool,
    out: Lines,
    err: Lines,
}

/// Lines as they come.
#[derive(Clone, Debug, Default)]
pub struct Lines(Arc<Mutex<Vec<String>>>);

impl Daemon {
    pub fn start(name: &'static str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let elevated = command.get_program().to_string_lossy().ends_with("sudo");
        let (out, err) = (Lines::default(), Lines::default());
        out.follow(child.stdout.take().unwrap());
        err.follow(child.stderr.take().unwrap());
        Self {
            name,
            child,
            elevated,
            out,
            err,
        }
    }

    pub fn out(&self) -> &Lines {
        &self.out
    }

    pub fn err(&self) -> &Lines {
        &self.err
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Waits for an answer that the process must live to give.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        mut ask: impl FnMut(&mut Self) -> Option<T>,
    ) -> Result<T, String> {
        until(what, || {
            if let Some(answer) = ask(self) {
                return Some(Ok(answer));
            }
            (!self.is_running()).then(|| {
                let said = self.err.all().join("\n");
                Err(format!(
                    "{} ended before there was {what}\n{said}",
                    self.name
                ))
            })
        })
    }

    pub fn terminate(&self) {
        self.signal("-TERM");
    }

    /// Ends it without a word.
    pub fn kill(&mut self) {
        // sudo passes TERM on, but cannot pass on KILL.
        self.signal(if self.elevated { "-TERM" } else { "-KILL" });
        self.ended();
    }

    /// How it ended, once it has.
    pub fn ended(&mut self) -> ExitStatus {
        until(&format!("the end of {}", self.name), || {
            self.child.try_wait().unwrap()
        })
    }

    fn signal(&self, signal: &str) {
        let shell = tool("sh", "dash");
        let mut command = if self.elevated {
            as_root(shell)
        } else {
            Command::new(shell)
        };
        let kill = format!("kill {signal} {}", self.child.id());
        let _ = command.args(["-c", &kill]).stderr(Stdio::null()).status();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if thread::panicking() {
            let said = self.err.all();
            let last = &said[said.len().saturating_sub(20)..];
            eprintln!("-- the last words of {}:\n{}", self.name, last.join("\n"));
        }
        if self.elevated {
            // sudo passes TERM on, but cannot pass on KILL.
            self.terminate();
        } else {
            let _ = self.child.kill();
        }
        let _ = self.child.wait();
    }
}

impl Lines {
    fn follow(&self, from: impl Read + Send + 'static) {
        let lines = self.clone();
        thread::spawn(move || {
            for line in BufReader::new(from).split(b'\n').map_while(Result::ok) {
                let line = String::from_utf8_lossy(&line).into_owned();
                lines.0.lock().unwrap().push(line);
            }
        });
    }

    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Starts a server that must be told its port and listens there by the time this returns. Another
/// process may take the port between the choice and the start, so that is tried again.
pub fn serve(name: &'static str, mut command: impl FnMut(u16) -> Command) -> (Daemon, u16) {
    let mut why = String::new();
    for _ in 0..5 {
        let port = free_port();
        let mut daemon = Daemon::start(name, &mut command(port));
        let ready = daemon.wait_for("an open port", |_| {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        match ready {
            // A program that took the port from it would answer in its place.
            Ok(_) if daemon.is_running() => return (daemon, port),
            Ok(_) => {}
            Err(error) => why = error,
        }
    }
    panic!("{name} did not start: {why}");
}
