//! Matrix products by the general kernel, straight into memory that nothing wrote before: zeros first, as candle puts them there,
//! are a tenth of the time of a product of an MLP, on one thread.

use candle_core::{DType, Device, Tensor as Candle, WithDType};
use gemm::Parallelism;
use rayon::prelude::*;

use crate::bfloat::times_bfloat;
use crate::error::{Result, failure};
use crate::tensor::with_view;

/// a b of two matrices of one dtype, views included; b may be the transpose of a bf16 matrix where a is f32. a: m x k, b: k x n.
pub fn product(a: &Candle, b: &Candle) -> Result<Candle> {
    match (a.dtype(), b.dtype(), a.rank(), b.rank()) {
        (DType::F32, DType::F32, 2, 2) => multiplied::<f32>(a, b),
        (DType::F32, DType::BF16, 2, 2) => times_bfloat(a, b),
        (DType::F64, DType::F64, 2, 2) => multiplied::<f64>(a, b),
        _ => a.matmul(b).map_err(failure),
    }
}

pub fn multiplied<T: WithDType>(a: &Candle, b: &Candle) -> Result<Candle> {
    with_view(a, |a: &[T], (m, k), a_strides| {
        with_view(b, |b: &[T], (rows, n), b_strides| {
            if k != rows {
                return Err(failure(format!("a product of {m} x {k} and {rows} x {n}")));
            }
            let mut out = Vec::with_capacity(m * n);
            let (a, b) = (Factor { values: a, strides: a_strides }, Factor { values: b, strides: b_strides });
            // SAFETY: both views lie inside their slices, and the result fills the m n values reserved.
            unsafe {
                multiply(out.as_mut_ptr(), (m, n, k), a, b);
                out.set_len(m * n);
            }
            Candle::from_vec(out, (m, n), &Device::Cpu).map_err(failure)
        })
    })
}

/// A matrix's values from its first on, and how far apart its rows and its columns are.
#[derive(Clone, Copy)]
pub struct Factor<'a, T> {
    pub values: &'a [T],
    pub strides: (isize, isize),
}

/// Multiplications below which another thread takes longer to begin than it helps.
const WORTH_THREADS: usize = 1 << 19;
/// Parts begin at whole tiles of the kernel, whose longer side is 48 with AVX-512.
const TILE: usize = 48;

/// out = a b, row-major; a: m x k, b: k x n. Each thread makes a part of the longer side of the result by itself, and packs the whole of
/// the factor on the other side; the kernel's own threads share what they pack and wait for one another.
///
/// # Safety
/// Both factors lie inside their slices, and `out` has room for m n values.
pub unsafe fn multiply<T: WithDType>(
    out: *mut T,
    (m, n, k): (usize, usize, usize),
    a: Factor<T>,
    b: Factor<T>,
) {
    let threads = if m * k * n < WORTH_THREADS { 1 } else { rayon::current_num_threads() };
    let out = OutPointer(out);
    let part = |side: usize| side.div_ceil(threads).next_multiple_of(TILE).max(TILE);
    let (rows, columns) = if m >= n { (part(m), n.max(1)) } else { (m.max(1), part(n)) };
    let across = n.div_ceil(columns);
    (0..m.div_ceil(rows) * across).into_par_iter().for_each(|index| {
        let (row, column) = (index / across * rows, index % across * columns);
        let size = (rows.min(m - row), columns.min(n - column), k);
        let out = (out.at(row * n + column), n as isize, 1);
        // SAFETY: the part lies inside the result, and no two parts overlap.
        unsafe { multiply_alone(size, out, a.from(row, 0), b.from(0, column), false) }
    });
}

/// A matrix from its first value: where that is, and how far apart its rows and its columns are.
pub type Strided<P> = (P, isize, isize);

/// out = a b, or out + a b, on the caller's thread; sizes are (m, n, k).
///
/// # Safety
/// The pointers must be valid for the sizes and strides given.
pub unsafe fn multiply_alone<T: WithDType>(
    (m, n, k): (usize, usize, usize),
    (out, out_rs, out_cs): Strided<*mut T>,
    (a, a_rs, a_cs): Strided<*const T>,
    (b, b_rs, b_cs): Strided<*const T>,
    adds: bool,
) {
    let one = T::from_f64(1.0);
    let kept = if adds { one } else { T::from_f64(0.0) };
    let alone = Parallelism::None;
    // SAFETY: the caller's promise.
    unsafe {
        gemm::gemm(
            m, n, k, out, out_cs, out_rs, adds, a, a_cs, a_rs, b, b_cs, b_rs, kept, one, false, false, false,
            alone,
        );
    }
}

impl<T> Factor<'_, T> {
    /// The part that begins at a row and a column.
    fn from(&self, row: usize, column: usize) -> Strided<*const T> {
        let offset = row as isize * self.strides.0 + column as isize * self.strides.1;
        (self.values.as_ptr().wrapping_offset(offset), self.strides.0, self.strides.1)
    }
}

/// Where a result begins, for jobs that write disjoint parts of it.
pub struct OutPointer<T>(pub *mut T);

// SAFETY: the jobs that share the pointer write disjoint places.
unsafe impl<T> Sync for OutPointer<T> {}

impl<T> OutPointer<T> {
    pub fn at(&self, index: usize) -> *mut T {
        self.0.wrapping_add(index)
    }
}
