//! A server that is a process of its own, on one CPU.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The CPU of the servers.
const CPU: &str = "0";

/// A server that ends with this.
pub(crate) struct Process {
    child: Child,
    address: SocketAddr,
    _folder: Option<tempfile::TempDir>,
}

impl Process {
    /// This program, as the server of a case.
    pub(crate) fn ours(case: &str, files: &Path, plain: bool) -> Self {
        let program = std::env::current_exe().unwrap();
        Self::speaking(&mut pinned(program), case, files, plain)
    }

    /// A command that ends with this program, as the server of a case: it prints its port.
    pub(crate) fn speaking(command: &mut Command, case: &str, files: &Path, plain: bool) -> Self {
        command.args(["--serve", case, "--files"]).arg(files);
        if plain {
            command.arg("--plain");
        }
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let port: u16 = line.trim().parse().expect("the server prints its port");
        Self {
            child,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            _folder: None,
        }
    }

    /// Another program that listens at this port; `None` if it is not installed.
    pub(crate) fn foreign(
        command: &mut Command,
        port: u16,
        folder: tempfile::TempDir,
    ) -> Option<Self> {
        let command = command.stdin(Stdio::null()).stderr(Stdio::null());
        Some(Self {
            child: command.spawn().ok()?,
            address: (Ipv4Addr::LOCALHOST, port).into(),
            _folder: Some(folder),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What all its threads have used of a CPU.
    pub(crate) fn cpu_nanos(&self) -> u64 {
        crate::cpu::nanos_of(self.child.id())
    }

    /// Ends the server by the end of its standard input, and waits for it.
    pub(crate) fn end(mut self) {
        drop(self.child.stdin.take());
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A command on the servers' CPU.
pub(crate) fn pinned(program: impl AsRef<OsStr>) -> Command {
    crate::cpu::on(CPU, program)
}
