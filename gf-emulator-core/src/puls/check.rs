//! Whether a machine runs a job, judged by its header and its measurements.

use super::header::{DEFAULT_MICROSTEPS, Header, STEP_FREQUENCIES_HZ, code};
use super::{Measured, layout};

/// A reason not to run a job. Never shows a serial number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// No `STfr`.
    #[error("the header has no step frequency (STfr)")]
    NoStepFrequency,
    /// `STfr` is 0.
    #[error("the step frequency (STfr) is 0")]
    ZeroStepFrequency,
    /// No `MCsn`.
    #[error("the header has no serial number lock (MCsn)")]
    NoSerialLock,
    /// `MCsn` is the serial number of another machine.
    #[error("the job is for another machine (MCsn)")]
    OtherMachine,
    /// No `PDfm`.
    #[error("the header has no data format (PDfm)")]
    NoDataFormat,
    /// `PDfm` is not 0.
    #[error("the data format (PDfm) is {0}, expected 0")]
    DataFormat(u32),
    /// `XSmm` is there and not 8.
    #[error("the microsteps of X (XSmm) are {0}, expected {DEFAULT_MICROSTEPS}")]
    XMicrosteps(u32),
    /// `YSmm` is there and not 8.
    #[error("the microsteps of Y (YSmm) are {0}, expected {DEFAULT_MICROSTEPS}")]
    YMicrosteps(u32),
    /// The laser fires before the first power byte. The hardware starts each run at about full power, so that it would
    /// fire at that (measured on hardware).
    #[error("the laser fires at byte {offset} (tick {tick}), before any power byte")]
    FireBeforePower {
        /// The offset in the decompressed file.
        offset: u64,
        /// The tick, counted from 0: the offset in the body.
        tick: u64,
    },
}

/// Something unusual in a header that is no reason to refuse the job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Remark {
    /// `STfr` is outside the usual range.
    #[error("the step frequency (STfr) is {0} Hz, outside the usual 1000 to 200000")]
    StepFrequency(u32),
    /// The first byte is not the usual one.
    #[error("the first byte is {0:#04x}, not the usual 0x80")]
    Lead(u8),
}

impl Refusal {
    /// Returns the name of the rule in [`Finding::rule`](super::Finding::rule).
    pub(super) fn rule(self) -> &'static str {
        match self {
            Self::NoStepFrequency | Self::ZeroStepFrequency => "step-frequency",
            Self::NoSerialLock | Self::OtherMachine => "serial-lock",
            Self::NoDataFormat | Self::DataFormat(_) => "data-format",
            Self::XMicrosteps(_) | Self::YMicrosteps(_) => "microsteps",
            Self::FireBeforePower { .. } => "fire-before-power",
        }
    }
}

impl Remark {
    /// Returns the name of the rule in [`Finding::rule`](super::Finding::rule).
    pub(super) fn rule(self) -> &'static str {
        match self {
            Self::StepFrequency(_) => "step-frequency",
            Self::Lead(_) => "first-byte",
        }
    }
}

