//! [`World`]: simulated time, threads that take turns, and a network whose answers are known before the requests.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use gf_emulator_core::simulation::{self, Connection, Disk, System};
use gf_emulator_core::{Config, Emulator, Handle};
use gf_simulated_system::{MemoryDisk, Threads};
use tungstenite::handshake::derive_accept_key;

/// When an online machine is stopped.
const STOP: Duration = Duration::from_secs(600);
/// A session that goes on for so long hangs.
const LIMIT: Duration = Duration::from_secs(1 << 20);
/// What an answer to a handshake has in place of the value that depends on the request.
const ACCEPT: &[u8] = b"<ACCEPT>";

/// A simulated operating system.
pub struct World {
    threads: Threads,
    random: Cell<u64>,
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
    let world = Rc::new(World {
        threads: Threads::default(),
        random: Cell::default(),
        answers: RefCell::new(answers.into()),
        piece,
        disk: Rc::new(MemoryDisk::new(|_, _| Ok(()))),
    });
    let guard = simulation::enter(Rc::clone(&world) as Rc<dyn System>);
    world.threads.spawn("start", Box::new(start));
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
    world.threads.spawn(
        "stop",
        Box::new(move || {
            if let Some(world) = RUNNING.with_borrow(Clone::clone) {
                world.wait(Some(world.now() + STOP), &mut || false);
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
            let waits = self.threads.run(|_| ());
            assert!(waits.is_ok(), "these threads run without waiting: {:?}", self.threads.names());
            if self.threads.have_ended() {
                break;
            }
            match self.threads.next_deadline() {
                Some(next) if next <= LIMIT => self.threads.advance_to(next),
                Some(_) => panic!("these threads do not end: {:?}", self.threads.names()),
                None => panic!("these threads wait for something that never happens: {:?}", self.threads.names()),
            }
        }
        RUNNING.set(None);
    }
}

impl System for World {
    fn now(&self) -> Instant {
        self.threads.now()
    }

    fn wall_clock(&self) -> SystemTime {
        self.threads.wall_clock()
    }

    fn random(&self) -> u64 {
        self.random.set(self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15));
        self.random.get()
    }

    fn spawn(&self, name: &str, run: Box<dyn FnOnce() + Send>) -> io::Result<()> {
        self.threads.spawn(name, run);
        Ok(())
    }

    fn wait(&self, deadline: Option<Instant>, is_ready: &mut dyn FnMut() -> bool) {
        self.threads.wait(deadline, is_ready, false);
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
