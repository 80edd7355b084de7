//! The service as a bare client meets it: bytes over a socket, no code of the machine's side.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use super::*;

const LIMIT: Duration = Duration::from_secs(10);
const PASSWORD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

fn plain() -> Builder {
    LocalService::builder().tls(false).serial("S12345678").password(Secret::new(PASSWORD))
}

struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// Whether the body was as long as was promised.
    whole: bool,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

fn connect(service: &LocalService) -> TcpStream {
    let socket = TcpStream::connect(service.addr()).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.set_write_timeout(Some(LIMIT)).unwrap();
    socket
}

/// Reads one answer; nothing where the connection ended without one.
fn read_reply(stream: &mut impl Read) -> Option<Reply> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).map_or(0, |n| n.parse().unwrap());
    let mut body = Vec::new();
    let _ = stream.take(length).read_to_end(&mut body);
    let whole = body.len() as u64 == length;
    Some(Reply { status, head, body, whole })
}

fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}").into_bytes();
    bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend(body);
    bytes
}

fn ask_raw(service: &LocalService, bytes: &[u8]) -> Option<Reply> {
    let mut socket = connect(service);
    // The service may refuse before everything is sent.
    let _ = socket.write_all(bytes);
    read_reply(&mut socket)
}

fn ask(service: &LocalService, method: &str, path: &str, headers: &str, body: &[u8]) -> Reply {
    ask_raw(service, &request(method, path, headers, body)).unwrap()
}

fn sign_in(service: &LocalService) -> (String, String) {
    let body = json!({"serial": "S12345678", "password": PASSWORD}).to_string();
    let reply = ask(service, "POST", "/machines/sign_in", "Content-Type: application/json\r\n", body.as_bytes());
    assert_eq!(reply.status, 200);
    let text = |name: &str| reply.json()[name].as_str().unwrap().to_owned();
    (text("ws_token"), format!("Authorization: Bearer {}\r\n", text("auth_token")))
}

fn try_open(service: &LocalService, token: &str) -> Result<WebSocket<TcpStream>, u16> {
    let mut request = format!("ws://localhost/{token}").into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "glowforge".parse().unwrap());
    match tungstenite::client(request, connect(service)) {
        Ok((socket, answer)) => {
            assert_eq!(answer.headers()["Sec-WebSocket-Protocol"], "glowforge");
            Ok(socket)
        }
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => Err(answer.status().as_u16()),
        Err(error) => panic!("{error}"),
    }
}

fn open(service: &LocalService) -> WebSocket<TcpStream> {
    try_open(service, &sign_in(service).0).unwrap()
}

