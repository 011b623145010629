//! Where a walk's time went.

use std::time::{Duration, Instant};

/// The phases of a walk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading, coding and looking up the embedding.
    Embedding,
    /// Reading blocks and decoding them to f32.
    Read,
    /// Coding blocks for the variants.
    Code,
    /// Decoding coded blocks.
    Decode,
    /// Forward passes of the reference.
    ReferenceForward,
    /// Forward passes of the variants.
    Forward,
    /// Reading and coding the head.
    HeadCode,
    /// Logits and scores of the reference.
    ReferenceHead,
    /// Logits, scores and divergences of the variants.
    Head,
}

/// Names in records, in the order of [`Phase`].
const NAMES: [&str; 9] = [
    "embedding",
    "read",
    "code",
    "decode",
    "reference forward",
    "forward",
    "head code",
    "reference head",
    "head",
];

/// Elapsed time per phase.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Timings {
    elapsed: [Duration; NAMES.len()],
}

impl Timings {
    /// Adds time to a phase.
    pub fn add(&mut self, phase: Phase, elapsed: Duration) {
        self.elapsed[phase as usize] += elapsed;
    }

    /// Adds the time that `work` takes.
    pub fn measure<T>(&mut self, phase: Phase, work: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let result = work();
        self.add(phase, start.elapsed());
        result
    }

    /// Adds another walk's times.
    pub fn join(&mut self, other: &Timings) {
        self.elapsed.iter_mut().zip(other.elapsed).for_each(|(own, other)| *own += other);
    }

    /// Name and elapsed time of each phase.
    pub fn phases(&self) -> impl Iterator<Item = (&'static str, Duration)> {
        NAMES.into_iter().zip(self.elapsed)
    }
}
