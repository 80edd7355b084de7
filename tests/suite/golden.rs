//! A whole cycle, compared with recordings of real clients message by message and request by request.
//!
//! The recordings are not part of the project; `GF_GOLDEN_DIR` is their folder.

use gf_emulator_core::config::Generation;
use gf_emulator_core::local_service::{Bearer, Seen};
use gf_emulator_tests::{LIMIT, Setup, golden_folder, picture_of};
use serde_json::{Value, json};

/// The pictures of the recorded clients, by their sizes.
const RECORDED_PICTURES: [(u64, &str); 4] =
    [(263_016, "HOME_1"), (361_462, "HOME_2"), (451_570, "HEAD_LASER_.230"), (430_762, "HEAD_NO_LASER_.230")];

struct Recording {
    lines: Vec<Value>,
    /// The URL of the recorded service, such as `https://localhost:40763`.
    base: String,
}

impl Recording {
    fn read(name: &str) -> Self {
        let text = std::fs::read_to_string(golden_folder().join(name)).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let url = lines.iter().find_map(|line| line["msg"]["motion_url"].as_str()).unwrap();
        let base = url.strip_suffix("/dl/job.puls").unwrap().to_owned();
        Self { lines, base }
    }

    fn of_kind<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.lines.iter().filter(move |line| line["kind"] == kind)
    }

    fn header(line: &Value, name: &str) -> Option<String> {
        line["headers"][name].as_str().map(str::to_owned)
    }
}

/// Normalises values of a message that differ between runs. Keeps the order of its fields and its line end.
fn normalise(text: &str, base: &str, first_id: i64) -> String {
    let (json, line_end) = text.split_at(text.trim_end().len());
    let mut message: Value = serde_json::from_str(json).unwrap();
    // The text is compared, so it must have no blanks and no optional escapes.
    assert_eq!(message.to_string(), json);
    message["id"] = json!(message["id"].as_i64().unwrap() - first_id);
    assert!(message["timestamp"].as_u64().unwrap() >= 3800, "{text}");
    message["timestamp"] = json!("<any>");
    if let Some(date) = message.pointer_mut("/settings/values/MCdt") {
        assert!(date.as_i64().unwrap() > 1_500_000_000, "seconds since 1970");
        *date = json!("<any>");
    }
    format!("{}{}", message.to_string().replace(base, "{http}"), line_end.escape_default())
}

/// The compared parts of a request.
#[derive(Debug, PartialEq)]
struct Exchange {
    method: String,
    path: String,
    content_type: Option<String>,
    user_agent: Option<String>,
    bearer: bool,
    body: String,
}

impl Exchange {
    /// Normalises what is allowed to differ.
    fn without_known_differences(mut self) -> Self {
        if self.path == "/machines/sign_in" {
            // The clients send a form. The emulator sends JSON, as the factory firmware does.
            self.content_type = None;
            self.body = "serial and password".into();
        }
        if self.path.starts_with("/dl/fw.bin") || self.path.starts_with("/dl/firmware") {
            // The path depends on the service.
            self.path = "the firmware".into();
        }
        if self.path.starts_with("/up/") {
            // The client sends its HTTP library's user agent here; the emulator always sends its own.
            self.user_agent = None;
        }
        if self.path == "/api/event" {
            // Only the first body of the 1.x recording has a number. In the others the client has not replaced its own
            // placeholder, which is not JSON. The emulator always sends a number.
            let text = self.body.replace("<MILLI_EPOCH>", "0");
            let mut event: Value = serde_json::from_str(&text).unwrap();
            assert!(event["id"].is_u64(), "{event}");
            event["id"] = json!("<any>");
            self.body = event.to_string();
        }
        self
    }

    fn recorded(line: &Value) -> Self {
        let size = line["size"].as_u64().unwrap();
        let content_type = Recording::header(line, "content-type");
        let body = match &content_type {
            Some(kind) if kind == "image/jpeg" => {
                RECORDED_PICTURES.iter().find(|(known, _)| *known == size).unwrap().1.to_owned()
            }
            // The clients' JSON has blanks.
            Some(kind) if kind == "application/json" => {
                serde_json::from_str::<Value>(line["body"].as_str().unwrap()).unwrap().to_string()
            }
            _ => line["body"].as_str().unwrap().to_owned(),
        };
        Self {
            method: line["method"].as_str().unwrap().into(),
            path: line["path"].as_str().unwrap().into(),
            content_type,
            user_agent: Recording::header(line, "user-agent"),
            bearer: Recording::header(line, "authorization").is_some(),
            body,
        }
        .without_known_differences()
    }

