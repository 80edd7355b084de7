use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use super::tls::tls_error;
use super::*;
use crate::Error;
use crate::url::{Origin, Url};
use crate::wait::{Interest, Waiter};

fn origin(url: &str) -> Origin {
    Url::parse(url).unwrap().origin().clone()
}

fn in_(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

fn tls() -> Tls {
    Tls::new(None).unwrap()
}

#[test]
fn dials_and_talks() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut stream = dial(&origin(&url), &tls(), in_(20), &Interrupt::default()).unwrap();
    let (mut there, _) = listener.accept().unwrap();
    stream.write_all(b"ping").unwrap();
    let mut got = [0; 4];
    there.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"ping");
    assert!(stream.is_idle());
    there.write_all(b"x").unwrap();
    let mut waiter = Waiter::new().unwrap();
    waiter.watch(stream.unblock().unwrap()).unwrap();
    waiter.wait(Interest::Readable, Some(in_(20))).unwrap();
    assert!(!stream.is_idle());
}

#[test]
fn nobody_there_is_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = dial(&origin(&url), &tls(), in_(20), &Interrupt::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn a_deadline_ends_a_read_and_an_interrupt_ends_one_sooner() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let interrupt = Interrupt::default();
    let mut stream = dial(&origin(&url), &tls(), in_(20), &interrupt).unwrap();
    let _there = listener.accept().unwrap();
    stream.set_deadline(Some(Instant::now() + Duration::from_millis(20)));
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
    stream.set_deadline(Some(in_(60)));
    thread::scope(|scope| {
        scope.spawn(|| interrupt.raise());
        assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    });
    assert_eq!(stream.write(&[0]).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    let error = dial(&origin(&url), &tls(), in_(20), &interrupt).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    interrupt.lower();
    assert!(dial(&origin(&url), &tls(), in_(20), &interrupt).is_ok());
}

#[test]
fn an_interrupt_wakes_who_waits_and_leaves_the_socket_alone() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let interrupt = Interrupt::default();
    let mut stream = dial(&origin(&url), &tls(), in_(20), &interrupt).unwrap();
    let (mut there, _) = listener.accept().unwrap();
    interrupt.raise();
    interrupt.lower();
    there.write_all(b"x").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 1);
    stream.write_all(b"y").unwrap();
    assert_eq!(there.read(&mut [0]).unwrap(), 1);
}

#[test]
fn a_wait_is_interrupted_even_if_the_interrupt_is_lowered_at_once() {
    let interrupt = Interrupt::default();
    let (wake, woken) = crossbeam_channel::bounded(1);
    let waited = interrupt.during(
        move || wake.send(()).unwrap(),
        || {
            interrupt.raise();
            interrupt.lower();
        },
    );
    assert_eq!(waited.unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    woken.try_recv().unwrap();
    assert_eq!(interrupt.during(|| unreachable!("it is over"), || 7).unwrap(), 7);
    interrupt.raise();
    assert!(interrupt.during(|| (), || unreachable!("it must not begin")).is_err());
}

#[test]
fn writes_end_as_reads_do() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let interrupt = Interrupt::default();
    let mut stream = dial(&origin(&url), &tls(), in_(20), &interrupt).unwrap();
    let there = listener.accept().unwrap();
    let large = vec![0; 64 << 20];
    stream.set_deadline(Some(Instant::now() + Duration::from_millis(50)));
    assert_eq!(stream.write_all(&large).unwrap_err().kind(), io::ErrorKind::TimedOut);
    stream.set_deadline(Some(in_(60)));
    thread::scope(|scope| {
        scope.spawn(|| interrupt.raise());
        assert_eq!(stream.write_all(&large).unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
    });
    drop(there);
}

#[test]
fn a_tls_handshake_that_nobody_answers_ends_by_interrupt_and_by_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let interrupt = Interrupt::default();
    thread::scope(|scope| {
        scope.spawn(|| {
            let there = listener.accept().unwrap();
            interrupt.raise();
            there
        });
        let error = dial(&origin(&url), &tls(), in_(60), &interrupt).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    });
    let over = Instant::now() + Duration::from_millis(50);
    assert!(dial(&origin(&url), &tls(), over, &Interrupt::default()).is_err());
}

#[test]
fn a_deadline_ends_reads_that_never_have_to_wait() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let mut stream = dial(&origin(&url), &tls(), in_(20), &Interrupt::default()).unwrap();
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
    let interrupt = Interrupt::default();
    let mut stream = dial(&origin(&url), &tls(), in_(20), &interrupt).unwrap();
    let (mut there, _) = listener.accept().unwrap();
    interrupt.release(&stream).unwrap();
    interrupt.raise();
    there.write_all(b"x").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 1);
    assert!(interrupt.release(&stream).is_err());
}

#[test]
fn a_certificate_that_is_not_trusted_is_told_from_a_line_that_broke() {
    let told = |words: &str| connection_error(&"https://h", &tls_error(words), &Interrupt::default()).to_string();
    let openssl = "error:0A000086:SSL routines:f:certificate verify failed:../ssl/s.c:1889: (self-signed certificate)";
    assert!(told(openssl).starts_with("the certificate of https://h is not trusted (self-signed certificate): "));
    assert!(told("The certificate was not trusted.").contains("is not trusted (The certificate was not trusted.)"));
    assert_eq!(told("unexpected EOF"), "cannot reach https://h: TLS: unexpected EOF");
}

#[test]
fn a_certificate_file_that_is_none_says_so() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "not a certificate").unwrap();
    let error = Tls::new(Some(file.path())).unwrap_err().to_string();
    assert!(error.contains("not a certificate in PEM form"), "{error}");
    assert!(matches!(Tls::new(Some(Path::new("/nowhere/ca.pem"))), Err(Error::File { .. })));
}
