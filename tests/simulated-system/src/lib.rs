//! What a simulated operating system needs, whatever its network: threads that take turns in simulated time
//! ([`Threads`]), and files in memory ([`MemoryDisk`]).

// For tests only.
#![allow(missing_debug_implementations)]

mod disk;
mod owner;
mod threads;

pub use disk::MemoryDisk;
pub use owner::{Outside, is_emulator, outside};
pub use threads::{BusyLoop, Threads};
