//! Gives free memory back to the operating system when no machine of the process does anything.
//!
//! The allocator of glibc keeps memory that was freed between blocks in use: a picture, the buffers of a request. With
//! many machines, this is most of their memory: 200 machines under faults had 154 MiB with it and 94 without.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many workers of the process have a thread.
static WORKERS: AtomicUsize = AtomicUsize::new(0);

/// A worker has a thread. When the last one of the process is dropped, free memory is given back.
pub(super) struct Awake(());

impl Awake {
    pub(super) fn new() -> Self {
        WORKERS.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        if WORKERS.fetch_sub(1, Ordering::Relaxed) == 1 {
            give_back();
        }
    }
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[allow(unsafe_code)]
fn give_back() {
    // A simulation runs many emulators in one process, and none of them is at rest for long.
    crate::system::simulated!(_ => nothing);
    // SAFETY: `malloc_trim` may be called at any time, by any thread. It changes no block in use.
    unsafe { libc::malloc_trim(0) };
}

/// Other allocators do so by themselves, or cannot.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn give_back() {}
