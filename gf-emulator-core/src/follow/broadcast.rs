//! Sends every new row to every open page, without ever blocking the machine.
//!
//! Rows go over a WebSocket: a browser opens at most six HTTP connections to a host, and each open page would occupy one.
//! The messages are JSON objects: `{"n": 5, "row": "<details ..."}`; `{"attachments": true}` when pictures or drawings may
//! have become available (always the first message); and at the end `{"end": "<nav ..."}`.
//!
//! One thread renders each recorded line once and puts it into a bounded queue per subscriber. If a queue is full, its
//! browser is not reading: it is disconnected, and gets what it has missed from the recording when it reconnects. Each
//! subscriber has its own thread, which never blocks on a write: it sleeps until there is a row, the socket is writable,
//! or the browser has closed the connection.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded, never, select};

use serde_json::json;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode};
use tungstenite::{Error as WsError, Message, Utf8Bytes, WebSocket};

use crate::net::poll::{Interest, Poll, Waker};
use crate::net::{Socket, TcpSocket};
use crate::record::{DisplayEntry, Event, Recording};
use crate::report::live_row;
use crate::sync::{lock, wait};

/// The most updates queued for one subscriber.
const QUEUE_CAPACITY: usize = 256;
/// A subscriber that accepts no data for this long is disconnected.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);
/// Finds peers that have vanished without closing the connection.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// The longest message accepted: a page sends nothing but a Close frame.
const MAX_RECEIVED_BYTES: usize = 1024;
/// The most subscribers. The remaining connections are for requests.
const MAX_SUBSCRIBERS: usize = 20;
const ATTACHMENTS: &str = r#"{"attachments":true}"#;

/// All subscribers.
#[derive(Default)]
pub(super) struct Broadcaster {
    subscribers: Mutex<Subscribers>,
    slot_freed: Condvar,
}

#[derive(Default)]
struct Subscribers {
    connected: Vec<Subscriber>,
    /// Threads that serve a subscriber.
    slots_taken: usize,
    /// The last message, once the session has ended: the page does not reconnect after it.
    end_message: Option<Utf8Bytes>,
}

/// The sending side of a subscriber's queue.
struct Subscriber {
    queue: Sender<Update>,
    waker: Waker,
    socket: Arc<TcpSocket>,
}

#[derive(Clone)]
enum Update {
    Row(RowMessage),
    /// Pictures or drawings may have become available.
    Attachments,
}

#[derive(Clone)]
struct RowMessage {
    /// The entry's number.
    n: u64,
    json: Utf8Bytes,
}

impl RowMessage {
    fn new(entry: &DisplayEntry) -> Self {
        let n = entry.entry.n;
        Self { n, json: json!({"n": n, "row": live_row(entry)}).to_string().into() }
    }
}

impl Broadcaster {
    /// Publishes recorded `lines` and finished `files` until the sender of `stop` is dropped.
    pub(super) fn run(&self, lines: &Receiver<Arc<str>>, mut files: Receiver<()>, stop: &Receiver<()>) {
        let mut open_lines = lines.clone();
        loop {
            select! {
                recv(open_lines) -> line => match line {
                    Ok(line) => self.publish_line(&line),
                    // The recorder has ended; pages can still be requested.
                    Err(_) => open_lines = never(),
                },
                recv(files) -> file => match file {
                    Ok(()) => self.publish_attachments(),
                    Err(_) => files = never(),
                },
                recv(stop) -> _ => break,
            }
        }
        lines.try_iter().for_each(|line| self.publish_line(&line));
    }

    fn publish_line(&self, line: &str) {
        if self.lock().connected.is_empty() {
            return;
        }
        let Some(entry) = DisplayEntry::parse(line) else { return };
        if !matches!(entry.entry.event, Event::Session(_)) {
            self.publish(&Update::Row(RowMessage::new(&entry)));
        }
    }

    /// Tells every page that pictures or drawings may have become available.
    pub(super) fn publish_attachments(&self) {
        self.publish(&Update::Attachments);
    }

    fn publish(&self, update: &Update) {
        self.lock().connected.retain(|subscriber| match subscriber.queue.try_send(update.clone()) {
            Ok(()) => {
                subscriber.waker.wake();
                true
            }
            Err(TrySendError::Full(_)) => {
                log::info!("follow: disconnected a browser that does not read");
                // Its thread then ends.
                let _ = subscriber.socket.shutdown(Shutdown::Both);
                false
            }
            Err(TrySendError::Disconnected(_)) => false,
        });
    }

