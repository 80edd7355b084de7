//! The service as a bare client meets it: bytes over a socket, no code of the machine's side.

mod control;
mod requests;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use super::*;
use crate::Secret;

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
