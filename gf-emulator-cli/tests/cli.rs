//! The real binary, from outside: exit codes, what it prints, what it leaves behind.
//!
//! Nothing sleeps, and every wait has a limit.

mod floods;
mod kept;
mod online;
mod outputs;
mod program;
mod puls;
#[cfg(target_os = "linux")]
mod serve;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use gf_emulator_core::Secret;
use gf_emulator_core::local_service::{LocalService, Script, Seen};
use gf_emulator_core::puls::Builder;
use gf_emulator_core::record::{Event, Recording};
use program::{LIMIT, Program, command};
use serde_json::Value;
use tempfile::TempDir;

const PASSWORD: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const SAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../gf-machine-emulator.cfg.sample");

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Runs to the end.
fn run(folder: &TempDir, arguments: &[&str]) -> program::Ended {
    let mut command = command(folder.path());
    command.args(arguments);
    Program::start(command).end()
}

/// A configuration for the service there, with `more` lines at the end of `[GENERAL]`, and pictures to go with it.
fn configure(folder: &TempDir, http: &str, ws: &str, ca_file: &str, more: &str) {
    fs::write(
        folder.path().join("gf-machine-emulator.cfg"),
        format!(
            "[GENERAL]\nmotion_dir: motion\nimage_dir: images\n{more}\n\
             [SERVICE]\nserver_url: {http}\nstatus_service_url: {ws}\nca_file: {ca_file}\n\
             [MACHINE]\nserial: 12345678\nhostname: ABC-123\npassword: {PASSWORD}\n"
        ),
    )
    .unwrap();
    fs::create_dir_all(folder.path().join("images")).unwrap();
    let homing = (1..=4).map(|n| format!("HOME_{n}.jpg"));
    let head = ["LID_IMAGE.jpg", "HEAD_LASER_.230.jpg", "HEAD_NO_LASER_.230.jpg"].map(str::to_owned);
    for name in homing.chain(head) {
        fs::write(folder.path().join("images").join(name), b"\xff\xd8a picture\xff\xd9").unwrap();
    }
}

/// A request to a page that is followed, as its buttons send it.
fn post(host: &str, token: &str, path: &str) -> String {
    let mut socket = TcpStream::connect(host).unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let request = format!("POST {path} HTTP/1.1\r\nHost: {host}\r\nX-Token: {token}\r\nContent-Length: 0\r\n\r\n");
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    answer
}

fn names(folder: &Path, extension: &str) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|e| e == extension)).collect()
}

#[test]
fn every_help_says_how_it_is_used_and_how_it_ends() {
    let folder = folder();
    let subcommands = ["", "run", "collect", "demo", "serve", "check", "pipe", "puls", "report", "import"];
    for subcommand in subcommands {
        let arguments: Vec<_> = [subcommand, "--help"].into_iter().filter(|word| !word.is_empty()).collect();
        let ended = run(&folder, &arguments);
        ended.expect(0);
        for word in ["Usage: gf-machine-emulator", "Example", "Exit codes:"] {
            assert!(ended.stdout.contains(word), "{arguments:?} lacks {word}: {}", ended.stdout);
        }
    }
}

