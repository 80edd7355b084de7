//! A whole 2.6 cycle at time scale 0: the emulator, a bare client, and gfutilities 0.9.1 if it is installed for the
//! Python in `GF_PEER_PYTHON`.
//!
//! Times are from the opening of the WebSocket to the last `print:completed`, as seen by the service. All clients take
//! turns against the same service in the same process.

mod support;

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use gf_emulator_core::local_service::{LocalService, Seen};
use gf_emulator_core::record::Recorder;
use gf_emulator_core::{Emulator, Tls};
use serde_json::Value;
use support::bare::{Connector, Session, request};
use support::{LIMIT, Report, Samples, ms};
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
    let mut rig = Rig::new(tls);
    let pictures = Arc::new(Pictures::default());
    let connector = Connector::new(&rig.service);
    let shared = Tls::new(rig.ca().as_deref()).expect("a valid certificate");
    let settings_report = rig.emulator(&shared, None).1.settings_report;
    let [mut bare, mut emulator, mut recorded, mut newly_recorded] = [(); 4].map(|()| Samples::default());
    let shared_recorder = rig.recorder("shared");
    let mut actions: Vec<(String, Samples, Samples)> = Vec::new();
    for _ in 0..CYCLES {
        let client = BareClient {
            connector: connector.clone(),
            pictures: Arc::clone(&pictures),
            settings_report: settings_report.clone(),
        };
        let serial = rig.next_serial();
        let (took, bare_log) = rig.time(|| {
            let thread = thread::spawn(move || client.run(serial));
            move || thread.join().expect("the bare client does not panic")
        });
        bare.add(took);
        let (took, emulator_log) = rig.emulator(&shared, None);
        emulator.add(took);
        recorded.add(rig.emulator(&shared, Some(&shared_recorder)).0);
        let new = rig.recorder(&format!("{serial}"));
        newly_recorded.add(rig.emulator(&shared, Some(&new)).0);
        assert_eq!(emulator_log.lines, bare_log.lines, "the bare client does what the emulator does");
        for (n, ((kind, bare), (_, emulator))) in bare_log.actions.into_iter().zip(emulator_log.actions).enumerate() {
            if actions.len() == n {
                actions.push((kind, Samples::default(), Samples::default()));
            }
            actions[n].1.add(bare);
            actions[n].2.add(emulator);
        }
    }
    let ratio = emulator.median().as_secs_f64() / bare.median().as_secs_f64();
    let figure = |samples: &Samples| {
        format!("{:.2} ms (p90 {:.2}, n {})", ms(samples.median()), ms(samples.percentile(0.9)), samples.count())
    };
    for (kind, bare, emulator) in &actions {
        let times = format!("{:.2} ms, emulator {:.2} ms", ms(bare.median()), ms(emulator.median()));
        report.info(&format!("  {kind}: bare"), &times);
    }
    report.info("bare client", &figure(&bare));
    report.info("emulator", &figure(&emulator));
    let write = atomic_write(rig.folder.path());
    report.info(
        "one file of 20 kB written, synced and renamed",
        &format!("{:.2} ms, three times per cycle", ms(write.median())),
    );
    report.check("emulator / bare client", &format!("{ratio:.2}"), "at most 1.5", ratio <= 1.5);
    report.info("emulator with recording", &figure(&recorded));
    let cost = recorded.median().as_secs_f64() / emulator.median().as_secs_f64() - 1.0;
    report.check("recording, share of a cycle", &format!("{:.1} %", cost * 100.0), "under 5 %", cost < 0.05);
    let cost = newly_recorded.median().as_secs_f64() / emulator.median().as_secs_f64() - 1.0;
    report.info("the same if every picture is new", &format!("{:.1} %", cost * 100.0));
    let Some(python) = std::env::var_os("GF_PEER_PYTHON") else {
        println!("gfutilities 0.9.1: skipped, GF_PEER_PYTHON is not set");
        return;
    };
    let gfutilities: Samples = (0..PEER_CYCLES).map(|_| rig.gfutilities(Path::new(&python))).collect();
    report.info("gfutilities 0.9.1", &figure(&gfutilities));
    let ratio = gfutilities.median().as_secs_f64() / emulator.median().as_secs_f64();
    report.check("gfutilities / emulator", &format!("{ratio:.0}"), "at least 60", ratio >= 60.0);
}

/// Measures an atomic write of a job. The emulator makes three per cycle, the bare client none.
fn atomic_write(folder: &Path) -> Samples {
    let write = |n: usize| {
        let (temp, path) = (folder.join("temp"), folder.join(format!("job-{n}")));
        let before = Instant::now();
        let mut file = std::fs::File::create(&temp).expect("a file");
        file.write_all(&support::picture(20_000)).and_then(|()| file.sync_all()).expect("the file is written");
        std::fs::rename(&temp, &path).expect("the file is renamed");
        before.elapsed()
    };
    (0..CYCLES).map(write).collect()
}

