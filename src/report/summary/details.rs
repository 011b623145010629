//! What stands below the main table: storage by part, and where tokens go in a mixture of experts.

use super::{Against, Summary};
use crate::report::{Column, Table, Unit, Value};
use crate::results::{BLOCK_PARTS, Cell, Part, Window};
use crate::stats::{Bootstrap, Estimate};
use crate::units::BitsPerWeight;

/// Storage of one variant's parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Storage {
    /// The variant's name.
    pub variant: String,
    /// Its parts.
    pub parts: Vec<Part>,
}

/// Where a variant's tokens go.
#[derive(Debug, Clone, PartialEq)]
pub struct Router {
    /// The variant's name.
    pub variant: String,
    /// Whether this is the reference.
    pub is_reference: bool,
    /// Share of tokens, over all layers, that go to the experts they go to in the reference.
    pub agreement: Estimate,
    /// The same, layer by layer.
    pub layers: Vec<f64>,
    /// Entropy of the load over experts in bits, mean over layers; its maximum is log2 of their
    /// number.
    pub load_entropy_bits: f64,
    /// Largest share of the load that one expert of a layer carries.
    pub busiest_share: f64,
    /// Experts, of all layers, that no token goes to.
    pub idle_experts: usize,
    /// Experts per layer.
    pub experts: usize,
}

impl Against<'_> {
    /// Where the tokens of a variant go, if its model has experts and it has a result.
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

/// Tokens per layer and expert over all windows.
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

impl Summary {
    /// Storage by part, where some variant codes the parts of its blocks differently.
    pub(super) fn parts_table(&self) -> Option<Table> {
        let mixes = |storage: &Storage| {
            let blocks = storage.parts.iter().filter(|p| BLOCK_PARTS.contains(&p.part.as_str()));
            let mut recipes: Vec<&str> = blocks.map(|part| part.recipe.as_str()).collect();
            recipes.dedup();
            recipes.len() > 1
        };
        if !self.storage.iter().any(mixes) {
            return None;
        }
        let columns = vec![
            Column::text("variant", "variant"),
            Column::text("part", "part"),
            Column::text("recipe", "recipe"),
            Column::number("weights", "weights", Unit::None),
            Column::number("size", "size", Unit::Bytes),
            Column::number("effective", "effective", Unit::BitsPerWeight),
        ];
        let mut rows = Vec::new();
        for Storage { variant, parts } in &self.storage {
            rows.extend(parts.iter().map(|part| {
                let bits = BitsPerWeight::of(part.size_bytes, part.weights).0;
                vec![
                    variant.as_str().into(),
                    part.part.as_str().into(),
                    part.recipe.as_str().into(),
                    part.weights.into(),
                    part.size_bytes.into(),
                    Value::Number(bits),
                ]
            }));
        }
        Some(Table { title: "Stored parts".into(), columns, rows, notes: Vec::new() })
    }

    /// Agreement and load of the routers, for models with experts.
    pub(super) fn router_tables(&self) -> Vec<Table> {
        let Some(first) = self.routers.first() else { return Vec::new() };
        let columns = vec![
            Column::text("variant", "variant"),
            Column::estimate("router_agreement", "same experts", Unit::Share),
            Column::number("worst_layer", "worst layer", Unit::Share),
            Column::number("load_entropy_bits", "load entropy (bits)", Unit::None),
            Column::number("busiest_expert", "busiest expert", Unit::Share),
            Column::number("idle_experts", "idle experts", Unit::None),
        ];
        let row = |router: &Router| {
            let worst = router.layers.iter().copied().fold(1.0, f64::min);
            let beside = |value: Value| if router.is_reference { Value::Empty } else { value };
            vec![
                router.variant.as_str().into(),
                beside(router.agreement.into()),
                beside(worst.into()),
                Value::Number((router.load_entropy_bits * 1e3).round() / 1e3),
                router.busiest_share.into(),
                router.idle_experts.into(),
            ]
        };
        let evenly = (first.experts as f64).log2();
        let routers = Table {
            title: "Router".into(),
            columns,
            rows: self.routers.iter().map(row).collect(),
            notes: vec![format!(
                "Same experts: share of tokens, over all layers, that go to the very experts they go to \
                 in the reference. Load entropy: over the {} experts of a layer, mean over layers; \
                 {evenly:.3} bits if all were used alike.",
                first.experts
            )],
        };
        vec![routers, self.layers_table(first.layers.len())]
    }

    /// Router agreement, a row per layer and a column per variant.
    fn layers_table(&self, layers: usize) -> Table {
        let variants = || self.routers.iter().filter(|router| !router.is_reference);
        let mut columns = vec![Column::number("layer", "layer", Unit::None)];
        columns.extend(variants().map(|r| Column::number(&r.variant, &r.variant, Unit::Share)));
        let row = |layer: usize| {
            let shares = variants().map(|r| r.layers.get(layer).copied().into());
            std::iter::once(layer.into()).chain(shares).collect()
        };
        let rows = (0..layers).map(row).collect();
        Table { title: "Router agreement by layer".into(), columns, rows, notes: Vec::new() }
    }
}
