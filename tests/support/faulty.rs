use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// A proxy in front of a registry, as bad as the Internet. It says no to each `HEAD`, calls a manifest a page of
/// HTML, redirects blobs to another port of its own, sends them slowly, and cuts each answer that is long. When
/// told to, it changes a byte of each blob.
#[derive(Debug)]
pub struct Faulty {
    front: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    registry: u16,
    storage: SocketAddr,
    cuts: AtomicUsize,
    garbles: AtomicBool,
}

/// How much of a blob it sends at once.
const CUT: usize = 700_000;
const PIECE: usize = 16 * 1024;

impl Faulty {
    pub fn start(registry: u16) -> Self {
        let bind = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (front, storage) = (bind(), bind());
        let address = front.local_addr().unwrap();
        let shared = Arc::new(Shared {
            registry,
            storage: storage.local_addr().unwrap(),
            cuts: AtomicUsize::new(0),
            garbles: AtomicBool::new(false),
        });
        for (listener, redirects) in [(front, true), (storage, false)] {
            let shared = Arc::clone(&shared);
            // It ends with the test's process.
            thread::spawn(move || {
                for client in listener.incoming().map_while(Result::ok) {
                    let shared = Arc::clone(&shared);
                    thread::spawn(move || {
                        // A client that goes away is no concern of the next.
                        let _ = shared.answer(&client, redirects);
                        let _ = client.shutdown(Shutdown::Both);
                    });
                }
            });
        }
        Self {
            front: address,
            shared,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.front)
    }

    /// Where it redirects to, `127.0.0.1:PORT`.
    pub fn storage(&self) -> String {
        self.shared.storage.to_string()
    }

    /// How many answers it has cut.
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::SeqCst)
    }

    /// Whether it changes what it passes on.
    pub fn garble(&self, garbles: bool) {
        self.shared.garbles.store(garbles, Ordering::SeqCst);
    }
}

impl Shared {
    fn answer(&self, mut client: &TcpStream, redirects: bool) -> io::Result<()> {
        let Some((first, fields)) = head(&mut BufReader::new(client))? else {
            return Ok(());
        };
        let mut words = first.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let is_blob = target.contains("/blobs/");
        let end = "Content-Length: 0\r\nConnection: close\r\n\r\n";
        if method == "HEAD" {
            return write!(client, "HTTP/1.1 404 Not Found\r\n{end}");
        }
        if is_blob && redirects {
            let there = format!("http://{}{target}", self.storage);
            return write!(
                client,
                "HTTP/1.1 307 Elsewhere\r\nLocation: {there}\r\n{end}"
            );
        }
        let mut server = TcpStream::connect(("127.0.0.1", self.registry))?;
        write!(server, "{first}\r\n{fields}Connection: close\r\n\r\n")?;
        let mut server = BufReader::new(server);
        let Some((status, mut fields)) = head(&mut server)? else {
            return Ok(());
        };
        if target.contains("/manifests/") {
            fields = fields.replace("application/vnd.oci.image.manifest.v1+json", "text/html");
        }
        write!(client, "{status}\r\n{fields}Connection: close\r\n\r\n")?;
        let mut buffer = [0; PIECE];
        let mut passed = 0;
        loop {
            let length = server.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            if is_blob && passed == 0 && self.garbles.load(Ordering::SeqCst) {
                buffer[0] ^= 1;
            }
            client.write_all(&buffer[..length])?;
            passed += length;
            if is_blob {
                thread::sleep(Duration::from_millis(3));
                if passed >= CUT {
                    self.cuts.fetch_add(1, Ordering::SeqCst);
                    return Ok(());
                }
            }
        }
    }
}

/// The first line of a head and the others, without `Connection`. `None` where nothing comes.
fn head(from: &mut impl BufRead) -> io::Result<Option<(String, String)>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line);
    }
    let first = lines.remove(0).trim_end().to_owned();
    lines.retain(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    Ok(Some((first, lines.concat())))
}
