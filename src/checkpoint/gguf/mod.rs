//! GGUF files (llama.cpp's container) as tensors under Hugging Face names.
//!
//! A GGUF file differs from a safetensors folder in four ways, which other rooms do not see: names,
//! the order of dimensions, the order of the rows of q and k in the llama family, and
//! block-quantized elements. Its metadata also contains what is in `config.json` and
//! `tokenizer.json` elsewhere.

mod architectures;
pub mod blocks;
mod config;
mod cursor;
mod family_keys;
mod forks;
mod header;
mod keys;
mod metadata;
mod parts;
mod rope;
mod scales;
mod sizes;
mod table;
mod types;
mod xielu;

use std::collections::BTreeMap;

use crate::checkpoint::bytes::FileBytes;
use crate::checkpoint::config::{Activation, Config};
use crate::checkpoint::layout::{FileLayout, OtherLayout};
use crate::checkpoint::stored::{RowOrder, StoredTensor};
use crate::error::{At, Error, Result};

use architectures::{EXPERTS, NAMES, Rows};
use header::{Header, TensorEntry};
pub use metadata::Metadata;
#[cfg(test)]
pub use metadata::MetadataValue;
pub use parts::whole_name;

/// The header of a GGUF file: its tensors and its metadata.
#[derive(Debug)]
pub struct Gguf {
    /// The tensors by Hugging Face name, for example `model.layers.0.self_attn.q_proj.weight`.
    pub tensors: BTreeMap<String, StoredTensor>,
    /// The architecture.
    pub config: Config,
    /// All key-value pairs, including the tokenizer's.
    pub metadata: Metadata,
}

/// Reads the headers of `file` and of the other parts of its model, and opens these. No weights are
/// decoded.
///
/// # Errors
/// Input errors with the file's path: a damaged header, a missing part, an architecture or a computation
/// that is not supported, a tensor of unknown name or element type.
pub fn open(file: FileBytes) -> Result<(Vec<FileBytes>, Gguf)> {
    let (files, header) = parts::open(file)?;
    let bytes: Vec<&[u8]> = files.iter().map(|file| &**file).collect();
    let read = model(header, &bytes);
    let gguf =
        read.at(|| files.first().map_or_else(String::new, |f| f.path.display().to_string()))?;
    Ok((files, gguf))
}

/// A model in one file, as the only one of a checkpoint.
///
/// # Errors
/// As [`open`].
#[cfg(test)]
pub fn read(file: &FileBytes) -> Result<Gguf> {
    read_bytes(file)
}

#[cfg(test)]
fn read_bytes(bytes: &[u8]) -> Result<Gguf> {
    model(header::parse(bytes)?, &[bytes])
}

fn model(header: Header, files: &[&[u8]]) -> Result<Gguf> {
    let Header { metadata, mut tensors, arrays } = header;
    forks::refuse_rotated(&metadata)?;
    let mut scales = scales::take(&mut tensors)?;
    let architecture = config::architecture(&metadata)?;
    let mut vector = |name: &str| {
        let entry = tensors.remove(name).map(|entry| decode(files, &entry));
        entry.transpose().at(|| format!("tensor {name}"))
    };
    let factors = rope::RopeFactors {
        all: vector("rope_freqs.weight")?,
        short: vector("rope_factors_short.weight")?,
        long: vector("rope_factors_long.weight")?,
    };
    let (config, blocks) = config::read(&metadata, architecture, &tensors, factors)?;
    if config.activation == Activation::Xielu {
        xielu::add(&metadata, &arrays, config.layers, &mut tensors)?;
    }
    let stored = tensors.into_iter().map(|(name, TensorEntry { shape, dtype, file, range })| {
        let (rows, scales) = (RowOrder::Plain, scales.remove(&name));
        let minus_one = false;
        let tensor =
            StoredTensor { name: name.clone(), file, range, shape, dtype, rows, scales, minus_one };
        (name, tensor)
    });
    // Blocks behind the layers predict several tokens.
    let is_behind = |name: &str| {
        let mut behind = config.layers..blocks;
        behind.any(|block| name.starts_with(&format!("blk.{block}.")))
    };
    let mut found: BTreeMap<String, StoredTensor> =
        stored.filter(|(name, _)| !is_behind(name)).collect();
    let other = OtherLayout {
        layout: &architecture.layout,
        names: NAMES,
        experts: EXPERTS,
        is_permuted: architecture.rows == Rows::Permuted,
    };
    let layout = FileLayout::of_others(&config, other)?;
    let assigned = layout.assign_present(&mut found)?;
    if let Some(name) = found.keys().next() {
        return Err(Error::input(format!(
            "expected no tensor of this name in a model of {} blocks",
            config.layers
        ))
        .at(format!("tensor {name}"))
        .hint("this variant of the architecture would be scored wrongly; use another checkpoint"));
    }
    for (id, tensor) in &assigned {
        check_rows(tensor.rows, &config.shape_of(*id)).at(|| format!("tensor {}", tensor.name))?;
    }
    let tensors = assigned.into_iter().map(|(id, tensor)| (id.name(), tensor)).collect();
    Ok(Gguf { tensors, config, metadata })
}

/// Decodes a short vector.
fn decode(files: &[&[u8]], entry: &TensorEntry) -> Result<Vec<f32>> {
    const MAX_FACTORS: usize = 1 << 12;
    let len = match entry.shape.as_slice() {
        &[len] if len <= MAX_FACTORS => len,
        other => {
            return Err(Error::input(format!(
                "expected a vector of up to {MAX_FACTORS} numbers, found shape {other:?}"
            )));
        }
    };
    let mut out = vec![0.0; len];
    let stored = files.get(entry.file).and_then(|bytes| bytes.get(entry.range.clone()));
    let stored = stored.ok_or_else(|| Error::bug("a tensor's byte range is outside its file"))?;
    entry.dtype.decode(stored, &mut out)?;
    Ok(out)
}

fn check_rows(order: RowOrder, shape: &[usize]) -> Result<()> {
    let (RowOrder::Interleaved { heads }, Some(&rows)) = (order, shape.first()) else {
        return Ok(());
    };
    if heads != 0 && (rows / heads).is_multiple_of(2) && rows.is_multiple_of(heads) {
        return Ok(());
    }
    Err(Error::input(format!("expected rows in {heads} heads of even size, found {rows} rows")))
}

/// The metadata of a GGUF file, even of one that contains a vocabulary and no tensors.
#[cfg(test)]
pub fn metadata(file: &FileBytes) -> Result<Metadata> {
    header::parse(file).map(|header| header.metadata).at(|| file.path.display())
}

#[cfg(test)]
mod attacks;
#[cfg(test)]
pub(crate) mod build;
#[cfg(test)]
mod goldens;
#[cfg(test)]
mod rows;
#[cfg(test)]
mod tests;
