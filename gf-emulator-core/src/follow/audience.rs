//! Who follows: each gets every row as it is recorded, and nobody holds up the machine or anybody else.
//!
//! One thread makes a row of each line of the recorder's and puts it into a bounded queue for each who follows. A queue
//! that is full means that its browser does not read: it is cut off, and when it comes back it gets what it has missed
//! from the recording. Each who follows has a thread of their own, which writes without blocking, and sleeps until there
//! is a row, the socket takes more, or the browser has gone.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, TryRecvError, TrySendError, bounded, never, select};

use crate::record::{Entry, Event, Recording};
use crate::report::{Report, live_row};
use crate::wait::{Interest, Waiter, Waker};

/// Rows that wait for one browser.
const QUEUE: usize = 256;
/// How long a browser may take nothing of what there is for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// When a peer that is silent is asked whether it is there: one on another computer may vanish without a word.
const KEEPALIVE: Duration = Duration::from_secs(60);
/// How soon a browser connects again, first of all.
const RETRY: &str = "retry: 1000\n\n";

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
    /// The last event, once it is over: nothing more will come, and there is no use in connecting again.
    over: Option<Arc<str>>,
}

/// The hub's end of somebody's queue.
struct Seat {
    rows: Sender<Row>,
    waker: Waker,
    socket: Arc<TcpStream>,
}

/// A row on its way: the entry's number, and the event.
#[derive(Clone)]
struct Row {
    n: u64,
    event: Arc<str>,
}

impl Row {
    fn of(entry: &Entry) -> Self {
        Self { n: entry.n, event: event(&format!("id: {}", entry.n), &live_row(entry)) }
    }
}

/// An event as it is sent.
fn event(about: &str, data: &str) -> Arc<str> {
    let mut event = format!("{about}\n");
    for line in data.split('\n') {
        event.extend(["data: ", line, "\n"]);
    }
    event.push('\n');
    event.into()
}

/// The page's other parts at the end, when nobody can be asked for them any more; no actions, which may be large.
fn last_words(folder: &Path) -> Arc<str> {
    let mut words = Vec::new();
    let report = Recording::open(folder).and_then(Report::read_so_far);
    if let Err(e) = report.map(|report| report.write_sections(usize::MAX, &mut words)) {
        log::warn!("follow: the page is not told how it ended: {e}");
    }
    event("event: over", &String::from_utf8_lossy(&words))
}

impl Audience {
    /// Hands on what is recorded, until the sender of `ended` is gone. Runs on the hub's thread.
    pub(super) fn entertain(&self, lines: &Receiver<Arc<str>>, ended: &Receiver<()>) {
        let mut more = lines.clone();
        loop {
            select! {
                recv(more) -> line => match line {
                    Ok(line) => self.hand_on(&line),
                    // Nothing more is recorded; the page can be read still.
                    Err(_) => more = never(),
                },
                recv(ended) -> _ => break,
            }
        }
        lines.try_iter().for_each(|line| self.hand_on(&line));
    }

