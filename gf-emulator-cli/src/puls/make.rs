//! `puls make`: a job from a shape or a drawing.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use gf_emulator_core::puls::{
    Builder, Error, Extents, Laser, MAX_COORDINATE_MM, MAX_DRAWING_BYTES, Meter, Placement, Result, code, gcode,
    svgpath, tick,
};
use gf_emulator_core::words::count;

use super::source;
use crate::failure::Failure;
use crate::numbers;
use crate::output::tell;
use crate::sink::Sink;

/// How fast shapes are cut, in mm/s, unless something else is asked for.
const SPEED_MM_S: f64 = 50.0;
/// Three ticks of seven fire: what a machine's own jobs cut thin wood with.
const DENSITY: f64 = 3.0 / 7.0;
const FREQUENCY_HZ: u32 = 10_000;

/// Make a job: a line, a square, a circle, or what a drawing has
///
/// A drawing is G-code for a laser with GRBL (what `puls export` writes is read back), or SVG path data: what stands in
/// the d of a path, 1 unit being 1 mm. Places are mm from where the job begins: X to the right, Y to the front.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator puls make --square 40 --at 20,20 -o square.puls
  gf-machine-emulator puls make --from star.svgpath --speed 30 -o star.puls
  gf-machine-emulator puls make --from job.nc --flip-y --at 0,200 -o job.puls
  echo 'M10 10 H50' | gf-machine-emulator puls make \\
      --from - --kind svgpath -o - | gf-machine-emulator puls info -

Shapes and path data end with the head back where the job begins. G-code ends
where it ends, and has speed (F) and density (M3 M4 M5, S) in it. Whole SVG
files are not read yet: path data is the value of a path's d attribute.

A job that does not fit on the bed (495 x 279 mm) is made all the same, with a
remark on standard error.

Exit codes: 0 done, 1 a drawing is not understood or cannot be made, or
something could not be read or written, 2 wrong usage, or a file that cannot be
opened.")]
#[command(group = clap::ArgGroup::new("source").required(true).multiple(false))]
#[command(override_usage = "gf-machine-emulator puls make -o OUT [OPTIONS] SOURCE
       where SOURCE is --line X,Y, --square MM, --circle MM or --from FILE")]
pub(crate) struct Arguments {
    /// A line so far to the right and to the front
    #[arg(long, value_name = "X,Y", group = "source", value_parser = numbers::pair(-MAX_COORDINATE_MM..=MAX_COORDINATE_MM, " of mm"))]
    line: Option<[f64; 2]>,
    /// A square with that side
    #[arg(long, value_name = "MM", group = "source", value_parser = numbers::real(0.1..=1000.0, " of mm"))]
    square: Option<f64>,
    /// A circle with that diameter
    #[arg(long, value_name = "MM", group = "source", value_parser = numbers::real(0.1..=1000.0, " of mm"))]
    circle: Option<f64>,
    /// A drawing: .gcode .nc .ngc or .svgpath; `-` is standard input
    #[arg(long, value_name = "FILE", group = "source")]
    from: Option<PathBuf>,
    /// What the drawing is, where its name does not tell
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Where to; `-` is standard output
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Compress it
    #[arg(long)]
    gzip: bool,
    /// Where a line begins, a shape's back left corner or a drawing's origin is
    #[arg(long, value_name = "X,Y", value_parser = numbers::pair(-MAX_COORDINATE_MM..=MAX_COORDINATE_MM, " of mm"), default_value = "0,0")]
    at: [f64; 2],
    /// The drawing's Y goes to the back
    #[arg(long)]
    flip_y: bool,
    /// How fast to cut, in mm/s [default: 50]
    #[arg(long, value_name = "MM_S", value_parser = numbers::real(0.1..=10_000.0, " of mm/s"))]
    speed: Option<f64>,
    /// Which part of the ticks fires: 0 to 1, or N/7 [default: 3/7]
    #[arg(long, value_name = "PART", value_parser = numbers::part)]
    density: Option<f64>,
    /// The laser's power level, 0 to 127
    #[arg(long, value_name = "LEVEL", default_value_t = 127, value_parser = numbers::whole(0..=127_u8, ""))]
    power: u8,
    /// How fast to travel, in mm/s [default: 200]
    #[arg(long, value_name = "MM_S", value_parser = numbers::real(0.1..=10_000.0, " of mm/s"))]
    travel_speed: Option<f64>,
    /// How fast to get faster, in mm/s2 [default: 700,590]
    #[arg(long, value_name = "X,Y", value_parser = numbers::pair(1.0..=100_000.0, " of mm/s2"))]
    acceleration: Option<[f64; 2]>,
    /// Ticks a second
    #[arg(long, value_name = "HZ", default_value_t = FREQUENCY_HZ, value_parser = numbers::whole(1_000..=200_000_u32, " of Hz"))]
    frequency: u32,
    /// The one machine that may run it [default: any]
    #[arg(long, value_name = "N", value_parser = numbers::serial)]
    serial: Option<u32>,
    /// The S of G-code that fires in every tick [default: 1000]
    #[arg(long, value_name = "N", value_parser = numbers::real(0.001..=1e9, ""))]
    s_max: Option<f64>,
}

