//! Recordings of another stand-in service, made into recordings of this project.
//!
//! It writes a JSON object a line: `t` in seconds, and a `kind`: `http` (a request it got), `ws_open`, `ws_tx` (an action
//! it sent: `msg`), `ws_rx` (what a machine sent: `text`), `ws_closed`, `done`. What it answered is not in them.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::entry::{About, Event, Exchange, Part, Side, read_json};
use super::queue::Room;
use super::recorder::{Body, Raw, SESSION_FILE, begin};
use super::recording::{Lines, MOST_SKIPPED, Skipped};
use super::redactor::Redactor;
use super::writer::Writer;
use crate::{Error, Result, Secret, files};

/// Headers whose values say nothing secret; of others, the name is kept.
const SHOWN: [&str; 13] = [
    "accept",
    "accept-encoding",
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "origin",
    "range",
    "sec-websocket-protocol",
    "transfer-encoding",
    "upgrade",
    "user-agent",
];
/// A session that is longer (three years) has a wrong clock.
const LONGEST_S: f64 = 1e8;
/// One machine has two, and may have been given others in the meantime.
const MOST_SERIALS: usize = 16;
/// What there is to say of a file that needs no import.
const OURS: &str = "this is a recording of this program already: it needs no import, \"report\" and \"serve --replay\" take it as it is";
const NOTHING: &str = "no line from here on is one of a recording: a JSON object with \"t\" in seconds and a \"kind\"";
const EMPTY: &str = "the file is empty";
/// Where a service was that nothing in its recording tells.
const UNKNOWN: &str = "http://recorded.invalid";

/// What came of an import.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Imported {
    /// Lines that became entries.
    pub lines: u64,
    /// Lines that were left out, and why: the first thousand of them.
    pub skipped: Vec<Skipped>,
}

/// Makes another service's recording into one of this project: `file`, a JSON object a line, into `folder`.
///
/// What may be in it is what a [`Recorder`](super::Recorder) would have written: no password, no token, no query, and
/// serial numbers only where `serial` says so; of bodies, those that are JSON. The machine's serial numbers are those that
/// it signs in with and that its settings report has; all other secrets are known by where they are. The time of day is not
/// in such a file: its last change stands for the beginning.
///
/// A line that is none of these, or longer than 1 MiB, is left out and named: half a line at the end is what a killed program
/// leaves. An import that fails leaves no recording behind.
///
/// # Errors
///
/// [`Error::File`] where `file` is no regular file or cannot be read, or where `folder` cannot be written to or has a
/// recording already; [`Error::Recording`] where no line is of use, or where `file` is a recording of this project.
pub fn import(file: impl AsRef<Path>, folder: impl AsRef<Path>, serial: bool) -> Result<Imported> {
    let path = file.as_ref();
    let failed = |source| Error::File { doing: "read", path: path.into(), source };
    let useless = |reason: &str| Error::Recording { path: path.into(), line: 1, reason: reason.to_owned() };
    if path.join(SESSION_FILE).is_file() {
        return Err(useless(OURS));
    }
    let known = Known::read(Lines::of(files::open(path)?)).map_err(failed)?;
    if known.is_ours {
        return Err(useless(OURS));
    }
    if known.lines == 0 {
        return Err(useless(if known.is_empty { EMPTY } else { NOTHING }));
    }
    let about = About {
        side: Side::Service,
        firmware: known.firmware.clone(),
        serial: known.serials.first().filter(|_| serial).and_then(|&serial| u32::try_from(serial).ok()),
        service: Some(known.base.clone()),
        ..About::new()
    };
    let hidden: Vec<i64> = known.serials.iter().copied().filter(|_| !serial).collect();
    let source = files::open(path)?;
    let began = source.metadata().and_then(|data| data.modified()).map_err(failed)?;
    let unfinished = Unfinished::begin(folder.as_ref());
    let output = begin(folder.as_ref())?;
    let unfinished = unfinished.with_file();
    let redactor = Redactor::new(&hidden, &Secret::default());
    let mut writer = Writer::new(Box::new(output), redactor, Arc::default(), None);
    writer.write(Duration::ZERO, began, Event::Session(about));

    let mut lines = Lines::of(source);
    let mut imported = Imported::default();
    while let Some(line) = lines.next().map_err(failed)? {
        let line = line.and_then(|text| read(&text));
        match line.and_then(|line| Ok((line.t, line.events(&known.base, writer.redactor())?))) {
            Ok((after, events)) => {
                imported.lines += 1;
                let at = began.checked_add(after).unwrap_or(began);
                for event in events {
                    writer.take(after, at, event, Room::default());
                }
                writer.flush_some().map_err(|e| unfinished.failed(e))?;
            }
            Err(reason) if imported.skipped.len() < MOST_SKIPPED => {
                imported.skipped.push(Skipped { line: lines.number, reason });
            }
            Err(_) => {}
        }
    }
    writer.finish().map_err(|e| unfinished.failed(e))?;
    if imported.lines == 0 {
        return Err(useless(NOTHING));
    }
    unfinished.keep();
    Ok(imported)
}

