use std::error::Error;
use std::path::Path;

use portcullis::tls::certificates_in;
use rustls::pki_types::CertificateDer;

/// The certificates of a file, as the gate reads them.
pub(crate) fn read(file: &Path) -> Result<Vec<CertificateDer<'static>>, Box<dyn Error>> {
    certificates_in(file).map_err(|error| match error.source() {
        Some(cause) => format!("{error}: {cause}").into(),
        None => error.into(),
    })
}
