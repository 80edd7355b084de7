//! Shared by the benchmarks: a service and a cycle to measure, samples, and a report with targets.
//!
//! Each benchmark is a program: `cargo bench -p gf-emulator-tests --bench NAME`. It prints its figures with their
//! targets. With `-- --check`, it exits with 1 if a target is missed.

// No benchmark uses everything.
#![allow(dead_code)]

pub(crate) mod bare;
pub(crate) mod print;
pub(crate) mod process;

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use gf_emulator_core::config::Generation;
use gf_emulator_core::local_service::{Builder, LocalService, Script, Seen};
use gf_emulator_core::{Config, puls};
use tempfile::TempDir;

/// The timeout of every wait: far longer than anything takes.
pub(crate) const LIMIT: Duration = Duration::from_secs(120);

/// The pictures and their sizes in bytes, similar to those of a real machine.
pub(crate) const PICTURES: [(&str, usize); 7] = [
    ("HOME_1", 263_016),
    ("HOME_2", 361_462),
    ("HOME_3", 360_105),
    ("HOME_4", 359_871),
    ("LID_IMAGE", 359_220),
    ("HEAD_LASER_.230", 451_570),
    ("HEAD_NO_LASER_.230", 430_762),
];

/// The service's script of a cycle: the actions of the first minutes of a 2.6 machine.
const CYCLE: &str = r#"[
  {"send": {"id": 1001, "action_type": "settings", "status": "ready", "settings": {"NRic": 5}}},
  {"await": "settings:completed", "action_id": 1001},
  {"send": {"id": 1002, "action_type": "lid_image", "status": "ready", "endpoint": "{http}/up/lid1"}},
  {"await": "lid_image:completed", "action_id": 1002},
  {"send": {"id": 1003, "action_type": "motion", "status": "ready", "motion_url": "{puls}"}},
  {"await": "motion:completed", "action_id": 1003},
  {"send": {"id": 1004, "action_type": "lid_image", "status": "ready", "endpoint": "{http}/up/lid2", "settings": {"LCfl": 1}}},
  {"await": "lid_image:completed", "action_id": 1004},
  {"send": {"id": 1005, "action_type": "hunt", "status": "ready", "motion_url": "{puls}"}},
  {"await": "hunt:completed", "action_id": 1005},
  {"send": {"id": 1006, "action_type": "head_image", "status": "ready", "endpoint": "{http}/up/head1", "settings": {"HCil": 1, "HCae": 0, "HCex": 100, "HCag": 0, "HCga": 1}}},
  {"await": "head_image:completed", "action_id": 1006},
  {"send": {"id": 1007, "action_type": "head_image", "status": "ready", "endpoint": "{http}/up/head2", "settings": {"HCil": 0}}},
  {"await": "head_image:completed", "action_id": 1007},
  {"send": {"id": 1008, "action_type": "print", "status": "ready", "motion_url": "{puls}"}},
  {"await": "print:completed", "action_id": 1008}
]"#;

/// Returns the service's script.
pub(crate) fn cycle() -> Script {
    Script::from_json(CYCLE).expect("a valid script")
}

/// Returns a job of about 20 kB, the size of a homing job.
fn job() -> Vec<u8> {
    let mut job = puls::Builder::new();
    for _ in 0..5 {
        for (x, y) in [(5.0, 0.0), (5.0, 5.0), (0.0, 5.0), (0.0, 0.0)] {
            job.cut_to(x, y, 50.0, 0.5).expect("on the bed");
        }
    }
    job.to_bytes()
}

/// Returns a service that reports everything to `observer` and keeps no request bodies.
pub(crate) fn service(tls: bool, observer: impl Fn(&Seen) + Send + Sync + 'static) -> Builder {
    LocalService::builder().tls(tls).puls(job()).keep_bodies(false).observer(observer)
}

