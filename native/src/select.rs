//! Rows or columns of a matrix by their numbers, views included: each thread copies rows of the result. candle walks columns one
//! value at a time, which was a twelfth of a whole compression.

use candle_core::{DType, Device, Tensor as Candle, WithDType};
use rayon::prelude::*;

use crate::error::{Result, failure};
use crate::tensor::with_view;

/// The entries that `indices` names along a dimension, in that order..
pub fn selected(matrix: &Candle, dimension: usize, indices: &[u32]) -> Result<Candle> {
    match (matrix.dtype(), matrix.rank()) {
        (DType::F32, 2) => gathered::<f32>(matrix, dimension, indices),
        (DType::F64, 2) => gathered::<f64>(matrix, dimension, indices),
        _ => {
            let list = Candle::from_slice(indices, indices.len(), &Device::Cpu).map_err(failure)?;
            matrix.contiguous().and_then(|whole| whole.index_select(&list, dimension)).map_err(failure)
        }
    }
}

fn gathered<T: WithDType>(matrix: &Candle, dimension: usize, indices: &[u32]) -> Result<Candle> {
    with_view(matrix, |values: &[T], (rows, columns), (down, across)| {
        let limit = if dimension == 0 { rows } else { columns };
        if let Some(outside) = indices.iter().find(|&&index| index as usize >= limit) {
            return Err(failure(format!("entry {outside} of {limit}")));
        }
        let at = |row: usize, column: usize| values[row * down as usize + column * across as usize];
        let shape = if dimension == 0 { (indices.len(), columns) } else { (rows, indices.len()) };
        let mut out = vec![T::zero(); shape.0 * shape.1];
        out.par_chunks_mut(shape.1.max(1)).enumerate().for_each(|(row, out)| {
            if dimension == 0 && across == 1 {
                let start = indices[row] as usize * down as usize;
                out.copy_from_slice(&values[start..start + columns]);
            } else if dimension == 0 {
                let row = indices[row] as usize;
                out.iter_mut().enumerate().for_each(|(column, value)| *value = at(row, column));
            } else {
                out.iter_mut().zip(indices).for_each(|(value, &column)| *value = at(row, column as usize));
            }
        });
        Candle::from_vec(out, shape, &Device::Cpu).map_err(failure)
    })
}
