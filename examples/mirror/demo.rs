//! Keys to try the mirror with: a CA, what it issues, its CRL, and a token.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SanType, SerialNumber,
};

/// For how long the keys are good. Long, because the CA's own key is not kept.
const LIFETIME: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The configuration that goes with the keys, with the paths relative to itself.
const CONFIG: &str = include_str!("../mirror.toml");

/// Every file that is made, besides the configuration.
const FILES: [&str; 9] = [
    "ca.crt",
    "server.crt",
    "server.key",
    "client.crt",
    "client.key",
    "revoked.crt",
    "revoked.key",
    "crl.pem",
    "token",
];

/// A directory with demo keys.
#[derive(Debug)]
pub(crate) struct Demo(PathBuf);

/// Why there are no demo keys.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DemoError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "{} is missing; put it back, or remove the directory to have new keys made",
        .0.display()
    )]
    Missing(PathBuf),
    #[error("the demo keys cannot be made: {0}")]
    Generate(#[from] rcgen::Error),
}

impl Demo {
    /// The keys in `directory`, made now if it does not exist. All of them appear at once: a crash
    /// leaves none.
    ///
    /// # Errors
    /// One is missing, or they cannot be made.
    pub(crate) fn ensure(directory: &Path) -> Result<Self, DemoError> {
        if !directory.try_exists().map_err(at(directory))? {
            let new = directory.with_extension("new");
            match fs::remove_dir_all(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(at(&new)(error));
                }
                _ => {}
            }
            make(&new)?;
            fs::rename(&new, directory).map_err(at(directory))?;
        }
        for name in FILES {
            let path = directory.join(name);
            if !path.try_exists().map_err(at(&path))? {
                return Err(DemoError::Missing(path));
            }
        }
        let absolute = directory.canonicalize().map_err(at(directory))?;
        let demo = Self(absolute);
        let config = demo.config();
        if !config.try_exists().map_err(at(&config))? {
            write(&config, 0o644, CONFIG.as_bytes())?;
        }
        Ok(demo)
    }

    /// The configuration file that goes with the keys.
    pub(crate) fn config(&self) -> PathBuf {
        self.0.join("mirror.toml")
    }

    /// How to pull from the mirror at `address`, to paste into a shell.
    pub(crate) fn how_to_pull(&self, mut address: SocketAddr) -> String {
        // What listens everywhere is reached here by a name that the certificate has.
        match address {
            SocketAddr::V4(v4) if v4.ip().is_unspecified() => {
                address.set_ip(Ipv4Addr::LOCALHOST.into());
            }
            SocketAddr::V6(v6) if v6.ip().is_unspecified() => {
                address.set_ip(Ipv6Addr::LOCALHOST.into());
            }
            _ => {}
        }
        let demo = self.0.display();
        format!(
            r#"
The demo keys are in {demo}; the token or the client certificate will do.

D={demo} R={address}
# curl, by token and by certificate
curl --cacert $D/ca.crt -H "Authorization: Bearer $(cat $D/token)" https://$R/v2/_catalog
curl --cacert $D/ca.crt --cert $D/client.crt --key $D/client.key https://$R/v2/_catalog
# skopeo, by certificate: push an image, pull it back
skopeo copy --dest-cert-dir $D/skopeo docker://docker.io/library/busybox docker://$R/library/busybox
skopeo copy --src-cert-dir $D/skopeo docker://$R/library/busybox oci:busybox
# containerd, with this mirror in front of docker.io
mkdir -p certs.d/docker.io && cat >certs.d/docker.io/hosts.toml <<EOF
server = "https://registry-1.docker.io"
[host."https://$R"]
  capabilities = ["pull", "resolve"]
  ca = "$D/ca.crt"
  client = [["$D/client.crt", "$D/client.key"]]
  [host."https://$R".header]
    Authorization = "Bearer $(cat $D/token)"
EOF
ctr images pull --hosts-dir certs.d docker.io/library/busybox:latest
"#
        )
    }
}

