//! Pulse files: counting, extents, paths, everything, and inflating, on a synthetic print of 100 MB.
//!
//! `cargo bench -p gf-emulator-tests --bench steps`.

mod support;

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::process::{Command, ExitCode};
use std::time::Instant;

use flate2::write::GzEncoder;
use flate2::{Compression, Decompress, FlushDecompress, Status};
use gf_emulator_core::puls::{Builder, Counts, Extents, Job, Limits, Meter, Tracer, measure};
use support::process::status;
use support::{Report, print};

const BYTES: usize = 100_000_000;
/// Enough for figures that are only told.
const SHORT_BYTES: usize = 4_000_000;
/// What is handed over at a time when a file is read.
const CHUNK: usize = 64 * 1024;
/// Rounds for the ratios: everything that is compared takes its turn in each.
const ROUNDS: usize = 7;
/// In the environment of a process that only measures the file there, and says how much memory that took.
const MEASURE: &str = "GF_BENCH_MEASURE";

fn main() -> ExitCode {
    if let Some(path) = std::env::var_os(MEASURE) {
        black_box(measure(File::open(path).expect("it is there"), Limits::default()).expect("it is whole"));
        println!("{}", status("self", "VmHWM").unwrap_or_default());
        return ExitCode::SUCCESS;
    }
    if !support::is_bench_run() {
        return ExitCode::SUCCESS;
    }
    let print = print::body(BYTES);
    let inputs =
        [("print", print.clone()), ("random", random()), ("idle", vec![0; BYTES]), ("fire", vec![0x1d; BYTES])];
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&print::file(&print)).expect("memory takes it");
    let gzip = gzip.finish().expect("memory takes it");

    judge(&inputs, &gzip).finish()
}

type Task = fn(&[u8]);

/// Everything that goes over a body, by name.
fn tasks() -> [(&'static str, Task); 5] {
    [
        ("sum", |body| {
            black_box(body.iter().map(|&byte| u64::from(byte)).sum::<u64>());
        }),
        ("count", |body| {
            let mut counts = Counts::default();
            counts.add(body);
            black_box(counts);
        }),
        ("count and extents", |body| {
            let (mut counts, mut extents) = (Counts::default(), Extents::default());
            for chunk in body.chunks(CHUNK) {
                counts += extents.add(chunk);
            }
            black_box((counts, extents));
        }),
        ("paths", |body| {
            let mut segments = 0_u64;
            let mut tracer = Tracer::new(Builder::new().header());
            tracer.add(body, &mut |_| segments += 1);
            tracer.finish(&mut |_| segments += 1);
            black_box(segments);
        }),
        ("everything", |body| {
            let mut meter = Meter::new(Builder::new().header());
            for chunk in body.chunks(CHUNK) {
                meter.add(chunk, &mut |_| ());
            }
            black_box(meter.finish(&mut |_| ()));
        }),
    ]
}

/// Any byte, any order.
fn random() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(BYTES);
    while bytes.len() < BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

/// Inflates and does nothing else: no checksum, no counting.
fn inflate(gzip: &[u8]) {
    const HEADER: usize = 10;
    let (mut inflate, mut buffer) = (Decompress::new(false), vec![0; CHUNK]);
    loop {
        let read = HEADER + usize::try_from(inflate.total_in()).expect("it fits memory");
        let status = inflate.decompress(&gzip[read..], &mut buffer, FlushDecompress::None).expect("it is whole");
        black_box(&buffer);
        if matches!(status, Status::StreamEnd) {
            return;
        }
    }
}

/// Everything that goes over a compressed file, by name.
fn file_tasks() -> [(&'static str, Task); 3] {
    [
        ("inflate", inflate),
        ("inflate and count", |gzip| {
            let mut job = Job::open(gzip).expect("it is whole");
            let (mut counts, mut extents) = (Counts::default(), Extents::default());
            while let Some(chunk) = job.next_chunk().expect("it is whole") {
                counts += extents.add(chunk);
            }
            black_box((counts, extents));
        }),
        ("inflate and measure", |gzip| {
            black_box(measure(gzip, Limits::default()).expect("it is whole"));
        }),
    ]
}

/// The best of several rounds, in which all take turns.
fn best<const N: usize>(tasks: [&dyn Fn(); N]) -> [f64; N] {
    let mut best = [f64::INFINITY; N];
    for _ in 0..ROUNDS {
        for (best, task) in best.iter_mut().zip(tasks) {
            let since = Instant::now();
            task();
            *best = best.min(since.elapsed().as_secs_f64());
        }
    }
    best
}

fn judge(inputs: &[(&str, Vec<u8>)], gzip: &[u8]) -> Report {
    let mut report = Report::default();
    let task = |wanted: &str| tasks().into_iter().find(|(name, _)| *name == wanted).expect("it is one of them").1;
    let rate = |seconds: f64| BYTES as f64 / seconds / 1e9;
    let body = &inputs[0].1;

    let [sum, count] = best([&|| task("sum")(body), &|| task("count")(body)]);
    let figure = format!("{:.1} GB/s", rate(count));
    report.judge("counting", &figure, "at least 1.5 GB/s", rate(count) >= 1.5);
    report.tell("a plain sum", &format!("{:.1} GB/s", rate(sum)));
    for (name, body) in inputs {
        let [both] = best([&|| task("count and extents")(body)]);
        report.tell(&format!("counts and extents, {name}"), &format!("{:.1} GB/s", rate(both)));
    }
    for (name, body) in inputs {
        // Where nearly every tick turns it is slow, and only told.
        let body = if *name == "random" { &body[..SHORT_BYTES] } else { body };
        let rate = |seconds: f64| body.len() as f64 / seconds / 1e9;
        let [paths, all] = best([&|| task("paths")(body), &|| task("everything")(body)]);
        report.tell(&format!("paths, {name}"), &format!("{:.2} GB/s", rate(paths)));
        let figure = format!("{:.2} GB/s", rate(all));
        if *name == "print" {
            report.judge("everything in one pass, print", &figure, "at least 0.4 GB/s", rate(all) >= 0.4);
        } else {
            report.tell(&format!("everything in one pass, {name}"), &figure);
        }
    }
    let [inflate, count, measure] = file_tasks().map(|(_, task)| task);
    let [bare, counted, measured] = best([&|| inflate(gzip), &|| count(gzip), &|| measure(gzip)]);
    report.tell("inflating alone, without its checksum", &format!("{:.0} ms", bare * 1e3));
    let figure = format!("{:.0} ms, {:.2}", counted * 1e3, counted / bare);
    report.tell("inflating, counts and extents / inflating", &figure);
    let figure = format!("{:.0} ms, {:.2}", measured * 1e3, measured / bare);
    report.tell("inflating and measuring everything / inflating", &figure);

    if let (Some(short), Some(long)) = (peak_kib(&Builder::new().to_gzip()), peak_kib(gzip)) {
        let above = long.saturating_sub(short);
        let figure = format!("{above} KiB");
        report.judge("memory for it, above that for an empty job", &figure, "under 8 MB", above < 8_000_000 / 1024);
        report.tell("the compressed file", &format!("{} KiB", gzip.len() / 1024));
    }
    report
}

/// What a process that measures that file has resident at the most.
fn peak_kib(gzip: &[u8]) -> Option<u64> {
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(gzip).expect("the disk takes it");
    let this = std::env::current_exe().expect("this program's own path");
    let output = Command::new(this).env(MEASURE, file.path()).output().expect("it starts");
    String::from_utf8(output.stdout).ok()?.trim().parse().ok().filter(|&kib| kib > 0)
}
