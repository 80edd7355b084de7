//! Recordings: what was said is in them, and no secret is.

use std::fs;
use std::path::Path;

use gf_emulator_core::config::Generation;
use gf_emulator_core::puls;
use gf_emulator_core::record::{Event, Recorder, Recording, SESSION_FILE, Side};
use gf_emulator_tests::{PASSWORD, SERIAL, Setup, endings_of};
use serde_json::json;

const JOB: i64 = 41;

/// A job that only the machine of the tests may run.
fn locked() -> Vec<u8> {
    let mut job = puls::Builder::new();
    job.set(puls::code::SERIAL_LOCK, SERIAL).unwrap().move_to(3.0, 2.0).unwrap();
    job.to_bytes()
}

/// A session with one of everything, recorded.
fn recorded(generation: Generation, folder: &Path, serial: bool) {
    let bench = Setup::new(generation)
        .service(|service| service.puls(locked()).gzip(true))
        .config(move |config| {
            config.firmware.check = true;
            config.logging.record_serial = serial;
            config.machine.head_serial = Some(55_555_555);
        })
        .recorded(folder)
        .start();
    bench.expect(1, "settings", "completed");
    bench.send(2, "lid_image", "ready", &json!({"endpoint": "{http}/up/lid?X-Sig=a-presigned-secret"}));
    bench.wait_event("lid_image:completed", Some(2));
    bench.service.send_text("no JSON https://a-user:a-password@h/x?X-Sig=a-presigned-secret\n").unwrap();
    bench.expect(JOB, "motion", "completed");
    bench.service.drop_connection(gf_emulator_core::local_service::Cut::Drain);
    bench.ask(43, "settings");
    bench.wait("the second settings", |seen| endings_of(seen, 43, "settings").len() == 1);
    let (_service, _folder, ended) = bench.stop();
    ended.unwrap();
}

fn all_text(folder: &Path) -> String {
    let mut text = String::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        text.push_str(&path.display().to_string());
        text.push_str(&String::from_utf8_lossy(&fs::read(path).unwrap()));
    }
    text
}

#[test]
fn a_session_is_recorded_whole() {
    for generation in [Generation::V1, Generation::V2] {
        let folder = tempfile::tempdir().unwrap();
        recorded(generation, folder.path(), false);
        let mut recording = Recording::open(folder.path()).unwrap();
        let about = recording.about().clone();
        assert_eq!((about.side, about.serial), (Side::Machine, None));
        assert_eq!(about.generation.as_deref(), Some(generation.to_string().as_str()));
        let entries: Vec<_> = recording.by_ref().map(Result::unwrap).collect();
        assert_eq!(recording.skipped(), []);
        assert!(entries.iter().zip(1..).all(|(entry, n)| entry.n == n), "each has its number");
        assert!(entries.is_sorted_by(|one, other| one.t <= other.t), "{entries:#?}");

        let exchanges: Vec<_> = entries
            .iter()
            .filter_map(|entry| if let Event::Http(http) = &entry.event { Some(http) } else { None })
            .collect();
        let sign_ins: Vec<_> = exchanges.iter().filter(|http| http.url.ends_with("/machines/sign_in")).collect();
        assert_eq!(sign_ins.len(), 2, "one for each connection");
        assert_eq!(sign_ins[0].request.json, Some(json!({"serial": "***", "password": "***"})));
        assert_eq!(sign_ins[0].response.json, Some(json!({"ws_token": "***", "auth_token": "***"})));
        let firmware = exchanges.iter().find(|http| http.url.ends_with("/update/current")).unwrap();
        assert_eq!(firmware.request.headers["authorization"], "***");
        assert_eq!(firmware.response.json.as_ref().unwrap()["version"], "2.6.0-2228");

        let download = exchanges.iter().find(|http| http.url.ends_with("/dl/job.puls")).unwrap();
        assert_eq!((download.status, download.error.as_deref()), (Some(200), None));
        let file = recording.file(download.response.file.as_ref().unwrap()).unwrap();
        let kept = puls::measure(fs::File::open(file).unwrap(), puls::Limits::default()).unwrap();
        assert_eq!(kept.header.get(puls::code::SERIAL_LOCK), Some(0), "whose machine it is for is not said");
        assert_eq!(kept.counts, puls::measure(&locked()[..], puls::Limits::default()).unwrap().counts);
        let picture =
            exchanges.iter().find(|http| http.request.headers.get("content-type") == Some(&json!("image/jpeg")));
        let file = recording.file(picture.unwrap().request.file.as_ref().unwrap()).unwrap();
        assert_eq!(fs::metadata(file).unwrap().len(), picture.unwrap().request.bytes);

        let said = |out: bool| -> Vec<String> {
            let messages = entries.iter().filter_map(move |entry| match &entry.event {
                Event::Out(message) if out => Some(message),
                Event::In(message) if !out => Some(message),
                _ => None,
            });
            messages.map(|message| message.name().unwrap_or("no JSON").to_owned()).collect()
        };
        assert_eq!(said(false), ["settings", "lid_image", "no JSON", "motion", "settings"]);
        assert!(said(true).contains(&"lid_image:completed".to_owned()));
        let opened = entries.iter().filter(|entry| matches!(entry.event, Event::Opened { .. })).count();
        let closed = entries.iter().filter(|entry| matches!(entry.event, Event::Closed { .. })).count();
        assert_eq!((opened, closed), (2, 2));
        assert!(matches!(&entries.last().unwrap().event, Event::State { state, .. } if state == "stopped"));
    }
}

