mod arguments;
mod report;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use portcullis::PeerIdentity;
use portcullis::crl::{DenyList, LoadError, Revocation, Verdict};
use portcullis::reload::WatchOptions;
use portcullis::tls::{ClientCas, ClientCheck, Reason, TlsError};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{Answer, certificates};
pub(crate) use arguments::Verify;
use report::{Outcome, Path as PathReport, rfc3339};

impl Verify {
    pub(crate) fn run(self) -> Answer {
        let Self {
            arguments,
            certificate,
        } = self;
        let at = arguments.at.unwrap_or_else(SystemTime::now);
        let chain = read_all(&arguments.chain)?;
        let mut own = read(&certificate)?.into_iter();
        let end_entity = own.next().ok_or("there is no certificate in it")?;
        let intermediates: Vec<_> = own.chain(chain).collect();
        // First, so that a file without a certificate is reported as one.
        let notes = expired(&arguments.ca, at)?;
        let revocation = arguments.revocation()?;
        let lists = revocation.lists().load();
        let mut outcome = Outcome {
            notes,
            refused: lists.refused().collect(),
            ..Outcome::default()
        };
        outcome.notes.extend(lists.held_back());
        let cas = ClientCas::new(&arguments.ca);
        match ClientCheck::new(&cas, revocation.clone(), at) {
            Ok(check) => {
                let check = arguments.requiring(check);
                let answer = check.check(&end_entity, &intermediates);
                outcome.good = answer.reason.is_none();
                outcome.reason = answer.reason.map(Reason::label);
                outcome.verdict = answer.verdict.as_ref().map(Verdict::label);
                outcome.why = answer.why;
                outcome.path = answer.anchor.map(|anchor| PathReport {
                    findings: answer.findings,
                    anchor,
                });
            }
            Err(error @ TlsError::Expired { .. }) => {
                outcome.why = format!("no path to a client CA that counts: {error}");
            }
            Err(error) => return Err(error.into()),
        }
        outcome.print(arguments.json);
        Ok(outcome.good)
    }
}

impl arguments::Arguments {
    /// The CRLs as the gate reads them.
    fn revocation(&self) -> Result<Revocation, Box<dyn Error>> {
        let mut builder = Revocation::builder()
            .with_options(self.options())
            .with_rules(self.authority.iter().cloned())
            .with_authority_files(self.ca.iter().chain(&self.signer));
        if let Some(at) = self.at {
            builder = builder.as_of(at);
        }
        if !self.deny.is_empty() {
            builder = builder.with_denied(DenyList::watch(&self.deny, WatchOptions::default())?);
            if self.crl.is_empty() && self.authority.is_empty() {
                builder = builder.without_crls();
            }
        }
        if self.before.is_empty() {
            return Ok(builder.from_files(&self.crl, WatchOptions::default())?);
        }
        // As a gate that runs: what it has stays where what comes is older.
        let revocation = builder.from_files(&self.before, WatchOptions::default())?;
        let mut contents = Vec::new();
        for file in files(&self.crl)? {
            // By itself first, for an error that names it; what a folder has besides CRLs is passed over.
            match Revocation::builder().from_files([&file], WatchOptions::default()) {
                Err(LoadError::Empty { .. }) if !self.crl.contains(&file) => continue,
                other => other.map(drop)?,
            }
            let content = crate::files::read(&file);
            contents.push(content.map_err(|error| format!("{}: {error}", file.display()))?);
        }
        revocation.publish(contents.iter().map(Vec::as_slice))?;
        Ok(revocation)
    }
}

/// What is said of the client CAs that do not count for their age, as the gate logs it.
fn expired(paths: &[PathBuf], at: SystemTime) -> Result<Vec<String>, Box<dyn Error>> {
    let mut notes = Vec::new();
    for file in paths.iter().filter(|path| path.is_file()) {
        for certificate in read(file)? {
            let identity = PeerIdentity::from_der(&certificate)?;
            if at >= identity.not_after() {
                let subject = identity.subject();
                let end = rfc3339(identity.not_after());
                let note =
                    format!("the client CA {subject} has expired at {end} and does not count");
                notes.push(note);
            }
        }
    }
    Ok(notes)
}

/// The files themselves, and those in folders.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_dir() {
            let told = |error| format!("{}: {error}", path.display());
            for entry in std::fs::read_dir(path).map_err(told)? {
                let file = entry.map_err(told)?.path();
                let name = file.file_name().unwrap_or_default().as_encoded_bytes();
                if file.is_file() && !name.starts_with(b".") {
                    files.push(file);
                }
            }
        } else {
            files.push(path.clone());
        }
    }
    files.sort();
    Ok(files)
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
    let found = certificates::read(file)?;
    for certificate in &found {
        match X509Certificate::from_der(certificate) {
            Ok(([], _)) => {}
            Ok(_) => return Err(told(&"there is more after a certificate").into()),
            Err(_) => return Err(told(&"it is not the DER of a certificate").into()),
        }
    }
    Ok(found)
}
