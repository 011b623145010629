//! Matrix products on the CPU by the crate gemm, in the calls that candle makes: the same bits.
//!
//! candle chooses between gemm and Accelerate when it is compiled, and every build for a Mac has
//! Accelerate. The backend `cpu` means gemm there, too. This file and `checkpoint/bytes.rs` have the
//! crate's only `unsafe` code.

use candle_core::utils::get_num_threads;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor, bail};
use gemm::{Parallelism, gemm};

/// `a b` of `a` `[m, k]` or `[batch, m, k]` and `b` `[k, n]` or `[batch, k, n]`, views in main memory.
///
/// # Errors
/// Candle's errors, for shapes that do not fit together and for numbers other than f32 and f64.
pub fn by_gemm(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    a.apply_op2(b, Product)
}

/// The operation as candle differentiates it.
struct Product;

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "product"
    }

    fn cpu_fwd(
        &self,
        a: &CpuStorage,
        a_layout: &Layout,
        b: &CpuStorage,
        b_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let values = match (a, b) {
            (CpuStorage::F32(a), CpuStorage::F32(b)) => {
                CpuStorage::F32(multiply(Matrices::of(a, a_layout)?, Matrices::of(b, b_layout)?)?)
            }
            (CpuStorage::F64(a), CpuStorage::F64(b)) => {
                CpuStorage::F64(multiply(Matrices::of(a, a_layout)?, Matrices::of(b, b_layout)?)?)
            }
            _ => bail!("expected two tensors in f32 or in f64"),
        };
        let mut dims = a_layout.dims().to_vec();
        if let (Some(last), Some(columns)) = (dims.last_mut(), b_layout.dims().last()) {
            *last = *columns;
        }
        Ok((values, Shape::from(dims)))
    }

    fn bwd(
        &self,
        a: &Tensor,
        b: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (of_a, of_b) = (by_gemm(gradient, &b.t()?)?, by_gemm(&a.t()?, gradient)?);
        Ok((Some(of_a), Some(of_b)))
    }
}

/// A matrix, or a batch of them: a view of `values`, from the first element on.
struct Matrices<'a, T> {
    values: &'a [T],
    batch: usize,
    rows: usize,
    columns: usize,
    by_batch: usize,
    by_row: usize,
    by_column: usize,
}

impl<'a, T> Matrices<'a, T> {
    /// # Errors
    /// For a tensor of another rank, and a layout that leaves the values.
    fn of(values: &'a [T], layout: &Layout) -> Result<Self> {
        let (batch, rows, columns, by_batch, by_row, by_column) =
            match (layout.dims(), layout.stride()) {
                (&[rows, columns], &[by_row, by_column]) => {
                    (1, rows, columns, rows * columns, by_row, by_column)
                }
                (&[batch, rows, columns], &[by_batch, by_row, by_column]) => {
                    (batch, rows, columns, by_batch, by_row, by_column)
                }
                (dims, _) => bail!("expected a matrix or a batch of matrices, found {dims:?}"),
            };
        let values = values.get(layout.start_offset()..).unwrap_or_default();
        let last = |count: usize, by: usize| count.saturating_sub(1).saturating_mul(by);
        let end = last(batch, by_batch)
            .saturating_add(last(rows, by_row))
            .saturating_add(last(columns, by_column));
        if batch * rows * columns > 0 && end >= values.len() {
            bail!("expected more than {end} values, found {}", values.len());
        }
        Ok(Matrices { values, batch, rows, columns, by_batch, by_row, by_column })
    }

    /// Whether all matrices are one dense matrix, of the rows of all.
    fn is_one(&self) -> bool {
        self.by_row == self.columns && self.by_batch == self.rows * self.columns
    }
}

