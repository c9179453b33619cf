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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Finds every signature good or none, and counts how often it is asked.
    #[derive(Debug)]
    struct Fake {
        key: AlgorithmIdentifier,
        is_good: bool,
        asked: AtomicUsize,
    }

    impl Fake {
        fn new(key: AlgorithmIdentifier, is_good: bool) -> Self {
            let asked = AtomicUsize::new(0);
            Self {
                key,
                is_good,
                asked,
            }
        }

        fn asked(&self) -> usize {
            self.asked.load(Ordering::Relaxed)
        }
    }

    impl SignatureVerificationAlgorithm for Fake {
        fn verify_signature(&self, _: &[u8], _: &[u8], _: &[u8]) -> Result<(), InvalidSignature> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            self.is_good.then_some(()).ok_or(InvalidSignature)
        }

        fn public_key_alg_id(&self) -> AlgorithmIdentifier {
            self.key
        }

        fn signature_alg_id(&self) -> AlgorithmIdentifier {
            alg_id::ECDSA_SHA384
        }

        fn fips_status(&self) -> FipsStatus {
            FipsStatus::Unvalidated
        }

        fn fips(&self) -> bool {
            self.is_good
        }
    }

    #[test]
    fn no_signature_is_checked_twice_and_none_beyond_the_budget() {
        let bytes = [0; 100];
        // A message is known by its place.
        let message = |at: usize| &bytes[at..=at];
        for (key, is_good, most) in [
            (alg_id::ECDSA_P256, true, 56),
            (alg_id::ECDSA_P256, false, 56),
            (alg_id::ECDSA_P384, true, 14),
            (alg_id::ECDSA_P521, true, 7),
        ] {
            let (fake, other) = (Fake::new(key, is_good), Fake::new(key, !is_good));
            let all: [&dyn SignatureVerificationAlgorithm; 2] = [&fake, &other];
            let budget = Budget::new();
            let budgeted = budget.algorithms(&all);
            let verify = |algorithm: &Budgeted<'_>, at| {
                let checked = algorithm.verify_signature(&bytes[..65], message(at), &bytes[70..]);
                checked.is_ok()
            };
            for at in 0..most - 1 {
                for _ in 0..2 {
                    assert_eq!(verify(&budgeted[0], at), is_good);
                }
                assert_eq!(fake.asked(), at + 1);
            }
            assert_eq!(budget.step(), Ok(()));
            // Of another algorithm the same is another check.
            assert_eq!(verify(&budgeted[1], 0), !is_good);
            assert_eq!(budget.step(), Err(Error::MaximumSignatureChecksExceeded));
            for at in [most, most + 1] {
                assert!(!verify(&budgeted[0], at));
            }
            assert_eq!((fake.asked(), other.asked()), (most - 1, 1));
            // What was checked before is known.
            assert_eq!(verify(&budgeted[0], 0), is_good);
        }
    }

    #[test]
    fn a_check_that_costs_more_than_is_left_ends_the_budget() {
        let budget = Budget::new();
        for _ in 0..6 {
            assert!(budget.take(9).is_ok());
        }
        assert!(budget.take(3).is_err());
        assert!(budget.take(1).is_err());
        assert_eq!(budget.step(), Err(Error::MaximumSignatureChecksExceeded));
    }

    #[test]
    fn a_search_looks_at_so_many_certificates_and_no_more() {
        let budget = Budget::new();
        for _ in 0..MOST_STEPS {
            assert_eq!(budget.step(), Ok(()));
        }
        assert_eq!(budget.step(), Err(Error::MaximumPathBuildCallsExceeded));
    }

    #[test]
    fn a_check_costs_by_the_kind_and_the_size_of_its_key() {
        let rsa = |bytes: usize, end: &[u8]| {
            let mut key = vec![0xff; bytes];
            key.extend(end);
            key
        };
        let (usual, odd) = (&[2, 3, 1, 0, 1][..], &[2, 5, 1, 0, 0, 0, 1][..]);
        for (kind, key, costs) in [
            (alg_id::ECDSA_P256, vec![4; 65], 1),
            (alg_id::ED25519, vec![4; 32], 1),
            (alg_id::ECDSA_P384, vec![4; 97], 4),
            (alg_id::ECDSA_P521, vec![4; 133], 8),
            (alg_id::RSA_ENCRYPTION, rsa(265, usual), 1),
            (alg_id::RSA_ENCRYPTION, rsa(521, usual), 1),
            (alg_id::RSA_ENCRYPTION, rsa(1_033, usual), 4),
            (alg_id::RSA_ENCRYPTION, rsa(2_057, usual), 16),
            (alg_id::RSA_ENCRYPTION, rsa(265, odd), 3),
            (alg_id::RSA_ENCRYPTION, rsa(1_033, odd), 12),
        ] {
            assert_eq!(weight(&Fake::new(kind, true), &key), costs, "{}", key.len());
        }
    }

    #[test]
    fn what_an_algorithm_says_of_itself_is_passed_on() {
        let fakes = [true, false].map(|is_good| Fake::new(alg_id::ECDSA_P384, is_good));
        let all = fakes.each_ref().map(|one| one as _);
        let budget = Budget::new();
        for (fake, one) in fakes.iter().zip(budget.algorithms(&all)) {
            assert_eq!(one.public_key_alg_id(), alg_id::ECDSA_P384);
            assert_eq!(one.signature_alg_id(), alg_id::ECDSA_SHA384);
            assert_eq!(one.fips_status(), FipsStatus::Unvalidated);
            assert_eq!(one.fips(), fake.fips());
        }
    }
}
