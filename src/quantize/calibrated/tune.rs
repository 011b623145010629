//! Coded weights that gradients move: tables and scales by themselves, codes through latent weights.
//!
//! A latent weight is what a weight would be without its code, over the row's scale. The derivative
//! by a decoded weight is taken as the derivative by its latent one (the straight-through estimator:
//! Bengio et al. 2013); when latent weights have moved nearer to another entry, the code changes. Every
//! parameter is moved by Adam (Kingma & Ba 2015), in units of what it is multiplied with, so that one
//! set of rates serves every layer.

use rayon::prelude::*;

use super::convert::{Frame, finish, tables_of};
use super::meaning::Tables;
use crate::error::{Error, Result};
use crate::quantize::coded::CodedTensor;
use crate::quantize::nearest::Candidates;
use crate::quantize::recipe::{Recipe, TableEntry};

/// Step of a latent weight, of the spread of its row.
const LATENT_RATE: f32 = 5e-3;
/// Step of a table's entry, of the spread of its rows.
const TABLE_RATE: f32 = 1e-3;
/// Step of a scale, of itself.
const SCALE_RATE: f32 = 1e-3;
/// Decay of the mean and of the mean square of derivatives.
const DECAY: [f32; 2] = [0.9, 0.95];

/// Adam's memory of some parameters.
#[derive(Debug, Clone)]
pub struct Adam {
    means: Vec<[f32; 2]>,
    steps: i32,
}

impl Adam {
    /// For so many parameters.
    pub fn new(parameters: usize) -> Self {
        Adam { means: vec![[0.0; 2]; parameters], steps: 0 }
    }

    /// Moves parameters against their derivatives by steps of about `rate`.
    pub fn step<'a>(
        &mut self,
        parameters: impl Iterator<Item = &'a mut f32>,
        derivatives: impl Iterator<Item = f32>,
        rate: f32,
    ) {
        self.steps += 1;
        let grown = DECAY.map(|decay| 1.0 - decay.powi(self.steps));
        for ((parameter, derivative), mean) in parameters.zip(derivatives).zip(&mut self.means) {
            mean[0] = DECAY[0] * mean[0] + (1.0 - DECAY[0]) * derivative;
            mean[1] = DECAY[1] * mean[1] + (1.0 - DECAY[1]) * derivative * derivative;
            let size = (mean[1] / grown[1]).sqrt();
            if size > 0.0 {
                *parameter -= rate * (mean[0] / grown[0]) / size;
            }
        }
    }
}

/// A coded tensor while it is tuned.
pub struct Tunable(Box<dyn Tune>);

