//! SIGKILL at random moments: files are whole or absent, recordings readable, and the next start removes what is left.
//!
//! `GF_KILLS` sets how many sessions are killed, and `GF_KILL_SEED` the seed of the moments.

use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gf_emulator_core::local_service::{LocalService, Seen};
use gf_emulator_core::record::{Recording, SESSION_FILE};
use gf_emulator_core::storage::AtomicFile;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::machine::{SETTINGS, ended_action, is_open, job};
use crate::program::{LIMIT, command};
use crate::{configure, folder, run};

const PICTURE: &[u8] = b"\xff\xd8a picture\xff\xd9";
const ACTIONS: [&str; 5] = ["motion", "lid_image", "settings", "print", "lid_image"];
/// Where a session writes.
const FOLDERS: [&str; 2] = ["motion", "sent"];
/// Events of a whole session with some actions, as the service sees them.
const EVENTS: u64 = 120;

fn time_below(random: &mut StdRng, limit: Duration) -> Duration {
    random.random_range(Duration::ZERO..=limit)
}

/// What kills have hit.
#[derive(Debug, Default)]
struct Phases {
    kills: u32,
    before_the_web_socket: u32,
    no_recording: u32,
    temp_file_of_a_job: u32,
    temp_file_of_a_picture: u32,
    temp_file_of_a_recording: u32,
    job_without_description: u32,
    cut_line: u32,
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().unwrap())
}

fn files(folder: &Path) -> Vec<PathBuf> {
    fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect()
}

fn is_temp(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "part")
}

/// Returns the temp files of a machine.
fn temp_files(here: &Path) -> Vec<PathBuf> {
    let recordings = files(&here.join("recordings"));
    let folders = FOLDERS.iter().map(|name| here.join(name)).chain(recordings);
    folders.flat_map(|folder| files(&folder)).filter(|path| is_temp(path)).collect()
}

/// Starts the machine with its output in a file.
fn start(folder: &TempDir, service: &LocalService) -> Child {
    configure(folder, service.http_url(), &service.ws_url(), "", SETTINGS);
    let output = fs::File::create(folder.path().join("stderr")).unwrap();
    let mut command = command(folder.path());
    command.arg("run").stdout(Stdio::null()).stderr(output).spawn().unwrap()
}

/// Sends one action after the other until the service has seen `events` events.
fn work(service: &LocalService, events: usize, on_open: impl FnOnce()) {
    let mut on_open = Some(on_open);
    for (sent, action) in ACTIONS.iter().cycle().enumerate() {
        let (is_over, opened) = (Cell::new(false), Cell::new(false));
        let next = |seen: &[Seen]| {
            is_over.set(seen.len() >= events);
            opened.set(is_open(seen));
            is_over.get() || (opened.get() && seen.iter().filter_map(ended_action).count() >= sent)
        };
        assert!(service.wait_for(next, LIMIT), "action {sent}: {:#?}", service.seen());
        if opened.get()
            && let Some(on_open) = on_open.take()
        {
            on_open();
        }
        if is_over.get() {
            return;
        }
        // A long line, of which a kill may leave a part in the recording.
        service.send_text(&format!("{}\n", json!({"padding": "x".repeat(200_000)}))).unwrap();
        let action =
            json!({"id": sent + 1, "action_type": action, "status": "ready", "motion_url": service.puls_url()});
        service.send(action).unwrap();
    }
}

/// Waits without sleeping: the moment is in microseconds.
fn spin(time: Duration) {
    let end = Instant::now() + time;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// Checks the files of a machine that was killed, and removes those that are whole.
fn check_files(here: &Path, job: &[u8], phases: &mut Phases) {
    for path in files(&here.join("motion")).into_iter().chain(files(&here.join("sent"))) {
        let bytes = fs::read(&path).unwrap();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("puls") => {
                assert!(bytes == job, "{} has {} of {} bytes", path.display(), bytes.len(), job.len());
                phases.job_without_description += u32::from(!path.with_extension("info").exists());
            }
            Some("info") => assert!(serde_json::from_slice::<Value>(&bytes).is_ok(), "{}", path.display()),
            Some("jpg") => assert!(bytes == PICTURE, "{}", path.display()),
            Some("part") => {}
            _ => panic!("{}", path.display()),
        }
    }
    for recording in files(&here.join("recordings")) {
        check_recording(&recording, job, phases);
    }
}

