//! Large things live in a static and are taken once: there is no allocator, and the stack is small.

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering};

/// A value that one caller may take for ever.
pub struct Static<T>(UnsafeCell<T>);

// SAFETY: `take` hands the value out once, so no two contexts ever share it.
unsafe impl<T> Sync for Static<T> {}

impl<T> Static<T> {
    /// Wraps a value.
    pub const fn new(value: T) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// Takes the value, unless `taken` says that somebody has. The flag belongs to this value alone.
    #[expect(clippy::mut_from_ref, reason = "the flag lets it happen once")]
    pub fn take(&'static self, taken: &AtomicBool) -> Option<&'static mut T> {
        if taken.load(Ordering::Relaxed) {
            return None;
        }
        taken.store(true, Ordering::Relaxed);
        // SAFETY: the flag, on a single CPU with interrupts masked, makes this the only reference.
        Some(unsafe { &mut *self.0.get() })
    }
}
