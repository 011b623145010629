//! Tests that planned blobs match the stored ones, and that recipes a target cannot express are
//! refused.

use std::io;

use super::plan::blobs_of;
use super::*;
use crate::error::Exit;
use crate::package::blob::{BlobLayout, BlobWriter};
use crate::package::mil::{FunctionBuilder, Opset};
use crate::package::spec::{DataType, TypeOf};
use crate::quantize::{CodedTensor, Recipe, quantize};

const RECIPES: [&str; 21] = [
    "fp16",
    "palette1-c",
    "palette2-g16",
    "palette2-g16-s-t8",
    "palette3-g4",
    "palette4-s",
    "palette6-g16",
    "palette8-t8",
    "int4",
    "int4-b32-a",
    "int8-a",
    "int8-b32",
    "palette4",
    "mxfp4",
    "palette2-g16-s-t8-p30",
    "palette4-p51",
    "palette6-c-t0.125",
    "vector1-d3",
    "vector1-d8-g16",
    "vector2-d4",
    "vector3-d2-g24",
];

fn recipe(name: &str) -> Recipe {
    name.parse().unwrap()
}

fn coded(name: &str) -> CodedTensor {
    let weights: Vec<f32> = (0u16..48 * 64).map(|i| f32::from(i % 97) / 97.0 - 0.4).collect();
    quantize(&recipe(name), &weights, [48, 64], None).unwrap().unwrap()
}

#[test]
fn planned_blobs_have_the_size_of_the_stored_parts() {
    for name in RECIPES {
        for layout in [WeightLayout::Linear, WeightLayout::Convolution] {
            if name == "mxfp4" && layout == WeightLayout::Convolution {
                continue;
            }
            let coded = coded(name);
            let blobs =
                blobs_of(recipe(name), [48, 64], coded.kept(), Opset::Ios18, layout).unwrap();
            let sizes = blobs.iter().map(|blob| blob.kind.size_bytes(blob.elements()).unwrap());
            assert_eq!(sizes.sum::<u64>(), coded.stored_bytes().0, "{name}");
        }
    }
}

#[test]
fn a_plan_agrees_with_what_is_written() {
    let mut file = BlobWriter::new(io::empty()).unwrap();
    let mut plan = BlobLayout::new();
    for name in RECIPES {
        let (coded, target, layout) = (coded(name), Opset::Ios18, WeightLayout::Linear);
        let written = StoredWeight::write(&mut file, &coded, target, layout).unwrap();
        let kept = coded.kept();
        let planned =
            StoredWeight::plan(&mut plan, recipe(name), [48, 64], kept, target, layout).unwrap();
        assert_eq!(written, planned, "{name}");
        let mut function = FunctionBuilder::new("main", target);
        let emitted = written.emit(&mut function).unwrap();
        assert_eq!(emitted.weight.shape(), [48, 64]);
        assert_eq!(
            emitted.channel_scales.is_some(),
            name.contains("-s") || name.starts_with("vector")
        );
        assert!(written.emit(&mut FunctionBuilder::new("main", Opset::Ios17)).is_err());
    }
    let (_, written) = file.finish().unwrap();
    assert_eq!(written.size_bytes, plan.size_bytes());
}

