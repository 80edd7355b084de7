//! From a `.cfg` file to a typed [`Config`].
//!
//! Owns the names of the keys, in both generations of the Python client's files and the project's own. Reads files and
//! the environment (serial number and password, proxies); opens no socket and knows nothing of what the values are used
//! for.

mod interpolation;
mod keys;
mod proxy;
mod read;
#[cfg(test)]
mod tests;
mod text;
mod value;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use proxy::Proxy;

use crate::{Secret, puls};

/// Which of the two protocols the machine speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Generation {
    /// 1.x: 2017 to 2020.
    V1,
    /// 2.6: the factory firmware in use today.
    V2,
}

/// Who presses the button when a print waits for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Button {
    /// Nobody has to: it counts as pressed at once.
    #[default]
    Auto,
    /// Somebody does, through the emulator's handle.
    Wait,
}

/// Everything that is set from outside.
///
/// From a file with [`Config::from_file`], or built in code:
///
/// ```
/// use gf_emulator_core::{Config, Secret};
///
/// let mut config = Config::default();
/// config.machine.serial = 12_345_678;
/// config.machine.password = Secret::new("0123456789abcdef".repeat(4));
/// config.machine.hostname = "ABC-123".into();
/// config.motion.dir = "jobs".into();
/// config.check()?;
/// # Ok::<(), gf_emulator_core::config::Problems>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Where the service is and how to talk to it.
    pub service: Service,
    /// Who this machine says it is.
    pub machine: Identity,
    /// What to do about new firmware.
    pub firmware: Firmware,
    /// How the emulated machine behaves.
    pub emulator: Behaviour,
    /// Where jobs are kept, and how large they may be.
    pub motion: Motion,
    /// What is logged, and where.
    pub logging: Logging,
}

/// Where the service is and how to talk to it: `[SERVICE]`.
#[derive(Debug, Clone)]
pub struct Service {
    /// `server_url`: sign-in, firmware, image upload. Plain `http` for loopback addresses only.
    pub server_url: String,
    /// `status_service_url`: the WebSocket. Plain `ws` for loopback addresses only.
    pub status_service_url: String,
    /// `protocol`: the generation to speak, whatever the firmware version says.
    pub protocol: Option<Generation>,
    /// `ca_file`: a PEM file with root certificates to trust beside the system's, one or more.
    pub ca_file: Option<PathBuf>,
    /// `user_agent`: in place of `OpenGlow/<firmware version>`.
    pub user_agent: Option<String>,
    /// `actions_file`: a table in place of the built-in one.
    pub actions_file: Option<PathBuf>,
    /// `retry_for_s`: how long to keep trying at start while the service cannot be reached or answers something
    /// unexpected. At most a year. Once connected, a machine tries again until it is stopped.
    pub retry_for: Duration,
    /// `proxy`: the HTTP proxy to go through. A file without the key has what [`Proxy::from_environment`] finds; built in
    /// code, nothing looks at the environment, and none is none.
    pub proxy: Option<Proxy>,
}

/// Who this machine says it is: `[MACHINE]`, and the versions of its firmware.
#[derive(Debug, Clone)]
pub struct Identity {
    /// `serial`: the number behind the `S`.
    pub serial: u32,
    /// `hostname`.
    pub hostname: String,
    /// `password`: 64 hex digits.
    pub password: Secret,
    /// `firmware` (1.x) or `fw_version` (2.6), such as `2.6.0-2228`.
    pub firmware: String,
    /// `app_version`: where not configured, what the settings catalogue has.
    pub app_version: Option<String>,
    /// `head_id` (2.6).
    pub head_id: Option<i64>,
    /// `head_serial`.
    pub head_serial: Option<i64>,
    /// `head_firmware`.
    pub head_firmware: Option<i64>,
    /// `ip_address` (1.x): what the machine reports as its own.
    pub ip_address: String,
}

/// What to do about new firmware.
#[derive(Debug, Clone)]
pub struct Firmware {
    /// `firmware_check` (`check`): ask for the current version at start.
    pub check: bool,
    /// `firmware_download`: fetch it where it differs. On for 1.x unless set, off for 2.6.
    pub download: Option<bool>,
    /// `firmware_dir` (`download_dir`, `firmware_dl_dir`): where to.
    pub dir: PathBuf,
}

/// How the emulated machine behaves: `[EMULATOR]`.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// `image_dir` (`image_src_dir`): where the canned pictures are.
    pub image_dir: PathBuf,
    /// `thickness` (`material_thickness`): the text in the head pictures' names, such as `.230`.
    pub material_thickness: String,
    /// `bypass_homing` (2.6): report empty settings from the start, so that the service skips homing.
    pub bypass_homing: bool,
    /// `time_scale`: 0 for at once, 1 for as long as the machine would take; from 0 to 1000.
    pub time_scale: f64,
    /// `button`: `auto` or `wait`.
    pub button: Button,
    /// `warm_up_delay`: before a print runs, at time scale 1. At most a year.
    pub warm_up: Duration,
    /// `cool_down_delay`: after a print has parked, at time scale 1. At most a year.
    pub cool_down: Duration,
}

