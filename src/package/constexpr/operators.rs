//! The `constexpr_*` operators of a program in both forms: with parameters as inputs (iOS 18) or as
//! attributes (iOS 16 and 17).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::numbers::Numbers;
use super::sparse::sparse;
use super::{Form, PackedWeight, PalettizedWeight};
use crate::error::{At, Error, Result};
use crate::package::blob::read::SharedBytes;
use crate::package::budget::Budget;
use crate::package::read::Package;
use crate::package::read::literal::{DeclaredType, LiteralTensor, bits};
use crate::package::read::scope::title;
use crate::package::spec::{Bound, DataType, Operation};
use crate::quantize::bitpack::{pack, packed_size_bytes};

/// The most lengths of a shape.
const MAX_RANK: usize = 8;

/// A value that is known before a program runs.
#[derive(Debug, Clone)]
pub(crate) enum KnownValue {
    /// A constant.
    Literal(LiteralTensor),
    /// The result of a `constexpr_*` operator.
    Weight(PackedWeight),
}

impl KnownValue {
    fn weight(&self) -> Result<PackedWeight> {
        match self {
            KnownValue::Literal(literal) => PackedWeight::plain(literal),
            KnownValue::Weight(weight) => Ok(weight.clone()),
        }
    }

    fn literal(&self) -> Result<&LiteralTensor> {
        match self {
            KnownValue::Literal(literal) => Ok(literal),
            KnownValue::Weight(_) => Err(Error::input("expected a constant, found a constexpr")),
        }
    }
}

/// Every weight of the function `name` by the name of its value: the results of `constexpr_*`
/// operators, and float constants.
///
/// # Errors
/// Input errors if there is no such function, or if the parameters of an operator do not fit
/// together.
pub fn weights(package: &Package, name: &str) -> Result<BTreeMap<String, PackedWeight>> {
    let mut known: BTreeMap<String, KnownValue> = BTreeMap::new();
    for operation in &package.function(name)?.block.operations {
        let values = read(package, operation, |name| known.get(name).cloned())
            .at(|| package.path().display().to_string())?;
        let names = operation.outputs.iter().map(|output| output.name.clone());
        known.extend(names.zip(values));
    }
    let is_float = |kind| matches!(kind, DataType::Float16 | DataType::Float32);
    let weight = |(name, value): (String, KnownValue)| match value {
        KnownValue::Weight(weight) => Some(Ok((name, weight))),
        KnownValue::Literal(literal) if is_float(literal.data_type) => {
            Some(PackedWeight::plain(&literal).map(|weight| (name, weight)))
        }
        KnownValue::Literal(_) => None,
    };
    known.into_iter().filter_map(weight).collect()
}

/// The results of a `const` or `constexpr_*` operation, one per output; empty for all other
/// operators. `known` looks up the results of earlier operations. Returns an input error if the
/// parameters do not fit together or if a result does not have its declared type.
pub(crate) fn read(
    package: &Package,
    operation: &Operation,
    known: impl Fn(&str) -> Option<KnownValue>,
) -> Result<Vec<KnownValue>> {
    if operation.kind != "const" && !operation.kind.starts_with("constexpr_") {
        return Ok(Vec::new());
    }
    let values = Parameters { package, operation, known: &known }.values();
    let values = values.at(|| title(operation))?;
    let outputs = &operation.outputs;
    if values.len() != outputs.len() {
        let found = outputs.len();
        let what = format!("expected {} outputs, found {found}", values.len());
        return Err(Error::input(what).at(title(operation)));
    }
    for (value, output) in values.iter().zip(outputs) {
        let declared = DeclaredType::of(output.kind.as_ref()).at(|| title(operation))?;
        let (data_type, shape) = match value {
            KnownValue::Literal(literal) => (literal.data_type, &literal.shape),
            KnownValue::Weight(weight) => (weight.data_type, &weight.shape),
        };
        if declared.data_type != data_type || !declared.holds(shape) {
            return Err(Error::input(format!(
                "declared as {declared}, but the result is {data_type:?}{shape:?}"
            ))
            .at(title(operation)));
        }
    }
    Ok(values)
}

/// The parameters of one operation.
struct Parameters<'a> {
    package: &'a Package,
    operation: &'a Operation,
    known: &'a dyn Fn(&str) -> Option<KnownValue>,
}

