//! A bare client of a service: one blocking thread, nothing stored and nothing checked.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use gf_emulator_core::local_service::LocalService;
use native_tls::{Certificate, TlsConnector};
use serde_json::{Value, json};
use tungstenite::WebSocket;
use tungstenite::client::IntoClientRequest;

pub(crate) trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

pub(crate) type Connection = Box<dyn Stream>;

/// Connects to a service.
#[derive(Clone)]
pub(crate) struct Connector {
    address: String,
    tls: Option<TlsConnector>,
}

/// A client that has signed in.
pub(crate) struct Session {
    pub(crate) http: BufReader<Connection>,
    /// The header with its token.
    pub(crate) bearer: String,
    pub(crate) ws_token: String,
}

impl Connector {
    pub(crate) fn new(service: &LocalService) -> Self {
        let tls = service.ca_pem().map(|pem| {
            let root = Certificate::from_pem(pem.as_bytes()).expect("a valid certificate");
            TlsConnector::builder().add_root_certificate(root).build().expect("a connector")
        });
        Self { address: service.addr().to_string(), tls }
    }

    fn connect(&self) -> Connection {
        let tcp = TcpStream::connect(&self.address).expect("the service reads");
        tcp.set_nodelay(true).expect("TCP_NODELAY is set");
        match &self.tls {
            Some(tls) => Box::new(tls.connect("localhost", tcp).expect("the handshake succeeds")),
            None => Box::new(tcp),
        }
    }

    pub(crate) fn sign_in(&self, serial: u32) -> Session {
        let mut http = BufReader::with_capacity(32 << 10, self.connect());
        let credentials = json!({"serial": format!("S{serial}"), "password": ""}).to_string();
        let sign_in = "Content-Type: application/json\r\n";
        let response = request(&mut http, "POST", "/machines/sign_in", sign_in, credentials.as_bytes());
        let tokens: Value = serde_json::from_slice(&response).expect("tokens");
        let text = |key: &str| tokens[key].as_str().expect("a token").to_owned();
        let bearer = format!("Authorization: Bearer {}\r\n", text("auth_token"));
        Session { http, bearer, ws_token: text("ws_token") }
    }

    pub(crate) fn open_websocket(&self, token: &str) -> WebSocket<Connection> {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        let mut handshake = format!("{scheme}://{}/{token}", self.address).into_client_request().expect("an address");
        handshake.headers_mut().insert("Sec-WebSocket-Protocol", "glowforge".parse().expect("a header"));
        tungstenite::client(handshake, self.connect()).expect("the handshake succeeds").0
    }
}

/// Sends a request over a kept-alive connection, and returns the body of the response.
pub(crate) fn request<S: Read + Write>(
    http: &mut BufReader<S>,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> Vec<u8> {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bare\r\n{headers}{length}\r\n");
    http.get_mut().write_all(head.as_bytes()).expect("the service reads");
    http.get_mut().write_all(body).expect("the service reads");
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        http.read_line(&mut line).expect("the service responds");
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().expect("a length");
            }
            _ if line == "\r\n" => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    http.read_exact(&mut body).expect("the whole body");
    body
}
