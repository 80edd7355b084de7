//! `serve`: the local service for any machine: it reacts to machines, or follows a script or a recording.

use std::fmt::Display;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use crossbeam_channel::bounded;
use gf_emulator_core::files;
use gf_emulator_core::fleet::{Members, raise_file_limit};
use gf_emulator_core::local_service::{Behaviour, Builder, LocalService, Outcome, Script, Seen, Transcript};
use gf_emulator_core::puls::refusal_reasons;
use gf_emulator_core::record::Recorder;
use gf_emulator_core::replay::{Comparison, Difference, LimitedRecorder, Session, SharedComparer};
use gf_emulator_core::words::count;
use serde_json::{Value, json};

use crate::error::CliError;
use crate::faults::{self, FaultArguments};
use crate::listening::{self, ListenArguments};
use crate::output::{print, remark};
use crate::{logging, numbers, recording, signals};

const SCRIPT_LIMIT_BYTES: u64 = 1 << 20;
/// A machine refuses a larger pulse file.
const PULS_LIMIT_BYTES: u64 = 128 << 20;
/// Anyone who can connect adds to a recording.
const RECORDING_LIMIT_BYTES: u64 = 1 << 30;
/// How long a machine has to answer the WebSocket's close at the end of the script.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);
/// The same after Ctrl-C.
const STOP_TIMEOUT: Duration = Duration::from_millis(500);
/// The name of the built-in script.
const BUILT_IN_SCRIPT: &str = "1.x";
/// The default of `--patience`.
const PATIENCE: Duration = Duration::from_secs(60);