impl Parameters<'_> {
    fn values(&self) -> Result<Vec<KnownValue>> {
        let mut weight = match self.operation.kind.as_str() {
            "const" => return Ok(vec![self.get("val")?]),
            "constexpr_lut_to_dense" if self.find("shape")?.is_some() => self.flat_palette()?,
            "constexpr_lut_to_dense" => self.palette()?,
            "constexpr_blockwise_shift_scale" => self.scaled()?,
            "constexpr_affine_dequantize" => self.affine()?,
            "constexpr_sparse_to_dense" => self.sparse()?,
            "constexpr_cast" => self.cast()?,
            "constexpr_lut_to_sparse" => return self.sparse_palette(),
            "constexpr_sparse_blockwise_shift_scale" => return self.sparse_scaled(),
            other => return Err(Error::input(format!("the operator `{other}` is not supported"))),
        };
        weight.charge(weight.decoded_bytes(), self.package.budget())?;
        Ok(vec![KnownValue::Weight(weight)])
    }

    /// Checks that these weights can be decoded at once, each `copies` times.
    fn allow(&self, weights: &[&PackedWeight], copies: usize) -> Result<()> {
        for weight in weights {
            let bytes = element_count(weight)?.saturating_mul(copies * size_of::<f32>());
            self.package.budget().check_room(bytes as u64)?;
        }
        Ok(())
    }

    fn find(&self, name: &str) -> Result<Option<KnownValue>> {
        if let Some(value) = self.operation.attributes.get(name) {
            return Ok(Some(KnownValue::Literal(self.package.literal(value)?)));
        }
        let Some(argument) = self.operation.inputs.get(name) else { return Ok(None) };
        match argument.bindings.as_slice() {
            [binding] => match &binding.bound {
                Some(Bound::Value(value)) => {
                    Ok(Some(KnownValue::Literal(self.package.literal(value)?)))
                }
                Some(Bound::Name(value)) => (self.known)(value).map(Some).ok_or_else(|| {
                    Error::input(format!("{name}: `{value}` is not known before the program runs"))
                }),
                None => Ok(None),
            },
            _ => Err(Error::input(format!("{name}: expected one value"))),
        }
    }

    fn get(&self, name: &str) -> Result<KnownValue> {
        self.find(name)?.ok_or_else(|| Error::input(format!("the parameter `{name}` is missing")))
    }

    fn weight(&self, name: &str) -> Result<PackedWeight> {
        self.get(name)?.weight().at(|| name.to_owned())
    }

    fn literal(&self, name: &str) -> Result<LiteralTensor> {
        self.get(name)?.literal().at(|| name.to_owned()).cloned()
    }

    /// A parameter of a few numbers.
    fn numbers(&self, name: &str) -> Result<Vec<f32>> {
        let numbers = Numbers::of(&self.literal(name)?)?;
        if numbers.len > MAX_RANK {
            let found = numbers.len;
            return Err(Error::input(format!(
                "{name}: expected at most {MAX_RANK} numbers, found {found}"
            )));
        }
        Ok(numbers.all())
    }

    /// A parameter that holds lengths of axes.
    fn lengths(&self, name: &str) -> Result<Vec<usize>> {
        let values = self.numbers(name)?;
        let length =
            |value: &f32| (*value >= 1.0 && *value < 16_777_216.0).then_some(*value as usize);
        let lengths: Option<Vec<usize>> = values.iter().map(length).collect();
        lengths.ok_or_else(|| Error::input(format!("{name}: expected lengths, found {values:?}")))
    }

    /// An axis of a tensor of rank `rank`; a negative one counts from the end.
    fn axis(&self, name: &str, rank: usize) -> Result<usize> {
        let values = self.numbers(name)?;
        let axis = values.first().map_or(0, |value| *value as i64);
        let axis = if axis < 0 { axis + rank as i64 } else { axis };
        let found = usize::try_from(axis).ok().filter(|axis| *axis < rank && values.len() == 1);
        found.ok_or_else(|| Error::input(format!("{name}: expected an axis, found {values:?}")))
    }

    /// The form of iOS 18: a table for each block of codes.
    fn palette(&self) -> Result<PackedWeight> {
        let indices = self.literal("indices")?;
        let axis = match self.find("vector_axis")? {
            Some(_) => Some(self.axis("vector_axis", indices.shape.len())?),
            None => None,
        };
        let lut = self.weight("lut")?;
        self.allow(&[&lut], 3)?;
        PackedWeight::palette(&indices, &lut, axis)
    }

    /// The form of iOS 16: one table, and codes packed into bytes.
    fn flat_palette(&self) -> Result<PackedWeight> {
        let (packed, lut) = (self.literal("indices")?, self.weight("lut")?);
        let shape = self.lengths("shape")?;
        let code_type = match lut.elements() {
            2 => DataType::Uint1,
            4 => DataType::Uint2,
            16 => DataType::Uint4,
            64 => DataType::Uint6,
            256 => DataType::Uint8,
            found => {
                return Err(Error::input(format!(
                    "expected a table of 2, 4, 16, 64 or 256 entries, found {found}"
                )));
            }
        };
        let indices = repacked(&packed, code_type, shape)?;
        let mut tables = lut;
        tables.shape = [vec![1; indices.shape.len()], vec![tables.elements(), 1]].concat();
        PackedWeight::palette(&indices, &tables, None)
    }

    fn scaled(&self) -> Result<PackedWeight> {
        let (scale, offset) = self.scale_and_offset()?;
        PackedWeight::scaled(self.weight("data")?, &scale, offset.as_ref())
    }

    /// The parameters `scale` and, if there is one, `offset`; there is room to decode them.
    fn scale_and_offset(&self) -> Result<(PackedWeight, Option<PackedWeight>)> {
        let scale = self.weight("scale")?;
        let offset = self.find("offset")?.map(|offset| offset.weight()).transpose()?;
        self.allow(&[&scale, offset.as_ref().unwrap_or(&scale)], 3)?;
        Ok((scale, offset))
    }

    /// The form of iOS 16: a scale and a zero point, or one of each per index of an axis.
    fn affine(&self) -> Result<PackedWeight> {
        let data = self.weight("quantized_data")?;
        let axis = self.axis("axis", data.shape.len())?;
        let mut cells = vec![1; data.shape.len()];
        let (mut scale, mut zero) = (self.weight("scale")?, self.weight("zero_point")?);
        cells[axis] = scale.elements().max(zero.elements());
        self.allow(&[&scale, &zero], 5)?;
        if cells[axis] > data.shape[axis] {
            return Err(Error::input(format!(
                "expected at most one scale per index of an axis of length {}, found {}",
                data.shape[axis], cells[axis]
            )));
        }
        for parameter in [&mut scale, &mut zero] {
            if ![1, cells[axis]].contains(&parameter.elements()) {
                return Err(Error::input("scale and zero_point differ in length"));
            }
            if parameter.elements() == 1 {
                let all = vec![parameter.decode()[0]; cells[axis]];
                parameter.form = Form::Plain(Numbers::single(&all));
            }
            parameter.shape = cells.clone();
        }
        let mut weight = PackedWeight::scaled(data, &scale, Some(&zero))?;
        if let Form::Scaled(scaled) = &mut weight.form {
            scaled.rounds_difference = false;
        }
        Ok(weight)
    }

    fn sparse(&self) -> Result<PackedWeight> {
        let (values, mut mask) = (self.weight("nonzero_data")?, self.literal("mask")?);
        if self.find("shape")?.is_some() {
            mask = repacked(&mask, DataType::Uint1, self.lengths("shape")?)?;
        }
        sparse(&mask, values)
    }

    fn sparse_palette(&self) -> Result<Vec<KnownValue>> {
        let mask = self.literal("indices_mask")?;
        let values = self.weight("indices_nonzero_data")?;
        let code_type = values.data_type;
        // Wider numbers are no codes, and cannot be packed as such.
        let bits = bits(code_type).filter(|bits| *bits <= 8);
        let bits = bits.ok_or_else(|| {
            Error::input(format!(
                "indices_nonzero_data: expected codes of at most 8 bits, found {code_type:?}"
            ))
        })?;
        let sparse = sparse(&mask, values)?;
        self.allow(&[&sparse], 3)?;
        let codes: Vec<u8> = sparse.decode().iter().map(|c| *c as u8).collect();
        let bytes = SharedBytes::from(pack(&codes, bits));
        let indices =
            LiteralTensor { data_type: code_type, shape: mask.shape.clone(), bytes, text: None };
        let axis = match self.find("vector_axis")? {
            Some(_) => Some(self.axis("vector_axis", mask.shape.len())?),
            None => None,
        };
        let lut = self.weight("lut")?;
        self.allow(&[&lut], 3)?;
        let dense = PackedWeight::palette(&indices, &lut, axis)?;
        self.allow(&[&dense], 4)?;
        let Form::Palette(PalettizedWeight { vector, .. }) = &dense.form else {
            return Ok(Vec::new());
        };
        let mut ones = Numbers::of(&mask)?.all();
        if let Some(vector) = vector {
            let inner = vector.inner;
            ones = ones.chunks(inner).flat_map(|row| row.repeat(vector.len)).collect();
        }
        split(&dense, &ones, self.package.budget())
    }

    fn sparse_scaled(&self) -> Result<Vec<KnownValue>> {
        let mask = self.literal("data_mask")?;
        let data = sparse(&mask, self.weight("nonzero_data")?)?;
        let (scale, offset) = self.scale_and_offset()?;
        let dense = PackedWeight::scaled(data, &scale, offset.as_ref())?;
        self.allow(&[&dense], 4)?;
        split(&dense, &Numbers::of(&mask)?.all(), self.package.budget())
    }

    fn cast(&self) -> Result<PackedWeight> {
        let mut weight = self.weight("source_val")?;
        let to = self.literal("output_dtype")?.text;
        if weight.data_type != DataType::Float16 || to.as_deref() != Some("fp32") {
            return Err(Error::input("expected a cast from fp16 to fp32"));
        }
        weight.data_type = DataType::Float32;
        Ok(weight)
    }
}

