//! Recordings: made, imported, replayed, rendered and followed.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use gf_emulator_core::local_service::{LocalService, Seen};
use gf_emulator_core::record::{Event, Recording};

use crate::program::{LIMIT, Program, command};
use crate::sessions::{configure_for, start_machine};
use crate::{configure, folder, run};

#[test]
#[cfg(unix)]
fn serve_replays_a_recording_and_reports_differences() {
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
    to_the_end(serve(&["--script", "1.x"]), "[LOGGING]\nrecord: recordings").expect(0);
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
    service.wait_line("Press Ctrl-C to stop");
    service.terminate();
    let ended = service.end();
    ended.expect(1);
    assert!(ended.stderr.contains("stopped before the replay was done: 0 differences so far"), "{}", ended.stderr);
    assert!(!ended.stdout.contains("did not arrive"), "{}", ended.stdout);
}

#[test]
fn import_reports_the_lines_that_it_skips() {
    let folder = folder();
    let lines = "{\"t\":0.5,\"kind\":\"ws_tx\",\"msg\":{\"id\":1}}\noops\n";
    fs::write(folder.path().join("theirs.jsonl"), lines).unwrap();
    let ended = run(&folder, &["import", "theirs.jsonl", "-o", "ours"]);
    ended.expect(0);
    assert!(ended.stderr.contains("theirs.jsonl, line 2: skipped: expected value"), "{}", ended.stderr);
    assert_eq!(ended.stdout, "ours: converted 1 line\n");
    let ended = run(&folder, &["import", "theirs.jsonl", "-o", "ours"]);
    ended.expect(2);
    assert!(ended.stderr.contains("cannot begin a recording in"), "{}", ended.stderr);
    fs::write(folder.path().join("none.jsonl"), "oops\n").unwrap();
    run(&folder, &["import", "none.jsonl", "-o", "other"]).expect(1);
    assert!(!folder.path().join("other").exists());
}

#[test]
#[cfg(unix)]
fn both_sides_record_the_same_messages() {
    let folder = folder();
    let mut command = command(folder.path());
    command.args(["serve", "--listen", "127.0.0.1:0", "--plain", "--script", "1.x", "--record", "theirs"]);
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
        assert!(!text.contains("12345678\"") && !text.contains(":12345678"), "the serial number is in {side}");
    }
    // Our own recordings need no import.
    for recording in ["ours/session.jsonl", "ours"] {
        let ended = run(&folder, &["import", recording, "-o", "no/thing"]);
        ended.expect(1);
        assert!(ended.stderr.contains("needs no import") && ended.stderr.lines().count() == 1, "{ended:?}");
        assert!(!folder.path().join("no").exists());
    }
    assert!(names("ours").contains(&"print:completed".to_owned()));
    // A recording is never overwritten.
    let ended = run(&folder, &["demo", "--record", "ours"]);
    ended.expect(2);
    assert!(ended.stderr.contains("cannot begin a recording in ours: it already contains a recording"), "{ended:?}");
    assert_eq!(ended.stdout, "", "printed before the check");
    for command in ["run", "collect"] {
        let ended = run(&folder, &[command, "--record", "ours"]);
        ended.expect(2);
        assert!(
            ended.stderr.contains("it already contains a recording") && ended.stderr.lines().count() == 1,
            "{ended:?}"
        );
    }
}

