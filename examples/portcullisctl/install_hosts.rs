use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread::sleep;

use clap::Args;
use http::uri::Authority;
use humantime::Duration;
use portcullis::PeerIdentity;
use portcullis::reload::Pinned;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tempfile::NamedTempFile;

use crate::Answer;

/// By which a file of ours is known. No other file is written or removed.
const MARK: &str = "# Written by portcullisctl install-hosts.\n";

/// The folder of what containerd asks for every registry without one of its own.
const DEFAULT: &str = "_default";

/// The end of each label of a private key in PEM, of an encrypted one too.
const KEY: &[u8] = b"PRIVATE KEY-----";

/// No file that is given is larger.
const LARGEST: u64 = 1024 * 1024;

/// The folder of ours in containerd's, for what several registries share.
const SHARED: &str = "_portcullis";

/// What another's file is called while ours is in its place.
const ASIDE: &str = "hosts.toml.before-portcullis";

/// Writes containerd's `hosts.toml`, by which it asks a gate first, and takes it away again
#[derive(Args)]
pub(crate) struct InstallHosts {
    /// The folder of `config_path`, as this program sees it
    #[arg(long, value_name = "DIR", default_value = "/etc/containerd/certs.d")]
    directory: PathBuf,
    /// The same folder as containerd sees it, where that is another path
    #[arg(long, value_name = "DIR")]
    host_directory: Option<PathBuf>,
    /// A registry that the gate is asked for, as docker.io; may come several times
    #[arg(long, value_name = "HOST[:PORT]", default_value = DEFAULT, value_parser = registry)]
    registry: Vec<String>,
    /// The gate, as `https://10.0.0.7:30443`
    #[arg(long, value_name = "URL", required_unless_present = "remove", value_parser = server)]
    server: Option<String>,
    /// PEM file of the CAs of the gate's certificate, which is copied beside
    #[arg(long, value_name = "FILE")]
    ca: Option<PathBuf>,
    /// PEM file of the client certificate and its key, at the path at which containerd sees it
    #[arg(long, value_name = "FILE")]
    client: Option<PathBuf>,
    /// A file with the value of the Authorization header that containerd shows, as `Bearer TOKEN`
    #[arg(long, value_name = "FILE")]
    authorization_file: Option<PathBuf>,
    /// How long containerd waits for a connection to the gate before it goes on
    #[arg(long, value_name = "TIME", default_value = "200ms")]
    dial_timeout: Duration,
    /// Puts another's hosts.toml aside, for --remove to put back, where it would be an error
    #[arg(long)]
    replace: bool,
    /// Goes on, and writes again what was changed, cleared, or is made of a file that changed
    #[arg(long)]
    watch: bool,
    /// How often --watch looks; at least 10ms
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = interval)]
    interval: Duration,
    /// Takes away what was written, and nothing else
    #[arg(long, conflicts_with_all = ["server", "watch"])]
    remove: bool,
}

impl InstallHosts {
    pub(crate) fn run(&self) -> Answer {
        if self.remove {
            self.remove()?;
            return Ok(true);
        }
        self.install()?;
        if !self.watch {
            return Ok(true);
        }
        loop {
            sleep(*self.interval);
            // What is damaged for a moment is read again in the next.
            if let Err(error) = self.install() {
                eprintln!("portcullisctl: {error}");
            }
        }
    }

    fn install(&self) -> Result<(), Box<dyn Error>> {
        let ca = self.ca.as_deref().map(cas).transpose()?;
        let text = self.hosts(ca.is_some())?;
        // A file that names the CA comes after the CA.
        if let Some(ca) = ca {
            put(&self.directory.join(SHARED).join("ca.crt"), &ca, 0o644)?;
        }
        let mode = match self.authorization_file {
            Some(_) => 0o600,
            None => 0o644,
        };
        for registry in &self.registry {
            let file = self.directory.join(registry).join("hosts.toml");
            self.clear_the_way(&file)?;
            put(&file, text.as_bytes(), mode)?;
        }
        Ok(())
    }

    /// Sees to it that no other's file is overwritten.
    fn clear_the_way(&self, file: &Path) -> Result<(), Box<dyn Error>> {
        match is_ours(file)? {
            None | Some(true) => Ok(()),
            Some(false) if self.replace => {
                fs::rename(file, file.with_file_name(ASIDE))
                    .map_err(|error| named(file, &error))?;
                Ok(())
            }
            Some(false) => Err(format!(
                "{}: another has written it: with --replace it is put aside",
                file.display()
            )
            .into()),
        }
    }

    fn remove(&self) -> Result<(), Box<dyn Error>> {
        for registry in &self.registry {
            let folder = self.directory.join(registry);
            let file = folder.join("hosts.toml");
            if is_ours(&file)? == Some(true) {
                let aside = folder.join(ASIDE);
                let put_back = if fs::exists(&aside)? {
                    fs::rename(&aside, &file)
                } else {
                    fs::remove_file(&file)
                };
                put_back.map_err(|error| named(&file, &error))?;
            }
            // One with anything else in it stays.
            let _ = fs::remove_dir(&folder);
        }
        let shared = self.directory.join(SHARED);
        let _ = fs::remove_file(shared.join("ca.crt"));
        let _ = fs::remove_dir(shared);
        Ok(())
    }

