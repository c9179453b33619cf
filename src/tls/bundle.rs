//! A certificate, its chain and its private key in one file.

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::prelude::X509Certificate;
use zeroize::Zeroizing;

use super::TlsError;
use super::files::{self, CertificateFiles};
use crate::PeerIdentity;
use crate::reload::Pinned;
use crate::util::file::CERTIFICATES;

/// A chain, its own certificate first, and the private key.
type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

impl CertificateFiles {
    /// The chain, the owner's certificate first, and its key. A bundle is read once, so that both are of one
    /// version of the file.
    pub(super) fn pair(
        &self,
        pinned: &mut Pinned,
        provider: &CryptoProvider,
    ) -> Result<Pair, TlsError> {
        if !self.is_bundle() {
            return Ok((self.chain(pinned)?, self.key(pinned)?));
        }
        let file = &self.chain;
        let text = Zeroizing::new(files::read(pinned, file, CERTIFICATES)?);
        let key = files::private_key(file, &text)?;
        let chain = files::certificates(file, &text)?.into_iter();
        let chain = chain.map(|(_, der)| der).collect();
        Ok((ordered(chain, &key, provider), key))
    }
}

/// The same certificates, that of the key first, then its issuer and so on, and what leads nowhere last. The
/// order stays where no certificate has the key, and where the provider does not say what its public key is.
fn ordered(
    given: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'_>,
    provider: &CryptoProvider,
) -> Vec<CertificateDer<'static>> {
    let key = provider.key_provider.load_private_key(key.clone_key());
    // A key that cannot be used is an error where it is used.
    let Some(public) = key.ok().and_then(|key| Some(key.public_key()?.to_vec())) else {
        return given;
    };
    let mut order: Vec<usize> = Vec::with_capacity(given.len());
    {
        let parsed: Vec<_> = given.iter().map(|der| PeerIdentity::parse(der)).collect();
        let at = |index: usize| parsed[index].as_ref().ok();
        let has_key = |one: &X509Certificate<'_>| one.public_key().raw == public;
        let mut next = (0..given.len()).find(|index| at(*index).is_some_and(has_key));
        while let Some(index) = next {
            order.push(index);
            next = at(index).and_then(|last| {
                let is_issuer =
                    |one: &X509Certificate<'_>| one.subject().as_raw() == last.issuer().as_raw();
                let mut others = (0..given.len()).filter(|index| !order.contains(index));
                others.find(|index| at(*index).is_some_and(is_issuer))
            });
        }
        if order.is_empty() {
            return given;
        }
        let left = (0..given.len()).filter(|index| !order.contains(index));
        let left: Vec<_> = left.collect();
        order.extend(left);
    }
    let mut given: Vec<_> = given.into_iter().map(Some).collect();
    let ordered = order.into_iter().filter_map(|index| given[index].take());
    ordered.collect()
}
