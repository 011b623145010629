//! Codebooks: the weights that codes stand for, as entries of tables times row scales, or as
//! integers times scales.
//!
//! The steps of calibrated coding know codes only through the traits [`Codebook`] and [`Levels`].

use half::f16;

use crate::quantize::fp16::{MIN_ROW_SCALE, int8_scale, round_to_half};
use crate::quantize::nearest::Candidates;
use crate::quantize::recipe::{Linear, TableEntry};

/// The weights that the codes of all vectors stand for. A vector is `D` consecutive rows.
pub(super) trait Codebook<const D: usize>: Sync {
    /// The weights that the codes of one vector stand for.
    type Levels: Levels<D> + Default;

    /// Replaces `levels` by those of a vector.
    fn levels(&self, vector: usize, levels: &mut Self::Levels);

    /// The scales, if there are any.
    fn scales(&mut self) -> Option<Scales<'_>>;

    /// The tables, if their entries can be fitted.
    fn tables(&mut self) -> Option<&mut TableCodebook<D>>;
}

/// The weights that the codes of one vector stand for, column by column.
pub(super) trait Levels<const D: usize> {
    /// The code whose weights are nearest to `point`.
    fn nearest(&self, column: usize, point: &[f32; D]) -> u8;

    /// The weights that a code decodes to, exactly.
    fn weights(&self, column: usize, code: u8) -> [f32; D];
}

/// The scales of a codebook.
pub(super) struct Scales<'a> {
    /// Scales `[out, blocks]`, all of them fp16 values.
    pub values: &'a mut [f32],
    /// The columns of each block.
    pub blocks: &'a [Vec<usize>],
    /// The largest magnitude that a scale is multiplied by.
    pub reach: f32,
    /// The smallest value that a scale may take.
    pub least: f32,
}

/// Tables of vectors, or of single weights (`D` = 1).
pub(super) struct TableCodebook<const D: usize> {
    /// Decoded entries `[groups, 2^bits]`.
    pub entries: Vec<[f32; D]>,
    /// The number of entries of a table.
    pub count: usize,
    /// The number of vectors that share a table.
    pub vectors: usize,
    /// How entries are stored.
    pub entry: TableEntry,
    /// fp16 scales `[out]`, if the recipe has any.
    pub scales: Option<Vec<f32>>,
    /// The columns of the only block: all of them.
    pub columns: Vec<Vec<usize>>,
}

impl<const D: usize> TableCodebook<D> {
    /// The table of a vector.
    pub(super) fn of(&self, vector: usize) -> &[[f32; D]] {
        let first = vector / self.vectors * self.count;
        &self.entries[first..first + self.count]
    }

    /// The scales of a vector's rows; 1 if there are none.
    #[inline(always)]
    pub(super) fn factors(&self, vector: usize) -> [f32; D] {
        match &self.scales {
            None => [1.0; D],
            Some(scales) => std::array::from_fn(|d| scales[vector * D + d]),
        }
    }

    /// A table rounded to its stored precision, or `None` if an entry is beyond fp16.
    pub(super) fn rounded(&self, wanted: &[[f64; D]]) -> Option<Vec<[f32; D]>> {
        let reach = wanted.iter().flatten().fold(0.0f64, |reach, value| reach.max(value.abs()));
        let table: Vec<[f32; D]> = match self.entry {
            TableEntry::Half => {
                wanted.iter().map(|entry| entry.map(|v| f16::from_f64(v + 0.0).to_f32())).collect()
            }
            TableEntry::Int8 => {
                let scale = int8_scale(reach).to_f64();
                let byte = |v: f64| (v / scale).round_ties_even().clamp(-127.0, 127.0);
                let decoded = |v: f64| round_to_half(byte(v) as f32 * scale as f32) + 0.0;
                wanted.iter().map(|entry| entry.map(decoded)).collect()
            }
        };
        table.iter().flatten().all(|value| value.is_finite()).then_some(table)
    }
}

impl<const D: usize> Codebook<D> for TableCodebook<D> {
    type Levels = TableLevels<D>;