    fn hosts(&self, ca: bool) -> Result<String, Box<dyn Error>> {
        let server = self.server.as_deref().ok_or("--server is missing")?;
        let mut text = MARK.to_owned();
        writeln!(text, "[host.{}]", quoted(server))?;
        text += "capabilities = [\"pull\", \"resolve\"]\n";
        writeln!(text, "dial_timeout = {}", quoted(&dial(*self.dial_timeout)))?;
        if ca {
            let directory = self.host_directory.as_ref().unwrap_or(&self.directory);
            let path = directory.join(SHARED).join("ca.crt");
            writeln!(text, "ca = {}", quoted(utf8(&path)?))?;
        }
        if let Some(client) = &self.client {
            writeln!(text, "client = {}", quoted(utf8(client)?))?;
        }
        if let Some(file) = &self.authorization_file {
            if !keeps_secrets(server) {
                return Err("--authorization-file goes with an https address: on its way to this one whoever is between would read it".into());
            }
            let value = String::from_utf8(read(file)?).map_err(|_| is_no_header(file))?;
            let value = value.trim();
            if value.is_empty() || value.contains(|sign: char| sign.is_control()) {
                return Err(is_no_header(file).into());
            }
            writeln!(text, "[host.{}.header]", quoted(server))?;
            writeln!(text, "Authorization = {}", quoted(value))?;
        }
        Ok(text)
    }
}

/// As Go's `time.ParseDuration` reads it.
fn dial(time: std::time::Duration) -> String {
    format!("{}ms", time.as_millis())
}

fn is_no_header(file: &Path) -> String {
    format!(
        "{}: it is not the value of an Authorization header, one line as `Bearer TOKEN`",
        file.display()
    )
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

fn utf8(path: &Path) -> Result<&str, String> {
    path.to_str()
        .ok_or_else(|| format!("{}: it is not UTF-8", path.display()))
}

fn named(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let read = Pinned::new().read_at_most(path, LARGEST);
    read.map_err(|error| named(path, &error))
}

/// The content of a file of certificates, which everybody on the node may read then.
fn cas(file: &Path) -> Result<Vec<u8>, String> {
    let content = read(file)?;
    let named = |problem: &str| format!("{}: {problem}", file.display());
    if content.windows(KEY.len()).any(|part| part == KEY) {
        return Err(named(
            "there is a private key in it, which is not for every node: give the certificate alone",
        ));
    }
    let certificates = CertificateDer::pem_slice_iter(&content).collect::<Result<Vec<_>, _>>();
    let is_read = |certificates: Vec<CertificateDer<'_>>| {
        let mut read = certificates
            .iter()
            .map(|one| PeerIdentity::from_der(one).is_ok());
        !certificates.is_empty() && read.all(|is_read| is_read)
    };
    if certificates.is_ok_and(is_read) {
        return Ok(content);
    }
    Err(named(
        "it is no PEM file of certificates (BEGIN CERTIFICATE)",
    ))
}

/// Whether what is sent there is read by the gate alone.
fn keeps_secrets(server: &str) -> bool {
    let uri: http::Uri = server.parse().unwrap_or_default();
    let host = uri.host().unwrap_or_default();
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    uri.scheme_str() == Some("https")
        || host == "localhost"
        || address.is_some_and(|address| address.is_loopback())
}

/// Whether a file is one of ours; `None` if there is none.
fn is_ours(file: &Path) -> Result<Option<bool>, String> {
    match fs::read(file) {
        Ok(text) => Ok(Some(text.starts_with(MARK.as_bytes()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(file, &error)),
    }
}

/// Puts this content in the place of the file at once, so that containerd never reads a part, and leaves the file
/// alone where it is there already.
fn put(file: &Path, content: &[u8], mode: u32) -> Result<(), Box<dyn Error>> {
    if fs::read(file).is_ok_and(|there| there == content) {
        return Ok(());
    }
    let folder = file.parent().ok_or("a file is in a folder")?;
    fs::create_dir_all(folder).map_err(|error| named(folder, &error))?;
    let mut new = NamedTempFile::new_in(folder).map_err(|error| named(folder, &error))?;
    let permissions = fs::Permissions::from_mode(mode);
    new.as_file().set_permissions(permissions)?;
    new.write_all(content)?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    Ok(())
}

/// A folder of containerd's: a host, or `_default`.
fn registry(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    let is_host = text == DEFAULT || text.parse().is_ok_and(|host: Authority| has_port(&host));
    if !is_host || text.starts_with('.') || text == SHARED || !text.bytes().all(plain) {
        return Err("write a host as docker.io or registry.example.org:5000".to_owned());
    }
    Ok(text.to_owned())
}

/// Whether there is a port that can be, or none.
fn has_port(authority: &Authority) -> bool {
    match authority.as_str().strip_prefix(authority.host()) {
        Some("") => true,
        _ => authority.port_u16().is_some_and(|port| port != 0),
    }
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval: Duration = text
        .parse()
        .map_err(|error: humantime::DurationError| error.to_string())?;
    if interval.as_millis() < 10 {
        return Err("it would look without a pause: write a time as 2s".to_owned());
    }
    Ok(interval)
}

fn server(text: &str) -> Result<String, String> {
    let wrong = || format!("{text:?} is no address of a gate, as https://10.0.0.7:30443");
    let uri: http::Uri = text.parse().map_err(|_| wrong())?;
    let known = ["http", "https"].map(Some).contains(&uri.scheme_str());
    let authority = uri.authority();
    let authority = authority.is_some_and(|it| !it.as_str().contains('@') && has_port(it));
    if !known || !authority || uri.path() != "/" || uri.query().is_some() || text.ends_with('/') {
        return Err(wrong());
    }
    Ok(text.to_owned())
}
