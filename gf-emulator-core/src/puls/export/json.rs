//! Segments and measurements as JSON.

use std::io::{self, Write};

use serde_json::json;

use super::super::{Measured, Segment};

pub(super) fn begin(writer: &mut dyn Write, source: &str) -> io::Result<()> {
    write!(writer, "{{\"source\":{},\"segments\":[", json!(source))
}

pub(super) fn segment(writer: &mut dyn Write, is_first: bool, segment: &Segment) -> io::Result<()> {
    writer.write_all(if is_first { b"\n" } else { b",\n" })?;
    serde_json::to_writer(writer, segment).map_err(io::Error::from)
}

pub(super) fn end(writer: &mut dyn Write, measured: &Measured) -> io::Result<()> {
    let timeline = json!({"bin_ticks": measured.timeline.bin_ticks(), "bins": measured.timeline.bins()});
    writer.write_all(b"\n],\n\"info\":")?;
    serde_json::to_writer(&mut *writer, measured)?;
    writeln!(writer, ",\n\"timeline\":{timeline}}}")
}
