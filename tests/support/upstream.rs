use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::image::Image;
use super::process::{Daemon, run, serve, tool};

/// Debian's `docker-registry`, plain HTTP on loopback.
#[derive(Debug)]
pub struct Upstream {
    pub daemon: Daemon,
    pub port: u16,
    folder: TempDir,
}

impl Upstream {
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let program = tool("docker-registry", "docker-registry");
        let store = folder.path().join("store");
        fs::create_dir(&store).unwrap();
        let (daemon, port) = serve("docker-registry", |port| {
            let file = folder.path().join("config.yml");
            let text = format!(
                "version: 0.1\n\
                 log: {{level: info}}\n\
                 storage: {{filesystem: {{rootdirectory: {}}}, delete: {{enabled: true}}}}\n\
                 http: {{addr: '127.0.0.1:{port}'}}\n",
                store.display(),
            );
            fs::write(&file, text).unwrap();
            let mut command = Command::new(&program);
            command.arg("serve").arg(&file);
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

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Puts an image there as `REPOSITORY:TAG`.
    pub fn push(&self, image: &Image, name: &str) {
        let mut skopeo = Command::new(tool("skopeo", "skopeo"));
        skopeo
            .args([
                "--insecure-policy",
                "copy",
                "--dest-tls-verify=false",
                "--dest-no-creds",
            ])
            .arg(image.source())
            .arg(format!("docker://{}/{name}", self.host()));
        run(&mut skopeo).succeeded();
    }

    /// How many requests for paths that contain `part` it has answered.
    pub fn requests(&self, part: &str) -> usize {
        let lines = self.daemon.out().all().into_iter();
        let lines = lines.chain(self.daemon.err().all());
        let is_request =
            |line: &String| line.contains("\"GET /v2/") || line.contains("\"HEAD /v2/");
        lines
            .filter(is_request)
            .filter(|line| line.contains(part))
            .count()
    }
}