    /// Sends the end message to every subscriber, and waits until their threads have ended, which happens at once.
    /// `sections` renders the final state of the page; it is not called if nobody is connected.
    pub(super) fn end(&self, sections: impl FnOnce() -> String) {
        let has_subscribers = self.lock().slots_taken > 0;
        let sections = if has_subscribers { sections() } else { String::new() };
        let mut subscribers = self.lock();
        subscribers.end_message = Some(json!({ "end": sections }).to_string().into());
        for Subscriber { queue, waker, .. } in subscribers.connected.drain(..) {
            drop(queue);
            waker.wake();
        }
        while subscribers.slots_taken > 0 {
            subscribers = wait(&self.slot_freed, subscribers, None);
        }
    }

    /// Reserves a slot for a subscriber until the guard is dropped. `None` if all are taken, or after the end.
    pub(super) fn reserve_slot(&self) -> Option<SlotGuard<'_>> {
        let mut subscribers = self.lock();
        if subscribers.end_message.is_some() || subscribers.slots_taken >= MAX_SUBSCRIBERS {
            return None;
        }
        subscribers.slots_taken += 1;
        Some(SlotGuard(self))
    }

    /// Sends the rows after number `last` until the page disconnects or the session ends. The handshake response has been
    /// sent; `early` is what was read after the request.
    pub(super) fn serve(
        &self,
        socket: &Arc<TcpSocket>,
        early: Vec<u8>,
        folder: &Path,
        last: u64,
        _slot: SlotGuard<'_>,
    ) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE);
        socket2::SockRef::from(&***socket).set_tcp_keepalive(&keepalive)?;
        let mut poll = Poll::new()?;
        poll.watch(Socket::Tcp(Arc::clone(socket)))?;
        let (sender, queue) = bounded(QUEUE_CAPACITY);
        {
            let mut subscribers = self.lock();
            if subscribers.end_message.is_some() {
                return Ok(());
            }
            let subscriber = Subscriber { queue: sender, waker: poll.waker(), socket: Arc::clone(socket) };
            subscribers.connected.push(subscriber);
        }
        // Opened after subscribing: what is not yet in the file is in the queue.
        let result = Recording::open(folder).map_err(io::Error::other).and_then(|missed| {
            let feed = Feed::new(missed, queue, last);
            let limits = WebSocketConfig::default()
                .max_message_size(Some(MAX_RECEIVED_BYTES))
                .max_frame_size(Some(MAX_RECEIVED_BYTES));
            let socket = WebSocket::from_partially_read(&***socket, early, Role::Server, Some(limits));
            RowSocket { broadcaster: self, socket, feed, blocked_since: None }.run(&mut poll)
        });
        // Now, and not at the next update: the entry keeps the socket open.
        self.lock().connected.retain(|subscriber| !Arc::ptr_eq(&subscriber.socket, socket));
        result
    }

    fn has_ended(&self) -> bool {
        self.lock().end_message.is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Subscribers> {
        lock(&self.subscribers)
    }
}

/// Frees a subscriber's slot when dropped.
pub(super) struct SlotGuard<'a>(&'a Broadcaster);

impl Drop for SlotGuard<'_> {
    fn drop(&mut self) {
        self.0.lock().slots_taken -= 1;
        self.0.slot_freed.notify_all();
    }
}

/// The messages for one subscriber: first those it has missed, then its queue.
struct Feed {
    /// Attachments may have become available between the page and the subscription.
    announces_attachments: bool,
    missed: Option<Recording>,
    queue: Receiver<Update>,
    /// The number of the last row sent.
    last: u64,
    /// Missed rows sent since the session has ended.
    sent_after_end: usize,
    has_sent_end_message: bool,
}

enum FeedItem {
    Message(Utf8Bytes),
    Empty,
    End,
}

impl Feed {
    fn new(missed: Recording, queue: Receiver<Update>, last: u64) -> Self {
        Self {
            announces_attachments: true,
            missed: Some(missed),
            queue,
            last,
            sent_after_end: 0,
            has_sent_end_message: false,
        }
    }

