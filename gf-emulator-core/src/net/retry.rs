//! Retries with exponential backoff.

use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use crate::net::CancelToken;
use crate::record::Telemetry;
use crate::system;
use crate::{EmulatorEvent, Error, Result};

const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// A larger `Retry-After` is cut to this.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// Why an attempt is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RetryReason {
    /// An established connection was lost.
    Lost,
    /// The attempt failed: the host is unreachable, or the service is busy or broken.
    Failed,
    /// The service rejected the credentials.
    Refused,
}

impl RetryReason {
    fn longest_pause(self) -> Duration {
        Duration::from_secs(match self {
            Self::Lost => 15,
            Self::Failed => 60,
            Self::Refused => 300,
        })
    }
}

/// Exponential backoff: pauses double from 0.5 s up to the maximum of the [`RetryReason`].
///
/// Each pause is shortened by up to half at random, so that machines that lose their connections together do not
/// reconnect together. Pure: it computes pauses and never sleeps; with a fixed seed it is deterministic.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    jitter: SmallRng,
}

impl Default for Backoff {
    fn default() -> Self {
        Self::seeded(system::random())
    }
}

impl Backoff {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self { next: FIRST_PAUSE, jitter: SmallRng::seed_from_u64(seed) }
    }

    /// Returns the next pause: at least `retry_after`, capped at one hour.
    pub(crate) fn next_pause(&mut self, reason: RetryReason, retry_after: Option<Duration>) -> Duration {
        let full = self.next.min(reason.longest_pause());
        let pause = full.mul_f64(self.jitter.random_range(0.5..=1.0));
        self.next = full * 2;
        retry_after.map_or(pause, |asked| pause.max(asked.min(LONGEST_RETRY_AFTER)))
    }

    /// Starts again from the shortest pause.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST_PAUSE;
    }
}

/// Calls `attempt` until it succeeds, it fails with an error that a retry cannot fix, or `timeout` has passed. Each
/// attempt is given the time that is left.
///
/// # Errors
///
/// The error of the last attempt; [`Error::Interrupted`] if `cancel` is cancelled during a pause.
pub(crate) fn retry<T>(
    what: &str,
    cancel: &CancelToken,
    telemetry: &Telemetry,
    timeout: Duration,
    mut attempt: impl FnMut(Duration) -> Result<T>,
) -> Result<T> {
    let deadline = system::now() + timeout;
    let mut backoff = Backoff::default();
    loop {
        let error = match attempt(deadline.saturating_duration_since(system::now())) {
            Err(error) if error.is_worth_retrying() => error,
            result => return result,
        };
        let pause = backoff.next_pause(RetryReason::Failed, error.retry_after());
        let next = system::now() + pause;
        if next > deadline {
            log::error!("{what}: giving up; retry_for_s in [SERVICE] sets how long to retry");
            return Err(error);
        }
        log::warn!("{what}: {error}; retrying in {:.1} s", pause.as_secs_f64());
        let reason = telemetry.secrets().redact(&error.to_string());
        telemetry.emit(|| EmulatorEvent::ConnectFailed { reason, retry_in: pause });
        if !cancel.pause(next) {
            return Err(Error::Interrupted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_maximum_of_their_reason() {
        for (reason, longest) in [(RetryReason::Lost, 15), (RetryReason::Failed, 60), (RetryReason::Refused, 300)] {
            let mut backoff = Backoff::default();
            for n in 0..20 {
                let pause = backoff.next_pause(reason, None);
                let full = FIRST_PAUSE.saturating_mul(1 << n.min(16)).min(Duration::from_secs(longest));
                assert!(pause <= full && pause >= full / 2, "{reason:?}, {n}: {pause:?}");
            }
            backoff.reset();
            assert!(backoff.next_pause(reason, None) <= FIRST_PAUSE);
        }
    }

    #[test]
    fn a_change_of_reason_keeps_the_progress_of_the_backoff() {
        let mut backoff = Backoff::default();
        (0..20).for_each(|_| _ = backoff.next_pause(RetryReason::Refused, None));
        assert!(backoff.next_pause(RetryReason::Lost, None) <= Duration::from_secs(15));
        let next = backoff.next_pause(RetryReason::Failed, None);
        assert!(next >= Duration::from_secs(15) && next <= Duration::from_secs(30), "{next:?}");
    }

    #[test]
    fn the_jitter_differs_by_seed_and_only_by_seed() {
        let first = |seed| Backoff::seeded(seed).next_pause(RetryReason::Lost, None);
        let pauses: std::collections::HashSet<_> = (0..50).map(first).collect();
        assert!(pauses.len() > 10);
        assert_eq!(first(7), first(7));
    }

    #[test]
    fn honours_retry_after_up_to_an_hour() {
        let pause = |asked| Backoff::default().next_pause(RetryReason::Failed, Some(asked));
        assert_eq!(pause(Duration::from_secs(7)), Duration::from_secs(7));
        assert!(pause(Duration::ZERO) >= FIRST_PAUSE / 2);
        assert_eq!(pause(Duration::MAX), LONGEST_RETRY_AFTER);
    }

    #[test]
    fn retries_only_what_may_pass_and_only_until_the_timeout() {
        let cancel = CancelToken::default();
        let attempts = |error: fn() -> Error, cancel: &CancelToken| {
            let mut count = 0;
            let result: Result<()> = retry("test", cancel, &Telemetry::default(), Duration::ZERO, |_| {
                count += 1;
                Err(error())
            });
            (count, result.unwrap_err())
        };
        let unreachable = || Error::Unreachable { host: "host".into(), reason: "down".into() };
        assert!(matches!(attempts(unreachable, &cancel), (1, Error::Unreachable { .. })), "no pause fits");
        assert!(matches!(attempts(|| Error::Interrupted, &cancel), (1, Error::Interrupted)));
        cancel.cancel();
        let interrupted: Result<()> =
            retry("test", &cancel, &Telemetry::default(), Duration::from_secs(60), |_| Err(unreachable()));
        assert!(matches!(interrupted, Err(Error::Interrupted)));
        let mut failures = 1;
        let second = retry("test", &CancelToken::default(), &Telemetry::default(), Duration::from_secs(60), |left| {
            assert!(left <= Duration::from_secs(60));
            failures -= 1;
            if failures == 0 { Err(unreachable()) } else { Ok(()) }
        });
        second.unwrap();
    }
}
