use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::CertificateDer;

use super::LoadError;
use super::authority::Authorities;
use super::certificate::CertificateInfo;
use super::loader::Loader;
use super::observe::{Successors, observe};
use super::store::CrlSet;
use crate::reload::{Given, Load, Pinned};
use crate::telemetry::metrics;
use crate::util::clock;
use crate::util::file::CERTIFICATES;
use crate::util::left_out::{self, Block};
use crate::util::x509_file::{self, Sought};

/// CRLs in files and directories.
#[derive(Debug)]
pub(crate) struct Files {
    pub(super) paths: Vec<PathBuf>,
    /// The authorities that are in files.
    pub(super) signers: Vec<PathBuf>,
    pub(super) authorities: Vec<CertificateDer<'static>>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    /// How many bytes a file may be decompressed to.
    pub(super) max_size: u64,
    /// The time that is asked about, if it is not now; seconds after 1970.
    pub(super) as_of: Option<u64>,
    pub(super) successors: Successors,
    /// Whether there need be no list where no file is named.
    pub(super) may_be_none: bool,
}

impl Load for Files {
    type Value = CrlSet;
    type Error = LoadError;

    fn name(&self) -> &'static str {
        "crl"
    }

    fn paths(&self) -> Vec<PathBuf> {
        self.paths.iter().chain(&self.signers).cloned().collect()
    }

    fn load(&mut self, previous: Option<&CrlSet>) -> Result<CrlSet, LoadError> {
        let lists = self.read(&mut Pinned::new(), previous)?;
        if previous.is_none() {
            observe(&lists, None);
        }
        Ok(lists)
    }

    fn replace(&mut self, lists: CrlSet, current: &CrlSet) -> CrlSet {
        replacing(lists, current)
    }

    fn refused(&self, lists: &CrlSet) -> Option<String> {
        lists.refusal()
    }

    fn lapsed(&mut self, current: &CrlSet) -> Option<CrlSet> {
        Some(current.lapsed())
    }

    fn look(&mut self, current: &CrlSet) {
        self.successors.look(current);
    }
}

/// What replaces the active lists: of those that were not there yet when `lists` were read, none that is newer
/// goes away.
pub(crate) fn replacing(mut lists: CrlSet, current: &CrlSet) -> CrlSet {
    lists.keep_newer_of(current, clock::seconds(), &[]);
    observe(&lists, Some(current));
    lists
}

impl Files {
    fn authorities(&self, pinned: &mut Pinned) -> Result<Authorities, LoadError> {
        let mut authorities = self.authorities.clone();
        read_authorities(&self.signers, &self.paths, pinned, &mut authorities)?;
        Ok(Authorities::new(&authorities, self.algorithms)?)
    }

    /// Reads the files as `pinned` sees them. The caller that activates the lists logs them.
    ///
    /// At a start all must be usable. Afterwards each file is for itself, so that one that is damaged does not
    /// hold up the revocations in another: what was in it before stays.
    pub(crate) fn read(
        &self,
        pinned: &mut Pinned,
        previous: Option<&CrlSet>,
    ) -> Result<CrlSet, LoadError> {
        let began = crate::util::clock::instant();
        // The lists of a CA that is known do not wait for the file of another.
        let (authorities, unreadable) = match (self.authorities(pinned), previous) {
            (Ok(authorities), _) => (Arc::new(authorities), None),
            (Err(error), Some(previous)) => (Arc::clone(&previous.authorities), Some(error)),
            (Err(error), None) => return Err(error),
        };
        let loader = Loader::new(authorities, previous, self.max_size);
        let mut loader = loader.with_time(self.as_of).with_signers(&self.signers);
        if let Some(error) = unreadable {
            let file = error.path().unwrap_or(Path::new("signers")).to_owned();
            loader.refuse_all_under(&file, error)?;
        }
        for path in &self.paths {
            match given(pinned, path) {
                Ok(Given::Named(file)) => loader.read_file(pinned, file, true)?,
                Ok(Given::Folder(files)) => {
                    let files = files.into_iter();
                    for file in files.filter(|file| !Sought::are_never_in(file)) {
                        loader.read_file(pinned, file, false)?;
                    }
                }
                Err(error) => loader.refuse_all_under(path, error)?,
            }
        }
        let lists = if self.may_be_none && self.paths.is_empty() {
            loader.without_lists()
        } else {
            if self.paths.is_empty() {
                return Err(LoadError::NoFile);
            }
            let named = self.paths.iter().map(|path| path.display().to_string());
            loader.finish(&named.collect::<Vec<_>>().join(", "))?
        };
        metrics::load_took("crl", began.elapsed());
        tracing::info!(
            lists = lists.len(),
            entries = lists.entries(),
            bytes = lists.size(),
            milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "CRLs loaded"
        );
        Ok(lists)
    }
}

/// CRLs from a program, each the content of a file.
pub(super) fn from_bytes<'a>(
    contents: impl IntoIterator<Item = &'a [u8]>,
    authorities: Arc<Authorities>,
    previous: Option<&CrlSet>,
    max_size: u64,
    as_of: Option<u64>,
) -> Result<CrlSet, LoadError> {
    let mut loader = Loader::new(authorities, previous, max_size).with_time(as_of);
    for content in contents {
        let mut read = loader.read("bytes", content);
        if let Some(broken) = read.errors.iter().position(LoadError::is_broken) {
            if previous.is_some() {
                metrics::crl_refused("unusable");
            }
            return Err(read.errors.swap_remove(broken));
        }
        loader.unread.append(&mut read.unread);
        loader.refuse(read.errors, None)?;
    }
    loader.finish("bytes")
}

