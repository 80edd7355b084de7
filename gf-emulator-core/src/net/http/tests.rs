//! Services that respond byte by byte, read nothing or close the connection, with time limits below a second.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

use crossbeam_channel::{Receiver, unbounded};

use super::*;
use crate::net::url::Url;
use crate::record::Recorder;
use crate::service::authentication::Credentials;
use crate::service::{Session, Uplink, Upload};
use crate::{Config, Secret};

/// Longer than anything here takes: only a hang reaches it.
const LONG: Duration = Duration::from_secs(120);
const SHORT: Duration = Duration::from_millis(300);
/// A slow response is complete after at least 20 s: if no limit applied, the test would see it succeed.
const CHUNKS: usize = 4000;

fn limits() -> Limits {
    Limits { connect: LONG, idle: LONG, exchange: LONG, drain: LONG, bytes_per_second: u32::MAX }
}

fn client(limits: Limits) -> Http {
    Http::with_limits(
        Network { tls: crate::Tls::new(None).unwrap(), proxy: None, link: crate::Link::default() },
        "test",
        CancelToken::default(),
        Telemetry::default(),
        limits,
    )
}

/// Starts a service on loopback that calls `serve` on a thread per connection, with the connection's number.
fn start_service(serve: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Url {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = Url::parse(&format!("http://{}/", listener.local_addr().unwrap())).unwrap();
    let serve = Arc::new(serve);
    thread::spawn(move || {
        for (n, stream) in listener.incoming().enumerate() {
            let (stream, serve) = (stream.unwrap(), Arc::clone(&serve));
            stream.set_read_timeout(Some(LONG)).unwrap();
            stream.set_nodelay(true).unwrap();
            thread::spawn(move || serve(stream, n));
        }
    });
    url
}

/// Reads the next request, head and body. Returns `None` if the client has closed the connection.
fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes.clone()).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).ok()?;
    bytes.extend(body);
    Some(String::from_utf8(bytes).unwrap())
}

/// Sends `chunk` again and again, every 5 ms, until the client closes the connection.
fn send_slowly(stream: &mut TcpStream, chunk: &[u8]) {
    stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    for _ in 0..CHUNKS {
        if stream.write_all(chunk).is_err() || matches!(stream.read(&mut [0]), Ok(0)) {
            return;
        }
    }
}

/// Starts a service that responds with `head` at once and `chunk` again and again.
fn start_slow_service(head: &'static str, chunk: &'static [u8]) -> Url {
    start_service(move |mut stream, _| {
        if read_request(&mut stream).is_some() && stream.write_all(head.as_bytes()).is_ok() {
            send_slowly(&mut stream, chunk);
        }
    })
}

fn get(url: &Url) -> Request<'_> {
    static EMPTY: Bytes = Bytes::new();
    Request {
        method: Method::Get,
        url,
        bearer: None,
        content_type: None,
        body: &EMPTY,
        on_sent: None,
        confidential: false,
    }
}

fn config(service: &Url) -> Config {
    let mut config = Config::default();
    config.machine.serial = 1;
    config.machine.password = Secret::new("password");
    config.service.server_url = service.to_string();
    config.service.status_service_url = service.to_string().replace("http", "ws");
    config
}

fn session(service: &Url, limits: Limits) -> Session {
    Session::new(&config(service), client(limits)).unwrap()
}

