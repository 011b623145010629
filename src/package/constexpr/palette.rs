//! Weights that are stored as codes into tables, whose entries are numbers or short vectors.

use std::sync::Arc;

use super::grid::Grid;
use super::lookup::look_up;
use super::numbers::Numbers;
use crate::quantize::bitpack::{UNIT, code_at};

/// Codes, and one table for each block of codes.
#[derive(Debug, Clone)]
pub(super) struct PalettizedWeight {
    pub codes: Numbers,
    /// `[blocks, vector, 2^bits]`, so that the entries for one component of a vector are
    /// contiguous.
    pub tables: Arc<[f32]>,
    pub tables_size_bytes: usize,
    /// The blocks of codes that share a table.
    pub grid: Grid,
    /// How entries are laid out as vectors; `None` if they are single numbers.
    pub vector: Option<VectorEntries>,
}

/// Table entries that are short vectors along one axis of the weight.
#[derive(Debug, Clone, Copy)]
pub(super) struct VectorEntries {
    /// The length of a vector.
    pub len: usize,
    /// The number of codes along the axis of the vectors.
    pub axis_len: usize,
    /// The distance in elements between two neighbours on that axis.
    pub inner: usize,
}

/// Which component of a vector is meant, and the length of the vector.
#[derive(Debug, Clone, Copy)]
struct Component {
    index: usize,
    of: usize,
}

impl PalettizedWeight {
    /// Writes the elements from `start` on to `out`.
    pub fn fill(&self, start: usize, out: &mut [f32]) {
        let Some(VectorEntries { len, axis_len, inner }) = self.vector else {
            return self.look_up(start, Component { index: 0, of: 1 }, out);
        };
        let mut done = 0;
        while done < out.len() {
            let (rest, within) = ((start + done) / inner, (start + done) % inner);
            let (outer, at) = (rest / (axis_len * len), rest % (axis_len * len));
            let first = (outer * axis_len + at / len) * inner + within;
            let end = out.len().min(done + inner - within);
            self.look_up(first, Component { index: at % len, of: len }, &mut out[done..end]);
            done = end;
        }
    }

    /// Writes one component of the entries that the codes from `first` on select to `out`.
    fn look_up(&self, first: usize, component: Component, out: &mut [f32]) {
        let (bits, codes) = (self.codes.bits(), &self.codes.bytes);
        let entries = 1usize << bits;
        let mut table = [0.0; 256];
        self.grid.runs(first, out.len(), |cell, range| {
            let own = &self.tables[(cell * component.of + component.index) * entries..][..entries];
            if range.len() < UNIT {
                // For so few codes it does not pay to copy the table.
                for (at, value) in (first + range.start..).zip(&mut out[range]) {
                    *value = own[usize::from(code_at(codes, bits, at))];
                }
            } else {
                table[..entries].copy_from_slice(own);
                look_up(codes, bits, first + range.start, &table, &mut out[range]);
            }
        });
    }
}
