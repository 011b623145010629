//! Coded weights that gradients move: tables and scales by themselves, codes through latent weights.
//!
//! A latent weight is what a weight would be without its code, over the row's scale. The derivative
//! by a decoded weight is taken as the derivative by its latent one (the straight-through estimator:
//! Bengio et al. 2013); when latent weights have moved nearer to another entry, the code changes. Every
//! parameter is moved by Adam, in units of what it is multiplied with, so that one set of rates serves
//! every layer.

mod adam;
mod tables;

use rayon::prelude::*;

use super::convert::{Frame, tables_of};
use crate::error::Result;
use crate::quantize::coded::CodedTensor;
use crate::quantize::nearest::Candidates;
use crate::quantize::recipe::{Recipe, TableEntry};
pub use adam::Adam;
pub use tables::TunableTables;
use tables::{Knobs, spreads, with_dimension};

/// Step of a latent weight, of the spread of its row.
const LATENT_RATE: f32 = 5e-3;

/// A coded tensor whose codes are tuned too.
pub struct Tunable(Box<dyn Tune>);

impl Tunable {
    /// Takes a tensor apart. Nothing for recipes without tables, and for int8 tables, whose entries
    /// lie on a grid of their own.
    ///
    /// # Errors
    /// Bug-class errors: codes that are not the recipe's.
    pub fn of(tensor: &CodedTensor) -> Result<Option<Self>> {
        let boxed: Option<Box<dyn Tune>> =
            with_dimension!(tensor, D => Box::new(Latent::<D>::new(tensor)?));
        Ok(boxed.map(Tunable))
    }

    /// The weights that codes decode to, `[out, in]`, before tables and scales are rounded to fp16.
    pub fn decoded(&self) -> Vec<f32> {
        self.0.decoded()
    }

    /// Moves everything against the derivatives by decoded weights `[out, in]`, `pace` times as far
    /// as at full speed.
    pub fn step(&mut self, derivatives: &[f32], pace: f32) {
        self.0.step(derivatives, pace);
    }

    /// The tensor as it is by now, in fp16.
    ///
    /// # Errors
    /// An input error where tables or scales left the range of fp16.
    pub fn coded(&self) -> Result<CodedTensor> {
        self.0.coded()
    }
}

/// The same for vectors of any length.
trait Tune: Send + Sync {
    fn decoded(&self) -> Vec<f32>;
    fn step(&mut self, derivatives: &[f32], pace: f32);
    fn coded(&self) -> Result<CodedTensor>;
}

/// Codes and the latent weights that they are nearest to.
struct Latent<const D: usize> {
    frame: Frame,
    codes: Vec<u8>,
    knobs: Knobs<D>,
    /// What a latent weight is in units of, by row: the scale it started with.
    unit: Vec<f32>,
    latent: Vec<f32>,
    adam: Adam,
}

impl<const D: usize> Latent<D> {
    fn new(tensor: &CodedTensor) -> Result<Self> {
        let frame = Frame::of(tensor)?;
        let tables = tables_of::<D>(&frame, tensor)?;
        let (shape, codes) = (tensor.shape(), frame.codes.clone());
        let scales = tables.scales.clone().unwrap_or_else(|| spreads(&tables, &codes, shape));
        let unit: Vec<f32> = scales.iter().map(|s| if *s == 0.0 { 1.0 } else { *s }).collect();
        let knobs = Knobs::new(tables, &codes, shape);
        let mut latent = knobs.decoded(&codes);
        for (row, unit) in latent.chunks_exact_mut(shape[1].max(1)).zip(&unit) {
            row.iter_mut().for_each(|latent| *latent /= unit);
        }
        Ok(Latent { adam: Adam::new(latent.len()), frame, codes, knobs, unit, latent })
    }

    /// Every code becomes that of the entry nearest to its latent weights.
    fn recode(&mut self) {
        let inputs = self.frame.shape[1].max(1);
        let Latent { codes, latent, knobs, unit, .. } = self;
        let tables = &knobs.tables;
        let vectors = codes.par_chunks_mut(inputs).zip(latent.par_chunks(D * inputs));
        vectors.enumerate().for_each_init(
            Candidates::default,
            |candidates, (vector, (codes, latent))| {
                let own = tables.factors(vector);
                let factors = std::array::from_fn(|d| own[d] / unit[vector * D + d]);
                candidates.refill(tables.of(vector), &factors);
                pulp::Arch::new().dispatch(Nearest { candidates, latent, codes });
            },
        );
    }
}

/// The codes of one vector of rows.
struct Nearest<'a, const D: usize> {
    candidates: &'a Candidates<D>,
    latent: &'a [f32],
    codes: &'a mut [u8],
}

impl<const D: usize> pulp::NullaryFnOnce for Nearest<'_, D> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let inputs = self.codes.len();
        for (column, code) in self.codes.iter_mut().enumerate() {
            let point = std::array::from_fn(|d| self.latent[d * inputs + column]);
            *code = self.candidates.nearest(&point) as u8;
        }
    }
}

impl<const D: usize> Tune for Latent<D> {
    fn decoded(&self) -> Vec<f32> {
        self.knobs.decoded(&self.codes)
    }

    fn step(&mut self, derivatives: &[f32], pace: f32) {
        self.knobs.step(&self.codes, derivatives, pace);
        self.adam.step(&mut self.latent, derivatives, pace * LATENT_RATE);
        self.recode();
    }

    fn coded(&self) -> Result<CodedTensor> {
        self.knobs.coded(&self.frame, self.codes.clone())
    }
}
