use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, unbounded};

use super::tls::certificate_failure;
use super::*;
use crate::Error;
use crate::config::Proxy;
use crate::net::poll::{Interest, Poll};
use crate::net::url::{Origin, Url};

/// Longer than any step takes: only a hang reaches it.
const LIMIT: Duration = Duration::from_secs(30);

fn origin(url: &str) -> Origin {
    Url::parse(url).unwrap().origin().clone()
}

fn far_deadline() -> Instant {
    Instant::now() + LIMIT
}

fn without_proxy() -> Network {
    Network { tls: Tls::new(None).unwrap(), proxy: None, link: Link::default() }
}

fn listen(scheme: &str) -> (TcpListener, Origin) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = origin(&format!("{scheme}://{}", listener.local_addr().unwrap()));
    (listener, origin)
}

/// Both ends of a connection dialled under `cancel`.
fn connection(cancel: &CancelToken) -> (Stream, TcpStream) {
    let (listener, origin) = listen("http");
    let stream = dial(&origin, &without_proxy(), far_deadline(), cancel).unwrap();
    (stream, listener.accept().unwrap().0)
}

#[test]
fn connects_and_transfers_in_both_directions() {
    let (mut stream, mut server) = connection(&CancelToken::default());
    stream.write_all(b"ping").unwrap();
    let mut received = [0; 4];
    server.read_exact(&mut received).unwrap();
    assert_eq!(&received, b"ping");
    assert!(stream.is_idle());
    server.write_all(b"x").unwrap();
    let mut poll = Poll::new().unwrap();
    poll.watch(stream.set_nonblocking()).unwrap();
    poll.wait(Interest::Readable, Some(far_deadline())).unwrap();
    assert!(!stream.is_idle());
    assert_eq!(stream.read(&mut [0]).unwrap(), 1);
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_refused_connection_is_an_error() {
    let (listener, origin) = listen("http");
    drop(listener);
    let error = dial(&origin, &without_proxy(), far_deadline(), &CancelToken::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn reads_end_at_the_deadline_or_when_cancelled() {
    let cancel = CancelToken::default();
    let (mut stream, _server) = connection(&cancel);
    stream.set_deadline(Some(Instant::now() + Duration::from_millis(20)));
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
    stream.set_deadline(Some(far_deadline()));
    thread::scope(|scope| {
        scope.spawn(|| cancel.cancel());
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    });
    assert_eq!(stream.write(&[0]).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
}

#[test]
fn dialling_fails_under_a_cancelled_token_until_that_is_reset() {
    let (cancel, (_listener, origin)) = (CancelToken::default(), listen("http"));
    cancel.cancel();
    let error = dial(&origin, &without_proxy(), far_deadline(), &cancel).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    cancel.reset();
    assert!(dial(&origin, &without_proxy(), far_deadline(), &cancel).is_ok());
}

#[test]
fn a_connection_is_usable_after_cancel_and_reset() {
    let cancel = CancelToken::default();
    let (mut stream, mut server) = connection(&cancel);
    cancel.cancel();
    cancel.reset();
    server.write_all(b"x").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 1);
    stream.write_all(b"y").unwrap();
    assert_eq!(server.read(&mut [0]).unwrap(), 1);
}

#[test]
fn an_operation_is_cancelled_even_if_the_token_is_reset_at_once() {
    let cancel = CancelToken::default();
    let (wake, woken) = bounded(1);
    let outcome = cancel.run(
        move || wake.send(()).unwrap(),
        || {
            cancel.cancel();
            cancel.reset();
        },
    );
    assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    woken.try_recv().unwrap();
    assert_eq!(cancel.run(|| unreachable!("woken after the operation"), || 7).unwrap(), 7);
    cancel.cancel();
    assert!(cancel.run(|| (), || unreachable!("started after cancel")).is_err());
}

#[test]
fn writes_end_at_the_deadline_or_when_cancelled() {
    let cancel = CancelToken::default();
    let (mut stream, _server) = connection(&cancel);
    let more_than_the_system_buffers = vec![0; 64 << 20];
    stream.set_deadline(Some(Instant::now() + Duration::from_millis(50)));
    assert_eq!(stream.write_all(&more_than_the_system_buffers).unwrap_err().kind(), io::ErrorKind::TimedOut);
    stream.set_deadline(Some(far_deadline()));
    thread::scope(|scope| {
        scope.spawn(|| cancel.cancel());
        let error = stream.write_all(&more_than_the_system_buffers).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    });
}

#[test]
fn an_unanswered_tls_handshake_ends_at_the_deadline_or_when_cancelled() {
    let (listener, origin) = listen("https");
    let cancel = CancelToken::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            let server = listener.accept().unwrap();
            cancel.cancel();
            server
        });
        let error = dial(&origin, &without_proxy(), far_deadline(), &cancel).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    });
    let deadline = Instant::now() + Duration::from_millis(50);
    let error = dial(&origin, &without_proxy(), deadline, &CancelToken::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn the_deadline_also_ends_reads_that_need_not_wait() {
    let (mut stream, mut server) = connection(&CancelToken::default());
    server.write_all(b"xy").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 1);
    stream.set_deadline(Some(Instant::now()));
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[test]
fn cancelling_does_not_end_a_detached_connection() {
    let cancel = CancelToken::default();
    let (mut detached, mut server) = connection(&cancel);
    let (mut attached, _server) = connection(&cancel);
    detached.detach().unwrap();
    cancel.cancel();
    server.write_all(b"x").unwrap();
    assert_eq!(detached.read(&mut [0]).unwrap(), 1);
    assert_eq!(attached.detach().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
}

#[test]
fn recognises_certificate_errors_of_tls_libraries() {
    let openssl = "error:0A000086:SSL routines:f:certificate verify failed:../ssl/s.c:1889: (self-signed certificate)";
    assert_eq!(certificate_failure(openssl), Some("self-signed certificate"));
    let macos = "The certificate was not trusted.";
    assert_eq!(certificate_failure(macos), Some(macos));
    assert_eq!(certificate_failure("unexpected EOF"), None);
}

fn tls_from(pem: &str) -> Result<Tls, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), pem).unwrap();
    Tls::new(Some(file.path())).map_err(|e| e.to_string().replace(&file.path().display().to_string(), "FILE"))
}

