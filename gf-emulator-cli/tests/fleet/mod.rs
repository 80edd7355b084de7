//! `fleet`: its output for people and programs, commands on stdin, slices, limits, and wrong input.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use gf_emulator_core::local_service::{LocalService, Script, Seen};
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Ended, LIMIT, Program, command};
use crate::{configure, folder, run};

/// Each machine has one action.
const SCRIPT: &str =
    r#"[{"send": {"id": 1, "action_type": "settings", "status": "ready"}}, {"await": "settings:completed"}]"#;

/// Starts a service, and writes the template of its machines, whose serial numbers begin with 12345678.
fn service(folder: &TempDir) -> LocalService {
    let service = LocalService::builder().tls(false).script(Script::from_json(SCRIPT).unwrap()).start().unwrap();
    configure(folder, service.http_url(), &service.ws_url(), "none.pem", "");
    let path = folder.path().join("gf-machine-emulator.cfg");
    let text = fs::read_to_string(&path).unwrap().replace("ca_file: none.pem", "");
    fs::write(path, text.replace("ABC-123", "M-%(serial)s")).unwrap();
    service
}

fn fleet(folder: &TempDir, arguments: &[&str]) -> Command {
    let mut command = command(folder.path());
    command.args(["fleet", "--rate", "1000"]).args(arguments).stdin(Stdio::piped()).env_remove("JOB_COMPLETION_INDEX");
    command
}

/// Returns the objects of all lines.
fn objects(ended: &Ended) -> Vec<Value> {
    let object = |line: &str| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    ended.stdout.lines().map(object).collect()
}

#[test]
fn a_program_gets_an_object_for_each_event_and_the_summary() {
    let folder = folder();
    let service = service(&folder);
    let mut program = Program::start(fleet(&folder, &["--count", "5", "--json", "--record", "recording"]));
    program.wait_line("all_connected");
    let settled = |seen: &[_]| seen.iter().filter(|seen| is_settled(seen)).count() == 5;
    assert!(service.wait_for(settled, LIMIT));
    program.write("storm\n");
    program.wait_line("connections_lost");
    // Whoever has opened a second WebSocket has noticed the loss of the first.
    let opened = |seen: &[Seen]| seen.iter().filter(|seen| matches!(seen, Seen::WsOpened { .. })).count() == 10;
    assert!(service.wait_for(opened, LIMIT));
    // The program learns of the last ones a little later.
    loop {
        program.write("status\n");
        let object: Value = serde_json::from_str(&program.wait_line("\"kind\":\"status\"")).unwrap();
        if object["status"]["losses"] == 5 && object["status"]["machines"]["connected"] == 5 {
            break;
        }
    }
    program.write("no command\n\n");
    program.write(b"\xff\n");
    program.write(format!("{}\n", "status ".repeat(1000)));
    program.wait_line("is longer than 1000 bytes");
    program.write("stop\n");
    let ended = program.end();
    ended.expect(0);
    let objects = objects(&ended);
    let mut before = 0.0;
    for object in &objects {
        let t = object["t"].as_f64().unwrap();
        assert!(t >= before && object["kind"].is_string(), "{object}");
        before = t;
    }
    let of_kind = |kind: &str| objects.iter().filter(|object| object["kind"] == kind).collect::<Vec<_>>();
    assert_eq!(of_kind("began")[0]["command"], "storm");
    let answers = of_kind("answer");
    assert_eq!(answers.len(), 3);
    for (answer, expected) in answers.iter().zip(["rolling-restart", "it is not UTF-8", "it is longer than 1000 bytes"])
    {
        assert!(answer["text"].as_str().unwrap().contains(expected), "{answer}");
    }
    let all_connected = of_kind("all_connected");
    assert!(all_connected.len() >= 2, "at the start and after the storm");
    assert_eq!(all_connected[0]["machines"], 5);
    let summary = objects.last().unwrap();
    assert_eq!(summary["kind"], "summary");
    assert_eq!(summary["problems"], serde_json::json!([]));
    assert_eq!(summary["status"]["actions"]["completed"], 5);
    assert_eq!(summary["status"]["machines"]["stopped"], 5);
    assert!(!ended.stdout.contains("0011223344"), "the password");

    for (arguments, expected) in [
        (&["fleet", "--count", "5", "--record", "recording"][..], "already"),
        (&["report", "recording"], "it holds 5 machines: choose one from 1 to 5 (--machine)"),
        (&["export", "--har", "recording"], "it holds 5 machines: choose one"),
        (&["serve", "--listen", "0", "--plain", "--replay", "recording"], "it holds 5 machines: choose one"),
        (&["report", "recording", "--machine", "6"], "it holds the machines 1 to 5, and not 6"),
    ] {
        let ended = run(&folder, arguments);
        ended.expect(2);
        assert!(ended.stderr.contains(expected), "{arguments:?}: {ended:#?}");
    }
    let report = run(&folder, &["report", "recording", "--machine", "5"]);
    report.expect(0);
    assert!(report.stderr.contains("report.html: 1 action, "), "{report:#?}");
}

fn is_settled(seen: &Seen) -> bool {
    seen.is_event("settings:completed", None)
}

