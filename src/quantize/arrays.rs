//! Coded tensors as named plain arrays, and back: the form in which a container file stores them.
//!
//! Reading trusts nothing: every array is checked against recipe and shape before it is used.
//! This file knows no container format.

use std::borrow::Cow;

use half::f16;

use super::bitpack::{code_at, packed_size_bytes};
use super::coded::{CodedArrays, CodedTensor, Tables};
use super::mask::Mask;
use super::pruning::Pruning;
use super::recipe::{Linear, MXFP4_BLOCK, Palette, REFERENCE_IS_STORED, Recipe, TableEntry};
use crate::error::{At, Error, Result};

/// One stored array of a coded tensor.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedArray<'a> {
    /// The end of its name, different for each of a tensor's arrays: for example `codes`.
    pub suffix: &'static str,
    /// The type of its elements.
    pub dtype: ArrayType,
    /// Its shape in elements; packed codes are one-dimensional bytes.
    pub shape: Vec<usize>,
    /// Its elements, row-major, little endian.
    pub bytes: Cow<'a, [u8]>,
}

/// The type of a stored array's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArrayType {
    /// Unsigned bytes, also for packed codes of any width.
    U8,
    /// Signed bytes.
    I8,
    /// IEEE half precision.
    F16,
}

impl ArrayType {
    /// The name that safetensors gives this type.
    pub fn name(self) -> &'static str {
        match self {
            ArrayType::U8 => "U8",
            ArrayType::I8 => "I8",
            ArrayType::F16 => "F16",
        }
    }

    fn size_bytes(self) -> usize {
        match self {
            ArrayType::U8 | ArrayType::I8 => 1,
            ArrayType::F16 => 2,
        }
    }
}

fn half_part<'a>(suffix: &'static str, shape: &[usize], values: &'a [f16]) -> NamedArray<'a> {
    let bytes = if cfg!(target_endian = "little") {
        Cow::Borrowed(bytemuck::cast_slice(values))
    } else {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    };
    NamedArray { suffix, dtype: ArrayType::F16, shape: shape.to_vec(), bytes }
}

fn byte_part<'a>(suffix: &'static str, bytes: &'a [u8]) -> NamedArray<'a> {
    NamedArray {
        suffix,
        dtype: ArrayType::U8,
        shape: vec![bytes.len()],
        bytes: Cow::Borrowed(bytes),
    }
}

impl CodedTensor {
    /// The stored arrays by name, in a fixed order, as
    /// [`from_named_arrays`](CodedTensor::from_named_arrays) reads them.
    pub fn named_arrays(&self) -> Vec<NamedArray<'_>> {
        let [out, inputs] = self.shape;
        match (&self.stored, &self.recipe) {
            (CodedArrays::Half(values), _) => vec![half_part("values", &self.shape, values)],
            (
                CodedArrays::Palette { codes, mask, tables, channel_scales },
                Recipe::Palette(palette),
            ) => {
                let mut parts = vec![byte_part("codes", codes)];
                parts.extend(mask.as_ref().map(|mask| byte_part("mask", mask.bytes())));
                let groups = palette.tables(self.shape);
                let shape = [groups, palette.bits.entries()];
                match tables {
                    Tables::Half(entries) => parts.push(half_part("tables", &shape, entries)),
                    Tables::Int8 { entries, scales } => {
                        parts.push(NamedArray {
                            dtype: ArrayType::I8,
                            shape: shape.to_vec(),
                            ..byte_part("tables", bytemuck::cast_slice(entries))
                        });
                        parts.push(half_part("table_scales", &[groups], scales));
                    }
                }
                let scales = channel_scales.as_ref();
                parts.extend(scales.map(|scales| half_part("channel_scales", &[out], scales)));
                parts
            }
            (CodedArrays::Linear { codes, scales, zero_points }, recipe) => {
                let blocks = match recipe {
                    Recipe::Linear(linear) => linear.blocks(inputs),
                    _ => inputs / MXFP4_BLOCK,
                };
                let shape = [out, blocks];
                let mut parts =
                    vec![byte_part("codes", codes), half_part("scales", &shape, scales)];
                parts.extend(zero_points.as_ref().map(|points| byte_part("zero_points", points)));
                parts
            }
            (CodedArrays::Vector { codes, tables, channel_scales }, Recipe::Vector(vector)) => {
                vec![
                    byte_part("codes", codes),
                    half_part("tables", &vector.table_shape(self.shape), tables),
                    half_part("channel_scales", &[out], channel_scales),
                ]
            }
            // The recipe decides the arrays, and `CodedTensor::new` has checked their size.
            _ => Vec::new(),
        }
    }

    /// Reads a coded tensor `[out, in]` from its arrays; `find` gives the type, shape and bytes of
    /// the array with a suffix. Fails (input) if an array is missing or has a type, shape, length
    /// or value that the recipe does not allow.
    pub fn from_named_arrays<'a>(
        recipe: Recipe,
        shape: [usize; 2],
        find: impl FnMut(&str) -> Option<(ArrayType, &'a [usize], &'a [u8])>,
    ) -> Result<CodedTensor> {
        let [out, inputs] = shape;
        let recipe = recipe.resolved(shape);
        let weights = out.checked_mul(inputs);
        let weights =
            weights.ok_or_else(|| Error::input(format!("shape {shape:?} has too many weights")))?;
        recipe.check_shape(shape)?;
        let mut reader = Reader { find };
        let stored = match recipe {
            Recipe::Reference => return Err(Error::input(REFERENCE_IS_STORED)),
            Recipe::Half => CodedArrays::Half(reader.half("values", &shape)?),
            Recipe::Palette(palette) => reader.palette(&palette, shape, weights)?,
            Recipe::Linear(linear) => reader.linear(&linear, shape, weights)?,
            Recipe::Vector(vector) => CodedArrays::Vector {
                codes: reader.codes(
                    "codes",
                    weights / vector.weights_per_code(),
                    vector.code_bits().get(),
                )?,
                tables: reader.half("tables", &vector.table_shape(shape))?,
                channel_scales: reader.half("channel_scales", &[out])?,
            },
            Recipe::Mxfp4 => CodedArrays::Linear {
                codes: reader.codes("codes", weights, 4)?,
                scales: reader.half("scales", &[out, inputs / MXFP4_BLOCK])?,
                zero_points: None,
            },
        };
        CodedTensor::new(recipe, shape, stored)
    }
}

