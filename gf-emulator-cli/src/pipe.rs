//! `pipe`: no network. Actions come in on stdin, the machine's messages go out on stdout.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use gf_emulator_core::config::{Button, LogLevel};
use gf_emulator_core::json_lines::{read_actions, write_messages};
use gf_emulator_core::{Emulator, Peer, files};

use crate::configuration::{self, ConfigArgument, Loaded};
use crate::error::CliError;
use crate::{logging, signals};

/// The serial number if none is configured.
const SERIAL: u32 = 12_345_678;

/// Run without a network: actions on stdin, messages on stdout
///
/// Both are one JSON object a line. Jobs are file:// URLs; each is copied to motion/ in the current directory, or to the
/// configured folder. Uploads, such as pictures, go to a folder. At the end of the input, all accepted actions are
/// completed and the program ends.
///
/// Without a configuration file, it is a 2.6 machine with default settings. In a file, serial, hostname and password may be missing. The button counts as pressed. The log goes to
/// stderr, at the configured console level (default: warnings).
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  echo '{\"id\":1,\"action_type\":\"settings\",\"status\":\"ready\"}' |
      gf-machine-emulator pipe
  Another action:
  {\"id\":2,\"action_type\":\"print\",\"status\":\"ready\",
   \"motion_url\":\"file:///tmp/job.puls\"}   (on one line)

Exit codes: 0 the input has ended, the output's reader has gone, or Ctrl-C or
SIGTERM; 1 failure, or there was input and no action was completed; 2 wrong
usage or configuration.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// The folder for uploads
    #[arg(long, value_name = "DIR", default_value = "uploads")]
    dir: PathBuf,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let mut loaded = load(&arguments.config)?;
    let config = &mut loaded.config;
    if config.machine.serial == 0 {
        config.machine.serial = SERIAL;
    }
    config.emulator.button = Button::Auto;
    config.logging.file = None;
    config.logging.console_level.get_or_insert(LogLevel::Warning);
    logging::start(&config.logging)?;
    for remark in loaded.remarks() {
        log::warn!("{remark}");
    }
    loaded.check_writable()?;
    files::can_write_in(&arguments.dir).map_err(CliError::usage)?;
    let (mut emulator, Peer { tx, rx, .. }) =
        Emulator::offline(loaded.config, &arguments.dir).map_err(CliError::usage)?;
    logging::secrets().follow(&emulator.secrets());
    let handle = emulator.handle();
    let (signal_handle, stopped) = (handle.clone(), Arc::new(AtomicBool::new(false)));
    let is_stopped = Arc::clone(&stopped);
    signals::on_stop(move || {
        is_stopped.store(true, Ordering::Release);
        signal_handle.stop();
    });

    let machine = thread::Builder::new().name("gf-machine".into()).spawn(move || emulator.run());
    let machine = machine.map_err(|e| CliError::failed(format_args!("cannot start the machine: {e}")))?;
    // Not joined: a blocking read of stdin cannot be cancelled. Dropping `tx` at the end stops the machine.
    let has_input = Arc::new(AtomicBool::new(false));
    let seen_input = Arc::clone(&has_input);
    let reader = thread::Builder::new().name("gf-stdin".into()).spawn(move || {
        let read = read_actions(&mut io::stdin().lock(), &tx, || seen_input.store(true, Ordering::Release));
        read.unwrap_or_else(|e| log::error!("cannot read stdin: {e}"));
    });
    reader.map_err(|e| CliError::failed(format_args!("cannot read stdin: {e}")))?;

    let completed = write_messages(&rx, &handle, &mut io::stdout().lock());
    machine.join().map_err(|_| CliError::failed("the machine panicked"))??;
    match completed {
        Ok(0) if has_input.load(Ordering::Acquire) && !stopped.load(Ordering::Acquire) => {
            Err(CliError::failed("no action was completed"))
        }
        // The reader of stdout has gone.
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(CliError::failed(format_args!("cannot write to stdout: {e}")))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Reads the configuration, if there is one.
fn load(argument: &ConfigArgument) -> Result<Loaded, CliError> {
    argument.find_any().map_or_else(|| Ok(Loaded::default()), |place| configuration::load_offline(&place))
}
