//! Converts coded tensors to the form in which they are calibrated, and back: columns in another
//! order, one code per byte, and f32 for everything that is stored in fp16.

use half::f16;

use super::codebook::{IntegerCodebook, TableCodebook};
use super::moments::Ordered;
use crate::error::{Error, Result};
use crate::quantize::bitpack::{pack, unpack};
use crate::quantize::coded::{CodedArrays, CodedTensor, Tables};
use crate::quantize::fp16::int8_scale;
use crate::quantize::recipe::{Linear, Recipe, TableEntry};

/// A tensor with its columns in the order in which they are coded.
pub(super) struct Frame {
    pub recipe: Recipe,
    pub shape: [usize; 2],
    /// The input of each column.
    pub order: Vec<usize>,
    /// The target: the weights `[out, in]` to code.
    pub weights: Vec<f32>,
    /// The codes to start from `[out / D, in]`, unsigned.
    pub codes: Vec<u8>,
}

impl Frame {
    /// A tensor's codes with columns in their own order, and no target.
    pub(super) fn of(start: &CodedTensor) -> Result<Self> {
        let order = (0..start.shape()[1]).collect();
        let (recipe, shape, codes) = (start.recipe(), start.shape(), unpacked(start)?);
        Ok(Frame { recipe, shape, order, weights: Vec::new(), codes })
    }

    /// The target and the codes of `start`, columns in the order of `ordered`. Fails only if there
    /// is a bug.
    pub(super) fn new(target: &[f32], ordered: &Ordered, start: &CodedTensor) -> Result<Self> {
        let (order, inputs) = (ordered.order.clone(), start.shape()[1]);
        let weights = gathered(target, inputs, &order);
        let codes = gathered(&unpacked(start)?, inputs, &order);
        Ok(Frame { recipe: start.recipe(), shape: start.shape(), order, weights, codes })
    }
}

/// One code per byte, row-major; two's complement is shifted to unsigned.
fn unpacked(start: &CodedTensor) -> Result<Vec<u8>> {
    let bits = start.recipe().code_bits().unwrap_or(8);
    let mut codes = vec![0; start.codes()];
    if let CodedArrays::Palette { codes: packed, .. }
    | CodedArrays::Linear { codes: packed, .. }
    | CodedArrays::Vector { codes: packed, .. } = start.stored()
    {
        unpack(packed, bits, 0, &mut codes)?;
    }
    let sign = sign_bit(start.recipe());
    codes.iter_mut().for_each(|code| *code ^= sign);
    Ok(codes)
}

/// Rows with their columns in another order.
pub(super) fn gathered<T: Copy>(values: &[T], inputs: usize, order: &[usize]) -> Vec<T> {
    let row = |row: &[T]| order.iter().map(|column| row[*column]).collect::<Vec<_>>();
    values.chunks_exact(inputs).flat_map(row).collect()
}

/// Flipping this bit turns two's complement into an unsigned code. It is 0 if codes are unsigned.
fn sign_bit(recipe: Recipe) -> u8 {
    match recipe {
        Recipe::Linear(linear) if !linear.asymmetric => 1 << (linear.bits.get() - 1),
        _ => 0,
    }
}

fn wide(values: &[f16]) -> Vec<f32> {
    values.iter().map(|value| value.to_f32()).collect()
}

fn narrow(values: &[f32]) -> Vec<f16> {
    values.iter().map(|value| f16::from_f32(*value)).collect()
}

/// The codebook of a tensor that was coded with tables.
pub(super) fn table_codebook<const D: usize>(
    frame: &Frame,
    start: &CodedTensor,
) -> Result<TableCodebook<D>> {
    let ([out, inputs], rows) = (frame.shape, start.table_rows().unwrap_or(1));
    let count = 1 << frame.recipe.code_bits().unwrap_or(8);
    let mut entry = TableEntry::Half;
    let (entries, scales) = match start.stored() {
        CodedArrays::Vector { tables, channel_scales, .. } => {
            (wide(tables), Some(wide(channel_scales)))
        }
        CodedArrays::Palette { tables, channel_scales, .. } => {
            if matches!(tables, Tables::Int8 { .. }) {
                entry = TableEntry::Int8;
            }
            let mut table = [0.0; 256];
            let mut entries = Vec::new();
            for group in 0..out / rows {
                tables.read(group, count, &mut table);
                entries.extend_from_slice(&table[..count]);
            }
            (entries, channel_scales.as_deref().map(wide))
        }
        _ => return Err(Error::bug(format!("a tensor of recipe {} has no tables", frame.recipe))),
    };
    let entries = entries.as_chunks::<D>().0.to_vec();
    let columns = vec![(0..inputs).collect()];
    Ok(TableCodebook { entries, count, vectors: rows / D, entry, scales, columns })
}

