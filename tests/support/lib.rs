//! The test harness: a machine and the local service, with a timeout for every wait.

// Everything here panics to make a test fail.
#![allow(clippy::missing_panics_doc, missing_debug_implementations)]

pub mod recordings;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use gf_emulator_core::config::{Button, Generation};
use gf_emulator_core::local_service::{Builder, Failure, Fault, LocalService, Seen};
use gf_emulator_core::puls;
use gf_emulator_core::record::Recorder;
use gf_emulator_core::{Config, Emulator, Handle, Machine, Result, Secret, Tls};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The timeout of every wait: far longer than anything takes, so that only a hang reaches it.
pub const LIMIT: Duration = Duration::from_secs(30);

/// The timeout for operations that must end before any timeout of the program (15 s and more). Also enough on a slow
/// computer.
pub const AT_ONCE: Duration = Duration::from_secs(14);

/// The machine's serial number.
pub const SERIAL: u32 = 12_345_678;

/// The machine's password.
pub const PASSWORD: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// The canned pictures and their sizes in bytes, which are all different, so that the size identifies an upload.
pub const PICTURES: [(&str, usize); 7] = [
    ("HOME_1", 1001),
    ("HOME_2", 1002),
    ("HOME_3", 1003),
    ("HOME_4", 1004),
    ("LID_IMAGE", 1005),
    ("HEAD_LASER_.230", 1006),
    ("HEAD_NO_LASER_.230", 1007),
];

/// Returns a small valid job that cuts a square of 5 mm.
#[must_use]
pub fn square() -> Vec<u8> {
    let mut job = puls::Builder::new();
    for (x, y) in [(5.0, 0.0), (5.0, 5.0), (0.0, 5.0), (0.0, 0.0)] {
        job.cut_to(x, y, 50.0, 0.5).expect("a square is valid");
    }
    job.to_bytes()
}

/// Creates a temporary folder for a machine, with the canned pictures.
#[must_use]
pub fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let images = folder.path().join("images");
    std::fs::create_dir(&images).expect("a folder for pictures");
    for (name, size) in PICTURES {
        std::fs::write(images.join(format!("{name}.jpg")), vec![0xff; size]).expect("a picture");
    }
    folder
}

