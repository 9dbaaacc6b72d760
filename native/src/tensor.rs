//! The `Tensor` class: dense row-major memory outside the JavaScript heap, released by `dispose`.

use std::sync::Mutex;

use candle_core::{DType, Device, Shape, Tensor as Candle};
use napi::bindgen_prelude::{Float32Array, Float64Array, Uint32Array};
use napi_derive::napi;

use crate::error::{Result, failure};
use crate::product::product;
use crate::select::selected;

#[napi]
pub struct Tensor {
    inner: Mutex<Option<Candle>>,
}

impl From<Candle> for Tensor {
    fn from(tensor: Candle) -> Self {
        Self { inner: Mutex::new(Some(tensor)) }
    }
}

impl Tensor {
    /// The candle tensor (a reference count, no copy); an error once disposed.
    pub fn candle(&self) -> Result<Candle> {
        let inner = self.inner.lock().map_err(failure)?;
        inner.clone().ok_or_else(|| failure("the tensor was used after it was disposed"))
    }
}

pub fn wrap(result: candle_core::Result<Candle>) -> Result<Tensor> {
    result.map(Tensor::from).map_err(failure)
}

pub fn dtype_of(name: &str) -> Result<DType> {
    name.parse().map_err(|_| failure(format!("unknown dtype {name}")))
}

fn shape_of(dims: &[u32]) -> Shape {
    Shape::from(dims.iter().map(|&d| d as usize).collect::<Vec<_>>())
}

/// Contiguous values of a tensor of type `T`, in row order.
pub fn with_slice<T: candle_core::WithDType, R>(
    tensor: &Candle,
    read: impl FnOnce(&[T]) -> Result<R>,
) -> Result<R> {
    let tensor = tensor.contiguous().map_err(failure)?;
    let (storage, layout) = tensor.storage_and_layout();
    let candle_core::Storage::Cpu(storage) = &*storage else {
        return Err(failure("expected a tensor in main memory"));
    };
    let values = storage.as_slice::<T>().map_err(failure)?;
    read(&values[layout.start_offset()..layout.start_offset() + layout.shape().elem_count()])
}

/// Values of a matrix of type `T` without a copy, transposed views included: from its first on, with its rows, its columns, and how
/// far apart each lie. Every entry is inside.
pub fn with_view<T: candle_core::WithDType, R>(
    matrix: &Candle,
    read: impl FnOnce(&[T], (usize, usize), (isize, isize)) -> Result<R>,
) -> Result<R> {
    let (rows, columns) = matrix.dims2().map_err(failure)?;
    let (storage, layout) = matrix.storage_and_layout();
    let candle_core::Storage::Cpu(storage) = &*storage else {
        return Err(failure("expected a tensor in main memory"));
    };
    let values = &storage.as_slice::<T>().map_err(failure)?[layout.start_offset()..];
    let (row, column) = (layout.stride()[0], layout.stride()[1]);
    assert!(rows == 0 || columns == 0 || (rows - 1) * row + (columns - 1) * column < values.len());
    read(values, (rows, columns), (row as isize, column as isize))
}

#[napi]
impl Tensor {
    #[napi(factory, catch_unwind)]
    pub fn from_f32(values: Float32Array, shape: Vec<u32>) -> Result<Tensor> {
        wrap(Candle::from_slice(&values, shape_of(&shape), &Device::Cpu))
    }

    #[napi(factory, catch_unwind)]
    pub fn from_f64(values: Float64Array, shape: Vec<u32>) -> Result<Tensor> {
        wrap(Candle::from_slice(&values, shape_of(&shape), &Device::Cpu))
    }

    #[napi(factory, catch_unwind)]
    pub fn from_u32(values: Uint32Array, shape: Vec<u32>) -> Result<Tensor> {
        wrap(Candle::from_slice(&values, shape_of(&shape), &Device::Cpu))
    }

    #[napi(factory, catch_unwind)]
    pub fn zeros(shape: Vec<u32>, dtype: String) -> Result<Tensor> {
        wrap(Candle::zeros(shape_of(&shape), dtype_of(&dtype)?, &Device::Cpu))
    }

    #[napi]
    pub fn dispose(&self) {
        if let Ok(mut inner) = self.inner.lock() {
            inner.take();
        }
    }

    #[napi(getter)]
    pub fn shape(&self) -> Result<Vec<u32>> {
        Ok(self.candle()?.dims().iter().map(|&d| d as u32).collect())
    }

    #[napi(getter)]
    pub fn dtype(&self) -> Result<String> {
        Ok(self.candle()?.dtype().as_str().to_string())
    }

    #[napi(catch_unwind)]
    pub fn to_f32(&self) -> Result<Float32Array> {
        let tensor = self.candle()?.to_dtype(DType::F32).map_err(failure)?;
        with_slice(&tensor, |values: &[f32]| Ok(values.to_vec().into()))
    }

