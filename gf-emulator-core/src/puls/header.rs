//! The header: its layout, its records, and what they say about how the body is to be played.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Serialize, Serializer};

use super::{Error, Result};

/// Where things are in a header.
pub mod field {
    use std::ops::Range;

    /// The byte every file seen begins with. Nobody checks it.
    pub const LEAD: u8 = 0x80;
    /// Where the magic is.
    pub const MAGIC: Range<usize> = 1..4;
    /// What the magic is.
    pub const MAGIC_BYTES: &[u8; 3] = b"GF1";
    /// Where the header's whole length is, a little-endian `u32`.
    pub const LENGTH: Range<usize> = 4..8;
    /// Lead, magic and length: what comes before the first record.
    pub const PREFIX_BYTES: usize = 8;
    /// A record: a 4-character code, then a little-endian `u32`.
    pub const RECORD_BYTES: usize = 8;
    /// The longest header that is believed. Those seen are under 2 KiB.
    pub const MAX_BYTES: usize = 64 * 1024;
}

/// Codes of records that this crate acts on. All others are kept and shown.
pub mod code {
    use super::Code;

    /// The serial number of the one machine that may run the job; 0 is any machine.
    pub const SERIAL_LOCK: Code = Code(*b"MCsn");
    /// The data format of the body; only 0 is known.
    pub const DATA_FORMAT: Code = Code(*b"PDfm");
    /// Ticks a second.
    pub const STEP_FREQUENCY: Code = Code(*b"STfr");
    /// Microsteps to a full step of X.
    pub const X_MICROSTEPS: Code = Code(*b"XSmm");
    /// Microsteps to a full step of Y.
    pub const Y_MICROSTEPS: Code = Code(*b"YSmm");
    /// The lens motor's mode: 0 is full steps, anything else half steps.
    pub const Z_MODE: Code = Code(*b"ZSmd");
}

/// Millimetres to a full step of X or Y.
pub(super) const XY_FULL_STEP_MM: f64 = 0.15;
/// Millimetres to a full step of Z.
pub(super) const Z_FULL_STEP_MM: f64 = 0.706_12;
/// Microsteps where the header has none: the mode of every job seen.
pub(super) const DEFAULT_MICROSTEPS: u32 = 8;
/// Step frequencies that have been seen or are plausible, in ticks a second.
pub(super) const STEP_FREQUENCIES_HZ: RangeInclusive<u32> = 1_000..=200_000;

/// The 4-character code of a header record. Bytes that are not printable ASCII show escaped (`\xff`).
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
    /// Which setting.
    pub code: Code,
    /// Its value. Some codes hold signed numbers; they are kept as they stand in the file.
    pub value: u32,
}

/// A header: every record in the file's order, unknown and repeated ones included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    pub(super) lead: u8,
    records: Vec<Record>,
    units: Units,
}

/// What a step and a tick are, by the records. Asked for with every segment, so it is not looked for every time.
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
    /// A header without records.
    fn default() -> Self {
        Self::of(field::LEAD, Vec::new())
    }
}

impl Header {
    pub(super) fn of(lead: u8, records: Vec<Record>) -> Self {
        Self { lead, units: Units::of(&records), records }
    }

