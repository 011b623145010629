//! What executing a package may take: memory and work, in proportion to the size of its files.
//!
//! A package may come from a stranger. A few bytes of a program can ask for a state of a terabyte or a
//! product that takes a year, so everything is counted before it is allocated or computed. What a real
//! model needs is proportional to its weights: activations, caches and decoded tables are a few times as
//! large, and a weight is multiplied once per token of a call. The limits leave room for models with
//! one-bit weights and long caches.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use crate::error::{Error, Result};

/// The memory that packages of any size may use.
const MIN_BYTES: u64 = 1 << 30;
/// Bytes of memory per byte of the packages' files.
const BYTES_PER_BYTE: u64 = 64;
/// The steps that one call of a function of any size may take: some ten seconds of products.
const MIN_STEPS: u64 = 1 << 36;
/// Steps per byte of the packages' files: 32 weights of one call with 4096 tokens.
const STEPS_PER_BYTE: u64 = 1 << 17;
/// What an element of an operator's arguments or results counts, in multiply-adds.
const STEPS_PER_ELEMENT: u64 = 16;
/// Whether the system can give this much memory is tried before it is taken.
const PROBED_BYTES: u64 = 64 << 20;
/// Interval between checks of whether waiting was given up.
const LOOK: Duration = Duration::from_millis(50);

/// The memory and work that the packages of one model may take together. Shared by everything that
/// belongs to them.
#[derive(Debug)]
pub struct Budget {
    limit_bytes: u64,
    used_bytes: AtomicU64,
    limit_steps: u64,
    stop: OnceLock<Arc<AtomicBool>>,
}

impl Budget {
    /// The budget of packages whose files have `size_bytes` bytes together.
    pub fn of(size_bytes: u64) -> Arc<Budget> {
        Arc::new(Budget {
            limit_bytes: size_bytes.saturating_mul(BYTES_PER_BYTE).max(MIN_BYTES),
            used_bytes: AtomicU64::new(0),
            limit_steps: size_bytes.saturating_mul(STEPS_PER_BYTE).max(MIN_STEPS),
            stop: OnceLock::new(),
        })
    }

    /// Once `stop` is set, everything that uses this budget ends with an interruption. The first flag
    /// that is given counts.
    pub fn stop_by(&self, stop: Arc<AtomicBool>) {
        // A second flag is that of the same run.
        let _ = self.stop.set(stop);
    }

    fn is_stopped(&self) -> bool {
        self.stop.get().is_some_and(|stop| stop.load(Relaxed))
    }

    /// Fails if the flag of [`Budget::stop_by`] is set.
    ///
    /// # Errors
    /// Interruption.
    pub fn check_stop(&self) -> Result<()> {
        if self.is_stopped() { Err(Error::interrupted()) } else { Ok(()) }
    }

    /// Takes `bytes` out of the budget until the charge is dropped.
    ///
    /// # Errors
    /// An input error if the budget does not have them.
    pub fn charge(self: &Arc<Self>, bytes: u64) -> Result<Charge> {
        self.check_room(bytes)?;
        self.used_bytes.fetch_add(bytes, Relaxed);
        Ok(Charge { budget: Arc::clone(self), bytes })
    }

    /// Checks that `bytes` more could be taken, without taking them.
    ///
    /// # Errors
    /// An input error if the budget does not have them, surroundings if this machine does not.
    pub fn check_room(&self, bytes: u64) -> Result<()> {
        let used = self.used_bytes.load(Relaxed);
        if used.saturating_add(bytes) > self.limit_bytes {
            let limit = self.limit_bytes;
            return Err(Error::input(format!(
                "this needs {bytes} bytes of memory in addition to {used}; expected at most {limit} in \
                 total for packages of this size"
            ))
            .hint(
                "the package is not a language model, or its cache is too long: write it again with a \
                 smaller --max-sequence-length",
            ));
        }
        if bytes < PROBED_BYTES {
            return Ok(());
        }
        let mut probe: Vec<u8> = Vec::new();
        probe.try_reserve_exact(usize::try_from(bytes).unwrap_or(usize::MAX)).map_err(|e| {
            Error::surroundings(format!("this machine cannot give {bytes} bytes of memory"))
                .because(e)
        })
    }
}

/// Bytes that are taken out of a budget. Dropping it returns them.
#[derive(Debug)]
pub struct Charge {
    budget: Arc<Budget>,
    bytes: u64,
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.used_bytes.fetch_sub(self.bytes, Relaxed);
    }
}

/// The work of one call of a function.
#[derive(Debug)]
pub struct Work {
    budget: Arc<Budget>,
    steps: AtomicU64,
}

