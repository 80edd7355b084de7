//! An allocator that counts the memory of the emulator: not that of the simulation around it, which keeps everything.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use gf_simulated_system::is_emulator;

/// Before each block, its last byte says whose it is.
const HEADER: usize = 16;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static USED: Cell<i64> = const { Cell::new(0) };
}

/// Returns how many bytes the emulators of this thread have allocated and not freed.
pub(crate) fn used() -> i64 {
    USED.get()
}

fn add(bytes: usize, sign: i64) {
    // A thread that ends frees more after its variables are gone.
    let _ = USED.try_with(|used| used.set(used.get() + sign * i64::try_from(bytes).unwrap_or(0)));
}

/// Returns the layout of a block with its header, and the length of the header.
fn with_header(layout: Layout) -> Option<(Layout, usize)> {
    let header = layout.align().max(HEADER);
    let whole = Layout::from_size_align(layout.size().checked_add(header)?, header).ok()?;
    Some((whole, header))
}

// SAFETY: every block is one of `System` that is `header` bytes longer and as strictly aligned as its header is long, so
// what follows the header has the size and the alignment that were asked for. `dealloc` is called with the same layout,
// from which it computes the same header.
#[allow(unsafe_code, reason = "an allocator has no safe interface")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let Some((whole, header)) = with_header(layout) else { return std::ptr::null_mut() };
        // SAFETY: the size is not 0, and the header is inside the block.
        unsafe {
            let start = System.alloc(whole);
            if start.is_null() {
                return start;
            }
            let is_counted = is_emulator();
            if is_counted {
                add(layout.size(), 1);
            }
            start.add(header - 1).write(u8::from(is_counted));
            start.add(header)
        }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        let Some((whole, header)) = with_header(layout) else { return };
        // SAFETY: `alloc` has returned the block, whose header is before it.
        unsafe {
            if block.sub(1).read() == 1 {
                add(layout.size(), -1);
            }
            System.dealloc(block.sub(header), whole);
        }
    }
}
