//! Measures the errors of the experts of a layer: the shared expert, and the routed ones one at a time.

use candle_core::Tensor;
use rayon::prelude::*;

use super::part::{Part, distance};
use super::sensitivity::{Errors, Probe, Weights, branch, replace};
use crate::checkpoint::TensorId;
use crate::error::Result;
use crate::eval::lane::Lane;
use crate::eval::layer::finish;
use crate::eval::mixed::place_of;
use crate::eval::windows::{both, each, route, with_shared};
use crate::model::{Block, Mlp, Routed};

/// The states that the outputs of routed experts are added to, and the routing, per window.
struct Trial {
    states: Vec<Tensor>,
    routed: Vec<Routed>,
}

impl Trial {
    /// The states after the experts.
    fn finish(self, scale: f32) -> Result<Vec<Tensor>> {
        let pairs = self.routed.into_iter().zip(&self.states);
        pairs.map(|(routed, x)| routed.finish(x, scale)).collect()
    }
}

impl Probe<'_> {
    /// Codes the experts of a layer, from every lane's states after attention. A trial codes one place of all
    /// experts by one candidate; there are no trials if errors are known. `first` are the lanes' states
    /// before the layer, if these differ from what the router's norm reads.
    pub(super) fn experts(
        &self,
        layer: usize,
        is_known: bool,
        block: &mut Block,
        first: &[Vec<Tensor>],
        lanes: &mut Vec<Lane>,
    ) -> Result<Errors> {
        let config = &self.walk.checkpoint.config;
        let router_inputs = |block: &Block, at: usize, hidden: &[Tensor]| {
            let x = first.get(at).map_or(hidden, Vec::as_slice);
            both(x, hidden, |x, after| block.mlp_input(x, after))
        };
        let after = lanes[0].hidden.clone();
        let normed = router_inputs(block, 0, &after)?;
        let (mut tried, mut anchored) = self.trials(layer, is_known, block, &normed, &after)?;
        for (at, lane) in lanes.iter_mut().enumerate() {
            let normed = router_inputs(block, at, &lane.hidden)?;
            lane.routed = route(block, &normed)?;
            lane.hidden = after_shared(block, &normed, &lane.hidden)?;
        }
        for expert in 0..config.expert_count(layer) {
            let mut mlp = Mlp::new(config, self.read(&config.expert_tensors(layer, expert))?)?;
            lanes.par_iter_mut().try_for_each(|lane| apply(expert, &mlp, &mut lane.routed))?;
            self.expert(layer, expert, &mut mlp, &mut tried, &mut anchored)?;
        }
        lanes.iter_mut().try_for_each(|lane| finish(lane, config))?;
        let scale = config.residual_scale;
        let errors = tried.into_iter().map(|trial| {
            trial.map(|trial| distance(&lanes[0].hidden, &trial.finish(scale)?)).transpose()
        });
        let errors: Vec<Option<f64>> = errors.collect::<Result<_>>()?;
        for trial in anchored {
            lanes.push(branch(trial.finish(scale)?));
        }
        Ok(errors.chunks_exact(self.candidates.len()).map(<[_]>::to_vec).collect())
    }

    /// The trials by place and candidate, and one for each anchor, after the shared expert. `normed` are the
    /// inputs of the router, and `after` the states after attention. Leaves the block unchanged.
    fn trials(
        &self,
        layer: usize,
        is_known: bool,
        block: &mut Block,
        normed: &[Tensor],
        after: &[Tensor],
    ) -> Result<(Vec<Option<Trial>>, Vec<Trial>)> {
        let trial = |block: &Block| -> Result<Trial> {
            let routed = route(block, normed)?;
            Ok(Trial { states: after_shared(block, normed, after)?, routed })
        };
        let mut tried = Vec::new();
        let mut coded_shared: Vec<Weights> = vec![Weights::new(); self.anchors.len()];
        let mut all = Weights::new();
        for place in Part::Mlp.places() {
            let own = self.originals(block, layer, place)?;
            for candidate in 0..self.candidates.len() {
                if is_known && !self.anchors.contains(&candidate) {
                    tried.push(None);
                    continue;
                }
                let coded = self.coded_place(layer, &own, candidate)?;
                let is_codable = coded.is_some() || own.is_empty();
                if let Some(coded) = coded {
                    self.keep(candidate, &coded, &mut coded_shared);
                    replace(coded, |role, weight| block.replace(role, weight))?;
                }
                let is_tried = !is_known && is_codable;
                tried.push(is_tried.then(|| trial(block)).transpose()?);
            }
            replace(own.clone(), |role, weight| block.replace(role, weight))?;
            all.extend(own);
        }
        let mut anchored = Vec::new();
        for weights in coded_shared {
            replace(weights, |role, weight| block.replace(role, weight))?;
            anchored.push(trial(block)?);
        }
        replace(all, |role, weight| block.replace(role, weight))?;
        Ok((tried, anchored))
    }

    /// Sends the reference's tokens through one expert of a layer, coded as in each trial and by each
    /// anchor. An expert without tokens is skipped.
    fn expert(
        &self,
        layer: usize,
        expert: usize,
        mlp: &mut Mlp,
        tried: &mut [Option<Trial>],
        anchored: &mut [Trial],
    ) -> Result<()> {
        let mut routings = anchored.iter().flat_map(|trial| &trial.routed);
        if !routings.any(|routed| routed.needs(expert)) {
            return Ok(());
        }
        let config = &self.walk.checkpoint.config;
        let ids = config.expert_tensors(layer, expert);
        let mut weights: Vec<Weights> = vec![Weights::new(); self.anchors.len()];
        let trials_by_place = tried.chunks_exact_mut(self.candidates.len());
        for (place, tried) in Part::Mlp.places().zip(trials_by_place) {
            let is_it = |id: &&TensorId| !id.bias && place_of(id.role) == Some(place);
            // An expert without a gate has no tensor in its place.
            let Some(&id) = ids.iter().find(is_it) else {
                tried.iter_mut().for_each(|trial| *trial = None);
                continue;
            };
            let (role, original) = (id.role, mlp.weight(id.role)?);
            for (candidate, trial) in tried.iter_mut().enumerate() {
                if trial.is_none() && !self.anchors.contains(&candidate) {
                    continue;
                }
                match self.coded(id, &original, candidate)? {
                    Some(weight) => {
                        self.keep(candidate, &vec![(role, weight.clone())], &mut weights);
                        mlp.replace(role, weight)?;
                        let routed = trial.iter_mut().map(|trial| &mut trial.routed);
                        routed.into_iter().try_for_each(|routed| apply(expert, mlp, routed))?;
                    }
                    None => *trial = None,
                }
            }
            mlp.replace(role, original)?;
        }
        for (weights, trial) in weights.into_iter().zip(anchored) {
            replace(weights, |role, weight| mlp.replace(role, weight))?;
            apply(expert, mlp, &mut trial.routed)?;
        }
        Ok(())
    }
}

/// The states after the shared expert, if there is one.
fn after_shared(block: &Block, normed: &[Tensor], after: &[Tensor]) -> Result<Vec<Tensor>> {
    match block.shared() {
        Some(shared) => {
            let inner = each(normed, |x| shared.inner(x))?;
            with_shared(block, normed, &inner, after)
        }
        None => Ok(after.to_vec()),
    }
}

/// Adds the outputs of an expert for the tokens that are routed to it.
fn apply(expert: usize, mlp: &Mlp, routed: &mut [Routed]) -> Result<()> {
    routed.par_iter_mut().try_for_each(|routed| routed.apply(expert, |x| mlp.forward(x)))
}
