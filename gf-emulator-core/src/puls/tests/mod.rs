//! Tests of the whole module, and helpers for them.

mod checking;
#[cfg(feature = "drawing")]
mod drawing;
#[cfg(feature = "drawing")]
mod engraving;
mod exporting;
#[cfg(feature = "drawing")]
mod gcode;
#[cfg(feature = "drawing")]
mod gcode_round_trip;
mod limits;
mod machine_rules;
mod making;
mod measuring;
#[cfg(feature = "drawing")]
mod ordering;
mod path_moves;
mod segments;
#[cfg(feature = "drawing")]
mod svg;
#[cfg(feature = "drawing")]
mod svg_limits;

use std::io::{self, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;

/// Counts one byte at a time. Independent of the code under test: shares no constants with it.
fn reference(body: &[u8]) -> Counts {
    let mut counts = Counts::default();
    for &byte in body {
        if byte >= 128 {
            counts.lp += 1;
            continue;
        }
        match (byte % 2 == 1, byte / 2 % 2 == 1) {
            (true, false) => counts.xp += 1,
            (true, true) => counts.xn += 1,
            (false, _) => {}
        }
        match (byte / 4 % 2 == 1, byte / 8 % 2 == 1) {
            (true, true) => counts.yp += 1,
            (true, false) => counts.yn += 1,
            (false, _) => {}
        }
        if byte / 16 % 2 == 1 {
            counts.le += 1;
        }
        match (byte / 32 % 2 == 1, byte / 64 % 2 == 1) {
            (true, true) => counts.zp += 1,
            (true, false) => counts.zn += 1,
            (false, _) => {}
        }
    }
    counts
}

/// Returns the final position and the number of firing ticks.
fn walk(body: &[u8]) -> (Position, u64) {
    let mut position = Position::default();
    let fired = body.iter().filter(|&&byte| position.advance(byte)).count();
    (position, fired as u64)
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("in memory")
}

/// Creates a file with a default header.
fn file(body: &[u8]) -> Vec<u8> {
    let mut bytes = Builder::new().header().encode();
    bytes.extend_from_slice(body);
    bytes
}

fn read_body(file: impl Read) -> Result<Vec<u8>> {
    let mut job = Job::open(file)?;
    let mut body = Vec::new();
    while let Some(chunk) = job.next_chunk()? {
        assert!(!chunk.is_empty());
        body.extend_from_slice(chunk);
    }
    assert_eq!(job.body_bytes_read(), body.len() as u64);
    Ok(body)
}

/// A reader that returns a few bytes at a time, with interruptions.
struct Trickle<'a> {
    bytes: &'a [u8],
    step: usize,
    interrupt: bool,
}

impl Read for Trickle<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.interrupt = !self.interrupt;
        if self.interrupt {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = out.len().min(self.step);
        self.bytes.read(&mut out[..length])
    }
}

/// A reader that counts bytes.
struct Counted<'a>(&'a [u8], &'a std::cell::Cell<usize>);

impl Read for Counted<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let length = out.len().min(512);
        let read = self.0.read(&mut out[..length])?;
        self.1.set(self.1.get() + read);
        Ok(read)
    }
}

/// A reader that returns a length that exceeds its buffer.
struct Overreporting;

impl Read for Overreporting {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        Ok(out.len() + 1)
    }
}

/// A reader that fails in place of its end.
struct Failing<'a>(&'a [u8]);

impl Read for Failing<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() { Err(io::Error::other("unplugged")) } else { self.0.read(out) }
    }
}

#[test]
fn every_byte_counts_and_moves_as_documented() {
    for byte in 0..=255 {
        let mut counts = Counts::default();
        counts.add(&[byte]);
        assert_eq!(counts, reference(&[byte]), "{byte:#010b}");
        assert_eq!(walk(&[byte]), (counts.end(), counts.le), "{byte:#010b}");
    }
    assert_eq!(walk(&[tick::Z_STEP]).0.z, -1, "a lens step without its direction bit goes down");
    assert_eq!(walk(&[tick::Y_STEP]).0.y, -1, "a Y step without its direction bit goes back");
    assert_eq!(walk(&[tick::X_STEP]).0.x, 1, "an X step without its direction bit goes right");
}

#[test]
fn counters_do_not_overflow_in_long_runs() {
    for byte in [0, tick::X_STEP | tick::Y_STEP | tick::Z_STEP | tick::FIRE, 0xff] {
        let body = vec![byte; 300_001];
        let mut counts = Counts::default();
        counts.add(&body);
        assert_eq!(counts, reference(&body));
    }
}

