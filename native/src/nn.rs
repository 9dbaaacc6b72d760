//! Row-wise transformer operations, parallel over rows and vectorised by run-time dispatch.

use std::mem::MaybeUninit;

use candle_core::{Device, Tensor as Candle};
use napi::bindgen_prelude::{Float64Array, Uint32Array};
use napi_derive::napi;
use rayon::prelude::*;

use crate::error::{Result, failure};
use crate::exp::exp;
use crate::simd::{LANES, lanes_sum, largest, vectorized};
use crate::tensor::{Tensor, with_slice, wrap};

pub(crate) fn matrix(values: Vec<f32>, rows: usize, columns: usize) -> Result<Tensor> {
    wrap(Candle::from_vec(values, (rows, columns), &Device::Cpu))
}

/// A matrix made row by row, `write` given a row's number and its values, zeros until then: a row is zeroed where it is written, in
/// the cache and on every thread.
fn made_of_rows(rows: usize, width: usize, write: impl Fn(usize, &mut [f32]) + Sync) -> Vec<f32> {
    let mut out = Vec::with_capacity(rows * width);
    let unwritten = &mut out.spare_capacity_mut()[..rows * width];
    unwritten.par_chunks_mut(width).enumerate().for_each(|(row, values)| {
        values.fill(MaybeUninit::new(0f32));
        // SAFETY: just filled.
        write(row, unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), width) });
    });
    // SAFETY: every row was filled.
    unsafe { out.set_len(rows * width) };
    out
}

/// x / sqrt(mean(x^2) + eps) * weight, row by row. x: t x d, weight: d.
#[napi(catch_unwind)]
pub fn rms_norm(x: &Tensor, weight: &Tensor, eps: f64) -> Result<Tensor> {
    let (x, weight) = (x.candle()?, weight.candle()?);
    let (t, d) = x.dims2().map_err(failure)?;
    let out = with_slice(&x, |x: &[f32]| {
        with_slice(&weight, |weight: &[f32]| {
            Ok(made_of_rows(t, d, |row, out| normalize(out, &x[row * d..(row + 1) * d], weight, eps)))
        })
    })?;
    matrix(out, t, d)
}

vectorized! {
    fn normalize(out: &mut [f32], x: &[f32], weight: &[f32], eps: f64) -> () {
        let squares = lanes_sum(x, #[inline(always)] |v| v * v);
        let scale = (1.0 / (f64::from(squares) / x.len() as f64 + eps).sqrt()) as f32;
        for ((o, &v), &w) in out.iter_mut().zip(x).zip(weight) {
            *o = v * scale * w;
        }
    }
}

/// Rotary positions on rows of heads, halves rotated (Su et al. 2021, arXiv:2104.09864; Hugging Face layout).
/// x: t x (h e); cos and sin: p x (e / 2), row r of x at position r mod p; e is even.
#[napi(catch_unwind)]
pub fn rope(x: &Tensor, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (x, cos, sin) = (x.candle()?, cos.candle()?, sin.candle()?);
    let (t, width) = x.dims2().map_err(failure)?;
    let (positions, half) = cos.dims2().map_err(failure)?;
    let out = with_slice(&x, |x: &[f32]| {
        with_slice(&cos, |cos: &[f32]| {
            with_slice(&sin, |sin: &[f32]| {
                Ok(made_of_rows(t, width, |row, out| {
                    let at = (row % positions) * half..(row % positions + 1) * half;
                    rotate(out, &x[row * width..(row + 1) * width], &cos[at.clone()], &sin[at]);
                }))
            })
        })
    })?;
    matrix(out, t, width)
}

fn rotate(out: &mut [f32], x: &[f32], cos: &[f32], sin: &[f32]) {
    let half = cos.len();
    for (out, x) in out.chunks_exact_mut(2 * half).zip(x.chunks_exact(2 * half)) {
        let (low, high) = out.split_at_mut(half);
        for i in 0..half {
            low[i] = x[i] * cos[i] - x[i + half] * sin[i];
            high[i] = x[i + half] * cos[i] + x[i] * sin[i];
        }
    }
}

/// silu(gate) * up, entry by entry (Shazeer 2020, arXiv:2002.05202). Both t x f.
#[napi(catch_unwind)]
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    let (gate, up) = (gate.candle()?, up.candle()?);
    let (t, f) = gate.dims2().map_err(failure)?;
    let out = with_slice(&gate, |gate: &[f32]| {
        with_slice(&up, |up: &[f32]| {
            Ok(made_of_rows(t, f, |row, out| {
                let at = row * f..(row + 1) * f;
                gated(out, &gate[at.clone()], &up[at]);
            }))
        })
    })?;
    matrix(out, t, f)
}

