//! Recordings of whole sessions: complete, and without secrets.

use std::fs;
use std::path::Path;

use gf_emulator_core::config::Generation;
use gf_emulator_core::local_service::Seen;
use gf_emulator_core::puls;
use gf_emulator_core::record::{Event, Recorder, Recording, SESSION_FILE, Side};
use gf_emulator_core::{Config, Emulator};
use gf_emulator_tests::{PASSWORD, SERIAL, Setup, endings_of};
use serde_json::{Value, json};
use tungstenite::Message;

use crate::raw_service::{RawService, Response, RunningMachine, normal_responses};

const JOB: i64 = 41;

/// A job locked to the tests' machine.
fn locked_job() -> Vec<u8> {
    let mut job = puls::Builder::new();
    job.set(puls::code::SERIAL_LOCK, SERIAL).unwrap().move_to(3.0, 2.0).unwrap();
    job.to_bytes()
}

/// Records a session with every kind of entry.
fn record_session(generation: Generation, folder: &Path, serial: bool) {
    let harness = Setup::new(generation)
        .service(|service| service.puls(locked_job()).gzip(true))
        .config(move |config| {
            config.firmware.check = true;
            config.logging.record_serial = serial;
            config.machine.head_serial = Some(55_555_555);
        })
        .recorded(folder)
        .start();
    harness.expect(1, "settings", "completed");
    harness.send(2, "lid_image", "ready", &json!({"endpoint": "{http}/up/lid?X-Sig=a-presigned-secret"}));
    harness.wait_event("lid_image:completed", Some(2));
    harness.service.send_text("not JSON https://a-user:a-password@h/x?X-Sig=a-presigned-secret\n").unwrap();
    harness.expect(JOB, "motion", "completed");
    harness.service.drop_connection(gf_emulator_core::local_service::Cut::Drain);
    harness.start_action(43, "settings");
    harness.wait("the second settings", |seen| endings_of(seen, 43, "settings").len() == 1);
    let (_service, _folder, ended) = harness.stop();
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
fn records_a_whole_session() {
    for generation in [Generation::V1, Generation::V2] {
        let folder = tempfile::tempdir().unwrap();
        record_session(generation, folder.path(), false);
        let mut recording = Recording::open(folder.path()).unwrap();
        let about = recording.about().clone();
        assert_eq!((about.side, about.serial), (Side::Machine, None));
        assert_eq!(about.generation.as_deref(), Some(generation.to_string().as_str()));
        let entries: Vec<_> = recording.by_ref().map(Result::unwrap).collect();
        assert_eq!(recording.skipped(), []);
        assert!(entries.iter().zip(1..).all(|(entry, n)| entry.n == n), "numbered without gaps");
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
        assert_eq!(kept.header.get(puls::code::SERIAL_LOCK), Some(0), "the serial number is removed");
        assert_eq!(kept.counts, puls::measure(&locked_job()[..], puls::Limits::default()).unwrap().counts);
        let picture =
            exchanges.iter().find(|http| http.request.headers.get("content-type") == Some(&json!("image/jpeg")));
        let file = recording.file(picture.unwrap().request.file.as_ref().unwrap()).unwrap();
        assert_eq!(fs::metadata(file).unwrap().len(), picture.unwrap().request.bytes);

        let names = |out: bool| -> Vec<String> {
            let messages = entries.iter().filter_map(move |entry| match &entry.event {
                Event::Out(message) if out => Some(message),
                Event::In(message) if !out => Some(message),
                _ => None,
            });
            messages.map(|message| message.name().unwrap_or("not JSON").to_owned()).collect()
        };
        assert_eq!(names(false), ["settings", "lid_image", "not JSON", "motion", "settings"]);
        assert!(names(true).contains(&"lid_image:completed".to_owned()));
        let opened = entries.iter().filter(|entry| matches!(entry.event, Event::Opened { .. })).count();
        let closed = entries.iter().filter(|entry| matches!(entry.event, Event::Closed { .. })).count();
        assert_eq!((opened, closed), (2, 2));
        assert!(matches!(&entries.last().unwrap().event, Event::State { state, .. } if state == "stopped"));
    }
}

#[test]
fn records_no_secrets() {
    let folder = tempfile::tempdir().unwrap();
    record_session(Generation::V2, folder.path(), false);
    let text = all_text(folder.path());
    let serial = SERIAL.to_string();
    for secret in [PASSWORD, "Bearer", "X-Sig", "a-presigned-secret", "a-password", "55555555", &serial] {
        let context =
            text.find(secret).map(|at| String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(60)..][..90]));
        assert_eq!(context, None, "{secret} is in the recording");
    }
    let with_serial = tempfile::tempdir().unwrap();
    record_session(Generation::V2, with_serial.path(), true);
    assert!(all_text(with_serial.path()).contains(&serial), "record_serial is set");
}

