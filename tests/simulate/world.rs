//! [`World`]: simulated time, and threads that take turns. Everything runs in one thread, in an order that depends on the
//! seed only.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use gf_emulator_core::simulation::{Connection, Disk, System};
use gf_simulated_system::{BusyLoop, MemoryDisk, Threads, outside};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::model::Model;
use crate::network::Network;
use crate::service::Service;

/// Why a simulation has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// All threads have ended.
    Finished,
    /// Threads wait for something that never happens.
    Deadlock,
    /// Threads still run at the time limit.
    TooLong,
    /// Threads run without waiting.
    BusyLoop,
}

type Event = Box<dyn FnOnce(&Rc<World>)>;

/// Something that happens at a time. Of two at one time, the one that was planned first comes first.
struct Planned {
    at: Duration,
    number: u64,
    event: Event,
}

impl PartialEq for Planned {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Planned {}

impl PartialOrd for Planned {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Planned {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

/// A simulated operating system, and everything outside it.
pub(crate) struct World {
    this: Weak<Self>,
    random: RefCell<StdRng>,
    pub(crate) threads: Threads,
    events: RefCell<BinaryHeap<Reverse<Planned>>>,
    planned: Cell<u64>,
    pub(crate) disk: Rc<MemoryDisk>,
    /// Of a thousand operations on files, so many fail.
    disk_failures: Cell<u64>,
    thread_failures: Cell<u64>,
    has_disk_failed: Cell<bool>,
    pub(crate) network: Network,
    pub(crate) service: RefCell<Service>,
    pub(crate) model: RefCell<Model>,
    trace: Trace,
    trace_text: RefCell<String>,
}

/// What becomes of the trace: what happened, as text. Two runs of one seed have the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trace {
    /// There is none: to write it takes time.
    Off,
    Kept,
    /// It is also printed.
    Printed,
}

impl World {
    pub(crate) fn new(seed: u64, trace: Trace) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            random: RefCell::new(StdRng::seed_from_u64(seed)),
            threads: Threads::default(),
            events: RefCell::default(),
            planned: Cell::default(),
            disk: Rc::new(MemoryDisk::new(check_disk)),
            disk_failures: Cell::default(),
            thread_failures: Cell::default(),
            has_disk_failed: Cell::default(),
            network: Network::default(),
            service: RefCell::default(),
            model: RefCell::default(),
            trace,
            trace_text: RefCell::default(),
        })
    }

    /// Returns the time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.threads.elapsed()
    }

    /// Plans something for later.
    pub(crate) fn after(&self, delay: Duration, event: impl FnOnce(&Rc<Self>) + 'static) {
        let number = self.planned.replace(self.planned.get() + 1);
        let _outside = outside();
        let planned = Planned { at: self.elapsed() + delay, number, event: Box::new(event) };
        self.events.borrow_mut().push(Reverse(planned));
    }

    /// Returns a random number of a range.
    pub(crate) fn pick(&self, range: std::ops::Range<u64>) -> u64 {
        self.random.borrow_mut().random_range(range)
    }

    /// Returns a random index below `count`, or 0.
    pub(crate) fn index(&self, count: usize) -> usize {
        self.random.borrow_mut().random_range(0..count.max(1))
    }

    /// Returns true with this probability, in thousandths.
    pub(crate) fn chance(&self, thousandths: u64) -> bool {
        self.pick(0..1000) < thousandths
    }

    /// Returns a random time below `limit`.
    pub(crate) fn time_below(&self, limit: Duration) -> Duration {
        Duration::from_nanos(self.pick(0..u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX).max(1)))
    }

    /// Adds a line to the trace.
    pub(crate) fn note(&self, line: std::fmt::Arguments<'_>) {
        if self.trace == Trace::Off {
            return;
        }
        let _outside = outside();
        let mut text = self.trace_text.borrow_mut();
        let start = text.len();
        let _ = writeln!(text, "{:12.6} {line}", self.elapsed().as_secs_f64());
        if self.trace == Trace::Printed {
            eprint!("{}", &text[start..]);
        }
    }

    pub(crate) fn take_trace(&self) -> String {
        self.trace_text.take()
    }

    /// From now on, so many of a thousand operations on files fail: 1000 is a full disk.
    pub(crate) fn set_disk_failures(&self, thousandths: u64) {
        self.disk_failures.set(thousandths);
    }

    /// From now on, so many of a thousand threads cannot be started.
    pub(crate) fn set_thread_failures(&self, thousandths: u64) {
        self.thread_failures.set(thousandths);
    }

    /// Returns whether an operation on a file has ever failed.
    pub(crate) fn has_disk_failed(&self) -> bool {
        self.has_disk_failed.get()
    }

    /// Runs until all threads have ended, or `limit`.
    pub(crate) fn run(self: &Rc<Self>, limit: Duration) -> End {
        loop {
            if let Err(BusyLoop) = self.threads.run(|order| order.shuffle(&mut *self.random.borrow_mut())) {
                return End::BusyLoop;
            }
            if self.threads.have_ended() {
                return End::Finished;
            }
            let event = self.events.borrow().peek().map(|Reverse(planned)| planned.at);
            let Some(next) = [event, self.threads.next_deadline()].into_iter().flatten().min() else {
                return End::Deadlock;
            };
            if next > limit {
                return End::TooLong;
            }
            self.threads.advance_to(next);
            while let Some(event) = self.take_due() {
                event(self);
            }
        }
    }

    fn take_due(&self) -> Option<Event> {
        let mut events = self.events.borrow_mut();
        let is_due = events.peek().is_some_and(|Reverse(planned)| planned.at <= self.elapsed());
        if is_due { events.pop().map(|Reverse(planned)| planned.event) } else { None }
    }

    /// Returns the names of the threads that have not ended.
    pub(crate) fn waiting(&self) -> Vec<String> {
        self.threads.names()
    }

    /// Gives up the threads that have not ended, and what is planned.
    pub(crate) fn abandon(&self) {
        self.threads.abandon();
        self.events.take();
    }
}

