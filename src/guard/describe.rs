use super::{Builder, Report, SecurityWarning};
use crate::util::counted::counted;

/// What a report says where no credentials are required.
#[cfg(feature = "auth")]
pub(super) const UNASKED: &str =
    "callers need not show who they are; who has a certificate is known by it";

/// What a report says where callers may send nothing.
#[cfg(feature = "auth")]
pub(super) const ANONYMOUS: &str = "who shows nothing is let in as anonymous";

impl Builder {
    /// What will be enforced and what not.
    pub(super) fn report(&self) -> Report {
        let mut report = Report::default();
        self.describe_networks(&mut report);
        self.describe_proxies(&mut report);
        #[cfg(feature = "serve")]
        self.describe_serving(&mut report);
        #[cfg(feature = "tls")]
        self.describe_tls(&mut report);
        #[cfg(feature = "auth")]
        self.describe_authentication(&mut report);
        #[cfg(feature = "policy")]
        self.describe_policy(&mut report);
        #[cfg(feature = "rate")]
        self.describe_limits(&mut report);
        #[cfg(feature = "config")]
        report.warnings.extend(self.advice.iter().cloned());
        report
    }

    fn describe_networks(&self, report: &mut Report) {
        let networks = self.networks.as_ref().map(crate::Watched::load);
        let networks = networks.as_deref().filter(|networks| !networks.is_open());
        let Some(networks) = networks else {
            report.is_open("every network may ask");
            return;
        };
        let allowed = networks.allowed().map(Iterator::count);
        let denied = networks.denied().count();
        report.enforces(match allowed {
            Some(allowed) if denied == 0 => format!("only {} may ask", counted(allowed, "network")),
            Some(allowed) => {
                let allowed = counted(allowed, "network");
                format!(
                    "only {allowed} may ask, and {} never",
                    counted(denied, "network")
                )
            }
            None => format!("{} may not ask", counted(denied, "network")),
        });
    }

    fn describe_proxies(&self, report: &mut Report) {
        let (header, proxies) = self.forwarded.believes();
        if let Some(header) = header {
            report.enforces(format!(
                "a client's address is its connection's, or what {} of proxies in {} says",
                header.name(),
                counted(proxies.len(), "network")
            ));
        }
        if !proxies.is_empty() {
            report.enforces(format!(
                "X-Forwarded-Host and the like are removed, unless proxies in {} sent them",
                counted(proxies.len(), "network")
            ));
        }
        if everyone(&proxies) {
            self.warn_of_everyone("forwarded.proxies", report);
        }
        #[cfg(feature = "tls")]
        if let Some((form, proxies, fields)) = self.forwarded_certificate.believes() {
            let proxies = counted(proxies, "network");
            report.enforces(format!(
                "a client's certificate is its connection's, or what {form} of proxies in {proxies} \
                 says, verified alike"
            ));
            if fields {
                report.warnings.push(SecurityWarning::FieldsBelieved);
            }
        }
    }

    /// Warns of a list of proxies with every address in it, unless that was done with its place.
    fn warn_of_everyone(&self, key: &'static str, report: &mut Report) {
        if !self.is_placed(|warning| warning.is_of_everyone(key)) {
            report.warnings.push(SecurityWarning::EveryoneIsAProxy(key));
        }
    }

