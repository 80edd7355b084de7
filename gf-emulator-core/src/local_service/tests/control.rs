//! The control socket, the script, and the end of it all.

use super::*;

#[test]
fn every_line_of_a_frame_is_seen() {
    let service = plain().start().unwrap();
    let mut socket = open(&service);
    socket.send(Message::text("{\"event\":\"a\"}\r\n\r\nnot json\n{\"event\":\"b\"}")).unwrap();
    socket.send(Message::binary(vec![1, 2])).unwrap();
    socket.send(Message::Ping("x".into())).unwrap();
    assert!(matches!(socket.read().unwrap(), Message::Pong(_)));
    let seen: Vec<_> = service.seen().into_iter().skip_while(|s| !matches!(s, Seen::WsOpened { .. })).collect();
    let line = |message: Value, text: &str| Seen::WsMessage { message, text: text.to_owned() };
    let expected = [
        Seen::WsOpened { subprotocol: true },
        line(json!({"event": "a"}), "{\"event\":\"a\"}\r\n"),
        line(Value::Null, "not json\n"),
        line(json!({"event": "b"}), "{\"event\":\"b\"}"),
        Seen::WsBinary(2),
        Seen::WsPing,
    ];
    assert_eq!(seen, expected);
}

#[test]
fn a_machine_has_one_session() {
    let service = plain().start().unwrap();
    let mut first = open(&service);
    let mut second = open(&service);
    assert!(first.read().is_err());
    service.send(json!({"to": "{serial}", "at": ["{http}/x", "{puls}"]})).unwrap();
    let http = service.http_url();
    let expected = json!({"to": "S12345678", "at": [format!("{http}/x"), format!("{http}/dl/job.puls")]});
    assert_eq!(next_text(&mut second), expected);
    service.send_text("{}\nnot json").unwrap();
    assert_eq!(second.read().unwrap(), Message::text("{}\nnot json"));
}

#[test]
fn a_drop_takes_what_was_under_way() {
    let service = plain().start().unwrap();
    let mut socket = open(&service);
    let service = std::sync::Arc::new(service);
    let dropping = std::sync::Arc::clone(&service);
    let drop = thread::spawn(move || dropping.drop_connection(Cut::Drain));
    // The end is visible here, and no Close came before it; the machine's side is still open.
    assert!(matches!(socket.read(), Err(tungstenite::Error::Protocol(_))));
    let mut raw = socket.into_inner();
    // A masked text frame (mask 0) as a machine may have written it before it noticed.
    let text = br#"{"event":"late"}"#;
    raw.write_all(&[0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0]).unwrap();
    raw.write_all(text).unwrap();
    std::mem::drop(raw);
    within(LIMIT, move || drop.join().unwrap());
    let seen = service.seen();
    let late = seen.iter().position(|s| s.is_event("late", None)).expect("what was written last arrives");
    assert_eq!(seen[late + 1], Seen::WsClosed { code: None });
    assert!(service.wait_for(|seen| matches!(seen.last(), Some(Seen::WsClosed { .. })), Duration::ZERO));
}

#[test]
fn what_was_sent_before_a_drop_arrives_before_the_end() {
    let service = std::sync::Arc::new(plain().start().unwrap());
    let mut socket = open(&service);
    // More than both systems' buffers hold: its sender waits in the middle of it.
    let large = "x".repeat(16 << 20);
    let (sending, text) = (std::sync::Arc::clone(&service), large.clone());
    let sender = thread::spawn(move || sending.send_text(&text).unwrap());
    socket.get_ref().peek(&mut [0]).unwrap();
    // The sender of the large one sends this, too, once that has gone.
    service.send_text("small").unwrap();
    let dropping = std::sync::Arc::clone(&service);
    let drop = thread::spawn(move || dropping.drop_connection(Cut::Drain));
    while service.core.machines.current(Duration::ZERO).is_some() {
        thread::yield_now();
    }
    assert!(socket.read().is_ok_and(|message| message == Message::text(large)));
    assert_eq!(socket.read().unwrap(), Message::text("small"));
    assert!(matches!(socket.read(), Err(tungstenite::Error::Protocol(_))));
    std::mem::drop(socket);
    within(LIMIT, move || (drop.join().unwrap(), sender.join().unwrap()));
}

