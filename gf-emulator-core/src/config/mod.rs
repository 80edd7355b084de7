//! Reads `.cfg` files into a typed [`Config`].
//!
//! Owns the keys of both generations of the Python client and of this project. Reads files and environment variables
//! (serial number, password, proxies); opens no sockets.

mod interpolation;
mod keys;
mod proxy;
mod read;
mod template;
#[cfg(test)]
mod tests;
mod text;
mod value;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use crate::problems::{Problem, Problems, Warning};
pub use proxy::Proxy;
pub use template::{MachineIdentity, Template};

use crate::{Secret, puls};

/// A sample configuration with a comment for each key. Serial number, hostname and password are empty. A few values are not
/// the defaults: it sets a log file, a console level and an IP address.
pub const SAMPLE: &str = include_str!("sample.cfg");

/// The generation of the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Generation {
    /// 1.x, used from 2017 to 2020.
    V1,
    /// 2.6, the factory firmware in use today.
    V2,
}

/// What happens when a print waits for the button.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Button {
    /// The button counts as pressed immediately.
    #[default]
    Auto,
    /// The print waits until the button is pressed: see [`Handle`](crate::Handle).
    Wait,
}

/// The configuration of a machine.
///
/// Read from a file by [`Config::from_file`], or built in code. [`Emulator::new`](crate::Emulator::new) and
/// [`WsClient::connect`](crate::WsClient::connect) call [`Config::check`]. `serial`, `hostname` and `password` have no
/// valid default; an [offline](crate::Emulator::offline) machine needs none of them.
///
/// Relative paths are relative to the current directory. The folders for jobs, firmware, pictures sent and
/// recordings are created when needed.
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
///
/// The documentation of a field begins with its key in a file; other names of the key are in brackets. "(1.x)" and "(2.6)"
/// say which of the Python clients has it.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Config {
    /// The service's addresses and how to connect.
    pub service: Service,
    /// The machine's identity.
    pub machine: Identity,
    /// Firmware checks and downloads.
    pub firmware: Firmware,
    /// The emulated machine's behaviour.
    pub emulator: Behaviour,
    /// Storage and size limits of jobs.
    pub motion: Motion,
    /// Logs and recordings.
    pub logging: Logging,
}

/// The service's addresses and how to connect: `[SERVICE]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Service {
    /// `server_url`: sign-in, firmware, image upload; without a trailing slash. `http` is accepted for loopback
    /// addresses only. Default: `https://app.glowforge.com`.
    pub server_url: String,
    /// `status_service_url`: the WebSocket; without a trailing slash. `ws` is accepted for loopback addresses only.
    /// Default: `wss://status.glowforge.com`.
    pub status_service_url: String,
    /// `protocol`: overrides the generation implied by the firmware version. Default: `None`.
    pub protocol: Option<Generation>,
    /// `ca_file`: a PEM file with root certificates to trust in addition to the system's. Default: `None`.
    pub ca_file: Option<PathBuf>,
    /// `user_agent`: replaces `OpenGlow/<firmware version>`. Default: `None`.
    pub user_agent: Option<String>,
    /// `actions_file`: replaces the built-in [actions table](crate::actions). Default: `None`.
    pub actions_file: Option<PathBuf>,
    /// `retry_for_s`: how long to retry at start if the service cannot be reached or responds unexpectedly. At most a
    /// year. Default: 300 s. Once connected, a machine reconnects until it is stopped.
    pub retry_for: Duration,
    /// `proxy`: the HTTP proxy. Without the key, [`Config::from_file`] uses [`Proxy::from_environment`]; a
    /// configuration built in code ignores the environment. Default: `None`.
    pub proxy: Option<Proxy>,
}

/// The machine's identity: `[MACHINE]`, and the versions of its firmware.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Identity {
    /// `serial`: the number without the leading `S`, 1 or more. Required.
    pub serial: u32,
    /// `hostname`: letters, digits, dots, dashes and underscores. Required.
    pub hostname: String,
    /// `password`: 64 hex digits. Required.
    pub password: Secret,
    /// `firmware` (1.x) or `fw_version` (2.6), such as `2.6.0-2228`, which is the default.
    pub firmware: String,
    /// `app_version`: letters, digits, dots, dashes and underscores. Default: `None`, which is
    /// that of the firmware 2.6.0-2228 or of a captured 1.x machine.
    pub app_version: Option<String>,
    /// `head_id` (2.6): 0 to 4294967295. Default: `None`, reported as 1100.
    pub head_id: Option<i64>,
    /// `head_serial`: 0 to 4294967295. Default: `None`, reported as 123456789.
    pub head_serial: Option<i64>,
    /// `head_firmware`: 0 to 4294967295. Default: `None`, reported as 199234110.
    pub head_firmware: Option<i64>,
    /// `ip_address` (1.x): the address that the machine reports. Default: `127.0.0.1`.
    pub ip_address: String,
}

/// Firmware checks and downloads: `[GENERAL]` (1.x), or `[FACTORY_FIRMWARE]` and `[EMULATOR]` (2.6).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Firmware {
    /// `firmware_check` (`check`): query the current version at start. Default: `true`.
    pub check: bool,
    /// `firmware_download`: download it if it differs. Default: `None`, which is on for 1.x and off for 2.6.
    pub download: Option<bool>,
    /// `firmware_dir` (`download_dir`, `firmware_dl_dir`): the download folder. Default: `firmware`.
    pub dir: PathBuf,
    /// `status_file` (2.6): each firmware check writes its result there as JSON: `latest_gf_version`,
    /// `tested_against_gf` (the machine's own version) and `checked_at` (Unix time in seconds). Default: `None`.
    pub status_file: Option<PathBuf>,
}

