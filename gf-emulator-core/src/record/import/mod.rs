//! Makes recordings of what other programs have recorded: logs of mock services and HAR files.

mod har;
mod har_bodies;
mod har_exchange;
mod har_secrets;
mod log;
mod new_recording;
mod spool;

use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::folder::SESSION_FILE;
use super::recording::SkippedLine;
use crate::{Error, Result, files};

/// About three years. A longer session has a wrong clock.
const MAX_SESSION_S: f64 = 1e8;
/// A machine has two serial numbers, and may get others when parts are replaced.
const MAX_SERIALS: usize = 16;
/// How much of a file is examined to find out what it is.
const START_BYTES: u64 = 4096;
/// Where a machine signs in.
const SIGN_IN_PATH: &str = "/machines/sign_in";
const ALREADY_IMPORTED: &str =
    "this is already a recording of this program and needs no import: use it with \"report\" or \"serve --replay\"";
/// The service's URL if the file does not contain it.
const UNKNOWN_SERVICE: &str = "http://recorded.invalid";

/// The result of an import.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct ImportSummary {
    /// The number of lines converted; 0 if the file was a HAR file.
    pub lines: u64,
    /// The number of requests of a HAR file, without the handshakes of WebSockets.
    pub requests: u64,
    /// The number of WebSocket messages of a HAR file.
    pub messages: u64,
    /// What was skipped: the first [`MAX_SKIPPED`](super::MAX_SKIPPED) lines. In a HAR file, the line where an entry or
    /// message ends.
    pub skipped: Vec<SkippedLine>,
}

/// Makes a recording in `folder` of a `file` that another program has recorded.
///
/// The file is one of these, detected by content:
///
/// - A log of a mock service, one JSON object per line. Of bodies, only JSON is kept. It has no wall-clock times: the
///   file's modification time is used as the start of the session. Invalid lines and lines longer than 1 MiB are
///   skipped and reported.
/// - A HAR 1.2 file with the messages of WebSockets in `_webSocketMessages`, as mitmproxy and browsers write it.
///   Entries and messages without a time or with unknown values are skipped and reported, and so are bodies longer than
///   64 MiB. Of the bodies of requests, text that is not JSON is not kept: secrets in it could not be recognised.
///   Takes up to a few times the size of the largest entry in memory, which must be less than 256 MiB without the
///   messages, and space for a copy of the file in `folder`.
///
/// The recording is redacted as by a [`Recorder`](super::Recorder): no passwords, tokens and queries, and serial
/// numbers only if `serial` is set. The machine's serial numbers are taken from its sign-in and its settings reports;
/// other secrets are recognised by field name. If the import fails, it leaves nothing behind.
///
/// # Errors
///
/// [`Error::File`] if `file` is not a regular file or cannot be read, or if `folder` cannot be written to or already
/// holds a recording; [`Error::Recording`] if nothing in `file` can be converted, if a HAR file is not valid JSON or has
/// a value of the wrong type, or if `file` is already a recording.
pub fn import(file: impl AsRef<Path>, folder: impl AsRef<Path>, serial: bool) -> Result<ImportSummary> {
    import_with_progress(file, folder, serial, |_| {})
}

/// Like [`import`](import()); calls `on_progress` with the part done so far, 0 to 1.
///
/// # Errors
///
/// As for [`import`](import()).
pub fn import_with_progress(
    file: impl AsRef<Path>,
    folder: impl AsRef<Path>,
    serial: bool,
    on_progress: impl FnMut(f64) + Send + Sync + 'static,
) -> Result<ImportSummary> {
    let (path, folder) = (file.as_ref(), folder.as_ref());
    if path.join(SESSION_FILE).is_file() {
        return Err(Error::Recording { path: path.into(), line: 1, reason: ALREADY_IMPORTED.to_owned() });
    }
    let mut start = Vec::new();
    let read = files::open(path)?.take(START_BYTES).read_to_end(&mut start);
    read.map_err(|source| Error::File { doing: "read", path: path.into(), source })?;
    let convert = if is_har(&start) { har::import } else { log::import };
    convert(path, folder, serial, Box::new(on_progress))
}

/// Returns whether a file is a HAR file: an object whose first member is `log`.
fn is_har(start: &[u8]) -> bool {
    let start = start.strip_prefix(b"\xef\xbb\xbf").unwrap_or(start).trim_ascii_start();
    start.strip_prefix(b"{").is_some_and(|rest| rest.trim_ascii_start().starts_with(b"\"log\""))
}

/// Returns the fields of a sign-in, which is JSON or form-encoded. A form may repeat a field.
fn sign_in_fields(body: &str) -> Vec<(String, Value)> {
    if let Ok(Value::Object(fields)) = serde_json::from_str(body) {
        return fields.into_iter().collect();
    }
    let fields = body.split('&').filter_map(|field| field.split_once('='));
    fields.map(|(name, value)| (name.to_owned(), value.into())).collect()
}

/// Returns all values of a field.
fn sign_in_values(fields: &[(String, Value)], name: &str) -> Vec<String> {
    let values = fields.iter().filter(|(field, _)| field == name).filter_map(|(_, value)| value.as_str());
    values.map(str::to_owned).collect()
}

/// Returns the serial numbers of a sign-in.
fn sign_in_serials(fields: &[(String, Value)]) -> Vec<i64> {
    let serials = sign_in_values(fields, "serial");
    serials.iter().filter_map(|serial| serial.trim_start_matches('S').parse().ok()).collect()
}

/// Returns the serial numbers in the settings reports among the lines of a message.
fn reported_serials(text: &str) -> Vec<i64> {
    let mut serials = Vec::new();
    for line in text.lines().filter(|line| line.contains("sn\"")) {
        let message: Value = serde_json::from_str(line).unwrap_or_default();
        let values = &message["settings"]["values"];
        serials.extend(["MCsn", "HEsn"].iter().filter_map(|code| values[code].as_i64()));
    }
    serials
}

/// Returns scheme, host and port of a URL.
fn origin(url: &str) -> Option<&str> {
    let host = url.find("://").filter(|_| url.starts_with("http") || url.starts_with("ws"))? + 3;
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    (end > host).then(|| &url[..end])
}
