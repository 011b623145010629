//! Palettization: each group of rows gets a lookup table, each weight the index of its nearest
//! entry.
//!
//! Entries are rounded to their stored precision before weights are assigned, so that codes are the
//! best ones for the table that ships. Ties go to the lower entry.

use half::f16;
use rayon::prelude::*;

use super::bitpack::{UNIT, pack_into, packed_size_bytes};
use super::coded::{CodedArrays, CodedTensor, Tables};
use super::fp16::{HALF_MAX, int8_scale, round_to_half, row_scale};
use super::kmeans::distinct::{Sorter, Weighting};
use super::kmeans::points::Points;
use super::kmeans::{Scratch, means};
use super::lookup::Table;
use super::recipe::{Palette, Recipe, TableEntry, TableMaker};
use crate::error::{Error, Result};

/// Memory that a thread reuses from one group to the next.
#[derive(Default)]
struct PaletteScratch {
    sorter: Sorter,
    points: Points,
    kmeans: Scratch,
    codes: Vec<u8>,
}

/// The table of one group as stored: `halves`, or `bytes` times `scale`.
struct GroupTable {
    halves: Vec<f16>,
    bytes: Vec<i8>,
    scale: f16,
}

/// Codes finite weights `[out, in]`. Fails (input) if a weight is beyond fp16, if `-unique` finds
/// more values than the table has entries, or if pruning leaves no weight.
pub(super) fn quantize(
    palette: &Palette,
    weights: &[f32],
    shape: [usize; 2],
    importance: Option<&[f32]>,
) -> Result<CodedTensor> {
    let mask = palette.pruning.map(|pruning| pruning.mask(weights)).transpose()?;
    let stored = match &mask {
        None => code(palette, weights, shape, importance)?,
        Some(kept) => code(palette, &kept.marked(weights), shape, importance)?,
    };
    let Coded { packed, tables, channel_scales } = stored;
    let codes = match &mask {
        None => packed,
        Some(mask) => mask.squeeze(&packed, palette.bits.get()),
    };
    let stored = CodedArrays::Palette { codes, mask, tables, channel_scales };
    CodedTensor::new(Recipe::Palette(*palette), shape, stored)
}

/// Codes of all weights. Those of pruned weights mean nothing.
struct Coded {
    packed: Vec<u8>,
    tables: Tables,
    channel_scales: Option<Vec<f16>>,
}

/// Codes weights `[out, in]`, in which NaN marks pruned ones.
fn code(
    palette: &Palette,
    weights: &[f32],
    shape: [usize; 2],
    importance: Option<&[f32]>,
) -> Result<Coded> {
    let [out, inputs] = shape;
    let group_len = (palette.table_rows(out) * inputs).max(1);
    let scales =
        palette.channel_scale.then(|| channel_scales(palette, weights, shape)).transpose()?;
    let bits = palette.bits.get();
    let span_len = group_len * groups_per_span(group_len);
    let mut packed = vec![0u8; packed_size_bytes(weights.len(), bits)];
    let tables: Vec<Vec<GroupTable>> = packed
        .par_chunks_mut(packed_size_bytes(span_len, bits))
        .zip(weights.par_chunks(span_len))
        .enumerate()
        .map_init(PaletteScratch::default, |scratch, (span, (packed, weights))| {
            let rows = weights.len() / inputs;
            let first_row = span * (span_len / inputs);
            let scales = scales.as_ref().map(|scales| &scales[first_row..first_row + rows]);
            let weighting = Weighting { inputs, importance, scales };
            scratch.code_span(palette, weights, &weighting, group_len, packed)
        })
        .collect::<Result<_>>()?;
    let tables = join(tables.into_iter().flatten().collect(), palette.entry);
    Ok(Coded { packed, tables, channel_scales: scales })
}

/// The smallest number of groups whose codes fill whole bytes at any width, so that spans can be
/// packed independently.
fn groups_per_span(group_len: usize) -> usize {
    UNIT >> group_len.trailing_zeros().min(UNIT.trailing_zeros())
}

fn join(groups: Vec<GroupTable>, entry: TableEntry) -> Tables {
    match entry {
        TableEntry::Half => {
            Tables::Half(groups.into_iter().flat_map(|group| group.halves).collect())
        }
        TableEntry::Int8 => Tables::Int8 {
            scales: groups.iter().map(|group| group.scale).collect(),
            entries: groups.into_iter().flat_map(|group| group.bytes).collect(),
        },
    }
}