/// Returns a command that runs a program of these tests. If another program has to run it, such as qemu-user, the
/// environment variable `GF_TESTS_RUNNER` has that command, its words separated by spaces.
#[must_use]
pub fn command(program: &Path) -> Command {
    let runner = std::env::var("GF_TESTS_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace().map(OsStr::new).chain([program.as_os_str()]);
    let mut command = Command::new(words.next().expect("the program"));
    command.args(words);
    command
}

/// Returns a machine's configuration with all files in `folder` and no service.
#[must_use]
pub fn config(folder: &Path, generation: Generation) -> Config {
    let mut config = Config::default();
    config.machine.serial = SERIAL;
    config.machine.hostname = "test-machine".into();
    config.machine.password = Secret::new(PASSWORD);
    config.service.retry_for = LIMIT;
    config.emulator.image_dir = folder.join("images");
    config.motion.dir = folder.join("motion");
    config.firmware.dir = folder.join("firmware");
    if generation == Generation::V1 {
        config.machine.firmware = "1.6.0-35".into();
        config.machine.ip_address = "192.168.100.101".into();
    }
    config
}

/// Sets the service's addresses and certificate.
pub fn point_at(config: &mut Config, service: &LocalService, folder: &Path) {
    config.service.server_url = service.http_url().into();
    config.service.status_service_url = service.ws_url();
    if let Some(pem) = service.ca_pem() {
        let path = folder.join("ca.pem");
        std::fs::write(&path, pem).expect("the certificate is written");
        config.service.ca_file = Some(path);
    }
}

/// Returns whether tests can use TLS with the root of a local service. Set `GF_TESTS_WITHOUT_TLS` where no private root is
/// trusted, such as under wine.
#[must_use]
pub fn can_use_tls() -> bool {
    std::env::var_os("GF_TESTS_WITHOUT_TLS").is_none()
}

/// Returns the values of [`Builder::tls`] for a test of both: without, and with TLS if it [can be used](can_use_tls).
pub fn without_and_with_tls() -> impl Iterator<Item = bool> {
    [false, true].into_iter().filter(|&tls| !tls || can_use_tls())
}

/// Returns a service for this machine only, with the square as its job.
#[must_use]
pub fn service() -> Builder {
    LocalService::builder().serial(&SERIAL.to_string()).password(Secret::new(PASSWORD)).puls(square()).keep_bodies(true)
}

/// A local service, and a machine that runs against it in its own thread.
pub struct Harness {
    /// The service.
    pub service: LocalService,
    /// The machine's controls.
    pub handle: Handle,
    /// The recorder of every session.
    pub recorder: Option<Recorder>,
    files: SessionFiles,
    folder: TempDir,
    machine: Option<JoinHandle<Result<()>>>,
}

/// The options of a [`Harness`].
pub struct Setup {
    generation: Generation,
    service: Builder,
    adjust: Box<dyn FnOnce(&mut Config)>,
    machine: Option<Box<dyn FnOnce(Emulator) -> Emulator>>,
    record_to: Option<PathBuf>,
}

impl Setup {
    /// A machine of `generation` and a service without TLS and script.
    #[must_use]
    pub fn new(generation: Generation) -> Self {
        Self { generation, service: service().tls(false), adjust: Box::new(|_| ()), machine: None, record_to: None }
    }

    /// Changes the service.
    #[must_use]
    pub fn service(mut self, change: impl FnOnce(Builder) -> Builder) -> Self {
        self.service = change(self.service);
        self
    }

    /// Changes the configuration.
    #[must_use]
    pub fn config(mut self, adjust: impl FnOnce(&mut Config) + 'static) -> Self {
        self.adjust = Box::new(adjust);
        self
    }

    /// Replaces the canned machine.
    #[must_use]
    pub fn machine(mut self, machine: impl Machine + 'static) -> Self {
        self.machine = Some(Box::new(|emulator| emulator.with_machine(machine)));
        self
    }

    /// Records the session into `folder`.
    #[must_use]
    pub fn recorded(mut self, folder: &Path) -> Self {
        self.record_to = Some(folder.to_owned());
        self
    }

    /// Makes the machine run at real speed and wait for the button, without warm-up and cool-down.
    #[must_use]
    pub fn slow(self) -> Self {
        self.config(|config| {
            config.emulator.time_scale = 1.0;
            config.emulator.button = Button::Wait;
            config.emulator.warm_up = Duration::ZERO;
            config.emulator.cool_down = Duration::ZERO;
        })
    }

    /// Starts both, with the response to the next GET of a path that begins like this held back. Waits until the
    /// machine has requested it.
    ///
    /// # Panics
    ///
    /// If it does not.
    #[must_use]
    pub fn start_held(self, path: &str) -> Harness {
        let harness = self.start_with_fault(Some(Fault::new(Failure::Hold).on("GET", path)));
        harness.wait("a held response", |seen| seen.iter().any(|seen| matches!(seen, Seen::Held { .. })));
        harness
    }

    /// Starts both, and waits until the machine is connected.
    ///
    /// # Panics
    ///
    /// If it does not connect.
    #[must_use]
    pub fn start(self) -> Harness {
        self.start_with_fault(None)
    }

    fn start_with_fault(self, fault: Option<Fault>) -> Harness {
        let folder = folder();
        let service = self.service.start().expect("the service starts");
        if let Some(fault) = fault {
            service.fault(fault);
        }
        let mut config = config(folder.path(), self.generation);
        point_at(&mut config, &service, folder.path());
        (self.adjust)(&mut config);
        // Every session is recorded, so that every test also checks for secrets.
        let recording = tempfile::tempdir().expect("a temporary folder");
        let record_to = self.record_to.unwrap_or_else(|| recording.path().join("session"));
        let mut emulator = Emulator::new(config.clone()).expect("the configuration is good");
        emulator.record(&Recorder::of_machine(&record_to, &config).expect("a new recording"));
        let files = SessionFiles { folders: vec![folder.path().to_owned(), record_to], _recording: recording };
        if service.ca_pem().is_some() {
            // Also covers a connector that the caller provides.
            emulator = emulator.with_tls(Tls::new(Some(&folder.path().join("ca.pem"))).expect("a certificate"));
        }
        if let Some(machine) = self.machine {
            emulator = machine(emulator);
        }
        let (handle, recorder) = (emulator.handle(), emulator.recorder());
        let machine = thread::spawn(move || {
            emulator.connect()?;
            emulator.run()
        });
        let harness = Harness { service, handle, recorder, files, folder, machine: Some(machine) };
        harness.wait("the machine to connect", |seen| seen.iter().any(|seen| matches!(seen, Seen::WsOpened { .. })));
        harness
    }
}

impl Harness {
    /// The machine's folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Waits until `done` returns true for the observations of the service.
    ///
    /// # Panics
    ///
    /// On timeout, with all that was seen.
    pub fn wait(&self, for_what: &str, done: impl FnMut(&[Seen]) -> bool) {
        assert!(
            self.service.wait_for(done, LIMIT),
            "timed out waiting for {for_what}; seen: {:#?}",
            self.service.seen()
        );
    }

    /// Waits for an event.
    pub fn wait_event(&self, name: &str, action_id: Option<i64>) {
        self.wait(name, |seen| seen.iter().any(|seen| seen.is_event(name, action_id)));
    }

    /// Sends an action with these fields and those of `more`.
    ///
    /// # Panics
    ///
    /// If the machine is not connected.
    pub fn send(&self, id: i64, action_type: &str, status: &str, more: &Value) {
        let mut action = json!({"id": id, "action_type": action_type, "status": status});
        for (key, value) in more.as_object().expect("an object") {
            action[key] = value.clone();
        }
        self.service.send(action).expect("the machine is connected");
    }

    /// Sends a ready action with a pulse file and an upload endpoint.
    pub fn start_action(&self, id: i64, action_type: &str) {
        let http = self.service.http_url();
        let more = json!({"motion_url": self.service.puls_url(), "endpoint": format!("{http}/up/{id}?X-Sig=a-presigned-secret")});
        self.send(id, action_type, "ready", &more);
    }

    /// Sends a ready action, and waits for its terminal event.
    pub fn expect(&self, id: i64, action_type: &str, ending: &str) {
        self.start_action(id, action_type);
        self.wait_event(&format!("{action_type}:{ending}"), Some(id));
    }

    /// Returns the machine's events so far, as `name` or `name (id)`.
    #[must_use]
    pub fn events(&self) -> Vec<String> {
        events_of(&self.service.seen())
    }

    /// Returns the terminal events of an action.
    #[must_use]
    pub fn endings(&self, id: i64, action_type: &str) -> Vec<String> {
        endings_of(&self.service.seen(), id, action_type)
    }

    /// Returns the files in the machine's motion folder, sorted by name.
    #[must_use]
    pub fn jobs(&self) -> Vec<PathBuf> {
        let mut jobs: Vec<_> = std::fs::read_dir(self.folder().join("motion"))
            .map(|entries| entries.filter_map(|entry| Some(entry.ok()?.path())).collect())
            .unwrap_or_default();
        jobs.sort();
        jobs
    }

    /// Stops the machine, and returns how it ended.
    ///
    /// # Panics
    ///
    /// If its thread has panicked.
    pub fn stop(mut self) -> (LocalService, TempDir, Result<()>) {
        self.handle.stop();
        let ended = self.machine.take().expect("not stopped before").join().expect("the machine does not panic");
        let Self { service, folder, files, recorder, .. } = self;
        // The recording is complete when the last clone of its recorder is dropped.
        drop(recorder);
        drop(files);
        (service, folder, ended)
    }
}

/// A 2.6 machine that runs in its own thread, against a service that others may use too.
pub struct RunningMachine {
    handle: Handle,
    machine: JoinHandle<Result<()>>,
    _folder: TempDir,
}

impl RunningMachine {
    /// Stops it.
    ///
    /// # Panics
    ///
    /// If it has failed.
    pub fn stop(self) {
        self.handle.stop();
        self.machine.join().expect("the machine does not panic").expect("the machine has not failed");
    }
}

/// Starts a machine with this serial number that uses a service without TLS.
#[must_use]
pub fn run_machine(service: &LocalService, serial: u32) -> RunningMachine {
    run(service, serial, None)
}

/// Starts a machine with this serial number that uses a service over TLS and trusts the certificate in this file.
#[must_use]
pub fn run_machine_trusting(service: &LocalService, serial: u32, ca_file: &Path) -> RunningMachine {
    run(service, serial, Some(ca_file.to_owned()))
}

fn run(service: &LocalService, serial: u32, ca_file: Option<PathBuf>) -> RunningMachine {
    let folder = folder();
    let mut config = config(folder.path(), Generation::V2);
    config.machine.serial = serial;
    config.service.server_url = service.http_url().into();
    config.service.status_service_url = service.ws_url();
    config.service.ca_file = ca_file;
    let mut emulator = Emulator::new(config).expect("the configuration is good");
    let handle = emulator.handle();
    let machine = thread::spawn(move || {
        emulator.connect()?;
        emulator.run()
    });
    RunningMachine { handle, machine, _folder: folder }
}

/// The files of a session. Dropping it checks that they contain no secrets.
struct SessionFiles {
    folders: Vec<PathBuf>,
    _recording: TempDir,
}

impl Drop for SessionFiles {
    fn drop(&mut self) {
        while let Some(folder) = self.folders.pop() {
            // A machine that still runs may remove files meanwhile.
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    self.folders.push(path);
                    continue;
                }
                let bytes = std::fs::read(&path).unwrap_or_default();
                let text = String::from_utf8_lossy(&bytes);
                for secret in [PASSWORD, TOKEN, "Bearer "] {
                    let found = text.contains(secret);
                    assert!(!found || thread::panicking(), "{secret} is in {}", path.display());
                }
            }
        }
    }
}

