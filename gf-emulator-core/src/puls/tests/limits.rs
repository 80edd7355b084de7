//! Limits: decompression bombs, endless headers, and the sizes of exports and drawings.

use std::cell::Cell;
use std::io::{self, Read};

use proptest::prelude::*;

use super::super::*;
use super::{file, gzip, read_body};

const LIMIT: Limits = Limits { body_bytes: Some(100_000) };

/// A reader that repeats some bytes forever.
struct Endless<'a> {
    start: &'a [u8],
    again: &'a [u8],
    read: &'a Cell<u64>,
}

impl Read for Endless<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = if self.start.is_empty() {
            let whole = out.len() / self.again.len() * self.again.len();
            assert!(whole > 0, "the buffer is shorter than the repeated bytes");
            out[..whole].chunks_mut(self.again.len()).for_each(|copy| copy.copy_from_slice(self.again));
            whole
        } else {
            self.start.read(out)?
        };
        self.read.set(self.read.get() + read as u64);
        assert!(self.read.get() < 64 << 20, "nothing stops the reader");
        Ok(read)
    }
}

/// Returns the error of measuring an endless file, and the number of bytes read.
fn endless(start: &[u8], again: &[u8]) -> (Error, u64) {
    let read = Cell::new(0);
    let error = measure(Endless { start, again, read: &read }, LIMIT).expect_err("it does not end");
    (error, read.get())
}

#[test]
fn stops_reading_endless_files() {
    let whole = gzip(&file(&[5; 100]));
    let zeros = gzip(&[0; 4096]);
    let stored = b"\0\0\0\xff\xff";
    let deflate_header = b"\x1f\x8b\x08\0\0\0\0\0\0\0";
    let name = b"\x1f\x8b\x08\x08\0\0\0\0\0\0";
    let comment = b"\x1f\x8b\x08\x10\0\0\0\0\0\0";
    let extra = b"\x1f\x8b\x08\x0c\0\0\0\0\0\0\xff\xff";
    for (what, (error, read), expected, most) in [
        ("a plain body", endless(&file(&[]), b"\0"), "the body, from byte 1080 on, is longer", 300_000),
        ("members of data", endless(&whole, &zeros), "the body, from byte 1080 on, is longer", 300_000),
        ("members without data", endless(&whole, &gzip(b"")), "the compressed file is too long", 2 << 20),
        ("blocks without data", endless(deflate_header, stored), "the compressed file is too long", 2 << 20),
        ("a name", endless(name, b"a"), "the gzip header at byte 0 of the compressed file is invalid: it is", 1 << 18),
        (
            "a comment",
            endless(comment, b"a"),
            "the gzip header at byte 0 of the compressed file is invalid: it",
            1 << 18,
        ),
        ("a name after an extra field", endless(extra, b"a"), "the gzip header at byte 0", 1 << 18),
        ("a name in a later member", endless(&[&whole[..], name].concat(), b"a"), "the gzip header at byte", 1 << 18),
        ("headers without data", endless(deflate_header, deflate_header), "the gzip data are damaged", 1 << 18),
    ] {
        let error = error.to_string();
        assert!(error.starts_with(expected), "{what}: {error}");
        assert!(read <= most, "{what}: {read} bytes read");
    }
}

#[test]
fn limits_apply_by_default_and_allow_incompressible_data() {
    assert_eq!(Limits::default(), Limits { body_bytes: Some(MAX_TICKS as u64) });
    // Random enough to grow when compressed.
    let mut state = 1_u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(100_000)
    .collect();
    let packed = gzip(&file(&noise));
    assert!(packed.len() > noise.len());
    assert_eq!(measure(&packed[..], LIMIT).unwrap().ticks, 100_000);
    let error = measure(&gzip(&file(&vec![0; 100_001]))[..], LIMIT).unwrap_err();
    assert!(error.is_too_large() && error.is_refusal(), "{error}");
    assert_eq!(measure(&packed[..], Limits { body_bytes: None }).unwrap().ticks, 100_000);
}

