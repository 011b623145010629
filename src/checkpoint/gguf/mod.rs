//! GGUF files (llama.cpp's container) as tensors under Hugging Face names.
//!
//! A GGUF file differs from a safetensors folder in four ways, which other rooms do not see: names,
//! the order of dimensions, the order of the rows of q and k in the llama family, and
//! block-quantized elements. Its metadata also contains what is in `config.json` and
//! `tokenizer.json` elsewhere.

mod config;
mod cursor;
mod header;
mod metadata;
mod types;

use std::collections::BTreeMap;

use crate::checkpoint::bytes::FileBytes;
use crate::checkpoint::config::{Architecture, Config};
use crate::checkpoint::stored::{RowOrder, StoredTensor};
use crate::error::{At, Error, Result};

use header::{Header, TensorEntry};
pub use metadata::Metadata;
#[cfg(test)]
pub use metadata::MetadataValue;

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

/// Reads the header of `file`, which has the index `file_index` in the checkpoint. No weights are
/// decoded.
///
/// # Errors
/// Input errors with the file's path: a damaged header, an architecture or a computation that is not
/// supported, a tensor of unknown name or element type.
pub fn read(file: &FileBytes, file_index: usize) -> Result<Gguf> {
    read_bytes(file, file_index).at(|| file.path.display())
}

fn read_bytes(bytes: &[u8], file_index: usize) -> Result<Gguf> {
    let Header { metadata, mut tensors } = header::parse(bytes)?;
    let factors = match config::architecture(&metadata)? {
        Architecture::Llama => tensors.remove("rope_freqs.weight"),
        _ => None,
    };
    let factors = factors.map(|entry| decode(bytes, &entry)).transpose();
    let factors = factors.at(|| "tensor rope_freqs.weight")?;
    let config = config::read(&metadata, &tensors, factors)?;
    let mut stored = BTreeMap::new();
    for (name, TensorEntry { shape, dtype, range }) in tensors {
        let ours = hugging_face_name(&name, config.layers).ok_or_else(|| {
            Error::input(format!(
                "expected no tensor of this name in a model of {} blocks",
                config.layers
            ))
            .at(format!("tensor {name}"))
            .hint(
                "this variant of the architecture would be scored wrongly; use another checkpoint",
            )
        })?;
        let rows = row_order(&name, &config);
        check_rows(rows, &shape).at(|| format!("tensor {name}"))?;
        stored.insert(
            ours,
            StoredTensor { name, file: file_index, range, shape, dtype, rows, scales: None },
        );
    }
    Ok(Gguf { tensors: stored, config, metadata })
}

/// Decodes a short vector.
fn decode(bytes: &[u8], entry: &TensorEntry) -> Result<Vec<f32>> {
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
    let stored = bytes.get(entry.range.clone());
    let stored = stored.ok_or_else(|| Error::bug("a tensor's byte range is outside its file"))?;
    entry.dtype.decode(stored, &mut out)?;
    Ok(out)
}

/// The Hugging Face name of a tensor, or `None` if these architectures do not have it.
fn hugging_face_name(name: &str, layers: usize) -> Option<String> {
    let rest = match name {
        "token_embd.weight" => return Some("model.embed_tokens.weight".into()),
        "output_norm.weight" => return Some("model.norm.weight".into()),
        "output.weight" => return Some("lm_head.weight".into()),
        _ => name.strip_prefix("blk.")?,
    };
    let (digits, part) = rest.split_once('.')?;
    let layer: usize = digits.parse().ok()?;
    if layer >= layers || layer.to_string() != digits {
        return None;
    }
    let (stem, kind) = part.rsplit_once('.')?;
    let (stem, may_have_bias) = match stem {
        "attn_norm" => ("input_layernorm", false),
        "ffn_norm" => ("post_attention_layernorm", false),
        "attn_q" => ("self_attn.q_proj", true),
        "attn_k" => ("self_attn.k_proj", true),
        "attn_v" => ("self_attn.v_proj", true),
        "attn_output" => ("self_attn.o_proj", true),
        "attn_q_norm" => ("self_attn.q_norm", false),
        "attn_k_norm" => ("self_attn.k_norm", false),
        "ffn_gate" => ("mlp.gate_proj", true),
        "ffn_up" => ("mlp.up_proj", true),
        "ffn_down" => ("mlp.down_proj", true),
        _ => return None,
    };
    let known = kind == "weight" || (kind == "bias" && may_have_bias);
    known.then(|| format!("model.layers.{layer}.{stem}.{kind}"))
}

/// convert_hf_to_gguf.py permutes the weights and biases of q and k, for the architecture `llama`
/// only.
fn row_order(name: &str, config: &Config) -> RowOrder {
    let part = name.rsplit('.').nth(1);
    match (config.architecture, part) {
        (Architecture::Llama, Some("attn_q")) => RowOrder::Interleaved { heads: config.heads },
        (Architecture::Llama, Some("attn_k")) => RowOrder::Interleaved { heads: config.kv_heads },
        _ => RowOrder::Plain,
    }
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

/// The stored row that contains the logical (Hugging Face) row `row` of a matrix of `rows` rows.
///
/// In [`RowOrder::Interleaved`] a head's rows `j` and `j + head_dim / 2`, which rotate together,
/// are stored one after the other.
pub fn unpermute_row(order: RowOrder, row: usize, rows: usize) -> usize {
    match order {
        RowOrder::Interleaved { heads } if heads > 0 && rows / heads >= 2 => {
            let head_dim = rows / heads;
            let half = head_dim / 2;
            let (head, within) = (row / head_dim, row % head_dim);
            head * head_dim + within % half * 2 + within / half
        }
        RowOrder::Every { step, first } => row * step + first,
        _ => row,
    }
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
mod tests;
