/// What becomes of connections whose client CA is removed by a reload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RemovedCa {
    /// They are verified anew, and end as a revoked one does if no path is left.
    #[default]
    Recheck,
    /// They stay until the client ends them.
    Keep,
}
