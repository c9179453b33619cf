use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use super::authority::Authorities;
use super::list::Crl;
use super::store::{CrlSet, FromFile};
use super::{CrlError, LoadError, gzip};
use crate::reload::Pinned;
use crate::telemetry::metrics;
use crate::util::clock;
use crate::util::left_out::{self, Block, LeftOut};
use crate::util::x509_file::{self, Sought};

/// Reads CRLs from files and other sources into one set.
pub(super) struct Loader<'a> {
    lists: CrlSet,
    previous: Option<&'a CrlSet>,
    /// Those of `previous` that may be in what could not be read.
    pub(super) unread: Vec<Arc<Crl>>,
    /// Those of `previous` that were in files which hold other lists now.
    displaced: Vec<(PathBuf, Arc<Crl>)>,
    max_size: u64,
    /// Files and directories that are read for CAs too.
    signers: &'a [PathBuf],
    /// Seconds after 1970.
    now: u64,
    /// Whether that is another time than now.
    as_of: Option<u64>,
}

/// What is in a file.
#[derive(Default)]
pub(super) struct Content {
    lists: Vec<Arc<Crl>>,
    /// What else is in it.
    others: Vec<LeftOut>,
    /// Active lists that may be in what could not be read.
    pub(super) unread: Vec<Arc<Crl>>,
    pub(super) errors: Vec<LoadError>,
}

impl Content {
    fn unusable(error: LoadError) -> Self {
        Self {
            errors: vec![error],
            ..Self::default()
        }
    }
}

impl<'a> Loader<'a> {
    pub(super) fn new(
        authorities: Arc<Authorities>,
        previous: Option<&'a CrlSet>,
        max_size: u64,
    ) -> Self {
        Self {
            lists: CrlSet::new(authorities),
            previous,
            unread: Vec::new(),
            displaced: Vec::new(),
            max_size,
            signers: &[],
            now: clock::seconds(),
            as_of: None,
        }
    }

    /// Knows these files and directories as such that are read for CAs too.
    pub(super) fn with_signers(mut self, signers: &'a [PathBuf]) -> Self {
        self.signers = signers;
        self
    }

    /// As of this time, in seconds after 1970, if it is not now.
    pub(super) fn with_time(mut self, time: Option<u64>) -> Self {
        self.now = time.unwrap_or(self.now);
        self.as_of = time;
        self
    }

    /// Reads a file, unless it is the same as before. One that the operator did not name but its directory
    /// may be there for something else.
    pub(super) fn read_file(
        &mut self,
        pinned: &mut Pinned,
        file: PathBuf,
        is_named: bool,
    ) -> Result<(), LoadError> {
        // Before it is read, so that a change meanwhile is seen after it.
        let seen = pinned.fingerprint(&file);
        let known = self.previous.and_then(|previous| previous.files.get(&file));
        if let Some(known) = known
            && known.seen.as_ref() == Some(&seen)
            && self.take_again(known)
        {
            let displaced = known.displaced.iter().filter_map(Weak::upgrade);
            self.displaced
                .extend(displaced.map(|list| (file.clone(), list)));
            let again = FromFile {
                seen: Some(seen),
                lists: known.lists.clone(),
                kept: known.kept.clone(),
                displaced: Vec::new(),
                refused: known.refused.clone(),
            };
            self.lists.files.insert(file, again);
            return Ok(());
        }
        let content = match pinned.read_at_most(&file, self.max_size) {
            Ok(content) => content,
            Err(error) => return self.refuse_all_under(&file, LoadError::unreadable(&file, error)),
        };
        let mut read = if !is_named && Sought::Crls.leaves_out(&file, &content) {
            Content::default()
        } else {
            self.read_content(&file.display().to_string(), &content, is_named)
        };
        drop(content);
        if !read.lists.is_empty() {
            left_out::warn(&file, "CRLs", &read.others, |block| {
                block == Block::Certificate && left_out::is_named(&file, self.signers)
            });
        }
        let before = known.iter().flat_map(|known| known.all());
        if read.errors.is_empty() {
            self.displaced
                .extend(before.map(|list| (file.clone(), list)));
        } else {
            read.unread.extend(before);
        }
        let known = FromFile {
            seen: Some(seen),
            lists: read.lists.iter().map(Arc::downgrade).collect(),
            kept: read.unread.iter().map(Arc::downgrade).collect(),
            displaced: Vec::new(),
            refused: self.refuse(read.errors, None)?,
        };
        self.unread.append(&mut read.unread);
        self.lists.files.insert(file, known);
        Ok(())
    }

