//! A service that sends without end: what the machine holds is bounded, it answers what comes afterwards, and it stops.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use gf_emulator_tests::AT_ONCE;
use tungstenite::{Message, WebSocket};

use crate::raw::{Raw, Running, alone, good};

/// What one connection may make the process hold, by the documentation of the WebSocket's module.
const HELD_BYTES: u64 = 32 << 20;
/// For what the allocator keeps and what the test itself takes.
const SLACK_BYTES: u64 = 16 << 20;

const BLOCK_BYTES: usize = 64 << 10;

/// Bytes on the wire: frames of a server.
struct Flood {
    name: &'static str,
    /// How much of it is sent: more than twice what may be held of it. What costs more time than memory is sent less of,
    /// and none of it may be held.
    bytes: usize,
    begin: Vec<u8>,
    again: Vec<u8>,
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
    let flood = |name, mebibytes: usize, again| Flood {
        name,
        bytes: mebibytes << 20,
        begin: Vec::new(),
        again,
        end: Vec::new(),
    };
    vec![
        flood("pings", 96, frame(0x89, &[b'p'; 125])),
        flood("pongs", 8, frame(0x8a, &[b'p'; 125])),
        flood("binary frames", 8, frame(0x82, &[0; 1000])),
        flood("lines that are no JSON", 8, frame(0x81, &b"no JSON\n".repeat(100))),
        flood("huge frames", 96, frame(0x81, &[b'x'; 1 << 20])),
        flood("huge binary frames", 96, frame(0x82, &[b'x'; 1 << 20])),
        Flood { begin: frame(0x01, b""), end: frame(0x80, b""), ..flood("empty fragments", 4, frame(0x00, b"")) },
    ]
}

impl Flood {
    /// Sends it whole.
    fn pour(&self, mut into: &TcpStream) {
        let block = self.again.repeat(BLOCK_BYTES.div_ceil(self.again.len()));
        into.write_all(&self.begin).unwrap();
        for _ in 0..self.bytes.div_ceil(block.len()) {
            into.write_all(&block).unwrap();
        }
        into.write_all(&self.end).unwrap();
    }
}

fn answers(socket: &mut WebSocket<TcpStream>, id: i64) {
    socket.send(Message::text(format!(r#"{{"id":{id},"action_type":"settings","status":"ready"}}"#))).unwrap();
    let expected = format!(r#""action_id":{id},"#);
    while !matches!(socket.read().unwrap(), Message::Text(text) if text.replace(' ', "").contains(&expected)) {}
}

fn stops(running: &Running, name: &str) {
    let before = Instant::now();
    running.stop().unwrap();
    assert!(before.elapsed() < AT_ONCE, "{name}: {:?}", before.elapsed());
}

/// The process's memory in bytes, as `/proc/self/status` has it.
#[cfg(target_os = "linux")]
fn memory(of: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(of)).unwrap();
    line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse::<u64>().unwrap() << 10
}

#[cfg(target_os = "linux")]
#[test]
fn what_a_connection_holds_is_bounded_and_the_machine_answers_afterwards() {
    if !alone("floods::what_a_connection_holds_is_bounded_and_the_machine_answers_afterwards") {
        return;
    }
    for flood in floods() {
        let raw = Raw::start(good());
        let running = Running::start(raw.machine(|_| ()));
        let mut socket = raw.socket();
        answers(&mut socket, 1);
        // The highest so far is forgotten.
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = memory("VmRSS");
        // Nobody reads meanwhile.
        flood.pour(socket.get_ref());
        answers(&mut socket, 2);
        let held = memory("VmHWM").saturating_sub(before);
        assert!(held < (HELD_BYTES + SLACK_BYTES).min(flood.bytes as u64 / 2), "{}: {held} bytes", flood.name);
        stops(&running, flood.name);
    }
}

#[test]
fn a_flood_does_not_keep_it_from_stopping() {
    for flood in floods() {
        let raw = Raw::start(good());
        let running = Running::start(raw.machine(|_| ()));
        let mut socket = raw.socket();
        answers(&mut socket, 1);
        let mut stream = socket.get_ref().try_clone().unwrap();
        let (under_way, is_under_way) = crossbeam_channel::bounded(1);
        let name = flood.name;
        let pouring = thread::spawn(move || {
            let block = flood.again.repeat(BLOCK_BYTES.div_ceil(flood.again.len()));
            let mut written = stream.write_all(&flood.begin);
            while written.is_ok() {
                written = stream.write_all(&block);
                let _ = under_way.try_send(());
            }
        });
        (0..10).for_each(|_| is_under_way.recv().unwrap());
        stops(&running, name);
        drop(socket);
        pouring.join().unwrap();
    }
}

#[test]
fn a_greeting_and_a_cut_again_and_again_are_answered_more_and_more_slowly() {
    let raw = Raw::start(good());
    let running = Running::start(raw.machine(|_| ()));
    let before = Instant::now();
    for _ in 0..5 {
        let mut socket = raw.socket();
        socket.send(Message::text("hello")).unwrap();
    }
    // Four pauses of at least 0.25, 0.5, 1 and 2 seconds.
    assert!(before.elapsed() >= Duration::from_millis(3750), "{:?}", before.elapsed());
    // In the middle of the next pause, or of a dial.
    stops(&running, "a greeting and a cut");
}
