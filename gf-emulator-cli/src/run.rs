//! `run`: a machine goes online and stays there.

use std::io::{self, BufRead, IsTerminal};
use std::net::TcpListener;
use std::path::PathBuf;
use std::thread;

use gf_emulator_core::config::Button;
use gf_emulator_core::follow::Follower;
use gf_emulator_core::machine::CannedMachine;
use gf_emulator_core::record::Recorder;
use gf_emulator_core::words::count;
use gf_emulator_core::{Emulator, Error, Handle};
use tempfile::TempDir;

use crate::failure::Failure;
use crate::output::tell;
use crate::signals::Temporary;
use crate::{configuration, folders, logging, numbers, signals};

/// Go online as the machine of the configuration (the default)
///
/// Signs in, does what the service says, and keeps every job that it sends. Ctrl-C or SIGTERM ends it within two
/// seconds; what is under way is withdrawn, with exit code 0.
///
/// Where the file says "button: wait" and this is a terminal, Enter presses the button, o and Enter opens the lid,
/// c and Enter closes it.
///
/// With --follow, a page shows what is said as it is said, with buttons for the same, and one that stops the machine. Its
/// link is printed; whoever has it may do all of this.
#[derive(Debug, clap::Args)]
// "collect" has these, too.
#[group(id = "online")]
#[command(after_help = "\
Examples:
  gf-machine-emulator run
  gf-machine-emulator run --config my.cfg
  gf-machine-emulator run --record session
      Every request and message, pictures and jobs.
  gf-machine-emulator run --follow 8080
      A page on this computer that shows it as it happens.
  GF_MACHINE_PASSWORD=... gf-machine-emulator
      The password stays out of the file.

Exit codes: 0 ended by Ctrl-C or SIGTERM, 1 failure (sign-in refused, service
not there), 2 wrong usage or configuration, or a folder that cannot be written
in.")]
pub(crate) struct Arguments {
    /// The configuration file [default: gf-machine-emulator.cfg]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Record the session into this folder, which must not have a recording yet
    #[arg(long, value_name = "DIR")]
    pub(crate) record: Option<PathBuf>,
    /// Serve a page with the session as it goes on, and the machine's buttons; a port alone is one of 127.0.0.1, port 0
    /// any that is free
    #[arg(long, value_name = numbers::ADDRESS, value_parser = numbers::address)]
    pub(crate) follow: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let mut machine = make(arguments)?;
    go_online(&mut machine.emulator)
}

/// A machine that is to go online, and who follows it. They end in this order.
pub(crate) struct Machine {
    pub(crate) emulator: Emulator,
    _follower: Option<Follower>,
    /// A recording that nobody keeps.
    _folder: Option<(TempDir, Temporary)>,
}

/// A machine as the configuration says, recorded and followed where that is asked for. A signal stops it.
pub(crate) fn make(arguments: &Arguments) -> Result<Machine, Failure> {
    let path = configuration::path(arguments.config.as_ref());
    let loaded = configuration::load(path)?;
    // A job that cannot be kept is lost: the service sends it once.
    folders::check(&loaded.config, path)?;
    if let Some(folder) = &arguments.record {
        folders::can_record_in(folder)?;
    }
    // Whatever can fail comes before the first file is made.
    let listener = arguments.follow.as_deref().map(Follower::listen).transpose()?;
    logging::start(&loaded.config.logging)?;
    for remark in loaded.remarks() {
        log::warn!("{remark}");
    }
    let mut config = loaded.config;
    // What is followed is a recording, be it one that nobody keeps.
    let is_recorded = arguments.record.is_some() || config.logging.record_dir.is_some();
    let unkept = if arguments.follow.is_some() && !is_recorded {
        let mut builder = tempfile::Builder::new();
        // The temporary folder is everybody's; what is recorded is its owner's alone.
        #[cfg(unix)]
        builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o700));
        let folder =
            Temporary::made(|| builder.prefix("gf-machine-emulator-").tempdir(), |folder| folder.path().into());
        Some(folder.map_err(|e| Failure::failed(format_args!("cannot make a folder to record into: {e}")))?)
    } else {
        None
    };
    let record_into = arguments.record.as_deref().or(unkept.as_ref().map(|(folder, _)| folder.path()));
    if record_into.is_some() {
        config.logging.record_dir = None;
    }
    let missing = CannedMachine::new(&config).missing_pictures().len();
    if missing > 0 {
        let images = config.emulator.image_dir.display();
        let are = if missing == 1 { "is" } else { "are" };
        tell(format_args!(
            "gf-machine-emulator: {} {are} missing from {images}: actions that want them will fail; \"check\" names them",
            count(missing, "picture")
        ));
    }
    let button = config.emulator.button;
    tell(format_args!(
        "gf-machine-emulator: a {} machine for {}; jobs go to {}; Ctrl-C ends it",
        config.generation(),
        config.service.server_url,
        config.motion.dir.display()
    ));
    // Nothing is connected yet: what is wrong now is wrong with files that the configuration names.
    let emulator = Emulator::new(config.clone()).map_err(Failure::misused)?;
    logging::hide(emulator.secrets());
    if let Some(folder) = record_into {
        emulator.record(&Recorder::of_machine(folder, &config).map_err(Failure::misused)?);
    }
    // Before the link is told: who has it may send a signal at once.
    let handle = emulator.handle();
    signals::on_stop(move || handle.stop());
    let follower = match (listener, emulator.recorder()) {
        (Some(listener), Some(recorder)) => Some(follow(listener, &recorder, emulator.handle())?),
        _ => None,
    };
    if button == Button::Wait {
        hear_keys(emulator.handle(), follower.is_some())?;
    }
    Ok(Machine { emulator, _follower: follower, _folder: unkept })
}

