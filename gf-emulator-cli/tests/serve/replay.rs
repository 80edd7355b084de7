//! `serve --replay` with machines that differ from the recording.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tungstenite::Message;

use super::Serve;
use crate::folder;

/// A recording of a machine that reports its settings and hunts.
fn record(folder: &Path) {
    let sent = |id: i64, kind: &str| json!({"kind": "in", "json": {"id": id, "action_type": kind, "status": "ready"}});
    let received = |id: i64, action: i64, event: &str, a: i64| json!({"kind": "out", "json": {"id": id, "action_id": action, "event": event, "settings": {"a": a}}});
    let lines = [
        json!({"kind": "session", "format": 1, "recorder": "a test", "side": "service"}),
        sent(1, "settings"),
        received(32, 1, "settings:completed", 1),
        sent(2, "hunt"),
        received(33, 2, "hunt:starting", 1),
        received(34, 2, "hunt:completed", 1),
        sent(3, "hunt"),
        received(35, 3, "hunt:starting", 1),
        received(36, 3, "hunt:completed", 1),
    ];
    let mut text = String::new();
    for (n, mut line) in lines.into_iter().enumerate() {
        let about = json!({"n": n, "t": 0, "at": "", "bytes": 0});
        line.as_object_mut().unwrap().extend(about.as_object().unwrap().clone());
        text.extend([line.to_string().as_str(), "\n"]);
    }
    fs::create_dir(folder.join("recording")).unwrap();
    fs::write(folder.join("recording/session.jsonl"), text).unwrap();
}

#[test]
fn reports_differences_and_waits_and_ends_when_the_machine_leaves() {
    let folder = folder();
    record(folder.path());
    let service = Serve::start(folder.path(), &["--replay", "recording", "--patience", "3"]);
    // The replay is for the first machine that opens a WebSocket, not the first that signs in.
    assert_eq!(service.sign_in("S9").status, 200);
    let mut machine = service.open("S1");
    assert_eq!(service.sign_in("S9").status, 401);
    let Message::Text(action) = machine.read().unwrap() else { panic!("not an action") };
    assert_eq!(serde_json::from_str::<Value>(&action).unwrap()["id"], 1);
    let event = json!({"id": 32, "action_id": 1, "event": "settings:completed", "settings": {"a": 2}});
    machine.send(Message::text(event.to_string())).unwrap();
    // While the machine is connected. The order depends on timing.
    let mut awaited = vec![
        "settings 1: settings:completed: settings.a is 2, recorded: 1",
        "waiting for hunt:starting (message 1 of action 2 in the recording), at most 2 s more",
        "hunt:starting (message 1 of action 2 in the recording) did not arrive within 3.0 s",
    ];
    while !awaited.is_empty() {
        let line = service.program.wait_line("");
        awaited.retain(|words| !line.contains(words));
    }
    drop(machine);
    let ended = service.program.end();
    ended.expect(1);
    assert!(ended.stdout.contains("the machine left and did not come back within 3s"), "{ended:?}");
    assert_eq!(ended.stdout.matches("settings.a is 2").count(), 1, "{ended:?}");
    for words in ["hunt 2: hunt:starting (1 of 2) did not arrive", "hunt 3: hunt:completed (2 of 2) did not arrive"] {
        assert!(ended.stdout.contains(words), "{words}: {ended:?}");
    }
    assert!(ended.stderr.contains("5 differences: 3 actions, 5 messages, 0 requests"), "{}", ended.stderr);
}

#[test]
fn counts_differences_beyond_the_limit() {
    let folder = folder();
    record(folder.path());
    let service = Serve::start(folder.path(), &["--replay", "recording", "--patience", "3600"]);
    let mut machine = service.open("S1");
    for n in 0..30 {
        let line = |i: i64| format!("{{\"id\":7,\"action_id\":{},\"event\":\"{}\"}}\n", 100 + i, "x".repeat(3000));
        let frame: String = (0..100).map(|i| line(n * 100 + i)).collect();
        machine.send(Message::text(frame)).unwrap();
    }
    machine.send(Message::Ping("all".into())).unwrap();
    while !matches!(machine.read().unwrap(), Message::Pong(_)) {}
    let peak_mb = service.peak_mb();
    assert!(peak_mb < 150, "{peak_mb} MB");
    let ended = service.stop();
    ended.expect(1);
    assert!(ended.stdout.contains(" more differences\n"), "{}", ended.stdout.len());
    assert!(ended.stdout.len() < 2_000_000, "{}", ended.stdout.len());
}
