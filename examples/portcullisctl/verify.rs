use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use portcullis::crl::{CertPath, DecidingCrl, Finding, Revocation};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};

use crate::Answer;

#[derive(Args)]
pub(crate) struct Verify {
    /// A file of client CAs, in PEM or DER; can be given again
    #[arg(long, required = true)]
    ca: Vec<PathBuf>,
    /// A file of intermediate certificates that the client sends; can be given again
    #[arg(long)]
    chain: Vec<PathBuf>,
    /// A file of CRLs, in PEM or DER; can be given again
    #[arg(long, required = true)]
    crl: Vec<PathBuf>,
    /// The time to ask about, in RFC 3339 form, instead of now
    #[arg(long)]
    at: Option<String>,
    /// Prints JSON
    #[arg(long)]
    json: bool,
    /// The client's certificate, in PEM or DER
    certificate: PathBuf,
}

impl Verify {
    pub(crate) fn run(self) -> Answer {
        let at = self.time()?;
        let authorities = read_all(&self.ca)?;
        let chain = read_all(&self.chain)?;
        let mut own = read(&self.certificate)?.into_iter();
        let end_entity = own.next().ok_or("there is no certificate in it")?;
        let intermediates: Vec<_> = own.chain(chain).collect();
        let lists: Vec<Vec<u8>> = self
            .crl
            .iter()
            .map(|file| std::fs::read(file).map_err(|error| told(file, &error)))
            .collect::<Result<_, _>>()?;
        let path = match path(&end_entity, &intermediates, &authorities, at) {
            Ok(path) => path,
            Err(error) => {
                self.print(false, &[], &error);
                return Ok(false);
            }
        };
        let known = authorities.into_iter().chain(intermediates);
        let revocation = Revocation::builder()
            .with_authorities(known)
            .from_bytes(lists.iter().map(Vec::as_slice))?;
        let verdict = revocation.examine(&path, at);
        let good = verdict.refusal().is_none();
        self.print(good, &revocation.explain(&path, at), &verdict.to_string());
        Ok(good)
    }

    fn time(&self) -> Result<UnixTime, Box<dyn Error>> {
        let Some(text) = &self.at else {
            return Ok(UnixTime::now());
        };
        let at = OffsetDateTime::parse(text, &Rfc3339)?.unix_timestamp();
        let since = Duration::from_secs(u64::try_from(at)?);
        Ok(UnixTime::since_unix_epoch(since))
    }

    fn print(&self, good: bool, findings: &[Finding], why: &str) {
        if self.json {
            let path: Vec<_> = findings
                .iter()
                .map(|one| {
                    json!({
                        "subject": one.subject,
                        "issuer": one.issuer,
                        "serial": one.serial,
                        "verdict": one.verdict.to_string(),
                        "decided_by": one.decided_by.iter().map(described).collect::<Vec<_>>(),
                    })
                })
                .collect();
            println!("{}", json!({ "good": good, "why": why, "path": path }));
            return;
        }
        println!("{}: {why}", if good { "good" } else { "refused" });
        for one in findings {
            println!("{} by {}: {}", one.subject, one.issuer, one.verdict);
            for list in &one.decided_by {
                println!("  {}", told_of(list));
            }
        }
    }
}

fn described(list: &DecidingCrl) -> serde_json::Value {
    json!({
        "issuer": list.issuer,
        "scope": list.scope,
        "number": list.number,
        "this_update": rfc3339(list.this_update),
        "next_update": rfc3339(list.next_update),
    })
}

fn told_of(list: &DecidingCrl) -> String {
    let number = list.number.as_deref().unwrap_or("none");
    format!(
        "CRL of {} ({}), number {number}, from {} to {}",
        list.issuer,
        list.scope,
        rfc3339(list.this_update),
        rfc3339(list.next_update)
    )
}

fn rfc3339(seconds: u64) -> String {
    let moment = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| OffsetDateTime::from_unix_timestamp(seconds).ok());
    moment
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_else(|| seconds.to_string())
}

/// The path as the gate builds it.
fn path(
    end_entity: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    authorities: &[CertificateDer<'_>],
    at: UnixTime,
) -> Result<CertPath, String> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let anchors = authorities.iter().map(anchor_from_trusted_cert);
    let anchors: Vec<_> = anchors
        .collect::<Result<_, _>>()
        .map_err(|error| error.to_string())?;
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
    CertPath::new(end_entity, &between, path.anchor()).map_err(|error| error.to_string())
}

fn read_all(files: &[PathBuf]) -> Result<Vec<CertificateDer<'static>>, Box<dyn Error>> {
    let mut all = Vec::new();
    for file in files {
        all.extend(read(file)?);
    }
    Ok(all)
}

fn read(file: &Path) -> Result<Vec<CertificateDer<'static>>, Box<dyn Error>> {
    let content = std::fs::read(file).map_err(|error| told(file, &error))?;
    // A certificate in DER begins with a SEQUENCE.
    if content.first() == Some(&0x30) {
        return Ok(vec![content.into()]);
    }
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => Err(told(file, &"there is no certificate in it")),
        Err(error) => Err(told(file, &error)),
    }
}

fn told(file: &Path, error: &dyn std::fmt::Display) -> Box<dyn Error> {
    format!("{}: {error}", file.display()).into()
}
