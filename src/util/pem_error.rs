/// Why a PEM file cannot be read whole, and where. Quotes nothing that may be secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub(crate) struct PemError {
    /// The line, from 1.
    pub(crate) line: usize,
    pub(crate) problem: PemProblem,
}

/// What is wrong in a PEM file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PemProblem {
    /// A section does not end.
    #[error("this section has no END line: the file is cut off, or the line is damaged")]
    NoEnd,
    /// An END without a BEGIN.
    #[error("this END line has no BEGIN line: that line is missing or damaged")]
    NoBegin,
    /// An END with another label than its BEGIN.
    #[error("this END line has another label than the BEGIN line before it")]
    OtherEnd,
    /// A line that is nearly a BEGIN or an END.
    #[error(
        "this BEGIN or END line is damaged or cut off: it has five dashes on either side of its label"
    )]
    Marker,
    /// A character that base64 (RFC 4648 §4) does not have.
    #[error("there is a character that base64 does not have")]
    NotBase64,
    /// Base64 that is too short or too long.
    #[error("the base64 of this section is cut off or has too much")]
    Base64Length,
    /// A section without content.
    #[error("this section is empty")]
    EmptySection,
    /// Base64 that stands in no section.
    #[error("there is base64 outside of any section: its BEGIN line is missing")]
    Unmarked,
    /// Bytes that no text has.
    #[error("there are binary data beside the text: a PEM file and a DER file in one, perhaps")]
    Binary,
    /// A text in UTF-16.
    #[error("the text is in UTF-16: save it as UTF-8")]
    Utf16,
    /// A section of a kind that is not known here, and may hold what is wanted.
    #[error("a section {label:?} is of an unknown kind{}", advice(label))]
    UnknownLabel {
        /// Its label.
        label: String,
    },
    /// Not one whole SEQUENCE in DER (X.690 §10).
    #[error("its content is not one whole DER structure: it is cut off or has more after it")]
    NotDer,
    /// A PKCS #7 structure, DER: certificates in a form of its own.
    #[error(
        "it is PKCS #7 and not read: convert it with `openssl pkcs7 -inform DER -in FILE -print_certs -out NEW`"
    )]
    Pkcs7,
    /// A PKCS #12 structure, DER: a key and certificates in a form of its own.
    #[error(
        "it is PKCS #12 and not read: convert it with `openssl pkcs12 -in FILE -nodes -out NEW`"
    )]
    Pkcs12,
    /// A CRL in a file of a server's chain, where it would be passed over.
    #[error(
        "a CRL is among the certificates of a chain: put it into a file of its own, for `crl.files`"
    )]
    CrlInChain,
    /// OpenSSL's own form of a certificate, with purposes for which it is trusted or not.
    #[error(
        "a TRUSTED CERTIFICATE with purposes is OpenSSL's own and not read: convert it with \
         `openssl x509 -in FILE -out NEW`"
    )]
    TrustSettings,
    /// A private key that only a passphrase opens.
    #[error(
        "the private key is encrypted: decrypt it with `openssl pkey -in FILE -out NEW` and let nobody \
         else read the new file"
    )]
    EncryptedKey,
    /// A private key in DER, where PEM is read.
    #[error(
        "a private key is read in PEM, and this is DER: convert it with `openssl pkey -in FILE -out NEW`"
    )]
    DerKey,
    /// A private key in a form that no TLS server takes.
    #[error(
        "the private key is a {label}: PKCS#8, PKCS#1 and SEC1 are read, to which \
         `openssl pkey -in FILE -out NEW` or `ssh-keygen -p -m PKCS8` converts it"
    )]
    OtherKey {
        /// Its label.
        label: String,
    },
    /// Two private keys, of which only one can be meant.
    #[error("this is a second private key, after the one at line {first}: which one is meant?")]
    SecondKey {
        /// The line of the first.
        first: usize,
    },
}

fn advice(label: &str) -> &'static str {
    match label {
        "PKCS7" | "CMS" | "PKCS #7 SIGNED DATA" => {
            ": convert it with `openssl pkcs7 -in FILE -print_certs -out NEW`"
        }
        _ => "",
    }
}
