//! A recipe: how weights are coded.
//!
//! The arithmetic of stored sizes is here and nowhere else, so that sizes, budgets and row slices
//! are known before any weight is read. Parsing and printing are in `grammar.rs`; this file knows
//! no weights and no codes.

use std::num::NonZeroUsize;

use super::bitpack::packed_size_bytes;
use super::pruning::Pruning;
use super::vector::form::Vector;
use super::widths::{IndexBits, LinearBits, effective_group};
use crate::error::{Error, Result};
use crate::units::Bytes;

/// Inputs that share a scale in MXFP4.
pub const MXFP4_BLOCK: usize = 32;

/// The message of an error if `fp` is given where weights must be quantized.
pub const REFERENCE_IS_STORED: &str =
    "`fp` keeps the weights as they are, so there is nothing to quantize or package";

/// How the weights of a variant are coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Recipe {
    /// `fp`: the reference, with weights as the checkpoint stores them. It has no codes.
    Reference,
    /// `fp16`: rounded to IEEE half precision.
    Half,
    /// `palette…`: each code is an index into a lookup table.
    Palette(Palette),
    /// `int…`: each code is multiplied by a scale.
    Linear(Linear),
    /// `vector…`: each code is an index into a table of vectors of several weights.
    Vector(Vector),
    /// `mxfp4`: four-bit floats times a power of two that 32 inputs share.
    Mxfp4,
}

/// Coding by lookup tables: the width of codes, how many tables, and how they are made and stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Palette {
    /// Width of a code.
    pub bits: IndexBits,
    /// Which weights share a table.
    pub granularity: Granularity,
    /// `-s`: whether each output channel also has an fp16 scale.
    pub channel_scale: bool,
    /// How table entries are chosen.
    pub maker: TableMaker,
    /// How table entries are stored.
    pub entry: TableEntry,
    /// Which weights are set to 0 and not stored, if any.
    pub pruning: Option<Pruning>,
}

/// Which weights share a lookup table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// One table for the tensor.
    Tensor,
    /// `-gN`: one table per N output channels, or per [`effective_group`] if N does not divide
    /// them.
    Grouped(NonZeroUsize),
    /// `-c`: one table per output channel.
    Channel,
}

/// How table entries are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TableMaker {
    /// The globally optimal one-dimensional k-means.
    KMeans,
    /// `-uniform`: evenly spaced from the smallest to the largest weight.
    Uniform,
    /// `-unique`: the weights themselves. Lossless; refused if there are too many different ones.
    Unique,
}

/// How table entries are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TableEntry {
    /// fp16 entries.
    Half,
    /// `-t8`: int8 entries and one fp16 scale per table.
    Int8,
}

/// Integers times a scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Linear {
    /// Width of a code.
    pub bits: LinearBits,
    /// `-a`: unsigned codes and a zero point, instead of a range symmetric around zero.
    pub asymmetric: bool,
    /// `-bN`: one scale per N inputs, or per [`effective_group`] if N does not divide them. `None`:
    /// one scale per output channel.
    pub block: Option<NonZeroUsize>,
}

impl Recipe {
    /// The recommended recipe for a nominal width: 16, 8, 6, 4, 3, 2 or 1 bits.
    ///
    /// Palettes have one table for 16 output channels, within what Apple recommends for the Neural
    /// Engine, and a scale for each output channel. On SmolLM2-135M (read from a 4-bit file, 1,530
    /// tokens) the scale costs 0.03 bits per weight and lowers the median KL divergence from 0.99
    /// to 0.33 nats at 4 bits and from 12.1 to 9.1 at 2. At 8 bits, tables of 256 entries would
    /// cost 0.4 bits per weight with 576 inputs, so integers are used. At 2 and 1 bits a code
    /// stands for 4 or 8 weights, which loses less; for a small model such tables are large.
    ///
    /// Fails (input) for any other width.
    pub fn for_bits(bits: u8) -> Result<Recipe> {
        let name = match bits {
            2 => "vector2-d4",
            1 => "vector1-d8",
            _ => return Recipe::scalar_for_bits(bits),
        };
        name.parse()
    }

    /// [`for_bits`](Recipe::for_bits) with one code for each weight, also at 2 and 1 bits.
    pub fn scalar_for_bits(bits: u8) -> Result<Recipe> {
        let name = match bits {
            16 => "fp16",
            8 => "int8",
            6 => "palette6-g16-s",
            4 => "palette4-g16-s",
            3 => "palette3-g16-s",
            2 => "palette2-g16-s",
            1 => "palette1-g16-s",
            _ => {
                return Err(Error::input(format!("no recipe has {bits} bits"))
                    .hint("16, 8, 6, 4, 3, 2 and 1 have a recommended recipe"));
            }
        };
        name.parse()
    }

    /// Whether this is the reference: the weights as the checkpoint stores them.
    pub fn is_reference(&self) -> bool {
        matches!(self, Recipe::Reference)
    }

