//! Pings and what becomes of them, in milliseconds rather than half minutes.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crossbeam_channel::Receiver;
use http::header::HeaderValue;
use tungstenite::{Message, WebSocket};

use super::super::dial::Address;
use super::super::outbox::frame_bytes;
use super::*;
use crate::Tls;
use crate::net::Network;
use crate::net::url::Url;
use crate::record::RecorderSlot;
use crate::websocket::queues::{MachineQueues, Outgoing};

const LIMIT: Duration = Duration::from_secs(30);

/// A machine's WebSocket, and the service's ends of it one after the other.
struct Bench {
    client: Option<WsClient>,
    machine: MachineQueues,
    sockets: Receiver<WebSocket<TcpStream>>,
    dialled: Arc<AtomicUsize>,
}

fn bench(watch: Watch) -> Bench {
    bench_that(watch, GOOD_AFTER, |_| ())
}

/// With something to be done at each dial; it is told which one it is.
fn bench_that(watch: Watch, good_after: Duration, at_dial: impl Fn(usize) + Send + Sync + 'static) -> Bench {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    // What is accepted inherits it: left to itself, the system lets it grow to more than any test says.
    socket2::SockRef::from(&listener).set_recv_buffer_size(64 << 10).unwrap();
    let url = Url::parse(&format!("ws://{}/token", listener.local_addr().unwrap())).unwrap();
    let (open, sockets) = bounded(1);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let stream = stream.unwrap();
            stream.set_read_timeout(Some(LIMIT)).unwrap();
            #[allow(clippy::result_large_err)]
            let agree = |_: &_, mut response: tungstenite::handshake::server::Response| {
                response.headers_mut().insert("sec-websocket-protocol", HeaderValue::from_static("glowforge"));
                Ok(response)
            };
            if open.send(tungstenite::accept_hdr(stream, agree).unwrap()).is_err() {
                return;
            }
        }
    });
    let dialled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&dialled);
    let address: Address = Arc::new(move || {
        at_dial(count.fetch_add(1, Ordering::AcqRel) + 1);
        Ok(url.clone())
    });
    let route = Route {
        origin: String::new(),
        tap: RecorderSlot::default(),
        address,
        network: Network { tls: Tls::new(None).unwrap(), proxy: None },
        user_agent: "OpenGlow/test".into(),
        cancel: CancelToken::default(),
    };
    let (machine, peer) = MachineQueues::in_memory();
    let socket = route.dial().unwrap();
    let client = Some(WsClient::start_watched(socket, route, &peer, watch, good_after).unwrap());
    Bench { client, machine, sockets, dialled }
}

impl Bench {
    fn socket(&self) -> WebSocket<TcpStream> {
        self.sockets.recv_timeout(LIMIT).unwrap()
    }

    fn stop(mut self) {
        let client = self.client.take().unwrap();
        let (done, stopped) = bounded(1);
        thread::spawn(move || done.send(client.stop()));
        stopped.recv_timeout(LIMIT).expect("it stops").unwrap();
    }
}

/// Reads until a ping, which is answered with the next read or flush.
fn ping(socket: &mut WebSocket<TcpStream>) {
    while !matches!(socket.read().unwrap(), Message::Ping(_)) {}
}

#[test]
fn pings_for_as_long_as_it_is_answered() {
    let bench = bench(Watch { ping_every: Duration::from_millis(20), pong_within: LIMIT });
    let mut socket = bench.socket();
    for _ in 0..5 {
        ping(&mut socket);
    }
    assert_eq!(bench.dialled.load(Ordering::Acquire), 1);
    bench.stop();
}

#[test]
fn a_pong_that_does_not_come_is_a_lost_connection() {
    let bench = bench(Watch { ping_every: Duration::from_millis(20), pong_within: Duration::from_millis(20) });
    // Never read: so never answered. It stays open meanwhile.
    let _silent = bench.socket();
    let mut socket = bench.socket();
    assert!(bench.dialled.load(Ordering::Acquire) >= 2);
    ping(&mut socket);
    bench.stop();
}

