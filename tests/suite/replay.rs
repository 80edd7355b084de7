//! Recorded sessions, replayed with a second machine: an identical machine has no differences, another one has.

use std::fs;
use std::path::Path;
use std::time::Duration;

use gf_emulator_core::config::{Button, Generation};
use gf_emulator_core::local_service::{Cut, Failure, Fault, LocalService, Outcome, ReplayStep, Seen};
use gf_emulator_core::record::{Recorder, Recording, SESSION_FILE, import};
use gf_emulator_core::replay::{Comparison, Session};
use gf_emulator_core::{Config, Emulator, Error};
use gf_emulator_tests::{LIMIT, Setup, config, endings_of, folder, golden_folder, point_at, square};
use serde_json::json;
use tempfile::TempDir;

/// Records a session with one action of each kind.
pub(crate) fn recorded(generation: Generation, adjust: impl FnOnce(&mut Config) + 'static) -> TempDir {
    let recording = tempfile::tempdir().unwrap();
    let harness = Setup::new(generation).config(adjust).recorded(recording.path()).start();
    for (id, kind) in (1..).zip(["settings", "lid_image", "motion", "lid_image", "hunt", "head_image", "print"]) {
        harness.expect(id, kind, "completed");
    }
    if generation == Generation::V2 {
        harness.expect(8, "update_check", "completed");
        harness.expect(9, "factory_reset", "failed");
    }
    harness.service.send_text("not JSON\n").unwrap();
    harness.send(10, "focus", "ready", &json!({}));
    harness.expect(11, "settings", "completed");
    let (_service, _folder, ended) = harness.stop();
    ended.unwrap();
    recording
}

/// The result of a replay.
pub(crate) struct Replayed {
    outcome: Option<Outcome>,
    seen: Vec<Seen>,
    comparison: Comparison,
}

impl Replayed {
    fn differences(&self) -> Vec<String> {
        self.comparison.differences.iter().map(ToString::to_string).collect()
    }

    pub(crate) fn assert_no_differences(&self) {
        assert_eq!(self.differences(), [""; 0], "{:#?}", self.outcome);
        assert_eq!(self.outcome, Some(Outcome::Done));
    }
}

/// Replays a recording with a new machine, after `prepare` has changed the service.
pub(crate) fn replayed(
    recording: &Path,
    generation: Generation,
    adjust: impl FnOnce(&mut Config),
    prepare: impl FnOnce(&LocalService),
) -> Replayed {
    let session = Session::read(Recording::open(recording).unwrap(), Duration::from_secs(2)).unwrap();
    assert_eq!(session.skipped(), []);
    let service =
        LocalService::builder().tls(false).puls(square()).keep_bodies(true).replay(session.plan()).start().unwrap();
    prepare(&service);
    let folder = folder();
    let mut config = config(folder.path(), generation);
    point_at(&mut config, &service, folder.path());
    adjust(&mut config);
    let mut emulator = Emulator::new(config).unwrap();
    let handle = emulator.handle();
    let machine = std::thread::spawn(move || {
        emulator.connect()?;
        emulator.run()
    });
    let outcome = service.outcome(LIMIT);
    service.close(1000);
    handle.stop();
    machine.join().unwrap().unwrap();
    let seen = service.seen();
    Replayed { outcome, comparison: session.compare(&seen), seen }
}

pub(crate) fn unchanged(_: &mut Config) {}

#[test]
fn an_identical_machine_has_no_differences() {
    for generation in [Generation::V1, Generation::V2] {
        let recording = recorded(generation, unchanged);
        let replayed = replayed(recording.path(), generation, unchanged, |_| ());
        replayed.assert_no_differences();
        let Comparison { actions, messages, requests, .. } = replayed.comparison;
        assert!(actions >= 9 && messages > 25 && requests >= 8, "{}", replayed.comparison);
        assert!(replayed.comparison.to_string().starts_with("no difference: "), "{}", replayed.comparison);
    }
}

