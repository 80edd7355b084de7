//! `pipe`: no network. What the service would say comes on stdin, what the machine says goes to stdout.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use crossbeam_channel::{Receiver, Sender};
use gf_emulator_core::config::{Button, LogLevel};
use gf_emulator_core::{Config, Emulator, Handle, Outgoing, Peer};
use serde_json::Value;

use crate::failure::Failure;
use crate::input::{Line, next_line};
use crate::{configuration, folders, logging, signals};

/// Of somebody who has no machine.
const SERIAL: u32 = 12_345_678;
/// Far more than any action needs.
const LONGEST_LINE_BYTES: usize = 1 << 20;

/// No network: actions in on stdin, the machine's messages out on stdout
///
/// One JSON object a line, both ways. Jobs are file:// URLs, of which copies are kept as of any other: in motion/ here, or
/// where the file says. Pictures and whatever else a machine uploads go to a folder. At the end of the input,
/// everything that was accepted is done, and the program ends.
///
/// Without --config and without a gf-machine-emulator.cfg here, it is a 2.6 machine with default settings. In a file,
/// serial, hostname and password may be missing. Nobody can press a button here: it always counts as pressed. Log lines go to
/// stderr, from the file's console level on (without one: warnings).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  echo '{\"id\":1,\"action_type\":\"settings\",\"status\":\"ready\"}' |
      gf-machine-emulator pipe
  Other actions:
  {\"id\":2,\"action_type\":\"print\",\"status\":\"ready\",
   \"motion_url\":\"file:///tmp/job.puls\"}   (one line)

Exit codes: 0 the input has ended, the reader of the output has gone, or Ctrl-C
or SIGTERM came; 1 failure, or there was input and no action was completed; 2
wrong usage or configuration.")]
pub(crate) struct Arguments {
    /// The configuration file [default: gf-machine-emulator.cfg, if it is there]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// The folder for what the machine uploads
    #[arg(long, value_name = "DIR", default_value = "uploads")]
    dir: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let (mut config, remarks) = load(arguments.config.as_ref())?;
    config.emulator.button = Button::Auto;
    config.logging.file = None;
    config.logging.console_level.get_or_insert(LogLevel::Warning);
    logging::start(&config.logging)?;
    for remark in remarks {
        log::warn!("{remark}");
    }
    folders::check(&config, configuration::path(arguments.config.as_ref()))?;
    folders::can_write_in(&arguments.dir)?;
    let (mut emulator, Peer { tx, rx, .. }) = Emulator::offline(config, &arguments.dir).map_err(Failure::misused)?;
    logging::hide(emulator.secrets());
    let handle = emulator.handle();
    let (at_signal, stopped) = (handle.clone(), Arc::new(AtomicBool::new(false)));
    let is_stopped = Arc::clone(&stopped);
    signals::on_stop(move || {
        is_stopped.store(true, Ordering::Release);
        at_signal.stop();
    });

    let machine = thread::Builder::new().name("gf-machine".into()).spawn(move || emulator.run());
    let machine = machine.map_err(|e| Failure::failed(format_args!("cannot start the machine: {e}")))?;
    // Not joined: nothing can tell it to stop waiting for a line. It ends with the program.
    let asked = Arc::new(AtomicBool::new(false));
    let is_asked = Arc::clone(&asked);
    let reader = thread::Builder::new().name("gf-stdin".into()).spawn(move || read(&tx, &is_asked));
    reader.map_err(|e| Failure::failed(format_args!("cannot read stdin: {e}")))?;

    let written = write(&rx, &handle);
    machine.join().map_err(|_| Failure::failed("the machine panicked"))??;
    let completed = match written? {
        Written::All { completed } => completed,
        Written::Unread => return Ok(()),
    };
    if asked.load(Ordering::Acquire) && completed == 0 && !stopped.load(Ordering::Acquire) {
        return Err(Failure::failed("nothing of the input was done: no action was completed"));
    }
    Ok(())
}

/// The configuration, and the remarks on its file where there is one.
fn load(named: Option<&PathBuf>) -> Result<(Config, Vec<String>), Failure> {
    if named.is_none() && !Path::new(configuration::DEFAULT).exists() {
        let mut config = Config::default();
        config.machine.serial = SERIAL;
        return Ok((config, Vec::new()));
    }
    let mut loaded = configuration::load_offline(configuration::path(named))?;
    if loaded.config.machine.serial == 0 {
        loaded.config.machine.serial = SERIAL;
    }
    let remarks = loaded.remarks().collect();
    Ok((loaded.config, remarks))
}

/// Hands over every line of stdin, and notes whether there was any that is not blank. At its end the sender goes, which
/// tells the machine that no more will come.
fn read(tx: &Sender<String>, asked: &AtomicBool) {
    let mut stdin = io::stdin().lock();
    loop {
        match next_line(&mut stdin, LONGEST_LINE_BYTES) {
            Ok(Some(Line::Text(line))) => {
                asked.fetch_or(!line.trim().is_empty(), Ordering::AcqRel);
                if tx.send(line).is_err() {
                    return;
                }
            }
            Ok(Some(Line::Unusable(reason))) => {
                asked.store(true, Ordering::Release);
                log::warn!("ignored a line: {reason}");
            }
            Ok(None) => return,
            Err(e) => return log::error!("cannot read stdin: {e}"),
        }
    }
}

/// How the writing ended.
enum Written {
    /// With the machine, which has completed so many actions.
    All { completed: usize },
    /// Nobody reads any more.
    Unread,
}

/// Writes every message until the machine has stopped; stops it where nobody reads any more.
fn write(rx: &Receiver<Outgoing>, handle: &Handle) -> Result<Written, Failure> {
    let mut stdout = io::stdout().lock();
    let mut completed = 0;
    for message in rx {
        completed += usize::from(is_completion(message.text()));
        let written = writeln!(stdout, "{}", message.text().trim_end()).and_then(|()| stdout.flush());
        let Err(e) = written else { continue };
        handle.stop();
        // What it still has to say must not keep it from ending.
        rx.iter().for_each(drop);
        return match e.kind() {
            io::ErrorKind::BrokenPipe => Ok(Written::Unread),
            _ => Err(Failure::failed(format_args!("cannot write to stdout: {e}"))),
        };
    }
    Ok(Written::All { completed })
}

/// Whether a message is the event `<action>:completed`.
fn is_completion(message: &str) -> bool {
    let message: Value = serde_json::from_str(message).unwrap_or_default();
    let event = message["event"].as_str().and_then(|event| event.split_once(':'));
    event.is_some_and(|(action, ending)| !action.is_empty() && ending == "completed")
}