impl Work {
    /// No work so far.
    pub fn new(budget: &Arc<Budget>) -> Work {
        Work { budget: Arc::clone(budget), steps: AtomicU64::new(0) }
    }

    /// What the work is done for.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Counts multiply-adds that are about to be computed; the product of `factors`.
    ///
    /// # Errors
    /// An input error if the call takes more than it may, interruption.
    pub fn add_products(&self, factors: &[usize]) -> Result<()> {
        let steps = factors.iter().fold(1u64, |all, factor| all.saturating_mul(*factor as u64));
        self.add(steps)
    }

    /// Counts elements that are about to be read or written.
    ///
    /// # Errors
    /// As [`Work::add_products`].
    pub fn add_elements(&self, elements: usize) -> Result<()> {
        self.add((elements as u64).saturating_mul(STEPS_PER_ELEMENT))
    }

    fn add(&self, steps: u64) -> Result<()> {
        self.budget.check_stop()?;
        let total = self.steps.load(Relaxed).saturating_add(steps);
        self.steps.store(total, Relaxed);
        if total <= self.budget.limit_steps {
            return Ok(());
        }
        let limit = self.budget.limit_steps;
        Err(Error::input(format!(
            "one call would take {total} steps or more; expected at most {limit} for packages of this \
             size"
        ))
        .hint("the package is not a language model"))
    }
}

/// Does `work`, and waits no longer for it once the budget's flag is set: one operator can take many
/// seconds, and an interrupted command ends within one. The thread that was given up ends before its next
/// operator.
///
/// # Errors
/// Errors of `work`, interruption.
pub fn unless_stopped<T: Send + 'static>(
    budget: &Arc<Budget>,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    if budget.stop.get().is_none() {
        return work();
    }
    let (done, waiting) = mpsc::channel();
    let thread = std::thread::Builder::new().name("execute".into());
    let thread = thread
        .spawn(move || drop(done.send(work())))
        .map_err(|e| Error::surroundings("cannot start a thread").because(e))?;
    loop {
        match waiting.recv_timeout(LOOK) {
            Ok(result) => return result,
            Err(mpsc::RecvTimeoutError::Timeout) => budget.check_stop()?,
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    match thread.join() {
        Err(panic) => std::panic::resume_unwind(panic),
        Ok(()) => Err(Error::bug("a thread ended without a result")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_returned_can_be_taken_again() {
        let budget = Budget::of(0);
        let all = budget.charge(MIN_BYTES).unwrap();
        let error = budget.charge(1).unwrap_err();
        assert!(
            error.exit().code() == 2 && error.to_string().contains("1 bytes of memory"),
            "{error}"
        );
        drop(all);
        let charge = budget.charge(MIN_BYTES / 2).unwrap();
        assert!(budget.check_room(MIN_BYTES).is_err() && budget.check_room(MIN_BYTES / 2).is_ok());
        drop(charge);
        assert!(budget.charge(u64::MAX).is_err());
        assert!(Budget::of(u64::MAX).charge(1 << 62).is_err(), "more than a machine has");
    }

    #[test]
    fn the_work_of_one_call_is_summed() {
        let budget = Budget::of(0);
        let work = Work::new(&budget);
        work.add_products(&[1 << 20, 1 << 15]).unwrap();
        assert!(work.add_products(&[1 << 20, (1 << 15) + 1]).is_err());
        assert!(Work::new(&budget).add_products(&[usize::MAX, usize::MAX, usize::MAX]).is_err());
        assert!(Work::new(&budget).add_elements(1 << 33).is_err());
    }

    #[test]
    fn waiting_ends_soon_after_the_flag_is_set() {
        let budget = Budget::of(0);
        assert_eq!(unless_stopped(&budget, || Ok(7)).unwrap(), 7);
        let stop = Arc::new(AtomicBool::new(false));
        budget.stop_by(Arc::clone(&stop));
        assert_eq!(unless_stopped(&budget, || Ok(8)).unwrap(), 8);
        let (begun, begins) = mpsc::channel();
        let waiting = Arc::clone(&budget);
        let waiter = std::thread::spawn(move || {
            unless_stopped(&waiting, move || {
                begun.send(()).unwrap();
                std::thread::sleep(Duration::from_secs(30));
                Ok(())
            })
        });
        begins.recv().unwrap();
        let start = std::time::Instant::now();
        stop.store(true, Relaxed);
        assert_eq!(waiter.join().unwrap().unwrap_err().exit().code(), 130);
        assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
    }
}