#[test]
fn skips_and_reports_invalid_lines() {
    let folder = tempfile::tempdir().unwrap();
    record_session(Generation::V2, folder.path(), false);
    let path = folder.path().join(SESSION_FILE);
    let text = fs::read_to_string(&path).unwrap();
    let total = Recording::open(folder.path()).unwrap().count();
    fs::write(&path, &text[..text.len() - 20]).unwrap();
    let mut recording = Recording::open(folder.path()).unwrap();
    assert_eq!(recording.by_ref().map(Result::unwrap).count(), total - 1);
    assert_eq!(recording.skipped().len(), 1);
    assert!(
        recording.skipped()[0].reason.contains("the file ends in the middle of this line"),
        "{:?}",
        recording.skipped()
    );

    // Invalid lines in the middle, and an invalid first line.
    let broken = text.replacen('\n', "\n{\"n\":oops\n\u{fffd}\n", 1);
    fs::write(&path, &broken).unwrap();
    let mut recording = Recording::open(folder.path()).unwrap();
    assert_eq!((recording.by_ref().count(), recording.skipped().len()), (total, 2));
    for (first, words) in [
        ("", "empty"),
        ("{}\n", "format version is missing"),
        ("{\"format\":99}\n", "format 99"),
        ("oops\n", "expected value"),
    ] {
        fs::write(&path, first).unwrap();
        let error = Recording::open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("line 1"), "{error}");
    }
}

#[test]
fn does_not_overwrite_a_recording() {
    let folder = tempfile::tempdir().unwrap();
    let config = gf_emulator_core::Config::default();
    drop(Recorder::of_machine(folder.path(), &config).unwrap());
    let error = Recorder::of_machine(folder.path(), &config).unwrap_err().to_string();
    assert!(error.contains("begin a recording in"), "{error}");
}

// Windows does not delete a folder with open files.
#[cfg(unix)]
#[test]
fn jobs_complete_if_the_recording_cannot_be_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recording");
    let harness = Setup::new(Generation::V2).recorded(&path).start();
    // Nothing can be written into a deleted folder.
    fs::remove_dir_all(&path).unwrap();
    harness.expect(JOB, "print", "completed");
    harness.expect(42, "settings", "completed");
    let (_service, _folder, ended) = harness.stop();
    ended.unwrap();
}

/// Records a session against a raw service; `drive` gets the service's side of the WebSocket.
fn record_machine(
    raw: &RawService,
    folder: &Path,
    drive: impl FnOnce(&mut tungstenite::WebSocket<std::net::TcpStream>),
) {
    let (emulator, machine_folder) = raw.machine(|config| config.machine.serial = SERIAL);
    let config = gf_emulator_tests::config(machine_folder.path(), Generation::V2);
    emulator.record(&Recorder::of_machine(folder, &config).unwrap());
    let running = RunningMachine::start((emulator, machine_folder));
    drive(&mut raw.socket());
    running.stop().unwrap();
}

/// Sends an action and reads until its terminal event.
fn run_action(socket: &mut tungstenite::WebSocket<std::net::TcpStream>, action: &Value) {
    socket.send(Message::text(action.to_string())).unwrap();
    let kind = action["action_type"].as_str().unwrap();
    let endings = ["completed", "failed", "cancelled"].map(|ending| format!("\"{kind}:{ending}\""));
    loop {
        let Message::Text(text) = socket.read().unwrap() else { continue };
        if text.contains(&format!("\"action_id\":{},", action["id"])) && endings.iter().any(|e| text.contains(e)) {
            return;
        }
    }
}

fn response(status: u16, headers: &str, body: &[u8]) -> Response {
    let head = format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    Response::Bytes([head.as_bytes(), body].concat())
}

