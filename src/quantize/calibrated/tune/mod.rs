//! Tunes coded weights by gradients: tables and scales directly, codes through latent weights.
//!
//! A latent weight is an uncoded weight in units of its row's scale. The derivative by a decoded
//! weight is used as the derivative by its latent weight (the straight-through estimator, Bengio et
//! al. 2013). A code changes when its latent weights are nearer to another entry. Adam moves every
//! parameter relative to its own size, so that the same rates suit every layer.

mod adam;
mod parameters;

use rayon::prelude::*;

use super::convert::{Frame, table_codebook};
use crate::error::Result;
use crate::quantize::coded::CodedTensor;
use crate::quantize::nearest::Candidates;
use crate::quantize::recipe::{Recipe, TableEntry};
pub use adam::Adam;
use parameters::{TableParameters, spreads};

/// Step of a latent weight, relative to the spread of its row.
const LATENT_RATE: f32 = 5e-3;

/// A coded tensor that can be tuned: its tables, its scales and its codes.
pub struct Tunable(Box<dyn Tune>);

impl Tunable {
    /// Takes a tensor apart. `None` for recipes without tables, and for int8 tables, whose entries
    /// cannot move freely.
    ///
    /// # Errors
    /// A bug-class error if codes and recipe disagree.
    pub fn of(tensor: &CodedTensor) -> Result<Option<Self>> {
        Ok(match tensor.recipe() {
            Recipe::Vector(vector) => Some(match vector.weights_per_code() {
                2 => Latent::<2>::boxed(tensor)?,
                3 => Latent::<3>::boxed(tensor)?,
                4 => Latent::<4>::boxed(tensor)?,
                6 => Latent::<6>::boxed(tensor)?,
                _ => Latent::<8>::boxed(tensor)?,
            }),
            Recipe::Palette(palette) if palette.entry == TableEntry::Half => {
                Some(Latent::<1>::boxed(tensor)?)
            }
            _ => None,
        })
    }

    /// The weights that codes decode to, `[out, in]`, before tables and scales are rounded to fp16.
    pub fn decoded(&self) -> Vec<f32> {
        self.0.decoded()
    }

    /// Moves tables, scales and codes against the derivatives by decoded weights `[out, in]`.
    /// `lr_scale` is a factor on all learning rates.
    pub fn step(&mut self, derivatives: &[f32], lr_scale: f32) {
        self.0.step(derivatives, lr_scale);
    }

    /// Moves tables and scales as [`step`](Tunable::step) does, but no codes.
    pub fn step_tables(&mut self, derivatives: &[f32], lr_scale: f32) {
        self.0.step_tables(derivatives, lr_scale);
    }

    /// The tensor in its present state, rounded to fp16.
    ///
    /// # Errors
    /// An input error if a table or a scale is beyond fp16.
    pub fn coded(&self) -> Result<CodedTensor> {
        self.0.coded()
    }

    /// Tables, scales and the optimizer's state for them.
    pub fn numbers(&self) -> Vec<f32> {
        self.0.numbers()
    }

    /// Restores the [`numbers`](Tunable::numbers) of a tensor with the same codes.
    ///
    /// # Errors
    /// An input error if there are fewer numbers.
    pub fn restore(&mut self, numbers: &mut dyn Iterator<Item = f32>) -> Result<()> {
        self.0.restore(numbers)
    }
}

/// [`Tunable`] without the length of vectors in its type.
trait Tune: Send + Sync {
    fn decoded(&self) -> Vec<f32>;
    fn step(&mut self, derivatives: &[f32], lr_scale: f32);
    fn step_tables(&mut self, derivatives: &[f32], lr_scale: f32);
    fn coded(&self) -> Result<CodedTensor>;
    fn numbers(&self) -> Vec<f32>;
    fn restore(&mut self, numbers: &mut dyn Iterator<Item = f32>) -> Result<()>;
}

/// Codes and the latent weights that they are found from.
struct Latent<const D: usize> {
    frame: Frame,
    codes: Vec<u8>,
    parameters: TableParameters<D>,
    /// The unit of each row's latent weights: the scale that the row had at first.
    unit: Vec<f32>,
    latent: Vec<f32>,
    adam: Adam,
}

impl<const D: usize> Latent<D> {
    fn boxed(tensor: &CodedTensor) -> Result<Tunable> {
        let frame = Frame::of(tensor)?;
        let tables = table_codebook::<D>(&frame, tensor)?;
        let (shape, codes) = (tensor.shape(), frame.codes.clone());
        let scales = tables.scales.clone().unwrap_or_else(|| spreads(&tables, &codes, shape));
        let unit: Vec<f32> = scales.iter().map(|s| if *s == 0.0 { 1.0 } else { *s }).collect();
        let parameters = TableParameters::new(tables, &codes, shape);
        let mut latent = parameters.decoded(&codes);
        for (row, unit) in latent.chunks_exact_mut(shape[1].max(1)).zip(&unit) {
            row.iter_mut().for_each(|latent| *latent /= unit);
        }
        let adam = Adam::new(latent.len());
        Ok(Tunable(Box::new(Latent { frame, codes, parameters, unit, latent, adam })))
    }

    /// Replaces every code by that of the entry nearest to its latent weights.
    fn recode(&mut self) {
        let inputs = self.frame.shape[1].max(1);
        let Latent { codes, latent, parameters, unit, .. } = self;
        let tables = &parameters.tables;
        let vectors = codes.par_chunks_mut(inputs).zip(latent.par_chunks(D * inputs));
        vectors.enumerate().for_each_init(
            Candidates::default,
            |candidates, (vector, (codes, latent))| {
                let own = tables.factors(vector);
                let factors = std::array::from_fn(|d| own[d] / unit[vector * D + d]);
                candidates.refill(tables.of(vector), &factors);
                candidates.assign(latent, codes);
            },
        );
    }
}

impl<const D: usize> Tune for Latent<D> {
    fn decoded(&self) -> Vec<f32> {
        self.parameters.decoded(&self.codes)
    }

    fn step(&mut self, derivatives: &[f32], lr_scale: f32) {
        self.step_tables(derivatives, lr_scale);
        self.adam.step(&mut self.latent, derivatives, lr_scale * LATENT_RATE);
        self.recode();
    }

    fn step_tables(&mut self, derivatives: &[f32], lr_scale: f32) {
        self.parameters.step(&self.codes, derivatives, lr_scale);
    }

    fn coded(&self) -> Result<CodedTensor> {
        self.parameters.coded(&self.frame, self.codes.clone())
    }

    fn numbers(&self) -> Vec<f32> {
        self.parameters.numbers().collect()
    }

    fn restore(&mut self, mut numbers: &mut dyn Iterator<Item = f32>) -> Result<()> {
        self.parameters.restore(&mut numbers)
    }
}
