use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};

/// A CA and what it has issued, as PEM files in one folder.
#[derive(Debug)]
pub struct Pki {
    folder: PathBuf,
    ca: CertifiedIssuer<'static, KeyPair>,
    crls: AtomicU8,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Pair {
    pub certificate: PathBuf,
    pub key: PathBuf,
    pub serial: u64,
}

impl Pki {
    /// A new CA, `ca.crt` in `folder`, and an empty `crl.pem`.
    pub fn new(folder: &Path, name: &str) -> Self {
        fs::create_dir_all(folder).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(folder.join("ca.crt"), ca.pem()).unwrap();
        let pki = Self {
            folder: folder.to_owned(),
            ca,
            crls: AtomicU8::new(0),
        };
        pki.revoke(&[]);
        pki
    }

    pub fn ca(&self) -> PathBuf {
        self.folder.join("ca.crt")
    }

    pub fn crl(&self) -> PathBuf {
        self.folder.join("crl.pem")
    }

    /// A certificate for `localhost` and 127.0.0.1: `server.crt` and `server.key`.
    pub fn server(&self) -> Pair {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        let loopback = SanType::IpAddress([127, 0, 0, 1].into());
        params.subject_alt_names.push(loopback);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.issue(params, "server", 1)
    }

    /// A node's certificate, by which it serves at this address and asks others, `NAME.crt` and `NAME.key`.
    pub fn node(&self, name: &str, address: IpAddr, serial: u64) -> Pair {
        let mut params = CertificateParams::default();
        let id = format!("spiffe://example.org/{name}");
        params.subject_alt_names = vec![
            SanType::IpAddress(address),
            SanType::URI(id.try_into().unwrap()),
        ];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        self.issue(params, name, serial)
    }

    /// A client's certificate, `NAME.crt` and `NAME.key`, with a SPIFFE ID.
    pub fn client(&self, name: &str, serial: u64) -> Pair {
        self.client_of("example.org", name, serial)
    }

    /// The same in another trust domain.
    pub fn client_of(&self, trust_domain: &str, name: &str, serial: u64) -> Pair {
        let mut params = CertificateParams::default();
        let id = format!("spiffe://{trust_domain}/{name}");
        let uri = SanType::URI(id.try_into().unwrap());
        params.subject_alt_names.push(uri);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(params, name, serial)
    }

    fn issue(&self, mut params: CertificateParams, name: &str, serial: u64) -> Pair {
        let key = KeyPair::generate().unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.serial_number = Some(SerialNumber::from(serial));
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.ca).unwrap();
        let pair = Pair {
            certificate: self.folder.join(format!("{name}.crt")),
            key: self.folder.join(format!("{name}.key")),
            serial,
        };
        replace(&pair.key, key.serialize_pem().as_bytes());
        replace(&pair.certificate, certificate.pem().as_bytes());
        pair
    }

    /// Puts a newer CRL in the place of the one there is.
    pub fn revoke(&self, pairs: &[&Pair]) {
        let number = self.crls.fetch_add(1, Ordering::Relaxed) + 1;
        let revoked = pairs.iter().map(|pair| RevokedCertParams {
            serial_number: SerialNumber::from(pair.serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, number),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(u64::from(number)),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let crl = params.signed_by(&self.ca).unwrap();
        replace(&self.crl(), crl.pem().unwrap().as_bytes());
    }
}

impl Pair {
    /// Key and certificate in one text, as in a credential bundle.
    pub fn bundled(&self) -> String {
        let read = |file| fs::read_to_string(file).unwrap();
        read(&self.key) + &read(&self.certificate)
    }

    /// Writes them into one file beside theirs, over what is there.
    pub fn bundle(&self) {
        let file = self.certificate.with_extension("pem");
        fs::write(file, self.bundled()).unwrap();
    }

    pub fn files(&self) -> (&Path, &Path) {
        (&self.certificate, &self.key)
    }
}

/// Replaces a file as careful operators do: by a rename.
pub fn replace(file: &Path, bytes: &[u8]) {
    let new = file.with_extension("new");
    fs::write(&new, bytes).unwrap();
    fs::rename(&new, file).unwrap();
}
