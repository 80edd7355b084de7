//! Scripts, and stopping the service.

use super::*;

#[test]
fn a_script_continues_across_reconnections() {
    let script = r#"[
        {"send": {"id": 1, "action_type": "hunt", "status": "ready"}},
        {"await": "hunt:completed", "action_id": 1, "timeout_s": 10},
        {"drop": true},
        {"sleep_s": 0.01},
        {"send": {"id": 2, "action_type": "hunt"}, "timeout_s": 10},
        {"await": "posted", "timeout_s": 10},
        {"await": "early", "action_id": 1, "timeout_s": 0},
        {"close": 1000}
    ]"#;
    let service = plain().script(Script::from_json(script).unwrap()).start().unwrap();
    assert_eq!(service.outcome(Duration::ZERO), None);
    let mut socket = open(&service);
    assert_eq!(next_text(&mut socket)["id"], 1);
    // An event of another action does not count; one that comes before its step does.
    for message in [event("hunt:completed", 7), event("early", 1), event("hunt:completed", 1)] {
        socket.send(message).unwrap();
    }
    assert!(socket.read().is_err());
    drop(socket);
    let (token, bearer) = sign_in(&service);
    let mut socket = try_open(&service, &token).unwrap();
    assert_eq!(next_text(&mut socket)["id"], 2);
    assert_eq!(send(&service, "POST", "/api/event", &bearer, br#"{"event": "posted"}"#).status, 200);
    assert!(matches!(socket.read(), Ok(Message::Close(_))));
    while socket.read().is_ok() {}
    drop(socket);
    assert_eq!(service.outcome(LIMIT), Some(Outcome::Done));
}

#[test]
fn a_failed_script_names_the_step() {
    let script = r#"[{"await": "here"}, {"await": "never", "action_id": 3, "timeout_s": 0.01}]"#;
    let service = plain().script(Script::from_json(script).unwrap()).start().unwrap();
    let mut socket = open(&service);
    socket.send(event("here", 1)).unwrap();
    socket.send(event("other", 1)).unwrap();
    let Some(Outcome::Failed { step, reason }) = service.outcome(LIMIT) else { panic!("it did not fail") };
    assert_eq!(step, 2);
    assert!(reason.starts_with("never of action 3 did not arrive within 10ms"), "{reason}");
}

#[test]
fn an_invalid_script_names_the_step() {
    for (text, message) in [
        ("", "the script is not a JSON list of steps: it is empty"),
        ("{}", "the script is not a JSON list of steps: invalid type: map, expected a sequence"),
        (r#"[{"drop": true}"#, "the script is not a JSON list of steps: EOF"),
        (r#"[{"drop": true}] x"#, "the script is not a JSON list of steps: trailing characters"),
        ("[1]", "step 1 of the script: invalid type: integer `1`, expected an object such as"),
        (r#"[{"drop": true}, {}]"#, "step 2 of the script: has none of send, await, sleep_s, drop, close, fault"),
        (r#"[{"drop": true, "close": 1000}]"#, r#"has both "drop" and "close""#),
        (r#"[{"drop": true, "drop": true}]"#, "step 1 of the script: duplicate field `drop`"),
        (r#"[{"send": 1}]"#, "send: invalid type: integer `1`, expected a map"),
        (r#"[{"drop": true}, {"send": {"id": 1}}]"#, r#"step 2 of the script: the action has no "action_type""#),
        (r#"[{"send": {"id": 1, "action_type": 7}}]"#, r#"no "action_type""#),
        (
            r#"[{"send": {"action_type": "motion", "motion_url": "{pulse}"}}]"#,
            "step 1 of the script: send.motion_url: unknown placeholder {pulse}; the placeholders are {http}, {puls} and {serial}",
        ),
        (
            r#"[{"send": {"action_type": "x", "a": [{"b": "{http}/{Serial}"}]}}]"#,
            "send.a[0].b: unknown placeholder {Serial}",
        ),
        (r#"[{"snd": {}}]"#, "step 1 of the script: unknown field `snd`, expected one of `send`, `await`"),
        (r#"[{"send": {"action_type": "x"}, "action_id": 1}]"#, r#""action_id" belongs to "await" only"#),
        (r#"[{"await": {}}]"#, "await: invalid type: map, expected a string"),
        (r#"[{"await": "x", "action_id": 1.5}]"#, "action_id: invalid type: floating point `1.5`, expected i64"),
        (r#"[{"await": "x", "timeout_s": -1}]"#, "timeout_s: -1 is not a number of seconds from 0 to 31536000"),
        (r#"[{"sleep_s": 1e300}]"#, "is not a number of seconds"),
        (r#"[{"sleep_s": 1, "timeout_s": 1}]"#, r#""timeout_s" belongs to "send" and "await" only"#),
        (r#"[{"drop": false}]"#, r#"drop: must be true, "hard" or "reset""#),
        (r#"[{"close": 1006}]"#, "close: 1006 is not a WebSocket close code"),
        (r#"[{"await": "x", "action_id": null}]"#, "action_id: invalid type: null, expected i64"),
        (r#"[{"await": "x", "timeout_s": null}]"#, "timeout_s: invalid type: null, expected f64"),
        (r#"[{"drop": true, "close": null}]"#, "close: invalid type: null, expected u64"),
        (r#"[{"close": 70000}]"#, "close: 70000 is not a WebSocket close code"),
    ] {
        let error = Script::from_json(text).unwrap_err().to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
    let with_json =
        r#"[{"send": {"action_type": "x", "text": "{\"a\": {}} {not a word}", "url": "{http}{puls}{serial}"}}]"#;
    assert!(Script::from_json(with_json).is_ok());
}

const AWAIT_DONE: &str = r#"[{"send": {"id": 1, "action_type": "x"}}, {"await": "done", "timeout_s": 600}]"#;

#[test]
fn a_machine_that_left_counts_only_if_no_other_finished() {
    let script = Script::from_json(AWAIT_DONE).unwrap();
    let start = || {
        let builder = LocalService::builder().tls(false).gone_after(Duration::from_millis(100));
        builder.script(script.clone()).start().unwrap()
    };
    let service = start();
    let mut machine = open_as(&service, "S1");
    // It leaves during the second step.
    assert_eq!(next_text(&mut machine)["id"], 1);
    drop(machine);
    let Some(Outcome::Failed { step: 2, reason }) = service.outcome(LIMIT) else { panic!("the machine did not leave") };
    assert!(reason.starts_with("the machine left and did not come back within 100ms"), "{reason}");

    let service = start();
    sign_in_as(&service, "S1");
    drop(open_as(&service, "S2"));
    let mut machine = open_as(&service, "S3");
    machine.send(event("done", 1)).unwrap();
    assert_eq!(service.outcome(LIMIT), Some(Outcome::Done));
}

#[test]
fn a_script_continues_when_the_machine_comes_back() {
    let service = LocalService::builder().tls(false).script(Script::from_json(AWAIT_DONE).unwrap()).start().unwrap();
    let mut machine = open_as(&service, "S1");
    assert_eq!(next_text(&mut machine)["id"], 1);
    drop(machine);
    let mut machine = open_as(&service, "S1");
    machine.send(event("done", 1)).unwrap();
    assert_eq!(service.outcome(LIMIT), Some(Outcome::Done));
    let sent = service.seen().iter().filter(|seen| matches!(seen, Seen::WsSent(_))).count();
    assert_eq!(sent, 1, "the script was not started again");
}

#[test]
fn the_default_script_awaits_every_action() {
    let script = Script::default();
    let mut ids = Vec::new();
    for pair in script.steps().chunks(2) {
        let [ScriptStep::Send { action, .. }, ScriptStep::Await { event, action_id, timeout }] = pair else {
            panic!("{pair:?}")
        };
        let kind = action["action_type"].as_str().unwrap();
        assert_eq!(event, &format!("{kind}:completed"));
        assert_eq!(action["id"].as_i64(), *action_id);
        assert_eq!(action["status"], "ready");
        assert!(*timeout >= Duration::from_secs(60));
        let needs =
            if kind.ends_with("image") { Some("endpoint") } else { (kind != "settings").then_some("motion_url") };
        assert!(needs.is_none_or(|key| action.contains_key(key)), "{action:?}");
        ids.push(action_id.unwrap());
    }
    assert!(ids.iter().copied().eq(1001..1001 + i64::try_from(ids.len()).unwrap()), "{ids:?}");
}

/// Answers the `settings` that a behaviour begins with.
fn report(socket: &mut WebSocket<TcpStream>, values: &Value) {
    let id = &next_text(socket)["id"];
    let report = json!({"event": "settings:completed", "action_id": id, "settings": values});
    socket.send(Message::text(report.to_string())).unwrap();
}

#[test]
fn a_machine_that_reconnects_gets_the_same_action_until_it_has_begun() {
    let behaviour = Behaviour::new().time_scale(0.0);
    let service = LocalService::builder().tls(false).behaviour(behaviour).start().unwrap();
    let mut socket = open_as(&service, "S1");
    report(&mut socket, &json!({"values": {"MCsn": 1}}));
    let hunt = next_text(&mut socket);
    drop(socket);
    let mut socket = open_as(&service, "S1");
    report(&mut socket, &json!({}));
    assert_eq!(next_text(&mut socket), hunt);
    // As if it had received the first one, and its other events were lost.
    socket.send(event("hunt:completed", hunt["id"].as_i64().unwrap())).unwrap();
    assert_eq!(next_text(&mut socket)["action_type"], "lid_image");
}

#[test]
fn stop_ends_all_threads() {
    let script = Script::from_json(r#"[{"await": "never", "timeout_s": 600}]"#).unwrap();
    for tls in [false, true] {
        let service = LocalService::builder().tls(tls).script(script.clone()).start().unwrap();
        let _silent = connect(&service);
        let mut half = connect(&service);
        half.write_all(b"PUT /up/a HTTP/1.1\r\nContent-Le").unwrap();
        let mut held = connect(&service);
        if !tls {
            service.fault(Fault::new(Failure::Hold).on("PUT", "/up/"));
            held.write_all(&request("PUT", "/up/a", "", b"")).unwrap();
            assert!(service.wait_for(|seen| seen.iter().any(|s| matches!(s, Seen::Held { .. })), LIMIT));
            let body = br#"{"serial": "S1", "password": "x"}"#;
            let token = send(&service, "POST", "/machines/sign_in", "", body).json()["ws_token"].clone();
            let _socket = try_open(&service, token.as_str().unwrap()).unwrap();
        }
        let addr = service.addr();
        let threads = within(LIMIT, move || {
            service.stop();
            assert_eq!(service.outcome(LIMIT), None);
            std::sync::Arc::downgrade(&service.core)
        });
        assert_eq!(threads.strong_count(), 0, "a thread still holds the service");
        assert!(TcpStream::connect(addr).is_err());
    }
}

#[test]
fn runs_the_script_with_every_machine() {
    let script = r#"[{"send": {"id": 1, "action_type": "x", "to": "{serial}"}}, {"await": "done", "action_id": 1, "timeout_s": 10}]"#;
    let service = LocalService::builder().tls(false).script(Script::from_json(script).unwrap()).start().unwrap();
    let mut sockets: Vec<_> = (0..20)
        .map(|n| {
            let body = json!({"serial": format!("S{n}"), "password": ""}).to_string();
            let response = send(&service, "POST", "/machines/sign_in", "", body.as_bytes()).json();
            try_open(&service, response["ws_token"].as_str().unwrap()).unwrap()
        })
        .collect();
    for (n, socket) in sockets.iter_mut().enumerate() {
        assert_eq!(next_text(socket)["to"], format!("S{n}"));
        socket.send(event("done", 1)).unwrap();
    }
    assert_eq!(service.outcome(LIMIT), Some(Outcome::Done));
}