fn make(directory: &Path) -> Result<(), DemoError> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700);
    builder.create(directory).map_err(at(directory))?;
    let public = |name: &str, text: &str| write(&directory.join(name), 0o644, text.as_bytes());
    let secret = |name: &str, text: &str| write(&directory.join(name), 0o600, text.as_bytes());

    let ca = authority()?;
    public("ca.crt", &ca.pem())?;
    let (certificate, key, _) = issue(&ca, "localhost", server)?;
    public("server.crt", &certificate)?;
    secret("server.key", &key)?;
    let (certificate, key, _) = issue(&ca, "demo client", |params| client(params, "client"))?;
    public("client.crt", &certificate)?;
    secret("client.key", &key)?;
    let (certificate, key, serial) = issue(&ca, "revoked demo client", |params| {
        client(params, "revoked")
    })?;
    public("revoked.crt", &certificate)?;
    secret("revoked.key", &key)?;
    public("crl.pem", &revocation_list(&ca, serial)?)?;
    secret("token", &token()?)?;

    // The names that skopeo and podman want in a --cert-dir.
    let skopeo = directory.join("skopeo");
    fs::create_dir(&skopeo).map_err(at(&skopeo))?;
    for (name, file) in [
        ("ca.crt", "ca.crt"),
        ("client.cert", "client.crt"),
        ("client.key", "client.key"),
    ] {
        let link = skopeo.join(name);
        symlink(Path::new("..").join(file), &link).map_err(at(&link))?;
    }
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(at(directory))
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Result<Authority, DemoError> {
    let mut params = params("portcullis demo CA")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// Issues a certificate: itself, its key, its serial number.
fn issue(
    ca: &Authority,
    name: &str,
    role: impl FnOnce(&mut CertificateParams) -> Result<(), rcgen::Error>,
) -> Result<(String, String, SerialNumber), DemoError> {
    let mut params = params(name)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    role(&mut params)?;
    let serial = serial()?;
    params.serial_number = Some(serial.clone());
    let key = KeyPair::generate()?;
    let certificate = params.signed_by(&key, ca)?;
    Ok((certificate.pem(), key.serialize_pem(), serial))
}

fn server(params: &mut CertificateParams) -> Result<(), rcgen::Error> {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.subject_alt_names = vec![
        SanType::DnsName("localhost".try_into()?),
        SanType::IpAddress(Ipv4Addr::LOCALHOST.into()),
        SanType::IpAddress(Ipv6Addr::LOCALHOST.into()),
    ];
    Ok(())
}

fn client(params: &mut CertificateParams, name: &str) -> Result<(), rcgen::Error> {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let id = format!("spiffe://demo.example/{name}");
    params.subject_alt_names = vec![SanType::URI(id.as_str().try_into()?)];
    Ok(())
}

fn revocation_list(ca: &Authority, revoked: SerialNumber) -> Result<String, DemoError> {
    let now = SystemTime::now();
    let list = CertificateRevocationListParams {
        this_update: now.into(),
        next_update: (now + LIFETIME).into(),
        crl_number: 1_u64.into(),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: revoked,
            revocation_time: now.into(),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(list.signed_by(ca)?.pem()?)
}

fn params(name: &str) -> Result<CertificateParams, DemoError> {
    let mut params = CertificateParams::new(Vec::new())?;
    let now = SystemTime::now();
    // A client's clock may be a bit behind.
    params.not_before = (now - Duration::from_secs(60 * 60)).into();
    params.not_after = (now + LIFETIME).into();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

/// 127 random bits: a positive number of at most 20 octets (RFC 5280 §4.1.2.2).
fn serial() -> Result<SerialNumber, DemoError> {
    let mut bytes = random::<16>()?;
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// 256 random bits in hexadecimal.
fn token() -> Result<String, DemoError> {
    let digits = random::<32>()?.map(|byte| format!("{byte:02x}"));
    Ok(digits.concat() + "\n")
}

fn random<const N: usize>() -> Result<[u8; N], DemoError> {
    let mut bytes = [0; N];
    let filled = getrandom::fill(&mut bytes).map_err(io::Error::from);
    filled.map_err(at(Path::new("random numbers")))?;
    Ok(bytes)
}

fn write(path: &Path, mode: u32, content: &[u8]) -> Result<(), DemoError> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create_new(true).mode(mode).open(path);
    let written = file.and_then(|mut file| {
        file.write_all(content)?;
        file.sync_all()
    });
    written.map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> DemoError {
    let path = path.to_owned();
    move |source| DemoError::Io { path, source }
}
