//! Pictures and jobs beside a recording, on their way into the page: each once, whatever it is called, and no more of
//! them than a browser can bear.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::diagram::bytes as size;
use super::said::Brief;
use crate::puls::{self, Job, Limits, Measured, Plot, PlotOptions, Seconds, View};
use crate::record::file_beside;

/// A larger picture is named, and not shown. A machine's own have some 400 kB.
const MOST_PICTURE: u64 = 4 << 20;
/// No more than this is embedded in all.
const MOST_IN_ALL: usize = 64 << 20;
/// A drawing that is longer as SVG is embedded as PNG.
const MOST_DRAWING: usize = 512 << 10;
/// A job of more ticks than this (almost two hours at the usual 10,000 a second) is named, and not drawn.
const MOST_TICKS: u64 = 64 << 20;
/// How wide jobs are drawn: text that is readable on a phone, and twice as large on a desk.
const DRAWING_PX: u32 = 480;
/// What a picture is taken to be that does not say how large it is.
const ANY_SIZE: (u32, u32) = (640, 480);

/// Who draws jobs.
pub(crate) enum Drawer<'a> {
    /// Whoever writes the page, as it gets there.
    AtOnce,
    /// Somebody else, while it is recorded.
    #[cfg_attr(not(feature = "follow"), allow(dead_code, reason = "only a page that goes on has one"))]
    Elsewhere {
        /// Whether the file of that name is still being written.
        is_writing: Box<Asked<'a, bool>>,
        /// The drawing of the job in the file of that name; nothing while it is not drawn yet.
        drawing: Box<Asked<'a, Option<Arc<Drawing>>>>,
    },
}

type Asked<'a, T> = dyn Fn(&str) -> T + 'a;

/// A job that has been drawn, or why it cannot be.
pub(crate) type Drawing = Result<Drawn, String>;

/// A drawn job.
#[derive(Debug)]
pub(crate) struct Drawn {
    /// Of the file: the same job again needs no other drawing.
    hash: Hash,
    picture: Picture,
    size: (u32, u32),
    /// As HTML.
    numbers: String,
}

#[derive(Debug)]
enum Picture {
    Svg(String),
    /// Base64.
    Png(String),
}

impl Drawn {
    /// How much of a page it takes.
    pub(crate) fn bytes(&self) -> usize {
        let (Picture::Svg(text) | Picture::Png(text)) = &self.picture;
        text.len() + self.numbers.len()
    }
}

type Hash = [u8; 32];

/// What has been embedded so far.
pub(super) struct Attachments<'a> {
    folder: &'a Path,
    drawer: &'a Drawer<'a>,
    /// What is in the page already, by what it is.
    known: HashMap<Hash, Known>,
    left_bytes: usize,
}

/// Something that is in the page already.
#[derive(Debug, Default)]
struct Known {
    size: (u32, u32),
    /// A job's, as HTML.
    numbers: String,
}

impl<'a> Attachments<'a> {
    pub(super) fn new(folder: &'a Path, drawer: &'a Drawer<'a>) -> Self {
        Self { folder, drawer, known: HashMap::new(), left_bytes: MOST_IN_ALL }
    }

    /// The file of that name, as an entry has it: as a picture, a drawn job, or a name with a remark.
    pub(super) fn show(&mut self, name: &str) -> Markup {
        let shown = file_beside(self.folder, name).ok_or_else(|| "no file of a recording is called that".to_owned());
        let shown = shown.and_then(|path| self.embed(&path, name));
        shown.unwrap_or_else(|why| html! { p.note { (Brief(name, 80)) ": " (Brief(&why, 200)) } })
    }

    fn embed(&mut self, path: &Path, name: &str) -> Result<Markup, String> {
        if let Drawer::Elsewhere { is_writing, .. } = self.drawer
            && is_writing(name)
        {
            return Ok(html! { p.note.pending { (Brief(name, 80)) ": it is being written" } });
        }
        // A link may lead anywhere, and a pipe nowhere.
        let about = fs::symlink_metadata(path).map_err(|e| unread(&e))?;
        if !about.is_file() {
            return Err("it is no file".into());
        }
        let mut start = Vec::new();
        File::open(path).and_then(|file| file.take(8).read_to_end(&mut start)).map_err(|e| unread(&e))?;
        if let Some(kind) = picture_kind(&start) {
            if about.len() > MOST_PICTURE {
                return Err(format!("a picture of {}, too large to be shown here", size(about.len())));
            }
            self.picture(path, name, kind)
        } else if puls::Encoding::detect(&start).is_some() {
            match self.drawer {
                Drawer::AtOnce => {
                    let hash = hash_of(path, b"job").map_err(|e| unread(&e))?;
                    if self.known.contains_key(&hash) {
                        return Ok(self.job_again(name, &hash));
                    }
                    self.job(name, draw(path, name, &mut || true).as_ref())
                }
                Drawer::Elsewhere { drawing, .. } => match drawing(name) {
                    Some(drawing) => self.job(name, drawing.as_ref().as_ref()),
                    None => Ok(html! { p.note.pending { (Brief(name, 80)) ": it is being drawn" } }),
                },
            }
        } else {
            Err(format!("{}, neither a picture nor a pulse file", size(about.len())))
        }
    }

