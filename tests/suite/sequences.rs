//! Snapshots of the requests and messages of every action, for both generations.
//!
//! HTTP requests and WebSocket messages are listed apart: their relative order is not defined.

use std::fmt::Write;

use gf_emulator_core::config::Generation;
use gf_emulator_core::local_service::{Fault, Seen};
use gf_emulator_tests::{Harness, LIMIT, Setup, endings_of, events_of, picture_of};
use serde_json::{Value, json};

const BOTH: [Generation; 2] = [Generation::V1, Generation::V2];

/// Formats a message without fields that are the same in all messages or differ between runs.
fn message_line(message: &Value) -> String {
    let mut line = message["event"].as_str().or(message["progress"].as_str()).unwrap().to_owned();
    for (key, value) in message.as_object().unwrap() {
        match key.as_str() {
            "id" | "timestamp" | "type" | "version" | "event" | "progress" | "action_id" => {}
            "level" => assert_eq!(value, "INFO"),
            "settings" => match value["values"].as_object() {
                Some(values) => write!(line, "  settings: {} values", values.len()).unwrap(),
                None => write!(line, "  settings: {value}").unwrap(),
            },
            _ => write!(line, "  {key}: {value}").unwrap(),
        }
    }
    if message.get("action_id").is_none() { format!("{line}  (of no action)") } else { line }
}

fn request_line(seen: &Seen) -> Option<String> {
    let Seen::Http(request) = seen else { return None };
    let mut line = format!("{} {}", request.method, request.path);
    if request.has_query {
        line += "?...";
    }
    match request.header("content-type") {
        Some("image/jpeg") => write!(line, "  {}", picture_of(request.body_len)).unwrap(),
        Some("application/json") => write!(line, "  {}", request.text()).unwrap(),
        Some(other) => panic!("{other}"),
        None => {}
    }
    Some(format!("{line}  (bearer {:?}) -> {}", request.bearer, request.status))
}

/// Sends actions to a new machine one after the other, stops it, and lists everything received since it connected.
fn sequence(setup: Setup, prepare: impl FnOnce(&Harness), actions: &[(&str, Value)]) -> String {
    let harness = setup.start();
    prepare(&harness);
    let http = harness.service.http_url().to_owned();
    for (id, (action, more)) in (1..).zip(actions) {
        let mut all =
            json!({"motion_url": harness.service.puls_url(), "endpoint": format!("{http}/up/{id}?X-Sig=a-secret")});
        for (key, value) in more.as_object().unwrap() {
            all[key] = value.clone();
        }
        harness.send(id, action, "ready", &all);
        harness.wait("the terminal event", |seen| !endings_of(seen, id, action).is_empty());
    }
    // A stop sends all queued messages.
    let (service, _folder, ended) = harness.stop();
    ended.unwrap();
    assert!(service.wait_for(|seen| matches!(seen.last(), Some(Seen::WsClosed { code: Some(1000) })), LIMIT));
    let seen = service.seen();
    let opened = seen.iter().position(|seen| matches!(seen, Seen::WsOpened { .. })).unwrap();
    let mut text = String::new();
    for seen in &seen[opened..] {
        if let Seen::WsMessage { message, .. } = seen {
            writeln!(text, "{}", message_line(message).replace(&http, "{http}")).unwrap();
        }
    }
    for line in seen[opened..].iter().filter_map(request_line) {
        writeln!(text, "> {line}").unwrap();
    }
    text
}

fn single_action(generation: Generation, action: &str, more: Value) -> String {
    sequence(Setup::new(generation), |_| (), &[(action, more)])
}

fn every_action(generation: Generation, actions: &[(&str, Value)]) -> String {
    let section = |(action, more): &(&str, Value)| {
        let fields = if more == &json!({}) { String::new() } else { format!(" {more}") };
        format!("## {action}{fields}\n{}\n", single_action(generation, action, more.clone()))
    };
    actions.iter().map(section).collect()
}

