//! [`Threads`]: all of them run on one real thread, each with a stack of its own.

use std::cell::{Cell, RefCell};
use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use generator::{Generator, Gn};

use crate::owner::{is_emulator, set_emulator};

/// The stack of a simulated thread, in words.
const STACK_WORDS: usize = 64 << 10;
/// The wall clock at the start of a simulation: 2026-01-01.
const START_EPOCH_S: u64 = 1_767_225_600;
/// Threads that go on for so many rounds at one moment have a busy loop.
const MAX_ROUNDS: u32 = 100_000;

/// `Instant` has no fixed value, so times are counted from this one.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

type Stack = Generator<'static, (), ()>;

thread_local! {
    /// The stacks of threads that have ended, for the next ones: a new stack costs page faults.
    static FREE_STACKS: RefCell<Vec<Stack>> = const { RefCell::new(Vec::new()) };
}

struct Task {
    name: String,
    stack: Option<Stack>,
    /// When it goes on at the latest.
    deadline: Option<Duration>,
}

/// Simulated threads, and the time that they see.
#[derive(Default)]
pub struct Threads {
    now: Cell<Duration>,
    tasks: RefCell<Vec<Task>>,
    /// The task that runs.
    current: Cell<usize>,
    /// A task did something since the round began.
    has_progress: Cell<bool>,
}

/// The threads run without waiting.
#[derive(Debug)]
pub struct BusyLoop;

impl Threads {
    /// Returns the time since the start.
    pub fn elapsed(&self) -> Duration {
        self.now.get()
    }

    /// Returns the time of the monotonic clock.
    pub fn now(&self) -> Instant {
        *START + self.now.get()
    }

    /// Returns the time of the wall clock.
    pub fn wall_clock(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(START_EPOCH_S) + self.now.get()
    }

    /// Sets the time since the start, which never goes back.
    pub fn advance_to(&self, time: Duration) {
        self.now.set(self.now.get().max(time));
    }

    /// Adds a thread, which runs for the first time in the next [`run`](Self::run) or round.
    pub fn spawn(&self, name: &str, run: Box<dyn FnOnce() + Send>) {
        let stack = match FREE_STACKS.with_borrow_mut(Vec::pop) {
            Some(mut stack) => {
                stack.init_code(run);
                stack
            }
            None => Gn::new_opt(STACK_WORDS, run),
        };
        self.has_progress.set(true);
        self.tasks.borrow_mut().push(Task { name: name.to_owned(), stack: Some(stack), deadline: None });
    }

    /// Lets other threads run until `is_ready` returns true or the time is `deadline`; with `gives_way`, at least once.
    #[allow(deprecated, reason = "the replacement must be passed down the stack, which is that of the code under test")]
    pub fn wait(&self, deadline: Option<Instant>, is_ready: &mut dyn FnMut() -> bool, gives_way: bool) {
        let deadline = deadline.map(|deadline| deadline.saturating_duration_since(*START));
        let mut gives_way = gives_way;
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
            let is_emulator = is_emulator();
            generator::yield_with(());
            // Others have run meanwhile.
            std::mem::forget(set_emulator(is_emulator));
        }
        self.set_deadline(None);
    }

    fn set_deadline(&self, deadline: Option<Duration>) {
        if let Some(task) = self.tasks.borrow_mut().get_mut(self.current.get()) {
            task.deadline = deadline;
        }
    }

    /// Runs the threads until all of them wait. `shuffle` puts those of a round into their order.
    ///
    /// # Errors
    ///
    /// [`BusyLoop`] if they never do.
    pub fn run(&self, mut shuffle: impl FnMut(&mut [usize])) -> Result<(), BusyLoop> {
        for _ in 0..MAX_ROUNDS {
            self.has_progress.set(false);
            let mut order: Vec<_> = (0..self.tasks.borrow().len()).collect();
            shuffle(&mut order);
            for index in order {
                self.current.set(index);
                let stack = self.tasks.borrow_mut()[index].stack.take();
                let Some(mut stack) = stack else { continue };
                {
                    let _emulator = set_emulator(true);
                    stack.resume();
                }
                if stack.is_done() {
                    self.has_progress.set(true);
                    FREE_STACKS.with_borrow_mut(|free| free.push(stack));
                } else {
                    self.tasks.borrow_mut()[index].stack = Some(stack);
                }
            }
            self.tasks.borrow_mut().retain(|task| task.stack.is_some());
            if !self.has_progress.get() {
                return Ok(());
            }
        }
        Err(BusyLoop)
    }

    /// Returns when the first thread goes on that waits for a time. `None` if none does.
    pub fn next_deadline(&self) -> Option<Duration> {
        self.tasks.borrow().iter().filter_map(|task| task.deadline).min()
    }

    /// Returns the names of the threads that have not ended.
    pub fn names(&self) -> Vec<String> {
        self.tasks.borrow().iter().map(|task| task.name.clone()).collect()
    }

    /// Returns whether all threads have ended.
    pub fn have_ended(&self) -> bool {
        self.tasks.borrow().is_empty()
    }

    /// Gives up the threads that have not ended. Their stacks leak: to unwind them would run the code under test.
    pub fn abandon(&self) {
        for task in self.tasks.take() {
            std::mem::forget(task.stack);
        }
    }
}