#[test]
fn no_secret_is_recorded() {
    let folder = tempfile::tempdir().unwrap();
    recorded(Generation::V2, folder.path(), false);
    let text = all_text(folder.path());
    let serial = SERIAL.to_string();
    for secret in [PASSWORD, "Bearer", "X-Sig", "a-presigned-secret", "a-password", "55555555", &serial] {
        let around =
            text.find(secret).map(|at| String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(60)..][..90]));
        assert_eq!(around, None, "{secret} is in the recording");
    }
    let with_serial = tempfile::tempdir().unwrap();
    recorded(Generation::V2, with_serial.path(), true);
    assert!(all_text(with_serial.path()).contains(&serial), "it was asked for");
}

#[test]
fn half_a_line_is_skipped_and_said() {
    let folder = tempfile::tempdir().unwrap();
    recorded(Generation::V2, folder.path(), false);
    let path = folder.path().join(SESSION_FILE);
    let text = fs::read_to_string(&path).unwrap();
    let whole = Recording::open(folder.path()).unwrap().count();
    fs::write(&path, &text[..text.len() - 20]).unwrap();
    let mut recording = Recording::open(folder.path()).unwrap();
    assert_eq!(recording.by_ref().map(Result::unwrap).count(), whole - 1);
    assert_eq!(recording.skipped().len(), 1);
    assert!(recording.skipped()[0].reason.contains("the file ends inside it"), "{:?}", recording.skipped());

    // In the middle, and as the very first.
    let broken = text.replacen('\n', "\n{\"n\":oops\n\u{fffd}\n", 1);
    fs::write(&path, &broken).unwrap();
    let mut recording = Recording::open(folder.path()).unwrap();
    assert_eq!((recording.by_ref().count(), recording.skipped().len()), (whole, 2));
    for (first, words) in
        [("", "empty"), ("{}\n", "which format"), ("{\"format\":99}\n", "format 99"), ("oops\n", "expected value")]
    {
        fs::write(&path, first).unwrap();
        let error = Recording::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("line 1"), "{error}");
    }
}

#[test]
fn a_recording_is_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let config = gf_emulator_core::Config::default();
    drop(Recorder::of_machine(folder.path(), &config).unwrap());
    let error = Recorder::of_machine(folder.path(), &config).unwrap_err().to_string();
    assert!(error.contains("begin a recording in"), "{error}");
}

#[test]
fn a_disk_that_is_full_costs_no_job() {
    // Nothing can be written into a folder that is gone.
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("recording");
    let bench = Setup::new(Generation::V2).recorded(&place).start();
    fs::remove_dir_all(&place).unwrap();
    bench.expect(JOB, "print", "completed");
    bench.expect(42, "settings", "completed");
    let (_service, _folder, ended) = bench.stop();
    ended.unwrap();
}
