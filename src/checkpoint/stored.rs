//! Where a tensor is stored in the checkpoint's files, and in which form.

use super::dtype::Dtype;
use super::mxfp4;
use crate::error::Error;

/// Where and how one tensor is stored.
#[derive(Debug, Clone)]
pub struct StoredTensor {
    /// The tensor's name in the file, for messages.
    pub name: String,
    /// Index into the checkpoint's files.
    pub file: usize,
    /// Byte range within that file; validated against the file's length.
    pub range: std::ops::Range<usize>,
    /// `[out, in]` for matrices, `[len]` for vectors: outermost first, as in Hugging Face's files.
    pub shape: Vec<usize>,
    /// Element type.
    pub dtype: Dtype,
    /// The order of the rows in the file.
    pub rows: RowOrder,
    /// Where scales are that are stored separately: those of the blocks for [`Dtype::Mxfp4`], for any
    /// other type one f32 that multiplies all weights.
    pub scales: Option<FileRange>,
}

/// A range of bytes in one of the checkpoint's files.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileRange {
    /// Index into the checkpoint's files.
    pub file: usize,
    /// The range of bytes.
    pub range: std::ops::Range<usize>,
}

impl StoredTensor {
    /// The number of rows and columns; a vector is one row.
    pub fn matrix(&self) -> [usize; 2] {
        match self.shape[..] {
            [len] => [1, len],
            [out, ref rest @ ..] => [out, rest.iter().product()],
            [] => [1, 1],
        }
    }

    /// Bytes that these weights take in the file, including scales.
    pub fn size_bytes(&self) -> u64 {
        let [rows, columns] = self.matrix();
        let weights = rows * self.dtype.row_bytes(columns).unwrap_or(0);
        let scales = match (&self.scales, self.dtype) {
            (None, _) => 0,
            (Some(_), Dtype::Mxfp4) => rows * (columns / mxfp4::BLOCK_WEIGHTS),
            (Some(_), _) => size_of::<f32>(),
        };
        (weights + scales) as u64
    }

    /// Number of weights.
    pub fn weights(&self) -> u64 {
        self.shape.iter().product::<usize>() as u64
    }
}

/// The order in which a matrix's rows are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowOrder {
    /// As in Hugging Face's files.
    Plain,
    /// llama.cpp's order for q and k of the llama family: within each of `heads` heads the two
    /// halves, whose rows rotate in pairs, are interleaved (convert_hf_to_gguf.py,
    /// `LlamaModel.permute`).
    Interleaved {
        /// Query heads for q, key/value heads for k.
        heads: usize,
    },
    /// Every `step`-th row from `first` on, as for gate and up of gpt-oss, which alternate.
    Every {
        /// Distance between two rows.
        step: usize,
        /// The first row.
        first: usize,
    },
    /// Columns of the transposed matrix, every `step`-th from `first` on.
    Transposed {
        /// Distance between two columns.
        step: usize,
        /// The first column.
        first: usize,
    },
}

/// The error for a missing tensor; `name` is what the file should call it.
pub(super) fn absent(name: &str) -> Error {
    Error::input("expected by the architecture, not found in the checkpoint")
        .at(format!("tensor {name}"))
        .hint("config.json and the weights do not belong together, or a shard is missing")
}
