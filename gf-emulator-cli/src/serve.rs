//! `serve`: the cloud's side for any machine, driven by a script or by a recording.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::bounded;
use gf_emulator_core::files;
use gf_emulator_core::local_service::{LocalService, Outcome, Script};
use gf_emulator_core::puls::{self, Job};
use gf_emulator_core::record::Recorder;
use gf_emulator_core::replay::{Comparison, Session};
use gf_emulator_core::words::count;

use crate::conversation::{Comparing, Lines, RECORDING_LIMIT_BYTES, Recording, follow, observer};
use crate::failure::Failure;
use crate::output::{say, tell};
use crate::sink::Sink;
use crate::{folders, logging, numbers, signals};

/// The longest script that is read.
const SCRIPT_LIMIT_BYTES: u64 = 1 << 20;
/// The longest pulse file that is handed out: a machine refuses a longer one.
const PULS_LIMIT_BYTES: u64 = 128 << 20;
/// How long a machine has to answer the goodbye.
const CLOSING: Duration = Duration::from_secs(5);
/// The same where somebody stops this.
const STOPPING: Duration = Duration::from_millis(500);
/// Beyond the time that a machine had taken when it was recorded.
const PATIENCE: Duration = Duration::from_secs(60);

/// Be the service for a machine of any make, on this computer
///
/// Sign-in (any serial number after the letter S, any password), firmware, uploads, downloads and the WebSocket of both
/// generations, on one port. Every machine that connects is taken through the script once, and the conversation is shown
/// as it happens. What strangers who reach the port can make it hold is bounded: 256 connections, 64 machines, 1 GiB of
/// recording.
/// Without --script: what the cloud does with a machine that has just connected (settings, homing, hunt, head pictures,
/// a print).
///
/// With --replay: what a service had said in a recorded session, each thing once the machine has done as much as it had
/// done by then, with the recorded answers and jobs. What the machine says and asks for is compared with the recording,
/// and every difference is told as soon as it is known; so is what is waited for. The first machine that connects is the
/// one. The replay ends where that one has left and stays away for as long as it may take (--patience).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A script is a JSON list of steps:
  {\"send\": {...}, \"timeout_s\": 60}   the object, as an action
  {\"await\": \"event\", \"action_id\": 7, \"timeout_s\": 60}
  {\"sleep_s\": 0.5}
  {\"drop\": true}                     cut the WebSocket; or \"hard\"
  {\"close\": 1000}                    close it
In an action's strings, {http} stands for the service's address, {puls} for its
pulse file's and {serial} for the machine's serial number. A machine that has no
WebSocket and of which nothing is heard for 30 seconds has left: its script ends.

What may differ in a replay: times, numbers that count, serial numbers, hosts,
queries, how much progress there is, headers, what is in pictures; and in what
order things of different actions come.

Examples:
  gf-machine-emulator serve --listen 127.0.0.1:8443 --ca-out ca.pem
  gf-machine-emulator serve --listen 8080 --plain \\
      --script print.json --puls job.puls --gzip
  gf-machine-emulator serve --listen 127.0.0.1:8080 --plain --replay recording

Exit codes: 0 the script is done and everything awaited came, or the replay is
done without a difference; 1 not so (the step or every difference is named), or
ended by Ctrl-C or SIGTERM before that; 2 wrong usage.")]
pub(crate) struct Arguments {
    /// Where to listen; a port alone is one of 127.0.0.1, port 0 any that is free
    #[arg(long, value_name = numbers::ADDRESS, value_parser = numbers::address)]
    listen: String,
    /// No TLS: machines take that on this very computer only
    #[arg(long)]
    plain: bool,
    /// Write the root certificate that machines must trust to this file (PEM)
    #[arg(long, value_name = "FILE", conflicts_with = "plain")]
    ca_out: Option<PathBuf>,
    /// What to do with a machine (JSON)
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Go through the session that is recorded in this folder, and compare
    #[arg(long, value_name = "DIR", conflicts_with_all = ["script", "puls", "gzip"])]
    replay: Option<PathBuf>,
    /// How much longer than in the recording a machine may take [default: 60]
    #[arg(long, value_name = "S", value_parser = numbers::seconds, requires = "replay")]
    patience: Option<Duration>,
    /// The pulse file to hand out [default: a short one]
    #[arg(long, value_name = "FILE")]
    puls: Option<PathBuf>,
    /// Hand out the file of --puls although no machine would play it
    #[arg(long, requires = "puls")]
    unchecked: bool,
    /// Compress the pulse file
    #[arg(long)]
    gzip: bool,
    /// Record what it sees into this folder, which must not have a recording yet
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Cut every WebSocket after so many seconds, as the cloud does hourly
    #[arg(long, value_name = "S", value_parser = numbers::seconds)]
    cut_every: Option<Duration>,
}

pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    logging::start_with_warnings()?;
    let (stopping, stop) = bounded(1);
    let lines = Lines::new();
    let recording = arguments.record.as_ref().map(|_| Recording::new(RECORDING_LIMIT_BYTES));
    if let Some(folder) = &arguments.record {
        folders::can_record_in(folder)?;
    }
    let patience = arguments.patience.unwrap_or(PATIENCE);
    let session = arguments.replay.as_deref().map(|folder| read_session(folder, patience)).transpose()?;
    let comparing = session.as_ref().map(|session| Comparing::new(session.comparer()));
    let mut builder = LocalService::builder();
    logging::hide(builder.secrets());
    builder = builder
        .listen(arguments.listen)
        .tls(!arguments.plain)
        .gzip(arguments.gzip)
        .observe_pictures(recording.is_some())
        .observer(observer(Arc::clone(&lines), recording.clone(), comparing.clone()));
    builder = match &session {
        Some(session) => builder.replay(session.plan()),
        None => builder.script(arguments.script.as_deref().map(read_script).transpose()?.unwrap_or_default()),
    };
    if let Some(path) = &arguments.puls {
        builder = builder.puls(read_puls(path, arguments.unchecked)?);
    }
    if let Some(after) = arguments.cut_every {
        builder = builder.cut_every(after);
    }
    // Before anybody can connect, so that no machine is left without an end.
    signals::on_stop(move || {
        let _ = stopping.try_send(());
    });
    let ca_out = arguments.ca_out.as_deref();
    let read = [&arguments.script, &arguments.puls, &arguments.replay];
    let read: Vec<&Path> = read.into_iter().flatten().map(PathBuf::as_path).collect();
    let sink = ca_out.map(|path| Sink::create(path, &read)).transpose()?;
    let service = builder.start().map_err(Failure::failed)?;
    // Before there is a recording, so that it takes no place of one.
    if let (Some(mut sink), Some(pem)) = (sink, service.ca_pem()) {
        let written = sink.write_all(pem.as_bytes());
        sink.finish(written)?;
    }
    if let (Some(folder), Some(recording)) = (&arguments.record, &recording) {
        let begun = Recorder::of_service(folder, service.http_url());
        if let Ok(recorder) = &begun {
            recorder.add_secrets(&service.secrets());
        }
        let (recorder, failure) = begun.map_or_else(|e| (None, Some(e)), |recorder| (Some(recorder), None));
        // Whoever has connected meanwhile waits for this, also where it has failed.
        let _ = recording.recorder.set(recorder);
        if let Some(error) = failure {
            return Err(Failure::misused(error));
        }
    }
    introduce(&service, ca_out.filter(|path| *path != Path::new("-")));

    // A goodbye, so that the machine does not take the end of the script for an accident.
    let outcome = follow(&service, &lines, &stop, |stopped| {
        // Who has stopped this does not wait for a machine that does not answer.
        service.close_within(1000, if stopped { STOPPING } else { CLOSING });
    });
    if let (Some(session), Some(comparing)) = (session, comparing) {
        let (comparison, told) = comparing.finish(session.comparer());
        return sum_up(&comparison, told, outcome);
    }
    match outcome {
        Some(Outcome::Done) => {
            say("the script is done, and everything awaited came");
            Ok(())
        }
        Some(Outcome::Failed { step, reason }) => {
            Err(Failure::failed(format_args!("step {step} of the script: {reason}")))
        }
        None => Err(Failure::failed("stopped before the script was done")),
    }
}

/// Tells the differences that were not told before, and what came of it all.
fn sum_up(comparison: &Comparison, told: usize, outcome: Option<Outcome>) -> Result<(), Failure> {
    comparison.differences[told..].iter().for_each(say);
    if comparison.left_out > 0 {
        say(format_args!("and {}", count(comparison.left_out, "more difference")));
    }
    if comparison.differences.is_empty() && outcome.is_some() {
        say(comparison);
        return Ok(());
    }
    let failure = Failure::failed(comparison);
    Err(match outcome {
        Some(Outcome::Failed { reason, .. }) => {
            failure.and(&format!(" (the first that was waited for in vain: {reason})"))
        }
        Some(Outcome::Done) => failure,
        None => failure.and(" (stopped before the replay was done)"),
    })
}

/// What a machine needs to be told.
fn introduce(service: &LocalService, ca_out: Option<&Path>) {
    let address = service.addr();
    if !address.ip().is_loopback() {
        tell(format_args!(
            "gf-machine-emulator: {address} is not of this computer alone: whoever reaches it can use the service"
        ));
    }
    say(format_args!("listening on {address}; a machine's configuration needs:\n"));
    say("[SERVICE]");
    say(format_args!("server_url: {}", service.http_url()));
    say(format_args!("status_service_url: {}", service.ws_url()));
    match (service.ca_pem(), ca_out) {
        (Some(_), Some(path)) => say(format_args!("ca_file: {}", path.display())),
        (Some(_), None) => say("# ca_file: the certificate to trust; have it written with --ca-out FILE"),
        (None, _) => {}
    }
    say("\nAny serial number (sent as S12345) and any password will do. Ctrl-C ends it.\n");
}

fn read_session(folder: &Path, patience: Duration) -> Result<Session, Failure> {
    let session = Session::open_with(folder, patience).map_err(Failure::misused)?;
    for skipped in session.skipped() {
        tell(format_args!("{}, line {}, is left out: {}", folder.display(), skipped.line, skipped.reason));
    }
    Ok(session)
}

fn read_script(path: &Path) -> Result<Script, Failure> {
    let text = files::read_text(path, SCRIPT_LIMIT_BYTES).map_err(Failure::misused)?;
    Script::from_json(&text).map_err(|e| Failure::misused(format_args!("{}: {e}", path.display())))
}

/// Reads a pulse file, and checks it as a machine does.
fn read_puls(path: &Path, unchecked: bool) -> Result<Vec<u8>, Failure> {
    let bytes = files::read(path, PULS_LIMIT_BYTES).map_err(Failure::misused)?;
    let refusals = if unchecked { Ok(Vec::new()) } else { refusals(&bytes) };
    let reasons = match refusals {
        Ok(refusals) if refusals.is_empty() => return Ok(bytes),
        Ok(refusals) => refusals.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "),
        Err(error) => error.to_string(),
    };
    Err(Failure::misused(format_args!(
        "{}: no machine would play this: {reasons} (--unchecked hands it out all the same)",
        path.display()
    )))
}

/// Why every machine would refuse a file that is whole.
fn refusals(bytes: &[u8]) -> puls::Result<Vec<puls::Refusal>> {
    let mut job = Job::open(bytes)?;
    while job.next_chunk()?.is_some() {}
    Ok(job.header().check(None))
}
