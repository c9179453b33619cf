use super::access::{Access, accesses};
use super::{Actions, Caller, Policy, Verdict};
use crate::oci::{Action, Endpoint, Route};

/// Whether a request can do without this part of what it needs: all that an upload pulls is the blob that
/// it would mount.
pub(super) fn is_spare(route: &Route, access: &Access<'_>) -> bool {
    route.endpoint() == Endpoint::UploadStart
        && route.action() == Action::Push
        && access.action == Actions::PULL
}

impl Policy {
    /// The verdict that decided: of one that [declines a mount](Verdict::declines_mount), that on the
    /// mount.
    pub(super) fn deciding(&self, verdict: Verdict, caller: &Caller<'_>, route: &Route) -> Verdict {
        if !verdict.declines_mount() {
            return verdict;
        }
        let mount = accesses(route, None).find(|access| is_spare(route, access));
        mount.map_or(verdict, |access| self.judge(caller, &access))
    }
}