/// What the service saw in a cycle.
#[derive(Default)]
struct CycleLog {
    /// Events and requests, sorted because they arrive over two connections in any order.
    lines: Vec<String>,
    /// The message with the machine's settings report.
    settings_report: String,
    /// The duration of each action in order, from the sent action to its terminal event.
    actions: Vec<(String, Duration)>,
}

/// A service that runs a cycle with one client after the other.
struct Rig {
    service: LocalService,
    seen: Arc<Mutex<Vec<(Instant, Seen)>>>,
    /// One message at the end of a cycle, and one when its client disconnects.
    milestones: Receiver<()>,
    folder: tempfile::TempDir,
    serial: u32,
}

impl Rig {
    fn new(tls: bool) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (milestone_tx, milestones) = unbounded();
        let log = Arc::clone(&seen);
        // Does not wake up the benchmark for each message: that would take processor time from the cycle.
        let observer = move |seen: &Seen| {
            log.lock().expect("the mutex is not poisoned").push((Instant::now(), seen.clone()));
            if seen.is_event("print:completed", None) || matches!(seen, Seen::WsClosed { .. }) {
                let _ = milestone_tx.send(());
            }
        };
        let service = support::service(tls, observer).script(support::cycle()).start().expect("the service starts");
        let folder = support::folder();
        if let Some(pem) = service.ca_pem() {
            std::fs::write(folder.path().join("ca.pem"), pem).expect("the certificate is written");
        }
        Self { service, seen, milestones, folder, serial: 10_000_000 }
    }

    fn ca(&self) -> Option<std::path::PathBuf> {
        self.service.ca_pem().map(|_| self.folder.path().join("ca.pem"))
    }

    /// Returns an unused serial number: the service runs its script once for each.
    fn next_serial(&mut self) -> u32 {
        self.serial += 1;
        self.serial
    }

    /// Starts a client, times its cycle, stops it, and waits until it has disconnected.
    fn time<S: FnOnce()>(&self, start: impl FnOnce() -> S) -> (Duration, CycleLog) {
        let stop = start();
        self.milestones.recv_timeout(LIMIT).expect("the cycle ends");
        stop();
        self.milestones.recv_timeout(LIMIT).expect("the client leaves");
        let seen = std::mem::take(&mut *self.seen.lock().expect("the mutex is not poisoned"));
        cycle_log(&seen)
    }

    fn recorder(&self, name: &str) -> Recorder {
        let folder = self.folder.path().join("recordings").join(name);
        Recorder::of_machine(folder, &support::config(self.folder.path(), &self.service, 1)).expect("a new recording")
    }

    fn emulator(&mut self, tls: &Tls, recorder: Option<&Recorder>) -> (Duration, CycleLog) {
        let serial = self.next_serial();
        let mut config = support::config(self.folder.path(), &self.service, serial);
        // Exists already and is empty, without the jobs of the other runs.
        let motion = self.folder.path().join(format!("motion-{serial}"));
        std::fs::create_dir(&motion).expect("a folder for jobs");
        #[cfg(unix)]
        std::fs::File::open(&motion).and_then(|folder| folder.sync_all()).expect("the folder is synced");
        config.motion.dir = motion;
        let mut emulator = Emulator::new(config).expect("a valid configuration").with_tls(tls.clone());
        if let Some(recorder) = recorder {
            emulator.record(recorder);
        }
        self.time(|| {
            let handle = emulator.handle();
            let thread = thread::spawn(move || emulator.connect().and_then(|()| emulator.run()));
            move || {
                handle.stop();
                thread.join().expect("the emulator does not panic").expect("the emulator stops without an error");
            }
        })
    }

    fn gfutilities(&mut self, python: &Path) -> Duration {
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
                // It does not exit by itself.
                let _ = child.kill();
                let _ = child.wait();
            }
        })
        .0
    }
}

/// Returns the time from the opening of the WebSocket to the last event, and what was seen in between.
fn cycle_log(seen: &[(Instant, Seen)]) -> (Duration, CycleLog) {
    let mut opened = None;
    let mut sent = None;
    let mut log = CycleLog::default();
    for (at, seen) in seen {
        match seen {
            Seen::WsOpened { .. } => opened = Some(*at),
            Seen::Http(request) if opened.is_some() => {
                log.lines.push(format!("{} {} {}", request.method, request.path, request.body_len));
            }
            Seen::WsMessage { message, text } => {
                log.lines.push(format!("{} {}", message["event"], message["action_id"]));
                if message["event"] == "settings:completed" {
                    log.settings_report.clone_from(text);
                }
            }
            Seen::WsSent(_) => sent = Some(*at),
            _ => {}
        }
        if let Some((kind, "completed")) = seen.event().as_deref().and_then(|event| event.split_once(':'))
            && let Some(sent) = sent.take()
        {
            log.actions.push((kind.to_owned(), *at - sent));
        }
        if seen.is_event("print:completed", None) {
            log.lines.sort();
            return (*at - opened.expect("the WebSocket has opened"), log);
        }
    }
    unreachable!("the cycle has ended")
}

