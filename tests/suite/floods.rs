//! A service that floods: the machine's memory use is bounded, and it still answers and stops.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use tungstenite::{Message, WebSocket};

use crate::raw_service::{RawService, RunningMachine, in_own_process, normal_responses};

/// The limit of one connection, from the documentation of the `websocket` module.
const MAX_CONNECTION_BYTES: u64 = 32 << 20;
/// For the allocator and the test itself.
const SLACK_BYTES: u64 = 16 << 20;

const BLOCK_BYTES: usize = 64 << 10;

/// Frames of a server, as bytes on the wire.
struct Flood {
    name: &'static str,
    /// How much is sent. At most half may be held in memory, so floods that cost time rather than memory are shorter.
    bytes: usize,
    /// Sent before and after `repeated`.
    begin: Vec<u8>,
    repeated: Vec<u8>,
    end: Vec<u8>,
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(u8::try_from(short).unwrap()),
        long => {
            bytes.push(127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    bytes.extend(payload);
    bytes
}

fn floods() -> Vec<Flood> {
    let flood = |name, mebibytes: usize, repeated| Flood {
        name,
        // Memory is only measured on Linux. Under wine, 800,000 pings take longer than a machine waits for a pong.
        bytes: mebibytes << if cfg!(target_os = "linux") { 20 } else { 17 },
        begin: Vec::new(),
        repeated,
        end: Vec::new(),
    };
    vec![
        flood("pings", 96, frame(0x89, &[b'p'; 125])),
        flood("pongs", 8, frame(0x8a, &[b'p'; 125])),
        flood("binary frames", 8, frame(0x82, &[0; 1000])),
        flood("lines that are not JSON", 8, frame(0x81, &b"not JSON\n".repeat(100))),
        flood("huge frames", 96, frame(0x81, &[b'x'; 1 << 20])),
        flood("huge binary frames", 96, frame(0x82, &[b'x'; 1 << 20])),
        Flood { begin: frame(0x01, b""), end: frame(0x80, b""), ..flood("empty fragments", 4, frame(0x00, b"")) },
    ]
}

impl Flood {
    /// Sends all of it.
    fn send(&self, mut into: &TcpStream) {
        let block = self.repeated.repeat(BLOCK_BYTES.div_ceil(self.repeated.len()));
        into.write_all(&self.begin).unwrap();
        for _ in 0..self.bytes.div_ceil(block.len()) {
            into.write_all(&block).unwrap();
        }
        into.write_all(&self.end).unwrap();
    }
}

fn expect_answer(socket: &mut WebSocket<TcpStream>, id: i64) {
    socket.send(Message::text(format!(r#"{{"id":{id},"action_type":"settings","status":"ready"}}"#))).unwrap();
    let expected = format!(r#""action_id":{id},"#);
    while !matches!(socket.read().unwrap(), Message::Text(text) if text.replace(' ', "").contains(&expected)) {}
}

/// Returns a value of `/proc/self/status`, in bytes; 0 on other systems, where only the answers are tested.
fn memory(field: &str) -> u64 {
    if !cfg!(target_os = "linux") {
        return 0;
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}

#[test]
fn bounds_memory_in_a_flood_and_answers_afterwards() {
    if !in_own_process("floods::bounds_memory_in_a_flood_and_answers_afterwards") {
        return;
    }
    for flood in floods() {
        let raw = RawService::start(normal_responses());
        let running = RunningMachine::start(raw.machine(|_| ()));
        let mut socket = raw.socket();
        expect_answer(&mut socket, 1);
        if cfg!(target_os = "linux") {
            // Resets the peak.
            std::fs::write("/proc/self/clear_refs", "5").unwrap();
        }
        let before = memory("VmRSS");
        flood.send(socket.get_ref());
        expect_answer(&mut socket, 2);
        let held = memory("VmHWM").saturating_sub(before);
        assert!(
            held < (MAX_CONNECTION_BYTES + SLACK_BYTES).min(flood.bytes as u64 / 2),
            "{}: {held} bytes",
            flood.name
        );
        running.stop().unwrap();
    }
}

#[test]
fn stops_in_a_flood() {
    for flood in floods() {
        let raw = RawService::start(normal_responses());
        let running = RunningMachine::start(raw.machine(|_| ()));
        let mut socket = raw.socket();
        expect_answer(&mut socket, 1);
        let mut stream = socket.get_ref().try_clone().unwrap();
        let (sent, is_sent) = crossbeam_channel::bounded(1);
        let flooding = thread::spawn(move || {
            let block = flood.repeated.repeat(BLOCK_BYTES.div_ceil(flood.repeated.len()));
            let mut written = stream.write_all(&flood.begin);
            while written.is_ok() {
                written = stream.write_all(&block);
                let _ = sent.try_send(());
            }
        });
        // Only a few: the answer to the machine's ping waits behind them, and a slow machine would end the connection itself.
        (0..2).for_each(|_| is_sent.recv().unwrap());
        running.stop().unwrap();
        drop(socket);
        flooding.join().unwrap();
    }
}

#[test]
fn reconnects_more_slowly_after_each_short_connection() {
    let raw = RawService::start(normal_responses());
    let running = RunningMachine::start(raw.machine(|_| ()));
    let before = Instant::now();
    for _ in 0..5 {
        let mut socket = raw.socket();
        socket.send(Message::text("hello")).unwrap();
    }
    // Four pauses of at least 0.25, 0.5, 1 and 2 s.
    assert!(before.elapsed() >= Duration::from_millis(3750), "{:?}", before.elapsed());
    // During the next pause or attempt to connect.
    running.stop().unwrap();
}
