#[cfg(feature = "jwt")]
use http::Request;

#[cfg(feature = "jwt")]
use crate::{
    Refusal,
    oci::{Endpoint, Route, Scope},
    record::Record,
    refusal::{Declined, decline_mount},
};

/// What an issuer that the operator trusts has granted to a caller: the `access` claims of the
/// distribution token specification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(Box<[Grant]>);

/// One claim: these actions on what has this type and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    kind: Box<str>,
    name: Box<str>,
    actions: Box<[Box<str>]>,
}

impl Grants {
    /// All of these, and nothing else.
    pub fn new(grants: impl IntoIterator<Item = Grant>) -> Self {
        Self(grants.into_iter().collect())
    }

    /// Whether all that a request needs is granted, as its route says, but for a mount, which
    /// [`Grants::decline_mount`] takes off. Outside `/v2/` nothing is: no scope is for what is there.
    #[cfg(feature = "jwt")]
    pub(crate) fn cover<B>(&self, request: &Request<B>) -> Result<(), Refusal> {
        let route = Route::read(request).map_err(Refusal::from)?;
        let mount = route.mount_scope();
        let scopes = route.scopes();
        let mut needed = scopes.iter().filter(|scope| Some(*scope) != mount.as_ref());
        let covered = needed.all(|scope| self.permit_all(scope));
        let inside = route.endpoint() != Endpoint::Outside;
        (inside && covered)
            .then_some(())
            .ok_or(Refusal::ScopeInsufficient)
    }

    /// Whether the mount is granted, if the request asks for one.
    #[cfg(feature = "jwt")]
    pub(crate) fn cover_mount<B>(&self, request: &Request<B>) -> bool {
        let route = Route::read(request);
        let mount = route.ok().and_then(|route| route.mount_scope());
        mount.is_none_or(|scope| self.permit_all(&scope))
    }

    /// Makes a mount an ordinary upload where the blob's repository is not granted. Its client asked for
    /// a token for both repositories, so this is all that its issuer grants: another 401 would end the
    /// push.
    #[cfg(feature = "jwt")]
    pub(crate) fn decline_mount<B>(&self, request: &mut Request<B>) -> Result<(), Refusal> {
        let route = Route::read(request).map_err(Refusal::from)?;
        let Some(scope) = route.mount_scope() else {
            return Ok(());
        };
        if self.permit_all(&scope) {
            return Ok(());
        }
        if let Some(record) = Record::of(request.extensions()) {
            record.routed(&route);
        }
        let why = format!("the token does not grant {scope}");
        decline_mount(request, Declined::Token, why)
    }

    #[cfg(feature = "jwt")]
    fn permit_all(&self, scope: &Scope) -> bool {
        let mut actions = scope.actions.iter();
        actions.all(|action| self.permit(scope.kind, &scope.name, action))
    }

    /// Whether `action` is granted on what has this type and name, compared as they are written. The
    /// action `*` is every action.
    pub fn permit(&self, kind: &str, name: &str, action: &str) -> bool {
        self.0.iter().any(|grant| {
            let mut actions = grant.actions.iter();
            *grant.kind == *kind
                && *grant.name == *name
                && actions.any(|granted| **granted == *action || **granted == *"*")
        })
    }
}

impl Grant {
    /// These actions on what has this type (`repository`, `registry`) and name.
    pub fn new<A: Into<Box<str>>>(
        kind: impl Into<Box<str>>,
        name: impl Into<Box<str>>,
        actions: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            kind: kind.into(),
            name: name.into(),
            actions: actions.into_iter().map(Into::into).collect(),
        }
    }
}
