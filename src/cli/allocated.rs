//! A solved allocation: as a table, and as the file that can be edited.

use std::path::Path;

use super::allocation_file::{self, Line};
use super::progress::Talk;
use crate::checkpoint::Checkpoint;
use crate::error::{Error, Result};
use crate::eval::Variant;
use crate::eval::allocate::{Chosen, ROLE_NAMES};
use crate::files::write_atomic;
use crate::quantize::Recipe;
use crate::report::{Column, Document, Fact, Table, Unit, Value};

/// A solved allocation.
pub struct Allocated<'a> {
    /// The weights.
    pub checkpoint: &'a Checkpoint,
    /// The choice.
    pub variant: Variant,
    /// What people read.
    pub label: String,
    /// By layer and role.
    pub lines: Vec<Vec<Line>>,
    /// How it was solved.
    pub chosen: Chosen,
    /// What it had to stay within.
    pub budget_bytes: u64,
    /// Hash of what the sensitivities depend on.
    pub question: String,
}

impl Allocated<'_> {
    /// The table that is shown before anything is scored.
    pub fn document(&self) -> Document {
        let columns = ROLE_NAMES.map(|name| Column::text(name, name));
        let mut table = Table {
            title: "Bits of codes, by tensor".into(),
            columns: [Column::text("layer", "layer")].into_iter().chain(columns).collect(),
            ..Table::default()
        };
        for (layer, lines) in self.lines.iter().enumerate() {
            let bits = lines.iter().map(|line| Value::from(short(line.recipe)));
            table.rows.push([Value::from(layer.to_string())].into_iter().chain(bits).collect());
        }
        table
            .notes
            .push("v: a table of vectors. In a mixture a row is all experts of a layer.".into());
        let size = self.chosen.size_bytes;
        Document {
            title: format!("{}: {}", self.checkpoint.name, self.label),
            facts: vec![
                Fact::new("budget", "Budget", self.budget_bytes).in_unit(Unit::Bytes),
                Fact::new("size", "Blocks' linear layers", size).in_unit(Unit::Bytes),
                Fact::new("predicted_kl", "Predicted KL (nats)", self.chosen.cost)
                    .in_unit(Unit::Nats),
                Fact::new("proven_gap", "Proven gap (%)", self.chosen.gap()).in_unit(Unit::Share),
            ],
            tables: vec![table],
            ..Document::default()
        }
    }

    /// Writes the file, unless it is there and was edited.
    ///
    /// # Errors
    /// Surroundings errors of the disk.
    pub fn write(&self, folder: &Path, talk: Talk) -> Result<()> {
        let chosen = &self.chosen;
        let head = [
            ("label", format!("{:?}", self.label)),
            ("model", format!("{:?}", self.checkpoint.name)),
            ("model_hash", format!("{:?}", self.checkpoint.content_hash())),
            ("sensitivities", format!("{:?}", self.question)),
            ("budget_bytes", self.budget_bytes.to_string()),
            ("size_bytes", chosen.size_bytes.to_string()),
            ("predicted_kl_nats", format!("{:.6e}", chosen.cost)),
            ("proven_gap", format!("{:.3e}", chosen.gap())),
        ];
        let name = self.label.replace(['+', ':'], "_");
        let path = folder.join(format!("allocation-{name}.toml"));
        let text = allocation_file::text(&head, &self.variant, &self.lines);
        match path.is_file() {
            true if allocation_file::variant(&format!("@{}", path.display())).ok().as_ref()
                != Some(&self.variant) =>
            {
                talk.say(format!(
                    "{} was edited and is left as it is; replay it with --recipes @FILE",
                    path.display()
                ));
                Ok(())
            }
            _ => {
                std::fs::create_dir_all(folder).map_err(|e| Error::io("make", folder, e))?;
                write_atomic(&path, text.as_bytes())?;
                talk.say(format!("allocation: {}", path.display()));
                Ok(())
            }
        }
    }
}

/// A recipe in a few characters: the bits of its codes per weight.
fn short(recipe: Recipe) -> String {
    let kind = if matches!(recipe, Recipe::Vector(_)) { "v" } else { "" };
    format!("{kind}{}", recipe.nominal_bits().unwrap_or_default())
}
