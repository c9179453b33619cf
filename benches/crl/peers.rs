use webpki::{BorrowedCertRevocationList, CertRevocationList, OwnedCertRevocationList};
use x509_parser::prelude::{CertificateRevocationList, FromDer};

use crate::lists::Sample;
use crate::{Cost, loading, looking};

/// rustls' own: a tree of the entries. The signature is not checked here, which it does at each
/// handshake anew.
pub(crate) fn webpki_owned(sample: &Sample) -> Cost {
    webpki(sample, || {
        OwnedCertRevocationList::from_der(&sample.der)
            .unwrap()
            .into()
    })
}

/// The same without the tree: it reads the list from its beginning for each look-up.
pub(crate) fn webpki_borrowed(sample: &Sample) -> Cost {
    webpki(sample, || {
        BorrowedCertRevocationList::from_der(&sample.der)
            .unwrap()
            .into()
    })
}

fn webpki<'a>(sample: &'a Sample, load: impl Fn() -> CertRevocationList<'a>) -> Cost {
    cost(sample, load, |list, serial| {
        list.find_serial(serial).unwrap().is_some()
    })
}

/// x509-parser: a vector of the entries, looked through from its beginning.
pub(crate) fn x509_parser(sample: &Sample) -> Cost {
    let load = || CertificateRevocationList::from_der(&sample.der).unwrap().1;
    cost(sample, load, |list, serial| {
        let mut entries = list.iter_revoked_certificates();
        entries.any(|entry| entry.raw_serial() == serial)
    })
}

pub(crate) fn cost<L>(
    sample: &Sample,
    load: impl Fn() -> L,
    find: impl Fn(&L, &[u8]) -> bool,
) -> Cost {
    let (load, kept, peak, list) = loading(sample, load);
    Cost {
        load,
        kept,
        peak,
        hit: looking(&sample.revoked, |serial| find(&list, serial), true),
        miss: looking(&sample.good, |serial| find(&list, serial), false),
    }
}
