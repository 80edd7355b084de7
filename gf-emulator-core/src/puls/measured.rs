//! A whole file's numbers in one pass, and how they are written down.

use std::io::Read;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::{Counts, Extents, Header, Job, Limits, Meter, Result, Span, Timeline};

const MM_PER_INCH: f64 = 25.4;

/// How far the head went under some condition with the laser on, and how often the laser fired.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Dose {
    /// Millimetres; 0 where the laser fired with the head at rest.
    pub mm: f64,
    /// Ticks in which the laser fired.
    pub fire_ticks: u64,
}

/// The numbers of one pulse file.
///
/// Distances, times and doses are those of the [`Segment`](super::Segment)s that the job is made of.
///
/// Serialised (the `.info` file beside a collected job, `puls info --json`) it is an object with, in this order:
///
/// | key | what |
/// |---|---|
/// | `header` | an object: each code with its value, in the file's order; of a repeated code the last value |
/// | `header_len` | the header's whole length in bytes |
/// | `size` | the body's length in bytes, which is ticks; with `header_len` the (inflated) file's length |
/// | `run_time` | seconds, a number; `null` where the header has no step frequency |
/// | `stats` | `XP XN XTOT XEND`, the same for Y and Z, `LE`, `LP`, then `XMM YMM ZMM XIN YIN ZIN`: the ends in millimetres and in inches |
/// | `extents` | `x`, `y`, `z`: each `[least, greatest]` in steps; `x_mm`, `y_mm`, `z_mm`: the same in millimetres |
/// | `fire_box` | `x`, `y`, `x_mm`, `y_mm`: where the laser fires; `null` where it never does |
/// | `time` | `moving`, `firing`, `idle` in seconds; `null` where the header has no step frequency |
/// | `distance` | in millimetres: `travelled`, all of the head's way; `cut`, the part with the laser on; `travel`, the part with the laser off |
/// | `speed` | `peak`, `mean` in mm/s; each `null` where it cannot be told |
/// | `power` | `[{"level", "mm", "fire_ticks"}, ..]`: by laser power; `level` is `null` before the first power byte |
/// | `density` | `[{"sevenths", "mm", "fire_ticks"}, ..]`: by fire density, those met |
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Measured {
    /// The header with every record.
    pub header: Header,
    /// The body's length in ticks, one byte each.
    pub ticks: u64,
    /// How long it plays at its step frequency; `None` where that is missing or 0.
    pub run_time_s: Option<f64>,
    /// The step counts. How long the laser fires is [`Counts::le`], in ticks.
    pub counts: Counts,
    /// How far it reaches, in steps.
    pub extents: Extents,
    /// Ticks in which head or lens are on their way.
    pub moving_ticks: u64,
    /// Ticks in which nothing moves and the laser is off.
    pub idle_ticks: u64,
    /// How far the head goes, in mm, with the laser on or off.
    pub travelled_mm: f64,
    /// How far of that with the laser on.
    pub cut_mm: f64,
    /// The head's greatest speed over some 25 ms (exactly: a 40th of the step frequency, rounded up to a multiple of 64
    /// ticks), in mm/s, and never less than the mean; `None` where there is no step frequency.
    pub peak_mm_s: Option<f64>,
    /// What was done at which laser power, lowest first; `None` is for before the first power byte. Only levels at
    /// which the laser fired.
    pub powers: Vec<(Option<u8>, Dose)>,
    /// What was done at which fire density: entry `n` is for about `n` firing ticks of 7.
    pub densities: [Dose; 8],
    /// Speed and laser over time.
    pub timeline: Timeline,
}

/// Reads a file to its end and measures it.
///
/// # Errors
/// Whatever [`Job::with_limits`] and [`Job::next_chunk`] can run into. A job that [`Header::check`] refuses is measured
/// all the same.
pub fn measure<R: Read>(reader: R, limits: Limits) -> Result<Measured> {
    let mut job = Job::with_limits(reader, limits)?;
    let mut meter = Meter::new(job.header());
    while let Some(chunk) = job.next_chunk()? {
        meter.add(chunk, &mut |_| ());
    }
    Ok(meter.finish(&mut |_| ()))
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

    /// How far the head travels, in mm: with the laser off.
    #[must_use]
    pub fn travel_mm(&self) -> f64 {
        // Sums of the same parts in the same order: never below 0 by more than rounding.
        (self.travelled_mm - self.cut_mm).max(0.0)
    }

    /// So many ticks in seconds; `None` where the header has no step frequency.
    #[must_use]
    pub fn seconds(&self, ticks: u64) -> Option<f64> {
        self.header.step_frequency_hz().map(|hz| ticks as f64 / f64::from(hz))
    }

    /// The head's mean speed while something moves, in mm/s; `None` where nothing does, or there is no step frequency.
    #[must_use]
    pub fn mean_mm_s(&self) -> Option<f64> {
        self.seconds(self.moving_ticks).filter(|&seconds| seconds > 0.0).map(|seconds| self.travelled_mm / seconds)
    }

    /// Firing ticks to a millimetre of cut; `None` where nothing is cut.
    #[must_use]
    pub fn fire_ticks_per_mm(&self) -> Option<f64> {
        (self.cut_mm > 0.0).then(|| self.counts.le as f64 / self.cut_mm)
    }
}

impl Serialize for Measured {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("header", &Codes(&self.header))?;
        map.serialize_entry("header_len", &self.header.len_bytes())?;
        map.serialize_entry("size", &self.ticks)?;
        map.serialize_entry("run_time", &self.run_time_s)?;
        map.serialize_entry("stats", &Stats(self))?;
        let (header, extents) = (&self.header, &self.extents);
        let mm = |span: Span, mm: fn(&Header, i64) -> f64| [mm(header, span.min), mm(header, span.max)];
        map.serialize_entry(
            "extents",
            &json!({
                "x": extents.x, "y": extents.y, "z": extents.z,
                "x_mm": mm(extents.x, Header::x_mm),
                "y_mm": mm(extents.y, Header::y_mm),
                "z_mm": mm(extents.z, Header::z_mm),
            }),
        )?;
        let fire = extents.fire.map(|fire| {
            json!({
                "x": fire.x, "y": fire.y,
                "x_mm": mm(fire.x, Header::x_mm),
                "y_mm": mm(fire.y, Header::y_mm),
            })
        });
        map.serialize_entry("fire_box", &fire)?;
        let time = header.step_frequency_hz().map(|_| {
            json!({
                "moving": self.seconds(self.moving_ticks),
                "firing": self.seconds(self.counts.le),
                "idle": self.seconds(self.idle_ticks),
            })
        });
        map.serialize_entry("time", &time)?;
        map.serialize_entry(
            "distance",
            &json!({"travelled": self.travelled_mm, "cut": self.cut_mm, "travel": self.travel_mm()}),
        )?;
        map.serialize_entry("speed", &json!({"peak": self.peak_mm_s, "mean": self.mean_mm_s()}))?;
        let dose =
            |key: &str, value: Value, dose: &Dose| json!({key: value, "mm": dose.mm, "fire_ticks": dose.fire_ticks});
        let powers: Vec<_> = self.powers.iter().map(|(level, met)| dose("level", json!(level), met)).collect();
        map.serialize_entry("power", &powers)?;
        let met = (0..).zip(&self.densities).filter(|(_, met)| met.fire_ticks > 0);
        let densities: Vec<_> = met.map(|(sevenths, met)| dose("sevenths", Value::from(sevenths), met)).collect();
        map.serialize_entry("density", &densities)?;
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
