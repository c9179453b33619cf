use http::{HeaderMap, HeaderName};
use rustls::pki_types::CertificateDer;

use super::ForwardedForm;
use crate::identity::IdentityError;
use crate::identity::forwarded::{ForwardedError, pem, rfc9440, xfcc};
use crate::tls::verified::Passed;
use crate::tls::{Material, Reason, explain};
use crate::util::hex;
use crate::{PeerIdentity, Refusal};

/// The client certificate that a listed proxy forwards.
#[derive(Debug)]
pub(super) enum ForwardedClaim {
    /// The client has no certificate.
    NoClient,
    /// The client has this chain, its certificate first.
    Chain(Vec<CertificateDer<'static>>),
    /// The client is described by fields only.
    Fields(Box<xfcc::Element>),
}

/// Who the client is.
#[derive(Debug)]
pub(super) enum Client {
    Absent,
    Verified(Passed),
    Vouched(PeerIdentity),
}

/// Reads the header.
pub(super) fn claim(
    form: &ForwardedForm,
    headers: &HeaderMap,
) -> Result<ForwardedClaim, IdentityError> {
    match form {
        ForwardedForm::Xfcc => {
            let name = HeaderName::from_static("x-forwarded-client-cert");
            match joined(headers, &name)? {
                Some(value) => element(xfcc::parse(&value)?),
                None => Ok(ForwardedClaim::NoClient),
            }
        }
        ForwardedForm::ClientCert => {
            let Some(value) = single(headers, &HeaderName::from_static("client-cert"))? else {
                return Ok(ForwardedClaim::NoClient);
            };
            let chain = joined(headers, &HeaderName::from_static("client-cert-chain"))?;
            let mut ders = vec![rfc9440::item(value)?];
            ders.extend(rfc9440::list(chain.as_deref().unwrap_or_default())?);
            Ok(ForwardedClaim::Chain(certificates(ders)))
        }
        form => {
            let Some(name) = form.escaped() else {
                return Ok(ForwardedClaim::NoClient);
            };
            match single(headers, &name)? {
                None | Some("") => Ok(ForwardedClaim::NoClient),
                Some(value) => Ok(ForwardedClaim::Chain(certificates(pem::unescape(value)?))),
            }
        }
    }
}

/// Verifies what was read.
pub(super) fn client(
    claim: ForwardedClaim,
    fields: bool,
    material: &Material,
) -> Result<Client, Refused> {
    match claim {
        ForwardedClaim::NoClient => Ok(Client::Absent),
        ForwardedClaim::Fields(element) if fields => {
            let hash = element.hash.as_deref().and_then(hex::decode_array);
            let subject = element.subject.unwrap_or_default();
            let identity = PeerIdentity::vouched(&subject, &element.uri, &element.dns, hash)
                .map_err(|error| Refused::invalid(error.to_string()))?;
            denied(&identity, material)?;
            let requirements = material
                .verifier
                .as_ref()
                .map(|verifier| verifier.requirements());
            match requirements.map_or(Ok(()), |requirements| requirements.check(&identity)) {
                Ok(()) => Ok(Client::Vouched(identity)),
                Err(_) => Err(Refused::invalid(
                    "X.509-SVIDs or CAs of trust domains are asked for, and fields alone show neither",
                )),
            }
        }
        ForwardedClaim::Fields(_) => Err(Refused::invalid(
            "the proxy tells no certificate, and its fields are not trusted",
        )),
        ForwardedClaim::Chain(chain) => {
            let (Some(verifier), Some(now)) = (&material.verifier, material.now()) else {
                return Err(Refused {
                    refusal: Refusal::Unavailable,
                    detail: "there are no client CAs to verify forwarded certificates by".into(),
                });
            };
            let [end_entity, intermediates @ ..] = chain.as_slice() else {
                return Err(Refused::invalid("the proxy tells an empty chain"));
            };
            verifier
                .verify(end_entity, intermediates, now)
                .map(Client::Verified)
                .map_err(|rejection| Refused {
                    refusal: match rejection.reason() {
                        Reason::CertificateExpired => Refusal::CertificateExpired,
                        Reason::CertificateRevoked => Refusal::CertificateRevoked,
                        Reason::CertificateDenied => Refusal::CertificateDenied,
                        Reason::RevocationUnknown | Reason::CrlExpired => {
                            Refusal::RevocationUnknown
                        }
                        _ => Refusal::CertificateInvalid,
                    },
                    detail: explain::words(&rejection).into(),
                })
        }
    }
}

/// Whether the operator denies an identity of which there is no certificate to look at.
#[cfg(feature = "crl")]
fn denied(identity: &PeerIdentity, material: &Material) -> Result<(), Refused> {
    let (revocation, now) = (material.revocation(), material.system_time());
    let verdict = match (revocation, now) {
        (Some(revocation), Some(now)) => revocation.denied_identity(identity, now),
        _ => None,
    };
    let refused = verdict.and_then(|verdict| {
        Some(Refused {
            refusal: verdict.refusal()?,
            detail: verdict.to_string().into(),
        })
    });
    refused.map_or(Ok(()), Err)
}

#[cfg(not(feature = "crl"))]
#[allow(
    clippy::unnecessary_wraps,
    reason = "nobody is denied without the feature"
)]
fn denied(_: &PeerIdentity, _: &Material) -> Result<(), Refused> {
    Ok(())
}