/// Creates a folder with pictures of realistic sizes.
pub(crate) fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let images = folder.path().join("images");
    std::fs::create_dir(&images).expect("a folder for pictures");
    for (name, size) in PICTURES {
        std::fs::write(images.join(format!("{name}.jpg")), picture(size)).expect("a picture");
    }
    folder
}

/// Returns a picture of this many bytes.
pub(crate) fn picture(size: usize) -> Vec<u8> {
    vec![0xd8; size]
}

/// Returns the configuration of a machine with its own serial number and all files in `folder`.
pub(crate) fn config(folder: &Path, service: &LocalService, serial: u32) -> Config {
    let mut config = gf_emulator_tests::config(folder, Generation::V2);
    gf_emulator_tests::point_at(&mut config, service, folder);
    config.machine.serial = serial;
    config
}

/// Writes the configuration of [`config`] to a file, and returns its path.
pub(crate) fn config_file(folder: &Path, service: &LocalService, serial: u32) -> std::path::PathBuf {
    let mut text = format!(
        "[GENERAL]\nmotion_dir: {0}/motion\nimage_dir: {0}/images\nfirmware_dir: {0}/firmware\nfirmware_check: True\n\
         [SERVICE]\nserver_url: {1}\nstatus_service_url: {2}\n",
        folder.display(),
        service.http_url(),
        service.ws_url(),
    );
    if let Some(pem) = service.ca_pem() {
        let path = folder.join("ca.pem");
        std::fs::write(&path, pem).expect("the certificate is written");
        writeln!(text, "ca_file: {}", path.display()).expect("writing to a string cannot fail");
    }
    let password = gf_emulator_tests::PASSWORD;
    write!(text, "[MACHINE]\nserial: {serial}\nhostname: bench\npassword: {password}\n[MATERIAL]\nthickness: .230\n")
        .expect("writing to a string cannot fail");
    let path = folder.join(format!("{serial}.cfg"));
    std::fs::write(&path, text).expect("the configuration is written");
    path
}

/// Returns false if `cargo test --all-targets` runs this program.
pub(crate) fn is_bench_run() -> bool {
    std::env::args().any(|arg| arg == "--bench") || std::io::stdin().is_terminal()
}

/// Durations of repeated measurements, sorted.
#[derive(Default)]
pub(crate) struct Samples(Vec<Duration>);

impl Samples {
    pub(crate) fn add(&mut self, took: Duration) {
        self.0.push(took);
        self.0.sort();
    }

    pub(crate) fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
        self.0.sort();
    }

    /// Returns the duration below which this share of the samples lies.
    pub(crate) fn percentile(&self, share: f64) -> Duration {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // An index from 0 to the length.
        let at = (self.0.len() as f64 * share) as usize;
        self.0[at.min(self.0.len() - 1)]
    }

    pub(crate) fn median(&self) -> Duration {
        self.percentile(0.5)
    }

    pub(crate) fn max(&self) -> Duration {
        self.percentile(1.0)
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(durations: I) -> Self {
        let mut sorted: Vec<_> = durations.into_iter().collect();
        sorted.sort();
        Self(sorted)
    }
}

pub(crate) fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

pub(crate) fn us(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

/// Prints figures, and remembers whether one missed its target.
#[derive(Default)]
pub(crate) struct Report {
    missed: bool,
}

impl Report {
    /// Prints a figure without a target.
    // A method for symmetry with `check`.
    #[allow(clippy::unused_self)]
    pub(crate) fn info(&self, what: &str, figure: &str) {
        println!("{what:<52} {figure}");
    }

    /// Prints a figure, its target and whether it meets it.
    pub(crate) fn check(&mut self, what: &str, figure: &str, target: &str, passed: bool) {
        self.missed |= !passed;
        println!("{what:<52} {figure:<22} {:<5} ({target})", if passed { "PASS" } else { "MISS" });
    }

    /// Returns 1 if a target was missed and `--check` is given.
    pub(crate) fn finish(self) -> ExitCode {
        let check = std::env::args().any(|arg| arg == "--check");
        if check && self.missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
    }
}
