//! A machine that is wrong on purpose, made of sockets: it shares no code with the emulator.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use gf_emulator_core::conform::{Conformance, Options, Outcome, Scenario};
use gf_emulator_core::local_service::LocalService;
use gf_emulator_tests::LIMIT;
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

/// Reads only the first line of a frame, ignores cancellations, and says `completed` of everything, whatever became of
/// its transfers.
struct WrongMachine {
    address: SocketAddr,
    next_id: i64,
    has_reported: bool,
}

impl WrongMachine {
    /// Connects again and again, until the service is gone.
    fn run(mut self) {
        while let Some(token) = self.sign_in() {
            let Ok(stream) = TcpStream::connect(self.address) else { return };
            let mut request = format!("ws://{}/{token}", self.address).into_client_request().unwrap();
            request.headers_mut().insert("sec-websocket-protocol", "glowforge".parse().unwrap());
            request.headers_mut().insert("user-agent", "wrong".parse().unwrap());
            let Ok((mut socket, _)) = tungstenite::client(request, stream) else { return };
            loop {
                match socket.read() {
                    Ok(Message::Text(text)) => self.frame(&mut socket, &text),
                    Ok(_) => {}
                    Err(_) => break,
                }
            }
        }
    }

    fn sign_in(&self) -> Option<String> {
        let body = json!({"serial": "S1234", "password": "any"}).to_string();
        let answer = self.request("POST", "/machines/sign_in", &body)?;
        let json: Value = serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()?;
        Some(json["ws_token"].as_str()?.to_owned())
    }

    /// Sends a request, and returns the whole response.
    fn request(&self, method: &str, path: &str, body: &str) -> Option<String> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nUser-Agent: wrong\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}").ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok()?;
        Some(String::from_utf8_lossy(&answer).into_owned())
    }

    fn frame(&mut self, socket: &mut WebSocket<TcpStream>, text: &str) {
        let first = text.lines().next().unwrap_or_default();
        let Ok(action) = serde_json::from_str::<Value>(first) else { return };
        let (Some(id), Some("ready")) = (action["id"].as_i64(), action["status"].as_str()) else { return };
        match action["action_type"].as_str() {
            Some("settings") => {
                let report = if self.has_reported { json!({}) } else { json!({"XSmm": 1}) };
                self.has_reported = true;
                self.event(socket, id, "settings:completed", Some(report));
            }
            Some("lid_image") => {
                self.event(socket, id, "lid_image:starting", None);
                self.follow("PUT", &action["endpoint"]);
                self.event(socket, id, "lid_image:completed", None);
            }
            Some("motion") => {
                self.event(socket, id, "motion:starting", None);
                self.follow("GET", &action["motion_url"]);
                self.event(socket, id, "motion:completed", None);
            }
            _ => {}
        }
    }

    /// Requests a URL and ignores the response.
    fn follow(&self, method: &str, url: &Value) {
        let url = url.as_str().unwrap_or_default();
        let path = url.splitn(4, '/').nth(3).unwrap_or_default();
        let _ = self.request(method, &format!("/{path}"), "picture");
    }

    fn event(&mut self, socket: &mut WebSocket<TcpStream>, action_id: i64, event: &str, settings: Option<Value>) {
        let id = self.next_id;
        self.next_id += 1;
        let mut message = json!({
            "id": id, "timestamp": id, "type": "event", "version": 1, "action_id": action_id, "level": "INFO", "event": event,
        });
        if let Some(settings) = settings {
            message["settings"] = settings;
        }
        // If it fails, so does the next read.
        let _ = socket.send(Message::text(format!("{message}\n")));
    }
}

#[test]
fn a_wrong_machine_fails_by_name() {
    // In the order of the run: some are about the first messages.
    let expected = [
        ("settings-first", None),
        ("settings-again", None),
        ("websocket-subprotocol", None),
        ("user-agent", None),
        ("ping-answered", None),
        ("close-answered", None),
        ("presigned-upload-without-token", None),
        ("ids-increase", None),
        ("packed-lines", Some("settings:completed of action 2 did not come")),
        ("cancel-of-an-unknown-id", None),
        ("lid-image", None),
        ("motion", None),
        (
            "upload-answered-with-500",
            Some("lid_image:completed was sent, but lid_image:completed of action 1 must not be"),
        ),
        ("download-404", Some("motion:completed was sent, but")),
        ("refused-other-serial-lock", Some("motion:completed was sent, but")),
        ("motion-cancelled", Some("action 1 ended with motion:completed, without motion:cancelled")),
    ];
    let mut options = Options::default();
    (options.timeout, options.unattended) = (LIMIT, true);
    let mut conformance = Conformance::start(LocalService::builder().tls(false), options).unwrap();
    let machine = WrongMachine { address: conformance.service().addr(), next_id: 1, has_reported: false };
    let running = thread::spawn(move || machine.run());
    assert!(conformance.wait_for_machine(LIMIT));
    let scenarios: Vec<_> = Scenario::built_in();
    for (name, reason) in expected {
        let scenario = scenarios.iter().find(|scenario| scenario.name() == name).expect(name);
        let verdict = conformance.run(scenario, &mut |_| ());
        match (&verdict.outcome, reason) {
            (Outcome::Passed, None) => {}
            (Outcome::Failed { reason: found, .. }, Some(expected)) if found.starts_with(expected) => {}
            _ => panic!("{verdict:#?}"),
        }
        assert!(!verdict.seen.is_empty(), "{verdict:?}");
    }
    // Nobody is there to open the lid.
    let lid = scenarios.iter().find(|scenario| scenario.name() == "lid-reported").unwrap();
    let outcome = conformance.run(lid, &mut |_| panic!("somebody is asked")).outcome;
    assert!(matches!(&outcome, Outcome::Skipped { reason } if reason.contains("open and close the lid")), "{outcome}");
    drop(conformance);
    running.join().unwrap();
}

#[test]
fn a_stop_ends_the_run() {
    let mut conformance = Conformance::start(LocalService::builder().tls(false), Options::default()).unwrap();
    let stopper = conformance.stopper();
    let stopping = thread::spawn(move || stopper.stop());
    assert!(!conformance.wait_for_machine(Duration::from_hours(1)));
    stopping.join().unwrap();
    let verdict = conformance.run(&Scenario::built_in()[0], &mut |_| ());
    assert_eq!(verdict.outcome.to_string(), "skipped: stopped");
}
