//! `fleet`: many machines in one process.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, never, select, tick, unbounded};
use gf_emulator_core::Error;
use gf_emulator_core::config::Template;
use gf_emulator_core::files;
use gf_emulator_core::fleet::{
    Command, Control, Fleet, Limits, Members, MetricsServer, Notice, Options, Scheduled, Slice, Status,
    raise_file_limit,
};
use gf_emulator_core::machine::CannedMachine;
use gf_emulator_core::record::Recorder;
use gf_emulator_core::storage::{read_line, unwritable};
use gf_emulator_core::words::count;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::configuration::{ConfigArgument, Place};
use crate::error::CliError;
use crate::output::{answer, notice, print};
use crate::{configuration, logging, numbers, signals};

/// The longest line of standard input that is read as a command.
const LINE_LIMIT_BYTES: u64 = 1000;
/// A table of machines has up to a hundred bytes for each.
const CSV_LIMIT_BYTES: u64 = 64 << 20;
/// How long stopping may take: two seconds, and time for a busy computer to serve all threads.
const GRACE: Duration = Duration::from_secs(30);
/// How often the table on a terminal is drawn.
const REDRAW: Duration = Duration::from_secs(1);
/// The variable with the number of a pod in an indexed Kubernetes Job.
const INDEX_VARIABLE: &str = "JOB_COMPLETION_INDEX";

/// Run many machines in one process, to test a service
///
/// The configuration is a template: machine number K of --count has its serial number plus K. In the section MACHINE,
/// %(serial)s stands for it: "hostname: M-%(serial)s". Each machine keeps its jobs in a folder of its own, named by its
/// serial number, in the configured one. Of the configured logs, only the file is written.
///
/// A machine that cannot sign in is reported and tries again, with growing pauses; the others go on. Ctrl-C or SIGTERM
/// stops all of them and prints the summary.
///
/// Lines on stdin are commands: storm, blackout TIME, rolling-restart, status, stop.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Commands:
  storm            All machines lose their connections and may reconnect.
  blackout TIME    All machines lose their connections and reach nothing for
                   this long: 500ms, 60s, 2m or 1h. Then each reconnects after
                   its pause, which has grown to a minute at most.
  rolling-restart  All machines are stopped and created anew, a tenth after
                   another.
  status           Prints the table, or an object with \"kind\": \"status\".
  stop             As Ctrl-C.

Output: on a terminal a table, drawn every second; else a line when the state
of the whole changes. With --json, one object a line instead, with \"t\"
(seconds since the start) and \"kind\": all_connected (after_s), connections_lost,
machine_failed (serial, reason), began, ended and left_out (command), status
(status), stopping, answer (text), summary (status, problems).

Examples:
  gf-machine-emulator serve --listen 8443 --ca-out ca.pem --machines 1000
  gf-machine-emulator fleet --count 1000 --config template.cfg
  gf-machine-emulator fleet --csv machines.csv --rate 10
      machines.csv begins with \"serial,hostname,password\".
  gf-machine-emulator fleet --count 50 --json --at 30s=storm --at 2m=stop
  gf-machine-emulator fleet --count 50 --record recording
      Then \"report recording --machine 7\" shows the seventh machine, and
      \"serve --replay recording --machine 7\" replays its service.
  gf-machine-emulator fleet --count 1000 --slice 3/10 --metrics 0.0.0.0:9100
      The fourth of ten processes; its numbers are at /metrics, as OpenMetrics
      text. With --slices 10, JOB_COMPLETION_INDEX in the environment (0 to 9)
      is the part.

