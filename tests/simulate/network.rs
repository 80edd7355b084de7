//! [`Network`]: connections between the machine and the simulated service, with delays and cuts.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gf_emulator_core::simulation::{Connection, System};
use gf_simulated_system::outside;

use crate::service;
use crate::session;
use crate::world::World;

/// The longest time that bytes travel.
const LONGEST_DELAY: Duration = Duration::from_millis(80);

/// What happens to a new connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dial {
    Works,
    Refused,
    /// Nothing answers.
    TimesOut,
}

/// What follows the bytes that have arrived.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Closed,
    Failed(io::ErrorKind),
}

/// The machine's end of a connection.
#[derive(Default)]
struct Pipe {
    /// Bytes that have arrived.
    inbound: VecDeque<u8>,
    end: End,
    /// The bytes that the operating system has taken from the machine.
    taken: Vec<u8>,
    /// The connection breaks when so many bytes were taken.
    breaks_at: Option<usize>,
    /// Nothing can be written any more.
    is_broken: bool,
    /// The service does not read: the buffers hold so many more bytes.
    room: Option<usize>,
}

impl Pipe {
    /// Sets what follows, unless that is known.
    fn end(&mut self, end: End) {
        if self.end == End::Open {
            self.end = end;
        }
    }
}

/// A connection, as the service and the model see it.
#[derive(Clone)]
pub(crate) struct Link {
    pub(crate) id: usize,
    pub(crate) host: String,
    pipe: Arc<Mutex<Pipe>>,
}

impl Link {
    fn pipe(&self) -> MutexGuard<'_, Pipe> {
        lock(&self.pipe)
    }

    /// Sends bytes to the machine, which have a way of some milliseconds and arrive in order.
    pub(crate) fn send(&self, world: &Rc<World>, bytes: Vec<u8>) {
        self.later(world, move |pipe| {
            if pipe.end == End::Open {
                pipe.inbound.extend(bytes);
            }
        });
    }

    /// Ends the connection after what was sent.
    pub(crate) fn close(&self, world: &Rc<World>) {
        self.later(world, |pipe| pipe.end(End::Closed));
    }

    /// Breaks the connection now: what is on its way is lost.
    pub(crate) fn cut(&self, world: &World) {
        world.note(format_args!("network: connection {} is cut", self.id));
        let mut pipe = self.pipe();
        pipe.end(if world.chance(500) { End::Failed(io::ErrorKind::ConnectionReset) } else { End::Closed });
        pipe.is_broken = true;
        drop(pipe);
        let closed = self.clone();
        world.after(Duration::ZERO, move |world| service::closed(world, closed.id));
    }

    /// Breaks the connection when the operating system has taken `bytes` more.
    pub(crate) fn cut_after(&self, bytes: usize) {
        let mut pipe = self.pipe();
        pipe.breaks_at = Some(pipe.taken.len() + bytes);
    }

    /// Stops reading: so many more bytes fit into the buffers.
    pub(crate) fn stop_reading(&self, room: usize) {
        self.pipe().room = Some(room);
    }

    /// Reads again.
    pub(crate) fn read_again(&self) {
        self.pipe().room = None;
    }

    /// Returns the bytes that the operating system has taken from the machine.
    pub(crate) fn taken(&self) -> Vec<u8> {
        self.pipe().taken.clone()
    }

    fn later(&self, world: &Rc<World>, change: impl FnOnce(&mut Pipe) + 'static) {
        let pipe = Arc::clone(&self.pipe);
        let at = world.network.arrival(world, self.id);
        world.after(at.saturating_sub(world.elapsed()), move |_| change(&mut lock(&pipe)));
    }
}

/// All connections of a simulation.
#[derive(Default)]
pub(crate) struct Network {
    links: RefCell<Vec<Link>>,
    /// When the last bytes of a connection arrive at the machine.
    arrivals: RefCell<BTreeMap<usize, Duration>>,
    dial: Cell<Option<Dial>>,
}

impl Network {
    /// From now on, this happens to new connections. `None`: they work.
    pub(crate) fn set_dial(&self, dial: Option<Dial>) {
        self.dial.set(dial);
    }

    /// From now on, everything works, also the connections that are open.
    pub(crate) fn end_faults(&self) {
        self.set_dial(None);
        self.links.borrow().iter().for_each(|link| link.pipe().breaks_at = None);
    }

    pub(crate) fn link(&self, id: usize) -> Option<Link> {
        self.links.borrow().get(id).cloned()
    }

