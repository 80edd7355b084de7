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
        {"send": {"id": 2, "action_type": "hunt"}, "timeout_s": 10},
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
        ("", "it is empty"),
        (r#"[{"drop": true}, {"send": {"id": 1}}]"#, r#"step 2 of the script: the action has no "action_type""#),
        (r#"[{"send": {"id": 1, "action_type": 7}}]"#, r#"no "action_type""#),
        (
            r#"[{"send": {"action_type": "motion", "motion_url": "{pulse}"}}]"#,
            "step 1 of the script: send.motion_url: unknown placeholder {pulse}; there are {http}, {puls} and {serial}",
        ),
        (
            r#"[{"send": {"action_type": "x", "a": [{"b": "{http}/{Serial}"}]}}]"#,
            "send.a[0].b: unknown placeholder {Serial}",
        ),
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
    let with_json =
        r#"[{"send": {"action_type": "x", "text": "{\"a\": {}} {not a word}", "url": "{http}{puls}{serial}"}}]"#;
    assert!(Script::from_json(with_json).is_ok());
}

fn sign_in_as(service: &LocalService, serial: &str) -> String {
    let body = json!({"serial": serial, "password": ""}).to_string();
    let reply = ask(service, "POST", "/machines/sign_in", "", body.as_bytes());
    reply.json()["ws_token"].as_str().unwrap().to_owned()
}

fn open_as(service: &LocalService, serial: &str) -> WebSocket<TcpStream> {
    try_open(service, &sign_in_as(service, serial)).unwrap()
}

const AWAIT_DONE: &str = r#"[{"send": {"id": 1, "action_type": "x"}}, {"await": "done", "timeout_s": 600}]"#;

#[test]
fn a_machine_that_has_left_counts_only_where_no_other_has_come_to_an_end() {
    let script = Script::from_json(AWAIT_DONE).unwrap();
    let start = || {
        let builder = LocalService::builder().tls(false).gone_after(Duration::from_millis(100));
        builder.script(script.clone()).start().unwrap()
    };
    let service = start();
    let mut machine = open_as(&service, "S1");
    // It leaves in the second step.
    assert_eq!(next_text(&mut machine)["id"], 1);
    drop(machine);
    let Some(Outcome::Failed { step: 2, reason }) = service.script_outcome(LIMIT) else { panic!("it has not left") };
    assert!(reason.starts_with("the machine has left and did not come back within 100ms"), "{reason}");

    let service = start();
    sign_in_as(&service, "S1");
    drop(open_as(&service, "S2"));
    let mut machine = open_as(&service, "S3");
    machine.send(event("done", 1)).unwrap();
    assert_eq!(service.script_outcome(LIMIT), Some(Outcome::Done));
}

#[test]
fn a_machine_that_comes_back_goes_on_where_it_was() {
    let service = LocalService::builder().tls(false).script(Script::from_json(AWAIT_DONE).unwrap()).start().unwrap();
    let mut machine = open_as(&service, "S1");
    assert_eq!(next_text(&mut machine)["id"], 1);
    drop(machine);
    let mut machine = open_as(&service, "S1");
    machine.send(event("done", 1)).unwrap();
    assert_eq!(service.script_outcome(LIMIT), Some(Outcome::Done));
    let sent = service.seen().iter().filter(|seen| matches!(seen, Seen::WsSent(_))).count();
    assert_eq!(sent, 1, "it was not started again");
}

#[test]
fn a_frame_has_a_hundred_lines_and_a_long_line_is_no_json() {
    let service = plain().start().unwrap();
    let mut socket = open(&service);
    let long = format!("[\"{}\"]\n", "x".repeat(70_000));
    socket.send(Message::text(format!("{long}{}", "1\n".repeat(149)))).unwrap();
    assert!(service.wait_for(|seen| seen.contains(&Seen::WsLeftOut { lines: 50 }), LIMIT));
    let seen = service.seen();
    let messages: Vec<_> = seen
        .iter()
        .filter_map(|seen| if let Seen::WsMessage { message, .. } = seen { Some(message) } else { None })
        .collect();
    assert_eq!((messages.len(), messages[0], messages[99]), (100, &Value::Null, &json!(1)));
}

#[test]
fn a_message_that_is_too_long_closes_the_connection_and_says_why() {
    let service = plain().start().unwrap();
    let mut socket = open(&service);
    // Only the head of a masked text frame: one byte more than 1 MiB is to follow.
    socket.get_mut().write_all(&[0x81, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 1, 0, 0, 0, 0]).unwrap();
    let Ok(Message::Close(Some(frame))) = socket.read() else { panic!("no Close came") };
    assert_eq!(u16::from(frame.code), 1009);
    drop(socket);
    assert!(service.wait_for(|seen| matches!(seen.last(), Some(Seen::WsClosed { .. })), LIMIT));
}

#[test]
fn the_machine_that_was_heard_of_the_longest_ago_makes_room_for_a_new_one() {
    let service = LocalService::builder().tls(false).start().unwrap();
    let mut connected = open_as(&service, "S0");
    let bearers: Vec<_> = (1..=63)
        .map(|n| {
            let body = json!({"serial": format!("S{n}"), "password": ""}).to_string();
            let reply = ask(&service, "POST", "/machines/sign_in", "", body.as_bytes()).json();
            format!("Authorization: Bearer {}\r\n", reply["auth_token"].as_str().unwrap())
        })
        .collect();
    let asks = |n: usize| ask(&service, "GET", "/update/current", &bearers[n - 1], b"").status;
    assert_eq!(asks(1), 200);
    // There are 64, and the second one was heard of the longest ago: the first has just asked, and one is connected.
    sign_in_as(&service, "S64");
    assert_eq!([asks(2), asks(1), asks(3)], [401, 200, 200]);
    connected.send(Message::Ping("x".into())).unwrap();
    assert!(matches!(connected.read().unwrap(), Message::Pong(_)));
}

#[test]
fn a_machine_has_eight_tokens_at_most() {
    let service = plain().start().unwrap();
    let tokens: Vec<_> = (0..9).map(|_| sign_in(&service)).collect();
    let status = |n: usize| ask(&service, "GET", "/update/current", &tokens[n].1, b"").status;
    assert_eq!([status(0), status(1), status(8)], [401, 200, 200]);
    assert_eq!(try_open(&service, &tokens[0].0).err(), Some(401));
    assert!(try_open(&service, &tokens[1].0).is_ok());
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
    let script = r#"[{"send": {"id": 1, "action_type": "x", "to": "{serial}"}}, {"await": "done", "action_id": 1, "timeout_s": 10}]"#;
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

#[test]
fn pongs_that_nobody_reads_end_the_connection() {
    let service = std::sync::Arc::new(plain().start().unwrap());
    let mut socket = open(&service).into_inner();
    // A thread of its own waits until it can write that: pongs come behind it.
    let sending = std::sync::Arc::clone(&service);
    let sender = thread::spawn(move || sending.send_text(&"x".repeat(20 << 20)));
    assert!(service.wait_for(|seen| matches!(seen.last(), Some(Seen::WsSent(_))), LIMIT));
    // Masked pings of 125 bytes, the mask 0.
    let ping = [&[0x89, 0x80 | 0x7d, 0, 0, 0, 0][..], &[b'x'; 125]].concat();
    let block = ping.repeat(1000);
    let written = (0..400).take_while(|_| socket.write_all(&block).is_ok()).count();
    assert!(written < 400, "the service has taken 50 MB of pings");
    drop(socket);
    let _ = within(LIMIT, move || sender.join().unwrap());
}
