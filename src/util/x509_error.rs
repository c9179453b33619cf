use x509_parser::error::X509Error;
use x509_parser::nom;

/// Why a certificate cannot be parsed, in an operator's words.
pub(crate) fn words(error: &nom::Err<X509Error>) -> String {
    match error {
        nom::Err::Incomplete(_) => "it is cut off".to_owned(),
        nom::Err::Error(error) | nom::Err::Failure(error) => match error {
            X509Error::Der(_) | X509Error::NomError(_) | X509Error::Generic => {
                "it is not the DER of a certificate".to_owned()
            }
            error => error.to_string(),
        },
    }
}
