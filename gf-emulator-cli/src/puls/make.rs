//! `puls make`: makes a job from a shape or a drawing.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use gf_emulator_core::puls::{
    Builder, CheckOptions, DrawingKind, ENGRAVING_DPI, Error, Finding, Job, LayerSettings, Layers, MADE_FREQUENCIES_HZ,
    MAX_COORDINATE_MM, Picture, Placement, Power, Result, Seconds, Severity, Shading, check, code, cut, gcode, order,
    svg, svgpath,
};
use gf_emulator_core::storage::check_not_an_input;
use gf_emulator_core::words::{count, size};

use super::drawing::{self, Kind};
use super::source;
use crate::error::CliError;
use crate::numbers;
use crate::output::{self, remark};

/// Make a job from a line, a square, a circle or a drawing
///
/// A drawing is an SVG file, a PNG or JPEG picture, G-code for a laser with GRBL, such as the output of `puls export`, or
/// SVG path data with 1 unit = 1 mm. Positions are in mm from the job's start: X to the right, Y to the front.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator puls make --square 40 --at 20,20 -o square.puls
  gf-machine-emulator puls make --from box.svg -o box.puls \\
      --layer 'red=cut,power=full,speed=10' --layer 'blue=score'
  gf-machine-emulator puls make --from cat.jpg --width 80 --at 30,30 -o cat.puls
  gf-machine-emulator puls make --from job.nc --flip-y --at 0,200 -o job.puls
  echo 'M10 10 H50' | gf-machine-emulator puls make \\
      --from - --kind svgpath -o - | gf-machine-emulator puls info -

In an SVG file, lines are cut and filled shapes and pictures are engraved; each
colour is a layer. White is left out, unless a --layer says what to do with it.

A job ends with the head and the lens back at the start; that of G-code with the
head where the G-code leaves it. G-code sets speed (F) and power (M3 M4 M5, S).
Drawings may be gzip-compressed.

What a drawing has that a job cannot do, such as a pause for a person, is passed
over with a remark on standard error. A job that does not fit on the bed
(495 x 279 mm), or asks for more than the machine can do, is made anyway, with a
remark as well.

NO MADE JOB HAS BEEN TRIED ON HARDWARE. A laser blinds and burns: run one only
if you know what it does, with the lid closed and somebody beside the machine.

Exit codes: 0 done; 1 the drawing has an error, or reading or writing failed; 2
wrong usage, or a file that cannot be opened.")]
#[command(group = clap::ArgGroup::new("source").required(true).multiple(false))]
#[command(override_usage = "gf-machine-emulator puls make -o OUT [OPTIONS] SOURCE
       where SOURCE is --line X,Y, --square MM, --circle MM or --from FILE")]
