//! Faults as a machine sees them.

use std::io::ErrorKind;
use std::time::Instant;

use tungstenite::Error as WsError;

use super::*;
use crate::local_service::builder::small_puls;

/// A service with these faults.
fn faulty(faults: &[&str]) -> LocalService {
    let add = |builder: Builder, text: &&str| builder.fault(text.parse().unwrap());
    faults.iter().fold(LocalService::builder().tls(false).seed(1), add).start().unwrap()
}

fn texts(socket: &mut WebSocket<TcpStream>, count: usize) -> Vec<String> {
    let mut texts = Vec::new();
    while texts.len() < count {
        if let Message::Text(text) = socket.read().unwrap() {
            texts.push(text.to_string());
        }
    }
    texts
}

fn send_texts(service: &LocalService, texts: &[&str]) {
    for text in texts {
        service.send_text(text).unwrap();
    }
}

/// What happened because of faults.
fn reported(service: &LocalService) -> Vec<String> {
    let what = |seen| if let Seen::Fault { machine, what } = seen { Some(format!("{machine} {what}")) } else { None };
    service.seen().into_iter().filter_map(what).collect()
}

/// How a machine sees the end of its WebSocket: the close code, or how the connection ended.
fn end_of(socket: &mut WebSocket<TcpStream>) -> String {
    loop {
        match socket.read() {
            Ok(Message::Close(frame)) => return format!("close {}", frame.map_or(0, |frame| frame.code.into())),
            Ok(_) => {}
            Err(WsError::Io(e)) if e.kind() == ErrorKind::ConnectionReset => return "rst".to_owned(),
            // The stream ends without a Close frame.
            Err(WsError::Protocol(_)) => return "fin".to_owned(),
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn frames_are_doubled_swapped_and_packed() {
    for (fault, expected) in [
        ("frame=double times=1", &["1", "1", "2", "3"][..]),
        ("frame=reorder times=1 wait_s=60", &["2", "1", "3"]),
        ("frame=reorder times=1 skip=2 wait_s=0.01", &["1", "2", "3"]),
        ("frame=pack parts=2 times=1 wait_s=60", &["1\n2", "3"]),
        ("frame=pack parts=9 wait_s=0.3", &["1\n2\n3"]),
    ] {
        let service = faulty(&[fault]);
        let mut socket = open_as(&service, "S1");
        send_texts(&service, &["1", "2", "3"]);
        assert_eq!(texts(&mut socket, expected.len()), expected, "{fault}");
        assert!(reported(&service)[0].starts_with("1 a frame: "), "{fault}");
    }
}

#[test]
fn frames_are_fragmented() {
    let service = faulty(&["frame=split parts=3"]);
    let mut socket = open_as(&service, "S1");
    service.send_text("abcdefg").unwrap();
    // Header and payload of three frames: text, continuation, final continuation (RFC 6455, section 5.2).
    let mut bytes = [0; 13];
    socket.get_mut().read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"\x01\x03abc\x00\x03def\x80\x01g");
}

#[test]
fn frames_and_responses_are_late_or_slow_and_in_order() {
    let service = faulty(&["delay_s=0.2 on=ws times=1", "bytes_per_s=1000 on=/dl/", "delay_s=0.1..0.2 on=/up/"]);
    let mut socket = open_as(&service, "S1");
    let start = Instant::now();
    send_texts(&service, &["1", "2"]);
    assert_eq!(texts(&mut socket, 2), ["1", "2"]);
    assert!(start.elapsed() >= Duration::from_millis(200));

    let start = Instant::now();
    let response = send(&service, "GET", "/dl/job.puls", "", b"");
    assert!(response.complete && response.body == small_puls());
    assert!(start.elapsed() >= Duration::from_millis(small_puls().len() as u64));

    let start = Instant::now();
    assert_eq!(send(&service, "PUT", "/up/1", "", b"").status, 200);
    assert!(start.elapsed() >= Duration::from_millis(100));

    // With a deviation of 0 always the median.
    let service = faulty(&["delay_s=lognormal:0.2,0 on=GET:/", "bytes_per_s=1000"]);
    for (method, path, body, status, least_ms) in
        [("GET", "/dl/firmware", 0, 200, 200), ("GET", "/update/current", 0, 401, 200), ("PUT", "/up/1", 300, 200, 300)]
    {
        let start = Instant::now();
        assert_eq!(send(&service, method, path, "", &vec![0; body]).status, status);
        assert!(start.elapsed() >= Duration::from_millis(least_ms), "{path}");
    }
    let mut socket = open_as(&service, "S1");
    let start = Instant::now();
    let text = "x".repeat(200);
    send_texts(&service, &[&text]);
    assert_eq!(texts(&mut socket, 1), [text]);
    assert!(start.elapsed() >= Duration::from_millis(200));
}

#[test]
fn a_response_stalls_or_is_too_short_or_endless() {
    for fault in ["response=stall", "response=short", "response=endless"] {
        let service = faulty(&[&format!("{fault} on=GET:/dl/ times=1")]);
        let mut socket = connect(&service);
        socket.write_all(&request("GET", "/dl/firmware", "", b"")).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let mut bytes = vec![0; 100_000];
        let error = socket.read_exact(&mut bytes).err().map(|error| error.kind());
        match fault {
            "response=short" => assert_eq!(error, Some(ErrorKind::UnexpectedEof)),
            "response=endless" => assert_eq!(error, None),
            // The connection stays open, and nothing comes. The name of the error depends on the system.
            _ => assert!(matches!(error, Some(ErrorKind::WouldBlock | ErrorKind::TimedOut)), "{error:?}"),
        }
        drop(socket);
        assert!(send(&service, "GET", "/dl/firmware", "", b"").complete, "it happens once");
    }
}

#[test]
fn a_stop_ends_every_delay() {
    let service = faulty(&["delay_s=3600 on=ws", "delay_s=3600 on=/up/"]);
    let _websocket = open_as(&service, "S1");
    service.send_text("1").unwrap();
    let mut socket = connect(&service);
    socket.write_all(&request("PUT", "/up/1", "", b"")).unwrap();
    within(LIMIT, move || service.stop());
}

#[test]
fn late_frames_survive_a_lost_connection() {
    let service = faulty(&["frame=reorder times=1 wait_s=60"]);
    let first = open_as(&service, "S1");
    service.send_text("1").unwrap();
    drop(first);
    assert!(service.wait_for(|seen| matches!(seen.last(), Some(Seen::WsClosed { .. })), LIMIT));
    let mut second = open_as(&service, "S1");
    service.send_text("2").unwrap();
    assert_eq!(texts(&mut second, 2), ["2", "1"]);
}

#[test]
fn websockets_end_in_every_way_and_at_every_moment() {
    for (how, expected) in [("rst", "rst"), ("fin", "fin"), ("close code=1012", "close 1012")] {
        for moment in ["after_messages=2", "after_bytes=40", "after_s=0.05", "event=b", ""] {
            let service = faulty(&[&format!("cut={how} {moment} times=1")]);
            let mut socket = open_as(&service, "S1");
            match moment {
                // In place of a frame.
                "" => assert!(service.send_text("lost").is_err()),
                "after_s=0.05" => {}
                _ => {
                    socket.send(event("a", 1)).unwrap();
                    let has_come = |seen: &[Seen]| seen.iter().any(|seen| seen.is_event("a", None));
                    assert!(service.wait_for(has_come, LIMIT) && reported(&service).is_empty(), "{moment}");
                    socket.send(event("b", 1)).unwrap();
                }
            }
            assert_eq!(end_of(&mut socket), expected, "{how} {moment}");
            drop(socket);
            let closed = |seen: &[Seen]| seen.iter().any(|seen| matches!(seen, Seen::WsClosed { .. }));
            assert!(service.wait_for(closed, LIMIT));
            assert!(reported(&service)[0].starts_with("1 the WebSocket is "), "{:?}", reported(&service));
            // It happens once, so the next connection stays.
            let mut next = open_as(&service, "S1");
            send_texts(&service, &["1"]);
            assert_eq!(texts(&mut next, 1), ["1"], "{how} {moment}");
        }
    }
}

#[test]
fn an_event_that_is_posted_ends_the_websocket() {
    let service = plain().fault("cut=fin event=print:running".parse().unwrap()).start().unwrap();
    let (token, bearer) = sign_in(&service);
    let mut socket = try_open(&service, &token).unwrap();
    let posted = send(&service, "POST", "/api/event", &bearer, br#"{"event":"print:running"}"#);
    assert_eq!((posted.status, end_of(&mut socket).as_str()), (200, "fin"));
}

#[test]
fn tokens_expire() {
    let service = plain().fault("tokens=expired on=/update/ times=1".parse().unwrap()).start().unwrap();
    let (_, bearer) = sign_in(&service);
    assert_eq!(send(&service, "GET", "/update/current", "", b"").status, 401, "has no token that could expire");
    for _ in 0..2 {
        assert_eq!(send(&service, "GET", "/update/current", &bearer, b"").status, 401);
    }
    let (_, bearer) = sign_in(&service);
    assert_eq!(send(&service, "GET", "/update/current", &bearer, b"").status, 200);

    service.fault("tokens=expired on=/<ws_token> times=1".parse().unwrap());
    assert_eq!(try_open(&service, &sign_in(&service).0).err(), Some(401));
    assert!(try_open(&service, &sign_in(&service).0).is_ok());
}

#[test]
fn requests_fail_with_any_status_and_sign_ins_are_cut() {
    let service = faulty(&["request=cut on=POST:/machines/sign_in times=1", "status=429 retry_after_s=7 on=PUT:/up/"]);
    let body = br#"{"serial":"S1","password":""}"#;
    assert!(send_raw(&service, &request("POST", "/machines/sign_in", "", body)).is_none());
    assert_eq!(send(&service, "POST", "/machines/sign_in", "", body).status, 200);
    let busy = send(&service, "PUT", "/up/1", "", b"");
    assert!(busy.status == 429 && busy.head.contains("Retry-After: 7\r\n"), "{}", busy.head);
    assert_eq!(reported(&service)[1], "1 PUT /up/1: status 429");

    for status in [401, 403, 500, 502, 504] {
        let service = faulty(&[&format!("status={status} on=GET:/dl/")]);
        let statuses = ["/dl/job.puls", "/update/current"].map(|path| send(&service, "GET", path, "", b"").status);
        assert_eq!(statuses, [status, 401]);
    }
}

#[test]
fn machines_have_their_own_faults() {
    let service = faulty(&["status=503 on=/up/ times=1", "frame=double machine=2"]);
    let (mut first, mut second) = (open_as(&service, "Sa"), open_as(&service, "Sb"));
    service.send(json!({"endpoint": "{http}/up/1?sig"})).unwrap();
    let url = service.http_url();
    for action in texts(&mut second, 2) {
        assert_eq!(action, json!({"endpoint": format!("{url}/up/1?sig&machine=2")}).to_string());
    }
    for (path, status) in [("/up/1?machine=2", 503), ("/up/1?machine=2", 200), ("/up/1", 503), ("/up/1", 200)] {
        assert_eq!(send(&service, "PUT", path, "", b"").status, status, "{path}");
    }
    drop(second);
    // The first machine is the last that connected again.
    drop(first);
    first = open_as(&service, "Sa");
    service.send(json!({"endpoint": "{http}/up/1"})).unwrap();
    assert_eq!(texts(&mut first, 1), [json!({"endpoint": format!("{url}/up/1")}).to_string()]);
}

#[test]
fn a_script_adds_faults_of_its_machine() {
    let script = r#"[{"fault": {"status": 503, "on": "/up/", "times": 1}}, {"await": "done"}]"#;
    let service = LocalService::builder().tls(false).script(Script::from_json(script).unwrap()).start().unwrap();
    let mut socket = open_as(&service, "S1");
    socket.send(event("done", 1)).unwrap();
    assert_eq!(service.outcome(LIMIT), Some(Outcome::Done));
    assert_eq!([503, 200].map(|_| send(&service, "PUT", "/up/1", "", b"").status), [503, 200]);
    let wrong = Script::from_json(r#"[{"fault": {"status": 99}}]"#).unwrap_err().to_string();
    assert!(wrong.starts_with("step 1 of the script: fault: status: 99 is not an HTTP status"), "{wrong}");
    assert!(Script::from_json(r#"[{"fault": {"oops": 1}}]"#).unwrap_err().to_string().contains("unknown field `oops`"));
}

#[test]
fn the_same_seed_gives_the_same_answers() {
    let answers = |seed| {
        let builder = LocalService::builder().tls(false).seed(seed);
        let service = builder.fault("status=503 p=0.5".parse().unwrap()).start().unwrap();
        assert_eq!(service.seed(), seed);
        (0..40).map(|_| send(&service, "PUT", "/up/1", "", b"").status).collect::<Vec<_>>()
    };
    assert_eq!(answers(5), answers(5));
    assert_ne!(answers(5), answers(6));
}