#[test]
fn reads_gzip_as_plain() {
    let body: Vec<u8> = (0..200_000u32).map(|n| (((n % 5003) * (n % 2003)) >> 7).to_le_bytes()[0]).collect();
    let plain = file(&body);
    let (one, two) = plain.split_at(300);
    let members = [gzip(one), gzip(b""), gzip(two)].concat();
    for bytes in [&plain, &gzip(&plain), &members] {
        assert_eq!(read_body(&bytes[..]).expect("a whole file"), body);
        assert_eq!(Job::open(&bytes[..]).expect("opens").is_gzip(), bytes != &plain);
    }
    for bytes in [&file(&body[..5000]), &gzip(&file(&body[..5000]))] {
        for step in [1, 7, 1000] {
            let trickle = Trickle { bytes, step, interrupt: false };
            assert_eq!(read_body(trickle).expect("a whole file"), body[..5000]);
        }
    }
}

#[test]
fn accepts_all_optional_gzip_header_fields() {
    let plain = file(&[1, 2, 3]);
    let deflated = gzip(&plain)[10..].to_vec();
    let mut header = vec![0x1f, 0x8b, 8, 0b0001_1111, 1, 2, 3, 4, 0, 255];
    header.extend_from_slice(&[3, 0, b'a', b'b', b'c']);
    header.extend_from_slice(b"name\0comment\0");
    let mut crc = flate2::Crc::new();
    crc.update(&header);
    let sum = crc.sum().to_le_bytes();
    header.extend_from_slice(&sum[..2]);
    let whole = [header.as_slice(), &deflated].concat();
    assert_eq!(read_body(&whole[..]).expect("a standard gzip file"), [1, 2, 3]);

    let mut wrong_sum = whole.clone();
    wrong_sum[header.len() - 1] ^= 1;
    assert!(matches!(read_body(&wrong_sum[..]), Err(Error::GzipHeader { offset: 0, .. })));
    for end in 2..header.len() {
        let error = read_body(&whole[..end]).expect_err("cut in its header");
        assert!(matches!(error, Error::GzipCut { offset, .. } if offset == end as u64), "{end}: {error}");
    }
}

#[test]
fn reports_gzip_defects_with_their_offset() {
    let good = gzip(&file(&[5; 1000]));
    let end = good.len();
    let changed = |at: usize, to: u8| {
        let mut bytes = good.clone();
        bytes[at] = to;
        bytes
    };
    let trailer =
        |found: &str, at: usize, what: &str| format!("the gzip {what} at byte {at} of the compressed file is {found}");
    let table = [
        (changed(2, 7), "the gzip header at byte 0 of the compressed file is invalid: an unknown".to_owned()),
        (changed(3, 0x80), "the gzip header at byte 0 of the compressed file is invalid: reserved".to_owned()),
        (changed(10, 0xff), "the gzip data are damaged near byte 10".to_owned()),
        (changed(end - 8, !good[end - 8]), trailer("0x", end - 8, "checksum")),
        (changed(end - 4, !good[end - 4]), trailer("", end - 4, "length")),
        (good[..5].to_vec(), "the compressed file ends at byte 5, expected the rest of the gzip header".to_owned()),
        (good[..end - 9].to_vec(), format!("the compressed file ends at byte {}, expected more gzip data", end - 9)),
        (good[..end - 6].to_vec(), format!("the compressed file ends at byte {}, expected the checksum", end - 6)),
        (good[..end - 1].to_vec(), format!("the compressed file ends at byte {}, expected the length", end - 1)),
        ([&good[..], b"\0"].concat(), format!("unexpected data after the gzip data, at byte {end}")),
        ([&good[..], b"\x1f"].concat(), format!("unexpected data after the gzip data, at byte {end}")),
        ([&good[..], b"trailing"].concat(), format!("unexpected data after the gzip data, at byte {end}")),
        ([&good[..], &good[..4]].concat(), format!("the compressed file ends at byte {}", end + 4)),
        (
            gzip(b"\x80GF1\x10\0\0\0"),
            "the file ends at byte 8, inside its header, expected a header of 16 bytes".to_owned(),
        ),
        (gzip(b"<html>"), "not a pulse file".to_owned()),
        (gzip(&gzip(&file(&[]))), "not a pulse file".to_owned()),
    ];
    for (bytes, message) in table {
        let error = read_body(&bytes[..]).expect_err(&message).to_string();
        assert!(error.starts_with(&message), "\n{error}\n{message}");
    }
}