impl Header {
    /// Returns the reasons in the header why the machine with this serial number refuses the job, in a fixed order: step
    /// frequency, serial number lock, data format, microsteps of X and Y. [`Measured::check`] adds those in the body.
    ///
    /// These are the checks of the open-source clients. The factory firmware has more (read from firmware 2.6): it demands
    /// 29 codes, of which nobody knows the names, and forbids some, such as `CCbp` and `CCbt`.
    ///
    /// `None` stands for any machine and passes every lock; `Some(0)` only passes a lock of 0.
    ///
    /// ```
    /// use gf_emulator_core::puls::{Builder, Refusal, code};
    ///
    /// let mut job = Builder::new();
    /// job.set(code::SERIAL_LOCK, 1234)?;
    /// assert_eq!(job.header().check(Some(1234)), []);
    /// assert_eq!(job.header().check(Some(1)), [Refusal::OtherMachine]);
    /// # Ok::<(), gf_emulator_core::puls::Error>(())
    /// ```
    #[must_use]
    pub fn check(&self, serial: Option<u32>) -> Vec<Refusal> {
        let step_frequency = match self.get(code::STEP_FREQUENCY) {
            None => Some(Refusal::NoStepFrequency),
            Some(0) => Some(Refusal::ZeroStepFrequency),
            Some(_) => None,
        };
        let lock = match self.get(code::SERIAL_LOCK) {
            None => Some(Refusal::NoSerialLock),
            Some(lock) if lock != 0 && serial.is_some_and(|serial| serial != lock) => Some(Refusal::OtherMachine),
            Some(_) => None,
        };
        let data_format = match self.get(code::DATA_FORMAT) {
            None => Some(Refusal::NoDataFormat),
            Some(0) => None,
            Some(other) => Some(Refusal::DataFormat(other)),
        };
        let microsteps = |code, refusal: fn(u32) -> Refusal| {
            self.get(code).filter(|&microsteps| microsteps != DEFAULT_MICROSTEPS).map(refusal)
        };
        let x_microsteps = microsteps(code::X_MICROSTEPS, Refusal::XMicrosteps);
        let y_microsteps = microsteps(code::Y_MICROSTEPS, Refusal::YMicrosteps);
        [step_frequency, lock, data_format, x_microsteps, y_microsteps].into_iter().flatten().collect()
    }

    /// Returns what is unusual about the header but no reason to refuse the job.
    #[must_use]
    pub fn remarks(&self) -> Vec<Remark> {
        let lead = (self.lead != layout::LEAD).then_some(Remark::Lead(self.lead));
        let frequency = self.step_frequency_hz().filter(|hz| !STEP_FREQUENCIES_HZ.contains(hz));
        [lead, frequency.map(Remark::StepFrequency)].into_iter().flatten().collect()
    }
}

impl Measured {
    /// Returns the reasons why the machine with this serial number refuses the job: those of [`Header::check`], then
    /// [`Refusal::FireBeforePower`]. Empty if it runs the job.
    ///
    /// ```
    /// use gf_emulator_core::puls::{Builder, Limits, Refusal, measure, tick};
    ///
    /// let mut file = Builder::new().to_bytes();
    /// let offset = file.len() as u64;
    /// file.push(tick::FIRE);
    /// let measured = measure(&file[..], Limits::default())?;
    /// assert_eq!(measured.check(None), [Refusal::FireBeforePower { offset, tick: 0 }]);
    /// # Ok::<(), gf_emulator_core::puls::Error>(())
    /// ```
    #[must_use]
    pub fn check(&self, serial: Option<u32>) -> Vec<Refusal> {
        let mut refusals = self.header.check(serial);
        refusals.extend(self.fire_before_power_tick.map(|tick| {
            let offset = self.header.len_bytes() as u64 + tick;
            Refusal::FireBeforePower { offset, tick }
        }));
        refusals
    }

