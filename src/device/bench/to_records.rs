//! The client's answers, as records.

use crate::device::client::{Finished, Gone, Killed, RefusedRequest, RequestOutcome};
use crate::device::protocol::result::{ComputeDevice, ComputePlan, Description};
use crate::device::table::devices;
use crate::error::{Error, Result};
use crate::results::measurement::{AttemptOutcome, PlanShare, SeenDevice};

/// How a job ended.
#[derive(Debug)]
pub(super) struct JobReport {
    pub attempts: u32,
    pub replayed: bool,
    pub outcome: AttemptOutcome,
}

impl JobReport {
    /// The report of an answer, with the outcome `good` if the job finished.
    pub fn of<T>(answer: &RequestOutcome<T>, good: AttemptOutcome) -> JobReport {
        let (attempts, replayed) = match answer {
            RequestOutcome::Finished(Finished { attempt, replayed, .. }) => (*attempt, *replayed),
            RequestOutcome::Refused(RefusedRequest { attempt, replayed, .. }) => {
                (*attempt, *replayed)
            }
            RequestOutcome::Killed(Killed { attempt, .. }) => (*attempt, false),
            RequestOutcome::Gone(_) => (1, false),
        };
        let outcome = match answer {
            RequestOutcome::Finished(_) => good,
            other => outcome_of(other),
        };
        JobReport { attempts, replayed, outcome }
    }

    /// The report of a job that did not begin.
    pub fn not_started(reason: String) -> JobReport {
        JobReport { attempts: 0, replayed: false, outcome: AttemptOutcome::NotStarted { reason } }
    }
}

/// The value of a job, unless it holds a number that nothing can measure: the job has failed then.
pub(super) fn possible<T>(
    value: Option<T>,
    check: fn(&T) -> Result<()>,
    report: &mut JobReport,
) -> Option<T> {
    let value = value?;
    match check(&value) {
        Ok(()) => Some(value),
        Err(error) => {
            report.outcome = impossible(&error);
            None
        }
    }
}

/// The outcome of an answer with a number that nothing can measure. It fails its own step and nothing
/// else: the other devices are measured, and the page is written.
pub(super) fn impossible(error: &Error) -> AttemptOutcome {
    let reason =
        format!("the runner answered a number that nothing can measure: {}", error.cause());
    AttemptOutcome::Failed { reason }
}

/// The outcome of an answer; kept if the request finished.
pub(super) fn outcome_of<T>(answer: &RequestOutcome<T>) -> AttemptOutcome {
    match answer {
        RequestOutcome::Finished(_) => AttemptOutcome::Kept,
        RequestOutcome::Refused(RefusedRequest { message, .. }) => {
            AttemptOutcome::Failed { reason: message.clone() }
        }
        RequestOutcome::Killed(Killed { message, .. }) => {
            AttemptOutcome::Killed { reason: message.clone() }
        }
        RequestOutcome::Gone(Gone { message, hint, after, .. }) => {
            let hint = hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
            let reason = format!("{message}, for {:.1} s{hint}", after.as_secs_f64());
            AttemptOutcome::Gone { reason }
        }
    }
}

/// A device's description, with what the table of devices knows of it.
pub(super) fn seen(device: String, seen: String, description: Description) -> SeenDevice {
    let known = devices().by_identifier(&description.device.model_identifier);
    SeenDevice {
        device,
        seen,
        marketing_name: known.map(|known| known.name.clone()),
        bandwidth_gb_per_s: known.and_then(|known| known.memory_bandwidth_gbps),
        bandwidth_confidence: known.map(|known| known.confidence.bandwidth.clone()),
        description,
    }
}

/// The share of each compute device in a plan's estimated cost.
pub(super) fn plan_share(device: &str, package: &str, plan: &ComputePlan) -> PlanShare {
    let costs = plan.operations.iter().filter_map(|one| Some((one.preferred?, one.cost_weight?)));
    let costs: Vec<(ComputeDevice, f64)> = costs.filter(|(_, cost)| cost.is_finite()).collect();
    let total: f64 = costs.iter().map(|(_, cost)| cost).sum();
    let share = |device: ComputeDevice| {
        let own: f64 = costs.iter().filter(|(own, _)| *own == device).map(|(_, cost)| cost).sum();
        (total > 0.0).then(|| own / total)
    };
    let assigned = plan.operations.iter().filter(|one| one.preferred.is_some()).count();
    PlanShare {
        device: device.to_owned(),
        package: package.to_owned(),
        neural_engine: share(ComputeDevice::NeuralEngine),
        gpu: share(ComputeDevice::Gpu),
        cpu: share(ComputeDevice::Cpu),
        operations: assigned,
        unassigned: plan.operations.len() - assigned,
    }
}
