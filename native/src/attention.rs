//! Causal grouped-query attention with the softmax fused in: scores exist for one tile of queries at a time.

use candle_core::{Device, Tensor as Candle};
use napi_derive::napi;
use rayon::prelude::*;

use crate::error::{Result, failure};
use crate::exp::exp;
use crate::product::{OutPointer, multiply_alone};
use crate::simd::{LANES, folded, largest, vectorized};
use crate::tensor::{Tensor, with_slice, wrap};

/// Queries a tile: 64 rows of scores stay in the cache, and little of the masked triangle is computed.
pub(crate) const TILE: usize = 128;

#[napi(object)]
pub struct AttentionOptions {
    /// Independent sequences, stacked along the rows.
    pub sequences: u32,
    pub heads: u32,
    pub key_value_heads: u32,
    /// Multiplies q k^T.
    pub scale: f64,
    /// Keys a query sees, itself included; 0 for all before it.
    pub window: u32,
}

/// One head of one sequence: where its rows start and how far apart they lie.
pub(crate) struct Head<'a> {
    pub q: &'a [f32],
    pub k: &'a [f32],
    pub v: &'a [f32],
    pub q_stride: usize,
    pub k_stride: usize,
    pub v_stride: usize,
    /// Width of a query and of a value.
    pub e: usize,
    pub e_value: usize,
    /// Position of the first query among the keys.
    pub offset: usize,
    pub scale: f32,
    pub window: usize,
}

/// How the heads lie in q, (b t) x (h e), in k, (b s) x (g e), and in v, (b s) x (g e').
#[derive(Clone, Copy)]
pub(crate) struct Heads {
    /// b
    pub sequences: usize,
    /// h
    pub heads: usize,
    /// g
    pub key_value_heads: usize,
    /// Queries and keys of a sequence.
    pub t: usize,
    pub s: usize,
    pub e: usize,
    pub e_value: usize,
    scale: f32,
    window: usize,
}

impl Heads {
    pub(crate) fn of([q, k, v]: [&Candle; 3], options: &AttentionOptions) -> Result<Self> {
        let (sequences, heads) = (options.sequences as usize, options.heads as usize);
        let key_value_heads = options.key_value_heads as usize;
        let ((q_rows, q_width), (k_rows, _)) = (q.dims2().map_err(failure)?, k.dims2().map_err(failure)?);
        let (_, v_width) = v.dims2().map_err(failure)?;
        Ok(Self {
            sequences,
            heads,
            key_value_heads,
            t: q_rows / sequences,
            s: k_rows / sequences,
            e: q_width / heads,
            e_value: v_width / key_value_heads,
            scale: options.scale as f32,
            window: options.window as usize,
        })
    }

    /// Values in a row of q, of k and of v.
    pub(crate) fn widths(&self) -> [usize; 3] {
        [self.heads * self.e, self.key_value_heads * self.e, self.key_value_heads * self.e_value]
    }

    /// Where one head of one sequence begins in q, k and v.
    pub(crate) fn starts(&self, sequence: usize, head: usize) -> [usize; 3] {
        let group = head / (self.heads / self.key_value_heads);
        let [q, k, v] = self.widths();
        [
            sequence * self.t * q + head * self.e,
            sequence * self.s * k + group * self.e,
            sequence * self.s * v + group * self.e_value,
        ]
    }

    pub(crate) fn head<'a>(&self, [q, k, v]: [&'a [f32]; 3], sequence: usize, head: usize) -> Head<'a> {
        let [q_stride, k_stride, v_stride] = self.widths();
        let [q_start, k_start, v_start] = self.starts(sequence, head);
        let Self { e, e_value, scale, window, .. } = *self;
        let (q, k, v) = (&q[q_start..], &k[k_start..], &v[v_start..]);
        Head { q, k, v, q_stride, k_stride, v_stride, e, e_value, offset: self.s - self.t, scale, window }
    }
}

/// softmax(q k^T scale, causal) v. q: (b t) x (h e), k: (b s) x (g e), v: (b s) x (g e'), out: (b t) x (h e').
/// The last query sits at the last key, so s - t earlier keys come from a cache.
#[napi(catch_unwind)]
pub fn causal_attention(q: &Tensor, k: &Tensor, v: &Tensor, options: AttentionOptions) -> Result<Tensor> {
    let (q, k, v) = (q.candle()?, k.candle()?, v.candle()?);
    let heads = Heads::of([&q, &k, &v], &options)?;
    let Heads { sequences: b, heads: h, t, e_value, .. } = heads;
    let width = h * e_value;
    let mut out = vec![0f32; b * t * width];
    let out_pointer = OutPointer(out.as_mut_ptr());

    with_slice(&q, |q: &[f32]| {
        with_slice(&k, |k: &[f32]| {
            with_slice(&v, |v: &[f32]| {
                let tiles = t.div_ceil(TILE);
                (0..b * h * tiles).into_par_iter().for_each_init(Scores::default, |scores, job| {
                    let (sequence, head, tile) = (job / (h * tiles), job / tiles % h, job % tiles);
                    let view = heads.head([q, k, v], sequence, head);
                    let first = tile * TILE;
                    let start = (sequence * t + first) * width + head * e_value;
                    // SAFETY: every job writes its own rows and columns of `out`, which outlives the loop.
                    unsafe {
                        view.tile(first, (t - first).min(TILE), scores, (out_pointer.at(start), width))
                    };
                });
                Ok(())
            })
        })
    })?;
    wrap(Candle::from_vec(out, (b * t, width), &Device::Cpu))
}