/// What an import has made so far: removed again unless it is kept.
struct Unfinished {
    folder: PathBuf,
    /// The outermost folder that was not there before.
    made: Option<PathBuf>,
    has_file: bool,
}

impl Unfinished {
    fn begin(folder: &Path) -> Self {
        let is_new = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.exists();
        let made = folder.ancestors().take_while(is_new).last().map(Path::to_owned);
        Self { folder: folder.to_owned(), made, has_file: false }
    }

    fn with_file(mut self) -> Self {
        self.has_file = true;
        self
    }

    fn failed(&self, source: std::io::Error) -> Error {
        Error::File { doing: "write", path: self.folder.join(SESSION_FILE), source }
    }

    fn keep(mut self) {
        (self.made, self.has_file) = (None, false);
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        // Whatever remains has been there before, or cannot be removed either.
        if self.has_file {
            let _ = fs::remove_file(self.folder.join(SESSION_FILE));
        }
        let is_new = |folder: &&Path| self.made.as_deref().is_some_and(|made| folder.starts_with(made));
        for folder in self.folder.ancestors().take_while(is_new) {
            let _ = fs::remove_dir(folder);
        }
    }
}

/// What has to be known before the first line is written.
#[derive(Default)]
struct Known {
    lines: u64,
    is_empty: bool,
    /// Whether the first line is that of a recording of this project.
    is_ours: bool,
    base: String,
    firmware: Option<String>,
    /// The machine's first.
    serials: Vec<i64>,
}

impl Known {
    fn read(mut lines: Lines) -> std::io::Result<Self> {
        let mut known = Self::default();
        let (mut from_action, mut from_header) = (None, None);
        let mut serials = BTreeSet::new();
        while let Some(line) = lines.next()? {
            if lines.number == 1
                && let Ok(first) = &line
                && let Ok(json) = serde_json::from_str::<Value>(first)
                && json["kind"] == "session"
                && json["format"].is_number()
            {
                known.is_ours = true;
                return Ok(known);
            }
            let Ok(Line { kind, json, .. }) = line.and_then(|text| read(&text)) else { continue };
            known.lines += 1;
            let headers = &json["headers"];
            match kind.as_str() {
                "http" => {
                    let agent = headers["user-agent"].as_str().and_then(|agent| agent.split_once('/'));
                    known.firmware = known.firmware.or(agent.map(|(_, version)| version.to_owned()));
                    from_header = from_header.or(headers["host"].as_str().map(|host| format!("http://{host}")));
                    let body = json["body"].as_str().filter(|_| json["path"] == "/machines/sign_in");
                    let serial = body.and_then(|body| credential(body, "serial"));
                    let serial = serial.and_then(|serial| serial.trim_start_matches('S').parse().ok());
                    if let Some(serial) = serial.filter(|serial| !known.serials.contains(serial)) {
                        known.serials.push(serial);
                    }
                }
                "ws_open" => from_header = from_header.or(headers["origin"].as_str().map(str::to_owned)),
                "ws_tx" => {
                    let urls = ["motion_url", "endpoint", "download_url"].map(|key| json["msg"][key].as_str());
                    from_action = from_action.or(urls.into_iter().flatten().find_map(origin).map(str::to_owned));
                }
                "ws_rx" => {
                    for line in json["text"].as_str().into_iter().flat_map(str::lines) {
                        let message: Value = serde_json::from_str(line).unwrap_or_default();
                        let values = &message["settings"]["values"];
                        serials.extend(["MCsn", "HEsn"].iter().filter_map(|code| values[code].as_i64()));
                    }
                }
                _ => {}
            }
            if known.serials.len() + serials.len() > MOST_SERIALS {
                return Err(std::io::Error::other(format!("line {}: these are many machines' numbers", lines.number)));
            }
        }
        known.is_empty = lines.number == 0;
        known.base = from_action.or(from_header).unwrap_or_else(|| UNKNOWN.to_owned());
        known.serials.extend(serials);
        Ok(known)
    }
}

