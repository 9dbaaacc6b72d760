//! Sums over calibration tokens: f32 products a batch, added up in f64.

use candle_core::{Device, Tensor as Candle};
use faer::linalg::matmul::triangular::{BlockStructure, matmul};
use faer::{Accum, MatMut, MatRef, get_global_parallelism};
use napi_derive::napi;
use rayon::prelude::*;

use crate::error::{Result, failure};
use crate::tensor::{Tensor, with_slice, wrap};

/// sum of x x^T, of x, of |x| and the largest |x|, over the rows x of every batch added.
#[napi]
pub struct TokenSums {
    n: usize,
    /// Lower triangle of the n x n Gram matrix, row-major; empty when not wanted.
    gram: Vec<f64>,
    /// One batch's Gram matrix in f32, kept to be reused.
    batch: Vec<f32>,
    sum: Vec<f64>,
    absolute: Vec<f64>,
    largest: Vec<f64>,
}

#[napi]
impl TokenSums {
    #[napi(constructor, catch_unwind)]
    pub fn new(n: u32, with_gram: bool) -> Self {
        let n = n as usize;
        let gram = if with_gram { vec![0.0; n * n] } else { Vec::new() };
        Self { n, gram, batch: Vec::new(), sum: vec![0.0; n], absolute: vec![0.0; n], largest: vec![0.0; n] }
    }

    /// Adds the rows of x (t x n, f32).
    #[napi(catch_unwind)]
    pub fn add(&mut self, x: &Tensor) -> Result<()> {
        let x = x.candle()?;
        let (t, n) = x.dims2().map_err(failure)?;
        if n != self.n {
            return Err(failure(format!("expected rows of {} values, got {n}", self.n)));
        }
        with_slice(&x, |x: &[f32]| {
            self.add_moments(x);
            if !self.gram.is_empty() {
                self.add_gram(x, t);
            }
            Ok(())
        })
    }

    fn add_moments(&mut self, x: &[f32]) {
        for row in x.chunks_exact(self.n) {
            let sums = self.sum.iter_mut().zip(&mut self.absolute).zip(&mut self.largest);
            for (((sum, absolute), largest), &value) in sums.zip(row) {
                let value = f64::from(value);
                *sum += value;
                *absolute += value.abs();
                *largest = largest.max(value.abs());
            }
        }
    }

    fn add_gram(&mut self, x: &[f32], t: usize) {
        let n = self.n;
        self.batch.resize(n * n, 0.0);
        let x = MatRef::from_row_major_slice(x, t, n);
        let batch = MatMut::from_row_major_slice_mut(&mut self.batch, n, n);
        let (triangle, full) = (BlockStructure::TriangularLower, BlockStructure::Rectangular);
        matmul(batch, triangle, Accum::Replace, x.transpose(), full, x, full, 1f32, get_global_parallelism());
        let rows = self.gram.par_chunks_mut(n).zip(self.batch.par_chunks(n)).enumerate();
        rows.for_each(|(i, (total, batch))| {
            for (total, &value) in total[..=i].iter_mut().zip(batch) {
                *total += f64::from(value);
            }
        });
    }

    /// The symmetric n x n Gram matrix, f64.
    #[napi(catch_unwind)]
    pub fn gram(&self) -> Result<Tensor> {
        let n = self.n;
        if self.gram.is_empty() {
            return Err(failure("the Gram matrix was not asked for"));
        }
        let mut full = self.gram.clone();
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

    /// 3 x n, f64: sum of x, sum of |x|, largest |x|.
    #[napi(catch_unwind)]
    pub fn moments(&self) -> Result<Tensor> {
        let rows = [self.sum.as_slice(), &self.absolute, &self.largest].concat();
        wrap(Candle::from_vec(rows, (3, self.n), &Device::Cpu))
    }

    /// Gives the memory back at once.
    #[napi]
    pub fn dispose(&mut self) {
        self.gram = Vec::new();
        self.batch = Vec::new();
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