#[test]
#[cfg(unix)]
fn a_pipe_gets_a_line_for_each_change_and_the_table() {
    let folder = folder();
    let _service = service(&folder);
    let mut program = Program::start(fleet(&folder, &["--count", "3"]));
    program.wait_line("all connected: 3 machines");
    // Without stdin it goes on.
    program.close_stdin();
    program.terminate();
    let ended = program.end();
    ended.expect(0);
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert!(lines[0].contains(" s  all connected: 3 machines after "), "{ended:#?}");
    assert!(lines[1].ends_with(" s  stopping"), "{ended:#?}");
    assert!(lines[2].starts_with("machines  3: 3 stopped after "), "{ended:#?}");
    assert!(!ended.stdout.contains('\x1b'), "{ended:#?}");
}

#[test]
fn a_process_runs_its_slice_of_the_fleet() {
    let folder = folder();
    let _service = service(&folder);
    let machines = |mut command: Command| {
        command.arg("--json");
        let mut program = Program::start(command);
        program.wait_line("all_connected");
        program.write("stop\n");
        let ended = program.end();
        ended.expect(0);
        objects(&ended)[0]["machines"].as_u64().unwrap()
    };
    assert_eq!(machines(fleet(&folder, &["--count", "10", "--slice", "1/4"])), 3);
    let mut of_environment = fleet(&folder, &["--count", "10", "--slices", "4"]);
    of_environment.env("JOB_COMPLETION_INDEX", "0");
    assert_eq!(machines(of_environment), 2);
    fs::write(folder.path().join("m.csv"), "serial,hostname\n7,A\n8,B\n9,C\n").unwrap();
    assert_eq!(machines(fleet(&folder, &["--csv", "m.csv"])), 3);
}

#[test]
fn the_metrics_can_be_read_while_it_runs() {
    let folder = folder();
    let _service = service(&folder);
    let mut program = Program::start(fleet(&folder, &["--count", "2", "--metrics", "0"]));
    let line = program.wait_line("metrics at http://");
    program.wait_line("all connected");
    let address = line.split("http://").nth(1).unwrap().trim_end_matches("/metrics");
    let mut socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    socket.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("gf_fleet_machines{state=\"connected\"} 2\n"), "{answer}");
    program.write("stop\n");
    program.end().expect(0);
}

#[test]
fn machines_that_are_not_connected_at_the_end_are_a_failure() {
    let folder = folder();
    drop(service(&folder));
    let mut program = Program::start(fleet(&folder, &["--count", "2", "--json"]));
    program.wait_line("machine_failed");
    program.write("stop\n");
    let ended = program.end();
    ended.expect(1);
    assert!(ended.stderr.contains("2 machines were not connected at the end"), "{ended:#?}");
}

#[test]
fn wrong_input_is_answered_before_anything_starts() {
    let folder = folder();
    let service = service(&folder);
    fs::write(folder.path().join("twice.csv"), "serial\n7\n7\n").unwrap();
    fs::write(folder.path().join("empty.csv"), "serial\n").unwrap();
    for (arguments, expected) in [
        (&[][..], "--count"),
        (&["--count", "0"], "from 1 to 100000"),
        (&["--count", "2", "--csv", "twice.csv"], "cannot be used with"),
        (&["--csv", "twice.csv"], "twice.csv:3: the same serial number as on line 2"),
        (&["--csv", "empty.csv"], "there is no machine"),
        (&["--csv", "nowhere.csv"], "nowhere.csv"),
        (&["--count", "2", "--slice", "2/2"], "I from 0 to N - 1"),
        (&["--count", "2", "--slice", "0/2", "--slices", "2"], "cannot be used with"),
        (&["--count", "2", "--slices", "2"], "JOB_COMPLETION_INDEX in the environment must be a number from 0 to 1"),
        (&["--count", "2", "--at", "5s=explode"], "rolling-restart"),
        (&["--count", "2", "--config", "nowhere.cfg"], "there is no configuration file nowhere.cfg"),
    ] {
        let ended = run(&folder, &[&["fleet"], arguments].concat());
        ended.expect(2);
        assert!(ended.stderr.contains(expected), "{arguments:?}: {ended:#?}");
    }
    let path = folder.path().join("gf-machine-emulator.cfg");
    let text = fs::read_to_string(&path).unwrap().replace("hostname: M-%(serial)s", "hostname: a b");
    fs::write(path, text).unwrap();
    let ended = run(&folder, &["fleet", "--count", "2"]);
    ended.expect(2);
    assert!(ended.stderr.contains("hostname must be"), "{ended:#?}");
    assert!(service.seen().is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn limits_of_the_computer_are_told_before_they_are_hit() {
    let folder = folder();
    let service = service(&folder);
    let program = env!("CARGO_BIN_EXE_gf-machine-emulator");
    let mut shell = Command::new("sh");
    shell.current_dir(folder.path()).arg("-c").arg(format!("ulimit -n 200 && exec '{program}' fleet --count 100"));
    let ended = Program::start(shell).end();
    ended.expect(2);
    assert!(ended.stderr.contains("100 machines need ") && ended.stderr.contains("the limit is 200: "), "{ended:#?}");
    assert!(service.seen().is_empty());
}
