//! The experts that each token of a mixture is sent to, and their weights.

use candle_core::Tensor;

use super::{failed, values, vector_like};
use crate::checkpoint::config::{Experts, Routing, Score, Scored, SumFloor};
use crate::error::Result;

/// One window, routed to its experts.
#[derive(Debug)]
pub struct Routed {
    /// The input of router and experts, `[tokens, hidden]`.
    router_input: Tensor,
    /// The chosen experts of each token, the likeliest first, `[tokens, per_token]`.
    pub chosen: Vec<u32>,
    /// Their weights, `[tokens, per_token]`.
    weights: Vec<f32>,
    per_token: usize,
    /// The sum of the experts' weighted outputs so far, `[tokens, hidden]`.
    sum: Vec<f32>,
}

impl Routed {
    /// Chooses experts by `logits` `[tokens, experts]`, corrected by `correction` `[experts]`. Among
    /// equal logits the first expert wins.
    pub(super) fn new(
        router_input: Tensor,
        logits: &[f32],
        correction: Option<&[f32]>,
        experts: &Experts,
    ) -> Self {
        let (mut chosen, mut weights) = (Vec::new(), Vec::new());
        for row in logits.chunks_exact(experts.count) {
            let (order, of_row) = match experts.routing {
                Routing::Scored(scored) => by_scores(row, correction, scored, experts.per_token),
                Routing::SoftmaxOfChosen => by_logits(row, experts.per_token, true),
                Routing::ChosenOfSoftmax { renormalize } => {
                    by_logits(row, experts.per_token, renormalize)
                }
            };
            weights.extend(of_row);
            chosen.extend(order.iter().map(|&expert| expert as u32));
        }
        let sum = vec![0.0; router_input.elem_count()];
        Routed { router_input, chosen, weights, per_token: experts.per_token, sum }
    }

    /// The number of tokens that go to the same experts here and in `other`, in any order.
    pub fn agreement(&self, other: &Routed) -> u32 {
        let sorted = |experts: &[u32]| {
            let mut experts = experts.to_vec();
            experts.sort_unstable();
            experts
        };
        let own = self.chosen.chunks_exact(self.per_token);
        let pairs = own.zip(other.chosen.chunks_exact(self.per_token));
        pairs.filter(|(a, b)| a == b || sorted(a) == sorted(b)).count() as u32
    }

    /// The number of tokens of each expert.
    pub fn load(&self, experts: usize) -> Vec<u32> {
        let mut load = vec![0; experts];
        self.chosen.iter().for_each(|&expert| load[expert as usize] += 1);
        load
    }

    /// Whether any token goes to `expert`.
    pub fn needs(&self, expert: usize) -> bool {
        self.chosen.contains(&(expert as u32))
    }

    /// The input of router and experts, `[tokens, hidden]`.
    pub fn router_input(&self) -> &Tensor {
        &self.router_input
    }

    /// The input `[its tokens, hidden]` of `expert`, or `None` if no token goes to it.
    ///
    /// # Errors
    /// Bug-class errors from candle.
    pub fn given(&self, expert: usize) -> Result<Option<Tensor>> {
        let places = self.places(expert);
        if places.is_empty() {
            return Ok(None);
        }
        let rows: Vec<u32> = places.iter().map(|place| (place / self.per_token) as u32).collect();
        let rows = vector_like(&rows, &self.router_input)?;
        self.router_input.index_select(&rows, 0).map(Some).map_err(failed)
    }

    /// The positions of an expert in [`chosen`](Self::chosen).
    fn places(&self, expert: usize) -> Vec<usize> {
        let chosen = self.chosen.iter().enumerate();
        chosen.filter(|(_, e)| **e as usize == expert).map(|(place, _)| place).collect()
    }

