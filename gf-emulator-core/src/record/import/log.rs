//! Converts logs of other mock services.
//!
//! Such a log has one JSON object per line, with `t` (seconds) and `kind`: `http` (a request received), `ws_open`,
//! `ws_tx` (an action sent: `msg`), `ws_rx` (a frame received: `text`), `ws_closed`, `done`. HTTP responses are not in
//! it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

use super::new_recording::RemoveOnDrop;
use super::{
    ALREADY_IMPORTED, ImportSummary, MAX_SERIALS, MAX_SESSION_S, SIGN_IN_PATH, UNKNOWN_SERVICE, origin,
    reported_serials, sign_in_fields, sign_in_serials, sign_in_values,
};
use crate::record::entry::{About, Event, Exchange, Part, Side, UNKNOWN_CLOSE, read_json};
use crate::record::folder::NewSession;
use crate::record::line_writer::LineWriter;
use crate::record::queue::{Reservation, Stamp};
use crate::record::recording::{Lines, MAX_SKIPPED, SkippedLine};
use crate::record::redactor::Redactor;
use crate::record::unredacted::{Body, Unredacted};
use crate::record::watched_file::OnProgress;
use crate::secrets::PUBLIC_REQUEST_HEADERS;
use crate::{Error, Result, Secret, files};

const NO_LINES: &str =
    "no valid lines: expected a HAR file, or a log of JSON objects with \"t\" in seconds and a known \"kind\"";
const EMPTY: &str = "the file is empty";

/// Converts a log; see [`import`](super::import()).
pub(super) fn import(path: &Path, folder: &Path, serial: bool, on_progress: OnProgress) -> Result<ImportSummary> {
    let failed = |source| Error::File { doing: "read", path: path.into(), source };
    let invalid = |reason: &str| Error::Recording { path: path.into(), line: 1, reason: reason.to_owned() };
    let mut lines = Lines::new(files::open(path)?);
    lines.watch(on_progress, 2);
    let known = FirstPass::read(&mut lines).map_err(failed)?;
    if known.is_recording {
        return Err(invalid(ALREADY_IMPORTED));
    }
    if known.lines == 0 {
        return Err(invalid(if known.is_empty { EMPTY } else { NO_LINES }));
    }
    let about = About {
        firmware: known.firmware.clone(),
        serial: known.serials.first().filter(|_| serial).and_then(|&serial| u32::try_from(serial).ok()),
        service: Some(known.base.clone()),
        ..About::new(Side::Service)
    };
    let hidden: Vec<i64> = known.serials.iter().copied().filter(|_| !serial).collect();
    let began = lines.modified().map_err(failed)?;
    let cleanup = RemoveOnDrop::new(folder);
    let (session, output) = NewSession::create(folder)?;
    let redactor = Redactor::new(&hidden, []);
    let mut writer = LineWriter::new(output, redactor, Arc::default(), None);
    writer.write(Stamp { elapsed: Duration::ZERO, at: began, machine: None }, Event::Session(about));

    lines.rewind().map_err(failed)?;
    let mut imported = ImportSummary::default();
    while let Some(line) = lines.next().map_err(failed)? {
        let line = line.and_then(|text| parse_line(&text));
        match line.and_then(|line| Ok((line.t, line.events(&known.base, writer.redactor())?))) {
            Ok((after, events)) => {
                imported.lines += 1;
                let stamp = Stamp { elapsed: after, at: began.checked_add(after).unwrap_or(began), machine: None };
                for event in events {
                    writer.write_unredacted(stamp, event, Reservation::default());
                }
                writer.flush_if_full().map_err(|e| cleanup.failed(e))?;
            }
            Err(reason) if imported.skipped.len() < MAX_SKIPPED => {
                imported.skipped.push(SkippedLine { line: lines.number, reason });
            }
            Err(_) => {}
        }
    }
    writer.finish().map_err(|e| cleanup.failed(e))?;
    if imported.lines == 0 {
        return Err(invalid(NO_LINES));
    }
    session.publish()?;
    cleanup.keep();
    Ok(imported)
}

/// The result of a first pass over the log: what must be known before the first line is written.
#[derive(Default)]
struct FirstPass {
    lines: u64,
    is_empty: bool,
    /// The file is already a recording of this program.
    is_recording: bool,
    base: String,
    firmware: Option<String>,
    /// The machine's own comes first.
    serials: Vec<i64>,
}