#[test]
fn reads_every_certificate_of_a_ca_file_and_names_a_broken_one() {
    const ROOTS: &str = include_str!("test-roots.pem");
    let (first, second) = ROOTS.split_at(ROOTS.rfind("-----BEGIN").unwrap());
    assert_eq!(tls_from(ROOTS).unwrap().extra_certificates(), 2);
    assert_eq!(tls_from(&format!("Some root:\r\n{first}and others:\n\n{ROOTS}")).unwrap().extra_certificates(), 3);
    assert_eq!(Tls::new(None).unwrap().extra_certificates(), 0);

    for without in ["", "not a certificate", "-----BEGIN PRIVATE KEY-----\n"] {
        let error = tls_from(without).unwrap_err();
        assert!(error.contains("the ca_file FILE contains no PEM certificate"), "{error}");
    }
    let truncated = &second[..second.len() / 2];
    let invalid = second.replace("MII", "MIX");
    for broken in [truncated, &invalid] {
        for (n, pem) in [(1, format!("{broken}\n{ROOTS}")), (2, format!("{first}{broken}\n{second}"))] {
            let error = tls_from(&pem).unwrap_err();
            assert!(error.contains(&format!("certificate {n} of 3 in the ca_file FILE cannot be read: ")), "{error}");
        }
    }
    assert!(matches!(Tls::new(Some(Path::new("/nowhere/ca.pem"))), Err(Error::File { .. })));
    assert!(matches!(Tls::new(Some(Path::new("/dev/zero"))), Err(Error::File { .. })));
}

/// Starts a proxy that sends `response` to one request. It then closes the connection, or with `close` false waits for
/// the client to do so. Returns its address and the request it receives.
fn start_proxy(response: &'static [u8], close: bool) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (sender, requests) = unbounded();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        sender.send(String::from_utf8(head).unwrap()).unwrap();
        // Fails if the client has closed the connection.
        let _ = stream.write_all(response);
        if !close {
            let _ = stream.read(&mut [0]);
        }
    });
    (addr, requests)
}

fn with_proxy(url: &str) -> Network {
    Network { tls: Tls::new(None).unwrap(), proxy: Some(Proxy::parse(url).unwrap()), link: Link::default() }
}

