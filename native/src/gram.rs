//! The lower triangle of X^T X, f32 products added up in f64: a kernel of our own for AVX-512, which the general matrix
//! product cannot match because it packs every panel anew; elsewhere that product.

use rayon::prelude::*;

use crate::product::{Factor, multiply};

/// Adds x x^T over the rows x of `x` (t x n) to the lower triangle of `sums` (n x n, row-major); what is above the diagonal is
/// left undefined. `scratch` is kept between calls to be reused.
pub fn add_gram(x: &[f32], n: usize, sums: &mut [f64], scratch: &mut Vec<f32>) {
    assert!(sums.len() == n * n && x.len().is_multiple_of(n));
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f") {
        return x.chunks(tiles::DEPTH * n).for_each(|rows| tiles::add(rows, n, sums, scratch));
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
    unsafe { multiply(out.as_mut_ptr(), (rows, t, columns), left, right) }
}

/// Tiles of 8 x 48 sums in 24 vector registers, after Goto, van de Geijn 2008 (ACM TOMS 34:12).
#[cfg(target_arch = "x86_64")]
mod tiles {
    use rayon::prelude::*;
    use std::arch::x86_64::*;

    const ROWS: usize = 8;
    const COLUMNS: usize = 48;
    /// Rows of x that go into one f32 sum: a panel of them fits the second cache, and f64 sums are touched rarely.
    pub const DEPTH: usize = 512;

    /// As `add_gram`, for at most DEPTH rows of x.
    pub fn add(x: &[f32], n: usize, sums: &mut [f64], scratch: &mut Vec<f32>) {
        let depth = x.len() / n;
        let width = n.next_multiple_of(COLUMNS);
        scratch.resize(2 * depth * width, 0.0);
        let (narrow, wide) = scratch.split_at_mut(depth * width);
        pack::<ROWS>(x, n, narrow);
        pack::<COLUMNS>(x, n, wide);
        let (narrow, wide) = (&*narrow, &*wide);
        // Longest rows first, so that the threads end together.
        sums.par_chunks_mut(COLUMNS * n).enumerate().rev().with_max_len(1).for_each(|(panel, sums)| {
            let groups = narrow[panel * COLUMNS * depth..].chunks_exact(ROWS * depth);
            for (columns, b) in wide.chunks_exact(COLUMNS * depth).take(panel + 1).enumerate() {
                for (a, sums) in groups.clone().zip(sums.chunks_mut(ROWS * n)) {
                    // SAFETY: the caller saw the processor's AVX-512.
                    unsafe {
                        add_tile(a, b, &mut sums[columns * COLUMNS..], n, COLUMNS.min(n - columns * COLUMNS))
                    };
                }
            }
        });
    }

    /// Panels of W columns of x, the values of one row side by side; zeros beyond the last column.
    fn pack<const W: usize>(x: &[f32], n: usize, out: &mut [f32]) {
        let depth = x.len() / n;
        out.par_chunks_mut(W * depth).enumerate().for_each(|(panel, out)| {
            let columns = (panel * W).min(n)..((panel + 1) * W).min(n);
            for (out, x) in out.chunks_exact_mut(W).zip(x.chunks_exact(n)) {
                out[..columns.len()].copy_from_slice(&x[columns.clone()]);
                out[columns.len()..].fill(0.0);
            }
        });
    }

    /// Adds the tile a^T b to its first `columns` sums a row; rows lie n apart, the last ones may be missing.
    #[target_feature(enable = "avx512f")]
    fn add_tile(a: &[f32], b: &[f32], sums: &mut [f64], n: usize, columns: usize) {
        for row in sums.chunks(n) {
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

    /// tile = a^T b, depth x 8 and depth x 48. Never inlined: the 24 sums must stay in registers.
    #[target_feature(enable = "avx512f")]
    #[inline(never)]
    fn product(a: &[f32], b: &[f32], tile: &mut [f32; ROWS * COLUMNS]) {
        let mut sums = [[_mm512_setzero_ps(); 3]; ROWS];
        for (a, b) in a.chunks_exact(ROWS).zip(b.chunks_exact(COLUMNS)) {
            // SAFETY: b has 48 values.
            let b = unsafe { [0, 16, 32].map(|at| _mm512_loadu_ps(b.as_ptr().add(at))) };
            for (sums, &a) in sums.iter_mut().zip(a) {
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
