//! Without the feature `metrics`: what looks like its macros, looks at nothing and counts nothing.

/// What is neither counter, gauge nor histogram.
pub(super) struct Nothing;

impl Nothing {
    pub(super) fn increment<T>(self, _: T) {}

    pub(super) fn set<T>(self, _: T) {}

    #[cfg(feature = "tls")]
    pub(super) fn record<T>(self, _: T) {}
}

macro_rules! nothing {
    ($name:literal $(, $label:literal => $value:expr)* $(,)?) => {{
        $(let _ = &$value;)*
        super::no_op::Nothing
    }};
}

pub(super) use nothing as counter;
pub(super) use nothing as gauge;
#[cfg(feature = "tls")]
pub(super) use nothing as histogram;
