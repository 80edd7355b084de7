//! Pulse files are stored completely or not at all; an action fails if its picture cannot be read or uploaded.

use std::fs;

use gf_emulator_core::config::Generation;
use gf_emulator_core::local_service::{Failure, Fault};
use gf_emulator_core::puls::{self, Builder, Code, Limits, code, tick};
use gf_emulator_tests::{Harness, SERIAL, Setup, square};
use serde_json::{Value, json};

const BOTH: [Generation; 2] = [Generation::V1, Generation::V2];
const JOB: i64 = 41;

fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Returns a job with another value in its header.
fn marked(code: Code, value: u32) -> Vec<u8> {
    let mut job = Builder::new();
    job.move_to(5.0, 5.0).unwrap().set(code, value).unwrap();
    job.to_bytes()
}

/// Returns the square without one record of its header.
fn without(code: [u8; 4]) -> Vec<u8> {
    let mut job = square();
    let at = job.windows(4).position(|window| window == code).unwrap();
    job.drain(at..at + 8);
    let length = u32::from_le_bytes(job[4..8].try_into().unwrap()) - 8;
    job[4..8].copy_from_slice(&length.to_le_bytes());
    job
}

/// Returns the file names in the motion folder with the time replaced: `<time>_print_41.puls`.
fn names(harness: &Harness) -> Vec<String> {
    let name = |path: std::path::PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let (time, rest) = name.split_at_checked(17).unwrap_or(("", &name));
        let shape: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        if shape == "0000-00-00_000000" { format!("<time>{rest}") } else { name.clone() }
    };
    harness.jobs().into_iter().map(name).collect()
}

/// Prints this file, and checks the terminal event and whether the file is kept.
fn check_print(what: &str, file: &[u8], fault: Option<&Failure>, ending: &str, is_kept: bool) {
    for generation in BOTH {
        let harness = Setup::new(generation)
            .service(|service| service.puls(file))
            .config(|config| {
                config.motion.refuse_bytes = 1 << 20;
                config.motion.refuse_inflated_bytes = 2 << 20;
            })
            .start();
        if let Some(failure) = fault.cloned() {
            harness.service.fault(Fault::new(failure).on("GET", "/dl/"));
        }
        harness.expect(JOB, "print", ending);
        harness.expect(42, "settings", "completed");
        assert_eq!(harness.endings(JOB, "print"), [format!("print:{ending} (41)")], "{what}");
        let expected: &[&str] = if is_kept { &["<time>_print_41.info", "<time>_print_41.puls"] } else { &[] };
        assert_eq!(names(&harness), expected, "{what}");
        if is_kept {
            assert_eq!(fs::read(&harness.jobs()[1]).unwrap(), file, "{what}");
        }
        let played = harness.events().iter().any(|event| event == "print:running (41)");
        assert_eq!(played, ending == "completed", "{what}");
        harness.stop().2.unwrap();
    }
}

#[test]
fn an_incomplete_download_fails_and_leaves_no_file() {
    check_print("shorter than announced", &square(), Some(&Failure::ShortBody), "failed", false);
    check_print("cut in the middle", &square(), Some(&Failure::CutAnswer), "failed", false);
    check_print("not found", &square(), Some(&Failure::Status { status: 404, headers: Vec::new() }), "failed", false);
    let complete = gzip(&square());
    check_print("gzip that ends in the middle", &complete[..complete.len() / 2], None, "failed", false);
    check_print("gzip without its trailer", &complete[..complete.len() - 3], None, "failed", false);
    let mut damaged = complete;
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0x55;
    check_print("damaged gzip", &damaged, None, "failed", false);
}

#[test]
fn a_job_that_is_too_large_is_cancelled_during_the_download() {
    check_print("endless", &square(), Some(&Failure::EndlessBody), "cancelled", false);
    let mut large = square();
    large.resize(large.len() + (1 << 20), 0);
    check_print("a Content-Length over the limit", &large, None, "cancelled", false);
}

