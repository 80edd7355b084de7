//! Actions that do not need the machine are answered while another action has it.

use crossbeam_channel::{Receiver, Sender, bounded};
use gf_emulator_core::config::Generation;
use gf_emulator_core::local_service::{Failure, Fault, Seen};
use gf_emulator_core::machine::{Capture, Controls, Job, Machine, MachineError, PlayUpdate};
use gf_emulator_core::service::{FirmwareOffer, Uplink, Upload};
use gf_emulator_core::storage::{Download, DownloadEnd};
use gf_emulator_core::{Emulator, Error};
use gf_emulator_tests::{Harness, LIMIT, Setup, config, folder, square};
use serde_json::{Value, json};

use crate::prints::{PRINT, Phase, in_phase};

const V2: Generation = Generation::V2;
/// The actions that need no machine, and how they end.
const IMMEDIATE: [(&str, &str); 4] = [
    ("settings", "completed"),
    ("update_check", "completed"),
    ("factory_reset", "failed"),
    ("head_firmware_update", "failed"),
];

fn held(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| matches!(seen, Seen::Held { .. })).count()
}

/// Brings a print to a request that the service holds back, and an update check to another one.
fn two_held_requests() -> Harness {
    let harness = in_phase(V2, Phase::Requesting);
    harness.service.fault(Fault::new(Failure::Hold).on("GET", "/update/current"));
    harness.start_action(20, "update_check");
    harness.wait("two held answers", |seen| held(seen) == 2);
    harness
}

#[test]
fn sync_actions_are_answered_while_a_print_runs() {
    for phase in [Phase::Requesting, Phase::Button, Phase::WarmUp, Phase::Running, Phase::Paused, Phase::Resting] {
        let harness = in_phase(V2, phase);
        for (id, (kind, ending)) in (20..).zip(IMMEDIATE) {
            harness.expect(id, kind, ending);
            assert_eq!(harness.endings(PRINT, "print"), [""; 0], "{phase:?}");
        }
        // Nothing but a stop ends the rest.
        if phase != Phase::Resting {
            harness.send(PRINT, "print", "cancelled", &json!({}));
            harness.wait_event("print:cancelled", Some(PRINT));
        }
        for (id, (kind, ending)) in (20..).zip(IMMEDIATE) {
            assert_eq!(harness.endings(id, kind), [format!("{kind}:{ending} ({id})")], "{phase:?}");
        }
        harness.stop().2.unwrap();
    }
}

#[test]
fn a_1x_machine_reports_its_settings_while_a_print_runs() {
    let harness = in_phase(Generation::V1, Phase::Running);
    harness.expect(20, "settings", "completed");
    assert_eq!(harness.endings(PRINT, "print"), [""; 0]);
    harness.stop().2.unwrap();
}

#[test]
fn sync_actions_are_answered_while_a_picture_is_uploaded() {
    let harness = Setup::new(V2).start();
    harness.service.fault(Fault::new(Failure::Hold).on("PUT", "/up/"));
    harness.start_action(1, "lid_image");
    harness.wait("a held answer", |seen| held(seen) == 1);
    harness.expect(20, "update_check", "completed");
    harness.service.release();
    harness.wait_event("lid_image:completed", Some(1));
}

#[test]
fn cancelling_an_update_check_leaves_the_requests_of_a_print() {
    let harness = two_held_requests();
    harness.send(20, "update_check", "cancelled", &json!({}));
    harness.wait_event("update_check:cancelled", Some(20));
    // The next one uses the same requests again.
    harness.expect(21, "update_check", "completed");
    harness.service.release();
    harness.wait_event("print:download:completed", Some(PRINT));
    assert_eq!(harness.endings(20, "update_check"), ["update_check:cancelled (20)"]);
}

#[test]
fn cancelling_a_print_leaves_the_request_of_an_update_check() {
    let harness = two_held_requests();
    harness.send(PRINT, "print", "cancelled", &json!({}));
    harness.wait_event("print:cancelled", Some(PRINT));
    harness.expect(8, "lid_image", "completed");
    assert_eq!(harness.endings(20, "update_check"), [""; 0]);
    harness.service.release();
    harness.wait_event("update_check:completed", Some(20));
}

#[test]
fn a_stop_ends_both_workers_and_what_waits() {
    let harness = two_held_requests();
    harness.start_action(21, "settings");
    harness.start_action(22, "lid_image");
    // The last of these is ignored; its answer shows that those before it have been read.
    harness.start_action(23, "user_image");
    harness.send(23, "user_image", "cancelled", &json!({}));
    harness.wait_event("user_image:cancelled", Some(23));
    let (service, _folder, ended) = harness.stop();
    ended.unwrap();
    for (id, kind) in [(PRINT, "print"), (20, "update_check"), (21, "settings"), (22, "lid_image")] {
        let endings = gf_emulator_tests::endings_of(&service.seen(), id, kind);
        assert_eq!(endings, [format!("{kind}:cancelled ({id})")]);
    }
}

/// A machine that plays until it is cancelled, and counts how often it is read.
struct Counting {
    reads: u32,
    playing: Sender<()>,
}

impl Machine for Counting {
    fn readings(&mut self) -> Vec<(String, Value)> {
        self.reads += 1;
        vec![("HEsn".to_owned(), json!(1000 + self.reads))]
    }

    fn capture(&mut self, _: &Capture<'_>) -> Result<Vec<u8>, MachineError> {
        Ok(vec![0; 10])
    }

    fn play(&mut self, _: &Job, controls: &Controls, _: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
        let _ = self.playing.send(());
        Ok(controls.sleep(LIMIT)?)
    }
}