#[test]
fn a_cut_after_a_good_connection_is_a_first_one_each_time() {
    let bench = bench_that(no_pings(), Duration::ZERO, |_| ());
    let before = Instant::now();
    for _ in 0..7 {
        drop(bench.socket());
    }
    // Six pauses that grow take at least 15.25 s; six that do not, 3 at most. Between them is room for a slow machine.
    assert!(before.elapsed() < Duration::from_secs(14), "{:?}", before.elapsed());
    bench.stop();
}

#[test]
fn knows_the_length_of_a_frame() {
    for payload in [0, 1, 125, 126, 0xffff, 0x10000] {
        let mut wire = Vec::new();
        let mut socket =
            WebSocket::from_raw_socket(io::Cursor::new(&mut wire), tungstenite::protocol::Role::Client, None);
        socket.send(Message::text("x".repeat(payload))).unwrap();
        drop(socket);
        assert_eq!(wire.len() as u64, frame_bytes(payload), "{payload}");
    }
}

#[test]
fn what_a_cut_catches_on_its_way_arrives_once_and_in_order() {
    // More than both systems' buffers hold, so that the cut comes in the middle of something; fewer than the backlog.
    const MESSAGES: usize = 3000;
    let bench = bench(Watch::default());
    let mut first = bench.socket();
    // Of lengths that put the ends of messages and of writes anywhere.
    let text = |n: usize| format!("{n} {}\n", "x".repeat(n * 7919 % 5000));
    let arrive = |n: usize| bench.machine.tx.send(Outgoing::new(text(n), String::new(), false)).unwrap();
    (0..MESSAGES).for_each(arrive);
    // Nothing more comes from here; what has been taken on the other side is still on its way here.
    first.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    let mut got = Vec::new();
    while let Ok(message) = first.read() {
        got.extend(message.to_text().map(str::to_owned));
    }
    assert!(got.len() < MESSAGES, "the buffers here are too large for this test");
    let mut second = bench.socket();
    while got.len() < MESSAGES {
        if let Message::Text(message) = second.read().unwrap() {
            got.push(message.to_string());
        }
    }
    for (n, message) in got.iter().enumerate() {
        assert_eq!(message, &text(n));
    }
    bench.stop();
}

/// A watch that never pings, so that nothing but what the test does ends a connection.
fn no_pings() -> Watch {
    Watch { ping_every: Duration::from_hours(1), ..Watch::default() }
}

fn message(text: &str) -> Outgoing {
    Outgoing::new(text.into(), String::new(), false)
}