Exit codes: 0 at the end, every machine was connected and every accepted action
had its one ending; 1 not so, or failure; 2 wrong usage or configuration, a
folder that cannot be written to, or a limit of the computer that is too low.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// How many machines, in all slices together
    #[arg(
        long,
        value_name = "N",
        required_unless_present = "csv",
        value_parser = numbers::within(1..=Members::MOST, "a number of machines")
    )]
    count: Option<u32>,
    /// The machines, as comma-separated values: serial, and if wanted hostname and password
    #[arg(long, value_name = "FILE", conflicts_with = "count")]
    csv: Option<PathBuf>,
    /// How many machines are started in a second
    #[arg(
        long,
        value_name = "R",
        default_value = "50",
        value_parser = numbers::within(0.01..=10_000.0, "a number of machines")
    )]
    rate: f64,
    /// Run part I of N of the machines; I is from 0 to N - 1
    #[arg(long, value_name = "I/N")]
    slice: Option<Slice>,
    /// Run one of N parts; the environment says which one, as in an indexed Kubernetes Job
    #[arg(
        long,
        value_name = "N",
        conflicts_with = "slice",
        value_parser = numbers::within(1..=Members::MOST, "a number of parts")
    )]
    slices: Option<u32>,
    /// Carry out a command this long after the start; may be repeated
    #[arg(long, value_name = "TIME=COMMAND")]
    at: Vec<Scheduled>,
    /// Serve the numbers at /metrics to programs that collect them; a port alone means 127.0.0.1:PORT, port 0 is any free one
    #[arg(long, value_name = numbers::ADDRESS, value_parser = numbers::address)]
    metrics: Option<String>,
    /// Record all machines into this folder, which must not have a recording yet
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Print one JSON object a line
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: Arguments) -> Result<(), CliError> {
    let place = arguments.config.find()?;
    let members = members(&arguments, &place)?;
    let machines = members.configs().len();
    let Some(first) = members.configs().first() else {
        return Err(CliError::usage(
            "there is no machine in this part of the fleet: take fewer parts, or more machines",
        ));
    };
    let template = &place.path;
    // Jobs are stored in folders beside each other: if one can be written, so can the others.
    if let problems @ [_, ..] = &*unwritable(first, template) {
        return Err(CliError::usage(problems.join("\n")));
    }
    check_limits(machines)?;
    if let Some(folder) = &arguments.record {
        Recorder::check_folder(folder).map_err(CliError::usage)?;
    }
    let listener = arguments.metrics.as_deref().map(MetricsServer::listen).transpose()?;
    let mut logging = first.logging.clone();
    logging.console_level = None;
    logging::start(&logging)?;
    for warning in members.warnings() {
        notice(format_args!("{}:{}: {}", template.display(), warning.line, warning.what));
    }
    let missing = CannedMachine::new(first).missing_pictures().len();
    if missing > 0 {
        let folder = first.emulator.image_dir.display();
        notice(format_args!("{} missing from {folder}: actions that need one will fail", count(missing, "picture")));
    }
    notice(format_args!("{} for {}; press Ctrl-C to stop", count(machines, "machine"), first.service.server_url));

    let record = |folder| Recorder::of_machines(folder, members.configs()).map_err(CliError::usage);
    let mut options = Options::default();
    options.recorder = arguments.record.as_ref().map(record).transpose()?;
    options.rate = arguments.rate;
    options.schedule = arguments.at;
    options.secrets = logging::secrets().clone();
    // Nothing is connected yet: every error but that of a thread is about a configured file.
    let fleet = Fleet::start(members, options).map_err(|error| match error {
        Error::Thread { .. } => CliError::failed(error),
        error => CliError::usage(error),
    })?;
    let control = fleet.control();
    signals::on_stop_within(GRACE, move || _ = control.order(Command::Stop));
    let metrics = listener.map(|listener| MetricsServer::start(listener, fleet.control())).transpose()?;
    if let Some(metrics) = &metrics {
        answer(format_args!("metrics at http://{}/metrics", metrics.address()));
    }
    // Kept until the end: when stdin has ended, the channel stays open.
    let (to_view, answers) = unbounded();
    read_commands(fleet.control(), to_view.clone())?;
    let mut view = View::new(arguments.json);
    view.follow(&fleet, &answers);
    drop(to_view);
    let status = fleet.stop();
    view.summary(&status);
    match &*status.problems() {
        [] => Ok(()),
        problems => Err(CliError::failed(problems.join("; "))),
    }
}

/// Reads the template, and the table if there is one.
fn members(arguments: &Arguments, place: &Place) -> Result<Members, CliError> {
    let slice = match (arguments.slice, arguments.slices) {
        (Some(slice), _) => slice,
        (None, Some(slices)) => slice_of_environment(slices)?,
        (None, None) => Slice::WHOLE,
    };
    let template = Template::from_file(&place.path).map_err(|error| configuration::explain(place, error))?;
    let members = match &arguments.csv {
        Some(csv) => {
            let text = files::read_text(csv, CSV_LIMIT_BYTES).map_err(CliError::usage)?;
            Members::from_csv(&template, &csv.display().to_string(), &text, slice)
        }
        None => Members::counted(&template, arguments.count.unwrap_or(1) as usize, slice),
    };
    members.map_err(|problems| CliError::usage(format_args!("the machines have problems:\n{problems}")))
}

