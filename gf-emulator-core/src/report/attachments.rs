//! Embeds the pictures and jobs next to a recording, each once, up to a total size.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{Markup, PreEscaped, html};

use super::drawing::{DrawResult, Hash, Image, JobDrawing, cannot_read, draw, hash_file};
use super::escape::Truncated;
use super::image;
use crate::puls;
use crate::record::file_beside;
use crate::words::size;

/// Larger pictures are only named. A machine's own have about 400 kB.
const MAX_PICTURE_BYTES: u64 = 4 << 20;
/// The most embedded in a page.
const MAX_TOTAL_BYTES: usize = 64 << 20;
/// The most characters shown of a file name.
const MAX_NAME: usize = 80;

/// How jobs are drawn.
pub(crate) enum JobRenderer<'a> {
    /// While the page is written.
    Inline,
    /// By another thread, while the session is still being recorded.
    #[cfg_attr(not(feature = "follow"), allow(dead_code, reason = "used by live pages"))]
    Background {
        /// Whether the file of that name is still being written.
        is_being_written: Box<ByName<'a, bool>>,
        /// The drawing of the job in the file of that name, once it is drawn.
        drawing: Box<ByName<'a, Option<Arc<DrawResult>>>>,
    },
}

type ByName<'a, T> = dyn Fn(&str) -> T + 'a;

/// What a page has embedded so far.
pub(super) struct Attachments<'a> {
    folder: &'a Path,
    renderer: &'a JobRenderer<'a>,
    embedded: HashMap<Hash, Embedded>,
    bytes_left: usize,
    /// How often a file could not be shown: it is missing, invalid or too large.
    pub(super) not_shown: usize,
    /// What the file that is being rendered belongs to.
    of: String,
}

/// A picture or job that the page already has.
#[derive(Debug)]
struct Embedded {
    size_px: (u32, u32),
    /// Empty for a picture.
    measurements_html: String,
}

impl<'a> Attachments<'a> {
    pub(super) fn new(folder: &'a Path, renderer: &'a JobRenderer<'a>) -> Self {
        Self {
            folder,
            renderer,
            embedded: HashMap::new(),
            bytes_left: MAX_TOTAL_BYTES,
            not_shown: 0,
            of: String::new(),
        }
    }

    /// Renders the file that an entry names: a picture, a drawn job, or the name and why it is not shown. `of` is what it
    /// belongs to, for people.
    pub(super) fn show(&mut self, name: &str, of: &str) -> Markup {
        of.clone_into(&mut self.of);
        let path = file_beside(self.folder, name).ok_or_else(|| "not a valid file name".to_owned());
        let shown = path.and_then(|path| self.embed(&path, name));
        shown.unwrap_or_else(|why| {
            self.not_shown += 1;
            html! { p.note { (Truncated(name, MAX_NAME)) ": " (Truncated(&why, 200)) } }
        })
    }

    fn embed(&mut self, path: &Path, name: &str) -> Result<Markup, String> {
        if let JobRenderer::Background { is_being_written, .. } = self.renderer
            && is_being_written(name)
        {
            return Ok(pending(name, "being written"));
        }
        // Neither symbolic links, which may point anywhere, nor pipes, which may block.
        let metadata = fs::symlink_metadata(path).map_err(|e| cannot_read(&e))?;
        if !metadata.is_file() {
            return Err("not a regular file".into());
        }
        let mut start = Vec::new();
        File::open(path).and_then(|file| file.take(8).read_to_end(&mut start)).map_err(|e| cannot_read(&e))?;
        if let Some(kind) = image::kind(&start) {
            if metadata.len() > MAX_PICTURE_BYTES {
                return Err(format!("a picture of {}, too large to show here", size(metadata.len())));
            }
            self.picture(path, name, kind)
        } else if puls::Encoding::detect(&start).is_some() {
            match self.renderer {
                JobRenderer::Inline => {
                    let hash = hash_file(path, b"job").map_err(|e| cannot_read(&e))?;
                    if let Some(known) = self.embedded.get(&hash) {
                        return Ok(repeated_job(&self.of, name, &hash, known));
                    }
                    self.job(name, draw(path, name, &mut || true).as_ref())
                }
                JobRenderer::Background { drawing, .. } => match drawing(name) {
                    Some(drawing) => self.job(name, drawing.as_ref().as_ref()),
                    None => Ok(pending(name, "being drawn")),
                },
            }
        } else {
            Err(format!("{}, neither a picture nor a pulse file", size(metadata.len())))
        }
    }

