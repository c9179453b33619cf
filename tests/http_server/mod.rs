//! A small HTTP server on the loopback address, which answers as badly as a test wants.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::must_use_candidate,
    reason = "a support module: each test file uses its part of it"
)]

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// What every request is answered with.
#[derive(Clone)]
pub enum Answer {
    /// 200 with this body and validators, or 304 to a client that has it.
    Content { body: Vec<u8>, etag: String },
    /// A status alone.
    Status(u16),
    /// A redirect to this URL.
    Redirect(String),
    /// Less than `Content-Length` says.
    Truncated(Vec<u8>),
    /// A byte now and then.
    Slow(Vec<u8>),
    /// Chunks without end.
    Endless,
    /// Nothing at all.
    Silence,
    /// These bytes in the place of HTTP.
    Raw(Vec<u8>),
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    headers: Vec<(String, String)>,
}

pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    answer: Mutex<Answer>,
    requests: Mutex<Vec<Request>>,
    stopped: AtomicBool,
}

impl Answer {
    pub fn list(body: &[u8], etag: &str) -> Self {
        Self::Content {
            body: body.to_vec(),
            etag: etag.to_owned(),
        }
    }
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

impl Server {
    pub fn start() -> Self {
        Self::on((Ipv4Addr::LOCALHOST, 0).into())
    }

    fn on(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            shared: Arc::new(Shared {
                answer: Mutex::new(Answer::Status(404)),
                requests: Mutex::default(),
                stopped: AtomicBool::new(false),
            }),
        };
        let shared = Arc::clone(&server.shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let shared = Arc::clone(&shared);
                // A client that goes away is no failure of the server.
                thread::spawn(move || stream.and_then(|stream| shared.serve(&stream)).ok());
            }
        });
        server
    }

    /// Ends it: no server listens at the address any more.
    pub fn stop(&self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        while TcpStream::connect(self.address).is_ok() {
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Another one at the same address, after this one was stopped.
    pub fn again(&self) -> Self {
        Self::on(self.address)
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn answer(&self, answer: Answer) {
        *self.shared.answer.lock().unwrap() = answer;
    }

    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

impl Shared {
    fn serve(&self, stream: &TcpStream) -> std::io::Result<()> {
        let mut lines = BufReader::new(stream).lines();
        let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
        let Some(path) = first.split(' ').nth(1) else {
            return Ok(());
        };
        let mut headers = Vec::new();
        for line in lines {
            let line = line?;
            let Some((name, value)) = line.split_once(": ") else {
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let request = Request {
            path: path.to_owned(),
            headers,
        };
        self.requests.lock().unwrap().push(request.clone());
        let answer = self.answer.lock().unwrap().clone();
        respond(stream, &answer, &request)
    }
}

fn respond(mut stream: &TcpStream, answer: &Answer, request: &Request) -> std::io::Result<()> {
    let mut head = |status: u16, more: &str| {
        let head = format!("HTTP/1.1 {status} Status\r\nConnection: close\r\n{more}\r\n");
        stream.write_all(head.as_bytes())
    };
    match answer {
        Answer::Content { body, etag } => {
            let validators =
                format!("ETag: {etag}\r\nLast-Modified: Mon, 23 Nov 2026 10:00:00 GMT\r\n");
            if request.header("if-none-match") == Some(etag) {
                return head(304, &validators);
            }
            head(
                200,
                &format!("Content-Length: {}\r\n{validators}", body.len()),
            )?;
            stream.write_all(body)
        }
        Answer::Status(status) => head(*status, "Content-Length: 0\r\n"),
        Answer::Redirect(url) => head(302, &format!("Location: {url}\r\nContent-Length: 0\r\n")),
        Answer::Truncated(body) => {
            head(200, &format!("Content-Length: {}\r\n", body.len()))?;
            stream.write_all(&body[..body.len() / 2])
        }
        Answer::Slow(body) => {
            head(200, &format!("Content-Length: {}\r\n", body.len()))?;
            for byte in body {
                stream.write_all(&[*byte])?;
                thread::sleep(Duration::from_millis(50));
            }
            Ok(())
        }
        Answer::Endless => {
            head(200, "Transfer-Encoding: chunked\r\n")?;
            let chunk = vec![0x30; 0x4000];
            loop {
                stream.write_all(b"4000\r\n")?;
                stream.write_all(&chunk)?;
                stream.write_all(b"\r\n")?;
            }
        }
        Answer::Silence => {
            thread::sleep(Duration::from_secs(5));
            Ok(())
        }
        Answer::Raw(bytes) => stream.write_all(bytes),
    }
}