#[test]
fn a_job_that_decompresses_to_too_many_bytes_is_cancelled_and_leaves_no_file() {
    let mut bomb = square();
    bomb.resize(bomb.len() + (2 << 20), 0);
    check_print("one member", &gzip(&bomb), None, "cancelled", false);
    // 16 MiB in many gzip members: not read to the end.
    let members = [gzip(&square()), gzip(&vec![0; 1 << 20]).repeat(16), b"not gzip".to_vec()].concat();
    check_print("many members", &members, None, "cancelled", false);
    check_print(
        "empty members, then bytes that are not gzip",
        &[gzip(&square()), gzip(b"").repeat(9), b"x".to_vec()].concat(),
        None,
        "failed",
        false,
    );
    bomb.truncate(1 << 20);
    check_print("exactly the limit", &gzip(&bomb), None, "completed", true);
}

#[test]
fn a_file_that_is_not_a_pulse_file_is_cancelled_and_not_kept() {
    let valid = square();
    for (what, bytes) in [
        ("an empty file", &b""[..]),
        ("a web page", b"<html>sign in first</html>"),
        ("another magic", b"\x80GF2\x08\0\0\0"),
        ("cut in its header", &valid[..40]),
        ("cut before its header's length", &valid[..6]),
        ("a header of 4 bytes", b"\x80GF1\x04\0\0\0"),
        ("a header of 4 GiB", b"\x80GF1\xf8\xff\xff\xff"),
    ] {
        check_print(what, bytes, None, "cancelled", false);
    }
}

#[test]
fn a_refused_job_is_cancelled_and_kept() {
    for (what, bytes) in [
        ("for another machine", marked(code::SERIAL_LOCK, SERIAL + 1)),
        ("another data format", marked(code::DATA_FORMAT, 1)),
        ("no ticks a second", marked(code::STEP_FREQUENCY, 0)),
        ("without STfr", without(*b"STfr")),
        ("without MCsn", without(*b"MCsn")),
        ("without PDfm", without(*b"PDfm")),
    ] {
        check_print(what, &bytes, None, "cancelled", true);
    }
}

#[test]
fn another_microstep_mode_is_refused() {
    for (code, microsteps) in [(code::X_MICROSTEPS, 16), (code::Y_MICROSTEPS, 32), (code::X_MICROSTEPS, 0)] {
        check_print(&format!("{code} {microsteps}"), &marked(code, microsteps), None, "cancelled", true);
    }
    check_print("without XSmm", &without(*b"XSmm"), None, "completed", true);
    check_print("without YSmm", &without(*b"YSmm"), None, "completed", true);
}

#[test]
fn fire_before_any_power_byte_is_refused_and_nothing_of_it_is_played() {
    let mut job = Builder::new().move_to(5.0, 5.0).unwrap().to_bytes();
    job.extend([tick::X_STEP | tick::FIRE, tick::POWER | 127, tick::X_STEP | tick::FIRE]);
    check_print("fire before power", &job, None, "cancelled", true);
    check_print("the same compressed", &gzip(&job), None, "cancelled", true);
    let dark = Builder::new().move_to(5.0, 5.0).unwrap().to_bytes();
    check_print("a dark job", &dark, None, "completed", true);
}

#[test]
fn valid_jobs_are_played() {
    check_print("uncompressed", &square(), None, "completed", true);
    check_print("compressed", &gzip(&square()), None, "completed", true);
    check_print("for this machine", &marked(code::SERIAL_LOCK, SERIAL), None, "completed", true);
    check_print("with an unknown code", &marked(Code(*b"ZZzz"), 7), None, "completed", true);
    let head = puls::Builder::new().to_bytes();
    check_print("with no body", &head, None, "completed", true);
}

#[test]
fn a_job_that_decompresses_to_a_thousand_times_its_size_can_be_cancelled() {
    let mut bomb = square();
    bomb.resize(bomb.len() + (16 << 20), 0);
    let bomb = gzip(&bomb);
    assert!(bomb.len() < 1 << 20);
    let harness = Setup::new(Generation::V2).service(|service| service.puls(bomb)).start();
    harness.start_action(JOB, "print");
    harness.wait_event("print:starting", Some(JOB));
    harness.send(JOB, "print", "cancelled", &json!({}));
    harness.wait_event("print:cancelled", Some(JOB));
    harness.expect(42, "settings", "completed");
    assert_eq!(harness.endings(JOB, "print"), ["print:cancelled (41)"]);
}

