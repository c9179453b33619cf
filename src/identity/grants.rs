/// The actions that an issuer trusted by the operator has granted to a caller: the `access` claims of the
/// distribution token specification.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants(Box<[Grant]>);

/// One claim: these actions on the resource of this type and name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    kind: Box<str>,
    name: Box<str>,
    actions: Box<[Box<str>]>,
}

impl Grants {
    /// Grants all of these claims, and nothing else.
    pub fn new(grants: impl IntoIterator<Item = Grant>) -> Self {
        Self(grants.into_iter().collect())
    }

    /// Returns whether `action` is granted on the resource of this type and name, compared as they are written.
    /// The action `*` is every action.
    pub fn permit(&self, kind: &str, name: &str, action: &str) -> bool {
        self.0.iter().any(|grant| {
            let mut actions = grant.actions.iter();
            *grant.kind == *kind
                && *grant.name == *name
                && actions.any(|granted| **granted == *action || **granted == *"*")
        })
    }
}

impl Grant {
    /// Grants these actions on the resource of this type (`repository`, `registry`) and name.
    pub fn new<A: Into<Box<str>>>(
        kind: impl Into<Box<str>>,
        name: impl Into<Box<str>>,
        actions: impl IntoIterator<Item = A>,
    ) -> Self {
        Self {
            kind: kind.into(),
            name: name.into(),
            actions: actions.into_iter().map(Into::into).collect(),
        }
    }
}
