//! Rows times the transpose of a matrix that is kept in bf16. For a few rows, as in decoding, the time is that of reading the matrix:
//! it is read once and in order. For more it is made f32 first.

use candle_core::{Device, Tensor as Candle};
use half::bf16;
use rayon::prelude::*;

use crate::error::{Result, failure};
use crate::product::{OutPointer, multiplied};
use crate::simd::{folded, vectorized};
use crate::tensor::with_slice;

/// Rows up to which weights are multiplied where they lie; with more, packing them pays.
const FEW: usize = 4;
/// Products summed side by side, two vectors of the widest processors: the order of a sum is the same on all.
const SIDE: usize = 32;
/// Weights for which another job is worth its beginning: one thread alone reads nearly as fast as memory gives.
const JOB: usize = 1 << 20;
/// Weights that a thread widens at a time.
const WIDENED: usize = 1 << 14;

/// a b, f32. a: m x k, f32; b: k x n, the transpose of a bf16 matrix.
pub fn times_bfloat(a: &Candle, b: &Candle) -> Result<Candle> {
    let ((m, k), (rows, n)) = (a.dims2().map_err(failure)?, b.dims2().map_err(failure)?);
    let w = b.t().map_err(failure)?;
    if m > FEW || k != rows {
        return multiplied::<f32>(a, &widened(&w)?.t().map_err(failure)?);
    }
    let out = with_slice(a, |a: &[f32]| with_slice(&w, |w: &[bf16]| Ok(times_transposed(a, w, (m, n, k)))))?;
    Candle::from_vec(out, (m, n), &Device::Cpu).map_err(failure)
}

/// The same values as f32.
fn widened(matrix: &Candle) -> Result<Candle> {
    let values = with_slice(matrix, |values: &[bf16]| {
        let mut out = Vec::with_capacity(values.len());
        let parts = out.spare_capacity_mut().par_chunks_mut(WIDENED);
        parts.zip(values.par_chunks(WIDENED)).for_each(|(out, values)| {
            for (out, &value) in out.iter_mut().zip(values) {
                out.write(wide(value));
            }
        });
        // SAFETY: every value was written.
        unsafe { out.set_len(values.len()) };
        Ok(out)
    })?;
    Candle::from_vec(values, matrix.shape(), &Device::Cpu).map_err(failure)
}

/// The same value: candle's and half's conversions look for NaN, value by value.
#[inline(always)]
fn wide(value: bf16) -> f32 {
    f32::from_bits(u32::from(value.to_bits()) << 16)
}

vectorized! {
    /// sum of x w.
    fn dot(x: &[f32], w: &[bf16]) -> f32 {
        let mut sums = [0f32; SIDE];
        let whole = x.len() - x.len() % SIDE;
        for at in (0..whole).step_by(SIDE) {
            let x: &[f32; SIDE] = x[at..at + SIDE].try_into().unwrap();
            let w: &[bf16; SIDE] = w[at..at + SIDE].try_into().unwrap();
            for i in 0..SIDE {
                sums[i] += x[i] * wide(w[i]);
            }
        }
        let rest: f32 = x[whole..].iter().zip(&w[whole..]).map(#[inline(always)] |(x, &w)| x * wide(w)).sum();
        folded(sums, #[inline(always)] |a, b| a + b) + rest
    }
}

/// x W^T, row-major. x: m x k, W: n x k.
fn times_transposed(x: &[f32], w: &[bf16], (m, n, k): (usize, usize, usize)) -> Vec<f32> {
    let mut values = vec![0f32; m * n];
    let out = OutPointer(values.as_mut_ptr());
    let jobs = (n * k / JOB).clamp(1, 4 * rayon::current_num_threads());
    let rows = n.div_ceil(jobs).max(1);
    (0..n.div_ceil(rows)).into_par_iter().for_each(|job| {
        for i in job * rows..n.min((job + 1) * rows) {
            for row in 0..m {
                let sum = dot(&x[row * k..(row + 1) * k], &w[i * k..(i + 1) * k]);
                // SAFETY: the place lies inside the result, and only this job writes it.
                unsafe { *out.at(row * n + i) = sum }
            }
        }
    });
    values
}