fn check_recording(folder: &Path, job: &[u8], phases: &mut Phases) {
    for path in files(folder) {
        let bytes = fs::read(&path).unwrap();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("puls") => assert!(bytes == job, "{} has {} bytes", path.display(), bytes.len()),
            // The start of the picture is not that of a JPEG.
            Some("bin") => assert!(bytes == PICTURE, "{}", path.display()),
            Some("part" | "jsonl") => {}
            _ => panic!("{}", path.display()),
        }
    }
    if !folder.join(SESSION_FILE).exists() {
        assert!(files(folder).iter().all(|path| is_temp(path)), "{:?}", files(folder));
        phases.no_recording += 1;
        return;
    }
    let text = fs::read(folder.join(SESSION_FILE)).unwrap();
    let is_cut = !text.ends_with(b"\n");
    phases.cut_line += u32::from(is_cut);
    let mut recording = Recording::open(folder).unwrap_or_else(|e| panic!("{e}"));
    let entries = recording.by_ref().map(Result::unwrap).count();
    let lines = text.split_inclusive(|byte| *byte == b'\n').count();
    let skipped: Vec<_> = recording.skipped().iter().map(|skipped| skipped.line).collect();
    assert!(skipped.is_empty() || (is_cut && skipped == [lines as u64]), "{:?}", recording.skipped());
    // The first line is that of `open`.
    assert_eq!(1 + entries + skipped.len(), lines);
}

/// Removes everything but temp files, and folders that have some.
fn clear(here: &Path) {
    let recordings = files(&here.join("recordings"));
    let folders: Vec<_> = FOLDERS.iter().map(|name| here.join(name)).chain(recordings.iter().cloned()).collect();
    for path in folders.iter().flat_map(|folder| files(folder)) {
        // Without it, the folder is not that of a recording.
        if !is_temp(&path) && !path.ends_with(SESSION_FILE) {
            fs::remove_file(path).unwrap();
        }
    }
    for folder in recordings.iter().filter(|folder| !files(folder).iter().any(|path| is_temp(path))) {
        fs::remove_dir_all(folder).unwrap();
    }
}

#[test]
fn files_are_whole_or_absent_and_the_next_start_is_clean() {
    let (folder, job) = (folder(), job());
    let here = folder.path();
    let mut random = StdRng::seed_from_u64(number("GF_KILL_SEED", 1));
    let mut phases = Phases::default();
    // Another program that writes into the same folder.
    let living = AtomicFile::create(&here.join("motion/other.puls")).unwrap();
    let temp_files = || -> Vec<PathBuf> {
        temp_files(here).into_iter().filter(|path| path.file_name() != living.temp_path().file_name()).collect()
    };
    for n in 0..number("GF_KILLS", 15) {
        let service = LocalService::builder().tls(false).puls(job.clone()).start().unwrap();
        let leftovers = temp_files();
        let mut child = start(&folder, &service);
        let events = if n % 8 == 0 { 0 } else { random.random_range(0..EVENTS) };
        let after = time_below(&mut random, Duration::from_millis(if events == 0 { 60 } else { 3 }));
        work(&service, usize::try_from(events).unwrap(), || {
            let left: Vec<_> = leftovers.iter().filter(|path| path.exists()).collect();
            assert!(left.is_empty(), "the next start leaves {left:?}");
        });
        spin(after);
        child.kill().unwrap();
        child.wait().unwrap();
        phases.kills += 1;
        phases.before_the_web_socket += u32::from(!is_open(&service.seen()));
        for path in temp_files().iter().filter(|path| !leftovers.contains(path)) {
            let parent = path.parent().unwrap();
            *(if parent.ends_with("motion") {
                &mut phases.temp_file_of_a_job
            } else if parent.ends_with("sent") {
                &mut phases.temp_file_of_a_picture
            } else {
                &mut phases.temp_file_of_a_recording
            }) += 1;
        }
        check_files(here, &job, &mut phases);
        if n % 10 == 0 {
            for recording in files(&here.join("recordings")).iter().filter(|path| path.join(SESSION_FILE).exists()) {
                run(&folder, &["report", recording.to_str().unwrap(), "-o", "report.html"]).expect(0);
            }
        }
        clear(here);
    }
    // The last one is stopped.
    let service = LocalService::builder().tls(false).puls(job.clone()).start().unwrap();
    let mut child = start(&folder, &service);
    work(&service, 60, || ());
    assert!(Command::new("kill").args(["-s", "TERM", &child.id().to_string()]).status().unwrap().success());
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}: {}", fs::read_to_string(here.join("stderr")).unwrap());
    assert_eq!(temp_files(), [""; 0].map(PathBuf::from));
    assert!(living.temp_path().exists(), "the temp file of a program that runs");
    check_files(here, &job, &mut phases);
    println!("{phases:?}");
}

