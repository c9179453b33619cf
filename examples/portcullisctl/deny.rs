use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use portcullis::PeerIdentity;
use portcullis::crl::{DenyEntry, DenyList};
use rustls::pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::{Answer, certificates, files};

/// Appends an entry to a deny list. A gate that follows the file refuses from then on, ends what is in flight,
/// and closes idle connections.
#[derive(Args)]
pub(crate) struct Deny {
    /// The deny list. It is made if it is not there
    #[arg(long, short)]
    file: PathBuf,
    /// What is denied, as a list has it: `fingerprint:HEX`, `key:HEX`, `serial:HEX issuer:"NAME"` or
    /// `spiffe://DOMAIN/PATH`
    #[arg(
        required_unless_present = "certificate",
        conflicts_with = "certificate"
    )]
    name: Option<String>,
    /// A file with the certificate that is denied, in PEM or DER
    #[arg(long)]
    certificate: Option<PathBuf>,
    /// What of the certificate is denied [default: fingerprint; of a CA's certificate the key]
    #[arg(long, value_enum, requires = "certificate")]
    by: Option<By>,
    /// Why
    #[arg(long)]
    reason: String,
    /// The last day or second at which the entry counts, as 2027-01-31 or 2027-01-31T08:15:00Z
    #[arg(long)]
    until: Option<String>,
    /// Prints the line and writes nothing
    #[arg(long)]
    dry_run: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum By {
    /// This certificate alone
    Fingerprint,
    /// Its key, whatever certificate has it
    Key,
    /// Its serial number with its issuer
    Serial,
    /// Its SPIFFE ID, whatever certificate has it
    Spiffe,
}

impl Deny {
    pub(crate) fn run(&self) -> Answer {
        let mut line = self.subject()?;
        let now = OffsetDateTime::now_utc().replace_nanosecond(0)?;
        write!(line, " {}", now.format(&Rfc3339)?)?;
        if let Some(until) = &self.until {
            write!(line, " until={until}")?;
        }
        write!(line, " {}", self.reason)?;
        let entry: DenyEntry = line.parse()?;
        if self.dry_run {
            println!("{entry}");
            return Ok(true);
        }
        append(&self.file, &entry)?;
        println!("{}: {entry}", self.file.display());
        Ok(true)
    }

    fn subject(&self) -> Result<String, Box<dyn Error>> {
        if let Some(name) = &self.name {
            return Ok(name.clone());
        }
        let file = self.certificate.as_deref().ok_or("nothing is named")?;
        let own = certificates::read(file)?.into_iter().next();
        let own: CertificateDer<'_> = own.ok_or("there is no certificate in it")?;
        let (_, certificate) = X509Certificate::from_der(&own)?;
        // No client shows the certificate of its client CA: of that one the key alone is known.
        let by = match (self.by, certificate.is_ca()) {
            (Some(By::Fingerprint | By::Serial), true)
                if certificate.subject() == certificate.issuer() =>
            {
                return Err("no client shows the certificate of a root CA, so that neither its fingerprint nor its \
                     serial number denies anything: use --by key"
                    .into());
            }
            (Some(by), _) => by,
            (None, true) => By::Key,
            (None, false) => By::Fingerprint,
        };
        let identity = PeerIdentity::from_der(&own)?;
        Ok(match by {
            By::Fingerprint => format!("fingerprint:{}", identity.fingerprint_hex()),
            By::Key => {
                let mut text = "key:".to_owned();
                for octet in Sha256::digest(certificate.public_key().raw) {
                    write!(text, "{octet:02x}")?;
                }
                text
            }
            By::Serial => {
                let (serial, issuer) = (identity.serial(), identity.issuer());
                format!("serial:{serial} issuer:\"{issuer}\"")
            }
            By::Spiffe => identity
                .spiffe_id()
                .ok_or("the certificate has no SPIFFE ID")?
                .to_owned(),
        })
    }
}

/// Puts the list with one entry more in the place of the file at once, so that a gate never reads half a line. A
/// list that cannot be read whole is left as it is.
fn append(file: &Path, entry: &DenyEntry) -> Result<(), Box<dyn Error>> {
    let told = |error: io::Error| format!("{}: {error}", file.display());
    // Through a link to the file itself.
    let target = match fs::canonicalize(file) {
        Ok(target) => target,
        Err(error) if error.kind() == io::ErrorKind::NotFound => file.to_owned(),
        Err(error) => return Err(told(error).into()),
    };
    let folder = target.parent().filter(|folder| *folder != Path::new(""));
    let folder = folder.unwrap_or(Path::new("."));
    let name = target.file_name().ok_or("the deny list has no file name")?;
    let beside = folder.join(format!(".{}.new", name.to_string_lossy()));
    // It is a lock too: of two that append at once one would take the other's entry back.
    let new = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&beside);
    let new = new.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => format!(
            "{}: another run writes the list: if there is none, remove this file",
            beside.display()
        ),
        _ => format!("{}: {error}", beside.display()),
    })?;
    let written = replace(new, &target, &beside, entry);
    if written.is_err() {
        // The error is what counts.
        let _ = fs::remove_file(&beside);
    }
    written?;
    // What was renamed is lost in a crash until its folder is written too.
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(told)?;
    Ok(())
}

fn replace(
    mut new: File,
    target: &Path,
    beside: &Path,
    entry: &DenyEntry,
) -> Result<(), Box<dyn Error>> {
    let told = |error: io::Error| format!("{}: {error}", target.display());
    let mut content = match files::read(target) {
        Ok(content) => {
            let permissions = fs::metadata(target).map_err(told)?.permissions();
            new.set_permissions(permissions).map_err(told)?;
            content
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(told(error).into()),
    };
    DenyList::parse(target, &content)?;
    if !content.is_empty() && !content.ends_with(b"\n") {
        // A comment; an entry would have been an error.
        content.push(b'\n');
    }
    content.extend(format!("{entry}\n").into_bytes());
    DenyList::parse(target, &content)?;
    new.write_all(&content).map_err(told)?;
    new.sync_all().map_err(told)?;
    fs::rename(beside, target).map_err(told)?;
    Ok(())
}
