//! `pipe`: no network. What the service would say comes on stdin, what the machine says goes to stdout.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;

use crossbeam_channel::{Receiver, Sender};
use gf_emulator_core::config::{Button, LogLevel};
use gf_emulator_core::{Config, Emulator, Handle, Outgoing, Peer};

use crate::failure::Failure;
use crate::input::{Line, next_line};
use crate::{configuration, logging, signals};

/// Of somebody who has no machine.
const SERIAL: u32 = 12_345_678;
/// Far more than any action needs.
const LONGEST_LINE_BYTES: usize = 1 << 20;

/// No network: actions in on stdin, the machine's messages out on stdout
///
/// One JSON object a line, both ways. Jobs are file:// URLs; pictures and whatever else a machine uploads go to a
/// folder. At the end of the input, everything that was accepted is done, and the program ends.
///
/// Without --config and without a gf-machine-emulator.cfg here, it is a 2.6 machine with default settings. In a file,
/// serial and password may be missing. Nobody can press a button here: it always counts as pressed. Log lines go to
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
or SIGTERM came; 1 failure; 2 wrong usage or configuration.")]
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
    let (mut emulator, Peer { tx, rx, .. }) = Emulator::offline(config, &arguments.dir).map_err(Failure::misused)?;
    logging::hide(emulator.secrets());
    let handle = emulator.handle();
    let at_signal = handle.clone();
    signals::on_stop(move || at_signal.stop())?;

    let machine = thread::Builder::new().name("gf-machine".into()).spawn(move || emulator.run());
    let machine = machine.map_err(|e| Failure::failed(format_args!("cannot start the machine: {e}")))?;
    // Not joined: nothing can tell it to stop waiting for a line. It ends with the program.
    let reader = thread::Builder::new().name("gf-stdin".into()).spawn(move || read(&tx));
    reader.map_err(|e| Failure::failed(format_args!("cannot read stdin: {e}")))?;

    let written = write(&rx, &handle);
    machine.join().map_err(|_| Failure::failed("the machine panicked"))??;
    written
}

/// The configuration, and the remarks on its file where there is one.
fn load(named: Option<&PathBuf>) -> Result<(Config, Vec<String>), Failure> {
    if named.is_none() && !Path::new(configuration::DEFAULT).exists() {
        let mut config = Config::default();
        config.machine.serial = SERIAL;
        return Ok((config, Vec::new()));
    }
    let loaded = configuration::load_for_nobody(configuration::path(named), SERIAL)?;
    let remarks = loaded.remarks().collect();
    Ok((loaded.config, remarks))
}

/// Hands over every line of stdin. At its end the sender goes, which tells the machine that no more will come.
fn read(tx: &Sender<String>) {
    let mut stdin = io::stdin().lock();
    loop {
        match next_line(&mut stdin, LONGEST_LINE_BYTES) {
            Ok(Some(Line::Text(line))) => {
                if tx.send(line).is_err() {
                    return;
                }
            }
            Ok(Some(Line::Unusable(reason))) => log::warn!("ignored a line: {reason}"),
            Ok(None) => return,
            Err(e) => return log::error!("cannot read stdin: {e}"),
        }
    }
}

/// Writes every message until the machine has stopped; stops it where nobody reads any more.
fn write(rx: &Receiver<Outgoing>, handle: &Handle) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    for message in rx {
        let written = writeln!(stdout, "{}", message.text().trim_end()).and_then(|()| stdout.flush());
        let Err(e) = written else { continue };
        handle.stop();
        // What it still has to say must not keep it from ending.
        rx.iter().for_each(drop);
        return match e.kind() {
            io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(Failure::failed(format_args!("cannot write to stdout: {e}"))),
        };
    }
    Ok(())
}
