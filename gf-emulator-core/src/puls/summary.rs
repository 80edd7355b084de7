//! A job's numbers as text: one job in full, or many in a table.

use std::fmt::{self, Write as _};

use super::{Header, Measured, Seconds, Span, code};
use crate::words::count;

/// One job's numbers, one topic a line, at most 80 columns wide. [`Display`](fmt::Display) prints them.
///
/// ```
/// use gf_emulator_core::puls::{Builder, Limits, Summary, measure};
///
/// let job = Builder::new().move_to(10.0, 0.0)?.to_bytes();
/// let measured = measure(&job[..], Limits::default())?;
/// assert!(Summary(&measured).to_string().contains("10.0 mm: 0.0 cut (laser on), 10.0 travel (laser off)"));
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Summary<'a>(pub &'a Measured);

/// Nearly every job has one power level; a picture engraved by power has all 128.
const POWERS_SHOWN: usize = 8;
/// As many as fit into 80 columns: a code has 4 characters, a value up to 10.
const RECORDS_PER_LINE: usize = 4;

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let measured = self.0;
        let (header, extents) = (&measured.header, &measured.extents);
        let hz = header.step_frequency_hz();
        let at = hz.map_or_else(|| "no step frequency".to_owned(), |hz| format!("{hz} a second"));
        let seconds = |ticks| measured.seconds(ticks).map_or_else(|| "?".to_owned(), |s| Seconds(s).to_string());
        let speed = |mm_s: Option<f64>| mm_s.map_or_else(|| "?".to_owned(), |mm_s| format!("{mm_s:.1} mm/s"));
        entry(f, "run time", format_args!("{} ({}, {at})", seconds(measured.ticks), count(measured.ticks, "tick")))?;
        let (moving, idle) = (seconds(measured.moving_ticks), seconds(measured.idle_ticks));
        let firing = seconds(measured.counts.le);
        entry(f, "of that", format_args!("moving {moving}, laser firing {firing}, idle {idle}"))?;
        let (all, cut, travel) = (measured.travelled_mm, measured.cut_mm, measured.travel_mm());
        entry(f, "distance", format_args!("{all:.1} mm: {cut:.1} cut (laser on), {travel:.1} travel (laser off)"))?;
        if measured.dense_ticks > 0 {
            let dense = seconds(measured.dense_ticks);
            entry(f, "", format_args!("approximate for {dense}, in which turns or changes are too dense"))?;
        }
        entry(f, "speed", format_args!("peak {}, mean {}", speed(measured.peak_mm_s), speed(measured.mean_mm_s())))?;
        let range = |span: Span, mm: fn(&Header, i64) -> f64| {
            format!("{:.2} to {:.2}", mm(header, span.min), mm(header, span.max))
        };
        let [x, y] = [range(extents.x, Header::x_mm), range(extents.y, Header::y_mm)];
        entry(f, "reach", format_args!("X {x}, Y {y}, Z {} mm", range(extents.z, Header::z_mm)))?;
        if let Some(fire) = extents.fire {
            let [x, y] = [range(fire.x, Header::x_mm), range(fire.y, Header::y_mm)];
            entry(f, "laser box", format_args!("X {x}, Y {y} mm"))?;
        }
        laser(f, measured)?;
        steps(f, measured)?;
        let lock = match header.get(code::SERIAL_LOCK) {
            None => "no machine named (no MCsn)",
            Some(0) => "for any machine",
            Some(_) => "locked to one machine",
        };
        let (records, bytes) = (count(header.records().len(), "record"), count(header.len_bytes(), "byte"));
        entry(f, "header", format_args!("{records}, {bytes}, {lock}"))?;
        for records in header.records().chunks(RECORDS_PER_LINE) {
            let records: Vec<_> =
                records.iter().map(|record| format!("{:<5}{:<10}", record.code.to_string(), record.value)).collect();
            entry(f, "", records.join("  ").trim_end())?;
        }
        measured.check(None).iter().try_for_each(|refusal| entry(f, "refused", refusal))?;
        header.remarks().iter().try_for_each(|remark| entry(f, "remark", remark))
    }
}

fn entry(f: &mut fmt::Formatter<'_>, what: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "  {what:<11}{value}")
}