#[test]
fn a_failed_import_leaves_no_file() {
    let folder = folder();
    let lines = "{\"t\":0.5,\"kind\":\"ws_rx\"}\n{\"t\":0.5,\"kind\":\"ws_tx\"}\n";
    fs::write(folder.path().join("useless.jsonl"), lines).unwrap();
    fs::create_dir(folder.path().join("there")).unwrap();
    for output in ["new/folder", "there"] {
        let ended = run(&folder, &["import", "useless.jsonl", "-o", output]);
        ended.expect(1);
        assert!(ended.stderr.contains("useless.jsonl, line 1: no valid lines"), "{ended:?}");
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
    // A very long line is skipped alone.
    let huge =
        format!("{{\"t\":1,\"kind\":\"done\"}}\n{{\"t\":\"{}\n{{\"t\":2,\"kind\":\"done\"}}\n", "x".repeat(9 << 20));
    fs::write(folder.path().join("huge.jsonl"), huge).unwrap();
    let ended = run(&folder, &["import", "huge.jsonl", "-o", "huge"]);
    ended.expect(0);
    assert!(ended.stderr.contains("huge.jsonl, line 2: skipped: it is longer than"), "{ended:?}");
    assert_eq!(ended.stdout, "huge: converted 2 lines\n");
}

#[test]
fn a_session_without_a_recording_can_be_followed_and_stopped() {
    let folder = folder();
    let service = LocalService::builder().tls(false).start().unwrap();
    configure(&folder, service.http_url(), &service.ws_url(), "", "");
    let temp = folder.path().join("temp");
    fs::create_dir(&temp).unwrap();
    let mut command = command(folder.path());
    command.args(["run", "--follow", "0"]).env("TMPDIR", &temp);
    let program = Program::start(command);
    let line = program.wait_line("follow it at ");
    let (host, token) = line.split_once("http://").unwrap().1.split_once("/?token=").unwrap();
    let send = |request: &str| {
        let mut socket = TcpStream::connect(host).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        socket.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).unwrap();
        answer
    };
    let opened = service.wait_for(|seen| seen.iter().any(|seen| matches!(seen, Seen::WsOpened { .. })), LIMIT);
    assert!(opened, "{:?}", service.seen());
    let page = send(&format!("GET /?token={token} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
    assert!(page.contains("/machines/sign_in"), "{page}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = |path: &Path| path.metadata().unwrap().permissions().mode() & 0o777;
        let recording = fs::read_dir(&temp).unwrap().next().unwrap().unwrap().path();
        assert_eq!((mode(&recording), mode(&recording.join("session.jsonl"))), (0o700, 0o600));
    }
    let refused = send(&format!("POST /stop HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"));
    assert!(refused.starts_with("HTTP/1.1 403 "), "{refused}");
    let stopped =
        send(&format!("POST /stop HTTP/1.1\r\nHost: {host}\r\nX-Token: {token}\r\nContent-Length: 0\r\n\r\n"));
    assert!(stopped.starts_with("HTTP/1.1 204 "), "{stopped}");
    program.end().expect(0);
    if cfg!(unix) {
        assert_eq!(fs::read_dir(&temp).unwrap().count(), 0, "the temp recording is left");
    }
}

/// The memory limit is set with `ulimit`.
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
    // The longest lines that are read. Parsed, each would take 25 MB or more.
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
        page.contains("Truncated. The full entry is line 2 of session.jsonl.") && page.len() < 8 << 20,
        "{}",
        page.len()
    );
}

#[test]
fn report_renders_a_recording() {
    let folder = folder();
    run(&folder, &["demo", "--record", "ours"]).expect(0);
    let ended = run(&folder, &["report", "ours"]);
    ended.expect(0);
    assert_eq!(ended.stdout, "");
    assert!(ended.stderr.starts_with("report.html: 13 actions, "), "{}", ended.stderr);
    assert!(ended.stderr.ends_with(" 0 problems\n"), "{}", ended.stderr);
    let page = fs::read_to_string(folder.path().join("report.html")).unwrap();
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));

    let ended = run(&folder, &["report", "ours", "-o", "-"]);
    ended.expect(0);
    assert_eq!((ended.stdout == page, &*ended.stderr), (true, ""), "the same page, and no other output");
    let of_file = run(&folder, &["report", "ours/session.jsonl", "-o", "-"]);
    of_file.expect(0);
    assert!(of_file.stdout == page, "the file gives the same page as its folder");
    run(&folder, &["report", "ours", "-o", "no/such/folder.html"]).expect(2);
    let mut files = fs::read_dir(folder.path().join("ours")).unwrap().map(|entry| entry.unwrap().path());
    fs::remove_file(files.find(|path| path.extension().is_some_and(|extension| extension == "jpg")).unwrap()).unwrap();
    let ended = run(&folder, &["report", "ours"]);
    ended.expect(0);
    let expected = "report.html: in 1 place, a picture or job cannot be shown: the page says why\n";
    assert!(ended.stderr.starts_with(expected), "{}", ended.stderr);
    let ended = run(&folder, &["report", "demo"]);
    ended.expect(2);
    assert!(ended.stderr.contains("cannot read demo: there is no recording"), "{}", ended.stderr);
    run(&folder, &["report"]).expect(2);
    let ended = run(&folder, &["report", "ours", "--from", "5000", "-o", "later.html"]);
    ended.expect(2);
    assert!(ended.stderr.contains("--from 5000: the recording has only "), "{}", ended.stderr);
    assert!(!folder.path().join("later.html").exists());
}

