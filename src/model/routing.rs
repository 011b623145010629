//! The experts that each token of a mixture is sent to, and their weights.

use candle_core::Tensor;

use super::{failed, values, vector_like};
use crate::checkpoint::config::{Experts, Routing};
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
    /// Chooses experts by `logits` `[tokens, experts]`. Among equal logits the first expert wins.
    pub(super) fn new(router_input: Tensor, logits: &[f32], experts: &Experts) -> Self {
        let per_token = experts.per_token;
        let (mut chosen, mut weights) = (Vec::new(), Vec::new());
        for row in logits.chunks_exact(experts.count) {
            let mut order: Vec<usize> = (0..row.len()).collect();
            order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
            order.truncate(per_token);
            let exponentials = |over: &mut dyn Iterator<Item = f32>| -> f32 {
                over.map(|logit| (logit - row[order[0]]).exp()).sum()
            };
            let renormalize = match experts.routing {
                Routing::SoftmaxOfChosen => true,
                Routing::ChosenOfSoftmax { renormalize } => renormalize,
            };
            let total = if renormalize {
                exponentials(&mut order.iter().map(|&expert| row[expert]))
            } else {
                exponentials(&mut row.iter().copied())
            };
            weights.extend(order.iter().map(|&e| (row[e] - row[order[0]]).exp() / total));
            chosen.extend(order.iter().map(|&expert| expert as u32));
        }
        let sum = vec![0.0; router_input.elem_count()];
        Routed { router_input, chosen, weights, per_token, sum }
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

    /// Adds the sum of the experts' outputs to `x` `[tokens, hidden]`.
    ///
    /// # Errors
    /// Bug-class errors from candle.
    pub fn finish(self, x: &Tensor) -> Result<Tensor> {
        let sum = Tensor::from_vec(self.sum, x.shape(), x.device()).map_err(failed)?;
        super::ops::add(sum, x).map_err(failed)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;
    use crate::checkpoint::config::Activation;

    fn route(routing: Routing, logits: &[f32]) -> Routed {
        let normed = Tensor::ones((1, 2), DType::F32, &Device::Cpu).unwrap();
        let activation = Activation::SwiGlu;
        let count = logits.len();
        let experts = Experts { count, per_token: 2, routing, router_bias: false, activation };
        Routed::new(normed, logits, &experts)
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
        assert_eq!(values(&routed.finish(&x).unwrap()).unwrap(), [21.0, 21.0]);
    }
}
