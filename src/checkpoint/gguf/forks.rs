//! What forks of llama.cpp write differently: other types under the same numbers, and rotated weights.
//!
//! A header does not say which program gave a type its number. The bytes that a tensor takes do, since
//! writers leave nothing between two tensors but the alignment.

use super::metadata::Metadata;
use super::table::RawEntry;
use super::types::{PQ2_0, dtype};
use crate::error::{Error, Result};

/// Numbers that more than one program has given away. 39 is MXFP4, and TL2 in bitnet.cpp.
const CONTESTED: [u32; 6] = [39, 40, 41, 42, PQ2_0, 143];

/// A fork's type under a number of llama.cpp.
struct Foreign {
    number: u32,
    name: &'static str,
    block_weights: u64,
    block_bytes: u64,
    /// The number under which the type is read.
    read_as: Option<u32>,
}

const FOREIGN: [Foreign; 2] = [
    Foreign {
        number: 40,
        name: "the Q1_0 of PrismML's first files",
        block_weights: 32,
        block_bytes: 6,
        read_as: None,
    },
    Foreign {
        number: 42,
        name: "the Q2_0 of PrismML's first files",
        block_weights: 128,
        block_bytes: 34,
        read_as: Some(PQ2_0),
    },
];

/// Where a tensor's data may end.
#[derive(Clone, Copy)]
struct Space {
    /// Bytes up to the next tensor, or to the end of the file.
    bytes: u64,
    is_last: bool,
    alignment: u64,
}

impl Space {
    /// Whether `len` bytes of data leave nothing but the alignment. What follows the last tensor does not
    /// count.
    fn is_filled_by(self, len: u64) -> bool {
        let is_filled = len.checked_next_multiple_of(self.alignment) == Some(self.bytes);
        is_filled || self.is_last && len <= self.bytes
    }
}

/// Gives a fork's types the numbers under which they are read. `data_bytes` follow the header.
///
/// # Errors
/// Input errors that name the tensor: a type that is not read, or a size that no known type has.
pub(super) fn settle(table: &mut [RawEntry], data_bytes: u64, alignment: u64) -> Result<()> {
    let mut offsets: Vec<u64> = table.iter().map(|entry| entry.offset).collect();
    offsets.sort_unstable();
    let space = |entry: &RawEntry| {
        let next = offsets.get(offsets.partition_point(|&offset| offset <= entry.offset));
        let end = next.copied().unwrap_or(data_bytes);
        Space { bytes: end.saturating_sub(entry.offset), is_last: next.is_none(), alignment }
    };
    for number in CONTESTED {
        let of_number = |entry: &&RawEntry| entry.type_id == number;
        let claims: Vec<(&RawEntry, Space)> =
            table.iter().filter(of_number).map(|entry| (entry, space(entry))).collect();
        if let Some(other) = settle_number(number, &claims)? {
            let found = table.iter_mut().filter(|entry| entry.type_id == number);
            found.for_each(|entry| entry.type_id = other);
        }
    }
    Ok(())
}

/// The number under which the types of all these tensors are read, if it is another one.
fn settle_number(number: u32, claims: &[(&RawEntry, Space)]) -> Result<Option<u32>> {
    let own = dtype(number)?;
    let own_len = |entry: &RawEntry| {
        let row_bytes = own.row_bytes(usize::try_from(*entry.dims.first()?).ok()?)?;
        weights(entry.dims.get(1..)?)?.checked_mul(row_bytes as u64)
    };
    let misfit = claims
        .iter()
        .find(|(entry, space)| own_len(entry).is_none_or(|len| !space.is_filled_by(len)));
    let Some((entry, space)) = misfit else { return Ok(None) };
    let place = format!("tensor {}", entry.name);
    // The last tensor alone proves nothing: the file may be truncated.
    let is_proof = claims.iter().any(|(_, space)| !space.is_last);
    let fits = |foreign: &&Foreign| {
        let mut lengths = claims.iter().map(|(entry, space)| (foreign.len(&entry.dims), space));
        foreign.number == number
            && is_proof
            && lengths.all(|(len, space)| len.is_some_and(|len| space.is_filled_by(len)))
    };
    match (FOREIGN.iter().find(fits), own_len(entry)) {
        (Some(Foreign { read_as: Some(other), .. }), _) => Ok(Some(*other)),
        (Some(Foreign { name, block_weights, block_bytes, .. }), _) => Err(Error::input(format!(
            "ggml type {number} is here {name} ({block_weights} weights in {block_bytes} bytes), which is not read"
        ))
        .hint("take a newer file of this model, or another type")
        .at(place)),
        (None, Some(len)) if !space.is_last => Err(Error::input(format!(
            "expected {len} bytes of {} up to the next tensor, found {}",
            own.name(),
            space.bytes
        ))
        .hint(format!(
            "forks of llama.cpp have other types under number {number}: take the model in another type"
        ))
        .at(place)),
        // The end of the file, and rows that are not whole blocks, are found where tensors are placed.
        _ => Ok(None),
    }
}

