mod arguments;
mod told;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use portcullis::PeerIdentity;
use portcullis::crl::{CertPath, Revocation};
use portcullis::reload::WatchOptions;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{Answer, certificates};
pub(crate) use arguments::Verify;
use told::{Outcome, Path as Told};

/// The client CAs that count at a time, and what is said of the others.
struct Cas<'a> {
    anchors: Vec<(TrustAnchor<'a>, String)>,
    left_out: Vec<String>,
}

impl Verify {
    pub(crate) fn run(self) -> Answer {
        let Self {
            arguments,
            certificate,
        } = self;
        let at = arguments.at.unwrap_or_else(UnixTime::now);
        let authorities = read_all(&arguments.ca)?;
        let chain = read_all(&arguments.chain)?;
        let signers = read_all(&arguments.signer)?;
        let mut own = read(&certificate)?.into_iter();
        let end_entity = own.next().ok_or("there is no certificate in it")?;
        let intermediates: Vec<_> = own.chain(chain).collect();
        let mut revocation = Revocation::builder()
            .with_options(arguments.options())
            .with_authorities(
                authorities
                    .iter()
                    .chain(&signers)
                    .chain(&intermediates)
                    .cloned(),
            );
        if let Some(at) = arguments.at {
            revocation = revocation.as_of(at);
        }
        let revocation = revocation.from_files(&arguments.crl, WatchOptions::default())?;
        let lists = revocation.lists().load();
        let cas = Cas::at(at, &authorities)?;
        let mut outcome = Outcome {
            notes: cas.left_out.clone(),
            refused: lists.refused().collect(),
            ..Outcome::default()
        };
        match path(&end_entity, &intermediates, &cas, at) {
            Ok((path, anchor)) => {
                let verdict = revocation.examine(&path, at);
                outcome.good = verdict.refusal().is_none();
                outcome.verdict = Some(verdict.label());
                outcome.why = verdict.to_string();
                outcome.path = Some(Told {
                    findings: revocation.explain(&path, at),
                    anchor,
                });
            }
            Err(why) => outcome.why = why,
        }
        outcome.print(arguments.json);
        Ok(outcome.good)
    }
}

impl<'a> Cas<'a> {
    /// As the gate does, which would trust one that has expired otherwise: webpki does not look.
    fn at(at: UnixTime, certificates: &'a [CertificateDer<'a>]) -> Result<Self, Box<dyn Error>> {
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(at.as_secs());
        let mut cas = Self {
            anchors: Vec::new(),
            left_out: Vec::new(),
        };
        for certificate in certificates {
            let identity = PeerIdentity::from_der(certificate)?;
            let subject = identity.subject();
            if at >= identity.not_after() {
                let end = humantime::format_rfc3339_seconds(identity.not_after());
                let why =
                    format!("the client CA {subject} has expired at {end} and does not count");
                cas.left_out.push(why);
            } else {
                let anchor = anchor_from_trusted_cert(certificate)
                    .map_err(|error| format!("the client CA {subject}: {error}"))?;
                cas.anchors.push((anchor, subject.to_owned()));
            }
        }
        Ok(cas)
    }
}

/// The path as the gate builds it, and the subject of the client CA that it leads to.
fn path(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    cas: &Cas<'_>,
    at: UnixTime,
) -> Result<(CertPath, String), String> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let anchors: Vec<_> = cas
        .anchors
        .iter()
        .map(|(anchor, _)| anchor.clone())
        .collect();
    let leaf = EndEntityCert::try_from(end_entity).map_err(|error| error.to_string())?;
    let path = leaf
        .verify_for_usage(
            provider.signature_verification_algorithms.all,
            &anchors,
            intermediates,
            at,
            KeyUsage::client_auth(),
            None,
            None,
        )
        .map_err(|error| format!("no path to a client CA: {error}"))?;
    let between: Vec<_> = path
        .intermediate_certificates()
        .map(|one| one.der().into_owned())
        .collect();
    let mut subjects = cas
        .anchors
        .iter()
        .filter(|(anchor, _)| anchor == path.anchor());
    let subject = subjects.next().map(|(_, subject)| subject.clone());
    let path =
        CertPath::new(end_entity, &between, path.anchor()).map_err(|error| error.to_string())?;
    Ok((path, subject.unwrap_or_default()))
}

fn read_all(files: &[PathBuf]) -> Result<Vec<CertificateDer<'static>>, Box<dyn Error>> {
    let mut all = Vec::new();
    for file in files {
        all.extend(read(file)?);
    }
    Ok(all)
}

/// The certificates in a file, all of which can be read.
fn read(file: &Path) -> Result<Vec<CertificateDer<'static>>, Box<dyn Error>> {
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let told = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let found = certificates::read(file)?;
    for certificate in &found {
        match X509Certificate::from_der(certificate) {
            Ok(([], _)) => {}
            Ok(_) => return Err(told(&"there is more after a certificate").into()),
            Err(error) => return Err(told(&format_args!("no certificate: {error}")).into()),
        }
    }
    Ok(found)
}
