//! Whole sessions of a machine and a service: their output and their end.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

use gf_emulator_core::Secret;
use gf_emulator_core::local_service::{LocalService, Script, Seen};
use tempfile::TempDir;

use crate::program::{LIMIT, Program, command};
use crate::{PASSWORD, configure, folder, names, run};

#[test]
fn serve_names_the_step_that_timed_out() {
    let folder = folder();
    let script = r#"[{"send": {"id": 1, "action_type": "settings", "status": "ready"}},
                     {"await": "settings:completed", "action_id": 1},
                     {"await": "never:came", "timeout_s": 0.2}]"#;
    fs::write(folder.path().join("script.json"), script).unwrap();
    let mut command = command(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0", "--plain", "--script", "script.json"]);
    let service = Program::start(command);
    let machine = start_machine(&folder, &service, "", "console_log_level: INFO");
    let ended = service.end();
    ended.expect(1);
    assert!(ended.stderr.contains("step 3 of the script: never:came did not arrive"), "{}", ended.stderr);
    assert!(ended.stdout.contains("settings:completed (1)"), "{}", ended.stdout);
    drop(machine);
}

/// Writes a configuration with the addresses that `serve` has printed.
pub(crate) fn configure_for(folder: &TempDir, service: &Program, ca_file: &str, more: &str) {
    let value = |line: String| line.split_once(": ").unwrap().1.trim().to_owned();
    let http = value(service.wait_line("server_url: "));
    let ws = value(service.wait_line("status_service_url: "));
    configure(folder, &http, &ws, ca_file, more);
}

/// Starts a machine for the addresses that `serve` has printed.
pub(crate) fn start_machine(folder: &TempDir, service: &Program, ca_file: &str, more: &str) -> Program {
    configure_for(folder, service, ca_file, more);
    let mut command = command(folder.path());
    command.env("RUST_LOG", "trace");
    Program::start(command)
}

