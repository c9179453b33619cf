use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use http::Extensions;

use super::{Grants, PeerIdentity};

/// Who the caller is, however authenticated. `Clone` costs an `Arc`.
///
/// Two principals of the same id are different callers if they were authenticated in different ways: the text
/// form keeps the two apart, `cert:admin` and `token:admin`.
///
/// ```
/// use http::Request;
/// use portcullis::Principal;
/// use portcullis::identity::Method;
///
/// let caller = Principal::new(Method::Token, "ci").in_groups(["pushers"]);
/// assert_eq!(caller.to_string(), "token:ci");
///
/// // Authentication does this, and what comes after it reads it.
/// let mut request = Request::new(());
/// request.extensions_mut().insert(caller);
/// let caller = Principal::of(request.extensions()).unwrap();
/// assert_eq!((caller.method(), caller.id()), (Method::Token, "ci"));
/// ```
#[derive(Clone, Debug)]
pub struct Principal(Arc<Inner>);

/// How a caller was authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Method {
    /// Not at all, and the operator lets such callers in as far as the policy allows.
    Anonymous,
    /// By user and password (RFC 7617) or by a token (RFC 6750) of the operator's own.
    Token,
    /// By a verified client certificate, its own or one that a trusted proxy vouches for.
    Certificate,
    /// By a signed token of an issuer that the operator trusts.
    Jwt,
    /// By a way of the program's own (`Guard::builder().authenticate_with`).
    Custom,
}

#[derive(Clone, Debug)]
struct Inner {
    method: Method,
    id: Box<str>,
    groups: Box<[Box<str>]>,
    peer: Option<PeerIdentity>,
    #[cfg_attr(not(feature = "jwt"), allow(dead_code, reason = "signed tokens grant"))]
    grants: Option<Grants>,
    ends: Option<SystemTime>,
}

impl Principal {
    /// Makes a caller with this id and without groups.
    pub fn new(method: Method, id: impl Into<Box<str>>) -> Self {
        Self(Arc::new(Inner {
            method,
            id: id.into(),
            groups: Box::default(),
            peer: None,
            grants: None,
            ends: None,
        }))
    }

    /// Makes the caller without any credentials.
    pub fn anonymous() -> Self {
        Self::new(Method::Anonymous, "anonymous")
    }

    /// Makes a caller known by this certificate, under the certificate's own name.
    pub fn from_peer(peer: PeerIdentity) -> Self {
        Self::new(Method::Certificate, peer.name()).on_peer(peer)
    }

    /// Returns the same caller in these groups. Default: none.
    pub fn in_groups<G: Into<Box<str>>>(self, groups: impl IntoIterator<Item = G>) -> Self {
        self.with(|inner| inner.groups = groups.into_iter().map(Into::into).collect())
    }

    /// Returns the same caller on a connection with this certificate. Default: none.
    pub fn on_peer(self, peer: PeerIdentity) -> Self {
        self.with(|inner| inner.peer = Some(peer))
    }

    /// Returns the same caller, who may do no more than these grants allow, whatever a policy allows. Default:
    /// no such bound.
    #[cfg(feature = "jwt")]
    pub(crate) fn with_grants(self, grants: Grants) -> Self {
        self.with(|inner| inner.grants = Some(grants))
    }

    /// Returns the same caller, whose credential ends then. Default: no end that is known.
    pub fn ending(self, end: SystemTime) -> Self {
        self.with(|inner| inner.ends = Some(end))
    }

    fn with(mut self, change: impl FnOnce(&mut Inner)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }

    /// Returns the caller of the request with these extensions; `None` before authentication.
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Returns how the caller was authenticated.
    pub fn method(&self) -> Method {
        self.0.method
    }

    /// Returns the id, unique among those of the same [`Method`].
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// Returns the groups, in the order in which they were given.
    pub fn groups(&self) -> &[Box<str>] {
        &self.0.groups
    }

    /// Returns the verified certificate of the connection, if it has one.
    pub fn peer(&self) -> Option<&PeerIdentity> {
        self.0.peer.as_ref()
    }

    /// Returns whether the issuer of the caller's signed token grants `action` on the resource of this type
    /// (`repository`, `registry`) and name, compared as they are written; true where no such token bounds the
    /// caller.
    #[cfg(feature = "jwt")]
    pub fn is_granted(&self, kind: &str, name: &str, action: &str) -> bool {
        let grants = self.grants();
        grants.is_none_or(|grants| grants.permit(kind, name, action))
    }

    /// Returns the grants that bound what the caller may do; `None` without such a bound.
    #[cfg(feature = "jwt")]
    pub(crate) fn grants(&self) -> Option<&Grants> {
        self.0.grants.as_ref()
    }

    /// Returns when the credential ends that the caller showed; `None` where that is not known. Of signed tokens,
    /// which are short-lived and renewed by their clients, it is not.
    pub fn ends(&self) -> Option<SystemTime> {
        self.0.ends
    }
}

impl Method {
    /// Returns the prefix in a principal's text form.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Token => "token",
            Self::Certificate => "cert",
            Self::Jwt => "jwt",
            Self::Custom => "custom",
        }
    }
}

impl PartialEq for Principal {
    fn eq(&self, other: &Self) -> bool {
        self.method() == other.method() && self.id() == other.id()
    }
}

impl Eq for Principal {}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.method() {
            Method::Anonymous => f.write_str("anonymous"),
            method => write!(f, "{}:{}", method.as_str(), self.id()),
        }
    }
}
