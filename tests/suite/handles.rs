//! Handles used from many threads, offline emulators, and many emulators in one process.

use std::path::Path;
use std::thread::{self, JoinHandle};
use std::time::Duration;
#[cfg(target_os = "linux")]
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, bounded};
use gf_emulator_core::config::Generation;
use gf_emulator_core::local_service::Seen;
use gf_emulator_core::machine::{Capture, Controls, Job, Machine, MachineError, PlayUpdate};
use gf_emulator_core::{Emulator, Error, Handle, Peer};
#[cfg(target_os = "linux")]
use gf_emulator_core::{Tls, local_service::LocalService};
#[cfg(target_os = "linux")]
use gf_emulator_tests::point_at;
use gf_emulator_tests::{LIMIT, Setup, config, folder, square, without_and_with_tls};
use serde_json::{Value, json};
use tempfile::TempDir;

#[cfg(target_os = "linux")]
use crate::raw_service::in_own_process;
use crate::raw_service::{RawService, RunningMachine, normal_responses};

#[test]
fn a_stop_before_connect_makes_it_fail() {
    let raw = RawService::start(normal_responses());
    let (mut emulator, _folder) = raw.machine(|_| ());
    let handle = emulator.handle();
    handle.stop();
    handle.clone().stop();
    assert!(matches!(emulator.connect(), Err(Error::Interrupted)));
    assert_eq!(raw.requests(), Vec::<String>::new());
    assert!(emulator.run().is_err(), "not connected");
}

#[test]
fn a_stop_between_connect_and_run_ends_the_run() {
    let raw = RawService::start(normal_responses());
    let (mut emulator, _folder) = raw.machine(|_| ());
    emulator.connect().unwrap();
    emulator.handle().stop();
    let _socket = raw.socket();
    let (done, ended) = bounded(1);
    thread::spawn(move || done.send(emulator.run()));
    ended.recv_timeout(LIMIT).unwrap().unwrap();
}

#[test]
fn dropping_an_emulator_without_run_closes_its_socket() {
    let raw = RawService::start(normal_responses());
    let (mut emulator, _folder) = raw.machine(|_| ());
    emulator.connect().unwrap();
    emulator.connect().unwrap();
    let mut socket = raw.socket();
    let handle = emulator.handle();
    let (done, dropped) = bounded(1);
    thread::spawn(move || {
        drop(emulator);
        done.send(())
    });
    assert!(socket.read().unwrap().is_close());
    let _ = socket.flush();
    drop(socket);
    dropped.recv_timeout(LIMIT).unwrap();
    // Handles of a dropped emulator do nothing.
    handle.press_button();
    handle.open_lid();
    handle.stop();
}

#[test]
fn lid_events_alternate_when_many_threads_use_the_handle() {
    const THREADS: usize = 8;
    const ROUNDS: usize = 200;
    let (mut emulator, peer) = Emulator::offline(config(folder().path(), Generation::V2), "nowhere").unwrap();
    let handle = emulator.handle();
    let Peer { tx, rx, .. } = peer;
    let reader = thread::spawn(move || {
        let event = |text: &str| serde_json::from_str::<Value>(text).unwrap()["event"].as_str().unwrap().to_owned();
        rx.iter().map(|message| event(message.text())).collect::<Vec<_>>()
    });
    let running = thread::spawn(move || emulator.run());
    thread::scope(|scope| {
        for n in 0..THREADS {
            let handle = &handle;
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    match (n + round) % 3 {
                        0 => handle.open_lid(),
                        1 => handle.close_lid(),
                        _ => handle.press_button(),
                    }
                }
            });
        }
    });
    drop(tx);
    running.join().unwrap().unwrap();
    // The receiver disconnects although the handle still exists.
    let events = reader.join().unwrap();
    drop(handle);
    let lid: Vec<_> = events.iter().filter(|event| event.starts_with("lid:")).collect();
    assert!(!lid.is_empty());
    for (n, event) in lid.iter().enumerate() {
        assert_eq!(**event, ["lid:opened", "lid:closed"][n % 2], "number {n}");
    }
    let button: Vec<_> = events.iter().filter(|event| event.starts_with("button:")).collect();
    assert!(button.chunks(2).all(|pair| pair == ["button:pressed", "button:released"]));
}

