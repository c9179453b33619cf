use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisError, RedisResult};
use tokio::time::{sleep, timeout};

use super::Fleet;

/// A server that has not answered for so long is unreachable.
pub(super) const PATIENCE: Duration = Duration::from_millis(500);

/// How soon it is tried again at the earliest.
const PAUSE: Duration = Duration::from_millis(50);

pub(super) async fn connect(fleet: &Fleet) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let client = &fleet.client;
    let connecting = client.get_multiplexed_async_connection_with_config(&config);
    // The look-up of its name is bounded by nothing else.
    match timeout(PATIENCE, connecting).await {
        Ok(connected) => connected,
        Err(_) => Err(RedisError::from((
            redis::ErrorKind::Io,
            "the server did not answer in time",
        ))),
    }
}

/// Waits until it is worth while to try again.
pub(super) async fn pause(fleet: &Fleet) {
    sleep(fleet.period.max(PAUSE)).await;
}
