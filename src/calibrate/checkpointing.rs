//! What a walk that codes leaves on the disk: a part file for each layer of each variant, for those
//! that are tuned as a whole their codes before and the state of tuning, and in the end one file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Plan;
use super::layer::Done;
use super::tune_block::Tuned;
use super::tune_model::Parameters;
use crate::checkpoint::{Checkpoint, TensorId};
use crate::error::{Error, Result};
use crate::eval::code_file::{Calibrated, Content, Told, contents, write_contents};
use crate::eval::coded_file::CodedFile;
use crate::eval::coder::Coder;
use crate::eval::variant::Variant;
use crate::quantize::CodedTensor;

impl Plan<'_> {
    fn part(&self, variant: usize, layer: usize) -> PathBuf {
        beside(&self.paths[variant], &format!("layer{layer}"))
    }

    /// A layer's part file, where it is there and belongs to this calibration.
    pub(crate) fn kept(&self, variant: usize, layer: usize) -> Option<Arc<CodedFile>> {
        let file = CodedFile::open(&self.part(variant, layer)).ok()?;
        let is_ours = file.model_hash == self.walk.checkpoint.content_hash()
            && file.variant == self.walk.variants[variant]
            && file.calibrated.origin.as_ref() == Some(self.origin);
        is_ours.then(|| Arc::new(file))
    }

    /// Writes a layer's part file.
    pub(crate) fn keep(&self, variant: usize, layer: usize, done: &Done) -> Result<()> {
        let (checkpoint, of) = (self.walk.checkpoint, &self.walk.variants[variant]);
        let mut errors = BTreeMap::new();
        let mut told = Told { pooled_experts: done.pooled_experts, ..Told::default() };
        told.tuned.extend(done.tuned.map(|tuned| (layer, tuned.told())));
        for one in &done.fitted {
            if let Some(coding) = &one.coding {
                let steps = coding.errors.iter().map(|(step, error)| (step.to_string(), *error));
                errors.insert(one.id.name(), steps.collect());
                told.flatness.extend(coding.flatness.map(|of| (one.id.name(), of)));
                told.dead_inputs += coding.dead_inputs;
            }
        }
        let calibrated = Calibrated { origin: Some(self.origin.clone()), errors, told };
        let coded: Vec<_> = done.fitted.iter().map(|one| (one.id, &one.tensor)).collect();
        write_tensors(&self.part(variant, layer), (checkpoint, of), &coded, &calibrated)
    }

    /// A variant's parts and what no layer holds as one file at `path`.
    ///
    /// # Errors
    /// Input errors of the checkpoint and of the parts, surroundings errors of the disk.
    pub(crate) fn join(&self, variant: usize, path: &Path) -> Result<()> {
        let (checkpoint, of) = (self.walk.checkpoint, &self.walk.variants[variant]);
        let mut parts = Vec::new();
        let mut calibrated =
            Calibrated { origin: Some(self.origin.clone()), ..Calibrated::default() };
        for layer in 0..checkpoint.config.layers {
            let part = CodedFile::open(&self.part(variant, layer))?;
            calibrated.join(&part.calibrated);
            parts.push(Arc::new(part));
        }
        let contents = contents(checkpoint, of);
        write_contents(path, (checkpoint, of), &contents, &calibrated, &mut |id: TensorId| {
            let file = id.layer.and_then(|layer| parts.get(layer));
            Coder { checkpoint, variant: of, file, scales: None }.tensor(id)
        })
    }

    /// A variant's file: the tensors of `file`, those that were tuned as a whole in their place.
    ///
    /// # Errors
    /// Input errors of the file and of what was tuned, surroundings errors of the disk.
    pub(crate) fn write_tuned(
        &self,
        variant: usize,
        file: &Arc<CodedFile>,
        tuned: (Option<Parameters<'_>>, Option<Tuned>),
    ) -> Result<()> {
        let (checkpoint, of) = (self.walk.checkpoint, &self.walk.variants[variant]);
        let (parameters, losses) = tuned;
        let mut calibrated = file.calibrated.clone();
        calibrated.told.tuned_whole = losses.map(Tuned::told);
        let contents = contents(checkpoint, of);
        let coder = Coder { checkpoint, variant: of, file: Some(file), scales: None };
        write_contents(&self.paths[variant], (checkpoint, of), &contents, &calibrated, &mut |id| {
            parameters.as_ref().map_or_else(|| coder.tensor(id), |tuned| tuned.tensor(id))
        })
    }
}

/// Writes tensors of a variant, and nothing else, to `path`.
///
/// # Errors
/// Surroundings errors of the disk.
pub(crate) fn write_tensors(
    path: &Path,
    (checkpoint, variant): (&Checkpoint, &Variant),
    tensors: &[(TensorId, &CodedTensor)],
    calibrated: &Calibrated,
) -> Result<()> {
    let content = |(id, _): &(TensorId, &CodedTensor)| -> Result<Content> {
        Ok((id.name(), *id, variant.recipe_of(*id, checkpoint.stored(*id)?)))
    };
    let contents: Vec<Content> = tensors.iter().map(content).collect::<Result<_>>()?;
    write_contents(path, (checkpoint, variant), &contents, calibrated, &mut |id| {
        let found = tensors.iter().find(|(other, _)| *other == id);
        found.map(|(_, tensor)| (*tensor).clone()).ok_or_else(|| Error::bug("a tensor not coded"))
    })
}

/// What the names of files beside a variant's file begin with after its own: parts, codes before
/// tuning, tuning itself.
const PIECES: [&str; 3] = ["layer", "coded", "tuning"];
/// What names of files end with that are being written.
const UNFINISHED: &str = ".part";

/// A file that belongs to the one at `path`.
pub(crate) fn beside(path: &Path, what: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{name}.{what}"))
}

/// Whether coding leaves a file with a name beside the one called `file`.
fn is_left(name: &str, file: &str) -> bool {
    let of_file = |name: &str| name.strip_prefix(file)?.strip_prefix('.').map(str::to_owned);
    if let Some(hidden) = name.strip_prefix('.') {
        return of_file(hidden).is_some() && hidden.ends_with(UNFINISHED);
    }
    let Some(rest) = of_file(name) else { return false };
    let piece = rest.split('.').next().unwrap_or_default();
    PIECES.contains(&piece.trim_end_matches(|c: char| c.is_ascii_digit()))
}

/// Removes everything that coding left beside a finished file, which kills may have kept it from.
///
/// # Errors
/// Surroundings errors of the disk.
pub fn sweep_up(path: &Path) -> Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let failed = |error| Error::io("read", folder, error);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let found = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if is_left(&found, &name) {
            std::fs::remove_file(&path).map_err(|error| Error::io("remove", &path, error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_coding_leaves_is_swept_up() {
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
        sweep_up(&folder.path().join("x")).unwrap();
        let entries = std::fs::read_dir(folder.path()).unwrap();
        let mut left: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let mut others = others.map(str::to_owned);
        left.sort();
        others.sort();
        assert_eq!(left, others);
    }
}
