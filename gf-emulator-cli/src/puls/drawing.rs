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
    Svgpath,
    Gcode,
}

/// What to do with a whole SVG file.
pub(super) const NO_SVG: &str = "whole SVG files are not supported; use path data, the value of a path's d attribute, \
                                 in a file named .svgpath or with --kind svgpath";

/// Tells the kind from a file's name. Returns `None` if its content has to tell: a `.txt` file, a file without an
/// extension, or standard input. `.gz` is ignored.
pub(super) fn kind_of_name(path: &Path) -> Result<Option<Kind>, CliError> {
    let extension = |path: &Path| path.extension().map(|extension| extension.to_string_lossy().to_ascii_lowercase());
    let inner = extension(path).filter(|extension| extension == "gz").map(|_| path.with_extension(""));
    match extension(inner.as_deref().unwrap_or(path)) {
        None => Ok(None),
        Some(extension) if extension == "txt" => Ok(None),
        Some(extension) => supported(path, DrawingKind::from_extension(&extension)).map(Some),
    }
}

/// Tells the kind from a drawing's content.
pub(super) fn kind_of_content(path: &Path, drawing: &[u8]) -> Result<Kind, CliError> {
    supported(path, DrawingKind::detect(drawing))
}

fn supported(path: &Path, kind: Option<DrawingKind>) -> Result<Kind, CliError> {
    let problem = match kind {
        Some(DrawingKind::Gcode) => return Ok(Kind::Gcode),
        Some(DrawingKind::PathData) => return Ok(Kind::Svgpath),
        Some(DrawingKind::Svg) => NO_SVG,
        Some(DrawingKind::Png | DrawingKind::Jpeg) => "pictures are not supported; use G-code or path data",
        _ => "unknown kind of drawing: use --kind svgpath or --kind gcode",
    };
    Err(CliError::usage(format_args!("{}: {problem}", source::name(path))))
}

/// Reads a drawing, which may be gzip-compressed.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let reader: Box<dyn Read> =
        if source::is_std(path) { Box::new(io::stdin()) } else { Box::new(source::open_file(path)?) };
    read_drawing(reader).map_err(|error| source::broken(path, &error))
}