    fn received(seen: &Seen) -> Option<Self> {
        let Seen::Http(request) = seen else { return None };
        if request.path == "/<ws_token>" {
            return None;
        }
        assert_ne!(request.bearer, Bearer::Bad);
        assert_eq!(request.status, 200, "{request:?}");
        let body = if request.header("content-type") == Some("image/jpeg") {
            picture_of(request.body_len).to_owned()
        } else {
            request.text()
        };
        let exchange = Self {
            method: request.method.clone(),
            path: request.path.clone(),
            content_type: request.header("content-type").map(str::to_owned),
            user_agent: request.header("user-agent").map(str::to_owned),
            bearer: request.bearer == Bearer::Good,
            body,
        };
        Some(exchange.without_known_differences())
    }
}

fn check_against(generation: Generation, recording: &str, firmware: &str, user_agent: Option<&'static str>) {
    let recording = Recording::read(recording);
    let harness = Setup::new(generation)
        .service(|service| service.firmware_version(firmware))
        .config(move |config| config.service.user_agent = user_agent.map(str::to_owned))
        .start();
    let http = harness.service.http_url().to_owned();
    for line in recording.of_kind("ws_tx") {
        let action: Value = serde_json::from_str(&line["msg"].to_string().replace(&recording.base, &http)).unwrap();
        let (id, kind) = (action["id"].as_i64().unwrap(), action["action_type"].as_str().unwrap().to_owned());
        harness.service.send(action).unwrap();
        harness.wait_event(&format!("{kind}:completed"), Some(id));
    }
    // A stop sends all queued messages.
    let (service, _folder, ended) = harness.stop();
    ended.unwrap();
    assert!(service.wait_for(|seen| seen.iter().any(|seen| matches!(seen, Seen::WsClosed { .. })), LIMIT));
    let seen = service.seen();

    let id_of = |text: &str| serde_json::from_str::<Value>(text).unwrap()["id"].as_i64().unwrap();
    let theirs: Vec<&str> = recording.of_kind("ws_rx").map(|line| line["text"].as_str().unwrap()).collect();
    let ours: Vec<&str> = seen
        .iter()
        .filter_map(|seen| if let Seen::WsMessage { text, .. } = seen { Some(text.as_str()) } else { None })
        .collect();
    assert!((32..).zip(&ours).all(|(id, text)| id_of(text) == id), "ids count up from 32: {ours:#?}");
    // The recorded 2.6 client sends no progress. Without it, our ids have gaps.
    let is_compared = |text: &&str| generation == Generation::V1 || !text.contains(r#""type":"progress""#);
    let ours: Vec<_> = ours.into_iter().filter(is_compared).collect();
    let their_first_id = id_of(theirs[0]);
    for (theirs, ours) in theirs.iter().zip(&ours) {
        let our_first_id = id_of(ours) - (id_of(theirs) - their_first_id);
        assert_eq!(normalise(ours, &http, our_first_id), normalise(theirs, &recording.base, their_first_id));
    }
    assert_eq!(ours.len(), theirs.len());

    let theirs: Vec<_> = recording.of_kind("http").map(Exchange::recorded).collect();
    let ours: Vec<_> = seen.iter().filter_map(Exchange::received).collect();
    for (theirs, ours) in theirs.iter().zip(&ours) {
        assert_eq!(ours, theirs);
    }
    assert_eq!(ours.len(), theirs.len(), "{ours:#?}");

    let opening = recording.of_kind("ws_open").next().unwrap();
    assert_eq!(Recording::header(opening, "sec-websocket-protocol").as_deref(), Some("glowforge"));
    assert!(seen.contains(&Seen::WsOpened { subprotocol: true }));
    let handshake = seen.iter().find_map(|seen| match seen {
        Seen::Http(request) if request.path == "/<ws_token>" => Some(request),
        _ => None,
    });
    let handshake = handshake.unwrap();
    assert_eq!(handshake.header("user-agent"), Recording::header(opening, "user-agent").as_deref());
    assert_eq!(handshake.bearer, Bearer::Absent, "the only token is in the path");
}

#[test]
#[ignore = "needs recordings of real clients: GF_GOLDEN_DIR"]
fn a_cycle_of_2_6_equals_the_recording() {
    check_against(Generation::V2, "2.6-full-cycle.jsonl", "2.6.0-2228", None);
}

#[test]
#[ignore = "needs recordings of real clients: GF_GOLDEN_DIR"]
fn a_cycle_of_1_x_equals_the_recording() {
    // The user agent of the recorded client. The default is OpenGlow/<firmware version>.
    check_against(Generation::V1, "1.x-full-cycle.jsonl", "9.9.9-1", Some("Glowforge/1.6.0-35"));
}