#[test]
fn points_recorded_urls_to_the_replaying_service() {
    let recording = recorded(Generation::V2, unchanged);
    let replayed = replayed(recording.path(), Generation::V2, unchanged, |_| ());
    let sent: Vec<&str> = replayed
        .seen
        .iter()
        .filter_map(|s| if let Seen::WsSent(text) = s { Some(text.as_str()) } else { None })
        .collect();
    assert_eq!(sent.len(), 12);
    assert!(sent[1].contains("\"id\":2,") && sent[1].contains("/up/2?replay"), "{}", sent[1]);
    let upload = replayed.seen.iter().find_map(|seen| match seen {
        Seen::Http(request) if request.path == "/up/2" => Some(request),
        _ => None,
    });
    assert!(upload.unwrap().has_query, "the recorded URL had a query");
}

#[test]
fn reports_a_machine_with_other_settings() {
    let recording = recorded(Generation::V2, unchanged);
    let other = |config: &mut Config| {
        config.machine.firmware = "2.6.0-9999".into();
        config.emulator.bypass_homing = true;
    };
    let replayed = replayed(recording.path(), Generation::V2, other, |_| ());
    let differences = replayed.differences();
    assert!(!differences.is_empty());
    assert!(
        differences.iter().all(|line| line.starts_with("settings 1: settings:completed: settings")),
        "{differences:#?}"
    );
    assert_eq!(replayed.outcome, Some(Outcome::Done), "every recorded message was sent");
}

#[test]
fn reports_a_changed_value_with_the_recorded_one() {
    let recording = recorded(Generation::V2, unchanged);
    let other = |config: &mut Config| config.machine.head_firmware = Some(199_234_111);
    let replayed = replayed(recording.path(), Generation::V2, other, |_| ());
    assert_eq!(
        replayed.differences(),
        ["settings 1: settings:completed: settings.values.HEfv is 199234111, recorded: 199234110"]
    );
    assert!(replayed.comparison.to_string().starts_with("1 difference: "), "{}", replayed.comparison);
}

#[test]
fn reports_another_firmware_version() {
    let recording = recorded(Generation::V1, unchanged);
    let other = |config: &mut Config| config.machine.firmware = "1.6.0-99".into();
    let replayed = replayed(recording.path(), Generation::V1, other, |_| ());
    let differences = replayed.differences();
    assert!(differences.iter().any(|line| line.contains("\"1.6.0-99\", recorded: \"1.6.0-35\"")), "{differences:#?}");
}

#[test]
fn continues_after_a_failed_upload() {
    let recording = recorded(Generation::V2, unchanged);
    let fail = |service: &LocalService| service.fault(Fault::status(403).on("PUT", "/up/2").times(9));
    let replayed = replayed(recording.path(), Generation::V2, unchanged, fail);
    let differences = replayed.differences();
    assert!(
        differences.contains(&"lid_image 2: lid_image:failed arrived instead of lid_image:completed".to_owned()),
        "{differences:#?}"
    );
    assert!(differences.iter().all(|line| line.starts_with("lid_image 2: ")), "{differences:#?}");
    assert_eq!(replayed.outcome, Some(Outcome::Done), "an action that has ended is not awaited");
}

#[test]
fn reports_a_missing_event() {
    let recording = tempfile::tempdir().unwrap();
    let harness = Setup::new(Generation::V2).recorded(recording.path()).start();
    harness.expect(7, "print", "completed");
    let (_service, _folder, ended) = harness.stop();
    ended.unwrap();
    let waits = |config: &mut Config| config.emulator.button = Button::Wait;
    let replayed = replayed(recording.path(), Generation::V2, waits, |_| ());
    let differences = replayed.differences();
    assert!(differences.iter().any(|line| line.starts_with("print 7: ")), "{differences:#?}");
    let Some(Outcome::Failed { reason, .. }) = &replayed.outcome else { panic!("{:?}", replayed.outcome) };
    assert!(
        reason.contains("print:warmup:starting (message 3 of action 7 in the recording) did not arrive"),
        "{reason}"
    );
}

