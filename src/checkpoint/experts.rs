//! Splits the packed experts of gpt-oss into the tensors of each expert.
//!
//! gpt-oss stores all experts of a block in one tensor per projection, with gate and up
//! interleaved. Splitting changes only byte ranges and row orders; nothing is read or copied.
//!
//! There are two forms (transformers, `modeling_gpt_oss.py` and `integrations/mxfp4.py`):
//! `gate_up_proj_blocks` `[experts, 2 · intermediate, hidden / 32, 16]` with `…_scales`
//! `[experts, 2 · intermediate, hidden / 32]`, and the unquantized `gate_up_proj`
//! `[experts, hidden, 2 · intermediate]`, which is the transpose. Even output rows belong to gate,
//! odd ones to up.

use std::collections::BTreeMap;

use super::config::Config;
use super::dtype::Dtype;
use super::families::{self, ExpertStorage};
use super::mxfp4::{BLOCK_BYTES, BLOCK_WEIGHTS};
use super::names::TensorId;
use super::roles::Role;
use super::stored::{FileRange, RowOrder, StoredTensor, absent};
use crate::error::{At, Error, Result};

/// A packed tensor; its rows belong to `roles` in turn.
struct Packed {
    stem: &'static str,
    roles: &'static [Role],
}

const PACKED: [Packed; 2] = [
    Packed { stem: "gate_up_proj", roles: &[Role::Gate, Role::Up] },
    Packed { stem: "down_proj", roles: &[Role::Down] },
];

/// Replaces packed tensors in `found` by those of each expert.
///
/// # Errors
/// Input errors that name the tensor: missing, blocks without scales, shapes that disagree.
pub fn unpack(found: &mut BTreeMap<String, StoredTensor>, config: &Config) -> Result<()> {
    let row = families::named(config.family).and_then(|family| family.mixture);
    if row.is_none_or(|row| row.storage != ExpertStorage::Interleaved) {
        return Ok(());
    }
    for layer in 0..config.layers {
        for packed in &PACKED {
            unpack_projection(found, config, layer, packed)?;
        }
    }
    Ok(())
}

fn unpack_projection(
    found: &mut BTreeMap<String, StoredTensor>,
    config: &Config,
    layer: usize,
    packed: &Packed,
) -> Result<()> {
    let prefix = format!("model.layers.{layer}.mlp.experts.{}", packed.stem);
    let experts = config.experts.as_ref().map_or(0, |experts| experts.count);
    let step = packed.roles.len();
    let (out, inputs) = match config.shape_of(TensorId::expert(layer, 0, packed.roles[0]))[..] {
        [out, inputs] => (out * step, inputs),
        _ => return Err(Error::bug("an expert's weight is not a matrix")),
    };
    let (weight, transposed) = match found.remove(&format!("{prefix}_blocks")) {
        Some(blocks) => {
            let scales = found.remove(&format!("{prefix}_scales"));
            (Some(join(blocks, scales, [experts, out, inputs])?), false)
        }
        None => (found.remove(&prefix), true),
    };
    let first = TensorId::expert(layer, 0, packed.roles[0]).name();
    if weight.is_none() && !found.contains_key(&first) {
        let has_scales = found.contains_key(&format!("{prefix}_scales"));
        return Err(absent(&format!("{prefix}{}", if has_scales { "_blocks" } else { "" })));
    }
    let weight_shape = if transposed { [experts, inputs, out] } else { [experts, out, inputs] };
    let weight = weight.map(|stored| (stored, weight_shape.to_vec(), false));
    let bias = found.remove(&format!("{prefix}_bias"));
    let bias = bias.map(|stored| (stored, vec![experts, out], true));
    for (stored, shape, is_bias) in weight.into_iter().chain(bias) {
        expect_shape(&stored, &shape)?;
        for expert in 0..experts {
            for (first, role) in packed.roles.iter().enumerate() {
                let id = TensorId { bias: is_bias, ..TensorId::expert(layer, expert, *role) };
                let rows = if transposed && !is_bias {
                    RowOrder::Transposed { step, first, width: out }
                } else {
                    RowOrder::Every { step, first }
                };
                let of_expert = share(&stored, expert, experts);
                let shape = config.shape_of(id);
                found.insert(id.name(), StoredTensor { shape, rows, ..of_expert });
            }
        }
    }
    Ok(())
}

/// The names that files may use for the packed tensor that contains `id`; empty if it is in none.
pub fn packed_names(id: TensorId) -> Vec<String> {
    let packed = PACKED.iter().find(|packed| packed.roles.contains(&id.role));
    let (Some(packed), Some(layer), Some(_)) = (packed, id.layer, id.expert) else {
        return Vec::new();
    };
    let stem = format!("model.layers.{layer}.mlp.experts.{}", packed.stem);
    if id.bias { vec![format!("{stem}_bias")] } else { vec![format!("{stem}_blocks"), stem] }
}

/// Blocks and their scales as one tensor of MXFP4 weights `[experts, out, in]`.
fn join(
    blocks: StoredTensor,
    scales: Option<StoredTensor>,
    shape: [usize; 3],
) -> Result<StoredTensor> {
    let [experts, out, inputs] = shape;
    let scales = scales.ok_or_else(|| {
        Error::input("the scales of these blocks are missing").at(format!("tensor {}", blocks.name))
    })?;
    let per_row = inputs / BLOCK_WEIGHTS;
    if !inputs.is_multiple_of(BLOCK_WEIGHTS) {
        return Err(Error::input(format!(
            "rows of {inputs} weights do not consist of whole MXFP4 blocks of 32"
        ))
        .at(format!("tensor {}", blocks.name)));
    }
    for (stored, expected) in [
        (&blocks, vec![experts, out, per_row, BLOCK_BYTES]),
        (&scales, vec![experts, out, per_row]),
    ] {
        expect_shape(stored, &expected)?;
        if stored.dtype != Dtype::U8 {
            let found = stored.dtype.name();
            return Err(Error::input(format!("expected u8, found {found}"))
                .at(format!("tensor {}", stored.name)));
        }
    }
    let scales = Some(FileRange { file: scales.file, range: scales.range });
    Ok(StoredTensor { shape: shape.to_vec(), dtype: Dtype::Mxfp4, scales, ..blocks })
}

fn expect_shape(stored: &StoredTensor, expected: &[usize]) -> Result<()> {
    if stored.shape == expected {
        return Ok(());
    }
    let found = &stored.shape;
    Err(Error::input(format!("expected shape {expected:?}, found {found:?}")))
        .at(|| format!("tensor {}", stored.name))
}

/// One expert's part of a packed tensor. Its name has the expert's number.
fn share(stored: &StoredTensor, expert: usize, experts: usize) -> StoredTensor {
    let part = |range: &std::ops::Range<usize>| {
        let size = range.len() / experts;
        range.start + expert * size..range.start + (expert + 1) * size
    };
    let scales = stored.scales.as_ref().map(|s| FileRange { file: s.file, range: part(&s.range) });
    let name = format!("{}[{expert}]", stored.name);
    StoredTensor { name, range: part(&stored.range), scales, ..stored.clone() }
}