/// The number of elements of a weight. Returns an input error if it overflows.
fn element_count(weight: &PackedWeight) -> Result<usize> {
    let len = weight.shape.iter().try_fold(1usize, |len, axis| len.checked_mul(*axis));
    len.ok_or_else(|| Error::input(format!("a weight of shape {:?} is too large", weight.shape)))
}

/// Codes of type `data_type` and of `shape` from a literal that is declared as plain bytes.
fn repacked(
    packed: &LiteralTensor,
    data_type: DataType,
    shape: Vec<usize>,
) -> Result<LiteralTensor> {
    let bits = bits(data_type).unwrap_or(8);
    let len = shape.iter().try_fold(1usize, |len, axis| len.checked_mul(*axis));
    let expected = len.map(|len| packed_size_bytes(len, bits));
    if packed.data_type != DataType::Uint8 || expected != Some(packed.bytes.len()) {
        return Err(Error::input(format!(
            "expected {expected:?} bytes of type Uint8, found {} of type {:?}",
            packed.bytes.len(),
            packed.data_type
        )));
    }
    Ok(LiteralTensor { data_type, shape, bytes: packed.bytes.clone(), text: None })
}

/// The two outputs of a sparse operator: the mask, and the values where the mask is 1.
fn split(dense: &PackedWeight, ones: &[f32], budget: &Arc<Budget>) -> Result<Vec<KnownValue>> {
    let mask: Vec<u8> = ones.iter().map(|one| *one as u8).collect();
    let weights = dense.decode();
    let values: Vec<f32> =
        weights.iter().zip(&mask).filter(|(_, one)| **one == 1).map(|(v, _)| *v).collect();
    let numbers = match dense.data_type {
        DataType::Float16 => Numbers::half(&values),
        _ => Numbers::single(&values),
    };
    let bytes = SharedBytes::from(pack(&mask, 1));
    let decoded_bytes = (bytes.len() + numbers.bytes.len()) as u64;
    let shape = dense.shape.clone();
    let mask = LiteralTensor { data_type: DataType::Uint1, shape, bytes, text: None };
    let mut values = PackedWeight::of(vec![values.len()], numbers.data_type, Form::Plain(numbers));
    values.charge(decoded_bytes, budget)?;
    Ok(vec![KnownValue::Literal(mask), KnownValue::Weight(values)])
}
