//! The table of an allocation: which bits each tensor gets.

use super::super::allocate::Allocation;
use crate::eval::mixed::ROLE_NAMES;
use crate::quantize::Recipe;
use crate::report::{Column, Document, Fact, Table, Unit, Value};

/// The table that is shown before anything is scored.
pub fn document(allocation: &Allocation) -> Document {
    let columns = ROLE_NAMES.map(|name| Column::text(name, name));
    let mut table = Table {
        title: "Bits of codes, by tensor".into(),
        columns: [Column::text("layer", "layer")].into_iter().chain(columns).collect(),
        ..Table::default()
    };
    for (layer, lines) in allocation.lines.iter().enumerate() {
        let bits = lines.iter().map(|line| {
            Value::from(line.as_ref().map_or("none".into(), |line| short(line.recipe)))
        });
        table.rows.push([Value::from(layer.to_string())].into_iter().chain(bits).collect());
    }
    table.notes.push("v: a table of vectors. In a mixture a row is all experts of a layer.".into());
    let size = allocation.chosen.size_bytes;
    Document {
        title: format!("{}: {}", allocation.model, allocation.label),
        facts: vec![
            Fact::new("budget", "Budget", allocation.budget_bytes).in_unit(Unit::Bytes),
            Fact::new("size", "Blocks' linear layers", size).in_unit(Unit::Bytes),
            Fact::new("predicted_kl", "Predicted KL (nats)", allocation.chosen.cost)
                .in_unit(Unit::Nats),
            Fact::new("proven_gap", "Proven gap (%)", allocation.chosen.gap()).in_unit(Unit::Share),
        ],
        tables: vec![table],
        ..Document::default()
    }
}

/// A recipe in a few characters: the bits of its codes per weight.
fn short(recipe: Recipe) -> String {
    let kind = if matches!(recipe, Recipe::Vector(_)) { "v" } else { "" };
    format!("{kind}{}", recipe.nominal_bits().unwrap_or_default())
}
