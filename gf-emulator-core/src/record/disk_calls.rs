//! Distinguishes a disk that does not respond from a processor that is slow.
//!
//! The threads that write a recording count their system calls. A thread that waits for them gives up only if one of
//! these calls takes too long. The work between calls (removing secrets) is limited by the sizes of the queues.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What the threads that write lines and files share with those that wait for them.
#[derive(Default)]
pub(super) struct DiskCalls {
    begun: AtomicU64,
    ended: AtomicU64,
    is_abandoned: AtomicBool,
}

/// A system call in progress, until this is dropped.
pub(super) struct DiskCall<'a>(&'a DiskCalls);

impl DiskCalls {
    /// Begins a call, which ends when the result is dropped.
    pub(super) fn begin(&self) -> DiskCall<'_> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        DiskCall(self)
    }

    /// Repeats `attempt`, which waits for a while, until it returns something. Returns `None` if the disk does not
    /// respond: during a whole attempt, a call was in progress, and none began or ended.
    pub(super) fn wait<T>(&self, mut attempt: impl FnMut() -> Option<T>) -> Option<T> {
        loop {
            let before = self.counts();
            if let Some(result) = attempt() {
                return Some(result);
            }
            let (ended, begun) = self.counts();
            if (ended, begun) == before && ended != begun {
                return None;
            }
        }
    }

    fn counts(&self) -> (u64, u64) {
        (self.ended.load(Ordering::SeqCst), self.begun.load(Ordering::SeqCst))
    }

    /// Tells the threads to drop the remaining work.
    pub(super) fn abandon(&self) {
        self.is_abandoned.store(true, Ordering::Relaxed);
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.is_abandoned.load(Ordering::Relaxed)
    }
}

impl Drop for DiskCall<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::SeqCst);
    }
}

/// A file whose reads, writes and closing are counted.
pub(crate) struct CountedFile<T> {
    file: Option<T>,
    calls: Arc<DiskCalls>,
}

impl<T> CountedFile<T> {
    pub(super) fn new(file: T, calls: &Arc<DiskCalls>) -> Self {
        Self { file: Some(file), calls: Arc::clone(calls) }
    }

    /// Calls a function with the file, as one call to the disk. The file is there until [`finish`](Self::finish) or drop.
    fn call<R>(&mut self, call: impl FnOnce(&mut T) -> io::Result<R>) -> io::Result<R> {
        let _call = self.calls.begin();
        self.file.as_mut().map_or_else(|| Err(io::ErrorKind::NotFound.into()), call)
    }

    /// Calls a function that consumes the file, as one call to the disk.
    pub(super) fn finish<R>(mut self, call: impl FnOnce(T) -> io::Result<R>) -> io::Result<R> {
        let _call = self.calls.begin();
        self.file.take().map_or_else(|| Err(io::ErrorKind::NotFound.into()), call)
    }
}

impl<T: Read> Read for CountedFile<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.call(|file| file.read(buffer))
    }
}

impl<T: Write> Write for CountedFile<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.call(|file| file.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.call(Write::flush)
    }
}

impl<T: Seek> Seek for CountedFile<T> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.call(|file| file.seek(to))
    }
}

impl<T> Drop for CountedFile<T> {
    fn drop(&mut self) {
        let _call = self.calls.begin();
        drop(self.file.take());
    }
}
