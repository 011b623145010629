//! Lets an interrupted calibration continue: every coded layer of a variant is saved in a part file, and
//! the part files are finally joined to the variant's file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::job::CalibrationJob;
use super::layer::Done;
use super::part_file::{part_path, write_tensors};
use super::tune_block::Tuned;
use super::tune_model::TunedModel;
use crate::checkpoint::TensorId;
use crate::error::Result;
use crate::eval::code_file::{contents, write_contents};
use crate::eval::coded_file::CodedFile;
use crate::eval::coder::Coder;
use crate::eval::provenance::{Calibrated, Provenance};

impl CalibrationJob<'_> {
    fn part(&self, variant: usize, layer: usize) -> PathBuf {
        part_path(&self.paths[variant], &format!("layer{layer}"))
    }

    /// A layer's part file, if it exists and belongs to this calibration.
    pub fn saved(&self, variant: usize, layer: usize) -> Option<Arc<CodedFile>> {
        let file = CodedFile::open(&self.part(variant, layer)).ok()?;
        let is_ours = file.model_hash == self.walk.checkpoint.content_hash()
            && file.variant == self.walk.variants[variant]
            && file.calibrated.origin.as_ref() == Some(self.origin);
        is_ours.then(|| Arc::new(file))
    }

    /// Writes a layer's part file.
    pub fn save(&self, variant: usize, layer: usize, done: &Done) -> Result<()> {
        let (checkpoint, of) = (self.walk.checkpoint, &self.walk.variants[variant]);
        let mut errors = BTreeMap::new();
        let mut provenance =
            Provenance { pooled_experts: done.pooled_experts, ..Provenance::default() };
        provenance.tuned.extend(done.tuned.map(|tuned| (layer, tuned.record())));
        for one in &done.fitted {
            if let Some(coding) = &one.coding {
                let steps = coding.errors.iter().map(|(step, error)| (step.to_string(), *error));
                errors.insert(one.id.name(), steps.collect());
                provenance.flatness.extend(coding.flatness.map(|of| (one.id.name(), of)));
                provenance.dead_inputs += coding.dead_inputs;
                provenance.data_free.extend(coding.is_data_free.then(|| one.id.name()));
            }
        }
        let calibrated = Calibrated { origin: Some(self.origin.clone()), errors, provenance };
        let coded: Vec<_> = done.fitted.iter().map(|one| (one.id, &one.tensor)).collect();
        write_tensors(&self.part(variant, layer), checkpoint, of, &coded, &calibrated)
    }

    /// Joins a variant's part files, and the tensors outside the layers, to one file at `path`.
    ///
    /// # Errors
    /// Input errors of the checkpoint and of the parts, surroundings errors of the disk.
    pub fn join(&self, variant: usize, path: &Path) -> Result<()> {
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
        write_contents(path, checkpoint, of, &contents, &calibrated, &mut |id: TensorId| {
            let file = id.layer.and_then(|layer| parts.get(layer));
            Coder { checkpoint, variant: of, file, scales: None }.tensor(id)
        })
    }

    /// Writes a variant's file: the tuned parameters, and the tensors of `file` that were not tuned.
    ///
    /// # Errors
    /// Input errors of the file and of the tuned parameters, surroundings errors of the disk.
    pub fn write_tuned(
        &self,
        variant: usize,
        file: &Arc<CodedFile>,
        tuned: TunedModel<'_>,
    ) -> Result<()> {
        let (checkpoint, of) = (self.walk.checkpoint, &self.walk.variants[variant]);
        let TunedModel { parameters, losses } = tuned;
        let mut calibrated = file.calibrated.clone();
        calibrated.provenance.tuned_whole = losses.map(Tuned::record);
        let contents = contents(checkpoint, of);
        let coder = Coder { checkpoint, variant: of, file: Some(file), scales: None };
        write_contents(&self.paths[variant], checkpoint, of, &contents, &calibrated, &mut |id| {
            parameters.as_ref().map_or_else(|| coder.tensor(id), |tuned| tuned.tensor(id))
        })
    }
}
