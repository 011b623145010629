//! Stored numbers of any type as f32.

use half::f16;
use half::slice::HalfFloatSliceExt;

use super::lookup::{Table, look_up};
use crate::error::{Error, Result};
use crate::package::blob::read::Span;
use crate::package::read::literal::{Literal, bits};
use crate::package::spec::DataType;

/// Conversions go through buffers of this many numbers.
const CHUNK: usize = 256;

/// Numbers as they are stored: packed, little endian.
#[derive(Debug, Clone)]
pub(super) struct Numbers {
    pub data_type: DataType,
    pub bytes: Span,
    pub len: usize,
}

impl Numbers {
    /// The numbers of a literal. Fails (input) for types that weights do not have.
    pub fn of(literal: &Literal) -> Result<Self> {
        use DataType::{Bfloat16, Bool, Float64, Int64, String, Uint64};
        if matches!(literal.data_type, Bool | String | Float64 | Bfloat16 | Int64 | Uint64) {
            return Err(Error::input(format!("weights of {:?} are not known", literal.data_type)));
        }
        let len = literal.shape.iter().product();
        Ok(Numbers { data_type: literal.data_type, bytes: literal.bytes.clone(), len })
    }

    /// fp16 numbers.
    pub fn half(values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| f16::from_f32(*v).to_le_bytes()).collect();
        Numbers { data_type: DataType::Float16, bytes: bytes.into(), len: values.len() }
    }

    /// fp32 numbers.
    pub fn single(values: &[f32]) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Numbers { data_type: DataType::Float32, bytes: bytes.into(), len: values.len() }
    }

    /// The bits of a number.
    pub fn bits(&self) -> u8 {
        bits(self.data_type).unwrap_or(8)
    }

    /// The numbers from `start` on.
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
                let is_signed = self.data_type == DataType::Int4;
                let value = |code: usize| match is_signed && code > 7 {
                    true => code as f32 - 16.0,
                    false => code as f32,
                };
                let table: Table = std::array::from_fn(value);
                look_up(&self.bytes, width as u8, start, &table, out);
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

/// Rounds every value to the nearest fp16 one, ties to even; too large ones become infinite.
pub(crate) fn round_to_half(values: &mut [f32]) {
    let mut buffer = [f16::ZERO; CHUNK];
    for values in values.chunks_mut(CHUNK) {
        let buffer = &mut buffer[..values.len()];
        buffer.convert_from_f32_slice(values);
        buffer.convert_to_f32_slice(values);
    }
}