/// A line that has a time and a kind.
struct Line {
    t: Duration,
    kind: String,
    json: Value,
}

fn read(text: &str) -> std::result::Result<Line, String> {
    let json: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let t = json["t"].as_f64().filter(|t| (0.0..LONGEST_S).contains(t)).ok_or("t is not a number of seconds")?;
    let kind = json["kind"].as_str().ok_or("there is no kind")?;
    if !["http", "ws_open", "ws_tx", "ws_rx", "ws_closed", "done"].contains(&kind) {
        return Err(format!("the kind {kind:?} is not known"));
    }
    Ok(Line { t: Duration::from_secs_f64(t), kind: kind.to_owned(), json })
}

impl Line {
    fn events(&self, base: &str, redactor: &Redactor) -> std::result::Result<Vec<Raw>, String> {
        let json = &self.json;
        let text = |key: &str| json[key].as_str().ok_or_else(|| format!("{key} is missing"));
        Ok(match self.kind.as_str() {
            "http" => vec![self.exchange(base, redactor)?],
            "ws_open" => vec![Raw::Event(Event::Opened { url: base.replacen("http", "ws", 1) })],
            "ws_tx" => match &json["msg"] {
                Value::Null => return Err("msg is missing".into()),
                Value::String(text) => vec![Raw::In(text.clone())],
                action => vec![Raw::In(action.to_string())],
            },
            "ws_rx" => {
                let lines = text("text")?.split_inclusive('\n').filter(|line| !line.trim().is_empty());
                lines.map(|line| Raw::Out(line.into())).collect()
            }
            "ws_closed" => {
                let code = json["code"].as_u64().map(|code| format!(" ({code})")).unwrap_or_default();
                vec![Raw::Event(Event::Closed { reason: format!("closed{code}") })]
            }
            _ => {
                let detail = json["result"].as_str().map(str::to_owned);
                vec![Raw::Event(Event::State { state: "done".into(), action_id: None, detail })]
            }
        })
    }

    fn exchange(&self, base: &str, redactor: &Redactor) -> std::result::Result<Raw, String> {
        let json = &self.json;
        let text = |key: &str| json[key].as_str().ok_or_else(|| format!("{key} is missing"));
        let (method, path) = (text("method")?, text("path")?);
        let (path, has_query) = path.split_once('?').map_or((path, false), |(path, _)| (path, true));
        let body = json["body"].as_str().unwrap_or_default();
        let bytes = json["size"].as_u64().unwrap_or(body.len() as u64);
        let mut headers = Map::new();
        for (name, value) in json["headers"].as_object().into_iter().flatten() {
            let name = name.to_ascii_lowercase();
            if let Some(token) = value.as_str().and_then(|value| value.strip_prefix("Bearer ")) {
                redactor.secrets().learn(&Secret::new(token));
            }
            let value = if SHOWN.contains(&name.as_str()) { value.clone() } else { "***".into() };
            headers.insert(name, value);
        }
        let body = if path == "/machines/sign_in" {
            if let Some(password) = credential(body, "password") {
                redactor.secrets().learn(&Secret::new(password));
            }
            Body::Confidential(names_of(body).to_string().into())
        } else if read_json(body.as_bytes()).is_some() {
            Body::Bytes(body.as_bytes().to_vec().into())
        } else {
            // `<263016 bytes>`, which is all there is of a picture, or text in which no secret could be told.
            Body::None
        };
        let exchange = Exchange {
            method: method.to_owned(),
            url: format!("{base}{path}"),
            has_query,
            request: Part { headers, bytes, ..Part::default() },
            ..Exchange::default()
        };
        Ok(Raw::Http(Box::new(exchange), body, Body::None))
    }
}

