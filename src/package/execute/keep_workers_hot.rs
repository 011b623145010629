//! Keeps rayon's worker threads awake during a run.
//!
//! A run distributes hundreds of matrix products that take a few microseconds each, with short
//! single-threaded steps between them. Waking a thread takes longer than such a product. Therefore
//! idle workers poll for work until the run is over, instead of going to sleep.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A worker that finds no work for this long may sleep. Without this limit, two runs that share the
/// pool could wait for each other.
const MAX_IDLE: Duration = Duration::from_micros(200);
/// How often a worker polls before it reads the clock.
const POLLS_PER_CLOCK_READ: usize = 16;

/// Calls `run` on a thread of the pool while the other threads poll for work.
pub(super) fn keep_workers_hot<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let is_over = AtomicBool::new(false);
    rayon::scope(|scope| {
        let home = rayon::current_thread_index();
        let is_over = &is_over;
        if rayon::current_num_threads() > 1 {
            scope.spawn_broadcast(move |_, context| {
                if Some(context.index()) != home {
                    poll_for_work(is_over);
                }
            });
        }
        let result = run();
        is_over.store(true, Ordering::Relaxed);
        result
    })
}

/// Executes work of other threads until the run is over or no work came for a while.
fn poll_for_work(is_over: &AtomicBool) {
    let mut since = Instant::now();
    loop {
        for _ in 0..POLLS_PER_CLOCK_READ {
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            match rayon::yield_now() {
                Some(rayon::Yield::Executed) => since = Instant::now(),
                _ => std::hint::spin_loop(),
            }
        }
        if since.elapsed() > MAX_IDLE {
            return;
        }
        // Lets other processes use this core.
        std::thread::yield_now();
    }
}
