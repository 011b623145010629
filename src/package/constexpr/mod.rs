//! Weights of a read program as Core ML stores them: packed, decoded where they are needed.
//!
//! Decoding gives bit for bit what Core ML's `constexpr_*` operators are defined to give, so that
//! a package can be compared with what was scored.

mod grid;
mod lookup;
mod make;
mod numbers;
mod operators;
mod palette;
mod rows;
mod sparse;

use std::ops::Range;

use rayon::prelude::*;

use self::grid::Grid;
use self::numbers::Numbers;
pub(crate) use self::numbers::round_to_half;
use self::numbers::rounded_to_half;
pub use self::operators::weights;
pub(crate) use self::operators::{Known, read};
use self::palette::{Palette, Vector};
pub(crate) use self::rows::{Rows, VectorRows};
use self::sparse::Sparse;
use crate::error::{Error, Result};
use crate::package::spec::DataType;

/// The weights a thread decodes at a time.
const CHUNK_WEIGHTS: usize = 1 << 15;

/// A weight that keeps its codes packed.
#[derive(Debug, Clone)]
pub struct PackedWeight {
    shape: Vec<usize>,
    data_type: DataType,
    form: Form,
}

#[derive(Debug, Clone)]
enum Form {
    Plain(Numbers),
    Palette(Palette),
    Scaled(Scaled),
    Sparse(Sparse),
}

/// `scale * (data - offset)`, scale and offset shared by blocks.
#[derive(Debug, Clone)]
struct Scaled {
    data: Box<PackedWeight>,
    scales: Vec<f32>,
    offsets: Option<Vec<f32>>,
    parameters_size_bytes: usize,
    grid: Grid,
    /// Whether differences are rounded to the output's type before they are scaled.
    rounds_difference: bool,
}

impl PackedWeight {
    fn of(shape: Vec<usize>, data_type: DataType, form: Form) -> Self {
        PackedWeight { shape, data_type, form }
    }

    /// The shape, outermost axis first.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The type that decoding gives: fp16 or fp32, or integers before they are scaled.
    pub fn data_type(&self) -> DataType {
        self.data_type
    }

    /// The number of weights.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no weights.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Rows: the length of the first axis; 1 for a scalar.
    pub fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// The bytes that are stored: codes, tables, scales, offsets, masks.
    pub fn size_bytes(&self) -> usize {
        match &self.form {
            Form::Plain(numbers) => numbers.bytes.len(),
            Form::Palette(palette) => palette.codes.bytes.len() + palette.tables_size_bytes,
            Form::Scaled(scaled) => scaled.data.size_bytes() + scaled.parameters_size_bytes,
            Form::Sparse(sparse) => sparse.size_bytes(),
        }
    }

    /// All weights, row-major; of fp16 weights exactly the fp16 values.
    pub fn decode(&self) -> Vec<f32> {
        let mut weights = vec![0.0; self.len()];
        self.fill_parallel(0, &mut weights);
        weights
    }

    /// Decodes the rows `rows` into `weights`, row-major. Fails (bug) when the rows do not exist
    /// or `weights` has not exactly their length.
    pub fn decode_rows(&self, rows: Range<usize>, weights: &mut [f32]) -> Result<()> {
        let row = self.len() / self.rows().max(1);
        let fits = rows.start <= rows.end && rows.end <= self.rows();
        if !fits || weights.len() != rows.len() * row {
            return Err(Error::bug(format!(
                "rows {rows:?} of {:?} into {} weights",
                self.shape,
                weights.len()
            )));
        }
        self.fill_parallel(rows.start * row, weights);
        Ok(())
    }

    fn fill_parallel(&self, start: usize, out: &mut [f32]) {
        if out.len() <= CHUNK_WEIGHTS {
            return self.fill(start, out);
        }
        let chunks = out.par_chunks_mut(CHUNK_WEIGHTS).enumerate();
        chunks.for_each(|(i, out)| self.fill(start + i * CHUNK_WEIGHTS, out));
    }

    /// The weights from `start` on, on this thread; the caller has checked that they exist.
    pub(crate) fn fill(&self, start: usize, out: &mut [f32]) {
        match &self.form {
            Form::Plain(numbers) => numbers.fill(start, out),
            Form::Palette(palette) => palette.fill(start, out),
            Form::Scaled(scaled) => {
                scaled.fill(start, out, self.data_type == DataType::Float16);
            }
            Form::Sparse(sparse) => sparse.fill(start, out),
        }
    }
}

impl Scaled {
    fn fill(&self, start: usize, out: &mut [f32], is_half: bool) {
        self.data.fill(start, out);
        if let Some(offsets) = &self.offsets {
            self.each_block(offsets, out, start, |value, offset| value - offset);
            if is_half && self.rounds_difference {
                round_to_half(out);
            }
        }
        match is_half {
            true => self.each_block(
                &self.scales,
                out,
                start,
                #[inline(always)]
                |v, scale| rounded_to_half(v * scale),
            ),
            false => self.each_block(&self.scales, out, start, |value, scale| value * scale),
        }
    }

    /// Changes each element with the parameter of its block.
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
