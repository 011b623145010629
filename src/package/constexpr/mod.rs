//! The weights of a program as Core ML stores them: they stay packed and are decoded when they are
//! needed.
//!
//! Decoding gives, bit for bit, the results that Core ML's `constexpr_*` operators are defined to
//! have, so that the weights of a package can be compared with those that were scored.

mod from_parts;
mod grid;
mod lookup;
mod numbers;
mod operators;
mod palette;
#[cfg(target_arch = "aarch64")]
mod planes;
mod sparse;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
mod stored_rows;
mod vector_rows;

use std::sync::Arc;

use rayon::prelude::*;

use self::grid::Grid;
use self::numbers::Numbers;
pub(crate) use self::numbers::round_to_half;
use self::numbers::rounded_to_half;
pub use self::operators::weights;
pub(crate) use self::operators::{KnownValue, read};
use self::palette::{PalettizedWeight, VectorEntries};
#[cfg(target_arch = "aarch64")]
pub(crate) use self::planes::Planes;
use self::sparse::StoredMask;
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
pub(crate) use self::stored_rows::StoredRows;
pub(crate) use self::vector_rows::VectorRows;
use crate::error::{Error, Result};
use crate::package::budget::{Budget, Charge};
use crate::package::spec::DataType;

/// Weights that are made of weights more deeply are refused: reading them descends as deep.
const MAX_DEPTH: usize = 4;
/// The number of weights that a thread decodes at a time.
const CHUNK_WEIGHTS: usize = 1 << 15;

/// A weight whose codes stay packed.
#[derive(Debug, Clone)]
pub struct PackedWeight {
    shape: Vec<usize>,
    data_type: DataType,
    form: Form,
    /// Its tables and parameters in a budget; `None` if they are not counted.
    charge: Option<Arc<Charge>>,
}

#[derive(Debug, Clone)]
enum Form {
    Plain(Numbers),
    Palette(PalettizedWeight),
    Scaled(ScaledWeight),
    Sparse(SparseWeight),
}

/// A mask, and the elements that it marks, in order.
#[derive(Debug, Clone)]
struct SparseWeight {
    mask: StoredMask,
    stored: Box<PackedWeight>,
}

/// `scale * (data - offset)`, where blocks of elements share a scale and an offset.
#[derive(Debug, Clone)]
struct ScaledWeight {
    data: Box<PackedWeight>,
    scales: Arc<[f32]>,
    offsets: Option<Arc<[f32]>>,
    parameters_size_bytes: usize,
    grid: Grid,
    /// Whether `data - offset` is rounded to the type of the result before it is scaled.
    rounds_difference: bool,
}

impl PackedWeight {
    fn of(shape: Vec<usize>, data_type: DataType, form: Form) -> Self {
        PackedWeight { shape, data_type, form, charge: None }
    }

    /// How many weights are within one another, this one included.
    fn depth(&self) -> usize {
        match &self.form {
            Form::Plain(_) | Form::Palette(_) => 1,
            Form::Scaled(scaled) => 1 + scaled.data.depth(),
            Form::Sparse(sparse) => 1 + sparse.stored.depth(),
        }
    }

    /// Returns an input error if no other weight can be made of this one.
    fn check_depth(&self) -> Result<()> {
        if self.depth() < MAX_DEPTH {
            return Ok(());
        }
        Err(Error::input(format!("a weight is made of more than {MAX_DEPTH} constexpr operators")))
    }

    /// Takes what is decoded already, which is `bytes` long, out of a budget as long as the weight or a
    /// clone of it exists.
    fn charge(&mut self, bytes: u64, budget: &Arc<Budget>) -> Result<()> {
        self.charge = Some(Arc::new(budget.charge(bytes)?));
        Ok(())
    }

    /// The bytes of tables, scales and offsets that are decoded already.
    fn decoded_bytes(&self) -> u64 {
        let values = match &self.form {
            Form::Plain(_) => 0,
            Form::Palette(palette) => palette.tables.len(),
            Form::Scaled(scaled) => {
                scaled.scales.len() + scaled.offsets.as_ref().map_or(0, |offsets| offsets.len())
            }
            Form::Sparse(sparse) => sparse.mask.size_bytes() / 32,
        };
        (values * size_of::<f32>()) as u64
    }

    /// The length of every axis, outermost first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    /// The number of rows, which is the length of the first axis; 1 for a scalar.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// The stored size in bytes: codes, tables, scales, offsets and masks.
    pub fn size_bytes(&self) -> usize {
        match &self.form {
            Form::Plain(numbers) => numbers.bytes.len(),
            Form::Palette(palette) => palette.codes.bytes.len() + palette.tables_size_bytes,
            Form::Scaled(scaled) => scaled.data.size_bytes() + scaled.parameters_size_bytes,
            Form::Sparse(sparse) => sparse.mask.size_bytes() + sparse.stored.size_bytes(),
        }
    }

    /// All elements, row-major. If the type is fp16, they are fp16 values.
    pub fn decode(&self) -> Vec<f32> {
        let mut weights = vec![0.0; self.elements()];
        if weights.len() <= CHUNK_WEIGHTS {
            self.fill(0, &mut weights);
        } else {
            let chunks = weights.par_chunks_mut(CHUNK_WEIGHTS).enumerate();
            chunks.for_each(|(i, chunk)| self.fill(i * CHUNK_WEIGHTS, chunk));
        }
        weights
    }

    /// Writes the elements from `start` on to `out`, on this thread. The caller makes sure that
    /// they exist.
    pub(crate) fn fill(&self, start: usize, out: &mut [f32]) {
        match &self.form {
            Form::Plain(numbers) => numbers.fill(start, out),
            Form::Palette(palette) => palette.fill(start, out),
            Form::Scaled(scaled) => {
                scaled.fill(start, out, self.data_type == DataType::Float16);
            }
            Form::Sparse(sparse) => {
                sparse.mask.fill(start, out, |first, out| sparse.stored.fill(first, out));
            }
        }
    }
}

impl ScaledWeight {
    fn fill(&self, start: usize, out: &mut [f32], is_half: bool) {
        self.data.fill(start, out);
        if let Some(offsets) = &self.offsets {
            self.each_block(offsets, out, start, |value, offset| value - offset);
            if is_half && self.rounds_difference {
                round_to_half(out);
            }
        }
        if is_half {
            self.each_block(
                &self.scales,
                out,
                start,
                #[inline(always)]
                |value, scale| rounded_to_half(value * scale),
            );
        } else {
            self.each_block(&self.scales, out, start, |value, scale| value * scale);
        }
    }

    /// Replaces each element by `change(element, parameter of its block)`.
    fn each_block(
        &self,
        parameters: &[f32],
        out: &mut [f32],
        start: usize,
        change: impl Fn(f32, f32) -> f32,
    ) {
        self.grid.runs(start, out.len(), |cell, range| {
            let (parameter, out) = (parameters[cell], &mut out[range]);
            pulp::Arch::new().dispatch(
                #[inline(always)]
                || out.iter_mut().for_each(|value| *value = change(*value, parameter)),
            );
        });
    }
}

#[cfg(test)]
mod hostile_parameters;
