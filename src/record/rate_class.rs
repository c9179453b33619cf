use std::fmt;
use std::sync::Arc;

use http::Extensions;

/// The class of byte rates that the rule which allowed a request has named. The policy puts it in the request's
/// extensions; the byte-rate layer reads it there. `Clone` costs an `Arc`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RateClass(Arc<str>);

impl RateClass {
    /// Makes the class of this name.
    pub fn new(name: impl AsRef<str>) -> Self {
        Self(name.as_ref().into())
    }

    /// Returns the class of the request with these extensions; `None` where no rule named one.
    pub fn of(extensions: &Extensions) -> Option<&Self> {
        extensions.get()
    }

    /// Returns the class's name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RateClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
