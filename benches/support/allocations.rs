//! An allocator that counts.

#![allow(unsafe_code)] // an allocator is unsafe by its trait; this one forwards

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

/// Whether anybody wants to know: all else that is measured must not pay for it.
static IS_COUNTING: AtomicBool = AtomicBool::new(false);

struct Counting;

// SAFETY: every call is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are those that `System` wants.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count() {
    if !IS_COUNTING.load(Ordering::Relaxed) {
        return;
    }
    // A thread that is ending allocates without being counted.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

/// How often `work` allocates, on this thread.
pub fn allocations<T>(work: impl FnOnce() -> T) -> usize {
    IS_COUNTING.store(true, Ordering::Relaxed);
    let before = ALLOCATIONS.get();
    black_box(work());
    let counted = ALLOCATIONS.get() - before;
    IS_COUNTING.store(false, Ordering::Relaxed);
    counted
}