    /// Bits of codes per weight, or `None` for the reference, whose width is the checkpoint's.
    pub fn nominal_bits(&self) -> Option<u8> {
        match self {
            Recipe::Reference => None,
            Recipe::Half => Some(16),
            Recipe::Palette(palette) => Some(palette.bits.get()),
            Recipe::Linear(linear) => Some(linear.bits.get()),
            Recipe::Vector(vector) => Some(vector.bits()),
            Recipe::Mxfp4 => Some(4),
        }
    }

    /// Bits of one code, which may stand for several weights.
    pub(super) fn code_bits(&self) -> Option<u8> {
        match self {
            Recipe::Vector(vector) => Some(vector.code_bits().get()),
            _ => self.nominal_bits(),
        }
    }

    /// Fails (input) for a tensor `[out, in]` that this recipe cannot code whatever its weights
    /// are: one whose rows the vectors of a vector recipe do not divide, since nothing is padded.
    pub fn check_shape(&self, shape: [usize; 2]) -> Result<()> {
        match self {
            Recipe::Vector(vector) => vector.check_rows(shape[0]),
            _ => Ok(()),
        }
    }

    /// The recipe with the group and block sizes that a tensor `[out, in]` actually gets (see
    /// [`effective_group`]). Resolving twice changes nothing. A slice of whole
    /// [`row_unit`](Recipe::row_unit)s, coded with the resolved recipe, has the same codes as in
    /// the whole tensor.
    pub fn resolved(&self, [out, inputs]: [usize; 2]) -> Recipe {
        let fit = |len, wanted| NonZeroUsize::new(effective_group(len, wanted)).unwrap_or(wanted);
        match *self {
            Recipe::Palette(Palette {
                granularity: Granularity::Grouped(rows),
                bits,
                channel_scale,
                maker,
                entry,
                pruning,
            }) => {
                let granularity = Granularity::Grouped(fit(out, rows));
                Recipe::Palette(Palette { granularity, bits, channel_scale, maker, entry, pruning })
            }
            Recipe::Linear(Linear { block: Some(block), bits, asymmetric }) => {
                Recipe::Linear(Linear { block: Some(fit(inputs, block)), bits, asymmetric })
            }
            Recipe::Vector(vector) => Recipe::Vector(vector.resolved(out)),
            other => other,
        }
    }

    /// The number of rows that are coded together: slices of a multiple of it can be coded
    /// independently. `None` if the whole tensor has to be coded at once, because it has one table
    /// or is pruned.
    pub fn row_unit(&self, shape: [usize; 2]) -> Option<usize> {
        if self.pruning().is_some() { None } else { self.border_unit(shape) }
    }

    /// The number of rows between two borders at which a coded tensor can be cut, or `None` if it
    /// has one table.
    pub fn border_unit(&self, [out, _]: [usize; 2]) -> Option<usize> {
        match self {
            Recipe::Palette(palette) => match palette.granularity {
                Granularity::Tensor => None,
                _ => Some(palette.table_rows(out)),
            },
            Recipe::Vector(vector) => vector.group().map(|_| vector.table_rows(out)),
            Recipe::Reference | Recipe::Half | Recipe::Linear(_) | Recipe::Mxfp4 => Some(1),
        }
    }

    /// A slice of a coded tensor begins and ends at a multiple of this number of rows. If the whole
    /// tensor has one table, each slice gets a copy of it.
    pub fn slice_unit(&self, shape: [usize; 2]) -> usize {
        match self {
            Recipe::Vector(vector) => vector.slice_unit(shape[0]),
            _ => self.border_unit(shape).unwrap_or(1),
        }
    }

    /// Which weights are pruned, if any.
    pub fn pruning(&self) -> Option<Pruning> {
        match self {
            Recipe::Palette(palette) => palette.pruning,
            _ => None,
        }
    }

    /// How many of `weights` weights are stored, or `None` if that depends on their values.
    pub fn kept(&self, weights: usize) -> Option<usize> {
        self.pruning().map_or(Some(weights), |pruning| pruning.kept(weights))
    }

    /// The exact stored size of a tensor `[out, in]` with its tables and scales. `None` for the
    /// reference, whose size is the checkpoint's, and for pruning by a threshold, whose size
    /// depends on the weights (see [`stored_size_of`](Recipe::stored_size_of)).
    pub fn stored_size(&self, shape: [usize; 2]) -> Option<Bytes> {
        self.stored_size_of(shape, self.kept(shape[0].saturating_mul(shape[1]))?)
    }