    /// Decodes the header at the beginning of `bytes`; what follows it is not looked at.
    ///
    /// # Errors
    /// [`Error::Magic`], [`Error::HeaderLength`] or [`Error::HeaderCut`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let length = Self::decode_length(bytes)?;
        let Some(records) = bytes.get(field::PREFIX_BYTES..length) else {
            return Err(Error::HeaderCut { offset: bytes.len() as u64, expected_bytes: length as u64 });
        };
        let (records, _) = records.as_chunks::<{ field::RECORD_BYTES }>();
        let records = records
            .iter()
            .map(|&[a, b, c, d, value @ ..]| Record { code: Code([a, b, c, d]), value: u32::from_le_bytes(value) })
            .collect();
        Ok(Self::of(bytes[0], records))
    }

    /// The length of the header that `bytes` begins with: always a multiple of 8 in `8..=MAX_BYTES`.
    pub(super) fn decode_length(bytes: &[u8]) -> Result<usize> {
        let magic = bytes.get(field::MAGIC.start..).unwrap_or_default();
        let magic = &magic[..magic.len().min(field::MAGIC_BYTES.len())];
        if !field::MAGIC_BYTES.starts_with(magic) {
            return Err(Error::Magic { found: magic.to_vec() });
        }
        let Some(&[.., a, b, c, d]) = bytes.first_chunk::<{ field::PREFIX_BYTES }>() else {
            return Err(Error::HeaderCut { offset: bytes.len() as u64, expected_bytes: field::PREFIX_BYTES as u64 });
        };
        let length = u32::from_le_bytes([a, b, c, d]);
        match usize::try_from(length) {
            Ok(bytes)
                if bytes.is_multiple_of(field::RECORD_BYTES)
                    && (field::PREFIX_BYTES..=field::MAX_BYTES).contains(&bytes) =>
            {
                Ok(bytes)
            }
            _ => Err(Error::HeaderLength { length_bytes: length.into() }),
        }
    }

    /// The header as it stands in a file. Decoding gives the same header again.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "neither decode nor set lets a header get that long")]
    pub fn encode(&self) -> Vec<u8> {
        let length = self.len_bytes();
        let mut bytes = Vec::with_capacity(length);
        bytes.push(self.lead);
        bytes.extend_from_slice(field::MAGIC_BYTES);
        let length = u32::try_from(length).expect("no header can be made that is longer than MAX_BYTES");
        bytes.extend_from_slice(&length.to_le_bytes());
        for record in &self.records {
            bytes.extend_from_slice(&record.code.0);
            bytes.extend_from_slice(&record.value.to_le_bytes());
        }
        bytes
    }

    /// The header's whole length in bytes: where the body begins.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        field::PREFIX_BYTES + self.records.len() * field::RECORD_BYTES
    }

    /// Every record, in the file's order.
    #[must_use]
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// Puts one value in place of another wherever that stands as a serial number; says whether it stood anywhere.
    pub(crate) fn replace_serial(&mut self, old: u32, new: u32) -> bool {
        let mut replaced = false;
        for record in self.records.iter_mut().filter(|record| record.code.0.ends_with(b"sn") && record.value == old) {
            record.value = new;
            replaced = true;
        }
        replaced
    }

    /// The value of a code. Where a code is repeated the last one wins, as it does in the Python client.
    #[must_use]
    pub fn get(&self, code: Code) -> Option<u32> {
        self.records.iter().rev().find(|record| record.code == code).map(|record| record.value)
    }

    /// Gives a code a value: in place of the one that counts where there is one, else as a new record at the end.
    ///
    /// # Errors
    /// [`Error::HeaderLength`] where one more record would make the header longer than [`field::MAX_BYTES`].
    pub fn set(&mut self, code: Code, value: u32) -> Result<()> {
        if let Some(record) = self.records.iter_mut().rev().find(|record| record.code == code) {
            record.value = value;
            self.units = Units::of(&self.records);
            return Ok(());
        }
        let length = self.len_bytes() + field::RECORD_BYTES;
        if length > field::MAX_BYTES {
            return Err(Error::HeaderLength { length_bytes: length as u64 });
        }
        self.records.push(Record { code, value });
        self.units = Units::of(&self.records);
        Ok(())
    }

    /// Ticks a second (`STfr`); `None` where it is missing or 0, in which case the body has no duration.
    #[must_use]
    pub fn step_frequency_hz(&self) -> Option<u32> {
        self.units.step_frequency_hz
    }

    /// Microsteps to a full step of X (`XSmm`); 8 where it is missing or 0.
    #[must_use]
    pub fn microsteps_x(&self) -> u32 {
        self.units.microsteps[0]
    }

    /// Microsteps to a full step of Y (`YSmm`); 8 where it is missing or 0.
    #[must_use]
    pub fn microsteps_y(&self) -> u32 {
        self.units.microsteps[1]
    }

    /// Steps to a full step of Z (`ZSmd`): 1 where the mode is 0 (full steps), else 2 (half steps, also where it is
    /// missing, as in every job seen).
    #[must_use]
    pub fn microsteps_z(&self) -> u32 {
        self.units.microsteps[2]
    }

    /// That many steps of X in millimetres (0.15 mm to a full step).
    #[must_use]
    pub fn x_mm(&self, steps: i64) -> f64 {
        steps as f64 / f64::from(self.microsteps_x()) * XY_FULL_STEP_MM
    }

    /// That many steps of Y in millimetres (0.15 mm to a full step).
    #[must_use]
    pub fn y_mm(&self, steps: i64) -> f64 {
        steps as f64 / f64::from(self.microsteps_y()) * XY_FULL_STEP_MM
    }

    /// That many steps of Z in millimetres (0.70612 mm to a full step).
    #[must_use]
    pub fn z_mm(&self, steps: i64) -> f64 {
        steps as f64 / f64::from(self.microsteps_z()) * Z_FULL_STEP_MM
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(records: &[(&[u8; 4], u32)]) -> Header {
        let records = records.iter().map(|&(code, value)| Record { code: Code(*code), value }).collect();
        Header::of(field::LEAD, records)
    }

    #[test]
    fn what_cannot_be_a_header() {
        let with_length = |length: u32| [b"\x80GF1".as_slice(), &length.to_le_bytes()].concat();
        let table: &[(&[u8], &str)] = &[
            (b"", "the file ends at byte 0, inside its header, expected 8 bytes of header"),
            (b"\x80GF", "the file ends at byte 3, inside its header, expected 8 bytes of header"),
            (b"\x80GF1\x10\0\0", "the file ends at byte 7, inside its header, expected 8 bytes of header"),
            (b"<html>", "not a pulse file: \"htm\" at byte 1, expected \"GF1\""),
            (b"\x80X", "not a pulse file: \"X\" at byte 1, expected \"GF1\""),
            (b"\x80GF2\x08\0\0\0", "not a pulse file: \"GF2\" at byte 1, expected \"GF1\""),
            (b"\x80\xff\n\"", "not a pulse file: \"\\xff\\n\\\"\" at byte 1, expected \"GF1\""),
            (&with_length(16), "the file ends at byte 8, inside its header, expected 16 bytes of header"),
            (&with_length(0), "the header's length at byte 4 is 0, expected a multiple of 8 from 8 to 65536"),
            (&with_length(12), "the header's length at byte 4 is 12, expected a multiple of 8 from 8 to 65536"),
            (&with_length(65_544), "the header's length at byte 4 is 65544, expected a multiple of 8 from 8 to 65536"),
            (
                &with_length(u32::MAX),
                "the header's length at byte 4 is 4294967295, expected a multiple of 8 from 8 to 65536",
            ),
        ];
        for (bytes, message) in table {
            assert_eq!(Header::decode(bytes).expect_err(message).to_string(), *message);
        }
        assert_eq!(Header::decode(&with_length(8)).expect("an empty header"), Header::default());
    }

    #[test]
    fn modes_default_where_the_header_is_silent_or_zero() {
        for (records, expected) in [
            (header(&[]), (8, 8, 2)),
            (header(&[(b"XSmm", 0), (b"YSmm", 0), (b"ZSmd", 0)]), (8, 8, 1)),
            (header(&[(b"XSmm", 16), (b"YSmm", 4), (b"ZSmd", 1)]), (16, 4, 2)),
        ] {
            assert_eq!((records.microsteps_x(), records.microsteps_y(), records.microsteps_z()), expected);
        }
        let default = header(&[]);
        assert!((default.x_mm(160) - 3.0).abs() < 1e-12 && (default.y_mm(-160) + 3.0).abs() < 1e-12);
        assert!((default.z_mm(2) - 0.706_12).abs() < 1e-12);
        assert!((header(&[(b"ZSmd", 0)]).z_mm(2) - 1.412_24).abs() < 1e-12);
    }

    #[test]
    fn set_replaces_the_record_that_counts_and_stops_at_the_longest_header() {
        let mut header = header(&[(b"AAAA", 1), (b"AAAA", 2)]);
        header.set(Code(*b"AAAA"), 3).expect("replaces");
        assert_eq!((header.records()[0].value, header.records()[1].value, header.records().len()), (1, 3, 2));
        for code in 0u32.. {
            if header.len_bytes() == field::MAX_BYTES {
                break;
            }
            header.set(Code(code.to_le_bytes()), code).expect("there is room");
        }
        assert!(matches!(header.set(Code(*b"more"), 0), Err(Error::HeaderLength { length_bytes: 65_544 })));
        assert_eq!(Header::decode(&header.encode()).expect("the longest header"), header);
    }

    #[test]
    fn codes_show_escaped() {
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
        fn no_bytes_make_decode_panic(bytes: Vec<u8>, length: u32, lead: u8) {
            let _ = Header::decode(&bytes);
            let _ = Header::decode(&[&[lead], field::MAGIC_BYTES.as_slice(), &length.to_le_bytes(), &bytes].concat());
        }
    }
}
