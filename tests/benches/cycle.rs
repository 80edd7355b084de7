//! A whole 2.6 cycle at time scale 0: the emulator, a bare client, and gfutilities 0.9.1 where `GF_PEER_PYTHON` names a
//! Python that has it.
//!
//! From the WebSocket's opening to the last `print:completed`, as the service sees them, against the same service in
//! the same run, one after the other.

mod support;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use gf_emulator_core::local_service::{LocalService, Seen};
use gf_emulator_core::record::Recorder;
use gf_emulator_core::{Emulator, Tls};
use native_tls::{Certificate, TlsConnector};
use serde_json::{Value, json};
use support::{Figures, LIMIT, Report, ms};
use tungstenite::client::IntoClientRequest;
use tungstenite::{Message, WebSocket};

const CYCLES: usize = 60;
const PEER_CYCLES: usize = 5;

fn main() -> ExitCode {
    if !support::is_bench_run() {
        return ExitCode::SUCCESS;
    }
    let mut report = Report::default();
    for tls in [false, true] {
        println!("{}, {CYCLES} cycles each, medians", if tls { "over TLS" } else { "plain" });
        measure(tls, &mut report);
    }
    report.finish()
}

fn measure(tls: bool, report: &mut Report) {
    let mut arena = Arena::new(tls);
    let pictures = Arc::new(Pictures::default());
    let connector = tls.then(|| bare_connector(&arena.service));
    let shared = Tls::new(arena.ca().as_deref()).expect("the certificate is good");
    let report_of_settings = arena.emulator(&shared, None).1.report;
    let [mut bare, mut emulator, mut recorded, mut newly_recorded] = [(); 4].map(|()| Figures::default());
    let long = arena.recorder("long");
    let mut parts: Vec<(String, Figures, Figures)> = Vec::new();
    for _ in 0..CYCLES {
        let address = arena.service.addr().to_string();
        let client = Bare {
            address,
            tls: connector.clone(),
            pictures: Arc::clone(&pictures),
            report: report_of_settings.clone(),
        };
        let serial = arena.next_serial();
        let (took, theirs) = arena.time(|| {
            let thread = thread::spawn(move || client.run(serial));
            move || thread.join().expect("the bare client does not panic")
        });
        bare.add(took);
        let (took, ours) = arena.emulator(&shared, None);
        emulator.add(took);
        recorded.add(arena.emulator(&shared, Some(&long)).0);
        let new = arena.recorder(&format!("{serial}"));
        newly_recorded.add(arena.emulator(&shared, Some(&new)).0);
        assert_eq!(ours.lines, theirs.lines, "the bare client is to do what the emulator does");
        for (n, ((kind, bare), (_, emulator))) in theirs.parts.into_iter().zip(ours.parts).enumerate() {
            if parts.len() == n {
                parts.push((kind, Figures::default(), Figures::default()));
            }
            parts[n].1.add(bare);
            parts[n].2.add(emulator);
        }
    }
    let ratio = emulator.median().as_secs_f64() / bare.median().as_secs_f64();
    let figure = |figures: &Figures| {
        format!("{:.2} ms (p90 {:.2}, n {})", ms(figures.median()), ms(figures.percentile(0.9)), figures.count())
    };
    for (kind, bare, emulator) in &parts {
        let times = format!("{:.2} ms, emulator {:.2} ms", ms(bare.median()), ms(emulator.median()));
        report.tell(&format!("  {kind}: bare"), &times);
    }
    report.tell("bare client", &figure(&bare));
    report.tell("emulator", &figure(&emulator));
    let disk = disk(arena.folder.path());
    report.tell(
        "the disk: 20 kB written, synced and renamed",
        &format!("{:.2} ms, three times a cycle", ms(disk.median())),
    );
    report.judge("emulator / bare client", &format!("{ratio:.2}"), "at most 2", ratio <= 2.0);
    report.tell("emulator, recorded", &figure(&recorded));
    let cost = recorded.median().as_secs_f64() / emulator.median().as_secs_f64() - 1.0;
    report.judge("what recording costs of a cycle", &format!("{:.1} %", cost * 100.0), "under 5 %", cost < 0.05);
    let cost = newly_recorded.median().as_secs_f64() / emulator.median().as_secs_f64() - 1.0;
    report.tell("the same where every picture is a new one", &format!("{:.1} %", cost * 100.0));
    let Some(python) = std::env::var_os("GF_PEER_PYTHON") else {
        println!("gfutilities 0.9.1: skipped, GF_PEER_PYTHON is not set");
        return;
    };
    let peer: Figures = (0..PEER_CYCLES).map(|_| arena.peer(Path::new(&python))).collect();
    report.tell("gfutilities 0.9.1", &figure(&peer));
    let ratio = peer.median().as_secs_f64() / emulator.median().as_secs_f64();
    report.judge("gfutilities / emulator", &format!("{ratio:.0}"), "at least 60", ratio >= 60.0);
}

