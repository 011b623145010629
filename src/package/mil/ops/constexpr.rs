//! Operators that expand compressed weights when a model is loaded or while it runs.
//!
//! Unlike other operators, these take their arguments directly: a blob of the weight file, a
//! literal, or the result of another `constexpr_*`.

use crate::error::Result;
use crate::package::blob::BlobType;
use crate::package::mil::blob_tensor::BlobTensor;
use crate::package::mil::call::{Call, FLOATS};
use crate::package::mil::function::FunctionBuilder;
use crate::package::mil::literal::Literal;
use crate::package::mil::shape::ints;
use crate::package::mil::types::{Opset, TensorType};
use crate::package::mil::value::Value;
use crate::package::spec::{DataType, Value as Message};

/// The uint8 code of a weight of 0 in `constexpr_affine_dequantize`, if codes have no other zero point.
pub const MIDDLE_CODE: u8 = 128;
/// The types of table indices.
const INDICES: &[DataType] = &[
    DataType::Uint1,
    DataType::Uint2,
    DataType::Uint3,
    DataType::Uint4,
    DataType::Uint6,
    DataType::Uint8,
];
/// The types of table entries.
const ENTRIES: &[DataType] =
    &[DataType::Float16, DataType::Float32, DataType::Int8, DataType::Uint8];
/// The types of data that takes a scale.
const CODES: &[DataType] = &[
    DataType::Int4,
    DataType::Uint4,
    DataType::Int8,
    DataType::Uint8,
    DataType::Float16,
    DataType::Float32,
];

/// An argument of a `constexpr_*`.
#[derive(Debug, Clone, Copy)]
pub enum Operand<'a> {
    /// A tensor in the weight file.
    Blob(&'a BlobTensor),
    /// A tensor that is written into the program.
    Literal(&'a Literal<'a>),
    /// The result of another `constexpr_*`.
    Made(&'a Value),
}

impl<'a> From<&'a BlobTensor> for Operand<'a> {
    fn from(tensor: &'a BlobTensor) -> Self {
        Operand::Blob(tensor)
    }
}

impl<'a> From<&'a Literal<'a>> for Operand<'a> {
    fn from(literal: &'a Literal<'a>) -> Self {
        Operand::Literal(literal)
    }
}

impl<'a> From<&'a Value> for Operand<'a> {
    fn from(value: &'a Value) -> Self {
        Operand::Made(value)
    }
}

impl Operand<'_> {
    fn kind(&self) -> TensorType {
        match self {
            Operand::Blob(tensor) => tensor.kind(),
            Operand::Literal(literal) => literal.kind(),
            Operand::Made(value) => value.kind().clone(),
        }
    }
}

impl Call<'_> {
    /// Binds an operand that must have one of these types.
    fn operand(self, opset: Opset, name: &str, with: Operand, types: &[DataType]) -> Result<Self> {
        let kind = with.kind();
        let fits = types.contains(&kind.data_type);
        let call = self.check(fits, name, format!("one of {types:?}"), &kind)?;
        match with {
            Operand::Made(value) => call.constant(name, value, kind.data_type),
            Operand::Literal(literal) => Ok(call.inline(name, literal.to_spec())),
            Operand::Blob(tensor) => {
                let message = tensor.to_spec(opset);
                let message = message.map_err(|error| call.refuse(name, "a blob", error))?;
                Ok(call.inline(name, message))
            }
        }
    }
}

