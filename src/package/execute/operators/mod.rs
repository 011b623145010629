//! The operators that language models are made of, as MIL defines them.

mod arithmetic;
mod attention;
mod choose;
mod operator;
mod product;
mod quantize;
mod reduce;
mod shape;
mod slice;
mod unary;

pub(super) use self::operator::Operator;
pub(super) use self::slice::without_copy as slice_without_copy;

/// The operator that MIL calls `name`; `None` if it is not supported.
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