    /// Whether a file's warnings, which have their places, have such a one.
    #[cfg_attr(
        not(feature = "config"),
        expect(clippy::unused_self, reason = "no file")
    )]
    fn is_placed(&self, is_it: impl Fn(&SecurityWarning) -> bool) -> bool {
        #[cfg(feature = "config")]
        return self.advice.iter().any(is_it);
        #[cfg(not(feature = "config"))]
        {
            let _ = is_it;
            false
        }
    }

    #[cfg(feature = "serve")]
    fn describe_serving(&self, report: &mut Report) {
        if everyone(&self.serve_options.proxies) {
            self.warn_of_everyone("serve.proxy_protocol", report);
        }
    }

    #[cfg(feature = "tls")]
    fn describe_tls(&self, report: &mut Report) {
        let Some(acceptor) = &self.acceptor else {
            report.is_open("connections are not TLS, unless something in front makes them so");
            return;
        };
        let material = acceptor.material().load();
        self.describe_acceptor(acceptor, report);
        let Some(needed) = material.client_certificate_needed() else {
            report.enforces("connections are TLS");
            report.is_open("clients are not asked for a certificate");
            return;
        };
        report.enforces(if needed {
            "connections are TLS, and clients must have a certificate of the client CAs"
        } else {
            "connections are TLS, and a client's certificate, if it has one, must be of the client CAs"
        });
        if let Some((trusted, left_out)) = material.client_cas() {
            let trusted = counted(trusted, "client CA");
            report.enforces(match left_out {
                0 => format!("{trusted} may vouch for clients"),
                _ => format!(
                    "{trusted} may vouch for clients, and {} beside them, not fit to be one, may not: the log \
                     names them",
                    counted(left_out, "certificate")
                ),
            });
        }
        #[cfg(feature = "crl")]
        if let Some(revocation) = material.revocation() {
            describe_revocation(&material, revocation, report);
            super::requirements::tell(&material, revocation, report);
            let layer = self.revocation.as_ref();
            if layer.is_some_and(crate::crl::RevocationLayer::requires_certificate) {
                report.enforces("requests without a client certificate are refused");
            }
        } else {
            report.is_open("certificates are not checked for revocation");
            report.warnings.push(SecurityWarning::NoRevocation);
        }
    }

    #[cfg(feature = "tls")]
    fn describe_acceptor(&self, acceptor: &crate::tls::Acceptor, report: &mut Report) {
        if acceptor.material().load().is_tls13_only() {
            report.enforces("connections are TLS 1.3");
        }
        if acceptor.material().load().is_fips() {
            report.enforces("TLS has FIPS-approved cryptography only");
        }
        if let Some(most) = acceptor.connections_per_source() {
            let most = counted(most, "connection");
            report.enforces(format!("a source has at most {most}"));
        }
        let proxies = acceptor.proxies();
        if !proxies.is_empty() {
            report.enforces(format!(
                "peers in {} must begin with a PROXY protocol header",
                counted(proxies.len(), "network")
            ));
        }
        if everyone(proxies) {
            self.warn_of_everyone("tls.proxy_protocol", report);
        }
        if acceptor.keeps_connections_of_removed_cas() {
            report.is_open("connections of a client CA that is removed stay until their end");
        }
    }

    #[cfg(feature = "auth")]
    fn describe_authentication(&self, report: &mut Report) {
        if self.authenticator.is_some() {
            report.enforces("the program itself is asked first who calls");
        }
        let Some(authentication) = &self.authentication else {
            if self.authenticator.is_some() {
                report.is_open("who is not known to it is let in as anonymous");
                return;
            }
            report.is_open(UNASKED);
            if !self.needs_certificates() {
                report.warnings.push(SecurityWarning::NoAuthentication);
            }
            return;
        };
        let tokens = authentication.takes_tokens();
        report.enforces(describe_requirement(authentication));
        #[cfg(feature = "jwt")]
        for issuer in authentication.issuers() {
            let may = if issuer.grants() {
                "for what they grant"
            } else {
                "for what is allowed to their callers"
            };
            let name = issuer.name();
            let shown = match issuer.basic_users() {
                None => "as Bearer or as any user's password".to_owned(),
                Some([]) => "as Bearer only".to_owned(),
                Some(users) => format!("as Bearer or as the password of {}", users.join(", ")),
            };
            report.enforces(format!(
                "tokens that {name} signed are taken, {may}, {shown}"
            ));
        }
        if authentication.lets_anonymous_in() {
            report.is_open(ANONYMOUS);
        }
        if authentication.wants_token_for_writes() {
            report.enforces("whatever does not only read needs a token");
        }
        if self.pass_authorization {
            report.is_open("the service gets the callers' Authorization headers");
        }
        self.describe_mapping(report);
        if tokens && !authentication.is_throttled() {
            report.is_open("failed authentications are not throttled");
            report.warnings.push(SecurityWarning::NoThrottle);
        } else if tokens && authentication.throttles_nobody() {
            report.is_open("failed authentications are not throttled: every address is exempt");
        } else if tokens {
            report.enforces("failed authentications are throttled by source, passwords by id too");
        }
        #[cfg(feature = "tls")]
        if authentication.needs_certificate()
            && self.asks_for_no_certificate()
            && !self.is_placed(SecurityWarning::is_certificate_not_asked)
        {
            report.warnings.push(SecurityWarning::CertificateNotAsked);
        }
    }

    #[cfg(feature = "auth")]
    fn describe_mapping(&self, report: &mut Report) {
        let Some(mapping) = self.mapping.as_ref().map(crate::Watched::load) else {
            return;
        };
        let rules = counted(mapping.len(), "rule");
        let say = if mapping.len() == 1 { "says" } else { "say" };
        report.enforces(format!("{rules} {say} who the holder of a certificate is"));
        if mapping.takes_common_names() {
            report.is_open("certificates that no rule matches count by their common name");
        }
    }

    #[cfg(all(feature = "auth", feature = "tls"))]
    fn needs_certificates(&self) -> bool {
        self.acceptor.as_ref().is_some_and(|acceptor| {
            acceptor.material().load().client_certificate_needed() == Some(true)
        })
    }

    #[cfg(all(feature = "auth", not(feature = "tls")))]
    fn needs_certificates(&self) -> bool {
        false
    }

    #[cfg(all(feature = "auth", feature = "tls"))]
    fn asks_for_no_certificate(&self) -> bool {
        self.acceptor.as_ref().is_some_and(|acceptor| {
            let material = acceptor.material().load();
            material.client_certificate_needed().is_none()
        })
    }

    #[cfg(feature = "rate")]
    fn describe_limits(&self, report: &mut Report) {
        let limits = self.limits.as_ref().map(crate::Watched::load);
        match limits.as_deref().map(|limits| limits.limits().len()) {
            None | Some(0) => {
                report.is_open("nothing limits how fast and how much bodies go");
                report.warnings.push(SecurityWarning::NoLimits);
            }
            Some(limits) => {
                report.enforces(format!("bodies are held to {}", counted(limits, "limit")));
            }
        }
        #[cfg(feature = "redis")]
        if let Some(limits) = limits.as_deref() {
            describe_fleet(limits, report);
        }
    }
}

