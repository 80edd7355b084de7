//! Plans and comparisons of synthetic recordings, without a network.

use std::fs;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::local_service::{Bearer, RecordedBody, ReplayStep, Request, Seen};
use crate::record::SESSION_FILE;

fn text_of(lines: &[Value]) -> String {
    let first =
        json!({"n": 0, "t": 0, "at": "", "kind": "session", "format": 1, "recorder": "a test", "side": "service"});
    let mut text = format!("{first}\n");
    for (n, line) in (1..).zip(lines) {
        let mut entry = json!({"n": n, "t": n, "at": "", "bytes": 0, "request": {"bytes": 0}});
        entry.as_object_mut().unwrap().extend(line.as_object().unwrap().clone());
        text.extend([entry.to_string().as_str(), "\n"]);
    }
    text
}

fn open_session(text: &str) -> crate::Result<Session> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join(SESSION_FILE), text).unwrap();
    Session::open(folder.path())
}

fn sent(message: &Value) -> Value {
    json!({"kind": "in", "json": message})
}

fn action(id: i64, kind: &str, url: &str) -> Value {
    sent(&json!({"id": id, "action_type": kind, "status": "ready", "motion_url": url}))
}

fn received(action: i64, event: &str) -> Value {
    json!({"kind": "out", "json": {"action_id": action, "event": event}})
}

fn requested(method: &str, path: &str) -> Value {
    json!({"kind": "http", "method": method, "url": format!("https://h{path}")})
}

/// Returns what a service sees of the same lines.
fn seen(lines: &[Value]) -> Vec<Seen> {
    let seen = |line: &Value| match line["kind"].as_str().unwrap() {
        "in" => Seen::WsSent(line["json"].to_string()),
        "out" => Seen::WsMessage { message: line["json"].clone(), text: line["json"].to_string() },
        "opened" => Seen::WsOpened { subprotocol: true },
        _ => Seen::Http(Request {
            method: line["method"].as_str().unwrap().into(),
            path: transcript::path_of(line["url"].as_str().unwrap()).unwrap().into(),
            has_query: false,
            headers: line["headers"].as_str().map(|kind| ("content-type".into(), kind.into())).into_iter().collect(),
            bearer: Bearer::Absent,
            body: Arc::from(line["body"].as_str().unwrap_or_default().as_bytes()),
            body_len: 0,
            status: 200,
        }),
    };
    lines.iter().map(seen).collect()
}

fn differences(recorded: &[Value], found: &[Value]) -> Vec<String> {
    let session = open_session(&text_of(recorded)).unwrap();
    session.compare(&seen(found)).differences.iter().map(ToString::to_string).collect()
}

#[test]
fn awaits_a_request_where_it_began() {
    let cancelled = sent(&json!({"id": 1, "action_type": "print", "status": "cancelled"}));
    let mut download = requested("GET", "/job");
    // Recorded at 4 s, but made before the service's message at 3 s.
    download["duration_s"] = json!(1.5);
    let lines = [action(1, "print", "https://h/job"), received(1, "print:starting"), cancelled, download];
    let steps = open_session(&text_of(&lines)).unwrap().plan().steps;
    assert!(matches!(&steps[2], ReplayStep::AwaitRequest { path, .. } if path == "/job"), "{steps:?}");
    assert!(matches!(&steps[3], ReplayStep::Send { text, .. } if text.contains("cancelled")), "{steps:?}");
}

#[test]
fn reports_missing_and_extra_events_by_action() {
    let names = |names: &str| -> Vec<Value> {
        let start = [action(7, "hunt", "https://h/a")];
        start.into_iter().chain(names.split_whitespace().map(|name| received(7, name))).collect()
    };
    for (recorded, found, expected) in [
        ("a b", "a b", ""),
        ("a b c", "a c", "hunt 7: b (2 of 3) did not arrive"),
        ("a", "", "hunt 7: a did not arrive"),
        ("a c", "a b c", "hunt 7: b arrived after a, but is not in the recording"),
        ("", "a", "hunt 7: a arrived, but is not in the recording"),
        ("a b", "a c", "hunt 7: c arrived instead of b"),
        ("a b c", "a d e", "hunt 7: d arrived instead of b; hunt 7: e arrived instead of c"),
        ("a b c", "a d", "hunt 7: d arrived instead of b; hunt 7: c (3 of 3) did not arrive"),
    ] {
        assert_eq!(differences(&names(recorded), &names(found)).join("; "), expected, "{recorded} / {found}");
    }
    let strange = [action(7, "hunt", "https://h/a"), received(8, "x")];
    assert_eq!(
        differences(&strange[..1], &strange),
        ["action 8, which the service did not send: x arrived, but is not in the recording"]
    );
}

