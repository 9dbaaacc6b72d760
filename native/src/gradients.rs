//! Gradients of the fused operations: from that of an operation's output to those of its inputs, by hand, since none of
//! them is composed of operations that differentiate themselves. `dy` is the loss's gradient at y throughout.

use candle_core::{Device, Tensor as Candle};
use napi_derive::napi;
use rayon::prelude::*;

use crate::attention::{AttentionOptions, Head, Heads, Scores, TILE};
use crate::error::{Result, failure};
use crate::exp::exp;
use crate::nn::{log_sum_exp, matrix};
use crate::product::{OutPointer, multiply_alone};
use crate::simd::{LANES, folded, lanes_sum, vectorized};
use crate::tensor::{Tensor, with_slice, wrap};

/// Rows that share a partial sum over rows: the order of addition does not depend on the number of threads.
const ROWS: usize = 64;

/// [dx, dweight] of `rms_norm`. x and dy: t x d, weight: d.
#[napi(catch_unwind)]
pub fn rms_norm_gradient(x: &Tensor, weight: &Tensor, eps: f64, dy: &Tensor) -> Result<Vec<Tensor>> {
    let (x, weight, dy) = (x.candle()?, weight.candle()?, dy.candle()?);
    let (t, d) = x.dims2().map_err(failure)?;
    let mut dx = vec![0f32; t * d];
    let mut partial = vec![0f32; t.div_ceil(ROWS) * d]; // a row for every group of rows
    with_slice(&x, |x: &[f32]| {
        with_slice(&weight, |weight: &[f32]| {
            with_slice(&dy, |dy: &[f32]| {
                let rows = dx.par_chunks_mut(ROWS * d).zip(partial.par_chunks_mut(d));
                let rows = rows.zip(x.par_chunks(ROWS * d).zip(dy.par_chunks(ROWS * d)));
                rows.for_each(|((dx, dweight), (x, dy))| {
                    let rows = dx.chunks_mut(d).zip(x.chunks(d).zip(dy.chunks(d)));
                    rows.for_each(|(dx, (x, dy))| norm_row(dx, dweight, x, weight, dy, eps));
                });
                Ok(())
            })
        })
    })?;
    let mut dweight = vec![0f32; d];
    for row in partial.chunks(d) {
        dweight.iter_mut().zip(row).for_each(|(sum, &v)| *sum += v);
    }
    Ok(vec![matrix(dx, t, d)?, wrap(Candle::from_vec(dweight, d, &Device::Cpu))?])
}

