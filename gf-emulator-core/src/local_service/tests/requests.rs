//! Sign-in, tokens, routes, limits, faults and TLS.

use std::time::Instant;

use native_tls::Protocol;

use super::*;
use crate::local_service::builder::small_puls;

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
        ("", r#"{"serial": "S12345678"}"#, 400),
        ("", "not json", 400),
    ] {
        let response = send(&service, "POST", "/machines/sign_in", headers, body.as_bytes());
        assert_eq!(response.status, status, "{headers}{body}");
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
fn does_not_keep_secrets() {
    let service = plain().start().unwrap();
    let (ws_token, bearer) = sign_in(&service);
    let _socket = try_open(&service, &ws_token).unwrap();
    send(&service, "GET", "/update/current", &bearer, b"");
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
fn a_ws_token_is_valid_once_and_expires() {
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
fn api_routes_need_a_valid_bearer_token() {
    let routes = [
        ("GET", "/update/current"),
        ("POST", "/api/event"),
        ("PUT", "/api/machines/status"),
        ("POST", "/api/machines/lid_image/1002"),
    ];
    let service = plain().start().unwrap();
    let (_, bearer) = sign_in(&service);
    for (method, path) in routes {
        assert_eq!(send(&service, method, path, &bearer, b"").status, 200, "{path}");
        assert_eq!(send(&service, method, path, "", b"").status, 401, "{path}");
        assert_eq!(send(&service, method, path, "Authorization: Bearer x\r\n", b"").status, 401, "{path}");
        assert_eq!(send(&service, "DELETE", path, &bearer, b"").status, 405, "{path}");
    }
    for path in ["/", "/api/machines/lid_image/x", "/api/machines/lid_image", "/up/", "/dl/other", "/dl/x.puls"] {
        assert_eq!(send(&service, "POST", path, &bearer, b"").status, 404, "{path}");
    }
    service.expire_tokens();
    let (_, fresh) = sign_in(&service);
    for (method, path) in routes {
        assert_eq!(send(&service, method, path, &bearer, b"").status, 401, "{path}");
        assert_eq!(send(&service, method, path, &fresh, b"").status, 200, "{path}");
    }

    let short = plain().token_life(Duration::ZERO).start().unwrap();
    let (_, bearer) = sign_in(&short);
    assert_eq!(send(&short, "GET", "/update/current", &bearer, b"").status, 401);
}

#[test]
fn serves_firmware_and_pulse_file() {
    let service = plain().firmware_version("9.9.9-1").start().unwrap();
    let (_, bearer) = sign_in(&service);
    let response = send(&service, "GET", "/update/current", &bearer, b"").json();
    assert_eq!(response["version"], "9.9.9-1");
    assert_eq!(response["download_url"], format!("{}/dl/firmware", service.http_url()));
    assert_eq!(send(&service, "GET", "/dl/firmware", "", b"").body, b"firmware 9.9.9-1\n");
    // The Python clients send a bearer token with downloads; it is accepted.
    assert_eq!(send(&service, "GET", "/dl/job.puls?X-Sig=1", &bearer, b"").body, small_puls());
    let last = requests(&service).pop().unwrap();
    assert_eq!((last.bearer, last.has_query, last.path.as_str()), (Bearer::Good, true, "/dl/job.puls"));

    let service = plain().puls_for("hunt", [7]).start().unwrap();
    assert_eq!(send(&service, "GET", "/dl/hunt.puls", "", b"").body, [7]);
    assert_eq!(send(&service, "GET", "/dl/motion.puls", "", b"").status, 404);

    let file = vec![7; 300_000];
    let service = plain().puls(file.clone()).gzip(true).start().unwrap();
    let response = send(&service, "GET", "/dl/job.puls", "", b"");
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(response.body.as_slice()).read_to_end(&mut plain).unwrap();
    assert!(plain == file && response.body.len() < file.len());
}

#[test]
fn storage_rejects_a_bearer_token() {
    let service = plain().keep_bodies(true).start().unwrap();
    let (_, bearer) = sign_in(&service);
    assert_eq!(
        send(&service, "PUT", "/up/lid1?X-Goog-Signature=a", "Content-Type: image/jpeg\r\n", b"jpeg").status,
        200
    );
    let upload = requests(&service).pop().unwrap();
    assert_eq!((&*upload.body, upload.header("content-type")), (&b"jpeg"[..], Some("image/jpeg")));
    assert_eq!(upload.bearer, Bearer::Absent);
    assert_eq!(send(&service, "PUT", "/up/lid1?X-Goog-Signature=a", &bearer, b"jpeg").status, 400);
}

#[test]
fn accepts_event_bodies_that_are_not_json() {
    let service = plain().keep_bodies(true).start().unwrap();
    let (_, bearer) = sign_in(&service);
    let body = br#"{"id": <MILLI_EPOCH>, "event": "firmware_update:skipping"}"#;
    assert_eq!(send(&service, "POST", "/api/event", &bearer, body).status, 200);
    let last = requests(&service).pop().unwrap();
    assert_eq!((last.json(), last.text().as_bytes()), (None, &body[..]));
}

#[test]
fn takes_sensor_data_and_log_messages() {
    let service = plain().start().unwrap();
    let (token, bearer) = sign_in(&service);
    let mut socket = try_open(&service, &token).unwrap();
    let line = "{\"id\":40,\"type\":\"log\",\"text\":\"of any form\"}\n";
    socket.send(Message::text(line)).unwrap();
    socket.send(Message::Ping("all".into())).unwrap();
    while !matches!(socket.read().unwrap(), Message::Pong(_)) {}
    let messages = service.seen().into_iter().filter(|seen| matches!(seen, Seen::WsMessage { .. }));
    let messages: Vec<_> = messages.map(|seen| seen.to_string()).collect();
    assert_eq!(messages, [format!("machine > service  log {}", line.trim_end())]);

    let post = |headers: &str, size: usize| send(&service, "POST", "/api/sensor", headers, &vec![0xff; size]).status;
    assert_eq!([post(&bearer, 0), post(&bearer, 1 << 20), post("", 10)], [200, 200, 401]);
    let typed = format!("Content-Type: application/octet-stream\r\n{bearer}");
    assert_eq!(post(&typed, (1 << 20) + 1), 413);
    let last = requests(&service).into_iter().rfind(|request| request.status == 200).unwrap();
    assert_eq!((last.path.as_str(), last.body_len), ("/api/sensor", 1 << 20));
    assert_eq!(Seen::Http(last).to_string(), "machine > service  POST /api/sensor 1.0 MB -> 200");
}

#[test]
fn serves_pipelined_requests_and_chunked_bodies() {
    let service = plain().keep_bodies(true).start().unwrap();
    let mut socket = connect(&service);
    // Two at once; the second is chunked and split in the middle of a chunk size.
    let mut bytes = request("PUT", "/up/a", "", b"one");
    bytes.extend(b"PUT /up/b HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n1");
    socket.write_all(&bytes).unwrap();
    assert_eq!(read_response(&mut socket).unwrap().status, 200);
    socket.write_all(b"0;x=y\r\n0123456789abcdef\r\n0\r\nTrailer: x\r\n\r\n").unwrap();
    assert_eq!(read_response(&mut socket).unwrap().status, 200);
    socket.write_all(&request("GET", "/nothing", "Connection: close\r\n", b"")).unwrap();
    assert_eq!(read_response(&mut socket).unwrap().status, 404);
    assert!(read_response(&mut socket).is_none());
    let bodies: Vec<_> = requests(&service).iter().map(Request::text).collect();
    assert_eq!(bodies, ["one", "two0123456789abcdef", ""]);
}

#[test]
fn rejects_oversized_and_malformed_requests() {
    let service = plain().body_limit(1000).start().unwrap();
    let long_header = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(40_000));
    let many_headers = format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(100));
    let chunked = |rest: &str| format!("PUT /up/a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{rest}");
    let with = |header: &str| format!("PUT /up/a HTTP/1.1\r\nHost: h\r\n{header}\r\n\r\n");
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
        (with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), 400),
        (with("Transfer-Encoding: chunked\r\nTransfer-Encoding: gzip"), 400),
        (with("Transfer-Encoding: chunked, chunked"), 501),
        ("PUT /up/a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
        (with("Authorization: Bearer a\r\nAuthorization: Bearer b"), 400),
        (with("Content-Length: +5"), 400),
        (with("Content-Length : 5"), 400),
        (chunked("1;x\nx\r\n0\r\n\r\n"), 400),
        (chunked("1 \r\nx\r\n0\r\n\r\n"), 400),
        (chunked("0x1\r\nx\r\n0\r\n\r\n"), 400),
        (chunked(&format!("1;{}\r\nx\r\n", "e".repeat(900)).repeat(80)), 413),
        ("GET //token HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        ("GET //dl/job.puls HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        ("GET /dl/job.puls#x HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        (format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "x".repeat(2000)), 414),
        ("GET http://localhost/ HTTP/1.1\r\nHost: h\r\n\r\n".to_owned(), 400),
        ("\u{0}\r\n\r\n".to_owned(), 400),
    ] {
        let response = send_raw(&service, text.as_bytes()).unwrap_or_else(|| panic!("no response to {text:.60}"));
        assert_eq!(response.status, status, "{text:.60}");
        assert!(response.complete);
    }
    assert_eq!(send(&service, "PUT", "/up/a", "", &[b'x'; 1000]).status, 200);
}

#[test]
fn needs_exactly_one_valid_host_header() {
    let service = plain().start().unwrap();
    let status = |version: &str, hosts: &str| {
        let text = format!("PUT /up/a HTTP/{version}\r\n{hosts}Content-Length: 0\r\n\r\n");
        send_raw(&service, text.as_bytes()).unwrap().status
    };
    for host in ["localhost", "localhost:8080", "127.0.0.1:8080", "[::1]", "[::1]:8080", "a_b-c.example"] {
        assert_eq!(status("1.1", &format!("Host: {host}\r\n")), 200, "{host}");
    }
    for host in ["127.0.0.1:+18090", "127.0.0.1:65536", "a b", "http://localhost", "me@localhost", "[::1", ""] {
        assert_eq!(status("1.1", &format!("Host: {host}\r\n")), 400, "{host}");
    }
    for version in ["1.0", "1.1"] {
        assert_eq!(status(version, "Host: localhost\r\nHost: localhost\r\n"), 400, "{version}");
    }
    assert_eq!(status("1.1", ""), 400);
    // HTTP/1.0 does not require one.
    assert_eq!(status("1.0", ""), 200);
}

#[test]
fn rejects_two_slashes_before_a_token() {
    let service = plain().start().unwrap();
    let (token, _) = sign_in(&service);
    assert_eq!(try_open(&service, &format!("/{token}")).err(), Some(400));
    assert!(try_open(&service, &token).is_ok(), "the token is still valid");
}

#[test]
fn keeps_bodies_on_demand_and_shows_small_ones_to_the_observer() {
    let bodies = |keep: bool, pictures: bool| {
        let (sender, receiver) = mpsc::channel();
        let observer = move |seen: &Seen| drop(sender.send(seen.clone()));
        let service = plain().keep_bodies(keep).observe_pictures(pictures).observer(observer).start().unwrap();
        let (_, bearer) = sign_in(&service);
        let (event, long) = (br#"{"event": "e"}"#, vec![b'x'; 100_000]);
        for (method, path, bearer, body) in [
            ("PUT", "/api/machines/status", bearer.as_str(), &b"status"[..]),
            ("PUT", "/api/machines/status", "", &b"no token"[..]),
            ("PUT", "/api/machines/status", bearer.as_str(), long.as_slice()),
            ("POST", "/api/event", bearer.as_str(), &event[..]),
            ("PUT", "/up/a", "", &b"picture"[..]),
            ("POST", "/nowhere", bearer.as_str(), &b"nowhere"[..]),
        ] {
            send(&service, method, path, bearer, body);
        }
        let lengths = |seen: Vec<Seen>| -> Vec<usize> {
            let body = |seen| if let Seen::Http(request) = seen { Some(request.body.len()) } else { None };
            seen.into_iter().filter_map(body).skip(1).collect()
        };
        (lengths(service.seen()), lengths(receiver.try_iter().collect()))
    };
    assert_eq!(bodies(false, false), (vec![0, 0, 0, 14, 0, 0], vec![6, 0, 0, 14, 0, 0]));
    assert_eq!(bodies(false, true), (vec![0, 0, 0, 14, 0, 0], vec![6, 0, 0, 14, 7, 0]));
    assert_eq!(bodies(true, false), (vec![6, 0, 100_000, 14, 7, 0], vec![6, 0, 100_000, 14, 7, 0]));
}

#[test]
fn faults_apply_in_order_to_matching_requests() {
    let service = plain().start().unwrap();
    service.fault(Fault::status(503).header("Retry-After", "1").on("PUT", "/up/").times(2));
    service.fault(Fault::status(302).header("Location", "http://elsewhere/").on("GET", "/dl/"));
    let response = send(&service, "GET", "/dl/job.puls", "", b"");
    assert!(response.status == 302 && response.head.contains("Location: http://elsewhere/\r\n"), "{}", response.head);
    for status in [503, 503, 200] {
        let response = send(&service, "PUT", "/up/a", "", b"");
        assert_eq!((response.status, response.head.contains("Retry-After: 1")), (status, status == 503));
    }
    assert_eq!(send(&service, "GET", "/dl/job.puls", "", b"").status, 200);

    service.fault(Fault::status(500).on("GET", "/<ws_token>"));
    let (token, _) = sign_in(&service);
    assert_eq!(try_open(&service, &token).err(), Some(500));
    assert!(try_open(&service, &token).is_ok(), "an injected fault does not consume the token");
}

#[test]
fn faults_break_bodies() {
    let service = plain().keep_bodies(true).start().unwrap();
    let whole = small_puls();
    service.fault(Fault::new(Failure::CutAnswer).on("GET", "/dl/"));
    let response = send(&service, "GET", "/dl/job.puls", "", b"");
    assert!(!response.complete && response.body == whole[..whole.len() / 2]);

    service.fault(Fault::new(Failure::ShortBody).on("GET", "/dl/"));
    let response = send(&service, "GET", "/dl/job.puls", "", b"");
    assert!(!response.complete && response.body == whole);

    service.fault(Fault::new(Failure::EndlessBody).on("GET", "/dl/"));
    let mut socket = connect(&service);
    socket.write_all(&request("GET", "/dl/job.puls", "", b"")).unwrap();
    assert!(read_response(&mut socket).unwrap().head.contains("Transfer-Encoding: chunked"));
    let mut much = Vec::new();
    (&mut socket).take(3_000_000).read_to_end(&mut much).unwrap();
    assert_eq!(much.len(), 3_000_000);

    service.fault(Fault::new(Failure::CutAnswer).on("PUT", "/up/"));
    assert!(send_raw(&service, &request("PUT", "/up/a", "", b"jpeg")).is_none());

    service.fault(Fault::new(Failure::CutRequest).on("PUT", "/up/"));
    assert!(send_raw(&service, &request("PUT", "/up/a", "", b"jpeg")).is_none());
    let cut = requests(&service).pop().unwrap();
    assert_eq!((cut.text().as_str(), cut.status), ("jp", 0));
}

#[test]
fn holds_a_response_until_released() {
    let service = plain().start().unwrap();
    service.fault(Fault::new(Failure::Hold).on("PUT", "/up/"));
    let mut socket = connect(&service);
    socket.write_all(&request("PUT", "/up/a", "", b"jpeg")).unwrap();
    assert!(service.wait_for(|seen| seen.iter().any(|s| matches!(s, Seen::Held { .. })), LIMIT));
    assert!(requests(&service).is_empty());
    service.release();
    assert_eq!(read_response(&mut socket).unwrap().status, 200);
}

#[test]
fn serves_both_versions_of_tls_and_ends_them_with_close_notify() {
    let service = LocalService::builder().start().unwrap();
    let only = |version| {
        let mut builder = trusting(&service);
        builder.min_protocol_version(Some(version)).max_protocol_version(Some(version)).build().unwrap()
    };
    // Not every Windows has version 1.3.
    let versions = if cfg!(windows) { &[Protocol::Tlsv12][..] } else { &[Protocol::Tlsv12, Protocol::Tlsv13] };
    for version in versions {
        let mut stream = only(*version).connect("localhost", connect(&service)).unwrap();
        // More than a record and than the buffers hold.
        stream.write_all(&request("PUT", "/up/a", "", &vec![7; 300_000])).unwrap();
        assert_eq!(read_response(&mut stream).unwrap().status, 200, "{version:?}");
        stream.write_all(&request("GET", "/dl/firmware", "Connection: close\r\n", b"")).unwrap();
        assert_eq!(read_response(&mut stream).unwrap().status, 200, "{version:?}");
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "{version:?}: an end without close_notify is an error");
    }
    let held = requests(&service);
    assert!(held.iter().any(|request| request.body_len == 300_000), "{held:?}");
}

#[test]
fn a_peer_that_does_not_speak_tls_gets_an_alert() {
    let service = LocalService::builder().start().unwrap();
    let mut socket = connect(&service);
    socket.write_all(&request("GET", "/dl/firmware", "", b"")).unwrap();
    let mut answer = Vec::new();
    // Some systems reset the connection, because not all of the request was read.
    let _ = socket.read_to_end(&mut answer);
    // The type of alerts is 21.
    assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
    assert!(requests(&service).is_empty());
}

#[test]
fn stops_at_once_while_peers_are_silent() {
    let service = LocalService::builder().start().unwrap();
    let connector = trusting(&service).build().unwrap();
    let in_handshake = connect(&service);
    let mut between_requests = connector.connect("localhost", connect(&service)).unwrap();
    between_requests.write_all(&request("GET", "/dl/firmware", "", b"")).unwrap();
    assert_eq!(read_response(&mut between_requests).unwrap().status, 200);
    let started = Instant::now();
    service.stop();
    assert!(started.elapsed() < LIMIT);
    drop((in_handshake, between_requests));
}

#[test]
fn tls_clients_trust_the_root_certificate() {
    let service = LocalService::builder().start().unwrap();
    let trusting = trusting(&service).build().unwrap();
    for name in ["localhost", "127.0.0.1"] {
        let mut stream = trusting.connect(name, connect(&service)).unwrap();
        stream.write_all(&request("GET", "/dl/firmware", "", b"")).unwrap();
        assert_eq!(read_response(&mut stream).unwrap().status, 200);
    }
    assert!(trusting.connect("example.com", connect(&service)).is_err());
    let other = native_tls::TlsConnector::new().unwrap();
    assert!(other.connect("localhost", connect(&service)).is_err());
    assert!(service.http_url().starts_with("https://localhost:") && service.ws_url().starts_with("wss://localhost:"));
}

#[test]
fn an_address_in_use_is_an_error() {
    let service = plain().start().unwrap();
    let error = plain().listen(service.addr().to_string()).start().unwrap_err();
    assert!(error.to_string().contains(&service.addr().to_string()), "{error}");
}

#[test]
fn the_observer_gets_every_event() {
    let (sender, receiver) = mpsc::channel();
    let observer = move |seen: &Seen| drop(sender.send(seen.clone()));
    let service = plain().keep_bodies(false).observer(observer).start().unwrap();
    send(&service, "PUT", "/up/a", "", b"jpeg");
    let Seen::Http(request) = receiver.recv_timeout(LIMIT).unwrap() else { panic!("not a request") };
    assert_eq!((request.body.len(), request.body_len), (0, 4));
}
