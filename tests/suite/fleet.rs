//! A fleet against the local service: storms, blackouts and restarts, after which every machine is back and every action has
//! had one ending.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::{Duration, Instant};

use gf_emulator_core::config::Template;
use gf_emulator_core::fleet::{Command, Fleet, MachineState, Members, MetricsServer, Notice, Options, Slice, Status};
use gf_emulator_core::local_service::{Behaviour, Builder, Fault, LocalService, Seen};
use gf_emulator_core::record::{Bodies, Entry, Event, Recorder, Recording, SESSION_FILE, export_har};
use gf_emulator_core::replay::Session;
use gf_emulator_core::report::Report;
use gf_emulator_tests::{LIMIT, can_use_tls, folder, square};
use tempfile::TempDir;

const MACHINES: usize = 20;
/// The numbers of the machines in a recording.
const NUMBERS: RangeInclusive<u32> = 1..=20;

/// A service, a fleet, and their folder.
struct Setup {
    service: LocalService,
    fleet: Fleet,
    folder: TempDir,
}

impl Setup {
    fn start(change: impl FnOnce(Builder) -> Builder) -> Self {
        let folder = folder();
        let path = folder.path().display();
        let service =
            change(LocalService::builder().behaviour(Behaviour::new().print_file(Path::new("square.puls"), square())));
        let service = service.start().expect("the service starts");
        let ca_file = folder.path().join("ca.pem");
        if let Some(pem) = service.ca_pem() {
            std::fs::write(&ca_file, pem).unwrap();
        }
        let template = format!(
            "[GENERAL]\nmotion_dir: {path}/jobs\nimage_dir: {path}/images\nfirmware_dir: {path}/firmware\n{}\n\
             [MACHINE]\nserial: 10000001\nhostname: M-%(serial)s\npassword: {}%(serial)s\n",
            service.config_section(Some(&ca_file)),
            "01234567".repeat(7),
        );
        let template = Template::new("template", &template);
        let members = Members::counted(&template, MACHINES, Slice::WHOLE).unwrap();
        assert!(members.warnings().is_empty());
        let mut options = Options::default();
        options.rate = 1000.0;
        options.recorder = Some(Recorder::of_machines(folder.path().join("recording"), members.configs()).unwrap());
        let fleet = Fleet::start(members, options).unwrap();
        Self { service, fleet, folder }
    }

    /// Waits for a notice.
    fn wait(&self, for_what: &str, is_it: impl Fn(&Notice) -> bool) -> Notice {
        let notices = self.fleet.notices();
        // Machines that cannot connect give notices without end.
        let deadline = Instant::now() + 4 * LIMIT;
        loop {
            match notices.recv_deadline(deadline) {
                Ok(notice) if is_it(&notice) => return notice,
                Ok(_) => {}
                Err(e) => panic!("{e} while waiting for {for_what}\n{}", self.fleet.status()),
            }
        }
    }

    /// Waits until all machines are connected, after this many losses.
    fn wait_back(&self, losses: u64) {
        self.wait("all machines", |notice| {
            matches!(notice, Notice::AllConnected { machines: MACHINES, .. }) && self.fleet.status().losses >= losses
        });
        assert_eq!(self.fleet.status().losses, losses);
    }

    /// Waits until the service has seen this many WebSockets close.
    fn wait_closed(&self, count: usize) {
        let closed = |seen: &[Seen]| seen.iter().filter(|seen| matches!(seen, Seen::WsClosed { .. })).count();
        assert!(self.service.wait_for(|seen| closed(seen) >= count, LIMIT), "{}", self.fleet.status());
    }
}

/// Returns whether the service has received the ending of a print.
fn is_homed(seen: &[Seen]) -> bool {
    seen.iter().any(|seen| matches!(seen, Seen::WsMessage { message, .. } if message["event"] == "print:completed"))
}

/// What a recording has of one action of one machine.
#[derive(Debug, Default)]
struct Recorded {
    sent: usize,
    endings: Vec<String>,
}

/// Returns the actions of all machines, by the numbers of their machines and their ids.
fn recorded(folder: &Path) -> BTreeMap<(u32, i64), Recorded> {
    let mut actions = BTreeMap::<_, Recorded>::new();
    let mut recording = Recording::open(folder).unwrap();
    assert_eq!(recording.about().machines, Some(*NUMBERS.end()));
    for entry in recording.by_ref() {
        let entry = entry.unwrap();
        let (Event::In(message) | Event::Out(message)) = &entry.event else {
            if let Event::State { state, .. } = &entry.event {
                assert_ne!(state, "dropped", "{entry:?}");
            }
            continue;
        };
        let (name, id) = (message.name().unwrap(), message.action_id());
        let machine = entry.machine.expect("messages are of a machine");
        let Some(id) = id else { continue };
        let action = actions.entry((machine, id)).or_default();
        // `lid_image:completed`, but not `lid_image:upload:completed`.
        let is_ending = name.matches(':').count() == 1
            && [":completed", ":cancelled", ":failed"].iter().any(|ending| name.ends_with(ending));
        match &entry.event {
            Event::In(message) => action.sent += usize::from(message.json.as_ref().unwrap()["status"] == "ready"),
            _ if is_ending => action.endings.push(name.to_owned()),
            _ => {}
        }
    }
    assert_eq!(recording.skipped(), []);
    actions
}

