//! How far tuning got, kept so that it goes on where it was interrupted.
//!
//! A file of little-endian numbers: `step` u64, `before` and `best` f64, the count of parameters
//! u64, then the parameters as they are and, where there is a best, as they were then, f32 each.

use std::io::Write;
use std::path::Path;

use super::Parameters;
use crate::error::{At, Error, Result};
use crate::results::write_aside_with;

/// Steps, two losses and a count.
const HEAD_BYTES: usize = 32;

/// How far tuning got.
pub struct State {
    /// Steps that were made.
    pub step: usize,
    /// Mean KL divergence of the windows held out before tuning, in nats; NaN where unknown.
    pub before: f64,
    /// The best that was seen, and the parameters then.
    best: Option<(f64, Vec<f32>)>,
}

impl State {
    /// The state that a file holds, with the parameters as they were; the beginning where there is
    /// no such file.
    ///
    /// # Errors
    /// Surroundings errors of the disk, input errors of a file that is none.
    pub fn begin(kept: &Path, parameters: &mut Parameters<'_>) -> Result<State> {
        let new = State { step: 0, before: f64::NAN, best: None };
        if !kept.exists() {
            return Ok(new);
        }
        let most = HEAD_BYTES + 2 * 4 * parameters.numbers().len();
        let size_bytes = std::fs::metadata(kept).map_or(0, |meta| meta.len());
        if size_bytes > most as u64 {
            let what = format!("expected at most {most} bytes, found {size_bytes}");
            return Err(damaged(&what, kept));
        }
        let bytes = std::fs::read(kept).map_err(|error| Error::io("read", kept, error))?;
        new.parse(&bytes, parameters).at(|| kept.display().to_string())
    }

    fn parse(self, bytes: &[u8], parameters: &mut Parameters<'_>) -> Result<State> {
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else {
            return Err(Error::input("a tuning state is too short"));
        };
        let (words, _) = head.as_chunks::<8>();
        let [step, before, best, count] = std::array::from_fn(|at| u64::from_le_bytes(words[at]));
        let (values, _) = rest.as_chunks::<4>();
        let numbers: Vec<f32> = values.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        let Some((now, then)) = numbers.split_at_checked(count) else {
            return Err(Error::input("a tuning state is too short"));
        };
        parameters.restore(now)?;
        let best = (then.len() == count).then(|| (f64::from_bits(best), then.to_vec()));
        Ok(State { step: step as usize, before: f64::from_bits(before), best })
    }

    /// Writes the state, with the parameters as they are.
    ///
    /// # Errors
    /// Surroundings errors of the disk.
    pub fn keep(&self, path: &Path, parameters: &Parameters<'_>) -> Result<()> {
        let numbers = parameters.numbers();
        let best = self.best.as_ref().map_or(f64::NAN, |(best, _)| *best);
        let words = [self.step as u64, self.before.to_bits(), best.to_bits(), numbers.len() as u64];
        let then = self.best.iter().flat_map(|(_, numbers)| numbers);
        write_aside_with(path, |out| {
            let failed = |e| Error::io("write", path, e);
            for word in words {
                out.write_all(&word.to_le_bytes()).map_err(failed)?;
            }
            for number in numbers.iter().chain(then) {
                out.write_all(&number.to_le_bytes()).map_err(failed)?;
            }
            Ok(())
        })
    }

    /// Notes a loss on the windows held out.
    pub fn note(&mut self, loss: f64, parameters: &Parameters<'_>) {
        if self.best.as_ref().is_none_or(|(best, _)| loss < *best) {
            self.best = Some((loss, parameters.numbers()));
        }
    }

    /// Puts the parameters back to where they were best.
    ///
    /// # Errors
    /// None for parameters that were noted.
    pub fn best(self, parameters: &mut Parameters<'_>) -> Result<()> {
        self.best.map_or(Ok(()), |(_, numbers)| parameters.restore(&numbers))
    }
}

fn damaged(what: &str, path: &Path) -> Error {
    Error::input(format!("a tuning state: {what}"))
        .at(path.display())
        .hint("remove it, and tuning begins anew")
}