#[test]
fn repeats_recorded_failures() {
    let recording = tempfile::tempdir().unwrap();
    let harness = Setup::new(Generation::V2).recorded(recording.path()).start();
    let run_to_end = |id: i64, kind: &str| {
        harness.start_action(id, kind);
        harness.wait(kind, |seen| !endings_of(seen, id, kind).is_empty());
    };
    // 503 with Retry-After; 404; a cut before and within a response; an expired token.
    harness.service.fault(Fault::status(503).header("Retry-After", "0").on("PUT", "/up/1"));
    run_to_end(1, "lid_image");
    harness.service.fault(Fault::status(404).on("GET", "/dl/job.puls"));
    run_to_end(2, "motion");
    harness.service.fault(Fault::new(Failure::CutRequest).on("PUT", "/up/3"));
    run_to_end(3, "lid_image");
    harness.service.fault(Fault::new(Failure::ShortBody).on("GET", "/dl/job.puls"));
    run_to_end(4, "motion");
    harness.service.expire_tokens();
    run_to_end(5, "update_check");
    run_to_end(6, "motion");
    assert!(harness.events().contains(&"motion:completed (6)".to_owned()));
    let (_service, _folder, ended) = harness.stop();
    ended.unwrap();
    let replayed = replayed(recording.path(), Generation::V2, unchanged, |_| ());
    replayed.assert_no_differences();
    assert!(replayed.comparison.requests >= 8, "{}", replayed.comparison);
}

#[test]
fn repeats_cuts_after_the_same_messages() {
    for generation in [Generation::V1, Generation::V2] {
        let recording = tempfile::tempdir().unwrap();
        let harness = Setup::new(generation).recorded(recording.path()).start();
        harness.expect(1, "settings", "completed");
        harness.service.drop_connection(Cut::Drain);
        harness.expect(2, "lid_image", "completed");
        harness.service.close(1001);
        harness.expect(3, "print", "completed");
        let (_service, _folder, ended) = harness.stop();
        ended.unwrap();
        let session = Session::open(recording.path()).unwrap();
        let cuts: Vec<_> = session
            .plan()
            .steps
            .iter()
            .enumerate()
            .filter_map(|(index, step)| matches!(step, ReplayStep::Cut { .. }).then_some(index))
            .collect();
        assert_eq!(cuts.len(), 2, "the disconnect when the machine stops does not count");
        let replayed = replayed(recording.path(), generation, unchanged, |_| ());
        replayed.assert_no_differences();
        let opened = replayed.seen.iter().filter(|seen| matches!(seen, Seen::WsOpened { .. })).count();
        assert_eq!(opened, 3);
    }
}

#[test]
fn repeats_the_cancellation_of_a_print() {
    let recording = tempfile::tempdir().unwrap();
    let harness = Setup::new(Generation::V2).slow().recorded(recording.path()).start();
    harness.start_action(1, "print");
    harness.wait_event("print:download:completed", Some(1));
    harness.start_action(2, "lid_image");
    harness.send(1, "print", "cancelled", &json!({}));
    harness.wait_event("print:cancelled", Some(1));
    harness.wait_event("lid_image:completed", Some(2));
    let (_service, _folder, ended) = harness.stop();
    ended.unwrap();
    let waits = |config: &mut Config| config.emulator.button = Button::Wait;
    replayed(recording.path(), Generation::V2, waits, |_| ()).assert_no_differences();
}

