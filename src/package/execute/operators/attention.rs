//! Scaled dot-product attention.
//!
//! Keys and values are read directly from the cache, and only those that the mask lets a query see.
//! So the time depends on the length of the context, not on that of the cache.

use std::ops::Range;

use rayon::prelude::*;

use super::Operator;
use super::reduce::softmax;
use crate::error::{Error, Result};
use crate::package::execute::arguments::Arguments;
use crate::package::execute::multiply::{multiply_dense, multiply_transposed};
use crate::package::execute::tensor::{Data, Tensor, element_count};
use crate::package::execute::value::TensorSlice;
use crate::package::execute::view::StridedView;

/// If all heads together have fewer scores than this, one thread computes them.
const MIN_SCORES: usize = 1 << 12;

/// A column whose mask is this or lower has no part in attention: its share of the softmax is 0 unless
/// scores differ by almost as much, which those of no model do.
const UNSEEN: f32 = -3e4;

pub(super) fn find(name: &str) -> Option<Operator> {
    (name == "scaled_dot_product_attention").then_some(attention)
}

/// The heads of a query, keys or values: `[.., rows, columns]`.
struct Heads {
    slice: TensorSlice,
    rows: usize,
    columns: usize,
}

impl Heads {
    fn of(args: &Arguments, name: &str) -> Result<Self> {
        let slice = args.slice(name)?;
        match *slice.shape() {
            [.., rows, columns] => Ok(Heads { rows, columns, slice }),
            _ => Err(Error::input(format!(
                "{name}: expected rank 2 or more, found shape {:?}",
                slice.shape()
            ))),
        }
    }

    /// The axes before the last two.
    fn stack(&self) -> &[usize] {
        let shape = self.slice.shape();
        &shape[..shape.len() - 2]
    }

    fn head(&self, index: usize) -> Result<&[f32]> {
        let size = self.rows * self.columns;
        Ok(&self.slice.as_floats()?[index * size..][..size])
    }
}

/// `softmax(query key^T / sqrt(width) + mask) value`.
fn attention(args: &mut Arguments) -> Result<Vec<Tensor>> {
    let query = Heads::of(args, "query")?;
    let (key, value) = (Heads::of(args, "key")?, Heads::of(args, "value")?);
    let same = query.stack() == key.stack() && key.stack() == value.stack();
    if !same || query.columns != key.columns || key.rows != value.rows {
        return Err(Error::input("the shapes of query, key and value do not fit together"));
    }
    let scores_shape = [query.stack(), &[query.rows, key.rows]].concat();
    let scores = element_count(&scores_shape)?;
    args.count_products(&[scores, query.columns.saturating_add(value.columns).saturating_add(16)])?;
    let mask = mask(args, &scores_shape)?;
    let shape = [query.stack(), &[query.rows, value.columns]].concat();
    let mut out = vec![0.0; args.allow_shape(&shape, 1)?];
    // Each thread has a row of scores.
    args.allow(key.rows.saturating_mul(rayon::current_num_threads()), size_of::<f32>())?;
    let (width, columns) = (query.columns, value.columns);
    let heads = out.par_chunks_mut((query.rows * columns).max(1)).enumerate();
    let per_head = query.rows * key.rows;
    let head = |(i, out): (usize, &mut [f32])| -> Result<()> {
        let (query, keys, values) = (query.head(i)?, key.head(i)?, value.head(i)?);
        let mut row = vec![0.0; key.rows];
        for (at, out) in out.chunks_mut(columns.max(1)).enumerate() {
            let mask = mask.as_ref().map(|mask| &mask[i * per_head + at * key.rows..][..key.rows]);
            attend(&query[at * width..][..width], keys, values, mask, &mut row, out);
        }
        Ok(())
    };
    let together = if scores < MIN_SCORES { scores } else { 1 };
    heads.with_min_len(together.max(1)).try_for_each(head)?;
    Ok(vec![Tensor::floats(shape, out)?])
}

/// What is added to the scores, broadcast to their shape; `None` without a mask.
fn mask(args: &Arguments, shape: &[usize]) -> Result<Option<Vec<f32>>> {
    let Some(mask) = args.tensor_or_none("attn_mask")? else { return Ok(None) };
    let view = StridedView::of(mask.shape()).broadcast(shape)?;
    args.allow_shape(shape, 1)?;
    args.allow_shape(mask.shape(), 1)?;
    Ok(Some(match mask.data() {
        Data::Float(values) => view.copy(values),
        Data::Bool(values) => {
            let bias = |seen: &bool| if *seen { 0.0 } else { f32::NEG_INFINITY };
            view.copy(&values.iter().map(bias).collect::<Vec<f32>>())
        }
        Data::Int(_) => {
            return Err(Error::input("attn_mask: expected floats or booleans, found integers"));
        }
    }))
}

/// Computes attention for one query and writes it to `out`, which holds zeros. `row` is a buffer
/// with one score per key.
fn attend(
    query: &[f32],
    keys: &[f32],
    values: &[f32],
    mask: Option<&[f32]>,
    row: &mut [f32],
    out: &mut [f32],
) {
    let (width, columns) = (query.len(), out.len());
    let seen = mask.map_or(0..row.len(), visible);
    row.fill(f32::NEG_INFINITY);
    let scores = &mut row[seen.clone()];
    multiply_transposed(query, &keys[seen.start * width..seen.end * width], width, scores);
    let root = (width as f32).sqrt();
    scores.iter_mut().for_each(|score| *score /= root);
    if let Some(mask) = mask {
        scores.iter_mut().zip(&mask[seen.clone()]).for_each(|(score, mask)| *score += mask);
    }
    softmax(row);
    let values = &values[seen.start * columns..seen.end * columns];
    multiply_dense(&row[seen.clone()], values, seen.len(), out);
}

/// The range from the first to the last column of a row of a mask that is above [`UNSEEN`]; all
/// columns if none is.
fn visible(mask: &[f32]) -> Range<usize> {
    let is_seen = |value: &f32| value.is_nan() || *value > UNSEEN;
    match (mask.iter().position(is_seen), mask.iter().rposition(is_seen)) {
        (Some(first), Some(last)) => first..last + 1,
        _ => 0..mask.len(),
    }
}