#[test]
fn redacts_secrets_that_a_service_repeats() {
    let (percent, unit) = (|byte: u8| format!("%{byte:02X}"), |byte: u8| format!("\\u00{byte:02x}"));
    let repeated = format!("{PASSWORD} ws-token-1 auth-token-1 a-presigned-secret {SERIAL}");
    let encoded: String = PASSWORD.bytes().map(percent).collect();
    let escaped: String = PASSWORD.bytes().map(unit).collect();
    let everything = format!("<p>{repeated}</p> {encoded} {escaped} password={PASSWORD}");
    let raw = RawService::start({
        let (normal, everything) = (normal_responses(), everything.clone());
        move |request| {
            let headers = format!(
                "ETag: \"{repeated}\"\r\nServer: {repeated}\r\nContent-Type: text/{PASSWORD}\r\nRetry-After: {SERIAL}\r\n"
            );
            let path = request.method_and_path.split(' ').next_back().unwrap_or_default();
            match path.split('?').next().unwrap_or_default() {
                "/machines/sign_in" => {
                    // The machine does not know the presigned URL yet.
                    let headers = headers.replace("a-presigned-secret", "");
                    let body = json!({
                        "ws_token": "ws-token-1", "auth_token": "auth-token-1", PASSWORD: 1, "ws-token-1": "auth-token-1",
                    });
                    response(200, &headers.replace("a-presigned-secret", ""), body.to_string().as_bytes())
                }
                "/short" => response(403, &headers, everything.as_bytes()),
                "/long" => response(200, &headers, everything.repeat(1000).as_bytes()),
                "/json" => response(200, &headers, format!("{{\"{everything}\": [\"{everything}\"]}}").as_bytes()),
                _ => normal(request),
            }
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let base = format!("http://{}", raw.addr);
    record_machine(&raw, folder.path(), |socket| {
        for (id, path) in (1..).zip(["/short", "/long", "/json", &format!("/{PASSWORD}/x"), &format!("/{encoded}")]) {
            let url = format!("{base}{path}?X-Sig=a-presigned-secret");
            run_action(socket, &json!({"id": id, "action_type": "motion", "status": "ready", "motion_url": url}));
            run_action(
                socket,
                &json!({"id": id + 100, "action_type": "lid_image", "status": "ready", "endpoint": url}),
            );
        }
        for frame in
            [&everything, &json!({"id": 1, PASSWORD: &everything}).to_string(), &format!("{{\"x\":\"{escaped}")]
        {
            socket.send(Message::text(frame.as_str())).unwrap();
        }
        run_action(socket, &json!({"id": 300, "action_type": "settings", "status": "ready"}));
    });
    let text = all_text(folder.path());
    let serial = SERIAL.to_string();
    for secret in [PASSWORD, "ws-token-1", "auth-token-1", "a-presigned-secret", "X-Sig", &serial, &encoded, &escaped] {
        let context = text.lines().find(|line| line.contains(secret));
        assert_eq!(context, None, "{secret} is in the recording");
    }
    let lines = fs::read_to_string(folder.path().join(SESSION_FILE)).unwrap();
    assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "{lines}");
    assert!(lines.lines().count() > 50, "{lines}");
}

#[test]
fn redacts_frames_of_unknown_machines() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::of_service(folder.path(), "http://127.0.0.1:1").unwrap();
    let deep = format!("{}{}", "[".repeat(127), "]".repeat(127));
    let frames = [
        "hello there",
        r#"{"serial" : 1}"#,
        r#"{"password": "hunter2hunter2"}"#,
        r#"{"PASSWORD" : "hunter2hunter2", "a": 1e999}"#,
        r#"{"p\u0061ssword":"hunter2hunter2"}"#,
        "password = hunter2hunter2",
        r#"{"password": "hunter2hunter2""#,
        "Authorization: Bearer hunter2hunter2",
        r#"{"x":"\ud800"}"#,
        "{\"a\":1}\r\n{\"b\":2}",
        "\u{0}\u{1b}\u{2028}\"\\",
        &deep,
    ];
    for frame in frames {
        recorder.observe(&Seen::WsMessage { message: Value::Null, text: frame.into() });
        recorder.observe(&Seen::WsSent(frame.into()));
    }
    drop(recorder);
    let text = fs::read_to_string(folder.path().join(SESSION_FILE)).unwrap();
    assert!(!text.contains("hunter2"), "{text}");
    assert!(!text.contains(r#""serial":1"#) && !text.contains(r#""serial" : 1"#), "{text}");
    let mut recording = Recording::open(folder.path()).unwrap();
    let entries: Vec<_> = recording.by_ref().map(Result::unwrap).collect();
    assert_eq!(recording.skipped(), []);
    let texts = entries.iter().filter_map(|entry| match &entry.event {
        Event::Out(message) => message.text.clone(),
        _ => None,
    });
    assert!(texts.into_iter().any(|text| text == "hello there"), "{entries:#?}");
    assert!(entries.len() >= 2 * frames.len());
}

/// A compressed job, locked to the tests' machine, with this many ticks that do nothing.
fn locked_gzip(ticks: f64) -> Vec<u8> {
    let mut job = puls::Builder::new();
    job.set(puls::code::SERIAL_LOCK, SERIAL).unwrap().dwell(ticks / 10_000.0).unwrap();
    job.to_gzip()
}

/// Records a machine that downloads a job twice. Returns the recording and its only job file.
fn record_job_twice(job: &[u8]) -> (tempfile::TempDir, std::path::PathBuf) {
    let raw = RawService::start({
        let (normal, job) = (normal_responses(), job.to_vec());
        move |request| {
            if request.method_and_path.starts_with("GET /job") { response(200, "", &job) } else { normal(request) }
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let url = format!("http://{}/job", raw.addr);
    record_machine(&raw, folder.path(), |socket| {
        for id in [1, 2] {
            run_action(socket, &json!({"id": id, "action_type": "motion", "status": "ready", "motion_url": url}));
        }
    });
    let paths = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    let mut jobs: Vec<_> = paths.filter(|path| path.extension().is_some_and(|ending| ending == "puls")).collect();
    assert_eq!(jobs.len(), 1, "both downloads share a file: {jobs:?}");
    (folder, jobs.remove(0))
}

#[test]
fn a_locked_job_stays_compressed() {
    let job = locked_gzip(20e6);
    assert!(job.len() < 400_000, "{}", job.len());
    let (_folder, path) = record_job_twice(&job);
    let kept = path.metadata().unwrap().len();
    assert!(kept < 2 * job.len() as u64, "{kept} bytes of a job of {}", job.len());
    let kept = puls::measure(fs::File::open(path).unwrap(), puls::Limits::default()).unwrap();
    assert_eq!(kept.header.get(puls::code::SERIAL_LOCK), Some(0));
    assert_eq!(kept.counts, puls::measure(&job[..], puls::Limits::default()).unwrap().counts);
}

#[test]
fn a_repeated_job_has_one_file() {
    for length in [200_000, 2_000_000] {
        let mut job = locked_job();
        job.resize(length, 0);
        let (_folder, path) = record_job_twice(&job);
        assert_eq!(path.metadata().unwrap().len(), job.len() as u64);
    }
}

#[test]
fn reads_only_regular_files_with_bounded_lines() {
    let folder = tempfile::tempdir().unwrap();
    let config = gf_emulator_core::Config::default();
    drop(Recorder::of_machine(folder.path(), &config).unwrap());
    let path = folder.path().join(SESSION_FILE);
    // The file itself can be opened, too.
    assert_eq!(Recording::open(&path).unwrap().folder(), folder.path());
    let text = fs::read_to_string(&path).unwrap() + "{\"n\":1,\"x\":\"" + &"x".repeat(2 << 20) + "\"}\n";
    fs::write(&path, text).unwrap();
    let mut recording = Recording::open(folder.path()).unwrap();
    assert_eq!(recording.by_ref().count(), 0);
    assert_eq!(recording.skipped()[0].line, 2);
    assert!(recording.skipped()[0].reason.contains("longer than"), "{:?}", recording.skipped());
    #[cfg(unix)]
    {
        fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        for path in [folder.path(), &path] {
            let error = Recording::open(path).unwrap_err().to_string();
            assert!(error.contains("not a regular file"), "{error}");
        }
    }
}

#[test]
fn machines_started_in_the_same_second_have_separate_recordings() {
    let parent = tempfile::tempdir().unwrap();
    let mut config = gf_emulator_core::Config::default();
    config.logging.record_dir = Some(parent.path().join("all"));
    let machines: Vec<_> =
        (0..8).map(|_| gf_emulator_core::Emulator::offline(config.clone(), parent.path()).unwrap()).collect();
    let folders: std::collections::BTreeSet<_> =
        machines.iter().map(|(machine, _)| machine.recorder().unwrap().folder().to_owned()).collect();
    assert_eq!(folders.len(), machines.len(), "{folders:?}");
}

#[test]
fn a_handle_does_not_keep_the_recording_open() {
    let folder = tempfile::tempdir().unwrap();
    let recorder = Recorder::of_machine(folder.path(), &Config::default()).unwrap();
    let lines = recorder.subscribe();
    let (mut emulator, peer) = Emulator::offline(Config::default(), folder.path()).unwrap();
    emulator.record(&recorder);
    let handle = emulator.handle();
    drop((recorder, peer.tx));
    emulator.run().unwrap();
    drop(emulator);
    assert!(lines.try_iter().any(|line| line.contains("stopped")));
    assert_eq!(lines.try_recv(), Err(crossbeam_channel::TryRecvError::Disconnected), "the recorder still runs");
    drop(handle);
}
