//! The types in which a checkpoint stores numbers, and how they are decoded to f32.

use std::borrow::Cow;

use candle_core::Device;
use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use half::{bf16, f16};

use super::gguf::blocks::BlockType;
use super::mxfp4;
use crate::error::{Error, Result};

/// The stored type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an f32.
    BF16,
    /// Bytes: a part of a packed type, not numbers themselves.
    U8,
    /// Four-bit floats whose block scales are stored separately (see [`super::mxfp4`]).
    Mxfp4,
    /// A block-quantized GGUF type that candle decodes.
    Ggml(GgmlDType),
    /// Another block-quantized GGUF type.
    Block(BlockType),
}

impl Dtype {
    /// The type's name, as the formats spell it.
    pub fn name(self) -> String {
        match self {
            Dtype::Ggml(dtype) => format!("{dtype:?}").to_lowercase(),
            Dtype::Block(block) => block.name().to_owned(),
            plain => format!("{plain:?}").to_lowercase(),
        }
    }

    /// Whether weights of this type were quantized, in blocks with scales of their own.
    pub fn is_quantized(self) -> bool {
        matches!(self, Dtype::Mxfp4 | Dtype::Ggml(_) | Dtype::Block(_))
    }

    /// Weights per stored block and bytes per block.
    fn block(self) -> (usize, usize) {
        match self {
            Dtype::F32 => (1, 4),
            Dtype::F16 | Dtype::BF16 => (1, 2),
            Dtype::U8 => (1, 1),
            Dtype::Mxfp4 => (mxfp4::BLOCK_WEIGHTS, mxfp4::BLOCK_BYTES),
            Dtype::Ggml(dtype) => (dtype.block_size(), dtype.type_size()),
            Dtype::Block(block) => block.block(),
        }
    }

    /// Bytes of a row of `len` weights, or `None` if blocks do not divide it or the size overflows.
    pub fn row_bytes(self, len: usize) -> Option<usize> {
        let (weights, bytes) = self.block();
        if !len.is_multiple_of(weights) {
            return None;
        }
        (len / weights).checked_mul(bytes)
    }

    /// Decodes little-endian `bytes` to `out`, exactly.
    ///
    /// # Errors
    /// A bug-class error if `bytes` is not as long as [`Dtype::row_bytes`] of `out.len()`.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) -> Result<()> {
        if self.row_bytes(out.len()) != Some(bytes.len()) {
            let (weights, found) = (out.len(), bytes.len());
            let name = self.name();
            return Err(Error::bug(format!("cannot decode {weights} {name} from {found} bytes")));
        }
        match self {
            Dtype::F32 => {
                let (words, _) = bytes.as_chunks::<4>();
                out.iter_mut().zip(words).for_each(|(o, &w)| *o = f32::from_le_bytes(w));
            }
            Dtype::F16 => {
                let (words, _) = bytes.as_chunks::<2>();
                out.iter_mut().zip(words).for_each(|(o, &w)| *o = f16::from_le_bytes(w).to_f32());
            }
            Dtype::BF16 => {
                let (words, _) = bytes.as_chunks::<2>();
                out.iter_mut().zip(words).for_each(|(o, &w)| *o = bf16::from_le_bytes(w).to_f32());
            }
            Dtype::Ggml(dtype) => decode_ggml(dtype, bytes, out)?,
            Dtype::Block(block) => block.decode(bytes, out),
            Dtype::U8 | Dtype::Mxfp4 => {
                return Err(Error::bug(format!("cannot decode {} without scales", self.name())));
            }
        }
        Ok(())
    }
}

fn decode_ggml(dtype: GgmlDType, bytes: &[u8], out: &mut [f32]) -> Result<()> {
    let decoded = QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, dtype)
        .and_then(|storage| QTensor::new(storage, out.len()))
        .and_then(|tensor| tensor.dequantize(&Device::Cpu))
        .and_then(|tensor| tensor.to_vec1::<f32>())
        .map_err(|e| Error::bug(format!("candle cannot decode {dtype:?}")).because(e))?;
    out.copy_from_slice(&decoded);
    Ok(())
}
