//! Sums over calibration tokens: f32 products a batch, added up in f64.

use candle_core::{Device, Tensor as Candle};
use napi_derive::napi;
use rayon::prelude::*;

use crate::error::{Result, failure};
use crate::gram::add_gram;
use crate::simd::vectorized;
use crate::tensor::{Tensor, with_slice, wrap};

/// Columns whose moments one thread adds up.
const MOMENT_COLUMNS: usize = 64;

/// sum of x x^T, of x, of |x| and the largest |x|, over the rows x of every batch added; and where each batch lies.
#[napi]
pub struct TokenSums {
    n: usize,
    /// Lower triangle of the n x n Gram matrix, row-major; empty when not wanted.
    gram: Vec<f64>,
    scratch: Vec<f32>,
    sum: Vec<f64>,
    absolute: Vec<f64>,
    largest: Vec<f64>,
    /// B x n: sqrt(t) mean(x) of each batch of t rows.
    batches: Vec<f64>,
}

vectorized! {
    fn add_row(row: &[f32], sum: &mut [f64], absolute: &mut [f64], largest: &mut [f64]) -> () {
        for (((sum, absolute), largest), &value) in sum.iter_mut().zip(absolute).zip(largest).zip(row) {
            let value = f64::from(value);
            *sum += value;
            *absolute += value.abs();
            *largest = if value.abs() > *largest { value.abs() } else { *largest };
        }
    }
}

#[napi]
impl TokenSums {
    #[napi(constructor, catch_unwind)]
    pub fn new(n: u32, with_gram: bool) -> Self {
        let n = n as usize;
        let gram = if with_gram { vec![0.0; n * n] } else { Vec::new() };
        Self {
            n,
            gram,
            scratch: Vec::new(),
            sum: vec![0.0; n],
            absolute: vec![0.0; n],
            largest: vec![0.0; n],
            batches: Vec::new(),
        }
    }

    /// Adds the rows of x (t x n, f32).
    #[napi(catch_unwind)]
    pub fn add(&mut self, x: &Tensor) -> Result<()> {
        let x = x.candle()?;
        let (_, n) = x.dims2().map_err(failure)?;
        if n != self.n {
            return Err(failure(format!("expected rows of {} values, got {n}", self.n)));
        }
        with_slice(&x, |x: &[f32]| {
            self.add_moments(x);
            if !self.gram.is_empty() {
                add_gram(x, self.n, &mut self.gram, &mut self.scratch);
            }
            Ok(())
        })
    }

    fn add_moments(&mut self, x: &[f32]) {
        let n = self.n;
        let before = self.sum.clone();
        let sums = self.sum.par_chunks_mut(MOMENT_COLUMNS).zip(self.absolute.par_chunks_mut(MOMENT_COLUMNS));
        let columns = sums.zip(self.largest.par_chunks_mut(MOMENT_COLUMNS)).enumerate();
        columns.for_each(|(i, ((sum, absolute), largest))| {
            let at = i * MOMENT_COLUMNS;
            for row in x.chunks_exact(n) {
                add_row(&row[at..at + sum.len()], sum, absolute, largest);
            }
        });
        let scale = 1.0 / ((x.len() / n).max(1) as f64).sqrt();
        self.batches.extend(self.sum.iter().zip(before).map(|(sum, before)| (sum - before) * scale));
    }

    /// The symmetric n x n Gram matrix, f64, handed over and not copied: the sums are without it afterwards.
    #[napi(catch_unwind)]
    pub fn take_gram(&mut self) -> Result<Tensor> {
        let n = self.n;
        if self.gram.is_empty() {
            return Err(failure("the Gram matrix was not asked for, or was taken already"));
        }
        let mut full = std::mem::take(&mut self.gram);
        self.scratch = Vec::new();
        mirror(&mut full, n);
        wrap(Candle::from_vec(full, (n, n), &Device::Cpu))
    }

    /// The lower triangle of the Gram matrix, row by row: n (n + 1) / 2 values, f64.
    #[napi(catch_unwind)]
    pub fn triangle(&self) -> Result<Tensor> {
        if self.gram.is_empty() {
            return Err(failure("the Gram matrix was not asked for"));
        }
        let mut packed = Vec::with_capacity(self.n * (self.n + 1) / 2);
        for (i, row) in self.gram.chunks_exact(self.n).enumerate() {
            packed.extend_from_slice(&row[..=i]);
        }
        let length = packed.len();
        wrap(Candle::from_vec(packed, length, &Device::Cpu))
    }

    /// (3 + B) x n, f64: sum of x, sum of |x|, largest |x|, and sqrt(t) mean(x) of each of B batches of t rows.
    #[napi(catch_unwind)]
    pub fn moments(&self) -> Result<Tensor> {
        let rows = [self.sum.as_slice(), &self.absolute, &self.largest, &self.batches].concat();
        let count = rows.len() / self.n;
        wrap(Candle::from_vec(rows, (count, self.n), &Device::Cpu))
    }

    /// Gives the memory back at once.
    #[napi]
    pub fn dispose(&mut self) {
        self.gram = Vec::new();
        self.scratch = Vec::new();
    }
}

/// The symmetric n x n matrix of a packed lower triangle (n (n + 1) / 2 values, row by row), f64.
#[napi(catch_unwind)]
pub fn symmetric(triangle: &Tensor, n: u32) -> Result<Tensor> {
    let n = n as usize;
    let mut full = vec![0.0; n * n];
    with_slice(&triangle.candle()?, |packed: &[f64]| {
        if packed.len() != n * (n + 1) / 2 {
            return Err(failure(format!("expected {} values, got {}", n * (n + 1) / 2, packed.len())));
        }
        let mut rest = packed;
        for (i, row) in full.chunks_exact_mut(n).enumerate() {
            let (head, tail) = rest.split_at(i + 1);
            row[..=i].copy_from_slice(head);
            rest = tail;
        }
        Ok(())
    })?;
    mirror(&mut full, n);
    wrap(Candle::from_vec(full, (n, n), &Device::Cpu))
}

/// Tiles of this many rows and columns fit the cache, both where they are read and where they are written.
const TILE: usize = 64;

/// Copies the lower triangle of a row-major n x n matrix to the upper one.
fn mirror(full: &mut [f64], n: usize) {
    for row in (0..n).step_by(TILE) {
        for column in (0..=row).step_by(TILE) {
            for i in row..n.min(row + TILE) {
                for j in column..i.min(column + TILE) {
                    full[j * n + i] = full[i * n + j];
                }
            }
        }
    }
}
