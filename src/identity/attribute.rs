/// An attribute of a subject: its RFC 4514 keyword and its value, `None` where the value is not usable.
pub(super) type Attribute = (&'static str, Option<Box<str>>);