#[test]
fn sends_connect_with_credentials_to_the_proxy() {
    let (addr, requests) = start_proxy(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n", false);
    let network = with_proxy(&format!("http://me:a%20word@{addr}"));
    dial(&origin("ws://[::1]"), &network, far_deadline(), &CancelToken::default()).unwrap();
    let expected =
        "CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\nProxy-Authorization: Basic bWU6YSB3b3Jk\r\n\r\n".to_owned();
    assert_eq!(requests.recv_timeout(LIMIT).unwrap(), expected);
    assert!(!format!("{network:?}").contains("word"));
}

#[test]
fn a_failed_proxy_response_is_an_error_that_names_the_proxy_but_no_secret() {
    let too_long: &'static [u8] = Vec::leak([&b"HTTP/1.1 200 OK\r\nX: "[..], &b"a".repeat(40_000)].concat());
    for (credentials, response, expected) in [
        ("", &b"HTTP/1.1 407 me:a-word\r\nProxy-Authenticate: Basic\r\n\r\n"[..], "requires a user name and password"),
        ("me:a-word@", b"HTTP/1.1 407 me:a-word\r\n\r\n", "rejected the user name or password"),
        (
            "me:a-word@",
            b"HTTP/1.1 403 me:a-word\r\n\r\nme:a-word",
            "refused to connect to https://app.example (HTTP 403)",
        ),
        ("", b"HTTP/1.0 502 \r\n\r\n", "(HTTP 502): it could not reach that host"),
        ("", b"HTTP/1.1 100 Continue\r\n\r\n", "(HTTP 100)"),
        ("", b"SSH-2.0-OpenSSH_9.2\r\n", "is it an HTTP proxy?"),
        ("", b"\x15\x03\x01\x00\x02\x02\x16", "is it an HTTP proxy?"),
        ("", b"HTTP/1.1 200 OK\r\n", "closed the connection"),
        ("", b"", "closed the connection"),
        ("me:a-word@", b"HTTP/1.1 200 OK\r\n\r\nme:a-word", "sent data before"),
        ("", too_long, "longer than 16 KiB"),
    ] {
        let (addr, _requests) = start_proxy(response, true);
        let network = with_proxy(&format!("http://{credentials}{addr}"));
        let app = origin("https://app.example");
        let error = dial(&app, &network, far_deadline(), &CancelToken::default()).unwrap_err();
        for error in [format!("{error} {error:?}"), connection_error(&app, &error, &CancelToken::default()).to_string()]
        {
            assert!(error.contains(&format!("http://{addr}")), "{error}");
            assert!(!error.contains("a-word"), "{error}");
        }
        let error = connection_error(&app, &error, &CancelToken::default()).to_string();
        assert!(error.contains(expected) && error.contains("https://app.example"), "{error}");
    }
}

#[test]
fn errors_name_a_proxy_that_is_down_or_does_not_respond() {
    let app = origin("https://app.example");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = silent.local_addr().unwrap();
    let network = with_proxy(&format!("http://{addr}"));
    // The first deadline is over before the connection is open.
    for deadline in [Instant::now(), Instant::now() + Duration::from_millis(50)] {
        let error = dial(&app, &network, deadline, &CancelToken::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(error.to_string(), format!("the proxy http://{addr} did not respond in time"));
    }
    drop(silent);
    let error = dial(&app, &network, far_deadline(), &CancelToken::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert!(error.to_string().starts_with(&format!("the proxy http://{addr}: ")), "{error}");
}

#[test]
fn the_deadline_covers_a_proxy_response_sent_byte_by_byte() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let network = with_proxy(&format!("http://{}", listener.local_addr().unwrap()));
    let (stop, stopped) = bounded::<()>(0);
    let sender = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").unwrap();
        // A byte at a time, so that no single read times out.
        while stopped.recv_timeout(Duration::from_millis(10)).is_err_and(|e| e.is_timeout())
            && stream.write_all(b"a").is_ok()
        {}
    });
    let deadline = Instant::now() + Duration::from_millis(200);
    let error = dial(&origin("https://app.example"), &network, deadline, &CancelToken::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    drop(stop);
    sender.join().unwrap();
}

#[test]
fn rejects_a_remote_proxy_for_unencrypted_connections() {
    let network = with_proxy("http://192.0.2.1:1");
    let error = dial(&origin("http://localhost:1"), &network, far_deadline(), &CancelToken::default()).unwrap_err();
    let expected = "the proxy http://192.0.2.1:1: unencrypted connections are allowed to loopback addresses only";
    assert_eq!(error.to_string(), expected);
}
