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
    /// Whether the file holds the values minus 1, as those of Gemma's norms.
    pub minus_one: bool,
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
    /// Consecutive rows of `rows` rows, every `step`-th row a first one, from `first` on: one part of
    /// each head where the file has the parts of a head together.
    Blocks {
        /// Rows that are together.
        rows: usize,
        /// Distance between the first ones.
        step: usize,
        /// The first row.
        first: usize,
    },
    /// Within each of `heads` heads the `rotated` rows from `first` on come first here. They are pairs
    /// of neighbours in the file, and pairs of one from each half here.
    Heads {
        /// Query heads for q, key/value heads for k.
        heads: usize,
        /// The first rotated row of a head.
        first: usize,
        /// The number of rotated rows of a head; even.
        rotated: usize,
    },
    /// As [`RowOrder::Heads`], with the rotated rows in the order that they have here.
    HeadsInHalves {
        /// Query heads for q, 1 for what all heads share.
        heads: usize,
        /// The first rotated row of a head.
        first: usize,
        /// The number of rotated rows of a head.
        rotated: usize,
    },
    /// The numbers of each of `heads` heads are together, and the heads are in the order of the texts of
    /// their numbers: 0, 1, 10, 11, 2.
    HeadsByName {
        /// Query heads for norms of queries, key/value heads for those of keys.
        heads: usize,
    },
    /// Columns of the transposed matrix, every `step`-th from `first` on.
    Transposed {
        /// Distance between two columns.
        step: usize,
        /// The first column.
        first: usize,
        /// The number of columns of the transposed matrix.
        width: usize,
    },
}

impl RowOrder {
    /// The stored row that contains the logical row `row` of a matrix of `rows` rows.
    pub fn place(self, row: usize, rows: usize) -> usize {
        let pair = |within: usize, half: usize| within % half * 2 + within / half;
        match self {
            RowOrder::Interleaved { heads } if heads > 0 && rows / heads >= 2 => {
                let head_dim = rows / heads;
                let (head, within) = (row / head_dim, row % head_dim);
                head * head_dim + pair(within, head_dim / 2)
            }
            RowOrder::Heads { heads, first, rotated }
            | RowOrder::HeadsInHalves { heads, first, rotated }
                if heads > 0 && rotated >= 2 =>
            {
                let head_dim = (rows / heads).max(1);
                let (head, within) = (row / head_dim, row % head_dim);
                let is_paired = matches!(self, RowOrder::Heads { .. });
                let place = match within.checked_sub(rotated) {
                    None if is_paired => first + pair(within, rotated / 2),
                    None => first + within,
                    Some(other) if other < first => other,
                    Some(other) => other + rotated,
                };
                head * head_dim + place
            }
            RowOrder::HeadsByName { heads } if heads > 0 => {
                let head_dim = (rows / heads).max(1);
                let (head, within) = (row / head_dim, row % head_dim);
                let before = (0..heads).filter(|other| is_before_by_name(*other, head)).count();
                before * head_dim + within
            }
            RowOrder::Blocks { rows, step, first } => {
                let rows = rows.max(1);
                row / rows * step + first + row % rows
            }
            RowOrder::Every { step, first } => row * step + first,
            _ => row,
        }
    }

    /// The text that stands for it in the hash of a checkpoint. Records of earlier versions have such
    /// hashes, so it is what it was then.
    pub fn text(self) -> String {
        match self {
            RowOrder::Transposed { step, first, .. } => {
                format!("Transposed {{ step: {step}, first: {first} }}")
            }
            other => format!("{other:?}"),
        }
    }

    /// The number of rows in the file of a matrix of which `rows` rows are this tensor's.
    pub fn stored_rows(self, rows: usize) -> usize {
        match self {
            RowOrder::Every { step, .. } => rows * step,
            RowOrder::Transposed { width, .. } => width,
            RowOrder::Blocks { rows: together, step, .. } => rows / together.max(1) * step,
            RowOrder::Plain
            | RowOrder::Interleaved { .. }
            | RowOrder::Heads { .. }
            | RowOrder::HeadsInHalves { .. }
            | RowOrder::HeadsByName { .. } => rows,
        }
    }

    /// Whether a vector in this order is read element by element.
    pub fn is_of_elements(self) -> bool {
        !matches!(self, RowOrder::Plain | RowOrder::Transposed { .. })
    }
}

/// Whether the text of a number comes before that of another.
fn is_before_by_name(number: usize, other: usize) -> bool {
    let digits = |number: usize| number.checked_ilog10().unwrap_or(0);
    let most = digits(number).max(digits(other));
    let key = |number: usize| (number as u128 * 10u128.pow(most - digits(number)), digits(number));
    key(number) < key(other)
}

/// The error for a missing tensor; `name` is what the file should call it.
pub(super) fn absent(name: &str) -> Error {
    Error::input("expected by the architecture, not found in the checkpoint")
        .at(format!("tensor {name}"))
        .hint("config.json and the weights do not belong together, or a shard is missing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_rows_come_first_whether_pairs_are_neighbours_or_not() {
        // Two heads of two rows that are not rotated, and four that are.
        let neighbours = RowOrder::Heads { heads: 2, first: 2, rotated: 4 };
        let halves = RowOrder::HeadsInHalves { heads: 2, first: 2, rotated: 4 };
        let places = |order: RowOrder| (0..12).map(|row| order.place(row, 12)).collect::<Vec<_>>();
        assert_eq!(places(neighbours), [2, 4, 3, 5, 0, 1, 8, 10, 9, 11, 6, 7]);
        assert_eq!(places(halves), [2, 3, 4, 5, 0, 1, 8, 9, 10, 11, 6, 7]);
    }

    #[test]
    fn numbers_are_ordered_by_their_texts() {
        let mut numbers: Vec<usize> = (0..120).collect();
        numbers.sort_by_key(ToString::to_string);
        for pair in numbers.windows(2) {
            assert!(is_before_by_name(pair[0], pair[1]), "{pair:?}");
            assert!(!is_before_by_name(pair[1], pair[0]), "{pair:?}");
        }
    }
}