#[test]
#[cfg(unix)]
fn serve_runs_the_built_in_script_and_no_log_has_a_secret() {
    let folder = folder();
    let mut command = command(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0", "--ca-out", "ca.pem", "--gzip", "--script", "1.x"]);
    let service = Program::start(command);
    let machine = start_machine(&folder, &service, "ca.pem", "log_file: logs/run.log\nlog_level: ERROR");
    let ended = service.end();
    ended.expect(0);
    assert!(ended.stdout.contains("print:completed (1013)"), "{}", ended.stdout);
    assert!(ended.stdout.contains("the script is done"), "{}", ended.stdout);
    assert!(!ended.stderr.contains("from other computers"));
    machine.wait_line("connection lost");
    machine.terminate();
    let ended = machine.end();
    ended.expect(0);
    assert_eq!(names(&folder.path().join("motion"), "puls").len(), 5);

    let file = fs::read_to_string(folder.path().join("logs/run.log")).unwrap();
    for log in [&ended.stderr, &file] {
        // RUST_LOG takes precedence over ERROR, also in the file.
        assert!(log.contains("event print:completed (action 1013)"), "{log}");
        for secret in [PASSWORD, "Bearer", "auth_token", "ws_token", "X-Goog-Signature", "Sec-WebSocket"] {
            assert!(!log.contains(secret), "{secret} is in the log: {log}");
        }
        // Any token is long.
        let longest = log.split(|c: char| !c.is_ascii_alphanumeric()).map(str::len).max();
        assert!(longest < Some(24), "{log}");
    }
    let [first, ..] = file.lines().collect::<Vec<_>>()[..] else { panic!("the log file is empty") };
    let shape: String = first.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert!(shape.starts_with("9999-99-99 99:99:99,999 (INFO) "), "{first}");
}

#[test]
#[cfg(unix)]
fn serve_fails_if_stopped_before_the_end() {
    let folder = folder();
    for (more, code) in [(&["--script", "1.x"][..], 1), (&["--once"], 1), (&[], 0)] {
        let mut command = command(folder.path());
        command.args(["serve", "--listen", "127.0.0.1:0", "--plain"]).args(more);
        let service = Program::start(command);
        service.wait_line("Press Ctrl-C to stop");
        service.terminate();
        let ended = service.end();
        ended.expect(code);
        assert_eq!(ended.stderr.contains("stopped before"), code == 1, "{}", ended.stderr);
        assert_eq!(ended.stdout.ends_with("\nstopped\n"), code == 0, "{}", ended.stdout);
    }
}

#[test]
#[cfg(unix)]
fn serve_homes_a_machine_and_prints_a_queue() {
    let folder = folder();
    let job = gf_emulator_core::puls::Builder::new().move_to(3.0, 4.0).unwrap().to_bytes();
    for name in ["one.puls", "two.puls"] {
        fs::write(folder.path().join(name), &job).unwrap();
    }
    let lines = [
        "S12345678: print 2 (two.puls): queued",
        "S12345678: homing is over",
        "S12345678: print 1 (one.puls): sent",
        "S12345678: print 1 (one.puls): waiting for the button",
        "S12345678: print 1 (one.puls): running",
        "S12345678: print 1 (one.puls): completed",
        "S12345678: print 2 (two.puls): sent",
        "S12345678: print 2 (two.puls): completed",
        "every machine is homed, and every print is completed",
    ];
    // Other loopback addresses stand for other computers. Not every system has them.
    let addresses = if cfg!(target_os = "linux") { ["127.0.0.2:0", "127.0.0.3:0"] } else { ["127.0.0.1:0"; 2] };
    let trusted = folder.path().join("trusted.pem");
    for (round, address) in (1..).zip(addresses) {
        let mut command = command(folder.path());
        command.args(["serve", "--listen", address, "--ca-dir", "kept", "--once"]);
        command.args(["--puls", "one.puls", "--puls", "two.puls"]);
        let service = Program::start(command);
        service.wait_line("[SERVICE]");
        if !trusted.exists() {
            // The machine trusts the certificate of the first start for good.
            fs::copy(folder.path().join("kept/ca.pem"), &trusted).unwrap();
        }
        let machine = start_machine(&folder, &service, "trusted.pem", "");
        let ended = service.end();
        ended.expect(0);
        let places: Vec<_> = lines.iter().map(|line| ended.stdout.find(line)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?}: {}", ended.stdout);
        machine.terminate();
        machine.end().expect(0);
        // A hunt before homing and after each print, three motions, two prints.
        assert_eq!(names(&folder.path().join("motion"), "puls").len(), 8 * round);
    }
}

/// What `serve` prints of a session with these faults, without times. Requests and messages come from different threads
/// of the machine, so only the order within each direction is fixed.
fn transcript(folder: &TempDir, seed: &str) -> BTreeMap<String, Vec<String>> {
    let mut command = command(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0", "--plain", "--once", "--puls", "one.puls", "--seed", seed]);
    for fault in ["status=503 retry_after_s=0 on=POST:/machines/ p=0.5", "frame=split p=0.5", "delay_s=0..0.01 p=0.5"] {
        command.args(["--fault", fault]);
    }
    let service = Program::start(command);
    let machine = start_machine(folder, &service, "", "");
    let ended = service.end();
    ended.expect(0);
    drop(machine);
    assert!(ended.stdout.contains(&format!("--seed {seed} repeats them")), "{}", ended.stdout);
    let mut lines: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in ended.stdout.lines().filter_map(|line| Some(line.split_once(" s  ")?.1)) {
        // The machine may begin to connect again before the service has stopped.
        if line.contains("WebSocket closed") {
            break;
        }
        let (direction, what) = line.trim_start().split_once("  ").unwrap();
        lines.entry(direction.to_owned()).or_default().push(what.to_owned());
    }
    lines
}

#[test]
fn serve_prints_the_same_transcript_for_the_same_seed() {
    let folder = folder();
    let job = gf_emulator_core::puls::Builder::new().move_to(3.0, 4.0).unwrap().to_bytes();
    fs::write(folder.path().join("one.puls"), &job).unwrap();
    let first = transcript(&folder, "7");
    let faults = &first["fault"];
    for kind in ["machine 1: POST /machines/sign_in: status 503", "machine 1: a frame: split into 2 fragments"] {
        assert!(faults.iter().any(|fault| fault == kind), "{faults:?}");
    }
    assert_eq!(first, transcript(&folder, "7"));
    assert_ne!(faults, &transcript(&folder, "8")["fault"]);
}

#[test]
#[cfg(unix)]
fn sigterm_cancels_the_running_action_and_closes_cleanly() {
    let script = Script::from_json(
        r#"[{"send": {"id": 7, "action_type": "print", "status": "ready", "motion_url": "{puls}"}}]"#,
    );
    let service = LocalService::builder().tls(false).script(script.unwrap()).start().unwrap();
    let folder = folder();
    // The print waits for the button.
    let more = "[EMULATOR]\nbutton: wait";
    configure(&folder, service.http_url(), &service.ws_url(), "", more);
    let mut command = command(folder.path());
    command.arg("run");
    let machine = Program::start(command);
    let came = |event: &str| service.wait_for(|seen| seen.iter().any(|s| s.is_event(event, Some(7))), LIMIT);
    assert!(came("print:download:completed"));
    machine.terminate();
    // It would be 1 after more than 1.9 seconds.
    let ended = machine.end();
    ended.expect(0);
    assert!(came("print:cancelled"), "{:#?}", service.seen());
    let closed = |seen: &[Seen]| matches!(seen.last(), Some(Seen::WsClosed { code: Some(1000) }));
    assert!(service.wait_for(closed, LIMIT), "{:#?}", service.seen());
    let lines: Vec<_> = ended.stderr.lines().collect();
    let expected = ["jobs go to motion", "connected", "a job was saved: motion", "stopped"];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    assert!(lines.iter().zip(expected).all(|(line, words)| line.contains(words)), "{lines:#?}");
}

#[test]
#[cfg(unix)]
fn sigterm_ends_a_machine_that_cannot_connect() {
    let folder = folder();
    // A port on which nothing listens.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    configure(&folder, &format!("http://{address}"), &format!("ws://{address}"), "", "console_log_level: WARNING");
    let machine = Program::start(command(folder.path()));
    machine.wait_line("retrying in");
    machine.terminate();
    machine.end().expect(0);
}

#[test]
fn a_refused_sign_in_is_a_failure() {
    let service = LocalService::builder().tls(false).password(Secret::new("f".repeat(64))).start().unwrap();
    let folder = folder();
    configure(&folder, service.http_url(), &service.ws_url(), "", "console_log_level: DEBUG");
    let ended = run(&folder, &["--config", "gf-machine-emulator.cfg"]);
    ended.expect(1);
    assert!(ended.stderr.contains("refused") && !ended.stderr.contains(PASSWORD), "{}", ended.stderr);
}

#[test]
fn an_unwritable_log_file_is_a_configuration_error() {
    let folder = folder();
    configure(&folder, "http://127.0.0.1:1", "ws://127.0.0.1:1", "", "log_file: images");
    let ended = run(&folder, &["run"]);
    ended.expect(2);
    assert!(ended.stderr.contains("log_file"), "{}", ended.stderr);
}

#[test]
#[cfg(unix)]
fn a_secret_in_a_path_is_in_no_log() {
    let folder = folder();
    let service = LocalService::builder().tls(false).start().unwrap();
    configure(&folder, service.http_url(), &service.ws_url(), "", "log_file: run.log\nlog_level: DEBUG");
    let mut command = command(folder.path());
    command.arg("run").env("RUST_LOG", "debug");
    let program = Program::start(command);
    let opened = service.wait_for(|seen| seen.iter().any(|seen| matches!(seen, Seen::WsOpened { .. })), LIMIT);
    assert!(opened, "{:?}", service.seen());
    let percent = |byte: u8| format!("%{byte:02X}");
    let escaped: String = PASSWORD.bytes().map(percent).collect();
    for (id, path) in (1..).zip([PASSWORD, &escaped]) {
        let url = format!("{}/{path}/x?X-Sig=a-presigned-secret", service.http_url());
        let action = serde_json::json!({"id": id, "action_type": "motion", "status": "ready", "motion_url": url});
        service.send(action).unwrap();
        program.wait_line(&format!("motion {id} failed: "));
        // It is logged before it has ended, and a second job would be refused until then.
        let ended = service.wait_for(|seen| seen.iter().any(|seen| seen.is_event("motion:failed", Some(id))), LIMIT);
        assert!(ended, "{:?}", service.seen());
    }
    program.terminate();
    let ended = program.end();
    let log = fs::read_to_string(folder.path().join("run.log")).unwrap();
    for (text, what) in [(&ended.stderr, "stderr"), (&log, "the log")] {
        assert!(text.contains("motion 2 failed: "), "{text}");
        for secret in [PASSWORD, &escaped, "a-presigned-secret"] {
            assert!(!text.contains(secret), "{secret} is in {what}: {text}");
        }
    }
}

#[test]
#[cfg(unix)]
fn run_says_that_the_button_is_on_the_follow_page() {
    let folder = folder();
    let service = LocalService::builder().tls(false).start().unwrap();
    configure(&folder, service.http_url(), &service.ws_url(), "", "[EMULATOR]\nbutton: wait");
    let mut command = command(folder.path());
    command.args(["run", "--follow", "0"]).stdin(Stdio::null());
    let program = Program::start(command);
    program.wait_line("follow it at ");
    assert!(program.wait_line("button").contains("press it on that page"));
    program.terminate();
    let ended = program.end();
    assert!(!ended.stderr.contains("no terminal"), "{}", ended.stderr);
}

#[test]
fn collect_ends_after_the_jobs_and_lists_them() {
    // Exactly two jobs, so that speed does not matter.
    let script = r#"[{"send": {"id": 1, "action_type": "motion", "status": "ready", "motion_url": "{puls}"}},
                     {"await": "motion:completed", "action_id": 1},
                     {"send": {"id": 2, "action_type": "motion", "status": "ready", "motion_url": "{puls}"}}]"#;
    let script = Script::from_json(script).unwrap();
    let service = LocalService::builder().tls(false).script(script).start().unwrap();
    let folder = folder();
    configure(&folder, service.http_url(), &service.ws_url(), "", "");
    let ended = run(&folder, &["collect", "--jobs", "2"]);
    ended.expect(0);
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(lines[0], "2 jobs in motion:", "{ended:?}");
    let (_, name) = lines[2].rsplit_once("  ").unwrap();
    assert!(name.starts_with("20") && name.ends_with("_motion_1.puls") && lines[4].ends_with("  2 jobs"), "{ended:?}");
    assert_eq!(names(&folder.path().join("motion"), "puls").len(), 2);
}

#[test]
fn collect_fails_if_no_job_arrived_in_time() {
    // A service that sends nothing.
    let service = LocalService::builder().tls(false).start().unwrap();
    let folder = folder();
    configure(&folder, service.http_url(), &service.ws_url(), "", "");
    let ended = run(&folder, &["collect", "--for", "0.2"]);
    ended.expect(1);
    assert!(ended.stderr.contains("no job arrived"), "{ended:?}");
}
