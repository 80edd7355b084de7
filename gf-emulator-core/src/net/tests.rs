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
    let before = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| interrupt.raise());
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
    });
    assert!(before.elapsed() < Duration::from_secs(30));
    let error = dial(&origin(&url), &tls(), in_(20), &interrupt).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionAborted);
    interrupt.lower();
    assert!(dial(&origin(&url), &tls(), in_(20), &interrupt).is_ok());
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
