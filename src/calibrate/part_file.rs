//! Part files: what calibration saves next to a variant's file until that file is complete.

use std::path::{Path, PathBuf};

use crate::checkpoint::{Checkpoint, TensorId};
use crate::error::{Error, Result};
use crate::eval::code_file::{Content, write_contents};
use crate::eval::provenance::Calibrated;
use crate::eval::variant::Variant;
use crate::quantize::CodedTensor;

/// Writes some tensors of a variant to `path`.
///
/// # Errors
/// Surroundings errors of the disk.
pub fn write_tensors(
    path: &Path,
    checkpoint: &Checkpoint,
    variant: &Variant,
    tensors: &[(TensorId, &CodedTensor)],
    calibrated: &Calibrated,
) -> Result<()> {
    let content = |(id, _): &(TensorId, &CodedTensor)| -> Result<Content> {
        Ok((id.name(), *id, variant.recipe_of(*id, checkpoint.stored(*id)?)))
    };
    let contents: Vec<Content> = tensors.iter().map(content).collect::<Result<_>>()?;
    write_contents(path, checkpoint, variant, &contents, calibrated, &mut |id| {
        let found = tensors.iter().find(|(other, _)| *other == id);
        found
            .map(|(_, tensor)| (*tensor).clone())
            .ok_or_else(|| Error::bug("a tensor that was not coded"))
    })
}

/// How names of part files continue after the name of the variant's file: a layer, the codes before
/// tuning, the state of tuning.
const PIECES: [&str; 3] = ["layer", "coded", "tuning"];
/// The suffix of files that are being written.
const UNFINISHED: &str = ".part";

/// The path of a part file of the file at `path`; `suffix` continues its name.
pub fn part_path(path: &Path, suffix: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.{suffix}"))
}

/// Whether `name` is a part file of the file called `file`.
fn is_part_file(name: &str, file: &str) -> bool {
    let of_file = |name: &str| name.strip_prefix(file)?.strip_prefix('.').map(str::to_owned);
    if let Some(hidden) = name.strip_prefix('.') {
        return of_file(hidden).is_some() && hidden.ends_with(UNFINISHED);
    }
    let Some(rest) = of_file(name) else { return false };
    let piece = rest.split('.').next().unwrap_or_default();
    PIECES.contains(&piece.trim_end_matches(|c: char| c.is_ascii_digit()))
}

/// Removes the part files of a finished file, including those that a killed process left.
///
/// # Errors
/// Surroundings errors of the disk.
pub fn remove_part_files(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let failed = |error| Error::io("read", folder, error);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let found = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if is_part_file(&found, &name) {
            std::fs::remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_part_files_are_removed() {
        let folder = tempfile::tempdir().unwrap();
        let ours = [
            "x.layer0",
            "x.layer12",
            "x.coded",
            "x.tuning",
            "x.tuning.layer3.1",
            "x.tuning.layer3.1.numbers",
            ".x.layer2.4711.part",
            ".x.4711.part",
        ];
        let others = ["x", "x.bak", "x.layers", "x.coded-by-me", "xx.layer0", "y.layer0", ".x.swp"];
        for name in ours.iter().chain(&others) {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        remove_part_files(&folder.path().join("x")).unwrap();
        let entries = std::fs::read_dir(folder.path()).unwrap();
        let mut left: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let mut others = others.map(str::to_owned);
        left.sort();
        others.sort();
        assert_eq!(left, others);
    }
}
