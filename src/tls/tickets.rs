use rustls::ServerConfig;

use super::builder::Settings;
use super::provider;

/// Lets sessions be resumed, under ticket keys that only this configuration has.
pub(super) fn install(settings: &Settings, config: &mut ServerConfig) {
    if !settings.resumption {
        config.session_storage = provider::session_storage(true, 0);
        config.send_tls13_tickets = 0;
        return;
    }
    let ticketer = provider::ticketer();
    config.session_storage = provider::session_storage(ticketer.is_some(), 1_024);
    if let Some(ticketer) = ticketer {
        config.ticketer = ticketer;
    }
}
