//! What is wrong or odd in a job: every rule that is known of the machine, for the header and for each tick of the body.

use std::io::Read;

use serde::Serialize;

use super::bed::off_bed;
use super::header::{Code, LENS_TRAVEL_HALF_STEPS, STEP_FREQUENCIES_HZ};
use super::make::captured_print;
use super::{Extents, Header, Job, Position, Refusal, Result, Seconds, tick};
use crate::words::count;

/// How serious a [`Finding`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A machine would refuse the job, stop it, or not do what it says.
    Error,
    /// Unusual, but no reason against the job.
    Remark,
}

/// Something wrong or odd in a job. Displays as `tick 1234 (0.12 s): the laser fires ..`, without the severity.
///
/// Serializes as an object with the fields below; `tick` and `time_s` are `null` for the header.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// Whether it is an error.
    pub severity: Severity,
    /// The name of the rule, such as `fire-before-power`. It does not change between versions.
    pub rule: &'static str,
    /// The tick, counted from 0 from the start of the body; `None` for the header, and for the job as a whole.
    pub tick: Option<u64>,
    /// The time of that tick; `None` if the header has no step frequency.
    pub time_s: Option<f64>,
    /// What was found, and what is expected. Never has a serial number.
    pub message: String,
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (self.tick, self.time_s) {
            (Some(tick), Some(time_s)) => write!(f, "tick {tick} ({}): ", Seconds(time_s))?,
            (Some(tick), None) => write!(f, "tick {tick}: ")?,
            (None, _) => {}
        }
        f.write_str(&self.message)
    }
}

/// What is known of the machine and of the place of a job.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct CheckOptions {
    /// The serial number of the machine; `None` is any machine, which passes every lock.
    pub serial: Option<u32>,
    /// Where on the bed the job starts, in mm from the back left corner; `None` if unknown: the job has to fit somewhere.
    pub start_mm: Option<[f64; 2]>,
}

/// What was found in a job.
#[derive(Debug, Clone, PartialEq, Default)]
#[non_exhaustive]
pub struct Findings {
    /// Those of the header first, then those of the body by tick, then those of the job as a whole.
    pub findings: Vec<Finding>,
}

impl Findings {
    /// Returns whether a machine would run the job: there is no error.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.findings.iter().all(|finding| finding.severity == Severity::Remark)
    }
}

/// The number of codes that a factory machine demands (read from firmware 2.6; which ones is not known).
const MANDATORY_CODES: usize = 29;
/// Codes that are never legal in a header: a machine only reports them (read from firmware 2.6).
const REPORT_ONLY: [Code; 2] = [Code(*b"CCbp"), Code(*b"CCbt")];
/// Codes of fan duties while a cut runs, and the highest duty that counts as off or idle.
const FANS: [(Code, u32); 3] = [(Code(*b"AArd"), 204), (Code(*b"EFrd"), 0), (Code(*b"IFrd"), 0)];
/// Upper limits of temperatures, in run.
const CEILINGS: [Code; 6] =
    [Code(*b"CMrx"), Code(*b"BTrx"), Code(*b"FTrx"), Code(*b"HTrx"), Code(*b"ITrx"), Code(*b"LTrx")];
/// The highest step frequency that the engine holds exactly, and the highest that it reaches (measured on hardware).
const SOUND_HZ: u32 = 100_000;
const ENGINE_HZ: u32 = 165_000;
/// How much of a body a machine holds at once: a ring buffer of 32 MiB, of which 32 KiB stay unwritten (read from firmware
/// 2.6). The rest is added while it plays.
const RING_BYTES: u64 = (32 << 20) - (32 << 10);
/// Sizes of the file as downloaded from which the open-source client logs a remark, and above which it refuses it.
const LARGE_BYTES: u64 = 32 << 20;
const MAX_BYTES: u64 = 128 << 20;
/// Twice the peak of captured travel, 202 mm/s (measured on hardware).
const MAX_SPEED_MM_S: f64 = 404.0;
/// Twice the highest acceleration of captured jobs, about 1000 mm/s2 (measured on hardware).
const MAX_ACCELERATION_MM_S2: f64 = 2_000.0;
/// Twice the highest speed of the lens in captured jobs, 5.7 mm/s (measured on hardware).
const MAX_LENS_MM_S: f64 = 11.4;
/// Speed and acceleration are means over windows of this length.
const WINDOWS_PER_S: u32 = 40;

