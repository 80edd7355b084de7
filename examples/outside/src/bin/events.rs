//! Prints what an emulator does as it happens, from its channel of typed events: one line each, among them a picture that
//! it sends and a job that it collects. The local service and its configuration are those of the real one: TLS, and a
//! configuration file.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use gf_emulator_core::local_service::{LocalService, Script};
use gf_emulator_core::machine::CannedMachine;
use gf_emulator_core::{Config, Emulator, EmulatorEvent, Ending};

type Result<T> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A picture, a print, and an action that the machine does not know. The last one ends the program.
const SCRIPT: &str = r#"[
    {"send": {"id": 1, "action_type": "lid_image", "status": "ready"}},
    {"await": "lid_image:completed", "action_id": 1, "timeout_s": 10},
    {"send": {"id": 2, "action_type": "print", "status": "ready", "motion_url": "{puls}"}},
    {"await": "print:completed", "action_id": 2, "timeout_s": 10},
    {"send": {"id": 3, "action_type": "dance", "status": "ready"}},
    {"send": {"id": 4, "action_type": "settings", "status": "ready"}}
]"#;
const LAST_ACTION: i64 = 4;

fn main() -> ExitCode {
    // Returned from `main`, an error would be printed in its form for debugging.
    run().map_or_else(
        |error| {
            eprintln!("{error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn run() -> Result<()> {
    let service = LocalService::builder().sample_jobs().script(Script::from_json(SCRIPT)?).start()?;
    let folder = tempfile::tempdir()?;
    let config = config(&service, folder.path())?;
    // The canned machine sends these files as they are.
    fs::create_dir_all(&config.emulator.image_dir)?;
    for picture in CannedMachine::new(&config).pictures() {
        fs::write(picture, b"\xff\xd8 not much of a picture \xff\xd9")?;
    }

    let mut emulator = Emulator::new(config)?;
    let events = emulator.events();
    let handle = emulator.handle();
    // The emulator is dropped at the end of its thread, which disconnects the channel.
    let running = thread::spawn(move || {
        emulator.connect()?;
        emulator.run()
    });

    let (mut pictures, mut jobs, mut endings) = (0, 0, Vec::new());
    let deadline = Instant::now() + Duration::from_secs(30);
    while let Ok(event) = events.recv_deadline(deadline) {
        println!("{event}");
        match event {
            EmulatorEvent::PictureSent { action_id: 1, .. } => pictures += 1,
            EmulatorEvent::JobCollected(job) if job.action == "print" && job.path.exists() => jobs += 1,
            EmulatorEvent::ActionEnded { action_id, ending, .. } => {
                endings.push((action_id, ending));
                if action_id == LAST_ACTION || ending != Ending::Completed {
                    handle.stop();
                }
            }
            _ => {}
        }
    }
    handle.stop(); // if the time is up
    running.join().map_err(|_| "the emulator panicked")??;

    let expected = [1, 2, LAST_ACTION].map(|id| (id, Ending::Completed));
    if pictures != 1 || jobs != 1 || endings != expected {
        return Err(format!("{pictures} pictures, {jobs} jobs, and these actions ended: {endings:?}").into());
    }
    Ok(())
}

/// Writes the certificate of the service, and reads the configuration of a machine that trusts it.
fn config(service: &LocalService, folder: &Path) -> Result<Config> {
    let ca_file = folder.join("ca.pem");
    fs::write(&ca_file, service.ca_pem().ok_or("the service has no certificate")?)?;
    let text = format!(
        "[GENERAL]\nbase_dir: {}\nmotion_dir: %(base_dir)s/jobs\nimage_dir: %(base_dir)s/images\n\
         [MACHINE]\nserial: 12345678\nhostname: OUT-003\npassword: {}\n{}",
        folder.display(),
        "0123456789abcdef".repeat(4),
        service.config_section(Some(&ca_file)),
    );
    let (config, warnings) = Config::from_cfg("events", &text, &|_| None)?;
    for warning in warnings {
        eprintln!("{warning}");
    }
    Ok(config)
}
