//! Tables below the main one: storage by part, and where tokens go in a mixture of experts.

use crate::compare::summary::{Router, Storage, Summary};
use crate::report::{Column, Table, Unit, Value};
use crate::results::BLOCK_PARTS;
use crate::units::BitsPerWeight;

impl Summary {
    /// Storage by part; `None` unless a variant codes the parts of its blocks differently.
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
            Column::number("effective", "effective bits", Unit::BitsPerWeight),
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

    /// Agreement and load of the routers; empty for models without experts.
    pub(super) fn router_tables(&self) -> Vec<Table> {
        let Some(first) = self.routers.first() else { return Vec::new() };
        let columns = vec![
            Column::text("variant", "variant"),
            Column::estimate("router_agreement", "router agreement", Unit::Share),
            Column::number("worst_layer", "worst layer", Unit::Share),
            Column::number("load_entropy_bits", "load entropy (bits)", Unit::None),
            Column::number("busiest_expert", "busiest expert", Unit::Share),
            Column::number("idle_experts", "idle experts", Unit::None),
        ];
        let row = |router: &Router| {
            let worst = router.layers.iter().copied().fold(1.0, f64::min);
            let compared = |value: Value| if router.is_reference { Value::Empty } else { value };
            vec![
                router.variant.as_str().into(),
                compared(router.agreement.into()),
                compared(worst.into()),
                Value::Number((router.load_entropy_bits * 1e3).round() / 1e3),
                router.busiest_share.into(),
                router.idle_experts.into(),
            ]
        };
        let evenly = (first.experts as f64).log2();
        let routers = Table {
            title: "Routers".into(),
            columns,
            rows: self.routers.iter().map(row).collect(),
            notes: vec![format!(
                "Router agreement: share of tokens, over all layers, that go to the same experts as in \
                 the reference. Load entropy: over the {} experts of a layer, averaged over layers; \
                 {evenly:.3} bits if all experts get the same number of tokens.",
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