#[test]
fn compares_the_order_within_actions_only() {
    let start = [action(1, "a", "https://h/a"), action(2, "b", "https://h/b")];
    let of = |messages: [(i64, &str); 3]| -> Vec<Value> {
        start.iter().cloned().chain(messages.map(|(id, name)| received(id, name))).collect()
    };
    let recorded = of([(1, "x"), (1, "y"), (2, "z")]);
    assert_eq!(differences(&recorded, &of([(2, "z"), (1, "x"), (1, "y")])), [""; 0]);
    assert_eq!(differences(&recorded, &of([(1, "y"), (1, "x"), (2, "z")])).len(), 2);
}

#[test]
fn groups_requests_by_action() {
    let job = "https://h/job?***";
    let recorded = [
        requested("GET", "/update/current"),
        action(1, "motion", job),
        requested("GET", "/job"),
        received(1, "motion:completed"),
        action(2, "motion", job),
        requested("GET", "/job"),
        requested("POST", "/api/machines/lid_image/2"),
        received(2, "motion:completed"),
    ];
    assert_eq!(differences(&recorded, &recorded), [""; 0]);
    let mut found = recorded.to_vec();
    found.remove(5);
    assert_eq!(differences(&recorded, &found), ["motion 2: GET /job (1 of 2) did not arrive"]);
    let mut found = recorded.to_vec();
    found.push(requested("PUT", "/api/machines/status"));
    assert_eq!(
        differences(&recorded, &found),
        [
            "requests without an action: PUT /api/machines/status arrived after GET /update/current, but is not in the recording"
        ]
    );
    // Concurrent actions with the same URL: the requests form one group.
    let together =
        [action(1, "motion", job), action(2, "motion", job), requested("GET", "/job"), requested("GET", "/job")];
    let found = [together[0].clone(), together[2].clone(), together[1].clone(), together[3].clone()];
    assert_eq!(differences(&together, &found), [""; 0]);
    assert_eq!(differences(&together, &together[..3]), ["requests for /job: GET /job (2 of 2) did not arrive"]);
}