impl FunctionBuilder {
    /// Looks `indices [..]` of `n` bits up in `lut [groups.., 2^n, V]`, whose groups divide the
    /// axes of `indices`. If the entries are vectors (`V > 1`), they lie along `vector_axis` of the
    /// result, which is `V` times as long as that of `indices`. From iOS 18.
    pub fn constexpr_lut_to_dense<'a>(
        &mut self,
        indices: impl Into<Operand<'a>>,
        lut: impl Into<Operand<'a>>,
        vector_axis: Option<usize>,
    ) -> Result<Value> {
        let (indices, lut, opset) = (indices.into(), lut.into(), self.opset());
        let call = self.op("constexpr_lut_to_dense")?;
        let is_new = opset >= Opset::Ios18;
        let kind = indices.kind();
        let call = call
            .check(is_new, "lut", "the attributes of iOS 16", "the inputs of iOS 18")?
            .operand(opset, "indices", indices, INDICES)?
            .operand(opset, "lut", lut, ENTRIES)?;
        let (call, vector) = tables(call, &kind.shape, kind.data_type, &lut.kind(), vector_axis)?;
        let mut shape = kind.shape;
        if let Some(axis) = vector_axis {
            shape[axis] *= vector;
        }
        Ok(call.makes(lut.kind().data_type, shape))
    }

    /// Computes `scale * (data - offset)`. `scale` and `offset` have one element per block of
    /// `data`: they have its rank, and their lengths divide its lengths. `offset` has the type of
    /// `data`. From iOS 18.
    pub fn constexpr_blockwise_shift_scale<'a>(
        &mut self,
        data: impl Into<Operand<'a>>,
        scale: &'a BlobTensor,
        offset: Option<&'a BlobTensor>,
    ) -> Result<Value> {
        let (data, opset) = (data.into(), self.opset());
        let kind = data.kind();
        let blocks = kind.shape.len() == scale.shape.len()
            && kind.shape.iter().zip(&scale.shape).all(|(len, blocks)| divides(*blocks, *len));
        let mut call = self
            .op("constexpr_blockwise_shift_scale")?
            .operand(opset, "data", data, CODES)?
            .operand(opset, "scale", scale.into(), FLOATS)?
            .check(blocks, "scale", format!("blocks of {kind}"), scale.kind())?;
        if let Some(offset) = offset {
            let (shape, found) = (&scale.shape, offset.kind());
            call = call
                .check(offset.shape == *shape, "offset", format!("{shape:?}"), found)?
                .operand(opset, "offset", offset.into(), &[kind.data_type])?;
        }
        Ok(call.makes(scale.kind().data_type, kind.shape))
    }

    /// Puts `nonzero_data [D]` where `mask` (uint1) is 1, and 0 elsewhere. The arguments may be the
    /// results of [`constexpr_lut_to_sparse`](Self::constexpr_lut_to_sparse). From iOS 18.
    pub fn constexpr_sparse_to_dense<'a>(
        &mut self,
        nonzero_data: impl Into<Operand<'a>>,
        mask: impl Into<Operand<'a>>,
    ) -> Result<Value> {
        let (nonzero_data, mask, opset) = (nonzero_data.into(), mask.into(), self.opset());
        let kind = nonzero_data.kind();
        let call = self
            .op("constexpr_sparse_to_dense")?
            .operand(opset, "nonzero_data", nonzero_data, CODES)?
            .operand(opset, "mask", mask, &[DataType::Uint1])?
            .check(kind.shape.len() == 1, "nonzero_data", "rank 1", &kind)?;
        Ok(call.makes(kind.data_type, mask.kind().shape))
    }

    /// Looks up `indices_nonzero_data [D]`, the indices where `indices_mask` (uint1) is 1. Returns
    /// the mask of the result and its entries `[D · V]`. `lut` and `vector_axis` are as for
    /// [`constexpr_lut_to_dense`](Self::constexpr_lut_to_dense). From iOS 18.
    pub fn constexpr_lut_to_sparse<'a>(
        &mut self,
        indices_mask: &BlobTensor,
        indices_nonzero_data: &BlobTensor,
        lut: impl Into<Operand<'a>>,
        vector_axis: Option<usize>,
    ) -> Result<[Value; 2]> {
        let (lut, opset) = (lut.into(), self.opset());
        let (indices, entries) = (indices_nonzero_data.kind(), lut.kind());
        let call = self
            .op("constexpr_lut_to_sparse")?
            .operand(opset, "indices_mask", indices_mask.into(), &[DataType::Uint1])?
            .operand(opset, "indices_nonzero_data", indices_nonzero_data.into(), INDICES)?
            .operand(opset, "lut", lut, ENTRIES)?
            .check(indices.shape.len() == 1, "indices_nonzero_data", "rank 1", &indices)?;
        let mut shape = indices_mask.shape.clone();
        let (call, vector) = tables(call, &shape, indices.data_type, &entries, vector_axis)?;
        if let Some(axis) = vector_axis {
            shape[axis] *= vector;
        }
        let made = call.makes_all(vec![
            TensorType::new(DataType::Uint1, shape),
            TensorType::new(entries.data_type, [indices.shape[0] * vector]),
        ]);
        Ok([made[0].clone(), made[1].clone()])
    }

    /// `constexpr_lut_to_dense` in the form of iOS 16 and 17, which iOS 18 removed: one table `lut
    /// [2^n]`, and the indices of a tensor of `shape` packed into uint8 `[bytes]`. Indices of 3
    /// bits are not supported.
    pub fn constexpr_lut_to_dense_ios16(
        &mut self,
        indices: &BlobTensor,
        lut: &BlobTensor,
        shape: &[usize],
    ) -> Result<Value> {
        let opset = self.opset();
        let (call, entries) = (self.op("constexpr_lut_to_dense")?, lut.kind());
        let [len] = lut.shape[..] else {
            return Err(call.refuse("lut", "a table of rank 1", &entries));
        };
        let bits = len.checked_ilog2().unwrap_or(0) as usize;
        let bytes = (shape.iter().product::<usize>() * bits).div_ceil(8);
        let is_packed = indices.kind() == TensorType::new(DataType::Uint8, [bytes]);
        let lens = [2, 4, 16, 64, 256].contains(&len) && ENTRIES.contains(&entries.data_type);
        let lengths: Vec<u32> = ints(shape).iter().map(|len| len.unsigned_abs()).collect();
        let call = call
            .check(opset < Opset::Ios18, "lut", "the inputs of iOS 18", "the attributes of iOS 16")?
            .check(lens, "lut", "2, 4, 16, 64 or 256 entries", &entries)?
            .check(is_packed, "indices", format!("uint8[{bytes}]"), indices.kind())?
            .attribute("indices", indices.to_spec(opset)?)
            .attribute("lut", lut.to_spec(opset)?)
            .attribute("shape", Literal::Uint32s(&lengths).to_spec());
        Ok(call.makes(entries.data_type, shape))
    }

    /// Computes `scale * (quantized_data - zero_point)` for uint8 data on iOS 16 and 17; on iOS 18,
    /// [`constexpr_blockwise_shift_scale`](Self::constexpr_blockwise_shift_scale) replaces it.
    /// `scale` (fp16) and `zero_point` (uint8) have one element per index of axis 0. Without a
    /// `zero_point` it is [`MIDDLE_CODE`]. The format also has int8 data, which GPU and Neural
    /// Engine compute wrongly (coremltools issue 2114).
    pub fn constexpr_affine_dequantize(
        &mut self,
        quantized_data: &BlobTensor,
        scale: &BlobTensor,
        zero_point: Option<&BlobTensor>,
    ) -> Result<Value> {
        let opset = self.opset();
        let (data, scales) = (quantized_data.kind(), scale.kind());
        let rows = &data.shape[..data.shape.len().min(1)];
        let is_unsigned = data.data_type == DataType::Uint8;
        let per_row = TensorType::new(DataType::Float16, rows);
        let points = TensorType::new(DataType::Uint8, rows);
        let found = zero_point.map_or_else(|| points.clone(), BlobTensor::kind);
        let zero_point = zero_point.map(|point| point.to_spec(opset)).transpose()?;
        let call = self
            .op("constexpr_affine_dequantize")?
            .check(opset < Opset::Ios18, "scale", "block-wise from iOS 18", &scales)?
            .check(is_unsigned, "quantized_data", "uint8", &data)?
            .check(scales == per_row, "scale", &per_row, &scales)?
            .check(found == points, "zero_point", &points, &found)?
            .attribute("quantized_data", quantized_data.to_spec(opset)?)
            .attribute("scale", scale.to_spec(opset)?)
            .attribute("zero_point", zero_point.unwrap_or_else(middle))
            .attribute("axis", Literal::Int(0).to_spec());
        Ok(call.makes(DataType::Float16, data.shape))
    }
}

