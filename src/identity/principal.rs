use std::fmt;
use std::sync::{Arc, LazyLock};
use std::time::SystemTime;

use http::Extensions;

use super::{Grants, PeerIdentity};

/// Who the caller is, however authenticated. `Clone` costs an `Arc`, and another one beside a certificate.
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
pub struct Principal {
    caller: Arc<Caller>,
    // Apart, so that a connection's certificate is put to a credential's owner without a copy of the owner.
    peer: Option<PeerIdentity>,
}

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
struct Caller {
    method: Method,
    /// The method's prefix, a colon and the id.
    text: Box<str>,
    groups: Box<[Box<str>]>,
    #[cfg_attr(not(feature = "jwt"), allow(dead_code, reason = "signed tokens grant"))]
    grants: Option<Grants>,
    ends: Option<SystemTime>,
}

impl Principal {
    /// Makes a caller with this id and without groups.
    pub fn new(method: Method, id: impl Into<Box<str>>) -> Self {
        let id: Box<str> = id.into();
        Self {
            caller: Arc::new(Caller {
                method,
                text: format!("{}:{id}", method.as_str()).into(),
                groups: Box::default(),
                grants: None,
                ends: None,
            }),
            peer: None,
        }
    }

    /// Makes the caller without any credentials.
    pub fn anonymous() -> Self {
        static ANONYMOUS: LazyLock<Principal> =
            LazyLock::new(|| Principal::new(Method::Anonymous, "anonymous"));
        ANONYMOUS.clone()
    }

    /// Makes a caller known by this certificate, under the certificate's own name.
    pub fn from_peer(peer: PeerIdentity) -> Self {
        Self::new(Method::Certificate, peer.name()).on_peer(peer)
    }

    /// Returns the same caller in these groups. Default: none.
    pub fn in_groups<G: Into<Box<str>>>(self, groups: impl IntoIterator<Item = G>) -> Self {
        self.with(|caller| caller.groups = groups.into_iter().map(Into::into).collect())
    }

    /// Returns the same caller on a connection with this certificate. Default: none.
    pub fn on_peer(mut self, peer: PeerIdentity) -> Self {
        self.peer = Some(peer);
        self
    }

    /// Returns the same caller, who may do no more than these grants allow, whatever a policy allows. Default:
    /// no such bound.
    #[cfg(feature = "jwt")]
    pub(crate) fn with_grants(self, grants: Grants) -> Self {
        self.with(|caller| caller.grants = Some(grants))
    }

    /// Returns the same caller, whose credential ends then. Default: no end that is known.
    pub fn ending(self, end: SystemTime) -> Self {
        self.with(|caller| caller.ends = Some(end))
    }

    fn with(mut self, change: impl FnOnce(&mut Caller)) -> Self {
        change(Arc::make_mut(&mut self.caller));
        self
    }

    /// Returns the caller of the request with these extensions; `None` before authentication.
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Returns how the caller was authenticated.
    pub fn method(&self) -> Method {
        self.caller.method
    }

    /// Returns the id, unique among those of the same [`Method`].
    pub fn id(&self) -> &str {
        &self.caller.text[self.caller.method.as_str().len() + 1..]
    }

    /// Returns the text form, as `Display` writes it.
    pub fn as_str(&self) -> &str {
        match self.method() {
            Method::Anonymous => Method::Anonymous.as_str(),
            _ => &self.caller.text,
        }
    }

    /// Returns the groups, in the order in which they were given.
    pub fn groups(&self) -> &[Box<str>] {
        &self.caller.groups
    }

    /// Returns the verified certificate of the connection, if it has one.
    pub fn peer(&self) -> Option<&PeerIdentity> {
        self.peer.as_ref()
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
        self.caller.grants.as_ref()
    }

    /// Returns when the credential ends that the caller showed; `None` where that is not known. Of signed tokens,
    /// which are short-lived and renewed by their clients, it is not.
    pub fn ends(&self) -> Option<SystemTime> {
        self.caller.ends
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
        self.caller.text == other.caller.text
    }
}

impl Eq for Principal {}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