    #[napi(catch_unwind)]
    pub fn to_f64(&self) -> Result<Float64Array> {
        let tensor = self.candle()?.to_dtype(DType::F64).map_err(failure)?;
        with_slice(&tensor, |values: &[f64]| Ok(values.to_vec().into()))
    }

    #[napi(catch_unwind)]
    pub fn cast(&self, dtype: String) -> Result<Tensor> {
        wrap(self.candle()?.to_dtype(dtype_of(&dtype)?))
    }

    #[napi(catch_unwind)]
    pub fn reshape(&self, shape: Vec<u32>) -> Result<Tensor> {
        wrap(self.candle()?.reshape(shape_of(&shape)))
    }

    /// A view with the two dimensions of a matrix exchanged.
    #[napi(catch_unwind)]
    pub fn transpose(&self) -> Result<Tensor> {
        wrap(self.candle()?.t())
    }

    #[napi(catch_unwind)]
    pub fn contiguous(&self) -> Result<Tensor> {
        wrap(self.candle()?.contiguous())
    }

    /// A view of `length` entries from `start` along `dimension`.
    #[napi(catch_unwind)]
    pub fn narrow(&self, dimension: u32, start: u32, length: u32) -> Result<Tensor> {
        wrap(self.candle()?.narrow(dimension as usize, start as usize, length as usize))
    }

    /// The entries that `indices` names along `dimension`, in that order.
    #[napi(catch_unwind)]
    pub fn select(&self, dimension: u32, indices: Uint32Array) -> Result<Tensor> {
        selected(&self.candle()?, dimension as usize, &indices).map(Tensor::from)
    }

    #[napi(catch_unwind)]
    pub fn add(&self, other: &Tensor) -> Result<Tensor> {
        wrap(self.candle()?.broadcast_add(&other.candle()?))
    }

    #[napi(catch_unwind)]
    pub fn sub(&self, other: &Tensor) -> Result<Tensor> {
        wrap(self.candle()?.broadcast_sub(&other.candle()?))
    }

    #[napi(catch_unwind)]
    pub fn mul(&self, other: &Tensor) -> Result<Tensor> {
        wrap(self.candle()?.broadcast_mul(&other.candle()?))
    }

    #[napi(catch_unwind)]
    pub fn div(&self, other: &Tensor) -> Result<Tensor> {
        wrap(self.candle()?.broadcast_div(&other.candle()?))
    }

    /// `factor * x + addend`, entry by entry.
    #[napi(catch_unwind)]
    pub fn affine(&self, factor: f64, addend: f64) -> Result<Tensor> {
        wrap(self.candle()?.affine(factor, addend))
    }

    #[napi(catch_unwind)]
    pub fn power(&self, exponent: f64) -> Result<Tensor> {
        wrap(self.candle()?.powf(exponent))
    }

    #[napi(catch_unwind)]
    pub fn abs(&self) -> Result<Tensor> {
        wrap(self.candle()?.abs())
    }

    /// The sum along `dimension`, which is kept with length 1.
    #[napi(catch_unwind)]
    pub fn sum(&self, dimension: u32) -> Result<Tensor> {
        wrap(self.candle()?.sum_keepdim(dimension as usize))
    }

    /// The sum of all squares, in f64.
    #[napi(catch_unwind)]
    pub fn sum_of_squares(&self) -> Result<f64> {
        let tensor = self.candle()?;
        match tensor.dtype() {
            DType::F64 => with_slice(&tensor, |v: &[f64]| Ok(v.iter().map(|x| x * x).sum())),
            _ => {
                let tensor = tensor.to_dtype(DType::F32).map_err(failure)?;
                with_slice(&tensor, |v: &[f32]| Ok(v.iter().map(|&x| f64::from(x).powi(2)).sum()))
            }
        }
    }

    /// Whether every value is finite.
    #[napi(catch_unwind)]
    pub fn is_finite(&self) -> Result<bool> {
        let tensor = self.candle()?;
        match tensor.dtype() {
            DType::F64 => with_slice(&tensor, |v: &[f64]| Ok(v.iter().all(|x| x.is_finite()))),
            _ => {
                let tensor = tensor.to_dtype(DType::F32).map_err(failure)?;
                // A NaN or an infinity times zero is NaN, and stays NaN through a sum that vectorises.
                with_slice(&tensor, |v: &[f32]| {
                    Ok(v.chunks(4096).all(|c| !c.iter().map(|x| x * 0.0).sum::<f32>().is_nan()))
                })
            }
        }
    }

    #[napi(catch_unwind)]
    pub fn matmul(&self, other: &Tensor) -> Result<Tensor> {
        product(&self.candle()?, &other.candle()?).map(Tensor::from)
    }
}

/// The tensors joined along `dimension`.
#[napi(catch_unwind)]
pub fn concatenate(tensors: Vec<&Tensor>, dimension: u32) -> Result<Tensor> {
    let tensors = tensors.iter().map(|t| t.candle()).collect::<Result<Vec<_>>>()?;
    wrap(Candle::cat(&tensors, dimension as usize))
}
