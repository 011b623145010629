//! The table of tensors in a GGUF header, as it is in the file.

use crate::error::{At, Error, Result};

use super::cursor::Cursor;

const MAX_DIMS: u32 = 4;
/// Bytes of a tensor's entry with an empty name and no dimensions.
const MIN_TENSOR_ENTRY: u64 = 24;

/// A tensor's entry.
pub(super) struct RawEntry {
    pub name: String,
    /// Innermost first.
    pub dims: Vec<u64>,
    pub type_id: u32,
    /// From the start of the data section.
    pub offset: u64,
}

/// Reads the table.
pub(super) fn table(cursor: &mut Cursor<'_>, count: u64) -> Result<Vec<RawEntry>> {
    cursor.room_for(count, MIN_TENSOR_ENTRY, "tensors").at(|| "table of tensors")?;
    let mut table = Vec::new();
    for index in 0..count {
        let name = cursor.name("a tensor's name").at(|| format!("tensor {index}"))?;
        let entry = entry(cursor, name.clone()).at(|| format!("tensor {name}"))?;
        table.push(entry);
    }
    Ok(table)
}

fn entry(cursor: &mut Cursor<'_>, name: String) -> Result<RawEntry> {
    let dims = cursor.u32("the number of dimensions")?;
    if dims == 0 || dims > MAX_DIMS {
        return Err(Error::input(format!("expected 1 to {MAX_DIMS} dimensions, found {dims}")));
    }
    let dims = (0..dims).map(|_| cursor.u64("a dimension")).collect::<Result<_>>()?;
    let type_id = cursor.u32("the element type")?;
    let offset = cursor.u64("the offset")?;
    Ok(RawEntry { name, dims, type_id, offset })
}
