//! `puls info`: a job's numbers, for people and for programs.

use std::fmt::{self, Write as _};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use gf_emulator_core::puls::{Header, Limits, Measured, Meter, Seconds, Span, code};
use gf_emulator_core::words::count;
use serde_json::{Map, Value};

use super::source;
use crate::failure::Failure;
use crate::output::{say, tell};

/// Measure jobs: times, distances, speeds, laser, steps
///
/// One file is shown in full, several as a table with a row for each.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator puls info job.puls
  gf-machine-emulator puls info motion/*.puls
  gf-machine-emulator puls info --json job.puls | jq .stats.XEND

--json writes one object a file, on a line of its own: `file`, then what the
.info beside a collected job has: header, header_len, size, run_time, stats
(XP XN XTOT XEND .. LE LP, ends in mm and inches), extents, fire_box, time,
distance, speed, power, density. In `distance`, `travelled` is all of the way,
`cut` the part with the laser on, `travel` the part with the laser off.

Exit codes: 0 done, 1 a file could not be read (the others are measured all the
same), 2 wrong usage, or a file that cannot be opened.")]
pub(crate) struct Arguments {
    /// The pulse files; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// For programs: an object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    limit: source::Limit,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let limits = arguments.limit.into();
    match &arguments.files[..] {
        files if arguments.json => each(files, limits, |path, measured, _| say_line(path, measured)),
        [path] => each(std::slice::from_ref(path), limits, |path, measured, gzip| {
            say(Sheet { path, measured, gzip });
            Ok(())
        }),
        files => table(files, limits),
    }
}

/// Many jobs, a row each, and their sum.
pub(super) fn table(files: &[PathBuf], limits: Limits) -> Result<(), Failure> {
    let mut sum = Sum::default();
    say(Row::HEADING);
    let outcome = each(files, limits, |path, measured, _| {
        sum.add(measured);
        let name = source::name(path);
        say(Row { name: &name, sum: Sum::of(measured), reach: Some(reach(measured)) });
        Ok(())
    });
    if sum.jobs > 1 {
        say(Row { name: &count(sum.jobs, "job"), sum, reach: None });
    }
    outcome
}

/// Measures each; a bad one is named and does not stop the rest.
fn each(
    files: &[PathBuf],
    limits: Limits,
    mut show: impl FnMut(&Path, &Measured, bool) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut bad = Vec::new();
    for path in files {
        match measure(path, limits) {
            Ok((measured, gzip)) => show(path, &measured, gzip)?,
            Err(failure) => {
                // A table is read from top to bottom, errors in it where they belong.
                let _ = io::stdout().flush();
                tell(&failure);
                bad.push(failure);
            }
        }
    }
    super::ended(&bad, files.len(), "could not be read")
}

fn measure(path: &Path, limits: Limits) -> Result<(Measured, bool), Failure> {
    let mut job = source::open(path, limits)?;
    let mut meter = Meter::new(job.header());
    while let Some(chunk) = job.next_chunk().map_err(|e| source::broken(path, &e))? {
        meter.add(chunk, &mut |_| ());
    }
    Ok((meter.finish(&mut |_| ()), job.is_gzip()))
}

/// An object with the file's name in front.
fn say_line(path: &Path, measured: &Measured) -> Result<(), Failure> {
    let mut object = Map::new();
    object.insert("file".to_owned(), Value::from(path.display().to_string()));
    match serde_json::to_value(measured) {
        Ok(Value::Object(numbers)) => object.extend(numbers),
        Ok(_) => {}
        Err(error) => return Err(Failure::failed(format_args!("{}: {error}", source::name(path)))),
    }
    say(Value::Object(object));
    Ok(())
}

/// The numbers that can be added up.
#[derive(Default, Clone, Copy)]
struct Sum {
    jobs: usize,
    /// Not known as soon as it is not for one of them.
    unknown: bool,
    run_time_s: f64,
    travelled_mm: f64,
    cut_mm: f64,
    peak_mm_s: f64,
    fire_ticks: u64,
}

impl Sum {
    fn of(measured: &Measured) -> Self {
        let mut sum = Self::default();
        sum.add(measured);
        sum
    }

    fn add(&mut self, measured: &Measured) {
        self.jobs += 1;
        self.unknown |= measured.run_time_s.is_none();
        self.run_time_s += measured.run_time_s.unwrap_or_default();
        self.travelled_mm += measured.travelled_mm;
        self.cut_mm += measured.cut_mm;
        self.peak_mm_s = self.peak_mm_s.max(measured.peak_mm_s.unwrap_or_default());
        self.fire_ticks += measured.counts.le;
    }
}

/// One of many jobs.
struct Row<'a> {
    name: &'a str,
    sum: Sum,
    reach: Option<String>,
}

/// How long a name may be before its beginning is left out.
const NAME_CHARS: usize = 28;

impl Row<'_> {
    const HEADING: &'static str = "file                            time   total mm   cut mm peak mm/s   reach in mm";
}

impl fmt::Display for Row<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let chars = self.name.chars().count();
        let name = if chars > NAME_CHARS {
            format!("..{}", self.name.chars().skip(chars + 2 - NAME_CHARS).collect::<String>())
        } else {
            self.name.to_owned()
        };
        let Sum { unknown, run_time_s, travelled_mm, cut_mm, peak_mm_s, .. } = self.sum;
        let (time, peak) = if unknown {
            ("?".to_owned(), "?".to_owned())
        } else {
            (Seconds(run_time_s).to_string(), format!("{peak_mm_s:.1}"))
        };
        let reach = self.reach.as_deref().unwrap_or_default();
        let row = format!("{name:<NAME_CHARS$}{time:>8}{travelled_mm:>11.1}{cut_mm:>9.1}{peak:>10}{reach:>14}");
        f.write_str(row.trim_end())
    }
}

/// How large the job is.
fn reach(measured: &Measured) -> String {
    let steps = |span: Span| span.steps().cast_signed();
    let header = &measured.header;
    let (x, y) = (header.x_mm(steps(measured.extents.x)), header.y_mm(steps(measured.extents.y)));
    format!("{x:.1} x {y:.1}")
}

/// All of one job.
struct Sheet<'a> {
    path: &'a Path,
    measured: &'a Measured,
    gzip: bool,
}

impl fmt::Display for Sheet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, measured, gzip } = *self;
        let header = &measured.header;
        writeln!(f, "{}{}", source::name(path), if gzip { " (gzip)" } else { "" })?;
        let hz = header.step_frequency_hz();
        let at = hz.map_or_else(|| "no step frequency".to_owned(), |hz| format!("{hz} a second"));
        let seconds = |ticks| measured.seconds(ticks).map_or_else(|| "?".to_owned(), |s| Seconds(s).to_string());
        let speed = |mm_s: Option<f64>| mm_s.map_or_else(|| "?".to_owned(), |mm_s| format!("{mm_s:.1} mm/s"));
        entry(f, "run time", format_args!("{} ({}, {at})", seconds(measured.ticks), count(measured.ticks, "tick")))?;
        entry(
            f,
            "of that",
            format_args!(
                "moving {}, laser firing {}, idle {}",
                seconds(measured.moving_ticks),
                seconds(measured.counts.le),
                seconds(measured.idle_ticks)
            ),
        )?;
        entry(
            f,
            "distance",
            format_args!(
                "{:.1} mm: {:.1} cut (laser on), {:.1} travel (laser off)",
                measured.travelled_mm,
                measured.cut_mm,
                measured.travel_mm()
            ),
        )?;
        entry(f, "speed", format_args!("peak {}, mean {}", speed(measured.peak_mm_s), speed(measured.mean_mm_s())))?;
        let extents = &measured.extents;
        entry(
            f,
            "reach",
            format_args!(
                "X {}, Y {}, Z {} mm",
                span(header, extents.x, Header::x_mm),
                span(header, extents.y, Header::y_mm),
                span(header, extents.z, Header::z_mm)
            ),
        )?;
        if let Some(fire) = extents.fire {
            let (x, y) = (span(header, fire.x, Header::x_mm), span(header, fire.y, Header::y_mm));
            entry(f, "laser box", format_args!("X {x}, Y {y} mm"))?;
        }
        laser(f, measured)?;
        steps(f, measured)?;
        entry(f, "header", summary(header))?;
        for records in header.records().chunks(RECORDS_A_LINE) {
            let records: Vec<_> =
                records.iter().map(|record| format!("{:<5}{:<10}", record.code.to_string(), record.value)).collect();
            entry(f, "", records.join("  ").trim_end())?;
        }
        let refused: Vec<_> = header.check(None).iter().map(ToString::to_string).collect();
        if !refused.is_empty() {
            entry(f, "refused", refused.join("; "))?;
        }
        let remarks = header.remarks();
        for remark in remarks {
            entry(f, "remark", remark)?;
        }
        Ok(())
    }
}

fn entry(f: &mut fmt::Formatter<'_>, what: &str, value: impl fmt::Display) -> fmt::Result {
    writeln!(f, "  {what:<11}{value}")
}

fn span(header: &Header, span: Span, mm: fn(&Header, i64) -> f64) -> String {
    format!("{:.2} to {:.2}", mm(header, span.min), mm(header, span.max))
}

/// Nearly every job has one level; a picture engraved by power has all of them.
const POWERS_SHOWN: usize = 8;

fn laser(f: &mut fmt::Formatter<'_>, measured: &Measured) -> fmt::Result {
    let counts = &measured.counts;
    let mut line = format!("{} (LE), {} (LP)", count(counts.le, "tick"), count(counts.lp, "power byte"));
    if let Some(dose) = measured.fire_ticks_per_mm() {
        let _ = write!(line, ", {dose:.1} ticks a mm");
    }
    entry(f, "laser", line)?;
    for (sevenths, dose) in measured.densities.iter().enumerate().filter(|(_, dose)| dose.fire_ticks > 0) {
        entry(f, "", format_args!("density {sevenths}/7: {:.1} mm, {}", dose.mm, count(dose.fire_ticks, "tick")))?;
    }
    for (level, dose) in measured.powers.iter().take(POWERS_SHOWN) {
        let level = level.map_or_else(|| "unset".to_owned(), |level| level.to_string());
        entry(f, "", format_args!("power {level}: {:.1} mm, {}", dose.mm, count(dose.fire_ticks, "tick")))?;
    }
    if let Some(more) = measured.powers.len().checked_sub(POWERS_SHOWN + 1) {
        entry(f, "", format_args!("and {} (see --json)", count(more + 1, "more power level")))?;
    }
    Ok(())
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

/// A code of 4 characters and a value of up to 10, so many times, are less than 80 columns.
const RECORDS_A_LINE: usize = 4;

/// What a header is, in a line.
fn summary(header: &Header) -> String {
    let lock = match header.get(code::SERIAL_LOCK) {
        None => "for no machine in particular (no MCsn)",
        Some(0) => "for any machine",
        Some(_) => "locked to one machine",
    };
    format!("{}, {}, {lock}", count(header.records().len(), "record"), count(header.len_bytes(), "byte"))
}
