//! Who follows: each gets every row as it is recorded, and nobody holds up the machine or anybody else.
//!
//! Rows go over a WebSocket: a browser has six connections to a host for everything else, and each page that is open would
//! keep one of them. What is sent are JSON objects: `{"n": 5, "row": "<details ..."}`, `{"pictures": true}` when there are
//! pictures or drawings that there may not have been before (the first message is that), and at the end
//! `{"over": "<nav ..."}`.
//!
//! One thread makes a row of each line of the recorder's and puts it into a bounded queue for each who follows. A queue
//! that is full means that its browser does not read: it is cut off, and when it comes back it gets what it has missed
//! from the recording. Each who follows has a thread of their own, which writes without blocking, and sleeps until there
//! is a row, the socket takes more, or the browser has gone.

use std::io;
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded, never, select};

use serde_json::json;
use tungstenite::protocol::{CloseFrame, Role, WebSocketConfig, frame::coding::CloseCode};
use tungstenite::{Error as WsError, Message, Utf8Bytes, WebSocket};

use crate::net::poll::{Interest, Poll, Waker};
use crate::record::{DisplayEntry, Event, Recording};
use crate::report::live_row;

/// Rows that wait for one browser.
const QUEUE: usize = 256;
/// How long a browser may take nothing of what there is for it.
const PATIENCE: Duration = Duration::from_secs(60);
/// When a peer that is silent is asked whether it is there: one on another computer may vanish without a word.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// A browser has nothing to say on its WebSocket but that it goes.
const HEARD_BYTES: usize = 1024;
/// Browsers that are served at the same time. The other connections are for what they ask.
pub(super) const MOST_SEATS: usize = 20;
/// What is said of pictures: that the page has to ask for them.
const PICTURES: &str = r#"{"pictures":true}"#;

/// Everybody who follows.
#[derive(Default)]
pub(super) struct Audience {
    seats: Mutex<Seats>,
    /// Somebody has left.
    fewer: Condvar,
}

#[derive(Default)]
struct Seats {
    taken: Vec<Seat>,
    /// Threads of those who follow.
    served: usize,
    /// The last message, once it is over: nothing more will come, and there is no use in connecting again.
    over: Option<Utf8Bytes>,
}

/// The hub's end of somebody's queue.
struct Seat {
    news: Sender<News>,
    waker: Waker,
    socket: Arc<TcpStream>,
}

/// A row on its way: the entry's number, and the message.
#[derive(Clone)]
struct Row {
    n: u64,
    text: Utf8Bytes,
}

/// What goes through somebody's queue.
#[derive(Clone)]
enum News {
    Row(Row),
    /// There are pictures or drawings that there were not before.
    Pictures,
}

impl Row {
    fn of(entry: &DisplayEntry) -> Self {
        let n = entry.entry.n;
        Self { n, text: json!({"n": n, "row": live_row(entry)}).to_string().into() }
    }
}

impl Audience {
    /// Hands on what is recorded, and tells of `files` that are there, until the sender of `ended` is gone. Runs on the
    /// hub's thread.
    pub(super) fn entertain(&self, lines: &Receiver<Arc<str>>, mut files: Receiver<()>, ended: &Receiver<()>) {
        let mut more = lines.clone();
        loop {
            select! {
                recv(more) -> line => match line {
                    Ok(line) => self.hand_on(&line),
                    // Nothing more is recorded; the page can be read still.
                    Err(_) => more = never(),
                },
                recv(files) -> file => match file {
                    Ok(()) => self.tell_of_pictures(),
                    Err(_) => files = never(),
                },
                recv(ended) -> _ => break,
            }
        }
        lines.try_iter().for_each(|line| self.hand_on(&line));
    }

    fn hand_on(&self, line: &str) {
        if self.seats().taken.is_empty() {
            return;
        }
        let Some(entry) = DisplayEntry::parse(line) else { return };
        if !matches!(entry.entry.event, Event::Session(_)) {
            self.tell(&News::Row(Row::of(&entry)));
        }
    }

    /// Says that there are pictures or drawings that there were not before.
    pub(super) fn tell_of_pictures(&self) {
        self.tell(&News::Pictures);
    }

    fn tell(&self, news: &News) {
        self.seats().taken.retain(|seat| match seat.news.try_send(news.clone()) {
            Ok(()) => {
                seat.waker.wake();
                true
            }
            Err(TrySendError::Full(_)) => {
                log::info!("follow: cut off a browser that does not read");
                // Wakes its thread, which ends.
                let _ = seat.socket.shutdown(Shutdown::Both);
                false
            }
            Err(TrySendError::Disconnected(_)) => false,
        });
    }

