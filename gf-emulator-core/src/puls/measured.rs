//! The measurements of a pulse file and their JSON form.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::{Counts, Extents, Header, Power, Span, Timeline, tick};

const MM_PER_INCH: f64 = 25.4;

/// Distance and firing ticks at one laser power or fire density.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[non_exhaustive]
pub struct Dose {
    /// The distance in millimetres; 0 if the head was at rest.
    pub mm: f64,
    /// The number of firing ticks.
    pub fire_ticks: u64,
    /// The number of ticks with the laser on, firing or not.
    pub lit_ticks: u64,
}

impl Dose {
    /// Adds another dose.
    pub(super) fn add(&mut self, other: &Self) {
        self.mm += other.mm;
        self.fire_ticks += other.fire_ticks;
        self.lit_ticks += other.lit_ticks;
    }

    /// Returns the share of ticks that fire while the laser is on, 0 to 1; `None` if it never is.
    #[must_use]
    pub fn fire_density(&self) -> Option<f64> {
        (self.lit_ticks > 0).then(|| self.fire_ticks as f64 / self.lit_ticks as f64)
    }

    /// Returns the power at which the service's prints have this density: see [`Power::of_density`].
    #[must_use]
    pub fn app_power(&self) -> Option<Power> {
        Power::of_density(self.fire_density()?)
    }
}

/// What is too short to have a density: the laser is on for at most 14 ticks, with the laser off before and after.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Dots {
    /// The number of dots.
    pub count: u64,
    /// The number of firing ticks in them.
    pub fire_ticks: u64,
    /// The number of ticks in them, firing or not.
    pub lit_ticks: u64,
}

/// The measurements of a pulse file.
///
/// Distances, times and doses are sums over [`Segment`](super::Segment)s, except in [dense stretches](Self::dense_ticks).
///
/// Serializes as an object (the `.info` file beside a collected job, `puls info --json`) with these keys, in this
/// order:
///
/// | key | value |
/// |---|---|
/// | `header` | an object: each code with its value, in file order; the last value of a repeated code |
/// | `header_len` | the header's length in bytes |
/// | `size` | the body's length in bytes (ticks); plus `header_len`, the length of the decompressed file |
/// | `run_time` | in seconds; `null` if the header has no step frequency |
/// | `stats` | `XP XN XTOT XEND`, the same for Y and Z, `LE`, `LP`, then `XMM YMM ZMM XIN YIN ZIN`: the final position in millimetres and inches |
/// | `extents` | `x`, `y`, `z`: each `[min, max]` in steps; `x_mm`, `y_mm`, `z_mm`: the same in millimetres |
/// | `fire_box` | `x`, `y`, `x_mm`, `y_mm`: where the laser fires; `null` if it never does |
/// | `time` | `moving`, `firing`, `idle` in seconds; `null` if the header has no step frequency |
/// | `distance` | in millimetres: `travelled`, in total; `cut`, with the laser on; `travel`, with the laser off |
/// | `speed` | `peak`, `mean` in mm/s; each `null` if unknown |
/// | `power` | `[{"level", "mm", "fire_ticks", "lit_ticks"}, ..]`: by laser power; `level` is `null` before the first power byte |
/// | `density` | `[{"sevenths", "mm", "fire_ticks", "lit_ticks", "app_power"}, ..]`: by fire density, if the laser fired at it; `app_power` is that power in the app: 1 to 100, `"full"`, or `null` below 1 |
/// | `dots` | `count`, `fire_ticks`, `lit_ticks`: what is too short to have a density, and not in `density` |
/// | `dense_ticks` | if not 0: the ticks in which distances, times and densities are approximate (see [`Measured::dense_ticks`]) |
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Measured {
    /// The header.
    pub header: Header,
    /// The body's length in ticks (bytes).
    pub ticks: u64,
    /// The duration; `None` if the header has no step frequency.
    pub run_time_s: Option<f64>,
    /// The step counts. [`Counts::le`] is the number of firing ticks.
    pub counts: Counts,
    /// How far the job reaches, in steps.
    pub extents: Extents,
    /// Ticks in segments that move the head or the lens.
    pub moving_ticks: u64,
    /// Ticks in segments at rest with the laser off.
    pub idle_ticks: u64,
    /// Ticks in dense stretches: the head turns, or laser or power change, so often and for so long that finding all
    /// segments would take too long. 0 for a job that a machine can follow.
    ///
    /// Of these stretches, each block of 64 ticks counts as one straight line; if X or Y reverses in it, each of their steps
    /// counts as a line. All their time counts as moving, a block has one density and at most one dot, and each power has a
    /// share of the distance by its time. Everything else is exact.
    pub dense_ticks: u64,
    /// The distance that the head moves, in mm.
    pub travelled_mm: f64,
    /// The part of that distance with the laser on.
    pub cut_mm: f64,
    /// The peak speed of the head in mm/s over about 25 ms (1/40 s, rounded up to a multiple of 64 ticks), at least the
    /// mean speed; `None` if the header has no step frequency.
    pub peak_mm_s: Option<f64>,
    /// The dose by laser power, in ascending order, of the levels at which the laser fired. `None` stands for before
    /// the first power byte.
    pub powers: Vec<(Option<u8>, Dose)>,
    /// The dose by fire density, without dots: entry `n` is for about `n` firing ticks of 7.
    pub densities: [Dose; 8],
    /// The dots.
    pub dots: Dots,
    /// The first tick in which the laser fires, counted from 0, if no power byte comes before it. Machines refuse such a
    /// job ([`Refusal::FireBeforePower`](super::Refusal::FireBeforePower)).
    pub fire_before_power_tick: Option<u64>,
    /// Speed, laser and lens over time.
    pub timeline: Timeline,
}

