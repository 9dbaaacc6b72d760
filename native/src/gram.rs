//! The lower triangle of X^T X, f32 products added up in f64: a kernel of our own for AVX-512, which the general matrix
//! product cannot match because it packs every panel anew; elsewhere that product.

use rayon::prelude::*;

use crate::product::{Factor, multiply};

/// Adds x x^T over the rows x of `x` (t x n) to the lower triangle of `sums` (n x n, row-major); what is above the diagonal is
/// left undefined. `scratch` is kept between calls to be reused.
pub fn add_gram(x: &[f32], n: usize, sums: &mut [f64], scratch: &mut Vec<f32>) {
    assert!(sums.len() == n * n && x.len().is_multiple_of(n));
    if x.is_empty() {
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        return tiles::add(x, n, sums, scratch);
    }
    add_panels(x, n, sums, scratch);
}

/// Rows of the result made at once: enough for the product to run at full speed, few enough to skip most of the upper
/// triangle.
const PANEL: usize = 288;

/// Panel by panel of rows: the f32 product of a panel is all that is needed beside the sums.
fn add_panels(x: &[f32], n: usize, sums: &mut [f64], scratch: &mut Vec<f32>) {
    scratch.resize(PANEL.min(n) * n, 0.0);
    for first in (0..n).step_by(PANEL) {
        let rows = PANEL.min(n - first);
        let columns = first + rows;
        product_of_columns(x, n, first..columns, scratch);
        let sums = sums[first * n..columns * n].par_chunks_mut(n);
        sums.zip(scratch.par_chunks(columns)).enumerate().for_each(|(row, (sums, panel))| {
            for (sum, &value) in sums[..=first + row].iter_mut().zip(panel) {
                *sum += f64::from(value);
            }
        });
    }
}

/// Rows `panel` of X^T X, up to the last of them: out[i][j] = sum over rows x of x[panel.start + i] x[j], j < panel.end.
fn product_of_columns(x: &[f32], n: usize, panel: std::ops::Range<usize>, out: &mut [f32]) {
    let (rows, columns, t) = (panel.len(), panel.end, x.len() / n);
    assert!(columns <= n && out.len() >= rows * columns);
    let stride = n as isize;
    let left = Factor { values: &x[panel.start..], strides: (1, stride) };
    let right = Factor { values: x, strides: (stride, 1) };
    // SAFETY: both operands lie inside x and the result inside out, as just checked.
    unsafe { multiply(out.as_mut_ptr(), (rows, columns, t), left, right) }
}

/// Tiles of 8 x 48 sums in 24 vector registers, after Goto, van de Geijn 2008 (ACM TOMS 34:12).
#[cfg(target_arch = "x86_64")]
mod tiles {
    use rayon::prelude::*;
    use std::arch::x86_64::*;

    const ROWS: usize = 8;
    const COLUMNS: usize = 48;
    /// Rows of x that go into one f32 sum: their part of a panel stays in the second cache.
    const DEPTH: usize = 512;

    /// As `add_gram`. Threads meet twice: they pack x, then each adds whole panels of rows of the result.
    pub fn add(x: &[f32], n: usize, sums: &mut [f64], scratch: &mut Vec<f32>) {
        let t = x.len() / n;
        scratch.resize(t * n.next_multiple_of(COLUMNS), 0.0);
        pack(x, n, scratch);
        let panels = &*scratch;
        // Longest rows first, so that the threads end together.
        sums.par_chunks_mut(COLUMNS * n).enumerate().rev().with_max_len(1).for_each(|(panel, sums)| {
            let a = &panels[panel * COLUMNS * t..][..COLUMNS * t];
            for (columns, b) in panels.chunks_exact(COLUMNS * t).take(panel + 1).enumerate() {
                for (a, b) in a.chunks(COLUMNS * DEPTH).zip(b.chunks(COLUMNS * DEPTH)) {
                    for (group, sums) in sums.chunks_mut(ROWS * n).enumerate() {
                        let sums = &mut sums[columns * COLUMNS..];
                        // SAFETY: the caller saw the processor's AVX-512.
                        unsafe {
                            add_tile(&a[group * ROWS..], b, sums, n, COLUMNS.min(n - columns * COLUMNS))
                        };
                    }
                }
            }
        });
    }