pub(crate) struct Arguments {
    /// A line to this point, X to the right and Y to the front
    #[arg(long, value_name = "X,Y", group = "source", value_parser = numbers::pair(-MAX_COORDINATE_MM..=MAX_COORDINATE_MM, "mm"))]
    line: Option<[f64; 2]>,
    /// A square with this side
    #[arg(long, value_name = "MM", group = "source", value_parser = numbers::within(0.1..=1000.0, "a number of mm"))]
    square: Option<f64>,
    /// A circle with this diameter
    #[arg(long, value_name = "MM", group = "source", value_parser = numbers::within(0.1..=1000.0, "a number of mm"))]
    circle: Option<f64>,
    /// A drawing: .svg .svgz .png .jpg .jpeg .gcode .gco .gc .g .nc .ngc .cnc .tap or .svgpath, also with .gz; `-` is
    /// standard input
    #[arg(long, value_name = "FILE", group = "source")]
    from: Option<PathBuf>,
    /// The kind of drawing, if neither its name nor its content tells
    #[arg(long, value_enum, conflicts_with_all = ["line", "square", "circle"])]
    kind: Option<Kind>,
    /// The file to write; `-` is standard output
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// Compress the file
    #[arg(long)]
    gzip: bool,
    /// Position of a line's start, a shape's back left corner, or a drawing's origin
    #[arg(long, value_name = "X,Y", value_parser = numbers::pair(-MAX_COORDINATE_MM..=MAX_COORDINATE_MM, "mm"), default_value = "0,0")]
    at: [f64; 2],
    /// Y of the drawing points to the back
    #[arg(long, conflicts_with_all = ["line", "square", "circle"])]
    flip_y: bool,
    /// Speed in mm/s [default: 50 for cuts, 100 for scores, 150 for engravings]
    #[arg(long, value_name = "MM_S", value_parser = numbers::within(0.1..=10_000.0, "a number of mm/s"))]
    speed: Option<f64>,
    /// Power as in the Glowforge app, 1 to 100 or full [default: 40 for cuts, 20 for scores and engravings]
    #[arg(long, value_name = "POWER", value_parser = numbers::power, conflicts_with = "density")]
    power: Option<Power>,
    /// Fraction of ticks in which the laser fires, instead of --power: 0 to 1, or N/7
    #[arg(long, value_name = "PART", value_parser = numbers::fraction)]
    density: Option<f64>,
    /// Level of the power bytes, 0 to 127. All known prints have 127
    #[arg(long, value_name = "LEVEL", default_value_t = 127, value_parser = numbers::within(0..=127_u8, "a whole number"))]
    power_level: u8,
    /// Thickness of the material in mm: focuses the lens on its surface
    #[arg(long, value_name = "MM", value_parser = numbers::within(0.0..=12.7, "a number of mm"))]
    focus: Option<f64>,
    /// Travel speed in mm/s [default: 200]
    #[arg(long, value_name = "MM_S", value_parser = numbers::within(0.1..=10_000.0, "a number of mm/s"))]
    travel_speed: Option<f64>,
    /// Acceleration in mm/s2 [default: 700,590]
    #[arg(long, value_name = "X,Y", value_parser = numbers::pair(1.0..=100_000.0, "mm/s2"))]
    acceleration: Option<[f64; 2]>,
    /// Ticks per second [default: 10000]
    #[arg(long, value_name = "HZ", value_parser = numbers::within(MADE_FREQUENCIES_HZ, "a whole number of Hz"))]
    frequency: Option<u32>,
    /// Serial number of the only machine that may run the job [default: any machine]
    #[arg(long, value_name = "N", value_parser = numbers::serial)]
    serial: Option<u32>,
    /// The S value of G-code for full power [default: 1000]
    #[arg(long, value_name = "N", value_parser = numbers::within(0.001..=1e9, "a number"), conflicts_with_all = ["line", "square", "circle"])]
    s_max: Option<f64>,
    /// The size of an SVG file: this factor times that in the file [default: 1]
    #[arg(long, value_name = "FACTOR", value_parser = numbers::within(0.001..=1000.0, "a number"), conflicts_with_all = ["width", "line", "square", "circle"])]
    scale: Option<f64>,
    /// The width of an SVG file's page, or of a picture [default: 1/96 inch per pixel]
    #[arg(long, value_name = "MM", value_parser = numbers::within(0.1..=1000.0, "a number of mm"), conflicts_with_all = ["line", "square", "circle"])]
    width: Option<f64>,
    /// What is done with a layer, the parts of an SVG file with one colour, such as '#ff0000=cut,power=full,speed=10'
    ///
    /// COLOUR, or `pictures`, and cut, score, engrave or skip, then any of power, density, speed, dpi and shading. May be
    /// given several times.
    #[arg(long, value_name = "COLOUR=DO", conflicts_with_all = ["line", "square", "circle"])]
    layer: Vec<String>,
    /// A TOML file with settings of layers: a table for each, with do, power, density, speed, dpi, shading
    #[arg(long, value_name = "FILE", conflicts_with_all = ["line", "square", "circle"])]
    layers: Option<PathBuf>,
    /// The resolution of engravings in rows per inch [default: 270]
    #[arg(long, value_name = "DPI", value_parser = numbers::within(ENGRAVING_DPI, "a number"), conflicts_with_all = ["line", "square", "circle"])]
    dpi: Option<f64>,
    /// How grey is engraved [default: density]
    #[arg(long, value_enum, conflicts_with_all = ["line", "square", "circle"])]
    shading: Option<ShadingOption>,
    /// Keep the order of the drawing
    ///
    /// Else engravings come first, then scores, then cuts, what is inside before what is around it, with short travel.
    #[arg(long, conflicts_with_all = ["line", "square", "circle"])]
    keep_order: bool,
}

/// How grey is engraved.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ShadingOption {
    /// By fire density
    Density,
    /// As black and white pixels, by error diffusion (Floyd-Steinberg)
    Diffusion,
    /// As black and white pixels, by a pattern of thresholds
    Ordered,
}

