//! [`World`]: simulated time, and threads that take turns. Everything runs in one thread, in an order that depends on the
//! seed only.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::io;
use std::rc::{Rc, Weak};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use generator::{Generator, Gn};
use gf_emulator_core::simulation::{Connection, Disk, System};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

use crate::disk::SimulatedDisk;
use crate::model::Model;
use crate::network::Network;
use crate::service::Service;

/// The stack of a simulated thread, in words.
const STACK_WORDS: usize = 64 << 10;
/// The wall clock at the start of a simulation: 2026-01-01.
const START_EPOCH_S: u64 = 1_767_225_600;
/// A simulation whose threads go on for so many rounds at one moment has a busy loop.
const MAX_ROUNDS: u32 = 20_000;

/// `Instant` has no fixed value, so times are counted from this one.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

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

type Stack = Generator<'static, (), ()>;
type Event = Box<dyn FnOnce(&Rc<World>)>;

struct Task {
    name: String,
    stack: Option<Stack>,
    deadline: Option<Duration>,
}

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
    now: Cell<Duration>,
    random: RefCell<StdRng>,
    tasks: RefCell<Vec<Task>>,
    /// The task that runs.
    current: Cell<usize>,
    /// A task did something since the round began.
    has_progress: Cell<bool>,
    events: RefCell<BinaryHeap<Reverse<Planned>>>,
    planned: Cell<u64>,
    pub(crate) disk: Rc<SimulatedDisk>,
    pub(crate) network: Network,
    pub(crate) service: RefCell<Service>,
    pub(crate) model: RefCell<Model>,
    trace: RefCell<Trace>,
}

/// What happened, as text. Two runs of one seed have the same.
#[derive(Default)]
struct Trace {
    text: String,
    prints: bool,
}

impl World {
    pub(crate) fn new(seed: u64, prints: bool) -> Rc<Self> {
        Rc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            now: Cell::default(),
            random: RefCell::new(StdRng::seed_from_u64(seed)),
            tasks: RefCell::default(),
            current: Cell::default(),
            has_progress: Cell::default(),
            events: RefCell::default(),
            planned: Cell::default(),
            disk: Rc::new(SimulatedDisk::new(Weak::clone(this))),
            network: Network::default(),
            service: RefCell::default(),
            model: RefCell::default(),
            trace: RefCell::new(Trace { text: String::new(), prints }),
        })
    }

    /// Returns the time since the start.
    pub(crate) fn elapsed(&self) -> Duration {
        self.now.get()
    }

    /// Plans something for later.
    pub(crate) fn after(&self, delay: Duration, event: impl FnOnce(&Rc<Self>) + 'static) {
        let number = self.planned.replace(self.planned.get() + 1);
        let planned = Planned { at: self.now.get() + delay, number, event: Box::new(event) };
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
        let mut trace = self.trace.borrow_mut();
        let start = trace.text.len();
        let _ = writeln!(trace.text, "{:12.6} {line}", self.now.get().as_secs_f64());
        if trace.prints {
            eprint!("{}", &trace.text[start..]);
        }
    }

    pub(crate) fn take_trace(&self) -> String {
        std::mem::take(&mut self.trace.borrow_mut().text)
    }

    /// Returns the simulated instant at a time since the start.
    fn instant(elapsed: Duration) -> Instant {
        *START + elapsed
    }

    /// Runs until all tasks have ended, or `limit`.
    pub(crate) fn run(self: &Rc<Self>, limit: Duration) -> End {
        loop {
            if let Err(end) = self.run_tasks() {
                return end;
            }
            if self.tasks.borrow().is_empty() {
                return End::Finished;
            }
            let event = self.events.borrow().peek().map(|Reverse(planned)| planned.at);
            let deadline = self.tasks.borrow().iter().filter_map(|task| task.deadline).min();
            let Some(next) = [event, deadline].into_iter().flatten().min() else { return End::Deadlock };
            if next > limit {
                return End::TooLong;
            }
            self.now.set(self.now.get().max(next));
            while let Some(event) = self.take_due() {
                event(self);
            }
        }
    }

    fn take_due(&self) -> Option<Event> {
        let mut events = self.events.borrow_mut();
        let is_due = events.peek().is_some_and(|Reverse(planned)| planned.at <= self.now.get());
        if is_due { events.pop().map(|Reverse(planned)| planned.event) } else { None }
    }

    /// Runs the tasks, in a random order, until all of them wait.
    fn run_tasks(&self) -> Result<(), End> {
        for _ in 0..MAX_ROUNDS {
            self.has_progress.set(false);
            let mut order: Vec<_> = (0..self.tasks.borrow().len()).collect();
            order.shuffle(&mut *self.random.borrow_mut());
            for index in order {
                self.current.set(index);
                let stack = self.tasks.borrow_mut()[index].stack.take();
                let Some(mut stack) = stack else { continue };
                stack.resume();
                if stack.is_done() {
                    self.has_progress.set(true);
                } else {
                    self.tasks.borrow_mut()[index].stack = Some(stack);
                }
            }
            self.tasks.borrow_mut().retain(|task| task.stack.is_some());
            if !self.has_progress.get() {
                return Ok(());
            }
        }
        Err(End::BusyLoop)
    }

    /// Returns the names of the tasks that have not ended.
    pub(crate) fn waiting(&self) -> Vec<String> {
        self.tasks.borrow().iter().map(|task| task.name.clone()).collect()
    }

    /// Gives up the tasks that have not ended. Their stacks leak: to unwind them would run the code under test.
    pub(crate) fn abandon(&self) {
        for task in self.tasks.take() {
            std::mem::forget(task.stack);
        }
        self.events.take();
    }
}