#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
enum Kind {
    Svgpath,
    Gcode,
}

pub(super) fn run(arguments: &Arguments) -> std::result::Result<(), Failure> {
    let mut job = empty(arguments).map_err(Failure::misused)?;
    draw(arguments, &mut job)?;
    let mut meter = Meter::new(job.header());
    meter.add(job.body(), &mut |_| ());
    let extents = meter.finish(&mut |_| ()).extents;
    check_drawn(arguments, &job, &extents)?;
    let output = &arguments.output;
    let mut sink = Sink::create(output, arguments.from.as_deref().as_slice())?;
    let ticks = job.body().len();
    let (written, bytes) = if arguments.gzip {
        let packed = job.to_gzip();
        (sink.write_all(&packed), packed.len())
    } else {
        (job.write_to(&mut sink), job.header().len_bytes() + ticks)
    };
    let name = if sink.is_stdout() { "standard output".into() } else { output.display().to_string() };
    if !sink.finish(written)? {
        return Ok(());
    }
    let run_time_s = ticks as f64 / f64::from(arguments.frequency);
    let ticks = count(ticks, "tick");
    tell(format_args!("{name}: {ticks}, {run_time_s:.1} s to run, {} kB", bytes.div_ceil(1000)));
    if let Some(how) = super::off_the_bed(job.header(), &extents, None) {
        tell(format_args!("{name}: remark: {how}"));
    }
    Ok(())
}

/// A job as the options have it, with nothing in it but the power.
fn empty(arguments: &Arguments) -> Result<Builder> {
    let mut job = Builder::with_step_frequency(arguments.frequency)?;
    if let Some(serial) = arguments.serial {
        job.set(code::SERIAL_LOCK, serial)?;
    }
    if let Some([x_mm_s2, y_mm_s2]) = arguments.acceleration {
        job.acceleration(x_mm_s2, y_mm_s2)?;
    }
    if let Some(mm_s) = arguments.travel_speed {
        job.travel_speed(mm_s)?;
    }
    job.power(arguments.power)?;
    Ok(job)
}

/// A job in which nothing happens is a mistake.
fn check_drawn(arguments: &Arguments, job: &Builder, extents: &Extents) -> std::result::Result<(), Failure> {
    let nothing_happens = job.body().iter().all(|&byte| byte & tick::POWER != 0);
    let is_cut = arguments.density != Some(0.0) && !matches!(kind(arguments), Some(Kind::Gcode));
    match &arguments.from {
        None if extents.fire.is_none() && is_cut => {
            Err(Failure::misused("nothing to draw: the line is too short for the laser to fire"))
        }
        Some(path) if nothing_happens => {
            Err(Failure::failed(format_args!("{}: nothing to draw: the head never moves", source::name(path))))
        }
        Some(path) if extents.fire.is_none() && is_cut => {
            Err(Failure::failed(format_args!("{}: nothing to draw: the laser never fires", source::name(path))))
        }
        _ => Ok(()),
    }
}

