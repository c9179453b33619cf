//! Whether what a token grants covers a request.

use http::Request;

use crate::Refusal;
use crate::identity::Grants;
use crate::oci::{Endpoint, Route, Scope};
use crate::record::Record;
use crate::responder::{Declined, decline_mount};

/// Refuses a request that needs more than `grants` have, as its route says, but for a mount, which
/// [`decline_uncovered_mount`] takes off. Nothing outside `/v2/` is granted: no scope is for what is there.
pub(super) fn cover<B>(grants: &Grants, request: &Request<B>) -> Result<(), Refusal> {
    let route = Route::read(request).map_err(Refusal::from)?;
    let mount = route.mount_scope();
    let scopes = route.scopes();
    let mut needed = scopes.iter().filter(|scope| Some(*scope) != mount.as_ref());
    let covered = needed.all(|scope| permit_all(grants, scope));
    let inside = route.endpoint() != Endpoint::Outside;
    (inside && covered)
        .then_some(())
        .ok_or(Refusal::ScopeInsufficient)
}

/// Returns whether the mount is granted, if the request asks for one.
pub(super) fn cover_mount<B>(grants: &Grants, request: &Request<B>) -> bool {
    let route = Route::read(request);
    let mount = route.ok().and_then(|route| route.mount_scope());
    mount.is_none_or(|scope| permit_all(grants, &scope))
}

/// Makes a mount an ordinary upload where the blob's repository is not granted. Its client asked for
/// a token for both repositories, so this is all that its issuer grants: another 401 would end the
/// push.
pub(super) fn decline_uncovered_mount<B>(
    grants: &Grants,
    request: &mut Request<B>,
) -> Result<(), Refusal> {
    let route = Route::read(request).map_err(Refusal::from)?;
    let Some(scope) = route.mount_scope() else {
        return Ok(());
    };
    if permit_all(grants, &scope) {
        return Ok(());
    }
    if let Some(record) = Record::of(request.extensions()) {
        record.routed(&route);
    }
    let why = format!("the token does not grant {scope}");
    decline_mount(request, Declined::Token, why)
}

fn permit_all(grants: &Grants, scope: &Scope) -> bool {
    let mut actions = scope.actions.iter();
    actions.all(|action| grants.permit(scope.kind, &scope.name, action))
}
