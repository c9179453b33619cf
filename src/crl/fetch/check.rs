use reqwest::Url;

use super::super::authority::Authorities;
use super::super::list::Crl;
use super::super::verdict::date;
use super::super::{LoadError, gzip};
use crate::crl::FetchError;
use crate::fetch::HttpError;
use crate::util::x509_file;

/// A list that may be taken.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) der: Vec<u8>,
    /// Without its entries.
    pub(super) head: Crl,
}

/// Reads the answer of a URL, and refuses what must not take the place of `known`, the list before it.
pub(super) fn check(
    content: &[u8],
    url: &Url,
    known: Option<&Crl>,
    authorities: &Authorities,
    now: u64,
    max_size: u64,
) -> Result<Checked, FetchError> {
    let der = single(content, max_size)?;
    let list = Crl::parse_signed(&der, authorities)?.map_err(FetchError::NotSigned)?;
    if list.this_update > now {
        return Err(FetchError::NotYetValid);
    }
    if let Some(known) = known {
        let is_same = list.has_scope_of(known);
        // An attacker on the way could put one shard in the place of another; but not in that of its own, of
        // which the issuer says where it is. A list that is over answers for nothing more.
        let is_moved = list.is_moved_from(known) && list.scope.is_at_url(url);
        if !is_same && !is_moved && known.next_update >= now {
            return Err(FetchError::OtherScope);
        }
        if is_same || is_moved {
            follows(&list, known, now)?;
        }
    }
    let head = list.without_entries();
    Ok(Checked { der, head })
}

/// That a list may follow the one before it: later by number and time, or by one of them when the one
/// before it is over. Those of a new key may count from the beginning.
fn follows(list: &Crl, known: &Crl, now: u64) -> Result<(), FetchError> {
    let is_same_key = list.signer() == known.signer();
    let contradicts = is_same_key && list.contradicts(known);
    let is_older = if is_same_key {
        list.is_older_than(known)
    } else {
        list.this_update < known.this_update
    };
    if !is_older || contradicts && known.is_over(now) && !list.is_over(now) {
        return Ok(());
    }
    let (came, in_force) = (list.version_text(), known.version_text());
    Err(if contradicts {
        FetchError::Contradicts {
            came,
            in_force,
            until: date(known.next_update),
        }
    } else {
        FetchError::Older { came, in_force }
    })
}

/// The one CRL in DER, in PEM, or in either compressed.
fn single(content: &[u8], max_size: u64) -> Result<Vec<u8>, FetchError> {
    if gzip::is_gzip(content) {
        return match gzip::decompress("the answer", content, max_size) {
            Ok(plain) if gzip::is_gzip(&plain) => Err(FetchError::NotOne(0)),
            Ok(plain) => single(&plain, max_size),
            Err(LoadError::TooLarge { max_size, .. }) => Err(HttpError::TooLarge(max_size).into()),
            Err(error) => Err(FetchError::Content(Box::new(error))),
        };
    }
    let contents = x509_file::crls(content);
    if let Some(error) = contents.error {
        let origin = "the answer".to_owned();
        let error = LoadError::not_pem(origin, &error);
        return Err(FetchError::Content(Box::new(error)));
    }
    match <[_; 1]>::try_from(contents.wanted) {
        Ok([list]) => Ok(list.der.into_owned()),
        Err(lists) => Err(FetchError::NotOne(lists.len())),
    }
}