#[cfg(feature = "redis")]
fn describe_fleet(limits: &crate::rate::Limits, report: &mut Report) {
    use crate::rate::Unreachable;

    let fleets = limits.limits().iter().filter_map(crate::rate::Limit::fleet);
    let fleets: Vec<_> = fleets.collect();
    let Some(fleet) = fleets.first() else {
        return;
    };
    let shared = counted(fleets.len(), "limit");
    let without = match fleet.unreachable() {
        Unreachable::Local => "; without its server each goes on with its last share",
        Unreachable::Refuse => "; without its server requests are refused",
        Unreachable::Open => "",
    };
    let prefix = fleet.prefix();
    report.enforces(format!(
        "all replicas of the fleet {prefix:?} share {shared}{without}"
    ));
    if fleet.unreachable() == Unreachable::Open {
        report.is_open("without the fleet's server there is no limit where it has one");
    }
}

#[cfg(feature = "crl")]
fn describe_revocation(
    material: &crate::tls::Material,
    revocation: &crate::crl::Revocation,
    report: &mut Report,
) {
    if let Some(denied) = revocation.denied() {
        let entries = denied.load().len();
        let noun = if entries == 1 { "entry" } else { "entries" };
        report.enforces(format!(
            "denied certificates are refused, on open connections too, by {entries} {noun}"
        ));
    }
    if revocation.requirements().without_crls {
        return;
    }
    let lists = revocation.lists().load().len();
    let urls = revocation.fetched_from();
    // Without any, or where none is asked, what is required of each CA is all there is to say.
    let by = match (lists, urls) {
        _ if !super::requirements::asks_lists(material, revocation) => None,
        (0, 0) => None,
        (0, _) => Some("the CRLs that are fetched".to_owned()),
        _ => Some(counted(lists, "CRL")),
    };
    if let Some(by) = by {
        report.enforces(format!(
            "revoked certificates are refused, on open connections too, by {by}"
        ));
    }
    if urls > 0 {
        report.enforces(format!("CRLs are fetched from {}", counted(urls, "URL")));
    }
    if revocation.options().unknown_allowed {
        report.is_open("certificates that no CRL answers for are let pass");
        report.warnings.push(SecurityWarning::UnknownStatusAllowed);
    }
}

/// Whether one of the networks is all of a family's addresses.
fn everyone(networks: &[ipnet::IpNet]) -> bool {
    networks.iter().any(|network| network.prefix_len() == 0)
}

/// Which credentials callers must send.
#[cfg(feature = "auth")]
pub(super) fn describe_requirement(authentication: &crate::auth::Authentication) -> &'static str {
    match (
        authentication.takes_tokens(),
        authentication.takes_certificates(),
    ) {
        (true, false) => "callers must show a token",
        (true, true) if authentication.needs_token_and_certificate() => {
            "callers must show a token and a certificate"
        }
        (true, true) => "callers must show a token or a certificate",
        (false, true) => "callers must show a certificate",
        (false, false) => "callers must show a token, and there is none",
    }
}
