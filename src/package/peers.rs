//! Writes packages of every kind for `tests/peers/package_coremltools.py`, which reads them with
//! coremltools.
//!
//! They are written to the folder in `EVALKIT_PACKAGES_OUT`, each with the weights that it should
//! expand to (`NAME.f32`, little endian); without that variable, to a temporary folder. The tests
//! here check that sizes are as predicted and that this program reads the same weights back.

use std::path::{Path, PathBuf};

use half::f16;

use super::blob::{BlobLayout, BlobType, BlobWriter};
use super::constexpr;
use super::mil::{BlobTensor, BuiltFunction, FunctionBuilder, Literal, Opset, Value, model};
use super::read::Package;
use super::spec::{DataType, Metadata};
use super::weights::plan::blobs_of;
use super::weights::{StoredWeight, WeightLayout};
use super::write::{PackageWriter, package_size_bytes};
use crate::error::Result;
use crate::files::Existing;
use crate::quantize::{CodedTensor, Recipe, quantize};

const RECIPES: [&str; 42] = [
    "fp16",
    "palette1",
    "palette1-c",
    "palette1-g16-s",
    "palette2",
    "palette2-g16",
    "palette2-g16-s",
    "palette2-g16-s-t8",
    "palette3-c",
    "palette3-g16",
    "palette4",
    "palette4-g16-t8",
    "palette4-s",
    "palette6",
    "palette6-g16",
    "palette8",
    "palette8-g16",
    "palette1-c-p30",
    "palette2-g16-s-p50",
    "palette3-p90",
    "palette4-t0.25",
    "palette4-g16-s-t8-p40",
    "palette8-g4-t0.05",
    "int4",
    "int4-a",
    "int4-b32",
    "int4-b32-a",
    "int8",
    "int8-a",
    "mxfp4",
    "vector1-d2",
    "vector1-d3",
    "vector1-d4-g16",
    "vector1-d6",
    "vector1-d8",
    "vector1-d8-g16",
    "vector2-d2",
    "vector2-d3-g12",
    "vector2-d4",
    "vector2-d4-g8",
    "vector3-d2",
    "vector4-d2",
];
const SHAPE: [usize; 2] = [48, 96];

/// The folder to write to. A temporary one is removed when the second value is dropped.
fn folder() -> (PathBuf, Option<tempfile::TempDir>) {
    match std::env::var_os("EVALKIT_PACKAGES_OUT") {
        Some(folder) => (folder.into(), None),
        None => {
            let folder = tempfile::tempdir().unwrap();
            (folder.path().to_owned(), Some(folder))
        }
    }
}

fn coded(recipe: Recipe) -> CodedTensor {
    let weights: Vec<f32> = (0..SHAPE[0] * SHAPE[1])
        .map(|i| ((i * i * 31 + i * 17) % 1009) as f32 / 1009.0 - 0.47)
        .collect();
    quantize(&recipe, &weights, SHAPE, None).unwrap().unwrap()
}

/// A function with one layer that uses the weight.
fn layer(
    name: &str,
    weight: &StoredWeight,
    target: Opset,
    layout: WeightLayout,
) -> Result<BuiltFunction> {
    let mut f = FunctionBuilder::new(name, target);
    let shape = match layout {
        WeightLayout::Linear => vec![1, SHAPE[1]],
        WeightLayout::Convolution => vec![1, SHAPE[1], 1, 1],
    };
    let x = f.input("x", DataType::Float16, &shape)?;
    f.scope("layer.0");
    let emitted = weight.emit(&mut f)?;
    let mut y = match layout {
        WeightLayout::Linear => f.linear(&x, &emitted.weight)?,
        WeightLayout::Convolution => f.conv(&x, &emitted.weight)?,
    };
    if let Some(scales) = &emitted.channel_scales {
        y = f.mul(&y, scales)?;
    }
    f.output(&y, "y")?;
    f.finish()
}

