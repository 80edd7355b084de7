//! `demo`: a machine and a service for it in one process, for whoever has neither.

mod job;
mod pictures;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use crossbeam_channel::bounded;
use gf_emulator_core::local_service::{LocalService, Outcome, Script, Seen};
use gf_emulator_core::puls::{self, Limits};
use gf_emulator_core::record::Recorder;
use gf_emulator_core::words::count;
use gf_emulator_core::{Config, Emulator, Secret};

use crate::conversation::{Lines, follow, is_picture, observer, size};
use crate::failure::Failure;
use crate::output::say;
use crate::{folders, logging, signals};

/// The machine's pictures of its material are named for it.
const THICKNESS: &str = ".230";

/// See a whole session with no machine and no account
///
/// Starts the service that "serve" starts, over TLS, and a machine that signs in to it, in one process. Shows the
/// conversation as it happens and ends by itself after a few seconds.
///
/// DIR is made where it is not there yet, and what is in it stays. It gets images/ (what the machine's cameras see; a picture that is there
/// already is used), motion/ (the jobs that arrived, each with an .info that tells what is in it) and sent/ (the
/// pictures that were sent).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator demo
  gf-machine-emulator demo --dir /tmp/demo --generation 1.x
  gf-machine-emulator demo --record session

Exit codes: 0 all went well, 1 something did not, or Ctrl-C or SIGTERM came
before the end, 2 wrong usage.")]
pub(crate) struct Arguments {
    /// Where the files go
    #[arg(long, value_name = "DIR", default_value = "gf-machine-emulator-demo")]
    dir: PathBuf,
    /// Which of the two protocols the machine speaks
    #[arg(long, value_enum, default_value = "2.6")]
    generation: Generation,
    /// Record the machine's side into this folder, which must not have a recording yet
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Generation {
    #[value(name = "1.x")]
    V1,
    #[value(name = "2.6")]
    V2,
}

impl Generation {
    fn firmware(self) -> &'static str {
        match self {
            Self::V1 => "1.6.0-35",
            Self::V2 => "2.6.0-2228",
        }
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    logging::start_with_warnings()?;
    let started = Instant::now();
    let (stopping, stop) = bounded(1);
    let ended = stopping.clone();
    let dir = &arguments.dir;
    let mut config = configure(dir, arguments.generation);
    let logging = &config.logging;
    for folder in [dir, &config.emulator.image_dir, &config.motion.dir].into_iter().chain(&logging.sent_images_dir) {
        folders::can_write_in(folder)?;
    }
    if let Some(folder) = &arguments.record {
        folders::can_record_in(folder)?;
    }
    pictures::make(&config.emulator.image_dir, THICKNESS)?;
    let job = job::make().map_err(|e| Failure::failed(format_args!("cannot make a job: {e}")))?;

    // What comes before this ends at once at a signal.
    signals::on_stop(move || {
        let _ = stopping.try_send(());
    });
    let lines = Lines::new();
    let builder = LocalService::builder();
    logging::hide(builder.secrets());
    let service = builder
        .serial(&config.machine.serial.to_string())
        .password(config.machine.password.clone())
        .firmware_version(config.machine.firmware.clone())
        .puls(job)
        .script(Script::default())
        .observer(observer(Arc::clone(&lines), None, None))
        .start()
        .map_err(Failure::failed)?;
    config.service.server_url = service.http_url().into();
    config.service.status_service_url = service.ws_url();
    let recorder = arguments.record.as_ref().map(|folder| Recorder::of_machine(folder, &config)).transpose();
    let recorder = recorder.map_err(Failure::misused)?;
    say(format_args!(
        "a {} machine and a service for it at {}; files go to {}\n",
        config.generation(),
        service.http_url(),
        dir.display()
    ));
    let motion_dir = config.motion.dir.clone();
    let before = jobs_in(&motion_dir);
    let mut emulator = trusting(config, &service)?;
    if let Some(recorder) = recorder {
        emulator.record(&recorder);
    }