#[test]
fn settings_have_the_readings_from_the_start_of_the_running_action() {
    let (playing, plays) = bounded(1);
    let harness = Setup::new(V2).machine(Counting { reads: 0, playing }).start();
    harness.expect(1, "lid_image", "completed");
    harness.start_action(2, "motion");
    plays.recv_timeout(LIMIT).unwrap();
    harness.expect(20, "settings", "completed");
    harness.expect(21, "settings", "completed");
    harness.send(2, "motion", "cancelled", &json!({}));
    harness.wait_event("motion:cancelled", Some(2));
    let reports: Vec<_> = harness
        .service
        .seen()
        .iter()
        .filter_map(|seen| match seen {
            Seen::WsMessage { message, .. } if message["event"] == "settings:completed" => Some(message.clone()),
            _ => None,
        })
        .collect();
    // Read once before the picture, also for its lamp, and once before the motion.
    assert_eq!(reports[0]["settings"]["values"]["HEsn"], 1002);
    assert_eq!(reports[1]["settings"], json!({}), "in full once");
}

/// A machine whose readings take until the test allows them, or which panics when it is read.
struct HardToRead {
    reading: Sender<()>,
    /// `None`: it panics.
    allowed: Option<Receiver<()>>,
}

impl Machine for HardToRead {
    fn readings(&mut self) -> Vec<(String, Value)> {
        let _ = self.reading.send(());
        let allowed = self.allowed.as_ref().expect("a machine that can be read");
        let _ = allowed.recv_timeout(LIMIT);
        vec![("HEsn".to_owned(), json!(1234))]
    }

    fn capture(&mut self, _: &Capture<'_>) -> Result<Vec<u8>, MachineError> {
        Ok(vec![0; 10])
    }

    fn play(&mut self, _: &Job, controls: &Controls, _: &mut dyn FnMut(PlayUpdate)) -> Result<(), MachineError> {
        Ok(controls.sleep(LIMIT)?)
    }
}

#[test]
fn settings_wait_until_the_machine_has_been_read() {
    let (reading, reads) = bounded(1);
    let (allow, allowed) = bounded(1);
    let harness = Setup::new(V2).machine(HardToRead { reading, allowed: Some(allowed) }).start();
    harness.start_action(1, "motion");
    reads.recv_timeout(LIMIT).unwrap();
    harness.start_action(20, "settings");
    // The answer to this shows that the settings action has been read as well.
    harness.start_action(21, "lid_image");
    harness.send(21, "lid_image", "cancelled", &json!({}));
    harness.wait_event("lid_image:cancelled", Some(21));
    assert_eq!(harness.endings(20, "settings"), [""; 0]);
    allow.send(()).unwrap();
    let full =
        |seen: &Seen| matches!(seen, Seen::WsMessage { message, .. } if message["settings"]["values"]["HEsn"] == 1234);
    harness.wait("a report with the reading", |seen| seen.iter().any(full));
    assert_eq!(harness.endings(1, "motion"), [""; 0]);
    harness.send(1, "motion", "cancelled", &json!({}));
    harness.wait_event("motion:cancelled", Some(1));
}

#[test]
fn a_machine_that_panics_when_it_is_read_still_does_its_actions() {
    let (reading, _reads) = bounded(10);
    let harness = Setup::new(V2).machine(HardToRead { reading, allowed: None }).start();
    // Only the report itself needs the readings.
    harness.expect(1, "settings", "failed");
    harness.expect(2, "lid_image", "completed");
    harness.start_action(3, "motion");
    harness.wait_event("motion:starting", Some(3));
    harness.expect(4, "update_check", "completed");
    harness.send(3, "motion", "cancelled", &json!({}));
    harness.wait_event("motion:cancelled", Some(3));
    for (id, kind) in [(1, "settings"), (2, "lid_image"), (3, "motion"), (4, "update_check")] {
        assert_eq!(harness.endings(id, kind).len(), 1, "{kind}");
    }
}

/// An uplink with one job, which has no second one.
struct OneAtATime;

impl Uplink for OneAtATime {
    fn upload(&self, _: &Upload<'_>) -> gf_emulator_core::Result<()> {
        Err(Error::Interrupted)
    }

    fn download(&self, _: &str) -> gf_emulator_core::Result<Download> {
        Ok(Download::new("memory", DownloadEnd::Length(square().len() as u64), std::io::Cursor::new(square())))
    }

    fn firmware(&self) -> gf_emulator_core::Result<FirmwareOffer> {
        Ok(FirmwareOffer::new("2.6.0-2228"))
    }
}

#[test]
fn an_update_check_waits_if_the_uplink_serves_one_action_at_a_time() {
    let folder = folder();
    let (emulator, peer) = Emulator::offline(config(folder.path(), V2), folder.path()).unwrap();
    let (playing, plays) = bounded(1);
    let mut emulator = emulator.with_uplink(OneAtATime).with_machine(Counting { reads: 0, playing });
    let running = std::thread::spawn(move || emulator.run());
    let send = |id: i64, kind: &str, status: &str| {
        let action = json!({"id": id, "action_type": kind, "status": status, "motion_url": "the one"});
        peer.tx.send(action.to_string()).unwrap();
    };
    let next = || loop {
        let message: Value = serde_json::from_str(peer.rx.recv_timeout(LIMIT).unwrap().text()).unwrap();
        if message["type"] == "event" {
            break message["event"].clone();
        }
    };
    send(1, "motion", "ready");
    assert_eq!(next(), "motion:starting");
    plays.recv_timeout(LIMIT).unwrap();
    send(2, "update_check", "ready");
    send(3, "settings", "ready");
    assert_eq!(next(), "settings:completed");
    send(1, "motion", "cancelled");
    assert_eq!(next(), "motion:cancelled");
    assert_eq!(next(), "update_check:completed");
    drop(peer);
    running.join().unwrap().unwrap();
}