/// Checks how the fleet has ended, and its recording.
fn check_end(setup: Setup) -> (Status, TempDir) {
    let Setup { service, fleet, folder } = setup;
    let status = fleet.stop();
    assert!(status.problems().is_empty(), "{:?}\n{status}", status.problems());
    assert_eq!(status.in_state(MachineState::Stopped), MACHINES);
    assert_eq!(status.actions.running(), 0);
    assert_eq!(service.left_out(), 0);
    let recorded = recorded(&folder.path().join("recording"));
    for (of, action) in &recorded {
        assert!(action.sent == 1 && action.endings.len() <= 1, "{of:?}: {action:?}");
    }
    assert!(recorded.keys().all(|(machine, _)| NUMBERS.contains(machine)));
    let ended = status.actions.completed + status.actions.cancelled + status.actions.failed;
    let received = recorded.values().filter(|action| !action.endings.is_empty()).count();
    assert!(received as u64 <= ended, "{received} of {ended}");
    (status, folder)
}

#[test]
fn after_a_storm_a_blackout_and_a_rolling_restart_all_are_back_and_each_action_has_one_ending() {
    let setup = Setup::start(|service| service.tls(can_use_tls()));
    let all = MACHINES as u64;
    setup.wait_back(0);

    assert!(setup.fleet.order(Command::Storm));
    setup.wait_back(all);

    // A blackout whose end does not depend on the time.
    setup.fleet.link().cut();
    setup.wait_closed(2 * MACHINES);
    assert!(setup.fleet.link().is_cut());
    setup.fleet.link().restore();
    setup.wait_back(2 * all);

    assert!(setup.fleet.order(Command::RollingRestart));
    // Each group is connected before the next one is stopped.
    setup.wait("the end of the restart", |notice| matches!(notice, Notice::Ended(Command::RollingRestart)));
    let status = setup.fleet.status();
    assert_eq!((status.in_state(MachineState::Connected), status.losses), (MACHINES, 2 * all), "{status}");
    setup.wait_closed(3 * MACHINES);

    assert!(setup.service.wait_for(is_homed, LIMIT), "{}", setup.fleet.status());
    let (status, _) = check_end(setup);
    assert!(status.actions.accepted >= all, "{status}");
    assert_eq!(status.latencies.reconnect.count(), 2 * all, "{status}");
    assert!(status.latencies.sign_in.count() >= 4 * all, "{status}");
}

#[test]
fn a_blackout_ends_by_itself_and_a_stop_does_not_wait_for_it() {
    let setup = Setup::start(|service| service.tls(false));
    setup.wait_back(0);
    assert!(setup.fleet.order(Command::Blackout(Duration::ZERO)));
    setup.wait_back(MACHINES as u64);
    assert!(!setup.fleet.link().is_cut());

    assert!(setup.fleet.order(Command::Blackout(Duration::from_secs(3600))));
    setup.wait("the second one", |notice| matches!(notice, Notice::Began(Command::Blackout(_))));
    // Whoever has lost its connection cannot be back.
    setup.wait("the first loss", |notice| matches!(notice, Notice::ConnectionsLost));
    assert!(setup.fleet.order(Command::Status));
    setup.wait("the status", |notice| matches!(notice, Notice::Status(_)));
    assert!(setup.fleet.order(Command::Stop));
    setup.wait("the stop", |notice| matches!(notice, Notice::Stopping));
    assert!(!setup.fleet.order(Command::Storm), "it stops");
    let status = setup.fleet.stop();
    assert!(status.not_connected > 0, "{status}");
    assert_eq!(status.problems(), [format!("{} machines were not connected at the end", status.not_connected)]);
}

#[test]
fn a_machine_that_cannot_sign_in_is_told_and_tries_again_while_the_others_go_on() {
    let setup = Setup::start(|service| service.tls(false).fault(Fault::status(503).on("POST", "/machines/sign_in")));
    let notice = setup.wait("a failure", |notice| matches!(notice, Notice::MachineFailed { .. }));
    assert!(notice.to_string().contains("503"), "{notice}");
    setup.wait_back(0);
    let (status, _) = check_end(setup);
    // The fault happens once to each machine.
    assert_eq!(status.failed_starts, MACHINES as u64);
    assert_eq!(status.requests.by_status[&503], MACHINES as u64);
}

