//! Random numbers that depend on a seed and on what is decided, not on the order of decisions.

use std::time::Duration;

use super::fault::{LONGEST, Latency};

/// The random numbers of one decision: the generator `SplitMix64`, started from a hash of the seed and a key.
#[derive(Debug, Clone)]
pub(super) struct Draws(u64);

impl Draws {
    /// Starts the numbers of the decision with this key.
    pub(super) fn new(seed: u64, key: &[u64]) -> Self {
        Self(key.iter().fold(mix(seed), |state, part| mix(state ^ *part)))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Returns a number from 0 to 1, without 1.
    pub(super) fn unit(&mut self) -> f64 {
        // 53 bits, all of which a double can hold.
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns a delay.
    pub(super) fn delay(&mut self, latency: Latency) -> Duration {
        let seconds = match latency {
            Latency::Fixed(time) => time.as_secs_f64(),
            Latency::Uniform { min, max } => {
                let (min, max) = (min.as_secs_f64(), max.as_secs_f64());
                min + (max - min) * self.unit()
            }
            Latency::LogNormal { median, sigma } => {
                // Box-Muller; 1 - unit() is never 0.
                let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
                let normal = radius * (std::f64::consts::TAU * self.unit()).cos();
                median.as_secs_f64() * (sigma * normal).exp()
            }
        };
        Duration::try_from_secs_f64(seconds).map_or(LONGEST, |delay| delay.min(LONGEST))
    }
}

/// Hashes 64 bits (the output function of `SplitMix64`: Steele, Lea and Flood, 2014).
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_splitmix64() {
        // The published first outputs for the seed 1234567.
        let mut draws = Draws(1_234_567);
        assert_eq!([draws.next(), draws.next()], [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]);
    }

    #[test]
    fn delays_are_distributed_as_asked() {
        let delays = |latency| {
            let mut all: Vec<_> = (0..10_001).map(|n| Draws::new(1, &[n]).delay(latency).as_secs_f64()).collect();
            all.sort_by(f64::total_cmp);
            all
        };
        let seconds = Duration::from_secs_f64;
        assert_eq!(Draws::new(1, &[]).delay(Latency::Fixed(seconds(0.25))), seconds(0.25));

        let uniform = delays(Latency::Uniform { min: seconds(1.0), max: seconds(3.0) });
        assert!((1.0..1.01).contains(&uniform[0]) && (2.99..3.0).contains(&uniform[10_000]));
        assert!((1.95..2.05).contains(&uniform[5000]), "{}", uniform[5000]);

        let log_normal = delays(Latency::LogNormal { median: seconds(0.1), sigma: 0.5 });
        assert!((0.098..0.102).contains(&log_normal[5000]), "{}", log_normal[5000]);
        // One standard deviation above the median: 84.13 % are shorter.
        let above = 0.1 * 0.5_f64.exp();
        assert!((above * 0.97..above * 1.03).contains(&log_normal[8413]), "{}", log_normal[8413]);
        assert!(delays(Latency::LogNormal { median: seconds(1.0), sigma: 10.0 })[10_000] <= LONGEST.as_secs_f64());
        assert_eq!(Draws::new(1, &[]).delay(Latency::Fixed(Duration::from_secs(7200))), Duration::from_secs(7200));
        assert_eq!(Draws::new(1, &[]).delay(Latency::Fixed(Duration::MAX)), LONGEST);
    }
}
