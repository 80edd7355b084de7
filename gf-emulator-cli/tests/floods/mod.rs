//! SIGTERM while a service sends without pause: the program exits by itself, with 0.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use crossbeam_channel::{Sender, bounded};

use crate::program::{LIMIT, Program, command};
use crate::{configure, folder};

/// Answers requests, one on each connection. Sends the WebSocket to `opened`.
fn serve(listener: &TcpListener, opened: &Sender<TcpStream>) {
    for mut stream in listener.incoming().map_while(Result::ok) {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).is_ok_and(|n| n == 1) {
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap();
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        if let Some(key) = header("Sec-WebSocket-Key:") {
            let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
            let answer = format!(
                "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            );
            stream.write_all(answer.as_bytes()).unwrap();
            if opened.send(stream).is_err() {
                return;
            }
            continue;
        }
        let length =
            head.to_lowercase().lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        stream.read_exact(&mut vec![0; length.unwrap_or(0)]).unwrap();
        let body = r#"{"ws_token":"a","auth_token":"b","version":"2.6.0-2228"}"#;
        let answer = format!("HTTP/1.1 200 X\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).unwrap();
    }
}

#[test]
fn sigterm_ends_a_flood_of_pings() {
    ends_during(&[], &[0x89, 0]);
}

#[test]
fn sigterm_ends_a_flood_of_binary_frames() {
    ends_during(&[], &[0x82, 1, 0]);
}

#[test]
fn sigterm_ends_a_flood_of_empty_fragments() {
    ends_during(&[0x01, 0], &[0, 0]);
}

#[test]
fn sigterm_ends_a_flood_of_text_frames() {
    ends_during(&[], b"\x81\x07no JSON");
}

/// Sends `begin`, then `again` without pause, and SIGTERM to the machine.
fn ends_during(begin: &'static [u8], again: &[u8]) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (open, opened) = bounded(0);
    thread::spawn(move || serve(&listener, &open));
    let folder = folder();
    configure(&folder, &format!("http://{address}"), &format!("ws://{address}"), "", "");
    let mut command = command(folder.path());
    command.arg("run").env("RUST_LOG", "error");
    let program = Program::start(command);
    let mut stream = opened.recv_timeout(LIMIT).unwrap();
    // Room for all that is waited for: the first writes fill the buffers of the connection, and later ones may take long.
    let (progress, has_progress) = bounded(10);
    let block = again.repeat(1000);
    let flood = thread::spawn(move || {
        stream.write_all(begin).unwrap();
        while stream.write_all(&block).is_ok() {
            let _ = progress.try_send(());
        }
    });
    (0..10).for_each(|_| has_progress.recv_timeout(LIMIT).unwrap());
    program.terminate();
    program.end().expect(0);
    flood.join().unwrap();
}
