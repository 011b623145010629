//! Weights into a weight file: planned, to know sizes and programs before anything is coded, or
//! written.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::io::{Seek, Write};
use std::ops::Range;

use half::f16;

use crate::checkpoint::TensorId;
use crate::checkpoint::config::Config;
use crate::error::{Error, Result};
use crate::eval::Coder;
use crate::model::{RopeTables, values};
use crate::package::blob::{BlobRef, BlobType, BlobWriter, Layout};
use crate::package::mil::Opset;
use crate::package::program::{Place, Vector};
use crate::package::weights::{StoredWeight, WeightLayout};
use crate::quantize::{CodedArrays, CodedTensor};

/// Of pruned tensors how many weights before each row are stored. Counting reads a tensor, so it
/// is done once.
#[derive(Default)]
pub(super) struct Counts(RefCell<BTreeMap<TensorId, Vec<usize>>>);

impl Counts {
    /// How many weights in some rows of a tensor are stored.
    fn kept(&self, coder: &Coder<'_>, id: TensorId, rows: Range<usize>) -> Result<usize> {
        let (recipe, [out, inputs]) = coder.recipe(id)?;
        // A share is of the whole tensor: how much of it falls into some rows is counted.
        let is_counted = recipe.pruning().is_some() && rows.len() < out;
        let by_shape = recipe.kept(rows.len() * inputs).filter(|_| !is_counted);
        if let Some(kept) = by_shape {
            return Ok(kept);
        }
        let mut known = self.0.borrow_mut();
        let before = match known.entry(id) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(coder.kept_before_rows(id)?.unwrap_or_default()),
        };
        match (before.get(rows.start), before.get(rows.end)) {
            (Some(start), Some(end)) => Ok(end - start),
            _ => Err(Error::bug(format!("rows {rows:?} of {out}"))),
        }
    }
}

/// Counts where weights would go.
pub(super) struct Planned<'a> {
    coder: Coder<'a>,
    counts: &'a Counts,
    target: Opset,
    layout: Layout,
    blobs: u32,
}

impl<'a> Planned<'a> {
    /// An empty file for a target.
    pub fn new(coder: Coder<'a>, target: Opset, counts: &'a Counts) -> Self {
        Planned { coder, counts, target, layout: Layout::new(), blobs: 0 }
    }

    /// The size of the weight file.
    pub fn size_bytes(&self) -> u64 {
        self.layout.size_bytes()
    }

    /// Whether anything is in it.
    pub fn is_empty(&self) -> bool {
        self.blobs == 0
    }
}

impl Place for Planned<'_> {
    fn matrix(
        &mut self,
        id: TensorId,
        rows: Range<usize>,
        layout: WeightLayout,
    ) -> Result<StoredWeight> {
        self.blobs += 1;
        let (recipe, [_, inputs]) = self.coder.recipe(id)?;
        let shape = [rows.len(), inputs];
        let kept = self.counts.kept(&self.coder, id, rows)?;
        let planned =
            StoredWeight::plan(&mut self.layout, recipe, shape, kept, self.target, layout);
        planned.map_err(|error| error.at(format!("tensor {}", id.name())))
    }

    fn vector(&mut self, _: Vector, elements: usize) -> Result<BlobRef> {
        self.blobs += 1;
        self.layout.append(BlobType::Float16, elements as u64)
    }
}

/// Codes weights and writes them, one tensor in memory at a time.
pub(super) struct Writing<'a, W> {
    /// Where coded tensors come from.
    pub coder: Coder<'a>,
    /// The target.
    pub target: Opset,
    /// Tokens that the cache holds: the length of the rotary tables.
    pub context_tokens: usize,
    /// The weight file.
    pub file: &'a mut BlobWriter<W>,
    /// Told before each tensor; may stop.
    pub before: &'a mut dyn FnMut() -> Result<()>,
    /// The tensor that was coded last: heads are asked for in slices.
    pub last: Option<(TensorId, CodedTensor)>,
}

impl<W: Write + Seek> Place for Writing<'_, W> {
    fn matrix(
        &mut self,
        id: TensorId,
        rows: Range<usize>,
        layout: WeightLayout,
    ) -> Result<StoredWeight> {
        let coded = match self.last.take() {
            Some((last, coded)) if last == id => coded,
            _ => {
                (self.before)()?;
                self.coder.tensor(id)?
            }
        };
        let is_whole = rows.len() == coded.shape()[0];
        let slice = if is_whole { None } else { Some(coded.slice_rows(rows)?) };
        let written =
            StoredWeight::write(self.file, slice.as_ref().unwrap_or(&coded), self.target, layout);
        self.last = slice.map(|_| (id, coded));
        written.map_err(|error| error.at(format!("tensor {}", id.name())))
    }

    fn vector(&mut self, vector: Vector, elements: usize) -> Result<BlobRef> {
        let halves = match vector {
            Vector::Tensor(id) => {
                (self.before)()?;
                halves_of(&self.coder.tensor(id)?)?
            }
            table => rotary(&self.coder.checkpoint.config, self.context_tokens, table)?,
        };
        if halves.len() != elements {
            return Err(Error::bug(format!("{vector:?}: {} of {elements} numbers", halves.len())));
        }
        let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        self.file.append(BlobType::Float16, elements as u64, &bytes)
    }
}

/// The numbers of a tensor that is stored as fp16.
fn halves_of(coded: &CodedTensor) -> Result<Vec<f16>> {
    match coded.stored() {
        CodedArrays::Half(halves) => Ok(halves.clone()),
        _ => Err(Error::bug(format!("a vector coded as {}", coded.recipe()))),
    }
}

/// A rotary table `[tokens, head_dim / 2]` as packages store it.
///
/// # Errors
/// Bug-class errors for a vector that is no such table.
pub fn rotary(config: &Config, tokens: usize, table: Vector) -> Result<Vec<f16>> {
    let tables = RopeTables::new(config, tokens, &candle_core::Device::Cpu)?;
    let table = match table {
        Vector::Cosines => tables.cos(),
        Vector::Sines => tables.sin(),
        Vector::Tensor(id) => return Err(Error::bug(format!("{} is no table", id.name()))),
    };
    Ok(values(table)?.into_iter().map(f16::from_f32).collect())
}
