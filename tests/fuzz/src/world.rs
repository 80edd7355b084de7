//! [`World`]: simulated time, threads that take turns, and a network whose answers are known before the requests.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use generator::{Generator, Gn};
use gf_emulator_core::simulation::{self, Connection, Disk, System};
use gf_emulator_core::{Config, Emulator, Handle};
use tungstenite::handshake::derive_accept_key;

use crate::disk::MemoryDisk;

/// The stack of a simulated thread, in words.
const STACK_WORDS: usize = 64 << 10;
/// When an online machine is stopped.
const STOP: Duration = Duration::from_secs(600);
/// A session that goes on for so long hangs.
const LIMIT: Duration = Duration::from_secs(1 << 20);
/// Threads that go on for so many rounds at one moment have a busy loop.
const MAX_ROUNDS: u32 = 100_000;
/// What an answer to a handshake has in place of the value that depends on the request.
const ACCEPT: &[u8] = b"<ACCEPT>";

/// `Instant` has no fixed value, so times are counted from this one.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

struct Task {
    name: String,
    stack: Option<Generator<'static, (), ()>>,
    deadline: Option<Duration>,
}

/// A simulated operating system.
#[derive(Default)]
pub struct World {
    now: Cell<Duration>,
    random: Cell<u64>,
    tasks: RefCell<Vec<Task>>,
    current: Cell<usize>,
    has_progress: Cell<bool>,
    /// What each connection receives, in the order of connections.
    answers: RefCell<VecDeque<Vec<u8>>>,
    /// How many bytes one read returns at most.
    piece: usize,
    disk: Rc<MemoryDisk>,
}

/// Runs `start` and all threads that it starts in a world whose connections receive `answers`.
///
/// # Panics
///
/// If a thread waits for something that never happens, or never ends.
pub fn run(answers: Vec<Vec<u8>>, piece: usize, start: impl FnOnce() + Send + 'static) {
    let world = Rc::new(World { answers: RefCell::new(answers.into()), piece, ..World::default() });
    let guard = simulation::enter(Rc::clone(&world) as Rc<dyn System>);
    world.spawn("start", Box::new(start));
    world.run();
    drop(guard);
}

/// Runs an online machine, with the answers of its service.
pub fn run_online(config: Config, answers: Vec<Vec<u8>>, piece: usize) {
    run(answers, piece, move || {
        let Ok(mut emulator) = Emulator::new(config) else { panic!("the configuration is valid") };
        let handle = emulator.handle();
        spawn_stop(handle);
        let ended = emulator.connect().and_then(|()| emulator.run());
        if let Err(error) = ended {
            let text = format!("{error} {error:?}");
            assert!(!text.contains(crate::PASSWORD), "the password is in an error");
        }
    });
}

/// Stops a machine after a time.
fn spawn_stop(handle: Handle) {
    let Some(world) = RUNNING.with_borrow(Clone::clone) else { return };
    world.spawn(
        "stop",
        Box::new(move || {
            if let Some(world) = RUNNING.with_borrow(Clone::clone) {
                world.wait(Some(*START + STOP), &mut || false);
            }
            handle.stop();
        }),
    );
}

thread_local! {
    static RUNNING: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

impl World {
    fn run(self: &Rc<Self>) {
        RUNNING.set(Some(Rc::clone(self)));
        loop {
            self.run_tasks();
            if self.tasks.borrow().is_empty() {
                break;
            }
            let next = self.tasks.borrow().iter().filter_map(|task| task.deadline).min();
            match next {
                Some(next) if next <= LIMIT => self.now.set(self.now.get().max(next)),
                Some(_) => panic!("these threads do not end: {:?}", self.names()),
                None => panic!("these threads wait for something that never happens: {:?}", self.names()),
            }
        }
        RUNNING.set(None);
    }

    /// Runs the tasks until all of them wait.
    fn run_tasks(&self) {
        for _ in 0..MAX_ROUNDS {
            self.has_progress.set(false);
            let count = self.tasks.borrow().len();
            for index in 0..count {
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
                return;
            }
        }
        panic!("these threads run without waiting: {:?}", self.names());
    }

    fn names(&self) -> Vec<String> {
        self.tasks.borrow().iter().map(|task| task.name.clone()).collect()
    }

    fn set_deadline(&self, deadline: Option<Duration>) {
        if let Some(task) = self.tasks.borrow_mut().get_mut(self.current.get()) {
            task.deadline = deadline;
        }
    }
}

impl System for World {
    fn now(&self) -> Instant {
        *START + self.now.get()
    }

    fn wall_clock(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_767_225_600) + self.now.get()
    }

    fn random(&self) -> u64 {
        self.random.set(self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        self.random.get()
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
        while !deadline.is_some_and(|deadline| deadline <= self.now.get()) && !is_ready() {
            self.set_deadline(deadline);
            generator::yield_with(());
        }
        self.has_progress.set(true);
        self.set_deadline(None);
    }

    fn connect(
        &self,
        _host: &str,
        _port: u16,
        _deadline: Instant,
        _is_cancelled: &mut dyn FnMut() -> bool,
    ) -> io::Result<Arc<dyn Connection>> {
        let answer = self.answers.borrow_mut().pop_front().ok_or(io::ErrorKind::ConnectionRefused)?;
        let received = Received { inbound: answer.into(), request: Vec::new() };
        Ok(Arc::new(Answered { received: Mutex::new(received), piece: self.piece }))
    }

    fn disk(&self) -> Rc<dyn Disk> {
        Rc::clone(&self.disk) as Rc<dyn Disk>
    }
}

/// A connection that receives an answer as soon as it has sent something, and then ends.
struct Answered {
    received: Mutex<Received>,
    piece: usize,
}

struct Received {
    inbound: VecDeque<u8>,
    /// What was sent until the first read.
    request: Vec<u8>,
}

impl Answered {
    fn received(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Received {
    /// Puts the key that belongs to the request into the answer.
    fn accept(&mut self) {
        let request = String::from_utf8_lossy(&self.request).to_ascii_lowercase();
        let Some(start) = request.find("sec-websocket-key: ").map(|at| at + 19) else { return };
        let key = self.request[start..].split(|byte| *byte == b'\r').next().unwrap_or_default();
        let accept = derive_accept_key(key);
        let answer = self.inbound.make_contiguous();
        if let Some(at) = answer.windows(ACCEPT.len()).position(|window| window == ACCEPT) {
            let rest = answer[at + ACCEPT.len()..].to_vec();
            self.inbound.truncate(at);
            self.inbound.extend(accept.into_bytes());
            self.inbound.extend(rest);
        }
        self.request.clear();
    }
}

impl Connection for Answered {
    fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut received = self.received();
        if !received.request.is_empty() {
            received.accept();
        }
        let count = buf.len().min(received.inbound.len()).min(self.piece);
        for (to, from) in buf.iter_mut().zip(received.inbound.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }

    fn write(&self, buf: &[u8]) -> io::Result<usize> {
        let mut received = self.received();
        if received.request.len() < 4096 {
            received.request.extend_from_slice(buf);
        }
        Ok(buf.len())
    }

    fn is_readable(&self) -> bool {
        true
    }

    fn is_writable(&self) -> bool {
        true
    }
}