#[test]
fn every_action_2_6() {
    insta::assert_snapshot!(every_action(
        Generation::V2,
        &[
            ("settings", json!({})),
            ("lid_image", json!({})),
            ("lid_image", json!({"endpoint": null})),
            ("user_image", json!({})),
            ("head_image", json!({"settings": {"HCil": 1, "HCae": 0, "HCex": 100, "HCag": 0, "HCga": 1}})),
            ("head_image", json!({"settings": {"HCil": 0}})),
            ("head_image", json!({})),
            ("lidar_image", json!({"settings": [{"HCil": 1}, {"HCil": 0}]})),
            ("lidar_image", json!({"settings": [{"HCil": 0}, {"HCil": 1}]})),
            ("lidar_image", json!({"settings": []})),
            ("hunt", json!({})),
            ("motion", json!({})),
            ("print", json!({})),
            ("update_check", json!({})),
            ("factory_reset", json!({})),
            ("head_firmware_update", json!({})),
        ],
    ));
}

#[test]
fn every_action_1_x() {
    insta::assert_snapshot!(every_action(
        Generation::V1,
        &[
            ("settings", json!({})),
            ("lid_image", json!({})),
            ("head_image", json!({"settings": {"HCil": 1}})),
            ("head_image", json!({"settings": {"HCil": 0}})),
            ("lidar_image", json!({"settings": [{"HCil": 1}, {"HCil": 0}]})),
            ("hunt", json!({})),
            ("motion", json!({})),
            ("print", json!({})),
        ],
    ));
}

#[test]
fn requests_before_the_websocket_opens() {
    let start = |generation: Generation| {
        let harness = Setup::new(generation).service(|service| service.firmware_version("9.9.9-1")).start();
        let mut text = format!("## {generation}\n");
        for seen in harness.service.seen() {
            let Seen::Http(request) = &seen else { continue };
            let mut body = request.json().unwrap_or_default();
            if body.get("id").is_some_and(Value::is_u64) {
                body["id"] = json!("<milliseconds since 1970>");
            }
            writeln!(text, "> {} {}  {body}", request.method, request.path).unwrap();
        }
        let firmware = harness.folder().join("firmware/glowforge-fw-v9.9.9-1.fw");
        assert_eq!(firmware.is_file(), generation == Generation::V1);
        text
    };
    insta::assert_snapshot!(format!("{}\n{}", start(Generation::V1), start(Generation::V2)));
}