/// All pictures in memory, by the end of their upload path.
struct Pictures(Vec<(&'static str, Vec<u8>)>);

impl Default for Pictures {
    fn default() -> Self {
        let of = |path, name| {
            let (_, size) = support::PICTURES.into_iter().find(|(have, _)| *have == name).expect("a known picture");
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
        let path = endpoint.split('?').next().unwrap_or(endpoint);
        let found = self.0.iter().find(|(end, _)| path.ends_with(end));
        &found.expect("an endpoint of the cycle").1
    }
}

/// The smallest client for a cycle: one blocking thread, prepared messages, nothing stored and nothing checked.
struct BareClient {
    connector: Connector,
    pictures: Arc<Pictures>,
    settings_report: String,
}

impl BareClient {
    fn run(&self, serial: u32) {
        let Session { mut http, bearer, ws_token } = self.connector.sign_in(serial);
        request(&mut http, "GET", "/update/current", &bearer, b"");
        let mut socket = self.connector.open_websocket(&ws_token);
        let mut events = EventSender { next_id: 32 };
        loop {
            // The service closes the WebSocket at the end of the benchmark.
            let Ok(Message::Text(text)) = socket.read() else { return };
            let action: Value = serde_json::from_str(&text).expect("an action");
            let field = |key: &str| action[key].as_str().unwrap_or_default();
            let (kind, id) = (field("action_type"), action["id"].as_i64().expect("an id"));
            match kind {
                "settings" => socket.send(Message::text(self.settings_report.as_str())).expect("the message is sent"),
                "lid_image" | "head_image" => {
                    for what in ["starting", "capture:starting", "capture:completed", "upload:starting"] {
                        events.send(&mut socket, kind, id, what);
                    }
                    events.progress(&mut socket, id, &format!("{kind}:upload"));
                    let picture = self.pictures.of(field("endpoint"));
                    let path = path_of(field("endpoint"));
                    request(&mut http, "PUT", path, "Content-Type: image/jpeg\r\n", picture);
                    for what in ["upload:completed", "completed"] {
                        events.send(&mut socket, kind, id, what);
                    }
                }
                _ => {
                    events.send(&mut socket, kind, id, "starting");
                    events.progress(&mut socket, id, &format!("{kind}:download"));
                    request(&mut http, "GET", path_of(field("motion_url")), &bearer, b"");
                    if kind == "print" {
                        for what in ["download:completed", "warmup:starting", "running"] {
                            events.send(&mut socket, kind, id, what);
                        }
                        // Its start and its end.
                        events.progress(&mut socket, id, "print:progress");
                        events.progress(&mut socket, id, "print:progress");
                        events.send(&mut socket, kind, id, "return_to_home:succeeded");
                    }
                    events.send(&mut socket, kind, id, "completed");
                    if kind == "print" {
                        return;
                    }
                }
            }
        }
    }
}

struct EventSender {
    next_id: u32,
}

impl EventSender {
    fn send<S: Read + Write>(&mut self, socket: &mut WebSocket<S>, kind: &str, id: i64, what: &str) {
        self.next_id += 1;
        let next = self.next_id;
        let text = format!(
            "{{\"id\":{next},\"timestamp\":3901,\"type\":\"event\",\"version\":1,\"action_id\":{id},\"level\":\"INFO\",\
             \"event\":\"{kind}:{what}\"}}\n"
        );
        socket.send(Message::text(text)).expect("the message is sent");
    }

    fn progress<S: Read + Write>(&mut self, socket: &mut WebSocket<S>, id: i64, what: &str) {
        self.next_id += 1;
        let next = self.next_id;
        let text = format!(
            "{{\"id\":{next},\"timestamp\":3901,\"type\":\"progress\",\"version\":1,\"action_id\":{id},\
             \"progress\":\"{what}\",\"current\":0,\"units\":\"bytes\"}}\n"
        );
        socket.send(Message::text(text)).expect("the message is sent");
    }
}

fn path_of(url: &str) -> &str {
    let host = url.find("://").map_or(0, |at| at + 3);
    url[host..].find('/').map_or("/", |at| &url[host + at..])
}
