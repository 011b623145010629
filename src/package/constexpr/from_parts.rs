//! Builds packed weights from their parts and checks that these fit together.

use super::grid::Grid;
use super::numbers::Numbers;
use super::{Form, PackedWeight, PalettizedWeight, ScaledWeight, VectorEntries};
use crate::error::{Error, Result};
use crate::package::read::literal::LiteralTensor;
use crate::package::spec::DataType;

/// Larger weights are refused: with tables of vectors, a small file can describe a huge weight.
const MAX_WEIGHTS: usize = 1 << 32;

impl PackedWeight {
    /// A weight that is stored as plain numbers.
    ///
    /// # Errors
    /// An input error for a type that weights cannot have.
    pub fn plain(literal: &LiteralTensor) -> Result<Self> {
        let numbers = Numbers::of(literal)?;
        Ok(Self::of(literal.shape.clone(), numbers.data_type, Form::Plain(numbers)))
    }

    /// A weight that is stored as codes into tables. `indices` are codes of 1 to 8 bits. `lut` is
    /// `[cells.., 2^bits, vector]`: `indices` are cut into `cells` blocks along each axis, and each
    /// block has a table. Entries with more than one element are vectors along `axis` of the
    /// result.
    ///
    /// # Errors
    /// An input error if these do not fit together.
    pub fn palette(
        indices: &LiteralTensor,
        lut: &PackedWeight,
        axis: Option<usize>,
    ) -> Result<Self> {
        use DataType::{Float16, Float32, Int8, Uint1, Uint2, Uint3, Uint4, Uint6, Uint8};
        let codes = Numbers::of(indices)?;
        let is_code = matches!(codes.data_type, Uint1 | Uint2 | Uint3 | Uint4 | Uint6 | Uint8);
        let is_entry = matches!(lut.data_type, Float16 | Float32 | Int8 | Uint8);
        let rank = indices.shape.len();
        let (cells, table) = lut.shape.split_at(rank.min(lut.shape.len()));
        let &[entries, len] = table else {
            return Err(Error::input(format!(
                "expected a table of rank {}, found shape {:?}",
                rank + 2,
                lut.shape
            )));
        };
        if !is_code || !is_entry || entries != 1 << codes.bits() || (len > 1) != axis.is_some() {
            return Err(Error::input(format!(
                "codes of type {:?} do not fit a table {:?}{:?} with the vector axis {axis:?}",
                codes.data_type, lut.data_type, lut.shape
            )));
        }
        let grid = Grid::new(&indices.shape, cells)?;
        let mut shape = indices.shape.clone();
        let vector = axis.map(|axis| {
            shape[axis] = shape[axis].saturating_mul(len);
            let inner = indices.shape[axis + 1..].iter().product();
            VectorEntries { len, axis_len: indices.shape[axis], inner }
        });
        let len = shape.iter().try_fold(1usize, |len, axis| len.checked_mul(*axis));
        if len.is_none_or(|len| len > MAX_WEIGHTS) {
            return Err(Error::input(format!("a weight of shape {shape:?} has too many elements")));
        }
        let (mut tables, tables_size_bytes) = (lut.decode(), lut.size_bytes());
        if let Some(VectorEntries { len, .. }) = vector {
            let table = |table: &[f32]| -> Vec<f32> {
                (0..len).flat_map(|d| table[d..].iter().step_by(len).copied()).collect()
            };
            tables = tables.chunks(entries * len).flat_map(table).collect();
        }
        let tables = tables.into();
        let palette = PalettizedWeight { codes, tables, tables_size_bytes, grid, vector };
        Ok(Self::of(shape, lut.data_type, Form::Palette(palette)))
    }

    /// The weight `scale * (data - offset)`. `scale` and `offset` have one element for each block
    /// of `data`; the lengths of their axes divide those of `data`.
    ///
    /// # Errors
    /// An input error if these do not fit together.
    pub fn scaled(
        data: PackedWeight,
        scale: &PackedWeight,
        offset: Option<&PackedWeight>,
    ) -> Result<Self> {
        let is_float = |kind| matches!(kind, DataType::Float16 | DataType::Float32);
        let fits = offset.is_none_or(|offset| offset.shape == scale.shape);
        if !is_float(scale.data_type) || !fits {
            return Err(Error::input(format!(
                "a scale {:?}{:?} does not fit an offset of shape {:?}",
                scale.data_type,
                scale.shape,
                offset.map(|offset| &offset.shape)
            )));
        }
        data.check_depth()?;
        let grid = Grid::new(&data.shape, &scale.shape)?;
        let parameters_size_bytes =
            scale.size_bytes() + offset.map_or(0, |offset| offset.size_bytes());
        let rounds = is_float(data.data_type) || offset.is_some_and(|o| is_float(o.data_type));
        let form = ScaledWeight {
            scales: scale.decode().into(),
            offsets: offset.map(|offset| offset.decode().into()),
            parameters_size_bytes,
            grid,
            rounds_difference: rounds,
            data: Box::new(data),
        };
        Ok(Self::of(form.data.shape.clone(), scale.data_type, Form::Scaled(form)))
    }
}
