use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::process::{Daemon, serve, tool};
use super::wait::until;

/// nginx in front of a server, which writes down the `Authorization` of each request that it passes
/// on unchanged.
#[derive(Debug)]
pub struct Recorder {
    daemon: Daemon,
    port: u16,
    folder: TempDir,
}

/// A request that has passed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Passed {
    pub method: String,
    pub path: String,
    pub status: u16,
    /// Empty where there was none.
    pub authorization: String,
}

impl Recorder {
    /// Plain HTTP here, TLS with this CA and client certificate to the server at `to`.
    pub fn start(to: &str, ca: &Path, client: (&Path, &Path)) -> Self {
        let folder = TempDir::new().unwrap();
        let program = tool("nginx", "nginx-light");
        let at = |name: &str| folder.path().join(name).display().to_string();
        let (daemon, port) = serve("nginx", |port| {
            let text = format!(
                "daemon off; master_process off; pid {pid}; error_log stderr; events {{}}\n\
                 http {{\n\
                 client_body_temp_path {temp}; proxy_temp_path {temp}; fastcgi_temp_path {temp};\n\
                 uwsgi_temp_path {temp}; scgi_temp_path {temp}; client_max_body_size 0;\n\
                 log_format passed '$request_method|$request_uri|$status|$http_authorization';\n\
                 access_log {log} passed;\n\
                 server {{ listen 127.0.0.1:{port}; location / {{\n\
                 proxy_pass https://{to}; proxy_http_version 1.1; proxy_set_header Host $http_host;\n\
                 proxy_ssl_trusted_certificate {ca}; proxy_ssl_verify on; proxy_ssl_name localhost;\n\
                 proxy_ssl_certificate {certificate}; proxy_ssl_certificate_key {key};\n\
                 }} }} }}\n",
                pid = at("pid"),
                temp = at("temp"),
                log = at("passed"),
                ca = ca.display(),
                certificate = client.0.display(),
                key = client.1.display(),
            );
            let file = folder.path().join("nginx.conf");
            fs::write(&file, text).unwrap();
            let mut command = Command::new(&program);
            command.arg("-e").arg("stderr").arg("-c").arg(&file);
            command
        });
        Self {
            daemon,
            port,
            folder,
        }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub fn passed(&self) -> Vec<Passed> {
        let text = fs::read_to_string(self.folder.path().join("passed")).unwrap_or_default();
        text.lines().filter_map(Passed::read).collect()
    }

    /// What has passed, once something has that `is` says.
    pub fn wait_for(&self, what: &str, is: impl Fn(&Passed) -> bool) -> Vec<Passed> {
        until(what, || {
            let passed = self.passed();
            passed.iter().any(&is).then_some(passed)
        })
    }
}

impl Passed {
    fn read(line: &str) -> Option<Self> {
        let mut parts = line.splitn(4, '|');
        let method = parts.next()?.to_owned();
        let path = parts.next()?.to_owned();
        let status = parts.next()?.parse().ok()?;
        let authorization = match parts.next()? {
            "-" => String::new(),
            value => value.to_owned(),
        };
        Some(Self {
            method,
            path,
            status,
            authorization,
        })
    }
}
