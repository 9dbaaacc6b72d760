//! An allocator that keeps large freed blocks for the next tensor of about the same size: asking the system for fresh
//! pages costs more than the arithmetic on them (a fresh 12 MB matrix: 6 ms of page faults, 1 ms of writing).

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use napi_derive::napi;

/// Smaller blocks are left to the system's allocator, which recycles them itself.
const SMALLEST: usize = 256 << 10;
/// Freed memory kept at most; above it blocks go back to the system.
const MOST_KEPT: usize = 128 << 20;
/// Blocks kept at most, so that looking for one stays cheap.
const MOST_BLOCKS: usize = 64;
/// Requests for large blocks after which a kept one that served none goes back: a batch makes some 25 on its way through a block, so the
/// work has changed, and one stage's freed memory shall not stay beside the next one's.
const MOST_AGE: usize = 128;
/// Every kept block is aligned like this: faer asks for 128.
const ALIGNMENT: usize = 128;

#[derive(Clone, Copy)]
struct Block {
    address: usize,
    size: usize,
    /// The number of requests before it was freed.
    freed: usize,
}

struct Kept {
    /// The oldest first.
    blocks: [Block; MOST_BLOCKS],
    count: usize,
    bytes: usize,
    /// Large blocks asked for so far.
    requests: usize,
}

const EMPTY: Block = Block { address: 0, size: 0, freed: 0 };

/// Bytes of large blocks that tensors hold now; those kept for later are not counted.
static IN_USE: AtomicUsize = AtomicUsize::new(0);

/// Bytes that live tensors of at least 256 KiB hold.
#[napi]
pub fn tensor_bytes_in_use() -> f64 {
    IN_USE.load(Ordering::Relaxed) as f64
}

/// Large blocks come from the system page by page and go back whole. Inside glibc's heaps, where it would put those below
/// 32 MiB, they fragment: resident memory grew by 60 MB a block of a 135M model while 5 MB were in use.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
#[napi_derive::module_init]
fn separate_large_blocks() {
    // SAFETY: sets one tuning parameter of the C library's allocator.
    unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, SMALLEST as i32) };
}

pub struct Recycling {
    kept: Mutex<Kept>,
}

#[global_allocator]
static ALLOCATOR: Recycling =
    Recycling { kept: Mutex::new(Kept { blocks: [EMPTY; MOST_BLOCKS], count: 0, bytes: 0, requests: 0 }) };

/// Sizes are rounded up by an eighth at most, so that similar tensors share blocks.
fn rounded(size: usize) -> usize {
    let step = (size.next_power_of_two() / 16).max(4096);
    size.div_ceil(step) * step
}

fn is_large(layout: Layout) -> bool {
    layout.size() >= SMALLEST && layout.align() <= ALIGNMENT
}

fn large(layout: Layout) -> Layout {
    // SAFETY: the alignment is a power of two, and a size that existed does not overflow when rounded.
    unsafe { Layout::from_size_align_unchecked(rounded(layout.size()), ALIGNMENT) }
}

impl Recycling {
    /// A kept block of exactly this rounded size, the last one freed.
    fn take(&self, size: usize) -> Option<*mut u8> {
        let mut kept = self.kept.lock().ok()?;
        kept.requests += 1;
        let count = kept.count;
        let found = kept.blocks[..count].iter().rposition(|block| block.size == size);
        let address = found.map(|at| kept.remove(at).address as *mut u8);
        kept.release_stale();
        address
    }

    /// Keeps a freed block; the oldest go when there are too many. True when it was kept.
    fn keep(&self, pointer: *mut u8, size: usize) -> bool {
        let Ok(mut kept) = self.kept.lock() else { return false };
        if size > MOST_KEPT {
            return false;
        }
        while kept.count == MOST_BLOCKS || kept.bytes + size > MOST_KEPT {
            kept.release_oldest();
        }
        let (count, freed) = (kept.count, kept.requests);
        kept.blocks[count] = Block { address: pointer as usize, size, freed };
        kept.count += 1;
        kept.bytes += size;
        true
    }
}

impl Kept {
    fn remove(&mut self, at: usize) -> Block {
        let block = self.blocks[at];
        self.blocks.copy_within(at + 1..self.count, at);
        self.count -= 1;
        self.bytes -= block.size;
        block
    }

    fn release_oldest(&mut self) {
        let Block { address, size, .. } = self.remove(0);
        // SAFETY: it was allocated by `alloc` below with this very layout.
        unsafe { System.dealloc(address as *mut u8, Layout::from_size_align_unchecked(size, ALIGNMENT)) };
    }

    fn release_stale(&mut self) {
        while self.count > 0 && self.requests - self.blocks[0].freed > MOST_AGE {
            self.release_oldest();
        }
    }
}

// SAFETY: every block comes from the system's allocator with the layout that it is given back with: large ones always with
// the rounded layout, others with their own. A kept block belongs to nobody else until it is taken.
unsafe impl GlobalAlloc for Recycling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_large(layout) {
            return unsafe { System.alloc(layout) };
        }
        let layout = large(layout);
        IN_USE.fetch_add(layout.size(), Ordering::Relaxed);
        self.take(layout.size()).unwrap_or_else(|| unsafe { System.alloc(layout) })
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !is_large(layout) {
            return unsafe { System.alloc_zeroed(layout) };
        }
        let rounded = large(layout);
        IN_USE.fetch_add(rounded.size(), Ordering::Relaxed);
        match self.take(rounded.size()) {
            Some(block) => {
                unsafe { block.write_bytes(0, layout.size()) };
                block
            }
            None => unsafe { System.alloc_zeroed(rounded) },
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if !is_large(layout) {
            return unsafe { System.dealloc(pointer, layout) };
        }
        let layout = large(layout);
        IN_USE.fetch_sub(layout.size(), Ordering::Relaxed);
        if !self.keep(pointer, layout.size()) {
            unsafe { System.dealloc(pointer, layout) };
        }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if !is_large(layout) && !is_large(wanted) {
            return unsafe { System.realloc(pointer, layout, size) };
        }
        let moved = unsafe { self.alloc(wanted) };
        if !moved.is_null() {
            unsafe { pointer.copy_to_nonoverlapping(moved, layout.size().min(size)) };
            unsafe { self.dealloc(pointer, layout) };
        }
        moved
    }
}

#[cfg(test)]
mod tests {
    /// Where a tensor-sized vector lay, every page written, by the time it is freed.
    fn place() -> usize {
        let values: Vec<f32> = vec![1.0; 1_179_648];
        values.as_ptr() as usize
    }

    #[test]
    fn a_freed_block_serves_the_next_tensor_of_its_size() {
        let first = place();
        for _ in 0..10 {
            assert_eq!(place(), first);
        }
        let zeroed = vec![0f32; 1_179_648];
        assert_eq!(zeroed.as_ptr() as usize, first);
        assert!(zeroed.iter().all(|&x| x == 0.0));
    }
}
