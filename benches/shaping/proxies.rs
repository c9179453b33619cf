//! The peers that are programs of their own: nginx `limit_rate` and `HAProxy` `bwlim`, where they are
//! installed.

use std::fs;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use crate::clients::Server;

const FILE: usize = 1 << 30;

/// nginx with a rate for each stream, which is all that it has.
pub(crate) fn nginx(rate_each: u64) -> Option<Server> {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path();
    sparse_file(&root.join("file"));
    let port = free_port();
    let path = root.display();
    let config = format!(
        "daemon off; worker_processes 2; pid {path}/pid; error_log /dev/null;
         events {{ worker_connections 4096; }}
         http {{ access_log off; sendfile on;
           client_body_temp_path {path}/a; proxy_temp_path {path}/b; fastcgi_temp_path {path}/c;
           uwsgi_temp_path {path}/d; scgi_temp_path {path}/e;
           server {{ listen 127.0.0.1:{port}; location / {{
             root {path}; rewrite ^ /file break; limit_rate {rate_each}; }} }} }}"
    );
    let file = root.join("nginx.conf");
    fs::write(&file, config).expect("a configuration");
    // Workers of another user could not read the folder.
    let child = spawn(
        Command::new("nginx")
            .args(["-g", "user root;", "-c"])
            .arg(&file),
    )?;
    Some(Server::foreign(
        child,
        ([127, 0, 0, 1], port).into(),
        folder,
    ))
}

/// `HAProxy` with one rate for all streams of the server behind it.
pub(crate) fn haproxy(rate: u64, behind: u16) -> Option<Server> {
    let version = Command::new("haproxy").arg("-v").output().ok()?;
    let version = String::from_utf8_lossy(&version.stdout).into_owned();
    let number = version.split("version ").nth(1)?;
    let mut parts = number
        .split('.')
        .map(|part| part.parse::<u32>().unwrap_or(0));
    // `filter bwlim-out` came with 2.7.
    if (parts.next()?, parts.next()?) < (2, 7) {
        return None;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let config = format!(
        "global\n  maxconn 30000\n  nbthread 2\n
defaults\n  mode http\n  timeout client 60s\n  timeout server 60s\n  timeout connect 5s\n
backend limit\n  stick-table type integer size 10 expire 10s store bytes_out_rate(1s)\n
frontend f\n  bind 127.0.0.1:{port}\n  filter bwlim-out shared limit {rate} key int(1) table limit min-size 2896\n  \
         http-response set-bandwidth-limit shared\n  default_backend b\n
backend b\n  server s 127.0.0.1:{behind}\n"
    );
    let file = folder.path().join("haproxy.cfg");
    fs::write(&file, config).expect("a configuration");
    let child = spawn(Command::new("haproxy").args(["-db", "-f"]).arg(&file))?;
    Some(Server::foreign(
        child,
        ([127, 0, 0, 1], port).into(),
        folder,
    ))
}

fn spawn(command: &mut Command) -> Option<Child> {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::null()).spawn().ok()
}

fn sparse_file(path: &std::path::Path) {
    let file = fs::File::create(path).expect("a file");
    file.set_len(FILE as u64).expect("a length");
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}
