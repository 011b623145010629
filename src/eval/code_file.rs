//! Writes files of coded weights; `coded_file.rs` describes their layout and reads them.

use std::collections::BTreeMap;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use serde_json::{Map, Value, json};

use super::coded_file::{
    CONTENT_HASH, Described, FORMAT, NO_HASH, PREFIX_BYTES, VERSION, head_name,
};
use super::coder::Coder;
use super::provenance::Calibrated;
use super::variant::Variant;
use crate::NUMERIC_VERSION;
use crate::checkpoint::{Checkpoint, Role, TensorId};
use crate::error::{Error, Result};
use crate::files::write_atomic_with;
use crate::quantize::{CodedTensor, Recipe};

/// Header bytes reserved per entry besides its name, for type, shape and offsets as JSON.
const ENTRY_BYTES: u64 = 160;
/// The largest number of arrays that a coded tensor has.
const MAX_PARTS: u64 = 5;

/// A tensor of a variant's file: its name in the file, its id, its recipe.
pub type Content = (String, TensorId, Recipe);

/// All tensors that a variant stores.
pub fn contents(checkpoint: &Checkpoint, variant: &Variant) -> Vec<Content> {
    let mut contents: Vec<_> = checkpoint
        .tensors()
        .map(|(id, stored)| (id.name(), id, variant.recipe_of(id, stored)))
        .collect();
    if variant.stores_tied_head(checkpoint) {
        let head = TensorId::model(Role::Head);
        contents.push((head_name(checkpoint, variant), head, variant.head.weights));
    }
    contents
}

/// Codes every tensor of `checkpoint` as `variant` says and writes them to `path`, one tensor in
/// memory at a time. `progress(done, total)` is called before each tensor and can stop it by an error.
///
/// # Errors
/// Input errors of the checkpoint and the recipes, surroundings errors of the disk. An error leaves
/// `path` unchanged.
pub fn write(
    path: &Path,
    checkpoint: &Checkpoint,
    variant: &Variant,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<()> {
    variant.check(&checkpoint.config)?;
    let contents = contents(checkpoint, variant);
    let coder = Coder { checkpoint, variant, file: None, scales: None };
    let (mut done, total) = (0, contents.len());
    write_contents(path, checkpoint, variant, &contents, &Calibrated::default(), &mut |id| {
        progress(done, total)?;
        done += 1;
        coder.tensor(id)
    })
}

/// Writes the tensors `contents` to `path`; `coded` gives the codes of each.
pub fn write_contents(
    path: &Path,
    checkpoint: &Checkpoint,
    variant: &Variant,
    contents: &[Content],
    calibrated: &Calibrated,
    coded: &mut dyn FnMut(TensorId) -> Result<CodedTensor>,
) -> Result<()> {
    let facts = facts(checkpoint, variant, contents, calibrated)?;
    // The header's length is not known until the last tensor is coded, so space is reserved for the
    // longest header and padded with spaces, as the format allows.
    let names: u64 = contents.iter().map(|(name, _, _)| name.len() as u64).sum();
    let entries = MAX_PARTS * (names + contents.len() as u64 * ENTRY_BYTES);
    let room = (facts.to_string().len() as u64 * 2 + entries).next_multiple_of(8);
    write_atomic_with(path, |out| {
        let failed = |e| Error::io("write", path, e);
        out.seek(SeekFrom::Start(PREFIX_BYTES + room)).map_err(failed)?;
        let mut header = Map::from_iter([("__metadata__".to_owned(), facts)]);
        let (mut offset, mut hasher) = (0u64, blake3::Hasher::new());
        for (name, id, _) in contents {
            for part in coded(*id)?.named_arrays() {
                let end = offset + part.bytes.len() as u64;
                let entry = json!({
                    "dtype": part.dtype.name(), "shape": part.shape, "data_offsets": [offset, end],
                });
                header.insert(format!("{name}.{}", part.suffix), entry);
                out.write_all(&part.bytes).map_err(failed)?;
                hasher.update(&part.bytes);
                offset = end;
            }
        }
        let mut text = Value::Object(header).to_string();
        let padding = (room as usize).checked_sub(text.len());
        let padding =
            padding.ok_or_else(|| Error::bug("the header is longer than its reserved space"))?;
        text.push_str(&" ".repeat(padding));
        let hash = hasher.update(&room.to_le_bytes()).update(text.as_bytes()).finalize().to_hex();
        let stored = |hash: &str| format!("\"{CONTENT_HASH}\":\"{hash}\"");
        let text = text.replacen(&stored(NO_HASH), &stored(&hash), 1);
        out.seek(SeekFrom::Start(0)).map_err(failed)?;
        out.write_all(&room.to_le_bytes()).map_err(failed)?;
        out.write_all(text.as_bytes()).map_err(failed)
    })
}

fn facts(
    checkpoint: &Checkpoint,
    variant: &Variant,
    contents: &[Content],
    calibrated: &Calibrated,
) -> Result<Value> {
    let mut tensors = BTreeMap::new();
    for (name, id, recipe) in contents {
        let (_, shape) = Coder { checkpoint, variant, file: None, scales: None }.recipe(*id)?;
        let recipe = recipe.resolved(shape).to_string();
        tensors.insert(name, Described { recipe, shape });
    }
    let tensors = serde_json::to_string(&tensors)
        .map_err(|e| Error::bug("cannot describe the tensors").because(e))?;
    let mut facts = json!({
        "format": FORMAT,
        "version": VERSION,
        "numeric_version": NUMERIC_VERSION.to_string(),
        CONTENT_HASH: NO_HASH,
        "model_hash": checkpoint.content_hash(),
        "variant": variant.to_string(),
        "tensors": tensors,
    });
    if let Some(origin) = &calibrated.origin {
        let errors = serde_json::to_string(&calibrated.errors)
            .map_err(|e| Error::bug("cannot describe the errors").because(e))?;
        let provenance = serde_json::to_string(&calibrated.provenance)
            .map_err(|e| Error::bug("cannot describe the coding").because(e))?;
        let origin = serde_json::to_string(origin)
            .map_err(|e| Error::bug("cannot describe the calibration").because(e))?;
        facts["calibration"] = Value::from(origin);
        facts["coding"] = Value::from(provenance);
        facts["errors"] = Value::from(errors);
    }
    Ok(facts)
}
