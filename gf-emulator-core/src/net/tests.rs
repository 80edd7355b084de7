use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded, unbounded};

use super::tls::certificate_reason;
use super::*;
use crate::Error;
use crate::config::Proxy;
use crate::net::poll::{Interest, Poll};
use crate::net::url::{Origin, Url};

/// Far longer than anything takes.
const LIMIT: Duration = Duration::from_secs(30);

fn origin(url: &str) -> Origin {
    Url::parse(url).unwrap().origin().clone()
}

fn in_(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

fn direct() -> Network {
    Network { tls: Tls::new(None).unwrap(), proxy: None }
}

#[test]
fn dials_and_talks() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut stream = dial(&origin(&url), &direct(), in_(20), &CancelToken::default()).unwrap();
    let (mut there, _) = listener.accept().unwrap();
    stream.write_all(b"ping").unwrap();
    let mut got = [0; 4];
    there.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"ping");
    assert!(stream.is_idle());
    there.write_all(b"x").unwrap();
    let mut poll = Poll::new().unwrap();
    poll.watch(stream.unblock().unwrap()).unwrap();
    poll.wait(Interest::Readable, Some(in_(20))).unwrap();
    assert!(!stream.is_idle());
}

#[test]
fn nobody_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = dial(&origin(&url), &direct(), in_(20), &CancelToken::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_deadline_ends_a_read_and_an_interrupt_ends_one_sooner() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let cancel = CancelToken::default();
    let mut stream = dial(&origin(&url), &direct(), in_(20), &cancel).unwrap();
    let _there = listener.accept().unwrap();
    stream.set_deadline(Some(Instant::now() + Duration::from_millis(20)));
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
    stream.set_deadline(Some(in_(60)));
    thread::scope(|scope| {
        scope.spawn(|| cancel.cancel());
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    });
    assert_eq!(stream.write(&[0]).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    let error = dial(&origin(&url), &direct(), in_(20), &cancel).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    cancel.reset();
    assert!(dial(&origin(&url), &direct(), in_(20), &cancel).is_ok());
}

#[test]
fn an_interrupt_wakes_who_waits_and_leaves_the_socket_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let cancel = CancelToken::default();
    let mut stream = dial(&origin(&url), &direct(), in_(20), &cancel).unwrap();
    let (mut there, _) = listener.accept().unwrap();
    cancel.cancel();
    cancel.reset();
    there.write_all(b"x").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 1);
    stream.write_all(b"y").unwrap();
    assert_eq!(there.read(&mut [0]).unwrap(), 1);
}

#[test]
fn a_wait_is_interrupted_even_if_the_interrupt_is_lowered_at_once() {
    let cancel = CancelToken::default();
    let (wake, woken) = crossbeam_channel::bounded(1);
    let waited = cancel.during(
        move || wake.send(()).unwrap(),
        || {
            cancel.cancel();
            cancel.reset();
        },
    );
    assert_eq!(waited.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    woken.try_recv().unwrap();
    assert_eq!(cancel.during(|| unreachable!("it is over"), || 7).unwrap(), 7);
    cancel.cancel();
    assert!(cancel.during(|| (), || unreachable!("it must not begin")).is_err());
}

#[test]
fn writes_end_as_reads_do() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let cancel = CancelToken::default();
    let mut stream = dial(&origin(&url), &direct(), in_(20), &cancel).unwrap();
    let there = listener.accept().unwrap();
    let large = vec![0; 64 << 20];
    stream.set_deadline(Some(Instant::now() + Duration::from_millis(50)));
    assert_eq!(stream.write_all(&large).unwrap_err().kind(), io::ErrorKind::TimedOut);
    stream.set_deadline(Some(in_(60)));
    thread::scope(|scope| {
        scope.spawn(|| cancel.cancel());
        assert_eq!(stream.write_all(&large).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    });
    drop(there);
}

#[test]
fn a_tls_handshake_that_nobody_answers_ends_by_interrupt_and_by_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let cancel = CancelToken::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            let there = listener.accept().unwrap();
            cancel.cancel();
            there
        });
        let error = dial(&origin(&url), &direct(), in_(60), &cancel).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    });
    let over = Instant::now() + Duration::from_millis(50);
    assert!(dial(&origin(&url), &direct(), over, &CancelToken::default()).is_err());
}