#[test]
fn an_offline_emulator_does_all_its_actions() {
    let folder = folder();
    let job = folder.path().join("a job.puls");
    std::fs::write(&job, square()).unwrap();
    let (mut emulator, peer) =
        Emulator::offline(config(folder.path(), Generation::V2), folder.path().join("out")).unwrap();
    let _kept = emulator.handle();
    let motion_url = file_url(&job).replace(' ', "%20");
    let kinds = ["settings", "lid_image", "motion", "hunt"];
    for (id, kind) in (1..).zip(kinds) {
        let action = json!({"id": id, "action_type": kind, "status": "ready", "motion_url": motion_url});
        peer.tx.send(action.to_string()).unwrap();
    }
    drop(peer.tx);
    let (done, ended) = bounded(1);
    thread::spawn(move || {
        let outcome = emulator.run();
        let _ = done.send((outcome, emulator));
    });
    // The receiver disconnects although emulator and handle still exist.
    let (outcome, _emulator) = ended.recv_timeout(LIMIT).unwrap();
    outcome.unwrap();
    let messages: Vec<Value> = peer.rx.iter().map(|message| serde_json::from_str(message.text()).unwrap()).collect();
    let completed: Vec<_> =
        messages.iter().filter_map(|message| message["event"].as_str()?.strip_suffix(":completed")).collect();
    assert_eq!(completed, ["settings", "lid_image:capture", "lid_image:upload", "lid_image", "motion", "hunt"]);
    assert!(folder.path().join("out/lid_image_2.jpg").exists());
    assert_eq!(std::fs::read_dir(folder.path().join("motion")).unwrap().count(), 4);
}

#[test]
fn an_offline_emulator_stops_when_its_peer_is_dropped() {
    let (mut emulator, peer) = Emulator::offline(config(folder().path(), Generation::V2), "nowhere").unwrap();
    peer.tx.send(json!({"id": 1, "action_type": "settings", "status": "ready"}).to_string()).unwrap();
    drop(peer);
    let (done, ended) = bounded(1);
    thread::spawn(move || done.send(emulator.run()));
    ended.recv_timeout(LIMIT).unwrap().unwrap();
}

#[cfg(target_os = "linux")]
fn threads() -> usize {
    let named = |task: std::io::Result<std::fs::DirEntry>| std::fs::read_to_string(task.ok()?.path().join("comm")).ok();
    let ours = |name: &String| ["gf-websocket", "gf-worker", "gf-worker-2", "gf-dial"].contains(&name.trim());
    std::fs::read_dir("/proc/self/task").unwrap().filter_map(named).filter(ours).count()
}

