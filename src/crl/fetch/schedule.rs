use std::time::Duration;

/// When to ask again for a list: after the interval, and while a tenth of the list's time is left if
/// that comes first; never twice within `shortest`. `spread`, from 0 to 1, takes up to a tenth off, so
/// that many servers do not ask at once.
pub(super) fn wait(
    now: u64,
    (this_update, next_update): (u64, u64),
    interval: Duration,
    shortest: Duration,
    spread: f64,
) -> Duration {
    let margin = next_update.saturating_sub(this_update) / 10;
    let due = next_update.saturating_sub(margin).saturating_sub(now);
    let wait = interval.min(Duration::from_secs(due));
    wait.mul_f64(1.0 - spread.clamp(0.0, 1.0) / 10.0)
        .max(shortest.min(interval))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: u64 = 3600;

    fn at(now: u64, interval: u64, spread: f64) -> u64 {
        let list = (0, 10 * HOUR);
        let interval = Duration::from_secs(interval);
        wait(now, list, interval, Duration::from_secs(60), spread).as_secs()
    }

    #[test]
    fn a_list_is_asked_for_at_the_interval_and_before_its_end() {
        assert_eq!(at(0, 900, 0.0), 900);
        assert_eq!(at(0, 900, 1.0), 810);
        // A tenth of its ten hours is left at nine.
        assert_eq!(at(0, 24 * HOUR, 0.0), 9 * HOUR);
        assert_eq!(at(8 * HOUR, 24 * HOUR, 0.0), HOUR);
        // In its last hour, and after its end.
        assert_eq!(at(9 * HOUR, 24 * HOUR, 0.0), 60);
        assert_eq!(at(100 * HOUR, 24 * HOUR, 1.0), 60);
        // An interval that is shorter than the shortest wait is the operator's wish.
        assert_eq!(at(0, 5, 0.0), 5);
    }

    proptest! {
        #[test]
        fn whatever_the_list_says_the_wait_is_neither_none_nor_longer_than_the_interval(
            now: u64, this_update: u64, next_update: u64, interval in 1..1_000_000_u64, spread in 0.0..1.0,
        ) {
            let interval = Duration::from_secs(interval);
            let shortest = Duration::from_secs(1);
            let wait = wait(now, (this_update, next_update), interval, shortest, spread);
            prop_assert!(wait >= shortest && wait <= interval);
        }
    }
}