#[test]
fn reports_a_gzip_header_without_data() {
    let header = b"\x1f\x8b\x08\0\0\0\0\0\0\0";
    let error = read_body(&header[..]).unwrap_err().to_string();
    assert_eq!(error, "the compressed file ends at byte 10, expected more gzip data");
    let error = read_body(&gzip(b"")[..]).unwrap_err().to_string();
    assert!(error.contains("inside its header"), "{error}");
}

proptest! {
    #[test]
    fn never_returns_more_than_the_limit(
        parts in prop::collection::vec((any::<u8>(), 0..3_000_usize), 0..6),
        tail: Vec<u8>,
        most in 0..4_000_u64,
        form in 0..4,
    ) {
        let body: Vec<u8> = parts.iter().flat_map(|&(byte, times)| vec![byte; times]).collect();
        let bytes = match form {
            0 => file(&body),
            1 => gzip(&file(&body)),
            2 => [gzip(&file(&[])), gzip(&body), tail].concat(),
            _ => [&gzip(&file(&body))[..], &tail].concat(),
        };
        // Not a test of headers.
        let Ok(mut job) = Job::with_limits(&bytes[..], Limits { body_bytes: Some(most) }) else { return Ok(()) };
        let mut read = 0;
        let ended = loop {
            match job.next_chunk() {
                Ok(Some(chunk)) => read += chunk.len() as u64,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error),
            }
        };
        prop_assert!(read <= most);
        prop_assert!(ended.is_err() || read == body.len() as u64);
        if body.len() as u64 > most {
            prop_assert!(ended.is_err());
        }
    }
}

/// A writer that counts bytes.
struct Written(u64);

impl io::Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Tokens of drawings and other bytes, in any order.
#[cfg(feature = "drawing")]
fn drawing_like() -> impl Strategy<Value = Vec<u8>> {
    let words = "G0 G1 G2 G3 G4 G20 G91 M3 M4 M5 M30 S1000 F600 F6000 X Y Z I J R P0.5 N M \
                 m L h V C s Q t A a z 0 1 -1 12.5 -90 120 1e6 -1e6 1e-300 999999999 . , ( ) ; % <svg>";
    let mut tokens: Vec<&[u8]> = words.split(' ').map(str::as_bytes).collect();
    tokens.extend([&b" "[..], b" ", b"\n", b"\xff", b"\0"]);
    prop::collection::vec(prop::sample::select(tokens), 0..60).prop_map(|tokens| tokens.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn exports_and_plots_of_any_bytes_are_bounded(bytes in prop::collection::vec(any::<u8>(), 0..2_000), form in 0..4) {
        let bytes = match form {
            0 => bytes,
            1 => gzip(&bytes),
            2 => file(&bytes),
            _ => gzip(&file(&bytes)),
        };
        let opened = || Job::with_limits(&bytes[..], LIMIT);
        for format in [Format::Csv, Format::Json, Format::Gcode] {
            let Ok(job) = opened() else { continue };
            let mut written = Written(0);
            let _ = export(job, format, "any", &mut written);
            // A segment has at least one tick, and its row is shorter than this.
            prop_assert!(written.0 < 400 * bytes.len() as u64 + 200_000, "{} of {}", written.0, bytes.len());
        }
        #[cfg(feature = "plot")]
        if let Ok(plot) = opened().and_then(Plot::from_job) {
            prop_assert!((plot.to_svg(&PlotOptions::new("any")).len() as u64) < 200 * bytes.len() as u64 + 1_000_000);
        }
    }
}

#[cfg(feature = "drawing")]
proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn jobs_from_any_drawing_are_bounded(drawing in drawing_like()) {
        let mut job = Builder::new();
        let results = [
            gcode::draw(&mut job, &drawing, &gcode::Settings::default()).map(drop),
            svgpath::draw(&mut job, &drawing, &svgpath::Settings::new(50.0, Laser::Constant(0.5))),
        ];
        // Per byte, less than a full circle with the largest radius at 10 mm/s.
        prop_assert!(job.body().len() <= 10_000_000 * drawing.len() + 1, "{} ticks", job.body().len());
        if results.iter().all(Result::is_err) {
            prop_assert!(job.body().is_empty());
            prop_assert_eq!(job.position(), Position::default());
        }
    }
}
