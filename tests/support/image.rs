use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use super::process::{run, tool};

/// A real image, an OCI layout on disk: Debian's static busybox in one layer, and in another some
/// bytes that do not compress.
#[derive(Debug)]
pub struct Image {
    folder: TempDir,
}

/// An OCI layout that a client has written.
#[derive(Debug)]
pub struct Layout(PathBuf);

impl Image {
    /// With `ballast` incompressible bytes in its second layer.
    pub fn build(ballast: usize) -> Self {
        let folder = TempDir::new().unwrap();
        let image = format!("{}:1", folder.path().join("image").display());
        let file = folder.path().join("ballast");
        fs::write(&file, noise(ballast)).unwrap();
        let umoci = tool("umoci", "umoci");
        let act = |verb: &str, arguments: &[&str]| {
            let mut command = Command::new(&umoci);
            run(command.arg(verb).args(arguments)).succeeded()
        };
        act(
            "init",
            &["--layout", &folder.path().join("image").to_string_lossy()],
        );
        act("new", &["--image", &image]);
        let busybox = tool("busybox", "busybox-static");
        for (from, to) in [(&busybox, "/bin/busybox"), (&file, "/ballast")] {
            let from = from.to_string_lossy();
            act("insert", &["--rootless", "--image", &image, &from, to]);
        }
        act(
            "config",
            &[
                "--image",
                &image,
                "--config.cmd",
                "/bin/busybox",
                "--config.cmd",
                "sh",
            ],
        );
        Self { folder }
    }

    pub fn small() -> Self {
        Self::build(64 * 1024)
    }

    pub fn layout(&self) -> Layout {
        Layout(self.folder.path().join("image"))
    }

    /// As skopeo names it.
    pub fn source(&self) -> String {
        format!("oci:{}:1", self.layout().0.display())
    }
}

impl Layout {
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    pub fn blob_file(&self, digest: &str) -> PathBuf {
        self.0.join("blobs").join(digest.replace(':', "/"))
    }

    pub fn blob(&self, digest: &str) -> Vec<u8> {
        let file = self.blob_file(digest);
        fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }

    /// The digest of the one manifest tagged `1`.
    pub fn manifest_digest(&self) -> String {
        let index = read_json(&fs::read(self.0.join("index.json")).unwrap());
        let manifests = index["manifests"].as_array().unwrap();
        let tagged = manifests
            .iter()
            .find(|manifest| manifest["annotations"]["org.opencontainers.image.ref.name"] == "1");
        text(&tagged.unwrap()["digest"])
    }

    pub fn manifest(&self) -> Value {
        read_json(&self.blob(&self.manifest_digest()))
    }

    /// The digests of the layers, the lowest first.
    pub fn layers(&self) -> Vec<String> {
        let manifest = self.manifest();
        let layers = manifest["layers"].as_array().unwrap();
        layers.iter().map(|layer| text(&layer["digest"])).collect()
    }

    pub fn config(&self) -> String {
        text(&self.manifest()["config"]["digest"])
    }

    /// That `other` has the same manifest, configuration and layers, byte for byte.
    #[track_caller]
    pub fn assert_same(&self, other: &Self) {
        assert_eq!(self.manifest_digest(), other.manifest_digest());
        let parts = self.layers().into_iter().chain([self.config()]);
        for digest in parts.chain([self.manifest_digest()]) {
            self.assert_blob(&digest, &other.blob(&digest));
        }
        assert_eq!(self.layers().len(), 2);
    }

    /// That `bytes` are the blob of that digest.
    #[track_caller]
    pub fn assert_blob(&self, digest: &str, bytes: &[u8]) {
        assert_eq!(digest, sha256(bytes));
        assert!(
            self.blob(digest) == bytes,
            "the bytes of {digest} are others"
        );
    }
}

pub fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;

    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

pub fn read_json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

/// Bytes that no compressor makes smaller, the same ones in each run (xorshift64, Marsaglia 2003).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let words = std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    });
    words.flatten().take(length).collect()
}

/// A folder for skopeo's and podman's `--cert-dir`: a CA, and a client certificate with its key.
pub fn cert_dir(folder: &Path, ca: &Path, client: Option<(&Path, &Path)>) {
    fs::create_dir_all(folder).unwrap();
    fs::copy(ca, folder.join("ca.crt")).unwrap();
    if let Some((certificate, key)) = client {
        fs::copy(certificate, folder.join("client.cert")).unwrap();
        fs::copy(key, folder.join("client.key")).unwrap();
    }
}
