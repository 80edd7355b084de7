//! Draws jobs for a page, with their measurements.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, html};
use sha2::{Digest, Sha256};

use super::image;
use crate::puls::{self, Job, Limits, Measured, Plot, PlotOptions, Seconds, View};

/// A drawing whose SVG is larger than this is embedded as PNG.
const MAX_SVG_BYTES: usize = 512 << 10;
/// Jobs with more ticks than this (almost two hours at the usual 10,000 a second) are not drawn.
const MAX_TICKS: u64 = 64 << 20;
/// The width of a drawing: its text is readable on a phone, and at twice the size on a desktop.
const WIDTH_PX: u32 = 480;

/// A SHA-256 hash.
pub(super) type Hash = [u8; 32];

/// A drawn job, or why it could not be drawn.
pub(crate) type DrawResult = Result<JobDrawing, String>;

/// A drawn job.
#[derive(Debug)]
pub(crate) struct JobDrawing {
    /// Identifies equal jobs, so that each is embedded once.
    pub(super) hash: Hash,
    pub(super) image: Image,
    pub(super) size_px: (u32, u32),
    pub(super) measurements_html: String,
}

#[derive(Debug)]
pub(super) enum Image {
    Svg(String),
    PngBase64(String),
}

impl JobDrawing {
    /// Returns the space it takes on a page.
    pub(crate) fn bytes(&self) -> usize {
        let (Image::Svg(text) | Image::PngBase64(text)) = &self.image;
        text.len() + self.measurements_html.len()
    }
}

/// Draws the job in a file. Calls `keep_going` often, and stops if it returns false.
pub(crate) fn draw(path: &Path, name: &str, keep_going: &mut dyn FnMut() -> bool) -> DrawResult {
    let stopped = "drawing was interrupted";
    let hash = hash_file(path, b"job").map_err(|e| cannot_read(&e))?;
    let file = File::open(path).map_err(|e| cannot_read(&e))?;
    let limits = Limits { body_bytes: Some(MAX_TICKS) };
    let job = Job::with_limits(file, limits).map_err(|e| format!("cannot draw it: {e}"))?;
    let plot = Plot::from_job_while(job, &mut *keep_going).map_err(|e| match e {
        puls::Error::TooLarge { .. } => {
            format!("a job of more than {MAX_TICKS} ticks, too long to draw here; use \"puls plot\"")
        }
        e => format!("cannot draw it: {e}"),
    })?;
    let plot = plot.ok_or(stopped)?;
    let mut sheet = PlotOptions::new(name);
    sheet.width_px = WIDTH_PX;
    sheet.view = View::Job;
    let measurements_html = measurements(plot.measured()).into_string();
    let svg = plot.to_svg(&sheet);
    if svg.len() <= MAX_SVG_BYTES {
        let height = view_box_height(&svg).unwrap_or(WIDTH_PX);
        return Ok(JobDrawing { hash, image: Image::Svg(svg), size_px: (WIDTH_PX, height), measurements_html });
    }
    drop(svg);
    if !keep_going() {
        return Err(stopped.into());
    }
    sheet.width_px = 2 * WIDTH_PX;
    let png = plot.to_png(&sheet).map_err(|e| e.to_string())?;
    let size_px = image::size_px(&png).unwrap_or(image::DEFAULT_SIZE_PX);
    Ok(JobDrawing { hash, image: Image::PngBase64(STANDARD.encode(&png)), size_px, measurements_html })
}

/// Renders a job's measurements as text that can be searched and copied. The drawing shows them too.
fn measurements(job: &Measured) -> Markup {
    let run_time = job.run_time_s.map(|s| Seconds(s).to_string());
    let z = job.extents.z;
    let [low, high] = [z.min, z.max].map(|steps| job.header.z_mm(steps));
    let lens = (z.min != z.max).then(|| ("lens", format!("{low:.1} to {high:.1} mm above its start")));
    let rows = [
        ("run time", run_time.unwrap_or_else(|| "no step frequency".into())),
        ("ticks", job.ticks.to_string()),
        ("total path", format!("{:.1} mm", job.travelled_mm)),
        ("cut", format!("{:.1} mm", job.cut_mm)),
        ("laser on", format!("{} ticks", job.counts.le)),
        ("top speed", job.peak_mm_s.map_or_else(|| "unknown".into(), |speed| format!("{speed:.1} mm/s"))),
    ];
    html! {
        dl.measurements { @for (name, value) in rows.into_iter().chain(lens) { div { dt { (name) } dd { (value) } } } }
        @for refusal in job.check(None) { p.note { "A machine would refuse it: " (refusal.to_string()) } }
    }
}

/// Returns the last number of the SVG's `viewBox`.
fn view_box_height(svg: &str) -> Option<u32> {
    let rest = svg.split_once("viewBox=\"")?.1;
    rest.split_once('"')?.0.rsplit(' ').next()?.parse().ok()
}

pub(super) fn cannot_read(error: &io::Error) -> String {
    format!("cannot read it: {error}")
}

/// Hashes a file. The salt keeps a picture and a job of the same bytes apart.
pub(super) fn hash_file(path: &Path, salt: &[u8]) -> io::Result<Hash> {
    let mut hash = Sha256::new_with_prefix(salt);
    let (mut file, mut buffer) = (File::open(path)?, vec![0; 64 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            n => hash.update(&buffer[..n]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stops_drawing_when_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.puls");
        let mut job = puls::Builder::new().to_bytes();
        job.extend([0x11; 100]);
        std::fs::write(&path, job).unwrap();
        assert_eq!(draw(&path, "1.puls", &mut || false).unwrap_err(), "drawing was interrupted");
        assert!(draw(&path, "1.puls", &mut || true).is_ok());
    }

    #[test]
    fn the_range_of_the_lens_is_shown_if_it_moves() {
        let shown =
            |job: &puls::Builder| measurements(&puls::measure(job.reader(), puls::Limits::NONE).unwrap()).into_string();
        assert!(!shown(puls::Builder::new().move_to(3.0, 4.0).unwrap()).contains("lens"));
        let text = shown(puls::Builder::new().focus(0.0).unwrap());
        assert!(text.contains("mm above its start"), "{text}");
    }

    #[test]
    fn reads_the_height_of_a_view_box() {
        assert_eq!(view_box_height("<svg viewBox=\"0 0 480 612\" width=\"480\">"), Some(612));
        assert_eq!(view_box_height("<svg>"), None);
    }
}