#[test]
fn a_hard_cut_and_a_close_end_the_socket() {
    let service = plain().start().unwrap();
    let mut socket = open(&service);
    service.drop_connection(Cut::Hard);
    assert!(matches!(socket.read(), Err(tungstenite::Error::Protocol(_) | tungstenite::Error::Io(_))));

    let mut socket = open(&service);
    let reader = thread::spawn(move || {
        let close = socket.read().unwrap();
        while socket.read().is_ok() {}
        close
    });
    service.close(1001);
    let Message::Close(Some(frame)) = within(LIMIT, move || reader.join().unwrap()) else { panic!("no Close came") };
    assert_eq!(u16::from(frame.code), 1001);
    assert_eq!(service.seen().pop(), Some(Seen::WsClosed { code: Some(1001) }));
}

#[test]
fn sockets_are_cut_on_a_schedule() {
    let service = plain().cut_every(Duration::from_millis(50)).start().unwrap();
    let mut socket = open(&service);
    assert!(matches!(socket.read(), Err(tungstenite::Error::Protocol(_))));
    drop(socket);
    assert!(service.wait_for(|seen| seen.contains(&Seen::WsClosed { code: None }), LIMIT));
}

#[test]
fn a_script_is_walked_across_reconnections() {
    let script = r#"[
        {"send": {"id": 1, "action_type": "hunt", "status": "ready"}},
        {"await": "hunt:completed", "action_id": 1, "timeout_s": 10},
        {"drop": true},
        {"sleep_s": 0.01},
        {"send": {"id": 2}, "timeout_s": 10},
        {"await": "posted", "timeout_s": 10},
        {"await": "early", "action_id": 1, "timeout_s": 0},
        {"close": 1000}
    ]"#;
    let service = plain().script(Script::from_json(script).unwrap()).start().unwrap();
    assert_eq!(service.script_outcome(Duration::ZERO), None);
    let mut socket = open(&service);
    assert_eq!(next_text(&mut socket)["id"], 1);
    // Another action's event does not count; one that comes before its step does.
    for message in [event("hunt:completed", 7), event("early", 1), event("hunt:completed", 1)] {
        socket.send(message).unwrap();
    }
    assert!(socket.read().is_err());
    drop(socket);
    let (token, bearer) = sign_in(&service);
    let mut socket = try_open(&service, &token).unwrap();
    assert_eq!(next_text(&mut socket)["id"], 2);
    assert_eq!(ask(&service, "POST", "/api/event", &bearer, br#"{"event": "posted"}"#).status, 200);
    assert!(matches!(socket.read(), Ok(Message::Close(_))));
    while socket.read().is_ok() {}
    drop(socket);
    assert_eq!(service.script_outcome(LIMIT), Some(Outcome::Done));
}

#[test]
fn a_script_says_which_step_failed() {
    let script = r#"[{"await": "here"}, {"await": "never", "action_id": 3, "timeout_s": 0.01}]"#;
    let service = plain().script(Script::from_json(script).unwrap()).start().unwrap();
    let mut socket = open(&service);
    socket.send(event("here", 1)).unwrap();
    socket.send(event("other", 1)).unwrap();
    let Some(Outcome::Failed { step, reason }) = service.script_outcome(LIMIT) else { panic!("it did not fail") };
    assert_eq!(step, 2);
    assert!(reason.starts_with("never of action 3 did not come within 10ms"), "{reason}");
}

#[test]
fn wrong_scripts_name_the_step() {
    for (text, words) in [
        ("{}", "not a JSON list"),
        ("[1]", "step 1 of the script: is not an object"),
        (r#"[{"drop": true}, {}]"#, "step 2 of the script: has none of send"),
        (r#"[{"drop": true, "close": 1000}]"#, "has both"),
        (r#"[{"send": 1}]"#, "wants an object"),
        (r#"[{"send": {}, "action_id": 1}]"#, r#"unknown key "action_id""#),
        (r#"[{"await": {}}]"#, "event's name"),
        (r#"[{"await": "x", "action_id": 1.5}]"#, "whole number"),
        (r#"[{"await": "x", "timeout_s": -1}]"#, "seconds"),
        (r#"[{"sleep_s": 1e300}]"#, "seconds"),
        (r#"[{"sleep_s": 1, "timeout_s": 1}]"#, "unknown key"),
        (r#"[{"drop": false}]"#, "true or"),
        (r#"[{"close": 1006}]"#, "close code"),
        (r#"[{"close": 70000}]"#, "close code"),
    ] {
        let error = Script::from_json(text).unwrap_err().to_string();
        assert!(error.contains(words), "{text}: {error}");
    }
}

#[test]
fn the_default_script_awaits_every_action() {
    let script = Script::default();
    let mut ids = Vec::new();
    for pair in script.steps().chunks(2) {
        let [Step::Send { action, .. }, Step::Await { event, action_id, timeout }] = pair else { panic!("{pair:?}") };
        let kind = action["action_type"].as_str().unwrap();
        assert_eq!(event, &format!("{kind}:completed"));
        assert_eq!(action["id"].as_i64(), *action_id);
        assert_eq!(action["status"], "ready");
        assert!(*timeout >= Duration::from_mins(1));
        let needs =
            if kind.ends_with("image") { Some("endpoint") } else { (kind != "settings").then_some("motion_url") };
        assert!(needs.is_none_or(|key| action.contains_key(key)), "{action:?}");
        ids.push(action_id.unwrap());
    }
    assert!(ids.iter().copied().eq(1001..1001 + i64::try_from(ids.len()).unwrap()), "{ids:?}");
}

#[test]
fn the_control_socket_works_both_ways_over_tls() {
    let service = LocalService::builder().start().unwrap();
    let root = native_tls::Certificate::from_pem(service.ca_pem().unwrap().as_bytes()).unwrap();
    let trusting = native_tls::TlsConnector::builder().add_root_certificate(root).build().unwrap();
    let mut stream = trusting.connect("localhost", connect(&service)).unwrap();
    let body = br#"{"serial": "S1", "password": "x"}"#;
    stream.write_all(&request("POST", "/machines/sign_in", "", body)).unwrap();
    let token = read_reply(&mut stream).unwrap().json()["ws_token"].as_str().unwrap().to_owned();
    let stream = trusting.connect("localhost", connect(&service)).unwrap();
    let request = format!("wss://localhost/{token}").into_client_request().unwrap();
    let (mut socket, _) = tungstenite::client(request, stream).unwrap();
    for round in 0..50 {
        // More than a TLS record holds, in both directions.
        service.send(json!({"id": round, "padding": "x".repeat(40_000)})).unwrap();
        let text = socket.read().unwrap().into_text().unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap()["id"], round);
        socket.send(Message::text(text.replacen("\"id\"", "\"event\":\"echo\",\"action_id\"", 1))).unwrap();
        assert!(service.wait_for(|seen| seen.iter().any(|s| s.is_event("echo", Some(round))), LIMIT));
    }
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    assert!(service.wait_for(|seen| seen.contains(&Seen::WsClosed { code: None }), LIMIT));
}

#[test]
fn stopping_ends_whatever_is_under_way() {
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
            let token = ask(&service, "POST", "/machines/sign_in", "", body).json()["ws_token"].clone();
            let _socket = try_open(&service, token.as_str().unwrap()).unwrap();
        }
        let addr = service.addr();
        let started = Instant::now();
        let threads = within(LIMIT, move || {
            service.stop();
            assert_eq!(service.script_outcome(LIMIT), None);
            std::sync::Arc::downgrade(&service.core)
        });
        assert!(started.elapsed() < LIMIT);
        assert_eq!(threads.strong_count(), 0, "a thread still holds on to the service");
        assert!(TcpStream::connect(addr).is_err());
    }
}

#[test]
fn many_machines_each_walk_the_script() {
    let script = r#"[{"send": {"id": 1, "to": "{serial}"}}, {"await": "done", "action_id": 1, "timeout_s": 10}]"#;
    let service = LocalService::builder().tls(false).script(Script::from_json(script).unwrap()).start().unwrap();
    let mut sockets: Vec<_> = (0..20)
        .map(|n| {
            let body = json!({"serial": format!("S{n}"), "password": ""}).to_string();
            let reply = ask(&service, "POST", "/machines/sign_in", "", body.as_bytes()).json();
            try_open(&service, reply["ws_token"].as_str().unwrap()).unwrap()
        })
        .collect();
    for (n, socket) in sockets.iter_mut().enumerate() {
        assert_eq!(next_text(socket)["to"], format!("S{n}"));
        socket.send(event("done", 1)).unwrap();
    }
    assert_eq!(service.script_outcome(LIMIT), Some(Outcome::Done));
}