vectorized! {
    /// With r = 1 / sqrt(mean(x^2) + eps): dx = r (w dy) - x r^3 mean(x w dy), dweight += x r dy.
    fn norm_row(dx: &mut [f32], dweight: &mut [f32], x: &[f32], w: &[f32], dy: &[f32], eps: f64) -> () {
        let d = x.len() as f64;
        let r = 1.0 / (f64::from(lanes_sum(x, #[inline(always)] |v| v * v)) / d + eps).sqrt();
        for (((dx, &x), &w), &dy) in dx.iter_mut().zip(x).zip(w).zip(dy) {
            *dx = x * w * dy;
        }
        let along = (f64::from(lanes_sum(dx, #[inline(always)] |v| v)) / d * r * r * r) as f32;
        let r = r as f32;
        for ((((dx, dweight), &x), &w), &dy) in dx.iter_mut().zip(dweight).zip(x).zip(w).zip(dy) {
            *dx = r * w * dy - along * x;
            *dweight += x * r * dy;
        }
    }
}

/// [dgate, dup] of `swiglu`. All t x f.
#[napi(catch_unwind)]
pub fn swiglu_gradient(gate: &Tensor, up: &Tensor, dy: &Tensor) -> Result<Vec<Tensor>> {
    let (gate, up, dy) = (gate.candle()?, up.candle()?, dy.candle()?);
    let (t, f) = gate.dims2().map_err(failure)?;
    let (mut dgate, mut dup) = (vec![0f32; t * f], vec![0f32; t * f]);
    with_slice(&gate, |gate: &[f32]| {
        with_slice(&up, |up: &[f32]| {
            with_slice(&dy, |dy: &[f32]| {
                let rows = dgate.par_chunks_mut(f).zip(dup.par_chunks_mut(f));
                let rows = rows.zip(gate.par_chunks(f).zip(up.par_chunks(f)).zip(dy.par_chunks(f)));
                rows.for_each(|((dgate, dup), ((gate, up), dy))| {
                    gated_row(dgate, dup, gate, up, dy);
                });
                Ok(())
            })
        })
    })?;
    Ok(vec![matrix(dgate, t, f)?, matrix(dup, t, f)?])
}

vectorized! {
    fn gated_row(dgate: &mut [f32], dup: &mut [f32], gate: &[f32], up: &[f32], dy: &[f32]) -> () {
        for ((((dgate, dup), &gate), &up), &dy) in dgate.iter_mut().zip(dup).zip(gate).zip(up).zip(dy) {
            let sigmoid = 1.0 / (1.0 + exp(-gate));
            *dup = dy * gate * sigmoid;
            *dgate = dy * up * sigmoid * (1.0 + gate * (1.0 - sigmoid));
        }
    }
}

/// [dq, dk, dv] of `causal_attention`; the scores are computed again, a tile of queries at a time.
/// q: (b t) x (h e), k: (b s) x (g e), v: (b s) x (g e'), dy: (b t) x (h e').
#[napi(catch_unwind)]
pub fn causal_attention_gradient(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    dy: &Tensor,
    options: AttentionOptions,
) -> Result<Vec<Tensor>> {
    let (q, k, v, dy) = (q.candle()?, k.candle()?, v.candle()?, dy.candle()?);
    let heads = Heads::of([&q, &k, &v], &options)?;
    let Heads { sequences: b, heads: h, key_value_heads: g, t, s, e_value, .. } = heads;
    let dy_stride = h * e_value;
    let [q_width, k_width, v_width] = heads.widths();
    let mut dq = vec![0f32; b * t * q_width];
    let (mut dk, mut dv) = (vec![0f32; b * s * k_width], vec![0f32; b * s * v_width]);
    let [dq_pointer, dk_pointer, dv_pointer] =
        [&mut dq, &mut dk, &mut dv].map(|v| OutPointer(v.as_mut_ptr()));

    with_slice(&q, |q: &[f32]| {
        with_slice(&k, |k: &[f32]| {
            with_slice(&v, |v: &[f32]| {
                with_slice(&dy, |dy: &[f32]| {
                    // The query heads of a group add to the same keys and values, so a group is one job.
                    (0..b * g).into_par_iter().for_each_init(Default::default, |scratch, job| {
                        let (sequence, group) = (job / g, job % g);
                        for head in group * (h / g)..(group + 1) * (h / g) {
                            let view = heads.head([q, k, v], sequence, head);
                            let [q_start, k_start, v_start] = heads.starts(sequence, head);
                            let out =
                                [dq_pointer.at(q_start), dk_pointer.at(k_start), dv_pointer.at(v_start)];
                            let dy = &dy[sequence * t * dy_stride + head * e_value..];
                            for first in (0..t).step_by(TILE) {
                                // SAFETY: every job writes its own rows and columns, inside the vectors above.
                                unsafe {
                                    tile_gradient(
                                        &view,
                                        (first, (t - first).min(TILE)),
                                        dy,
                                        dy_stride,
                                        out,
                                        scratch,
                                    )
                                };
                            }
                        }
                    });
                    Ok(())
                })
            })
        })
    })?;
    Ok(vec![matrix(dq, b * t, q_width)?, matrix(dk, b * s, k_width)?, matrix(dv, b * s, v_width)?])
}

/// Adds one tile's share: with P the softmax, dV += P^T dY, dS = scale P (dP - rowsum(P dP)), dQ = dS K, dK += dS^T Q.
///
/// # Safety
/// The three pointers must be the places of the head's first query, key and value among matrices as large as q, k and v.
unsafe fn tile_gradient(
    head: &Head,
    (first, rows): (usize, usize),
    dy: &[f32],
    dy_stride: usize,
    [dq, dk, dv]: [*mut f32; 3],
    (scores, ds): &mut (Scores, Vec<f32>),
) {
    let (begin, weights) = head.weights(first, rows, scores);
    let keys = weights.len() / rows;
    let [q_stride, k_stride, v_stride] = [head.q_stride, head.k_stride, head.v_stride].map(|s| s as isize);
    let dy = (dy[first * dy_stride..].as_ptr(), dy_stride as isize, 1);
    ds.resize(rows * keys, 0.0);
    // SAFETY: the strides describe the slices that `head` borrows; the outputs are the caller's promise.
    unsafe {
        let (dk, dv) = (dk.add(begin * head.k_stride), dv.add(begin * head.v_stride));
        let v = head.v[begin * head.v_stride..].as_ptr();
        multiply_alone(
            (keys, head.e_value, rows),
            (dv, v_stride, 1),
            (weights.as_ptr(), 1, keys as isize),
            dy,
            true,
        );
        multiply_alone(
            (rows, keys, head.e_value),
            (ds.as_mut_ptr(), keys as isize, 1),
            dy,
            (v, 1, v_stride),
            false,
        );
        softmax_gradient(ds, weights, keys, head.scale);
        let k = (head.k[begin * head.k_stride..].as_ptr(), k_stride, 1);
        let dq = (dq.add(first * head.q_stride), q_stride, 1);
        multiply_alone((rows, head.e, keys), dq, (ds.as_ptr(), keys as isize, 1), k, false);
        let q = (head.q[first * head.q_stride..].as_ptr(), q_stride, 1);
        multiply_alone((keys, head.e, rows), (dk, k_stride, 1), (ds.as_ptr(), 1, keys as isize), q, true);
    }
}

vectorized! {
    /// From dP to scale P (dP - rowsum(P dP)), in place.
    fn softmax_gradient(dp: &mut [f32], p: &[f32], keys: usize, scale: f32) -> () {
        for (dp, p) in dp.chunks_exact_mut(keys).zip(p.chunks_exact(keys)) {
            let mut lanes = [0f32; LANES];
            for (dp, p) in dp.chunks(LANES).zip(p.chunks(LANES)) {
                for ((lane, &dp), &p) in lanes.iter_mut().zip(dp).zip(p) {
                    *lane += p * dp;
                }
            }
            let sum = folded(lanes, #[inline(always)] |a, b| a + b);
            for (dp, &p) in dp.iter_mut().zip(p) {
                *dp = scale * p * (*dp - sum);
            }
        }
    }
}

/// [KL(p || q) of each row in f64 (t), factor times its gradient at the logits: factor (q - p), t x v], with
/// p = softmax(reference), q = softmax(logits). Both t x v.
#[napi(catch_unwind)]
pub fn kl_divergence_gradient(reference: &Tensor, logits: &Tensor, factor: f64) -> Result<Vec<Tensor>> {
    let (reference, logits) = (reference.candle()?, logits.candle()?);
    let (t, v) = logits.dims2().map_err(failure)?;
    let (mut divergences, mut gradient) = (vec![0f64; t], vec![0f32; t * v]);
    with_slice(&reference, |reference: &[f32]| {
        with_slice(&logits, |logits: &[f32]| {
            let rows = divergences.par_iter_mut().zip(gradient.par_chunks_mut(v));
            rows.zip(reference.par_chunks(v).zip(logits.par_chunks(v))).for_each(
                |((divergence, gradient), (p, q))| {
                    *divergence = row_gradient(p, q, factor as f32, gradient);
                },
            );
            Ok(())
        })
    })?;
    Ok(vec![wrap(Candle::from_vec(divergences, t, &Device::Cpu))?, matrix(gradient, t, v)?])
}

fn row_gradient(p: &[f32], q: &[f32], factor: f32, gradient: &mut [f32]) -> f64 {
    weighted_gradient(p, q, log_sum_exp(p) as f32, log_sum_exp(q) as f32, factor, gradient)
}

vectorized! {
    fn weighted_gradient(p: &[f32], q: &[f32], p_log: f32, q_log: f32, factor: f32, gradient: &mut [f32]) -> f64 {
        let mut total = 0f64;
        for ((p, q), gradient) in p.chunks(256).zip(q.chunks(256)).zip(gradient.chunks_mut(256)) {
            let mut lanes = [0f32; LANES];
            for ((p, q), gradient) in p.chunks(LANES).zip(q.chunks(LANES)).zip(gradient.chunks_mut(LANES)) {
                for (((&p, &q), gradient), lane) in p.iter().zip(q).zip(gradient).zip(&mut lanes) {
                    let (p, q) = (p - p_log, q - q_log);
                    let probability = exp(p);
                    *lane += probability * (p - q);
                    *gradient = factor * (exp(q) - probability);
                }
            }
            total += f64::from(lanes.iter().sum::<f32>());
        }
        total
    }
}
