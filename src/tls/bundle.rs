//! A certificate, its chain and its private key in one file.

use std::path::Path;
use std::thread;
use std::time::Duration;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use x509_parser::prelude::X509Certificate;
use zeroize::Zeroizing;

use super::TlsError;
use super::files::{self, CertificateFiles};
use crate::reload::Pinned;
use crate::util::file::CERTIFICATES;
use crate::util::left_out::{self, Block};
use crate::{PeerIdentity, crypto};

/// A chain, its own certificate first, and the private key.
type Pair = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The time between two readings that must agree.
const PAUSE: Duration = Duration::from_millis(10);

/// The same where a certificate may be a mix by a few bytes, which could as well agree by chance, or by any: before the
/// first reading there is none to compare with.
const LONG_PAUSE: Duration = Duration::from_millis(250);

/// How many bytes of two signatures do not agree by chance.
const SIGNATURE_END: usize = 6;

/// How often a bundle is read that is another each time.
const READINGS: usize = 10;

impl CertificateFiles {
    /// The chain, the owner's certificate first, and its key. Those of a bundle are of one reading, which another
    /// reading confirmed: no signature that can be checked covers the end of a chain, so a file that is written
    /// over in its place could be a mix there. `previous` is what was read the last time, whose end such a mix has;
    /// the first reading has nothing to compare with.
    pub(super) fn pair(
        &self,
        pinned: &mut Pinned,
        provider: &CryptoProvider,
        previous: Option<&CertifiedKey>,
    ) -> Result<Pair, TlsError> {
        if !self.is_bundle() {
            return Ok((self.chain(pinned)?, self.key(pinned)?));
        }
        let file = &self.chain;
        let mut read = || files::read(pinned, file, CERTIFICATES).map(Zeroizing::new);
        let mut text = read()?;
        for _ in 1..READINGS {
            let (pair, pause) = whole(file, &text, provider, previous)?;
            #[expect(
                clippy::disallowed_methods,
                reason = "files are read on a thread that may block"
            )]
            thread::sleep(pause);
            let again = read()?;
            if again == text {
                return Ok(pair);
            }
            text = again;
        }
        Err(TlsError::BundleUnsettled { path: file.clone() })
    }
}

/// The pair in the content of a bundle, unless a part of it is of another version, and after which time it is to be
/// read again.
fn whole(
    file: &Path,
    text: &[u8],
    provider: &CryptoProvider,
    previous: Option<&CertifiedKey>,
) -> Result<(Pair, Duration), TlsError> {
    let (key, _) = files::private_key(file, text)?;
    let found = files::chain(file, text)?;
    left_out::warn(file, "a bundle", &found.others, |block| {
        block == Block::PrivateKey
    });
    let chain = found.certificates;
    let pause = check_ends(
        file,
        &chain,
        previous.map_or(&[], |previous| &previous.cert),
    )?;
    let order = {
        let parsed = chain.iter().map(|(_, der)| PeerIdentity::parse(der));
        let parsed = parsed.collect::<Result<Vec<_>, _>>();
        let parsed = parsed.map_err(|source| TlsError::Certificate {
            path: file.to_owned(),
            source,
        })?;
        check_signatures(file, &chain, &parsed, provider)?;
        let order = order(&parsed, &key, provider);
        // Others of which none is its issuer are of another version.
        let own = &parsed[order[0]];
        if parsed.len() > 1 && !parsed.iter().any(|one| is_issuer(one, own)) {
            return Err(TlsError::BundleSignature {
                path: file.to_owned(),
                line: chain[order[0]].0,
            });
        }
        order
    };
    let mut chain: Vec<_> = chain.into_iter().map(|(_, der)| Some(der)).collect();
    let ordered = order.into_iter().filter_map(|index| chain[index].take());
    Ok(((ordered.collect(), key), pause))
}

/// Refuses a certificate that ends as another of the last reading: it ends in its signature (RFC 5280 §4.1), which two
/// certificates do not have in common. Of one whose issuer is not in the file no more can be checked. Returns the time
/// after which a mix of fewer bytes would be another.
fn check_ends(
    file: &Path,
    chain: &[(usize, CertificateDer<'_>)],
    previous: &[CertificateDer<'_>],
) -> Result<Duration, TlsError> {
    let mut pause = if previous.is_empty() {
        LONG_PAUSE
    } else {
        PAUSE
    };
    for (line, der) in chain {
        for last in previous.iter().filter(|last| *last != der) {
            let pairs = der.iter().rev().zip(last.iter().rev());
            match pairs.take_while(|(one, other)| one == other).count() {
                0 => {}
                1..SIGNATURE_END => pause = LONG_PAUSE,
                _ => {
                    return Err(TlsError::BundleInPart {
                        path: file.to_owned(),
                        line: *line,
                    });
                }
            }
        }
    }
    Ok(pause)
}

/// Refuses a certificate that none of those signed that have its issuer's name, where there are such.
fn check_signatures(
    file: &Path,
    chain: &[(usize, CertificateDer<'_>)],
    parsed: &[X509Certificate<'_>],
    provider: &CryptoProvider,
) -> Result<(), TlsError> {
    let algorithms = &provider.signature_verification_algorithms;
    for ((line, der), certificate) in chain.iter().zip(parsed) {
        let issuers = parsed.iter().filter(|one| is_issuer(one, certificate));
        // What the provider cannot check is no sign of a mix.
        let mut signed = issuers
            .map(|issuer| crypto::is_issued_by(der, certificate, issuer, algorithms) != Some(false))
            .peekable();
        if signed.peek().is_some() && !signed.any(|is| is) {
            return Err(TlsError::BundleSignature {
                path: file.to_owned(),
                line: *line,
            });
        }
    }
    Ok(())
}

/// Whether a certificate has the name of another's issuer, to the byte.
fn is_issuer(one: &X509Certificate<'_>, of: &X509Certificate<'_>) -> bool {
    one.subject().as_raw() == of.issuer().as_raw()
}

/// The places of all certificates: that of the key first, then its issuer and so on, and what leads nowhere last.
/// The order stays where no certificate has the key, and where the provider does not say what its public key is.
fn order(
    parsed: &[X509Certificate<'_>],
    key: &PrivateKeyDer<'_>,
    provider: &CryptoProvider,
) -> Vec<usize> {
    let key = provider.key_provider.load_private_key(key.clone_key());
    // A key that cannot be used is an error where it is used.
    let public = key.ok().and_then(|key| Some(key.public_key()?.to_vec()));
    let has_key = |index: &usize| Some(parsed[*index].public_key().raw) == public.as_deref();
    let mut order: Vec<usize> = Vec::with_capacity(parsed.len());
    let mut next = (0..parsed.len()).find(has_key);
    while let Some(index) = next {
        order.push(index);
        let mut others = (0..parsed.len()).filter(|index| !order.contains(index));
        next = others.find(|other| is_issuer(&parsed[*other], &parsed[index]));
    }
    let left = (0..parsed.len()).filter(|index| !order.contains(index));
    let left: Vec<_> = left.collect();
    order.extend(left);
    order
}
