//! Evidence for claims from model configurations alone: sizes, and whether they fit a device.

use std::path::Path;

use super::observer::Observer;
use super::{device_fit, inputs};
use crate::checkpoint::Checkpoint;
use crate::compare::claims::{Claim, ClaimEvidence, ClaimMetric, Claims, EvidenceKind};
use crate::device::table::{Fit, Prediction, Verdict, devices};
use crate::error::{At, Result};
use crate::eval::Variant;
use crate::stats::Estimate;
use crate::units::Bytes;

/// The name for four bytes per weight, which is not a recipe.
const FP32: &str = "fp32";
/// Prefix of checkpoints on the Hugging Face hub.
const HUB: &str = "hf:";

/// Evidence for `claims` from the configurations that they name; paths are relative to `file`.
///
/// # Errors
/// Input errors of configurations, recipes and devices, with the claim.
pub fn evidence(
    claims: &Claims,
    file: &Path,
    observer: &dyn Observer,
) -> Result<Vec<ClaimEvidence>> {
    let mut all = Vec::new();
    for model in &claims.models {
        let config = if model.config.starts_with(HUB) {
            model.config.clone()
        } else {
            file.parent()
                .unwrap_or(Path::new(""))
                .join(&model.config)
                .to_string_lossy()
                .into_owned()
        };
        let outline = inputs::open_outline(&config, observer).at(|| file.display().to_string())?;
        for claim in claims.claims.iter().filter(|claim| claim.model == model.name) {
            let found = of_claim(claim, &outline.checkpoint);
            all.extend(
                found.at(|| format!("claim {:?}", claim.says)).at(|| file.display().to_string())?,
            );
        }
    }
    Ok(all)
}

fn of_claim(claim: &Claim, checkpoint: &Checkpoint) -> Result<Option<ClaimEvidence>> {
    let Some(recipe) = &claim.recipe else { return Ok(None) };
    let told = |value: f64, from: String, device: Vec<String>| ClaimEvidence {
        model: claim.model.clone(),
        recipe: recipe.clone(),
        device,
        metric: claim.metric,
        value: Estimate::exact(value),
        kind: EvidenceKind::Predicted,
        from,
    };
    match claim.metric {
        ClaimMetric::Size => {
            let bytes = match recipe.as_str() {
                FP32 => 4 * checkpoint.parameters(),
                recipe => {
                    let parts = recipe.parse::<Variant>()?.parts(checkpoint)?;
                    parts.iter().map(|part| part.size_bytes).sum()
                }
            };
            Ok(Some(told(bytes as f64, "from the configuration".into(), Vec::new())))
        }
        ClaimMetric::Fits | ClaimMetric::FitsEntitled => {
            let Some(name) = &claim.device else { return Ok(None) };
            let device = devices().find(name)?;
            let Prediction { need_bytes, default, entitled, .. } =
                device_fit::prediction(device, checkpoint, &recipe.parse()?)?;
            let Fit { limit_bytes, verdict } =
                if claim.metric == ClaimMetric::Fits { default } else { entitled };
            let (Some(limit), false) = (limit_bytes, verdict == Verdict::Unknown) else {
                return Ok(None);
            };
            let from = format!(
                "from a need of {} and an estimated limit of {}",
                Bytes(need_bytes),
                Bytes(limit)
            );
            let fits = f64::from(u8::from(verdict != Verdict::TooLarge));
            let names = vec![device.identifier.clone(), device.name.clone()];
            Ok(Some(told(fits, from, names)))
        }
        _ => Ok(None),
    }
}