    fn arrival(&self, world: &World, id: usize) -> Duration {
        let mut arrivals = self.arrivals.borrow_mut();
        let last = arrivals.entry(id).or_default();
        *last = (world.elapsed() + world.time_below(LONGEST_DELAY)).max(*last);
        *last
    }

    pub(crate) fn connect(
        world: &Rc<World>,
        host: &str,
        port: u16,
        deadline: Instant,
        is_cancelled: &mut dyn FnMut() -> bool,
    ) -> io::Result<Arc<dyn Connection>> {
        let dial = world.network.dial.get().unwrap_or(Dial::Works);
        let arrival = world.now() + world.time_below(LONGEST_DELAY);
        world.note(format_args!("network: connect to {host}:{port}: {dial:?}"));
        match dial {
            Dial::TimesOut => {
                world.wait(Some(deadline), is_cancelled);
                Err(io::ErrorKind::TimedOut.into())
            }
            Dial::Refused => {
                world.wait(Some(arrival), is_cancelled);
                Err(io::ErrorKind::ConnectionRefused.into())
            }
            Dial::Works => {
                world.wait(Some(arrival), is_cancelled);
                if is_cancelled() {
                    return Err(io::ErrorKind::ConnectionAborted.into());
                }
                let mut links = world.network.links.borrow_mut();
                let link = Link { id: links.len(), host: host.to_owned(), pipe: Arc::default() };
                links.push(link.clone());
                drop(links);
                service::opened(world, &link);
                Ok(Arc::new(MachineEnd { id: link.id, pipe: link.pipe }))
            }
        }
    }
}

/// What the machine reads from and writes to. Dropping it closes the connection.
struct MachineEnd {
    id: usize,
    pipe: Arc<Mutex<Pipe>>,
}

impl Connection for MachineEnd {
    fn read(&self, buf: &mut [u8]) -> io::Result<usize> {
        let mut pipe = lock(&self.pipe);
        let count = buf.len().min(pipe.inbound.len());
        if count > 0 {
            // Any part of what has arrived may be read at once.
            let is_part = |world: &Rc<World>| world.chance(300);
            let count = session::current().filter(is_part).map_or(count, |world| 1 + world.index(count));
            for (to, from) in buf.iter_mut().zip(pipe.inbound.drain(..count)) {
                *to = from;
            }
            return Ok(count);
        }
        match pipe.end {
            End::Open => Err(io::ErrorKind::WouldBlock.into()),
            End::Closed => Ok(0),
            End::Failed(kind) => Err(kind.into()),
        }
    }

    fn write(&self, buf: &[u8]) -> io::Result<usize> {
        let _outside = outside();
        let Some(world) = session::current() else { return Err(io::ErrorKind::BrokenPipe.into()) };
        let mut pipe = lock(&self.pipe);
        if pipe.is_broken {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let room = pipe.room.unwrap_or(usize::MAX);
        let left = pipe.breaks_at.map_or(usize::MAX, |at| at - pipe.taken.len());
        let mut count = buf.len().min(room).min(left);
        if count > 1 && world.chance(200) {
            count = 1 + world.index(count - 1);
        }
        if count == 0 && left > 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        pipe.taken.extend_from_slice(&buf[..count]);
        if let Some(room) = &mut pipe.room {
            *room -= count;
        }
        let breaks = pipe.breaks_at == Some(pipe.taken.len());
        drop(pipe);
        let (id, bytes) = (self.id, buf[..count].to_vec());
        world.after(Duration::from_millis(1), move |world| service::received(world, id, &bytes));
        if breaks && let Some(link) = world.network.link(id) {
            link.cut(&world);
        }
        if count == 0 { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(count) }
    }

    fn is_readable(&self) -> bool {
        let pipe = lock(&self.pipe);
        !pipe.inbound.is_empty() || pipe.end != End::Open
    }

    fn is_writable(&self) -> bool {
        let pipe = lock(&self.pipe);
        pipe.is_broken || pipe.room != Some(0)
    }
}

impl Drop for MachineEnd {
    fn drop(&mut self) {
        if let Some(world) = session::current() {
            let id = self.id;
            world.note(format_args!("network: the machine closes connection {id}"));
            world.after(Duration::from_millis(1), move |world| service::closed(world, id));
        }
    }
}

fn lock(pipe: &Mutex<Pipe>) -> MutexGuard<'_, Pipe> {
    pipe.lock().unwrap_or_else(PoisonError::into_inner)
}