/// A refusal with its reason in an operator's words.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) refusal: Refusal,
    pub(super) detail: Box<str>,
}

impl Refused {
    /// The connection's own certificate was good at its handshake.
    pub(super) fn over(refusal: Refusal) -> Self {
        let detail = match refusal {
            Refusal::CertificateExpired => {
                "the connection's certificate, or a CA above it, has expired since the handshake"
            }
            Refusal::CertificateInvalid => {
                "no client CA vouches for the connection's certificate any more"
            }
            _ => "the clock cannot be read",
        };
        Self {
            refusal,
            detail: detail.into(),
        }
    }

    pub(super) fn invalid(detail: impl Into<Box<str>>) -> Self {
        Self {
            refusal: Refusal::CertificateInvalid,
            detail: detail.into(),
        }
    }
}

fn element(elements: Vec<xfcc::Element>) -> Result<ForwardedClaim, IdentityError> {
    let last = elements.into_iter().next_back();
    let last = last.ok_or(ForwardedError::Empty)?;
    let chain = match (&last.chain, &last.cert) {
        (Some(chain), _) if !chain.is_empty() => pem::unescape(chain)?,
        (_, Some(cert)) if !cert.is_empty() => pem::unescape(cert)?,
        _ => return Ok(ForwardedClaim::Fields(Box::new(last))),
    };
    Ok(ForwardedClaim::Chain(certificates(chain)))
}

fn certificates(ders: Vec<Vec<u8>>) -> Vec<CertificateDer<'static>> {
    ders.into_iter().map(CertificateDer::from).collect()
}

/// The one value of a header that may be there once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<Option<&'a str>, IdentityError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(ForwardedError::Twice.into());
    }
    first
        .map(|value| {
            value
                .to_str()
                .map_err(|_| ForwardedError::Characters.into())
        })
        .transpose()
}

/// The lines of a header as one list (RFC 9110 §5.3).
fn joined(headers: &HeaderMap, name: &HeaderName) -> Result<Option<String>, IdentityError> {
    let mut joined: Option<String> = None;
    for value in headers.get_all(name) {
        let value = value.to_str().map_err(|_| ForwardedError::Characters)?;
        match &mut joined {
            Some(joined) => {
                joined.push(',');
                joined.push_str(value);
            }
            None => joined = Some(value.to_owned()),
        }
    }
    Ok(joined)
}
