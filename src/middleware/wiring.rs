use http::Extensions;

use crate::{ClientAddr, Connection, Refusal};

/// The request's [`Connection`].
///
/// # Errors
/// There is none: the server does not put it there.
#[inline]
pub(crate) fn connection(extensions: &Extensions) -> Result<&Connection, Refusal> {
    Connection::of(extensions).ok_or(Refusal::NoConnection)
}

/// The address of the request's client.
///
/// # Errors
/// It is not known: the server does not tell it.
#[inline]
pub(crate) fn address(extensions: &Extensions) -> Result<ClientAddr, Refusal> {
    ClientAddr::of(extensions).ok_or(Refusal::NoAddress)
}
