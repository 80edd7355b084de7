//! Speed and laser over time, in few enough parts to be drawn.

use serde::Serialize;

/// A timeline has at most this many bins.
const MAX_BINS: usize = 1024;

/// Some time of a job.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Bin {
    /// How many ticks it is.
    pub ticks: u64,
    /// In how many of them the laser fires.
    pub fire_ticks: u64,
    /// The head's greatest speed in it, in mm/s, measured over some 25 ms; 0 where the header has no step frequency.
    pub peak_mm_s: f64,
}

/// Speed and laser over a whole job's time, in at most 1024 bins of the same length, the last one shorter where the job
/// ends in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    bins: Vec<Bin>,
    /// Samples to a bin: doubled whenever there are too many bins.
    samples_a_bin: u64,
    samples_in_last: u64,
    sample_ticks: u64,
}

impl Timeline {
    /// An empty one, for samples of that many ticks.
    pub(super) fn new(sample_ticks: u64) -> Self {
        Self { bins: Vec::new(), samples_a_bin: 1, samples_in_last: 0, sample_ticks }
    }

    /// How long a bin is, in ticks.
    #[must_use]
    pub fn bin_ticks(&self) -> u64 {
        self.samples_a_bin * self.sample_ticks
    }

    /// The bins, in order.
    #[must_use]
    pub fn bins(&self) -> &[Bin] {
        &self.bins
    }

    /// Takes what happened next.
    pub(super) fn push(&mut self, sample: Bin) {
        if self.samples_in_last == self.samples_a_bin || self.bins.is_empty() {
            if self.bins.len() == MAX_BINS {
                self.bins = self.bins.chunks(2).map(|pair| pair.iter().copied().fold(Bin::default(), merge)).collect();
                self.samples_a_bin *= 2;
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
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_get_longer_rather_than_more() {
        let mut timeline = Timeline::new(10);
        for i in 0..3000_u32 {
            timeline.push(Bin { ticks: 10, fire_ticks: u64::from(i % 2), peak_mm_s: f64::from(i) });
        }
        let bins = timeline.bins();
        assert_eq!((timeline.bin_ticks(), bins.len()), (40, 750));
        assert!(bins.iter().all(|bin| bin.ticks == 40 && bin.fire_ticks == 2), "{bins:?}");
        assert_eq!(bins.iter().map(|bin| bin.peak_mm_s).collect::<Vec<_>>()[..2], [3.0, 7.0]);
    }

    #[test]
    fn the_last_bin_is_as_long_as_what_is_left() {
        let mut timeline = Timeline::new(10);
        for _ in 0..1025 {
            timeline.push(Bin { ticks: 10, ..Bin::default() });
        }
        timeline.push(Bin { ticks: 3, ..Bin::default() });
        let bins = timeline.bins();
        assert_eq!((bins.len(), bins[511].ticks, bins[512].ticks), (513, 20, 13));
    }
}
