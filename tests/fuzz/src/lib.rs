//! What the fuzz targets share.

pub mod world;

use std::io::Write as _;
use std::sync::Once;

use gf_emulator_core::config::Generation;
use gf_emulator_core::{Config, Secret};
use log::{LevelFilter, Log, Metadata, Record};

/// The password of the machine.
pub const PASSWORD: &str = "5ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2e75ec2";

/// Formats every line, and drops it.
struct Sink;

impl Log for Sink {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let mut line = Vec::new();
        let _ = write!(line, "{}", record.args());
        assert!(!contains(&line, PASSWORD.as_bytes()), "the password is logged");
    }

    fn flush(&self) {}
}

/// Formats the log lines of this project, so that those are tested, too.
pub fn log_lines() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let _ = log::set_logger(&Sink);
        log::set_max_level(LevelFilter::Info);
    });
}

/// Returns whether `text` contains `part`.
#[must_use]
pub fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

/// Returns the configuration of a simulated machine.
#[must_use]
pub fn config(generation: Generation) -> Config {
    let mut config = Config::default();
    config.service.server_url = "https://app.example".into();
    config.service.status_service_url = "wss://status.example".into();
    config.service.protocol = Some(generation);
    config.service.retry_for = std::time::Duration::from_secs(10);
    config.machine.serial = 421_337;
    config.machine.password = Secret::new(PASSWORD);
    config.machine.hostname = "SIM-421".into();
    config.firmware.download = Some(true);
    config.firmware.dir = "/sim/firmware".into();
    config.motion.dir = "/sim/motion".into();
    config
}
