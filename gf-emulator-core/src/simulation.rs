//! For the simulation of this project's tests (feature `simulation`; not part of the stable API): replaces the operating
//! system for the emulators of one thread.
//!
//! Time, threads, waiting, connections and the files of [`storage`](crate::storage) and [`record`](crate::record) come from
//! a [`System`] then. All else is the code that runs everywhere: sign-in, HTTP, WebSocket, scheduler, runner, job store,
//! recorder. A `System` that runs one thread at a time, in an order that depends on a seed only, makes a whole session
//! repeatable.

use std::cell::RefCell;
use std::fmt;
use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Instant, SystemTime};

use crate::sync::lock;

/// Takes the place of the operating system.
pub trait System {
    /// Returns the time of the monotonic clock.
    fn now(&self) -> Instant;

    /// Returns the time of the wall clock.
    fn wall_clock(&self) -> SystemTime;

    /// Returns a random number.
    fn random(&self) -> u64;

    /// Starts a thread. It must not run before this returns.
    ///
    /// # Errors
    ///
    /// As a system would: there are too many threads.
    fn spawn(&self, name: &str, run: Box<dyn FnOnce() + Send>) -> io::Result<()>;

    /// Lets other threads run until `is_ready` returns true or the time is `deadline`.
    ///
    /// `is_ready` is called on the thread that waits. It has no effects but on what it waits for.
    fn wait(&self, deadline: Option<Instant>, is_ready: &mut dyn FnMut() -> bool);

    /// Connects to a host. Blocks with [`wait`](Self::wait), until `is_cancelled` returns true.
    ///
    /// # Errors
    ///
    /// As a system would: refused, timed out.
    fn connect(
        &self,
        host: &str,
        port: u16,
        deadline: Instant,
        is_cancelled: &mut dyn FnMut() -> bool,
    ) -> io::Result<Arc<dyn Connection>>;

    /// Returns the file system.
    fn disk(&self) -> Rc<dyn Disk>;
}

/// A simulated TCP connection, or what TLS makes of one. It is closed when it is dropped.
pub trait Connection: Send + Sync {
    /// Reads without waiting: `WouldBlock` if nothing has arrived.
    ///
    /// # Errors
    ///
    /// As a socket.
    fn read(&self, buf: &mut [u8]) -> io::Result<usize>;

    /// Writes without waiting: `WouldBlock` if there is no room.
    ///
    /// # Errors
    ///
    /// As a socket.
    fn write(&self, buf: &[u8]) -> io::Result<usize>;

    /// Returns whether a read would not block.
    fn is_readable(&self) -> bool;

    /// Returns whether a write would not block.
    fn is_writable(&self) -> bool;
}

/// A simulated file system.
pub trait Disk {
    /// Creates a folder and those above it.
    ///
    /// # Errors
    ///
    /// As the operating system.
    fn create_folders(&self, folder: &Path) -> io::Result<()>;

    /// Creates a folder that does not exist yet.
    ///
    /// # Errors
    ///
    /// As the operating system: `AlreadyExists`.
    fn create_folder(&self, folder: &Path) -> io::Result<()>;

    /// Creates a file that does not exist yet.
    ///
    /// # Errors
    ///
    /// As the operating system: the file exists, the disk is full.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;

    /// Opens a file to read it.
    ///
    /// # Errors
    ///
    /// As the operating system: there is no such file.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send>>;

    /// Returns whether there is a file of this name.
    fn exists(&self, path: &Path) -> bool;

    /// Renames a file. Replaces another only if `replaces`.
    ///
    /// # Errors
    ///
    /// As the operating system: `AlreadyExists` if the name is taken and `replaces` is false.
    fn rename(&self, from: &Path, to: &Path, replaces: bool) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// As the operating system: there is no such file.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Syncs the entries of a folder.
    ///
    /// # Errors
    ///
    /// As the operating system.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Returns a path in `folder` that no file has.
    fn unused_name(&self, folder: &Path) -> PathBuf;
}

/// A file that is being written.
pub trait File: Write + Send + Sync {
    /// Syncs what was written.
    ///
    /// # Errors
    ///
    /// As the operating system.
    fn sync(&self) -> io::Result<()>;
}

thread_local! {
    static CURRENT: RefCell<Option<Rc<dyn System>>> = const { RefCell::new(None) };
}

/// Uses a system in this thread until the guard is dropped.
pub fn enter(system: Rc<dyn System>) -> Guard {
    CURRENT.with_borrow_mut(|current| *current = Some(system));
    Guard(())
}

/// Ends the use of a [`System`] when it is dropped.
#[must_use]
#[derive(Debug)]
pub struct Guard(());

impl Drop for Guard {
    fn drop(&mut self) {
        CURRENT.with_borrow_mut(|current| *current = None);
    }
}

pub(crate) fn current() -> Option<Rc<dyn System>> {
    CURRENT.with_borrow(Clone::clone)
}

/// A thread of a simulation.
pub(crate) struct Thread<T>(Arc<Mutex<Option<thread::Result<T>>>>);

impl<T: Send + 'static> Thread<T> {
    pub(crate) fn start(system: &dyn System, name: &str, run: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        let result = Arc::new(Mutex::new(None));
        let ended = Arc::clone(&result);
        system.spawn(
            name,
            Box::new(move || {
                let outcome = catch_unwind(AssertUnwindSafe(run));
                *lock(&ended) = Some(outcome);
            }),
        )?;
        Ok(Self(result))
    }
}

impl<T> Thread<T> {
    pub(crate) fn join(self) -> thread::Result<T> {
        if let Some(system) = current() {
            system.wait(None, &mut || lock(&self.0).is_some());
        }
        lock(&self.0).take().unwrap_or_else(|| Err(Box::new("the simulation has ended")))
    }
}

impl<T> fmt::Debug for Thread<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Thread")
    }
}
