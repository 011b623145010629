//! Factors of whole tensors. Files of NVFP4 weights, and of ternary models, store them as tensors.
//!
//! llama.cpp multiplies the product with `blk.0.ffn_up.weight` by `blk.0.ffn_up.scale`, if there is one.
//! `.input_scale` is for kernels that quantize activations, and does not concern the weights.

use std::collections::BTreeMap;

use crate::checkpoint::dtype::Dtype;
use crate::checkpoint::stored::FileRange;
use crate::error::{At, Error, Result};

use super::header::TensorEntry;

/// Takes the factors out of `tensors`, by the name of the tensor that each multiplies. A factor without
/// a tensor stays.
///
/// # Errors
/// Input errors that name the factor: it is not one f32, or one for each expert, or a second one.
pub(super) fn take(
    tensors: &mut BTreeMap<String, TensorEntry>,
) -> Result<BTreeMap<String, FileRange>> {
    let mut found = Vec::new();
    for name in tensors.keys() {
        let (stem, is_factor) =
            match (name.strip_suffix(".scale"), name.strip_suffix(".input_scale")) {
                (Some(stem), _) => (stem, true),
                (None, Some(stem)) => (stem, false),
                (None, None) => continue,
            };
        let weights = [format!("{stem}.weight"), stem.to_owned()];
        if let Some(weight) = weights.into_iter().find(|weight| tensors.contains_key(weight)) {
            found.push((name.clone(), weight, is_factor));
        }
    }
    let mut factors = BTreeMap::new();
    for (name, weight, is_factor) in found {
        let Some(scale) = tensors.remove(&name) else { continue };
        let place = || format!("tensor {name}");
        let count = tensors.get(&weight).map_or(1, factors_of);
        check(&scale, count).at(place)?;
        let range = FileRange { file: scale.file, range: scale.range };
        if is_factor && factors.insert(weight.clone(), range).is_some() {
            return Err(Error::input(format!("{weight} has another factor")).at(place()));
        }
    }
    Ok(factors)
}

/// One, or one for each expert.
fn factors_of(weight: &TensorEntry) -> usize {
    match weight.shape[..] {
        [experts, _, _] => experts,
        _ => 1,
    }
}

fn check(scale: &TensorEntry, count: usize) -> Result<()> {
    if scale.dtype == Dtype::F32 && scale.shape == [count] {
        return Ok(());
    }
    let (shape, dtype) = (&scale.shape, scale.dtype.name());
    Err(Error::input(format!("expected shape [{count}] of f32, found {shape:?} of {dtype}")))
}

#[cfg(test)]
mod tests {
    use super::super::build::{GgufFile, Meta, Tensor};
    use super::super::read_bytes;
    use crate::checkpoint::Checkpoint;
    use crate::checkpoint::{Role, TensorId};

    fn scale(file: &mut GgufFile, name: &str, value: f32) {
        file.float(name, &[1]);
        file.tensor(name).bytes = value.to_le_bytes().to_vec();
    }

    /// A llama whose MLP takes 64 values and has `down` in NVFP4.
    fn nvfp4() -> GgufFile {
        let mut file = GgufFile::llama();
        file.set("llama.feed_forward_length", Meta::U32(64));
        for name in ["blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"] {
            file.tensors.retain(|tensor| tensor.name != name);
            file.float(name, &[8, 64]);
        }
        file.tensors.retain(|tensor| tensor.name != "blk.0.ffn_down.weight");
        // Scales of 1, codes of 1.5 and -0.5.
        let block = [&[0x38; 4][..], &[0x93; 32]].concat();
        file.tensors.push(Tensor {
            name: "blk.0.ffn_down.weight".into(),
            dims: vec![64, 8],
            type_id: 40,
            offset: None,
            bytes: block.repeat(8),
        });
        file
    }

    #[test]
    fn a_factor_multiplies_the_weights_and_is_counted_and_hashed() {
        let open = |file: &GgufFile| {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("m.gguf");
            std::fs::write(&path, file.bytes()).unwrap();
            Checkpoint::open(&path).unwrap()
        };
        let (down, q) = (TensorId::block(0, Role::Down), TensorId::block(0, Role::Query));
        let plain = open(&nvfp4());
        let weights = plain.read(down).unwrap();
        assert_eq!((weights[0], weights[8], weights[64]), (1.5, -0.5, 1.5));
        for name in ["blk.0.ffn_down", "blk.0.ffn_down.weight"] {
            let mut file = nvfp4();
            scale(&mut file, &format!("{name}.scale"), 0.3);
            scale(&mut file, &format!("{name}.input_scale"), 7.0);
            // The rows of q have another order.
            scale(&mut file, "blk.0.attn_q.scale", -2.0);
            let scaled = open(&file);
            let expected: Vec<f32> = weights.iter().map(|weight| weight * 0.3).collect();
            assert_eq!(scaled.read(down).unwrap(), expected);
            assert_eq!(scaled.read_rows(down, 3..5).unwrap(), expected[3 * 64..5 * 64]);
            let expected: Vec<f32> = plain.read(q).unwrap().iter().map(|w| w * -2.0).collect();
            assert_eq!(scaled.read(q).unwrap(), expected);
            let size = |checkpoint: &Checkpoint| checkpoint.stored(down).unwrap().size_bytes();
            assert_eq!((size(&plain), size(&scaled)), (8 * 36, 8 * 36 + 4));
            assert_ne!(plain.content_hash(), scaled.content_hash());
        }
    }

    #[test]
    fn factors_of_a_wrong_shape_and_factors_of_nothing_are_refused() {
        let refused = |change: &dyn Fn(&mut GgufFile)| {
            let mut file = nvfp4();
            change(&mut file);
            read_bytes(&file.bytes()).unwrap_err().to_string()
        };
        let error = refused(&|file| file.float("blk.0.ffn_down.scale", &[8]));
        assert!(
            error.contains("tensor blk.0.ffn_down.scale: expected shape [1] of f32"),
            "{error}"
        );
        let error = refused(&|file| scale(file, "blk.0.ffn_sideways.scale", 1.0));
        assert!(error.contains("tensor blk.0.ffn_sideways.scale: expected no tensor"), "{error}");
        let error = refused(&|file| {
            scale(file, "blk.0.ffn_down.scale", 1.0);
            scale(file, "blk.0.ffn_down.weight.scale", 1.0);
        });
        assert!(error.contains("blk.0.ffn_down.weight has another factor"), "{error}");
    }
}