/// Up to this width of codes, rows are divided by their root mean square.
const RMS_MAX_BITS: u8 = 3;

/// The fp16 scale of every row, as [`row_scale`] stores it. A small table fits the bulk of the
/// weights, so rows are scaled to the same root mean square. From 4 bits on the extremes matter
/// more, and rows are scaled to the same largest magnitude. Each choice has the lower error on
/// trained weights.
fn channel_scales(
    palette: &Palette,
    weights: &[f32],
    [out, inputs]: [usize; 2],
) -> Result<Vec<f16>> {
    let scale = |row: usize| {
        let row = &weights[row * inputs..(row + 1) * inputs];
        let row = row.iter().filter(|weight| !weight.is_nan()).map(|weight| f64::from(*weight));
        let kept = row.clone().count();
        if kept == 0 {
            return Ok(f16::ONE);
        }
        row_scale(if palette.bits.get() <= RMS_MAX_BITS {
            (row.map(|weight| weight * weight).sum::<f64>() / kept as f64).sqrt()
        } else {
            row.fold(0.0, |most, weight| most.max(weight.abs()))
        })
    };
    (0..out).into_par_iter().map(scale).collect()
}

impl PaletteScratch {
    /// Codes whole groups one by one and packs their codes.
    fn code_span(
        &mut self,
        palette: &Palette,
        weights: &[f32],
        weighting: &Weighting<'_>,
        group_len: usize,
        packed: &mut [u8],
    ) -> Result<Vec<GroupTable>> {
        let mut codes = std::mem::take(&mut self.codes);
        codes.resize(weights.len(), 0);
        let group_rows = group_len / weighting.inputs;
        let groups = codes.chunks_exact_mut(group_len).zip(weights.chunks_exact(group_len));
        let tables = groups
            .enumerate()
            .map(|(group, (codes, weights))| {
                let rows = group * group_rows..(group + 1) * group_rows;
                let scales = weighting.scales.map(|scales| &scales[rows]);
                let weighting = Weighting { scales, ..*weighting };
                self.code_group(palette, weights, &weighting, codes)
            })
            .collect();
        pack_into(&codes, palette.bits.get(), packed);
        self.codes = codes;
        tables
    }

    fn code_group(
        &mut self,
        palette: &Palette,
        weights: &[f32],
        weighting: &Weighting<'_>,
        codes: &mut [u8],
    ) -> Result<GroupTable> {
        let entries = palette.bits.entries();
        let wanted = match palette.maker {
            TableMaker::KMeans => {
                self.sorter.points(weights, weighting, &mut self.points);
                means(&self.points, entries, &mut self.kmeans)
            }
            TableMaker::Uniform => {
                let (low, high) = self.sorter.extent(weights, weighting);
                let step = (high - low) / (entries - 1) as f64;
                let used = if low <= high { entries } else { 0 };
                (0..used).map(|i| low + step * i as f64).collect()
            }
            TableMaker::Unique => {
                let values = self.sorter.distinct(weights);
                lossless(&values, entries)?
            }
        };
        let stored = store(&wanted, entries, palette.entry)?;
        let mut table = [0.0; 256];
        stored.read(palette.entry, &mut table);
        assign(&table[..entries], weights, weighting, codes);
        Ok(stored)
    }
}

/// The values themselves. Fails (input) if there are more than `entries` or fp16 cannot represent
/// one exactly.
fn lossless(values: &[f32], entries: usize) -> Result<Vec<f64>> {
    let found = values.len();
    if found > entries {
        return Err(Error::input(format!(
            "expected at most {entries} distinct weights in a group, found {found}"
        ))
        .hint("without `-unique` the table is fitted by k-means"));
    }
    let inexact = values.iter().filter(|value| f16::from_f32(**value).to_f32() != **value).count();
    if inexact > 0 {
        return Err(Error::input(format!(
            "expected weights that fp16 represents exactly, found {inexact} of {found} values that it does not"
        ))
        .hint("without `-unique` the table is fitted by k-means"));
    }
    Ok(values.iter().map(|value| f64::from(*value)).collect())
}

