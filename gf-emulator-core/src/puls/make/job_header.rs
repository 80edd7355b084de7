//! The headers of made jobs: that of a captured print, whole.
//!
//! A factory machine refuses a header that lacks one of 29 codes (read from firmware 2.6). Which ones is not known, so a made
//! job has all codes of a header that the service sent.

use super::super::header::{Code, Header};

/// The header of a print, captured from the service with firmware 2.6: its 134 codes in alphabetical order (their order
/// in the file is not known), without a serial number lock. Negative values are in two's complement.
const PRINT: [(&[u8; 4], u32); 134] = [
    // Air assist: duty 0 to 1023 (`d`); least and greatest period of its tachometer in microseconds (`n`, `x`), where 0
    // is no limit. `i` is idle, `w` warm-up, `r` run, `s` is not known.
    (b"AAfc", 3_632_880_242),
    (b"AAid", 204),
    (b"AAin", 0),
    (b"AAix", 0),
    (b"AArd", 1023),
    (b"AArn", 0),
    (b"AArx", 64_500),
    (b"AAsn", 0),
    (b"AAsx", 0),
    (b"AAwd", 1023),
    (b"AAwn", 0),
    (b"AAwx", 64_500),
    // Beam detector: not known.
    (b"BDbs", 0),
    (b"BDpe", 0),
    (b"BDps", 0),
    // Temperature of the board: window and critical ceiling. The unit is not known.
    (b"BTcx", 12_800),
    (b"BTfc", 4_294_711_296),
    (b"BTfo", 4_294_942_296),
    (b"BTin", 2_147_483_648),
    (b"BTix", 2_147_483_647),
    (b"BTrn", 2_147_483_648),
    (b"BTrx", 9440),
    (b"BTwn", 2_147_483_648),
    (b"BTwx", 8928),
    (b"BTxb", 15),
    // Warm-up and rest in milliseconds, and a flag for the way home, as far as known.
    (b"CCrp", 10_000),
    (b"CCup", 1),
    (b"CCwp", 5000),
    (b"CFrh", 1),
    // Coolant window in thousandths of a degree Celsius.
    (b"CMin", 10_000),
    (b"CMix", 50_000),
    (b"CMrn", 5000),
    (b"CMrx", 33_000),
    (b"CMts", 0),
    (b"CMwn", 7000),
    (b"CMwx", 31_000),
    // Exhaust fan: duty 0 to 65535; window of its tachometer in nanoseconds.
    (b"EFid", 0),
    (b"EFin", 0),
    (b"EFix", 0),
    (b"EFrd", 65_535),
    (b"EFrn", 0),
    (b"EFrx", 0),
    (b"EFwd", 65_535),
    (b"EFwn", 0),
    (b"EFwx", 0),
    // Fused temperature.
    (b"FTcx", 30_000),
    (b"FTin", 2_147_483_648),
    (b"FTix", 2_147_483_647),
    (b"FTrn", 2_147_483_648),
    (b"FTrx", 14_575),
    (b"FTwn", 2_147_483_648),
    (b"FTwx", 14_075),
    (b"FTxb", 15),
    // Accelerometer of the head: full scale in g, thresholds in 1/256 of it.
    (b"HAai", 0),
    (b"HAar", 0),
    (b"HAsi", 2),
    (b"HAsr", 4),
    (b"HAxi", 0),
    (b"HAxr", 132),
    (b"HAyi", 0),
    (b"HAyr", 112),
    (b"HAzi", 0),
    (b"HAzr", 0),
    // Caps of the high-voltage current.
    (b"HIix", 12),
    (b"HIrx", 1023),
    // Temperature of the head.
    (b"HTcx", 12_800),
    (b"HTfc", 51_200),
    (b"HTfo", 5000),
    (b"HTin", 2_147_483_648),
    (b"HTix", 2_147_483_647),
    (b"HTrn", 2_147_483_648),
    (b"HTrx", 9440),
    (b"HTwn", 2_147_483_648),
    (b"HTwx", 8928),
    (b"HTxb", 15),
    // Intake fans, as the exhaust fan.
    (b"IFid", 0),
    (b"IFin", 0),
    (b"IFix", 0),
    (b"IFrd", 43_278),
    (b"IFrn", 0),
    (b"IFrx", 0),
    (b"IFwd", 43_278),
    (b"IFwn", 0),
    (b"IFwx", 0),
    // Infra-red sensors of the lid.
    (b"IRpd", 1000),
    (b"IRwb", 3),
    (b"IRwc", 688),
    (b"IRwx", 275),
    (b"IRxb", 3),
    (b"IRxc", 1022),
    (b"IRxx", 374),
    (b"IRyb", 3),
    (b"IRyc", 0),
    (b"IRyx", 0),
    (b"IRzb", 3),
    (b"IRzc", 0),
    (b"IRzx", 0),
    // Temperature of the interconnect.
    (b"ITcx", 19_200),
    (b"ITfc", 153_600),
    (b"ITfo", 0),
    (b"ITin", 2_147_483_648),
    (b"ITix", 2_147_483_647),
    (b"ITrn", 2_147_483_648),
    (b"ITrx", 15_840),
    (b"ITwn", 2_147_483_648),
    (b"ITwx", 15_328),
    (b"ITxb", 15),
    // Temperature of the lid.
    (b"LTcx", 12_800),
    (b"LTfc", 51_200),
    (b"LTfo", 5000),
    (b"LTin", 2_147_483_648),
    (b"LTix", 2_147_483_647),
    (b"LTrn", 2_147_483_648),
    (b"LTrx", 9440),
    (b"LTwn", 2_147_483_648),
    (b"LTwx", 8928),
    (b"LTxb", 15),
    // Serial number lock.
    (b"MCsn", 0),
    // Controller.
    (b"PCid", 19_795),
    // A count, and the data format.
    (b"PDct", 5),
    (b"PDfm", 0),
    // Supply temperature: the whole range.
    (b"PTmn", 0),
    (b"PTmx", 1023),
    // Ticks per second.
    (b"STfr", 10_000),
    // When to upload thermal reports.
    (b"TRuc", 0),
    // Motors of X and Y: hold and run current, decay, microsteps.
    (b"XSdm", 1),
    (b"XShc", 33),
    (b"XSmm", 8),
    (b"XSrc", 135),
    (b"YSdm", 1),
    (b"YShc", 5),
    (b"YSmm", 8),
    (b"YSrc", 22),
    // Mode of the lens motor: full steps.
    (b"ZSmd", 0),
];