    /// Panels of 48 columns of x, the values of one row side by side; zeros beyond the last column.
    fn pack(x: &[f32], n: usize, panels: &mut [f32]) {
        let t = x.len() / n;
        panels.par_chunks_mut(COLUMNS * t).enumerate().for_each(|(panel, out)| {
            let columns = panel * COLUMNS..((panel + 1) * COLUMNS).min(n);
            for (out, x) in out.chunks_exact_mut(COLUMNS).zip(x.chunks_exact(n)) {
                out[..columns.len()].copy_from_slice(&x[columns.clone()]);
                out[columns.len()..].fill(0.0);
            }
        });
    }

    /// Adds the tile a^T b to its first `columns` sums a row; rows lie n apart, the last ones may be missing.
    #[target_feature(enable = "avx512f")]
    fn add_tile(a: &[f32], b: &[f32], sums: &mut [f64], n: usize, columns: usize) {
        for row in sums.chunks(n).take(ROWS) {
            for line in row[..columns.min(row.len())].chunks(8) {
                _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast());
            }
        }
        let mut tile = [0f32; ROWS * COLUMNS];
        product(a, b, &mut tile);
        for (row, tile) in sums.chunks_mut(n).zip(tile.chunks_exact(COLUMNS)) {
            for (sum, &value) in row[..columns].iter_mut().zip(tile) {
                *sum += f64::from(value);
            }
        }
    }

    /// tile = a^T b of rows of 48 values, of a the first 8. Never inlined: the 24 sums must stay in registers.
    #[target_feature(enable = "avx512f")]
    #[inline(never)]
    fn product(a: &[f32], b: &[f32], tile: &mut [f32; ROWS * COLUMNS]) {
        let mut sums = [[_mm512_setzero_ps(); 3]; ROWS];
        for (a, b) in a.chunks(COLUMNS).zip(b.chunks_exact(COLUMNS)) {
            // SAFETY: b has 48 values.
            let b = unsafe { [0, 16, 32].map(|at| _mm512_loadu_ps(b.as_ptr().add(at))) };
            for (sums, &a) in sums.iter_mut().zip(&a[..ROWS]) {
                let a = _mm512_set1_ps(a);
                for (sum, b) in sums.iter_mut().zip(b) {
                    *sum = _mm512_fmadd_ps(a, b, *sum);
                }
            }
        }
        for (row, tile) in sums.iter().zip(tile.chunks_exact_mut(COLUMNS)) {
            for (sum, tile) in row.iter().zip(tile.chunks_exact_mut(16)) {
                // SAFETY: tile has 16 values.
                unsafe { _mm512_storeu_ps(tile.as_mut_ptr(), *sum) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{add_gram, add_panels};

    /// Whole numbers, so that sums in any order are equal.
    fn rows(t: usize, n: usize) -> Vec<f32> {
        (0..t * n).map(|i| ((i * 7919) % 23) as f32 - 11.0).collect()
    }

    #[test]
    fn the_sums_are_those_of_single_products() {
        for (t, n) in [(1, 1), (3, 7), (5, 48), (600, 49), (513, 97), (40, 300), (1030, 200)] {
            let x = rows(t, n);
            let (mut fast, mut panels) = (vec![0.0; n * n], vec![0.0; n * n]);
            for _ in 0..2 {
                add_gram(&x, n, &mut fast, &mut Vec::new());
                add_panels(&x, n, &mut panels, &mut Vec::new());
            }
            for i in 0..n {
                for j in 0..=i {
                    let exact: f64 = x.chunks(n).map(|x| f64::from(x[i]) * f64::from(x[j])).sum();
                    assert_eq!(
                        (fast[i * n + j], panels[i * n + j]),
                        (2.0 * exact, 2.0 * exact),
                        "{t} x {n}, {i} {j}"
                    );
                }
            }
        }
    }
}