impl Measured {
    /// Returns the final position of X, in millimetres.
    #[must_use]
    pub fn x_end_mm(&self) -> f64 {
        self.header.x_mm(self.counts.x_end())
    }

    /// Returns the final position of Y, in millimetres; positive is to the front.
    #[must_use]
    pub fn y_end_mm(&self) -> f64 {
        self.header.y_mm(self.counts.y_end())
    }

    /// Returns the final position of Z, in millimetres; positive is up.
    #[must_use]
    pub fn z_end_mm(&self) -> f64 {
        self.header.z_mm(self.counts.z_end())
    }

    /// Returns the distance with the laser off, in mm.
    #[must_use]
    pub fn travel_mm(&self) -> f64 {
        // Rounding could make it negative.
        (self.travelled_mm - self.cut_mm).max(0.0)
    }

    /// Converts ticks to seconds; `None` if the header has no step frequency.
    #[must_use]
    pub fn seconds(&self, ticks: u64) -> Option<f64> {
        self.header.step_frequency_hz().map(|hz| ticks as f64 / f64::from(hz))
    }

    /// Returns the mean speed of moving segments, in mm/s; `None` if there are none, or the header has no step
    /// frequency.
    #[must_use]
    pub fn mean_mm_s(&self) -> Option<f64> {
        self.seconds(self.moving_ticks).filter(|&seconds| seconds > 0.0).map(|seconds| self.travelled_mm / seconds)
    }

    /// Returns the firing ticks per millimetre of cut; `None` if nothing is cut.
    #[must_use]
    pub fn fire_ticks_per_mm(&self) -> Option<f64> {
        (self.cut_mm > 0.0).then(|| self.counts.le as f64 / self.cut_mm)
    }

    /// Returns how many ticks would fire at full power for the same dose: a tick counts by its power level, of 127.
    /// Before the first power byte, machines fire at about full power.
    pub(super) fn full_power_ticks(&self) -> f64 {
        let of = |(level, dose): &(Option<u8>, Dose)| {
            dose.fire_ticks as f64 * f64::from(level.unwrap_or(tick::LEVEL)) / f64::from(tick::LEVEL)
        };
        self.powers.iter().map(of).sum()
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
        let dose = |key: &str, value: Value, dose: &Dose| json!({key: value, "mm": dose.mm, "fire_ticks": dose.fire_ticks, "lit_ticks": dose.lit_ticks});
        let powers: Vec<_> = self.powers.iter().map(|(level, met)| dose("level", json!(level), met)).collect();
        map.serialize_entry("power", &powers)?;
        let met = (0..).zip(&self.densities).filter(|(_, met)| met.fire_ticks > 0);
        let density = |(sevenths, met): (i32, &Dose)| {
            let mut density = dose("sevenths", Value::from(sevenths), met);
            density["app_power"] = json!(met.app_power());
            density
        };
        let densities: Vec<_> = met.map(density).collect();
        map.serialize_entry("density", &densities)?;
        map.serialize_entry("dots", &self.dots)?;
        if self.dense_ticks > 0 {
            map.serialize_entry("dense_ticks", &self.dense_ticks)?;
        }
        map.end()
    }
}

/// Serializes a header with each code once.
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
            // At the first record of the code; later ones find nothing.
            if let Some(value) = last.remove(&record.code) {
                map.serialize_entry(&record.code, &value)?;
            }
        }
        map.end()
    }
}

/// Serializes the statistics with the names and in the order of the Python client `gfutilities`.
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
