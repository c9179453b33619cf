//! The CPUs of processes, and their time by the kernel's accounting.
#![allow(dead_code, reason = "not each bench places its processes")]

use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Stdio};

/// What all threads of a process have used, in nanoseconds.
pub(crate) fn nanos_of(process: u32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{process}/task")).expect("its threads");
    let nanos = threads.flatten().filter_map(|thread| {
        // A thread may have ended meanwhile.
        let text = fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    nanos.sum()
}

/// A program on this CPU alone.
pub(crate) fn on(cpu: &str, program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", cpu]).arg(program);
    command
}

/// Moves this process, and the threads that it starts, to a CPU. Returns whether it is there.
pub(crate) fn move_to(cpu: &str) -> bool {
    let process = std::process::id().to_string();
    let mut command = Command::new("taskset");
    let command = command.args(["-p", "-c", cpu, &process]);
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
