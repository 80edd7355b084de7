//! A service that sends without end: what the machine holds is bounded, it answers what comes afterwards, and it stops.

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use tungstenite::{Message, WebSocket};

use crate::raw::{Raw, Running, alone, good};

/// What one connection may make the process hold, by the documentation of the WebSocket's module.
const HELD_BYTES: u64 = 32 << 20;
/// For what the allocator keeps and what the test itself takes.
const SLACK_BYTES: u64 = 16 << 20;
/// More than twice what may be held.
const FLOOD_BYTES: usize = 72 << 20;

const BLOCK_BYTES: usize = 64 << 10;

/// Bytes on the wire: frames of a server.
struct Flood {
    name: &'static str,
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
    let whole = |name, again| Flood { name, begin: Vec::new(), again, end: Vec::new() };
    vec![
        whole("pings", frame(0x89, &[b'p'; 125])),
        whole("pongs", frame(0x8a, &[b'p'; 125])),
        whole("binary frames", frame(0x82, &[0; 1000])),
        whole("lines that are no JSON", frame(0x81, &b"no JSON\n".repeat(100))),
        whole("huge frames", frame(0x81, &[b'x'; 1 << 20])),
        whole("huge binary frames", frame(0x82, &[b'x'; 1 << 20])),
        Flood { name: "empty fragments", begin: frame(0x01, b""), again: frame(0x00, b""), end: frame(0x80, b"") },
    ]
}

impl Flood {
    /// So many bytes of it, whole.
    fn pour(&self, mut into: &TcpStream, bytes: usize) {
        let block = self.again.repeat(BLOCK_BYTES.div_ceil(self.again.len()));
        into.write_all(&self.begin).unwrap();
        for _ in 0..bytes.div_ceil(block.len()) {
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
    // Its own limits are a second for what is queued and half of one for the Close; the rest is for a slow computer.
    assert!(before.elapsed() < Duration::from_secs(5), "{name}: {:?}", before.elapsed());
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
        // Fragments cost more time than memory.
        let bytes = if flood.again.len() < 10 { 2 << 20 } else { FLOOD_BYTES };
        // Nobody reads meanwhile.
        flood.pour(socket.get_ref(), bytes);
        answers(&mut socket, 2);
        let held = memory("VmHWM").saturating_sub(before);
        println!("{}: {} KiB", flood.name, held >> 10);
        assert!(held < HELD_BYTES + SLACK_BYTES, "{}: {held} bytes", flood.name);
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