impl FirstPass {
    fn read(lines: &mut Lines) -> std::io::Result<Self> {
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
                known.is_recording = true;
                return Ok(known);
            }
            let Ok(Line { kind, json, .. }) = line.and_then(|text| parse_line(&text)) else { continue };
            known.lines += 1;
            let headers = &json["headers"];
            match kind.as_str() {
                "http" => {
                    let agent = headers["user-agent"].as_str().and_then(|agent| agent.split_once('/'));
                    known.firmware = known.firmware.or(agent.map(|(_, version)| version.to_owned()));
                    from_header = from_header.or(headers["host"].as_str().map(|host| format!("http://{host}")));
                    let body = json["body"].as_str().filter(|_| json["path"] == SIGN_IN_PATH);
                    let values = body.map(|body| sign_in_serials(&sign_in_fields(body))).unwrap_or_default();
                    for serial in values {
                        if !known.serials.contains(&serial) {
                            known.serials.push(serial);
                        }
                    }
                }
                "ws_open" => from_header = from_header.or(headers["origin"].as_str().map(str::to_owned)),
                "ws_tx" => {
                    let urls = ["motion_url", "endpoint", "download_url"].map(|key| json["msg"][key].as_str());
                    from_action = from_action.or(urls.into_iter().flatten().find_map(origin).map(str::to_owned));
                }
                "ws_rx" => serials.extend(reported_serials(json["text"].as_str().unwrap_or_default())),
                _ => {}
            }
            if known.serials.len() + serials.len() > MAX_SERIALS {
                let reason = format!("line {}: more than {MAX_SERIALS} serial numbers", lines.number);
                return Err(std::io::Error::other(reason));
            }
        }
        known.is_empty = lines.number == 0;
        known.base = from_action.or(from_header).unwrap_or_else(|| UNKNOWN_SERVICE.to_owned());
        known.serials.extend(serials);
        Ok(known)
    }
}

/// A line with a valid time and kind.
struct Line {
    t: Duration,
    kind: String,
    json: Value,
}

fn parse_line(text: &str) -> std::result::Result<Line, String> {
    let json: Value = serde_json::from_str(text).map_err(|e| e.to_string())?;
    let t = json["t"].as_f64().filter(|t| (0.0..MAX_SESSION_S).contains(t)).ok_or("t is not a number of seconds")?;
    let kind = json["kind"].as_str().ok_or("kind is missing")?;
    if !["http", "ws_open", "ws_tx", "ws_rx", "ws_closed", "done"].contains(&kind) {
        return Err(format!("unknown kind {kind:?}"));
    }
    Ok(Line { t: Duration::from_secs_f64(t), kind: kind.to_owned(), json })
}

impl Line {
    fn events(&self, base: &str, redactor: &Redactor) -> std::result::Result<Vec<Unredacted>, String> {
        let json = &self.json;
        let text = |key: &str| json[key].as_str().ok_or_else(|| format!("{key} is missing"));
        Ok(match self.kind.as_str() {
            "http" => vec![self.exchange(base, redactor)?],
            "ws_open" => vec![Unredacted::Event(Event::Opened { url: base.replacen("http", "ws", 1) })],
            "ws_tx" => match &json["msg"] {
                Value::Null => return Err("msg is missing".into()),
                Value::String(text) => vec![Unredacted::In(text.clone())],
                action => vec![Unredacted::In(action.to_string())],
            },
            "ws_rx" => {
                let lines = text("text")?.split_inclusive('\n').filter(|line| !line.trim().is_empty());
                lines.map(|line| Unredacted::Out(line.into())).collect()
            }
            "ws_closed" => {
                let code = json["code"].as_u64().map(|code| format!(" ({code})")).unwrap_or_default();
                vec![Unredacted::Event(Event::Closed { reason: format!("{UNKNOWN_CLOSE}{code}") })]
            }
            _ => {
                let detail = json["result"].as_str().map(str::to_owned);
                vec![Unredacted::Event(Event::State { state: "done".into(), action_id: None, detail })]
            }
        })
    }