impl System for World {
    fn now(&self) -> Instant {
        Self::instant(self.now.get())
    }

    fn wall_clock(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(START_EPOCH_S) + self.now.get()
    }

    fn random(&self) -> u64 {
        self.pick(0..u64::MAX)
    }

    fn spawn(&self, name: &str, run: Box<dyn FnOnce() + Send>) {
        let stack = Gn::new_opt(STACK_WORDS, move || {
            run();
            generator::done!();
        });
        self.has_progress.set(true);
        self.tasks.borrow_mut().push(Task { name: name.to_owned(), stack: Some(stack), deadline: None });
    }

    #[allow(deprecated, reason = "the replacement must be passed down the stack, which is that of the code under test")]
    fn wait(&self, deadline: Option<Instant>, is_ready: &mut dyn FnMut() -> bool) {
        let deadline = deadline.map(|deadline| deadline.saturating_duration_since(*START));
        // Now and then, others run first although it need not wait.
        let mut gives_way = self.chance(125);
        loop {
            let is_due = deadline.is_some_and(|deadline| deadline <= self.now.get());
            if is_ready() || is_due {
                self.has_progress.set(true);
                if !std::mem::take(&mut gives_way) {
                    break;
                }
            }
            gives_way = false;
            self.set_deadline(deadline);
            generator::yield_with(());
        }
        self.set_deadline(None);
    }

    fn connect(
        &self,
        host: &str,
        port: u16,
        deadline: Instant,
        is_cancelled: &mut dyn FnMut() -> bool,
    ) -> io::Result<Arc<dyn Connection>> {
        let world = self.this.upgrade().ok_or(io::ErrorKind::NotConnected)?;
        Network::connect(&world, host, port, deadline, is_cancelled)
    }

    fn disk(&self) -> Rc<dyn Disk> {
        Rc::clone(&self.disk) as Rc<dyn Disk>
    }
}

impl World {
    /// Sets when the running task goes on at the latest.
    fn set_deadline(&self, deadline: Option<Duration>) {
        if let Some(task) = self.tasks.borrow_mut().get_mut(self.current.get()) {
            task.deadline = deadline;
        }
    }
}