    fn hand_on(&self, line: &str) {
        let mut seats = self.seats();
        if seats.taken.is_empty() {
            return;
        }
        let Ok(entry) = serde_json::from_str::<Entry>(line) else { return };
        if matches!(entry.event, Event::Session(_)) {
            return;
        }
        let row = Row::of(&entry);
        seats.taken.retain(|seat| match seat.rows.try_send(row.clone()) {
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

    /// Tells everybody that it is over, and waits until they have left, which they do at once.
    pub(super) fn dismiss(&self, folder: &Path) {
        let last = last_words(folder);
        let mut seats = self.seats();
        seats.over = Some(last);
        for Seat { rows, waker, .. } in seats.taken.drain(..) {
            drop(rows);
            waker.wake();
        }
        while seats.served > 0 {
            seats = self.fewer.wait(seats).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Serves somebody who has had the rows up to `after`, until they go or it is over. The answer's head is written already.
    pub(super) fn serve(&self, socket: &Arc<TcpStream>, folder: &Path, after: u64) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        let keepalive = socket2::TcpKeepalive::new().with_time(KEEPALIVE);
        socket2::SockRef::from(&**socket).set_tcp_keepalive(&keepalive)?;
        let mut waiter = Waiter::new()?;
        waiter.watch(Arc::clone(socket))?;
        let (rows, queue) = bounded(QUEUE);
        {
            let mut seats = self.seats();
            if seats.over.is_some() {
                return Ok(());
            }
            seats.taken.push(Seat { rows, waker: waiter.waker(), socket: Arc::clone(socket) });
            seats.served += 1;
        }
        let _leaving = Leaving(self);
        // Opened after the seat was taken: what is not in the file is in the queue.
        let past = Recording::open(folder).map_err(io::Error::other)?;
        let source = Source { past: Some(past), queue, last: after, told_over: false };
        Stream { audience: self, socket, source, out: RETRY.into(), written: 0, stuck: None }.run(&mut waiter)?;
        socket.set_nonblocking(false)
    }

    fn is_over(&self) -> bool {
        self.seats().over.is_some()
    }

    fn seats(&self) -> MutexGuard<'_, Seats> {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Somebody's seat, until they leave it, however that comes.
struct Leaving<'a>(&'a Audience);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.0.seats().served -= 1;
        self.0.fewer.notify_all();
    }
}

/// What there is for somebody: first what they have missed, then what comes.
struct Source {
    past: Option<Recording>,
    queue: Receiver<Row>,
    /// The number of the last row that they have.
    last: u64,
    told_over: bool,
}

/// What is next.
enum Next {
    Event(Arc<str>),
    NothingYet,
    Over,
}

impl Source {
    fn next(&mut self, audience: &Audience) -> Next {
        while let Some(past) = &mut self.past {
            match past.next() {
                Some(Ok(entry)) if entry.n > self.last => {
                    self.last = entry.n;
                    return Next::Event(Row::of(&entry).event);
                }
                Some(Ok(_)) => {}
                Some(Err(_)) | None => self.past = None,
            }
        }
        loop {
            match self.queue.try_recv() {
                Ok(row) if row.n > self.last => {
                    self.last = row.n;
                    return Next::Event(row.event);
                }
                Ok(_) => {}
                Err(TryRecvError::Empty) => return Next::NothingYet,
                Err(TryRecvError::Disconnected) if self.told_over => return Next::Over,
                Err(TryRecvError::Disconnected) => {
                    self.told_over = true;
                    // Without one it was cut off.
                    return audience.seats().over.clone().map_or(Next::Over, Next::Event);
                }
            }
        }
    }
}

/// Somebody's connection.
struct Stream<'a> {
    audience: &'a Audience,
    socket: &'a TcpStream,
    source: Source,
    out: Arc<str>,
    written: usize,
    /// Since when the socket has taken nothing of what there is.
    stuck: Option<Instant>,
}

impl Stream<'_> {
    fn run(&mut self, waiter: &mut Waiter) -> io::Result<()> {
        while self.write()? {
            if self.stuck.is_some_and(|since| since.elapsed() >= PATIENCE) {
                return Err(io::ErrorKind::TimedOut.into());
            }
            // A browser has nothing to say here; that it has gone is heard so.
            match (&mut self.socket).read(&mut [0; 4096]) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(e) if is_passing(&e) => {}
                Err(e) => return Err(e),
            }
            let interest = if self.stuck.is_some() { Interest::Both } else { Interest::Readable };
            waiter.wait(interest, self.stuck.map(|since| since + PATIENCE))?;
        }
        Ok(())
    }

    /// Writes what there is, as far as the socket takes it. Whether there may be more.
    fn write(&mut self) -> io::Result<bool> {
        loop {
            if self.written == self.out.len() {
                match self.source.next(self.audience) {
                    Next::Event(event) => (self.out, self.written) = (event, 0),
                    Next::NothingYet => return Ok(true),
                    Next::Over => return Ok(false),
                }
            }
            match (&mut self.socket).write(&self.out.as_bytes()[self.written..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => (self.written, self.stuck) = (self.written + count, None),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.stuck.get_or_insert_with(Instant::now);
                    // At the end nobody is waited for.
                    return Ok(!self.audience.is_over());
                }
                Err(e) if is_passing(&e) => {}
                Err(e) => return Err(e),
            }
            if self.source.past.is_some() && self.audience.is_over() {
                return Ok(false);
            }
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
