use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// A wire that breaks: it passes on TCP connections, and cuts the first ones that have carried so
/// many bytes to the client.
#[derive(Debug)]
pub struct Cutter {
    address: SocketAddr,
    cuts_left: Arc<AtomicUsize>,
}

impl Cutter {
    pub fn start(to: SocketAddr, after: usize, cuts: usize) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let cuts_left = Arc::new(AtomicUsize::new(cuts));
        let left = Arc::clone(&cuts_left);
        // It ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(to) else {
                    continue;
                };
                let (up_from, up_to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                thread::spawn(move || pass(&up_from, &up_to, |_| false));
                let left = Arc::clone(&left);
                thread::spawn(move || {
                    pass(&server, &client, |passed| passed >= after && take(&left));
                });
            }
        });
        Self { address, cuts_left }
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// How many connections it has yet to cut.
    pub fn cuts_left(&self) -> usize {
        self.cuts_left.load(Ordering::SeqCst)
    }
}

fn take(left: &AtomicUsize) -> bool {
    left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| {
        left.checked_sub(1)
    })
    .is_ok()
}

/// Passes bytes on until the end or until `cut` says so of their number.
fn pass(mut from: &TcpStream, mut to: &TcpStream, cut: impl Fn(usize) -> bool) {
    let mut buffer = [0; 16 * 1024];
    let mut passed = 0;
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
        passed += length;
        if cut(passed) {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
