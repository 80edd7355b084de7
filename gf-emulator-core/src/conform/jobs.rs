//! The pulse files of the scenarios: three that every machine runs, and those that it refuses.

/// The values of a header that every machine accepts (the open-source clients' checks).
const RECORDS: [(&[u8; 4], u32); 5] = [(b"STfr", 1000), (b"MCsn", 0), (b"PDfm", 0), (b"XSmm", 8), (b"YSmm", 8)];
/// A step to the right and one back, each followed by rest: the head stays within a fiftieth of a millimetre.
const BACK_AND_FORTH: [u8; 4] = [0x01, 0, 0x03, 0];
/// Bit 4: the laser fires during the tick.
const FIRE: u8 = 0x10;
/// A serial number that no machine under test has.
const OTHER_SERIAL: u32 = 4_000_000_001;
/// The long job takes half an hour, so that it always ends by what the scenario does.
const LONG_S: usize = 1800;

/// Returns the pulse files by name.
pub(super) fn all() -> Vec<(&'static str, Vec<u8>)> {
    let short = body(100);
    let header = file(&RECORDS, &[]);
    vec![
        ("short", file(&RECORDS, &short)),
        ("five-seconds", file(&RECORDS, &body(5000))),
        ("long", file(&RECORDS, &body(LONG_S * 1000))),
        ("without-step-frequency", file(&without(*b"STfr"), &short)),
        ("step-frequency-0", file(&with(*b"STfr", 0), &short)),
        ("without-serial-lock", file(&without(*b"MCsn"), &short)),
        ("other-serial-lock", file(&with(*b"MCsn", OTHER_SERIAL), &short)),
        ("without-format", file(&without(*b"PDfm"), &short)),
        ("other-format", file(&with(*b"PDfm", 1), &short)),
        ("microsteps-16", file(&with(*b"XSmm", 16), &short)),
        ("fire-before-power", file(&RECORDS, &[&short[..], &[FIRE, 0]].concat())),
        ("not-a-pulse-file", b"<html>this is not a pulse file</html>".repeat(10)),
        ("truncated-header", header[..header.len() - 4].to_vec()),
    ]
}

fn without(code: [u8; 4]) -> Vec<(&'static [u8; 4], u32)> {
    RECORDS.into_iter().filter(|(have, _)| **have != code).collect()
}

fn with(code: [u8; 4], value: u32) -> Vec<(&'static [u8; 4], u32)> {
    RECORDS.into_iter().map(|(have, old)| (have, if *have == code { value } else { old })).collect()
}

fn body(ticks: usize) -> Vec<u8> {
    BACK_AND_FORTH.into_iter().cycle().take(ticks).collect()
}

/// Returns a pulse file: a byte, `GF1`, the length of the header, its records, and the body.
fn file(records: &[(&[u8; 4], u32)], body: &[u8]) -> Vec<u8> {
    let mut file = b"\x80GF1".to_vec();
    let length = u32::try_from(8 + 8 * records.len()).expect("a few records");
    file.extend_from_slice(&length.to_le_bytes());
    for (code, value) in records {
        file.extend_from_slice(*code);
        file.extend_from_slice(&value.to_le_bytes());
    }
    file.extend_from_slice(body);
    file
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::puls::{Limits, measure, refusal_reasons};

    #[test]
    fn the_jobs_to_run_move_nothing_far_and_never_fire() {
        for (name, file) in all().into_iter().take(3) {
            let measured = measure(&file[..], Limits::default()).unwrap();
            assert_eq!(measured.header.check(Some(12_345_678)), [], "{name}");
            let counts = &measured.counts;
            assert_eq!((counts.x_end(), counts.y_total(), counts.le, counts.lp), (0, 0, 0, 0), "{name}");
        }
    }

    #[test]
    fn each_header_to_refuse_has_one_fault() {
        for (name, file) in all().into_iter().skip(3).take(6) {
            let measured = measure(&file[..], Limits::default()).unwrap();
            assert_eq!(measured.header.check(Some(12_345_678)).len(), 1, "{name}");
        }
        for name in ["not-a-pulse-file", "truncated-header"] {
            let (_, file) = all().into_iter().find(|(have, _)| *have == name).unwrap();
            assert!(refusal_reasons(&file).is_err(), "{name}");
        }
    }
}
