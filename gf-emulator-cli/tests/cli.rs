//! Tests of the binary as a process: exit codes, output, files. No test sleeps, and every wait has a timeout.

#![cfg_attr(
    not(target_os = "linux"),
    allow(unused_imports, unused_mut, dead_code, reason = "some tests are for Unix or Linux alone")
)]

mod arguments;
mod configurations;
mod conform;
mod console;
mod files_on_disk;
mod first_steps;
mod fleet;
#[cfg(unix)]
mod floods;
#[cfg(unix)]
mod host;
#[cfg(unix)]
mod killed;
#[cfg(unix)]
mod machine;
mod online;
mod outputs;
mod program;
mod puls;
mod recordings;
#[cfg(target_os = "linux")]
mod serve;
mod sessions;
mod shells;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use gf_emulator_core::config::SAMPLE;
use gf_emulator_core::local_service::LocalService;
use gf_emulator_core::puls::Builder;
use program::{LIMIT, Program, command};
use serde_json::Value;
use tempfile::TempDir;

const PASSWORD: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// Returns the URL of a file: `file:///tmp/a`, or `file:///C:/a` on Windows.
fn file_url(path: &Path) -> String {
    let path = path.display().to_string().replace('\\', "/");
    format!("file:///{}", path.trim_start_matches('/')).replace(' ', "%20")
}

/// Runs the binary to its end.
fn run(folder: &TempDir, arguments: &[&str]) -> program::Ended {
    let mut command = command(folder.path());
    command.args(arguments);
    Program::start(command).end()
}

/// Writes a configuration for a service, with `more` lines at the end of `[GENERAL]`, and the canned pictures.
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

/// Sends a request as the buttons of the follow page do.
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
fn every_help_has_usage_examples_and_exit_codes_in_80_columns() {
    let folder = folder();
    for command in [
        "",
        "run",
        "collect",
        "demo",
        "serve",
        "fleet",
        "check",
        "pipe",
        "puls",
        "puls info",
        "puls plot",
        "puls check",
        "puls export",
        "puls make",
        "report",
        "import",
        "export",
        "init",
        "completions",
        "man",
    ] {
        let arguments: Vec<_> = command.split_whitespace().chain(["--help"]).collect();
        let ended = run(&folder, &arguments);
        ended.expect(0);
        for word in ["Usage: gf-machine-emulator", "Example", "Exit codes:"] {
            assert!(ended.stdout.contains(word), "{arguments:?} lacks {word}: {}", ended.stdout);
        }
        let wide = ended.stdout.lines().find(|line| line.chars().count() > 80);
        assert_eq!(wide, None, "{arguments:?}");
    }
}

