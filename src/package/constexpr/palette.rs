//! Codes into tables, of single numbers or of short vectors.

use super::grid::Grid;
use super::lookup::look_up;
use super::numbers::Numbers;
use crate::quantize::bitpack::{UNIT, code_at};

/// Codes into tables that blocks of elements share.
#[derive(Debug, Clone)]
pub(super) struct Palette {
    pub codes: Numbers,
    /// `[blocks, vector, 2^bits]`: what is looked up together lies together.
    pub tables: Vec<f32>,
    pub tables_size_bytes: usize,
    /// Blocks of the codes.
    pub grid: Grid,
    pub vector: Option<Vector>,
}

/// Table entries that are short vectors along one axis.
#[derive(Debug, Clone, Copy)]
pub(super) struct Vector {
    pub len: usize,
    /// Codes along the vectors' axis.
    pub axis_len: usize,
    /// Elements from one place on that axis to the next.
    pub inner: usize,
}

impl Palette {
    /// The elements from `start` on.
    pub fn fill(&self, start: usize, out: &mut [f32]) {
        let Some(Vector { len, axis_len, inner }) = self.vector else {
            return self.look_up(start, (1, 0), out);
        };
        let mut done = 0;
        while done < out.len() {
            let (rest, within) = ((start + done) / inner, (start + done) % inner);
            let (outer, at) = (rest / (axis_len * len), rest % (axis_len * len));
            let first = (outer * axis_len + at / len) * inner + within;
            let end = out.len().min(done + inner - within);
            self.look_up(first, (len, at % len), &mut out[done..end]);
            done = end;
        }
    }

    /// Component `component` of `len` of the entries that the codes from `first` on point to.
    fn look_up(&self, first: usize, (len, component): (usize, usize), out: &mut [f32]) {
        let (bits, codes) = (self.codes.bits(), &self.codes.bytes);
        let entries = 1usize << bits;
        let mut table = [0.0; 256];
        self.grid.runs(first, out.len(), |cell, range| {
            let own = &self.tables[(cell * len + component) * entries..][..entries];
            if range.len() < UNIT {
                // Too few for a copy of the table.
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
