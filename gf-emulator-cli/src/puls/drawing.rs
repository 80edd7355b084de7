//! Which kind of drawing a file is, and reading it.

use std::io::{self, Read};
use std::path::Path;

use clap::ValueEnum;
use gf_emulator_core::puls::{DrawingKind, read_drawing};

use super::source;
use crate::error::CliError;

/// The kinds of drawings that a job can be made from.
#[derive(Debug, Clone, Copy, PartialEq, ValueEnum)]
pub(super) enum Kind {
    /// For a laser with a GRBL controller
    Gcode,
    /// A whole SVG file
    Svg,
    /// SVG path data: the value of a path's d attribute
    Svgpath,
    /// PNG or JPEG, to engrave
    Picture,
}

/// Tells the kind from a file's name. Returns `None` if its content has to tell: a `.txt` file, a file without an
/// extension, or standard input. `.gz` is ignored.
pub(super) fn kind_of_name(path: &Path) -> Result<Option<Kind>, CliError> {
    let extension = |path: &Path| path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    let inner = extension(path).filter(|extension| extension == "gz").map(|_| path.with_extension(""));
    match extension(inner.as_deref().unwrap_or(path)) {
        None => Ok(None),
        Some(extension) if extension == "puls" => Err(is_a_job(path)),
        Some(extension) if extension == "txt" => Ok(None),
        Some(extension) => supported(path, DrawingKind::from_extension(&extension)).map(Some),
    }
}

/// Tells the kind from a drawing's content.
pub(super) fn kind_of_content(path: &Path, drawing: &[u8]) -> Result<Kind, CliError> {
    if drawing.get(1..4) == Some(b"GF1") {
        return Err(is_a_job(path));
    }
    supported(path, DrawingKind::detect(drawing))
}

fn is_a_job(path: &Path) -> CliError {
    CliError::usage(format_args!(
        "{}: a pulse file, not a drawing: \"puls export --format gcode\" makes one of it",
        source::name(path)
    ))
}

fn supported(path: &Path, kind: Option<DrawingKind>) -> Result<Kind, CliError> {
    kind.and_then(Kind::of).ok_or_else(|| {
        CliError::usage(format_args!(
            "{}: unknown kind of drawing: use --kind gcode, svg, svgpath or picture",
            source::name(path)
        ))
    })
}

/// Returns what to add to the error of a drawing if its content looks like another kind, or like none.
pub(super) fn hint_at_kind(kind: Kind, drawing: &[u8]) -> String {
    let name = |kind: Kind| kind.to_possible_value().expect("no kind is hidden").get_name().to_owned();
    match DrawingKind::detect(drawing).and_then(Kind::of) {
        Some(found) if found == kind => String::new(),
        Some(found) => format!(" (its start looks like another kind of drawing: use --kind {})", name(found)),
        None => format!(" (its start does not look like {}: is this the right file?)", name(kind)),
    }
}

impl Kind {
    fn of(kind: DrawingKind) -> Option<Self> {
        match kind {
            DrawingKind::Gcode => Some(Self::Gcode),
            DrawingKind::PathData => Some(Self::Svgpath),
            DrawingKind::Svg => Some(Self::Svg),
            DrawingKind::Png | DrawingKind::Jpeg => Some(Self::Picture),
            _ => None,
        }
    }
}

/// Reads a drawing, which may be gzip-compressed.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let reader: Box<dyn Read> =
        if source::is_std(path) { Box::new(io::stdin()) } else { Box::new(source::open_file(path)?) };
    read_drawing(reader).map_err(|error| source::broken(path, &error))
}
