//! The machine's WebSocket against a service that cuts, floods, stalls and sends malformed data.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use gf_emulator_core::Error;
use gf_emulator_core::config::Generation;
use gf_emulator_core::local_service::{Cut, Fault, Seen};
use gf_emulator_tests::{Harness, LIMIT, Setup, square};
use serde_json::Value;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};
use tungstenite::{Message, WebSocket};

use crate::raw_service::{RawService, Response, RunningMachine, http, normal_responses};

type Socket = WebSocket<TcpStream>;

fn action(id: i64) -> String {
    format!(r#"{{"id":{id},"action_type":"settings","status":"ready"}}"#)
}

/// Reads the machine's next message.
fn next(socket: &mut Socket) -> Value {
    loop {
        if let Message::Text(text) = socket.read().expect("the machine sends a message") {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

/// Sends a `settings` action and waits until it is completed.
fn expect_settings(socket: &mut Socket, id: i64) {
    socket.send(Message::text(action(id))).unwrap();
    loop {
        let message = next(socket);
        if message["action_id"] == id && message["event"] == "settings:completed" {
            return;
        }
    }
}

fn running() -> (RawService, RunningMachine, Socket) {
    let raw = RawService::start(normal_responses());
    let running = RunningMachine::start(raw.machine(|_| ()));
    let socket = raw.socket();
    (raw, running, socket)
}

fn count(harness: &Harness, matches: impl Fn(&Seen) -> bool) -> usize {
    harness.service.seen().iter().filter(|seen| matches(seen)).count()
}

fn message_ids(harness: &Harness) -> Vec<u64> {
    let id = |seen: &Seen| match seen {
        Seen::WsMessage { message, .. } => Some(message["id"].as_u64().unwrap()),
        _ => None,
    };
    harness.service.seen().iter().filter_map(id).collect()
}

fn connections(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| matches!(seen, Seen::WsOpened { .. })).count()
}

#[test]
fn reads_an_action_that_arrives_with_the_handshake() {
    let mut early = vec![0x81, u8::try_from(action(1).len()).unwrap()];
    early.extend(action(1).as_bytes());
    let raw = RawService::start({
        let normal = normal_responses();
        move |request| match normal(request) {
            Response::Open(_) => Response::Open(early.clone()),
            other => other,
        }
    });
    let running = RunningMachine::start(raw.machine(|_| ()));
    let mut socket = raw.socket();
    let message = next(&mut socket);
    assert_eq!((message["event"].as_str(), message["id"].as_u64()), (Some("settings:completed"), Some(32)));
    running.stop().unwrap();
}

#[test]
fn reconnects_with_a_new_sign_in_after_every_kind_of_disconnect() {
    let close = |code: u16| {
        move |socket: &mut Socket| {
            let frame = CloseFrame { code: code.into(), reason: "routine".into() };
            socket.close(Some(frame)).unwrap();
            // Until the Close is answered.
            while socket.read().is_ok() {}
        }
    };
    let raw_bytes = |bytes: Vec<u8>| {
        move |socket: &mut Socket| {
            let _ = socket.get_mut().write_all(&bytes);
            // Until the machine disconnects.
            while matches!(socket.get_mut().read(&mut [0; 4096]), Ok(n) if n > 0) {}
        }
    };
    let huge = |socket: &mut Socket| {
        // A header that announces 4 GiB.
        let _ = socket.get_mut().write_all(&[0x81, 127, 0, 0, 0, 1, 0, 0, 0, 0]);
        while matches!(socket.get_mut().read(&mut [0; 4096]), Ok(n) if n > 0) {}
    };
    let large = |socket: &mut Socket| {
        let _ = socket.send(Message::text("x".repeat(3 << 20)));
        while socket.read().is_ok() {}
    };
    let fragments = |socket: &mut Socket| {
        // A message of endless fragments.
        let part = |first: bool| {
            let opcode = if first { OpCode::Data(Data::Text) } else { OpCode::Data(Data::Continue) };
            let header = FrameHeader { is_final: false, opcode, ..FrameHeader::default() };
            Message::Frame(Frame::from_payload(header, vec![b'x'; 64 << 10].into()))
        };
        let mut first = true;
        while socket.send(part(first)).is_ok() {
            first = false;
        }
    };
    #[allow(clippy::type_complexity)] // Used once.
    let ends: Vec<Box<dyn Fn(&mut Socket)>> = vec![
        Box::new(|_| ()),
        Box::new(close(1000)),
        Box::new(close(1001)),
        Box::new(close(1011)),
        // Parsed as a frame of 84 bytes with a reserved bit set.
        Box::new(raw_bytes(b"HTTP/1.1 400 Bad Request\r\n".repeat(9))),
        Box::new(raw_bytes(vec![0xff; 16])),
        Box::new(raw_bytes(vec![0x81, 2, 0xc3, 0x28])),
        Box::new(huge),
        Box::new(large),
        Box::new(fragments),
    ];
    // Each with its own machine: the pauses grow with each lost connection.
    for end in ends {
        let (raw, running, mut socket) = running();
        expect_settings(&mut socket, 1);
        end(&mut socket);
        drop(socket);
        let mut socket = raw.socket();
        expect_settings(&mut socket, 2);
        running.stop().unwrap();
        let requests: Vec<_> =
            raw.received.try_iter().filter(|r| r.method_and_path.starts_with("GET /ws-token")).collect();
        let upgrades: Vec<_> = requests.iter().map(|r| &r.method_and_path).collect();
        assert_eq!(upgrades, ["GET /ws-token-1", "GET /ws-token-2"], "each connection has its own token");
        for request in requests {
            assert!(request.head.contains("\r\nUser-Agent: OpenGlow/2.6.0-2228\r\n"), "{}", request.head);
            assert!(!request.head.to_lowercase().contains("authorization"), "{}", request.head);
        }
    }
}

#[test]
fn ignores_malformed_and_empty_frames() {
    let (_raw, running, mut socket) = running();
    socket.send(Message::binary(vec![0; 1000])).unwrap();
    socket.send(Message::text("")).unwrap();
    socket.send(Message::text("\n\r\n \n")).unwrap();
    socket.send(Message::text("not JSON")).unwrap();
    socket.send(Message::text("[".repeat(100_000))).unwrap();
    for _ in 0..5000 {
        socket.write(Message::Ping(vec![1; 100].into())).unwrap();
    }
    socket.flush().unwrap();
    // A message in three fragments with a ping between them.
    let text = action(1);
    let (a, rest) = text.as_bytes().split_at(10);
    let (b, c) = rest.split_at(10);
    let part = |bytes: &[u8], opcode, is_final| {
        let header = FrameHeader { is_final, opcode: OpCode::Data(opcode), ..FrameHeader::default() };
        Message::Frame(Frame::from_payload(header, bytes.to_vec().into()))
    };
    socket.send(part(a, Data::Text, false)).unwrap();
    socket.send(Message::Ping(vec![2].into())).unwrap();
    socket.send(part(b, Data::Continue, false)).unwrap();
    socket.send(part(c, Data::Continue, true)).unwrap();
    assert_eq!(next(&mut socket)["action_id"], 1);
    // Valid lines beside malformed ones.
    socket.send(Message::text(format!("{}\nnot JSON\r\n\n{}\n{{", action(2), action(3)))).unwrap();
    assert_eq!(next(&mut socket)["action_id"], 2);
    assert_eq!(next(&mut socket)["action_id"], 3);
    running.stop().unwrap();
}

#[test]
fn sends_queued_messages_once_and_in_order_after_reconnecting() {
    let harness = Setup::new(Generation::V2).start();
    harness.expect(1, "settings", "completed");
    harness.service.fault(Fault::status(401).on("GET", "/<ws_token>"));
    harness.service.drop_connection(Cut::Drain);
    for _ in 0..100 {
        harness.handle.press_button();
    }
    harness.wait("all presses", |seen| seen.iter().filter(|s| s.is_event("button:released", None)).count() == 100);
    assert_eq!(message_ids(&harness), (32..=232).collect::<Vec<_>>());
    // One handshake was refused: each attempt signs in.
    assert_eq!(count(&harness, |seen| matches!(seen, Seen::SignIn { .. })), 3);
    harness.stop().2.unwrap();
}

#[test]
fn a_draining_cut_neither_loses_nor_repeats_messages() {
    let harness = Setup::new(Generation::V2).start();
    let mut sent = 0;
    for round in 0..3 {
        harness.expect(round + 1, "settings", "completed");
        sent += 1;
        // Fewer than the outbox holds.
        for n in 0..1000 {
            harness.handle.press_button();
            sent += 2;
            if n == 100 + 400 * round {
                harness.service.drop_connection(Cut::Drain);
            }
        }
        harness.wait("all so far", |seen| seen.iter().filter(|s| matches!(s, Seen::WsMessage { .. })).count() == sent);
    }
    assert_eq!(message_ids(&harness), (32..32 + sent as u64).collect::<Vec<_>>());
    harness.wait("four connections", |seen| connections(seen) == 4);
    harness.stop().2.unwrap();
}

#[test]
fn a_hard_cut_neither_repeats_nor_reorders_messages() {
    let harness = Setup::new(Generation::V2).start();
    for round in 0..4 {
        harness.expect(10 + i64::try_from(round).unwrap(), "settings", "completed");
        for n in 0..500 {
            harness.handle.press_button();
            if n == 100 * round {
                harness.service.drop_connection(Cut::Hard);
            }
        }
        harness.wait("the reconnection", |seen| connections(seen) == round + 2);
    }
    harness.expect(1, "settings", "completed");
    let ids = message_ids(&harness);
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    assert_eq!(ids.last(), Some(&(32 + 4 * 500 * 2 + 4)));
    harness.stop().2.unwrap();
}

/// Sends until the buffers are full because the machine does not read.
fn fill_buffers(socket: &mut Socket, text: &str, limit: Duration) {
    socket.get_mut().set_write_timeout(Some(limit)).unwrap();
    while socket.send(Message::text(text)).is_ok() {}
    socket.get_mut().set_write_timeout(Some(LIMIT)).unwrap();
}

#[test]
fn resends_a_partly_sent_message_completely() {
    let (raw, running, mut socket) = running();
    // Some of these fill the buffers of both systems, one is sent in part, the others are queued.
    for _ in 0..1500 {
        running.handle.press_button();
    }
    let mut first: Vec<u64> = Vec::new();
    for _ in 0..10 {
        first.push(next(&mut socket)["id"].as_u64().unwrap());
    }
    drop(socket);
    let mut socket = raw.socket();
    socket.send(Message::text(action(1))).unwrap();
    let mut later = Vec::new();
    loop {
        let message = next(&mut socket);
        later.push(message["id"].as_u64().unwrap());
        if message["action_id"] == 1 {
            break;
        }
    }
    assert_eq!(first, (32..42).collect::<Vec<_>>());
    assert!(later.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{later:?}");
    assert!(later[0] > 41, "{later:?}");
    assert_eq!(later.last(), Some(&3032));
    running.stop().unwrap();
}

#[test]
fn a_flood_does_not_block_sending() {
    let (_raw, running, mut socket) = running();
    let frame = r#"{"id":1,"action_type":"no such thing","status":"ready"}"#;
    for n in 0..100_000 {
        socket.write(Message::text(frame)).unwrap();
        if n % 1000 == 0 {
            running.handle.press_button();
            socket.write(Message::text(action(1000 + n))).unwrap();
        }
    }
    socket.flush().unwrap();
    let (mut expected, mut completed) = (32, 0);
    while completed < 100 {
        let message = next(&mut socket);
        assert_eq!(message["id"], expected);
        expected += 1;
        completed += usize::from(message["event"] == "settings:completed");
    }
    running.stop().unwrap();
}

#[test]
fn starts_a_job_that_arrives_right_after_the_terminal_event_of_another() {
    let normal = normal_responses();
    let raw = RawService::start(move |request| {
        if request.method_and_path != "GET /job.puls" {
            return normal(request);
        }
        let mut response = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
        response.extend(square());
        Response::Bytes(response)
    });
    // The files are removed after the terminal event, which widens the race.
    let running = RunningMachine::start(raw.machine(|config| config.motion.keep = false));
    let mut socket = raw.socket();
    for id in 1..=100 {
        let url = format!("http://{}/job.puls", raw.addr);
        let job = format!(r#"{{"id":{id},"action_type":"motion","status":"ready","motion_url":"{url}"}}"#);
        socket.send(Message::text(job)).unwrap();
        loop {
            let message = next(&mut socket);
            if ["motion:completed", "motion:failed", "motion:cancelled"].iter().any(|end| message["event"] == *end) {
                assert_eq!(message["action_id"], id);
                break;
            }
        }
    }
    running.stop().unwrap();
}

#[test]
fn cancelling_a_download_cancels_its_action() {
    // Without a length, a cancelled body looks complete.
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"] {
        let normal = normal_responses();
        let raw = RawService::start(move |request| {
            if request.method_and_path == "GET /job.puls" { Response::Stalled(head.into()) } else { normal(request) }
        });
        let running = RunningMachine::start(raw.machine(|_| ()));
        let mut socket = raw.socket();
        let url = format!("http://{}/job.puls", raw.addr);
        let job = format!(r#"{{"id":7,"action_type":"motion","status":"ready","motion_url":"{url}"}}"#);
        socket.send(Message::text(job.as_str())).unwrap();
        while raw.received.recv_timeout(LIMIT).unwrap().method_and_path != "GET /job.puls" {}
        socket.send(Message::text(job.replace("ready", "cancelled"))).unwrap();
        loop {
            let message = next(&mut socket);
            // The progress of the download has no event.
            let Some(event) = message["event"].as_str() else { continue };
            if event != "motion:starting" {
                assert_eq!(event, "motion:cancelled");
                break;
            }
        }
        running.stop().unwrap();
    }
}

#[test]
fn stops_while_the_service_stalls_floods_or_does_not_read() {
    // The service neither answers nor reads.
    let (_raw, one, _socket) = running();
    // The service floods.
    let (_raw, two, mut flooding) = running();
    expect_settings(&mut flooding, 1);
    let flood = std::thread::spawn(move || {
        let frame = action(2).replace("settings", "no such thing");
        while flooding.send(Message::text(frame.as_str())).is_ok() {}
    });
    // The service stops reading while the machine sends.
    let (_raw, three, mut unread) = running();
    expect_settings(&mut unread, 1);
    for _ in 0..2000 {
        three.handle.press_button();
    }
    for running in [one, two, three] {
        assert!(matches!(running.stop(), Ok(()) | Err(Error::Interrupted)));
    }
    flood.join().unwrap();
}

#[test]
fn stops_with_a_full_rx_queue() {
    // A machine that does not run yet reads nothing: rx and the socket's buffers fill up.
    let raw = RawService::start(normal_responses());
    let (mut emulator, _folder) = raw.machine(|_| ());
    emulator.connect().unwrap();
    let mut socket = raw.socket();
    fill_buffers(&mut socket, &"x".repeat(100_000), Duration::from_millis(100));
    let handle = emulator.handle();
    handle.stop();
    let (done, ended) = crossbeam_channel::bounded(1);
    std::thread::spawn(move || done.send(emulator.run()));
    ended.recv_timeout(LIMIT).expect("it stops").unwrap();
}

#[test]
fn retries_a_rejected_sign_in_while_running() {
    let reconnects_after = |statuses: [u16; 2]| {
        let (signed_in, normal) = (AtomicUsize::new(0), normal_responses());
        let raw = RawService::start(move |request| {
            if request.method_and_path == "POST /machines/sign_in"
                && let Some(status) = statuses.get(signed_in.fetch_add(1, Ordering::AcqRel).wrapping_sub(1))
            {
                return http(*status, "");
            }
            normal(request)
        });
        let running = RunningMachine::start(raw.machine(|_| ()));
        let mut socket = raw.socket();
        expect_settings(&mut socket, 1);
        running.handle.press_button();
        drop(socket);
        let mut socket = raw.socket();
        expect_settings(&mut socket, 2);
        running.stop().unwrap();
    };
    std::thread::scope(|scope| {
        for statuses in [[401, 403], [400, 422], [404, 301]] {
            scope.spawn(move || reconnects_after(statuses));
        }
    });
}

#[test]
fn retries_until_the_service_is_back() {
    let harness = Setup::new(Generation::V2).start();
    harness.expect(1, "settings", "completed");
    harness.service.fault(Fault::status(503).on("POST", "/machines/sign_in").times(2));
    harness.service.drop_connection(Cut::Hard);
    harness.wait("the reconnection", |seen| connections(seen) == 2);
    harness.expect(2, "settings", "completed");
    harness.stop().2.unwrap();
}

#[test]
fn reconnects_after_a_tls_connection_ends_without_close_notify() {
    let harness = Setup::new(Generation::V2).service(|service| service.tls(true)).start();
    for (round, cut) in [Cut::Hard, Cut::Drain].into_iter().enumerate() {
        harness.expect(i64::try_from(round).unwrap() + 1, "settings", "completed");
        harness.service.drop_connection(cut);
        harness.wait("the reconnection", |seen| connections(seen) == round + 2);
    }
    harness.stop().2.unwrap();
}

#[cfg(target_os = "linux")]
fn context_switches() -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        let (Ok(name), Ok(status)) =
            (std::fs::read_to_string(path.join("comm")), std::fs::read_to_string(path.join("status")))
        else {
            continue;
        };
        if ["gf-websocket", "gf-worker", "gf-worker-2", "gf-dial"].contains(&name.trim()) {
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
            found.push((name.trim().to_owned(), line.trim().parse().unwrap()));
        }
    }
    found.sort();
    found
}

#[cfg(target_os = "linux")]
#[test]
fn does_not_wake_up_while_idle() {
    if !crate::raw_service::in_own_process("websocket::does_not_wake_up_while_idle") {
        return;
    }
    for tls in [false, true] {
        let harness = Setup::new(Generation::V2).service(|service| service.tls(tls)).start();
        harness.expect(1, "motion", "completed");
        // Only the thread of the WebSocket is left: the worker's has ended. Some interval passes without a context switch; a
        // polling loop would never have one.
        let is_idle = || {
            let before = context_switches();
            harness.service.wait_for(|_| false, Duration::from_millis(700));
            before.len() == 1 && context_switches() == before
        };
        assert!((0..40).any(|_| is_idle()), "{:?}", context_switches());
        harness.stop().2.unwrap();
    }
}