/// Reads a job to its end and checks it: the header, each tick of the body, and the job as a whole. Returns what is wrong or
/// odd in it.
///
/// The rules are those of the open-source clients and what was measured on hardware or read from the firmware. That a job
/// is good does not prove that a machine runs it: of the 29 codes that a header must have, it is not known which they are.
///
/// ```
/// use gf_emulator_core::puls::{Builder, CheckOptions, Job, check, code};
///
/// let mut job = Builder::new();
/// job.move_to(300.0, 0.0)?;
/// assert!(check(Job::open(&job.to_bytes()[..])?, &CheckOptions::default())?.is_good());
///
/// job.set(code::DATA_FORMAT, 7)?.move_to(600.0, 0.0)?;
/// let found = check(Job::open(&job.to_bytes()[..])?, &CheckOptions::default())?;
/// let rules: Vec<_> = found.findings.iter().map(|finding| finding.rule).collect();
/// assert_eq!(rules, ["data-format", "off-bed"]);
/// # Ok::<(), gf_emulator_core::puls::Error>(())
/// ```
///
/// # Errors
/// Those of [`Job::next_chunk`].
pub fn check<R: Read>(mut job: Job<R>, options: &CheckOptions) -> Result<Findings> {
    let header = job.header().clone();
    let mut body = Body::new(&header, options.start_mm);
    while let Some(chunk) = job.next_chunk()? {
        body.add(chunk);
    }
    let mut findings = Vec::new();
    let mut find = |severity, rule, message| {
        findings.push(Finding { severity, rule, tick: None, time_s: None, message });
    };
    for refusal in header.check(options.serial) {
        find(Severity::Error, refusal.rule(), refusal.to_string());
    }
    header_findings(&header, body.fire_ticks > 0, &mut find);
    size_findings(job.bytes_read(), body.ticks, &mut find);
    findings.extend(body.finish());
    Ok(Findings { findings })
}