/// What the disk asks for a file that is whole or not there: the emulator keeps three in a cycle, the bare client none.
fn disk(folder: &Path) -> Figures {
    let keep = |n: usize| {
        let (aside, place) = (folder.join("aside"), folder.join(format!("kept-{n}")));
        let before = Instant::now();
        let mut file = std::fs::File::create(&aside).expect("a file");
        file.write_all(&support::picture(20_000)).and_then(|()| file.sync_all()).expect("it is written");
        std::fs::rename(&aside, &place).expect("it is renamed");
        before.elapsed()
    };
    (0..CYCLES).map(keep).collect()
}

/// What the service saw of a cycle.
#[derive(Default)]
struct Tale {
    /// Events and requests, sorted: they come over two connections.
    lines: Vec<String>,
    /// The settings that the machine reported.
    report: String,
    /// What each action took from being sent to its end, in their order.
    parts: Vec<(String, Duration)>,
}

/// A service that machines go through a cycle with, one after the other.
struct Arena {
    service: LocalService,
    seen: Arc<Mutex<Vec<(Instant, Seen)>>>,
    /// That a cycle is over, and then that its client has gone.
    told: Receiver<()>,
    folder: tempfile::TempDir,
    serial: u32,
}

impl Arena {
    fn new(tls: bool) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (tell, told) = unbounded();
        let record = Arc::clone(&seen);
        // The bench sleeps while a cycle goes on: woken for each message it would take a processor from those it times.
        let observer = move |seen: &Seen| {
            record.lock().expect("nobody panics with it").push((Instant::now(), seen.clone()));
            if seen.is_event("print:completed", None) || matches!(seen, Seen::WsClosed { .. }) {
                let _ = tell.send(());
            }
        };
        let service = support::service(tls, observer).script(support::cycle()).start().expect("the service starts");
        let folder = support::folder();
        if let Some(pem) = service.ca_pem() {
            std::fs::write(folder.path().join("ca.pem"), pem).expect("the certificate is written");
        }
        Self { service, seen, told, folder, serial: 10_000_000 }
    }

    fn ca(&self) -> Option<std::path::PathBuf> {
        self.service.ca_pem().map(|_| self.folder.path().join("ca.pem"))
    }

    /// The service walks its script once with each machine.
    fn next_serial(&mut self) -> u32 {
        self.serial += 1;
        self.serial
    }

    /// Starts a client, times its cycle, stops it, and waits until it is gone.
    fn time<S: FnOnce()>(&self, start: impl FnOnce() -> S) -> (Duration, Tale) {
        let stop = start();
        self.told.recv_timeout(LIMIT).expect("the cycle ends");
        stop();
        self.told.recv_timeout(LIMIT).expect("the client leaves");
        let seen = std::mem::take(&mut *self.seen.lock().expect("nobody panics with it"));
        tell(&seen)
    }

    fn recorder(&self, name: &str) -> Recorder {
        let folder = self.folder.path().join("recordings").join(name);
        Recorder::of_machine(folder, &support::config(self.folder.path(), &self.service, 1)).expect("a new recording")
    }

    fn emulator(&mut self, tls: &Tls, recorder: Option<&Recorder>) -> (Duration, Tale) {
        let serial = self.next_serial();
        let mut config = support::config(self.folder.path(), &self.service, serial);
        // As a machine finds it: there, and without the jobs of sixty others from the same second.
        let motion = self.folder.path().join(format!("motion-{serial}"));
        std::fs::create_dir(&motion).expect("a folder for jobs");
        #[cfg(unix)]
        std::fs::File::open(&motion).and_then(|folder| folder.sync_all()).expect("it is on the disk");
        config.motion.dir = motion;
        let mut emulator = Emulator::new(config).expect("the configuration is good").with_tls(tls.clone());
        if let Some(recorder) = recorder {
            emulator.record(recorder);
        }
        self.time(|| {
            let handle = emulator.handle();
            let thread = thread::spawn(move || emulator.connect().and_then(|()| emulator.run()));
            move || {
                handle.stop();
                thread.join().expect("the emulator does not panic").expect("the emulator ends well");
            }
        })
    }

    fn peer(&mut self, python: &Path) -> Duration {
        let runner = concat!(env!("CARGO_MANIFEST_DIR"), "/../.ci/peers/gfutilities_2_6.py");
        let mut command = Command::new(python);
        command.arg(runner).arg(self.service.http_url()).arg(self.service.ws_url());
        command.args(["--serial", &self.next_serial().to_string(), "--dir"]).arg(self.folder.path());
        if let Some(ca) = self.ca() {
            command.arg("--ca").arg(ca);
        }
        let folder = self.folder.path().join("images");
        command.arg("--images").arg(folder);
        self.time(|| {
            let mut child = command.stderr(Stdio::null()).spawn().expect("the Python client starts");
            move || {
                // It never ends by itself.
                let _ = child.kill();
                let _ = child.wait();
            }
        })
        .0
    }
}

