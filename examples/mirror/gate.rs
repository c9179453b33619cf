use std::error::Error;
use std::path::{Path, PathBuf};

use portcullis::config::{ClientAuthMode, Config, TlsSection};
use portcullis::guard::Guard;
use portcullis::reload::WatchOptions;
use portcullis::tls::{Acceptor, Builder, CertificateFiles, ClientCas};

/// What stands in front of the registry: TLS for each connection, the guard for each request.
pub(crate) struct Gate {
    pub(crate) guard: Guard,
    pub(crate) acceptor: Acceptor,
}

impl Gate {
    /// Reads a configuration file and everything that it names.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub(crate) fn open(file: &Path) -> Result<Self, Box<dyn Error>> {
        let config = Config::load(file)?;
        let tls = config.tls.as_ref().ok_or("[tls] is missing")?;
        Ok(Self {
            guard: Guard::from_config(&config)?,
            acceptor: acceptor(file.parent().unwrap_or(Path::new("")), tls)?,
        })
    }
}

fn acceptor(folder: &Path, section: &TlsSection) -> Result<Acceptor, Box<dyn Error>> {
    let within = |path: &PathBuf| folder.join(path);
    let files = CertificateFiles::new(within(&section.certificate), within(&section.key));
    let builder = Builder::new().with_certificate(files);
    let cas = ClientCas::new(section.client_ca.iter().map(within));
    let builder = match section.client_auth {
        Some(ClientAuthMode::None) => builder.without_client_certificates(),
        Some(ClientAuthMode::Request) => builder.request_client_certificates(cas),
        _ => builder.require_client_certificates(cas),
    };
    Ok(Acceptor::new(builder.watch(WatchOptions::default())?))
}