pub(super) fn run(arguments: &Arguments) -> std::result::Result<(), CliError> {
    let (output, input) = (&arguments.output, arguments.from.as_deref());
    check_not_an_input(output, input.as_slice()).map_err(CliError::usage)?;
    // Perhaps a drawing that the user still needs.
    if output.extension().is_some_and(|name| DrawingKind::from_extension(&name.to_string_lossy()).is_some()) {
        return Err(CliError::usage(format_args!("{}: use a name for a job, such as box.puls", output.display())));
    }
    let mut job = empty(arguments).map_err(CliError::usage)?;
    let before = job.body().len();
    let mut remarks = Vec::new();
    let mut is_gcode = false;
    let name = match &arguments.from {
        Some(path) => {
            let (kind, found) = draw(arguments, path, &mut job)?;
            (is_gcode, remarks) = (kind == Kind::Gcode, found);
            source::name(path)
        }
        None => draw_shape(arguments, &mut job).map(|()| "the shape".to_owned())?,
    };
    // G-code may move without cutting.
    let is_cut = arguments.density != Some(0.0) && !is_gcode;
    let missing = if arguments.from.is_some() && job.body().len() == before {
        Some("the head never moves")
    } else if is_cut && !job.fires() {
        Some("the laser never fires")
    } else {
        None
    };
    if let Some(missing) = missing {
        let error = if arguments.from.is_some() { CliError::failed } else { CliError::usage };
        return Err(error(format!("{name} has nothing to draw: {missing}")));
    }
    let max_mm_s = job.max_speed_mm_s();
    if let Some(speed) = arguments.speed.filter(|&speed| speed > max_mm_s) {
        remarks.push(format!("--speed {speed} is too fast for the head: {max_mm_s} mm/s is used instead"));
    }
    // G-code says itself where the head ends.
    if is_gcode { job.lens_to(0.0) } else { job.home() }.map_err(CliError::failed)?;
    let found = check_made(&job)?;
    let mut output = output::create(output, input.as_slice())?;
    let ticks = job.body().len();
    let (written, bytes) = if arguments.gzip {
        let packed = job.to_gzip();
        (output.file.write_all(&packed), packed.len())
    } else {
        (job.write_to(&mut output.file), job.header().len_bytes() + ticks)
    };
    let output_name = output.file.name();
    if !output.finish(written)? {
        return Ok(());
    }
    let run_time = Seconds(ticks as f64 / job.header().step_frequency_hz().map_or(f64::NAN, f64::from));
    remark(format_args!("{output_name}: {}, {run_time} to run, {}", count(ticks, "tick"), size(bytes as u64)));
    for finding in found {
        let why = match finding.severity {
            Severity::Error => "a machine may refuse this job: ",
            Severity::Remark => "",
        };
        remark(format_args!("{output_name}: remark: {why}{finding}"));
    }
    for text in remarks {
        remark(format_args!("{name}: remark: {text}"));
    }
    Ok(())
}

/// Returns what `puls check` finds in a made job: nothing, unless an option asked for more than a machine can do.
fn check_made(job: &Builder) -> std::result::Result<Vec<Finding>, CliError> {
    let found = Job::open(job.reader()).and_then(|job| check(job, &CheckOptions::default()));
    found.map(|found| found.findings).map_err(CliError::failed)
}

/// Creates a job that only moves the lens.
fn empty(arguments: &Arguments) -> Result<Builder> {
    let mut job = arguments.frequency.map_or_else(|| Ok(Builder::new()), Builder::with_step_frequency)?;
    if let Some(serial) = arguments.serial {
        job.set(code::SERIAL_LOCK, serial)?;
    }
    if let Some([x_mm_s2, y_mm_s2]) = arguments.acceleration {
        job.acceleration(x_mm_s2, y_mm_s2)?;
    }
    if let Some(mm_s) = arguments.travel_speed {
        job.travel_speed(mm_s)?;
    }
    job.power_level(arguments.power_level)?;
    if let Some(material_mm) = arguments.focus {
        job.focus(material_mm)?;
    }
    Ok(job)
}

/// Returns the kind of the drawing, and remarks.
fn draw(arguments: &Arguments, path: &Path, job: &mut Builder) -> std::result::Result<(Kind, Vec<String>), CliError> {
    let named = match arguments.kind {
        Some(kind) => Some(kind),
        None => drawing::kind_of_name(path)?,
    };
    let (kind, text) = if let Some(kind) = named {
        (kind, None)
    } else {
        let text = drawing::read(path)?;
        (drawing::kind_of_content(path, &text)?, Some(text))
    };
    check_options(arguments, kind)?;
    let text = text.map_or_else(|| drawing::read(path), Ok)?;
    let placement = placement(arguments);
    let remarks = match kind {
        Kind::Gcode => {
            let mut settings = gcode::Settings::default();
            settings.placement = placement;
            settings.s_max = arguments.s_max.unwrap_or(settings.s_max);
            gcode::draw(job, &text, &settings).map(|remarks| remarks.iter().map(ToString::to_string).collect())
        }
        Kind::Svgpath => outline(arguments, job, &text).map(|()| Vec::new()),
        Kind::Svg => {
            let layers = layers(arguments)?;
            let scale = match (arguments.scale, arguments.width) {
                (Some(factor), _) => svg::Scale::Factor(factor),
                (None, Some(mm)) => svg::Scale::WidthMm(mm),
                (None, None) => svg::Scale::Units,
            };
            svg::read(&text, &svg::Settings::scaled(scale)).and_then(|drawing| layers.draw(job, &drawing, placement))
        }
        Kind::Picture => engrave(arguments, job, &text, placement).map(|()| Vec::new()),
    };
    remarks
        .map(|remarks| (kind, remarks))
        .map_err(|error| source::broken(path, &error).and(&drawing::hint_at_kind(kind, &text)))
}

