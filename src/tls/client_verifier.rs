use std::cell::RefCell;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::rejection::Rejection;
use super::verified::Passed;
use super::verifier::Verifier;

tokio::task_local! {
    /// Where the verifier leaves what it found for the acceptor that polls the handshake: rustls
    /// calls it inside that poll and has no other way to hand out more than yes or no.
    pub(super) static OUTCOME: RefCell<Option<Result<Passed, Rejection>>>;
}

impl ClientCertVerifier for Verifier {
    fn offer_client_auth(&self) -> bool {
        true
    }

    fn client_auth_mandatory(&self) -> bool {
        self.is_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.anchors().hints
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let outcome = self.verify(end_entity, intermediates, now);
        let answer = match &outcome {
            Ok(_) => Ok(ClientCertVerified::assertion()),
            Err(rejection) => Err(rejection.error()),
        };
        // Outside an acceptor of this crate no caller waits for the outcome.
        let _ = OUTCOME.try_with(|slot| slot.replace(Some(outcome)));
        answer
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, self.algorithms())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, self.algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms().supported_schemes()
    }
}