type Find<'a> = &'a mut dyn FnMut(Severity, &'static str, String);

fn header_findings(header: &Header, fires: bool, find: Find<'_>) {
    for remark in header.remarks() {
        find(Severity::Remark, remark.rule(), remark.to_string());
    }
    let slowest_hz = *STEP_FREQUENCIES_HZ.start();
    if let Some(hz) = header.step_frequency_hz().filter(|&hz| hz < slowest_hz) {
        let message =
            format!("the step frequency (STfr) is {hz} Hz; a machine plays at least {slowest_hz}, so faster than that");
        find(Severity::Error, "step-frequency", message);
    }
    if let Some(hz) = header.step_frequency_hz().filter(|&hz| hz > SOUND_HZ) {
        let severity = if hz > ENGINE_HZ { Severity::Error } else { Severity::Remark };
        let message = format!(
            "the step frequency (STfr) is {hz} Hz; the engine plays up to {SOUND_HZ} exactly, and never more than about {ENGINE_HZ}"
        );
        find(severity, "step-frequency", message);
    }
    let mut codes: Vec<_> = header.records().iter().map(|record| record.code.0).collect();
    codes.sort_unstable();
    codes.dedup();
    if codes.len() < MANDATORY_CODES {
        let message = format!(
            "the header has {}; a factory machine demands {MANDATORY_CODES}, and refuses a job that lacks one",
            count(codes.len(), "code")
        );
        find(Severity::Error, "mandatory-codes", message);
    }
    if codes.len() < header.records().len() {
        let repeated = count(header.records().len() - codes.len(), "code");
        find(Severity::Remark, "repeated-code", format!("the header repeats {repeated}; the last value counts"));
    }
    for code in REPORT_ONLY.iter().filter(|&&code| header.get(code).is_some()) {
        let message = format!("the header has {code}, which a machine only reports: a factory machine refuses it");
        find(Severity::Error, "report-only-code", message);
    }
    if fires {
        cut_findings(header, find);
    }
}

/// Checks the header of a job that fires.
fn cut_findings(header: &Header, find: Find<'_>) {
    for (code, off) in FANS {
        let captured = captured_print(code);
        match header.get(code) {
            Some(duty) if duty >= captured => {}
            Some(duty) if duty > off => {
                let message = format!("the fan duty {code} is {duty}, less than the {captured} of captured prints");
                find(Severity::Remark, "fans", message);
            }
            found => {
                let found = found.map_or_else(|| "missing".to_owned(), |duty| duty.to_string());
                let message =
                    format!("the laser fires, but the fan duty {code} is {found}; captured prints have {captured}");
                find(Severity::Error, "fans", message);
            }
        }
    }
    for code in CEILINGS {
        let captured = captured_print(code);
        if let Some(value) = header.get(code).filter(|&value| value.cast_signed() > captured.cast_signed()) {
            let message = format!("the limit {code} is {value}, higher than the {captured} of captured prints");
            find(Severity::Remark, "limits", message);
        }
    }
}

fn size_findings(file_bytes: u64, ticks: u64, find: Find<'_>) {
    if file_bytes > MAX_BYTES {
        let message = format!("the file has {file_bytes} bytes; machines refuse more than {MAX_BYTES}");
        find(Severity::Error, "file-size", message);
    } else if file_bytes >= LARGE_BYTES {
        let message = format!("the file has {file_bytes} bytes; machines log a warning from {LARGE_BYTES}");
        find(Severity::Remark, "file-size", message);
    }
    if ticks == 0 {
        find(Severity::Remark, "empty", "the body is empty".to_owned());
    } else if ticks > RING_BYTES {
        let message =
            format!("the body has {ticks} ticks; a machine holds {RING_BYTES} and loads the rest while it plays");
        find(Severity::Remark, "length", message);
    }
}

/// The first tick at which a rule was broken, and how often it was.
#[derive(Debug, Clone, Copy, Default)]
struct Breach {
    first: Option<u64>,
    count: u64,
}

impl Breach {
    fn add(&mut self, tick: u64) {
        self.first.get_or_insert(tick);
        self.count += 1;
    }
}

/// The largest value of a measurement above its limit, and its tick.
#[derive(Debug, Clone, Copy, Default)]
struct Peak {
    tick: u64,
    value: f64,
}

impl Peak {
    fn add(&mut self, tick: u64, value: f64) {
        if value > self.value {
            *self = Self { tick, value };
        }
    }
}

/// Checks a body, tick by tick.
struct Body<'a> {
    header: &'a Header,
    start_mm: Option<[f64; 2]>,
    hz: f64,
    ticks: u64,
    fire_ticks: u64,
    position: Position,
    extents: Extents,
    power_is_set: bool,
    last: u8,
    fire_before_power: Breach,
    power_in_a_row: Breach,
    off_bed_tick: Option<u64>,
    lens_tick: Option<u64>,
    last_lens_step: Option<u64>,
    lens_speed: Peak,
    speed: Peak,
    acceleration: Peak,
    window_ticks: u64,
    window_start: Position,
    velocity: [f64; 2],
}

impl<'a> Body<'a> {
    fn new(header: &'a Header, start_mm: Option<[f64; 2]>) -> Self {
        let hz = header.step_frequency_hz().unwrap_or(0);
        Self {
            header,
            start_mm,
            hz: f64::from(hz),
            ticks: 0,
            fire_ticks: 0,
            position: Position::default(),
            extents: Extents::default(),
            power_is_set: false,
            last: 0,
            fire_before_power: Breach::default(),
            power_in_a_row: Breach::default(),
            off_bed_tick: None,
            lens_tick: None,
            last_lens_step: None,
            lens_speed: Peak::default(),
            speed: Peak::default(),
            acceleration: Peak::default(),
            window_ticks: u64::from((hz / WINDOWS_PER_S).max(1)),
            window_start: Position::default(),
            velocity: [0.0; 2],
        }
    }

    fn add(&mut self, chunk: &[u8]) {
        for &byte in chunk {
            if byte != 0 {
                self.add_tick(byte);
            }
            self.last = byte;
            self.ticks += 1;
            if self.ticks.is_multiple_of(self.window_ticks) {
                self.end_window();
            }
        }
    }

    fn add_tick(&mut self, byte: u8) {
        if byte & tick::POWER != 0 {
            self.power_is_set = true;
            if self.last & tick::POWER != 0 {
                self.power_in_a_row.add(self.ticks);
            }
            return;
        }
        let before = self.position;
        if self.position.advance(byte) {
            self.fire_ticks += 1;
            if !self.power_is_set {
                self.fire_before_power.add(self.ticks);
            }
        }
        if self.position.z != before.z {
            self.step_lens();
        }
        self.extents.x.include(self.position.x);
        self.extents.y.include(self.position.y);
    }