#[test]
fn wrong_usage_exits_with_2() {
    let folder = folder();
    fs::write(folder.path().join("wrong.json"), r#"[{"snd": 1}]"#).unwrap();
    for arguments in [
        &["--nonsense"][..],
        &["fly"],
        &["serve"],
        &["demo", "--generation", "3"],
        &["--config", "x.cfg", "demo"],
        &["serve", "--listen", "127.0.0.1:0", "--cut-every", "0"],
        &["serve", "--listen", "127.0.0.1:0", "--fault", "status=99"],
        &["serve", "--listen", "127.0.0.1:0", "--fault-profile", "nope"],
        &["serve", "--listen", "127.0.0.1:0", "--seed", "-1"],
        &["serve", "--listen", "127.0.0.1:0", "--script", "nowhere.json"],
        &["serve", "--listen", "127.0.0.1:0", "--script", "wrong.json"],
        &["serve", "--listen", "127.0.0.1:0", "--puls", "nowhere.puls"],
        &["serve", "--listen", "127.0.0.1:0", "--replay", "nowhere"],
        &["serve", "--listen", "127.0.0.1:0", "--replay", ".", "--script", "wrong.json"],
        &["serve", "--listen", "127.0.0.1:0", "--replay", ".", "--gzip"],
        &["serve", "--listen", "127.0.0.1:0", "--patience", "5"],
        &["serve", "--listen", "127.0.0.1:0", "--once", "--script", "1.x"],
        &["serve", "--listen", "127.0.0.1:0", "--public-url", "http://laser:8443"],
        &["serve", "--listen", "127.0.0.1:0", "--ca-dir", "wrong.json"],
        &["serve", "--listen", "127.0.0.1:0", "--ca-dir", "kept", "--plain"],
        &["serve", "--listen", "0.0.0.0", "--plain"],
        &["import", "wrong.json"],
        &["export", ".", "-o", "x.har"],
        &["export", "--har", "nowhere"],
        &["export", "--har", ".", "--bodies", "some"],
        &["pipe", "--config", "nowhere.cfg"],
    ] {
        let ended = run(&folder, arguments);
        ended.expect(2);
        assert!(!ended.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn demo_shows_a_session_and_leaves_its_files() {
    for (generation, actions, jobs) in [("2.6", 13, 5), ("1.x", 13, 4)] {
        let folder = folder();
        // The second run finds the files of the first.
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
            // A clean end has no warnings.
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
fn a_missing_configuration_is_answered_with_how_to_create_one() {
    let folder = folder();
    for arguments in [&[][..], &["run"], &["check"], &["collect"], &["--config", "other.cfg"]] {
        let ended = run(&folder, arguments);
        ended.expect(2);
        for word in ["cfg", "gf-machine-emulator init", "serial, hostname and password", "gf-machine-emulator demo"] {
            assert!(ended.stderr.contains(word), "{arguments:?} lacks {word}: {}", ended.stderr);
        }
        // A program that was installed has no source tree.
        assert!(!ended.stderr.contains("sample"), "{arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn check_lists_the_values_missing_in_the_sample() {
    let folder = folder();
    fs::write(folder.path().join("sample.cfg"), SAMPLE).unwrap();
    let ended = run(&folder, &["check", "--config", "sample.cfg"]);
    ended.expect(2);
    for key in ["serial in [MACHINE]", "hostname in [MACHINE]", "password in [MACHINE]"] {
        assert!(ended.stderr.contains(key), "{key}: {}", ended.stderr);
    }
}

#[test]
fn check_accepts_a_complete_configuration_and_lists_missing_files() {
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
    assert!(
        ended.stderr.contains("cannot read the ca_file nowhere.pem: ") && ended.stderr.contains("HOME_2.jpg"),
        "{}",
        ended.stderr
    );
}

#[test]
fn check_shows_proxies_and_trusted_certificates() {
    let root = || LocalService::builder().start().unwrap().ca_pem().unwrap().to_owned();
    let roots = root() + &root();
    let folder = folder();
    fs::write(folder.path().join("ca.pem"), &roots).unwrap();
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
        ended.stderr.to_uppercase().contains("ALL_PROXY IN THE ENVIRONMENT") && ended.stderr.contains("SOCKS"),
        "{}",
        ended.stderr
    );
    assert!(!ended.stderr.contains("hunter2"), "{}", ended.stderr);

    // The key takes precedence over the environment, also for loopback addresses.
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

    fs::write(folder.path().join("ca.pem"), &roots[..roots.len() - 100]).unwrap();
    let ended = check(&[]);
    ended.expect(2);
    assert!(ended.stderr.contains("certificate 2 of 2 in the ca_file ca.pem cannot be read"), "{}", ended.stderr);
}

#[test]
fn the_password_of_a_proxy_is_in_no_log() {
    let proxy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = proxy.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in proxy.incoming().map_while(Result::ok) {
            // Reads the whole request, so that the answer is not lost to a reset.
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
        // The second is part of the first in Base64.
        for secret in ["hunter2", "bWU6aHVudGVyMg"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
}

#[test]
fn pipe_performs_actions_and_ends_with_its_input() {
    let folder = folder();
    let job = folder.path().join("a job.puls");
    fs::write(&job, Builder::new().move_to(3.0, 4.0).unwrap().to_gzip()).unwrap();
    let url = file_url(&job);
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
    let name = |message: &Value| ["event", "progress"].iter().find_map(|key| message[key].as_str().map(str::to_owned));
    let events: Vec<_> = messages.iter().filter_map(name).collect();
    assert_eq!(events, ["settings:completed", "motion:starting", "motion:download", "motion:completed"]);
    assert!(ended.stderr.contains("(WARNING) "), "the line that is not JSON is logged: {}", ended.stderr);
    assert_eq!(names(&folder.path().join("motion"), "puls").len(), 1);
}

#[test]
fn pipe_accepts_a_configuration_without_serial_and_password() {
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
    // Other errors are still reported.
    fs::write(&config, "[MACHINE]\nhostname: ABC-123\n[EMULATOR]\ntime_scale: never\n").unwrap();
    let ended = pipe("");
    ended.expect(2);
    assert!(ended.stderr.contains("time_scale"), "{}", ended.stderr);
}

#[test]
fn pipe_ends_when_its_reader_has_gone() {
    let folder = folder();
    let mut command = command(folder.path());
    command.arg("pipe").stdin(Stdio::piped());
    let mut program = Program::start_unread(command);
    program.write("{\"id\":1,\"action_type\":\"settings\",\"status\":\"ready\"}\n");
    let ended = program.end();
    ended.expect(0);
    assert_eq!(ended.stderr, "");
}