#[test]
fn a_deadline_ends_reads_that_never_have_to_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut stream = dial(&origin(&url), &direct(), in_(20), &CancelToken::default()).unwrap();
    let (mut there, _) = listener.accept().unwrap();
    there.write_all(b"xy").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 1);
    stream.set_deadline(Some(Instant::now()));
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
}

#[test]
fn an_interrupt_leaves_alone_what_it_has_released() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let cancel = CancelToken::default();
    let mut stream = dial(&origin(&url), &direct(), in_(20), &cancel).unwrap();
    let (mut there, _) = listener.accept().unwrap();
    cancel.release(&stream).unwrap();
    cancel.cancel();
    there.write_all(b"x").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 1);
    assert!(cancel.release(&stream).is_err());
}

#[test]
fn a_certificate_that_is_not_trusted_is_told_from_a_line_that_broke() {
    let openssl = "error:0A000086:SSL routines:f:certificate verify failed:../ssl/s.c:1889: (self-signed certificate)";
    assert_eq!(certificate_reason(openssl), Some("self-signed certificate"));
    let macos = "The certificate was not trusted.";
    assert_eq!(certificate_reason(macos), Some(macos));
    assert_eq!(certificate_reason("unexpected EOF"), None);
}

fn tls_from(pem: &str) -> Result<Tls, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), pem).unwrap();
    Tls::new(Some(file.path())).map_err(|e| e.to_string().replace(&file.path().display().to_string(), "FILE"))
}

#[test]
fn every_certificate_of_a_file_counts_and_a_broken_one_is_named() {
    const ROOTS: &str = include_str!("test-roots.pem");
    let (first, second) = ROOTS.split_at(ROOTS.rfind("-----BEGIN").unwrap());
    assert_eq!(tls_from(ROOTS).unwrap().extra_certificates(), 2);
    assert_eq!(tls_from(&format!("Some root:\r\n{first}and others:\n\n{ROOTS}")).unwrap().extra_certificates(), 3);
    assert_eq!(Tls::new(None).unwrap().extra_certificates(), 0);

    for none in ["", "not a certificate", "-----BEGIN PRIVATE KEY-----\n"] {
        let error = tls_from(none).unwrap_err();
        assert!(error.contains("FILE has no certificate in PEM form"), "{error}");
    }
    let no_end = &second[..second.len() / 2];
    let nonsense = second.replace("MII", "MIX");
    for broken in [no_end, &nonsense] {
        for (n, pem) in [(1, format!("{broken}\n{ROOTS}")), (2, format!("{first}{broken}\n{second}"))] {
            let error = tls_from(&pem).unwrap_err();
            assert!(error.contains(&format!("certificate {n} of 3 in FILE cannot be read: ")), "{error}");
        }
    }
    assert!(matches!(Tls::new(Some(Path::new("/nowhere/ca.pem"))), Err(Error::File { .. })));
    assert!(matches!(Tls::new(Some(Path::new("/dev/zero"))), Err(Error::File { .. })));
}

/// A proxy that answers everything with these bytes and keeps the connection for as long as the other side does.
fn answering(answer: &'static [u8], close: bool) -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let (say, asked) = unbounded();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        say.send(String::from_utf8(head).unwrap()).unwrap();
        // Fails where the machine has seen enough.
        let _ = stream.write_all(answer);
        if !close {
            let _ = stream.read(&mut [0]);
        }
    });
    (addr, asked)
}

fn through(url: &str) -> Network {
    Network { tls: Tls::new(None).unwrap(), proxy: Some(Proxy::parse(url).unwrap()) }
}

#[test]
fn a_proxy_is_asked_for_the_host_with_its_credentials_and_what_follows_goes_through() {
    let (addr, asked) = answering(b"HTTP/1.1 200 Connection established\r\nVia: x\r\n\r\n", false);
    let network = through(&format!("http://me:a%20word@{addr}"));
    let stream = dial(&origin("ws://[::1]"), &network, in_(20), &CancelToken::default()).unwrap();
    let expected =
        "CONNECT [::1]:80 HTTP/1.1\r\nHost: [::1]:80\r\nProxy-Authorization: Basic bWU6YSB3b3Jk\r\n\r\n".to_owned();
    assert_eq!(asked.recv_timeout(LIMIT).unwrap(), expected);
    assert_eq!(stream.taken_bytes(), 0);
    assert!(!format!("{network:?}").contains("word"));
}