#[test]
fn an_update_check_fails_if_its_request_fails() {
    let fail = |harness: &Harness| harness.service.fault(Fault::status(500).on("GET", "/update/current"));
    let text = sequence(Setup::new(Generation::V2), fail, &[("update_check", json!({}))]);
    insta::assert_snapshot!(text, @r"
    update_check:failed
    > GET /update/current  (bearer Good) -> 500
    ");
}

#[test]
fn a_failed_machine_status_does_not_fail_the_settings() {
    let fail = |harness: &Harness| harness.service.fault(Fault::status(500).on("PUT", "/api/machines/status"));
    let text = sequence(Setup::new(Generation::V1), fail, &[("settings", json!({}))]);
    assert!(text.contains("settings:completed  settings: 344 values"), "{text}");
}

#[test]
fn settings_are_full_once_in_2_6_and_always_in_1_x() {
    let thrice = [("settings", json!({})), ("settings", json!({})), ("settings", json!({}))];
    let reports = |setup: Setup| {
        let text = sequence(setup, |_| (), &thrice);
        let reports = text.lines().filter_map(|line| line.strip_prefix("settings:completed  settings: "));
        reports.map(str::to_owned).collect::<Vec<_>>()
    };
    let bypass = |generation| Setup::new(generation).config(|config| config.emulator.bypass_homing = true);
    assert_eq!(reports(Setup::new(Generation::V2)), ["547 values", "{}", "{}"]);
    assert_eq!(reports(bypass(Generation::V2)), ["{}", "{}", "{}"]);
    assert_eq!(reports(Setup::new(Generation::V1)), ["344 values"; 3]);
    assert_eq!(reports(bypass(Generation::V1)), ["344 values"; 3]);
}

#[test]
fn unknown_actions_and_those_not_ready_are_ignored() {
    for generation in BOTH {
        let ignore = |harness: &Harness| {
            let known = ["settings", "lid_image", "head_image", "lidar_image", "hunt", "motion", "print"];
            let more = ["factory_reset", "head_firmware_update", "update_check", "user_image"];
            let mut id = 100;
            for action in known.into_iter().chain(more) {
                for status in ["new", "started", "success", "failure", "cancelled", "READY", ""] {
                    id += 1;
                    harness.send(id, action, status, &json!({"motion_url": harness.service.puls_url()}));
                }
            }
            for action in ["focus", "no_such_action", "", "settings ", "Settings", "../print"] {
                id += 1;
                harness.start_action(id, action);
            }
            if generation == Generation::V1 {
                harness.start_action(id + 1, "user_image");
                harness.start_action(id + 2, "factory_reset");
            }
        };
        let text = sequence(Setup::new(generation), ignore, &[("hunt", json!({}))]);
        assert_eq!(text, single_action(generation, "hunt", json!({})), "only the last action has an effect");
    }
}

/// Returns the uploaded pictures in order.
fn pictures(setup: Setup, prepare: impl FnOnce(&Harness), actions: &str) -> Vec<String> {
    let actions: Vec<_> = actions.split(' ').map(|action| (action, json!({}))).collect();
    let text = sequence(setup, prepare, &actions);
    let uploads = text.lines().filter(|line| line.starts_with("> POST") || line.starts_with("> PUT /up/"));
    uploads.map(|line| line.split("  ").nth(1).unwrap().to_owned()).collect()
}

#[test]
fn lid_pictures_home_the_machine_and_a_motion_starts_homing_again() {
    for generation in BOTH {
        let of = |actions: &str| pictures(Setup::new(generation), |_| (), actions);
        assert_eq!(
            of("lid_image lid_image lid_image lid_image lid_image lid_image"),
            ["HOME_1", "HOME_2", "HOME_3", "HOME_4", "LID_IMAGE", "LID_IMAGE"]
        );
        assert_eq!(
            of("lid_image motion lid_image motion lid_image motion lid_image hunt lid_image"),
            ["HOME_1", "HOME_2", "HOME_3", "HOME_4", "LID_IMAGE"],
            "a motion during homing changes nothing"
        );
        assert_eq!(
            of("lid_image lid_image lid_image lid_image motion lid_image lid_image motion lid_image"),
            ["HOME_1", "HOME_2", "HOME_3", "HOME_4", "HOME_1", "HOME_2", "HOME_3"],
            "once homed, a motion right before starts homing again"
        );
        assert_eq!(
            of("lid_image lid_image lid_image lid_image motion settings lid_image print lid_image"),
            ["HOME_1", "HOME_2", "HOME_3", "HOME_4", "LID_IMAGE", "LID_IMAGE"],
            "only right before, and only a motion"
        );
        assert_eq!(
            of("lid_image head_image lid_image"),
            ["HOME_1", "HEAD_NO_LASER_.230", "HOME_2"],
            "the head camera does not affect homing"
        );
    }
}

#[test]
fn homing_can_be_bypassed_in_2_6() {
    let of = |generation, actions: &str| {
        let setup = Setup::new(generation).config(|config| config.emulator.bypass_homing = true);
        pictures(setup, |_| (), actions)
    };
    assert_eq!(of(Generation::V2, "lid_image lid_image"), ["LID_IMAGE", "LID_IMAGE"]);
    assert_eq!(of(Generation::V2, "motion lid_image lid_image"), ["HOME_1", "HOME_2"]);
    assert_eq!(of(Generation::V1, "lid_image lid_image"), ["HOME_1", "HOME_2"], "not in 1.x");
}

#[test]
fn the_last_homing_picture_replaces_a_missing_bed_picture() {
    for generation in BOTH {
        let without_bed =
            |harness: &Harness| std::fs::remove_file(harness.folder().join("images/LID_IMAGE.jpg")).unwrap();
        assert_eq!(
            pictures(Setup::new(generation), without_bed, "lid_image lid_image lid_image lid_image lid_image"),
            ["HOME_1", "HOME_2", "HOME_3", "HOME_4", "HOME_4"]
        );
    }
}

#[test]
fn button_and_lid_send_unsolicited_events() {
    let signals = |generation| {
        let harness = Setup::new(generation).start();
        // The service sees the connection before the machine does: wait until both do.
        harness.expect(1, "settings", "completed");
        harness.handle.press_button();
        harness.handle.open_lid();
        harness.handle.close_lid();
        let (service, _folder, ended) = harness.stop();
        ended.unwrap();
        assert!(service.wait_for(|seen| matches!(seen.last(), Some(Seen::WsClosed { .. })), LIMIT));
        let mut events = events_of(&service.seen());
        events.retain(|event| !event.starts_with("settings:"));
        events
    };
    assert_eq!(signals(Generation::V2), ["button:pressed", "button:released", "lid:opened", "lid:closed"]);
    // In 1.x the button's events are part of a print.
    assert_eq!(signals(Generation::V1), ["lid:opened", "lid:closed"]);
}
