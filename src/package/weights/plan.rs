//! Which blobs a tensor takes, and what a target cannot express. Both follow from the recipe, the
//! shape and the number of weights that are stored.

use super::WeightLayout;
use crate::error::{Error, Result};
use crate::package::blob::BlobType;
use crate::package::mil::Opset;
use crate::quantize::{
    IndexBits, Linear, LinearBits, MXFP4_BLOCK, Palette, Recipe, TableEntry, Vector,
};

/// A blob that a weight needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedBlob {
    /// The part of the coded tensor that it holds, by the suffix of its name.
    pub suffix: &'static str,
    /// The type of its elements.
    pub kind: BlobType,
    /// Its shape in the program.
    pub shape: Vec<usize>,
    /// Whether signed codes are stored unsigned, each plus `MIDDLE_CODE`.
    pub is_shifted: bool,
}

impl PlannedBlob {
    fn new(suffix: &'static str, kind: BlobType, shape: impl Into<Vec<usize>>) -> Self {
        PlannedBlob { suffix, kind, shape: shape.into(), is_shifted: false }
    }

    /// The number of its elements.
    pub fn elements(&self) -> u64 {
        self.shape.iter().fold(1, |elements: u64, len| elements.saturating_mul(*len as u64))
    }
}

/// The blobs of a weight `[out, in]` in the order in which they are written. `kept` of its weights
/// are stored: all of them, unless the recipe prunes.
///
/// # Errors
/// An input error if target or layout cannot express the recipe, with the reason and the nearest
/// recipe that they can express; an input error if the recipe cannot code the shape.
pub fn blobs_of(
    recipe: Recipe,
    shape: [usize; 2],
    kept: usize,
    target: Opset,
    layout: WeightLayout,
) -> Result<Vec<PlannedBlob>> {
    let recipe = recipe.resolved(shape);
    if let Some(found) = obstacle(recipe, shape, kept, target, layout) {
        return Err(refusal(recipe, shape, target, found));
    }
    recipe.check_shape(shape)?;
    let [out, inputs] = shape;
    let dense = layout.shape(out, inputs);
    Ok(match recipe {
        Recipe::Reference | Recipe::Half => {
            vec![PlannedBlob::new("values", BlobType::Float16, dense)]
        }
        Recipe::Palette(palette) => palette_blobs(&palette, shape, kept, target, layout),
        Recipe::Linear(linear) => {
            // GPU and Neural Engine compute the signed form of iOS 17 wrongly.
            let is_shifted = target < Opset::Ios18 && !linear.asymmetric;
            let codes = if is_shifted { BlobType::Uint8 } else { linear_type(&linear) };
            let blocks = match target {
                Opset::Ios17 => vec![out],
                Opset::Ios18 => layout.shape(out, linear.blocks(inputs)),
            };
            let mut blobs = vec![
                PlannedBlob { is_shifted, ..PlannedBlob::new("codes", codes, dense) },
                PlannedBlob::new("scales", BlobType::Float16, blocks.clone()),
            ];
            if linear.asymmetric {
                blobs.push(PlannedBlob::new("zero_points", codes, blocks));
            }
            blobs
        }
        Recipe::Vector(vector) => vector_blobs(&vector, shape, layout),
        Recipe::Mxfp4 => {
            let blocks = layout.shape(out, inputs / MXFP4_BLOCK);
            vec![
                PlannedBlob::new("codes", BlobType::Uint4, dense),
                PlannedBlob::new("scales", BlobType::Float16, blocks),
            ]
        }
    })
}

/// Refuses a recipe that target or engine cannot have, without the tensor. `layout` is that of the
/// engine, whatever the layout of the tensor.
///
/// # Errors
/// An input error with the reason and the nearest recipe.
pub fn refuse_recipe(
    recipe: Recipe,
    shape: [usize; 2],
    target: Opset,
    layout: WeightLayout,
) -> Result<()> {
    let recipe = recipe.resolved(shape);
    let of_engine = match layout {
        WeightLayout::Linear => None,
        WeightLayout::Convolution => reported_wrong(recipe, shape),
    };
    match obstacle(recipe, shape, usize::MAX, target, layout).or(of_engine) {
        Some(found) => Err(refusal(recipe, shape, target, found)),
        None => Ok(()),
    }
}

fn refusal(
    recipe: Recipe,
    shape: [usize; 2],
    target: Opset,
    (reason, nearest): (&str, String),
) -> Error {
    Error::input(format!("{recipe} of {shape:?} for {target}: {reason}"))
        .hint(format!("the nearest recipe that can be packaged is {nearest}"))
}

fn palette_blobs(
    palette: &Palette,
    shape: [usize; 2],
    kept: usize,
    target: Opset,
    layout: WeightLayout,
) -> Vec<PlannedBlob> {
    let ([out, inputs], tables) = (shape, palette.tables(shape));
    let dense = layout.shape(out, inputs);
    let codes = match target {
        // Packed into bytes. With 8 bits, these are the indices themselves.
        Opset::Ios17 => {
            let bytes = (out * inputs * usize::from(palette.bits.get())).div_ceil(8);
            PlannedBlob::new("codes", BlobType::Uint8, [bytes])
        }
        Opset::Ios18 if palette.pruning.is_some() => {
            PlannedBlob::new("codes", index_type(palette.bits), [kept])
        }
        Opset::Ios18 => PlannedBlob::new("codes", index_type(palette.bits), dense.clone()),
    };
    let table_shape = match target {
        Opset::Ios17 => vec![palette.bits.entries()],
        Opset::Ios18 => layout.tables(tables, palette.bits.entries(), 1),
    };
    let mut blobs = vec![codes];
    blobs.extend(palette.pruning.map(|_| PlannedBlob::new("mask", BlobType::Uint1, dense)));
    match palette.entry {
        TableEntry::Half => blobs.push(PlannedBlob::new("tables", BlobType::Float16, table_shape)),
        TableEntry::Int8 => {
            blobs.push(PlannedBlob::new("tables", BlobType::Int8, table_shape));
            let scales = layout.tables(tables, 1, 1);
            blobs.push(PlannedBlob::new("table_scales", BlobType::Float16, scales));
        }
    }
    if palette.channel_scale {
        let scales = layout.channel_scales(out);
        blobs.push(PlannedBlob::new("channel_scales", BlobType::Float16, scales));
    }
    blobs
}

