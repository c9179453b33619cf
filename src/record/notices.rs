use std::sync::Arc;

use http::Extensions;

/// What layers found out about a request that its caller may be warned of. It is in the request's extensions only
/// where there is something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Notices {
    /// What the rule that allowed the request says of the repository.
    pub(crate) deprecated: Option<Arc<str>>,
    /// Whether a shadow policy would refuse it.
    pub(crate) shadow_refuses: bool,
    /// Whether nine tenths of a quota of the caller's are used.
    pub(crate) near_quota: bool,
}

impl Notices {
    /// Notes something.
    pub(crate) fn note(extensions: &mut Extensions, note: impl FnOnce(&mut Self)) {
        note(extensions.get_or_insert_default());
    }
}
