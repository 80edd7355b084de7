//! Gzip: a file in one or two members is the same as without compression; damaged compressed data are an error.

#![no_main]

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use gf_emulator_core::puls::{Limits, measure, read_drawing};
use libfuzzer_sys::fuzz_target;

/// A header without optional fields.
const HEADER: &[u8] = b"\x1f\x8b\x08\0\0\0\0\0\0\xff";

fn pack(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(data).expect("a Vec takes all bytes");
    encoder.finish().expect("a Vec takes all bytes")
}

fn measured(file: &[u8]) -> String {
    format!("{:?}", measure(file, Limits::body_bytes(1 << 16)))
}

fuzz_target!(|data: &[u8]| {
    let is_gzip = data.starts_with(&HEADER[..2]);
    let (start, end) = data.split_at(data.len() / 2);
    for packed in [pack(data), [pack(start), pack(end)].concat()] {
        assert_eq!(read_drawing(&packed[..]).expect("it is not damaged"), data);
        if !is_gzip {
            assert_eq!(measured(&packed), measured(data));
        }
        let cut = &packed[..packed.len() - 1];
        assert!(read_drawing(cut).is_err(), "the end is missing");
        assert!(measure(cut, Limits::NONE).is_err(), "the end is missing");
    }
    // The input as the compressed data, and as a whole file.
    for file in [&[HEADER, data].concat()[..], data] {
        let _ = measured(file);
        let _ = read_drawing(file);
    }
});