#[test]
fn the_description_of_a_job_does_not_depend_on_compression() {
    let describe = |file: Vec<u8>| {
        let harness = Setup::new(Generation::V2).service(|service| service.puls(file)).start();
        harness.expect(JOB, "print", "completed");
        let text = fs::read_to_string(&harness.jobs()[0]).unwrap();
        assert!(text.ends_with("}\n"), "{text}");
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let plain = describe(square());
    assert_eq!(plain, describe(gzip(&square())));
    let measured = puls::measure(&square()[..], Limits::default()).unwrap();
    assert_eq!(plain, serde_json::to_value(&measured).unwrap(), "same as measured");
    assert_eq!(
        (&plain["stats"]["XEND"], &plain["stats"]["YEND"]),
        (&json!(0), &json!(0)),
        "a square ends where it starts"
    );
    assert_eq!(plain["stats"]["XP"], 267, "5 mm at 53.333 microsteps");
    assert_eq!(plain["stats"]["LP"], 1);
    assert!(plain["stats"]["LE"].as_u64().unwrap() > 0);
}

#[test]
fn jobs_downloaded_in_one_second_have_separate_files() {
    for generation in BOTH {
        let harness = Setup::new(generation).start();
        // The same id three times: an id can be used again after its action has ended.
        for n in 1..=3 {
            harness.start_action(JOB, "motion");
            harness
                .wait("another terminal event", |seen| gf_emulator_tests::endings_of(seen, JOB, "motion").len() == n);
        }
        harness.expect(42, "print", "completed");
        let jobs = harness.jobs();
        assert_eq!(jobs.len(), 8, "{jobs:?}");
        for file in jobs.iter().filter(|path| path.extension().is_some_and(|e| e == "puls")) {
            assert_eq!(fs::read(file).unwrap(), square());
            assert!(file.with_extension("info").is_file(), "{file:?}");
        }
    }
}

#[test]
fn fetch_motion_runs_a_job_at_the_limit() {
    let bytes = square().len() as u64;
    let ticks = puls::measure(&square()[..], Limits::default()).unwrap().ticks;
    for (refuse_bytes, refuse_inflated_bytes, ending) in
        [(bytes, ticks, "completed"), (bytes - 1, ticks, "cancelled"), (bytes, ticks - 1, "cancelled")]
    {
        let harness = Setup::new(Generation::V2)
            .config(move |config| {
                config.motion.refuse_bytes = refuse_bytes;
                config.motion.refuse_inflated_bytes = refuse_inflated_bytes;
            })
            .start();
        harness.expect(JOB, "motion", ending);
        assert_eq!(harness.jobs().len(), if ending == "completed" { 2 } else { 0 });
    }
}

#[test]
fn fetch_motion_limits_lift_at_zero() {
    let harness = Setup::new(Generation::V2)
        .config(|config| {
            config.motion.remark_bytes = 0;
            config.motion.refuse_bytes = 0;
            config.motion.refuse_inflated_bytes = 0;
        })
        .start();
    harness.expect(JOB, "motion", "completed");
    assert_eq!(names(&harness), ["<time>_motion_41.info", "<time>_motion_41.puls"]);
}

#[test]
fn jobs_are_removed_if_keep_is_off() {
    for (file, ending) in [
        (square(), "completed"),
        (marked(code::SERIAL_LOCK, SERIAL + 1), "cancelled"),
        (square()[..100].to_vec(), "cancelled"),
    ] {
        let harness = Setup::new(Generation::V2)
            .service(|service| service.puls(file))
            .config(|config| config.motion.keep = false)
            .start();
        harness.expect(JOB, "print", ending);
        // The files are removed after the terminal event, before the next action.
        harness.expect(42, "settings", "completed");
        assert_eq!(names(&harness), [""; 0]);
    }
}

#[test]
fn a_job_with_a_missing_or_invalid_url_fails() {
    for generation in BOTH {
        let harness = Setup::new(generation).start();
        for (id, more) in (100..).zip([
            json!({}),
            json!({"motion_url": ""}),
            json!({"motion_url": null}),
            json!({"motion_url": 7}),
            json!({"motion_url": "file:///etc/passwd"}),
            json!({"motion_url": "http://192.0.2.1/job.puls"}),
            json!({"motion_url": "http://user:word@localhost/job.puls"}),
            json!({"motion_url": "http://localhost:99999/job.puls"}),
            json!({"motion_url": "https://"}),
            json!({"motion_url": "no URL at all \u{0}\r\n"}),
            json!({"motion_url": format!("{}/nothing/here", harness.service.http_url())}),
        ]) {
            harness.send(id, "motion", "ready", &more);
            harness.wait_event("motion:failed", Some(id));
            assert_eq!(harness.endings(id, "motion"), [format!("motion:failed ({id})")], "{more}");
        }
        assert_eq!(names(&harness), [""; 0]);
        harness.expect(99, "motion", "completed");
    }
}

#[test]
fn an_upload_that_fails_ends_in_failed() {
    for (generation, method, path) in [(Generation::V1, "POST", "/api/machines/"), (Generation::V2, "PUT", "/up/")] {
        let harness = Setup::new(generation).start();
        let failures = [
            Failure::Status { status: 500, headers: Vec::new() },
            Failure::Status { status: 403, headers: Vec::new() },
            Failure::CutRequest,
        ];
        for (id, failure) in (50..).zip(failures) {
            // A PUT on a kept-alive connection is repeated once if that is cut.
            let times = if failure == Failure::CutRequest && method == "PUT" { 2 } else { 1 };
            harness.service.fault(Fault::new(failure.clone()).on(method, path).times(times));
            harness.expect(id, "lid_image", "failed");
            assert_eq!(harness.endings(id, "lid_image"), [format!("lid_image:failed ({id})")], "{failure:?}");
            let events = harness.events();
            let sent = |what: &str| events.contains(&format!("lid_image:upload:{what} ({id})"));
            assert!(!sent("completed"), "{failure:?}");
            assert_eq!(sent("failed"), generation == Generation::V2, "{failure:?}");
        }
        harness.expect(60, "lid_image", "completed");
    }
}

#[test]
fn a_missing_picture_fails() {
    for generation in BOTH {
        let harness =
            Setup::new(generation).config(|config| config.emulator.material_thickness = ".999".into()).start();
        harness.expect(1, "head_image", "failed");
        assert_eq!(harness.endings(1, "head_image"), ["head_image:failed (1)"]);
        assert!(!harness.events().iter().any(|event| event.contains("upload")), "{:#?}", harness.events());
        harness.expect(2, "lid_image", "completed");
    }
}

#[cfg(unix)]
#[test]
fn a_picture_that_is_a_fifo_or_too_large_fails() {
    let harness = Setup::new(Generation::V2).start();
    let picture = |name: &str| harness.folder().join("images").join(name);
    for name in ["HOME_1.jpg", "HEAD_NO_LASER_.230.jpg"] {
        fs::remove_file(picture(name)).unwrap();
    }
    assert!(std::process::Command::new("mkfifo").arg(picture("HOME_1.jpg")).status().unwrap().success());
    // A sparse file: small on the disk, large in memory.
    fs::File::create(picture("HEAD_NO_LASER_.230.jpg")).unwrap().set_len((32 << 20) + 1).unwrap();
    harness.expect(1, "lid_image", "failed");
    // The search for secrets at the end reads all files.
    fs::remove_file(picture("HOME_1.jpg")).unwrap();
    harness.expect(2, "head_image", "failed");
    harness.expect(3, "lid_image", "completed");
    assert_eq!(harness.endings(1, "lid_image"), ["lid_image:failed (1)"]);
}

#[test]
fn a_url_that_is_too_long_fails_its_action_only() {
    for generation in BOTH {
        let harness = Setup::new(generation).start();
        let long = format!("{}/{}", harness.service.http_url(), "x".repeat(512 << 10));
        harness.send(1, "motion", "ready", &json!({"motion_url": long}));
        harness.wait_event("motion:failed", Some(1));
        // 1.x does not use the endpoint.
        harness.send(2, "lid_image", "ready", &json!({"endpoint": long}));
        let ending = if generation == Generation::V1 { "lid_image:completed" } else { "lid_image:failed" };
        harness.wait_event(ending, Some(2));
        harness.expect(3, "settings", "completed");
        assert_eq!(harness.endings(1, "motion"), ["motion:failed (1)"]);
        let sent_bytes: usize = harness
            .service
            .seen()
            .iter()
            .map(|seen| match seen {
                gf_emulator_core::local_service::Seen::WsMessage { message, .. } if message["action_id"] == 1 => {
                    message.to_string().len()
                }
                _ => 0,
            })
            .sum();
        assert!(sent_bytes < 10_000, "the URL is not repeated: {sent_bytes} bytes");
    }
}

#[test]
fn an_invalid_endpoint_fails() {
    let harness = Setup::new(Generation::V2).start();
    for (id, endpoint) in (10..).zip([
        "http://192.0.2.1/up/x?X-Sig=a",
        "file:///tmp/x",
        "no URL at all",
        "https://",
        "http://localhost:0/up/x",
        "javascript:alert(1)",
    ]) {
        harness.send(id, "lid_image", "ready", &json!({"endpoint": endpoint}));
        harness.wait_event("lid_image:failed", Some(id));
        assert_eq!(harness.endings(id, "lid_image"), [format!("lid_image:failed ({id})")], "{endpoint}");
    }
    harness.expect(9, "lid_image", "completed");
}

#[test]
fn an_invalid_line_does_not_affect_other_lines_of_its_frame() {
    for generation in BOTH {
        let harness = Setup::new(generation).start();
        let action = |id: i64, kind: &str| {
            json!({"id": id, "action_type": kind, "status": "ready", "motion_url": harness.service.puls_url()})
                .to_string()
        };
        for (n, bad) in (0..).zip(["not JSON", "{", "[]", "7", "null", "{}", "", "   ", "{\"id\":1}", "\u{feff}{}"]) {
            let (first, second) = (100 + 2 * n, 101 + 2 * n);
            let frame = format!("{}\n{bad}\r\n{}", action(first, "settings"), action(second, "hunt"));
            harness.service.send_text(&frame).unwrap();
            harness.wait_event("hunt:completed", Some(second));
            assert_eq!(harness.endings(first, "settings").len(), 1, "{bad:?}");
            let events = harness.events();
            let place = |event: String| events.iter().position(|have| *have == event).unwrap();
            let in_order = place(format!("settings:completed ({first})")) < place(format!("hunt:starting ({second})"));
            assert!(in_order, "{events:#?}");
        }
    }
}

#[test]
fn a_second_job_is_ignored_while_one_is_active() {
    for generation in BOTH {
        let harness = Setup::new(generation).start();
        harness.service.fault(Fault::new(Failure::Hold).on("GET", "/dl/"));
        harness.start_action(JOB, "print");
        harness.wait("a held answer", |seen| {
            seen.iter().any(|seen| matches!(seen, gf_emulator_core::local_service::Seen::Held { .. }))
        });
        harness.start_action(42, "motion");
        harness.start_action(JOB, "print");
        // Not a job, so it is accepted; its answer shows that the actions before it have been read.
        harness.start_action(43, "lid_image");
        harness.send(43, "lid_image", "cancelled", &json!({}));
        harness.wait_event("lid_image:cancelled", Some(43));
        harness.service.release();
        harness.wait_event("print:completed", Some(JOB));
        harness.expect(44, "motion", "completed");
        assert_eq!(harness.endings(JOB, "print"), ["print:completed (41)"]);
        assert!(!harness.events().iter().any(|event| event.ends_with("(42)")), "{:#?}", harness.events());
    }
}
