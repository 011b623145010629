//! Tables and row scales as parameters that gradients move.

use rayon::prelude::*;

use super::adam::{Adam, too_short};
use crate::error::{Error, Result};
use crate::quantize::calibrated::codebook::TableCodebook;
use crate::quantize::calibrated::convert::{Frame, finish};
use crate::quantize::coded::CodedTensor;
use crate::quantize::fp16::MIN_ROW_SCALE;

/// Step of a table's entry, relative to the spread of its rows.
const TABLE_RATE: f32 = 1e-3;
/// Step of a scale, relative to the scale.
const SCALE_RATE: f32 = 1e-3;

/// Tables and scales with the optimizer's state.
pub(super) struct TableParameters<const D: usize> {
    shape: [usize; 2],
    pub tables: TableCodebook<D>,
    /// The unit of entries: 1 if rows have scales, else the mean spread of rows.
    unit: f32,
    of_tables: Adam,
    of_scales: Adam,
}

impl<const D: usize> TableParameters<D> {
    pub(super) fn new(tables: TableCodebook<D>, codes: &[u8], shape: [usize; 2]) -> Self {
        let unit = match &tables.scales {
            Some(_) => 1.0,
            None => spreads(&tables, codes, shape).iter().sum::<f32>() / shape[0].max(1) as f32,
        };
        let of_tables = Adam::new(tables.entries.len() * D);
        TableParameters { shape, unit, of_tables, of_scales: Adam::new(shape[0]), tables }
    }

    /// Derivatives by tables, in the order of their entries, and by the logarithms of row scales.
    fn gathered(&self, codes: &[u8], derivatives: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let inputs = self.shape[1].max(1);
        let (count, vectors) = (self.tables.count, self.tables.vectors);
        let mut by_table = vec![0.0f32; self.tables.entries.len() * D];
        let mut by_scale = vec![0.0f32; self.shape[0]];
        let rows = derivatives.chunks_exact(D * inputs).zip(codes.chunks_exact(inputs));
        for (vector, (rows, codes)) in rows.enumerate() {
            let (table, factors) = (self.tables.of(vector), self.tables.factors(vector));
            let first = vector / vectors * count;
            for (column, code) in codes.iter().enumerate() {
                let entry = usize::from(*code);
                for d in 0..D {
                    let derivative = rows[d * inputs + column];
                    by_table[(first + entry) * D + d] += derivative * factors[d];
                    by_scale[vector * D + d] += derivative * table[entry][d];
                }
            }
        }
        (by_table, by_scale)
    }

    /// The weights that codes decode to, `[out, in]`.
    pub(super) fn decoded(&self, codes: &[u8]) -> Vec<f32> {
        let [out, inputs] = self.shape;
        let mut decoded = vec![0.0; out * inputs];
        let rows = decoded.par_chunks_exact_mut((D * inputs).max(1));
        let vectors = rows.zip(codes.par_chunks_exact(inputs.max(1))).enumerate();
        vectors.for_each(|(vector, (rows, codes))| {
            let (table, factors) = (self.tables.of(vector), self.tables.factors(vector));
            for (column, code) in codes.iter().enumerate() {
                let entry = &table[usize::from(*code)];
                (0..D).for_each(|d| rows[d * inputs + column] = entry[d] * factors[d]);
            }
        });
        decoded
    }

    /// Moves tables and scales. `lr_scale` is a factor on all learning rates.
    pub(super) fn step(&mut self, codes: &[u8], derivatives: &[f32], lr_scale: f32) {
        let (by_table, by_scale) = self.gathered(codes, derivatives);
        let entries = self.tables.entries.as_flattened_mut();
        self.of_tables.step(entries, &by_table, lr_scale * TABLE_RATE * self.unit);
        if let Some(scales) = &mut self.tables.scales {
            let mut logarithms = vec![0.0f32; scales.len()];
            self.of_scales.step(&mut logarithms, &by_scale, lr_scale * SCALE_RATE);
            scales.iter_mut().zip(logarithms).for_each(|(scale, change)| *scale *= change.exp());
        }
    }

    /// A tensor with these tables and scales, rounded to fp16.
    pub(super) fn coded(&self, frame: &Frame, codes: Vec<u8>) -> Result<CodedTensor> {
        let wide: Vec<[f64; D]> = self.tables.entries.iter().map(|e| e.map(f64::from)).collect();
        let mut entries = Vec::with_capacity(wide.len());
        for table in wide.chunks(self.tables.count) {
            let rounded = self.tables.rounded(table);
            entries.extend(
                rounded.ok_or_else(|| {
                    Error::input("tuning moved a table entry beyond fp16 (65504)")
                })?,
            );
        }
        let round = |scale: &f32| half::f16::from_f32(scale.max(MIN_ROW_SCALE)).to_f32();
        let scales = self.tables.scales.as_ref().map(|s| s.iter().map(round).collect());
        let tables = TableCodebook { entries, scales, columns: Vec::new(), ..self.tables };
        finish(frame, codes, tables)
    }

    /// Tables, scales and the optimizer's state, in the order in which
    /// [`restore`](TableParameters::restore) reads them.
    pub(super) fn numbers(&self) -> impl Iterator<Item = f32> {
        let entries = self.tables.entries.as_flattened().iter();
        let own = entries.chain(self.tables.scales.iter().flatten()).chain([&self.unit]).copied();
        own.chain(self.of_tables.numbers()).chain(self.of_scales.numbers())
    }

    /// Restores what [`numbers`](TableParameters::numbers) returned.
    pub(super) fn restore(&mut self, numbers: &mut impl Iterator<Item = f32>) -> Result<()> {
        let scales = self.tables.scales.iter_mut().flatten();
        let entries = self.tables.entries.as_flattened_mut().iter_mut();
        for value in entries.chain(scales).chain([&mut self.unit]) {
            *value = numbers.next().ok_or_else(too_short)?;
        }
        self.of_tables.restore(numbers)?;
        self.of_scales.restore(numbers)
    }
}

/// The root mean square of each row's decoded weights if rows have no scales; 1 for rows of zeros.
pub(super) fn spreads<const D: usize>(
    tables: &TableCodebook<D>,
    codes: &[u8],
    [out, inputs]: [usize; 2],
) -> Vec<f32> {
    let square = |row: usize| -> f32 {
        let table = tables.of(row / D);
        let codes = &codes[row / D * inputs..][..inputs];
        codes.iter().map(|code| table[usize::from(*code)][row % D].powi(2)).sum()
    };
    let spread = |row| (square(row) / inputs.max(1) as f32).sqrt();
    (0..out).map(|row| Some(spread(row)).filter(|spread| *spread > 0.0).unwrap_or(1.0)).collect()
}
