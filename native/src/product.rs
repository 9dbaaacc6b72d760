//! Matrix products by the general kernel, straight into memory that nothing wrote before: zeros first, as candle puts them there,
//! are a tenth of the time of a product of an MLP, on one thread.

use candle_core::{DType, Device, Tensor as Candle, WithDType};
use gemm::Parallelism;

use crate::error::{Result, failure};
use crate::tensor::with_view;

/// a b of two matrices of one dtype, views included. a: m x k, b: k x n.
pub fn product(a: &Candle, b: &Candle) -> Result<Candle> {
    match (a.dtype(), b.dtype(), a.rank(), b.rank()) {
        (DType::F32, DType::F32, 2, 2) => multiplied::<f32>(a, b),
        (DType::F64, DType::F64, 2, 2) => multiplied::<f64>(a, b),
        _ => a.matmul(b).map_err(failure),
    }
}

fn multiplied<T: WithDType>(a: &Candle, b: &Candle) -> Result<Candle> {
    with_view(a, |a: &[T], (m, k), (a_rs, a_cs)| {
        with_view(b, |b: &[T], (rows, n), (b_rs, b_cs)| {
            if k != rows {
                return Err(failure(format!("a product of {m} x {k} and {rows} x {n}")));
            }
            let mut out = Vec::with_capacity(m * n);
            // SAFETY: both views lie inside their slices, and the result fills the m n values reserved.
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
            Candle::from_vec(out, (m, n), &Device::Cpu).map_err(failure)
        })
    })
}

/// All that the pool has.
pub fn threads() -> Parallelism {
    match rayon::current_num_threads() {
        1 => Parallelism::None,
        count => Parallelism::Rayon(count),
    }
}