/// Shows the session to whoever has the link.
fn follow(listener: TcpListener, recorder: &Recorder, handle: Handle) -> Result<Follower, Failure> {
    let follower = Follower::with_listener(listener, recorder, handle)?;
    if !follower.address().ip().is_loopback() {
        tell(format_args!(
            "gf-machine-emulator: {} is not of this computer alone: whoever has the link can see what is said, press \
             the button and stop the machine, and it travels as plain text",
            follower.address()
        ));
    }
    tell(format_args!("gf-machine-emulator: follow it at {}", follower.url()));
    Ok(follower)
}

/// Connects and does what it is told, until somebody stops it.
pub(crate) fn go_online(emulator: &mut Emulator) -> Result<(), Failure> {
    match emulator.connect().and_then(|()| emulator.run()) {
        Ok(()) | Err(Error::Interrupted) => {
            tell("gf-machine-emulator: stopped");
            Ok(())
        }
        Err(e) => Err(e.into()),
    }
}

/// What a line on the terminal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Button,
    OpenLid,
    CloseLid,
}

impl Key {
    fn of(line: &str) -> Option<Self> {
        match line.trim() {
            "" => Some(Self::Button),
            "o" => Some(Self::OpenLid),
            "c" => Some(Self::CloseLid),
            _ => None,
        }
    }
}

fn hear_keys(handle: Handle, is_followed: bool) -> Result<(), Failure> {
    const KEYS: &str = "Enter presses the button, o+Enter opens the lid, c+Enter closes it";
    if !io::stdin().is_terminal() && is_followed {
        tell("gf-machine-emulator: prints wait for the button: it is on that page");
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        log::warn!(
            "button: wait, and there is no terminal to press it from: prints will wait until they are withdrawn"
        );
        return Ok(());
    }
    tell(format_args!("gf-machine-emulator: {KEYS}"));
    let hear = move || {
        for line in io::stdin().lock().lines().map_while(Result::ok) {
            match Key::of(&line) {
                Some(Key::Button) => handle.press_button(),
                Some(Key::OpenLid) => handle.open_lid(),
                Some(Key::CloseLid) => handle.close_lid(),
                None => tell(KEYS),
            }
        }
    };
    // Not joined: a terminal cannot be told to stop waiting for a key. It ends with the program.
    let keys = thread::Builder::new().name("gf-keys".into()).spawn(hear);
    keys.map(drop).map_err(|e| Failure::failed(format_args!("cannot wait for keys: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_does_its_own() {
        let keys = ["", "\r", " o ", "c", "O", "open"].map(Key::of);
        let (button, open, close) = (Some(Key::Button), Some(Key::OpenLid), Some(Key::CloseLid));
        assert_eq!(keys, [button, button, open, close, None, None]);
    }
}