struct Reader<F> {
    find: F,
}

impl<'a, F: FnMut(&str) -> Option<(ArrayType, &'a [usize], &'a [u8])>> Reader<F> {
    fn bytes(&mut self, suffix: &str, dtype: ArrayType, shape: &[usize]) -> Result<&'a [u8]> {
        let refuse = |what: String| Err(Error::input(what).at(suffix));
        let Some((found, found_shape, bytes)) = (self.find)(suffix) else {
            return refuse("missing".to_owned());
        };
        if found != dtype || found_shape != shape {
            return refuse(format!(
                "expected {} {shape:?}, found {} {found_shape:?}",
                dtype.name(),
                found.name()
            ));
        }
        let elements = shape.iter().try_fold(1, |product: usize, len| product.checked_mul(*len));
        match elements.and_then(|elements| elements.checked_mul(dtype.size_bytes())) {
            Some(size_bytes) if size_bytes == bytes.len() => Ok(bytes),
            expected => refuse(format!("expected {expected:?} bytes, found {}", bytes.len())),
        }
    }

    fn half(&mut self, suffix: &str, shape: &[usize]) -> Result<Vec<f16>> {
        let (pairs, _) = self.bytes(suffix, ArrayType::F16, shape)?.as_chunks::<2>();
        let values: Vec<f16> = pairs.iter().map(|pair| f16::from_le_bytes(*pair)).collect();
        match values.iter().find(|value| !value.is_finite()) {
            Some(value) => Err(Error::input(format!("expected finite, found {value}")).at(suffix)),
            None => Ok(values),
        }
    }

    /// Packed codes. Bits past the last code must be zero.
    fn codes(&mut self, suffix: &str, codes: usize, bits: u8) -> Result<Vec<u8>> {
        let size_bytes = packed_size_bytes(codes, bits);
        let bytes = self.bytes(suffix, ArrayType::U8, &[size_bytes])?;
        let used = codes * usize::from(bits) % 8;
        match bytes.last() {
            Some(last) if used != 0 && last >> used != 0 => {
                Err(Error::input("bits past the last code are set").at(suffix))
            }
            _ => Ok(bytes.to_vec()),
        }
    }

    /// The mask of a whole tensor. It keeps as many weights as the recipe says.
    fn mask(&mut self, pruning: Pruning, weights: usize) -> Result<Mask> {
        let bytes = self.codes("mask", weights, 1)?;
        let mask = Mask::new(bytes, weights).at(|| "mask")?;
        let (expected, found) = (pruning.kept(weights).unwrap_or(mask.kept()), mask.kept());
        if expected != found || (found == 0 && weights > 0) {
            let what = format!("`-{pruning}`: expected {expected} weights, found {found}");
            return Err(Error::input(what).at("mask"));
        }
        Ok(mask)
    }

    fn palette(
        &mut self,
        palette: &Palette,
        shape: [usize; 2],
        weights: usize,
    ) -> Result<CodedArrays> {
        let mask = palette.pruning.map(|pruning| self.mask(pruning, weights)).transpose()?;
        let kept = mask.as_ref().map_or(weights, Mask::kept);
        let codes = self.codes("codes", kept, palette.bits.get())?;
        let groups = palette.tables(shape);
        let table_shape = [groups, palette.bits.entries()];
        let tables = match palette.entry {
            TableEntry::Half => Tables::Half(self.half("tables", &table_shape)?),
            TableEntry::Int8 => Tables::Int8 {
                entries: bytemuck::cast_slice(self.bytes("tables", ArrayType::I8, &table_shape)?)
                    .to_vec(),
                scales: self.half("table_scales", &[groups])?,
            },
        };
        let channel_scales = if palette.channel_scale {
            Some(self.half("channel_scales", &[shape[0]])?)
        } else {
            None
        };
        Ok(CodedArrays::Palette { codes, mask, tables, channel_scales })
    }

    fn linear(
        &mut self,
        linear: &Linear,
        shape: [usize; 2],
        weights: usize,
    ) -> Result<CodedArrays> {
        let [out, inputs] = shape;
        let bits = linear.bits.get();
        let codes = self.codes("codes", weights, bits)?;
        let blocks = linear.blocks(inputs);
        let scales = self.half("scales", &[out, blocks])?;
        let zero_points = if linear.asymmetric {
            Some(self.codes("zero_points", out * blocks, bits)?)
        } else {
            None
        };
        let lowest = 1 << (bits - 1);
        let is_lowest = |index| code_at(&codes, bits, index) == lowest;
        if !linear.asymmetric && (0..weights).any(is_lowest) {
            let found = i32::from(lowest);
            return Err(Error::input(format!(
                "expected {:?}, found -{found}",
                linear.code_range()
            ))
            .at("codes"));
        }
        Ok(CodedArrays::Linear { codes, scales, zero_points })
    }
}
