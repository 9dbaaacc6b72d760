//! Matrix products by the general kernel, straight into memory that nothing wrote before: zeros first, as candle puts them there,
//! are a tenth of the time of a product of an MLP, on one thread.

use candle_core::{DType, Device, Storage, Tensor as Candle, WithDType};
use gemm::Parallelism;

use crate::error::{Result, failure};

/// a b of two matrices of one dtype, views included. a: m x k, b: k x n.
pub fn product(a: &Candle, b: &Candle) -> Result<Candle> {
    match (a.dtype(), b.dtype(), a.rank(), b.rank()) {
        (DType::F32, DType::F32, 2, 2) => multiplied::<f32>(a, b),
        (DType::F64, DType::F64, 2, 2) => multiplied::<f64>(a, b),
        _ => a.matmul(b).map_err(failure),
    }
}

fn multiplied<T: WithDType>(a: &Candle, b: &Candle) -> Result<Candle> {
    let ((m, k), (rows, n)) = (a.dims2().map_err(failure)?, b.dims2().map_err(failure)?);
    if k != rows {
        return Err(failure(format!("a product of {m} x {k} and {rows} x {n}")));
    }
    let mut out = Vec::<T>::with_capacity(m * n);
    with_view(a, |a: &[T], (a_rs, a_cs)| {
        with_view(b, |b: &[T], (b_rs, b_cs)| {
            // SAFETY: both views lie inside their slices, as with_view checked, and the result fills the m n values reserved.
            unsafe {
                gemm::gemm(
                    m,
                    n,
                    k,
                    out.as_mut_ptr(),
                    1,
                    n as isize,
                    false,
                    a.as_ptr(),
                    a_cs,
                    a_rs,
                    b.as_ptr(),
                    b_cs,
                    b_rs,
                    T::from_f64(0.0),
                    T::from_f64(1.0),
                    false,
                    false,
                    false,
                    threads(),
                );
                out.set_len(m * n);
            }
            Ok(())
        })
    })?;
    Candle::from_vec(out, (m, n), &Device::Cpu).map_err(failure)
}

fn threads() -> Parallelism {
    match rayon::current_num_threads() {
        1 => Parallelism::None,
        count => Parallelism::Rayon(count),
    }
}

/// The values of a matrix from its first on, and how far apart its rows and its columns lie in them.
fn with_view<T: WithDType>(
    matrix: &Candle,
    read: impl FnOnce(&[T], (isize, isize)) -> Result<()>,
) -> Result<()> {
    let (rows, columns) = matrix.dims2().map_err(failure)?;
    let (storage, layout) = matrix.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return Err(failure("expected a tensor in main memory"));
    };
    let values = &storage.as_slice::<T>().map_err(failure)?[layout.start_offset()..];
    let (row, column) = (layout.stride()[0], layout.stride()[1]);
    assert!(rows == 0 || columns == 0 || (rows - 1) * row + (columns - 1) * column < values.len());
    read(values, (row as isize, column as isize))
}