#[test]
fn every_recipe_makes_a_package_of_the_predicted_size() {
    let (folder, _removed) = folder();
    let mut written = 0;
    for recipe in RECIPES {
        for (target, target_name) in [(Opset::Ios17, "ios17"), (Opset::Ios18, "ios18")] {
            for (layout, layout_name) in
                [(WeightLayout::Linear, "linear"), (WeightLayout::Convolution, "conv")]
            {
                let coded = coded(recipe.parse().unwrap());
                if blobs_of(coded.recipe(), SHAPE, coded.kept(), target, layout).is_err() {
                    continue;
                }
                let name = format!("{recipe}-{target_name}-{layout_name}");
                write_recipe(&folder, &name, &coded, target, layout).unwrap();
                written += 1;
            }
        }
    }
    // iOS 18: every recipe in both layouts, except mxfp4 in one. iOS 17: fp16, one table of 1, 2,
    // 4, 6 or 8 bits, int8, int8-a.
    assert_eq!(written, 2 * RECIPES.len() - 1 + 2 * 9);
}

fn write_recipe(
    folder: &Path,
    name: &str,
    coded: &CodedTensor,
    target: Opset,
    layout: WeightLayout,
) -> Result<()> {
    let mut planned = BlobLayout::new();
    let (recipe, kept) = (coded.recipe(), coded.kept());
    let plan = StoredWeight::plan(&mut planned, recipe, SHAPE, kept, target, layout)?;
    let plan = model(vec![layer("main", &plan, target, layout)?], Metadata::default())?;
    let predicted = package_size_bytes(Some(planned.size_bytes()), &plan);

    let path = folder.join(format!("{name}.mlpackage"));
    let mut package = PackageWriter::create(&path, Existing::Replace)?;
    let weight = StoredWeight::write(package.weights(), coded, target, layout)?;
    let model = model(vec![layer("main", &weight, target, layout)?], Metadata::default())?;
    let written = package.finish(&model)?;
    assert_eq!((written.size_bytes, &model), (predicted, &plan), "{name}");

    assert!(reads_back(&path, &coded.decode()), "{name}");
    let dense: Vec<u8> = coded.decode().iter().flat_map(|weight| weight.to_le_bytes()).collect();
    std::fs::write(folder.join(format!("{name}.f32")), dense).unwrap();
    Ok(())
}

/// Whether this program reads `expected` back: the weight of the layer times its channel scales.
fn reads_back(package: &Path, expected: &[f32]) -> bool {
    let weights = constexpr::weights(&Package::open(package).unwrap(), "main").unwrap();
    let [out, inputs] = SHAPE;
    let shapes = [vec![out, inputs], vec![out, inputs, 1, 1]];
    let mut of_shape = weights.values().filter(|weight| shapes.iter().any(|s| s == weight.shape()));
    let scales = weights.iter().find(|(name, _)| name.contains("channel_scales"));
    let scales = scales.map(|(_, scales)| scales.decode());
    let scales = scales.unwrap_or_else(|| vec![1.0; out]);
    // Several values have that shape, if some are intermediate results of `constexpr_*`.
    of_shape.any(|weight| {
        let weight = weight.decode();
        let rows = weight.chunks(inputs).zip(&scales);
        let scaled = rows.flat_map(|(row, scale)| row.iter().map(move |weight| weight * scale));
        scaled.map(f32::to_bits).eq(expected.iter().map(|weight| weight.to_bits()))
    })
}

#[test]
fn functions_share_their_weights() {
    let (folder, _removed) = folder();
    let (target, layout) = (Opset::Ios18, WeightLayout::Convolution);
    let path = folder.join("two-functions.mlpackage");
    let mut package = PackageWriter::create(&path, Existing::Replace).unwrap();
    let coded = coded("palette2-g16-s".parse().unwrap());
    let weight = StoredWeight::write(package.weights(), &coded, target, layout).unwrap();
    let functions = ["decode", "prefill"].map(|name| layer(name, &weight, target, layout).unwrap());
    let written = package.finish(&model(functions.into(), Metadata::default()).unwrap()).unwrap();
    assert_eq!(written.weights.count, 3);
}