impl Tunable {
    /// Takes a tensor apart. Nothing for recipes without tables, and for int8 tables, whose entries
    /// lie on a grid of their own.
    ///
    /// # Errors
    /// Bug-class errors: codes that are not the recipe's.
    pub fn of(tensor: &CodedTensor) -> Result<Option<Self>> {
        Ok(match tensor.recipe() {
            Recipe::Vector(vector) => Some(match vector.weights_per_code() {
                2 => boxed::<2>(tensor)?,
                3 => boxed::<3>(tensor)?,
                4 => boxed::<4>(tensor)?,
                6 => boxed::<6>(tensor)?,
                _ => boxed::<8>(tensor)?,
            }),
            Recipe::Palette(palette) if palette.entry == TableEntry::Half => {
                Some(boxed::<1>(tensor)?)
            }
            _ => None,
        })
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

trait Tune: Send {
    fn decoded(&self) -> Vec<f32>;
    fn step(&mut self, derivatives: &[f32], pace: f32);
    fn coded(&self) -> Result<CodedTensor>;
}

fn boxed<const D: usize>(tensor: &CodedTensor) -> Result<Tunable> {
    let frame = Frame::of(tensor)?;
    let tables = tables_of::<D>(&frame, tensor)?;
    let [out, inputs] = tensor.shape();
    let scales =
        tables.scales.clone().unwrap_or_else(|| spreads(&tables, &frame.codes, out, inputs));
    let mut parts = Parts {
        latent: Vec::new(),
        adam: Adam::new(out * inputs),
        of_tables: Adam::new(tables.entries.len() * D),
        of_scales: Adam::new(out),
        unit: scales.iter().map(|scale| if *scale == 0.0 { 1.0 } else { *scale }).collect(),
        codes: frame.codes.clone(),
        frame,
        tables,
    };
    parts.latent = parts.decoded();
    parts.in_units(|latent, unit| *latent /= unit);
    Ok(Tunable(Box::new(parts)))
}

/// The root mean square of what each row decodes to, where rows have no scales.
fn spreads<const D: usize>(
    tables: &Tables<D>,
    codes: &[u8],
    out: usize,
    inputs: usize,
) -> Vec<f32> {
    let square = |row: usize| -> f32 {
        let table = tables.of(row / D);
        let codes = &codes[row / D * inputs..][..inputs];
        codes.iter().map(|code| table[usize::from(*code)][row % D].powi(2)).sum()
    };
    let spread = |row| (square(row) / inputs.max(1) as f32).sqrt();
    (0..out).map(|row| Some(spread(row)).filter(|spread| *spread > 0.0).unwrap_or(1.0)).collect()
}

struct Parts<const D: usize> {
    frame: Frame,
    codes: Vec<u8>,
    tables: Tables<D>,
    /// What a latent weight is in units of, by row: the scale it started with.
    unit: Vec<f32>,
    latent: Vec<f32>,
    adam: Adam,
    of_tables: Adam,
    of_scales: Adam,
}

impl<const D: usize> Parts<D> {
    fn in_units(&mut self, apply: impl Fn(&mut f32, f32)) {
        let inputs = self.frame.shape[1].max(1);
        for (row, unit) in self.latent.chunks_exact_mut(inputs).zip(&self.unit) {
            row.iter_mut().for_each(|latent| apply(latent, *unit));
        }
    }

    /// Derivatives by tables, in the order of their entries, and by rows' scales.
    fn gathered(&self, derivatives: &[f32]) -> (Vec<f32>, Vec<f32>) {
        let inputs = self.frame.shape[1].max(1);
        let (count, vectors) = (self.tables.count, self.tables.vectors);
        let mut by_table = vec![0.0f32; self.tables.entries.len() * D];
        let mut by_scale = vec![0.0f32; self.frame.shape[0]];
        let rows = derivatives.chunks_exact(D * inputs).zip(self.codes.chunks_exact(inputs));
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

    /// Every code becomes that of the entry nearest to its latent weights.
    fn recode(&mut self) {
        let inputs = self.frame.shape[1].max(1);
        let Parts { codes, latent, tables, unit, .. } = self;
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

impl<const D: usize> Tune for Parts<D> {
    fn decoded(&self) -> Vec<f32> {
        let [out, inputs] = self.frame.shape;
        let mut decoded = vec![0.0; out * inputs];
        let rows = decoded.chunks_exact_mut((D * inputs).max(1));
        for (vector, (rows, codes)) in rows.zip(self.codes.chunks_exact(inputs.max(1))).enumerate()
        {
            let (table, factors) = (self.tables.of(vector), self.tables.factors(vector));
            for (column, code) in codes.iter().enumerate() {
                let entry = &table[usize::from(*code)];
                (0..D).for_each(|d| rows[d * inputs + column] = entry[d] * factors[d]);
            }
        }
        decoded
    }

    fn step(&mut self, derivatives: &[f32], pace: f32) {
        let inputs = self.frame.shape[1].max(1);
        let (by_table, by_scale) = self.gathered(derivatives);
        let unit = &self.unit;
        let in_units = derivatives.iter().enumerate().map(|(at, d)| d * unit[at / inputs]);
        self.adam.step(self.latent.iter_mut(), in_units, pace * LATENT_RATE);
        // Where rows have scales, entries are in their units; else in weights'.
        let spread = match self.tables.scales {
            Some(_) => 1.0,
            None => unit.iter().sum::<f32>() / unit.len().max(1) as f32,
        };
        let entries = self.tables.entries.as_flattened_mut().iter_mut();
        self.of_tables.step(entries, by_table.into_iter(), pace * TABLE_RATE * spread);
        if let Some(scales) = &mut self.tables.scales {
            let mut logarithms = vec![0.0f32; scales.len()];
            let by_logarithm = by_scale.into_iter().zip(scales.iter()).map(|(d, scale)| d * scale);
            self.of_scales.step(logarithms.iter_mut(), by_logarithm, pace * SCALE_RATE);
            scales.iter_mut().zip(logarithms).for_each(|(scale, change)| *scale *= change.exp());
        }
        self.recode();
    }

    fn coded(&self) -> Result<CodedTensor> {
        let wide: Vec<[f64; D]> = self.tables.entries.iter().map(|e| e.map(f64::from)).collect();
        let mut entries = Vec::with_capacity(wide.len());
        for table in wide.chunks(self.tables.count) {
            let rounded = self.tables.rounded(table);
            entries.extend(rounded.ok_or_else(|| Error::input("a tuned table left fp16"))?);
        }
        let round = |scale: &f32| half::f16::from_f32(*scale).to_f32();
        let scales = self.tables.scales.as_ref().map(|s| s.iter().map(round).collect());
        let tables = Tables { entries, scales, columns: Vec::new(), ..self.tables };
        finish(&self.frame, self.codes.clone(), tables)
    }
}