#[test]
fn a_recording_becomes_a_har_file_and_a_recording_again() {
    let folder = folder();
    let demo = run(&folder, &["demo", "-q", "--record", "session"]);
    demo.expect(0);
    assert!(demo.stdout.contains(" collected, in "), "{}", demo.stdout);
    assert!(!demo.stdout.contains(" > ") && !demo.stdout.contains("to see a job"), "{}", demo.stdout);
    let ended = run(&folder, &["export", "--har", "session", "-o", "monday.har"]);
    ended.expect(0);
    assert_eq!(ended.stdout, "");
    let recording = Recording::open(folder.path().join("session")).unwrap();
    let kinds: Vec<Event> = recording.map(|entry| entry.unwrap().event).collect();
    let requests = kinds.iter().filter(|event| matches!(event, Event::Http(_))).count();
    let messages = kinds.iter().filter(|event| matches!(event, Event::In(_) | Event::Out(_))).count();
    assert_eq!(ended.stderr, format!("monday.har: {requests} requests, 1 WebSocket, {messages} messages\n"));

    let ended = run(&folder, &["import", "monday.har", "-o", "again"]);
    ended.expect(0);
    assert_eq!(ended.stderr, "");
    assert_eq!(ended.stdout, format!("again: converted {requests} requests and {messages} messages\n"));
    let ended = run(&folder, &["report", "again"]);
    assert!(ended.stderr.ends_with(" 0 problems\n"), "{}", ended.stderr);
    // Standard output has nothing but the file.
    let ended = run(&folder, &["export", "--har", "session/session.jsonl", "-o", "-", "--bodies", "refer"]);
    ended.expect(0);
    let har: serde_json::Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!(har["log"]["version"], "1.2");
    assert!(ended.stdout.contains("\"_file\":\"0000"), "{}", ended.stdout);
    // The recording is not overwritten.
    let ended = run(&folder, &["export", "--har", "session", "-o", "session/session.jsonl"]);
    ended.expect(2);
    assert!(ended.stderr.contains("it belongs to the input session"), "{}", ended.stderr);
}

#[test]
fn import_names_the_line_of_an_error_in_a_har_file() {
    let folder = folder();
    let import = |har: &str, code: i32, words: &str| {
        fs::write(folder.path().join("x.har"), har).unwrap();
        let ended = run(&folder, &["import", "x.har", "-o", "new/there"]);
        ended.expect(code);
        assert!(ended.stderr.contains(words) && ended.stderr.lines().count() == 1, "{har}: {}", ended.stderr);
        assert!(!folder.path().join("new").exists(), "{har}");
    };
    for (har, words) in [
        ("{\"log\":\n", "x.har, line 2: not a valid HAR file: EOF while parsing"),
        ("{\"log\":{}}", "x.har, line 1: not a valid HAR file: there is no list \"entries\""),
        (
            "{\"log\":\n{\"entries\":7}}",
            "x.har, line 2: not a valid HAR file: invalid type: integer `7`, expected a list of entries",
        ),
        ("{\"log\":{\"entries\":[]}}", "x.har, line 1: the HAR file has no request"),
        ("{\"log\":{\"entries\":[\n{}]}}", "x.har, line 2: an entry: startedDateTime is not a time with a time zone"),
        ("{\"log\":{\"entries\":[{\"request\":[]}\n]}}", "x.har, line 1: "),
        ("{\"log\":{\"entries\":[]}}\n{}", "x.har, line 2: not a valid HAR file: trailing characters"),
    ] {
        import(har, 1, words);
    }
}
