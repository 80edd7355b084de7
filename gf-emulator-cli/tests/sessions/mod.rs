//! A machine and a service: whole sessions, how they end, and what they say.

use std::fs;
use std::process::Stdio;

use gf_emulator_core::Secret;
use gf_emulator_core::local_service::{LocalService, Script, Seen};
use tempfile::TempDir;

use crate::program::{LIMIT, Program, command};
use crate::{PASSWORD, configure, folder, names, run};

#[test]
fn serve_names_the_step_that_did_not_come() {
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
    assert!(ended.stderr.contains("step 3 of the script: never:came did not come"), "{}", ended.stderr);
    assert!(ended.stdout.contains("settings:completed (1)"), "{}", ended.stdout);
    drop(machine);
}

/// A configuration for what a `serve` has printed.
pub(crate) fn configure_for(folder: &TempDir, service: &Program, ca_file: &str, more: &str) {
    let value = |line: String| line.split_once(": ").unwrap().1.trim().to_owned();
    let http = value(service.wait_line("server_url: "));
    let ws = value(service.wait_line("status_service_url: "));
    configure(folder, &http, &ws, ca_file, more);
}

/// Runs a machine against what a `serve` has printed.
pub(crate) fn start_machine(folder: &TempDir, service: &Program, ca_file: &str, more: &str) -> Program {
    configure_for(folder, service, ca_file, more);
    let mut command = command(folder.path());
    command.env("RUST_LOG", "trace");
    Program::start(command)
}

