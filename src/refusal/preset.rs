/// What the service is for its clients, chosen once for the whole stack.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "config", derive(serde::Deserialize))]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[cfg_attr(feature = "config", serde(rename_all = "lowercase"))]
#[non_exhaustive]
pub enum Preset {
    /// A mirror in front of other registries: no `WWW-Authenticate`, because containerd answers a
    /// Basic challenge from any host with the pod's upstream pull secret; shedding, quotas that are used up and
    /// the throttle of failed authentications are 503.
    #[default]
    Mirror,
    /// A registry of its own: one Basic challenge, from which docker and skopeo take that
    /// credentials are wanted; shedding, quotas that are used up and the throttle of failed
    /// authentications are 429.
    Registry,
}
