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

/// Counts a new block, and notes in its header whose it is.
///
/// # Safety
///
/// The byte before `block` is that of its header.
#[allow(unsafe_code, reason = "an allocator has no safe interface")]
unsafe fn mark(block: *mut u8, size: usize) -> *mut u8 {
    let is_counted = is_emulator();
    if is_counted {
        add(size, 1);
    }
    // SAFETY: as the caller says.
    unsafe { block.sub(1).write(u8::from(is_counted)) };
    block
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
            mark(start.add(header), layout.size())
        }
    }

    // The default copies every block. It may often grow where it is.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let Some((whole, header)) = with_header(layout) else { return std::ptr::null_mut() };
        // SAFETY: the sum does not overflow: `size` is valid with this alignment, and so far from `usize::MAX`. The block
        // keeps its alignment, and with it its header.
        unsafe {
            let was_counted = block.sub(1).read() == 1;
            let start = System.realloc(block.sub(header), whole, header + size);
            if start.is_null() {
                return start;
            }
            if was_counted {
                add(layout.size(), -1);
            }
            mark(start.add(header), size)
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
