//! Rows cut out of a coded tensor without decoding them, as for a head that is split among several
//! layers.

use std::ops::Range;

use half::f16;

use super::bitpack::{pack, unpack};
use super::coded::{CodedArrays, CodedTensor, Tables};
use super::mask::Mask;
use super::recipe::{MXFP4_BLOCK, Recipe};
use crate::error::{Error, Result};

impl CodedTensor {
    /// The same codes and tables without channel scales: what the layer multiplies with before it
    /// scales its results. Tables of vectors keep their channel scales, all of them 1.
    pub fn without_channel_scales(mut self) -> CodedTensor {
        if let (Recipe::Palette(palette), CodedArrays::Palette { channel_scales, .. }) =
            (&mut self.recipe, &mut self.stored)
        {
            palette.channel_scale = false;
            *channel_scales = None;
        }
        if let CodedArrays::Vector { channel_scales, .. } = &mut self.stored {
            channel_scales.fill(f16::ONE);
        }
        self
    }

    /// The rows `rows` as a tensor of their own, with the same codes, tables and scales; a table
    /// of the whole tensor is copied. A slice of a pruned tensor keeps the weights that the whole
    /// tensor keeps there, which may be another share than the recipe names.
    ///
    /// Fails (bug) if the rows do not exist or do not begin and end at multiples of
    /// [`Recipe::slice_unit`].
    pub fn slice_rows(&self, rows: Range<usize>) -> Result<CodedTensor> {
        let [out, inputs] = self.shape;
        let unit = self.recipe.slice_unit(self.shape);
        let on_borders = [rows.start, rows.end].iter().all(|row| row.is_multiple_of(unit));
        if rows.start >= rows.end || rows.end > out || !on_borders {
            return Err(Error::bug(format!(
                "cannot slice rows {rows:?} of {} {:?}, whose rows are coded {unit} at a time",
                self.recipe, self.shape
            )));
        }
        let span = |per_row: usize| rows.start * per_row..rows.end * per_row;
        let bits = self.recipe.code_bits().unwrap_or(16);
        let stored = match &self.stored {
            CodedArrays::Half(values) => CodedArrays::Half(values[span(inputs)].to_vec()),
            CodedArrays::Palette { codes, mask, tables, channel_scales } => {
                let whole = self.recipe.border_unit(self.shape).is_none();
                let groups = if whole { 0..1 } else { rows.start / unit..rows.end / unit };
                let mask = mask.as_ref();
                let stored = mask.map_or(span(inputs), |mask| kept(mask, span(inputs)));
                CodedArrays::Palette {
                    codes: slice_codes(codes, bits, stored)?,
                    mask: mask.map(|mask| mask.slice(span(inputs))).transpose()?,
                    tables: slice_tables(tables, groups, 1 << bits),
                    channel_scales: channel_scales.as_ref().map(|all| all[rows.clone()].to_vec()),
                }
            }
            CodedArrays::Linear { codes, scales, zero_points } => {
                let blocks = match &self.recipe {
                    Recipe::Linear(linear) => linear.blocks(inputs),
                    _ => inputs / MXFP4_BLOCK,
                };
                let points = zero_points.as_ref();
                let points = points.map(|points| slice_codes(points, bits, span(blocks)));
                CodedArrays::Linear {
                    codes: slice_codes(codes, bits, span(inputs))?,
                    scales: scales[span(blocks)].to_vec(),
                    zero_points: points.transpose()?,
                }
            }
            CodedArrays::Vector { codes, tables, channel_scales } => {
                let whole = self.recipe.border_unit(self.shape).is_none();
                let groups = if whole { 0..1 } else { rows.start / unit..rows.end / unit };
                let per_code = self.weights() / self.codes().max(1);
                let per_table = per_code << bits;
                let own = rows.start / per_code * inputs..rows.end / per_code * inputs;
                CodedArrays::Vector {
                    codes: slice_codes(codes, bits, own)?,
                    tables: tables[groups.start * per_table..groups.end * per_table].to_vec(),
                    channel_scales: channel_scales[rows.clone()].to_vec(),
                }
            }
        };
        CodedTensor::new(self.recipe, [rows.len(), inputs], stored)
    }
}

/// The positions of the stored weights of the range `weights` among all stored weights.
fn kept(mask: &Mask, weights: Range<usize>) -> Range<usize> {
    mask.kept_before(weights.start)..mask.kept_before(weights.end)
}

fn slice_codes(packed: &[u8], bits: u8, codes: Range<usize>) -> Result<Vec<u8>> {
    let (start, end) = (codes.start * usize::from(bits), codes.end * usize::from(bits));
    if start.is_multiple_of(8) && end.is_multiple_of(8) {
        return Ok(packed[start / 8..end / 8].to_vec());
    }
    let mut plain = vec![0; codes.len()];
    unpack(packed, bits, codes.start, &mut plain)?;
    Ok(pack(&plain, bits))
}

fn slice_tables(tables: &Tables, groups: Range<usize>, len: usize) -> Tables {
    let span = groups.start * len..groups.end * len;
    match tables {
        Tables::Half(entries) => Tables::Half(entries[span].to_vec()),
        Tables::Int8 { entries, scales } => {
            Tables::Int8 { entries: entries[span].to_vec(), scales: scales[groups].to_vec() }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::quantize::{Recipe, quantize};

    #[test]
    fn slices_decode_to_their_rows() {
        for name in [
            "fp16",
            "palette1-c",
            "palette2-g2-s-t8",
            "palette3-g2",
            "palette6-g4-s",
            "palette3-g2-s-t8-p40",
            "palette4-c-t20.5",
            "int4-a",
            "int4-b32",
            "int8-b32-a",
            "mxfp4",
            "vector1-d2-g2",
            "vector2-d4-g4",
        ] {
            let weights: Vec<f32> = (0u16..12 * 32).map(|i| f32::from(i * 7 % 89)).collect();
            let recipe: Recipe = name.parse().unwrap();
            let whole = quantize(&recipe, &weights, [12, 32], None).unwrap().unwrap();
            let decoded = whole.decode();
            for rows in [0..4, 4..8, 8..12, 0..12] {
                let slice = whole.slice_rows(rows.clone()).unwrap();
                assert_eq!(slice.decode(), decoded[rows.start * 32..rows.end * 32], "{name}");
            }
            assert_eq!(whole.slice_rows(0..12).unwrap(), whole, "{name}");
        }
    }

    #[test]
    fn codes_that_begin_within_a_byte_are_packed_anew() {
        let weights: Vec<f32> = (0u8..35).map(f32::from).collect();
        let recipe: Recipe = "palette3".parse().unwrap();
        let whole = quantize(&recipe, &weights, [7, 5], None).unwrap().unwrap();
        let slice = whole.slice_rows(3..6).unwrap();
        assert_eq!(slice.decode(), whole.decode()[15..30]);
    }

    #[test]
    fn slices_that_cut_a_group_are_refused() {
        let recipe: Recipe = "palette2-g4".parse().unwrap();
        let whole = quantize(&recipe, &[1.0; 32], [8, 4], None).unwrap().unwrap();
        for rows in [0..2, 2..4, 4..4, 4..12] {
            assert!(whole.slice_rows(rows.clone()).is_err(), "{rows:?}");
        }
    }
}
