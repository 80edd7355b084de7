//! `demo`: a machine and a local service in one process.

mod pictures;

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use gf_emulator_core::config::Generation;
use gf_emulator_core::local_service::{LocalService, Script, Seen, Totals, Transcript};
use gf_emulator_core::record::Recorder;
use gf_emulator_core::words::count;
use gf_emulator_core::{Config, Emulator, Secret, Tls, files};

use crate::error::CliError;
use crate::output::print;
use crate::{console, logging, numbers, puls, serve, signals};

/// Part of the names of the head camera's pictures.
const THICKNESS: &str = ".230";

/// Run a whole session without a machine and without an account
///
/// Starts the local service of "serve", over TLS, and a machine that signs in to it, in one process. Prints the
/// conversation as it happens, and ends by itself within a few seconds.
///
/// DIR is created if needed; files in it are kept. It gets images/ (pictures for the machine's cameras; existing ones
/// are used), motion/ (the jobs that arrived, each with an .info file that describes it) and sent/ (the pictures that
/// were sent).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator demo
  gf-machine-emulator demo --dir /tmp/demo --generation 1.x
  gf-machine-emulator demo --record session

Exit codes: 0 success; 1 something failed, or Ctrl-C or SIGTERM came before the
end; 2 wrong usage.")]
pub(crate) struct Arguments {
    /// The folder for all files
    #[arg(long, value_name = "DIR", default_value = "gf-machine-emulator-demo")]
    dir: PathBuf,
    /// The protocol generation of the machine
    #[arg(long, default_value = "2.6", value_parser = numbers::generation())]
    generation: Generation,
    /// Record the machine's side into this folder, which must not have a recording yet
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
}

/// Returns a firmware version of a generation.
fn firmware(generation: Generation) -> &'static str {
    match generation {
        Generation::V1 => "1.6.0-35",
        Generation::V2 => "2.6.0-2228",
    }
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), CliError> {
    logging::start_with_warnings()?;
    let started = Instant::now();
    let (stopping, stop) = bounded(1);
    let machine_ended = stopping.clone();
    let dir = &arguments.dir;
    let mut config = configure(dir, arguments.generation);
    let motion_dir = config.motion.dir.clone();
    for folder in [dir, &config.emulator.image_dir, &motion_dir].into_iter().chain(&config.logging.sent_images_dir) {
        files::can_write_in(folder).map_err(CliError::usage)?;
    }
    if let Some(folder) = &arguments.record {
        Recorder::check_folder(folder).map_err(CliError::usage)?;
    }
    pictures::write_missing(&config.emulator.image_dir, THICKNESS)?;

    // Until here, a signal ends the program at once.
    signals::on_stop(move || {
        let _ = stopping.try_send(());
    });
    let builder = LocalService::builder().sample_jobs();
    let transcript = Transcript::new(logging::secrets().clone());
    let lines = Arc::clone(&transcript);
    logging::secrets().follow(&builder.secrets());
    let service = builder
        .serial(&config.machine.serial.to_string())
        .password(config.machine.password.clone())
        .firmware_version(config.machine.firmware.clone())
        .script(Script::default())
        .observer(move |seen| lines.add(seen))
        .start()
        .map_err(CliError::failed)?;
    config.service.server_url = service.http_url().into();
    config.service.status_service_url = service.ws_url();
    let recorder = arguments.record.as_ref().map(|folder| Recorder::of_machine(folder, &config)).transpose();
    let recorder = recorder.map_err(CliError::usage)?;
    show(format_args!(
        "a {} machine and a local service at {}; files go to {}\n",
        config.generation(),
        service.http_url(),
        dir.display()
    ));
    let earlier = count_jobs(&motion_dir);
    let mut emulator = Emulator::new(config)?.with_tls(Tls::from_pem(service.ca_pem().unwrap_or_default())?);
    logging::secrets().follow(&emulator.secrets());
    if let Some(recorder) = recorder {
        emulator.record(&recorder);
    }

    let handle = emulator.handle();
    let machine = thread::Builder::new().name("gf-machine".into()).spawn(move || {
        let collected = emulator.collect(usize::MAX, None);
        // If it failed, the script cannot go on.
        let _ = machine_ended.try_send(());
        collected
    });
    let machine = machine.map_err(|e| CliError::failed(format_args!("cannot start the machine: {e}")))?;
    let mut collected = None;
    let outcome = transcript.print_until_done(&service, &stop, show, |_| {
        handle.stop();
        collected = machine.join().ok();
    });
    // The machine's error explains why the script did not end.
    let (jobs, machine_outcome) = collected.ok_or_else(|| CliError::failed("the machine panicked"))?;
    machine_outcome?;
    serve::script_result(outcome)?;
    if earlier > 0 {
        print(format_args!("\n{} also contains {} from earlier runs", motion_dir.display(), count(earlier, "job")));
    }
    print_summary(&service.seen(), &jobs, dir, started.elapsed())?;
    if let Some(folder) = &arguments.record {
        show(format_args!("to see the session: gf-machine-emulator report {}", folder.display()));
    }
    Ok(())
}

/// Prints a line that is no result, unless `--quiet` was given.
fn show(line: impl Display) {
    if !console::is_quiet() {
        print(line);
    }
}

fn configure(dir: &Path, generation: Generation) -> Config {
    let mut config = Config::default();
    config.machine.serial = 12_345_678;
    config.machine.hostname = "DEMO-1".into();
    config.machine.password = Secret::new("0123456789abcdef".repeat(4));
    config.machine.firmware = firmware(generation).into();
    config.service.retry_for = Duration::from_secs(5);
    config.firmware.dir = dir.join("firmware");
    config.emulator.image_dir = dir.join("images");
    config.emulator.material_thickness = THICKNESS.into();
    config.motion.dir = dir.join("motion");
    config.logging.sent_images_dir = Some(dir.join("sent"));
    config
}

fn count_jobs(folder: &Path) -> usize {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "puls")).count()
}

/// Prints what was done. Fails if a job that was handed out did not arrive.
fn print_summary(seen: &[Seen], jobs: &[PathBuf], dir: &Path, took: Duration) -> Result<(), CliError> {
    let totals = Totals::of(seen);
    show("");
    print(format_args!("{totals}, {} collected, in {:.1} s", count(jobs.len(), "job"), took.as_secs_f64()));
    if !jobs.is_empty() {
        puls::table(jobs)?;
    }
    if let Some(job) = jobs.iter().find(|job| !job.with_extension("info").is_file()) {
        return Err(CliError::failed(format_args!("{} has no .info file", job.display())));
    }
    print(format_args!("the pictures are in {}", dir.join("sent").display()));
    if let Some(print_job) = jobs.iter().rfind(|job| job.to_string_lossy().contains("_print_")) {
        show(format_args!("to see a job: gf-machine-emulator puls plot {}", print_job.display()));
    }
    if jobs.len() == totals.jobs && totals.jobs > 0 && totals.pictures > 0 {
        Ok(())
    } else {
        Err(CliError::failed(format_args!("jobs handed out: {}, collected: {}", totals.jobs, jobs.len())))
    }
}