    fn step_lens(&mut self) {
        self.extents.z.include(self.position.z);
        let travel = u64::from(LENS_TRAVEL_HALF_STEPS / self.header.lens_half_steps());
        if self.lens_tick.is_none() && self.extents.z.steps() > travel {
            self.lens_tick = Some(self.ticks);
        }
        if let Some(last) = self.last_lens_step.replace(self.ticks) {
            self.lens_speed.add(self.ticks, self.header.z_mm(1) * self.hz / (self.ticks - last) as f64);
        }
    }

    /// Ends a window, over which speed and acceleration are measured.
    fn end_window(&mut self) {
        if self.off_bed_tick.is_none() && off_bed(self.header, &self.extents, self.start_mm).is_some() {
            self.off_bed_tick = Some(self.ticks - 1);
        }
        let start = std::mem::replace(&mut self.window_start, self.position);
        let window_s = self.window_ticks as f64 / self.hz;
        let velocity = [
            self.header.x_mm(self.position.x - start.x) / window_s,
            self.header.y_mm(self.position.y - start.y) / window_s,
        ];
        let change = [velocity[0] - self.velocity[0], velocity[1] - self.velocity[1]];
        self.velocity = velocity;
        if self.hz > 0.0 {
            let tick = self.ticks.saturating_sub(self.window_ticks);
            self.speed.add(tick, velocity[0].hypot(velocity[1]));
            self.acceleration.add(tick, change[0].hypot(change[1]) / window_s);
        }
    }

    fn finish(mut self) -> Vec<Finding> {
        // A job that ends at speed stops at once: the rest of its last window, and one at rest.
        if self.ticks > 0 {
            self.end_window();
            self.end_window();
        }
        let mut findings = Vec::new();
        let mut find = |severity, rule, tick: u64, message| {
            let time_s = (self.hz > 0.0).then(|| tick as f64 / self.hz);
            findings.push(Finding { severity, rule, tick: Some(tick), time_s, message });
        };
        if let Some(tick) = self.fire_before_power.first {
            let offset = self.header.len_bytes() as u64 + tick;
            let message = format!("the laser fires (byte {offset}) before any power byte");
            find(Severity::Error, Refusal::FireBeforePower { offset, tick }.rule(), tick, message);
        }
        if let Some(tick) = self.power_in_a_row.first {
            let message = format!(
                "{} directly after another, of which only the first counts",
                count(self.power_in_a_row.count, "power byte")
            );
            find(Severity::Remark, "power-in-a-row", tick, message);
        }
        if self.speed.value > MAX_SPEED_MM_S {
            let message = format!("the speed reaches {:.0} mm/s; captured travel peaks at 202", self.speed.value);
            find(Severity::Error, "speed", self.speed.tick, message);
        }
        if self.acceleration.value > MAX_ACCELERATION_MM_S2 {
            let message = format!(
                "the acceleration reaches {:.0} mm/s2 over 25 ms; captured jobs have up to 1000",
                self.acceleration.value
            );
            find(Severity::Error, "acceleration", self.acceleration.tick, message);
        }
        if self.lens_speed.value > MAX_LENS_MM_S {
            let message = format!("the lens reaches {:.1} mm/s; captured jobs have up to 5.7", self.lens_speed.value);
            find(Severity::Remark, "lens-speed", self.lens_speed.tick, message);
        }
        if let Some(tick) = self.lens_tick {
            let travelled_mm = self.header.z_mm(self.extents.z.steps().cast_signed());
            let message = format!("the lens moves over {travelled_mm:.2} mm, farther than its travel of 12.32 mm");
            find(Severity::Error, "lens-travel", tick, message);
        }
        let last_tick = self.ticks.saturating_sub(1);
        if let Some(message) = off_bed(self.header, &self.extents, self.start_mm) {
            find(Severity::Error, "off-bed", self.off_bed_tick.unwrap_or(last_tick), message);
        }
        if self.last & (tick::POWER | tick::FIRE) == tick::FIRE {
            let message = "the laser still fires in the last tick; the hardware turns it off".to_owned();
            find(Severity::Remark, "dark-end", last_tick, message);
        }
        findings.sort_by_key(|finding| finding.tick);
        findings
    }
}