#[test]
fn keeps_failing_after_an_error() {
    let body = vec![5; 100_000];
    let good = gzip(&file(&body));
    let mut job = Job::open(&good[..good.len() - 1]).expect("the header is there");
    let failed = (0..10).filter(|_| job.next_chunk().is_err()).count();
    assert!(failed >= 5, "the body has at most five chunks");
    assert!(job.next_chunk().is_err());

    for bytes in [file(&body), good] {
        let mut job = Job::with_limits(&bytes[..], Limits { body_bytes: Some(99_999) }).expect("opens");
        let error = loop {
            match job.next_chunk() {
                Ok(chunk) => assert!(chunk.is_some(), "the limit was not noticed"),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, Error::TooLarge { limit_bytes: 99_999, .. }), "{error}");
        assert!(matches!(job.next_chunk(), Err(Error::TooLarge { .. })));
        let exact = measure(&bytes[..], Limits { body_bytes: Some(100_000) }).expect("as long as is allowed");
        assert_eq!(exact.ticks, 100_000);
    }
}

#[test]
fn stops_a_decompression_bomb_at_the_limit() {
    let mut encoder = GzEncoder::new(file(&[]), Compression::default());
    encoder.get_mut().clear();
    encoder.write_all(&file(&[])).expect("in memory");
    let mebibyte = vec![0; 1 << 20];
    for _ in 0..16 {
        encoder.write_all(&mebibyte).expect("in memory");
    }
    let bomb = encoder.finish().expect("in memory");
    assert!(bomb.len() < 25_000);
    let read = std::cell::Cell::new(0);
    let error = measure(Counted(&bomb, &read), Limits { body_bytes: Some(1 << 18) }).expect_err("too large");
    assert!(matches!(error, Error::TooLarge { limit_bytes: 0x4_0000, .. }), "{error}");
    assert!(read.get() < bomb.len() / 16, "{} of {} bytes read", read.get(), bomb.len());
}

#[test]
fn reports_reader_errors_with_their_offset() {
    let plain = file(&[0; 10]);
    for bytes in [&plain, &gzip(&plain)[..50].to_vec(), &plain[..20].to_vec()] {
        let error = read_body(Failing(bytes)).expect_err("unplugged");
        let expected = format!("reading failed at byte {}: unplugged", bytes.len());
        assert_eq!(error.to_string(), expected);
    }

    assert!(matches!(Job::open(Overreporting), Err(Error::Io { offset: 0, .. })));
}

#[test]
fn info_has_the_fields_of_the_python_client() {
    let mut job = Builder::new();
    job.set(Code(*b"a\"\xff "), 7).expect("room");
    job.cut_to(3.0, -1.5, 20.0, 1.0).expect("in range");
    let measured = measure(&job.to_bytes()[..], Limits::default()).expect("what was made reads");
    let info = serde_json::to_value(&measured).expect("serialises");

    let keys: Vec<_> = info.as_object().expect("an object").keys().collect();
    assert_eq!(
        keys,
        [
            "header",
            "header_len",
            "size",
            "run_time",
            "stats",
            "extents",
            "fire_box",
            "time",
            "distance",
            "speed",
            "power",
            "density",
            "dots"
        ]
    );
    let codes: Vec<_> = info["header"].as_object().expect("an object").keys().cloned().collect();
    let records: Vec<_> = measured.header.records().iter().map(|record| record.code.to_string()).collect();
    assert_eq!(codes, records);
    assert_eq!(info["header"]["STfr"], 10_000);
    assert_eq!(info["header"]["a\\\"\\xff "], 7);
    assert_eq!(info["header_len"], measured.header.len_bytes());
    // The last tick is dark.
    let ticks = job.body().len() + 1;
    assert_eq!(info["size"], ticks);
    assert_eq!(info["run_time"], ticks as f64 / 10_000.0);

    let stats = info["stats"].as_object().expect("an object");
    let names: Vec<_> = stats.keys().collect();
    assert_eq!(
        names,
        [
            "XP", "XN", "XTOT", "XEND", "YP", "YN", "YTOT", "YEND", "ZP", "ZN", "ZTOT", "ZEND", "LE", "LP", "XMM",
            "YMM", "ZMM", "XIN", "YIN", "ZIN"
        ]
    );
    for (name, value) in [
        ("XP", 160.0),
        ("XN", 0.0),
        ("XTOT", 160.0),
        ("XEND", 160.0),
        ("YP", 0.0),
        ("YN", 80.0),
        ("YTOT", 80.0),
        ("YEND", -80.0),
        ("LE", (job.body().len() - 1) as f64),
        ("LP", 1.0),
        ("XMM", 3.0),
        ("YMM", -1.5),
        ("ZMM", 0.0),
        ("XIN", 3.0 / 25.4),
        ("YIN", -1.5 / 25.4),
    ] {
        let found = stats[name].as_f64().expect("a number");
        assert!((found - value).abs() < 1e-9, "{name}: {found}, not {value}");
    }
}