    fn picture(&mut self, path: &Path, name: &str, kind: &str) -> Result<Markup, String> {
        let hash = hash_of(path, b"picture").map_err(|e| unread(&e))?;
        let (id, again) = (id_of(&hash), self.known.get(&hash).map(|known| known.size));
        let (size, data) = if let Some(size) = again {
            (size, None)
        } else {
            let mut bytes = Vec::new();
            let file = File::open(path).map_err(|e| e.to_string())?;
            file.take(MOST_PICTURE).read_to_end(&mut bytes).map_err(|e| e.to_string())?;
            let data = format!("data:image/{kind};base64,{}", STANDARD.encode(&bytes));
            self.take(data.len())?;
            let size = size_of(&bytes).unwrap_or(ANY_SIZE);
            self.known.insert(hash, Known { size, ..Known::default() });
            (size, Some(data))
        };
        let (width, height) = size;
        let image = html! {
            svg role="img" aria-label={ "picture " (Brief(name, 80)) } viewBox={ "0 0 " (width) " " (height) } {
                @match data {
                    Some(data) => { image id=(id) width=(width) height=(height) href=(data) {} }
                    None => { use href={ "#" (id) } {} }
                }
            }
        };
        Ok(figure("picture", &image, name, &format!("{width} × {height}")))
    }

    fn job(&mut self, name: &str, drawing: Result<&Drawn, &String>) -> Result<Markup, String> {
        let drawn = drawing.map_err(Clone::clone)?;
        if self.known.contains_key(&drawn.hash) {
            return Ok(self.job_again(name, &drawn.hash));
        }
        self.take(drawn.bytes())?;
        let known = Known { size: drawn.size, numbers: drawn.numbers.clone() };
        self.known.insert(drawn.hash, known);
        let (id, (width, height)) = (id_of(&drawn.hash), drawn.size);
        let image = match &drawn.picture {
            // The plotter's own: it escapes what it is given, and has neither ids nor scripts. It gets an id here.
            Picture::Svg(svg) => {
                let named = format!("<svg id=\"{id}\" preserveAspectRatio=\"xMidYMin slice\" ");
                PreEscaped(svg.replacen("<svg ", &named, 1))
            }
            Picture::Png(base64) => html! {
                svg role="img" aria-label={ "job " (Brief(name, 80)) } viewBox={ "0 0 " (width) " " (height) }
                    preserveAspectRatio="xMidYMin slice" {
                    image id=(id) width=(width) height=(height) href={ "data:image/png;base64," (base64) } {}
                }
            },
        };
        Ok(html! { (figure("job", &image, name, "")) (PreEscaped(&drawn.numbers)) })
    }

    /// A job that is in the page already.
    fn job_again(&self, name: &str, hash: &Hash) -> Markup {
        let Some(known) = self.known.get(hash) else { return html! {} };
        let (width, height) = known.size;
        let image = html! {
            svg role="img" aria-label={ "job " (Brief(name, 80)) } viewBox={ "0 0 " (width) " " (height) }
                preserveAspectRatio="xMidYMin slice" {
                use href={ "#" (id_of(hash)) } width=(width) height=(height) {}
            }
        };
        html! { (figure("job", &image, name, "the same job again")) (PreEscaped(&known.numbers)) }
    }

    fn take(&mut self, bytes: usize) -> Result<(), String> {
        let left = self.left_bytes.checked_sub(bytes);
        self.left_bytes = left.ok_or_else(|| {
            format!("not shown: there are {} of pictures and drawings in this page already", size(MOST_IN_ALL as u64))
        })?;
        Ok(())
    }
}

fn unread(error: &io::Error) -> String {
    format!("cannot read it: {error}")
}

/// What tells files apart: the same bytes as a picture and as a job are two things.
fn hash_of(path: &Path, salt: &[u8]) -> io::Result<Hash> {
    let mut hash = Sha256::new_with_prefix(salt);
    let (mut file, mut buffer) = (File::open(path)?, vec![0; 64 << 10]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(hash.finalize().into()),
            n => hash.update(&buffer[..n]),
        }
    }
}

/// An element's id, made of what it shows: parts of a page that are written at different times agree on it.
fn id_of(hash: &Hash) -> String {
    hash.iter().take(8).fold("k".to_owned(), |id, byte| id + &format!("{byte:02x}"))
}

/// Draws the job in a file, for a page. `go_on` is asked again and again, and ends it.
pub(crate) fn draw(path: &Path, name: &str, go_on: &mut dyn FnMut() -> bool) -> Drawing {
    let hash = hash_of(path, b"job").map_err(|e| unread(&e))?;
    let file = File::open(path).map_err(|e| unread(&e))?;
    let limits = Limits { body_bytes: Some(MOST_TICKS) };
    let job = Job::with_limits(file, limits).map_err(|e| format!("it cannot be drawn: {e}"))?;
    let plot = Plot::from_job_while(job, &mut *go_on).map_err(|e| match e {
        puls::Error::TooLarge { .. } => {
            format!("a job of more than {MOST_TICKS} ticks, too long to be drawn here: \"puls plot\" draws it")
        }
        e => format!("it cannot be drawn: {e}"),
    })?;
    let plot = plot.ok_or("it was not drawn to its end")?;
    let mut sheet = PlotOptions::new(name);
    sheet.width_px = DRAWING_PX;
    sheet.view = View::Job;
    let numbers = numbers(plot.measured()).into_string();
    let svg = plot.to_svg(&sheet);
    if svg.len() <= MOST_DRAWING {
        let height = view_height(&svg).unwrap_or(DRAWING_PX);
        return Ok(Drawn { hash, picture: Picture::Svg(svg), size: (DRAWING_PX, height), numbers });
    }
    drop(svg);
    if !go_on() {
        return Err("it was not drawn to its end".into());
    }
    sheet.width_px = 2 * DRAWING_PX;
    let png = plot.to_png(&sheet).map_err(|e| e.to_string())?;
    let size = size_of(&png).unwrap_or(ANY_SIZE);
    Ok(Drawn { hash, picture: Picture::Png(STANDARD.encode(&png)), size, numbers })
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