/// Reads CAs and CRL signers from files, of which some may be among `lists`, those that are read for CRLs.
pub(super) fn read_authorities(
    files: &[PathBuf],
    lists: &[PathBuf],
    pinned: &mut Pinned,
    authorities: &mut Vec<CertificateDer<'static>>,
) -> Result<(), LoadError> {
    for path in files {
        let (files, is_named) = match given(pinned, path)? {
            Given::Named(file) => (vec![file], true),
            Given::Folder(files) => (files, false),
        };
        let before = authorities.len();
        let mut found = false;
        for file in files {
            if !is_named && Sought::are_never_in(&file) {
                continue;
            }
            if !is_named && Sought::is_copy(&file) {
                left_out::warn_of_copy(&file);
                continue;
            }
            let content = pinned.read_at_most(&file, CERTIFICATES);
            let content = content.map_err(|error| LoadError::unreadable(&file, error))?;
            if !is_named && Sought::Certificates.leaves_out(&file, &content) {
                continue;
            }
            let origin = || file.display().to_string();
            let contents = x509_file::certificates(&content)
                .map_err(|error| LoadError::not_pem(origin(), &error))?;
            if contents.wanted.is_empty() && (is_named || contents.others.is_empty()) {
                return Err(LoadError::Empty { origin: origin() });
            }
            if !contents.wanted.is_empty() {
                found = true;
                left_out::warn(&file, "CAs", &contents.others, |block| {
                    block == Block::Crl && left_out::is_named(&file, lists)
                });
            }
            for item in contents.wanted {
                let certificate = CertificateDer::from(item.der.into_owned());
                let read = CertificateInfo::parse(&certificate);
                read.map_err(|error| LoadError::Signer {
                    origin: origin(),
                    line: item.line,
                    error,
                })?;
                if !authorities.contains(&certificate) {
                    authorities.push(certificate);
                }
            }
        }
        if !found {
            let origin = path.display().to_string();
            return Err(LoadError::Empty { origin });
        }
        tracing::debug!(path = %path.display(), more = authorities.len() - before, "CRL signers read");
    }
    Ok(())
}

/// The files that a path stands for, of which a directory has some.
fn given(pinned: &mut Pinned, path: &Path) -> Result<Given, LoadError> {
    match pinned.given(path) {
        Ok(Given::Folder(files)) if files.is_empty() => {
            let origin = path.display().to_string();
            Err(LoadError::Empty { origin })
        }
        given => given.map_err(|error| LoadError::unreadable(path, error)),
    }
}

#[cfg(all(test, feature = "aws-lc-rs"))]
mod tests {
    use std::fs;

    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer,
        KeyIdMethod, KeyPair,
    };

    use super::super::Builder;
    use super::super::list::Crl;
    use super::*;

    fn ca(name: &str) -> (CertificateDer<'static>, Issuer<'static, KeyPair>) {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let der = params.self_signed(&key).unwrap().der().clone();
        (der, Issuer::new(params, key))
    }

    fn list(issuer: &Issuer<'static, KeyPair>, number: u64) -> Vec<u8> {
        let now = ::time::OffsetDateTime::now_utc();
        let params = CertificateRevocationListParams {
            this_update: now - ::time::Duration::HOUR,
            next_update: now + ::time::Duration::DAY,
            crl_number: number.into(),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(issuer).unwrap().der().to_vec()
    }

    #[test]
    fn a_file_that_is_the_same_is_not_read_again_and_can_be_turned_back_no_more_than_before() {
        let (first, second) = (ca("A"), ca("B"));
        let folder = tempfile::tempdir().unwrap();
        let put = |name, content: &[u8]| fs::write(folder.path().join(name), content).unwrap();
        put("a.crl", &list(&first.1, 5));
        put("b.crl", &list(&second.1, 1));
        let read = |signers: &[&CertificateDer<'static>], previous: Option<&CrlSet>| {
            let builder = Builder::default().with_authorities(signers.iter().copied().cloned());
            let (files, _) = builder.files(vec![folder.path().to_owned()]);
            files.read(&mut Pinned::new(), previous).unwrap()
        };
        let number = |lists: &CrlSet| {
            let of_first = lists
                .all()
                .map(|list| list.number.as_ref().unwrap().octets()[0]);
            of_first.max()
        };
        let of_first = |lists: &CrlSet| {
            let is_first = |list: &&Arc<Crl>| {
                list.authority_key.is_some() && {
                    let subject = super::super::certificate::CertificateInfo::parse(&first.0)
                        .unwrap()
                        .subject;
                    list.issuer == subject
                }
            };
            // One that contradicts it may wait beside it.
            let now = rustls::pki_types::UnixTime::now().as_secs();
            Arc::clone(lists.in_force(now).find(is_first).unwrap())
        };
        // Its signer is not known at first, and found later without the list being read again.
        let before = read(&[], None);
        assert!(of_first(&before).signer().is_none());
        put("b.crl", &list(&second.1, 2));
        let after = read(&[&first.0], Some(&before));
        assert!(Arc::ptr_eq(&of_first(&before), &of_first(&after)));
        assert!(of_first(&after).signer().is_some());

        put("a.crl", &list(&first.1, 4));
        let back = read(&[&first.0], Some(&after));
        assert!(Arc::ptr_eq(&of_first(&before), &of_first(&back)));
        // The old one is not active, so that it is read anew, and is old still.
        put("b.crl", &list(&second.1, 3));
        let back = read(&[&first.0], Some(&back));
        assert!(Arc::ptr_eq(&of_first(&before), &of_first(&back)));
        assert_eq!((back.len(), number(&back)), (2, Some(5)));

        put("a.crl", &list(&first.1, 6));
        let newer = read(&[&first.0], Some(&back));
        assert_eq!((newer.len(), number(&newer)), (2, Some(6)));
    }
}
