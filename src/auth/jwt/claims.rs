use std::time::{Duration, SystemTime};

use serde::Deserialize;

use super::issuer::{Issuer, Kind, SERVICE_ACCOUNTS};
use crate::Principal;
use crate::identity::{Grants, Method};

/// What is read of a token besides the audience.
#[derive(Deserialize)]
pub(super) struct Claims {
    /// One text (RFC 7519 §4.1.1), and not several of which one fits.
    pub(super) iss: String,
    #[serde(default)]
    sub: String,
    exp: f64,
    nbf: Option<f64>,
    // Harbor writes null where there is none.
    access: Option<Vec<Access>>,
}

/// One of the distribution token specification's `access` claims.
#[derive(Deserialize)]
struct Access {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    actions: Option<Vec<String>>,
}

impl Claims {
    /// When the token begins and ends to be good, by a clock that may be off.
    pub(super) fn validity(&self, leeway: Duration) -> Option<(SystemTime, SystemTime)> {
        let begin = match self.nbf {
            Some(nbf) => moment(nbf)?.checked_sub(leeway)?,
            None => SystemTime::UNIX_EPOCH,
        };
        Some((begin, moment(self.exp)?.checked_add(leeway)?))
    }

    /// `None` if the subject cannot be a principal's id.
    pub(super) fn principal(self, issuer: &Issuer) -> Option<Principal> {
        if self.sub.contains(char::is_control) {
            return None;
        }
        match issuer.kind {
            Kind::Registry => {
                // A token server may grant something to callers without a name.
                let id = format!("{}{}", issuer.prefix, self.sub);
                let grants = self.access.unwrap_or_default().into_iter();
                let grants = grants.fold(Grants::new(), |grants, access| {
                    grants.and(access.kind, access.name, access.actions.unwrap_or_default())
                });
                Some(Principal::new(Method::Jwt, id).with_grants(grants))
            }
            Kind::ServiceAccount => {
                let account = self.sub.strip_prefix("system:serviceaccount:")?;
                let (namespace, name) = account.split_once(':')?;
                if namespace.is_empty() || name.is_empty() {
                    return None;
                }
                let id = format!("{}{}", issuer.prefix, self.sub);
                let groups = [
                    SERVICE_ACCOUNTS.to_owned(),
                    format!("{SERVICE_ACCOUNTS}:{namespace}"),
                ];
                Some(Principal::new(Method::Jwt, id).in_groups(groups))
            }
        }
    }
}

/// RFC 7519 §2, `NumericDate`.
fn moment(seconds: f64) -> Option<SystemTime> {
    let since = Duration::try_from_secs_f64(seconds).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(since)
}
