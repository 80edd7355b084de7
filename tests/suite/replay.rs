//! Recorded sessions, given again to a second machine: the same machine answers the same, another one does not.

use std::fs;
use std::path::Path;
use std::time::Duration;

use gf_emulator_core::config::{Button, Generation};
use gf_emulator_core::local_service::{Cue, Cut, Failure, Fault, LocalService, Outcome, Seen};
use gf_emulator_core::record::{SESSION_FILE, import};
use gf_emulator_core::replay::{Comparison, Session};
use gf_emulator_core::{Config, Emulator, Error};
use gf_emulator_tests::{LIMIT, Setup, config, folder, folder_of, point_at, square};
use serde_json::json;
use tempfile::TempDir;

/// A session with one of everything.
fn recorded(generation: Generation, adjust: impl FnOnce(&mut Config) + 'static) -> TempDir {
    let recording = tempfile::tempdir().unwrap();
    let bench = Setup::new(generation).config(adjust).recorded(recording.path()).start();
    for (id, kind) in (1..).zip(["settings", "lid_image", "motion", "lid_image", "hunt", "head_image", "print"]) {
        bench.expect(id, kind, "completed");
    }
    if generation == Generation::V2 {
        bench.expect(8, "update_check", "completed");
        bench.expect(9, "factory_reset", "failed");
    }
    bench.service.send_text("no JSON\n").unwrap();
    bench.send(10, "focus", "ready", &json!({}));
    bench.expect(11, "settings", "completed");
    let (_service, _folder, ended) = bench.stop();
    ended.unwrap();
    recording
}

/// What a machine makes of a recording, by the replay's own account.
struct Replayed {
    outcome: Option<Outcome>,
    seen: Vec<Seen>,
    comparison: Comparison,
}

impl Replayed {
    fn differences(&self) -> Vec<String> {
        self.comparison.differences.iter().map(ToString::to_string).collect()
    }

    fn is_the_same(&self) {
        assert_eq!(self.differences(), [""; 0], "{:#?}", self.seen);
        assert_eq!(self.outcome, Some(Outcome::Done));
    }
}

/// Gives a recording to a machine, with a service that is as `prepare` makes it.
fn replayed(
    recording: &Path,
    generation: Generation,
    adjust: impl FnOnce(&mut Config),
    prepare: impl FnOnce(&LocalService),
) -> Replayed {
    let session = Session::open_with(recording, Duration::from_secs(2)).unwrap();
    assert_eq!(session.skipped(), []);
    let service = LocalService::builder().tls(false).puls(square()).replay(session.plan()).start().unwrap();
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
    let outcome = service.script_outcome(LIMIT);
    service.close(1000);
    handle.stop();
    machine.join().unwrap().unwrap();
    let seen = service.seen();
    Replayed { outcome, comparison: session.compare(&seen), seen }
}

fn nothing(_: &mut Config) {}

#[test]
fn a_second_machine_of_the_same_kind_says_the_same() {
    for generation in [Generation::V1, Generation::V2] {
        let recording = recorded(generation, nothing);
        let replayed = replayed(recording.path(), generation, nothing, |_| ());
        replayed.is_the_same();
        let Comparison { actions, messages, requests, .. } = replayed.comparison;
        assert!(actions >= 9 && messages > 25 && requests >= 8, "{}", replayed.comparison);
        assert!(replayed.comparison.to_string().starts_with("no difference: "), "{}", replayed.comparison);
    }
}

#[test]
fn what_the_service_had_said_is_said_again_with_its_own_address() {
    let recording = recorded(Generation::V2, nothing);
    let replayed = replayed(recording.path(), Generation::V2, nothing, |_| ());
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
    assert!(upload.unwrap().has_query, "as the recorded one");
}