/// The codebook of a tensor that was coded as integers.
pub(super) fn integer_codebook(
    frame: &Frame,
    start: &CodedTensor,
    linear: Linear,
) -> Result<IntegerCodebook> {
    let CodedArrays::Linear { scales, zero_points, .. } = start.stored() else {
        return Err(Error::bug(format!("a tensor of recipe {} has no scales", frame.recipe)));
    };
    let (length, count) = (linear.block_len(frame.shape[1]), linear.blocks(frame.shape[1]));
    let mut zeros = vec![sign_bit(frame.recipe); scales.len()];
    if let Some(points) = zero_points {
        unpack(points, linear.bits.get(), 0, &mut zeros)?;
    }
    let block_of: Vec<usize> = frame.order.iter().map(|input| input / length).collect();
    let mut blocks = vec![Vec::new(); count];
    block_of.iter().enumerate().for_each(|(column, block)| blocks[*block].push(column));
    Ok(IntegerCodebook { linear, scales: wide(scales), zeros, blocks, block_of })
}

/// A codebook that becomes stored arrays again.
pub(super) trait Stores {
    /// Brings codes into their stored order before they are packed; a vector has `vector_len`
    /// codes.
    fn settle(&mut self, codes: &mut [u8], vector_len: usize);

    /// The stored arrays with these packed codes.
    fn stored(self, recipe: Recipe, codes: Vec<u8>) -> CodedArrays;
}

impl<const D: usize> Stores for TableCodebook<D> {
    /// Sorts tables of single weights.
    fn settle(&mut self, codes: &mut [u8], vector_len: usize) {
        if D > 1 {
            return;
        }
        let groups = codes.chunks_mut((self.vectors * vector_len).max(1));
        for (codes, table) in groups.zip(self.entries.chunks_exact_mut(self.count)) {
            let mut order: Vec<usize> = (0..table.len()).collect();
            order.sort_by(|a, b| table[*a][0].total_cmp(&table[*b][0]));
            let mut place = [0u8; 256];
            order.iter().enumerate().for_each(|(to, from)| place[*from] = to as u8);
            table.sort_by(|a, b| a[0].total_cmp(&b[0]));
            codes.iter_mut().for_each(|code| *code = place[usize::from(*code)]);
        }
    }

    fn stored(self, recipe: Recipe, codes: Vec<u8>) -> CodedArrays {
        let channel_scales = self.scales.as_deref().map(narrow);
        let entries = self.entries.as_flattened();
        if let Recipe::Vector(_) = recipe {
            let channel_scales = channel_scales.unwrap_or_default();
            return CodedArrays::Vector { codes, tables: narrow(entries), channel_scales };
        }
        let tables = match self.entry {
            TableEntry::Half => Tables::Half(narrow(entries)),
            TableEntry::Int8 => int8_tables(entries, self.count),
        };
        CodedArrays::Palette { codes, mask: None, tables, channel_scales }
    }
}

/// The int8 values and scales of entries that were rounded to an int8 times a scale.
fn int8_tables(entries: &[f32], count: usize) -> Tables {
    let (mut bytes, mut scales) = (Vec::with_capacity(entries.len()), Vec::new());
    for table in entries.chunks_exact(count) {
        let reach = table.iter().fold(0.0f32, |reach, entry| reach.max(entry.abs()));
        // The largest entry is 127 times the scale, rounded: dividing gives the scale or a
        // neighbour.
        let near = int8_scale(f64::from(reach));
        let exact = |scale: &f16| {
            let byte = |entry: f32| (entry / scale.to_f32()).round_ties_even();
            let decoded = |entry: f32| f16::from_f32(byte(entry) * scale.to_f32()).to_f32();
            table.iter().all(|entry| decoded(*entry) == *entry)
        };
        let bits = near.to_bits();
        let neighbours = [bits, bits.wrapping_sub(1), bits + 1].map(f16::from_bits);
        let scale = neighbours.into_iter().find(exact).unwrap_or(near);
        bytes.extend(table.iter().map(|entry| (entry / scale.to_f32()).round_ties_even() as i8));
        scales.push(scale);
    }
    Tables::Int8 { entries: bytes, scales }
}

impl Stores for IntegerCodebook {
    fn settle(&mut self, _: &mut [u8], _: usize) {}

    fn stored(self, recipe: Recipe, codes: Vec<u8>) -> CodedArrays {
        let zero_points = self.linear.asymmetric.then(|| {
            let bits = recipe.code_bits().unwrap_or(8);
            pack(&self.zeros, bits)
        });
        CodedArrays::Linear { codes, scales: narrow(&self.scales), zero_points }
    }
}

/// The coded tensor, with its columns in their own order again.
pub(super) fn finish(
    frame: &Frame,
    mut codes: Vec<u8>,
    mut codebook: impl Stores,
) -> Result<CodedTensor> {
    let inputs = frame.shape[1];
    codebook.settle(&mut codes, inputs);
    let sign = sign_bit(frame.recipe);
    let mut back = vec![0; codes.len()];
    for (to, from) in back.chunks_exact_mut(inputs).zip(codes.chunks_exact(inputs)) {
        for (column, code) in frame.order.iter().zip(from) {
            to[*column] = code ^ sign;
        }
    }
    let packed = pack(&back, frame.recipe.code_bits().unwrap_or(8));
    CodedTensor::new(frame.recipe, frame.shape, codebook.stored(frame.recipe, packed))
}