    fn picture(&mut self, path: &Path, name: &str, kind: &str) -> Result<Markup, String> {
        let hash = hash_file(path, b"picture").map_err(|e| cannot_read(&e))?;
        let (id, known) = (id_of(&hash), self.embedded.get(&hash).map(|known| known.size_px));
        let (size_px, data) = if let Some(size_px) = known {
            (size_px, None)
        } else {
            let mut bytes = Vec::new();
            let file = File::open(path).map_err(|e| cannot_read(&e))?;
            file.take(MAX_PICTURE_BYTES).read_to_end(&mut bytes).map_err(|e| cannot_read(&e))?;
            let data = format!("data:image/{kind};base64,{}", STANDARD.encode(&bytes));
            self.reserve(data.len())?;
            let size_px = image::size_px(&bytes).unwrap_or(image::DEFAULT_SIZE_PX);
            self.embedded.insert(hash, Embedded { size_px, measurements_html: String::new() });
            (size_px, Some(data))
        };
        let (width, height) = size_px;
        let image = html! {
            svg role="img" aria-label={ "picture " (Truncated(name, MAX_NAME)) } viewBox={ "0 0 " (width) " " (height) } {
                @match data {
                    Some(data) => { image id=(id) width=(width) height=(height) href=(data) {} }
                    None => { use href={ "#" (id) } {} }
                }
            }
        };
        Ok(thumbnail("picture", &image, &self.of, &format!("{name} {width} × {height}")))
    }

    fn job(&mut self, name: &str, drawing: Result<&JobDrawing, &String>) -> Result<Markup, String> {
        let drawing = drawing.map_err(Clone::clone)?;
        if let Some(known) = self.embedded.get(&drawing.hash) {
            return Ok(repeated_job(&self.of, name, &drawing.hash, known));
        }
        self.reserve(drawing.bytes())?;
        let (size_px, measurements_html) = (drawing.size_px, drawing.measurements_html.clone());
        self.embedded.insert(drawing.hash, Embedded { size_px, measurements_html });
        let id = id_of(&drawing.hash);
        let image = match &drawing.image {
            // The plotter escapes its texts and writes neither IDs nor scripts.
            Image::Svg(svg) => {
                let with_id = format!("<svg id=\"{id}\" preserveAspectRatio=\"xMidYMin slice\" ");
                PreEscaped(svg.replacen("<svg ", &with_id, 1))
            }
            Image::PngBase64(data) => job_svg(name, size_px, |width, height| {
                html! { image id=(id) width=(width) height=(height) href={ "data:image/png;base64," (data) } {} }
            }),
        };
        Ok(html! { (thumbnail("job", &image, &self.of, name)) (PreEscaped(&drawing.measurements_html)) })
    }

    fn reserve(&mut self, bytes: usize) -> Result<(), String> {
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.ok_or_else(|| {
            format!(
                "not shown: the limit of {} of pictures and drawings per page is reached",
                size(MAX_TOTAL_BYTES as u64)
            )
        })?;
        Ok(())
    }
}

fn pending(name: &str, what: &str) -> Markup {
    html! { p.note.pending { (Truncated(name, MAX_NAME)) ": " (what) } }
}

/// Renders a job that the page already has.
fn repeated_job(of: &str, name: &str, hash: &Hash, known: &Embedded) -> Markup {
    let image = job_svg(name, known.size_px, |width, height| {
        html! { use href={ "#" (id_of(hash)) } width=(width) height=(height) {} }
    });
    html! { (thumbnail("job", &image, of, &format!("{name} same job as above"))) (PreEscaped(&known.measurements_html)) }
}

fn job_svg(name: &str, (width, height): (u32, u32), content: impl FnOnce(u32, u32) -> Markup) -> Markup {
    html! {
        svg role="img" aria-label={ "job " (Truncated(name, MAX_NAME)) } viewBox={ "0 0 " (width) " " (height) }
            preserveAspectRatio="xMidYMin slice" {
            (content(width, height))
        }
    }
}

/// Renders a thumbnail that a click enlarges, without script and without a second copy of the image.
fn thumbnail(class: &str, image: &Markup, of: &str, note: &str) -> Markup {
    html! {
        details class=(class) {
            summary { (image) span { (Truncated(of, MAX_NAME)) small { " " (Truncated(note, MAX_NAME + 40)) } } }
        }
    }
}

/// Returns an element ID made from the content, so that sections rendered at different times agree on it.
fn id_of(hash: &Hash) -> String {
    hash.iter().take(8).fold("k".to_owned(), |id, byte| id + &format!("{byte:02x}"))
}
