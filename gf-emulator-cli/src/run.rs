//! `run`: goes online and stays there.

use std::io::{self, BufRead, IsTerminal};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use gf_emulator_core::config::Button;
use gf_emulator_core::follow::Follower;
use gf_emulator_core::machine::CannedMachine;
use gf_emulator_core::record::Recorder;
use gf_emulator_core::storage::TempGuard;
use gf_emulator_core::words::count;
use gf_emulator_core::{Emulator, EmulatorEvent, Error, Handle};
use tempfile::TempDir;

use crate::configuration::ConfigArgument;
use crate::error::CliError;
use crate::output::{answer, notice};
use crate::signals::TEMP_FILES;
use crate::{configuration, logging, numbers, signals};

/// Go online as the configured machine (the default)
///
/// Signs in, performs the service's actions, and keeps every job it is sent. Ctrl-C or SIGTERM stops it within two
/// seconds; running actions are cancelled, and the exit code is 0.
///
/// With "button: wait" in the configuration and a terminal, Enter presses the button, o+Enter opens the lid and c+Enter
/// closes it. While it is open, a 2.6 machine cancels motions and prints, and lid pictures fail. A print that nobody
/// starts within 5 minutes is cancelled; the configuration can change that time.
///
/// With --follow, a web page shows the session live, with controls for button, lid and stopping. Its link is printed;
/// anyone who has it can use the controls.
#[derive(Debug, clap::Args)]
// "collect" has these options, too.
#[group(id = "online")]
#[command(after_help = "\
Examples:
  gf-machine-emulator run
  gf-machine-emulator run --config my.cfg
  gf-machine-emulator run --record session
      Records every request and message, with pictures and jobs.
  gf-machine-emulator run --follow 8080
      Shows the session on a page at 127.0.0.1:8080.
  GF_MACHINE_PASSWORD=... gf-machine-emulator
      Keeps the password out of the file.

Exit codes: 0 stopped by Ctrl-C or SIGTERM; 1 failure (sign-in refused, service
not reachable); 2 wrong usage or configuration, or a folder that cannot be
written to.")]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Record the session into this folder, which must not have a recording yet
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// Show the session live on a web page, with the machine's controls; a port alone means 127.0.0.1:PORT, port 0 is
    /// any free one
    #[arg(long, value_name = numbers::ADDRESS, value_parser = numbers::address)]
    follow: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), CliError> {
    let emulator = &mut set_up(arguments)?.emulator;
    report_end(emulator.connect().and_then(|()| emulator.run()))
}

/// Says that the machine was stopped, which is no error.
pub(crate) fn report_end(ended: Result<(), Error>) -> Result<(), CliError> {
    match ended {
        Ok(()) | Err(Error::Interrupted) => {
            notice("stopped");
            Ok(())
        }
        Err(e) => Err(e.into()),
    }
}