fn next_text(socket: &mut WebSocket<TcpStream>) -> Value {
    loop {
        if let Message::Text(text) = socket.read().unwrap() {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

fn event(name: &str, action_id: i64) -> Message {
    Message::text(format!("{{\"event\":\"{name}\",\"action_id\":{action_id}}}\n"))
}

fn requests(service: &LocalService) -> Vec<Request> {
    let http = |seen| if let Seen::Http(request) = seen { Some(request) } else { None };
    service.seen().into_iter().filter_map(http).collect()
}

/// Runs `work` on a thread, and fails where it takes too long.
fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    wait.recv_timeout(limit).expect("it takes too long")
}

#[test]
fn signs_in_with_json_and_with_a_form() {
    let service = plain().start().unwrap();
    let form_type = "Content-Type: application/x-www-form-urlencoded\r\n";
    let form = format!("serial=S12345678&password={PASSWORD}");
    let right = json!({"serial": "S12345678", "password": PASSWORD}).to_string();
    let wrong_serial = json!({"serial": "S1", "password": PASSWORD}).to_string();
    for (headers, body, status) in [
        ("Content-Type: application/json\r\n", right.as_str(), 200),
        ("", right.as_str(), 200),
        (form_type, form.as_str(), 200),
        (form_type, "serial=S12345678&password=no", 401),
        ("", wrong_serial.as_str(), 401),
        ("", r#"{"serial": "S12345678"}"#, 401),
        ("", "not json", 401),
    ] {
        let reply = ask(&service, "POST", "/machines/sign_in", headers, body.as_bytes());
        assert_eq!(reply.status, status, "{headers}{body}");
    }
    let sign_ins: Vec<_> = service
        .seen()
        .into_iter()
        .filter_map(|seen| if let Seen::SignIn { ok, json } = seen { Some((ok, json)) } else { None })
        .collect();
    let (ok, json, form) = (true, true, false);
    let expected = [(ok, json), (ok, json), (ok, form), (!ok, form), (!ok, json), (!ok, json), (!ok, json)];
    assert_eq!(sign_ins, expected);
}

#[test]
fn keeps_no_secret() {
    let service = plain().start().unwrap();
    let (ws_token, bearer) = sign_in(&service);
    let _socket = try_open(&service, &ws_token).unwrap();
    ask(&service, "GET", "/update/current", &bearer, b"");
    let auth_token = bearer.trim().strip_prefix("Authorization: Bearer ").unwrap();
    assert_eq!(auth_token.split('.').count(), 3);
    for request in requests(&service) {
        let everything = format!("{:?} {:?} {}", request, request.headers, request.text());
        for secret in [PASSWORD, &ws_token, auth_token] {
            assert!(!everything.contains(secret), "{} {}", request.method, request.path);
        }
    }
}

#[test]
fn a_ws_token_is_good_once_and_not_for_long() {
    let service = plain().start().unwrap();
    let (token, _) = sign_in(&service);
    let _socket = try_open(&service, &token).unwrap();
    assert_eq!(try_open(&service, &token).err(), Some(401));
    assert_eq!(try_open(&service, "made-up").err(), Some(401));
    let statuses: Vec<_> = requests(&service).iter().filter(|r| r.path == "/<ws_token>").map(|r| r.status).collect();
    assert_eq!(statuses, [101, 401, 401]);

    let short = plain().ws_token_life(Duration::ZERO).start().unwrap();
    let (token, _) = sign_in(&short);
    assert_eq!(try_open(&short, &token).err(), Some(401));
}

#[test]
fn service_routes_want_a_bearer_that_holds() {
    let routes = [
        ("GET", "/update/current"),
        ("POST", "/api/event"),
        ("PUT", "/api/machines/status"),
        ("POST", "/api/machines/lid_image/1002"),
    ];
    let service = plain().start().unwrap();
    let (_, bearer) = sign_in(&service);
    for (method, path) in routes {
        assert_eq!(ask(&service, method, path, &bearer, b"").status, 200, "{path}");
        assert_eq!(ask(&service, method, path, "", b"").status, 401, "{path}");
        assert_eq!(ask(&service, method, path, "Authorization: Bearer x\r\n", b"").status, 401, "{path}");
        assert_eq!(ask(&service, "DELETE", path, &bearer, b"").status, 405, "{path}");
    }
    for path in ["/", "/api/machines/lid_image/x", "/api/machines/lid_image", "/up/", "/dl/other"] {
        assert_eq!(ask(&service, "POST", path, &bearer, b"").status, 404, "{path}");
    }
    service.expire_tokens();
    let (_, fresh) = sign_in(&service);
    for (method, path) in routes {
        assert_eq!(ask(&service, method, path, &bearer, b"").status, 401, "{path}");
        assert_eq!(ask(&service, method, path, &fresh, b"").status, 200, "{path}");
    }

    let short = plain().token_life(Duration::ZERO).start().unwrap();
    let (_, bearer) = sign_in(&short);
    assert_eq!(ask(&short, "GET", "/update/current", &bearer, b"").status, 401);
}

#[test]
fn firmware_and_pulse_file_can_be_had() {
    let service = plain().firmware_version("9.9.9-1").start().unwrap();
    let (_, bearer) = sign_in(&service);
    let answer = ask(&service, "GET", "/update/current", &bearer, b"").json();
    assert_eq!(answer["version"], "9.9.9-1");
    assert_eq!(answer["download_url"], format!("{}/dl/firmware", service.http_url()));
    assert_eq!(ask(&service, "GET", "/dl/firmware", "", b"").body, b"firmware 9.9.9-1\n");
    // A bearer on a download is what the Python clients send: taken, and seen.
    assert_eq!(ask(&service, "GET", "/dl/job.puls?X-Sig=1", &bearer, b"").body, small_puls());
    let last = requests(&service).pop().unwrap();
    assert_eq!((last.bearer, last.has_query, last.path.as_str()), (Bearer::Good, true, "/dl/job.puls"));

    let file = vec![7; 300_000];
    let service = plain().puls(file.clone()).gzip(true).start().unwrap();
    let reply = ask(&service, "GET", "/dl/job.puls", "", b"");
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(reply.body.as_slice()).read_to_end(&mut plain).unwrap();
    assert!(plain == file && reply.body.len() < file.len());
}

#[test]
fn storage_takes_no_bearer() {
    let service = plain().start().unwrap();
    let (_, bearer) = sign_in(&service);
    assert_eq!(
        ask(&service, "PUT", "/up/lid1?X-Goog-Signature=a", "Content-Type: image/jpeg\r\n", b"jpeg").status,
        200
    );
    let upload = requests(&service).pop().unwrap();
    assert_eq!((&*upload.body, upload.header("content-type")), (&b"jpeg"[..], Some("image/jpeg")));
    assert_eq!(upload.bearer, Bearer::Absent);
    assert_eq!(ask(&service, "PUT", "/up/lid1?X-Goog-Signature=a", &bearer, b"jpeg").status, 400);
}

#[test]
fn bodies_that_are_no_json_are_taken() {
    let service = plain().start().unwrap();
    let (_, bearer) = sign_in(&service);
    let body = br#"{"id": <MILLI_EPOCH>, "event": "firmware_update:skipping"}"#;
    assert_eq!(ask(&service, "POST", "/api/event", &bearer, body).status, 200);
    let last = requests(&service).pop().unwrap();
    assert_eq!((last.json(), last.text().as_bytes()), (None, &body[..]));
}

#[test]
fn a_connection_serves_many_requests_and_chunked_bodies() {
    let service = plain().start().unwrap();
    let mut socket = connect(&service);
    // Two at once, the second one chunked and torn, in the middle of a chunk's size too.
    let mut bytes = request("PUT", "/up/a", "", b"one");
    bytes.extend(b"PUT /up/b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n1");
    socket.write_all(&bytes).unwrap();
    assert_eq!(read_reply(&mut socket).unwrap().status, 200);
    socket.write_all(b"0;x=y\r\n0123456789abcdef\r\n0\r\nTrailer: x\r\n\r\n").unwrap();
    assert_eq!(read_reply(&mut socket).unwrap().status, 200);
    socket.write_all(&request("GET", "/nothing", "Connection: close\r\n", b"")).unwrap();
    assert_eq!(read_reply(&mut socket).unwrap().status, 404);
    assert!(read_reply(&mut socket).is_none());
    let bodies: Vec<_> = requests(&service).iter().map(Request::text).collect();
    assert_eq!(bodies, ["one", "two0123456789abcdef", ""]);
}

#[test]
fn what_is_too_large_or_makes_no_sense_is_refused() {
    let service = plain().body_limit(1000).start().unwrap();
    let long_header = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(100));
    let chunked = |rest: &str| format!("PUT /up/a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{rest}");
    let with = |header: &str| format!("PUT /up/a HTTP/1.1\r\n{header}\r\n\r\n");
    for (text, status) in [
        (long_header, 431),
        (many_headers, 431),
        (String::from_utf8(request("PUT", "/up/a", "", &[b'x'; 1001])).unwrap(), 413),
        (with("Content-Length: 99999999999999999999"), 413),
        (with("Content-Length: -1"), 400),
        (with("Content-Length: 1\r\nContent-Length: 2"), 400),
        (with("Content-Length: 1\r\nTransfer-Encoding: chunked"), 400),
        (with("Transfer-Encoding: gzip"), 501),
        (chunked("3e9\r\n"), 413),
        (chunked("ffffffffffffffffff\r\n"), 400),
        (chunked("+1\r\nx\r\n"), 400),
        (chunked("1\r\nxx\r\n"), 400),
        (chunked(&"1".repeat(3000)), 400),
        ("GET http://localhost/ HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("\u{0}\r\n\r\n".to_owned(), 400),
    ] {
        let reply = ask_raw(&service, text.as_bytes()).unwrap_or_else(|| panic!("no answer to {text:.60}"));
        assert_eq!(reply.status, status, "{text:.60}");
        assert!(reply.whole);
    }
    assert_eq!(ask(&service, "PUT", "/up/a", "", &[b'x'; 1000]).status, 200);
}

#[test]
fn faults_come_in_order_for_what_they_fit() {
    let service = plain().start().unwrap();
    service.fault(Fault::status(503).header("Retry-After", "1").on("PUT", "/up/").times(2));
    service.fault(Fault::status(302).header("Location", "http://elsewhere/").on("GET", "/dl/"));
    let reply = ask(&service, "GET", "/dl/job.puls", "", b"");
    assert!(reply.status == 302 && reply.head.contains("Location: http://elsewhere/\r\n"), "{}", reply.head);
    for status in [503, 503, 200] {
        let reply = ask(&service, "PUT", "/up/a", "", b"");
        assert_eq!((reply.status, reply.head.contains("Retry-After: 1")), (status, status == 503));
    }
    assert_eq!(ask(&service, "GET", "/dl/job.puls", "", b"").status, 200);

    service.fault(Fault::status(500).on("GET", "/<ws_token>"));
    let (token, _) = sign_in(&service);
    assert_eq!(try_open(&service, &token).err(), Some(500));
    assert!(try_open(&service, &token).is_ok(), "a request that went wrong uses no token up");
}

#[test]
fn bodies_go_wrong_when_told_to() {
    let service = plain().start().unwrap();
    let whole = small_puls();
    service.fault(Fault::new(Failure::CutAnswer).on("GET", "/dl/"));
    let reply = ask(&service, "GET", "/dl/job.puls", "", b"");
    assert!(!reply.whole && reply.body == whole[..whole.len() / 2]);

    service.fault(Fault::new(Failure::ShortBody).on("GET", "/dl/"));
    let reply = ask(&service, "GET", "/dl/job.puls", "", b"");
    assert!(!reply.whole && reply.body == whole);

    service.fault(Fault::new(Failure::EndlessBody).on("GET", "/dl/"));
    let mut socket = connect(&service);
    socket.write_all(&request("GET", "/dl/job.puls", "", b"")).unwrap();
    assert!(read_reply(&mut socket).unwrap().head.contains("Transfer-Encoding: chunked"));
    let mut much = Vec::new();
    (&mut socket).take(3_000_000).read_to_end(&mut much).unwrap();
    assert_eq!(much.len(), 3_000_000);

    service.fault(Fault::new(Failure::CutAnswer).on("PUT", "/up/"));
    assert!(ask_raw(&service, &request("PUT", "/up/a", "", b"jpeg")).is_none());

    service.fault(Fault::new(Failure::CutRequest).on("PUT", "/up/"));
    assert!(ask_raw(&service, &request("PUT", "/up/a", "", b"jpeg")).is_none());
    let cut = requests(&service).pop().unwrap();
    assert_eq!((cut.text().as_str(), cut.status), ("jp", 0));
}

#[test]
fn an_answer_can_be_held() {
    let service = plain().start().unwrap();
    service.fault(Fault::new(Failure::Hold).on("PUT", "/up/"));
    let mut socket = connect(&service);
    socket.write_all(&request("PUT", "/up/a", "", b"jpeg")).unwrap();
    assert!(service.wait_for(|seen| seen.iter().any(|s| matches!(s, Seen::Held { .. })), LIMIT));
    assert!(requests(&service).is_empty());
    service.release();
    assert_eq!(read_reply(&mut socket).unwrap().status, 200);
}

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
fn tls_is_trusted_through_its_root() {
    let service = LocalService::builder().start().unwrap();
    let root = native_tls::Certificate::from_pem(service.ca_pem().unwrap().as_bytes()).unwrap();
    let trusting = native_tls::TlsConnector::builder().add_root_certificate(root).build().unwrap();
    for name in ["localhost", "127.0.0.1"] {
        let mut stream = trusting.connect(name, connect(&service)).unwrap();
        stream.write_all(&request("GET", "/dl/firmware", "", b"")).unwrap();
        assert_eq!(read_reply(&mut stream).unwrap().status, 200);
    }
    assert!(trusting.connect("example.com", connect(&service)).is_err());
    let other = native_tls::TlsConnector::new().unwrap();
    assert!(other.connect("localhost", connect(&service)).is_err());
    assert!(service.http_url().starts_with("https://localhost:") && service.ws_url().starts_with("wss://localhost:"));
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
fn an_address_in_use_is_an_error() {
    let service = plain().start().unwrap();
    let error = plain().listen(service.addr().to_string()).start().unwrap_err();
    assert!(error.to_string().contains(&service.addr().to_string()), "{error}");
}

#[test]
fn the_observer_sees_what_is_recorded() {
    let (sender, receiver) = mpsc::channel();
    let observer = move |seen: &Seen| drop(sender.send(seen.clone()));
    let service = plain().keep_bodies(false).observer(observer).start().unwrap();
    ask(&service, "PUT", "/up/a", "", b"jpeg");
    let Seen::Http(request) = receiver.recv_timeout(LIMIT).unwrap() else { panic!("not a request") };
    assert_eq!((request.body.len(), request.body_len), (0, 4));
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