/// The prefix of every token of the local service.
const TOKEN: &str = "eyJhbGciOiJIUzI1NiJ9";

/// Returns the folder with recordings of real clients, which are not part of the project. Tests that need it are ignored
/// by default.
///
/// # Panics
///
/// If `GF_GOLDEN_DIR` is not set.
#[must_use]
pub fn golden_folder() -> PathBuf {
    std::env::var_os("GF_GOLDEN_DIR").expect("GF_GOLDEN_DIR is set").into()
}

/// Returns the events and progress that a machine has sent, as `name` or `name (id)`.
#[must_use]
pub fn events_of(seen: &[Seen]) -> Vec<String> {
    let name = |seen: &Seen| match seen {
        Seen::WsMessage { message, .. } => {
            let name = message["event"].as_str().or(message["progress"].as_str())?;
            Some(match message["action_id"].as_i64() {
                Some(id) => format!("{name} ({id})"),
                None => name.to_owned(),
            })
        }
        _ => None,
    };
    seen.iter().filter_map(name).collect()
}

/// Returns the terminal events of an action.
#[must_use]
pub fn endings_of(seen: &[Seen], id: i64, action_type: &str) -> Vec<String> {
    let is_ending = |event: &String| {
        ["completed", "cancelled", "failed"].iter().any(|e| *event == format!("{action_type}:{e} ({id})"))
    };
    events_of(seen).into_iter().filter(is_ending).collect()
}

/// Returns the name of the picture with this size.
///
/// # Panics
///
/// If there is none.
#[must_use]
pub fn picture_of(size: usize) -> &'static str {
    PICTURES.iter().find(|(_, known)| *known == size).expect("one of the canned pictures").0
}

/// Returns a job that runs for days: one tick a second.
#[must_use]
pub fn endless_job() -> Vec<u8> {
    let mut job = puls::Builder::new();
    let drawn = job.move_to(5.0, 0.0).and_then(|job| job.dwell(60.0)).map(|_| ());
    drawn.and_then(|()| job.set(puls::code::STEP_FREQUENCY, 1).map(|job| job.to_bytes())).expect("the job is valid")
}
