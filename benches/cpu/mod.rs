//! CPU time of another process, by the kernel's accounting.

use std::fs;

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
