//! How this room takes locks.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Takes a lock, even if a thread panicked while it held the lock: what is guarded here is consistent
/// between any two statements.
pub(super) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