    /// Runs `forward` on the input `[its tokens, hidden]` of `expert`, and adds the weighted
    /// outputs to the sum.
    ///
    /// # Errors
    /// Errors of `forward`; bug-class errors from candle.
    pub fn apply(
        &mut self,
        expert: usize,
        forward: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<()> {
        let Some(given) = self.given(expert)? else { return Ok(()) };
        let places = self.places(expert);
        let output = values(&forward(&given)?)?;
        let hidden = output.len() / places.len();
        for (place, output) in places.iter().zip(output.chunks_exact(hidden)) {
            let weight = self.weights[*place];
            let sum = &mut self.sum[place / self.per_token * hidden..][..hidden];
            sum.iter_mut().zip(output).for_each(|(sum, value)| *sum += weight * value);
        }
        Ok(())
    }

    /// Adds `scale` times the sum of the experts' outputs to `x` `[tokens, hidden]`.
    ///
    /// # Errors
    /// Bug-class errors from candle.
    pub fn finish(mut self, x: &Tensor, scale: f32) -> Result<Tensor> {
        if scale != 1.0 {
            self.sum.iter_mut().for_each(|value| *value *= scale);
        }
        let sum = Tensor::from_vec(self.sum, x.shape(), x.device()).map_err(failed)?;
        super::ops::add(sum, x).map_err(failed)
    }
}

/// The places of the `count` largest of `row`, the largest first.
fn largest(row: &[f32], count: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
    order.truncate(count);
    order
}

/// The experts of the largest logits, and their softmax over themselves or over all experts.
fn by_logits(row: &[f32], count: usize, renormalize: bool) -> (Vec<usize>, Vec<f32>) {
    let order = largest(row, count);
    let top = row[order[0]];
    let exponentials = |over: &mut dyn Iterator<Item = f32>| -> f32 {
        over.map(|logit| (logit - top).exp()).sum()
    };
    let total = if renormalize {
        exponentials(&mut order.iter().map(|&expert| row[expert]))
    } else {
        exponentials(&mut row.iter().copied())
    };
    let weights = order.iter().map(|&expert| (row[expert] - top).exp() / total).collect();
    (order, weights)
}

/// The experts of the largest corrected scores in the best groups, and their scores, scaled.
fn by_scores(
    row: &[f32],
    correction: Option<&[f32]>,
    scored: Scored,
    count: usize,
) -> (Vec<usize>, Vec<f32>) {
    let scores: Vec<f32> = match scored.score {
        Score::Sigmoid => row.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect(),
        Score::Softmax => {
            let top = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let exponentials: Vec<f32> = row.iter().map(|logit| (logit - top).exp()).collect();
            let total: f32 = exponentials.iter().sum();
            exponentials.iter().map(|value| value / total).collect()
        }
    };
    let mut choice = scores.clone();
    if let Some(correction) = correction {
        choice.iter_mut().zip(correction).for_each(|(score, by)| *score += by);
    }
    if let Some(groups) = scored.groups {
        let size = choice.len() / groups.count;
        let of_group = |group: &[f32]| -> f32 {
            largest(group, groups.by_largest).iter().map(|&at| group[at]).sum()
        };
        let of_groups: Vec<f32> = choice.chunks_exact(size).map(of_group).collect();
        let kept = largest(&of_groups, groups.chosen);
        for (at, score) in choice.iter_mut().enumerate() {
            if !kept.contains(&(at / size)) {
                *score = f32::NEG_INFINITY;
            }
        }
    }
    let order = largest(&choice, count);
    let mut weights: Vec<f32> = order.iter().map(|&expert| scores[expert]).collect();
    if scored.renormalize {
        let sum: f32 = weights.iter().sum();
        let sum = match scored.sum_floor {
            SumFloor::Added(floor) => sum + floor,
            SumFloor::AtLeast(floor) => sum.max(floor),
        };
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }
    weights.iter_mut().for_each(|weight| *weight *= scored.factor);
    (order, weights)
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn route(routing: Routing, logits: &[f32]) -> Routed {
        let normed = Tensor::ones((1, 2), DType::F32, &Device::Cpu).unwrap();
        let experts = Experts {
            count: logits.len(),
            per_token: 2,
            intermediate_size: 2,
            routing,
            router_bias: false,
            bias: false,
            shared: None,
        };
        Routed::new(normed, logits, None, &experts)
    }

    #[test]
    fn weights_are_a_softmax_over_the_chosen_or_over_all() {
        let logits = [0.0, 3f32.ln(), 2f32.ln(), 0.0];
        let chosen = route(Routing::SoftmaxOfChosen, &logits);
        assert_eq!(chosen.chosen, [1, 2]);
        assert!((chosen.weights[0] - 0.6).abs() < 1e-6);
        let all = route(Routing::ChosenOfSoftmax { renormalize: false }, &logits);
        assert!((all.weights[1] - 2.0 / 7.0).abs() < 1e-6);
        let scaled = route(Routing::ChosenOfSoftmax { renormalize: true }, &logits);
        assert!((scaled.weights.iter().sum::<f32>() - 1.0).abs() < 1e-6);
    }

    #[test]
    fn outputs_are_added_with_their_weights() {
        let mut routed = route(Routing::SoftmaxOfChosen, &[1.0, 1.0, 0.0]);
        assert!(routed.needs(0) && routed.needs(1) && !routed.needs(2));
        routed.apply(0, |x| Ok((x * 10.0).unwrap())).unwrap();
        routed.apply(1, |x| Ok((x * 30.0).unwrap())).unwrap();
        routed.apply(2, |_| panic!("no token goes there")).unwrap();
        let x = Tensor::ones((1, 2), DType::F32, &Device::Cpu).unwrap();
        assert_eq!(values(&routed.finish(&x, 1.0).unwrap()).unwrap(), [21.0, 21.0]);
    }
}
