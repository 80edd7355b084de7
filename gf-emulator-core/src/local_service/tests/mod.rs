//! Tests with a bare client: bytes over a socket, none of the machine's code.

mod faults;
mod requests;
mod scripts;
mod websocket;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

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

struct Response {
    status: u16,
    head: String,
    body: Vec<u8>,
    /// Whether the body was as long as `Content-Length`.
    complete: bool,
}

impl Response {
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

/// Returns a TLS client of another library that trusts the service's root certificate.
fn trusting(service: &LocalService) -> native_tls::TlsConnectorBuilder {
    let mut builder = native_tls::TlsConnector::builder();
    builder.add_root_certificate(native_tls::Certificate::from_pem(service.ca_pem().unwrap().as_bytes()).unwrap());
    builder
}

/// Reads a response. Returns `None` if the connection ends first.
fn read_response(stream: &mut impl Read) -> Option<Response> {
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
    let complete = body.len() as u64 == length;
    Some(Response { status, head, body, complete })
}

fn request(method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}").into_bytes();
    bytes.extend(format!("Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    bytes.extend(body);
    bytes
}

fn send_raw(service: &LocalService, bytes: &[u8]) -> Option<Response> {
    let mut socket = connect(service);
    // The service may respond and close before everything is sent.
    let _ = socket.write_all(bytes);
    read_response(&mut socket)
}

fn send(service: &LocalService, method: &str, path: &str, headers: &str, body: &[u8]) -> Response {
    send_raw(service, &request(method, path, headers, body)).unwrap()
}

fn sign_in(service: &LocalService) -> (String, String) {
    let body = json!({"serial": "S12345678", "password": PASSWORD}).to_string();
    let response = send(service, "POST", "/machines/sign_in", "Content-Type: application/json\r\n", body.as_bytes());
    assert_eq!(response.status, 200);
    let text = |name: &str| response.json()[name].as_str().unwrap().to_owned();
    (text("ws_token"), format!("Authorization: Bearer {}\r\n", text("auth_token")))
}

fn try_open(service: &LocalService, token: &str) -> Result<WebSocket<TcpStream>, u16> {
    let mut request = format!("ws://localhost/{token}").into_client_request().unwrap();
    request.headers_mut().insert("Sec-WebSocket-Protocol", "glowforge".parse().unwrap());
    match tungstenite::client(request, connect(service)) {
        Ok((socket, response)) => {
            assert_eq!(response.headers()["Sec-WebSocket-Protocol"], "glowforge");
            Ok(socket)
        }
        Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(response))) => {
            Err(response.status().as_u16())
        }
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

/// Runs `work` on a thread and panics on timeout.
fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, wait) = mpsc::channel();
    thread::spawn(move || done.send(work()));
    wait.recv_timeout(limit).expect("timed out")
}

fn sign_in_as(service: &LocalService, serial: &str) -> String {
    let body = json!({"serial": serial, "password": ""}).to_string();
    let response = send(service, "POST", "/machines/sign_in", "", body.as_bytes());
    response.json()["ws_token"].as_str().unwrap().to_owned()
}

fn open_as(service: &LocalService, serial: &str) -> WebSocket<TcpStream> {
    try_open(service, &sign_in_as(service, serial)).unwrap()
}