fn laser(f: &mut fmt::Formatter<'_>, measured: &Measured) -> fmt::Result {
    let counts = &measured.counts;
    let mut line = format!("{} (LE), {} (LP)", count(counts.le, "tick"), count(counts.lp, "power byte"));
    let has_lines = measured.densities.iter().any(|dose| dose.mm > 0.0);
    if let Some(dose) = measured.fire_ticks_per_mm().filter(|_| has_lines) {
        write!(line, ", {dose:.1} ticks a mm")?;
    }
    entry(f, "laser", line)?;
    for (sevenths, dose) in measured.densities.iter().enumerate().filter(|(_, dose)| dose.fire_ticks > 0) {
        let mut line = format!("density {sevenths}/7: {:.1} mm, {}", dose.mm, count(dose.fire_ticks, "tick"));
        if let Some(density) = dose.fire_density() {
            write!(line, ", mean {density:.3}")?;
        }
        if let Some(power) = dose.app_power() {
            write!(line, ", app power {power}")?;
        }
        entry(f, "", line)?;
    }
    if measured.dots.count > 0 {
        let fired = count(measured.dots.fire_ticks, "tick");
        entry(f, "", format_args!("{}, {fired}: too short to have a density", count(measured.dots.count, "dot")))?;
    }
    for (level, dose) in measured.powers.iter().take(POWERS_SHOWN) {
        let level = level.map_or_else(|| "unset".to_owned(), |level| level.to_string());
        entry(f, "", format_args!("power {level}: {:.1} mm, {}", dose.mm, count(dose.fire_ticks, "tick")))?;
    }
    match measured.powers.len().saturating_sub(POWERS_SHOWN) {
        0 => Ok(()),
        more => entry(f, "", format_args!("and {} (see --json)", count(more, "more power level"))),
    }
}

fn steps(f: &mut fmt::Formatter<'_>, measured: &Measured) -> fmt::Result {
    let counts = &measured.counts;
    entry(f, "steps", "         +         -     total       end      end mm      end in")?;
    for (axis, positive, negative, total, end, mm) in [
        ("X", counts.xp, counts.xn, counts.x_total(), counts.x_end(), measured.x_end_mm()),
        ("Y", counts.yp, counts.yn, counts.y_total(), counts.y_end(), measured.y_end_mm()),
        ("Z", counts.zp, counts.zn, counts.z_total(), counts.z_end(), measured.z_end_mm()),
    ] {
        writeln!(f, "    {axis}   {positive:>15}{negative:>10}{total:>10}{end:>10}{mm:>12.3}{:>12.4}", mm / 25.4)?;
    }
    Ok(())
}

/// A row of a table of jobs, for one job or for the total of many. [`Display`](fmt::Display) prints it: the numbers,
/// usually in 52 columns, and the whole name.
#[derive(Debug, Clone, Default)]
pub struct JobRow {
    /// `None` for a total.
    name: Option<String>,
    jobs: usize,
    /// Whether a job has no step frequency, so that there is no run time.
    has_unknown: bool,
    run_time_s: f64,
    travelled_mm: f64,
    cut_mm: f64,
    peak_mm_s: f64,
    size: String,
}

impl JobRow {
    /// The table's first line.
    pub const HEADING: &'static str = "    time   total mm   cut mm peak mm/s   reach in mm  file";

    /// The row of one job.
    #[must_use]
    pub fn new(name: &str, measured: &Measured) -> Self {
        let (header, extents) = (&measured.header, &measured.extents);
        let steps = |span: Span| span.steps().cast_signed();
        let size = format!("{:.1} x {:.1}", header.x_mm(steps(extents.x)), header.y_mm(steps(extents.y)));
        let mut row = Self { name: Some(name.to_owned()), size, ..Self::default() };
        row.add(measured);
        row
    }

    /// Adds a job to a total, which begins as [`JobRow::default`].
    pub fn add(&mut self, measured: &Measured) {
        self.jobs += 1;
        self.has_unknown |= measured.run_time_s.is_none();
        self.run_time_s += measured.run_time_s.unwrap_or_default();
        self.travelled_mm += measured.travelled_mm;
        self.cut_mm += measured.cut_mm;
        self.peak_mm_s = self.peak_mm_s.max(measured.peak_mm_s.unwrap_or_default());
    }

    /// Returns how many jobs were added.
    #[must_use]
    pub fn jobs(&self) -> usize {
        self.jobs
    }
}

impl fmt::Display for JobRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, travelled_mm, cut_mm, size, .. } = self;
        let name = name.clone().unwrap_or_else(|| count(self.jobs, "job"));
        let (time, peak) = if self.has_unknown {
            ("?".to_owned(), "?".to_owned())
        } else {
            (Seconds(self.run_time_s).to_string(), format!("{:.1}", self.peak_mm_s))
        };
        write!(f, "{time:>8}{travelled_mm:>11.1}{cut_mm:>9.1}{peak:>10}{size:>14}  {name}")
    }
}