    /// Tells everybody that it is over, and waits until they have left, which they do at once. `last_words` is the page's
    /// other parts at the end, when nobody can be asked for them any more.
    pub(super) fn dismiss(&self, last_words: impl FnOnce() -> String) {
        let is_anybody_there = self.seats().served > 0;
        let words = if is_anybody_there { last_words() } else { String::new() };
        let mut seats = self.seats();
        seats.over = Some(json!({ "over": words }).to_string().into());
        for Seat { news, waker, .. } in seats.taken.drain(..) {
            drop(news);
            waker.wake();
        }
        while seats.served > 0 {
            seats = self.fewer.wait(seats).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A seat for one more, for as long as it is kept; nothing where all are taken, or it is over.
    pub(super) fn seat(&self) -> Option<Leaving<'_>> {
        let mut seats = self.seats();
        if seats.over.is_some() || seats.served >= MOST_SEATS {
            return None;
        }
        seats.served += 1;
        Some(Leaving(self))
    }

    /// Serves somebody who has had the rows up to `after`, until they go or it is over. The answer's head is written
    /// already; `early` is what was read behind the request.
    pub(super) fn serve(
        &self,
        socket: &Arc<TcpStream>,
        early: Vec<u8>,
        folder: &Path,
        after: u64,
        _seat: Leaving<'_>,
    ) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE);
        socket2::SockRef::from(&**socket).set_tcp_keepalive(&keepalive)?;
        let mut poll = Poll::new()?;
        poll.watch(Arc::clone(socket))?;
        let (news, queue) = bounded(QUEUE);
        {
            let mut seats = self.seats();
            if seats.over.is_some() {
                return Ok(());
            }
            seats.taken.push(Seat { news, waker: poll.waker(), socket: Arc::clone(socket) });
        }
        // Opened after the seat was taken: what is not in the file is in the queue.
        let served = Recording::open(folder).map_err(io::Error::other).and_then(|past| {
            let source = Source { is_new: true, past: Some(past), queue, last: after, told_over: false };
            let limits =
                WebSocketConfig::default().max_message_size(Some(HEARD_BYTES)).max_frame_size(Some(HEARD_BYTES));
            let socket = WebSocket::from_partially_read(&**socket, early, Role::Server, Some(limits));
            Stream { audience: self, socket, source, stuck: None }.run(&mut poll)
        });
        // Its socket and its poller are closed now, and not when there is something to tell.
        self.seats().taken.retain(|seat| !Arc::ptr_eq(&seat.socket, socket));
        served
    }

    fn is_over(&self) -> bool {
        self.seats().over.is_some()
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody's seat, until they leave it, however that comes.
pub(super) struct Leaving<'a>(&'a Audience);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.seats().served -= 1;
        self.0.fewer.notify_all();
    }
}

/// What there is for somebody: first what they have missed, then what comes.
struct Source {
    /// Nobody has told them yet of pictures that came between their page and their seat.
    is_new: bool,
    past: Option<Recording>,
    queue: Receiver<News>,
    /// The number of the last row that they have.
    last: u64,
    told_over: bool,
}

/// What is next.
enum Next {
    Message(Utf8Bytes),
    NothingYet,
    Over,
}

impl Source {
    fn next(&mut self, audience: &Audience) -> Next {
        if std::mem::take(&mut self.is_new) {
            return Next::Message(PICTURES.into());
        }
        while let Some(past) = &mut self.past {
            match past.next_for_display() {
                Some(Ok(entry)) if entry.entry.n > self.last => {
                    self.last = entry.entry.n;
                    return Next::Message(Row::of(&entry).text);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => self.past = None,
            }
        }
        loop {
            match self.queue.try_recv() {
                Ok(News::Row(row)) if row.n > self.last => {
                    self.last = row.n;
                    return Next::Message(row.text);
                }
                Ok(News::Row(_)) => {}
                Ok(News::Pictures) => return Next::Message(PICTURES.into()),
                Err(TryRecvError::Empty) => return Next::NothingYet,
                Err(TryRecvError::Disconnected) if self.told_over => return Next::Over,
                Err(TryRecvError::Disconnected) => {
                    self.told_over = true;
                    // Without one it was cut off.
                    return audience.seats().over.clone().map_or(Next::Over, Next::Message);
                }
            }
        }
    }
}

/// Somebody's connection.
struct Stream<'a> {
    audience: &'a Audience,
    socket: WebSocket<&'a TcpStream>,
    source: Source,
    /// Since when the socket has not taken all that there is.
    stuck: Option<Instant>,
}

impl Stream<'_> {
    fn run(&mut self, poll: &mut Poll) -> io::Result<()> {
        while self.write()? {
            if self.stuck.is_some_and(|since| since.elapsed() >= PATIENCE) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            if !self.read()? {
                return Ok(());
            }
            let interest = if self.stuck.is_some() { Interest::Both } else { Interest::Readable };
            poll.wait(interest, self.stuck.map(|since| since + PATIENCE))?;
        }
        // Nobody is waited for: who reads gets what was sent.
        let frame = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
        let _ = self.socket.close(Some(frame)).and_then(|()| self.socket.flush());
        Ok(())
    }

    /// Reads what there is: nothing but that the browser goes. Whether it has not.
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

    /// Writes what there is, as far as the socket takes it. Whether there may be more.
    fn write(&mut self) -> io::Result<bool> {
        loop {
            match self.socket.flush() {
                Ok(()) => self.stuck = None,
                Err(WsError::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.stuck.get_or_insert_with(Instant::now);
                    // At the end nobody is waited for.
                    return Ok(!self.audience.is_over());
                }
                Err(WsError::Io(e)) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(io::Error::other(e)),
            }
            if self.source.past.is_some() && self.audience.is_over() {
                return Ok(false);
            }
            let text = match self.source.next(self.audience) {
                Next::Message(text) => text,
                Next::NothingYet => return Ok(true),
                Next::Over => return Ok(false),
            };
            match self.socket.write(Message::Text(text)) {
                Ok(()) => {}
                // It is queued all the same.
                Err(WsError::Io(e)) if e.kind() == io::ErrorKind::WouldBlock => {}
                Err(e) => return Err(io::Error::other(e)),
            }
        }
    }
}
