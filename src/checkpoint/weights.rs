//! Finds the files of weights in a checkpoint's folder: one file, shards with their index, or a complete
//! set of shards without one. Where two sets are there, none is chosen silently.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::bytes::FileBytes;
use super::foreign;
use super::safetensors::{self, INDEX_NAME};
use super::stored::StoredTensor;
use crate::error::{At, Error, Result};

/// The name of weights in one file.
const SINGLE: &str = "model.safetensors";
/// Most shards that are looked for without an index.
const MAX_SHARDS: usize = 1 << 10;
/// Most names in a message.
const NAMED: usize = 4;

/// The files of weights in a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Weights {
    /// One file.
    Single(PathBuf),
    /// The index of shards, which may be missing.
    Indexed(PathBuf),
    /// All shards of a set that has no index.
    Shards(Vec<String>),
    /// No file that could be read.
    Absent,
}

impl Weights {
    /// Looks for the weights in `folder`.
    ///
    /// # Errors
    /// Input errors: two sets of weights, or an incomplete set of shards without an index.
    pub fn find(folder: &Path) -> Result<Self> {
        let (single, index) = (folder.join(SINGLE), folder.join(INDEX_NAME));
        match (single.exists(), index.exists()) {
            (true, false) => Ok(Weights::Single(single)),
            (false, true) => Ok(Weights::Indexed(index)),
            (true, true) => {
                let shards = shards(&safetensors::read_index(&index)?);
                if shards.iter().any(|shard| shard == SINGLE) {
                    return Ok(Weights::Indexed(index));
                }
                match shards.iter().find(|shard| folder.join(shard).exists()) {
                    None => Ok(Weights::Single(single)),
                    Some(shard) => Err(two_sets(folder, SINGLE, shard)),
                }
            }
            (false, false) => without_index(folder),
        }
    }

    /// Maps the files, and reads where their tensors are.
    ///
    /// # Errors
    /// Input errors of the files; missing shards; a tensor that the index does not place.
    pub fn open(&self, folder: &Path) -> Result<(Vec<FileBytes>, BTreeMap<String, StoredTensor>)> {
        match self {
            Weights::Single(path) => {
                let file = FileBytes::map(path)?;
                let found = safetensors::read(&file, 0)?;
                Ok((vec![file], found))
            }
            Weights::Indexed(index) => open_indexed(folder, index),
            Weights::Shards(names) => open_all(folder, names),
            Weights::Absent => Err(foreign::no_weights(folder)),
        }
    }
}

fn two_sets(folder: &Path, one: &str, other: &str) -> Error {
    Error::input(format!("{one} and {other} are both there, and may hold different weights"))
        .at(folder.display())
        .hint("keep one of the two sets: move the other, with its index, out of the folder")
}

/// The files that an index names.
fn shards(index: &safetensors::ShardIndex) -> BTreeSet<String> {
    index.weight_map.values().cloned().collect()
}

/// A complete set of files called `model-00001-of-00002.safetensors`.
fn without_index(folder: &Path) -> Result<Weights> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Weights::Absent) };
    let mut sets: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for entry in entries.filter_map(std::result::Result::ok) {
        if let Some((number, total)) = entry.file_name().to_str().and_then(shard_number) {
            sets.entry(total).or_default().insert(number);
        }
    }
    let name = |number: usize, total: usize| format!("model-{number:05}-of-{total:05}.safetensors");
    let mut all = sets.into_iter();
    let Some((total, numbers)) = all.next() else { return Ok(Weights::Absent) };
    if let Some((other, _)) = all.next() {
        return Err(two_sets(folder, &name(1, total), &name(1, other)));
    }
    let missing: Vec<String> =
        (1..=total).filter(|n| !numbers.contains(n)).map(|n| name(n, total)).collect();
    if missing.is_empty() {
        return Ok(Weights::Shards((1..=total).map(|number| name(number, total)).collect()));
    }
    Err(absent_shards(folder, &missing, total).at(folder.display()))
}

/// Number and total of a shard, by its name.
fn shard_number(name: &str) -> Option<(usize, usize)> {
    let (number, total) =
        name.strip_prefix("model-")?.strip_suffix(".safetensors")?.split_once("-of-")?;
    let parse = |digits: &str| {
        let is_plain = digits.len() == 5 && digits.bytes().all(|b| b.is_ascii_digit());
        digits.parse().ok().filter(|_| is_plain)
    };
    let (number, total) = (parse(number)?, parse(total)?);
    ((1..=total).contains(&number) && total <= MAX_SHARDS).then_some((number, total))
}

/// The error for shards that are missing.
fn absent_shards(folder: &Path, missing: &[String], total: usize) -> Error {
    let mut named = missing.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
    if missing.len() > NAMED {
        named += ", ...";
    }
    let of = if total == 1 { "shard is" } else { "shards are" };
    let error = Error::input(format!("{} of {total} {of} missing: {named}", missing.len()));
    match foreign::unfinished(folder) {
        Some(name) => error.hint(foreign::unfinished_hint(&name)),
        None => error.hint("download the missing files into the same folder"),
    }
}