/// Where jobs are kept, and how large they may be.
#[derive(Debug, Clone)]
pub struct Motion {
    /// `motion_dir` (`motion_dl_dir`): one `.puls` and one `.info` a job.
    pub dir: PathBuf,
    /// `save_puls`: keep the files once the job is over.
    pub keep: bool,
    /// `remark_bytes`: a job's steps, still compressed or not, past which a line is logged; 1 or more.
    pub remark_bytes: u64,
    /// `refuse_bytes`: past which it is refused while it still arrives; 1 or more.
    pub refuse_bytes: u64,
    /// `refuse_inflated_bytes`: a job's steps in bytes, inflated where it came compressed, past which it is refused before
    /// anything moves; 1 or more.
    pub refuse_inflated_bytes: u64,
}

impl Motion {
    /// What limits the reading of a job that this machine has fetched.
    #[must_use]
    pub fn limits(&self) -> puls::Limits {
        puls::Limits { body_bytes: Some(self.refuse_inflated_bytes) }
    }
}

/// What is logged, and where.
#[derive(Debug, Clone, Default)]
pub struct Logging {
    /// `log_file` (`file`). A `console_log_level` (1.x) takes its place; with a `console_level` (2.6) there are both.
    pub file: Option<PathBuf>,
    /// `log_level` (`level`): of the file. `False` for no file.
    pub level: LogLevel,
    /// `console_log_level` (`console_level`): of the console; none where it is `False` or absent.
    pub console_level: Option<LogLevel>,
    /// Where pictures that were sent are kept too: `save_sent_images` in `[LOGGING]` `dir`, the current directory where
    /// that is not given.
    pub sent_images_dir: Option<PathBuf>,
    /// `record`: where each session is recorded, in a folder of its own named by its time.
    pub record_dir: Option<PathBuf>,
    /// `record_serial`: recordings have the machine's serial number in them.
    pub record_serial: bool,
}

/// The levels of the Python clients' logs, which people's configuration files name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// Everything.
    #[default]
    Debug,
    /// What happens.
    Info,
    /// What is odd.
    Warning,
    /// What went wrong.
    Error,
    /// Nearly nothing: errors too, since the `log` crate has no level above.
    Critical,
}

impl Config {
    /// The generation to speak: `[SERVICE] protocol` where given, else by the firmware's major version.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.service.protocol.unwrap_or_else(|| Generation::of_firmware(&self.machine.firmware))
    }

    /// Whether firmware that differs is fetched: as configured, else for 1.x alone.
    #[must_use]
    pub fn downloads_firmware(&self) -> bool {
        self.firmware.download.unwrap_or(self.generation() == Generation::V1)
    }

    /// The User-Agent of every request and of the WebSocket handshake.
    #[must_use]
    pub fn user_agent(&self) -> String {
        self.service.user_agent.clone().unwrap_or_else(|| format!("OpenGlow/{}", self.machine.firmware))
    }
}

impl Generation {
    /// Major 2 and up is 2.6; everything else, what is no version at all included, is 1.x.
    #[must_use]
    pub fn of_firmware(version: &str) -> Self {
        match version.split('.').next().and_then(|major| major.parse::<u32>().ok()) {
            Some(2..) => Self::V2,
            _ => Self::V1,
        }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "1.x",
            Self::V2 => "2.6",
        })
    }
}

impl Default for Service {
    fn default() -> Self {
        Self {
            server_url: "https://app.glowforge.com".into(),
            status_service_url: "wss://status.glowforge.com".into(),
            protocol: None,
            ca_file: None,
            user_agent: None,
            actions_file: None,
            retry_for: Duration::from_secs(300),
            proxy: None,
        }
    }
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            serial: 0,
            hostname: String::new(),
            password: Secret::default(),
            firmware: "2.6.0-2228".into(),
            app_version: None,
            head_id: None,
            head_serial: None,
            head_firmware: None,
            ip_address: "127.0.0.1".into(),
        }
    }
}

impl Default for Firmware {
    fn default() -> Self {
        Self { check: true, download: None, dir: "firmware".into() }
    }
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            image_dir: "images".into(),
            material_thickness: ".230".into(),
            bypass_homing: false,
            time_scale: 0.0,
            button: Button::Auto,
            warm_up: Duration::from_millis(3050),
            cool_down: Duration::from_millis(10_350),
        }
    }
}

impl Default for Motion {
    fn default() -> Self {
        Self {
            dir: "motion".into(),
            keep: true,
            remark_bytes: 32 << 20,
            refuse_bytes: 128 << 20,
            refuse_inflated_bytes: puls::MAX_TICKS as u64,
        }
    }
}

/// Everything that is wrong with a configuration, in the order of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems {
    /// The file, or how else the configuration came about.
    pub source: String,
    /// One or more.
    pub list: Vec<Problem>,
    /// What is odd as well: a key that nobody knows is most likely the one that is missing.
    pub remarks: Vec<Remark>,
}

/// One thing that is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The line, counted from 1; none where something is missing.
    pub line: Option<usize>,
    /// What is wrong and what would be right. Never a password.
    pub what: String,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, problem) in self.list.iter().enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            match problem.line {
                Some(line) => write!(f, "{}:{line}: {}", self.source, problem.what)?,
                None => write!(f, "{}: {}", self.source, problem.what)?,
            }
        }
        for remark in &self.remarks {
            write!(f, "\n{}:{}: {} (this is a remark)", self.source, remark.line, remark.what)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Something in a configuration that is no problem and most likely a mistake, such as a key that nobody knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The line, counted from 1.
    pub line: usize,
    /// What is odd there. Never a value.
    pub what: String,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}
