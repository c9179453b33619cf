use super::access::{accesses, is_spare};
use super::{Caller, Policy, Verdict};
use crate::oci::Route;

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
