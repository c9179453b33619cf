//! The process's file descriptors: a part that needs one while there is none cannot read what was withdrawn.

use std::io;
#[cfg(unix)]
use std::os::unix::net::UnixDatagram;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How many are held for reading files when there are no others.
const SPARE: usize = 8;

/// They are looked at again after this, once there were none to accept a connection with.
const PAUSE: Duration = Duration::from_millis(50);

/// That they run out is logged this often at most.
const BETWEEN_LOGS: Duration = Duration::from_secs(60);

/// What is given back when something must be opened and nothing can be: sockets that lead nowhere, for
/// which no file needs to be there.
static HELD: Mutex<Vec<Spare>> = Mutex::new(Vec::new());

#[cfg(unix)]
type Spare = UnixDatagram;
#[cfg(not(unix))]
type Spare = ();

/// Takes the spare descriptors, those that are not held already.
pub(crate) fn hold() {
    #[cfg(unix)]
    {
        let mut held = held();
        while held.len() < SPARE {
            let Ok(spare) = UnixDatagram::unbound() else {
                return;
            };
            held.push(spare);
        }
    }
}

fn held() -> MutexGuard<'static, Vec<Spare>> {
    HELD.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does what needs a descriptor, with a spare one if there is no other. They are taken back by [`hold`].
#[cfg(feature = "reload")]
pub(crate) fn with_spare<T>(mut work: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match work() {
            // Another may be faster and take what was given back, but not each of them.
            Err(error) if is_exhausted(&error) => {
                if held().pop().is_none() {
                    return Err(error);
                }
            }
            result => return result,
        }
    }
}

#[cfg(feature = "reload")]
#[cfg(unix)]
fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error();
    [Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|exhausted| errno == Some(exhausted.raw_os_error()))
}

#[cfg(all(not(unix), feature = "reload"))]
fn is_exhausted(_: &io::Error) -> bool {
    false
}

/// Raises the number of files and sockets that the process may have open to the most that it may raise it
/// to, the hard limit of `RLIMIT_NOFILE`, and returns it. `None`: the system has no such limit.
///
/// A program calls this when it starts; of the crate only [`serve::Server`](crate::serve::Server) does so by
/// itself, because the limit is the whole process's, and its children inherit it. systemd and shells often set the soft limit to 1,024 and the
/// hard one to 524,288.
///
/// # Errors
/// The system does not let the process do so.
pub fn raise_descriptor_limit() -> io::Result<Option<u64>> {
    #[cfg(unix)]
    {
        use rustix::process::{Resource, getrlimit, setrlimit};
        let mut limit = getrlimit(Resource::Nofile);
        if limit.current != limit.maximum {
            limit.current = limit.maximum;
            setrlimit(Resource::Nofile, limit)?;
        }
        Ok(limit.current)
    }
    #[cfg(not(unix))]
    Ok(None)
}

/// Waits until a connection can be accepted without taking the last descriptors: an eighth of those that
/// the process may have, at least 8 and at most 128, are left to reloads, to the admin port and to what
/// the service opens.
///
/// An accept loop waits for this before each accept. [`serve::Server`](crate::serve::Server) and
/// [`tls::Listener`](crate::tls::Listener) do so by themselves. Costs two system calls.
pub async fn descriptors_to_spare() {
    while !are_to_spare() {
        log_exhaustion();
        tokio::time::sleep(PAUSE).await;
    }
}

pub(crate) fn log_exhaustion() {
    static LOGGED: Mutex<Option<Instant>> = Mutex::new(None);
    let now = Instant::now();
    let mut logged = LOGGED.lock().unwrap_or_else(PoisonError::into_inner);
    if logged.is_none_or(|before| now.duration_since(before) >= BETWEEN_LOGS) {
        *logged = Some(now);
        tracing::error!(
            limit = ?limit(),
            "file descriptors run out: no connection is accepted until some end. Raise the limit \
             (ulimit -n, LimitNOFILE=), or lower the number of connections"
        );
    }
}

/// How many connections may be open, as far as descriptors are concerned, of which some are left to all else.
#[cfg(feature = "serve")]
pub(crate) fn connections_within_limit() -> Option<usize> {
    let limit = limit()?;
    usize::try_from(limit.saturating_sub(reserve(limit))).ok()
}

#[cfg(unix)]
fn reserve(limit: u64) -> u64 {
    (limit / 8).clamp(8, 128)
}

#[cfg(all(not(unix), feature = "serve"))]
fn reserve(_: u64) -> u64 {
    0
}

/// Whether the lowest free descriptor, which is what the next to be opened gets, is below the last ones.
#[cfg(unix)]
pub(crate) fn are_to_spare() -> bool {
    use std::os::fd::AsRawFd;
    hold();
    let Some(limit) = limit() else { return true };
    let held = held();
    let Some(spare) = held.first() else {
        return false;
    };
    let Ok(next) = rustix::io::fcntl_dupfd_cloexec(spare, 0) else {
        return false;
    };
    let most = limit.saturating_sub(reserve(limit));
    u64::try_from(next.as_raw_fd()).is_ok_and(|next| next < most)
}

#[cfg(not(unix))]
pub(crate) fn are_to_spare() -> bool {
    true
}

#[cfg(unix)]
fn limit() -> Option<u64> {
    rustix::process::getrlimit(rustix::process::Resource::Nofile).current
}

#[cfg(not(unix))]
fn limit() -> Option<u64> {
    None
}

/// Whether accepting failed for one connection alone, rather than for want of descriptors or the like.
#[cfg(any(feature = "serve", all(feature = "axum", feature = "tls")))]
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
    )
}