    /// Takes what was in a file that is the same as before; false if some of it is gone.
    fn take_again(&mut self, known: &FromFile) -> bool {
        let lists: Vec<_> = known.lists.iter().filter_map(Weak::upgrade).collect();
        if lists.len() < known.lists.len() {
            return false;
        }
        for list in lists {
            list.find_signer(&self.lists.authorities);
            self.lists.insert(list, self.now);
        }
        self.unread
            .extend(known.kept.iter().filter_map(Weak::upgrade));
        self.lists.refused.extend(known.refused.iter().cloned());
        true
    }

    /// Goes on without a file or a directory.
    pub(super) fn refuse_all_under(
        &mut self,
        path: &Path,
        error: LoadError,
    ) -> Result<(), LoadError> {
        let mut before: Vec<Arc<Crl>> = Vec::new();
        let mut still = None;
        if let Some(previous) = self.previous {
            let files = previous.files.iter();
            let under = files.filter(|(file, _)| file.starts_with(path));
            before.extend(under.flat_map(|(_, known)| known.all()));
            let known = previous.files.get(path);
            still = known.filter(|known| known.seen.is_none());
        }
        let known = FromFile {
            kept: before.iter().map(Arc::downgrade).collect(),
            refused: self.refuse(vec![error], still)?,
            ..FromFile::default()
        };
        self.unread.append(&mut before);
        self.lists.files.insert(path.to_owned(), known);
        Ok(())
    }

    /// Goes on without what cannot be used, if there may be an active list in its place. What is `still` so is
    /// logged and counted no more.
    pub(super) fn refuse(
        &mut self,
        errors: Vec<LoadError>,
        still: Option<&FromFile>,
    ) -> Result<Vec<Arc<LoadError>>, LoadError> {
        let mut refused = Vec::new();
        for error in errors {
            if self.previous.is_none() && error.is_broken() {
                return Err(error);
            }
            refused.push(Arc::new(error));
        }
        if let Some(still) = still {
            refused.clone_from(&still.refused);
        }
        self.lists.refused.extend(refused.iter().cloned());
        Ok(refused)
    }

    /// Reads the content of a file: one CRL in DER, or any number in PEM, or either in gzip.
    pub(super) fn read(&mut self, origin: &str, content: &[u8]) -> Content {
        self.read_content(origin, content, true)
    }

    fn read_content(&mut self, origin: &str, content: &[u8], is_named: bool) -> Content {
        if gzip::is_gzip(content) {
            return match gzip::decompress(origin, content, self.max_size) {
                Ok(content) => self.read_plain(origin, &content, is_named),
                Err(error) => Content::unusable(error),
            };
        }
        self.read_plain(origin, content, is_named)
    }

    fn read_plain(&mut self, origin: &str, content: &[u8], is_named: bool) -> Content {
        let mut read = Content::default();
        let contents = x509_file::crls(content);
        let is_empty = contents.wanted.is_empty() && (is_named || contents.others.is_empty());
        read.others = contents.others;
        for (item, number) in contents.wanted.into_iter().zip(1..) {
            let at = match item.line {
                1 => origin.to_owned(),
                line => format!("{origin}:{line}"),
            };
            self.take(&at, number, &item.der, &mut read);
        }
        if let Some(error) = contents.error {
            read.errors
                .push(LoadError::not_pem(origin.to_owned(), &error));
        } else if is_empty {
            let origin = origin.to_owned();
            return Content::unusable(LoadError::Empty { origin });
        }
        read
    }

