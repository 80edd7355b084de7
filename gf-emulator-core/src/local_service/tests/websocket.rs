//! The WebSocket, and the limits of tokens and machines.

use super::*;

#[test]
fn sees_every_line_of_a_frame() {
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
fn a_new_websocket_replaces_the_old_one() {
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
fn a_draining_cut_reads_what_the_machine_has_sent() {
    let service = plain().start().unwrap();
    let mut socket = open(&service);
    let service = std::sync::Arc::new(service);
    let dropping = std::sync::Arc::clone(&service);
    let drop = thread::spawn(move || dropping.drop_connection(Cut::Drain));
    // The stream ends without a Close frame; the machine's side is still open.
    assert!(matches!(socket.read(), Err(tungstenite::Error::Protocol(_))));
    let mut raw = socket.into_inner();
    // A text frame (mask 0) that a machine may have sent before it saw the end.
    let text = br#"{"event":"late"}"#;
    raw.write_all(&[0x81, 0x80 | u8::try_from(text.len()).unwrap(), 0, 0, 0, 0]).unwrap();
    raw.write_all(text).unwrap();
    std::mem::drop(raw);
    within(LIMIT, move || drop.join().unwrap());
    let seen = service.seen();
    let late = seen.iter().position(|s| s.is_event("late", None)).expect("the last message arrives");
    assert_eq!(seen[late + 1], Seen::WsClosed { code: None });
    assert!(service.wait_for(|seen| matches!(seen.last(), Some(Seen::WsClosed { .. })), Duration::ZERO));
}

#[test]
fn sends_queued_frames_before_a_cut() {
    let service = std::sync::Arc::new(plain().start().unwrap());
    let mut socket = open(&service);
    // More than the socket buffers hold, so the sender blocks in the middle.
    let large = "x".repeat(16 << 20);
    let (sending, text) = (std::sync::Arc::clone(&service), large.clone());
    let sender = thread::spawn(move || sending.send_text(&text).unwrap());
    socket.get_ref().peek(&mut [0]).unwrap();
    // The blocked thread also sends this.
    service.send_text("small").unwrap();
    let dropping = std::sync::Arc::clone(&service);
    let drop = thread::spawn(move || dropping.drop_connection(Cut::Drain));
    while service.core.machines.latest(Duration::ZERO).is_some() {
        thread::yield_now();
    }
    assert!(socket.read().is_ok_and(|message| message == Message::text(large)));
    assert_eq!(socket.read().unwrap(), Message::text("small"));
    assert!(matches!(socket.read(), Err(tungstenite::Error::Protocol(_))));
    std::mem::drop(socket);
    within(LIMIT, move || (drop.join().unwrap(), sender.join().unwrap()));
}

#[test]
fn a_hard_cut_and_a_close_end_the_websocket() {
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
fn cuts_websockets_on_schedule() {
    let service = plain().cut_every(Duration::from_millis(50)).start().unwrap();
    let mut socket = open(&service);
    assert!(matches!(socket.read(), Err(tungstenite::Error::Protocol(_))));
    drop(socket);
    assert!(service.wait_for(|seen| seen.contains(&Seen::WsClosed { code: None }), LIMIT));
    let never = plain().cut_every(Duration::MAX).start().unwrap();
    let mut socket = open(&never);
    never.send_text("{}").unwrap();
    assert_eq!(next_text(&mut socket), json!({}));
}

#[test]
fn reads_100_lines_of_a_frame_and_parses_no_long_line() {
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
fn closes_with_1009_if_a_message_is_too_long() {
    let service = plain().start().unwrap();
    let mut socket = open(&service);
    // Only the header of a masked text frame of 1 MiB and one byte.
    socket.get_mut().write_all(&[0x81, 0xff, 0, 0, 0, 0, 0, 0x10, 0, 1, 0, 0, 0, 0]).unwrap();
    let Ok(Message::Close(Some(frame))) = socket.read() else { panic!("no Close came") };
    assert_eq!(u16::from(frame.code), 1009);
    drop(socket);
    assert!(service.wait_for(|seen| matches!(seen.last(), Some(Seen::WsClosed { .. })), LIMIT));
}

#[test]
fn evicts_the_least_recently_seen_machine() {
    let service = LocalService::builder().tls(false).start().unwrap();
    let mut connected = open_as(&service, "S0");
    let bearers: Vec<_> = (1..=63)
        .map(|n| {
            let body = json!({"serial": format!("S{n}"), "password": ""}).to_string();
            let response = send(&service, "POST", "/machines/sign_in", "", body.as_bytes()).json();
            format!("Authorization: Bearer {}\r\n", response["auth_token"].as_str().unwrap())
        })
        .collect();
    let asks = |n: usize| send(&service, "GET", "/update/current", &bearers[n - 1], b"").status;
    assert_eq!(asks(1), 200);
    // With 64 machines, the second is the least recently seen: the first has just made a request, and one is connected.
    sign_in_as(&service, "S64");
    assert_eq!([asks(2), asks(1), asks(3)], [401, 200, 200]);
    connected.send(Message::Ping("x".into())).unwrap();
    assert!(matches!(connected.read().unwrap(), Message::Pong(_)));
}

#[test]
fn keeps_eight_tokens_of_a_machine() {
    let service = plain().start().unwrap();
    let tokens: Vec<_> = (0..9).map(|_| sign_in(&service)).collect();
    let status = |n: usize| send(&service, "GET", "/update/current", &tokens[n].1, b"").status;
    assert_eq!([status(0), status(1), status(8)], [401, 200, 200]);
    assert_eq!(try_open(&service, &tokens[0].0).err(), Some(401));
    assert!(try_open(&service, &tokens[1].0).is_ok());
}

#[test]
fn sends_and_receives_over_tls() {
    let service = LocalService::builder().start().unwrap();
    let trusting = trusting(&service).build().unwrap();
    let mut stream = trusting.connect("localhost", connect(&service)).unwrap();
    let body = br#"{"serial": "S1", "password": "x"}"#;
    stream.write_all(&request("POST", "/machines/sign_in", "", body)).unwrap();
    let token = read_response(&mut stream).unwrap().json()["ws_token"].as_str().unwrap().to_owned();
    let stream = trusting.connect("localhost", connect(&service)).unwrap();
    let request = format!("wss://localhost/{token}").into_client_request().unwrap();
    let (mut socket, _) = tungstenite::client(request, stream).unwrap();
    for round in 0..50 {
        // More than a TLS record holds, in each direction.
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
fn closes_a_connection_that_does_not_read_its_pongs() {
    let service = std::sync::Arc::new(plain().start().unwrap());
    let mut socket = open(&service).into_inner();
    // Another thread blocks in this write, so pongs are queued behind it.
    let sending = std::sync::Arc::clone(&service);
    let sender = thread::spawn(move || sending.send_text(&"x".repeat(20 << 20)));
    assert!(service.wait_for(|seen| matches!(seen.last(), Some(Seen::WsSent(_))), LIMIT));
    // Masked pings of 125 bytes, the mask 0.
    let ping = [&[0x89, 0x80 | 0x7d, 0, 0, 0, 0][..], &[b'x'; 125]].concat();
    let block = ping.repeat(1000);
    let written = (0..400).take_while(|_| socket.write_all(&block).is_ok()).count();
    assert!(written < 400, "the service read 50 MB of pings");
    drop(socket);
    let _ = within(LIMIT, move || sender.join().unwrap());
}
