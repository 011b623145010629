//! What computes an operation, and which operands it takes.
//!
//! On the CPU the slow operations are this crate's own, and gemm's matrix products take any view of
//! a tensor. Metal and Accelerate take only matrices whose rows or columns lie one after the other;
//! every product of the reference goes through [`product`], which sees to that.

use candle_core::{Device, Result, Tensor};

use super::device::Backend;
use super::gemm::by_gemm;

/// Whether this crate's own operations compute tensors of `device`; candle's otherwise.
pub fn has_own_operations(device: &Device) -> bool {
    #[cfg(test)]
    if candles_alone::are_asked_for() {
        return false;
    }
    device.is_cpu()
}

/// `a b` of `a` `[m, k]` or `[batch, m, k]` and `b` `[k, n]` or `[batch, k, n]`, which may be
/// views.
///
/// # Errors
/// Candle's errors, for shapes that do not fit together.
pub fn product(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let (a, b) = (operand(a.clone())?, operand(b.clone())?);
    #[cfg(test)]
    candles_alone::note(&a, &b);
    if takes_views(a.device()) {
        return by_gemm(&a, &b);
    }
    #[allow(clippy::disallowed_methods)]
    a.matmul(&b)
}

/// `x` as every backend takes it in a product: `x` itself where that is possible, a copy otherwise.
/// Views of the result along its first axes, and its transposes, need no further copy.
///
/// # Errors
/// Candle's errors.
pub fn operand(x: Tensor) -> Result<Tensor> {
    if takes_views(x.device()) || is_dense(&x) {
        return Ok(x);
    }
    x.contiguous()
}

/// Whether products on `device` are gemm's.
fn takes_views(device: &Device) -> bool {
    has_own_operations(device) && Backend::of(device) == Backend::Cpu
}

/// Whether the rows of a matrix, or its columns, lie one after the other.
fn is_dense(x: &Tensor) -> bool {
    match (x.dims(), x.stride()) {
        ([.., rows, columns], [.., by_row, by_column]) => {
            *by_column == 1 && by_row == columns || *by_row == 1 && by_column == rows
        }
        _ => false,
    }
}

/// Tests compute on the CPU what candle alone computes elsewhere, and look at the operands of
/// products.
#[cfg(test)]
pub(super) mod candles_alone {
    use std::cell::RefCell;

    use candle_core::{Layout, Tensor};

    thread_local! {
        /// The operands of this thread's products; `None` while own operations are used.
        static PRODUCTS: RefCell<Option<Vec<(Layout, Layout)>>> = const { RefCell::new(None) };
    }

    /// Runs `compute` with candle's operations alone, on this thread. Returns its result and the
    /// operands of its products.
    pub fn run<T>(compute: impl FnOnce() -> T) -> (T, Vec<(Layout, Layout)>) {
        PRODUCTS.set(Some(Vec::new()));
        let result = compute();
        (result, PRODUCTS.take().unwrap_or_default())
    }

    pub fn are_asked_for() -> bool {
        PRODUCTS.with_borrow(Option::is_some)
    }

    pub fn note(a: &Tensor, b: &Tensor) {
        PRODUCTS.with_borrow_mut(|products| {
            if let Some(products) = products {
                products.push((a.layout().clone(), b.layout().clone()));
            }
        });
    }
}