#[test]
fn wrong_usage_is_2() {
    let folder = folder();
    fs::write(folder.path().join("wrong.json"), r#"[{"snd": 1}]"#).unwrap();
    for arguments in [
        &["--nonsense"][..],
        &["fly"],
        &["serve"],
        &["demo", "--generation", "3"],
        &["--config", "x.cfg", "demo"],
        &["serve", "--listen", "127.0.0.1:0", "--cut-every", "0"],
        &["serve", "--listen", "127.0.0.1:0", "--script", "nowhere.json"],
        &["serve", "--listen", "127.0.0.1:0", "--script", "wrong.json"],
        &["serve", "--listen", "127.0.0.1:0", "--puls", "nowhere.puls"],
        &["serve", "--listen", "127.0.0.1:0", "--replay", "nowhere"],
        &["serve", "--listen", "127.0.0.1:0", "--replay", ".", "--script", "wrong.json"],
        &["serve", "--listen", "127.0.0.1:0", "--replay", ".", "--gzip"],
        &["serve", "--listen", "127.0.0.1:0", "--patience", "5"],
        &["import", "wrong.json"],
        &["pipe", "--config", "nowhere.cfg"],
    ] {
        let ended = run(&folder, arguments);
        ended.expect(2);
        assert!(!ended.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn the_demo_shows_a_session_and_leaves_its_files() {
    for (generation, actions, jobs) in [("2.6", 13, 5), ("1.x", 13, 4)] {
        let folder = folder();
        // Twice: the second one finds the first one's files.
        for time in 1..=2 {
            let ended = run(&folder, &["demo", "--dir", "here", "--generation", generation]);
            ended.expect(0);
            let summary = ended.stdout.lines().find(|line| line.contains(" jobs collected")).unwrap();
            assert!(summary.starts_with(&format!("{actions} actions, ")), "{summary}");
            assert!(summary.contains(&format!(" {jobs} jobs collected")), "{summary}");
            for line in
                ["machine > service  WebSocket opened", "service > machine  print 1013 ready", "print:completed"]
            {
                assert!(ended.stdout.contains(line), "no {line}: {}", ended.stdout);
            }
            // The end is in order: nothing to warn of.
            assert!(ended.stdout.contains("WebSocket closed (1000)"), "{}", ended.stdout);
            assert_eq!(ended.stderr, "");

            let motion = folder.path().join("here/motion");
            let files = names(&motion, "puls");
            assert_eq!((files.len(), names(&motion, "info").len()), (jobs * time, jobs * time));
            for file in files {
                let info: Value = serde_json::from_slice(&fs::read(file.with_extension("info")).unwrap()).unwrap();
                let length = info["header_len"].as_u64().unwrap() + info["size"].as_u64().unwrap();
                assert_eq!(fs::metadata(&file).unwrap().len(), length, "{}", file.display());
            }
            assert!(!folder.path().join("here/ca.pem").exists());
        }
    }
}

#[test]
fn without_a_configuration_it_says_how_to_make_one() {
    let folder = folder();
    for arguments in [&[][..], &["run"], &["check"], &["collect"], &["--config", "other.cfg"]] {
        let ended = run(&folder, arguments);
        ended.expect(2);
        for word in
            ["cfg", "gf-machine-emulator.cfg.sample", "serial, hostname and password", "gf-machine-emulator demo"]
        {
            assert!(ended.stderr.contains(word), "{arguments:?} lacks {word}: {}", ended.stderr);
        }
    }
}

#[test]
fn check_names_all_that_the_sample_lacks() {
    let ended = run(&folder(), &["check", "--config", SAMPLE]);
    ended.expect(2);
    for key in ["serial in [MACHINE]", "hostname in [MACHINE]", "password in [MACHINE]"] {
        assert!(ended.stderr.contains(key), "{key}: {}", ended.stderr);
    }
}

#[test]
fn check_is_content_with_what_is_whole_and_names_what_is_not() {
    let folder = folder();
    configure(&folder, "https://app.glowforge.com", "wss://status.glowforge.com", "", "wings: 2");
    let ended = run(&folder, &["check"]);
    ended.expect(0);
    for words in ["2.6", "is good", "remark: ", "wings", "motion"] {
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
    assert!(!format!("{}{}", ended.stdout, ended.stderr).contains(PASSWORD));

    fs::remove_file(folder.path().join("images/HOME_2.jpg")).unwrap();
    let config = folder.path().join("gf-machine-emulator.cfg");
    let text = fs::read_to_string(&config).unwrap().replace("ca_file: ", "ca_file: nowhere.pem");
    fs::write(&config, text).unwrap();
    let ended = run(&folder, &["check"]);
    ended.expect(2);
    assert!(ended.stderr.contains("nowhere.pem") && ended.stderr.contains("HOME_2.jpg"), "{}", ended.stderr);
}

#[test]
fn check_says_which_way_the_service_is_reached_and_how_many_certificates_are_trusted() {
    const ROOTS: &str = include_str!("../../gf-emulator-core/src/net/test-roots.pem");
    let folder = folder();
    fs::write(folder.path().join("ca.pem"), ROOTS).unwrap();
    configure(&folder, "https://app.example", "wss://localhost:8443", "ca.pem", "");
    let check = |variables: &[(&str, &str)]| {
        let mut command = command(folder.path());
        command.arg("check").envs(variables.iter().copied());
        Program::start(command).end()
    };
    let ended = check(&[]);
    ended.expect(0);
    for words in ["https://app.example, direct", "wss://localhost:8443, direct", "2 certificates in ca.pem"] {
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
    let ended = check(&[("https_proxy", "http://me:hunter2@proxy.example:3128")]);
    ended.expect(0);
    for words in ["app.example, through the proxy http://proxy.example:3128", "localhost:8443, direct"] {
        assert!(ended.stdout.contains(words), "{words}: {}", ended.stdout);
    }
    assert!(!ended.stdout.contains("hunter2"), "{}", ended.stdout);
    let ended = check(&[("HTTPS_PROXY", "http://proxy.example:3128"), ("NO_PROXY", "other.example,.example")]);
    assert!(ended.stdout.contains("https://app.example, direct"), "{}", ended.stdout);
    let ended = check(&[("ALL_PROXY", "socks5://me:hunter2@proxy.example")]);
    ended.expect(2);
    assert!(
        ended.stderr.contains("ALL_PROXY in the environment") && ended.stderr.contains("SOCKS"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);

    // The key wins, for this computer's own addresses too.
    let config = folder.path().join("gf-machine-emulator.cfg");
    let text = fs::read_to_string(&config).unwrap();
    let key = |value: &str| fs::write(&config, text.replace("ca_file", &format!("proxy: {value}\nca_file"))).unwrap();
    key("http://me:hunter2@127.0.0.1:1");
    let ended = check(&[("ALL_PROXY", "socks5://proxy.example")]);
    ended.expect(0);
    assert!(ended.stdout.contains("localhost:8443, through the proxy http://127.0.0.1:1\n"), "{}", ended.stdout);
    assert!(!ended.stdout.contains("hunter2"), "{}", ended.stdout);
    key("none");
    let ended = check(&[("HTTPS_PROXY", "http://proxy.example:3128")]);
    assert!(ended.stdout.contains("https://app.example, direct"), "{}", ended.stdout);

    fs::write(folder.path().join("ca.pem"), &ROOTS[..ROOTS.len() - 100]).unwrap();
    let ended = check(&[]);
    ended.expect(2);
    assert!(ended.stderr.contains("certificate 2 of 2 in ca.pem cannot be read"), "{}", ended.stderr);
}

#[test]
fn no_log_has_the_password_of_a_proxy() {
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = proxy.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in proxy.incoming().map_while(Result::ok) {
            // All of the request, so that the answer is not lost to a reset.
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).unwrap();
                head.extend(byte);
            }
            stream.write_all(b"HTTP/1.1 407 me:hunter2\r\nContent-Length: 10\r\n\r\nme:hunter2").unwrap();
        }
    });
    let folder = folder();
    configure(&folder, "https://app.example", "wss://app.example", "", "");
    let config = folder.path().join("gf-machine-emulator.cfg");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("ca_file", &format!("proxy: http://me:hunter2@{addr}\nca_file"))).unwrap();
    let mut command = command(folder.path());
    command.args(["run", "--record", "session"]).env("RUST_LOG", "trace");
    let ended = Program::start(command).end();
    ended.expect(1);
    assert!(ended.stderr.contains(&format!("the proxy http://{addr} refused")), "{}", ended.stderr);
    let recorded = fs::read_to_string(folder.path().join("session/session.jsonl")).unwrap();
    for text in [&ended.stderr, &ended.stdout, &recorded] {
        // The second is the first in Base64.
        for secret in ["hunter2", "bWU6aHVudGVyMg"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[test]
fn pipe_does_what_it_is_told_and_ends_with_its_input() {
    let folder = folder();
    let job = folder.path().join("a job.puls");
    fs::write(&job, Builder::new().move_to(3.0, 4.0).unwrap().to_gzip()).unwrap();
    let url = format!("file://{}", job.display()).replace(' ', "%20");
    let input = format!(
        "{{\"id\":1,\"action_type\":\"settings\",\"status\":\"ready\"}}\nnot json\n\n\
         {{\"id\":2,\"action_type\":\"motion\",\"status\":\"ready\",\"motion_url\":\"{url}\"}}"
    );
    let mut command = command(folder.path());
    command.arg("pipe").stdin(Stdio::piped());
    let mut program = Program::start(command);
    program.write(&input);
    program.close_stdin();
    let ended = program.end();
    ended.expect(0);
    let messages: Vec<Value> = ended.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let events: Vec<_> = messages.iter().map(|message| message["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["settings:completed", "motion:starting", "motion:completed"]);
    assert!(ended.stderr.contains("(WARNING) "), "the line that is no JSON is remarked on: {}", ended.stderr);
    assert_eq!(names(&folder.path().join("motion"), "puls").len(), 1);
}

#[test]
fn pipe_takes_a_file_without_serial_and_password() {
    let folder = folder();
    let config = folder.path().join("gf-machine-emulator.cfg");
    fs::write(&config, "[MACHINE]\nhostname: ABC-123\nfirmware: 1.6.0-35\nserial:\npassword:\n").unwrap();
    let pipe = |input: &str| {
        let mut command = command(folder.path());
        command.arg("pipe").stdin(Stdio::piped());
        let mut program = Program::start(command);
        program.write(input);
        program.close_stdin();
        program.end()
    };
    let ended = pipe(r#"{"id":1,"action_type":"settings","status":"ready"}"#);
    ended.expect(0);
    assert!(ended.stdout.contains("settings:received"), "{}", ended.stdout);
    // Whatever else is wrong with a file is told.
    fs::write(&config, "[MACHINE]\nhostname: ABC-123\n[EMULATOR]\ntime_scale: never\n").unwrap();
    let ended = pipe("");
    ended.expect(2);
    assert!(ended.stderr.contains("time_scale"), "{}", ended.stderr);
}

#[test]
fn pipe_ends_when_nobody_reads() {
    let folder = folder();
    let mut command = command(folder.path());
    command.arg("pipe").stdin(Stdio::piped());
    let mut program = Program::start_unread(command);
    program.write("{\"id\":1,\"action_type\":\"settings\",\"status\":\"ready\"}\n");
    let ended = program.end();
    ended.expect(0);
    assert_eq!(ended.stderr, "");
}

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
fn configure_for(folder: &TempDir, service: &Program, ca_file: &str, more: &str) {
    let value = |line: String| line.split_once(": ").unwrap().1.trim().to_owned();
    let http = value(service.wait_line("server_url: "));
    let ws = value(service.wait_line("status_service_url: "));
    configure(folder, &http, &ws, ca_file, more);
}

/// Runs a machine against what a `serve` has printed.
fn start_machine(folder: &TempDir, service: &Program, ca_file: &str, more: &str) -> Program {
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
fn serve_repeats_a_recorded_session_and_tells_what_is_otherwise() {
    let folder = folder();
    let serve = |with: &[&str]| {
        let mut command = command(folder.path());
        command.args(["serve", "--listen", "127.0.0.1:0", "--plain"]).args(with);
        Program::start(command)
    };
    let to_the_end = |service: Program, more: &str| {
        let machine = start_machine(&folder, &service, "", more);
        let ended = service.end();
        machine.terminate();
        machine.end().expect(0);
        ended
    };
    to_the_end(serve(&[]), "[LOGGING]\nrecord: recordings").expect(0);
    let recording = fs::read_dir(folder.path().join("recordings")).unwrap().next().unwrap().unwrap().path();
    let recording = recording.to_str().unwrap();

    let ended = to_the_end(serve(&["--replay", recording]), "");
    ended.expect(0);
    let last = ended.stdout.lines().last().unwrap();
    assert!(last.starts_with("no difference: 13 actions, "), "{}", ended.stdout);

    let ended = to_the_end(serve(&["--replay", recording]), "[EMULATOR]\nbypass_homing: True");
    ended.expect(1);
    assert!(
        ended.stdout.contains("\nsettings 1001: settings:completed: settings.values is missing"),
        "{}",
        ended.stdout
    );
    assert!(ended.stderr.contains("1 difference: 13 actions, "), "{}", ended.stderr);

    let service = serve(&["--replay", recording]);
    service.wait_line("Ctrl-C ends it");
    service.terminate();
    let ended = service.end();
    ended.expect(1);
    assert!(ended.stderr.contains("stopped before the replay was done"), "{}", ended.stderr);
}

#[test]
fn import_names_the_lines_that_it_leaves_out() {
    let folder = folder();
    let lines = "{\"t\":0.5,\"kind\":\"ws_tx\",\"msg\":{\"id\":1}}\noops\n";
    fs::write(folder.path().join("theirs.jsonl"), lines).unwrap();
    let ended = run(&folder, &["import", "theirs.jsonl", "-o", "ours"]);
    ended.expect(0);
    assert!(ended.stderr.contains("theirs.jsonl, line 2, is left out: expected value"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "1 line is in ours now\n");
    let ended = run(&folder, &["import", "theirs.jsonl", "-o", "ours"]);
    ended.expect(2);
    assert!(ended.stderr.contains("cannot begin a recording in"), "{}", ended.stderr);
    fs::write(folder.path().join("none.jsonl"), "oops\n").unwrap();
    run(&folder, &["import", "none.jsonl", "-o", "other"]).expect(1);
    assert!(!folder.path().join("other").exists());
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
fn sessions_are_recorded_on_both_sides() {
    let folder = folder();
    let mut command = command(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0", "--plain", "--record", "theirs"]);
    let service = Program::start(command);
    configure_for(&folder, &service, "", "");
    let mut command = self::command(folder.path());
    command.args(["run", "--record", "ours"]);
    let machine = Program::start(command);
    service.wait_line("the script is done");
    service.end().expect(0);
    machine.terminate();
    machine.end().expect(0);
    let names = |side: &str| -> Vec<String> {
        let recording = Recording::open(folder.path().join(side)).unwrap();
        let messages = recording.map(Result::unwrap).filter_map(|entry| match entry.event {
            Event::Out(message) => Some(message.name().unwrap().to_owned()),
            _ => None,
        });
        messages.collect()
    };
    assert_eq!(names("ours"), names("theirs"));
    for side in ["ours", "theirs"] {
        let text = fs::read_to_string(folder.path().join(side).join("session.jsonl")).unwrap();
        assert!(!text.contains("12345678\"") && !text.contains(":12345678"), "{side} says which machine it is");
    }
    // One of our own needs no import.
    for recording in ["ours/session.jsonl", "ours"] {
        let ended = run(&folder, &["import", recording, "-o", "no/thing"]);
        ended.expect(1);
        assert!(ended.stderr.contains("needs no import") && ended.stderr.lines().count() == 1, "{ended:?}");
        assert!(!folder.path().join("no").exists());
    }
    assert!(names("ours").contains(&"print:completed".to_owned()));
    // Never over another one.
    let ended = run(&folder, &["demo", "--record", "ours"]);
    ended.expect(2);
    assert!(ended.stderr.contains("cannot begin a recording in ours/session.jsonl: there is a recording"), "{ended:?}");
    assert_eq!(ended.stdout, "", "before anything else is said");
    for command in ["run", "collect"] {
        let ended = run(&folder, &[command, "--record", "ours"]);
        ended.expect(2);
        assert!(ended.stderr.contains("there is a recording") && ended.stderr.lines().count() == 1, "{ended:?}");
    }
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
fn an_import_that_fails_leaves_nothing_behind() {
    let folder = folder();
    let lines = "{\"t\":0.5,\"kind\":\"ws_rx\"}\n{\"t\":0.5,\"kind\":\"ws_tx\"}\n";
    fs::write(folder.path().join("useless.jsonl"), lines).unwrap();
    fs::create_dir(folder.path().join("there")).unwrap();
    for output in ["new/folder", "there"] {
        let ended = run(&folder, &["import", "useless.jsonl", "-o", output]);
        ended.expect(1);
        assert!(ended.stderr.contains("useless.jsonl, line 1: no line from"), "{ended:?}");
    }
    assert!(!folder.path().join("new").exists());
    assert_eq!(fs::read_dir(folder.path().join("there")).unwrap().count(), 0);
    #[cfg(unix)]
    {
        let made = std::process::Command::new("mkfifo").arg(folder.path().join("fifo")).status().unwrap();
        assert!(made.success());
        for file in ["fifo", "/dev/zero"] {
            let ended = run(&folder, &["import", file, "-o", "new"]);
            ended.expect(2);
            assert!(ended.stderr.contains("not a regular file"), "{ended:?}");
        }
    }
    // A line without end takes no memory, and costs no other line.
    let huge =
        format!("{{\"t\":1,\"kind\":\"done\"}}\n{{\"t\":\"{}\n{{\"t\":2,\"kind\":\"done\"}}\n", "x".repeat(9 << 20));
    fs::write(folder.path().join("huge.jsonl"), huge).unwrap();
    let ended = run(&folder, &["import", "huge.jsonl", "-o", "huge"]);
    ended.expect(0);
    assert!(ended.stderr.contains("huge.jsonl, line 2, is left out: it is longer than"), "{ended:?}");
    assert_eq!(ended.stdout, "2 lines are in huge now\n");
}

#[test]
fn a_session_that_nobody_keeps_is_followed_and_stopped_from_its_page() {
    let folder = folder();
    let service = LocalService::builder().tls(false).start().unwrap();
    configure(&folder, service.http_url(), &service.ws_url(), "", "");
    let passing = folder.path().join("passing");
    fs::create_dir(&passing).unwrap();
    let mut command = command(folder.path());
    command.args(["run", "--follow", "0"]).env("TMPDIR", &passing);
    let program = Program::start(command);
    let line = program.wait_line("follow it at ");
    let (host, token) = line.split_once("http://").unwrap().1.split_once("/?token=").unwrap();
    let say = |request: &str| {
        let mut socket = TcpStream::connect(host).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    };
    let opened = service.wait_for(|seen| seen.iter().any(|seen| matches!(seen, Seen::WsOpened { .. })), LIMIT);
    assert!(opened, "{:?}", service.seen());
    let page = say(&format!("GET /?token={token} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    assert!(page.contains("/machines/sign_in"), "{page}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let recording = fs::read_dir(&passing).unwrap().next().unwrap().unwrap().path();
        assert_eq!((mode(&recording), mode(&recording.join("session.jsonl"))), (0o700, 0o600));
    }
    let refused = say(&format!("POST /stop HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"));
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    let stopped = say(&format!("POST /stop HTTP/1.1\r\nHost: {host}\r\nX-Token: {token}\r\nContent-Length: 0\r\n\r\n"));
    assert!(stopped.starts_with("HTTP/1.1 204 "), "{stopped}");
    program.end().expect(0);
    if cfg!(unix) {
        assert_eq!(fs::read_dir(&passing).unwrap().count(), 0, "the recording is left behind");
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

/// Memory is bounded by the system: what takes more is ended.
#[cfg(target_os = "linux")]
#[test]
fn a_report_takes_bounded_memory() {
    const MOST_KB: u32 = 400_000;
    const LINES: usize = 20;
    let folder = folder();
    let recording = folder.path().join("wide");
    fs::create_dir(&recording).unwrap();
    let mut text = String::from(
        "{\"n\":0,\"t\":0,\"at\":\"\",\"kind\":\"session\",\"format\":1,\"recorder\":\"a test\",\"side\":\"machine\"}\n",
    );
    // The longest lines that are read: whole, each of them would take 25 MB or more.
    let much = "{\"\":0},".repeat((1 << 20) / 7 - 100);
    for n in 1..=LINES {
        let line = format!("{{\"n\":{n},\"t\":0,\"at\":\"\",\"kind\":\"in\",\"bytes\":1,\"json\":[{much}0]}}\n");
        text.push_str(&line);
    }
    fs::write(recording.join("session.jsonl"), text).unwrap();
    let binary = self::command(folder.path());
    let mut limited = std::process::Command::new("sh");
    limited.current_dir(folder.path()).args(["-c", &format!("ulimit -v {MOST_KB}; exec \"$0\" report wide")]);
    limited.arg(binary.get_program());
    let ended = Program::start(limited).end();
    ended.expect(0);
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert_eq!(page.matches("<details class=\"row ").count(), LINES);
    assert!(
        page.contains("This is not all of it: line 2 of session.jsonl is.") && page.len() < 8 << 20,
        "{}",
        page.len()
    );
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

#[test]
fn a_recording_becomes_a_page() {
    let folder = folder();
    run(&folder, &["demo", "--record", "ours"]).expect(0);
    let ended = run(&folder, &["report", "ours"]);
    ended.expect(0);
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.starts_with("report.html: 13 actions, "), "{}", ended.stderr);
    assert!(ended.stderr.ends_with(" 0 things to look at\n"), "{}", ended.stderr);
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));

    let ended = run(&folder, &["report", "ours", "-o", "-"]);
    ended.expect(0);
    assert_eq!((ended.stdout == page, &*ended.stderr), (true, ""), "the same page, and nothing beside it");
    let of_file = run(&folder, &["report", "ours/session.jsonl", "-o", "-"]);
    of_file.expect(0);
    assert!(of_file.stdout == page, "of the file as of its folder");
    run(&folder, &["report", "ours", "-o", "no/such/folder.html"]).expect(2);
    let ended = run(&folder, &["report", "demo"]);
    ended.expect(2);
    assert!(ended.stderr.contains("cannot read demo/session.jsonl"), "{}", ended.stderr);
    run(&folder, &["report"]).expect(2);
}