/// A field of a sign-in, which may be JSON or a form.
fn credential(body: &str, name: &str) -> Option<String> {
    if let Ok(json) = serde_json::from_str::<Value>(body) {
        return json[name].as_str().map(str::to_owned);
    }
    body.split('&').filter_map(|field| field.split_once('=')).find(|(key, _)| *key == name).map(|(_, v)| v.to_owned())
}

/// A sign-in of which only the names are left, whatever it was.
fn names_of(body: &str) -> Value {
    if let Ok(Value::Object(fields)) = serde_json::from_str(body) {
        return fields.into_iter().map(|(name, _)| (name, Value::from("***"))).collect();
    }
    let names = body.split('&').filter_map(|field| field.split_once('=')).map(|(name, _)| name);
    names.map(|name| (name.to_owned(), Value::from("***"))).collect()
}

/// Scheme, host and port of a URL.
fn origin(url: &str) -> Option<&str> {
    let host = url.find("://").filter(|_| url.starts_with("http"))? + 3;
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |at| host + at);
    (end > host).then(|| &url[..end])
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::record::{Entry, Recording, SESSION_FILE};

    const PASSWORD: &str = "0123456789abcdef0123456789abcdef";

    fn imported(text: &str, serial: bool) -> (tempfile::TempDir, Result<Imported>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("theirs.jsonl");
        fs::write(&file, text).unwrap();
        let result = import(file, folder.path().join("ours"), serial);
        (folder, result)
    }

    fn session() -> String {
        let lines = [
            format!(
                r#"{{"t":0.1,"kind":"http","method":"POST","path":"/machines/sign_in","headers":{{"User-Agent":"OpenGlow/2.6.0-2228","user-agent":"OpenGlow/2.6.0-2228"}},"body":"serial=S12345678&password={PASSWORD}","size":65}}"#
            ),
            r#"{"t":0.2,"kind":"http","method":"GET","path":"/update/current?a-query","headers":{"authorization":"Bearer a-token","cookie":"c"},"body":"","size":0}"#.into(),
            r#"{"t":0.3,"kind":"ws_open","token_ok":true,"headers":{}}"#.into(),
            r#"{"t":0.4,"kind":"ws_tx","msg":{"id":1,"action_type":"lid_image","status":"ready","machine_serial":"S12345678","endpoint":"https://h:1/up/x?X-Sig=secret"}}"#.into(),
            r#"{"t":0.5,"kind":"http","method":"PUT","path":"/up/x","headers":{"content-type":"image/jpeg"},"body":"<5 bytes>","size":5}"#.into(),
            r#"{"t":0.6,"kind":"http","method":"POST","path":"/api/event","headers":{},"body":"{\"id\": <MILLI_EPOCH>, \"event\": \"x\", \"token\": \"a-token\"}","size":9}"#.into(),
            r#"{"t":0.65,"kind":"http","method":"POST","path":"/other","headers":{},"body":"password=another-one","size":20}"#.into(),
            r#"{"t":0.7,"kind":"ws_rx","text":"{\"event\":\"lid_image:completed\",\"action_id\":1}\r\n{\"settings\":{\"values\":{\"MCsn\":12345678,\"HEsn\":5555555}}}\n"}"#.into(),
            r#"{"t":0.8,"kind":"done","result":"ok"}"#.into(),
            r#"{"t":0.9,"kind":"ws_closed","code":1006}"#.into(),
        ];
        lines.join("\n") + "\n"
    }

    #[test]
    fn a_session_becomes_a_recording_without_its_secrets() {
        let (folder, result) = imported(&session(), false);
        assert_eq!(result.unwrap(), Imported { lines: 10, skipped: Vec::new() });
        let ours = folder.path().join("ours");
        let text = fs::read_to_string(ours.join(SESSION_FILE)).unwrap();
        for secret in [PASSWORD, "a-token", "12345678", "5555555", "a-query", "X-Sig", "secret", "another-one", "\"c\""]
        {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
        let mut recording = Recording::open(&ours).unwrap();
        assert_eq!(recording.about().service.as_deref(), Some("https://h:1"));
        assert_eq!(recording.about().firmware.as_deref(), Some("2.6.0-2228"));
        let entries: Vec<Entry> = recording.by_ref().map(Result::unwrap).collect();
        assert_eq!(recording.skipped(), []);
        let Event::Http(sign_in) = &entries[0].event else { panic!("{:?}", entries[0]) };
        assert_eq!(sign_in.request.json.as_ref().unwrap().to_string(), r#"{"serial":"***","password":"***"}"#);
        assert!((entries[0].t - 0.1).abs() < 1e-6, "{}", entries[0].t);
        let Event::Http(event) = &entries[5].event else { panic!("{:?}", entries[5]) };
        assert_eq!(event.request.json.as_ref().unwrap()["id"], "<MILLI_EPOCH>");
        assert_eq!(entries.len(), 11, "two messages were in one frame");

        let (folder, result) = imported(&session(), true);
        result.unwrap();
        let text = fs::read_to_string(folder.path().join("ours").join(SESSION_FILE)).unwrap();
        assert!(text.contains("S12345678") && !text.contains(PASSWORD), "it was asked for");
    }

    #[test]
    fn a_line_that_is_none_is_named_and_left_out() {
        for (line, words) in [
            ("oops", "expected value"),
            ("{}", "t is not"),
            (r#"{"t":-1,"kind":"done"}"#, "t is not"),
            (r#"{"t":1e300,"kind":"done"}"#, "t is not"),
            (r#"{"t":1}"#, "no kind"),
            (r#"{"t":1,"kind":"smoke"}"#, "\"smoke\" is not known"),
            (r#"{"t":1,"kind":"http","method":"GET"}"#, "path is missing"),
            (r#"{"t":1,"kind":"ws_tx"}"#, "msg is missing"),
            (r#"{"t":1,"kind":"ws_rx"}"#, "text is missing"),
        ] {
            let (_folder, result) = imported(&format!("{}{line}\n{{\"t\":", session()), false);
            let skipped = result.unwrap().skipped;
            assert_eq!((skipped.len(), skipped[0].line, skipped[1].line), (2, 11, 12), "{line}: {skipped:?}");
            assert!(skipped[0].reason.contains(words), "{line}: {skipped:?}");
            assert!(skipped[1].reason.contains("the file ends inside it"), "{skipped:?}");
        }
        for (nothing, words) in [("", "the file is empty"), ("oops\n", "no line from"), ("{}\n[]\n", "no line from")] {
            let (folder, result) = imported(nothing, false);
            let error = result.unwrap_err().to_string();
            assert!(error.contains(&format!("line 1: {words}")), "{error}");
            assert!(!folder.path().join("ours").exists());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
        #[test]
        fn no_file_is_too_odd(lines in proptest::collection::vec("(\\{\"t\":[0-9]{1,3},\"kind\":\"(http|ws_tx|ws_rx)\",\"(msg|text|path)\":(\\{\\}|\"\\PC{0,9}\")\\}|\\PC{0,20})", 0..9)) {
            let _ = imported(&lines.join("\n"), false);
        }
    }
}
