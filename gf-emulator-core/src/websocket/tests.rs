//! Pings and what becomes of them, in milliseconds rather than half minutes.

use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::connection::Connection;
use crate::net::Tls;

const LIMIT: Duration = Duration::from_secs(30);

/// A machine's WebSocket, and the service's ends of it one after the other.
struct Bench {
    client: Option<WsClient>,
    machine: Connection,
    sockets: Receiver<WebSocket<TcpStream>>,
    dialled: Arc<AtomicUsize>,
}

fn bench(watch: Watch) -> Bench {
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
        count.fetch_add(1, Ordering::AcqRel);
        Ok(url.clone())
    });
    let route = Route {
        origin: String::new(),
        tap: Tap::default(),
        address,
        network: Network { tls: Tls::new(None).unwrap(), proxy: None },
        user_agent: "OpenGlow/test".into(),
        interrupt: Interrupt::default(),
    };
    let (machine, peer) = Connection::in_memory();
    let socket = route.dial().unwrap();
    let client = Some(WsClient::start_watched(socket, route, peer, watch).unwrap());
    Bench { client, machine, sockets, dialled }
}

impl Bench {
    fn socket(&self) -> WebSocket<TcpStream> {
        self.sockets.recv_timeout(LIMIT).unwrap()
    }

    fn stop(mut self) {
        self.client.take().unwrap().stop().unwrap();
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
fn a_cut_after_a_quiet_hour_is_a_first_one_each_time() {
    let bench = bench(Watch { ping_every: Duration::from_millis(5), pong_within: LIMIT });
    let before = Instant::now();
    for _ in 0..7 {
        let mut socket = bench.socket();
        // The second ping comes after the first one's pong has been read, or is on its way beside it: the third is sure.
        for _ in 0..3 {
            ping(&mut socket);
        }
    }
    // Six pauses that grow take at least 15.75 s; six that do not, 3 at most. Between them is room for a slow machine.
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