    fn next(&mut self, broadcaster: &Broadcaster) -> FeedItem {
        if std::mem::take(&mut self.announces_attachments) {
            return FeedItem::Message(ATTACHMENTS.into());
        }
        while let Some(missed) = &mut self.missed {
            match missed.next_for_display() {
                Some(Ok(entry)) if entry.entry.n > self.last => {
                    if broadcaster.has_ended() {
                        // Shutdown does not wait until a long recording is sent.
                        if self.sent_after_end == QUEUE_CAPACITY {
                            return FeedItem::End;
                        }
                        self.sent_after_end += 1;
                    }
                    self.last = entry.entry.n;
                    return FeedItem::Message(RowMessage::new(&entry).json);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => self.missed = None,
            }
        }
        loop {
            match self.queue.try_recv() {
                Ok(Update::Row(row)) if row.n > self.last => {
                    self.last = row.n;
                    return FeedItem::Message(row.json);
                }
                Ok(Update::Row(_)) => {}
                Ok(Update::Attachments) => return FeedItem::Message(ATTACHMENTS.into()),
                Err(TryRecvError::Empty) => return FeedItem::Empty,
                Err(TryRecvError::Disconnected) if self.has_sent_end_message => return FeedItem::End,
                Err(TryRecvError::Disconnected) => {
                    self.has_sent_end_message = true;
                    // There is none if the subscriber was disconnected.
                    return broadcaster.lock().end_message.clone().map_or(FeedItem::End, FeedItem::Message);
                }
            }
        }
    }
}

/// A subscriber's WebSocket and its feed.
struct RowSocket<'a> {
    broadcaster: &'a Broadcaster,
    socket: WebSocket<&'a TcpStream>,
    feed: Feed,
    /// Since when the socket has not accepted all data.
    blocked_since: Option<Instant>,
}

impl RowSocket<'_> {
    fn run(&mut self, poll: &mut Poll) -> io::Result<()> {
        while self.write()? {
            if self.blocked_since.is_some_and(|since| since.elapsed() >= WRITE_TIMEOUT) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if !self.read()? {
                return Ok(());
            }
            let interest = if self.blocked_since.is_some() { Interest::Both } else { Interest::Readable };
            poll.wait(interest, self.blocked_since.map(|since| since + WRITE_TIMEOUT))?;
        }
        // Does not wait for the Close reply.
        let frame = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        let _ = self.socket.close(Some(frame)).and_then(|()| self.socket.flush());
        Ok(())
    }

    /// Discards what the page sends. Returns false if it has closed the connection.
    fn read(&mut self) -> io::Result<bool> {
        loop {
            match self.socket.read() {
                Ok(Message::Close(_)) => {
                    let _ = self.socket.flush();
                    return Ok(false);
                }
                Ok(_) => {}
                Err(WsError::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(WsError::Io(e)) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(WsError::ConnectionClosed | WsError::AlreadyClosed) => return Ok(false),
                Err(e) => return Err(io::Error::other(e)),
            }
        }
    }

    /// Writes until the feed is empty or the socket would block. Returns false after the end of the feed.
    fn write(&mut self) -> io::Result<bool> {
        loop {
            match self.socket.flush() {
                Ok(()) => self.blocked_since = None,
                Err(WsError::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked_since.get_or_insert_with(Instant::now);
                    // Shutdown does not wait for a slow browser.
                    return Ok(!self.broadcaster.has_ended());
                }
                Err(WsError::Io(e)) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(io::Error::other(e)),
            }
            let text = match self.feed.next(self.broadcaster) {
                FeedItem::Message(text) => text,
                FeedItem::Empty => return Ok(true),
                FeedItem::End => return Ok(false),
            };
            match self.socket.write(Message::Text(text)) {
                Ok(()) => {}
                // The message is in tungstenite's buffer anyway.
                Err(WsError::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(io::Error::other(e)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::record::Recorder;

    /// What a page gets that has read nothing when the session ends: the number of rows, and the end message.
    fn feed_at_end(rows: usize) -> (usize, Option<String>) {
        let folder = tempfile::tempdir().unwrap();
        let recorder = Recorder::of_machine(folder.path(), &Config::default()).unwrap();
        (0..rows).for_each(|_| recorder.state("x", None));
        drop(recorder);
        let broadcaster = Broadcaster::default();
        broadcaster.end(String::new);
        let mut feed = Feed::new(Recording::open(folder.path()).unwrap(), bounded(0).1, 0);
        let mut messages = Vec::new();
        while let FeedItem::Message(text) = feed.next(&broadcaster) {
            messages.push(text);
        }
        assert_eq!(messages.remove(0), ATTACHMENTS);
        let end = messages.pop_if(|message| message.starts_with("{\"end\""));
        (messages.len(), end.map(|end| end.to_string()))
    }

    #[test]
    fn a_page_that_has_missed_rows_gets_them_before_the_end() {
        assert_eq!(feed_at_end(0), (0, Some(r#"{"end":""}"#.into())));
        assert_eq!(feed_at_end(QUEUE_CAPACITY), (QUEUE_CAPACITY, Some(r#"{"end":""}"#.into())));
        // Shutdown does not wait for more.
        assert_eq!(feed_at_end(QUEUE_CAPACITY + 1), (QUEUE_CAPACITY, None));
    }
}
