//! Services that drip, swallow nothing and hang up, with the limits of an exchange in fractions of a second.

use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::UNIX_EPOCH;

use crossbeam_channel::{Receiver, unbounded};

use super::*;
use crate::Config;
use crate::record::Recorder;
use crate::service::authentication::Credentials;
use crate::service::{Session, Uplink, Upload};

/// Far longer than anything takes here: only what hangs comes near.
const LONG: Duration = Duration::from_secs(120);
const SHORT: Duration = Duration::from_millis(300);
/// What drips has an end, after 20 s at the least: without a limit it would be taken for an answer.
const DROPS: usize = 4000;

fn limits() -> Limits {
    Limits { connect: LONG, silence: LONG, exchange: LONG, rest: LONG, bytes_per_second: u32::MAX }
}

fn client(limits: Limits) -> Http {
    Http::with_limits(
        Network { tls: crate::Tls::new(None).unwrap(), proxy: None },
        "test",
        CancelToken::default(),
        Tap::default(),
        limits,
    )
}

/// A service on loopback: serves each connection in a thread of its own, and says how many there were before.
fn service(serve: impl Fn(TcpStream, usize) + Send + Sync + 'static) -> Url {
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

/// The next request, head and body; none where the other side has hung up.
fn request(stream: &mut TcpStream) -> Option<String> {
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

/// Sends the same piece again and again, each some milliseconds after the one before.
fn drip(stream: &mut TcpStream, piece: &[u8]) {
    stream.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
    for _ in 0..DROPS {
        if stream.write_all(piece).is_err() || matches!(stream.read(&mut [0]), Ok(0)) {
            return;
        }
    }
}

fn answers(head: &'static str, piece: &'static [u8]) -> Url {
    service(move |mut stream, _| {
        if request(&mut stream).is_some() && stream.write_all(head.as_bytes()).is_ok() {
            drip(&mut stream, piece);
        }
    })
}

fn get(url: &Url) -> Request<'_> {
    static NOTHING: Bytes = Bytes::new();
    Request { method: Method::Get, url, bearer: None, content_type: None, body: &NOTHING, confidential: false }
}

fn config(service: &Url) -> Config {
    let mut config = Config::default();
    config.machine.serial = 1;
    config.machine.password = Secret::new("password");
    config.service.server_url = service.whole();
    config.service.status_service_url = service.whole().replace("http", "ws");
    config
}

fn session(service: &Url, limits: Limits) -> Session {
    Session::new(&config(service), client(limits)).unwrap()
}

fn is_given_up<T>(what: &str, result: Result<T>) {
    match result {
        Err(Error::Unreachable { reason, .. }) => assert!(reason.contains("it takes too long"), "{what}: {reason}"),
        Err(e) => panic!("{what}: {e}"),
        Ok(_) => panic!("{what}: it is taken for an answer"),
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 3000\r\n\r\n";

#[test]
fn a_small_answer_that_drips_is_given_up() {
    let limits = Limits { exchange: SHORT, ..limits() };
    for (what, head, piece) in [
        ("a status line", "HTTP/1.1 200 ", &b"O"[..]),
        ("headers", "HTTP/1.1 200 OK\r\n", b"A: b\r\n"),
        ("interim answers", "", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        ("a body", HEAD, b" "),
        ("a body without end", "HTTP/1.1 200 OK\r\n\r\n", b" "),
        ("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    ] {
        let url = answers(head, piece);
        is_given_up(what, session(&url, limits).firmware());
        is_given_up(what, Credentials::new(&config(&url)).unwrap().sign_in(&client(limits)));
    }
}

#[test]
fn an_answer_that_nobody_needs_does_not_hold_up_what_comes_next() {
    let limits = Limits { rest: SHORT, ..limits() };
    let url = answers(HEAD, b" ");
    let endpoint = url.whole();
    let picture = Bytes::from_static(b"JPEG");
    let upload = Upload::new(1, "lid_image", Some(&endpoint), &picture);
    session(&url, limits).upload(&upload).unwrap();
    session(&url, limits).post_event("{}").unwrap();

    let redirecting = service(|mut stream, _| {
        let Some(asked) = request(&mut stream) else { return };
        if asked.starts_with("GET /to ") {
            _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nend");
        } else if stream.write_all(b"HTTP/1.1 302 Found\r\nLocation: /to\r\nContent-Length: 3000\r\n\r\n").is_ok() {
            drip(&mut stream, b" ");
        }
    });
    let mut download = session(&redirecting, limits).download(&format!("{}from", redirecting.whole())).unwrap();
    let mut text = Vec::new();
    download.copy_to(&mut text, 100, "it", &mut |_| Ok(())).unwrap();
    assert_eq!(text, b"end");
}

#[test]
fn redirects_have_one_deadline_together() {
    // Each redirect takes a third of the time.
    let url = service(|mut stream, _| {
        if request(&mut stream).is_some() {
            stream.set_read_timeout(Some(SHORT / 3)).unwrap();
            _ = stream.read(&mut [0]);
            _ = stream
                .write_all(b"HTTP/1.1 302 Found\r\nLocation: /\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    is_given_up("a chain", session(&url, Limits { exchange: SHORT, ..limits() }).download(&url.whole()).map(|_| ()));
}

#[test]
fn an_upload_that_nobody_reads_is_given_up() {
    let picture = Bytes::from(vec![7; 32 << 20]);
    let limits = Limits { exchange: SHORT, ..limits() };
    // The service holds its connections until this is dropped.
    let (keep_open, closed) = unbounded::<()>();
    for drips in [false, true] {
        let closed = closed.clone();
        let url = service(move |mut stream, _| {
            socket2::SockRef::from(&stream).set_recv_buffer_size(16 << 10).unwrap();
            if drips {
                while matches!(stream.read(&mut [0]), Ok(1)) {
                    _ = closed.recv_timeout(Duration::from_millis(1));
                }
            } else {
                _ = closed.recv();
            }
        });
        let endpoint = url.whole();
        let upload = Upload::new(1, "lid_image", Some(&endpoint), &picture);
        is_given_up("an upload", session(&url, limits).upload(&upload));
    }
    drop(keep_open);
}

#[test]
fn a_download_that_drips_is_given_up() {
    let limits = Limits { exchange: SHORT, bytes_per_second: 1 << 20, ..limits() };
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (what, head, piece) in [
        ("a body", HEAD, &b"x"[..]),
        ("chunks", chunked, b"1\r\nx\r\n"),
        ("a chunk's length", chunked, b"0"),
        ("trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n", b"A: b\r\n"),
    ] {
        let url = answers(head, piece);
        let download = session(&url, limits).download(&url.whole());
        is_given_up(
            what,
            download.and_then(|mut download| download.copy_to(&mut io::sink(), 1 << 20, what, &mut |_| Ok(()))),
        );
    }
}

#[test]
fn a_download_has_more_time_the_more_of_it_has_come() {
    let url = service(|mut stream, _| {
        if request(&mut stream).is_some() {
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
fn an_error_about_a_cut_body_says_how_much_arrived() {
    for (head, expected) in [
        ("Content-Length: 10", "cut off after 4 of 10 bytes: "),
        ("Transfer-Encoding: chunked", "cut off after 4 bytes: "),
    ] {
        let url = service(move |mut stream, _| {
            if request(&mut stream).is_some() {
                let body = if head.starts_with('C') { "half" } else { "4\r\nhalf\r\n" };
                _ = stream.write_all(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}").as_bytes());
            }
        });
        let mut download = session(&url, limits()).download(&url.whole()).unwrap();
        let cut = download.copy_to(&mut io::sink(), 1 << 20, "it", &mut |_| Ok(())).unwrap_err();
        assert!(cut.to_string().contains(expected), "{cut}");
    }
}

#[test]
fn a_cancellation_ends_every_part_of_an_exchange() {
    for head in ["", "HTTP/1.1 200 OK\r\n", HEAD] {
        let (say, waiting) = unbounded();
        let url = service(move |mut stream, _| {
            if request(&mut stream).is_some() {
                _ = stream.write_all(head.as_bytes());
                _ = say.send(());
                _ = stream.read(&mut [0]);
            }
        });
        let session = session(&url, limits());
        thread::scope(|scope| {
            scope.spawn(|| {
                waiting.recv_timeout(LONG).unwrap();
                session.cancel();
            });
            let download = session.download(&url.whole());
            let ended =
                download.and_then(|mut download| download.copy_to(&mut io::sink(), 1 << 20, "it", &mut |_| Ok(())));
            assert!(matches!(ended, Err(Error::Interrupted)), "{ended:?}");
        });
    }
}

/// A service that answers the first request on a connection and keeps that; says `then` to the second and closes. The
/// requests in the order in which they came, each with the number of its connection.
fn closes_after_one(then: &'static str) -> (Url, Receiver<(usize, String)>) {
    let (say, asked) = unbounded();
    let url = service(move |mut stream, n| {
        for answer in ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", if n == 0 { then } else { "" }] {
            let Some(request) = request(&mut stream) else { return };
            _ = say.send((n, request));
            _ = stream.write_all(answer.as_bytes());
        }
    });
    (url, asked)
}

/// Sends twice; how the second request ended, all that were sent, and what is recorded of them.
fn twice(method: Method, then: &'static str) -> (Result<u16>, Vec<(usize, String)>, String) {
    let (url, asked) = closes_after_one(then);
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::of_machine(folder.path().join("it"), &config(&url)).unwrap();
    let http = client(limits());
    http.tap.open(&recorder);
    let body = Bytes::from_static(b"a picture");
    let request = Request { method, body: &body, content_type: Some("image/jpeg"), ..get(&url) };
    http.send(request).unwrap().finish();
    let second = http.send(request).map(|response| {
        let status = response.status;
        response.finish();
        status
    });
    let asked = asked.try_iter().collect();
    drop((http, recorder));
    (second, asked, std::fs::read_to_string(folder.path().join("it/session.jsonl")).unwrap())
}

#[test]
fn what_can_be_repeated_is_sent_again_where_a_kept_connection_was_closed() {
    for method in [Method::Get, Method::Put] {
        let (second, asked, noted) = twice(method, "");
        assert_eq!(second.unwrap(), 200);
        let connections: Vec<_> = asked.iter().map(|(n, _)| *n).collect();
        assert_eq!(connections, [0, 0, 1], "on a new connection");
        assert_eq!(asked[1].1, asked[2].1, "all of it");
        assert_eq!(asked[2].1.ends_with("a picture"), method == Method::Put);
        assert_eq!(noted.matches("\"status\":200").count(), 2, "{noted}");
        assert!(!noted.contains("\"error\""), "{noted}");
    }
}

#[test]
fn what_cannot_be_repeated_is_not_and_nothing_is_that_was_answered() {
    let (second, asked, _) = twice(Method::Post, "");
    assert!(matches!(second, Err(Error::Unreachable { .. })), "{second:?}");
    assert_eq!(asked.len(), 2);
    for then in ["H", "HTTP/1.1 200 OK\r\nContent-", "garbage\r\n\r\n"] {
        let (second, asked, _) = twice(Method::Get, then);
        assert!(matches!(second, Err(Error::Unreachable { .. })), "{then:?}: {second:?}");
        assert_eq!(asked.len(), 2, "{then:?}");
    }
}

#[test]
fn a_new_connection_that_is_closed_is_a_failure() {
    let (say, asked) = unbounded();
    let url = service(move |mut stream, n| {
        request(&mut stream);
        _ = say.send(n);
    });
    assert!(matches!(client(limits()).send(get(&url)), Err(Error::Unreachable { .. })));
    assert_eq!(asked.try_iter().count(), 1);
}

#[test]
fn reads_both_forms_of_retry_after() {
    let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
    assert_eq!(parse_retry_after("120", now), Some(Duration::from_secs(120)));
    assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:50:37 GMT", now), Some(Duration::from_secs(60)));
    assert_eq!(parse_retry_after("Sun, 06 Nov 1994 08:48:37 GMT", now), Some(Duration::ZERO));
    assert_eq!(parse_retry_after("soon", now), None);
    assert_eq!(parse_retry_after("-1", now), None);
}
