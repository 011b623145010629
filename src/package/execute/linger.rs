//! Keeping rayon's threads awake during a run.
//!
//! A run shares out hundreds of products of a few microseconds each, with short steps of one
//! thread between them. Threads that fall asleep in between cost more than the products: so they
//! look for work until the run is over.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a thread looks for work in vain before it may sleep. That this has an end keeps runs
/// that share the pool from waiting for one another.
const PATIENCE: Duration = Duration::from_micros(200);
/// Looks between two of the clock.
const LOOKS: usize = 16;

/// Runs `run` within the pool while its other threads look for work.
pub(super) fn awake<T: Send>(run: impl FnOnce() -> T + Send) -> T {
    let is_over = AtomicBool::new(false);
    rayon::scope(|scope| {
        let home = rayon::current_thread_index();
        let is_over = &is_over;
        if rayon::current_num_threads() > 1 {
            scope.spawn_broadcast(move |_, context| {
                if Some(context.index()) != home {
                    linger(is_over);
                }
            });
        }
        let result = run();
        is_over.store(true, Ordering::Relaxed);
        result
    })
}

/// Does what other threads offer until the run is over or nothing comes for a while.
fn linger(is_over: &AtomicBool) {
    let mut since = Instant::now();
    loop {
        for _ in 0..LOOKS {
            if is_over.load(Ordering::Relaxed) {
                return;
            }
            match rayon::yield_now() {
                Some(rayon::Yield::Executed) => since = Instant::now(),
                _ => std::hint::spin_loop(),
            }
        }
        if since.elapsed() > PATIENCE {
            return;
        }
        // Whoever else wants this core may have it.
        std::thread::yield_now();
    }
}
