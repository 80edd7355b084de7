//! A whole file's numbers in one pass, and how they are written down.

use std::io::Read;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::{Counts, Header, Job, Limits, Result};

const MM_PER_INCH: f64 = 25.4;

/// The numbers of one pulse file.
///
/// Serialised (the `.info` file beside a collected job) it is an object with, in this order:
///
/// | key | what |
/// |---|---|
/// | `header` | an object: each code with its value, in the file's order; of a repeated code the last value |
/// | `header_len` | the header's whole length in bytes |
/// | `size` | the body's length in bytes, which is ticks; with `header_len` the (inflated) file's length |
/// | `run_time` | seconds, a number; `null` where the header has no step frequency |
/// | `stats` | `XP XN XTOT XEND`, the same for Y and Z, `LE`, `LP`, then `XMM YMM ZMM XIN YIN ZIN`: the ends in millimetres and in inches |
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// The header with every record.
    pub header: Header,
    /// The body's length in ticks, one byte each.
    pub ticks: u64,
    /// How long it plays at its step frequency; `None` where that is missing or 0.
    pub run_time_s: Option<f64>,
    /// The step counts.
    pub counts: Counts,
}

/// Reads a file to its end and measures it.
///
/// # Errors
/// Whatever [`Job::with_limits`] and [`Job::next_chunk`] can run into. A job that [`Header::check`] refuses is measured
/// all the same.
pub fn measure<R: Read>(reader: R, limits: Limits) -> Result<Measured> {
    let mut job = Job::with_limits(reader, limits)?;
    let mut counts = Counts::default();
    while let Some(chunk) = job.next_chunk()? {
        counts.add(chunk);
    }
    let (header, ticks) = (job.header().clone(), job.body_bytes_read());
    let run_time_s = header.step_frequency_hz().map(|hz| ticks as f64 / f64::from(hz));
    Ok(Measured { header, ticks, run_time_s, counts })
}

impl Measured {
    /// Where X ends, in millimetres from where it began.
    #[must_use]
    pub fn x_end_mm(&self) -> f64 {
        self.header.x_mm(self.counts.x_end())
    }

    /// Where Y ends, in millimetres from where it began; positive is towards the front.
    #[must_use]
    pub fn y_end_mm(&self) -> f64 {
        self.header.y_mm(self.counts.y_end())
    }

    /// Where Z ends, in millimetres from where it began; positive is up.
    #[must_use]
    pub fn z_end_mm(&self) -> f64 {
        self.header.z_mm(self.counts.z_end())
    }
}

impl Serialize for Measured {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(5))?;
        map.serialize_entry("header", &Codes(&self.header))?;
        map.serialize_entry("header_len", &self.header.len_bytes())?;
        map.serialize_entry("size", &self.ticks)?;
        map.serialize_entry("run_time", &self.run_time_s)?;
        map.serialize_entry("stats", &Stats(self))?;
        map.end()
    }
}

/// A header as an object in which each code stands once.
struct Codes<'a>(&'a Header);

impl Serialize for Codes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut last = std::collections::HashMap::new();
        let records = self.0.records();
        for record in records {
            last.insert(record.code, record.value);
        }
        let mut map = serializer.serialize_map(None)?;
        for record in records {
            // At a code's first place; it is gone from the table at the later ones.
            if let Some(value) = last.remove(&record.code) {
                map.serialize_entry(&record.code, &value)?;
            }
        }
        map.end()
    }
}

/// The statistics under the Python client's names and in its order.
struct Stats<'a>(&'a Measured);

impl Serialize for Stats<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let counts = &self.0.counts;
        let mut map = serializer.serialize_map(None)?;
        for (names, positive, negative, total, end) in [
            (["XP", "XN", "XTOT", "XEND"], counts.xp, counts.xn, counts.x_total(), counts.x_end()),
            (["YP", "YN", "YTOT", "YEND"], counts.yp, counts.yn, counts.y_total(), counts.y_end()),
            (["ZP", "ZN", "ZTOT", "ZEND"], counts.zp, counts.zn, counts.z_total(), counts.z_end()),
        ] {
            map.serialize_entry(names[0], &positive)?;
            map.serialize_entry(names[1], &negative)?;
            map.serialize_entry(names[2], &total)?;
            map.serialize_entry(names[3], &end)?;
        }
        map.serialize_entry("LE", &counts.le)?;
        map.serialize_entry("LP", &counts.lp)?;
        let ends_mm = [self.0.x_end_mm(), self.0.y_end_mm(), self.0.z_end_mm()];
        for (name, mm) in ["XMM", "YMM", "ZMM"].iter().zip(ends_mm) {
            map.serialize_entry(name, &mm)?;
        }
        for (name, mm) in ["XIN", "YIN", "ZIN"].iter().zip(ends_mm) {
            map.serialize_entry(name, &(mm / MM_PER_INCH))?;
        }
        map.end()
    }
}