#[test]
#[cfg_attr(not(unix), ignore = "no signal to end it with")]
fn serve_takes_a_machine_through_the_default_script_and_no_log_has_a_secret() {
    let folder = folder();
    let mut command = command(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0", "--ca-out", "ca.pem", "--gzip"]);
    let service = Program::start(command);
    let machine = start_machine(&folder, &service, "ca.pem", "log_file: logs/run.log\nlog_level: ERROR");
    let ended = service.end();
    ended.expect(0);
    assert!(ended.stdout.contains("print:completed (1013)"), "{}", ended.stdout);
    assert!(ended.stdout.contains("the script is done"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("not of this computer"));
    machine.wait_line("connection lost");
    machine.terminate();
    let ended = machine.end();
    ended.expect(0);
    assert_eq!(names(&folder.path().join("motion"), "puls").len(), 5);

    let file = fs::read_to_string(folder.path().join("logs/run.log")).unwrap();
    for log in [&ended.stderr, &file] {
        // RUST_LOG wins over ERROR, in the file as well.
        assert!(log.contains("event print:completed (action 1013)"), "{log}");
        for secret in [PASSWORD, "Bearer", "auth_token", "ws_token", "X-Goog-Signature", "Sec-WebSocket"] {
            assert!(!log.contains(secret), "{secret} is in the log: {log}");
        }
        // Whatever a token looks like, it is long.
        let longest = log.split(|c: char| !c.is_ascii_alphanumeric()).map(str::len).max();
        assert!(longest < Some(24), "{log}");
    }
    let [first, ..] = file.lines().collect::<Vec<_>>()[..] else { panic!("the log file is empty") };
    let shape: String = first.chars().map(|c| if c.is_ascii_digit() { '9' } else { c }).collect();
    assert!(shape.starts_with("9999-99-99 99:99:99,999 (INFO) "), "{first}");
}

#[test]
#[cfg_attr(not(unix), ignore = "no signal to end it with")]
fn serve_is_a_failure_when_it_is_stopped_before_the_end() {
    let folder = folder();
    let mut command = command(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0", "--plain"]);
    let service = Program::start(command);
    service.wait_line("Ctrl-C ends it");
    service.terminate();
    let ended = service.end();
    ended.expect(1);
    assert!(ended.stderr.contains("stopped before"), "{}", ended.stderr);
}

#[test]
#[cfg_attr(not(unix), ignore = "no signal to end it with")]
fn a_machine_that_is_told_to_end_withdraws_what_it_does_and_closes_in_order() {
    let script = Script::from_json(
        r#"[{"send": {"id": 7, "action_type": "print", "status": "ready", "motion_url": "{puls}"}}]"#,
    );
    let service = LocalService::builder().tls(false).script(script.unwrap()).start().unwrap();
    let folder = folder();
    // Nobody presses the button.
    let more = "[EMULATOR]\nbutton: wait";
    configure(&folder, service.http_url(), &service.ws_url(), "", more);
    let mut command = command(folder.path());
    command.arg("run");
    let machine = Program::start(command);
    let came = |event: &str| service.wait_for(|seen| seen.iter().any(|s| s.is_event(event, Some(7))), LIMIT);
    assert!(came("print:download:completed"));
    machine.terminate();
    // More than 1.9 seconds would be a 1.
    let ended = machine.end();
    ended.expect(0);
    assert!(came("print:cancelled"), "{:#?}", service.seen());
    let closed = |seen: &[Seen]| matches!(seen.last(), Some(Seen::WsClosed { code: Some(1000) }));
    assert!(service.wait_for(closed, LIMIT), "{:#?}", service.seen());
    let lines: Vec<_> = ended.stderr.lines().collect();
    assert_eq!(lines.len(), 2, "one line at the start, one at the end: {lines:#?}");
    assert!(lines[0].contains("jobs go to motion") && lines[1].contains("stopped"), "{lines:#?}");
}

#[test]
#[cfg_attr(not(unix), ignore = "no signal to end it with")]
fn a_machine_that_finds_no_service_can_be_told_to_end() {
    let folder = folder();
    // Nobody listens there any more.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    configure(&folder, &format!("http://{address}"), &format!("ws://{address}"), "", "console_log_level: WARNING");
    let machine = Program::start(command(folder.path()));
    machine.wait_line("trying again");
    machine.terminate();
    machine.end().expect(0);
}

#[test]
fn a_sign_in_that_is_refused_is_a_failure() {
    let service = LocalService::builder().tls(false).password(Secret::new("f".repeat(64))).start().unwrap();
    let folder = folder();
    configure(&folder, service.http_url(), &service.ws_url(), "", "console_log_level: DEBUG");
    let ended = run(&folder, &["--config", "gf-machine-emulator.cfg"]);
    ended.expect(1);
    assert!(ended.stderr.contains("refused") && !ended.stderr.contains(PASSWORD), "{}", ended.stderr);
}

#[test]
fn a_log_file_that_cannot_be_written_is_a_matter_of_configuration() {
    let folder = folder();
    configure(&folder, "http://127.0.0.1:1", "ws://127.0.0.1:1", "", "log_file: images");
    let ended = run(&folder, &["run"]);
    ended.expect(2);
    assert!(ended.stderr.contains("log_file"), "{}", ended.stderr);
}

#[test]
#[cfg_attr(not(unix), ignore = "no signal to end it with")]
fn a_secret_that_a_service_puts_into_a_path_is_in_no_line() {
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
fn a_print_that_waits_for_its_button_is_told_where_that_is() {
    let folder = folder();
    let service = LocalService::builder().tls(false).start().unwrap();
    configure(&folder, service.http_url(), &service.ws_url(), "", "[EMULATOR]\nbutton: wait");
    let mut command = command(folder.path());
    command.args(["run", "--follow", "0"]).stdin(Stdio::null());
    let program = Program::start(command);
    program.wait_line("follow it at ");
    assert!(program.wait_line("button").contains("it is on that page"));
    program.terminate();
    let ended = program.end();
    assert!(!ended.stderr.contains("no terminal"), "{}", ended.stderr);
}

#[test]
fn collect_ends_once_jobs_have_come_and_says_what_they_are() {
    // Two jobs and no more: what comes does not depend on how fast either side is.
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
    assert!(lines[2].contains("_motion_") && lines[4].starts_with("2 jobs "), "{ended:?}");
    assert_eq!(names(&folder.path().join("motion"), "puls").len(), 2);
}

#[test]
fn collect_ends_without_a_job_when_its_time_is_over() {
    // A service that sends nothing, so that no job can come however long this takes.
    let service = LocalService::builder().tls(false).start().unwrap();
    let folder = folder();
    configure(&folder, service.http_url(), &service.ws_url(), "", "");
    let ended = run(&folder, &["collect", "--for", "0.2"]);
    ended.expect(1);
    assert!(ended.stderr.contains("no job has come"), "{ended:?}");
}
