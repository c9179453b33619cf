//! A real Redis server of a test's own.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use portcullis::rate::Fleet;

pub(crate) struct Redis {
    child: Child,
    pub(crate) port: u16,
    password: String,
}

/// A port at which no server listens.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Redis {
    pub(crate) fn start() -> Self {
        Self::at(free_port())
    }

    pub(crate) fn at(port: u16) -> Self {
        Self::with(port, &[])
    }

    /// With these options more.
    pub(crate) fn with(port: u16, options: &[&str]) -> Self {
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .args(options)
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("install the package `redis-server`: {error}"));
        let server = Self {
            child,
            port,
            password: String::new(),
        };
        for _ in 0..1000 {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return server;
            }
            thread::sleep(Duration::from_millis(10));
        }
        panic!("redis-server did not start");
    }

    /// Which it wants of its clients.
    pub(crate) fn with_password(mut self, password: &str) -> Self {
        self.password = format!(":{password}@");
        self
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}127.0.0.1:{}", self.password, self.port)
    }

    pub(crate) fn fleet(&self) -> Fleet {
        Fleet::new(&self.url()).unwrap()
    }

    /// What the replicas have reported as sent, added up by hash.
    pub(crate) async fn books(&self, pattern: &str) -> BTreeMap<String, u64> {
        let sent = |reports: Vec<String>| -> u64 {
            let sent = |report: &String| report.split(' ').next().unwrap().parse::<u64>().unwrap();
            reports.iter().map(sent).sum()
        };
        let hashes = self.hashes(pattern).await;
        hashes
            .into_iter()
            .map(|(key, reports)| (key, sent(reports)))
            .collect()
    }

    /// How many replicas there are in the hash that has most.
    pub(crate) async fn replicas(&self, pattern: &str) -> usize {
        let hashes = self.hashes(pattern).await;
        hashes.values().map(Vec::len).max().unwrap_or(0)
    }

    /// What the server answers to a command.
    pub(crate) async fn ask<T: ::redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let client = ::redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = ::redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        command.query_async(&mut connection).await.unwrap()
    }

    async fn hashes(&self, pattern: &str) -> BTreeMap<String, Vec<String>> {
        let client = ::redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut keys = ::redis::cmd("KEYS");
        let keys: Vec<String> = keys
            .arg(pattern)
            .query_async(&mut connection)
            .await
            .unwrap();
        let mut hashes = BTreeMap::new();
        for key in keys {
            let mut values = ::redis::cmd("HVALS");
            let values = values.arg(&key).query_async(&mut connection).await.unwrap();
            hashes.insert(key, values);
        }
        hashes
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