    #[inline(always)]
    fn levels(&self, vector: usize, levels: &mut TableLevels<D>) {
        let (table, factors) = (self.of(vector), self.factors(vector));
        levels.candidates.refill(table, &factors);
        levels.weights.clear();
        let weights = |entry: &[f32; D]| std::array::from_fn(|d| entry[d] * factors[d]);
        levels.weights.extend(table.iter().map(weights));
    }

    fn scales(&mut self) -> Option<Scales<'_>> {
        // Entries are weights over their row's root mean square, far below fp16's limit.
        let reach = self.entries.iter().flatten().fold(0.0f32, |most, e| most.max(e.abs()));
        let values = self.scales.as_mut()?;
        Some(Scales { values, blocks: &self.columns, reach, least: MIN_ROW_SCALE })
    }

    fn tables(&mut self) -> Option<&mut TableCodebook<D>> {
        Some(self)
    }
}

/// A table times the scales of a vector's rows.
#[derive(Default)]
pub(super) struct TableLevels<const D: usize> {
    candidates: Candidates<D>,
    weights: Vec<[f32; D]>,
}

impl<const D: usize> Levels<D> for TableLevels<D> {
    #[inline(always)]
    fn nearest(&self, _: usize, point: &[f32; D]) -> u8 {
        self.candidates.nearest(point) as u8
    }

    #[inline(always)]
    fn weights(&self, _: usize, code: u8) -> [f32; D] {
        self.weights[usize::from(code)]
    }
}

/// Integers times scales. Codes are kept unsigned: a symmetric code of 0 is at half the range.
pub(super) struct IntegerCodebook {
    pub linear: Linear,
    /// fp16 scales `[out, blocks]`.
    pub scales: Vec<f32>,
    /// The code that decodes to 0 `[out, blocks]`.
    pub zeros: Vec<u8>,
    /// The columns of each block.
    pub blocks: Vec<Vec<usize>>,
    /// The block of each column.
    pub block_of: Vec<usize>,
}

impl IntegerCodebook {
    /// The smallest and largest unsigned code.
    fn range(&self) -> (f32, f32) {
        let (low, high) = self.linear.code_range();
        let offset = if self.linear.asymmetric { 0 } else { high + 1 };
        ((low + offset) as f32, (high + offset) as f32)
    }
}

impl Codebook<1> for IntegerCodebook {
    type Levels = IntegerLevels;

    #[inline(always)]
    fn levels(&self, row: usize, levels: &mut IntegerLevels) {
        let own = row * self.blocks.len()..(row + 1) * self.blocks.len();
        let (scales, zeros) = (&self.scales[own.clone()], &self.zeros[own]);
        (levels.low, levels.high) = self.range();
        levels.columns.clear();
        let column = |block: &usize| (scales[*block], f32::from(zeros[*block]));
        levels.columns.extend(self.block_of.iter().map(column));
    }

    fn scales(&mut self) -> Option<Scales<'_>> {
        let reach = self.range().1;
        let least = f32::MIN_POSITIVE;
        Some(Scales { values: &mut self.scales, blocks: &self.blocks, reach, least })
    }

    fn tables(&mut self) -> Option<&mut TableCodebook<1>> {
        None
    }
}

/// The scales of one row.
#[derive(Default)]
pub(super) struct IntegerLevels {
    low: f32,
    high: f32,
    /// Scale and zero point of every column.
    columns: Vec<(f32, f32)>,
}

impl Levels<1> for IntegerLevels {
    #[inline(always)]
    fn nearest(&self, column: usize, point: &[f32; 1]) -> u8 {
        let (scale, zero) = self.columns[column];
        ((point[0] / scale).round_ties_even() + zero).clamp(self.low, self.high) as u8
    }

    #[inline(always)]
    fn weights(&self, column: usize, code: u8) -> [f32; 1] {
        let (scale, zero) = self.columns[column];
        [round_to_half((f32::from(code) - zero) * scale)]
    }
}
