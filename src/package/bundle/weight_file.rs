//! Placing weights in a weight file. A [`WeightPlanner`] only computes where they would go, so that
//! sizes and programs are known before anything is coded; a [`WeightWriter`] codes and writes them.

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
use crate::package::blob::{BlobLayout, BlobRef, BlobType, BlobWriter};
use crate::package::mil::Opset;
use crate::package::program::{HalfVector, PlaceWeights};
use crate::package::weights::{StoredWeight, WeightLayout};
use crate::quantize::{CodedArrays, CodedTensor};

/// For pruned tensors, the number of stored weights before each row. Counting has to read the
/// tensor, so it is done once per tensor.
#[derive(Default)]
pub(super) struct KeptCounts(RefCell<BTreeMap<TensorId, Vec<usize>>>);

impl KeptCounts {
    /// The number of weights that are stored for some rows of a tensor.
    fn kept(&self, coder: &Coder<'_>, id: TensorId, rows: Range<usize>) -> Result<usize> {
        let (recipe, [out, inputs]) = coder.recipe(id)?;
        // The recipe gives the share of the whole tensor. Its part in some of the rows depends on
        // the weights.
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
            _ => Err(Error::bug(format!("there are no rows {rows:?} among {out}"))),
        }
    }
}

/// Computes where weights would go, without reading them.
pub(super) struct WeightPlanner<'a> {
    coder: Coder<'a>,
    counts: &'a KeptCounts,
    target: Opset,
    layout: BlobLayout,
    blobs: u32,
}

impl<'a> WeightPlanner<'a> {
    /// Plans a weight file, which is empty at first.
    pub fn new(coder: Coder<'a>, target: Opset, counts: &'a KeptCounts) -> Self {
        WeightPlanner { coder, counts, target, layout: BlobLayout::new(), blobs: 0 }
    }

    /// The size of the weight file in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.layout.size_bytes()
    }

    /// Whether the file has no blobs.
    pub fn is_empty(&self) -> bool {
        self.blobs == 0
    }
}

impl PlaceWeights for WeightPlanner<'_> {
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

    fn vector(&mut self, _: HalfVector, elements: usize) -> Result<BlobRef> {
        self.blobs += 1;
        self.layout.append(BlobType::Float16, elements as u64)
    }
}

/// Codes weights and writes them, with one tensor in memory at a time.
pub(super) struct WeightWriter<'a, W> {
    /// Codes the tensors.
    pub coder: Coder<'a>,
    /// The target.
    pub target: Opset,
    /// The number of tokens that the cache holds, which is the length of the rotary tables.
    pub context_tokens: usize,
    /// The weight file.
    pub file: &'a mut BlobWriter<W>,
    /// Called before each tensor is coded; an error stops the writing.
    pub before: &'a mut dyn FnMut() -> Result<()>,
    /// The tensor that was coded last, since the head is placed in several slices.
    pub last: Option<(TensorId, CodedTensor)>,
}

impl<W: Write + Seek> PlaceWeights for WeightWriter<'_, W> {
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

    fn vector(&mut self, vector: HalfVector, elements: usize) -> Result<BlobRef> {
        let halves = match vector {
            HalfVector::Tensor(id) => {
                (self.before)()?;
                halves_of(&self.coder.tensor(id)?)?
            }
            HalfVector::Part(id, first, end) => {
                let all = halves_of(&self.coder.tensor(id)?)?;
                all.get(first..end).map(<[f16]>::to_vec).unwrap_or_default()
            }
            table => position_table(&self.coder.checkpoint.config, self.context_tokens, table)?,
        };
        if halves.len() != elements {
            let found = halves.len();
            let what = format!("{vector:?}: expected {elements} numbers, found {found}");
            return Err(Error::bug(what));
        }
        let bytes: Vec<u8> = halves.iter().flat_map(|half| half.to_le_bytes()).collect();
        self.file.append(BlobType::Float16, elements as u64, &bytes)
    }
}

/// The values of a tensor that is stored as fp16.
fn halves_of(coded: &CodedTensor) -> Result<Vec<f16>> {
    match coded.stored() {
        CodedArrays::Half(halves) => Ok(halves.clone()),
        _ => Err(Error::bug(format!("a vector must be fp16, but is coded as {}", coded.recipe()))),
    }
}

/// A table with a row per position, as packages store it: cosines or sines `[tokens, rotated / 2]`, or
/// the growth of queries `[tokens]`.
///
/// # Errors
/// A bug-class error if `table` is not such a table.
pub fn position_table(config: &Config, tokens: usize, table: HalfVector) -> Result<Vec<f16>> {
    if table == HalfVector::QueryGrowth {
        let growth = config.query_growth.ok_or_else(|| Error::bug("queries do not grow"))?;
        return Ok((0..tokens).map(|position| f16::from_f32(growth.at(position))).collect());
    }
    let tables = RopeTables::new(config, tokens, &candle_core::Device::Cpu)?;
    let rotation = |index| tables.rotation(index, tokens).map_err(crate::model::failed);
    let table = match table {
        HalfVector::Cosines(index) => rotation(index)?.cos,
        HalfVector::Sines(index) => rotation(index)?.sin,
        HalfVector::Tensor(_) | HalfVector::Part(..) | HalfVector::QueryGrowth => {
            return Err(Error::bug(format!("{table:?} is not a table by position")));
        }
    };
    Ok(values(&table)?.into_iter().map(f16::from_f32).collect())
}
