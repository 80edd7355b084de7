//! [`WsClient`] with its own message loop, without the emulator, against a service that cuts, closes and floods.

use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::thread;

use crossbeam_channel::{Receiver, bounded};
use gf_emulator_core::config::Generation;
use gf_emulator_core::{Config, Error, MachineQueues, Outgoing, Tx, WsClient};
use gf_emulator_tests::{LIMIT, config, folder};
use tungstenite::{Message, WebSocket};

use crate::raw_service::{RawService, http, normal_responses};

type Socket = WebSocket<TcpStream>;

struct Setup {
    raw: RawService,
    client: WsClient,
    rx: Receiver<String>,
    tx: Tx,
}

fn config_for(raw: &RawService) -> Config {
    let mut config = config(folder().path(), Generation::V2);
    config.service.server_url = format!("http://{}", raw.addr);
    config.service.status_service_url = format!("ws://{}", raw.addr);
    config
}

fn connect() -> Setup {
    let raw = RawService::start(normal_responses());
    let (client, MachineQueues { rx, tx, .. }) = WsClient::connect(&config_for(&raw)).unwrap();
    Setup { raw, client, rx, tx }
}

impl Setup {
    fn send(&self, text: &str) {
        self.tx.send(Outgoing::event(text)).unwrap();
    }

    /// Stops the client, within a limit, and returns its queues.
    fn stop(self) -> (Receiver<String>, Tx) {
        let (done, stopped) = bounded(1);
        thread::spawn(move || done.send(self.client.stop()));
        stopped.recv_timeout(LIMIT).expect("the client stops").unwrap();
        (self.rx, self.tx)
    }
}

/// Reads until the next text message.
fn next_text(socket: &mut Socket) -> String {
    loop {
        if let Message::Text(text) = socket.read().unwrap() {
            return text.to_string();
        }
    }
}

/// Writes `first` and then `rest` repeatedly until the connection ends.
fn flood(socket: &Socket, first: &[u8], rest: &[u8]) -> thread::JoinHandle<()> {
    let mut stream = socket.get_ref().try_clone().unwrap();
    let (first, rest) = (first.to_vec(), rest.repeat(10_000));
    thread::spawn(move || {
        let mut written = stream.write_all(&first);
        while written.is_ok() {
            written = stream.write_all(&rest);
        }
    })
}

fn check_delivery_over_a_cut(with_pings: bool) {
    // More than both socket buffers hold, so that one message is sent in part; fewer than the outbox holds.
    const MESSAGES: usize = 3000;
    let client = connect();
    let mut first = client.raw.socket();
    socket2::SockRef::from(first.get_ref()).set_recv_buffer_size(64 << 10).unwrap();
    // A limited number: the client answers each, and the test must end before the client pings, because the answer to
    // that would be written between these bytes.
    let pings = with_pings.then(|| {
        let mut stream = first.get_ref().try_clone().unwrap();
        let pings = [&[0x89, 125][..], &[7; 125]].concat().repeat(5000);
        thread::spawn(move || _ = stream.write_all(&pings))
    });
    // Varying lengths, so that writes end at any position of a message.
    let text = |n: usize| format!("{n} {}\n", "x".repeat(n * 7919 % 5000));
    (0..MESSAGES).for_each(|n| client.send(&text(n)));
    let mut received = Vec::new();
    while received.len() < MESSAGES / 3 {
        received.push(next_text(&mut first));
    }
    // The client reads EOF; data in its send buffer still arrives here.
    first.get_mut().shutdown(Shutdown::Write).unwrap();
    if let Some(pings) = pings {
        pings.join().unwrap();
    }
    while let Ok(message) = first.read() {
        if let Message::Text(text) = message {
            received.push(text.to_string());
        }
    }
    assert!(received.len() < MESSAGES, "the buffers are too large for this test");
    let mut second = client.raw.socket();
    while received.len() < MESSAGES {
        received.push(next_text(&mut second));
    }
    for (n, message) in received.iter().enumerate() {
        assert!(message == &text(n), "{n}: {message:.20}");
    }
    client.stop();
}

#[test]
fn sends_once_and_in_order_over_a_cut() {
    check_delivery_over_a_cut(false);
}

#[test]
fn sends_once_and_in_order_over_a_cut_among_pings() {
    check_delivery_over_a_cut(true);
}

// On other systems a reset discards received data.
#[cfg(target_os = "linux")]
#[test]
fn reads_received_messages_before_closing_a_broken_connection() {
    const FRAMES: usize = 200;
    let client = connect();
    let mut socket = client.raw.socket();
    for n in 0..FRAMES {
        socket.write(Message::Ping(vec![1].into())).unwrap();
        socket.write(Message::text(n.to_string())).unwrap();
    }
    socket.flush().unwrap();
    // A reset: every write fails from now on. The client has read at most as many messages as rx holds.
    socket2::SockRef::from(socket.get_ref()).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    drop(socket);
    client.send("a write that fails");
    for n in 0..FRAMES {
        assert_eq!(client.rx.recv_timeout(LIMIT).unwrap(), n.to_string());
    }
    assert_eq!(next_text(&mut client.raw.socket()), "a write that fails");
    client.stop();
}

#[test]
fn answers_a_close_and_reconnects_while_the_old_connection_stays_open() {
    let client = connect();
    let mut first = client.raw.socket();
    first.close(None).unwrap();
    // The first connection is neither read nor closed.
    let mut second = client.raw.socket();
    client.send("after");
    assert_eq!(next_text(&mut second), "after");
    assert!(matches!(first.read(), Ok(Message::Close(None))), "the answer to the Close");
    client.stop();
}

#[test]
fn an_endless_incoming_message_does_not_block_sending() {
    let client = connect();
    let mut socket = client.raw.socket();
    // The first fragment of a text, then empty ones, also after the client's Close.
    let flood = flood(&socket, &[0x01, 0], &[0, 0]);
    for n in 0..10 {
        client.send(&n.to_string());
        assert_eq!(next_text(&mut socket), n.to_string());
    }
    client.stop();
    flood.join().unwrap();
}

#[test]
fn stops_during_endless_binary_frames() {
    let client = connect();
    let socket = client.raw.socket();
    let flood = flood(&socket, &[], &[0x82, 1, 0]);
    client.stop();
    flood.join().unwrap();
}

#[test]
fn a_stop_sends_queued_messages_closes_and_disconnects_both_queues() {
    let client = connect();
    let mut socket = client.raw.socket();
    let reader = thread::spawn(move || {
        let mut received = Vec::new();
        loop {
            match socket.read() {
                Ok(Message::Text(text)) => received.push(text.to_string()),
                Ok(Message::Close(_)) => return received,
                other => assert!(other.is_ok(), "ended without a Close: {other:?}"),
            }
        }
    });
    (0..200).for_each(|n| client.send(&n.to_string()));
    let (rx, tx) = client.stop();
    assert_eq!(reader.join().unwrap(), (0..200).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(rx.recv().is_err());
    assert_eq!(tx.send(Outgoing::event("late")).unwrap_err().0.text(), "late");
}

#[test]
fn connect_fails_if_the_credentials_are_rejected() {
    let raw = RawService::start(|_| http(401, ""));
    assert!(matches!(WsClient::connect(&config_for(&raw)), Err(Error::SignInRefused { status: 401 })));
    assert_eq!(raw.requests(), ["POST /machines/sign_in"]);
}
