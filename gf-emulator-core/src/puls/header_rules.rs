//! The rules for the header of a job.

use super::finding::{Find, Severity};
use super::header::{Code, STEP_FREQUENCIES_HZ};
use super::make::captured_print;
use super::{Header, Remark};
use crate::words::count;

/// The number of codes that a factory machine demands (read from firmware 2.6; which ones is not known).
const MANDATORY_CODES: usize = 29;
/// Codes that are never legal in a header: a machine only reports them (read from firmware 2.6).
const REPORT_ONLY: [Code; 2] = [Code(*b"CCbp"), Code(*b"CCbt")];
/// Codes of fan duties while a cut runs. Less than half the duty of a captured print is an error; the half is ours.
const FANS: [Code; 3] = [Code(*b"AArd"), Code(*b"EFrd"), Code(*b"IFrd")];
/// The highest step frequency that the engine holds exactly, and the highest that it reaches (measured on hardware).
const SOUND_HZ: u32 = 100_000;
const ENGINE_HZ: u32 = 165_000;

/// Which values of a limit are looser than that of a captured print.
#[derive(Debug, Clone, Copy)]
enum Looser {
    /// Lower temperatures, which are signed.
    Colder,
    /// Higher temperatures, which are signed.
    Hotter,
    /// Higher values.
    Higher,
    /// Higher values, and 0, which turns the limit off.
    HigherOrZero,
    /// Not known.
    Unknown,
}

/// The limits of a captured print, by what makes them looser.
///
/// Not here are limits that are off in a captured print, because none is looser: those of idle temperatures, tachometers
/// of exhaust and intake, accelerometer thresholds in idle, of Z and of aborts. Neither are codes that differ from machine
/// to machine (`fc`, `fo`), that have no effect (`PTmn`, `PTmx`), or whose meaning is not known (`xb`, `BD`, `CMts`).
/// A header of an older firmware lacks most of these codes; what a machine does then is not known.
const LIMITS: [(Looser, &[&[u8; 4]]); 5] = [
    // The lowest temperature of the coolant: of the others, it is -2^31.
    (Looser::Colder, &[b"CMin", b"CMwn", b"CMrn"]),
    // The highest temperatures: of the coolant, then of board, fuse, head, interconnect and lid.
    (
        Looser::Hotter,
        &[
            b"CMix", b"CMwx", b"CMrx", b"BTwx", b"BTrx", b"BTcx", b"FTwx", b"FTrx", b"FTcx", b"HTwx", b"HTrx", b"HTcx",
            b"ITwx", b"ITrx", b"ITcx", b"LTwx", b"LTrx", b"LTcx",
        ],
    ),
    // The highest current, the full scale of the accelerometer, of which its thresholds are a part, and the time between
    // measurements of the lid.
    (Looser::Higher, &[b"HIix", b"HIrx", b"HAsr", b"IRpd"]),
    // The longest period of the air assist's tachometer, the accelerometer's thresholds.
    (Looser::HigherOrZero, &[b"AAwx", b"AArx", b"HAxr", b"HAyr"]),
    // Infra-red sensors of the lid.
    (Looser::Unknown, &[b"IRwx", b"IRwc", b"IRxx", b"IRxc"]),
];

/// Checks a header. Some rules are only for a job that fires.
pub(super) fn check(header: &Header, serial: Option<u32>, fires: bool, find: Find<'_>) {
    for refusal in header.check(serial) {
        find(Severity::Error, refusal.rule(), refusal.to_string());
    }
    // Below are stricter rules for the step frequency.
    for remark in header.remarks().iter().filter(|remark| !matches!(remark, Remark::StepFrequency(_))) {
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
    for code in FANS {
        let captured = captured_print(code);
        match header.get(code) {
            Some(duty) if duty >= captured => {}
            Some(duty) if duty >= captured.div_ceil(2) => {
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
    for (looser, code) in LIMITS.iter().flat_map(|(looser, codes)| codes.iter().map(|&&code| (*looser, Code(code)))) {
        if let Some(why) = header.get(code).and_then(|value| why_looser(looser, value, captured_print(code))) {
            find(Severity::Remark, "limits", format!("the limit {code} is {why} captured prints"));
        }
    }
}

/// Returns the value of a limit and how it differs from captured prints, if it is looser.
fn why_looser(looser: Looser, value: u32, captured: u32) -> Option<String> {
    let (signed, signed_captured) = (value.cast_signed(), captured.cast_signed());
    match looser {
        Looser::Colder if signed < signed_captured => Some(format!("{signed}, lower than the {signed_captured} of")),
        Looser::Hotter if signed > signed_captured => Some(format!("{signed}, higher than the {signed_captured} of")),
        Looser::HigherOrZero if value == 0 => Some(format!("0, which turns it off; it is {captured} in")),
        Looser::Higher | Looser::HigherOrZero if value > captured => {
            Some(format!("{value}, higher than the {captured} of"))
        }
        Looser::Unknown if value != captured => Some(format!("{value}, not the {captured} of")),
        _ => None,
    }
}
