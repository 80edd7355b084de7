//! [`Histogram`]: how often something took how long, in little memory.

use std::time::Duration;

/// Each power of two is divided into this many buckets, so that a bucket's bounds differ by at most 6 %.
const PARTS: usize = 16;
/// Longer times, of more than 19 hours, are in the last bucket.
const LAST_POWER: u32 = 36;
const BUCKETS: usize = (LAST_POWER as usize - 2) * PARTS;

/// How often something took how long: from a microsecond to 19 hours, with an error of at most 6 %.
///
/// ```
/// use std::time::Duration;
/// use gf_emulator_core::fleet::Histogram;
///
/// let mut times = Histogram::default();
/// (1..=100).for_each(|ms| times.add(Duration::from_millis(ms)));
/// let median = times.percentile(50.0).as_secs_f64();
/// assert!((0.050..0.054).contains(&median));
/// assert_eq!(times.max(), Duration::from_millis(100));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    sum: Duration,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: vec![0; BUCKETS], count: 0, sum: Duration::ZERO, max: Duration::ZERO }
    }
}

impl Histogram {
    /// Adds a time.
    pub fn add(&mut self, time: Duration) {
        self.buckets[bucket_of(time)] += 1;
        self.count += 1;
        self.sum += time;
        self.max = self.max.max(time);
    }

    /// Returns how many times were added.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Returns the sum of all times.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// Returns the longest time; zero if there is none.
    #[must_use]
    pub fn max(&self) -> Duration {
        self.max
    }

    /// Returns the time that `percent` of all times (0 to 100) do not exceed, rounded up by at most 6 %; zero if there is
    /// none.
    #[must_use]
    pub fn percentile(&self, percent: f64) -> Duration {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to the count")]
        let rank = (self.count as f64 * percent.clamp(0.0, 100.0) / 100.0).ceil().max(1.0) as u64;
        let mut below = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            below += count;
            if below >= rank {
                return if index + 1 == BUCKETS { self.max } else { upper_bound(index).min(self.max) };
            }
        }
        Duration::ZERO
    }

    /// Returns how many times are at most 2 to the power of `power` microseconds; `power` is from 4 to 36.
    pub(super) fn count_up_to(&self, power: u32) -> u64 {
        let buckets = (power.clamp(4, LAST_POWER) as usize - 3) * PARTS;
        self.buckets[..buckets].iter().sum()
    }
}

/// Returns the bucket of a time. Its upper bound belongs to it, its lower bound does not.
fn bucket_of(time: Duration) -> usize {
    let steps = u64::try_from(time.as_nanos().div_ceil(1000).saturating_sub(1)).unwrap_or(u64::MAX);
    let power = steps.checked_ilog2().unwrap_or(0);
    if power < 4 {
        return usize::try_from(steps).unwrap_or(0);
    }
    if power >= LAST_POWER {
        return BUCKETS - 1;
    }
    let part = (steps >> (power - 4)) % PARTS as u64;
    (power as usize - 3) * PARTS + usize::try_from(part).unwrap_or(0)
}

fn upper_bound(bucket: usize) -> Duration {
    let (row, part) = ((bucket / PARTS) as u64, (bucket % PARTS) as u64);
    Duration::from_micros(if row == 0 { part + 1 } else { (PARTS as u64 + part + 1) << (row - 1) })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_bucket_holds_a_time_within_six_percent(nanos in 1_u64..60_000_000_000_000) {
            let time = Duration::from_nanos(nanos);
            let bucket = bucket_of(time);
            prop_assert!(time <= upper_bound(bucket));
            prop_assert!(bucket == 0 || time > upper_bound(bucket - 1));
            prop_assert!(upper_bound(bucket).as_nanos() <= u128::from(nanos) * 107 / 100 + 1000);
        }

        #[test]
        fn counts_up_to_a_power_of_two_are_exact(micros in prop::collection::vec(1_u64..100_000, 1..50), power in 4_u32..20) {
            let mut histogram = Histogram::default();
            for &time in &micros {
                histogram.add(Duration::from_micros(time));
            }
            let expected = micros.iter().filter(|&&time| time <= 1 << power).count() as u64;
            prop_assert_eq!(histogram.count_up_to(power), expected);
        }
    }

    #[test]
    fn extremes_have_a_bucket() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50.0), Duration::ZERO);
        histogram.add(Duration::ZERO);
        assert_eq!(histogram.percentile(100.0), Duration::ZERO, "at most the longest");
        histogram.add(Duration::from_secs(1 << 40));
        assert_eq!(histogram.percentile(99.0), Duration::from_secs(1 << 40));
        assert_eq!((histogram.count(), histogram.count_up_to(LAST_POWER)), (2, 1));
    }
}