/// Finds options that have no effect on a kind of drawing.
fn check_options(arguments: &Arguments, kind: Kind) -> std::result::Result<(), CliError> {
    let Arguments { speed, power, density, s_max, scale, width, dpi, shading, layer, layers, keep_order, .. } =
        arguments;
    let is_given = |options: &[bool]| options.contains(&true);
    let wrong = |message: &str| Err(CliError::usage(message));
    if kind == Kind::Gcode && is_given(&[speed.is_some(), power.is_some(), density.is_some()]) {
        return wrong("G-code sets speed (F) and power (S): omit --speed, --power and --density");
    }
    if kind != Kind::Gcode && s_max.is_some() {
        return wrong("only G-code has S: use --power instead of --s-max");
    }
    if kind != Kind::Svg && is_given(&[scale.is_some(), !layer.is_empty(), layers.is_some()]) {
        return wrong("--scale, --layer and --layers are for SVG files");
    }
    if !matches!(kind, Kind::Svg | Kind::Picture) && is_given(&[width.is_some(), dpi.is_some(), shading.is_some()]) {
        return wrong("--width, --dpi and --shading are for SVG files and pictures");
    }
    if !matches!(kind, Kind::Svg | Kind::Svgpath) && *keep_order {
        return wrong("--keep-order is for SVG files and path data: G-code and pictures have an order of their own");
    }
    Ok(())
}

/// Returns the settings that `--power`, `--density`, `--speed`, `--dpi` and `--shading` give to all layers.
fn base(arguments: &Arguments) -> LayerSettings {
    let mut base = LayerSettings::default();
    (base.power, base.density, base.speed_mm_s, base.dpi) =
        (arguments.power, arguments.density, arguments.speed, arguments.dpi);
    base.shading = arguments.shading.map(|shading| match shading {
        ShadingOption::Density => Shading::Density,
        ShadingOption::Diffusion => Shading::Diffusion,
        ShadingOption::Ordered => Shading::Ordered,
    });
    base
}

fn layers(arguments: &Arguments) -> std::result::Result<Layers, CliError> {
    let mut layers = Layers::default();
    layers.base = base(arguments);
    layers.keep_order = arguments.keep_order;
    if let Some(path) = &arguments.layers {
        let text = drawing::read(path)?;
        let text = String::from_utf8_lossy(&text);
        layers
            .set_from_toml(&text)
            .map_err(|error| CliError::usage(format_args!("{}: {error}", source::name(path))))?;
    }
    // After the file: they override it.
    arguments.layer.iter().try_for_each(|layer| layers.set(layer)).map_err(CliError::usage)?;
    Ok(layers)
}

fn engrave(arguments: &Arguments, job: &mut Builder, file: &[u8], placement: Placement) -> Result<()> {
    let base = base(arguments);
    let raster = Picture::decode(file)?.raster(arguments.width, base.engraving_dpi())?;
    raster.engrave(job, &base.engraving(placement))
}

fn draw_shape(arguments: &Arguments, job: &mut Builder) -> std::result::Result<(), CliError> {
    let path = if let Some([x, y]) = arguments.line {
        format!("M0 0 L{x} {y}")
    } else if let Some(side) = arguments.square {
        format!("M0 0 H{side} V{side} H0 Z")
    } else {
        // Clockwise from the middle of its back.
        let size = arguments.circle.unwrap_or_default();
        let radius = size / 2.0;
        format!("M{radius} 0 A{radius} {radius} 0 0 1 {radius} {size} A{radius} {radius} 0 0 1 {radius} 0")
    };
    outline(arguments, job, path.as_bytes()).map_err(|error| match error {
        // Line and column of this path mean nothing to the user.
        Error::Drawing { found, expected, .. } => {
            CliError::usage(format_args!("the shape does not fit: {found}, expected {expected}"))
        }
        other => CliError::usage(other),
    })
}

/// Cuts along path data.
fn outline(arguments: &Arguments, job: &mut Builder, path: &[u8]) -> Result<()> {
    let (speed_mm_s, laser) = base(arguments).cutting();
    let placement = placement(arguments);
    let contours = svgpath::contours(path, placement)?;
    let contours = if arguments.keep_order { contours } else { order(contours, [-placement.x_mm, -placement.y_mm]) };
    cut(job, &contours, placement, speed_mm_s, laser)
}

fn placement(arguments: &Arguments) -> Placement {
    let mut placement = Placement::at(arguments.at[0], arguments.at[1]);
    placement.flip_y = arguments.flip_y;
    placement
}
