//! `--verbose`, `--quiet`, `--color` and `--json`, and what `run` says of its connection.

use std::fs;

use gf_emulator_core::local_service::{LocalService, Script};
use serde_json::Value;

use crate::program::{Ended, Program, command};
use crate::sessions::start_machine;
use crate::{PASSWORD, configure, folder, run};

fn objects(ended: &Ended) -> Vec<Value> {
    ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// Runs a machine until it has collected a job.
fn collect(arguments: &[&str], variables: &[(&str, &str)], more: &str) -> Ended {
    let script = r#"[{"send": {"id": 1, "action_type": "motion", "status": "ready", "motion_url": "{puls}"}}]"#;
    let script = Script::from_json(script).unwrap();
    let service = LocalService::builder().tls(false).script(script).start().unwrap();
    let folder = folder();
    configure(&folder, service.http_url(), &service.ws_url(), "", more);
    let mut collect = command(folder.path());
    collect.arg("collect").args(arguments).envs(variables.iter().copied());
    let ended = Program::start(collect).end();
    ended.expect(0);
    ended
}

#[test]
fn verbose_and_quiet_set_the_level_of_the_console() {
    let console = "console_log_level: WARNING";
    for (arguments, variables, has, has_not) in [
        (&[][..], &[][..], &["jobs go to"][..], &["(INFO) ", "(DEBUG) "][..]),
        (&["-v"], &[], &["jobs go to", "(INFO) "], &["(DEBUG) "]),
        (&["-vv"], &[], &["(INFO) ", "(DEBUG) "], &[]),
        (&["-q"], &[], &[], &["jobs go to", "stopped", "(INFO) ", "(WARNING) "]),
        // What is on the command line takes precedence.
        (&["-q"], &[("RUST_LOG", "debug")], &[], &["(INFO) "]),
        (&["--verbose"], &[("RUST_LOG", "error")], &["(INFO) "], &["(DEBUG) "]),
    ] {
        let ended = collect(arguments, variables, console);
        for words in has {
            assert!(ended.stderr.contains(words), "{arguments:?} lacks {words}: {}", ended.stderr);
        }
        for words in has_not {
            assert!(!ended.stderr.contains(words), "{arguments:?} has {words}: {}", ended.stderr);
        }
        assert!(ended.stdout.contains("1 job in motion:"), "{arguments:?}: {}", ended.stdout);
    }
    // Also before the command, but not both.
    let folder = folder();
    run(&folder, &["-q", "check"]).expect(2);
    run(&folder, &["check", "-q", "-v"]).expect(2);
}

#[test]
fn quiet_leaves_errors_and_what_was_asked_for() {
    let folder = folder();
    let ended = run(&folder, &["-q", "check"]);
    assert!(ended.stderr.contains("there is no configuration file"), "{}", ended.stderr);
    let ended = run(&folder, &["init", "-q"]);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
}

#[test]
fn colours_are_used_as_asked() {
    const ESCAPE: char = '\u{1b}';
    let folder = folder();
    let check = |arguments: &[&str], variables: &[(&str, &str)]| {
        let mut check = command(folder.path());
        check.args(arguments).envs(variables.iter().copied());
        Program::start(check).end().stderr
    };
    // An error of a command, and one of the command line.
    for first in ["check", "fly"] {
        for (more, variables, is_colored) in [
            (&[][..], &[][..], false),
            (&["--color", "always"], &[], true),
            (&["--color=always"], &[("NO_COLOR", "1")], true),
            (&["--color", "never"], &[("CLICOLOR_FORCE", "1")], false),
            (&[], &[("CLICOLOR_FORCE", "1")], true),
            (&[], &[("CLICOLOR_FORCE", "1"), ("NO_COLOR", "1")], false),
        ] {
            let stderr = check(&[&[first], more].concat(), variables);
            assert_eq!(stderr.contains(ESCAPE), is_colored, "{first} {more:?} {variables:?}: {stderr}");
        }
    }
    let ended = collect(&["-v", "--color", "always"], &[], "");
    assert!(ended.stderr.contains("(INFO)\u{1b}[0m "), "{}", ended.stderr);
    let ended = collect(&["-v"], &[], "");
    assert!(!ended.stderr.contains(ESCAPE), "{}", ended.stderr);
}

#[test]
fn collect_prints_its_jobs_as_json() {
    let ended = collect(&["--json"], &[], "");
    let [job] = &objects(&ended)[..] else { panic!("{ended:?}") };
    assert!(job["file"].as_str().unwrap().contains("_motion_1.puls") && job["header"].is_object(), "{job}");
}

#[test]
fn serve_prints_json_lines() {
    let folder = folder();
    let job = gf_emulator_core::puls::Builder::new().move_to(3.0, 4.0).unwrap().to_bytes();
    fs::write(folder.path().join("one.puls"), &job).unwrap();
    let mut serve = command(folder.path());
    serve.args([
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--plain",
        "--json",
        "--once",
        "--puls",
        "one.puls",
        "--seed",
        "7",
    ]);
    let service = Program::start(serve);
    let listening: Value = serde_json::from_str(&service.wait_line("\"listening\"")).unwrap();
    let [http, ws] = ["server_url", "status_service_url"].map(|key| listening[key].as_str().unwrap());
    configure(&folder, http, ws, "", "");
    let machine = Program::start(command(folder.path()));
    let ended = service.end();
    ended.expect(0);
    drop(machine);
    let objects = objects(&ended);
    assert!(objects.iter().all(|object| object["t"].is_f64() && object["kind"].is_string()), "{}", ended.stdout);
    assert_eq!((&objects[0]["kind"], &objects[0]["seed"]), (&"listening".into(), &7.into()), "{}", objects[0]);
    let has = |wanted: &[(&str, Value)]| {
        let is_it = |object: &&Value| wanted.iter().all(|(key, value)| object[*key] == *value);
        assert!(objects.iter().any(|object| is_it(&object)), "{wanted:?}: {}", ended.stdout);
    };
    has(&[("kind", "request".into()), ("path", "/machines/sign_in".into()), ("status", 200.into())]);
    has(&[("kind", "opened".into())]);
    has(&[("kind", "action".into()), ("action", "settings".into()), ("status", "ready".into())]);
    has(&[("kind", "message".into()), ("event", "print:completed".into())]);
    has(&[("kind", "service".into()), ("print", "one.puls".into()), ("state", "completed".into())]);
    let last = objects.last().unwrap();
    assert_eq!((&last["kind"], &last["result"]), (&"summary".into(), &"done".into()), "{last}");
    assert!(!ended.stdout.contains(PASSWORD), "{}", ended.stdout);
}

#[test]
#[cfg(unix)]
fn a_replay_prints_differences_as_json() {
    let folder = folder();
    run(&folder, &["demo", "--record", "session"]).expect(0);
    let mut serve = command(folder.path());
    serve.args(["serve", "--listen", "127.0.0.1:0", "--plain", "--json", "--replay", "session"]);
    let service = Program::start(serve);
    let listening: Value = serde_json::from_str(&service.wait_line("\"listening\"")).unwrap();
    let [http, ws] = ["server_url", "status_service_url"].map(|key| listening[key].as_str().unwrap());
    // Another firmware.
    configure(&folder, http, ws, "", "[FACTORY_FIRMWARE]\nfw_version: 2.6.0-9999");
    let machine = Program::start(command(folder.path()));
    let difference: Value = serde_json::from_str(&service.wait_line("\"difference\"")).unwrap();
    assert!(difference["subject"].is_string() && difference["detail"].is_string(), "{difference}");
    service.terminate();
    let ended = service.end();
    ended.expect(1);
    drop(machine);
    let objects = objects(&ended);
    let last = objects.last().unwrap();
    assert_eq!((&last["kind"], &last["result"]), (&"summary".into(), &"stopped".into()), "{last}");
    let count = objects.iter().filter(|object| object["kind"] == "difference").count();
    assert_eq!(last["differences"], count, "{last}");
}

#[test]
#[cfg(unix)]
fn run_says_when_the_service_is_away_and_when_it_is_back() {
    let folder = folder();
    let mut serve = command(folder.path());
    serve.args(["serve", "--listen", "127.0.0.1:0", "--plain", "--fault", "cut=rst after_messages=1 times=1"]);
    let service = Program::start(serve);
    let machine = start_machine(&folder, &service, "", "");
    let away = machine.wait_line("the service is away (");
    assert!(away.starts_with("gf-machine-emulator: "), "{away}");
    machine.wait_line("the service is back");
    machine.terminate();
    let ended = machine.end();
    ended.expect(0);
    // A stop is no loss.
    assert_eq!(ended.stderr.matches("the service is away").count(), 1, "{}", ended.stderr);
    assert!(!ended.stderr.contains(PASSWORD), "{}", ended.stderr);
}

#[test]
#[cfg(unix)]
fn run_says_why_it_is_not_connected_yet() {
    let folder = folder();
    let mut serve = command(folder.path());
    let fault = "status=503 on=POST:/machines/sign_in times=2";
    serve.args(["serve", "--listen", "127.0.0.1:0", "--plain", "--fault", fault]);
    let service = Program::start(serve);
    let machine = start_machine(&folder, &service, "", "");
    let reason = machine.wait_line("; trying again");
    assert!(reason.starts_with("gf-machine-emulator: ") && reason.contains("HTTP 503"), "{reason}");
    machine.wait_line("gf-machine-emulator: connected");
    machine.terminate();
    let ended = machine.end();
    ended.expect(0);
    assert_eq!(ended.stderr.matches("trying again").count(), 1, "{}", ended.stderr);
}