/// The zero point of codes that are symmetric around 0, as a message.
fn middle() -> Message {
    Literal::Uint8(MIDDLE_CODE).to_spec()
}

fn divides(groups: usize, len: usize) -> bool {
    groups != 0 && len.is_multiple_of(groups)
}

/// Checks that tables fit the shape and type of their indices, binds `vector_axis`, and returns the
/// length of an entry.
fn tables<'f>(
    call: Call<'f>,
    shape: &[usize],
    indices: DataType,
    lut: &TensorType,
    vector_axis: Option<usize>,
) -> Result<(Call<'f>, usize)> {
    let bits = BlobType::of(indices).map_or(0, BlobType::bits);
    let expected = format!("[groups.., {}, V] for {shape:?}", 1 << bits);
    let Some((groups, [entries, vector])) = lut.shape.split_last_chunk::<2>() else {
        return Err(call.refuse("lut", expected, lut));
    };
    let fits = groups.len() == shape.len()
        && groups.iter().zip(shape).all(|(groups, len)| divides(*groups, *len))
        && *entries == 1 << bits
        && *vector > 0;
    let axis_fits = match vector_axis {
        None => *vector == 1,
        Some(axis) => *vector > 1 && axis < shape.len(),
    };
    let found = format!("{vector_axis:?}");
    let call = call.check(fits, "lut", expected, lut)?.check(
        axis_fits,
        "vector_axis",
        format!("an axis of {shape:?} if entries have more than one element ({vector})"),
        found,
    )?;
    let call = match vector_axis {
        Some(axis) => call.inline("vector_axis", Literal::Int(ints(&[axis])[0]).to_spec()),
        None => call,
    };
    Ok((call, *vector))
}
