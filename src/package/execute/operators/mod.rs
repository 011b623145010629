//! The operators that decoders are made of, as MIL defines them.

mod arithmetic;
mod attention;
mod choose;
mod product;
mod quantize;
mod reduce;
mod shape;
mod slice;
mod unary;

pub(super) use self::slice::part as slice_part;
use super::call::Call;
use super::tensor::Tensor;
use crate::error::Result;

/// Computes the outputs of one call.
pub(super) type Operator = fn(&mut Call) -> Result<Vec<Tensor>>;

/// The operator that MIL calls `name`.
pub(super) fn find(name: &str) -> Option<Operator> {
    arithmetic::find(name)
        .or_else(|| unary::find(name))
        .or_else(|| reduce::find(name))
        .or_else(|| shape::find(name))
        .or_else(|| slice::find(name))
        .or_else(|| product::find(name))
        .or_else(|| attention::find(name))
        .or_else(|| choose::find(name))
        .or_else(|| quantize::find(name))
}
