//! Tensors in files: read from a memory map, written in place.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};

use candle_core::quantized::GgmlDType;
use candle_core::quantized::ggml_file::qtensor_from_ggml;
use candle_core::{CpuStorage, DType, Device, Storage, Tensor as Candle};
use memmap2::{Mmap, UncheckedAdvice};
use napi_derive::napi;

use crate::error::{Result, failure};
use crate::tensor::{Tensor, dtype_of, wrap};

#[napi]
pub struct MappedFile {
    map: Option<(Mmap, File)>,
}

/// Bytes of a page on every platform where the advice matters.
const PAGE: usize = 4096;

#[napi]
impl MappedFile {
    #[napi(constructor, catch_unwind)]
    pub fn new(path: String) -> Result<Self> {
        let file = File::open(&path).map_err(|e| failure(format!("{path}: {e}")))?;
        // SAFETY: model files are not written while they are read; a changed file would give other numbers, not a crash
        // of this process's own memory.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| failure(format!("{path}: {e}")))?;
        Ok(Self { map: Some((map, file)) })
    }

    /// The tensor stored at `offset`; `format` is f32, f16, bf16, f64 or a GGML block type. The pages read are given back.
    #[napi(catch_unwind)]
    pub fn read(&self, offset: f64, length: f64, format: String, shape: Vec<u32>) -> Result<Tensor> {
        let (map, file) = self.map.as_ref().ok_or_else(|| failure("the file was closed"))?;
        let (offset, length) = (offset as usize, length as usize);
        let end = offset.checked_add(length).filter(|&end| end <= map.len());
        let bytes = &map[offset..end.ok_or_else(|| failure("the tensor lies outside the file"))?];
        // Touching a page behind the end of a file that was cut would kill the process.
        let now = file.metadata().map_err(failure)?.len();
        if now < map.len() as u64 {
            return Err(failure(format!(
                "the file was cut short while in use, from {} bytes to {now}",
                map.len()
            )));
        }
        let dims: Vec<usize> = shape.iter().map(|&d| d as usize).collect();
        let tensor = match ggml_type(&format) {
            Some(ggml) => dequantised(ggml, bytes, dims),
            None => Candle::from_raw_buffer(bytes, dtype_of(&format)?, &dims, &Device::Cpu),
        };
        let (first, last) = (offset.div_ceil(PAGE) * PAGE, (offset + length) / PAGE * PAGE);
        if first < last {
            // SAFETY: the map is read-only and backed by the file, so dropped pages are read again when touched.
            let _ = unsafe { map.unchecked_advise_range(UncheckedAdvice::DontNeed, first, last - first) };
        }
        wrap(tensor)
    }

    #[napi]
    pub fn close(&mut self) {
        self.map = None;
    }
}

fn ggml_type(format: &str) -> Option<GgmlDType> {
    Some(match format {
        "Q4_0" => GgmlDType::Q4_0,
        "Q4_1" => GgmlDType::Q4_1,
        "Q5_0" => GgmlDType::Q5_0,
        "Q5_1" => GgmlDType::Q5_1,
        "Q8_0" => GgmlDType::Q8_0,
        "Q4_K" => GgmlDType::Q4K,
        "Q5_K" => GgmlDType::Q5K,
        "Q6_K" => GgmlDType::Q6K,
        _ => return None,
    })
}

fn dequantised(ggml: GgmlDType, bytes: &[u8], dims: Vec<usize>) -> candle_core::Result<Candle> {
    let blocks = dims.iter().product::<usize>() / ggml.block_size();
    if blocks * ggml.block_size() != dims.iter().product::<usize>()
        || blocks * ggml.type_size() != bytes.len()
    {
        candle_core::bail!("{} bytes of {ggml:?} do not hold a tensor of shape {dims:?}", bytes.len());
    }
    qtensor_from_ggml(ggml, bytes, dims, &Device::Cpu)?.dequantize(&Device::Cpu)
}

/// Writes the tensor's values, little-endian in its own dtype, at `offset` of a file that exists.
#[napi(catch_unwind)]
pub fn write_tensor(tensor: &Tensor, path: String, offset: f64) -> Result<()> {
    let tensor = tensor.candle()?.contiguous().map_err(failure)?;
    let (storage, layout) = tensor.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return Err(failure("expected a tensor in main memory"));
    };
    let range = layout.start_offset()..layout.start_offset() + layout.shape().elem_count();
    let bytes = match storage {
        CpuStorage::F32(v) => as_bytes(&v[range]),
        CpuStorage::F64(v) => as_bytes(&v[range]),
        CpuStorage::F16(v) => as_bytes(&v[range]),
        CpuStorage::BF16(v) => as_bytes(&v[range]),
        CpuStorage::U32(v) => as_bytes(&v[range]),
        _ => return Err(failure(format!("cannot write {:?}", DType::U8))),
    };
    let mut file = OpenOptions::new().write(true).open(&path).map_err(|e| failure(format!("{path}: {e}")))?;
    file.seek(SeekFrom::Start(offset as u64)).map_err(|e| failure(format!("{path}: {e}")))?;
    file.write_all(bytes).map_err(|e| failure(format!("{path}: {e}")))
}

fn as_bytes<T>(values: &[T]) -> &[u8] {
    // SAFETY: the element types above are plain numbers without padding; the length is their size in bytes.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}