/// The values of a job that does not fire: those of motions and hunts captured with firmware 2.6, with the fans at rest and
/// no thresholds of the accelerometer. The duties in warm-up are those of older motions.
const WITHOUT_LASER: [(&[u8; 4], u32); 10] = [
    (b"AAwd", 204),
    (b"AArd", 204),
    (b"AArx", 0),
    (b"EFwd", 0),
    (b"EFrd", 0),
    (b"IFwd", 0),
    (b"IFrd", 0),
    (b"HAxr", 0),
    (b"HAyr", 0),
    (b"PDct", 1),
];
/// The value that a captured motion has beside those: the accelerometer's threshold of an abort.
const MOTION: [(&[u8; 4], u32); 1] = [(b"HAar", 133)];

/// What a job does, which decides the values of its header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The head does not move, and the laser does not fire.
    Hunt,
    /// The head moves, and the laser does not fire.
    Motion,
    /// The laser fires.
    Print,
}

/// Returns the value of a code in a captured print. The code must be one of its 134.
pub(in crate::puls) fn captured_print(code: Code) -> u32 {
    PRINT.iter().find(|(captured, _)| **captured == code.0).map_or(0, |&(_, value)| value)
}

/// Returns the header of a job, with the values that were set for it.
pub(super) fn header(kind: Kind, set: &[(Code, u32)]) -> Header {
    let (without_laser, motion) = match kind {
        Kind::Hunt => (&WITHOUT_LASER[..], &[][..]),
        Kind::Motion => (&WITHOUT_LASER[..], &MOTION[..]),
        Kind::Print => (&[][..], &[][..]),
    };
    let captured = PRINT.iter().chain(without_laser).chain(motion).map(|&(code, value)| (Code(*code), value));
    let mut header = Header::default();
    for (code, value) in captured.chain(set.iter().copied()) {
        header.set(code, value).expect("`Builder::set` has checked the length");
    }
    header
}
