//! `serve`: the cloud's side for any machine, driven by a script or by a recording.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{bounded, unbounded};
use gf_emulator_core::local_service::{LocalService, Outcome, Script, Seen};
use gf_emulator_core::record::Recorder;
use gf_emulator_core::replay::Session;

use crate::conversation::{follow, observer};
use crate::failure::Failure;
use crate::output::{say, tell};
use crate::{logging, signals};

/// Beyond the time that a machine had taken when it was recorded.
const PATIENCE: Duration = Duration::from_secs(60);

/// Be the service for a machine of any make, on this computer
///
/// Sign-in (any serial number and password), firmware, uploads, downloads and the WebSocket of both generations, on one
/// port. Every machine that connects is taken through the script once, and the conversation is shown as it happens.
/// Without --script: what the cloud does with a machine that has just connected (settings, homing, hunt, head pictures,
/// a print).
///
/// With --replay: what a service had said in a recorded session, each thing once the machine has done as much as it had
/// done by then, with the recorded answers and jobs. What the machine says and asks for is compared with the recording,
/// and every difference is told. The first machine that signs in is the one.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A script is a JSON list of steps:
  {\"send\": {...}, \"timeout_s\": 60}   the object, as an action
  {\"await\": \"event\", \"action_id\": 7, \"timeout_s\": 60}
  {\"sleep_s\": 0.5}
  {\"drop\": true}                     cut the WebSocket; or \"hard\"
  {\"close\": 1000}                    close it
In an action's strings, {http} stands for the service's address, {puls} for its
pulse file's and {serial} for the machine's serial number.

What may differ in a replay: times, numbers that count, serial numbers, hosts,
queries, how much progress there is, headers, what is in pictures; and in what
order things of different actions come.

Examples:
  gf-machine-emulator serve --listen 127.0.0.1:8443 --ca-out ca.pem
  gf-machine-emulator serve --listen 127.0.0.1:8080 --plain \\
      --script print.json --puls job.puls --gzip
  gf-machine-emulator serve --listen 127.0.0.1:8080 --plain --replay recording

Exit codes: 0 the script is done and everything awaited came, or the replay is
done without a difference; 1 not so (the step or every difference is named), or
ended by Ctrl-C or SIGTERM before that; 2 wrong usage.")]
pub(crate) struct Arguments {
    /// Where to listen; port 0 is any that is free
    #[arg(long, value_name = "ADDR:PORT", value_parser = address)]
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
    #[arg(long, value_name = "S", value_parser = seconds, requires = "replay")]
    patience: Option<Duration>,
    /// The pulse file to hand out [default: a short one]
    #[arg(long, value_name = "FILE")]
    puls: Option<PathBuf>,
    /// Compress the pulse file
    #[arg(long)]
    gzip: bool,
    /// Record what it sees into this folder, which must not have a recording yet
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Cut every WebSocket after so many seconds, as the cloud does hourly
    #[arg(long, value_name = "S", value_parser = seconds)]
    cut_every: Option<Duration>,
}

/// A host and a port; whether it can be listened on is seen later.
pub(crate) fn address(text: &str) -> Result<String, String> {
    let wrong = || "an address and a port, such as 127.0.0.1:8443".to_owned();
    let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
    if host.is_empty() || port.parse::<u16>().is_err() { Err(wrong()) } else { Ok(text.to_owned()) }
}

/// From a thousandth of a second up to a year.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let number: Option<f64> = text.parse().ok().filter(|seconds| (0.001..=31_536_000.0).contains(seconds));
    number.map(Duration::from_secs_f64).ok_or_else(|| "a number of seconds from 0.001 to 31536000".into())
}

pub(crate) fn run(arguments: Arguments) -> Result<(), Failure> {
    logging::start_with_warnings()?;
    let (stopping, stop) = bounded(1);
    let (to_lines, lines) = unbounded();
    let recorder = Arc::<OnceLock<Recorder>>::default();
    let mut builder = LocalService::builder()
        .listen(arguments.listen)
        .tls(!arguments.plain)
        .gzip(arguments.gzip)
        .observer(observer(to_lines, arguments.record.as_ref().map(|_| Arc::clone(&recorder))));
    let patience = arguments.patience.unwrap_or(PATIENCE);
    let session = arguments.replay.as_deref().map(|folder| read_session(folder, patience)).transpose()?;
    builder = match &session {
        Some(session) => builder.replay(session.plan()),
        None => builder.script(arguments.script.as_deref().map(read_script).transpose()?.unwrap_or_default()),
    };
    if let Some(path) = &arguments.puls {
        builder = builder.puls(fs::read(path).map_err(|e| cannot("read", path, &e))?);
    }
    if let Some(after) = arguments.cut_every {
        builder = builder.cut_every(after);
    }
    // Before anybody can connect, so that no machine is left without an end.
    signals::on_stop(move || {
        let _ = stopping.try_send(());
    })?;
    let service = builder.start().map_err(Failure::failed)?;
    if let Some(folder) = &arguments.record {
        // Whoever has connected meanwhile waits for this.
        let begun = Recorder::of_service(folder, service.http_url()).map_err(Failure::misused)?;
        begun.hide(&service.secrets());
        let _ = recorder.set(begun);
    }
    if let (Some(path), Some(pem)) = (&arguments.ca_out, service.ca_pem()) {
        fs::write(path, pem).map_err(|e| cannot("write", path, &e))?;
    }
    introduce(&service, arguments.ca_out.as_deref());

    // A goodbye, so that the machine does not take the end of the script for an accident.
    let outcome = follow(&service, &lines, &stop, || service.close(1000));
    if let Some(session) = session {
        return compare(&session, &service.seen(), outcome);
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

/// Tells every difference between what was recorded and what the service has seen.
fn compare(session: &Session, seen: &[Seen], outcome: Option<Outcome>) -> Result<(), Failure> {
    let comparison = session.compare(seen);
    comparison.differences.iter().for_each(say);
    if comparison.differences.is_empty() && outcome.is_some() {
        say(&comparison);
        return Ok(());
    }
    let failure = Failure::failed(&comparison);
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
    say("\nAny serial number and password will do. Ctrl-C ends it.\n");
}

fn read_session(folder: &Path, patience: Duration) -> Result<Session, Failure> {
    let session = Session::open_with(folder, patience).map_err(Failure::misused)?;
    for skipped in session.skipped() {
        tell(format_args!("{}, line {}, is left out: {}", folder.display(), skipped.line, skipped.reason));
    }
    Ok(session)
}

fn read_script(path: &Path) -> Result<Script, Failure> {
    let text = fs::read_to_string(path).map_err(|e| cannot("read", path, &e))?;
    Script::from_json(&text).map_err(|e| Failure::misused(format_args!("{}: {e}", path.display())))
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Failure {
    Failure::misused(format_args!("cannot {what} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_port() {
        assert!(address("127.0.0.1:0").is_ok() && address("[::1]:8443").is_ok() && address("localhost:1").is_ok());
        for text in ["", "8443", "foo:bar", ":1", "127.0.0.1:99999"] {
            assert!(address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn only_times_that_can_be_waited_for_are_seconds() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for text in ["", "0", "-1", "NaN", "inf", "1e99", "5s"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
