//! nginx and `HAProxy` with the nearest that they have to each protection: client certificates with a CRL, a
//! token, networks, limits on a caller's connections and bytes, and a log in a file.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use crate::cases::TOKEN;
use crate::load::{BLOB, LENGTH};
use crate::process::{Process, pinned};

pub(crate) const NGINX: &str = "nginx, log";
pub(crate) const HAPROXY: &str = "HAProxy, log";

/// Each peer under its name, where it is installed.
pub(crate) fn all(files: &Path) -> Vec<(&'static str, Option<Process>)> {
    vec![
        ("nginx, no log", nginx(files, None)),
        (NGINX, nginx(files, Some(""))),
        // As our lines are written: many at once, a moment later.
        (
            "nginx, log with a buffer",
            nginx(files, Some(" buffer=64k flush=1s")),
        ),
        ("HAProxy, no log", haproxy(files, false)),
        (HAPROXY, haproxy(files, true)),
    ]
}

fn nginx(files: &Path, log: Option<&str>) -> Option<Process> {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let (files, path) = (files.display(), folder.path().display());
    let blob = File::create(folder.path().join("blob")).unwrap();
    blob.set_len(LENGTH).unwrap();
    let manifest = " ".repeat(1024);
    let log = log.map(|buffer| format!("{path}/access.log combined{buffer}"));
    let log = log.unwrap_or_else(|| "off".to_owned());
    let config = format!(
        "daemon off; master_process off; pid {path}/pid; error_log /dev/null;
         events {{ worker_connections 4096; }}
         http {{ access_log {log}; keepalive_requests 1000000000; keepalive_timeout 600s; sendfile on;
           client_body_temp_path {path}/a; proxy_temp_path {path}/b; fastcgi_temp_path {path}/c;
           uwsgi_temp_path {path}/d; scgi_temp_path {path}/e;
           limit_conn_zone $ssl_client_s_dn zone=caller:10m;
           server {{ listen 127.0.0.1:{port} ssl http2;
             ssl_protocols TLSv1.3; ssl_certificate {files}/tls.crt; ssl_certificate_key {files}/tls.key;
             ssl_client_certificate {files}/ca.crt; ssl_verify_client on; ssl_crl {files}/crl.pem;
             deny 127.9.0.0/16; allow 127.0.0.0/8; deny all;
             limit_conn caller 1000; limit_rate 2000m;
             if ($http_authorization != \"Bearer {TOKEN}\") {{ return 401; }}
             location /v2/library/ {{ default_type application/vnd.oci.image.manifest.v1+json;
               if ($request_method !~ ^(GET|HEAD)$) {{ return 403; }}
               return 200 \"{manifest}\"; }}
             location = {BLOB} {{ root {path}; try_files /blob =404; }}
             location / {{ return 403; }} }} }}"
    );
    let file = folder.path().join("nginx.conf");
    fs::write(&file, config).unwrap();
    let mut command = pinned("nginx");
    command.arg("-c").arg(&file);
    installed("nginx").then(|| Process::foreign(&mut command, port, folder))?
}

fn haproxy(files: &Path, log: bool) -> Option<Process> {
    let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
    let files = files.display();
    let manifest = " ".repeat(1024);
    let log = if log {
        "  log stdout format raw local0\n  option httplog\n"
    } else {
        ""
    };
    let config = format!(
        "global\n  maxconn 4096\n  nbthread 1\n
defaults\n  mode http\n  timeout client 600s\n  timeout server 60s\n  timeout connect 5s\n  timeout http-keep-alive 600s\n
frontend f\n  bind 127.0.0.1:{port} ssl crt {files}/both.pem ca-file {files}/ca.crt verify required \
         crl-file {files}/crl.pem alpn h2,http/1.1\n{log}  \
         stick-table type string size 10k expire 60s store conn_cur,bytes_out_rate(1s)\n  \
         acl here src 127.0.0.0/8\n  acl away src 127.9.0.0/16\n  \
         acl known req.hdr(authorization) -m str \"Bearer {TOKEN}\"\n  \
         acl pull method GET HEAD\n  acl library path_beg /v2/library/\n  \
         http-request track-sc0 ssl_c_s_dn\n  \
         http-request deny deny_status 403 if away || !here\n  \
         http-request deny deny_status 401 unless known\n  \
         http-request deny deny_status 403 unless pull library\n  \
         http-request deny deny_status 429 if {{ sc0_conn_cur gt 1000 }}\n  \
         http-request return status 200 content-type application/vnd.oci.image.manifest.v1+json string \"{manifest}\"\n"
    );
    let file = folder.path().join("haproxy.cfg");
    fs::write(&file, config).unwrap();
    let written = File::create(folder.path().join("access.log")).unwrap();
    let mut command = pinned("haproxy");
    command.args(["-db", "-f"]).arg(&file).stdout(written);
    installed("haproxy").then(|| Process::foreign(&mut command, port, folder))?
}

fn installed(program: &str) -> bool {
    let version = std::process::Command::new(program).arg("-v").output();
    version.is_ok_and(|output| output.status.success())
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
