//! Adam (Kingma & Ba 2015) without its epsilon. A parameter whose derivatives were all 0 does not
//! move.

use rayon::prelude::*;

use crate::error::{Error, Result};

/// Decay of the running mean and of the running mean square of derivatives.
const DECAY: [f32; 2] = [0.9, 0.95];
/// Parameters that one thread moves at a time.
const CHUNK: usize = 1 << 15;

/// Adam's state for some parameters.
#[derive(Debug, Clone)]
pub struct Adam {
    means: Vec<f32>,
    squares: Vec<f32>,
    steps: i32,
}

impl Adam {
    /// The initial state for this number of parameters.
    pub fn new(parameters: usize) -> Self {
        Adam { means: vec![0.0; parameters], squares: vec![0.0; parameters], steps: 0 }
    }

    /// Moves parameters against their derivatives by about `rate` each. The scale of the
    /// derivatives does not matter.
    pub fn step(&mut self, parameters: &mut [f32], derivatives: &[f32], rate: f32) {
        self.steps += 1;
        let [mean, square] = DECAY.map(|decay| 1.0 - decay.powi(self.steps));
        let chunks = parameters.par_chunks_mut(CHUNK).zip(derivatives.par_chunks(CHUNK));
        let memory = self.means.par_chunks_mut(CHUNK).zip(self.squares.par_chunks_mut(CHUNK));
        chunks.zip(memory).for_each(|((parameters, derivatives), (means, squares))| {
            let rate = rate / mean;
            let moved = Moved { parameters, derivatives, means, squares, rate, grown: square };
            pulp::Arch::new().dispatch(moved);
        });
    }

    /// The state, in the order in which [`restore`](Adam::restore) reads it.
    pub fn numbers(&self) -> impl Iterator<Item = f32> {
        let steps = std::iter::once(self.steps as f32);
        steps.chain(self.means.iter().chain(&self.squares).copied())
    }

    /// Restores the state from the [`numbers`](Adam::numbers) of the same number of parameters.
    ///
    /// # Errors
    /// An input error if there are fewer numbers.
    pub fn restore(&mut self, numbers: &mut impl Iterator<Item = f32>) -> Result<()> {
        let mut next = || numbers.next().ok_or_else(too_short);
        self.steps = next()? as i32;
        for value in self.means.iter_mut().chain(&mut self.squares) {
            *value = next()?;
        }
        Ok(())
    }
}

/// The error for a saved state with fewer numbers than it should have.
pub(super) fn too_short() -> Error {
    Error::input("the saved state of tuning has too few numbers")
}

/// One step of some parameters, for pulp.
struct Moved<'a> {
    parameters: &'a mut [f32],
    derivatives: &'a [f32],
    means: &'a mut [f32],
    squares: &'a mut [f32],
    rate: f32,
    /// The sum of the decaying weights of all squares so far.
    grown: f32,
}

impl pulp::NullaryFnOnce for Moved<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let inverse = 1.0 / self.grown;
        let memory = self.means.iter_mut().zip(self.squares);
        let all = self.parameters.iter_mut().zip(self.derivatives).zip(memory);
        for ((parameter, derivative), (mean, square)) in all {
            *mean = DECAY[0] * *mean + (1.0 - DECAY[0]) * derivative;
            *square = DECAY[1] * *square + (1.0 - DECAY[1]) * derivative * derivative;
            // If the root is 0, so is the mean, up to underflow.
            let size = (*square * inverse).sqrt().max(f32::MIN_POSITIVE);
            *parameter -= self.rate * *mean / size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_step_is_the_rate_and_still_parameters_stay() {
        let mut adam = Adam::new(3);
        let mut parameters = [1.0, 1.0, 1.0];
        adam.step(&mut parameters, &[1e-6, -1e6, 0.0], 0.5);
        let expected = [0.5, 1.5, 1.0];
        let worst = parameters.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-5, "{parameters:?}");
    }

    #[test]
    fn a_restored_memory_goes_on_as_if_nothing_had_been() {
        let derivatives = [[0.3, -0.1], [0.2, 0.4]];
        let mut whole = Adam::new(2);
        let mut parameters = [1.0, 2.0];
        whole.step(&mut parameters, &derivatives[0], 0.1);
        let mut restored = Adam::new(2);
        restored.restore(&mut whole.numbers()).unwrap();
        let mut others = parameters;
        whole.step(&mut parameters, &derivatives[1], 0.1);
        restored.step(&mut others, &derivatives[1], 0.1);
        assert_eq!(parameters, others);
        assert!(Adam::new(2).restore(&mut [0.0; 4].into_iter()).is_err());
    }
}
