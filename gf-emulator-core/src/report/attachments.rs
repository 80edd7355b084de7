//! Pictures and jobs beside a recording, on their way into the page: each once, whatever it is called, and no more of
//! them than a browser can bear.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::diagram::bytes as size;
use super::said::Brief;
use crate::puls::{Job, Measured, Plot, Seconds, Sheet, View};
use crate::record::Recording;

/// A larger picture is named, and not shown. A machine's own have some 400 kB.
const MOST_PICTURE: u64 = 4 << 20;
/// No more than this is embedded in all.
const MOST_IN_ALL: usize = 64 << 20;
/// A drawing that is longer as SVG is embedded as PNG.
const MOST_DRAWING: usize = 512 << 10;
/// How wide jobs are drawn: text that is readable on a phone, and twice as large on a desk.
const DRAWING_PX: u32 = 480;
/// What a picture is taken to be that does not say how large it is.
const ANY_SIZE: (u32, u32) = (640, 480);

/// More things than can be embedded.
const MOST_IDS: usize = 1 << 20;

/// What has been embedded so far.
pub(super) struct Attachments<'a> {
    recording: &'a Recording,
    /// Where ids begin: parts of one page that are written apart must not share any.
    first_id: usize,
    known: HashMap<[u8; 32], Known>,
    left_bytes: usize,
}

/// Something that is in the page already, by its id.
#[derive(Clone)]
struct Known {
    id: usize,
    size: (u32, u32),
    /// A job's numbers.
    numbers: Option<Markup>,
}

impl<'a> Attachments<'a> {
    /// For the articles from the `from`th on.
    pub(super) fn new(recording: &'a Recording, from: usize) -> Self {
        Self { recording, first_id: from.saturating_mul(MOST_IDS), known: HashMap::new(), left_bytes: MOST_IN_ALL }
    }

    /// The file of that name, as an entry has it: as a picture, a drawn job, or a name with a remark.
    pub(super) fn show(&mut self, name: &str) -> Markup {
        let shown = self.recording.file(name).ok_or_else(|| "no file of a recording is called that".to_owned());
        let shown = shown.and_then(|path| self.embed(&path, name));
        shown.unwrap_or_else(|why| html! { p.note { (Brief(name, 80)) ": " (Brief(&why, 200)) } })
    }

    fn embed(&mut self, path: &Path, name: &str) -> Result<Markup, String> {
        let unread = |e: io::Error| format!("cannot read it: {e}");
        // A link may lead anywhere, and a pipe nowhere.
        let about = fs::symlink_metadata(path).map_err(unread)?;
        if !about.is_file() {
            return Err("it is no file".into());
        }
        let mut start = Vec::new();
        File::open(path).and_then(|file| file.take(8).read_to_end(&mut start)).map_err(unread)?;
        let hash = |salt: &[u8]| -> io::Result<[u8; 32]> {
            let mut hash = Sha256::new_with_prefix(salt);
            let (mut file, mut buffer) = (File::open(path)?, vec![0; 64 << 10]);
            loop {
                match file.read(&mut buffer)? {
                    0 => return Ok(hash.finalize().into()),
                    n => hash.update(&buffer[..n]),
                }
            }
        };
        if let Some(kind) = picture_kind(&start) {
            if about.len() > MOST_PICTURE {
                return Err(format!("a picture of {}, too large to be shown here", size(about.len())));
            }
            self.picture(path, name, kind, hash(b"picture").map_err(unread)?)
        } else if start.get(1..4) == Some(b"GF1") || start.starts_with(&[0x1f, 0x8b]) {
            self.job(path, name, hash(b"job").map_err(unread)?)
        } else {
            Err(format!("{}, neither a picture nor a pulse file", size(about.len())))
        }
    }

    fn picture(&mut self, path: &Path, name: &str, kind: &str, hash: [u8; 32]) -> Result<Markup, String> {
        let again = self.known.get(&hash).cloned();
        let (known, data) = if let Some(known) = again {
            (known, None)
        } else {
            let mut bytes = Vec::new();
            let file = File::open(path).map_err(|e| e.to_string())?;
            file.take(MOST_PICTURE).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
            let data = format!("data:image/{kind};base64,{}", STANDARD.encode(&bytes));
            self.take(data.len())?;
            let known = Known { id: self.next_id(), size: size_of(&bytes).unwrap_or(ANY_SIZE), numbers: None };
            self.known.insert(hash, known.clone());
            (known, Some(data))
        };
        let (width, height) = known.size;
        let image = html! {
            svg role="img" aria-label={ "picture " (Brief(name, 80)) } viewBox={ "0 0 " (width) " " (height) } {
                @match data {
                    Some(data) => { image id={ "k" (known.id) } width=(width) height=(height) href=(data) {} }
                    None => { use href={ "#k" (known.id) } {} }
                }
            }
        };
        Ok(figure("picture", &image, name, &format!("{width} × {height}")))
    }

