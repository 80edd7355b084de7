//! `serve` under load and with hostile peers: its memory and threads are bounded, and other machines still connect.
//!
//! Memory and threads are read from `/proc`, so these tests are for Linux.

mod files;
mod floods;
mod replay;
mod sign_in;

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::thread;

use crate::program::{Ended, LIMIT, Program, command};

/// A running `serve` on a free port.
struct Serve {
    program: Program,
    address: String,
}

/// An HTTP response.
#[derive(Debug)]
struct Response {
    status: u16,
    body: String,
}

impl Serve {
    fn start(folder: &Path, more: &[&str]) -> Self {
        let mut command = command(folder);
        command.args(["serve", "--listen", "127.0.0.1:0", "--plain"]).args(more);
        let program = Program::start(command);
        let line = program.wait_line("listening on ");
        let address = line.split_once("listening on ").unwrap().1.split(';').next().unwrap().to_owned();
        program.wait_line("status_service_url: ");
        Self { program, address }
    }

    /// Starts it with a script that does not end: one machine is connected and sends nothing.
    fn under_flood(folder: &Path, script: &str, more: &[&str]) -> Self {
        fs::write(folder.join("script.json"), script).unwrap();
        let service = Self::start(folder, &[&["--script", "script.json"], more].concat());
        let mut machine = service.open("S0");
        machine.get_ref().set_read_timeout(None).unwrap();
        thread::spawn(move || while machine.read().is_ok() {});
        service
    }

    fn connect(&self) -> TcpStream {
        let socket = TcpStream::connect(&self.address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket.set_write_timeout(Some(LIMIT)).unwrap();
        socket
    }

    /// Sends a request on a new connection.
    fn ask(&self, head: &str, body: &str) -> Response {
        let mut socket = self.connect();
        let request = format!("{head}\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n{body}", body.len());
        socket.write_all(request.as_bytes()).unwrap();
        read_response(&mut socket).unwrap()
    }

    fn sign_in(&self, serial: &str) -> Response {
        let body = format!("{{\"serial\": \"{serial}\", \"password\": \"x\"}}");
        self.ask("POST /machines/sign_in HTTP/1.1\r\nContent-Type: application/json", &body)
    }

    /// Signs in and opens a WebSocket.
    fn open(&self, serial: &str) -> tungstenite::WebSocket<TcpStream> {
        let tokens: serde_json::Value = serde_json::from_str(&self.sign_in(serial).body).unwrap();
        let url = format!("ws://localhost/{}", tokens["ws_token"].as_str().unwrap());
        tungstenite::client(url, self.connect()).unwrap().0
    }

    /// Returns a number from `/proc/PID/status`, such as kB of memory or threads.
    fn status(&self, name: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.program.pid())).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Returns the peak memory, in MB.
    fn peak_mb(&self) -> u64 {
        self.status("VmHWM") / 1000
    }

    fn stop(self) -> Ended {
        self.program.terminate();
        self.program.end()
    }
}

/// Reads a response. The service lingers when it closes, so that a response is not lost to a reset.
fn read_response(socket: &mut TcpStream) -> io::Result<Response> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    socket.read_exact(&mut body)?;
    Ok(Response { status: head.split(' ').nth(1).unwrap().parse().unwrap(), body: String::from_utf8(body).unwrap() })
}

/// Returns the size of all files in a folder.
fn size_of(folder: &Path) -> u64 {
    let paths: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.iter().map(|path| if path.is_dir() { size_of(path) } else { fs::metadata(path).unwrap().len() }).sum()
}
