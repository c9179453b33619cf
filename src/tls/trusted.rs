//! Which client CAs count where not each file can be used.

use std::sync::Arc;

use super::anchors::Anchors;
use super::{Material, TlsError};
use crate::util::error_chain::chain;

/// The client CAs from now on.
pub(super) struct Trusted {
    pub(super) anchors: Option<Arc<Anchors>>,
    /// Why they are not those of the files.
    pub(super) withheld: Option<Arc<str>>,
}

/// Chooses the client CAs that were `found` in the files, once their CRLs could be read. Where either cannot be used,
/// those of `previous` stay, but for what the files have no more: a CA that an operator takes away does not wait for a
/// CRL that is damaged, nor does a certificate of the server's own that `is_renewed` wait for either.
///
/// # Errors
/// Why not all can be used, where none of the rest is news.
pub(super) fn choose(
    found: Result<Option<Anchors>, TlsError>,
    read: Result<(), TlsError>,
    previous: Option<&Material>,
    is_renewed: bool,
) -> Result<Trusted, TlsError> {
    let (found, error) = match (found, read) {
        (Ok(found), Ok(())) => {
            return Ok(Trusted {
                anchors: found.map(Arc::new),
                withheld: None,
            });
        }
        (Ok(found), Err(error)) => (found, error),
        (Err(error), _) => (None, error),
    };
    let verifier = previous.and_then(|previous| previous.verifier.as_ref());
    let Some(current) = verifier.map(|verifier| verifier.anchors()) else {
        return Err(error);
    };
    let left = found.and_then(|found| current.without_those_gone_from(&found));
    if left.is_none() && !is_renewed {
        return Err(error);
    }
    Ok(Trusted {
        anchors: Some(left.map_or_else(|| Arc::clone(current), Arc::new)),
        withheld: Some(chain(&error).into()),
    })
}
