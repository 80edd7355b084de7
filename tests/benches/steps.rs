//! Pulse files: counting, tracing, measuring and decompressing, on a synthetic print of 100 MB.
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
use gf_emulator_core::puls::{Builder, Counts, Job, Limits, Meter, Tracer, measure};
use support::process::status;
use support::{Report, print};

const BYTES: usize = 100_000_000;
/// For figures without a target.
const SHORT_BYTES: usize = 4_000_000;
/// The length of a chunk when a file is read.
const CHUNK: usize = 64 * 1024;
/// Rounds, in each of which all compared tasks take a turn.
const ROUNDS: usize = 7;
/// The environment variable of a child process: the file to measure, for its peak memory.
const MEASURE: &str = "GF_BENCH_MEASURE";

fn main() -> ExitCode {
    if let Some(path) = std::env::var_os(MEASURE) {
        black_box(measure(File::open(path).expect("the file exists"), Limits::default()).expect("a valid file"));
        println!("{}", status("self", "VmHWM").unwrap_or_default());
        return ExitCode::SUCCESS;
    }
    if !support::is_bench_run() {
        return ExitCode::SUCCESS;
    }
    let print = print::body(BYTES);
    let repeated = |unit: &[u8]| unit.iter().copied().cycle().take(BYTES).collect::<Vec<_>>();
    let inputs = [
        ("print", print.clone()),
        ("random bytes", random(0xff)),
        ("random bytes without power", random(0x7f)),
        ("random steps of X and Y", random(0x0f)),
        ("X reverses in each tick", repeated(&[0x01, 0x03])),
        ("a power byte in each second tick", repeated(&[0x81, 0x11])),
        // Like the slowest of 1,800 random bodies.
        ("the same power between short fires", repeated(&[0x01, 0x13, 0x81, 0x13, 0x81, 0x01, 0x01])),
        ("two powers, and the lens reverses", repeated(&[0xa0, 0x36, 0x69, 0xa1, 0x36, 0x69, 0x69])),
        ("slanted lines with the laser on", repeated(&[0x19, 0x11, 0x14])),
        ("fire", vec![0x1d; BYTES]),
        ("idle", vec![0; BYTES]),
    ];
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(&print::file(&print)).expect("written to memory");
    let gzip = gzip.finish().expect("written to memory");

    measure_all(&inputs, &gzip).finish()
}

type Task = fn(&[u8]);

/// The tasks on a body, by name.
fn tasks() -> [(&'static str, Task); 4] {
    [
        ("sum", |body| {
            black_box(body.iter().map(|&byte| u64::from(byte)).sum::<u64>());
        }),
        ("count", |body| {
            let mut counts = Counts::default();
            counts.add(body);
            black_box(counts);
        }),
        ("trace", |body| {
            let mut segments = 0_u64;
            let mut tracer = Tracer::new(Builder::new().header());
            tracer.add(body, &mut |_| segments += 1);
            tracer.finish(&mut |_| segments += 1);
            black_box(segments);
        }),
        ("measure", |body| {
            let mut meter = Meter::new(Builder::new().header());
            for chunk in body.chunks(CHUNK) {
                meter.add_ticks(chunk);
            }
            black_box(meter.finish(&mut |_| ()));
        }),
    ]
}

/// Random bytes with some of the bits.
fn random(bits: u8) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(BYTES);
    while bytes.len() < BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes().map(|byte| byte & bits));
    }
    bytes
}

/// Decompresses without checking the checksum.
fn inflate(gzip: &[u8]) {
    const HEADER: usize = 10;
    let (mut inflate, mut buffer) = (Decompress::new(false), vec![0; CHUNK]);
    loop {
        let read = HEADER + usize::try_from(inflate.total_in()).expect("fits in memory");
        let status = inflate.decompress(&gzip[read..], &mut buffer, FlushDecompress::None).expect("a valid file");
        black_box(&buffer);
        if matches!(status, Status::StreamEnd) {
            return;
        }
    }
}

/// The tasks on a compressed file, by name.
fn file_tasks() -> [(&'static str, Task); 3] {
    [
        ("inflate", inflate),
        ("inflate and count", |gzip| {
            let mut job = Job::open(gzip).expect("a valid file");
            let mut counts = Counts::default();
            while let Some(chunk) = job.next_chunk().expect("a valid file") {
                counts.add(chunk);
            }
            black_box(counts);
        }),
        ("inflate and measure", |gzip| {
            black_box(measure(gzip, Limits::default()).expect("a valid file"));
        }),
    ]
}

/// Returns the best time of each task.
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

fn measure_all(inputs: &[(&str, Vec<u8>)], gzip: &[u8]) -> Report {
    let mut report = Report::default();
    let task = |wanted: &str| tasks().into_iter().find(|(name, _)| *name == wanted).expect("a known task").1;
    let rate = |seconds: f64| BYTES as f64 / seconds / 1e9;
    let body = &inputs[0].1;

    let [sum, count] = best([&|| task("sum")(body), &|| task("count")(body)]);
    let figure = format!("{:.1} GB/s", rate(count));
    report.check("counting", &figure, "at least 1.5 GB/s", rate(count) >= 1.5);
    report.info("a plain sum", &format!("{:.1} GB/s", rate(sum)));
    for (name, body) in inputs {
        // Tracing finds every corner, and most ticks may be one.
        let traced = if *name == "print" { body } else { &body[..SHORT_BYTES] };
        let [trace, measure] = best([&|| task("trace")(traced), &|| task("measure")(body)]);
        report.info(&format!("tracing, {name}"), &format!("{:.2} GB/s", traced.len() as f64 / trace / 1e9));
        let least = if *name == "print" { 0.4 } else { 0.2 };
        let (what, figure) = (format!("measuring, {name}"), format!("{:.2} GB/s", rate(measure)));
        report.check(&what, &figure, &format!("at least {least} GB/s"), rate(measure) >= least);
    }
    let [inflate, count, measure] = file_tasks().map(|(_, task)| task);
    let [bare, counted, measured] = best([&|| inflate(gzip), &|| count(gzip), &|| measure(gzip)]);
    report.info("decompressing without checksum", &format!("{:.0} ms", bare * 1e3));
    let figure = format!("{:.0} ms, {:.2}", counted * 1e3, counted / bare);
    report.info("decompressing and counting / decompressing", &figure);
    let figure = format!("{:.0} ms, {:.2}", measured * 1e3, measured / bare);
    report.info("decompressing and measuring / decompressing", &figure);

    if let (Some(short), Some(long)) = (peak_kib(&Builder::new().to_gzip()), peak_kib(gzip)) {
        let above = long.saturating_sub(short);
        let figure = format!("{above} KiB");
        report.check("peak memory above that of an empty job", &figure, "under 8 MB", above < 8_000_000 / 1024);
        report.info("compressed file", &format!("{} KiB", gzip.len() / 1024));
    }
    report
}

/// Returns the peak resident memory of a process that measures a file.
fn peak_kib(gzip: &[u8]) -> Option<u64> {
    let mut file = tempfile::NamedTempFile::new().expect("a temp file");
    file.write_all(gzip).expect("written");
    let this = std::env::current_exe().expect("the path of this program");
    let output = Command::new(this).env(MEASURE, file.path()).output().expect("started");
    String::from_utf8(output.stdout).ok()?.trim().parse().ok().filter(|&kib| kib > 0)
}