#[test]
fn compares_json_bodies() {
    let post = |kind: &str, body: &str| {
        let mut line = requested("POST", "/api/event");
        line["headers"] = kind.into();
        line["body"] = body.into();
        let json = crate::record::read_json(body.as_bytes());
        line["request"] = json!({"bytes": 0, "headers": {"content-type": kind}, "json": json});
        vec![action(1, "x", "https://h/x"), line]
    };
    let json = "application/json";
    for (recorded, found, expected) in [
        (
            (json, r#"{"id": <MILLI_EPOCH>, "event": "e", "local": "1"}"#),
            (json, r#"{"id": 5, "event": "e", "local": "1"}"#),
            "",
        ),
        (
            (json, r#"{"id": 5, "event": "e"}"#),
            (json, r#"{"id": <MILLI_EPOCH>, "event": "e"}"#),
            "requests without an action: POST /api/event e: id is \"<MILLI_EPOCH>\", recorded: 5",
        ),
        (
            (json, r#"{"event": "e", "local": "1"}"#),
            (json, r#"{"event": "e", "local": "2"}"#),
            "requests without an action: POST /api/event e: local is \"2\", recorded: \"1\"",
        ),
        (
            (json, r#"{"event": "e"}"#),
            ("text/plain", r#"{"event": "e"}"#),
            "requests without an action: POST /api/event e: its content type is text/plain, recorded: application/json",
        ),
    ] {
        assert_eq!(differences(&post(recorded.0, recorded.1), &post(found.0, found.1)).join("; "), expected);
    }
}

#[test]
fn checks_that_ids_count_up_and_timestamps_do_not_go_back() {
    let message = |id: i64, timestamp: i64| json!({"kind": "out", "json": {"id": id, "timestamp": timestamp, "action_id": 1, "event": "x"}});
    let start = action(1, "hunt", "https://h/a");
    let cut = json!({"kind": "opened", "url": "wss://h"});
    let recorded = [start.clone(), message(32, 1), message(33, 1)];
    for (found, expected) in [
        (vec![message(40, 9), message(41, 9)], ""),
        (vec![message(40, 9), message(40, 9)], "hunt 1: x: id 40 came after id 40"),
        (vec![message(40, 9), message(42, 9)], "hunt 1: x: id 42 came after id 40"),
        (vec![message(40, 9), cut.clone(), message(42, 9)], ""),
        (vec![message(40, 9), cut, message(39, 9)], "hunt 1: x: id 39 came after id 40"),
        (vec![message(40, 9), message(41, 8)], "hunt 1: x: timestamp 8 came after timestamp 9"),
        (
            vec![message(i64::MAX, 9), message(i64::MIN, 9)],
            "hunt 1: x: id -9223372036854775808 came after id 9223372036854775807",
        ),
    ] {
        let found: Vec<_> = [start.clone()].into_iter().chain(found).collect();
        assert_eq!(differences(&recorded, &found).join("; "), expected, "{found:?}");
    }
}

#[test]
fn ignores_the_number_of_progress_messages() {
    let progress = |current: i64, extra: Option<i64>| {
        let mut json = json!({"action_id": 1, "progress": "print:progress", "current": current});
        if let Some(extra) = extra {
            json["extra"] = extra.into();
        }
        json!({"kind": "out", "json": json})
    };
    let start = action(1, "print", "https://h/a");
    let recorded = [start.clone(), progress(1, None), received(1, "print:completed")];
    for found in [vec![], vec![progress(5, None)], vec![progress(1, None), progress(2, None)]] {
        let found: Vec<_> = [start.clone()].into_iter().chain(found).chain([received(1, "print:completed")]).collect();
        assert_eq!(differences(&recorded, &found), [""; 0]);
    }
    let found = [start, progress(1, Some(2)), received(1, "print:completed")];
    assert_eq!(differences(&recorded, &found), ["print 1: print:progress: extra is 2, but is not in the recording"]);
}

#[test]
fn limits_the_differences_of_one_message_to_short_lines() {
    let report = |value: i64| {
        let values: serde_json::Map<_, _> = (0..500).map(|n| (format!("C{n}"), value.into())).collect();
        vec![
            action(1, "a\n\u{1b}[2J", "https://h/a"),
            json!({"kind": "out", "json": {"action_id": 1, "event": "e", "settings": values}}),
        ]
    };
    let lines = differences(&report(1), &report(2));
    assert_eq!(lines.len(), 21);
    assert!(lines[20].ends_with("and 480 more fields differ"), "{}", lines[20]);
    assert!(lines.iter().all(|line| !line.contains(char::is_control)), "{lines:?}");
}

#[test]
fn cuts_only_before_another_websocket_opens() {
    let [open, close] = [json!({"kind": "opened", "url": "wss://h"}), json!({"kind": "closed", "reason": "x"})];
    let say = action(1, "hunt", "https://h/a");
    for (lines, cuts) in [
        (vec![&open, &say, &close], vec![]),
        (vec![&open, &say, &close, &open, &close], vec![1]),
        (vec![&say, &open, &close, &open, &say], vec![1]),
        // The new WebSocket opens before the old one closes.
        (vec![&open, &say, &open, &close, &say, &close], vec![1]),
        (vec![&close, &open, &say, &close, &close], vec![]),
    ] {
        let lines: Vec<_> = lines.into_iter().cloned().collect();
        let steps = open_session(&text_of(&lines)).unwrap().plan().steps;
        let found =
            steps.iter().enumerate().filter(|(_, step)| matches!(step, ReplayStep::Cut { .. })).map(|(index, _)| index);
        assert_eq!(found.collect::<Vec<_>>(), cuts, "{lines:?}");
    }
}

#[test]
fn infers_missing_responses_from_the_requests() {
    let firmware = |lines: &[Value]| {
        let lines: Vec<_> = lines.iter().cloned().chain([action(1, "hunt", "https://h/job")]).collect();
        let plan = open_session(&text_of(&lines)).unwrap().plan();
        let answer =
            |path: &str| plan.responses.get(&("GET".to_owned(), path.to_owned())).map(|all| all[0].body.clone());
        (answer("/update/current"), answer("/dl/fw.bin"))
    };
    let mut check = requested("GET", "/update/current");
    check["request"] = json!({"bytes": 0, "headers": {"user-agent": "OpenGlow/2.6.0-7"}});
    let fetch = requested("GET", "/dl/fw.bin");
    let mut event = requested("POST", "/api/event");
    event["request"] = json!({"bytes": 0, "json": {"remote": "3.0", "event": "firmware_update:check:complete"}});
    let version = |version: &str, path: &str| {
        Some(RecordedBody::Json(json!({"version": version, "download_url": format!("https://recorded.invalid{path}")})))
    };
    assert_eq!(firmware(&[check.clone()]), (version("2.6.0-7", "/dl/firmware"), None));
    assert_eq!(
        firmware(&[check.clone(), event, fetch.clone()]),
        (version("3.0", "/dl/fw.bin"), Some(RecordedBody::Firmware))
    );
    let (Some(RecordedBody::Json(other)), _) = firmware(&[check.clone(), fetch]) else { panic!() };
    assert_ne!(other["version"], "2.6.0-7", "the machine fetched another version");
    check["response"] = json!({"bytes": 0, "json": {"version": "4", "download_url": "https://h/x"}});
    assert_eq!(firmware(&[check]).0, Some(RecordedBody::Json(json!({"version": "4", "download_url": "https://h/x"}))));
}

#[test]
fn serves_only_regular_files_of_the_recording() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("own.puls"), "x").unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link.puls")).unwrap();
    for (name, given) in [("own.puls", true), ("link.puls", false), ("../x", false), ("none.puls", false)] {
        let mut line = requested("GET", "/job");
        line["response"] = json!({"bytes": 0, "file": name});
        line["status"] = 200.into();
        fs::write(folder.path().join(SESSION_FILE), text_of(&[action(1, "hunt", "https://h/job"), line])).unwrap();
        let plan = Session::open(folder.path()).unwrap().plan();
        let body = &plan.responses[&("GET".to_owned(), "/job".to_owned())][0].body;
        assert_eq!(matches!(body, RecordedBody::File(_)), given, "{name}: {body:?}");
    }
}

fn any_line() -> impl Strategy<Value = String> {
    let id = prop_oneof![Just("1".to_owned()), any::<i64>().prop_map(|id| id.to_string()), Just("\"x\"".to_owned())];
    let t = prop_oneof![
        Just("0".to_owned()),
        any::<f64>().prop_filter("JSON has no others", |t| t.is_finite()).prop_map(|t| format!("{t:e}"))
    ];
    let message = (id, "[a-z:]{0,9}", "\\PC{0,9}").prop_map(|(id, event, text)| {
        let text = Value::from(text);
        format!("{{\"id\":{id},\"action_id\":{id},\"action_type\":\"hunt\",\"status\":\"ready\",\"event\":\"{event}\",\"motion_url\":{text},\"url\":\"http://h/{event}\"}}")
    });
    let kind = prop_oneof![
        Just("in"),
        Just("out"),
        Just("http"),
        Just("opened"),
        Just("closed"),
        Just("state"),
        Just("session")
    ];
    let entry = (kind, t, message, "(https?://[a-z]{0,3}(/[a-z?#]{0,5})?|\\PC{0,9})").prop_map(|(kind, t, message, url)| {
        let url = Value::from(url);
        format!("{{\"n\":0,\"t\":{t},\"at\":\"\",\"kind\":\"{kind}\",\"bytes\":0,\"json\":{message},\"method\":\"GET\",\"url\":{url},\"reason\":\"\",\"state\":\"\",\"request\":{{\"bytes\":0,\"json\":{message},\"file\":\"x\"}}}}")
    });
    prop_oneof![4 => entry, 1 => "\\PC{0,40}"]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn accepts_any_recording(lines in proptest::collection::vec(any_line(), 0..30)) {
        let mut text = text_of(&[]);
        for line in &lines {
            text.extend([line.as_str(), "\n"]);
        }
        if let Ok(session) = open_session(&text) {
            let plan = session.plan();
            prop_assert!(plan.steps.len() <= lines.len());
            prop_assert!(plan.responses.values().map(std::collections::VecDeque::len).sum::<usize>() <= lines.len());
            let nothing = session.compare(&[]);
            prop_assert!(nothing.differences.len() <= nothing.messages + nothing.requests);
        }
    }
}
