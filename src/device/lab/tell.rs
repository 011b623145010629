//! What the client says, in the words of records.

use crate::device::client::{self, Finished, Gone, Killed, Refused};
use crate::device::protocol::result::{Description, Plan, Unit};
use crate::device::table::devices;
use crate::results::measurement::{Outcome, PlanShare, SeenDevice};

/// What became of a job.
#[derive(Debug)]
pub(super) struct Told {
    pub attempts: u32,
    pub replayed: bool,
    pub outcome: Outcome,
}

impl Told {
    /// Of an answer; `good` where it finished.
    pub fn of<T>(answer: &client::Outcome<T>, good: Outcome) -> Told {
        let (attempts, replayed) = match answer {
            client::Outcome::Finished(Finished { attempt, replayed, .. }) => (*attempt, *replayed),
            client::Outcome::Refused(Refused { attempt, replayed, .. }) => (*attempt, *replayed),
            client::Outcome::Killed(Killed { attempt, .. }) => (*attempt, false),
            client::Outcome::Gone(_) => (1, false),
        };
        let outcome = match answer {
            client::Outcome::Finished(_) => good,
            other => outcome_of(other),
        };
        Told { attempts, replayed, outcome }
    }

    /// Of what did not begin.
    pub fn not_started(reason: String) -> Told {
        Told { attempts: 0, replayed: false, outcome: Outcome::NotStarted { reason } }
    }
}

/// An answer as an outcome; kept where it finished.
pub(super) fn outcome_of<T>(answer: &client::Outcome<T>) -> Outcome {
    match answer {
        client::Outcome::Finished(_) => Outcome::Kept,
        client::Outcome::Refused(Refused { message, .. }) => {
            Outcome::Failed { reason: message.clone() }
        }
        client::Outcome::Killed(Killed { message, .. }) => {
            Outcome::Killed { reason: message.clone() }
        }
        client::Outcome::Gone(Gone { why, message, after }) => Outcome::Gone {
            reason: format!("{}: {message}, for {:.1} s", why.name(), after.as_secs_f64()),
        },
    }
}

/// A device with what the table of devices says of it.
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

/// The shares of the units in a plan's estimated cost.
pub(super) fn plan_share(device: &str, package: &str, plan: &Plan) -> PlanShare {
    let costs = plan.operations.iter().filter_map(|one| Some((one.preferred?, one.cost_weight?)));
    let costs: Vec<(Unit, f64)> = costs.filter(|(_, cost)| cost.is_finite()).collect();
    let total: f64 = costs.iter().map(|(_, cost)| cost).sum();
    let share = |unit: Unit| {
        let own: f64 = costs.iter().filter(|(own, _)| *own == unit).map(|(_, cost)| cost).sum();
        (total > 0.0).then(|| own / total)
    };
    let assigned = plan.operations.iter().filter(|one| one.preferred.is_some()).count();
    PlanShare {
        device: device.to_owned(),
        package: package.to_owned(),
        neural_engine: share(Unit::NeuralEngine),
        gpu: share(Unit::Gpu),
        cpu: share(Unit::Cpu),
        operations: assigned,
        unassigned: plan.operations.len() - assigned,
    }
}