/// From the WebSocket's opening to the last event, and what was between.
fn tell(seen: &[(Instant, Seen)]) -> (Duration, Tale) {
    let mut opened = None;
    let mut sent = None;
    let mut tale = Tale::default();
    for (at, seen) in seen {
        match seen {
            Seen::WsOpened { .. } => opened = Some(*at),
            Seen::Http(request) if opened.is_some() => {
                tale.lines.push(format!("{} {} {}", request.method, request.path, request.body_len));
            }
            Seen::WsMessage { message, text } => {
                tale.lines.push(format!("{} {}", message["event"], message["action_id"]));
                if message["event"] == "settings:completed" {
                    tale.report.clone_from(text);
                }
            }
            Seen::WsSent(_) => sent = Some(*at),
            _ => {}
        }
        if let Some((kind, "completed")) = seen.event().as_deref().and_then(|event| event.split_once(':'))
            && let Some(sent) = sent.take()
        {
            tale.parts.push((kind.to_owned(), *at - sent));
        }
        if seen.is_event("print:completed", None) {
            tale.lines.sort();
            return (*at - opened.expect("it opened first"), tale);
        }
    }
    unreachable!("it was told that the cycle is over")
}

/// All pictures in memory, by the end of the path that they go to.
struct Pictures(Vec<(&'static str, Vec<u8>)>);

impl Default for Pictures {
    fn default() -> Self {
        let of = |path, name| {
            let (_, size) = support::PICTURES.into_iter().find(|(have, _)| *have == name).expect("it is one of them");
            (path, support::picture(size))
        };
        Self(vec![
            of("/lid1", "HOME_1"),
            of("/lid2", "HOME_2"),
            of("/head1", "HEAD_LASER_.230"),
            of("/head2", "HEAD_NO_LASER_.230"),
        ])
    }
}

impl Pictures {
    fn of(&self, endpoint: &str) -> &[u8] {
        let found = self.0.iter().find(|(path, _)| endpoint.ends_with(path));
        &found.expect("the cycle asks for no other").1
    }
}

fn bare_connector(service: &LocalService) -> TlsConnector {
    let pem = service.ca_pem().expect("the service is over TLS");
    let root = Certificate::from_pem(pem.as_bytes()).expect("it is a certificate");
    TlsConnector::builder().add_root_certificate(root).build().expect("a connector")
}

trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// The least that can take part in a cycle: one thread that blocks, ready answers, nothing kept, nothing checked.
struct Bare {
    address: String,
    tls: Option<TlsConnector>,
    pictures: Arc<Pictures>,
    report: String,
}

impl Bare {
    fn dial(&self) -> Box<dyn Stream> {
        let tcp = TcpStream::connect(&self.address).expect("the service listens");
        tcp.set_nodelay(true).expect("a socket can do that");
        match &self.tls {
            Some(tls) => Box::new(tls.connect("localhost", tcp).expect("the handshake succeeds")),
            None => Box::new(tcp),
        }
    }

    fn run(&self, serial: u32) {
        let mut http = BufReader::with_capacity(32 << 10, self.dial());
        let credentials = json!({"serial": format!("S{serial}"), "password": ""}).to_string();
        let sign_in = "Content-Type: application/json\r\n";
        let answer = request(&mut http, "POST", "/machines/sign_in", sign_in, credentials.as_bytes());
        let tokens: Value = serde_json::from_slice(&answer).expect("tokens");
        let text = |key: &str| tokens[key].as_str().expect("a token").to_owned();
        let bearer = format!("Authorization: Bearer {}\r\n", text("auth_token"));
        request(&mut http, "GET", "/update/current", &bearer, b"");

        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        let url = format!("{scheme}://{}/{}", self.address, text("ws_token"));
        let mut handshake = url.into_client_request().expect("an address");
        handshake.headers_mut().insert("Sec-WebSocket-Protocol", "glowforge".parse().expect("a header"));
        let (mut socket, _) = tungstenite::client(handshake, self.dial()).expect("the handshake succeeds");
        let mut say = Voice { next: 32 };
        loop {
            // The service closes where the bench is over.
            let Ok(Message::Text(text)) = socket.read() else { return };
            let action: Value = serde_json::from_str(&text).expect("an action");
            let field = |key: &str| action[key].as_str().unwrap_or_default();
            let (kind, id) = (field("action_type"), action["id"].as_i64().expect("an id"));
            match kind {
                "settings" => socket.send(Message::text(self.report.as_str())).expect("it is sent"),
                "lid_image" | "head_image" => {
                    for what in ["starting", "capture:starting", "capture:completed", "upload:starting"] {
                        say.event(&mut socket, kind, id, what);
                    }
                    let picture = self.pictures.of(field("endpoint"));
                    let path = path_of(field("endpoint"));
                    request(&mut http, "PUT", path, "Content-Type: image/jpeg\r\n", picture);
                    for what in ["upload:completed", "completed"] {
                        say.event(&mut socket, kind, id, what);
                    }
                }
                _ => {
                    say.event(&mut socket, kind, id, "starting");
                    request(&mut http, "GET", path_of(field("motion_url")), &bearer, b"");
                    if kind == "print" {
                        for what in ["download:completed", "warmup:starting", "running", "return_to_home:succeeded"] {
                            say.event(&mut socket, kind, id, what);
                        }
                    }
                    say.event(&mut socket, kind, id, "completed");
                    if kind == "print" {
                        return;
                    }
                }
            }
        }
    }
}

struct Voice {
    next: u32,
}

impl Voice {
    fn event<S: Read + Write>(&mut self, socket: &mut WebSocket<S>, kind: &str, id: i64, what: &str) {
        self.next += 1;
        let next = self.next;
        let text = format!(
            "{{\"id\":{next},\"timestamp\":3901,\"type\":\"event\",\"version\":1,\"action_id\":{id},\"level\":\"INFO\",\
             \"event\":\"{kind}:{what}\"}}\n"
        );
        socket.send(Message::text(text)).expect("it is sent");
    }
}

fn path_of(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or("/", |at| &url[host + at..])
}

/// One exchange over a connection that stays; the body of the answer.
fn request<S: Read + Write>(http: &mut BufReader<S>, method: &str, path: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: bare\r\n{headers}{length}\r\n");
    http.get_mut().write_all(head.as_bytes()).expect("the service listens");
    http.get_mut().write_all(body).expect("the service listens");
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        http.read_line(&mut line).expect("the service answers");
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().expect("a length");
            }
            _ if line == "\r\n" => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    http.read_exact(&mut body).expect("the whole answer");
    body
}
