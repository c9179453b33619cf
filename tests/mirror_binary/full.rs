//! A disk without space, for real.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::crash::{image, registry};
use crate::support::{Mirror, sha256, until};

const MIB: usize = 1024 * 1024;

/// A file system of a few MiB in memory, which goes when it is dropped.
struct Small(TempDir);

impl Small {
    /// `None`, with the reason printed, where the system does not let the test mount it.
    fn mount(size: &str) -> Option<Self> {
        let folder = TempDir::new().unwrap();
        let options = format!("size={size}");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(folder.path())
            .output();
        let said = match mount {
            Ok(output) if output.status.success() => return Some(Self(folder)),
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        println!(
            "skipped: no file system of its own can be mounted: {}",
            said.trim()
        );
        None
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // The process that has it open is being killed.
        let _ = Command::new("umount").arg("-l").arg(self.path()).status();
    }
}

/// Writes zeros until the file system takes no more.
fn fill(path: &Path) {
    let mut file = File::create(path).unwrap();
    for size in [64 * 1024, 4096] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

#[tokio::test]
async fn a_disk_without_space_keeps_nothing_and_stops_nothing() {
    let Some(small) = Small::mount("24m") else {
        return;
    };
    let layers = [1_u8, 2, 3].map(|number| vec![number; 4 * MIB]).to_vec();
    let url = format!("http://{}", registry(layers.clone()).await);
    let admin = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = admin.local_addr().unwrap().to_string();
    drop(admin);
    let arguments = [
        "--upstream",
        &url,
        "--tag-ttl",
        "0s",
        "--min-free",
        "0B",
        "--admin",
        &address,
    ];
    let mirror = Mirror::in_folder(small.path(), &arguments).await;
    let client = mirror.by_token();
    let get = async |path: &str| client.get(mirror.url(path)).send().await.unwrap();
    let pull = async |tag: &str| {
        let manifest = get(&format!("/v2/a/manifests/{tag}")).await;
        assert_eq!(manifest.status(), 200);
        assert_eq!(manifest.text().await.unwrap(), image(&layers));
        for layer in &layers {
            let path = format!("/v2/a/blobs/{}", sha256(layer));
            let blob = get(&path).await;
            assert_eq!(blob.status(), 200);
            assert!(blob.bytes().await.unwrap() == layer, "{path}");
        }
    };
    let ready = async || {
        let ready = client.get(format!("http://{address}/readyz")).send();
        let ready = ready.await.unwrap();
        (ready.status().as_u16(), ready.text().await.unwrap())
    };
    let blobs = || {
        let found = crate::folder::files(&mirror.data().join("blobs"));
        found.len()
    };
    let said = |text: &str| mirror.log().matches(text).count();
    assert_eq!(ready().await.0, 200);
    let pushed = mirror.push_blob("own", b"content").await;

    let filled = small.path().join("filled");
    fill(&filled);
    for tag in ["t0", "t1", "t1", "t0"] {
        pull(tag).await;
    }
    assert_eq!(blobs(), 1);
    let (status, text) = ready().await;
    assert_eq!(status, 503, "{text}");
    assert!(text.contains("no space is left"), "{text}");
    let full = "\"no space is left: nothing is kept";
    assert_eq!(said(full), 1, "{}", mirror.log());
    let content = vec![9; MIB];
    let target = format!("/v2/own/blobs/uploads/?digest={}", sha256(&content));
    let push = client.post(mirror.url(&target)).body(content);
    assert_eq!(push.send().await.unwrap().status(), 507);
    assert_eq!(get(&pushed).await.text().await.unwrap(), "content");

    // Where there is room it goes on by itself.
    fs::remove_file(&filled).unwrap();
    pull("t1").await;
    until("the layers on the disk", || (blobs() == 4).then_some(())).await;
    assert_eq!(ready().await.0, 200);
    assert_eq!(said("there is space again"), 1);
    assert_eq!(said(full), 1);

    // What can be had again makes room for what is asked for now.
    fill(&filled);
    for tag in ["t1", "t2"] {
        pull(tag).await;
    }
    assert_eq!(get(&pushed).await.text().await.unwrap(), "content");
}