    fn take(&mut self, origin: &str, number: usize, der: &[u8], read: &mut Content) {
        match Crl::parse(der, &self.lists.authorities) {
            Ok(list) if self.is_later(&list) => read.errors.push(LoadError::List {
                origin: origin.to_owned(),
                number,
                error: CrlError::NotIssuedThen,
            }),
            Ok(list) => {
                let list = Arc::new(list);
                // Whose it is no known authority can tell, so it takes the place of no list whose signer is known.
                if let Some(previous) = self.previous.filter(|_| list.signer().is_none()) {
                    let before = previous.by(&list.issuer).iter();
                    let of_others = before.filter(|one| match one.signer() {
                        Some(signer) => !list.is_by(&signer, &self.lists.authorities),
                        None => false,
                    });
                    read.unread.extend(of_others.cloned());
                }
                self.lists.insert(Arc::clone(&list), self.now);
                read.lists.push(list);
            }
            Err(error) => {
                // Those of its issuer stay, wherever they are from.
                if let (Some(previous), Some(issuer)) = (self.previous, Crl::issuer_of(der)) {
                    read.unread.extend(previous.by(&issuer).iter().cloned());
                }
                read.errors.push(LoadError::List {
                    origin: origin.to_owned(),
                    number,
                    error,
                });
            }
        }
    }

    /// Keeps the lists in whose files there is now none of their CA that answers for as much, nor in any other file, as
    /// long as the CA is known: a file that was written over by mistake takes no revocation back.
    /// Where the file is gone, the operator meant it.
    fn keep_displaced(&mut self) {
        for (file, list) in std::mem::take(&mut self.displaced) {
            let Some(signer) = list.signer() else {
                continue;
            };
            let is_there = |new: &Arc<Crl>| {
                let answers_too = match (&new.base, &list.base) {
                    // Which of two takes the place of the other is found out with their times and bases.
                    (None, None) | (Some(_), Some(_)) => true,
                    (None, Some(_)) => !new.is_older_than(&list),
                    (Some(_), None) => false,
                };
                new.scope.covers(&list.scope)
                    && answers_too
                    && new.is_by(&signer, &self.lists.authorities)
            };
            // One that is over proves nothing, but what it revokes stays revoked.
            if self.lists.by(&list.issuer).iter().any(is_there)
                || !self.lists.authorities.knows(&list.issuer, &signer)
                || self.unread.iter().any(|one| Arc::ptr_eq(one, &list))
            {
                continue;
            }
            // An expired list is logged and reported as expired.
            if !list.is_over(self.now) {
                let error = LoadError::Displaced {
                    origin: file.display().to_string(),
                    issuer: list.issuer.to_string(),
                };
                self.lists.refused.push(Arc::new(error));
                let before = self.previous.and_then(|previous| previous.files.get(&file));
                let mut before = before.into_iter().flat_map(|known| &known.displaced);
                if !before.any(|one| one.as_ptr() == Arc::as_ptr(&list)) {
                    metrics::crl_refused("unusable");
                }
            }
            if let Some(known) = self.lists.files.get_mut(&file) {
                known.displaced.push(Arc::downgrade(&list));
            }
            self.unread.push(list);
        }
    }

    /// Whether a list was issued after the time that is asked about, and so was not there then. One
    /// that is dated ahead of today may have been.
    fn is_later(&self, list: &Crl) -> bool {
        self.as_of
            .is_some_and(|at| !list.is_begun(at) && list.is_begun(clock::seconds()))
    }

    /// The lists that the program published, where no file is named.
    pub(super) fn without_lists(mut self) -> CrlSet {
        if let Some(previous) = self.previous {
            self.lists.keep_newer_of(previous, self.now, &self.unread);
        }
        self.lists
    }

    pub(super) fn finish(mut self, origin: &str) -> Result<CrlSet, LoadError> {
        self.keep_displaced();
        if let Some(previous) = self.previous {
            self.lists.keep_newer_of(previous, self.now, &self.unread);
        }
        if !self.lists.is_empty() {
            return Ok(self.lists);
        }
        let empty = LoadError::Empty {
            origin: origin.to_owned(),
        };
        self.lists.files.clear();
        let first = self.lists.refused.into_iter().next();
        Err(first.map_or(empty, |first| {
            Arc::try_unwrap(first).unwrap_or_else(|first| LoadError::Refused(first.to_string()))
        }))
    }
}