/// Rounds a table to its stored precision and pads it with its last entry.
fn store(wanted: &[f64], entries: usize, entry: TableEntry) -> Result<GroupTable> {
    let last = wanted.last().copied().unwrap_or(0.0);
    let padded = wanted.iter().copied().chain(std::iter::repeat(last)).take(entries);
    let reach = wanted.iter().fold(0.0f64, |reach, value| reach.max(value.abs()));
    let scale = match entry {
        TableEntry::Half => f16::from_f64(reach),
        TableEntry::Int8 => int8_scale(reach),
    };
    if !scale.is_finite() || (entry == TableEntry::Int8 && reach >= f64::from(HALF_MAX)) {
        return Err(Error::input(format!("a table entry of {reach} is beyond fp16 (65504)")));
    }
    let (mut halves, mut bytes) = (Vec::new(), Vec::new());
    match entry {
        // Adding zero turns -0 into 0, so that equal tables are equal bytes.
        TableEntry::Half => halves = padded.map(|value| f16::from_f64(value + 0.0)).collect(),
        TableEntry::Int8 => {
            let byte = |value: f64| (value / scale.to_f64()).round_ties_even().clamp(-127.0, 127.0);
            bytes = padded.map(|value| byte(value) as i8).collect();
        }
    }
    Ok(GroupTable { halves, bytes, scale })
}

impl GroupTable {
    fn read(&self, entry: TableEntry, table: &mut Table) {
        match entry {
            TableEntry::Half => {
                table.iter_mut().zip(&self.halves).for_each(|(to, from)| *to = from.to_f32());
            }
            TableEntry::Int8 => {
                let scale = self.scale.to_f32();
                for (to, from) in table.iter_mut().zip(&self.bytes) {
                    *to = round_to_half(f32::from(*from) * scale);
                }
            }
        }
    }
}

/// Writes the index of the entry nearest to each weight. `table` is in ascending order.
fn assign(table: &[f32], weights: &[f32], weighting: &Weighting<'_>, codes: &mut [u8]) {
    let mut thresholds = [f32::INFINITY; 256];
    let thresholds = &mut thresholds[..table.len() - 1];
    let Some(scales) = weighting.scales else {
        fill_thresholds(table, 1.0, thresholds);
        return count_below(thresholds, weights, codes);
    };
    let rows = weights.chunks_exact(weighting.inputs).zip(codes.chunks_exact_mut(weighting.inputs));
    for ((weights, codes), scale) in rows.zip(scales) {
        fill_thresholds(table, scale.to_f64(), thresholds);
        count_below(thresholds, weights, codes);
    }
}

/// The midpoints between neighbouring entries, times `scale`. Equal entries have no midpoint; they
/// get the next one above, so that codes skip the later of them.
fn fill_thresholds(table: &[f32], scale: f64, thresholds: &mut [f32]) {
    let mut above = f32::INFINITY;
    for i in (0..thresholds.len()).rev() {
        if table[i] < table[i + 1] {
            above = at_most((f64::from(table[i]) + f64::from(table[i + 1])) / 2.0 * scale);
        }
        thresholds[i] = above;
    }
}

/// The largest f32 that is at most `middle`. An f32 is above it exactly if it is above `middle`.
fn at_most(middle: f64) -> f32 {
    let nearest = middle as f32;
    if f64::from(nearest) > middle { nearest.next_down() } else { nearest }
}

/// `codes[i]` is the number of thresholds below `weights[i]`.
fn count_below(thresholds: &[f32], weights: &[f32], codes: &mut [u8]) {
    const LANES: usize = 32;
    pulp::Arch::new().dispatch(|| {
        let (chunks, rest) = weights.as_chunks::<LANES>();
        let (code_chunks, code_rest) = codes.as_chunks_mut::<LANES>();
        for (weights, codes) in chunks.iter().zip(code_chunks) {
            let mut counts = [0u32; LANES];
            for threshold in thresholds {
                for lane in 0..LANES {
                    counts[lane] += u32::from(weights[lane] > *threshold);
                }
            }
            for lane in 0..LANES {
                codes[lane] = counts[lane] as u8;
            }
        }
        for (weight, code) in rest.iter().zip(code_rest) {
            *code = thresholds.iter().filter(|threshold| weight > threshold).count() as u8;
        }
    });
}