fn vector_blobs(vector: &Vector, shape: [usize; 2], layout: WeightLayout) -> Vec<PlannedBlob> {
    let ([out, inputs], [groups, entries, length]) = (shape, vector.table_shape(shape));
    let codes = layout.shape(out / length, inputs);
    vec![
        PlannedBlob::new("codes", index_type(vector.code_bits()), codes),
        PlannedBlob::new("tables", BlobType::Float16, layout.tables(groups, entries, length)),
        PlannedBlob::new("channel_scales", BlobType::Float16, layout.channel_scales(out)),
    ]
}

/// Why a resolved recipe cannot be packaged, and the nearest one that can; `None` if it can.
fn obstacle(
    recipe: Recipe,
    shape: [usize; 2],
    kept: usize,
    target: Opset,
    layout: WeightLayout,
) -> Option<(&'static str, String)> {
    if shape.contains(&0) {
        return Some(("the tensor has no weights", "none".to_owned()));
    }
    let is_old = target < Opset::Ios18;
    let dense = |palette| Recipe::Palette(Palette { pruning: None, ..palette });
    match recipe {
        Recipe::Reference => Some(("Core ML has no bfloat16 weights", "fp16".to_owned())),
        Recipe::Vector(vector) if is_old => {
            let nearest = format!("palette{}-s", old_bits(vector.bits()));
            Some(("tables of vectors need iOS 18", nearest))
        }
        Recipe::Mxfp4 if is_old => Some(("block scales need iOS 18", "palette4".to_owned())),
        Recipe::Mxfp4 if layout == WeightLayout::Convolution => {
            let reason = "the Neural Engine does not support scales on top of a table";
            Some((reason, "palette4-g16".to_owned()))
        }
        Recipe::Palette(palette) if kept == 0 => {
            Some(("pruning removed every weight of these rows", dense(palette).to_string()))
        }
        Recipe::Palette(palette) if is_old => {
            let bits = old_bits(palette.bits.get());
            let is_pruned = palette.pruning.is_some();
            let scale = if palette.channel_scale { "-s" } else { "" };
            let nearest = format!("palette{bits}{scale}");
            if is_pruned {
                Some(("pruned weights in tables need iOS 18", nearest))
            } else if palette.bits.get() == 3 {
                Some(("3-bit indices need iOS 18", nearest))
            } else if palette.entry == TableEntry::Int8 {
                Some(("int8 tables with a scale need iOS 18", nearest))
            } else if palette.tables(shape) > 1 {
                Some(("more than one table per tensor needs iOS 18", nearest))
            } else {
                None
            }
        }
        Recipe::Linear(linear) if is_old => {
            let sign = if linear.asymmetric { "-a" } else { "" };
            if linear.bits == LinearBits::Four {
                Some(("4-bit integers need iOS 18", "palette4".to_owned()))
            } else if linear.blocks(shape[1]) > 1 {
                Some(("block scales need iOS 18", format!("int8{sign}")))
            } else {
                None
            }
        }
        _ => None,
    }
}

/// What the Neural Engine is reported to compute wrongly, although it can be packaged, and the nearest
/// recipe without a report.
fn reported_wrong(recipe: Recipe, shape: [usize; 2]) -> Option<(&'static str, String)> {
    let Recipe::Linear(linear) = recipe else { return None };
    let nearest = match linear.bits {
        LinearBits::Eight => format!("int8{}", if linear.asymmetric { "-a" } else { "" }),
        LinearBits::Four => "palette4-g16-s".to_owned(),
    };
    let reason = "the Neural Engine is reported to compute integers with block scales wrongly";
    (linear.blocks(shape[1]) > 1).then_some((reason, nearest))
}

/// The width of indices before iOS 18 that is nearest to `bits`.
fn old_bits(bits: u8) -> u8 {
    if bits == 3 { 4 } else { bits }
}

/// The type of table indices of this width.
fn index_type(bits: IndexBits) -> BlobType {
    match bits.get() {
        1 => BlobType::Uint1,
        2 => BlobType::Uint2,
        3 => BlobType::Uint3,
        4 => BlobType::Uint4,
        6 => BlobType::Uint6,
        _ => BlobType::Uint8,
    }
}

/// The type of the integers of a linear recipe.
fn linear_type(linear: &Linear) -> BlobType {
    match (linear.bits, linear.asymmetric) {
        (LinearBits::Four, false) => BlobType::Int4,
        (LinearBits::Four, true) => BlobType::Uint4,
        (LinearBits::Eight, false) => BlobType::Int8,
        (LinearBits::Eight, true) => BlobType::Uint8,
    }
}