#[test]
fn repeats_the_cancellation_of_a_download() {
    let recording = tempfile::tempdir().unwrap();
    let harness = Setup::new(Generation::V2).recorded(recording.path()).start();
    harness.service.fault(Fault::new(Failure::Stall).on("GET", "/dl/"));
    harness.start_action(1, "print");
    harness.wait_event("print:starting", Some(1));
    harness.wait("the download", |seen| {
        seen.iter().any(|seen| matches!(seen, Seen::Http(request) if request.path == "/dl/job.puls"))
    });
    harness.send(1, "print", "cancelled", &json!({}));
    harness.wait_event("print:cancelled", Some(1));
    harness.expect(2, "settings", "completed");
    let (_service, _folder, ended) = harness.stop();
    ended.unwrap();
    replayed(recording.path(), Generation::V2, unchanged, |_| ()).assert_no_differences();
}

#[test]
fn replays_a_recording_of_the_service() {
    const URL: &str = "http://recorded:1";
    for generation in [Generation::V1, Generation::V2] {
        let recording = tempfile::tempdir().unwrap();
        let recorder = Recorder::of_service(recording.path(), URL).unwrap();
        let harness = Setup::new(generation)
            .service(move |service| service.observer(move |seen| recorder.observe(seen)))
            .config(|config| config.firmware.check = true)
            .start();
        harness.expect(1, "settings", "completed");
        harness.expect(2, "lid_image", "completed");
        harness.service.drop_connection(Cut::Drain);
        harness.expect(3, "print", "completed");
        drop(harness.stop());
        let checks = |config: &mut Config| config.firmware.check = true;
        replayed(recording.path(), generation, checks, |_| ()).assert_no_differences();
    }
}

#[test]
fn replays_with_the_first_machine_only() {
    let recording = recorded(Generation::V2, unchanged);
    let session = Session::open(recording.path()).unwrap();
    let service = LocalService::builder().tls(false).replay(session.plan()).start().unwrap();
    let folder = folder();
    let mut config = config(folder.path(), Generation::V2);
    point_at(&mut config, &service, folder.path());
    let mut first = Emulator::new(config.clone()).unwrap();
    first.connect().unwrap();
    let opened = |seen: &[Seen]| seen.iter().any(|seen| matches!(seen, Seen::WsOpened { .. }));
    assert!(service.wait_for(opened, LIMIT), "{:#?}", service.seen());
    config.machine.serial += 1;
    let error = Emulator::new(config).unwrap().connect().unwrap_err();
    assert!(matches!(error, Error::SignInRefused { .. }), "{error}");
}

#[test]
fn refuses_a_recording_without_messages_of_the_service() {
    let recording = tempfile::tempdir().unwrap();
    let harness = Setup::new(Generation::V2).recorded(recording.path()).start();
    drop(harness.stop());
    let error = Session::open(recording.path()).unwrap_err().to_string();
    assert!(error.contains(SESSION_FILE) && error.contains("no messages from the service"), "{error}");
}

/// Replays the recording of a real client: this machine must send the same messages and requests.
fn golden(name: &str, generation: Generation, actions: usize) {
    let recording = tempfile::tempdir().unwrap();
    let imported = import(golden_folder().join(name), recording.path(), false).unwrap();
    assert_eq!(imported.skipped, []);
    let text = fs::read_to_string(recording.path().join(SESSION_FILE)).unwrap();
    for secret in ["0123456789abcdef", "Bearer", "12345678"] {
        assert!(!text.contains(secret), "{secret} is in {name}");
    }
    let replayed = replayed(recording.path(), generation, unchanged, |_| ());
    replayed.assert_no_differences();
    assert_eq!(replayed.comparison.actions, actions);
}

#[test]
#[ignore = "needs recordings of real clients: GF_GOLDEN_DIR"]
fn matches_the_real_2_6_client() {
    golden("2.6-full-cycle.jsonl", Generation::V2, 8);
}

#[test]
#[ignore = "needs recordings of real clients: GF_GOLDEN_DIR"]
fn matches_the_real_1_x_client() {
    golden("1.x-full-cycle.jsonl", Generation::V1, 8);
}