// Elsewhere a reset discards what has arrived.
#[cfg(target_os = "linux")]
#[test]
fn what_has_arrived_is_read_before_a_broken_connection_is_given_up() {
    const FRAMES: usize = 200;
    let bench = bench(no_pings());
    let mut socket = bench.socket();
    for n in 0..FRAMES {
        socket.write(Message::Ping(vec![1].into())).unwrap();
        socket.write(Message::text(n.to_string())).unwrap();
    }
    socket.flush().unwrap();
    // A reset: from here on every write fails. The machine has read no more than its queue holds.
    socket2::SockRef::from(socket.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
    drop(socket);
    bench.machine.tx.send(message("a write that fails")).unwrap();
    for n in 0..FRAMES {
        assert_eq!(bench.machine.rx.recv_timeout(LIMIT).unwrap(), n.to_string());
    }
    let mut socket = bench.socket();
    assert_eq!(socket.read().unwrap(), Message::text("a write that fails"));
    bench.stop();
}

#[test]
fn a_panic_while_dialling_is_noticed_and_it_dials_again() {
    let bench = bench_that(no_pings(), GOOD_AFTER, |dialled| assert!(dialled != 2, "a mistake in the sign-in"));
    drop(bench.socket());
    let mut socket = bench.socket();
    assert_eq!(bench.dialled.load(Ordering::Acquire), 3);
    bench.machine.tx.send(message("here")).unwrap();
    assert_eq!(socket.read().unwrap(), Message::text("here"));
    bench.stop();
}

#[test]
fn a_close_is_answered_and_a_new_connection_made_though_the_old_one_stays_open() {
    let bench = bench(no_pings());
    let mut first = bench.socket();
    first.close(None).unwrap();
    // The first is neither read nor closed.
    let mut second = bench.socket();
    bench.machine.tx.send(message("here")).unwrap();
    assert_eq!(second.read().unwrap(), Message::text("here"));
    assert!(matches!(first.read(), Ok(Message::Close(None))), "the answer to the Close");
    bench.stop();
}

#[test]
fn connections_that_do_not_last_are_made_more_and_more_slowly() {
    let bench = bench(no_pings());
    let before = Instant::now();
    for _ in 0..5 {
        let mut socket = bench.socket();
        socket.send(Message::text("hello")).unwrap();
    }
    // Four pauses of at least 0.25, 0.5, 1 and 2 s; none of them grown, they take 2 s at most.
    assert!(before.elapsed() >= Duration::from_millis(3750), "{:?}", before.elapsed());
    bench.stop();
}

/// Writes this again and again until the machine hangs up.
fn flood(socket: &WebSocket<TcpStream>, first: &[u8], then: &[u8]) -> thread::JoinHandle<()> {
    let mut stream = socket.get_ref().try_clone().unwrap();
    let (first, then) = (first.to_vec(), then.repeat(10_000));
    thread::spawn(move || {
        let mut written = stream.write_all(&first);
        while written.is_ok() {
            written = stream.write_all(&then);
        }
    })
}

#[test]
fn a_message_without_end_keeps_nothing_from_going_out() {
    // The first fragment of a text, and empty ones; the same after a Close of the machine.
    let bench = bench(no_pings());
    let mut socket = bench.socket();
    let flood = flood(&socket, &[0x01, 0], &[0, 0]);
    for n in 0..10 {
        bench.machine.tx.send(message(&n.to_string())).unwrap();
        assert_eq!(socket.read().unwrap(), Message::text(n.to_string()));
    }
    bench.stop();
    flood.join().unwrap();
}

#[test]
fn binary_frames_without_end_do_not_keep_it_from_closing() {
    let bench = bench(no_pings());
    let socket = bench.socket();
    let flood = flood(&socket, &[], &[0x82, 1, 0]);
    bench.stop();
    flood.join().unwrap();
}

#[test]
fn pings_that_come_in_between_change_nothing_about_what_was_sent() {
    const MESSAGES: usize = 3000;
    let bench = bench(no_pings());
    let mut first = bench.socket();
    let pings = flood(&first, &[], &[&[0x89, 125][..], &[7; 125]].concat());
    let text = |n: usize| format!("{n} {}\n", "x".repeat(n * 7919 % 5000));
    (0..MESSAGES).for_each(|n| bench.machine.tx.send(message(&text(n))).unwrap());
    let mut got = Vec::new();
    while got.len() < MESSAGES / 3 {
        if let Message::Text(message) = first.read().unwrap() {
            got.push(message.to_string());
        }
    }
    // Nothing more comes from here; what the machine's system has taken is still on its way here.
    first.get_mut().shutdown(std::net::Shutdown::Write).unwrap();
    pings.join().unwrap();
    while let Ok(message) = first.read() {
        if let Message::Text(message) = message {
            got.push(message.to_string());
        }
    }
    let mut second = bench.socket();
    while got.len() < MESSAGES {
        if let Message::Text(message) = second.read().unwrap() {
            got.push(message.to_string());
        }
    }
    for (n, message) in got.iter().enumerate() {
        assert!(message == &text(n), "{n}: {}", &message[..20.min(message.len())]);
    }
    bench.stop();
}
