//! The memory of `decode` alone. A system may hold the weights once per function that is loaded, though
//! the functions share them; so a package is also loaded once without `prefill`.

use super::run::{AfterVisit, DeviceBench};
use super::to_records::outcome_of;
use super::visit::SAMPLE_MS;
use crate::device::client::{Finished, RequestOutcome, new_job};
use crate::device::protocol::message::ModelFunction;
use crate::error::Result;
use crate::results::measurement::{AttemptOutcome, DecodeAlone, Measurement};

/// How many tokens are generated, so that all weights have been used.
const TOKENS: usize = 4;

impl DeviceBench<'_> {
    /// Loads `decode` alone and generates a few tokens, unless that was done before. A failure is
    /// recorded and only counts against the device if it is gone.
    pub(super) fn decode_alone(&mut self, at: usize) -> Result<AfterVisit> {
        let prepared = &self.question.subjects[at];
        let package = prepared.subject.package.clone();
        if self.has_decode_alone(&package) {
            return Ok(AfterVisit::Continue);
        }
        if self.can_restart {
            self.can_restart = self.runner.restart().is_ok();
        }
        let units = self.units;
        let functions = [ModelFunction::Decode];
        let loaded = self.runner.load(&new_job(), &package, units, &functions, SAMPLE_MS)?;
        let RequestOutcome::Finished(Finished { value: loaded, .. }) = loaded else {
            return self.failed_alone(&package, &outcome_of(&loaded));
        };
        if loaded.functions != [ModelFunction::Decode.name()] {
            let reason = format!(
                "expected decode alone to be loaded, found {}; build the runner of this version",
                loaded.functions.join(" and ")
            );
            return self.failed_alone(&package, &AttemptOutcome::Failed { reason });
        }
        let tokens = TOKENS.min(prepared.context_tokens.saturating_sub(1)).max(1);
        let prompt = &self.question.prompt[..self.question.prompt.len().min(1)];
        let generated = self.runner.generate(&new_job(), prompt, tokens, SAMPLE_MS)?;
        let RequestOutcome::Finished(Finished { value: generated, .. }) = generated else {
            return self.failed_alone(&package, &outcome_of(&generated));
        };
        let (method_id, device) = (self.question.method.method_id.clone(), self.device.clone());
        let fresh_process = self.can_restart;
        let alone = DecodeAlone { method_id, device, package, fresh_process, loaded, generated };
        let package = alone.package.clone();
        let alone = Measurement::DecodeAlone(Box::new(alone));
        self.append_answer(Some(&package), "decode alone", alone)?;
        Ok(AfterVisit::Continue)
    }

    fn failed_alone(&mut self, package: &str, outcome: &AttemptOutcome) -> Result<AfterVisit> {
        self.record_failure(Some(package), "decode alone", outcome)?;
        let is_gone = matches!(outcome, AttemptOutcome::Gone { .. });
        Ok(if is_gone { AfterVisit::DropDevice } else { AfterVisit::Continue })
    }

    fn has_decode_alone(&self, package: &str) -> bool {
        self.file.all().iter().any(|one| match one {
            Measurement::DecodeAlone(one) => {
                one.package == package
                    && one.device == self.device
                    && one.method_id == self.question.method.method_id
            }
            _ => false,
        })
    }
}
