//! Error compensation: columns are coded one after the other, and later columns compensate for the
//! errors of earlier ones (Frantar et al. 2022, algorithm 1; for tables of vectors van Baalen et
//! al. 2024, section 3.2). Columns are taken in blocks, so that most of the work is matrix
//! products.

use rayon::prelude::*;

use super::codebook::{Codebook, Levels};
use super::matrix::{View, add_product};
use super::state::{CodingState, chunk_vectors};

/// Columns in a block. After each block the targets of all later columns are updated.
const BLOCK: usize = 128;

/// Some vectors: their weights, and new codes and errors to write.
struct Rows<'a> {
    weights: &'a [f32],
    codes: &'a mut [u8],
    errors: &'a mut [f32],
    inputs: usize,
}

impl<const D: usize, M: Codebook<D>> CodingState<'_, D, M> {
    /// Codes every vector again, with each column's target moved by the errors of the columns
    /// before it, multiplied by `feedback` `[in, in]`. A vector whose cost would grow keeps its
    /// codes.
    pub(super) fn compensate(&mut self, feedback: &[f32]) {
        let (inputs, chunk) = (self.inputs, chunk_vectors::<D>());
        let mut codes = vec![0u8; self.codes.len()];
        let mut errors = vec![0.0f32; self.errors.len()];
        let parts = codes.par_chunks_mut(chunk * inputs);
        let parts = parts.zip(errors.par_chunks_mut(chunk * D * inputs));
        let parts = parts.zip(self.weights.par_chunks(chunk * D * inputs));
        let codebook = &self.codebook;
        parts.enumerate().for_each_init(Vec::new, |levels, (i, ((codes, errors), weights))| {
            let vectors = codes.len() / inputs;
            levels.resize_with(vectors, M::Levels::default);
            for (levels, vector) in levels.iter_mut().zip(i * chunk..) {
                codebook.levels(vector, levels);
            }
            code_rows(Rows { weights, codes, errors, inputs }, feedback, levels);
        });
        self.keep_better(&codes, &errors);
    }

    /// Takes the new codes of every vector whose cost they reduce.
    fn keep_better(&mut self, codes: &[u8], errors: &[f32]) {
        let (inputs, rows) = (self.inputs, D * self.inputs);
        let gradient = self.times_moments(errors);
        let before = self.costs(&self.errors, &self.gradient);
        let after = self.costs(errors, &gradient);
        for (vector, (before, after)) in before.iter().zip(&after).enumerate() {
            if after < before {
                let (own, wide) = (vector * inputs..(vector + 1) * inputs, vector * rows);
                let wide = wide..wide + rows;
                self.codes[own.clone()].copy_from_slice(&codes[own]);
                self.errors[wide.clone()].copy_from_slice(&errors[wide.clone()]);
                self.gradient[wide.clone()].copy_from_slice(&gradient[wide]);
            }
        }
    }
}

fn code_rows<const D: usize, L: Levels<D>>(rows: Rows<'_>, feedback: &[f32], levels: &[L]) {
    let Rows { weights, codes, errors, inputs } = rows;
    let count = weights.len() / inputs;
    let mut targets = vec![0.0f32; count * BLOCK];
    for start in (0..inputs).step_by(BLOCK) {
        let width = BLOCK.min(inputs - start);
        let given = targets.chunks_exact_mut(BLOCK).zip(weights.chunks_exact(inputs));
        given.for_each(|(to, from)| to[..width].copy_from_slice(&from[start..start + width]));
        let known = View { values: errors, rows: count, columns: start, stride: inputs };
        let right = View::columns(&feedback[..start * inputs], inputs, start, width);
        add_product(known, right, &mut targets, BLOCK, 0);
        let block = ColumnBlock { corner: &feedback[start * inputs..], inputs, start, width };
        let (targets, errors, codes) = (&mut targets[..], &mut errors[..], &mut codes[..]);
        pulp::Arch::new().dispatch(Vectors { levels, block, weights, targets, errors, codes });
    }
}

/// One block of columns of some vectors, for pulp.
struct Vectors<'a, const D: usize, L> {
    levels: &'a [L],
    block: ColumnBlock<'a>,
    weights: &'a [f32],
    targets: &'a mut [f32],
    errors: &'a mut [f32],
    codes: &'a mut [u8],
}

impl<const D: usize, L: Levels<D>> pulp::NullaryFnOnce for Vectors<'_, D, L> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let ColumnBlock { inputs, start, width, .. } = self.block;
        for (vector, levels) in self.levels.iter().enumerate() {
            let rows = vector * D..(vector + 1) * D;
            code_block(
                levels,
                self.block,
                &self.weights[rows.start * inputs..rows.end * inputs],
                &mut self.targets[rows.start * BLOCK..rows.end * BLOCK],
                &mut self.errors[rows.start * inputs..rows.end * inputs],
                &mut self.codes[vector * inputs + start..][..width],
            );
        }
    }
}

/// A block of `width` columns from `start` on.
#[derive(Clone, Copy)]
struct ColumnBlock<'a> {
    /// The rows of the feedback from the block's first column on.
    corner: &'a [f32],
    inputs: usize,
    start: usize,
    width: usize,
}

#[inline(always)]
fn code_block<const D: usize, L: Levels<D>>(
    levels: &L,
    ColumnBlock { corner, inputs, start, width }: ColumnBlock<'_>,
    weights: &[f32],
    targets: &mut [f32],
    errors: &mut [f32],
    codes: &mut [u8],
) {
    for (column, code) in codes.iter_mut().enumerate() {
        let point = std::array::from_fn(|d| targets[d * BLOCK + column]);
        *code = levels.nearest(start + column, &point);
        let decoded = levels.weights(start + column, *code);
        let feedback = &corner[column * inputs + start + column + 1..][..width - column - 1];
        for (d, decoded) in decoded.iter().enumerate() {
            let at = d * inputs + start + column;
            let error = decoded - weights[at];
            errors[at] = error;
            let later = &mut targets[d * BLOCK + column + 1..d * BLOCK + width];
            for (target, feedback) in later.iter_mut().zip(feedback) {
                *target = error.mul_add(*feedback, *target);
            }
        }
    }
}