fn draw(arguments: &Arguments, job: &mut Builder) -> std::result::Result<(), Failure> {
    let mut placement = Placement::at(arguments.at[0], arguments.at[1]);
    placement.flip_y = arguments.flip_y;
    let Some(path) = &arguments.from else {
        // Not clap's `requires`: it lets an argument that is missing pass where another one excludes it.
        let for_drawings = [
            ("--kind", arguments.kind.is_some()),
            ("--flip-y", arguments.flip_y),
            ("--s-max", arguments.s_max.is_some()),
        ];
        if let Some((option, _)) = for_drawings.iter().find(|(_, given)| *given) {
            return Err(Failure::misused(format_args!("{option} is for drawings: use it with --from")));
        }
        return outline(arguments, job, shape(arguments).as_bytes(), placement).map_err(|error| match error {
            // Of a drawing that nobody has seen, lines and columns say nothing.
            Error::Drawing { found, expected, .. } => {
                Failure::misused(format_args!("the shape does not fit: {found}, expected {expected}"))
            }
            other => Failure::misused(other),
        });
    };
    let kind = kind(arguments).ok_or_else(|| {
        let name = source::name(path);
        if path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg")) {
            return Failure::misused(format_args!("{name}: {NO_SVG}"));
        }
        Failure::misused(format_args!("{name}: its name does not tell what it is: use --kind svgpath or --kind gcode"))
    })?;
    match kind {
        Kind::Gcode if arguments.speed.is_some() || arguments.density.is_some() => {
            return Err(Failure::misused(
                "G-code has its own speed (F) and density (S): leave out --speed and --density",
            ));
        }
        Kind::Svgpath if arguments.s_max.is_some() => {
            return Err(Failure::misused("path data have no S: use --density in place of --s-max"));
        }
        _ => {}
    }
    let drawing = read(path)?;
    match kind {
        Kind::Gcode => {
            let mut settings = gcode::Settings::default();
            settings.placement = placement;
            settings.s_max = arguments.s_max.unwrap_or(settings.s_max);
            gcode::draw(job, &drawing, &settings)
        }
        // Nothing else begins with this: path data begins with M.
        Kind::Svgpath if drawing.trim_ascii_start().starts_with(b"<") => {
            return Err(Failure::failed(format_args!("{}: {NO_SVG}", source::name(path))));
        }
        Kind::Svgpath => outline(arguments, job, &drawing, placement),
    }
    .map_err(|error| source::broken(path, &error))
}

/// Cuts along path data, and goes back to where the job begins.
fn outline(arguments: &Arguments, job: &mut Builder, path: &[u8], placement: Placement) -> Result<()> {
    let laser = Laser::Constant(arguments.density.unwrap_or(DENSITY));
    let mut settings = svgpath::Settings::new(arguments.speed.unwrap_or(SPEED_MM_S), laser);
    settings.placement = placement;
    svgpath::draw(job, path, &settings)?;
    job.move_to(0.0, 0.0).map(drop)
}

/// A shape as path data.
fn shape(arguments: &Arguments) -> String {
    if let Some([x, y]) = arguments.line {
        format!("M0 0 L{x} {y}")
    } else if let Some(side) = arguments.square {
        format!("M0 0 H{side} V{side} H0 Z")
    } else {
        // From the middle of its back, clockwise.
        let size = arguments.circle.unwrap_or_default();
        let radius = size / 2.0;
        format!("M{radius} 0 A{radius} {radius} 0 0 1 {radius} {size} A{radius} {radius} 0 0 1 {radius} 0")
    }
}

/// What a whole SVG file is answered with.
const NO_SVG: &str = "whole SVG files are not read yet; what is read is path data, the value of a path's d attribute, \
                      in a file named .svgpath or with --kind svgpath";

/// What the drawing is, if there is one and that is known.
fn kind(arguments: &Arguments) -> Option<Kind> {
    arguments.kind.or_else(|| kind_of(arguments.from.as_ref()?))
}

fn kind_of(path: &Path) -> Option<Kind> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "gcode" | "nc" | "ngc" => Some(Kind::Gcode),
        "svgpath" => Some(Kind::Svgpath),
        _ => None,
    }
}

/// A drawing, as far as it is not longer than any that is drawn.
fn read(path: &Path) -> std::result::Result<Vec<u8>, Failure> {
    let name = source::name(path);
    let reader: Box<dyn Read> =
        if path == Path::new("-") { Box::new(io::stdin()) } else { Box::new(source::open_file(path)?) };
    let mut drawing = Vec::new();
    // One byte more shows that it is too long.
    reader
        .take(MAX_DRAWING_BYTES as u64 + 1)
        .read_to_end(&mut drawing)
        .map_err(|e| Failure::failed(format_args!("{name}: cannot read it: {e}")))?;
    Ok(drawing)
}
