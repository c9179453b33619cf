/// What of a server's wiring keeps a check from being made. `Display` is for the operator: what is missing, and
/// what to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum Miswiring {
    /// The request has no [`Connection`](crate::Connection), so that neither its certificate nor the revocation of it can be known.
    #[error(
        "a request came without its Connection, without which client certificates and their revocation cannot be \
         checked; requests are refused until it is there: serve by portcullis::serve::Server, or with axum by \
         Guard::make_service (or into_make_service_with_connect_info::<Connection>()), or wrap the service of each \
         connection into connection::AddConnection"
    )]
    NoConnection,
    /// Neither the request's [`Connection`](crate::Connection) nor its [`ClientAddr`](crate::ClientAddr) is known.
    #[error(
        "a request came without its Connection, so that its address is not known, without which networks cannot be \
         checked and failed logins not be throttled; requests are refused until it is there: serve by \
         portcullis::serve::Server, or with axum by Guard::make_service (or \
         into_make_service_with_connect_info::<Connection>()), or wrap the service of each connection into \
         connection::AddConnection"
    )]
    NoAddress,
    /// The path looks like one under `/v2/` of which the prefix was taken off, by axum's `Router::nest` for one.
    #[error(
        "the path of a request looks like one under /v2/ that has lost its prefix, so that it cannot be known what is \
         asked for; such requests are refused: put the guard around the whole router instead of into \
         `nest(\"/v2\", …)`, or tell it what was taken off by `base_path(\"/v2\")`. See docs/wiring.md"
    )]
    Stripped,
}