    /// Returns the reasons of [`check`](Self::check) as text, separated by `; `. `None` if there are none.
    #[must_use]
    pub fn refusal_reasons(&self, serial: Option<u32>) -> Option<String> {
        let reasons: Vec<_> = self.check(serial).iter().map(ToString::to_string).collect();
        (!reasons.is_empty()).then(|| reasons.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Code, Record};
    use super::*;

    fn header(lead: u8, records: &[(&[u8; 4], u32)]) -> Header {
        Header::of(lead, records.iter().map(|&(code, value)| Record { code: Code(*code), value }).collect())
    }

    #[test]
    fn refuses_jobs_by_their_header() {
        use Refusal::{DataFormat, NoDataFormat, NoSerialLock, NoStepFrequency, OtherMachine, ZeroStepFrequency};
        const SERIAL: u32 = 98_765_432;
        const OTHER: u32 = 12_345_678;
        type Row<'a> = (&'a [(&'a [u8; 4], u32)], Option<u32>, &'a [Refusal]);
        let good = (b"STfr", 10_000);
        let format = (b"PDfm", 0);
        let table: &[Row] = &[
            (&[], Some(SERIAL), &[NoStepFrequency, NoSerialLock, NoDataFormat]),
            (&[good, (b"MCsn", 0), format], Some(SERIAL), &[]),
            (&[good, (b"MCsn", SERIAL), format], Some(SERIAL), &[]),
            (&[good, (b"MCsn", OTHER), format], Some(SERIAL), &[OtherMachine]),
            (&[good, (b"MCsn", OTHER), format], Some(0), &[OtherMachine]),
            (&[good, (b"MCsn", OTHER), format], None, &[]),
            (&[good, format], None, &[NoSerialLock]),
            (&[(b"STfr", 0), (b"MCsn", 0), format], Some(SERIAL), &[ZeroStepFrequency]),
            (&[(b"STfr", 1), (b"MCsn", 0), format], Some(SERIAL), &[]),
            (&[good, (b"MCsn", 0), (b"PDfm", 7)], Some(SERIAL), &[DataFormat(7)]),
            (&[good, (b"MCsn", 0)], Some(SERIAL), &[NoDataFormat]),
            // The order of the refusals does not depend on that of the records.
            (
                &[(b"PDfm", 1), (b"MCsn", OTHER), (b"STfr", 0)],
                Some(SERIAL),
                &[ZeroStepFrequency, OtherMachine, DataFormat(1)],
            ),
            // The last record of a repeated code is in force.
            (&[good, (b"MCsn", OTHER), (b"MCsn", 0), format], Some(SERIAL), &[]),
        ];
        for (records, serial, expected) in table {
            let refusals = header(layout::LEAD, records).check(*serial);
            assert_eq!(refusals, *expected, "{records:?}");
            for refusal in refusals {
                let text = format!("{refusal} {refusal:?}");
                assert!(!text.contains("98765432") && !text.contains("12345678"), "{text}");
            }
        }
    }

    #[test]
    fn the_service_microstep_mode_is_accepted_and_so_is_none() {
        let good = [(b"STfr", 28_160), (b"MCsn", 0), (b"PDfm", 0)];
        for microsteps in [&[][..], &[(b"XSmm", 8)], &[(b"XSmm", 8), (b"YSmm", 8)]] {
            assert_eq!(header(layout::LEAD, &[&good, microsteps].concat()).check(None), [], "{microsteps:?}");
        }
    }

    #[test]
    fn another_microstep_mode_is_refused() {
        let good = [(b"STfr", 28_160), (b"MCsn", 0), (b"PDfm", 0)];
        for mode in [0, 1, 4, 16, 32, u32::MAX] {
            let both = header(layout::LEAD, &[&good[..], &[(b"YSmm", mode), (b"XSmm", mode)]].concat()).check(None);
            assert_eq!(both, [Refusal::XMicrosteps(mode), Refusal::YMicrosteps(mode)]);
            for (refusal, code) in both.iter().zip(["XSmm", "YSmm"]) {
                let text = refusal.to_string();
                assert!(text.contains(code) && text.ends_with("expected 8"), "{text}");
            }
        }
        // After the three older reasons.
        let all = header(layout::LEAD, &[(b"YSmm", 4), (b"PDfm", 7), (b"XSmm", 16), (b"STfr", 0)]);
        let names = all.check(None).iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
        let places = ["STfr", "MCsn", "PDfm", "XSmm", "YSmm"].map(|code| names.find(code).expect(code));
        assert!(places.is_sorted(), "{names}");
    }

    #[test]
    fn remarks_are_not_refusals() {
        let odd = header(1, &[(b"STfr", 999), (b"MCsn", 0), (b"PDfm", 0)]);
        assert_eq!(odd.remarks(), [Remark::Lead(1), Remark::StepFrequency(999)]);
        assert_eq!(odd.check(None), []);
        for (hz, usual) in [(0, true), (999, false), (1000, true), (200_000, true), (200_001, false)] {
            assert_eq!(header(layout::LEAD, &[(b"STfr", hz)]).remarks().is_empty(), usual, "{hz}");
        }
    }
}