/// A machine, and the page that follows it. Fields are dropped in this order.
pub(crate) struct Machine {
    pub(crate) emulator: Emulator,
    _follower: Option<Follower>,
    /// The temporary recording behind the page, if the session is not recorded.
    _temp_recording: Option<(TempDir, TempGuard<'static>)>,
}

/// Creates the configured machine, recorded and followed if asked for. A signal stops it.
pub(crate) fn set_up(arguments: &Arguments) -> Result<Machine, CliError> {
    let loaded = configuration::load(&arguments.config.find()?)?;
    // The service sends a job once: one that cannot be kept is lost.
    loaded.check_writable()?;
    if let Some(folder) = &arguments.record {
        Recorder::check_folder(folder).map_err(CliError::usage)?;
    }
    // Everything that may fail comes before the first file is created.
    let listener = arguments.follow.as_deref().map(Follower::listen).transpose()?;
    logging::start(&loaded.config.logging)?;
    for remark in loaded.remarks() {
        log::warn!("{remark}");
    }
    let mut config = loaded.config;
    // A page follows a recording, so without one there is a temporary one.
    let is_recorded = arguments.record.is_some() || config.logging.record_dir.is_some();
    let temp_recording = if listener.is_some() && !is_recorded { Some(temp_folder()?) } else { None };
    let record_to = arguments.record.as_deref().or(temp_recording.as_ref().map(|(folder, _)| folder.path()));
    if record_to.is_some() {
        config.logging.record_dir = None;
    }
    // Nothing is connected yet: an error here is about a configured file.
    let emulator = Emulator::new(config.clone()).map_err(CliError::usage)?;
    let missing = CannedMachine::new(&config).missing_pictures().len();
    if missing > 0 {
        notice(format_args!(
            "{} missing from {}: actions that need one will fail; \"check\" lists them",
            count(missing, "picture"),
            config.emulator.image_dir.display()
        ));
    }
    notice(format_args!(
        "a {} machine for {}; jobs go to {}; press Ctrl-C to stop",
        config.generation(),
        config.service.server_url,
        config.motion.dir.display()
    ));
    logging::secrets().follow(&emulator.secrets());
    if let Some(folder) = record_to {
        emulator.record(&Recorder::of_machine(folder, &config).map_err(CliError::usage)?);
    }
    // Before the link is printed: whoever reads it may send a signal at once.
    let handle = emulator.handle();
    signals::on_stop(move || handle.stop());
    let console = Console { keeps_jobs: config.motion.keep, ..Console::default() };
    emulator.on_event(move |event| console.report(event));
    let follower = match (listener, emulator.recorder()) {
        (Some(listener), Some(recorder)) => Some(Follower::with_listener(listener, &recorder, emulator.handle())?),
        _ => None,
    };
    if let Some(follower) = &follower {
        print_link(follower);
    }
    if config.emulator.button == Button::Wait {
        read_keys(emulator.handle(), follower.is_some())?;
    }
    Ok(Machine { emulator, _follower: follower, _temp_recording: temp_recording })
}

/// Says on the console when the service cannot be reached yet, when it is away and when it is there, and where jobs are.
#[derive(Default)]
struct Console {
    keeps_jobs: bool,
    was_connected: AtomicBool,
    is_away: AtomicBool,
}

impl Console {
    fn report(&self, event: &EmulatorEvent) {
        match event {
            EmulatorEvent::ConnectFailed { reason, .. } if !self.is_away.swap(true, Ordering::Relaxed) => {
                let reason = logging::clean(reason);
                notice(format_args!("{reason}; trying again, as long as retry_for_s in [SERVICE] says"));
            }
            EmulatorEvent::Disconnected { reason, is_stopped: false, .. } => {
                self.is_away.store(true, Ordering::Relaxed);
                let reason = logging::clean(reason);
                notice(format_args!("the service is away ({reason}); reconnecting until it is back"));
            }
            EmulatorEvent::Connected { .. } => {
                let was_away = self.is_away.swap(false, Ordering::Relaxed);
                match self.was_connected.swap(true, Ordering::Relaxed) {
                    false => notice("connected"),
                    true if was_away => notice("the service is back"),
                    true => {}
                }
            }
            EmulatorEvent::JobCollected(job) if self.keeps_jobs => {
                notice(format_args!("a job was saved: {}", job.path.display()));
            }
            _ => {}
        }
    }
}

fn temp_folder() -> Result<(TempDir, TempGuard<'static>), CliError> {
    let mut builder = tempfile::Builder::new();
    // Others can list the system's temp folder.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
    let path = |folder: &TempDir| Some(folder.path().to_owned());
    TEMP_FILES
        .create(|| builder.prefix("gf-machine-emulator-").tempdir(), path)
        .map_err(|e| CliError::failed(format_args!("cannot create a temp folder for the recording: {e}")))
}

fn print_link(follower: &Follower) {
    let address = follower.address();
    if !address.ip().is_loopback() {
        notice(format_args!(
            "{address} can be reached from other computers: anyone with the link can watch the session, press the button \
             and stop the machine; the link and the page are sent unencrypted"
        ));
    }
    answer(format_args!("follow it at {}", follower.url()));
}

/// Controls button and lid from the terminal, if there is one.
fn read_keys(handle: Handle, is_followed: bool) -> Result<(), CliError> {
    const KEYS: &str = "Enter presses the button, o+Enter opens the lid, c+Enter closes it";
    if !io::stdin().is_terminal() {
        if is_followed {
            notice("prints wait for the button: press it on that page");
        } else {
            log::warn!("button: wait, but there is no terminal to press it from: prints wait until they are cancelled");
        }
        return Ok(());
    }
    notice(format_args!("prints wait for the button; {KEYS}"));
    let read = move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            match line.trim() {
                "" if handle.lid_is_open() => notice("the lid is open: close it before you press the button"),
                "" => {
                    handle.press_button();
                    notice("the button was pressed");
                }
                "o" => {
                    handle.open_lid();
                    notice("the lid is open");
                }
                "c" => {
                    handle.close_lid();
                    notice("the lid is closed");
                }
                _ => notice(KEYS),
            }
        }
    };
    // Not joined: a blocking read of stdin cannot be cancelled.
    let keys = thread::Builder::new().name("gf-keys".into()).spawn(read);
    keys.map(drop).map_err(|e| CliError::failed(format_args!("cannot wait for keys: {e}")))
}
