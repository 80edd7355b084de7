//! `conform`: takes a machine through scenarios, and reports which of them it passes.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gf_emulator_core::config::Generation;
use gf_emulator_core::conform::{Conformance, Options, Outcome, Report, Scenario, Verdict};
use gf_emulator_core::files;
use gf_emulator_core::local_service::LocalService;

use crate::error::CliError;
use crate::listening::{self, ListenArguments};
use crate::output::{self, OpenOutput, print};
use crate::progress::Running;
use crate::{logging, numbers, signals};

/// The default of `--wait`.
const WAIT: Duration = Duration::from_secs(120);
/// How long a machine has to answer the WebSocket's close at the end.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

const SCENARIO_LIMIT_BYTES: u64 = 1 << 20;

/// Test a machine against the protocol
///
/// Serves a stand-in for the cloud service as "serve" does, waits for a machine to connect, takes it through scenarios,
/// and prints a row for each: name, passed, failed or skipped, and for a failed one what was demanded and seen. The
/// machine must have started anew, because some scenarios are about its first messages. After Ctrl-C, scenarios that were
/// not run to their end have no row; the files of --json and --junit have them as "stopped".
///
/// Some scenarios need a person at the machine who opens the lid or presses the button; the program says when. No
/// scenario needs the laser. In "refused-fire-before-power", the job has the laser on for one tick before its power is
/// set, and the machine must refuse it. Take the material out, and keep the lid closed unless told otherwise.
///
/// To test this emulator, set `time_scale: 1` in its configuration: at 0, its jobs are over at once.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  gf-machine-emulator conform --list
  gf-machine-emulator conform --listen 8080 --plain --junit conform.xml
  gf-machine-emulator conform --listen 8080 --plain --scenario mine.json
  gf-machine-emulator conform --listen 8443 --ca-out ca.pem \\
      --unattended --auto-button
  gf-machine-emulator conform --listen 0.0.0.0:8443 \\
      --public-url https://192.168.1.20:8443 --ca-dir certificates

Exit codes: 0 all scenarios that were run have passed; 1 one has failed, no
machine has connected, or Ctrl-C or SIGTERM; 2 wrong usage.")]
#[allow(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Arguments {
    /// Where to listen; a port alone means 127.0.0.1:PORT, port 0 is any free one
    #[arg(long, value_name = numbers::ADDRESS, value_parser = numbers::address, required_unless_present = "list")]
    listen: Option<String>,
    #[command(flatten)]
    listening: ListenArguments,
    /// How many seconds to wait for a machine to connect [default: 120]
    #[arg(long, value_name = "S", value_parser = numbers::seconds)]
    wait: Option<Duration>,
    /// How many seconds each step of a scenario may take [default: 60]
    #[arg(long, value_name = "S", value_parser = numbers::seconds)]
    timeout: Option<Duration>,
    /// The machine's generation
    #[arg(long, default_value = "2.6", value_parser = numbers::generation())]
    generation: Generation,
    /// Run only this scenario; may be given several times
    #[arg(long, value_name = "NAME", value_parser = name)]
    only: Vec<String>,
    /// Run the scenario in this file (JSON) instead of the built-in ones; may be given several times
    #[arg(long, value_name = "FILE", conflicts_with = "only")]
    scenario: Vec<PathBuf>,
    /// Nobody is at the machine: skip scenarios that need somebody at the lid or the button
    #[arg(long)]
    unattended: bool,
    /// The machine presses its button itself, to start prints
    #[arg(long)]
    auto_button: bool,
    /// List the scenarios and what they demand, and exit
    #[arg(long)]
    list: bool,
    /// Write the result as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the result as JUnit XML
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
}

/// Parses the name of a scenario.
fn name(text: &str) -> Result<String, String> {
    let is_known = Scenario::built_in().iter().any(|scenario| scenario.name() == text);
    if is_known { Ok(text.to_owned()) } else { Err("expected the name of a scenario, as --list shows them".to_owned()) }
}

fn read(path: &Path) -> Result<Scenario, CliError> {
    let text = files::read_text(path, SCENARIO_LIMIT_BYTES).map_err(CliError::usage)?;
    Scenario::from_json(&text).map_err(|e| CliError::usage(format_args!("{}: {e}", path.display())))
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let mut scenarios = arguments.scenario.iter().map(|path| read(path)).collect::<Result<Vec<_>, _>>()?;
    if scenarios.is_empty() {
        scenarios = Scenario::built_in();
    }
    scenarios.retain(|scenario| arguments.only.is_empty() || arguments.only.iter().any(|name| name == scenario.name()));
    if arguments.list {
        scenarios.iter().for_each(list);
        return Ok(());
    }
    logging::start_with_warnings()?;
    let mut options = Options::default();
    options.generation = arguments.generation;
    options.timeout = arguments.timeout.unwrap_or(options.timeout);
    (options.unattended, options.auto_button) = (arguments.unattended, arguments.auto_button);
    let open = |path: &Option<PathBuf>| path.as_deref().map(|path| output::create(path, &[])).transpose();
    let listening = &arguments.listening;
    let (ca_out, json, junit) = (listening.open_ca_out(&[])?, open(&arguments.json)?, open(&arguments.junit)?);
    let builder = LocalService::builder();
    logging::secrets().follow(&builder.secrets());
    // clap demands it without --list.
    let listen = arguments.listen.clone().unwrap_or_default();
    let builder = listening.apply(builder, listen);
    let mut conformance = Conformance::start(builder, options).map_err(listening::cannot_start)?;
    let stopper = conformance.stopper();
    signals::on_stop(move || stopper.stop());
    listening::write_ca(ca_out, conformance.service())?;
    listening.introduce(conformance.service(), "Start the machine now.");
    if !conformance.wait_for_machine(arguments.wait.unwrap_or(WAIT)) {
        return Err(CliError::failed("no machine has connected"));
    }
    let mut verdicts = Vec::with_capacity(scenarios.len());
    for scenario in &scenarios {
        let running = Running::new(format!("{} ...", scenario.name()));
        let verdict = conformance.run(scenario, &mut |task| running.print(format_args!("    please {task}")));
        drop(running);
        if verdict.outcome != Outcome::Stopped {
            show(&verdict);
        }
        verdicts.push(verdict);
    }
    conformance.service().close_within(1000, CLOSE_TIMEOUT);
    let report = Report::new(verdicts);
    write(json, &report.to_json())?;
    write(junit, &report.to_junit())?;
    if report.failed() > 0 || report.is_stopped() {
        return Err(CliError::failed(report));
    }
    print(&report);
    Ok(())
}

fn list(scenario: &Scenario) {
    print(format_args!("{}\n    {}\n    {}", scenario.name(), scenario.demands(), scenario.why()));
}

/// Prints the row of a scenario, and what was seen if it has failed.
fn show(verdict: &Verdict) {
    print(verdict);
    if matches!(verdict.outcome, Outcome::Failed { .. }) {
        print(format_args!("    {}\n    {}", verdict.demands, verdict.why));
        verdict.seen.iter().for_each(|line| print(format_args!("    {line}")));
    }
}

fn write(output: Option<OpenOutput>, text: &str) -> Result<(), CliError> {
    let Some(mut output) = output else { return Ok(()) };
    let written = output.file.write_all(text.as_bytes());
    output.finish(written).map(|_| ())
}