#[test]
fn what_a_proxy_answers_otherwise_is_an_error_that_names_it_and_no_secret() {
    let endless: &'static [u8] = Vec::leak([&b"HTTP/1.1 200 OK\r\nX: "[..], &b"a".repeat(40_000)].concat());
    for (credentials, answer, words) in [
        ("", &b"HTTP/1.1 407 me:a-word\r\nProxy-Authenticate: Basic\r\n\r\n"[..], "wants a user name and a password"),
        ("me:a-word@", b"HTTP/1.1 407 me:a-word\r\n\r\n", "does not take the user name"),
        (
            "me:a-word@",
            b"HTTP/1.1 403 me:a-word\r\n\r\nme:a-word",
            "refused to connect to https://app.example (HTTP 403)",
        ),
        ("", b"HTTP/1.0 502 \r\n\r\n", "(HTTP 502): it has no connection to that host"),
        ("", b"HTTP/1.1 100 Continue\r\n\r\n", "(HTTP 100)"),
        ("", b"SSH-2.0-OpenSSH_9.2\r\n", "is it an HTTP proxy?"),
        ("", b"\x15\x03\x01\x00\x02\x02\x16", "is it an HTTP proxy?"),
        ("", b"HTTP/1.1 200 OK\r\n", "closed the connection"),
        ("", b"", "closed the connection"),
        ("me:a-word@", b"HTTP/1.1 200 OK\r\n\r\nme:a-word", "sends data before"),
        ("", endless, "without end"),
    ] {
        let (addr, _asked) = answering(answer, true);
        let network = through(&format!("http://{credentials}{addr}"));
        let app = origin("https://app.example");
        let error = dial(&app, &network, in_(20), &CancelToken::default()).unwrap_err();
        for error in [format!("{error} {error:?}"), connection_error(&app, &error, &CancelToken::default()).to_string()]
        {
            assert!(error.contains(&format!("http://{addr}")), "{error}");
            assert!(!error.contains("a-word"), "{error}");
        }
        let error = connection_error(&app, &error, &CancelToken::default()).to_string();
        assert!(error.contains(words) && error.contains("https://app.example"), "{error}");
    }
}

#[test]
fn a_proxy_that_is_not_there_or_does_not_answer_is_named_and_has_until_the_deadline() {
    let app = origin("https://app.example");
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = nobody.local_addr().unwrap();
    let network = through(&format!("http://{addr}"));
    let soon = Instant::now() + Duration::from_millis(50);
    let error = dial(&app, &network, soon, &CancelToken::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(error.to_string(), format!("the proxy http://{addr} did not answer in time"));
    drop(nobody);
    let error = dial(&app, &network, in_(20), &CancelToken::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
    assert!(error.to_string().starts_with(&format!("the proxy http://{addr}: ")), "{error}");
}

#[test]
fn an_answer_of_a_proxy_that_drips_has_until_the_deadline_as_a_whole() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let network = through(&format!("http://{}", listener.local_addr().unwrap()));
    let (end, ended) = bounded::<()>(0);
    let drip = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").unwrap();
        // A byte at a time, each well within any limit for a single read.
        while ended.recv_timeout(Duration::from_millis(10)).is_err_and(|e| e.is_timeout())
            && stream.write_all(b"a").is_ok()
        {}
    });
    let deadline = Instant::now() + Duration::from_millis(200);
    let error = dial(&origin("https://app.example"), &network, deadline, &CancelToken::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    drop(end);
    drip.join().unwrap();
}

#[test]
fn plain_text_goes_through_a_proxy_on_this_computer_only() {
    let error = dial(&origin("http://localhost:1"), &through("http://192.0.2.1:1"), in_(20), &CancelToken::default());
    let error = error.unwrap_err();
    assert_eq!(error.to_string(), "the proxy http://192.0.2.1:1: plain text is for loopback addresses only");
}