#[test]
fn info_has_repeated_codes_once_and_no_run_time_without_frequency() {
    let mut bytes = b"\x80GF1\x20\0\0\0".to_vec();
    bytes.extend_from_slice(b"AAid\x01\0\0\0BBid\x02\0\0\0AAid\x03\0\0\0");
    bytes.extend_from_slice(&[1, 1]);
    let measured = measure(&bytes[..], Limits::default()).expect("reads");
    let text = serde_json::to_string(&measured).expect("serialises");
    let expected = r#"{"header":{"AAid":3,"BBid":2},"header_len":32,"size":2,"run_time":null,"stats":{"XP":2,"#;
    assert!(text.starts_with(expected), "{text}");
    assert_eq!(measured.header.records().len(), 3);
}

#[test]
#[ignore = "needs real pulse files: GF_PULS_DIR"]
fn reads_real_files() {
    let folder = std::env::var_os("GF_PULS_DIR").expect("GF_PULS_DIR is set");
    for name in ["hunt.puls", "motion.puls"] {
        let bytes = std::fs::read(Path::new(&folder).join(name)).expect(name);
        for file in [&bytes, &gzip(&bytes)] {
            let measured = measure(&file[..], Limits::default()).expect(name);
            let header = &measured.header;
            assert_eq!(header.check(Some(1)), [], "{name}");
            assert_eq!(header.remarks(), [], "{name}");
            assert_eq!(header.step_frequency_hz(), Some(10_000), "{name}");
            assert_eq!(header.encode(), &bytes[..header.len_bytes()], "{name}");
            assert_eq!(measured.ticks, (bytes.len() - header.len_bytes()) as u64, "{name}");
            let body = &bytes[header.len_bytes()..];
            assert_eq!(measured.counts, reference(body), "{name}");
            assert_eq!(walk(body), (measured.counts.end(), measured.counts.le), "{name}");
        }
    }
}

proptest! {
    #[test]
    fn counts_match_the_reference_for_any_pieces(
        body in prop::collection::vec(any::<u8>(), 0..10_000),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let expected = reference(&body);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
        cuts.sort_unstable();
        let mut counts = Counts::default();
        let mut from = 0;
        for to in cuts.into_iter().chain([body.len()]) {
            counts.add(&body[from..to]);
            from = to;
        }
        prop_assert_eq!(counts, expected);
        prop_assert_eq!(walk(&body), (expected.end(), expected.le));
        let mut whole = Counts::default();
        whole.add(&body);
        prop_assert_eq!(whole, expected);
        let measured = measure(&file(&body)[..], Limits::default()).expect("a whole file");
        prop_assert_eq!((measured.counts, measured.ticks), (expected, body.len() as u64));
    }

    #[test]
    fn reader_never_panics(bytes: Vec<u8>, gzip_framed: bool) {
        let _ = read_body(&bytes[..]);
        let _ = read_body(&gzip(&bytes)[..]);
        let mut framed = b"\x1f\x8b\x08\0\0\0\0\0\0\0".to_vec();
        framed.extend_from_slice(&bytes);
        let _ = read_body(&framed[..]);
        if gzip_framed {
            framed.extend_from_slice(&gzip(&file(&bytes)));
            let _ = read_body(&framed[..]);
        }
    }

    #[test]
    fn damaged_gzip_is_rejected_or_read_unchanged(
        body in prop::collection::vec(any::<u8>(), 0..2_000),
        at: prop::sample::Index,
        change in 1u8..,
        end: prop::sample::Index,
    ) {
        let good = gzip(&file(&body));
        let cut = &good[..end.index(good.len())];
        prop_assert!(read_body(cut).is_err());
        let mut damaged = good.clone();
        let at = at.index(good.len());
        damaged[at] ^= change;
        // Some bits have no effect, such as the time in the gzip header or the padding of the last byte.
        if let Ok(read) = read_body(&damaged[..]) {
            prop_assert_eq!(read, body);
        }
    }

    #[test]
    fn damaged_plain_files_are_read_consistently_or_rejected(
        body in prop::collection::vec(any::<u8>(), 0..500),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        end: prop::sample::Index,
    ) {
        let mut bytes = file(&body);
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        bytes.truncate(end.index(bytes.len() + 1));
        if let Ok(measured) = measure(&bytes[..], Limits::default()) {
            let length = measured.header.len_bytes();
            prop_assert_eq!(measured.ticks, (bytes.len() - length) as u64);
            prop_assert_eq!(measured.header.encode(), &bytes[..length]);
            prop_assert_eq!(measured.counts, reference(&bytes[length..]));
        }
    }
}