/// Maps the shards of a set without an index. No tensor may be in two of them.
fn open_all(
    folder: &Path,
    names: &[String],
) -> Result<(Vec<FileBytes>, BTreeMap<String, StoredTensor>)> {
    let (mut files, mut found) = (Vec::new(), BTreeMap::new());
    for (number, shard) in names.iter().enumerate() {
        let file = FileBytes::map(&folder.join(shard))?;
        for (name, stored) in safetensors::read(&file, number)? {
            if found.insert(name.clone(), stored).is_some() {
                return Err(Error::input(format!("it is in {shard} and in a shard before it"))
                    .at(format!("tensor {name}"))
                    .at(folder.display()));
            }
        }
        files.push(file);
    }
    Ok((files, found))
}

/// Maps the shards that the index names, and takes each tensor from its shard.
fn open_indexed(
    folder: &Path,
    index_path: &Path,
) -> Result<(Vec<FileBytes>, BTreeMap<String, StoredTensor>)> {
    let index = safetensors::read_index(index_path)?;
    let shards = shards(&index);
    let missing: Vec<String> =
        shards.iter().filter(|shard| !folder.join(shard).exists()).cloned().collect();
    if !missing.is_empty() {
        return Err(absent_shards(folder, &missing, shards.len()).at(index_path.display()));
    }
    let (mut files, mut found) = (Vec::new(), BTreeMap::new());
    for (number, shard) in shards.iter().enumerate() {
        let file = FileBytes::map(&folder.join(shard))?;
        let mut tensors = safetensors::read(&file, number)?;
        for (name, _) in index.weight_map.iter().filter(|(_, of)| *of == shard) {
            let stored = tensors.remove(name).ok_or_else(|| {
                Error::input(format!("the index places it in {shard}, which does not contain it"))
                    .at(format!("tensor {name}"))
                    .at(index_path.display())
            })?;
            found.insert(name.clone(), stored);
        }
        if let Some(name) = tensors.keys().next() {
            return Err(not_in_the_index(name, shard, index.weight_map.get(name)))
                .at(|| index_path.display());
        }
        files.push(file);
    }
    Ok((files, found))
}

/// The error for a tensor of a shard that the index does not place there.
fn not_in_the_index(name: &str, shard: &str, elsewhere: Option<&String>) -> Error {
    let what = match elsewhere {
        Some(other) => format!("it is in {shard}, but the index places it in {other}"),
        None => format!("it is in {shard}, but not in the index"),
    };
    Error::input(what)
        .at(format!("tensor {name}"))
        .hint("the index and the shards are of different versions: download both again, or store the model again with save_pretrained")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of empty files, and an index that names `indexed`, if there are any.
    fn folder(names: &[&str], indexed: &[&str]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        if !indexed.is_empty() {
            let map: BTreeMap<String, &str> =
                indexed.iter().enumerate().map(|(i, shard)| (format!("t{i}"), *shard)).collect();
            let index = serde_json::json!({ "weight_map": map }).to_string();
            std::fs::write(folder.path().join(INDEX_NAME), index).unwrap();
        }
        folder
    }

    const FIRST: &str = "model-00001-of-00002.safetensors";
    const SECOND: &str = "model-00002-of-00002.safetensors";

    #[test]
    fn of_two_sets_of_weights_none_is_chosen() {
        let find = |names: &[&str], indexed: &[&str]| Weights::find(folder(names, indexed).path());
        let both = find(&[SINGLE, FIRST], &[FIRST, SECOND]).unwrap_err().to_string();
        assert!(both.contains("model.safetensors and model-00001-of-00002"), "{both}");
        assert!(both.contains("keep one of the two sets"), "{both}");
        // An index alone is no second set, and MLX writes one for a single file.
        assert!(matches!(find(&[SINGLE], &[FIRST]), Ok(Weights::Single(_))));
        assert!(matches!(find(&[SINGLE], &[SINGLE]), Ok(Weights::Indexed(_))));
        let other = "model-00001-of-00001.safetensors";
        assert!(find(&[FIRST, SECOND, other], &[]).is_err());
    }

    #[test]
    fn a_complete_set_of_shards_needs_no_index() {
        let find = |names: &[&str]| Weights::find(folder(names, &[]).path());
        let shards =
            |names: &[&str]| Weights::Shards(names.iter().map(|n| n.to_string()).collect());
        let single = "model-00001-of-00001.safetensors";
        assert_eq!(find(&[single]).unwrap(), shards(&[single]));
        assert_eq!(find(&[SECOND, FIRST]).unwrap(), shards(&[FIRST, SECOND]));
        let error = find(&[SECOND]).unwrap_err().to_string();
        assert!(error.contains(&format!("1 of 2 shards are missing: {FIRST}")), "{error}");
        for other in ["model-1-of-1.safetensors", "model-00003-of-00002.safetensors", "x"] {
            assert_eq!(find(&[other]).unwrap(), Weights::Absent, "{other}");
        }
    }

    #[test]
    fn missing_shards_are_named_with_what_a_download_left() {
        let folder = folder(&[FIRST, &format!("{SECOND}.part")], &[FIRST, SECOND]);
        let weights = Weights::find(folder.path()).unwrap();
        let error = weights.open(folder.path()).unwrap_err().to_string();
        assert!(error.contains(&format!("1 of 2 shards are missing: {SECOND}")), "{error}");
        assert!(error.contains(&format!("{SECOND}.part is there")), "{error}");
    }
}
