//! Speed, laser and lens over time, at a resolution for display.

use serde::Serialize;

const MAX_BINS: usize = 1024;

/// One interval of a [`Timeline`].
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct Bin {
    /// The length in ticks.
    pub ticks: u64,
    /// The number of firing ticks.
    pub fire_ticks: u64,
    /// The peak speed of the head, in mm/s, over about 25 ms; 0 if the header has no step frequency.
    pub peak_mm_s: f64,
    /// The highest position of the lens, in steps from its start, over about 25 ms.
    pub z_max: i64,
}

/// Speed, laser and lens over a whole job, in at most 1024 bins of equal length. The last one may be shorter.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    bins: Vec<Bin>,
    /// Doubles whenever there are too many bins.
    samples_per_bin: u64,
    samples_in_last: u64,
    sample_ticks: u64,
}

impl Timeline {
    pub(super) fn new(sample_ticks: u64) -> Self {
        Self { bins: Vec::new(), samples_per_bin: 1, samples_in_last: 0, sample_ticks }
    }

    /// Returns the length of a bin, in ticks.
    #[must_use]
    pub fn bin_ticks(&self) -> u64 {
        self.samples_per_bin * self.sample_ticks
    }

    /// Returns the bins in order.
    #[must_use]
    pub fn bins(&self) -> &[Bin] {
        &self.bins
    }

    /// Appends a sample.
    pub(super) fn push(&mut self, sample: Bin) {
        if self.samples_in_last == self.samples_per_bin || self.bins.is_empty() {
            if self.bins.len() == MAX_BINS {
                self.bins = self.bins.chunks(2).map(|pair| pair.iter().copied().fold(Bin::default(), merge)).collect();
                self.samples_per_bin *= 2;
            }
            self.bins.push(Bin::default());
            self.samples_in_last = 0;
        }
        if let Some(last) = self.bins.last_mut() {
            *last = merge(*last, sample);
        }
        self.samples_in_last += 1;
    }
}

fn merge(one: Bin, other: Bin) -> Bin {
    Bin {
        ticks: one.ticks + other.ticks,
        fire_ticks: one.fire_ticks + other.fire_ticks,
        peak_mm_s: one.peak_mm_s.max(other.peak_mm_s),
        z_max: if one.ticks == 0 { other.z_max } else { one.z_max.max(other.z_max) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_bins_when_there_are_too_many() {
        let mut timeline = Timeline::new(10);
        for i in 0..3000_u32 {
            timeline.push(Bin { ticks: 10, fire_ticks: u64::from(i % 2), peak_mm_s: f64::from(i), z_max: i.into() });
        }
        let bins = timeline.bins();
        assert_eq!((timeline.bin_ticks(), bins.len()), (40, 750));
        assert!(bins.iter().all(|bin| bin.ticks == 40 && bin.fire_ticks == 2), "{bins:?}");
        assert_eq!(bins.iter().map(|bin| bin.peak_mm_s).collect::<Vec<_>>()[..2], [3.0, 7.0]);
        assert_eq!(bins.iter().map(|bin| bin.z_max).collect::<Vec<_>>()[..2], [3, 7]);
    }

    #[test]
    fn last_bin_may_be_shorter() {
        let mut timeline = Timeline::new(10);
        for _ in 0..1025 {
            timeline.push(Bin { ticks: 10, ..Bin::default() });
        }
        timeline.push(Bin { ticks: 3, ..Bin::default() });
        let bins = timeline.bins();
        assert_eq!((bins.len(), bins[511].ticks, bins[512].ticks), (513, 20, 13));
    }
}
