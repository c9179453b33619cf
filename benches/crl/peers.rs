use webpki::{BorrowedCertRevocationList, CertRevocationList, OwnedCertRevocationList};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::lists::Sample;
use crate::{Cost, loading, looking};

/// rustls' own: a tree of the entries. The signature is not checked here, which it does at each
/// handshake anew.
pub(crate) fn webpki_owned(sample: &Sample) -> Cost {
    let load = || OwnedCertRevocationList::from_der(&sample.der).unwrap();
    let (load, kept, peak, list) = loading(sample, load);
    let list = CertRevocationList::from(list);
    let find = |serial: &[u8]| list.find_serial(serial).unwrap().is_some();
    Cost {
        load,
        kept,
        peak,
        hit: looking(&sample.revoked, find, true),
        miss: looking(&sample.good, find, false),
    }
}

/// The same without the tree: it reads the list from its beginning for each look-up.
pub(crate) fn webpki_borrowed(sample: &Sample) -> Cost {
    let load = || BorrowedCertRevocationList::from_der(&sample.der).unwrap();
    let (load, kept, peak, list) = loading(sample, load);
    let list = CertRevocationList::from(list);
    let find = |serial: &[u8]| list.find_serial(serial).unwrap().is_some();
    Cost {
        load,
        kept,
        peak,
        hit: looking(&sample.revoked, find, true),
        miss: looking(&sample.good, find, false),
    }
}

/// x509-parser: a vector of the entries, looked through from its beginning.
pub(crate) fn x509_parser(sample: &Sample) -> Cost {
    let load = || CertificateRevocationList::from_der(&sample.der).unwrap().1;
    let (load, kept, peak, list) = loading(sample, load);
    let find = |serial: &[u8]| {
        let mut entries = list.iter_revoked_certificates();
        entries.any(|entry| entry.raw_serial() == serial)
    };
    Cost {
        load,
        kept,
        peak,
        hit: looking(&sample.revoked, find, true),
        miss: looking(&sample.good, find, false),
    }
}
