//! A process of its own, and what it costs as the kernel counts it.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// The kernel counts CPU time for /proc in hundredths of a second, whatever its own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// Ends with what started it: its standard input ends then.
pub(crate) struct Process {
    pub(crate) child: Child,
}

impl Process {
    /// Starts it, on one CPU alone if that is named and `taskset` is there.
    pub(crate) fn start(command: &Command, cpu: Option<usize>) -> Self {
        let mut pinned = Command::new("taskset");
        let cpu = cpu.map(|cpu| cpu.to_string());
        let mut command = match &cpu {
            Some(cpu) if pinned.arg("--version").output().is_ok() => {
                let mut pinned = Command::new("taskset");
                pinned.args(["-c", cpu]).arg(command.get_program());
                pinned.args(command.get_args());
                pinned
            }
            _ => {
                let mut plain = Command::new(command.get_program());
                plain.args(command.get_args());
                plain
            }
        };
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let child = child.spawn().expect("a process");
        Self { child }
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("its state").is_none()
    }

    /// MiB that are resident, and the most that ever were.
    pub(crate) fn memory(&self) -> (f64, f64) {
        let status = fs::read_to_string(self.file("status")).unwrap_or_default();
        let of = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
            kib.map_or(f64::NAN, |kib| kib / 1024.0)
        };
        (of("VmRSS:"), of("VmHWM:"))
    }

    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(self.file("fd")).map_or(0, Iterator::count)
    }

    /// Seconds of CPU time that it has used.
    pub(crate) fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(self.file("stat")).unwrap_or_default();
        // The name before it may have spaces.
        let fields = stat.rsplit(')').next().unwrap_or_default();
        let ticks = fields.split_whitespace().skip(11).take(2);
        let ticks: f64 = ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
        ticks / TICKS_PER_SECOND
    }

    fn file(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.child.id()))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