/// `a b`, row-major.
///
/// # Errors
/// If the shapes do not fit together.
fn multiply<T: Copy + From<u8> + 'static>(a: Matrices<T>, b: Matrices<T>) -> Result<Vec<T>> {
    if (a.batch, a.columns) != (b.batch, b.rows) {
        bail!(
            "expected matrices of {} rows in batches of {}, found {} rows in batches of {}",
            a.columns,
            a.batch,
            b.rows,
            b.batch
        );
    }
    let (inner, columns) = (a.columns, b.columns);
    let mut product = vec![T::from(0); a.batch * a.rows * columns];
    if product.is_empty() || inner == 0 {
        return Ok(product);
    }
    // One matrix for the whole batch on the right: the rows of all matrices on the left times it.
    let (batch, rows) =
        if b.by_batch == 0 && a.is_one() { (1, a.batch * a.rows) } else { (a.batch, a.rows) };
    let parallelism = match get_num_threads() {
        0 | 1 => Parallelism::None,
        threads => Parallelism::Rayon(threads),
    };
    for (at, out) in product.chunks_exact_mut(rows * columns).take(batch).enumerate() {
        let (left, right) = (&a.values[at * a.by_batch..], &b.values[at * b.by_batch..]);
        // SAFETY: `out` has rows × columns values, row-major. `Matrices::of` has checked that the last
        // element of the last matrix of `a` and `b` lies within their values, and strides are not
        // negative; so do all elements, then. The joined rows of `a` are the rows of its matrices.
        #[allow(unsafe_code)]
        unsafe {
            gemm(
                rows,
                columns,
                inner,
                out.as_mut_ptr(),
                1,
                columns as isize,
                false,
                left.as_ptr(),
                a.by_column as isize,
                a.by_row as isize,
                right.as_ptr(),
                b.by_column as isize,
                b.by_row as isize,
                T::from(0),
                T::from(1),
                false,
                false,
                false,
                parallelism,
            );
        }
    }
    Ok(product)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{Device, Var};

    fn tensor(shape: &[usize]) -> Tensor {
        let values = (0..shape.iter().product()).map(|i: usize| (i as f32 * 0.37).sin());
        Tensor::from_vec(values.collect::<Vec<f32>>(), shape, &Device::Cpu).unwrap()
    }

    fn bits(tensor: &Tensor) -> Vec<u32> {
        let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        values.into_iter().map(f32::to_bits).collect()
    }

    /// Pairs of operands: dense, transposed, narrowed, batches, one matrix for a whole batch, a vector.
    fn operands() -> Vec<(Tensor, Tensor)> {
        let (a, b) = (tensor(&[70, 33]), tensor(&[33, 41]));
        let batch = tensor(&[3, 20, 33]);
        vec![
            (a.clone(), b.clone()),
            (a.narrow(0, 5, 1).unwrap(), tensor(&[41, 33]).t().unwrap()),
            (tensor(&[33, 70]).t().unwrap(), b.narrow(1, 2, 9).unwrap()),
            (a.narrow(1, 3, 30).unwrap(), b.narrow(0, 3, 30).unwrap()),
            (batch.clone(), tensor(&[3, 33, 7])),
            (tensor(&[20, 3, 33]).transpose(0, 1).unwrap(), tensor(&[3, 7, 33]).t().unwrap()),
            (batch.clone(), b.unsqueeze(0).unwrap().expand((3, 33, 41)).unwrap()),
            (batch.narrow(0, 1, 0).unwrap(), tensor(&[0, 33, 2])),
        ]
    }

    #[test]
    fn products_have_the_bits_of_candles() {
        if cfg!(target_os = "macos") {
            return println!("skipped: candle's products are Accelerate's here");
        }
        for (a, b) in operands() {
            #[allow(clippy::disallowed_methods)]
            let candles = a.matmul(&b).unwrap();
            let own = by_gemm(&a, &b).unwrap();
            assert_eq!(own.dims(), candles.dims());
            assert_eq!(bits(&own), bits(&candles), "{:?} {:?}", a.layout(), b.layout());
        }
    }

    #[test]
    fn gradients_have_the_bits_of_candles() {
        if cfg!(target_os = "macos") {
            return println!("skipped: candle's products are Accelerate's here");
        }
        let (a, b) = (Var::from_tensor(&tensor(&[9, 5])).unwrap(), tensor(&[6, 5]));
        let gradient = |product: Tensor| {
            let gradients = product.sqr().unwrap().backward().unwrap();
            bits(gradients.get(&a).unwrap())
        };
        #[allow(clippy::disallowed_methods)]
        let candles = a.matmul(&b.t().unwrap()).unwrap();
        assert_eq!(gradient(by_gemm(&a, &b.t().unwrap()).unwrap()), gradient(candles));
    }

    #[test]
    fn every_element_is_the_sum_that_a_product_is() {
        for (a, b) in operands().into_iter().filter(|(a, _)| a.rank() == 2) {
            let (rows, columns) = (a.to_vec2::<f32>().unwrap(), b.t().unwrap());
            let columns = columns.to_vec2::<f32>().unwrap();
            let product = by_gemm(&a, &b).unwrap().to_vec2::<f32>().unwrap();
            for (row, found) in rows.iter().zip(product) {
                for (column, found) in columns.iter().zip(found) {
                    let sum: f32 = row.iter().zip(column).map(|(x, y)| x * y).sum();
                    assert!((sum - found).abs() <= 1e-4, "expected {sum}, found {found}");
                }
            }
        }
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let batch = tensor(&[3, 20, 33]);
        for (a, b) in [
            (tensor(&[2, 3]), tensor(&[4, 2])),
            (tensor(&[2, 3]), batch.clone()),
            (tensor(&[3]), tensor(&[3, 3])),
            (batch, tensor(&[2, 33, 5])),
        ] {
            assert!(by_gemm(&a, &b).is_err());
        }
    }
}
