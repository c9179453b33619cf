//! Times in which not every client can do what is asked of it.

use super::Problem;
use super::advice::Advice;

impl Advice<'_> {
    pub(super) fn serving(&mut self) {
        let serve = &self.config.serve;
        for (key, span) in serve.hasty() {
            let span = humantime::format_duration(span).to_string().into();
            self.here(key, Problem::Hasty { span });
        }
        if let Some(rate) = serve.steep_pace() {
            self.here("serve.body_pace", Problem::SteepPace { rate });
        }
    }
}
