//! Large drawings: time and memory to make a job of each, as `puls make` does, and the size of the job.
//!
//! `cargo bench -p gf-emulator-tests --bench drawings`.

mod support;

use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::hint::black_box;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use gf_emulator_core::puls::svg::{self, Settings};
use gf_emulator_core::puls::{
    Builder, CheckOptions, Job, LayerSettings, Layers, Picture, Placement, check, gcode, read_drawing,
};
use image::{GrayImage, Luma};
use support::process::status;
use support::{Report, Samples, ms};

/// The length of the G-code and the SVG file.
const TEXT_BYTES: usize = 20_000_000;
/// The size of the picture when it is engraved: 600 x 400 mm.
const PICTURE_MM: (f64, u32, u32) = (600.0, 3000, 2000);
const DPI: f64 = 270.0;
/// The length of a segment in the drawings.
const SEGMENT_MM: f64 = 0.1;
const ROUNDS: usize = 3;
/// The target: the peak memory, above that of an empty job, is at most this multiple of the size of the job and the drawing.
const MULTIPLE: f64 = 4.0;
/// The environment variable of a child process: the drawing of which it makes a job.
const MAKE: &str = "GF_BENCH_MAKE";

fn main() -> ExitCode {
    if let Some(path) = std::env::var_os(MAKE) {
        let bytes = make(Path::new(&path)).expect("a valid drawing");
        println!("{bytes} {}", status("self", "VmHWM").unwrap_or_default());
        return ExitCode::SUCCESS;
    }
    if !support::is_bench_run() {
        return ExitCode::SUCCESS;
    }
    let folder = tempfile::tempdir().expect("a temp folder");
    let path = |name: &str| folder.path().join(name);
    fs::write(path("empty.gcode"), "G0 X1").expect("written");
    fs::write(path("rows.gcode"), rows()).expect("written");
    fs::write(path("curves.svg"), curves()).expect("written");
    picture().save(path("picture.png")).expect("written");

    let mut report = Report::default();
    let empty = run(&path("empty.gcode")).peak_kib;
    for (what, name) in [
        ("G-code of 20 MB", "rows.gcode"),
        ("SVG of 20 MB", "curves.svg"),
        ("a picture, 600 x 400 mm at 270 dpi", "picture.png"),
    ] {
        let runs: Vec<_> = (0..ROUNDS).map(|_| run(&path(name))).collect();
        let times: Samples = runs.iter().map(|run| run.took).collect();
        let job_mb = runs[0].job_bytes as f64 / 1e6;
        report.info(what, &format!("{:.1} s, a job of {job_mb:.0} MB", ms(times.median()) / 1e3));
        let peak_mb =
            runs.iter().map(|run| run.peak_kib).max().unwrap_or_default().saturating_sub(empty) as f64 * 1.024e-3;
        let drawing_mb = fs::metadata(path(name)).expect("it exists").len() as f64 / 1e6;
        let limit_mb = MULTIPLE * (job_mb + drawing_mb);
        let figure = format!("{peak_mb:.0} MB, {:.1} x", peak_mb / (job_mb + drawing_mb));
        report.check("  peak memory", &figure, &format!("at most {MULTIPLE} x job and drawing"), peak_mb <= limit_mb);
    }
    report.finish()
}

/// A child process that made a job.
struct Run {
    took: Duration,
    job_bytes: u64,
    peak_kib: u64,
}

fn run(drawing: &Path) -> Run {
    let this = std::env::current_exe().expect("the path of this program");
    let since = Instant::now();
    let output = Command::new(this).env(MAKE, drawing).output().expect("started");
    let took = since.elapsed();
    let text = String::from_utf8(output.stdout).expect("text");
    let mut numbers = text.split_whitespace().map(|number| number.parse().expect("a number"));
    let mut next = || numbers.next().expect("two numbers");
    Run { took, job_bytes: next(), peak_kib: next() }
}

/// Makes a job of a drawing, checks it and writes it, and returns its size.
fn make(path: &Path) -> Result<u64, Box<dyn Error>> {
    let drawing = read_drawing(File::open(path)?)?;
    let mut job = Builder::new();
    let name = path.to_string_lossy();
    if name.ends_with("gcode") {
        gcode::draw(&mut job, &drawing, &gcode::Settings::default())?;
    } else if name.ends_with("svg") {
        let drawing = svg::read(&drawing, &Settings::default())?;
        let mut layers = Layers::default();
        layers.set("black=cut,speed=100")?;
        layers.draw(&mut job, &drawing, Placement::default())?;
    } else {
        let raster = Picture::decode(&drawing)?.raster(Some(PICTURE_MM.0), DPI)?;
        raster.engrave(&mut job, &LayerSettings::default().engraving(Placement::default()))?;
    }
    black_box(check(Job::open(job.reader())?, &CheckOptions::default())?);
    let file = tempfile::tempfile()?;
    job.write_to(&mut &file)?;
    Ok(file.metadata()?.len())
}

/// Returns an engraving as laser programs write it: rows to and fro, a power for each segment.
fn rows() -> String {
    let mut text = String::with_capacity(TEXT_BYTES + 100);
    text.push_str("G21\nG90\nM4 S0\nF6000\n");
    for row in 0.. {
        for column in 0..4000 {
            let x = f64::from(if row % 2 == 0 { column } else { 3999 - column }) * SEGMENT_MM;
            let power = (row * 7 + column) % 1000;
            let _ = writeln!(text, "G1 X{x:.3} Y{:.3} S{power}", f64::from(row) * SEGMENT_MM);
        }
        if text.len() >= TEXT_BYTES {
            break;
        }
    }
    text.push_str("M5\n");
    text
}

/// Returns a file of curves with many points, as tracing programs and maps have them.
fn curves() -> String {
    let mut text = String::with_capacity(TEXT_BYTES + 1000);
    text.push_str(
        r#"<svg xmlns="http://www.w3.org/2000/svg" width="480mm" height="270mm" viewBox="0 0 480 270" fill="none" stroke="black">"#,
    );
    for curve in 0.. {
        let [x, y] = [f64::from(curve * 37 % 400), f64::from(curve * 91 % 200)];
        let _ = write!(text, r#"<path d="M"#);
        for point in 0..1000 {
            let along = f64::from(point) * SEGMENT_MM;
            let _ = write!(text, "{:.2},{:.2} ", x + along * 0.7, y + 20.0 + 20.0 * (along / 10.0).sin());
        }
        text.push_str(r#""/>"#);
        if text.len() >= TEXT_BYTES {
            break;
        }
    }
    text.push_str("</svg>");
    text
}

/// Returns a picture with all shades of grey.
fn picture() -> GrayImage {
    let (_, width, height) = PICTURE_MM;
    GrayImage::from_fn(width, height, |x, y| {
        let wave = (f64::from(x) / 90.0).sin() * (f64::from(y) / 70.0).cos();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
        Luma([(127.5 + 127.0 * wave) as u8])
    })
}