fn halves<W: std::io::Write + std::io::Seek>(
    file: &mut BlobWriter<W>,
    shape: &[usize],
) -> Result<BlobTensor> {
    let elements = shape.iter().product::<usize>();
    let values = (0..elements).map(|i| f16::from_f32((i % 251) as f32 / 251.0 - 0.5));
    let bytes: Vec<u8> = values.flat_map(f16::to_le_bytes).collect();
    Ok(BlobTensor::new(file.append(BlobType::Float16, elements as u64, &bytes)?, shape))
}

/// The operators that both targets have, one after the other; fp16 `[1, 8, 4, 16]` in and out.
fn common_operators(f: &mut FunctionBuilder, x: &Value, weight: &BlobTensor) -> Result<Value> {
    let normed = f.layer_norm(x, &[-1], 1e-3)?;
    let [first, second] = &f.split(&normed, &[8, 8], -1)?[..] else { unreachable!() };
    let rotated = f.mul_by(second, -1.0)?;
    let rotated = f.concat(&[&rotated, first], -1)?;
    let [_, last] = &f.split(&rotated, &[3, 5], 1)?[..] else { unreachable!() };
    let part = f.slice_by_index(&rotated, &[0, 0, 0, 0], &[1, 3, 4, 16])?;
    let whole = f.concat(&[&part, last], 1)?;
    let scores = f.matmul(&whole, &normed, true)?;
    let weights = f.softmax(&scores, -1)?;
    let mixed = f.matmul(&weights, &normed, false)?;
    let sum = f.reduce_sum(&mixed, &[1, 3])?;
    let difference = f.sub(&mixed, &sum)?;
    let centred = f.add(&mixed, &difference)?;
    let clipped = f.clip(&centred, -7.0, 7.0)?;
    let gate = f.sigmoid(&clipped)?;
    let gated = f.mul(&gate, &clipped)?;
    let active = f.silu(&gated)?;
    let shifted = f.add_to(&active, 10.0)?;
    let ratio = f.real_div(&active, &shifted)?;
    let normed = f.layer_norm(&ratio, &[1], 1e-3)?;
    let order = f.transpose(&normed, &[0, 2, 1, 3])?;
    let flat = f.reshape(&order, &[4, 128])?;
    let weight = f.blob("weight", weight)?;
    let flat = f.linear(&flat, &weight)?;
    let codes = f.quantize(&flat, f16::from_f32(0.05))?;
    let flat = f.dequantize(&codes, f16::from_f32(0.05))?;
    let flat = f.reshape(&flat, &[4, 8, 16])?;
    let deep = f.expand_dims(&flat, &[0])?;
    let back = f.transpose(&deep, &[0, 2, 1, 3])?;
    let single = f.slice_by_index(&back, &[0, 0, 0, 0], &[1, 1, 4, 16])?;
    let tiled = f.tile(&single, &[1, 8, 1, 1])?;
    f.mul(&back, &tiled)
}

/// The operators that select elements, with outputs of their own.
fn choices(f: &mut FunctionBuilder, x: &Value) -> Result<()> {
    let ids = f.input("ids", DataType::Int32, &[2])?;
    let rows = f.gather(x, &ids, 2)?;
    let single = f.squeeze(&rows, &[0])?;
    f.output(&single, "single")?;
    let [values, indices] = f.topk(&rows, 3, -1)?;
    f.output(&values, "top_values")?;
    f.output(&indices, "top_indices")?;
    f.output(&ids, "ids_again")
}

