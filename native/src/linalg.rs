//! Decompositions in f64, by faer.

use candle_core::{Device, Tensor as Candle};
use faer::linalg::triangular_solve;
use faer::{MatRef, Par, Side, get_global_parallelism, set_global_parallelism};
use napi_derive::napi;

use crate::error::{Result, failure};
use crate::tensor::{Tensor, with_view, wrap};

/// Below this size threads cost a decomposition more than they bring: eigh of 576 takes 50 ms on one, 58 on two.
const PARALLEL_SIZE: usize = 1024;

/// Reads a matrix of f64, transposed views included, without a copy.
fn with_matrix<R>(tensor: &Tensor, read: impl FnOnce(MatRef<'_, f64>) -> Result<R>) -> Result<R> {
    with_view(&tensor.candle()?, |values: &[f64], (rows, columns), (rs, cs)| {
        set_global_parallelism(if rows.max(columns) < PARALLEL_SIZE { Par::Seq } else { Par::rayon(0) });
        // SAFETY: every entry lies inside the slice.
        read(unsafe { MatRef::from_raw_parts(values.as_ptr(), rows, columns, rs, cs) })
    })
}

fn from_matrix(matrix: MatRef<'_, f64>) -> Result<Tensor> {
    wrap(Candle::from_vec(row_major(matrix), (matrix.nrows(), matrix.ncols()), &Device::Cpu))
}

fn row_major(matrix: MatRef<'_, f64>) -> Vec<f64> {
    let (rows, columns) = (matrix.nrows(), matrix.ncols());
    let mut values = vec![0f64; rows * columns];
    faer::MatMut::from_row_major_slice_mut(&mut values, rows, columns).copy_from(matrix);
    values
}

fn from_vector(values: Vec<f64>) -> Result<Tensor> {
    let n = values.len();
    wrap(Candle::from_vec(values, n, &Device::Cpu))
}

/// A + value I.
#[napi(catch_unwind)]
pub fn add_to_diagonal(a: &Tensor, value: f64) -> Result<Tensor> {
    with_matrix(a, |a| {
        let (rows, columns) = (a.nrows(), a.ncols());
        let mut values = row_major(a);
        for i in 0..rows.min(columns) {
            values[i * (columns + 1)] += value;
        }
        wrap(Candle::from_vec(values, (rows, columns), &Device::Cpu))
    })
}

/// Eigenvalues (n, largest first) and eigenvectors (n x n, one a column) of a symmetric matrix; the lower triangle is read.
#[napi(catch_unwind)]
pub fn eigh(a: &Tensor) -> Result<Vec<Tensor>> {
    with_matrix(a, |a| {
        let eigen = a.self_adjoint_eigen(Side::Lower).map_err(|e| failure(format!("{e:?}")))?;
        let values: Vec<f64> = eigen.S().column_vector().iter().rev().copied().collect();
        Ok(vec![from_vector(values)?, from_matrix(eigen.U().reverse_cols())?])
    })
}

/// The lower Cholesky factor (n x n), or null when the matrix is not positive definite.
#[napi(catch_unwind)]
pub fn cholesky(a: &Tensor) -> Result<Option<Tensor>> {
    with_matrix(a, |a| match a.llt(Side::Lower) {
        Ok(factor) => Ok(Some(from_matrix(factor.L())?)),
        Err(_) => Ok(None),
    })
}

/// X with L X = B, or L^T X = B when `transposed`; L is lower triangular.
#[napi(catch_unwind)]
pub fn solve_lower(l: &Tensor, b: &Tensor, transposed: bool) -> Result<Tensor> {
    with_matrix(l, |l| {
        with_matrix(b, |b| {
            let mut x = b.to_owned();
            let parallelism = get_global_parallelism();
            if transposed {
                triangular_solve::solve_upper_triangular_in_place(l.transpose(), x.as_mut(), parallelism);
            } else {
                triangular_solve::solve_lower_triangular_in_place(l, x.as_mut(), parallelism);
            }
            from_matrix(x.as_ref())
        })
    })
}

/// U (m x p), singular values (p, largest first) and V^T (p x n), p = min(m, n).
#[napi(catch_unwind)]
pub fn svd(a: &Tensor) -> Result<Vec<Tensor>> {
    with_matrix(a, |a| {
        let svd = a.thin_svd().map_err(|e| failure(format!("{e:?}")))?;
        let values: Vec<f64> = svd.S().column_vector().iter().copied().collect();
        Ok(vec![from_matrix(svd.U())?, from_vector(values)?, from_matrix(svd.V().transpose())?])
    })
}

#[napi(object, object_from_js = false)]
pub struct PivotedQr {
    pub r: Tensor,
    pub permutation: Vec<u32>,
}

/// Column-pivoted QR, A P = Q R: R (p x n, p = min(m, n)) and the columns of A in pivot order.
#[napi(catch_unwind)]
pub fn qr_pivoted(a: &Tensor) -> Result<PivotedQr> {
    with_matrix(a, |a| {
        let qr = a.col_piv_qr();
        let permutation = qr.P().arrays().0.iter().map(|&i| i as u32).collect();
        Ok(PivotedQr { r: from_matrix(qr.thin_R())?, permutation })
    })
}