/// Memory for a tile of scores, kept from one to the next.
#[derive(Default)]
pub(crate) struct Scores {
    values: Vec<f32>,
    /// What each row's values are to be multiplied by, so that they add up to one.
    inverse_sums: Vec<f32>,
}

impl Head<'_> {
    /// exp(scores - their largest) of `rows` queries from `first`, rows x keys; gives the first of these keys, which are all that
    /// any of the queries sees.
    fn exponentials(&self, first: usize, rows: usize, scores: &mut Scores) -> usize {
        let end = self.offset + first + rows; // keys that the last query of the tile sees
        let begin = if self.window == 0 { 0 } else { (self.offset + first + 1).saturating_sub(self.window) };
        let keys = end - begin;
        let Scores { values, inverse_sums } = scores;
        values.resize(rows * keys, 0.0);
        // SAFETY: the strides describe the slices that `Head` borrows.
        unsafe {
            multiply_alone(
                (rows, keys, self.e),
                (values.as_mut_ptr(), keys as isize, 1),
                (self.q[first * self.q_stride..].as_ptr(), self.q_stride as isize, 1),
                (self.k[begin * self.k_stride..].as_ptr(), 1, self.k_stride as isize),
                false,
            );
        }
        inverse_sums.clear();
        for (row, scores) in values.chunks_exact_mut(keys).enumerate() {
            let seen = self.offset + first + row + 1 - begin;
            let from = if self.window == 0 { 0 } else { seen.saturating_sub(self.window) };
            scores[..from].fill(0.0);
            scores[seen..].fill(0.0);
            inverse_sums.push(1.0 / exponentials(&mut scores[from..seen], self.scale));
        }
        begin
    }

    /// The softmax of `rows` queries from `first` over the keys from the first that any of them sees, rows x keys.
    pub(crate) fn weights<'a>(
        &self,
        first: usize,
        rows: usize,
        scores: &'a mut Scores,
    ) -> (usize, &'a [f32]) {
        let begin = self.exponentials(first, rows, scores);
        let Scores { values, inverse_sums } = scores;
        let keys = values.len() / rows;
        values.chunks_exact_mut(keys).zip(inverse_sums).for_each(|(row, inverse)| scale(row, *inverse));
        (begin, values)
    }

    /// Attention of `rows` queries from `first`, written to `out` with rows `stride` apart.
    ///
    /// # Safety
    /// `out` must be valid for `rows` rows of `e_value` values.
    unsafe fn tile(&self, first: usize, rows: usize, scores: &mut Scores, (out, stride): (*mut f32, usize)) {
        let begin = self.exponentials(first, rows, scores);
        let Scores { values, inverse_sums } = scores;
        let keys = values.len() / rows;
        // SAFETY: as in `exponentials`; `out` is the caller's promise.
        unsafe {
            multiply_alone(
                (rows, self.e_value, keys),
                (out, stride as isize, 1),
                (values.as_ptr(), keys as isize, 1),
                (self.v[begin * self.v_stride..].as_ptr(), self.v_stride as isize, 1),
                false,
            );
            for (row, inverse) in inverse_sums.iter().enumerate() {
                scale(std::slice::from_raw_parts_mut(out.add(row * stride), self.e_value), *inverse);
            }
        }
    }
}

vectorized! {
    /// exp(scale * (score - the largest)), in place, and the sum of them.
    fn exponentials(scores: &mut [f32], scale: f32) -> f32 {
        let max = largest(scores) * scale;
        let mut lanes = [0f32; LANES];
        let mut chunks = scores.chunks_exact_mut(LANES);
        for chunk in &mut chunks {
            for (lane, v) in lanes.iter_mut().zip(chunk) {
                *v = exp(*v * scale - max);
                *lane += *v;
            }
        }
        for (lane, v) in lanes.iter_mut().zip(chunks.into_remainder()) {
            *v = exp(*v * scale - max);
            *lane += *v;
        }
        folded(lanes, #[inline(always)] |a, b| a + b)
    }
}

vectorized! {
    fn scale(values: &mut [f32], factor: f32) -> () {
        for v in values {
            *v *= factor;
        }
    }
}
