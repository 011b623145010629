//! Where tokens go in a mixture of experts, and how far a variant's router agrees with the reference.

use super::Against;
use crate::results::{Cell, Window};
use crate::stats::{Bootstrap, Estimate};

/// Where a variant's tokens go.
#[derive(Debug, Clone, PartialEq)]
pub struct Router {
    /// The variant's label.
    pub variant: String,
    /// Whether this is the reference.
    pub is_reference: bool,
    /// Share of tokens, over all layers, that go to the same experts as in the reference.
    pub agreement: Estimate,
    /// The same, layer by layer.
    pub layers: Vec<f64>,
    /// Entropy of the load over experts in bits, averaged over layers; at most log2 of the number of
    /// experts.
    pub load_entropy_bits: f64,
    /// Largest share of a layer's tokens that go to one expert.
    pub busiest_share: f64,
    /// Experts, over all layers, that get no token.
    pub idle_experts: usize,
    /// Experts per layer.
    pub experts: usize,
}

impl Against<'_> {
    /// Where the tokens of a variant go; `None` if its model has no experts or it has no result.
    pub(super) fn router(&self, cell: &Cell) -> Option<Router> {
        self.outcome(cell).ok()?;
        let windows = self.index.windows_of(&cell.cell_id);
        let first = windows.first().filter(|window| !window.router_agree.is_empty())?;
        let (layers, experts) = (first.router_agree.len(), first.expert_load.first()?.len());
        let load = load(&windows, layers, experts);
        let shares: Vec<Vec<f64>> = load.iter().map(|layer| shares(layer)).collect();
        let entropies = shares.iter().map(|layer| entropy_bits(layer));
        Some(Router {
            variant: cell.label(),
            is_reference: cell.is_reference,
            agreement: agreement(&windows, self.bootstrap),
            layers: (0..layers).map(|layer| layer_agreement(&windows, layer)).collect(),
            load_entropy_bits: entropies.sum::<f64>() / layers as f64,
            busiest_share: shares.iter().flatten().copied().fold(0.0, f64::max),
            idle_experts: load.iter().flatten().filter(|&&tokens| tokens == 0).count(),
            experts,
        })
    }
}

/// Tokens over all windows, `[layers][experts]`.
fn load(windows: &[&Window], layers: usize, experts: usize) -> Vec<Vec<u64>> {
    let mut load = vec![vec![0; experts]; layers];
    for layer in windows.iter().flat_map(|window| window.expert_load.iter().enumerate()) {
        let (layer, tokens) = layer;
        let Some(sums) = load.get_mut(layer) else { continue };
        sums.iter_mut().zip(tokens).for_each(|(sum, tokens)| *sum += u64::from(*tokens));
    }
    load
}

fn shares(load: &[u64]) -> Vec<f64> {
    let total = load.iter().sum::<u64>().max(1) as f64;
    load.iter().map(|&tokens| tokens as f64 / total).collect()
}

fn entropy_bits(shares: &[f64]) -> f64 {
    -shares.iter().filter(|share| **share > 0.0).map(|share| share * share.log2()).sum::<f64>()
}

fn agreement(windows: &[&Window], bootstrap: &Bootstrap) -> Estimate {
    let rows: Vec<[f64; 2]> = windows
        .iter()
        .map(|window| {
            let agree: u32 = window.router_agree.iter().sum();
            let routed = window.router_agree.len() * window.routed_tokens as usize;
            [f64::from(agree), routed as f64]
        })
        .collect();
    let share = |[agree, routed]: &[f64; 2]| agree / routed.max(1.0);
    let sums = rows.iter().fold([0.0; 2], |[a, b], [c, d]| [a + c, b + d]);
    let interval = bootstrap.interval(&rows, share);
    Estimate { point: share(&sums), interval, n: rows.len() }
}

fn layer_agreement(windows: &[&Window], layer: usize) -> f64 {
    let agree: u64 =
        windows.iter().filter_map(|w| w.router_agree.get(layer)).map(|&a| u64::from(a)).sum();
    let routed: u64 = windows.iter().map(|w| u64::from(w.routed_tokens)).sum();
    agree as f64 / routed.max(1) as f64
}