    /// The exact stored size of a tensor `[out, in]` of which `kept` weights are stored, or `None`
    /// for the reference. Only pruned palettes store fewer weights than there are.
    pub fn stored_size_of(&self, shape: [usize; 2], kept: usize) -> Option<Bytes> {
        let [out, inputs] = shape;
        let weights = out.saturating_mul(inputs);
        let size_bytes = match self {
            Recipe::Reference => return None,
            Recipe::Half => weights.saturating_mul(2),
            Recipe::Palette(palette) => {
                let tables = palette.tables(shape);
                let table_size_bytes = match palette.entry {
                    TableEntry::Half => palette.bits.entries() * 2,
                    TableEntry::Int8 => palette.bits.entries() + 2,
                };
                let mask_size_bytes = palette.pruning.map_or(0, |_| packed_size_bytes(weights, 1));
                packed_size_bytes(kept, palette.bits.get())
                    .saturating_add(mask_size_bytes)
                    .saturating_add(tables.saturating_mul(table_size_bytes))
                    .saturating_add(if palette.channel_scale { out.saturating_mul(2) } else { 0 })
            }
            Recipe::Linear(linear) => {
                let scales = out.saturating_mul(linear.blocks(inputs));
                let points = if linear.asymmetric { scales } else { 0 };
                packed_size_bytes(weights, linear.bits.get())
                    .saturating_add(scales.saturating_mul(2))
                    .saturating_add(packed_size_bytes(points, linear.bits.get()))
            }
            Recipe::Vector(vector) => vector.size_bytes(shape),
            Recipe::Mxfp4 => {
                let scales = out.saturating_mul(inputs.div_ceil(MXFP4_BLOCK));
                packed_size_bytes(weights, 4).saturating_add(scales.saturating_mul(2))
            }
        };
        Some(Bytes(size_bytes as u64))
    }

    /// How this recipe differs in Core ML, in words, or `None` if Core ML stores and computes it
    /// exactly as it is here.
    pub fn core_ml_note(&self) -> Option<&'static str> {
        match self {
            Recipe::Reference => Some(
                "weights as stored cannot be packaged: Core ML has no bfloat16; its widest type is fp16",
            ),
            Recipe::Palette(palette) if palette.channel_scale => {
                Some("the channel scale is a `mul` after the layer, not part of its weights")
            }
            Recipe::Vector(_) => {
                Some("the row scale is a `mul` after the layer, not part of its weights")
            }
            Recipe::Mxfp4 => Some(
                "stored as a 16-entry table and fp16 block scales: 4.5 bits per weight instead of the format's 4.25",
            ),
            _ => None,
        }
    }
}

impl Palette {
    /// Rows that share a table in a tensor of `out` rows.
    pub fn table_rows(&self, out: usize) -> usize {
        match self.granularity {
            Granularity::Tensor => out.max(1),
            Granularity::Grouped(rows) => effective_group(out, rows),
            Granularity::Channel => 1,
        }
    }

    /// The number of tables of a tensor `[out, in]`; 0 for a tensor without weights.
    pub fn tables(&self, [out, inputs]: [usize; 2]) -> usize {
        if inputs == 0 { 0 } else { out / self.table_rows(out) }
    }
}

impl Linear {
    /// The number of scales along a row of `inputs` weights.
    pub fn blocks(&self, inputs: usize) -> usize {
        if inputs == 0 { 0 } else { inputs / self.block_len(inputs) }
    }

    /// The number of weights that share a scale in a row of `inputs` weights, at least 1.
    pub fn block_len(&self, inputs: usize) -> usize {
        match self.block {
            None => inputs.max(1),
            Some(block) => effective_group(inputs, block),
        }
    }

    /// Smallest and largest code: -7..7 and -127..127, or 0..15 and 0..255 with a zero point.
    pub fn code_range(&self) -> (i32, i32) {
        let unsigned_max = (1 << self.bits.get()) - 1;
        if self.asymmetric { (0, unsigned_max) } else { (-(unsigned_max / 2), unsigned_max / 2) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolving_twice_changes_nothing_even_for_a_slice() {
        let recipe: Recipe = "palette2-g16".parse().unwrap();
        let once = recipe.resolved([50, 8]);
        assert_eq!(once.to_string(), "palette2-g10");
        assert_eq!(once.resolved([30, 8]), once);
        assert_eq!(recipe.row_unit([50, 8]), Some(10));
    }

    #[test]
    fn sizes_count_codes_tables_scales_and_zero_points() {
        let size = |recipe: &str, shape| {
            recipe.parse::<Recipe>().unwrap().stored_size(shape).map(|Bytes(bytes)| bytes)
        };
        assert_eq!(size("fp", [32, 64]), None);
        assert_eq!(size("fp16", [32, 64]), Some(4096));
        assert_eq!(size("palette2-g16", [32, 64]), Some(512 + 2 * 8));
        assert_eq!(size("palette2-g16-s-t8", [32, 64]), Some(512 + 2 * (4 + 2) + 64));
        assert_eq!(size("palette3", [3, 3]), Some(4 + 16));
        assert_eq!(size("int4-b32", [32, 64]), Some(1024 + 2 * 64));
        assert_eq!(size("int4-b32-a", [3, 32]), Some(48 + 2 * 3 + 2));
    }

    #[test]
    fn widths_without_a_recipe_are_refused() {
        for bits in [16, 8, 6, 4, 3, 2, 1] {
            assert_eq!(Recipe::for_bits(bits).unwrap().nominal_bits(), Some(bits));
        }
        assert!(Recipe::for_bits(5).unwrap_err().to_string().contains("no recipe has 5 bits"));
    }
}