/// A cache that is read, changed and written, and attention over it.
fn attention(f: &mut FunctionBuilder, x: &Value) -> Result<Value> {
    let cache = f.state("cache", &[2, 8, 32, 16])?;
    let position = f.input("position", DataType::Int32, &[1])?;
    let held = f.read_state(&cache)?;
    let (zero, one, four) = (f.ints(&[0]), f.ints(&[1]), f.ints(&[4]));
    let (eight, width) = (f.ints(&[8]), f.ints(&[16]));
    let end = f.add(&position, &four)?;
    let begin = f.concat(&[&zero, &zero, &position, &zero], 0)?;
    let end = f.concat(&[&one, &eight, &end, &width], 0)?;
    let held = f.slice_update(&held, x, &begin, &end)?;
    f.write_state(&cache, &held)?;
    let held = f.read_state(&cache)?;
    let keys = f.slice_by_index(&held, &[0, 0, 0, 0], &[1, 8, 32, 16])?;
    let mask = f.input("mask", DataType::Float16, &[1, 1, 4, 32])?;
    f.scaled_dot_product_attention(x, &keys, &keys, &mask)
}

/// Forms of weights that no recipe uses: vectors along columns, sparse fp16, sparse tables per row.
fn other_weights<W: std::io::Write + std::io::Seek>(
    f: &mut FunctionBuilder,
    file: &mut BlobWriter<W>,
    x: &Value,
) -> Result<Value> {
    let indices = BlobTensor::new(file.append(BlobType::Uint2, 16 * 8, &[0x1b; 32])?, [16, 8]);
    let pairs = halves(file, &[4, 1, 4, 2])?;
    let vectors = f.constexpr_lut_to_dense(&indices, &pairs, Some(1))?;
    let x = f.linear(x, &vectors)?;
    let mask = BlobTensor::new(file.append(BlobType::Uint1, 16 * 16, &[0x55; 32])?, [16, 16]);
    let kept = BlobTensor::new(file.append(BlobType::Uint4, 128, &[0xa1; 64])?, [128]);
    let table = halves(file, &[2, 1, 16, 1])?;
    let [mask_out, values] = f.constexpr_lut_to_sparse(&mask, &kept, &table, None)?;
    let sparse = f.constexpr_sparse_to_dense(&values, &mask_out)?;
    let x = f.linear(&x, &sparse)?;
    let kept = halves(file, &[128])?;
    let plain = f.constexpr_sparse_to_dense(&kept, &mask)?;
    f.linear(&x, &plain)
}

#[test]
fn every_operator_makes_a_package() {
    let (folder, _removed) = folder();
    for (target, name) in [(Opset::Ios17, "ios17"), (Opset::Ios18, "ios18")] {
        let path = folder.join(format!("operators-{name}.mlpackage"));
        let mut package = PackageWriter::create(&path, Existing::Replace).unwrap();
        let weight = halves(package.weights(), &[128, 128]).unwrap();
        let mut f = FunctionBuilder::new("main", target);
        let x = f.input("x", DataType::Float16, &[1, 8, 4, 16]).unwrap();
        let mut y = common_operators(&mut f, &x, &weight).unwrap();
        choices(&mut f, &y).unwrap();
        let kernel = halves(package.weights(), &[6, 8, 1, 1]).unwrap();
        let kernel = f.blob("kernel", &kernel).unwrap();
        let bias = f.literal(Literal::Halves(&[f16::ONE; 6], &[1, 6, 1, 1])).unwrap();
        let convolved = f.conv(&y, &kernel).unwrap();
        let convolved = f.add(&convolved, &bias).unwrap();
        f.output(&convolved, "convolved").unwrap();
        if target == Opset::Ios18 {
            y = attention(&mut f, &y).unwrap();
            y = other_weights(&mut f, package.weights(), &y).unwrap();
        }
        f.output(&y, "y").unwrap();
        let model = model(vec![f.finish().unwrap()], Metadata::default()).unwrap();
        package.finish(&model).unwrap();
    }
}