/// The emulated machine's behaviour. The keys are in `[EMULATOR]`, except `image_dir` (`[GENERAL]`), `thickness`
/// (`[MATERIAL]`), `warm_up_delay` and `cool_down_delay` (`[MOTION]`).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Behaviour {
    /// `image_dir` (`image_src_dir`): the folder of the pictures of [`CannedMachine`](crate::machine::CannedMachine);
    /// it is not created. Default: `images`.
    pub image_dir: PathBuf,
    /// `thickness` (`material_thickness`): part of the head pictures' file names. Default: `.230`.
    pub material_thickness: String,
    /// `bypass_homing` (2.6): report empty settings from the start, so that the service skips homing. Default: `false`.
    pub bypass_homing: bool,
    /// `time_scale`: the duration of actions relative to a real machine; 0 (immediate) to 1000. Default: 0.
    pub time_scale: f64,
    /// `button`: `auto` or `wait`. Default: [`Button::Auto`].
    pub button: Button,
    /// `button_timeout_s` (2.6): how long a print waits for the button before it is cancelled; 1 s to 1 h, whatever the
    /// time scale. Default: 300 s, as the open-source clients.
    pub button_timeout: Duration,
    /// `warm_up_delay`: the pause before a print runs, at time scale 1. At most a year. Default: 3.05 s, measured on
    /// hardware with firmware 2.6.
    pub warm_up: Duration,
    /// `cool_down_delay`: the pause after a print has parked, at time scale 1. At most a year. Default: 10.35 s,
    /// measured on hardware with firmware 2.6.
    pub cool_down: Duration,
}

/// Storage and size limits of jobs: `[MOTION]`; `motion_dir` is in `[GENERAL]`, `motion_dl_dir` in `[EMULATOR]`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Motion {
    /// `motion_dir` (`motion_dl_dir`): the folder for a `.puls` and an `.info` file per job. Default: `motion`.
    pub dir: PathBuf,
    /// `keep_jobs`: keep both files after their job has ended. Default: `true`. Nothing else deletes jobs.
    pub keep: bool,
    /// `remark_bytes`: downloads of this size or more are logged (bytes as transferred); 0: none is. Default: 32 MiB.
    pub remark_bytes: u64,
    /// `refuse_bytes`: larger downloads are aborted; 0: no limit. Default: 128 MiB.
    pub refuse_bytes: u64,
    /// `refuse_inflated_bytes`: jobs with more ticks (one byte each, uncompressed) are refused before anything moves; 0:
    /// no limit. Default: [`puls::MAX_TICKS`].
    pub refuse_inflated_bytes: u64,
}

impl Motion {
    /// Returns the limits for reading downloaded jobs.
    #[must_use]
    pub fn limits(&self) -> puls::Limits {
        puls::Limits { body_bytes: Some(self.refuse_inflated_bytes).filter(|&bytes| bytes != 0) }
    }

    /// Returns the size of the largest download that is accepted.
    pub(crate) fn max_download_bytes(&self) -> u64 {
        if self.refuse_bytes == 0 { u64::MAX } else { self.refuse_bytes }
    }

    /// Returns whether a download of this size is logged as large.
    pub(crate) fn is_remarkable(&self, bytes: u64) -> bool {
        self.remark_bytes != 0 && bytes >= self.remark_bytes
    }
}

/// Logs and recordings: `[LOGGING]`; `log_file`, `log_level` and `console_log_level` (1.x) are in `[GENERAL]`.
///
/// This library installs no logger: `file`, `level` and `console_level` are for the program that does.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Logging {
    /// `log_file` (`file`). `console_log_level` (1.x) replaces the file; with `console_level` (2.6) both are used.
    /// Default: `None`.
    pub file: Option<PathBuf>,
    /// `log_level` (`level`): the file's level. `False` disables the file. Default: [`LogLevel::Debug`].
    pub level: LogLevel,
    /// `console_log_level` (`console_level`): the console's level; `None` if it is `False` or absent. Default: `None`.
    pub console_level: Option<LogLevel>,
    /// The folder for copies of sent pictures: `[LOGGING] capture_dir`, else `dir`, else the current directory, if
    /// `save_sent_images` is `True`. Default: `None`.
    pub sent_images_dir: Option<PathBuf>,
    /// `record`: the parent folder of recordings; each session gets a folder named by its time. Default: `None`.
    pub record_dir: Option<PathBuf>,
    /// `record_serial`: include the machine's serial number in recordings. Default: `false`.
    pub record_serial: bool,
}

/// The log levels of the Python clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum LogLevel {
    /// All messages.
    #[default]
    Debug,
    /// Normal events and above.
    Info,
    /// Warnings and errors.
    Warning,
    /// Errors.
    Error,
    /// As [`Error`](Self::Error): the `log` crate has no higher level.
    Critical,
}

impl Config {
    /// Returns the generation: `[SERVICE] protocol` if set, else by the firmware's major version.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.service.protocol.unwrap_or_else(|| Generation::of_firmware(&self.machine.firmware))
    }

    /// Returns whether firmware is downloaded if it differs: as configured, else only for 1.x.
    #[must_use]
    pub fn downloads_firmware(&self) -> bool {
        self.firmware.download.unwrap_or(self.generation() == Generation::V1)
    }

    /// Returns the `User-Agent` of every request and of the WebSocket handshake.
    #[must_use]
    pub fn user_agent(&self) -> String {
        self.service.user_agent.clone().unwrap_or_else(|| format!("OpenGlow/{}", self.machine.firmware))
    }
}

impl Generation {
    /// Returns 2.6 for major versions 2 and higher, and 1.x for anything else.
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
        Self { check: true, download: None, dir: "firmware".into(), status_file: None }
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
            button_timeout: Duration::from_secs(300),
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