/// Lets an operation on a file of the running simulation fail.
fn check_disk(what: &str, path: &Path) -> io::Result<()> {
    let Some(world) = crate::session::current() else { return Ok(()) };
    let fails = world.disk_failures.get() > 0 && world.chance(world.disk_failures.get());
    let end = if fails { " fails" } else { "" };
    world.note(format_args!("disk: {what} {}{end}", path.display()));
    if fails {
        world.has_disk_failed.set(true);
        return Err(io::ErrorKind::StorageFull.into());
    }
    Ok(())
}

impl System for World {
    fn now(&self) -> Instant {
        self.threads.now()
    }

    fn wall_clock(&self) -> SystemTime {
        self.threads.wall_clock()
    }

    fn random(&self) -> u64 {
        self.pick(0..u64::MAX)
    }

    fn spawn(&self, name: &str, run: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        // Without the others, a machine does not start.
        let may_fail = ["gf-dial", "gf-worker", "gf-worker-2"].contains(&name);
        if may_fail && self.chance(self.thread_failures.get()) {
            self.note(format_args!("no thread {name}"));
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.threads.spawn(name, run);
        Ok(())
    }

    fn wait(&self, deadline: Option<Instant>, is_ready: &mut dyn FnMut() -> bool) {
        // Now and then, others run first although it need not wait.
        self.threads.wait(deadline, is_ready, self.chance(125));
    }

    fn connect(
        &self,
        host: &str,
        port: u16,
        deadline: Instant,
        is_cancelled: &mut dyn FnMut() -> bool,
    ) -> io::Result<Arc<dyn Connection>> {
        let world = self.this.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        let _outside = outside();
        Network::connect(&world, host, port, deadline, is_cancelled)
    }

    fn disk(&self) -> Rc<dyn Disk> {
        Rc::clone(&self.disk) as Rc<dyn Disk>
    }
}
