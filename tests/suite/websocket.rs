//! The machine's WebSocket against a service that cuts, floods, stalls and says odd things.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use gf_emulator_core::Error;
use gf_emulator_core::config::Generation;
use gf_emulator_core::local_service::{Cut, Fault, Seen};
use gf_emulator_tests::{AT_ONCE, Bench, LIMIT, Setup, square};
use serde_json::Value;
use tungstenite::protocol::CloseFrame;
use tungstenite::protocol::frame::coding::{Data, OpCode};
use tungstenite::protocol::frame::{Frame, FrameHeader};
use tungstenite::{Message, WebSocket};

use crate::raw::{Answer, Raw, Running, good, http};

type Socket = WebSocket<TcpStream>;

fn action(id: i64) -> String {
    format!(r#"{{"id":{id},"action_type":"settings","status":"ready"}}"#)
}

/// The next message of the machine, as JSON.
fn next(socket: &mut Socket) -> Value {
    loop {
        if let Message::Text(text) = socket.read().expect("the machine says something") {
            return serde_json::from_str(&text).unwrap();
        }
    }
}

/// Asks for settings and waits for them: the machine is well.
fn is_well(socket: &mut Socket, id: i64) {
    socket.send(Message::text(action(id))).unwrap();
    loop {
        let message = next(socket);
        if message["action_id"] == id && message["event"] == "settings:completed" {
            return;
        }
    }
}

fn running() -> (Raw, Running, Socket) {
    let raw = Raw::start(good());
    let running = Running::start(raw.machine(|_| ()));
    let socket = raw.socket();
    (raw, running, socket)
}

fn count(bench: &Bench, of: impl Fn(&Seen) -> bool) -> usize {
    bench.service.seen().iter().filter(|seen| of(seen)).count()
}

fn ids(bench: &Bench) -> Vec<u64> {
    let id = |seen: &Seen| match seen {
        Seen::WsMessage { message, .. } => Some(message["id"].as_u64().unwrap()),
        _ => None,
    };
    bench.service.seen().iter().filter_map(id).collect()
}

fn opened(seen: &[Seen]) -> usize {
    seen.iter().filter(|seen| matches!(seen, Seen::WsOpened { .. })).count()
}

#[test]
fn an_action_glued_to_the_handshake_is_seen() {
    let mut glued = vec![0x81, u8::try_from(action(1).len()).unwrap()];
    glued.extend(action(1).as_bytes());
    let raw = Raw::start({
        let good = good();
        move |asked| match good(asked) {
            Answer::Open(_) => Answer::Open(glued.clone()),
            other => other,
        }
    });
    let running = Running::start(raw.machine(|_| ()));
    let mut socket = raw.socket();
    let message = next(&mut socket);
    assert_eq!((message["event"].as_str(), message["id"].as_u64()), (Some("settings:completed"), Some(32)));
    running.stop().unwrap();
}

#[test]
fn comes_back_with_a_fresh_sign_in_whatever_ends_the_connection() {
    let close = |code: u16| {
        move |socket: &mut Socket| {
            let frame = CloseFrame { code: code.into(), reason: "routine".into() };
            socket.close(Some(frame)).unwrap();
            // Until it is answered and done.
            while socket.read().is_ok() {}
        }
    };
    let raw_bytes = |bytes: Vec<u8>| {
        move |socket: &mut Socket| {
            let _ = socket.get_mut().write_all(&bytes);
            // The machine hangs up.
            while matches!(socket.get_mut().read(&mut [0; 4096]), Ok(n) if n > 0) {}
        }
    };
    let huge = |socket: &mut Socket| {
        // The header alone promises 4 GiB.
        let _ = socket.get_mut().write_all(&[0x81, 127, 0, 0, 0, 1, 0, 0, 0, 0]);
        while matches!(socket.get_mut().read(&mut [0; 4096]), Ok(n) if n > 0) {}
    };
    let large = |socket: &mut Socket| {
        let _ = socket.send(Message::text("x".repeat(3 << 20)));
        while socket.read().is_ok() {}
    };
    let fragments = |socket: &mut Socket| {
        // Each is small; together they never end.
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
    #[allow(clippy::type_complexity)] // It is read once.
    let ends: Vec<Box<dyn Fn(&mut Socket)>> = vec![
        Box::new(|_| ()),
        Box::new(close(1000)),
        Box::new(close(1001)),
        Box::new(close(1011)),
        // Taken for a frame of 84 bytes with a reserved bit set.
        Box::new(raw_bytes(b"HTTP/1.1 400 Bad Request\r\n".repeat(9))),
        Box::new(raw_bytes(vec![0xff; 16])),
        Box::new(raw_bytes(vec![0x81, 2, 0xc3, 0x28])),
        Box::new(huge),
        Box::new(large),
        Box::new(fragments),
    ];
    // Each with a machine of its own: connections that are lost one after the other are made again more and more slowly.
    for end in ends {
        let (raw, running, mut socket) = running();
        is_well(&mut socket, 1);
        end(&mut socket);
        drop(socket);
        let mut socket = raw.socket();
        is_well(&mut socket, 2);
        running.stop().unwrap();
        let asked: Vec<_> = raw.asked.try_iter().filter(|a| a.what.starts_with("GET /ws-token")).collect();
        let upgrades: Vec<_> = asked.iter().map(|a| &a.what).collect();
        assert_eq!(upgrades, ["GET /ws-token-1", "GET /ws-token-2"], "each connection with its own token");
        for asked in asked {
            assert!(asked.head.contains("\r\nUser-Agent: OpenGlow/2.6.0-2228\r\n"), "{}", asked.head);
            assert!(!asked.head.to_lowercase().contains("authorization"), "{}", asked.head);
        }
    }
}

#[test]
fn odd_frames_do_no_harm() {
    let (_raw, running, mut socket) = running();
    socket.send(Message::binary(vec![0; 1000])).unwrap();
    socket.send(Message::text("")).unwrap();
    socket.send(Message::text("\n\r\n \n")).unwrap();
    socket.send(Message::text("no JSON")).unwrap();
    socket.send(Message::text("[".repeat(100_000))).unwrap();
    for _ in 0..5000 {
        socket.write(Message::Ping(vec![1; 100].into())).unwrap();
    }
    socket.flush().unwrap();
    // One message in three fragments, a ping between them.
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
    // Good lines beside bad ones.
    socket.send(Message::text(format!("{}\nno JSON\r\n\n{}\n{{", action(2), action(3)))).unwrap();
    assert_eq!(next(&mut socket)["action_id"], 2);
    assert_eq!(next(&mut socket)["action_id"], 3);
    running.stop().unwrap();
}

#[test]
fn what_is_said_without_a_connection_goes_out_later_in_order_and_once() {
    let bench = Setup::new(Generation::V2).start();
    bench.expect(1, "settings", "completed");
    bench.service.fault(Fault::status(401).on("GET", "/<ws_token>"));
    bench.service.drop_connection(Cut::Drain);
    for _ in 0..100 {
        bench.handle.press_button();
    }
    bench.wait("all presses", |seen| seen.iter().filter(|s| s.is_event("button:released", None)).count() == 100);
    assert_eq!(ids(&bench), (32..=232).collect::<Vec<_>>());
    // Refused once: signed in again for the next try.
    assert_eq!(count(&bench, |seen| matches!(seen, Seen::SignIn { .. })), 3);
    bench.stop().2.unwrap();
}

#[test]
fn a_cut_that_drains_loses_nothing_and_doubles_nothing() {
    let bench = Setup::new(Generation::V2).start();
    let mut sent = 0;
    for round in 0..3 {
        bench.expect(round + 1, "settings", "completed");
        sent += 1;
        // Fewer than the backlog holds; the cut comes anywhere among them.
        for n in 0..1000 {
            bench.handle.press_button();
            sent += 2;
            if n == 100 + 400 * round {
                bench.service.drop_connection(Cut::Drain);
            }
        }
        bench.wait("all so far", |seen| seen.iter().filter(|s| matches!(s, Seen::WsMessage { .. })).count() == sent);
    }
    assert_eq!(ids(&bench), (32..32 + sent as u64).collect::<Vec<_>>());
    bench.wait("four connections", |seen| opened(seen) == 4);
    bench.stop().2.unwrap();
}

#[test]
fn a_hard_cut_doubles_nothing_and_keeps_the_order() {
    let bench = Setup::new(Generation::V2).start();
    for round in 0..4 {
        bench.expect(10 + i64::try_from(round).unwrap(), "settings", "completed");
        for n in 0..500 {
            bench.handle.press_button();
            if n == 100 * round {
                bench.service.drop_connection(Cut::Hard);
            }
        }
        bench.wait("the connection to be back", |seen| opened(seen) == round + 2);
    }
    bench.expect(1, "settings", "completed");
    let ids = ids(&bench);
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
    assert_eq!(ids.last(), Some(&(32 + 4 * 500 * 2 + 4)));
    bench.stop().2.unwrap();
}

/// Sends until the machine does not read any more, and reads nothing itself.
fn stuff(socket: &mut Socket, text: &str, limit: Duration) {
    socket.get_mut().set_write_timeout(Some(limit)).unwrap();
    while socket.send(Message::text(text)).is_ok() {}
    socket.get_mut().set_write_timeout(Some(LIMIT)).unwrap();
}

#[test]
fn a_message_half_sent_goes_out_again_whole() {
    let (raw, running, socket) = running();
    // Nobody reads: some of these fill the buffers of both systems, one is in the middle, the others wait.
    for _ in 0..1500 {
        running.handle.press_button();
    }
    let waiting = socket;
    let mut first: Vec<u64> = Vec::new();
    waiting.get_ref().set_nonblocking(false).unwrap();
    // What has been sent is read up to somewhere; then the connection is gone.
    let mut waiting = waiting;
    for _ in 0..10 {
        first.push(next(&mut waiting)["id"].as_u64().unwrap());
    }
    drop(waiting);
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
fn a_flood_keeps_nothing_from_going_out() {
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
fn a_job_that_comes_upon_the_ending_of_another_is_started() {
    let good = good();
    let raw = Raw::start(move |asked| {
        if asked.what != "GET /job.puls" {
            return good(asked);
        }
        let mut answer = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
        answer.extend(square());
        Answer::Bytes(answer)
    });
    // Removing the files takes a moment after the ending: as good as a slow computer.
    let running = Running::start(raw.machine(|config| config.motion.keep = false));
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
fn a_download_that_is_withdrawn_is_cancelled_and_has_not_failed() {
    // The length is not told: an interrupted body looks like a whole one, and must not be taken for that.
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"] {
        let good = good();
        let raw = Raw::start(
            move |asked| {
                if asked.what == "GET /job.puls" { Answer::Stalled(head.into()) } else { good(asked) }
            },
        );
        let running = Running::start(raw.machine(|_| ()));
        let mut socket = raw.socket();
        let url = format!("http://{}/job.puls", raw.addr);
        let job = format!(r#"{{"id":7,"action_type":"motion","status":"ready","motion_url":"{url}"}}"#);
        socket.send(Message::text(job.as_str())).unwrap();
        while raw.asked.recv_timeout(LIMIT).unwrap().what != "GET /job.puls" {}
        socket.send(Message::text(job.replace("ready", "cancelled"))).unwrap();
        loop {
            let message = next(&mut socket);
            let event = message["event"].as_str().unwrap();
            if event != "motion:starting" {
                assert_eq!(event, "motion:cancelled");
                break;
            }
        }
        running.stop().unwrap();
    }
}

#[test]
fn a_stop_is_quick_whatever_the_service_does() {
    // It answers nothing and reads nothing.
    let (_raw, one, _socket) = running();
    // It sends without end.
    let (_raw, two, mut flooding) = running();
    is_well(&mut flooding, 1);
    let flood = std::thread::spawn(move || {
        let frame = action(2).replace("settings", "no such thing");
        while flooding.send(Message::text(frame.as_str())).is_ok() {}
    });
    // It has stopped reading in the middle of what the machine has to say.
    let (_raw, three, mut stuffed) = running();
    is_well(&mut stuffed, 1);
    for _ in 0..2000 {
        three.handle.press_button();
    }
    for running in [one, two, three] {
        let before = Instant::now();
        assert!(matches!(running.stop(), Ok(()) | Err(Error::Interrupted)));
        assert!(before.elapsed() < AT_ONCE, "{:?}", before.elapsed());
    }
    flood.join().unwrap();
}

#[test]
fn a_stop_ends_a_machine_whose_inbox_is_full() {
    // A machine that was never run reads nothing: the queue is full, and so is the socket behind it.
    let raw = Raw::start(good());
    let (mut emulator, _folder) = raw.machine(|_| ());
    emulator.connect().unwrap();
    let mut socket = raw.socket();
    stuff(&mut socket, &"x".repeat(100_000), Duration::from_millis(100));
    let handle = emulator.handle();
    handle.stop();
    let (done, ended) = crossbeam_channel::bounded(1);
    std::thread::spawn(move || done.send(emulator.run()));
    ended.recv_timeout(LIMIT).expect("it stops").unwrap();
}

#[test]
fn a_machine_that_runs_survives_a_sign_in_that_is_refused() {
    let refused = |statuses: [u16; 2]| {
        let (signed_in, good) = (AtomicUsize::new(0), good());
        let raw = Raw::start(move |asked| {
            if asked.what == "POST /machines/sign_in"
                && let Some(status) = statuses.get(signed_in.fetch_add(1, Ordering::AcqRel).wrapping_sub(1))
            {
                return http(*status, "");
            }
            good(asked)
        });
        let running = Running::start(raw.machine(|_| ()));
        let mut socket = raw.socket();
        is_well(&mut socket, 1);
        running.handle.press_button();
        drop(socket);
        let mut socket = raw.socket();
        is_well(&mut socket, 2);
        running.stop().unwrap();
    };
    std::thread::scope(|scope| {
        for statuses in [[401, 403], [400, 422], [404, 301]] {
            scope.spawn(move || refused(statuses));
        }
    });
}

#[test]
fn a_service_that_is_down_for_a_while_is_tried_until_it_is_up() {
    let bench = Setup::new(Generation::V2).start();
    bench.expect(1, "settings", "completed");
    bench.service.fault(Fault::status(503).on("POST", "/machines/sign_in").times(2));
    bench.service.drop_connection(Cut::Hard);
    bench.wait("the connection to be back", |seen| opened(seen) == 2);
    bench.expect(2, "settings", "completed");
    bench.stop().2.unwrap();
}

#[test]
fn a_cut_of_tls_without_a_goodbye_is_a_cut() {
    let bench = Setup::new(Generation::V2).service(|service| service.tls(true)).start();
    for (round, cut) in [Cut::Hard, Cut::Drain].into_iter().enumerate() {
        bench.expect(i64::try_from(round).unwrap() + 1, "settings", "completed");
        bench.service.drop_connection(cut);
        bench.wait("the connection to be back", |seen| opened(seen) == round + 2);
    }
    bench.stop().2.unwrap();
}

#[cfg(target_os = "linux")]
fn switches() -> Vec<(String, u64)> {
    let mut found = Vec::new();
    for task in std::fs::read_dir("/proc/self/task").unwrap() {
        let path = task.unwrap().path();
        let (Ok(name), Ok(status)) =
            (std::fs::read_to_string(path.join("comm")), std::fs::read_to_string(path.join("status")))
        else {
            continue;
        };
        if ["gf-websocket", "gf-worker"].contains(&name.trim()) {
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
            found.push((name.trim().to_owned(), line.trim().parse().unwrap()));
        }
    }
    found.sort();
    found
}

#[cfg(target_os = "linux")]
#[test]
fn sleeps_at_rest() {
    if !crate::raw::alone("websocket::sleeps_at_rest") {
        return;
    }
    for tls in [false, true] {
        let bench = Setup::new(Generation::V2).service(|service| service.tls(tls)).start();
        bench.expect(1, "motion", "completed");
        // It comes to rest some time, and then nothing moves for a while; with a poll in it nothing ever would rest.
        let rests = || {
            let before = switches();
            bench.service.wait_for(|_| false, Duration::from_millis(700));
            before.len() == 2 && switches() == before
        };
        assert!((0..40).any(|_| rests()), "{:?}", switches());
        bench.stop().2.unwrap();
    }
}
