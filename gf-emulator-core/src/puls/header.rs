//! The header: its records, and the units of the body.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Serialize, Serializer};

use super::{Error, Result, layout};

/// Codes of the records that this crate acts on. All others are kept and shown.
pub mod code {
    use super::Code;

    /// The serial number of the only machine that may run the job; 0 is any machine.
    pub const SERIAL_LOCK: Code = Code(*b"MCsn");
    /// The data format of the body. Only 0 is known.
    pub const DATA_FORMAT: Code = Code(*b"PDfm");
    /// Ticks per second.
    pub const STEP_FREQUENCY: Code = Code(*b"STfr");
    /// Microsteps per full step of X.
    pub const X_MICROSTEPS: Code = Code(*b"XSmm");
    /// Microsteps per full step of Y.
    pub const Y_MICROSTEPS: Code = Code(*b"YSmm");
    /// The mode of the lens motor: 0 is full steps (every captured job of firmware 2.6), 1 half steps. Older jobs have
    /// no `ZSmd` and half steps. The open-source client takes any other value as half steps too.
    pub const Z_MODE: Code = Code(*b"ZSmd");
}

/// Millimetres per full step of X or Y (measured on hardware).
pub(super) const XY_FULL_STEP_MM: f64 = 0.15;
/// The travel of the lens between its stops (measured on hardware, one head).
pub(super) const LENS_TRAVEL_MM: f64 = 12.32;
/// That travel in half steps (measured on hardware, one head).
pub(super) const LENS_TRAVEL_HALF_STEPS: u32 = 36;
/// The stops of the lens, in half steps from where a hunt leaves it, which is 8 below the edge of a sensor, which is 13 to 18
/// above the lower stop: below 10 down or above 31 up, no head can move (measured on hardware).
pub(super) const LENS_STOPS_HALF_STEPS: RangeInclusive<i64> = -10..=31;
/// Millimetres per half step of the lens, about 0.342. Whole steps were counted, so that the error is about half a step
/// in 36, or 1.4 % (estimated). Older public notes have 0.35306 mm, which is 3 % more.
pub(super) const LENS_HALF_STEP_MM: f64 = LENS_TRAVEL_MM / LENS_TRAVEL_HALF_STEPS as f64;
/// Microsteps per full step if the header has none, and the only ones that machines accept. Every job seen has 8.
pub(super) const DEFAULT_MICROSTEPS: u32 = 8;
/// The step frequency of prints and hunts (read from captured jobs), assumed if a header has none.
pub(super) const STEP_FREQUENCY_HZ: u32 = 10_000;
/// Step frequencies that a machine can play, in ticks per second; above about 165 kHz it saturates (measured on
/// hardware).
pub(super) const STEP_FREQUENCIES_HZ: RangeInclusive<u32> = 1_000..=200_000;

/// The 4-character code of a header record. Displays bytes other than printable ASCII escaped (`\xff`).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(pub [u8; 4]);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.escape_ascii().fmt(f)
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// One record of a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The setting.
    pub code: Code,
    /// Its value. Signed values are in two's complement.
    pub value: u32,
}

/// A header: all records in file order, including unknown and repeated ones.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub(super) lead: u8,
    records: Vec<Record>,
    units: Units,
}

/// The units of the body, cached because every segment needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Units {
    step_frequency_hz: Option<u32>,
    microsteps: [u32; 3],
}

impl Units {
    fn of(records: &[Record]) -> Self {
        let get = |code| records.iter().rev().find(|record| record.code == code).map(|record| record.value);
        let mode = |code| get(code).filter(|&mode| mode != 0).unwrap_or(DEFAULT_MICROSTEPS);
        Self {
            step_frequency_hz: get(code::STEP_FREQUENCY).filter(|&hz| hz != 0),
            microsteps: [
                mode(code::X_MICROSTEPS),
                mode(code::Y_MICROSTEPS),
                if get(code::Z_MODE) == Some(0) { 1 } else { 2 },
            ],
        }
    }
}

impl Default for Header {
    /// Creates a header without records.
    fn default() -> Self {
        Self::of(layout::LEAD, Vec::new())
    }
}

