use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use rcgen::KeyPair;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Gives tokens by the distribution token-authentication specification, to one user with a password,
/// for pulls of some repositories. Takes no `POST` of `OAuth2`, as most servers of its kind.
pub struct TokenServer {
    address: SocketAddr,
    folder: TempDir,
    asked: Arc<Mutex<Vec<Asked>>>,
    key: EncodingKey,
}

/// A request for a token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub service: String,
    pub scopes: Vec<String>,
    /// Whether the user and password were right.
    pub known: bool,
}

struct Signer {
    user: String,
    password: String,
    /// What the names begin with of which pulls are granted.
    may_pull: Vec<String>,
    key: EncodingKey,
}

pub const ISSUER: &str = "the tests' token server";
pub const SERVICE: &str = "the tests' registry";

impl TokenServer {
    /// It lives as long as the test.
    pub fn start(user: &str, password: &str, may_pull: &[&str]) -> Self {
        let pair = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let x = BASE64_URL_SAFE_NO_PAD.encode(pair.public_key_raw());
        let key = EncodingKey::from_ed_der(&pair.serialize_der());
        let signer = Signer {
            user: user.to_owned(),
            password: password.to_owned(),
            may_pull: may_pull.iter().map(|&name| name.to_owned()).collect(),
            key: key.clone(),
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self {
            address: listener.local_addr().unwrap(),
            folder: TempDir::new().unwrap(),
            asked: Arc::default(),
            key,
        };
        let public = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "one", "x": x });
        fs::write(server.keys(), json!({ "keys": [public] }).to_string()).unwrap();
        let asked = Arc::clone(&server.asked);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                // A client that goes away is no concern of the next.
                let _ = signer.answer(&stream, &asked);
            }
        });
        server
    }

    pub fn realm(&self) -> String {
        format!("http://{}/token", self.address)
    }

    /// The file with its public keys.
    pub fn keys(&self) -> PathBuf {
        self.folder.path().join("keys.json")
    }

    /// A token of these claims besides the server's own, which is for this registry until in five minutes.
    pub fn sign(&self, claims: &Value) -> String {
        sign(&self.key, claims)
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Signer {
    fn answer(&self, mut stream: &TcpStream, asked: &Mutex<Vec<Asked>>) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream);
        let mut request = String::new();
        reader.read_line(&mut request)?;
        let right = BASE64_STANDARD.encode(format!("{}:{}", self.user, self.password));
        let (mut known, mut length) = (false, 0);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else {
                break;
            };
            match name.to_ascii_lowercase().as_str() {
                "authorization" => known = value.trim() == format!("Basic {right}"),
                "content-length" => length = value.trim().parse().unwrap_or(0),
                _ => {}
            }
        }
        let target = request.split(' ').nth(1).unwrap_or_default();
        let (status, body) = if request.starts_with("GET /token") {
            let ask = Asked::read(target, known);
            asked.lock().unwrap().push(ask.clone());
            if known {
                (
                    "200 OK",
                    json!({ "token": self.token(&ask), "expires_in": 300 }),
                )
            } else {
                (
                    "401 Unauthorized",
                    json!({ "errors": [{ "code": "UNAUTHORIZED" }] }),
                )
            }
        } else {
            // Unread, its body would reset the connection.
            let mut rest = vec![0; length];
            reader.read_exact(&mut rest)?;
            ("405 Method Not Allowed", json!({}))
        };
        let body = body.to_string();
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        )
    }

    /// Grants of what is asked for what may be.
    fn token(&self, asked: &Asked) -> String {
        let access: Vec<Value> = asked
            .scopes
            .iter()
            .filter_map(|scope| {
                let (kind, rest) = scope.split_once(':')?;
                let (name, actions) = rest.rsplit_once(':')?;
                let may = self.may_pull.iter().any(|begin| name.starts_with(&**begin));
                let pulls = may && actions.split(',').any(|action| action == "pull");
                let granted = if pulls { vec!["pull"] } else { Vec::new() };
                Some(json!({ "type": kind, "name": name, "actions": granted }))
            })
            .collect();
        sign(&self.key, &json!({ "sub": self.user, "access": access }))
    }
}

fn sign(key: &EncodingKey, more: &Value) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = now.as_secs();
    let mut claims = json!({
        "iss": ISSUER, "aud": SERVICE, "exp": now + 300, "nbf": now, "iat": now, "jti": "x",
    });
    let more = more.as_object().unwrap().clone();
    claims.as_object_mut().unwrap().extend(more);
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some("one".to_owned());
    // With both of its providers compiled it cannot choose one, and this is what the crate chooses.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
    encode(&header, &claims, key).unwrap()
}

impl Asked {
    fn read(target: &str, known: bool) -> Self {
        let query = target.split_once('?').map_or("", |(_, query)| query);
        let all = |wanted: &str| -> Vec<String> {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            let values = pairs.filter(|(name, _)| *name == wanted);
            values.map(|(_, value)| decoded(value)).collect()
        };
        Self {
            service: all("service").concat(),
            // Each in a parameter of its own, or several in one (RFC 6749 §3.3).
            scopes: all("scope")
                .iter()
                .flat_map(|scopes| scopes.split(' '))
                .map(str::to_owned)
                .collect(),
            known,
        }
    }
}

/// `application/x-www-form-urlencoded`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).unwrap()
            }
            other => other,
        });
    }
    String::from_utf8(bytes).unwrap()
}
