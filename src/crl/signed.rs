use std::ops::Range;

use rustls::crypto::WebPkiSupportedAlgorithms;

use super::der::{self, Reader, Value};
use super::key::Key;

/// Something signed: a certificate or a CRL, both of which have the same frame.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    pub(super) der: Box<[u8]>,
    message: Range<usize>,
    algorithm: Range<usize>,
    signature: Range<usize>,
}

/// The frame of something signed, and what is in it.
pub(super) struct Frame<'a> {
    pub(super) message: Value<'a>,
    pub(super) algorithm: Value<'a>,
    signature: Value<'a>,
}

impl<'a> Frame<'a> {
    pub(super) fn parse(der: &'a [u8]) -> Result<Self, der::Malformed> {
        let mut outer = Reader::new(der);
        let sequence = outer.at("the outermost SEQUENCE").expect(der::SEQUENCE)?;
        outer.finish()?;
        let mut fields = sequence.reader();
        let frame = Self {
            message: fields.at("what is signed").expect(der::SEQUENCE)?,
            algorithm: fields.at("signatureAlgorithm").expect(der::SEQUENCE)?,
            signature: fields.at("signatureValue").expect(der::BIT_STRING)?,
        };
        fields.finish()?;
        frame.signature.octets()?;
        Ok(frame)
    }

    /// The octets of the signature.
    pub(super) fn signature_value(&self) -> &'a [u8] {
        self.signature.octets().unwrap_or_default()
    }

    pub(super) fn is_by(&self, key: &Key, algorithms: &WebPkiSupportedAlgorithms) -> bool {
        key.verifies(
            self.algorithm.content,
            self.message.encoded,
            self.signature_value(),
            algorithms,
        )
    }

    pub(super) fn keep(&self, der: &[u8]) -> Signed {
        let range = |value: &Value<'_>| value.offset..value.offset + value.encoded.len();
        let signature = range(&self.signature).end;
        let octets = self.signature.octets().map_or(0, <[u8]>::len);
        Signed {
            der: der.into(),
            message: range(&self.message),
            algorithm: range(&self.algorithm),
            signature: signature - octets..signature,
        }
    }
}

impl Signed {
    pub(super) fn parse(der: &[u8]) -> Result<Self, der::Malformed> {
        Frame::parse(der).map(|frame| frame.keep(der))
    }

    pub(super) fn is_by(&self, key: &Key, algorithms: &WebPkiSupportedAlgorithms) -> bool {
        let algorithm = Reader::new(&self.der[self.algorithm.clone()]).any();
        algorithm.is_ok_and(|algorithm| {
            let message = &self.der[self.message.clone()];
            let signature = &self.der[self.signature.clone()];
            key.verifies(algorithm.content, message, signature, algorithms)
        })
    }
}