#[test]
fn one_recording_has_all_machines_and_a_reader_chooses_one() {
    let setup = Setup::start(|service| service.tls(false));
    setup.wait_back(0);
    assert!(setup.fleet.order(Command::Storm));
    setup.wait_back(MACHINES as u64);
    assert!(setup.service.wait_for(is_homed, LIMIT), "{}", setup.fleet.status());
    let (_, folder) = check_end(setup);
    let folder = folder.path().join("recording");
    let open = || Recording::open(&folder).unwrap();

    let errors = [
        Report::read(open()).unwrap_err().to_string(),
        Session::open(&folder).map(drop).unwrap_err().to_string(),
        export_har(open(), Bodies::Referenced, &mut Vec::new()).unwrap_err().to_string(),
    ];
    for error in errors {
        assert!(error.ends_with("it holds 20 machines: choose one from 1 to 20 (--machine)"), "{error}");
    }
    for absent in [0, 21, u32::MAX] {
        let error = open().of_machine(Some(absent)).unwrap_err().to_string();
        assert!(error.ends_with(&format!("it holds the machines 1 to 20, and not {absent}")), "{error}");
    }

    let entries: Vec<_> = open().map(Result::unwrap).collect();
    let of_fleet: Vec<_> = entries.iter().filter(|entry| entry.machine.is_none()).map(|entry| &entry.event).collect();
    assert!(
        matches!(&of_fleet[..], [Event::State { state, detail: Some(detail), .. }, ..]
        if state == "fleet" && detail == "storm"),
        "{of_fleet:?}"
    );
    let mut own = 0;
    for number in NUMBERS {
        let recording = open().of_machine(Some(number)).unwrap();
        let chosen: Vec<_> = recording.map(Result::unwrap).collect();
        assert!(chosen.iter().all(|entry| entry.machine.is_none_or(|machine| machine == number)));
        assert!(chosen.iter().any(|entry| matches!(entry.event, Event::Opened { .. })));
        own += chosen.len() - of_fleet.len();
        let report = Report::read(open().of_machine(Some(number)).unwrap()).unwrap();
        assert_eq!(report.entries(), chosen.len() as u64);
        let mut page = Vec::new();
        report.write(&mut page).unwrap();
        assert!(String::from_utf8(page).unwrap().contains(&format!("<dd>{number} of 20</dd>")));
    }
    assert_eq!(own + of_fleet.len(), entries.len());
    let printed = |entry: &&Entry| matches!(&entry.event, Event::Out(out) if out.name() == Some("print:completed"));
    let homed = entries.iter().find(printed).expect("one is homed").machine;
    Session::read(open().of_machine(homed).unwrap(), Duration::ZERO).unwrap();

    let text = std::fs::read_to_string(folder.join(SESSION_FILE)).unwrap();
    for serial in 10_000_001..10_000_021 {
        assert!(!text.contains(&serial.to_string()), "{serial} is secret");
    }
    assert!(!text.contains("0123456701234567"), "passwords are secret");
}

#[test]
fn more_machines_than_the_service_takes_sign_each_other_out() {
    let setup = Setup::start(|service| service.tls(false).machines(NonZeroUsize::new(MACHINES - 1).unwrap()));
    // No notice says so: at no time have all been connected.
    setup.wait_closed(1);
}

#[test]
fn the_metrics_are_those_of_the_fleet() {
    let setup = Setup::start(|service| service.tls(false));
    setup.wait_back(0);
    let listener = MetricsServer::listen("127.0.0.1:0").unwrap();
    let server = MetricsServer::start(listener, setup.fleet.control()).unwrap();
    let ask = |request: &str| {
        let mut socket = TcpStream::connect(server.address()).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket.write_all(format!("{request} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    };
    let metrics = ask("GET /metrics");
    assert!(metrics.starts_with("HTTP/1.1 200 OK\r\n"), "{metrics}");
    assert!(
        metrics.contains("Content-Type: application/openmetrics-text; version=1.0.0; charset=utf-8\r\n"),
        "{metrics}"
    );
    assert!(
        metrics.contains("\ngf_fleet_machines{state=\"connected\"} 20\n") && metrics.ends_with("\n# EOF\n"),
        "{metrics}"
    );
    assert!(ask("GET /").starts_with("HTTP/1.1 404 "));
    assert!(ask("POST /metrics").starts_with("HTTP/1.1 405 "));
    drop(server);
    check_end(setup);
}
