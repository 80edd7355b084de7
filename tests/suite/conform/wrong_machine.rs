//! Machines that are wrong on purpose, made of sockets: they share no code with the emulator.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use gf_emulator_core::config::Generation;
use gf_emulator_core::conform::{Conformance, Options, Outcome, Report, Scenario, Verdict};
use gf_emulator_core::local_service::LocalService;
use gf_emulator_tests::LIMIT;
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

use super::MACHINES;

/// How a machine is wrong. All sign in and connect, again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wrong {
    /// Reads only the first line of a frame, ignores cancellations, and says `completed` of everything, whatever became
    /// of its transfers.
    Careless,
    /// Sends nothing.
    Silent,
    /// Sends its settings, and ignores everything else.
    SettingsOnly,
    /// Also says of every action at once that it has started and is completed, and does nothing.
    Hasty,
}

struct WrongMachine {
    wrong: Wrong,
    address: SocketAddr,
    next_id: i64,
    has_reported: bool,
}

impl WrongMachine {
    fn new(wrong: Wrong, conformance: &Conformance) -> Self {
        Self { wrong, address: conformance.service().addr(), next_id: 1, has_reported: false }
    }

    /// Connects again and again, until the service is gone.
    fn run(mut self) {
        while let Ok(stream) = TcpStream::connect(self.address) {
            let Some(token) = self.sign_in() else { continue };
            let mut request = format!("ws://{}/{token}", self.address).into_client_request().unwrap();
            request.headers_mut().insert("sec-websocket-protocol", "glowforge".parse().unwrap());
            request.headers_mut().insert("user-agent", "wrong".parse().unwrap());
            let Ok((mut socket, _)) = tungstenite::client(request, stream) else { continue };
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
        let lines = if self.wrong == Wrong::Careless { 1 } else { usize::MAX };
        for line in text.lines().take(lines) {
            if let Ok(action) = serde_json::from_str::<Value>(line) {
                self.action(socket, &action);
            }
        }
    }

    fn action(&mut self, socket: &mut WebSocket<TcpStream>, action: &Value) {
        let (Some(id), Some("ready")) = (action["id"].as_i64(), action["status"].as_str()) else { return };
        match (self.wrong, action["action_type"].as_str()) {
            (Wrong::Silent, _) => {}
            (_, Some("settings")) => {
                let report = if self.has_reported { json!({}) } else { json!({"XSmm": 1}) };
                self.has_reported = true;
                self.event(socket, id, "settings:completed", Some(report));
            }
            (Wrong::SettingsOnly, _) => {}
            (Wrong::Hasty, Some(kind)) => {
                self.event(socket, id, &format!("{kind}:starting"), None);
                self.event(socket, id, &format!("{kind}:completed"), None);
            }
            (_, Some("lid_image")) => {
                self.event(socket, id, "lid_image:starting", None);
                self.follow("PUT", &action["endpoint"]);
                self.event(socket, id, "lid_image:completed", None);
            }
            (_, Some("motion")) => {
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
    let machine = WrongMachine::new(Wrong::Careless, &conformance);
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
    // What is missing is waited for.
    let packed = scenarios.iter().find(|scenario| scenario.name() == "packed-lines").unwrap();
    let outcome = verdict(Wrong::Careless, packed, Duration::from_secs(5)).outcome.to_string();
    assert!(outcome.contains("settings:completed of action 2 did not come"), "{outcome}");
    // Nobody is there to open the lid.
    let lid = scenarios.iter().find(|scenario| scenario.name() == "lid-reported").unwrap();
    let outcome = conformance.run(lid, &mut |_| panic!("somebody is asked")).outcome;
    assert!(matches!(&outcome, Outcome::Skipped { reason } if reason.contains("open and close the lid")), "{outcome}");
    drop(conformance);
    running.join().unwrap();
}

/// Runs one scenario with a machine of its own.
fn verdict(wrong: Wrong, scenario: &Scenario, timeout: Duration) -> Verdict {
    let mut options = Options::default();
    (options.timeout, options.operator_time) = (timeout, Duration::ZERO);
    options.generation = if scenario.is_for(Generation::V2) { Generation::V2 } else { Generation::V1 };
    let mut conformance = Conformance::start(LocalService::builder().tls(false), options).unwrap();
    let machine = WrongMachine::new(wrong, &conformance);
    let running = thread::spawn(move || machine.run());
    assert!(conformance.wait_for_machine(LIMIT));
    let verdict = conformance.run(scenario, &mut |_| ());
    drop(conformance);
    running.join().unwrap();
    verdict
}

/// Runs all scenarios, and asserts that only these pass.
fn assert_passes_only(wrong: Wrong, expected: &[&str]) {
    /// A scenario that is to fail need not wait long for what does not come.
    const SHORT: Duration = Duration::from_millis(50);
    let scenarios = &Scenario::built_in();
    let run_part = |part: usize| -> Vec<Verdict> {
        let mine = scenarios.iter().skip(part).step_by(MACHINES);
        mine.map(|one| verdict(wrong, one, if expected.contains(&one.name()) { LIMIT } else { SHORT })).collect()
    };
    let verdicts: Vec<_> = thread::scope(|scope| {
        let parts: Vec<_> = (0..MACHINES).map(|part| scope.spawn(move || run_part(part))).collect();
        parts.into_iter().flat_map(|part| part.join().unwrap()).collect()
    });
    assert_eq!(verdicts.len(), scenarios.len());
    let unexpected: Vec<_> = verdicts
        .iter()
        .filter(|verdict| match &verdict.outcome {
            Outcome::Passed => !expected.contains(&verdict.name.as_str()),
            Outcome::Failed { reason, .. } => {
                expected.contains(&verdict.name.as_str()) || reason == "the machine is not connected"
            }
            _ => true,
        })
        .map(|verdict| format!("{verdict}"))
        .collect();
    assert_eq!(unexpected, [""; 0], "{wrong:?}");
}

/// What a machine passes that answers settings and ignores everything else.
const PASSED_BY_SETTINGS: [&str; 17] = [
    "settings-first",
    "settings-again",
    "ping-answered",
    "ids-increase",
    "timestamps-do-not-decrease",
    "packed-lines",
    "blank-lines",
    "bad-lines",
    "cancel-of-an-unknown-id",
    "websocket-subprotocol",
    "sign-in-before-each-connection",
    "user-agent",
    "close-answered",
    "reconnects-after-a-cut",
    "sign-in-again-after-503",
    "sign-in-again-after-429",
    "handshake-refused",
];

#[test]
fn a_silent_machine_fails_every_scenario() {
    assert_passes_only(Wrong::Silent, &[]);
}

#[test]
fn a_machine_that_only_sends_its_settings_passes_what_is_about_them_and_the_connection() {
    assert_passes_only(Wrong::SettingsOnly, &PASSED_BY_SETTINGS);
}

#[test]
fn a_machine_that_does_nothing_and_reports_success_passes_nothing_else_than_what_it_says() {
    // Nothing but their events can be seen of these.
    let by_events = ["cancel-after-the-end", "update-check", "cut-while-moving", "hunt-1-x"];
    assert_passes_only(Wrong::Hasty, &[&PASSED_BY_SETTINGS[..], &by_events].concat());
}

#[test]
fn a_stop_ends_the_run() {
    let mut options = Options::default();
    options.timeout = Duration::MAX;
    let mut conformance = Conformance::start(LocalService::builder().tls(false), options).unwrap();
    let stopper = conformance.stopper();
    let stopping = thread::spawn(move || stopper.stop());
    assert!(!conformance.wait_for_machine(Duration::MAX));
    stopping.join().unwrap();
    let verdict = conformance.run(&Scenario::built_in()[0], &mut |_| ());
    assert_eq!(verdict.outcome, Outcome::Stopped);
    let report = Report::new(vec![verdict]);
    assert!(report.is_stopped());
    assert_eq!(report.to_string(), "1 scenario: 0 passed, 0 failed, 0 skipped, 1 not run to the end");
    assert!(
        report.to_junit().contains("skipped=\"1\"") && report.to_junit().contains("<skipped message=\"stopped\"/>")
    );
    assert!(report.to_json().contains("\"stopped\": 1") && report.to_json().contains("\"outcome\": \"stopped\""));
}