/// The help after the options, before that of faults.
const SCRIPT_HELP: &str = "\
A script is a JSON list of steps:
  {\"send\": {...}, \"timeout_s\": 60}   send the object as an action
  {\"await\": \"event\", \"action_id\": 7, \"timeout_s\": 60}
  {\"sleep_s\": 0.5}
  {\"drop\": true}                     cut the WebSocket; or \"hard\", \"reset\"
  {\"close\": 1000}                    close it
  {\"fault\": {\"status\": 503}}         add a fault of the machine; see below
In an action's strings, {http} is replaced by the service's address, {puls} by
its pulse file's and {serial} by the machine's serial number. The script of a
machine that has no WebSocket and sends nothing for 30 seconds ends.
";

/// The rest of the help.
const MORE_HELP: &str = "\
A replay ignores differences in times, counters, serial numbers, hosts, queries,
amount of progress, headers, pictures, and the order of messages of different
actions.

Examples:
  gf-machine-emulator serve --listen 8443 --ca-out ca.pem --puls job.puls
  gf-machine-emulator serve --listen 0.0.0.0:8443 \\
      --public-url https://192.168.1.20:8443 --ca-dir certificates
  gf-machine-emulator serve --listen 8080 --plain \\
      --script print.json --puls job.puls --gzip
  gf-machine-emulator serve --listen 127.0.0.1:8080 --plain --replay recording
  gf-machine-emulator serve --listen 8080 --plain --seed 7 \\
      --fault 'status=503 on=PUT:/up/ p=0.2' --fault-profile hourly-cut:0.01

With --json, each line is an object with \"t\" (seconds since the start) and
\"kind\": listening (address, server_url, status_service_url, ca_file, seed),
request (method, path, status, bytes, event), opened, message (event or
progress, action_id, current, total, units; or text), action (action, id,
status), closed (code), service (serial, change, print, number, state), fault
(machine, what), waiting and given_up (what), difference (subject, detail),
recording_full, recording_mixed, dropped (lines), left_out (lines), binary
(bytes), ping, pong, and at the end summary (result: done, failed or stopped;
reason; with --replay differences, actions, messages, requests).

Exit codes: 0 with --once, --script or --replay: it is done, every print was
completed, and everything expected arrived; otherwise: Ctrl-C or SIGTERM. 1
something failed (the print, the step or every difference is named), or Ctrl-C
or SIGTERM before the end of --once, --script or --replay. 2 wrong usage.";

/// Run a local stand-in for the cloud service
///
/// Serves sign-in (any serial number after the letter S, any password), firmware, uploads, downloads and the WebSocket of
/// both generations on one port. The conversation is printed as it happens. At most 64 machines (--machines), four
/// connections for each of them, and 1 GiB of recording.
///
/// It does with each machine what the cloud does with one of firmware 2.6: it asks for the settings; homes the machine
/// with a hunt, lid pictures and motions; then sends the files of --puls, one after the other. After a print it sends a
/// hunt, after lid:closed it asks for a lid picture, and while the lid is open it waits. It never presses the button: that
/// is up to the machine. It goes on until Ctrl-C, or with --once until everything is done.
///
/// With --script, each machine that connects is taken through a script once. "--script 1.x" is a built-in script for 1.x
/// machines: settings, homing, hunt, head pictures, a print.
///
/// With --replay, it plays back the service's side of a recorded session, with the recorded answers and jobs: each
/// message is sent when the machine has reached the same point as in the recording. Every difference in what the
/// machine sends is printed as soon as it is known, and so is what the replay is waiting for. Only the first machine
/// that connects is served. The replay ends when that machine has left for longer than --patience.
#[derive(Debug, clap::Args)]
#[command(after_help = help())]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Arguments {
    /// Where to listen; a port alone means 127.0.0.1:PORT, an address alone or port 0 any free port
    #[arg(long, value_name = numbers::ADDRESS, value_parser = numbers::address)]
    listen: String,
    #[command(flatten)]
    listening: ListenArguments,
    /// The script for each machine (JSON), or 1.x for the built-in one
    #[arg(long, value_name = "FILE")]
    script: Option<PathBuf>,
    /// Replay the recorded session in this folder, and compare
    #[arg(long, value_name = "DIR", conflicts_with_all = ["script", "puls", "gzip"])]
    replay: Option<PathBuf>,
    /// The number of the machine, if the recording to replay is of a fleet
    #[arg(long, value_name = "N", value_parser = numbers::machine, requires = "replay")]
    machine: Option<u32>,
    /// How many seconds longer than in the recording a machine may take [default: 60]
    #[arg(long, value_name = "S", value_parser = numbers::seconds, requires = "replay")]
    patience: Option<Duration>,
    /// A pulse file to print once homing is over; several are printed in this order. Without it,
    /// nothing is printed. With --script: the pulse file to offer; the default is a short one
    #[arg(long, value_name = "FILE")]
    puls: Vec<PathBuf>,
    /// End when each machine is homed and its prints have ended
    #[arg(long, conflicts_with_all = ["script", "replay"])]
    once: bool,
    /// Offer the files of --puls even if machines would refuse them
    #[arg(long, requires = "puls")]
    unchecked: bool,
    /// Compress the pulse files
    #[arg(long)]
    gzip: bool,
    /// Record the service's side into this folder, which must not have a recording yet
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// How many machines may be signed in at the same time
    #[arg(
        long,
        value_name = "N",
        default_value = "64",
        value_parser = numbers::within(1..=Members::MOST, "a number of machines")
    )]
    machines: u32,
    /// Cut every WebSocket after this many seconds, as the cloud does hourly
    #[arg(long, value_name = "S", value_parser = numbers::seconds)]
    cut_every: Option<Duration>,
    #[command(flatten)]
    faults: FaultArguments,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

fn help() -> String {
    [SCRIPT_HELP, faults::HELP, MORE_HELP].join("\n")
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), CliError> {
    logging::start_with_warnings()?;
    let (stopping, stop) = bounded(1);
    let secrets = logging::secrets().clone();
    let transcript = if arguments.json { Transcript::of_json(secrets) } else { Transcript::new(secrets) };
    let is_json = arguments.json;
    if let Some(folder) = &arguments.record {
        Recorder::check_folder(folder).map_err(CliError::usage)?;
    }
    let recorder = arguments.record.as_ref().map(|_| LimitedRecorder::new(RECORDING_LIMIT_BYTES));
    let patience = arguments.patience.unwrap_or(PATIENCE);
    let session = arguments.replay.as_deref().map(|folder| read_session(folder, arguments.machine, patience));
    let session = session.transpose()?;
    let comparer = session.as_ref().map(|session| SharedComparer::new(session.comparer()));
    let (lines, recording, comparing) = (Arc::clone(&transcript), recorder.clone(), comparer.clone());
    let (connected, is_mixed) = (AtomicU32::new(0), AtomicBool::new(false));
    let observe = move |seen: &Seen| {
        let tell = |kind: &str, text: &str| {
            if is_json { lines.add_object(json!({"kind": kind})) } else { lines.add_line(text.to_owned()) }
        };
        if let Some(recorder) = &recording {
            if is_second_connection(seen, &connected) && !is_mixed.swap(true, Ordering::Relaxed) {
                let text = "more than one connection is open: if they are of several machines, the recording does not tell \
                            them apart";
                tell("recording_mixed", text);
            }
            if recorder.observe(seen) {
                tell("recording_full", "the recording is full: nothing more is recorded");
            }
        }
        lines.add(seen);
        if let Some(comparer) = &comparing {
            comparer.observe(seen, |difference| {
                if is_json {
                    lines.add_object(difference_json(difference));
                } else {
                    lines.add_line(logging::clean(&difference.to_string()));
                }
            });
        }
    };
    raise_file_limit(arguments.machines.into());
    let mut builder = LocalService::builder();
    logging::secrets().follow(&builder.secrets());
    builder = arguments
        .listening
        .apply(builder, arguments.listen.as_str())
        .gzip(arguments.gzip)
        .machines(NonZeroUsize::MIN.saturating_add(arguments.machines as usize - 1))
        .observe_pictures(recorder.is_some())
        .observer(observe);
    let jobs = read_jobs(&arguments.puls, arguments.unchecked)?;
    let script = arguments.script.as_deref().map(read_script).transpose()?;
    builder = with_work(builder, session.as_ref(), script.as_ref(), jobs, arguments.once)?;
    builder = arguments.faults.apply(builder);
    if let Some(after) = arguments.cut_every {
        builder = builder.cut_every(after);
    }
    // Before anybody can connect, so that every machine gets a close.
    signals::on_stop(move || {
        let _ = stopping.try_send(());
    });
    let inputs = [&arguments.script, &arguments.replay].into_iter().flatten().chain(&arguments.puls);
    let inputs: Vec<&Path> = inputs.map(PathBuf::as_path).collect();
    let ca_out = arguments.listening.open_ca_out(&inputs)?;
    let service = builder.start().map_err(listening::cannot_start)?;
    // Before the recording, so that it cannot replace a file of it.
    listening::write_ca(ca_out, &service)?;
    if let (Some(folder), Some(recorder)) = (&arguments.record, &recorder) {
        recorder.start(folder, &service).map_err(CliError::usage)?;
    }
    announce(arguments, &service, &transcript, script.as_ref());

    // Closes in order, so that the machine does not take the end for a lost connection.
    let outcome = transcript.print_until_done(&service, &stop, print, |stopped| {
        service.close_within(1000, if stopped { STOP_TIMEOUT } else { CLOSE_TIMEOUT });
    });
    let comparison =
        session.zip(comparer).map(|(session, comparer)| comparer.finish(session.comparer(), outcome.is_none()));
    if is_json {
        print_end(&transcript, outcome.as_ref(), comparison.as_ref());
    }
    let say = |line: &dyn Display| {
        if !is_json {
            print(line);
        }
    };
    if let Some((comparison, printed)) = comparison {
        return report_comparison(&comparison, printed, outcome, say);
    }
    if script.is_none() {
        return behaviour_result(outcome, arguments.once, say);
    }
    script_result(outcome)?;
    say(&"the script is done, and everything awaited arrived");
    Ok(())
}

/// Sets what the service does with a machine.
fn with_work(
    builder: Builder,
    session: Option<&Session>,
    script: Option<&Script>,
    jobs: Vec<(&Path, Vec<u8>)>,
    once: bool,
) -> Result<Builder, CliError> {
    Ok(match (session, script) {
        (Some(session), _) => builder.replay(session.plan()),
        (None, Some(script)) => {
            if jobs.len() > 1 {
                return Err(CliError::usage("--script takes one --puls at most"));
            }
            let builder = builder.script(script.clone());
            jobs.into_iter().fold(builder, |builder, (_, file)| builder.puls(file))
        }
        (None, None) => {
            let behaviour = if once { Behaviour::new().once() } else { Behaviour::new() };
            builder.behaviour(jobs.into_iter().fold(behaviour, |all, (path, file)| all.print_file(path, file)))
        }
    })
}

/// Counts open WebSockets. Returns whether this is the second one.
fn is_second_connection(seen: &Seen, connected: &AtomicU32) -> bool {
    match seen {
        Seen::WsOpened { .. } => connected.fetch_add(1, Ordering::Relaxed) == 1,
        Seen::WsClosed { .. } => {
            connected.fetch_sub(1, Ordering::Relaxed);
            false
        }
        _ => false,
    }
}

/// Prints what a machine's configuration needs.
fn announce(arguments: &Arguments, service: &LocalService, transcript: &Transcript, script: Option<&Script>) {
    let seed = arguments.faults.seed(service, script);
    if arguments.json {
        let mut listening = arguments.listening.to_json(service);
        listening["seed"] = json!(seed);
        return print(transcript.stamp(listening));
    }
    let ends = arguments.once || script.is_some() || arguments.replay.is_some();
    let end = if ends { "Press Ctrl-C to stop it before it ends by itself." } else { "Press Ctrl-C to stop." };
    arguments.listening.introduce(service, end);
    if let Some(seed) = seed {
        print(format_args!("faults happen on purpose; --seed {seed} repeats them\n"));
    }
}

/// Prints the differences that were found at the end, and the summary, as JSON.
fn print_end(transcript: &Transcript, outcome: Option<&Outcome>, comparison: Option<&(Comparison, usize)>) {
    if let Some((comparison, printed)) = comparison {
        for found in &comparison.differences[*printed..] {
            print(transcript.stamp(difference_json(found)));
        }
    }
    print(transcript.stamp(summary_json(outcome, comparison.map(|(comparison, _)| comparison))));
}

fn difference_json(difference: &Difference) -> Value {
    let [subject, detail] = [&difference.subject, &difference.detail].map(|text| logging::clean(text));
    json!({"kind": "difference", "subject": subject, "detail": detail})
}

fn summary_json(outcome: Option<&Outcome>, comparison: Option<&Comparison>) -> Value {
    let (result, reason) = match outcome {
        Some(Outcome::Done) => ("done", None),
        Some(Outcome::Failed { reason, .. }) => ("failed", Some(logging::clean(reason))),
        None => ("stopped", None),
    };
    let mut summary = json!({"kind": "summary", "result": result, "reason": reason});
    if let Some(comparison) = comparison {
        summary["differences"] = (comparison.differences.len() + comparison.left_out).into();
        summary["actions"] = comparison.actions.into();
        summary["messages"] = comparison.messages.into();
        summary["requests"] = comparison.requests.into();
    }
    summary
}

/// Fails if a print was not completed, or if the service was stopped although it was to end by itself.
fn behaviour_result(outcome: Option<Outcome>, once: bool, say: impl Fn(&dyn Display)) -> Result<(), CliError> {
    match outcome {
        Some(Outcome::Done) => {
            say(&"every machine is homed, and every print is completed");
            Ok(())
        }
        Some(Outcome::Failed { reason, .. }) => Err(CliError::failed(reason)),
        None if once => Err(CliError::failed("stopped before every machine was homed and every print had ended")),
        None => {
            say(&"stopped");
            Ok(())
        }
    }
}

/// Fails unless a script was completed.
pub(crate) fn script_result(outcome: Option<Outcome>) -> Result<(), CliError> {
    match outcome {
        Some(Outcome::Done) => Ok(()),
        Some(Outcome::Failed { step, reason }) => {
            Err(CliError::failed(format_args!("step {step} of the script: {reason}")))
        }
        None => Err(CliError::failed("stopped before the script was done")),
    }
}

/// Prints the differences after the first `printed`, and the result.
fn report_comparison(
    comparison: &Comparison,
    printed: usize,
    outcome: Option<Outcome>,
    say: impl Fn(&dyn Display),
) -> Result<(), CliError> {
    comparison.differences[printed..].iter().for_each(|difference| say(difference));
    if comparison.left_out > 0 {
        say(&format_args!("and {}", count(comparison.left_out, "more difference")));
    }
    if comparison.differences.is_empty() && outcome.is_some() {
        say(comparison);
        return Ok(());
    }
    Err(match outcome {
        Some(Outcome::Failed { reason, .. }) => {
            CliError::failed(format_args!("{comparison} (first timeout: {reason})"))
        }
        Some(Outcome::Done) => CliError::failed(comparison),
        None => {
            let found = count(comparison.differences.len() + comparison.left_out, "difference");
            CliError::failed(format_args!("stopped before the replay was done: {found} so far"))
        }
    })
}

fn read_session(folder: &Path, machine: Option<u32>, patience: Duration) -> Result<Session, CliError> {
    let session = Session::read(recording::open(folder, machine)?, patience).map_err(CliError::usage)?;
    for skipped in session.skipped() {
        remark(format_args!("{}, line {}: skipped: {}", folder.display(), skipped.line, skipped.reason));
    }
    Ok(session)
}

fn read_script(path: &Path) -> Result<Script, CliError> {
    if path == Path::new(BUILT_IN_SCRIPT) {
        return Ok(Script::default());
    }
    let text = files::read_text(path, SCRIPT_LIMIT_BYTES).map_err(CliError::usage)?;
    Script::from_json(&text).map_err(|e| CliError::usage(format_args!("{}: {e}", path.display())))
}

fn read_jobs(paths: &[PathBuf], unchecked: bool) -> Result<Vec<(&Path, Vec<u8>)>, CliError> {
    paths.iter().map(|path| Ok((path.as_path(), read_puls(path, unchecked)?))).collect()
}

/// Reads a pulse file, and checks it as a machine does unless `unchecked`.
fn read_puls(path: &Path, unchecked: bool) -> Result<Vec<u8>, CliError> {
    let bytes = files::read(path, PULS_LIMIT_BYTES).map_err(CliError::usage)?;
    let reasons = match if unchecked { Ok(None) } else { refusal_reasons(&bytes) } {
        Ok(None) => return Ok(bytes),
        Ok(Some(reasons)) => reasons,
        Err(error) => error.to_string(),
    };
    Err(CliError::usage(format_args!(
        "{}: machines would refuse this: {reasons} (--unchecked offers it anyway)",
        path.display()
    )))
}
