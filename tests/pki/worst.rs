//! Chains that cost the server as much as their author can make them cost.

use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, NameConstraints, SanType, SignatureAlgorithm,
};
use rustls::pki_types::CertificateDer;

/// A chain as a client sends it, its own certificate first, with the key of that.
pub struct Chain {
    pub what: &'static str,
    pub ders: Vec<CertificateDer<'static>>,
    pub key: KeyPair,
}

fn params(subject: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, subject);
    change(&mut params);
    params
}

fn ca(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

fn client(params: &mut CertificateParams) {
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
}

/// Unknown extensions, of about so many bytes together.
fn bulk(bytes: usize) -> Vec<CustomExtension> {
    let extension = |at: u64| CustomExtension::from_oid_content(&[1, 2, 3, at], vec![5, 0]);
    (0..bytes as u64 / 13).map(extension).collect()
}

fn names(count: usize) -> Vec<SanType> {
    let name = |at| format!("n{at}.a.example.org").try_into().unwrap();
    (0..count).map(|at| SanType::DnsName(name(at))).collect()
}

/// Levels of so many certificates each, all with one key, which no CA has signed.
pub fn made_up(levels: usize, each: usize) -> Chain {
    let key = KeyPair::generate().unwrap();
    let issuer = |level: usize| {
        let key = KeyPair::from_pem(&key.serialize_pem()).unwrap();
        Issuer::new(params(&format!("L{level}"), ca), key)
    };
    let mut ders = Vec::new();
    let own = params("x", client).signed_by(&key, &issuer(1)).unwrap();
    ders.push(own.der().clone());
    for level in 1..=levels {
        let above = issuer(level + 1);
        for _ in 0..each {
            let certificate = params(&format!("L{level}"), ca).signed_by(&key, &above);
            ders.push(certificate.unwrap().der().clone());
        }
    }
    let what = "levels of certificates with one key, signed by no CA";
    Chain { what, ders, key }
}

/// So many certificates of one name and different keys, which no CA has signed, of so many bytes.
pub fn one_name(count: usize, bytes: usize) -> Chain {
    let key = KeyPair::generate().unwrap();
    let above = Issuer::new(params("X", ca), KeyPair::generate().unwrap());
    let each = bytes / (count + 1);
    let filled = |subject, change: fn(&mut CertificateParams), size: usize| {
        params(subject, |params| {
            change(params);
            params.custom_extensions = bulk(size);
        })
    };
    let own = filled("x", client, each - 500).signed_by(&key, &above);
    let mut ders = vec![own.unwrap().der().clone()];
    for _ in 0..count {
        let certificate = filled("X", ca, each - 500);
        let certificate = certificate.signed_by(&KeyPair::generate().unwrap(), &above);
        ders.push(certificate.unwrap().der().clone());
    }
    let what = "certificates of one name and full of extensions, signed by no CA";
    Chain { what, ders, key }
}

/// What a CA beneath `root` can make that has keys of this kind: the first of its certificates is
/// signed by `root`, each other one by the one before, and all have one name.
pub fn beneath(
    root: &Issuer<'static, KeyPair>,
    algorithm: &'static SignatureAlgorithm,
    count: usize,
    bytes: usize,
) -> Chain {
    let each = bytes / (count + 1) - 900;
    let filled = |subject, change: fn(&mut CertificateParams)| {
        params(subject, |params| {
            change(params);
            params.custom_extensions = bulk(each);
        })
    };
    let mut ders = Vec::new();
    let mut above: Option<Issuer<'static, KeyPair>> = None;
    for _ in 0..count {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let own = filled("Sub", ca);
        let certificate = own.signed_by(&key, above.as_ref().unwrap_or(root)).unwrap();
        ders.push(certificate.der().clone());
        above = Some(Issuer::new(own, key));
    }
    let key = KeyPair::generate().unwrap();
    // Of a purpose for which no path is good, so that all are tried.
    let own = filled("x", |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    });
    let own = own.signed_by(&key, above.as_ref().unwrap_or(root)).unwrap();
    ders.push(own.der().clone());
    // The client's own first, and the others in the order in which they help least.
    ders.rotate_right(1);
    let what = "certificates of one name, each signed by the one before";
    Chain { what, ders, key }
}

/// Names under name constraints of which none but the last fits, and a CA with so many certificates.
pub fn constrained(
    root: &Issuer<'static, KeyPair>,
    cas: usize,
    subtrees: usize,
    count: usize,
) -> Chain {
    let sub = KeyPair::generate().unwrap();
    let own = |_| {
        params("Sub", |params| {
            ca(params);
            let name = |at| GeneralSubtree::DnsName(format!("a{at}.example.org"));
            params.name_constraints = Some(NameConstraints {
                permitted_subtrees: (0..subtrees).map(name).collect(),
                excluded_subtrees: vec![],
            });
            // One name at least of each is permitted, so that all are compared.
            let last = GeneralSubtree::DnsName("example.org".into());
            params.name_constraints.as_mut().unwrap().permitted_subtrees[subtrees - 1] = last;
        })
    };
    let mut ders: Vec<_> = (0..cas)
        .map(|at| own(at).signed_by(&sub, root).unwrap().der().clone())
        .collect();
    let key = KeyPair::generate().unwrap();
    let leaf = params("x", |params| {
        client(params);
        params.subject_alt_names = names(count);
        // The last name is outside: the path fails at the very end.
        let outside = SanType::DnsName("n.example.com".try_into().unwrap());
        params.subject_alt_names.push(outside);
    });
    let leaf = leaf.signed_by(&key, &Issuer::new(own(0), sub)).unwrap();
    ders.insert(0, leaf.der().clone());
    let what = "many names under many name constraints";
    Chain { what, ders, key }
}

/// A good certificate with this many names.
pub fn many_names(root: &Issuer<'static, KeyPair>, count: usize) -> Chain {
    let key = KeyPair::generate().unwrap();
    let own = params("x", |params| {
        client(params);
        params.subject_alt_names = names(count);
    });
    let ders = vec![own.signed_by(&key, root).unwrap().der().clone()];
    let what = "a good certificate with many names";
    Chain { what, ders, key }
}
