use super::describe::{ANONYMOUS, UNASKED, describe_requirement};
use super::{Guard, SecurityWarning};
use crate::auth::Certificate;
use crate::config::Requirement;

impl Guard {
    /// Returns this guard for another listener of the process, on which every caller must send other credentials
    /// than the configuration's `auth.require` says: there is no anonymous caller. All else is shared, such as
    /// limits, throttles and the policy.
    ///
    /// Without a token in the configuration, a requirement of one lets no caller in.
    pub fn with_requirement(mut self, requirement: Requirement) -> Self {
        let before = describe_requirement(self.auth.authentication());
        self.auth = self.auth.requiring(match requirement {
            Requirement::Token => Certificate::Ignored,
            Requirement::Certificate => Certificate::Only,
            Requirement::TokenOrCertificate => Certificate::Enough,
            Requirement::TokenAndCertificate => Certificate::Needed,
        });
        let authentication = self.auth.authentication();
        let now = describe_requirement(authentication);
        let report = &mut self.report;
        report
            .open
            .retain(|line| ![ANONYMOUS, UNASKED].contains(&&**line));
        report.enforced.retain(|line| line != before);
        report.enforces(now);
        let asked = self.acceptor.as_ref().is_some_and(|acceptor| {
            let material = acceptor.material().load();
            material.client_certificate_needed().is_some()
        });
        report.warnings.retain(|known| {
            !known.is_certificate_not_asked() && *known != SecurityWarning::NoAuthentication
        });
        if authentication.needs_certificate() && !asked {
            report.warnings.push(SecurityWarning::CertificateNotAsked);
        }
        self
    }
}