vectorized! {
    fn gated(out: &mut [f32], gate: &[f32], up: &[f32]) -> () {
        for ((o, &g), &u) in out.iter_mut().zip(gate).zip(up) {
            *o = g / (1.0 + exp(-g)) * u;
        }
    }
}

vectorized! {
    /// log(sum(exp(logits))) of one row.
    pub(crate) fn log_sum_exp(row: &[f32]) -> f64 {
        let max = largest(row);
        let mut sum = 0f64;
        for chunk in row.chunks(1024) {
            sum += f64::from(lanes_sum(chunk, #[inline(always)] |v| exp(v - max)));
        }
        f64::from(max) + sum.ln()
    }
}

/// What `read` makes of each row and its number, on every thread. t x v.
fn of_rows<R: Send>(logits: &Tensor, read: impl Fn(usize, &[f32]) -> R + Sync) -> Result<Vec<R>> {
    let logits = logits.candle()?;
    let (_, v) = logits.dims2().map_err(failure)?;
    with_slice(&logits, |logits: &[f32]| {
        Ok(logits.par_chunks(v).enumerate().map(|(i, row)| read(i, row)).collect())
    })
}

/// Negative log-likelihood of each row's target, in f64. logits: t x v, targets: t.
#[napi(catch_unwind)]
pub fn negative_log_likelihood(logits: &Tensor, targets: Uint32Array) -> Result<Float64Array> {
    let targets: &[u32] = &targets;
    Ok(of_rows(logits, |i, row| log_sum_exp(row) - f64::from(row[targets[i] as usize]))?.into())
}

/// Where each row's largest value is, the first of equals. t x v.
#[napi(catch_unwind)]
pub fn likeliest(logits: &Tensor) -> Result<Uint32Array> {
    Ok(of_rows(logits, |_, row| index_of_largest(row))?.into())
}

/// 0 where a row has no number in it.
fn index_of_largest(row: &[f32]) -> u32 {
    let most = largest(row);
    row.iter().position(|&x| x == most).unwrap_or(0) as u32
}

/// A column of each row, drawn with the probabilities softmax(row) by a number in [0, 1). t x v.
#[napi(catch_unwind)]
pub fn draw(logits: &Tensor, uniforms: Float64Array) -> Result<Uint32Array> {
    let uniforms: &[f64] = &uniforms;
    Ok(of_rows(logits, |i, row| drawn(row, uniforms[i]))?.into())
}

/// The first column where the sum of probabilities passes u; where rounding keeps it below, the likeliest.
fn drawn(row: &[f32], u: f64) -> u32 {
    let total = log_sum_exp(row);
    let mut sum = 0f64;
    let found = row.iter().position(|&x| {
        sum += (f64::from(x) - total).exp();
        sum > u
    });
    found.map_or_else(|| index_of_largest(row), |i| i as u32)
}

/// KL(p || q) of each row in f64, p = softmax(reference), q = softmax(logits). Both t x v.
#[napi(catch_unwind)]
pub fn kl_divergence(reference: &Tensor, logits: &Tensor) -> Result<Float64Array> {
    let (reference, logits) = (reference.candle()?, logits.candle()?);
    let (_, v) = logits.dims2().map_err(failure)?;
    with_slice(&reference, |reference: &[f32]| {
        with_slice(&logits, |logits: &[f32]| {
            let rows = reference.par_chunks(v).zip(logits.par_chunks(v));
            Ok(rows.map(|(p, q)| row_divergence(p, q)).collect::<Vec<_>>().into())
        })
    })
}

fn row_divergence(p: &[f32], q: &[f32]) -> f64 {
    weighted_differences(p, q, log_sum_exp(p) as f32, log_sum_exp(q) as f32)
}

vectorized! {
    /// sum of exp(p - p_log) ((p - p_log) - (q - q_log)).
    fn weighted_differences(p: &[f32], q: &[f32], p_log: f32, q_log: f32) -> f64 {
        let mut total = 0f64;
        for (p, q) in p.chunks(256).zip(q.chunks(256)) {
            let mut lanes = [0f32; LANES];
            for (p, q) in p.chunks(LANES).zip(q.chunks(LANES)) {
                for ((lane, &p), &q) in lanes.iter_mut().zip(p).zip(q) {
                    *lane += exp(p - p_log) * ((p - p_log) - (q - q_log));
                }
            }
            total += f64::from(lanes.iter().sum::<f32>());
        }
        total
    }
}
