/// What happens to connections whose client CA a reload removes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum RemovedCa {
    /// The connections are verified again, and end as those of a revoked certificate do if no path is left.
    #[default]
    Recheck,
    /// The connections stay until the client ends them.
    Keep,
}
