//! What the search for the path of one client's certificate may cost.

use std::sync::{Mutex, PoisonError};

use rustls::pki_types::{
    AlgorithmIdentifier, FipsStatus, InvalidSignature, SignatureVerificationAlgorithm, alg_id,
};
use webpki::{Error, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage};

/// The most certificates that one search looks at: webpki looks at one again for each path that leads
/// through it, and the number of paths grows exponentially with that of certificates of one name.
const MOST_STEPS: u32 = 40;
/// The most work of one search for signatures, in units of [`weight`]. The longest path that webpki
/// takes has seven signatures.
const MOST_SIGNATURES: u32 = 56;

/// The work that one search has left, and the signatures that it has checked: no signature is checked
/// twice, however many paths lead through it.
#[derive(Debug)]
pub(super) struct Budget(Mutex<Ledger>);

#[derive(Debug)]
struct Ledger {
    steps: u32,
    signatures: u32,
    checked: Vec<(Checked, bool)>,
}

/// A check by the places of its parts, which stay where they are during one search.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Checked {
    algorithm: usize,
    key: (usize, usize),
    message: (usize, usize),
    signature: (usize, usize),
}

/// A signature algorithm that takes its work from a budget.
#[derive(Debug)]
pub(super) struct Budgeted<'a> {
    inner: &'a dyn SignatureVerificationAlgorithm,
    number: usize,
    budget: &'a Budget,
}

/// The purpose that webpki checks of each certificate that it looks at, which is why the steps are
/// counted here.
pub(super) struct ClientAuth<'a>(pub(super) &'a Budget);

impl Budget {
    pub(super) fn new() -> Self {
        Self(Mutex::new(Ledger {
            steps: MOST_STEPS,
            signatures: MOST_SIGNATURES,
            checked: Vec::new(),
        }))
    }

    pub(super) fn algorithms<'a>(
        &'a self,
        all: &'a [&'a dyn SignatureVerificationAlgorithm],
    ) -> Vec<Budgeted<'a>> {
        let numbered = all.iter().enumerate();
        let budgeted = numbered.map(|(number, inner)| Budgeted {
            inner: *inner,
            number,
            budget: self,
        });
        budgeted.collect()
    }

    fn step(&self) -> Result<(), Error> {
        let mut ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // webpki ends the whole search on these two.
        if ledger.signatures == 0 {
            return Err(Error::MaximumSignatureChecksExceeded);
        }
        ledger.steps = ledger
            .steps
            .checked_sub(1)
            .ok_or(Error::MaximumPathBuildCallsExceeded)?;
        Ok(())
    }

    fn known(&self, check: Checked) -> Option<bool> {
        let ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = ledger.checked.iter().find(|(known, _)| *known == check);
        known.map(|(_, is_good)| *is_good)
    }

    /// Takes the work of a signature out of what is left, if it is enough.
    fn take(&self, weight: u32) -> Result<(), InvalidSignature> {
        let mut ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let left = ledger.signatures.checked_sub(weight);
        ledger.signatures = left.unwrap_or(0);
        left.map(|_| ()).ok_or(InvalidSignature)
    }

    fn remember(&self, check: Checked, is_good: bool) {
        let mut ledger = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.checked.push((check, is_good));
    }
}

impl SignatureVerificationAlgorithm for Budgeted<'_> {
    fn verify_signature(
        &self,
        public_key: &[u8],
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), InvalidSignature> {
        let place = |bytes: &[u8]| (bytes.as_ptr().addr(), bytes.len());
        let check = Checked {
            algorithm: self.number,
            key: place(public_key),
            message: place(message),
            signature: place(signature),
        };
        let is_good = if let Some(known) = self.budget.known(check) {
            known
        } else {
            self.budget.take(weight(self.inner, public_key))?;
            let verified = self.inner.verify_signature(public_key, message, signature);
            self.budget.remember(check, verified.is_ok());
            verified.is_ok()
        };
        is_good.then_some(()).ok_or(InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.public_key_alg_id()
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        self.inner.signature_alg_id()
    }

    fn fips_status(&self) -> FipsStatus {
        self.inner.fips_status()
    }

    fn fips(&self) -> bool {
        self.inner.fips()
    }
}

impl ExtendedKeyUsageValidator for ClientAuth<'_> {
    fn validate(&self, iter: KeyPurposeIdIter<'_, '_>) -> Result<(), Error> {
        self.0.step()?;
        KeyUsage::client_auth().validate(iter)
    }
}

/// What a check of a signature costs, a check by P-256 or Ed25519 being about one.
fn weight(algorithm: &dyn SignatureVerificationAlgorithm, public_key: &[u8]) -> u32 {
    let kind = algorithm.public_key_alg_id();
    if kind == alg_id::ECDSA_P384 {
        4
    } else if kind == alg_id::ECDSA_P521 {
        8
    } else if kind == alg_id::RSA_ENCRYPTION {
        // The work grows with the square of the modulus, which has 512 bytes at 4,096 bits, and with the
        // exponent, which is 65537 in all but odd keys and has up to 33 bits in those.
        let times = u32::try_from(public_key.len() / 512).unwrap_or(u32::MAX);
        let usual = public_key.ends_with(&[2, 3, 1, 0, 1]);
        let exponent = if usual { 1 } else { 3 };
        times.saturating_mul(times).max(1).saturating_mul(exponent)
    } else {
        1
    }
}