impl Header {
    pub(super) fn of(lead: u8, records: Vec<Record>) -> Self {
        Self { lead, units: Units::of(&records), records }
    }

    /// Decodes the header at the start of `bytes` and ignores what follows it.
    ///
    /// # Errors
    /// [`Error::Magic`], [`Error::HeaderLength`] or [`Error::HeaderCut`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let length = Self::decode_length(bytes)?;
        let Some(records) = bytes.get(layout::PREFIX_BYTES..length) else {
            return Err(Error::HeaderCut { offset: bytes.len() as u64, expected_bytes: length as u64 });
        };
        let (records, _) = records.as_chunks::<{ layout::RECORD_BYTES }>();
        let records = records
            .iter()
            .map(|&[a, b, c, d, value @ ..]| Record { code: Code([a, b, c, d]), value: u32::from_le_bytes(value) })
            .collect();
        Ok(Self::of(bytes[0], records))
    }

    /// Decodes the length of the header at the start of `bytes`: a multiple of 8 from 8 to `MAX_HEADER_BYTES`.
    pub(super) fn decode_length(bytes: &[u8]) -> Result<usize> {
        let magic = bytes.get(layout::MAGIC.start..).unwrap_or_default();
        let magic = &magic[..magic.len().min(layout::MAGIC_BYTES.len())];
        if !layout::MAGIC_BYTES.starts_with(magic) {
            return Err(Error::Magic { found: magic.to_vec() });
        }
        let Some(&[.., a, b, c, d]) = bytes.first_chunk::<{ layout::PREFIX_BYTES }>() else {
            return Err(Error::HeaderCut { offset: bytes.len() as u64, expected_bytes: layout::PREFIX_BYTES as u64 });
        };
        let length = u32::from_le_bytes([a, b, c, d]);
        match usize::try_from(length) {
            Ok(bytes)
                if bytes.is_multiple_of(layout::RECORD_BYTES)
                    && (layout::PREFIX_BYTES..=layout::MAX_HEADER_BYTES).contains(&bytes) =>
            {
                Ok(bytes)
            }
            _ => Err(Error::HeaderLength { length_bytes: length.into() }),
        }
    }

    /// Encodes the header. Decoding gives the same header again.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "neither `decode` nor `set` creates a longer header")]
    pub fn encode(&self) -> Vec<u8> {
        let length = self.len_bytes();
        let mut bytes = Vec::with_capacity(length);
        bytes.push(self.lead);
        bytes.extend_from_slice(layout::MAGIC_BYTES);
        let length = u32::try_from(length).expect("a header is never longer than MAX_HEADER_BYTES");
        bytes.extend_from_slice(&length.to_le_bytes());
        for record in &self.records {
            bytes.extend_from_slice(&record.code.0);
            bytes.extend_from_slice(&record.value.to_le_bytes());
        }
        bytes
    }

    /// Returns the header's total length in bytes, which is the offset of the body.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        layout::PREFIX_BYTES + self.records.len() * layout::RECORD_BYTES
    }

    /// Returns all records in file order.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Replaces a serial number in all records that hold one. Returns whether there were any.
    pub(crate) fn replace_serial(&mut self, old: u32, new: u32) -> bool {
        let mut replaced = false;
        for record in self.records.iter_mut().filter(|record| record.code.0.ends_with(b"sn") && record.value == old) {
            record.value = new;
            replaced = true;
        }
        replaced
    }

    /// Returns the value of a code. The last of a repeated code wins, as in the Python client `gfutilities`.
    #[must_use]
    pub fn get(&self, code: Code) -> Option<u32> {
        self.records.iter().rev().find(|record| record.code == code).map(|record| record.value)
    }

    /// Sets the value of a code: of its last record, or of a new record at the end.
    ///
    /// # Errors
    /// [`Error::HeaderLength`] if another record would exceed [`layout::MAX_HEADER_BYTES`].
    pub fn set(&mut self, code: Code, value: u32) -> Result<()> {
        if let Some(record) = self.records.iter_mut().rev().find(|record| record.code == code) {
            record.value = value;
            self.units = Units::of(&self.records);
            return Ok(());
        }
        let length = self.len_bytes() + layout::RECORD_BYTES;
        if length > layout::MAX_HEADER_BYTES {
            return Err(Error::HeaderLength { length_bytes: length as u64 });
        }
        self.records.push(Record { code, value });
        self.units = Units::of(&self.records);
        Ok(())
    }

    /// Returns the ticks per second (`STfr`). `None` if it is missing or 0; the body has no duration then.
    #[must_use]
    pub fn step_frequency_hz(&self) -> Option<u32> {
        self.units.step_frequency_hz
    }

    /// Returns the ticks per second, or those of prints if the header has none.
    pub(crate) fn assumed_hz(&self) -> u32 {
        self.step_frequency_hz().unwrap_or(STEP_FREQUENCY_HZ)
    }

    /// Returns the microsteps per full step of X (`XSmm`), 8 if it is missing or 0.
    #[must_use]
    pub fn microsteps_x(&self) -> u32 {
        self.units.microsteps[0]
    }

    /// Returns the microsteps per full step of Y (`YSmm`), 8 if it is missing or 0.
    #[must_use]
    pub fn microsteps_y(&self) -> u32 {
        self.units.microsteps[1]
    }

    /// Returns the steps per full step of Z ([`code::Z_MODE`]): 1 if the mode is 0 (full steps), else 2 (half steps).
    #[must_use]
    pub fn microsteps_z(&self) -> u32 {
        self.units.microsteps[2]
    }

    /// Converts steps of X to millimetres (0.15 mm per full step).
    #[must_use]
    pub fn x_mm(&self, steps: i64) -> f64 {
        steps as f64 / f64::from(self.microsteps_x()) * XY_FULL_STEP_MM
    }

    /// Converts steps of Y to millimetres (0.15 mm per full step).
    #[must_use]
    pub fn y_mm(&self, steps: i64) -> f64 {
        steps as f64 / f64::from(self.microsteps_y()) * XY_FULL_STEP_MM
    }

    /// Converts steps of Z to millimetres: 0.342 mm per half step, 0.684 mm per full step (measured on hardware, one
    /// head).
    #[must_use]
    pub fn z_mm(&self, steps: i64) -> f64 {
        steps as f64 * f64::from(self.lens_half_steps()) * LENS_HALF_STEP_MM
    }

    /// Returns the half steps in one step of Z: 1, or 2 in full-step mode.
    pub(super) fn lens_half_steps(&self) -> u32 {
        2 / self.microsteps_z()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(records: &[(&[u8; 4], u32)]) -> Header {
        let records = records.iter().map(|&(code, value)| Record { code: Code(*code), value }).collect();
        Header::of(layout::LEAD, records)
    }

    #[test]
    fn rejects_bytes_that_are_no_header() {
        let with_length = |length: u32| [b"\x80GF1".as_slice(), &length.to_le_bytes()].concat();
        let table: &[(&[u8], &str)] = &[
            (b"", "the file ends at byte 0, inside its header, expected a header of 8 bytes"),
            (b"\x80GF", "the file ends at byte 3, inside its header, expected a header of 8 bytes"),
            (b"\x80GF1\x10\0\0", "the file ends at byte 7, inside its header, expected a header of 8 bytes"),
            (b"<html>", "not a pulse file: \"htm\" at byte 1, expected \"GF1\""),
            (b"\x80X", "not a pulse file: \"X\" at byte 1, expected \"GF1\""),
            (b"\x80GF2\x08\0\0\0", "not a pulse file: \"GF2\" at byte 1, expected \"GF1\""),
            (b"\x80\xff\n\"", "not a pulse file: \"\\xff\\n\\\"\" at byte 1, expected \"GF1\""),
            (&with_length(16), "the file ends at byte 8, inside its header, expected a header of 16 bytes"),
            (&with_length(0), "the header length at byte 4 is 0, expected a multiple of 8 from 8 to 65536"),
            (&with_length(12), "the header length at byte 4 is 12, expected a multiple of 8 from 8 to 65536"),
            (&with_length(65_544), "the header length at byte 4 is 65544, expected a multiple of 8 from 8 to 65536"),
            (
                &with_length(u32::MAX),
                "the header length at byte 4 is 4294967295, expected a multiple of 8 from 8 to 65536",
            ),
        ];
        for (bytes, message) in table {
            assert_eq!(Header::decode(bytes).expect_err(message).to_string(), *message);
        }
        assert_eq!(Header::decode(&with_length(8)).expect("an empty header"), Header::default());
    }

    #[test]
    fn missing_or_zero_modes_have_defaults() {
        for (records, expected) in [
            (header(&[]), (8, 8, 2)),
            (header(&[(b"XSmm", 0), (b"YSmm", 0), (b"ZSmd", 0)]), (8, 8, 1)),
            (header(&[(b"XSmm", 16), (b"YSmm", 4), (b"ZSmd", 1)]), (16, 4, 2)),
        ] {
            assert_eq!((records.microsteps_x(), records.microsteps_y(), records.microsteps_z()), expected);
        }
    }

    #[test]
    fn microstep_mode_scales_millimeters() {
        let near = |found: f64, expected: f64| assert!((found - expected).abs() < 1e-12, "{found}, not {expected}");
        near(header(&[]).x_mm(160), 3.0);
        near(header(&[]).y_mm(-160), -3.0);
        near(header(&[(b"XSmm", 16), (b"YSmm", 4)]).x_mm(160), 1.5);
        near(header(&[(b"XSmm", 16), (b"YSmm", 4)]).y_mm(160), 6.0);
        // The whole slot, measured on hardware.
        for half_steps in [header(&[]), header(&[(b"ZSmd", 1)]), header(&[(b"ZSmd", 2)])] {
            near(half_steps.z_mm(36), 12.32);
        }
        near(header(&[(b"ZSmd", 0)]).z_mm(18), 12.32);
    }

    #[test]
    fn set_replaces_the_last_record_and_stops_at_the_longest_header() {
        let mut header = header(&[(b"AAAA", 1), (b"AAAA", 2)]);
        header.set(Code(*b"AAAA"), 3).expect("replaces");
        assert_eq!((header.records()[0].value, header.records()[1].value, header.records().len()), (1, 3, 2));
        for code in 0u32.. {
            if header.len_bytes() == layout::MAX_HEADER_BYTES {
                break;
            }
            header.set(Code(code.to_le_bytes()), code).expect("there is room");
        }
        assert!(matches!(header.set(Code(*b"more"), 0), Err(Error::HeaderLength { length_bytes: 65_544 })));
        assert_eq!(Header::decode(&header.encode()).expect("the longest header"), header);
    }

    #[test]
    fn codes_display_escaped() {
        assert_eq!(Code(*b"STfr").to_string(), "STfr");
        assert_eq!(Code(*b"A\n\xff\\").to_string(), "A\\n\\xff\\\\");
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(lead: u8, records: Vec<([u8; 4], u32)>, body: Vec<u8>) {
            let records = records.into_iter().map(|(code, value)| Record { code: Code(code), value }).collect();
            let header = Header::of(lead, records);
            let mut bytes = header.encode();
            prop_assert_eq!(bytes.len(), header.len_bytes());
            bytes.extend_from_slice(&body);
            let decoded = Header::decode(&bytes).expect("what was encoded decodes");
            prop_assert_eq!(&decoded, &header);
            prop_assert_eq!(decoded.encode(), &bytes[..header.len_bytes()]);
            for record in header.records() {
                let last = header.records().iter().rfind(|other| other.code == record.code);
                prop_assert_eq!(header.get(record.code), last.map(|last| last.value));
            }
        }

        #[test]
        fn decode_never_panics(bytes: Vec<u8>, length: u32, lead: u8) {
            let _ = Header::decode(&bytes);
            let _ = Header::decode(&[&[lead], layout::MAGIC_BYTES.as_slice(), &length.to_le_bytes(), &bytes].concat());
        }
    }
}
