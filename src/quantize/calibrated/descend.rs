//! Coordinate descent: one code after the other is replaced by the best one while all others stay.
//!
//! With gradient `g` and moment `h` of a column, its best weights are `q - g / h`, and the best
//! code is the nearest to them. The gradient is updated only if the code changes.

use rayon::prelude::*;

use super::codebook::{Codebook, Levels};
use super::state::{CodingState, chunk_vectors};

/// Most sweeps over all columns.
const SWEEPS: usize = 4;

impl<const D: usize, M: Codebook<D>> CodingState<'_, D, M> {
    /// Sweeps over the codes of every vector until nothing changes.
    pub(super) fn descend(&mut self) {
        let (inputs, chunk) = (self.inputs, chunk_vectors::<D>());
        let parts = self.codes.par_chunks_mut(chunk * inputs).enumerate();
        let parts = parts.zip(self.gradient.par_chunks_mut(chunk * D * inputs));
        let (codebook, moments) = (&self.codebook, self.moments);
        let inverse: Vec<f32> = moments.iter().step_by(inputs + 1).map(|h| 1.0 / h).collect();
        parts.for_each_init(M::Levels::default, |levels, ((i, codes), gradient)| {
            let vectors = codes.chunks_exact_mut(inputs).zip(gradient.chunks_exact_mut(D * inputs));
            for (vector, (codes, gradient)) in (i * chunk..).zip(vectors) {
                codebook.levels(vector, levels);
                let levels = &*levels;
                let inverse = &inverse[..];
                pulp::Arch::new().dispatch(Sweeps { levels, moments, inverse, codes, gradient });
            }
        });
        self.refresh();
    }
}

/// All sweeps over the columns of a vector, for pulp.
struct Sweeps<'a, const D: usize, L> {
    levels: &'a L,
    moments: &'a [f32],
    inverse: &'a [f32],
    codes: &'a mut [u8],
    gradient: &'a mut [f32],
}

impl<const D: usize, L: Levels<D>> pulp::NullaryFnOnce for Sweeps<'_, D, L> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Sweeps { levels, moments, inverse, codes, gradient } = self;
        for _ in 0..SWEEPS {
            if !sweep(levels, moments, inverse, codes, gradient) {
                break;
            }
        }
    }
}

/// One sweep over the columns of a vector. Returns whether a code has changed.
#[inline(always)]
fn sweep<const D: usize, L: Levels<D>>(
    levels: &L,
    moments: &[f32],
    inverse: &[f32],
    codes: &mut [u8],
    gradient: &mut [f32],
) -> bool {
    let inputs = codes.len();
    let mut changed = false;
    for column in 0..inputs {
        let code = codes[column];
        let now = levels.weights(column, code);
        let point = std::array::from_fn(|d| {
            (-gradient[d * inputs + column]).mul_add(inverse[column], now[d])
        });
        let nearest = levels.nearest(column, &point);
        if nearest == code {
            continue;
        }
        let next = levels.weights(column, nearest);
        let steps: [f32; D] = std::array::from_fn(|d| next[d] - now[d]);
        let row = &moments[column * inputs..(column + 1) * inputs];
        let mut gain = 0.0;
        for (d, step) in steps.iter().enumerate() {
            gain += step * (2.0 * gradient[d * inputs + column] + row[column] * step);
        }
        // A tie is no gain.
        if gain < 0.0 {
            codes[column] = nearest;
            changed = true;
            for (step, gradient) in steps.iter().zip(gradient.chunks_exact_mut(inputs)) {
                for (value, moment) in gradient.iter_mut().zip(row) {
                    *value = step.mul_add(*moment, *value);
                }
            }
        }
    }
    changed
}