fn assert_timed_out<T>(what: &str, result: Result<T>) {
    match result {
        Err(Error::Unreachable { reason, .. }) => assert!(reason.contains("the request timed out"), "{what}: {reason}"),
        Err(e) => panic!("{what}: {e}"),
        Ok(_) => panic!("{what}: accepted as a response"),
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4000\r\n\r\n";

#[test]
fn a_slow_response_times_out_in_each_of_its_parts() {
    let limits = Limits { exchange: SHORT, ..limits() };
    for (what, head, chunk) in [
        ("a status line", "HTTP/1.1 200 ", &b"O"[..]),
        ("headers", "HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
        ("interim responses", "", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        ("a body", HEAD, b" "),
        ("an endless body", "HTTP/1.1 200 OK\r\n\r\n", b" "),
        ("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    ] {
        let url = start_slow_service(head, chunk);
        assert_timed_out(what, session(&url, limits).firmware());
        assert_timed_out(what, Credentials::new(&config(&url)).unwrap().sign_in(&client(limits)));
    }
}

#[test]
fn a_connection_whose_unneeded_body_is_slow_is_not_reused() {
    let (sender, connections) = unbounded();
    let url = start_service(move |mut stream, n| {
        while let Some(request) = read_request(&mut stream) {
            _ = sender.send(n);
            if request.starts_with("GET /to ") {
                _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend");
            } else if request.starts_with("GET ") {
                _ = stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: /to\r\nContent-Length: 4000\r\n\r\n");
                send_slowly(&mut stream, b" ");
            } else {
                _ = stream.write_all(HEAD.as_bytes());
                send_slowly(&mut stream, b" ");
            }
        }
    });
    let session = session(&url, Limits { drain: SHORT, ..limits() });
    let (endpoint, picture) = (url.to_string(), Bytes::from_static(b"JPEG"));
    session.upload(&Upload::new(1, "lid_image", Some(&endpoint), &picture)).unwrap();
    session.post_event("{}").unwrap();
    let mut text = Vec::new();
    let mut download = session.download(&format!("{url}from")).unwrap();
    download.copy_to(&mut text, 100, "it", &mut |_| Ok(())).unwrap();
    assert_eq!(text, b"end");
    assert_eq!(connections.try_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn an_upload_tells_how_much_has_been_sent() {
    let url = start_service(|mut stream, _| {
        let request = read_request(&mut stream).unwrap().to_lowercase();
        assert!(request.contains("content-length: 1048576\r\n") && !request.contains("transfer-encoding"));
        _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    });
    let (picture, sent) = (Bytes::from(vec![7; 1 << 20]), Mutex::new(Vec::new()));
    let endpoint = url.to_string();
    for endpoint in [Some(&*endpoint), None] {
        let on_sent = |bytes| sent.lock().unwrap().push(bytes);
        let upload = Upload::new(1, "lid_image", endpoint, &picture).reporting(&on_sent);
        session(&url, limits()).upload(&upload).unwrap();
        let sent = std::mem::take(&mut *sent.lock().unwrap());
        assert!(sent.is_sorted() && sent[0] == 0 && sent.len() > 2 && *sent.last().unwrap() <= 1 << 20, "{sent:?}");
    }
}

#[test]
fn redirects_share_one_deadline() {
    // Each redirect takes a third of the limit.
    let url = start_service(|mut stream, _| {
        if read_request(&mut stream).is_some() {
            stream.set_read_timeout(Some(SHORT / 3)).unwrap();
            _ = stream.read(&mut [0]);
            _ = stream
                .write_all(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    assert_timed_out(
        "redirects",
        session(&url, Limits { exchange: SHORT, ..limits() }).download(&url.to_string()).map(|_| ()),
    );
}

#[test]
fn an_upload_that_is_not_read_times_out() {
    let picture = Bytes::from(vec![7; 32 << 20]);
    let limits = Limits { exchange: SHORT, ..limits() };
    // The service keeps its connections open until this is dropped.
    let (keep_open, closed) = unbounded::<()>();
    for reads_slowly in [false, true] {
        let closed = closed.clone();
        let url = start_service(move |mut stream, _| {
            socket2::SockRef::from(&stream).set_recv_buffer_size(16 << 10).unwrap();
            if reads_slowly {
                while matches!(stream.read(&mut [0]), Ok(1)) {
                    _ = closed.recv_timeout(Duration::from_millis(1));
                }
            } else {
                _ = closed.recv();
            }
        });
        let endpoint = url.to_string();
        let upload = Upload::new(1, "lid_image", Some(&endpoint), &picture);
        assert_timed_out("an upload", session(&url, limits).upload(&upload));
    }
    drop(keep_open);
}

#[test]
fn a_slow_download_times_out_in_each_of_its_parts() {
    let limits = Limits { exchange: SHORT, bytes_per_second: 1 << 20, ..limits() };
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (what, head, chunk) in [
        ("a body", HEAD, &b"x"[..]),
        ("chunks", chunked, b"1\r\nx\r\n"),
        ("a chunk size", chunked, b"0"),
        ("trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"A: b\r\n"),
    ] {
        let url = start_slow_service(head, chunk);
        let download = session(&url, limits).download(&url.to_string());
        assert_timed_out(
            what,
            download.and_then(|mut download| download.copy_to(&mut io::sink(), 1 << 20, what, &mut |_| Ok(()))),
        );
    }
}

#[test]
fn the_deadline_of_a_download_moves_with_the_bytes_received() {
    let url = start_service(|mut stream, _| {
        if read_request(&mut stream).is_some() {
            _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789");
        }
    });
    let http = client(Limits { bytes_per_second: 2, ..limits() });
    let mut body = http.send(get(&url)).unwrap().download();
    let before = http.current.lock().deadline;
    body.read_exact(&mut [0; 10]).unwrap();
    assert_eq!(http.current.lock().deadline - before, Duration::from_secs(5));
}

#[test]
fn the_error_of_a_truncated_body_says_how_much_arrived() {
    for (head, expected) in [
        ("Content-Length: 10", "cut off after 4 of 10 bytes: "),
        ("Transfer-Encoding: chunked", "cut off after 4 bytes: "),
    ] {
        let url = start_service(move |mut stream, _| {
            if read_request(&mut stream).is_some() {
                let body = if head.starts_with('C') { "half" } else { "4\r\nhalf\r\n" };
                _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").as_bytes());
            }
        });
        let mut download = session(&url, limits()).download(&url.to_string()).unwrap();
        let error = download.copy_to(&mut io::sink(), 1 << 20, "it", &mut |_| Ok(())).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_download_that_is_stopped_is_recorded_as_incomplete() {
    let url = start_service(|mut stream, _| {
        while read_request(&mut stream).is_some() {
            _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody");
        }
    });
    for (stop, expected) in [(true, Some("the rest of the body was not read")), (false, None)] {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::of_machine(folder.path().join("it"), &config(&url)).unwrap();
        let http = client(limits());
        http.telemetry.set_recorder(&recorder);
        let mut body = http.send(get(&url)).unwrap().download();
        let length = if stop { 2 } else { 100 };
        io::copy(&mut (&mut body).take(length), &mut io::sink()).unwrap();
        drop((body, http, recorder));
        let mut recording = crate::record::Recording::open(folder.path().join("it")).unwrap();
        let exchange = recording.find_map(|entry| match entry.unwrap().event {
            crate::record::Event::Http(exchange) => Some(exchange),
            _ => None,
        });
        assert_eq!(exchange.unwrap().error.as_deref(), expected);
    }
}

#[test]
fn cancelling_ends_every_part_of_an_exchange() {
    for head in ["", "HTTP/1.1 200 OK\r\n", HEAD] {
        let (sender, receiver) = unbounded();
        let url = start_service(move |mut stream, _| {
            if read_request(&mut stream).is_some() {
                _ = stream.write_all(head.as_bytes());
                _ = sender.send(());
                _ = stream.read(&mut [0]);
            }
        });
        let session = session(&url, limits());
        thread::scope(|scope| {
            scope.spawn(|| {
                receiver.recv_timeout(LONG).unwrap();
                session.cancel();
            });
            let download = session.download(&url.to_string());
            let result =
                download.and_then(|mut download| download.copy_to(&mut io::sink(), 1 << 20, "it", &mut |_| Ok(())));
            assert!(matches!(result, Err(Error::Interrupted)), "{result:?}");
        });
    }
}

/// Starts a service that responds to the first request on a connection and keeps that open. To the second request on
/// the first connection it sends `then`, and closes it. Returns its URL, and its requests with their connections'
/// numbers.
fn start_closing_service(then: &'static str) -> (Url, Receiver<(usize, String)>) {
    let (sender, requests) = unbounded();
    let url = start_service(move |mut stream, n| {
        for response in ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", if n == 0 { then } else { "" }] {
            let Some(request) = read_request(&mut stream) else { return };
            _ = sender.send((n, request));
            _ = stream.write_all(response.as_bytes());
        }
    });
    (url, requests)
}

/// Sends a request twice. Returns the second one's result, the requests the service received, and the recording.
fn send_twice(method: Method, then: &'static str) -> (Result<u16>, Vec<(usize, String)>, String) {
    let (url, requests) = start_closing_service(then);
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::of_machine(folder.path().join("it"), &config(&url)).unwrap();
    let http = client(limits());
    http.telemetry.set_recorder(&recorder);
    let body = Bytes::from_static(b"a picture");
    let request = Request { method, body: &body, content_type: Some("image/jpeg"), ..get(&url) };
    http.send(request).unwrap().drain();
    let second = http.send(request).map(|response| {
        let status = response.status;
        response.drain();
        status
    });
    let requests = requests.try_iter().collect();
    drop((http, recorder));
    (second, requests, std::fs::read_to_string(folder.path().join("it/session.jsonl")).unwrap())
}

#[test]
fn retries_idempotent_requests_on_a_closed_keep_alive_connection() {
    for method in [Method::Get, Method::Put] {
        let (second, requests, recording) = send_twice(method, "");
        assert_eq!(second.unwrap(), 200);
        let connections: Vec<_> = requests.iter().map(|(n, _)| *n).collect();
        assert_eq!(connections, [0, 0, 1], "on a new connection");
        assert_eq!(requests[1].1, requests[2].1, "the whole request");
        assert_eq!(requests[2].1.ends_with("a picture"), method == Method::Put);
        assert_eq!(recording.matches("\"status\":200").count(), 2, "{recording}");
        assert!(!recording.contains("\"error\""), "{recording}");
    }
}

#[test]
fn does_not_retry_a_post_or_after_a_part_of_the_response() {
    let (second, requests, _) = send_twice(Method::Post, "");
    assert!(matches!(second, Err(Error::Unreachable { .. })), "{second:?}");
    assert_eq!(requests.len(), 2);
    for then in ["H", "HTTP/1.1 200 OK\r\nContent-", "garbage\r\n\r\n"] {
        let (second, requests, _) = send_twice(Method::Get, then);
        assert!(matches!(second, Err(Error::Unreachable { .. })), "{then:?}: {second:?}");
        assert_eq!(requests.len(), 2, "{then:?}");
    }
}

#[test]
fn does_not_retry_on_a_new_connection() {
    let (sender, requests) = unbounded();
    let url = start_service(move |mut stream, n| {
        read_request(&mut stream);
        _ = sender.send(n);
    });
    assert!(matches!(client(limits()).send(get(&url)), Err(Error::Unreachable { .. })));
    assert_eq!(requests.try_iter().count(), 1);
}

#[test]
fn parses_both_forms_of_retry_after() {
    let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
    assert_eq!(parse_retry_after("120", now), Some(Duration::from_secs(120)));
    assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:50:37 GMT", now), Some(Duration::from_secs(60)));
    assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:48:37 GMT", now), Some(Duration::ZERO));
    assert_eq!(parse_retry_after("soon", now), None);
    assert_eq!(parse_retry_after("-1", now), None);
}

#[test]
fn a_header_fits_into_the_buffer_or_the_error_says_that_it_is_too_large() {
    let with_header = |bytes: usize| {
        let url = start_service(move |mut stream, _| {
            read_request(&mut stream);
            let filler = "x".repeat(bytes);
            _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Filler: {filler}\r\n\r\n{{}}");
        });
        client(limits()).send(get(&url)).and_then(Response::json::<serde_json::Value>)
    };
    assert_eq!(with_header(BUFFER_BYTES - 100).unwrap(), serde_json::json!({}));
    for too_large in [BUFFER_BYTES - 50, BUFFER_BYTES, 3 * BUFFER_BYTES] {
        let error = with_header(too_large).unwrap_err().to_string();
        assert!(error.contains("too big"), "{too_large}: {error}");
    }
}
