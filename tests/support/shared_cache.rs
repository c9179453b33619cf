use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread;

use super::image::Image;

/// A registry as Spegel is one: a tag belongs to a repository, but content is found by its digest
/// alone, whatever the repository in the path.
#[derive(Debug)]
pub struct SharedCache(SocketAddr);

#[derive(Default)]
struct Content {
    tags: HashMap<String, String>,
    manifests: HashMap<String, Vec<u8>>,
    blobs: HashMap<String, Vec<u8>>,
}

impl SharedCache {
    /// With images under their names. It lives as long as the test.
    pub fn start(images: &[(&str, &Image)]) -> Self {
        let mut content = Content::default();
        for (name, image) in images {
            let layout = image.layout();
            let manifest = layout.manifest_digest();
            let (repository, tag) = name.split_once(':').unwrap();
            let path = format!("/v2/{repository}/manifests/{tag}");
            content.tags.insert(path, manifest.clone());
            for digest in layout.layers().into_iter().chain([layout.config()]) {
                content.blobs.insert(digest.clone(), layout.blob(&digest));
            }
            let json = layout.blob(&manifest);
            content.manifests.insert(manifest, json);
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self(listener.local_addr().unwrap());
        let content = Arc::new(content);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let content = Arc::clone(&content);
                // A client that goes away is no concern of the next.
                thread::spawn(move || drop(content.answer(&stream)));
            }
        });
        server
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.0)
    }
}

impl Content {
    fn answer(&self, mut stream: &TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut request = String::new();
        reader.read_line(&mut request)?;
        let mut line = String::new();
        while reader.read_line(&mut line)? > 2 {
            line.clear();
        }
        let mut words = request.split(' ');
        let (method, target) = (words.next().unwrap_or_default(), words.next());
        let path = target.unwrap_or_default().split('?').next();
        let found = self.find(path.unwrap_or_default());
        let (status, digest, kind, body) = match &found {
            Some((digest, kind, body)) => ("200 OK", digest.as_str(), *kind, body.as_slice()),
            None => ("404 Not Found", "", "application/json", b"{}".as_slice()),
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Docker-Content-Digest: {digest}\r\nConnection: close\r\n\r\n",
            body.len()
        )?;
        if method != "HEAD" {
            stream.write_all(body)?;
        }
        Ok(())
    }

    fn find(&self, path: &str) -> Option<(String, &'static str, &Vec<u8>)> {
        let name = path.rsplit('/').next()?;
        let digest = self.tags.get(path).map_or(name, String::as_str);
        if path.contains("/manifests/") {
            let kind = "application/vnd.oci.image.manifest.v1+json";
            let body = self.manifests.get(digest)?;
            return Some((digest.to_owned(), kind, body));
        }
        let body = self.blobs.get(digest)?;
        Some((digest.to_owned(), "application/octet-stream", body))
    }
}