fn slice_of_environment(slices: u32) -> Result<Slice, CliError> {
    let index = std::env::var(INDEX_VARIABLE).ok().and_then(|index| index.parse().ok());
    index.and_then(|index| Slice::new(index, slices)).ok_or_else(|| {
        let last = slices - 1;
        CliError::usage(format_args!("--slices: {INDEX_VARIABLE} in the environment must be a number from 0 to {last}"))
    })
}

/// Fails if the computer does not allow as many files and threads as the machines need.
fn check_limits(machines: usize) -> Result<(), CliError> {
    raise_file_limit(machines as u64);
    match &*Limits::now().reached_by(machines as u64) {
        [] => Ok(()),
        reached => Err(CliError::usage(reached.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))),
    }
}

/// Carries out the commands on stdin. Without stdin, the fleet goes on.
fn read_commands(control: Control, to_view: Sender<String>) -> Result<(), CliError> {
    let read = move || {
        let mut stdin = io::stdin().lock();
        loop {
            let (answer, is_last) = match read_line(&mut stdin, LINE_LIMIT_BYTES) {
                Ok(None) => return,
                Ok(Some(Ok(line))) if line.trim().is_empty() => continue,
                Ok(Some(Ok(line))) => match line.parse() {
                    Ok(command) if control.order(command) => continue,
                    Ok(command) => {
                        (format!("{command} is left out: too many commands wait, or the fleet is stopping"), false)
                    }
                    Err(e) => (e.to_string(), false),
                },
                Ok(Some(Err(unusable))) => (format!("a line of stdin is left out: {unusable}"), false),
                Err(e) => (format!("no more commands are read: cannot read stdin: {e}"), true),
            };
            if to_view.send(answer).is_err() || is_last {
                return;
            }
        }
    };
    // Not joined: a blocking read of stdin cannot be cancelled.
    let reader = thread::Builder::new().name("gf-stdin".into()).spawn(read);
    reader.map(drop).map_err(|e| CliError::failed(format_args!("cannot read stdin: {e}")))
}

/// What is printed.
struct View {
    started: Instant,
    json: bool,
    /// The table, if standard output is a terminal.
    table: Option<ProgressBar>,
}

impl View {
    fn new(json: bool) -> Self {
        let table = (!json && io::stdout().is_terminal()).then(|| {
            let style = ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
            ProgressBar::with_draw_target(None, ProgressDrawTarget::stdout()).with_style(style)
        });
        Self { started: Instant::now(), json, table }
    }

    /// Prints what happens until the fleet stops.
    fn follow(&mut self, fleet: &Fleet, answers: &Receiver<String>) {
        let notices = fleet.notices();
        let redraw = if self.table.is_some() { tick(REDRAW) } else { never() };
        loop {
            if let Some(table) = &self.table {
                table.set_message(fleet.status().to_string());
            }
            select! {
                recv(notices) -> notice => match notice {
                    Ok(notice) => {
                        self.line(&notice.to_json(), &notice);
                        if matches!(notice, Notice::Stopping) {
                            return;
                        }
                    }
                    Err(_) => return,
                },
                recv(answers) -> answer => {
                    if let Ok(text) = answer {
                        self.line(&json!({"kind": "answer", "text": text}), &text);
                    }
                }
                recv(redraw) -> _ => {}
            }
        }
    }

    /// Prints an object or a text, with the time.
    fn line(&self, object: &Value, text: &dyn std::fmt::Display) {
        let t = self.started.elapsed().as_secs_f64();
        if self.json {
            let mut line = serde_json::Map::from_iter([("t".to_owned(), json!((t * 1000.0).round() / 1000.0))]);
            line.extend(object.as_object().into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())));
            return print(Value::Object(line));
        }
        let line = format!("{t:>8.1} s  {}", text.to_string().replace('\n', "\n            "));
        match &self.table {
            Some(table) => table.suspend(|| print(line)),
            None => print(line),
        }
    }

    fn summary(&mut self, status: &Status) {
        if let Some(table) = self.table.take() {
            table.finish_and_clear();
        }
        if self.json {
            let problems = status.problems();
            self.line(&json!({"kind": "summary", "status": status.to_json(), "problems": problems}), &"");
        } else {
            print(status);
        }
    }
}