impl Foreign {
    /// Bytes of a tensor of this type.
    fn len(&self, dims: &[u64]) -> Option<u64> {
        let is_whole = dims.first()?.is_multiple_of(self.block_weights);
        let blocks = weights(dims)? / self.block_weights;
        is_whole.then(|| blocks.checked_mul(self.block_bytes))?
    }
}

fn weights(dims: &[u64]) -> Option<u64> {
    dims.iter().try_fold(1u64, |product, &dim| product.checked_mul(dim))
}

/// Fails (input) if weights are stored rotated, as PrismML does: activations would have to be rotated as
/// well.
pub(super) fn refuse_rotated(metadata: &Metadata) -> Result<()> {
    let Some((key, _)) = metadata.iter().find(|(key, _)| key.starts_with("prism.hadamard.")) else {
        return Ok(());
    };
    Err(Error::input(format!(
        "the key {key} says that weights are rotated (a Hadamard transform), which is not supported"
    ))
    .hint("take a file of this model without the rotation"))
}

#[cfg(test)]
mod tests {
    use super::super::build::{GgufFile, Meta, Tensor};
    use super::super::read_bytes;
    use super::*;

    /// A llama with an MLP of 1024, and `down` in a type of this number and block size.
    fn file(type_id: u32, weights: usize, bytes: usize, is_last: bool) -> GgufFile {
        let mut file = GgufFile::llama();
        file.set("llama.feed_forward_length", Meta::U32(1024));
        for name in ["blk.0.ffn_gate.weight", "blk.0.ffn_up.weight"] {
            file.tensors.retain(|tensor| tensor.name != name);
            file.float(name, &[8, 1024]);
        }
        file.tensors.retain(|tensor| tensor.name != "blk.0.ffn_down.weight");
        let down = Tensor {
            name: "blk.0.ffn_down.weight".into(),
            dims: vec![1024, 8],
            type_id,
            offset: None,
            bytes: vec![0; 8 * 1024 / weights * bytes],
        };
        let at = if is_last { file.tensors.len() } else { 2 };
        file.tensors.insert(at, down);
        file
    }

    fn opened(file: &GgufFile) -> Result<String> {
        let gguf = read_bytes(&file.bytes())?;
        Ok(gguf.tensors["model.layers.0.mlp.down_proj.weight"].dtype.name())
    }

    #[test]
    fn numbers_that_forks_use_for_other_types_are_told_apart_by_sizes() {
        for (number, weights, bytes, name) in [
            (39, 32, 17, "mxfp4"),
            (40, 64, 36, "nvfp4"),
            (41, 128, 18, "q1_0"),
            (42, 64, 18, "q2_0"),
            (142, 128, 34, "pq2_0"),
            (143, 128, 28, "ptq1_0"),
        ] {
            for is_last in [false, true] {
                assert_eq!(opened(&file(number, weights, bytes, is_last)).unwrap(), name);
            }
        }
        assert_eq!(opened(&file(42, 128, 34, false)).unwrap(), "pq2_0");
        let error = opened(&file(40, 32, 6, false)).unwrap_err().to_string();
        let expected = "tensor blk.0.ffn_down.weight: ggml type 40 is here the Q1_0 of PrismML's first files (32 weights in 6 bytes)";
        assert!(error.contains(expected), "{error}");
        let error = opened(&file(39, 256, 54, false)).unwrap_err().to_string();
        let expected = "tensor blk.0.ffn_down.weight: expected 4352 bytes of mxfp4 up to the next tensor, found 1728";
        assert!(error.contains(expected) && error.contains("number 39"), "{error}");
    }

    #[test]
    fn a_truncated_tensor_is_not_taken_for_a_forks() {
        let bytes = file(42, 64, 18, true).bytes();
        // Without 128 bytes it would be as long as one of the other type.
        for cut in 1..200 {
            let error = read_bytes(&bytes[..bytes.len() - cut]).unwrap_err().to_string();
            assert!(error.contains("truncated"), "{cut}: {error}");
        }
    }

    #[test]
    fn rotated_weights_are_refused_by_their_key() {
        let mut file = GgufFile::llama();
        file.set("prism.hadamard.block_size", Meta::U32(128));
        let error = read_bytes(&file.bytes()).unwrap_err().to_string();
        assert!(error.contains("the key prism.hadamard.block_size says"), "{error}");
    }
}