    fn exchange(&self, base: &str, redactor: &Redactor) -> std::result::Result<Unredacted, String> {
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
                redactor.secrets().add_token(&Secret::new(token));
            }
            let value = if PUBLIC_REQUEST_HEADERS.contains(&name.as_str()) { value.clone() } else { "***".into() };
            headers.insert(name, value);
        }
        let body = if path == SIGN_IN_PATH {
            let fields = sign_in_fields(body);
            for password in sign_in_values(&fields, "password") {
                redactor.secrets().add_token(&Secret::new(password));
            }
            let redacted: Value = fields.into_iter().map(|(name, _)| (name, Value::from("***"))).collect();
            Body::Confidential(redacted.to_string().into())
        } else if read_json(body.as_bytes()).is_some() {
            Body::Bytes(body.as_bytes().to_vec().into())
        } else {
            // Pictures are logged as `<263016 bytes>`; in other text secrets could not be recognised.
            Body::None
        };
        let exchange = Exchange {
            method: method.to_owned(),
            url: format!("{base}{path}"),
            has_query,
            request: Part { headers, bytes, ..Part::default() },
            ..Exchange::default()
        };
        Ok(Unredacted::Http(Box::new(exchange), body, Body::None))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use proptest::prelude::*;

    use super::*;
    use crate::record::{Entry, Recording, SESSION_FILE, import};

    const PASSWORD: &str = "0123456789abcdef0123456789abcdef";

    fn imported(text: &str, serial: bool) -> (tempfile::TempDir, Result<ImportSummary>) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("log.jsonl");
        fs::write(&file, text).unwrap();
        let result = import(file, folder.path().join("recording"), serial);
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
    fn imports_a_session_without_its_secrets() {
        let (folder, result) = imported(&session(), false);
        assert_eq!(result.unwrap(), ImportSummary { lines: 10, ..ImportSummary::default() });
        let recording_folder = folder.path().join("recording");
        let text = fs::read_to_string(recording_folder.join(SESSION_FILE)).unwrap();
        for secret in [PASSWORD, "a-token", "12345678", "5555555", "a-query", "X-Sig", "secret", "another-one", "\"c\""]
        {
            assert!(!text.contains(secret), "{secret} is in {text}");
        }
        let mut recording = Recording::open(&recording_folder).unwrap();
        assert_eq!(recording.about().service.as_deref(), Some("https://h:1"));
        assert_eq!(recording.about().firmware.as_deref(), Some("2.6.0-2228"));
        let entries: Vec<Entry> = recording.by_ref().map(Result::unwrap).collect();
        assert_eq!(recording.skipped(), []);
        let Event::Http(sign_in) = &entries[0].event else { panic!("{:?}", entries[0]) };
        assert_eq!(sign_in.request.json.as_ref().unwrap().to_string(), r#"{"serial":"***","password":"***"}"#);
        assert!((entries[0].t - 0.1).abs() < 1e-6, "{}", entries[0].t);
        let Event::Http(event) = &entries[5].event else { panic!("{:?}", entries[5]) };
        assert_eq!(event.request.json.as_ref().unwrap()["id"], "<MILLI_EPOCH>");
        assert_eq!(entries.len(), 11, "one frame has two messages");

        let (folder, result) = imported(&session(), true);
        result.unwrap();
        let text = fs::read_to_string(folder.path().join("recording").join(SESSION_FILE)).unwrap();
        assert!(text.contains("S12345678") && !text.contains(PASSWORD), "the serial number was requested");
    }

    #[test]
    fn removes_all_values_of_a_repeated_form_field() {
        let body = format!("serial=S1234567&serial=S7654321&password={PASSWORD}&password=another-one");
        let log = [
            format!(
                r#"{{"t":0.1,"kind":"http","method":"POST","path":"/machines/sign_in","headers":{{}},"body":"{body}"}}"#
            ),
            format!(r#"{{"t":0.2,"kind":"ws_tx","msg":{{"id":1,"text":"1234567 7654321 {PASSWORD} another-one"}}}}"#),
        ];
        let (folder, result) = imported(&(log.join("\n") + "\n"), false);
        result.unwrap();
        let text = fs::read_to_string(folder.path().join("recording").join(SESSION_FILE)).unwrap();
        assert!(text.contains("*** *** *** ***"), "{text}");
    }

    #[test]
    fn skips_and_reports_invalid_lines() {
        for (line, words) in [
            ("oops", "expected value"),
            ("{}", "t is not"),
            (r#"{"t":-1,"kind":"done"}"#, "t is not"),
            (r#"{"t":1e300,"kind":"done"}"#, "t is not"),
            (r#"{"t":1}"#, "kind is missing"),
            (r#"{"t":1,"kind":"smoke"}"#, "unknown kind \"smoke\""),
            (r#"{"t":1,"kind":"http","method":"GET"}"#, "path is missing"),
            (r#"{"t":1,"kind":"ws_tx"}"#, "msg is missing"),
            (r#"{"t":1,"kind":"ws_rx"}"#, "text is missing"),
        ] {
            let (_folder, result) = imported(&format!("{}{line}\n{{\"t\":", session()), false);
            let skipped = result.unwrap().skipped;
            assert_eq!((skipped.len(), skipped[0].line, skipped[1].line), (2, 11, 12), "{line}: {skipped:?}");
            assert!(skipped[0].reason.contains(words), "{line}: {skipped:?}");
            assert!(skipped[1].reason.contains("the file ends in the middle of this line"), "{skipped:?}");
        }
        for (nothing, words) in
            [("", "the file is empty"), ("oops\n", "no valid lines"), ("{}\n[]\n", "no valid lines")]
        {
            let (folder, result) = imported(nothing, false);
            let error = result.unwrap_err().to_string();
            assert!(error.contains(&format!("line 1: {words}")), "{error}");
            assert!(!folder.path().join("recording").exists());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]
        #[test]
        fn imports_any_text_without_a_panic(lines in proptest::collection::vec("(\\{\"t\":[0-9]{1,3},\"kind\":\"(http|ws_tx|ws_rx)\",\"(msg|text|path)\":(\\{\\}|\"\\PC{0,9}\")\\}|\\PC{0,20})", 0..9)) {
            let _ = imported(&lines.join("\n"), false);
        }
    }
}