    fn job(&mut self, path: &Path, name: &str, hash: [u8; 32]) -> Result<Markup, String> {
        let label = html! { (Brief(name, 80)) };
        if let Some(known) = self.known.get(&hash) {
            let (width, height) = known.size;
            let image = html! {
                svg role="img" aria-label={ "job " (label) } viewBox={ "0 0 " (width) " " (height) }
                    preserveAspectRatio="xMidYMin slice" {
                    use href={ "#k" (known.id) } width=(width) height=(height) {}
                }
            };
            return Ok(
                html! { (figure("job", &image, name, "the same job again")) @if let Some(n) = &known.numbers { (n) } },
            );
        }
        let file = File::open(path).map_err(|e| e.to_string())?;
        let plot = Job::open(file).and_then(Plot::of).map_err(|e| format!("it cannot be drawn: {e}"))?;
        let mut sheet = Sheet::new(name);
        sheet.width_px = DRAWING_PX;
        sheet.view = View::Job;
        let numbers = numbers(plot.measured());
        let drawing = plot.to_svg(&sheet);
        let id = self.next_id();
        let (image, size) = if drawing.len() <= MOST_DRAWING {
            self.take(drawing.len())?;
            let height = view_height(&drawing).unwrap_or(DRAWING_PX);
            // The plotter's own: it escapes what it is given, and has neither ids nor scripts. It gets an id here.
            let named =
                drawing.replacen("<svg ", &format!("<svg id=\"k{id}\" preserveAspectRatio=\"xMidYMin slice\" "), 1);
            (PreEscaped(named), (DRAWING_PX, height))
        } else {
            sheet.width_px = 2 * DRAWING_PX;
            let png = plot.to_png(&sheet).map_err(|e| e.to_string())?;
            let data = format!("data:image/png;base64,{}", STANDARD.encode(&png));
            self.take(data.len())?;
            let (width, height) = size_of(&png).unwrap_or(ANY_SIZE);
            let image = html! {
                svg role="img" aria-label={ "job " (label) } viewBox={ "0 0 " (width) " " (height) }
                    preserveAspectRatio="xMidYMin slice" {
                    image id={ "k" (id) } width=(width) height=(height) href=(data) {}
                }
            };
            (image, (width, height))
        };
        self.known.insert(hash, Known { id, size, numbers: Some(numbers.clone()) });
        Ok(html! { (figure("job", &image, name, "")) (numbers) })
    }

    fn next_id(&self) -> usize {
        self.first_id.saturating_add(self.known.len())
    }

    fn take(&mut self, bytes: usize) -> Result<(), String> {
        let left = self.left_bytes.checked_sub(bytes);
        self.left_bytes = left.ok_or_else(|| {
            format!("not shown: there are {} of pictures and drawings in this page already", size(MOST_IN_ALL as u64))
        })?;
        Ok(())
    }
}

/// Small, and large once it is opened: no script, and not a byte twice.
fn figure(class: &str, image: &Markup, name: &str, about: &str) -> Markup {
    html! {
        details class=(class) {
            summary { (image) span { (Brief(name, 80)) @if !about.is_empty() { small { " " (about) } } } }
        }
    }
}

/// The drawing has them too; here they can be searched and copied.
fn numbers(job: &Measured) -> Markup {
    let run_time = job.run_time_s.map(|s| Seconds(s).to_string());
    let numbers = [
        ("to run", run_time.unwrap_or_else(|| "no step frequency".into())),
        ("ticks", job.ticks.to_string()),
        ("travelled", format!("{:.1} mm", job.travelled_mm)),
        ("cut", format!("{:.1} mm", job.cut_mm)),
        ("laser fires", format!("{} ticks", job.counts.le)),
        ("fastest", job.peak_mm_s.map_or_else(|| "unknown".into(), |speed| format!("{speed:.1} mm/s"))),
    ];
    html! {
        dl.numbers { @for (name, value) in numbers { div { dt { (name) } dd { (value) } } } }
        @for refusal in job.header.check(None) { p.note { "A machine would refuse it: " (refusal.to_string()) } }
    }
}

fn picture_kind(start: &[u8]) -> Option<&'static str> {
    if start.starts_with(b"\xff\xd8\xff") {
        Some("jpeg")
    } else if start.starts_with(b"\x89PNG\r\n\x1a\n") {
        Some("png")
    } else {
        None
    }
}

/// How large a picture says that it is, in pixels.
fn size_of(bytes: &[u8]) -> Option<(u32, u32)> {
    let be16 = |at: usize| Some(u32::from(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?)));
    let be32 = |at: usize| Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (width, height) = if bytes.starts_with(b"\x89PNG") {
        (be32(16)?, be32(20)?)
    } else {
        // Segment by segment, to the first that begins a frame (SOF).
        let mut at = 2;
        loop {
            let marker = *bytes.get(at + 1)?;
            let is_frame = (0xc0..=0xcf).contains(&marker) && ![0xc4, 0xc8, 0xcc].contains(&marker);
            match (*bytes.get(at)?, marker) {
                (0xff, 0xff) => at += 1,
                (0xff, _) if is_frame => break (be16(at + 7)?, be16(at + 5)?),
                (0xff, _) => at += 2 + usize::try_from(be16(at + 2)?).ok()?,
                _ => return None,
            }
        }
    };
    let sensible = 1..=65_535;
    (sensible.contains(&width) && sensible.contains(&height)).then_some((width, height))
}

/// How high a drawing is: the last number of its `viewBox`.
fn view_height(svg: &str) -> Option<u32> {
    let rest = svg.split_once("viewBox=\"")?.1;
    rest.split_once('"')?.0.rsplit(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_say_how_large_they_are() {
        let jpeg = b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xc0\0\x11\x08\x01\0\x02\0rest";
        assert_eq!(size_of(jpeg), Some((512, 256)));
        for end in 0..18 {
            assert_eq!(size_of(&jpeg[..end]), None, "{end} bytes");
        }
        assert_eq!(size_of(b"\xff\xd8\xff\xe0\0\0\xff\xe0\0\0"), None);
        assert_eq!(size_of(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x05\0\0\0\x06"), Some((5, 6)));
        assert_eq!(size_of(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\0\0\x05\0\0\0\x06"), None);
    }

    #[test]
    fn a_drawing_says_how_high_it_is() {
        assert_eq!(view_height("<svg viewBox=\"0 0 480 612\" width=\"480\">"), Some(612));
        assert_eq!(view_height("<svg>"), None);
    }
}
