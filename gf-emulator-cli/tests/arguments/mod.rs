//! Options, environment variables and signals.

use std::fs;

use gf_emulator_core::puls::Builder;

use crate::program::{Program, command};
use crate::{folder, run};

#[test]
fn a_negative_number_is_answered_with_the_range() {
    let folder = folder();
    for (arguments, words) in [
        (&["collect", "--jobs", "-1"][..], "'-1' for '--jobs <N>': expected a whole number of jobs from 1 to"),
        (&["collect", "--for", "-1"], "'-1' for '--for <S>': expected a number of seconds from 0.001 to"),
        (&["report", "x", "--from", "-3"], "'-3' for '--from <N>': expected a whole number from 1 to"),
        (&["--follow", "-1"], "'-1' for '--follow <[ADDR:]PORT>': expected a port from 0 to 65535"),
        (&["puls", "make", "--circle", "-5", "-o", "x"], "'-5' for '--circle <MM>': expected a number of mm from"),
    ] {
        let ended = run(&folder, arguments);
        ended.expect(2);
        assert!(ended.stderr.contains(words), "{arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn listens_on_loopback_for_a_port_alone() {
    let folder = folder();
    let mut serve = command(folder.path());
    serve.args(["serve", "--listen", "0", "--plain"]);
    let program = Program::start(serve);
    assert!(program.wait_line("listening on ").contains("listening on 127.0.0.1:"));
}

#[test]
fn check_lists_invalid_versions_addresses_and_numbers() {
    let folder = folder();
    let text = "[MACHINE]\nserial: 1\nhostname: A B\nfirmware: abc\nip_address: foo\nhead_id: -4\n\
                [THERMAL]\nmax_run_temp: 1e9\n";
    fs::write(folder.path().join("my.cfg"), text).unwrap();
    let ended = run(&folder, &["check", "--config", "my.cfg"]);
    ended.expect(2);
    for words in [
        "my.cfg:3: hostname must be letters",
        "my.cfg:4: firmware must be a version such as 2.6.0-2228",
        "my.cfg:5: ip_address must be an IP address",
        "my.cfg:6: head_id must be a whole number from 0 to 4294967295",
        "my.cfg:8: max_run_temp must be a temperature from -100 to 200 degrees Celsius",
    ] {
        assert!(ended.stderr.contains(words), "{words}: {}", ended.stderr);
    }
}

#[test]
fn pipe_needs_no_serial_hostname_and_password() {
    let folder = folder();
    fs::write(folder.path().join("my.cfg"), "[EMULATOR]\nbutton: perhaps\n").unwrap();
    let ended = run(&folder, &["pipe", "--config", "my.cfg"]);
    ended.expect(2);
    let others = ["serial", "hostname", "password"].iter().find(|key| ended.stderr.contains(*key));
    assert!(ended.stderr.contains("my.cfg:2: button must be auto or wait") && others.is_none(), "{}", ended.stderr);
    fs::write(folder.path().join("my.cfg"), "[EMULATOR]\nbutton: wait\n").unwrap();
    run(&folder, &["pipe", "--config", "my.cfg"]).expect(0);
}

#[test]
fn an_unknown_log_level_is_reported_once() {
    let folder = folder();
    let mut pipe = command(folder.path());
    pipe.arg("pipe").env("RUST_LOG", "error,gf_emulator_core=loud");
    let ended = Program::start(pipe).end();
    ended.expect(0);
    assert_eq!(ended.stderr.matches("gf_emulator_core=loud").count(), 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("RUST_LOG"), "{}", ended.stderr);
}

#[test]
#[cfg(unix)]
fn a_signal_ends_commands_without_a_session_and_leaves_no_file() {
    let mut job = Builder::new();
    job.dwell(400.0).unwrap();
    let mut bytes = Vec::new();
    job.write_to(&mut bytes).unwrap();
    for (words, begin) in [
        ("puls info -", &bytes[..1 << 20]),
        ("puls plot - -o out.svg", &bytes[..1 << 20]),
        ("puls export - --format csv -o out.csv", &bytes[..1 << 20]),
        ("puls make --from - --kind svgpath -o out.puls", &b" ".repeat(1 << 20)[..]),
    ] {
        let folder = folder();
        let mut work = command(folder.path());
        work.args(words.split(' ')).stdin(std::process::Stdio::piped());
        let mut program = Program::start(work);
        // More than a pipe's buffer: most of it has been read, and the program waits for the rest.
        program.write(begin);
        program.terminate();
        let ended = program.end();
        ended.expect(1);
        assert!(ended.stderr.contains("stopped before the end"), "{words}: {}", ended.stderr);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "{words}");
    }
}