#[cfg(target_os = "linux")]
fn wait_for_threads(service: &LocalService, count: usize) {
    let begun = Instant::now();
    while threads() != count {
        assert!(begun.elapsed() < LIMIT, "{} threads in place of {count}", threads());
        service.wait_for(|_| false, Duration::from_millis(5));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn fifty_emulators_in_one_process_leave_no_threads() {
    const MACHINES: u32 = 50;
    if !in_own_process("handles::fifty_emulators_in_one_process_leave_no_threads") {
        return;
    }
    let folder = folder();
    let service = LocalService::builder().puls(square()).start().unwrap();
    let mut base = config(folder.path(), Generation::V2);
    point_at(&mut base, &service, folder.path());
    let tls = Tls::new(base.service.ca_file.as_deref()).unwrap();
    let machines: Vec<_> = (1..=MACHINES)
        .map(|serial| {
            let mut config = base.clone();
            config.machine.serial = serial;
            config.motion.dir = folder.path().join(format!("motion-{serial}"));
            let mut emulator = Emulator::new(config).unwrap().with_tls(tls.clone());
            let handle = emulator.handle();
            emulator.connect().unwrap();
            // The service sends to the machine that connected last.
            for (id, kind) in (i64::from(serial) * 10..).zip(["settings", "lid_image", "motion"]) {
                let url = service.puls_url();
                let action = json!({"id": id, "action_type": kind, "status": "ready", "motion_url": url});
                service.send(action).unwrap();
            }
            (handle, thread::spawn(move || emulator.run()))
        })
        .collect();
    assert!(service.wait_for(
        |seen| seen.iter().filter(|seen| seen.is_event("motion:completed", None)).count() == MACHINES as usize,
        LIMIT
    ));
    // A machine without work has only the thread of its WebSocket.
    wait_for_threads(&service, MACHINES as usize);
    for (handle, machine) in machines {
        handle.stop();
        machine.join().unwrap().unwrap();
    }
    // Joined threads can stay in the system's table for a moment.
    wait_for_threads(&service, 0);
}

#[test]
fn a_stop_cancels_all_actions_and_closes_the_websocket() {
    for tls in without_and_with_tls() {
        let harness = Setup::new(Generation::V2).service(|service| service.tls(tls)).slow().start();
        harness.start_action(1, "print");
        harness.start_action(2, "lid_image");
        harness.wait_event("print:download:completed", Some(1));
        let (service, _folder, ended) = harness.stop();
        ended.unwrap();
        let closed = |seen: &Seen| matches!(seen, Seen::WsClosed { code: Some(1000) });
        assert!(service.wait_for(|seen| seen.iter().any(closed), LIMIT), "{:#?}", service.seen());
        for event in ["print:cancelled", "lid_image:cancelled"] {
            assert!(service.seen().iter().any(|seen| seen.is_event(event, None)), "{event}: {:#?}", service.seen());
        }
    }
}

#[test]
fn many_stops_end_a_running_emulator_once() {
    let raw = RawService::start(normal_responses());
    let running = RunningMachine::start(raw.machine(|_| ()));
    let _socket = raw.socket();
    let handles = [running.handle.clone(), running.handle.clone(), running.handle.clone()];
    thread::scope(|scope| {
        for handle in &handles {
            scope.spawn(move || handle.stop());
        }
    });
    // `Interrupted` if the stop came before `connect` returned.
    assert!(matches!(running.end(), Ok(()) | Err(Error::Interrupted)));
}

#[test]
fn a_second_run_is_an_error() {
    let (mut emulator, _folder) = RawService::start(normal_responses()).machine(|_| ());
    assert!(matches!(emulator.run(), Err(Error::NotConnected { .. })));
    let raw = RawService::start(normal_responses());
    let (mut emulator, _folder) = raw.machine(|_| ());
    emulator.connect().unwrap();
    emulator.handle().stop();
    let _socket = raw.socket();
    emulator.run().unwrap();
    assert!(matches!(emulator.connect(), Err(Error::NotConnected { .. })));
    assert!(matches!(emulator.run(), Err(Error::NotConnected { .. })));
}

#[test]
fn offline_needs_no_identity_but_checks_the_other_settings() {
    let folder = folder();
    let offline = || Emulator::offline(gf_emulator_core::Config::default(), folder.path());
    assert!(offline().is_ok());
    let mut config = gf_emulator_core::Config::default();
    config.emulator.time_scale = -1.0;
    config.emulator.material_thickness = "../x".into();
    let Err(Error::Config(problems)) = Emulator::offline(config, folder.path()) else { panic!("accepted") };
    assert_eq!(problems.list.len(), 2, "{problems}");
}

#[test]
fn a_stop_ends_an_emulator_whose_messages_are_not_read() {
    let folder = folder();
    let (mut emulator, peer) = Emulator::offline(config(folder.path(), Generation::V2), folder.path()).unwrap();
    let handle = emulator.handle();
    let (done, ended) = bounded(1);
    thread::spawn(move || done.send(emulator.run().is_ok()));
    // Six events each: more than the queue's capacity.
    for id in 0..60 {
        peer.tx.send(json!({"id": id, "action_type": "lid_image", "status": "ready"}).to_string()).unwrap();
    }
    // Wait until the queue is full and the worker blocks.
    while !peer.rx.is_full() {
        assert!(ended.recv_timeout(Duration::from_millis(5)).is_err());
    }
    handle.stop();
    assert!(ended.recv_timeout(LIMIT).unwrap());
}

/// Returns the URL of a file: `file:///tmp/a`, or `file:///C:/a` on Windows.
fn file_url(path: &Path) -> String {
    let path = path.display().to_string().replace('\\', "/");
    format!("file:///{}", path.trim_start_matches('/'))
}

#[test]
fn offline_jobs_are_queued() {
    let folder = folder();
    let job = folder.path().join("job.puls");
    std::fs::write(&job, square()).unwrap();
    let (mut emulator, peer) = Emulator::offline(config(folder.path(), Generation::V2), folder.path()).unwrap();
    let url = file_url(&job);
    for id in 1..=3 {
        let action = json!({"id": id, "action_type": "motion", "status": "ready", "motion_url": url});
        peer.tx.send(action.to_string()).unwrap();
    }
    drop(peer.tx);
    emulator.run().unwrap();
    let completed = peer.rx.iter().filter(|message| message.text().contains("motion:completed")).count();
    assert_eq!(completed, 3);
}

/// A machine that plays until it is stopped, and reports when it starts and why it stops.
struct PlaysUntilStopped {
    started: Sender<()>,
    stopped: Sender<Result<(), MachineError>>,
}

impl Machine for PlaysUntilStopped {
    fn capture(&mut self, _: &Capture<'_>) -> Result<Vec<u8>, MachineError> {
        Ok(vec![0; 10])
    }

    fn play(&mut self, _: &Job, controls: &Controls, _: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
        let _ = self.started.send(());
        let outcome = controls.sleep(LIMIT).map_err(MachineError::from);
        let _ = self.stopped.send(outcome.clone());
        outcome
    }
}

/// An offline emulator that is playing a print.
struct Printing {
    peer: Peer,
    handle: Handle,
    running: JoinHandle<Result<(), Error>>,
    stops: Receiver<Result<(), MachineError>>,
    _folder: TempDir,
}

impl Printing {
    fn start() -> Self {
        let folder = folder();
        let job = folder.path().join("job.puls");
        std::fs::write(&job, square()).unwrap();
        let (started, starts) = bounded(1);
        let (stopped, stops) = bounded(1);
        let (emulator, peer) = Emulator::offline(config(folder.path(), Generation::V2), folder.path()).unwrap();
        let mut emulator = emulator.with_machine(PlaysUntilStopped { started, stopped });
        let handle = emulator.handle();
        let running = thread::spawn(move || emulator.run());
        let url = file_url(&job);
        let print = json!({"id": 1, "action_type": "print", "status": "ready", "motion_url": url});
        peer.tx.send(print.to_string()).unwrap();
        starts.recv_timeout(LIMIT).unwrap();
        Self { peer, handle, running, stops, _folder: folder }
    }
}

#[test]
fn the_lid_stops_a_print_while_the_message_queue_is_full() {
    let Printing { peer, handle, running, stops, .. } = Printing::start();
    // Actions cancelled before they run send a message each: repeat until both queues are full.
    let cancelled = json!({"id": 2, "action_type": "lid_image", "status": "ready"}).to_string()
        + "\n"
        + &json!({"id": 2, "action_type": "lid_image", "status": "cancelled"}).to_string();
    while !(peer.rx.is_full() && peer.tx.is_full()) {
        let _ = peer.tx.send_timeout(cancelled.clone(), Duration::from_millis(10));
    }

    let button = handle.clone();
    let presses = thread::spawn(move || button.press_button());
    let lid = handle.clone();
    let opens = thread::spawn(move || lid.open_lid());
    let stopped = stops.recv_timeout(LIMIT / 2).expect("the lid stops the print");
    assert_eq!(stopped, Err(MachineError::Stopped(gf_emulator_core::machine::StopReason::LidOpened)));

    let receives = thread::spawn(move || {
        peer.rx.iter().map(|message| serde_json::from_str(message.text()).unwrap()).collect::<Vec<Value>>()
    });
    for thread in [presses, opens] {
        thread.join().unwrap();
    }
    drop(peer.tx);
    let messages = receives.join().unwrap();
    running.join().unwrap().unwrap();
    let place = |event: &str| messages.iter().position(|message| message["event"] == event).expect(event);
    assert!(place("lid:opened") < place("print:return_to_home:succeeded"), "the cause is sent before its effects");
    assert!(place("print:return_to_home:succeeded") < place("print:cancelled"));
    assert_eq!(place("button:pressed") + 1, place("button:released"));
    let ids: Vec<_> = messages.iter().map(|message| message["id"].as_u64().unwrap()).collect();
    assert!(ids.windows(2).all(|pair| pair[1] == pair[0] + 1), "{ids:?}");
}

#[cfg(target_os = "linux")]
fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Takes a picture, and frees most of what it has allocated for that.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
struct LeavesHoles {
    blocks: Vec<Vec<u8>>,
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
impl Machine for LeavesHoles {
    fn capture(&mut self, _: &Capture<'_>) -> Result<Vec<u8>, MachineError> {
        let mut blocks: Vec<_> = (0..100_000).map(|_| vec![1; 1000]).collect();
        let mut n = 0;
        blocks.retain(|_| {
            n += 1;
            n % 100 == 0
        });
        self.blocks = blocks;
        Ok(vec![0; 10])
    }

    fn play(&mut self, _: &Job, _: &Controls, _: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
        Ok(())
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[test]
fn a_machine_at_rest_gives_free_memory_back() {
    if !in_own_process("handles::a_machine_at_rest_gives_free_memory_back") {
        return;
    }
    let folder = folder();
    let (emulator, peer) = Emulator::offline(config(folder.path(), Generation::V2), folder.path()).unwrap();
    let mut emulator = emulator.with_machine(LeavesHoles { blocks: Vec::new() });
    let before = resident_bytes();
    let picture = json!({"id": 1, "action_type": "lid_image", "status": "ready"});
    peer.tx.send(picture.to_string()).unwrap();
    drop(peer.tx);
    emulator.run().unwrap();
    let more = resident_bytes().saturating_sub(before);
    assert!(more < 40 << 20, "{more} bytes: 100 MB were allocated, and 1 MB is in use");
    assert!(peer.rx.iter().any(|message| message.text().contains("lid_image:completed")));
}

#[cfg(target_os = "linux")]
#[test]
fn waiting_actions_with_long_lines_use_little_memory() {
    if !in_own_process("handles::waiting_actions_with_long_lines_use_little_memory") {
        return;
    }
    let Printing { peer, handle, running, .. } = Printing::start();
    let before = resident_bytes();
    let codes: Vec<_> = (0..10_000)
        .map(|n| format!("\"{n:04}\":{n},\"some other name, {n}\":[{{\"and\":\"{}\"}}]", "x".repeat(64)))
        .collect();
    let codes = codes.join(",");
    assert!(codes.len() > 1 << 20);
    for id in 2..66 {
        let line =
            format!("{{\"id\":{id},\"action_type\":\"lid_image\",\"status\":\"ready\",\"settings\":{{{codes}}}}}");
        peer.tx.send(line).unwrap();
    }
    // Its answer shows that everything sent before it has been read.
    peer.tx.send(json!({"id": 2, "action_type": "lid_image", "status": "cancelled"}).to_string()).unwrap();
    let mut texts = peer.rx.iter().map(|message| message.text().to_owned());
    assert!(texts.any(|text| text.contains("lid_image:cancelled")));
    let more = resident_bytes().saturating_sub(before);
    assert!(more < 64 << 20, "{} MiB more", more >> 20);
    handle.stop();
    drop(peer.rx);
    running.join().unwrap().unwrap();
}
