//! Stored numbers of any type, converted to f32.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::lookup::{Table, look_up};
use crate::error::{Error, Result};
use crate::package::blob::read::SharedBytes;
use crate::package::read::literal::{LiteralTensor, bits};
use crate::package::spec::DataType;
use crate::quantize::fp16;

/// The number of values that are converted to f32 at a time.
const CHUNK: usize = 256;

/// The table from unsigned codes to their values.
static UNSIGNED: Table = codes(256);
/// The table from codes of four bits in two's complement to their values.
static SIGNED: Table = codes(8);

/// A table in which code `c` is `c`, or `c - 16` from `negative` on.
const fn codes(negative: usize) -> Table {
    let mut table = [0.0; 256];
    let mut code = 0;
    while code < table.len() {
        table[code] = if code < negative { code as f32 } else { code as f32 - 16.0 };
        code += 1;
    }
    table
}

/// Numbers as they are stored: packed and little endian.
#[derive(Debug, Clone)]
pub(super) struct Numbers {
    pub data_type: DataType,
    pub bytes: SharedBytes,
    pub len: usize,
}

impl Numbers {
    /// The numbers of a literal. Returns an input error for a type that weights cannot have.
    pub fn of(literal: &LiteralTensor) -> Result<Self> {
        use DataType::{Bfloat16, Bool, Float64, Int64, String, Uint64};
        if matches!(literal.data_type, Bool | String | Float64 | Bfloat16 | Int64 | Uint64) {
            return Err(Error::input(format!(
                "weights of type {:?} are not supported",
                literal.data_type
            )));
        }
        let len = literal.shape.iter().product();
        Ok(Numbers { data_type: literal.data_type, bytes: literal.bytes.clone(), len })
    }

    /// Numbers that are stored as fp16.
    pub fn half(values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        Numbers { data_type: DataType::Float16, bytes: bytes.into(), len: values.len() }
    }

    /// Numbers that are stored as fp32.
    pub fn single(values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Numbers { data_type: DataType::Float32, bytes: bytes.into(), len: values.len() }
    }

    /// The width of a number in bits.
    pub fn bits(&self) -> u8 {
        bits(self.data_type).unwrap_or(8)
    }

    /// Writes the numbers from `start` on to `out`.
    pub fn fill(&self, start: usize, out: &mut [f32]) {
        let width = usize::from(self.bits());
        match self.data_type {
            DataType::Float16 => fill_half(self.bytes.get(start * 2..).unwrap_or_default(), out),
            DataType::Float32 => self.each(start, out, f32::from_le_bytes),
            DataType::Int32 => self.each(start, out, |b| i32::from_le_bytes(b) as f32),
            DataType::Uint32 => self.each(start, out, |b| u32::from_le_bytes(b) as f32),
            DataType::Int16 => self.each(start, out, |b| f32::from(i16::from_le_bytes(b))),
            DataType::Uint16 => self.each(start, out, |b| f32::from(u16::from_le_bytes(b))),
            DataType::Int8 => self.each(start, out, |b| f32::from(i8::from_le_bytes(b))),
            DataType::Uint8 => self.each(start, out, |[b]| f32::from(b)),
            _ => {
                let table = if self.data_type == DataType::Int4 { &SIGNED } else { &UNSIGNED };
                look_up(&self.bytes, width as u8, start, table, out);
            }
        }
    }

    /// All numbers.
    pub fn all(&self) -> Vec<f32> {
        let mut all = vec![0.0; self.len];
        self.fill(0, &mut all);
        all
    }

    fn each<const N: usize>(&self, start: usize, out: &mut [f32], value: impl Fn([u8; N]) -> f32) {
        let bytes = self.bytes.get(start * N..).unwrap_or_default();
        for (out, bytes) in out.iter_mut().zip(bytes.as_chunks::<N>().0) {
            *out = value(*bytes);
        }
    }
}

fn fill_half(bytes: &[u8], out: &mut [f32]) {
    let mut buffer = [f16::ZERO; CHUNK];
    for (out, bytes) in out.chunks_mut(CHUNK).zip(bytes.chunks(2 * CHUNK)) {
        for (half, bytes) in buffer.iter_mut().zip(bytes.as_chunks::<2>().0) {
            *half = f16::from_le_bytes(*bytes);
        }
        buffer[..out.len()].convert_to_f32_slice(out);
    }
}

/// Rounds every value to the nearest fp16 value, ties to even; values too large for fp16 become
/// infinite.
pub(crate) fn round_to_half(values: &mut [f32]) {
    pulp::Arch::new().dispatch(
        #[inline(always)]
        || values.iter_mut().for_each(|value| *value = rounded_to_half(*value)),
    );
}

/// The nearest fp16 value, ties to even; infinite from 65520 on. Written in plain arithmetic, so
/// that loops over it vectorise.
#[inline(always)]
pub(super) fn rounded_to_half(value: f32) -> f32 {
    const TOO_LARGE: f32 = 65520.0;
    let magnitude = value.abs();
    // For NaN both comparisons are false, and it is returned as it is.
    let within = if magnitude < TOO_LARGE { value } else { 0.0 };
    let beyond = if magnitude >= TOO_LARGE { f32::INFINITY.copysign(value) } else { value };
    if magnitude < TOO_LARGE { fp16::round_to_half(within) } else { beyond }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounding_agrees_with_the_half_crate_everywhere() {
        let mut values: Vec<f32> = (0..=u16::MAX).map(|b| f16::from_bits(b).to_f32()).collect();
        values.extend((0..40_000u32).map(|i| f32::from_bits(i.wrapping_mul(107_377))));
        values.extend([65519.9, 65520.0, -65520.0, 1e30, f32::INFINITY, f32::NEG_INFINITY]);
        let expected: Vec<f32> = values.iter().map(|v| f16::from_f32(*v).to_f32()).collect();
        round_to_half(&mut values);
        for (found, expected) in values.iter().zip(expected) {
            assert!(found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan());
        }
    }
}
