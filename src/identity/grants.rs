/// The actions that an issuer trusted by the operator has granted to a caller: the `access` claims of the
/// distribution token specification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Grants(Vec<Grant>);

/// One claim: these actions on the resource of this type and name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Grant {
    kind: Box<str>,
    name: Box<str>,
    actions: Box<[Box<str>]>,
}

impl Grants {
    /// Grants nothing.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Grants these actions on the resource of this type (`repository`, `registry`) and name too.
    pub(crate) fn and<A: Into<Box<str>>>(
        mut self,
        kind: impl Into<Box<str>>,
        name: impl Into<Box<str>>,
        actions: impl IntoIterator<Item = A>,
    ) -> Self {
        self.0.push(Grant {
            kind: kind.into(),
            name: name.into(),
            actions: actions.into_iter().map(Into::into).collect(),
        });
        self
    }

    /// Returns whether `action` is granted on the resource of this type and name, compared as they are written.
    /// The action `*` is every action.
    pub(crate) fn permit(&self, kind: &str, name: &str, action: &str) -> bool {
        self.0.iter().any(|grant| {
            let mut actions = grant.actions.iter();
            *grant.kind == *kind
                && *grant.name == *name
                && actions.any(|granted| **granted == *action || **granted == *"*")
        })
    }
}
