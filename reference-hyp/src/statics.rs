//! Large things live in statics and are taken once: there is no allocator, and the stack is small.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// A value that one caller may take for ever.
pub struct Static<T> {
    taken: AtomicBool,
    value: UnsafeCell<T>,
}

// SAFETY: `take` hands the value out once, so no two contexts ever share it.
unsafe impl<T> Sync for Static<T> {}

impl<T> Static<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self { taken: AtomicBool::new(false), value: UnsafeCell::new(value) }
    }

    /// Takes the value; `None` the second time.
    pub fn take(&'static self) -> Option<&'static mut T> {
        if self.taken.load(Ordering::Relaxed) {
            return None;
        }
        self.taken.store(true, Ordering::Relaxed);
        // SAFETY: the flag, on a single CPU with interrupts masked, makes this the only reference.
        Some(unsafe { &mut *self.value.get() })
    }
}
