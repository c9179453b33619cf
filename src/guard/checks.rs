use super::Builder;
#[cfg(feature = "tls")]
use crate::Watched;
use crate::admin::Check;
#[cfg(any(feature = "digest-binding", feature = "tls"))]
use crate::admin::Readiness;

impl Builder {
    /// A check for each part that follows files.
    pub(super) fn checks(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        #[cfg(feature = "config")]
        checks.extend(
            self.restart
                .as_ref()
                .map(|all| Check::watching("config", all)),
        );
        checks.extend(
            self.networks
                .as_ref()
                .map(|all| Check::watching("networks", all)),
        );
        #[cfg(feature = "auth")]
        if let Some(credentials) = self.authentication.as_ref().and_then(|a| a.credentials()) {
            checks.push(Check::watching("credentials", credentials));
        }
        #[cfg(feature = "jwt")]
        if let Some(authentication) = &self.authentication {
            let issuers = authentication.issuers();
            checks.extend(issuers.map(|issuer| Check::watching("jwt_keys", issuer.keys())));
        }
        #[cfg(feature = "policy")]
        if let Some(layer) = &self.policy {
            checks.push(Check::watching("policy", &layer.policy));
            checks.extend(
                layer
                    .shadow
                    .as_ref()
                    .map(|all| Check::watching("shadow_policy", all)),
            );
        }
        #[cfg(feature = "digest-binding")]
        checks.extend(self.digest_binding.as_ref().and_then(digests));
        #[cfg(feature = "rate")]
        checks.extend(
            self.limits
                .as_ref()
                .map(|all| Check::watching("limits", all)),
        );
        #[cfg(feature = "tls")]
        checks.extend(self.acceptor.iter().flat_map(tls));
        checks
    }
}

/// Whether what is known of digests could be kept, if it is to be.
#[cfg(feature = "digest-binding")]
fn digests(layer: &crate::policy::BindingLayer) -> Option<Check> {
    let binding = layer.binding()?.clone();
    binding.file()?;
    Some(Check::new("digest_binding", move || {
        match binding.unsaved() {
            None => Readiness::Ready,
            Some(failure) => Readiness::Degraded(format!("what is new is not kept: {failure}")),
        }
    }))
}

#[cfg(feature = "tls")]
fn tls(acceptor: &crate::tls::Acceptor) -> Vec<Check> {
    let material = acceptor.material().clone();
    #[cfg(feature = "crl")]
    let asks_lists = |one: &&crate::crl::Revocation| !one.requirements().without_crls;
    #[cfg(feature = "crl")]
    let crl = material
        .load()
        .revocation()
        .filter(asks_lists)
        .map(|revocation| {
            let (revocation, material) = (revocation.clone(), material.clone());
            Check::new("crl", move || revocation_now(&revocation, &material))
        });
    #[cfg(not(feature = "crl"))]
    let crl = None;
    #[cfg(feature = "crl")]
    let denied = {
        let current = material.load();
        let revocation = current.revocation();
        let denied = revocation.and_then(crate::crl::Revocation::denied);
        denied.map(|denied| Check::watching("deny", denied))
    };
    #[cfg(not(feature = "crl"))]
    let denied = None;
    let certificates = Check::new("tls", move || certificates_now(&material));
    [certificates]
        .into_iter()
        .chain(crl)
        .chain(denied)
        .collect()
}

#[cfg(feature = "tls")]
fn certificates_now(material: &Watched<crate::tls::Material>) -> Readiness {
    let current = material.load();
    let Some(now) = current.system_time() else {
        return Readiness::NotReady("the clock does not tell the time".to_owned());
    };
    let expiries = current.expiries();
    let servers = || expiries.iter().filter(|expiry| expiry.kind == "server");
    if servers().all(|expiry| expiry.not_after < now) {
        return Readiness::NotReady("no server certificate is valid any more".to_owned());
    }
    let ended = expiries.iter().find(|expiry| expiry.not_after < now);
    match ended {
        Some(ended) => Readiness::Degraded(format!(
            "the {} certificate {:?} is not valid any more",
            ended.kind, ended.subject
        )),
        None => Readiness::of(material),
    }
}

#[cfg(feature = "crl")]
fn revocation_now(
    revocation: &crate::crl::Revocation,
    material: &Watched<crate::tls::Material>,
) -> Readiness {
    let current = material.load();
    let options = revocation.options();
    let lists = revocation.lists().load();
    let active = lists.active();
    let late = current
        .system_time()
        .and_then(|now| now.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(active, |now| {
            lists.ended(now.saturating_sub(options.grace).as_secs())
        });
    if late == 0 {
        let ready = Readiness::of(revocation.lists());
        if !matches!(ready, Readiness::Ready) {
            return ready;
        }
        let base = lists.without_base().next().map(|(issuer, base)| {
            format!("the complete CRL {base} of {issuer}, which a delta is over, is not here")
        });
        let why = base.or_else(|| lists.held_back().next());
        return why.map_or(ready, Readiness::Degraded);
    }
    let told = format!("CRLs past their nextUpdate: {late} of {active}");
    let refuses = !options.unknown_allowed;
    if late == active && refuses && current.client_certificate_needed() == Some(true) {
        Readiness::NotReady(told)
    } else {
        Readiness::Degraded(told)
    }
}