    let handle = emulator.handle();
    let machine = thread::Builder::new().name("gf-machine".into()).spawn(move || {
        let outcome = emulator.connect().and_then(|()| emulator.run());
        // Where it ends on its own, nothing more is to come.
        let _ = ended.try_send(());
        outcome
    });
    let machine = machine.map_err(|e| Failure::failed(format_args!("cannot start the machine: {e}")))?;
    let mut machine_ended = None;
    let outcome = follow(&service, &lines, &stop, |_| {
        handle.stop();
        machine_ended = machine.join().ok();
    });
    // What the machine says of itself is why the script did not come to its end, where it did not.
    machine_ended.ok_or_else(|| Failure::failed("the machine panicked"))??;
    match outcome {
        Some(Outcome::Done) => {}
        Some(Outcome::Failed { step, reason }) => {
            return Err(Failure::failed(format_args!("step {step} of the script: {reason}")));
        }
        None => return Err(Failure::failed("stopped before the end")),
    }
    let new: Vec<_> = jobs_in(&motion_dir).difference(&before).cloned().collect();
    if !before.is_empty() {
        let are = if before.len() == 1 { "is" } else { "are" };
        say(format_args!("\n{} of earlier runs {are} in {}, too", count(before.len(), "job"), motion_dir.display()));
    }
    sum_up(&service.seen(), &new, dir, started.elapsed())
}

fn configure(dir: &Path, generation: Generation) -> Config {
    let mut config = Config::default();
    config.machine.serial = 12_345_678;
    config.machine.hostname = "DEMO-1".into();
    config.machine.password = Secret::new("0123456789abcdef".repeat(4));
    config.machine.firmware = generation.firmware().into();
    config.service.retry_for = Duration::from_secs(5);
    config.firmware.dir = dir.join("firmware");
    config.emulator.image_dir = dir.join("images");
    config.emulator.material_thickness = THICKNESS.into();
    config.motion.dir = dir.join("motion");
    config.logging.sent_images_dir = Some(dir.join("sent"));
    config
}

/// A machine that trusts the service's certificate, which is good for this run and not kept.
fn trusting(mut config: Config, service: &LocalService) -> Result<Emulator, Failure> {
    let made =
        tempfile::Builder::new().prefix("gf-machine-emulator-").suffix(".pem").tempfile().and_then(|mut file| {
            file.write_all(service.ca_pem().unwrap_or_default().as_bytes())?;
            Ok(file)
        });
    let ca_file =
        made.map_err(|e| Failure::failed(format_args!("cannot write a certificate to a temporary file: {e}")))?;
    config.service.ca_file = Some(ca_file.path().into());
    let emulator = Emulator::new(config)?;
    logging::hide(emulator.secrets());
    Ok(emulator)
}

/// The pulse files in a folder; none where it is not there.
fn jobs_in(folder: &Path) -> BTreeSet<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "puls")).collect()
}

/// What came of it all; a failure where something that was handed out has not arrived.
fn sum_up(seen: &[Seen], jobs: &[PathBuf], dir: &Path, took: Duration) -> Result<(), Failure> {
    let requests = || seen.iter().filter_map(|s| if let Seen::Http(request) = s { Some(request) } else { None });
    let actions = seen.iter().filter(|s| matches!(s, Seen::WsSent(_))).count();
    let on_socket = seen.iter().filter(|s| matches!(s, Seen::WsMessage { .. })).count();
    let by_request = requests().filter(|request| request.path == "/api/event").count();
    let pictures: Vec<_> = requests().filter(|request| is_picture(request) && request.status == 200).collect();
    let handed_out = requests().filter(|request| request.path == "/dl/job.puls" && request.status == 200).count();
    say(format_args!(
        "\n{}, {}, {} sent ({}), {} collected, in {:.1} s",
        count(actions, "action"),
        count(on_socket + by_request, "message"),
        count(pictures.len(), "picture"),
        size(pictures.iter().map(|picture| picture.body_len).sum()),
        count(jobs.len(), "job"),
        took.as_secs_f64()
    ));
    for job in jobs {
        if !job.with_extension("info").is_file() {
            return Err(Failure::failed(format_args!("{} has no .info beside it", job.display())));
        }
        let file = File::open(job).map_err(|e| Failure::failed(format_args!("cannot read {}: {e}", job.display())))?;
        let measured = puls::measure(file, Limits::default())
            .map_err(|e| Failure::failed(format_args!("{}: {e}", job.display())))?;
        let run_time_s = measured.run_time_s.unwrap_or_default();
        let ticks = count(measured.ticks, "tick");
        say(format_args!("  {}: {ticks}, {run_time_s:.1} s to run", job.display()));
    }
    say(format_args!("the pictures are in {}", dir.join("sent").display()));
    if let Some(print) = jobs.iter().rfind(|job| job.to_string_lossy().contains("_print_")) {
        say(format_args!("to see a job: gf-machine-emulator puls plot {}", print.display()));
    }
    if jobs.len() == handed_out && handed_out > 0 && !pictures.is_empty() {
        Ok(())
    } else {
        Err(Failure::failed(format_args!("jobs handed out: {handed_out}, collected: {}", jobs.len())))
    }
}