#[test]
fn what_cannot_be_packaged_is_refused_with_the_nearest_that_can() {
    use WeightLayout::{Convolution, Linear};
    for (name, target, layout, nearest) in [
        ("fp", Opset::Ios18, Linear, "fp16"),
        ("mxfp4", Opset::Ios18, Convolution, "palette4-g16"),
        ("mxfp4", Opset::Ios17, Linear, "palette4"),
        ("palette2-g16", Opset::Ios17, Linear, "palette2"),
        ("vector2-d4", Opset::Ios17, Linear, "palette2-s"),
        ("vector3-d2-g8", Opset::Ios17, Convolution, "palette4-s"),
        ("palette3-s", Opset::Ios17, Convolution, "palette4-s"),
        ("palette8-t8", Opset::Ios17, Linear, "palette8"),
        ("palette4-p50", Opset::Ios17, Linear, "palette4"),
        ("palette4-g16-s-t0.1", Opset::Ios17, Linear, "palette4-s"),
        ("int4-b32", Opset::Ios17, Linear, "palette4"),
        ("int8-b32-a", Opset::Ios17, Linear, "int8-a"),
    ] {
        let error = blobs_of(recipe(name), [48, 64], 48 * 64, target, layout).unwrap_err();
        let hint = error.advice().unwrap().to_owned();
        assert_eq!(error.exit(), Exit::Input);
        assert!(hint.ends_with(&format!(" {nearest}")), "{name}: {hint}");
        if nearest != "fp16" || name == "fp" {
            blobs_of(recipe(nearest), [48, 64], 48 * 64, target, layout).unwrap();
        }
    }
    // On the Neural Engine, integers with block scales are reported to be wrong; one block is a channel.
    for (name, nearest) in [
        ("int4-b32", "palette4-g16-s"),
        ("int4-b32-a", "palette4-g16-s"),
        ("int8-b32", "int8"),
        ("int8-b16-a", "int8-a"),
    ] {
        let error = refuse_recipe(recipe(name), [48, 64], Opset::Ios18, Convolution).unwrap_err();
        assert!(error.to_string().contains("the Neural Engine is reported"), "{error}");
        assert!(error.advice().unwrap().ends_with(&format!(" {nearest}")), "{error}");
        refuse_recipe(recipe(nearest), [48, 64], Opset::Ios18, Convolution).unwrap();
        refuse_recipe(recipe(name), [48, 64], Opset::Ios18, Linear).unwrap();
    }
    refuse_recipe(recipe("int8-b64"), [48, 64], Opset::Ios18, Convolution).unwrap();
    refuse_recipe(recipe("mxfp4"), [48, 64], Opset::Ios18, Convolution).unwrap_err();
    // Pruning may leave only zeros in a slice of rows.
    let (pruned, shape) = (recipe("palette4-c-p50"), [1, 64]);
    let error = blobs_of(pruned, shape, 0, Opset::Ios18, Linear).unwrap_err();
    assert!(error.advice().unwrap().ends_with(" palette4-c"));
    // If one group has all rows, there is one table.
    blobs_of(recipe("palette2-g64"), [48, 64], 48 * 64, Opset::Ios17, Linear).unwrap();
    assert!(blobs_of(recipe("int8"), [0, 64], 0, Opset::Ios18, Linear).is_err());
    // The length of a vector must divide the number of rows.
    let error = blobs_of(recipe("vector1-d8"), [60, 64], 0, Opset::Ios18, Linear).unwrap_err();
    assert!(error.to_string().contains("60 is not a multiple of 8"), "{error}");
}

/// GPU and Neural Engine compute int8 data of `constexpr_affine_dequantize` wrongly (coremltools issue
/// 2114). Adding 128 to code and zero point changes no weight.
#[test]
fn integers_of_ios17_are_unsigned_and_the_same_weights() {
    for layout in [WeightLayout::Linear, WeightLayout::Convolution] {
        let coded = coded("int8");
        let mut file = BlobWriter::new(io::Cursor::new(Vec::new())).unwrap();
        let weight = StoredWeight::write(&mut file, &coded, Opset::Ios17, layout).unwrap();
        let mut function = FunctionBuilder::new("main", Opset::Ios17);
        let emitted = weight.emit(&mut function).unwrap();
        function.output(&emitted.weight, "w").unwrap();
        let built = function.finish().unwrap().function;
        let block = built.block_specializations.values().next().unwrap();
        let (kind, attributes) = (&block.operations[0].kind, &block.operations[0].attributes);
        assert_eq!(kind, "constexpr_affine_dequantize");
        let uint8 = DataType::Uint8 as i32;
        for name in ["quantized_data", "zero_point"] {
            let kind = attributes[name].kind.as_ref().unwrap();
            let Some(TypeOf::Tensor(tensor)) = &kind.of else { panic!("{kind:?}") };
            assert_eq!(tensor.data_type, uint8, "{name}");
        }
        let (bytes, _) = file.finish().unwrap();
        let bytes = bytes.into_inner();
        let signed = coded.named_arrays()[0].bytes.to_vec();
        let stored = &bytes[128..128 + signed.len()];
        let value = |byte: &u8| i16::from(*byte as i8);
        assert!(signed.iter().map(value).eq(stored.iter().map(|byte| i16::from(*byte) - 128)));
    }
}