/// Writes a log of another mock service with many messages.
fn write_inputs(here: &Path) {
    let mut log = String::from("{\"t\":0.1,\"kind\":\"ws_open\"}\n");
    for id in 0..8000 {
        let message = json!({"id": id, "action_type": "settings", "status": "ready"});
        log.push_str(&json!({"t": 0.5, "kind": "ws_tx", "msg": message}).to_string());
        log.push('\n');
    }
    fs::write(here.join("theirs.jsonl"), log).unwrap();
}

#[test]
fn outputs_are_whole_or_absent_after_a_kill() {
    let folder = folder();
    let here = folder.path();
    write_inputs(here);
    run(&folder, &["import", "theirs.jsonl", "-o", "rec"]).expect(0);
    let commands: [(&[&str], &str); 3] = [
        (&["puls", "make", "--square", "200", "-o", "out.puls"], "out.puls"),
        (&["report", "rec", "-o", "out.html"], "out.html"),
        (&["import", "theirs.jsonl", "-o", "imported"], "imported/session.jsonl"),
    ];
    let mut random = StdRng::seed_from_u64(number("GF_KILL_SEED", 1));
    for (arguments, output) in commands {
        let output = here.join(output);
        let temp_files =
            || -> Vec<_> { files(output.parent().unwrap()).into_iter().filter(|path| is_temp(path)).collect() };
        let began = Instant::now();
        run(&folder, arguments).expect(0);
        let longest = began.elapsed() * 5 / 4;
        let whole = fs::read(&output).unwrap();
        let (mut absent, mut left) = (0, 0);
        for n in 0..number("GF_KILLS", 15) {
            fs::remove_file(&output).unwrap_or_default();
            let before = temp_files();
            let mut child = command(here).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
            if n % 2 == 0 {
                spin(time_below(&mut random, longest));
            } else {
                // While it writes.
                while temp_files() == before && !output.exists() && child.try_wait().unwrap().is_none() {
                    std::hint::spin_loop();
                }
                spin(time_below(&mut random, longest / 8));
            }
            child.kill().unwrap();
            child.wait().unwrap();
            match fs::read(&output) {
                Ok(bytes) => assert!(bytes == whole, "{arguments:?}: {} of {} bytes", bytes.len(), whole.len()),
                Err(_) => absent += 1,
            }
            let after = temp_files();
            // Who creates one has removed those before it.
            assert!(after.len() <= 1, "{arguments:?}: {after:?}");
            left += u32::from(after.iter().any(|path| !before.contains(path)));
        }
        fs::remove_file(&output).unwrap_or_default();
        run(&folder, arguments).expect(0);
        assert!(fs::read(&output).unwrap() == whole, "{arguments:?}");
        assert_eq!(temp_files(), [""; 0].map(PathBuf::from), "{arguments:?}");
        println!("{arguments:?}: {absent} absent, {left} with a temp file");
    }
}
