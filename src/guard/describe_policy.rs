use super::{Builder, Report, SecurityWarning};
use crate::util::counted::counted;

impl Builder {
    #[cfg(feature = "auth")]
    pub(super) fn groups(&self) -> super::groups::Groups {
        super::groups::Groups::new(
            self.authentication.as_ref(),
            self.mapping.as_ref(),
            self.policy_file.clone(),
        )
        .or_any(self.authenticator.is_some())
    }

    pub(super) fn describe_policy(&self, report: &mut Report) {
        if let Some(layer) = &self.policy {
            let rules = layer.policy.load().rules().len();
            report.enforces(format!(
                "a policy of {} says who may do what",
                counted(rules, "rule")
            ));
            if layer.shadow.is_some() {
                report.is_open("the shadow policy is asked, logged and not enforced");
            }
            #[cfg(feature = "auth")]
            report
                .warnings
                .extend(self.groups().unknown(&layer.policy.load()));
        } else {
            report.is_open("whoever is let in may do everything");
            report.warnings.push(SecurityWarning::NoPolicy);
        }
        #[cfg(feature = "digest-binding")]
        let binding = self.digest_binding.as_ref();
        #[cfg(feature = "digest-binding")]
        if let Some(binding) = binding.and_then(crate::policy::BindingLayer::binding) {
            describe_binding(binding, report);
            let exempt = self
                .digest_binding
                .iter()
                .flat_map(crate::policy::BindingLayer::exempt_groups);
            for group in exempt {
                report.is_open(format!(
                    "callers in the group {group} get content by any repository"
                ));
            }
            if let Some(layer) = &self.policy {
                let policy = layer.policy.load();
                let file = self.policy_file.clone();
                report
                    .warnings
                    .extend(pushes_not_learnt(binding, &policy, file));
            }
            return;
        }
        report.is_open("where the service finds content by its digest, any repository gives it");
    }
}

#[cfg(feature = "digest-binding")]
fn describe_binding(binding: &crate::policy::DigestBinding, report: &mut Report) {
    let unknown = if binding.asks() {
        "the service is asked about digests of which nothing was seen"
    } else {
        "digests of which nothing was seen are not given"
    };
    report.enforces("content is given only by repositories that lead to it");
    report.enforces(match binding.file() {
        Some(file) => format!(
            "{unknown}; what is known of them is kept in {}",
            file.display()
        ),
        None => format!("{unknown}; what is known of them is forgotten at a restart"),
    });
}

/// The first rule by which content comes that the binding does not learn of.
#[cfg(feature = "digest-binding")]
fn pushes_not_learnt(
    binding: &crate::policy::DigestBinding,
    policy: &crate::policy::Policy,
    file: Option<std::sync::Arc<std::path::Path>>,
) -> Option<SecurityWarning> {
    if binding.learns_from_pushes() || binding.asks() {
        return None;
    }
    let rule = policy.rules().iter().find(|rule| rule.allows_a_push())?;
    Some(SecurityWarning::PushesNotLearnt {
        file,
        rule: rule.name().into(),
        line: rule.line(),
        column: rule.column(),
    })
}
