//! The table of packages: their sizes, and whether they are the model that was scored.

use super::Summary;
use crate::report::{Column, Table, Unit, Value};
use crate::results::{Cell, Index, Packaged, label};

/// Packages of one variant.
#[derive(Debug, Clone, PartialEq)]
pub struct PackagedVariant {
    /// The variant's name.
    pub variant: String,
    /// What became of them.
    pub packaged: Packaged,
}

/// The packages of every variant.
pub(super) fn of(cells: &[&Cell], index: &Index) -> Vec<PackagedVariant> {
    let of = |cell: &&Cell| {
        let variant = label(&cell.variant, &cell.parts);
        let named = move |packaged: &Packaged| PackagedVariant {
            variant: variant.clone(),
            packaged: packaged.clone(),
        };
        index.packaged(&cell.cell_id).into_iter().map(named).collect::<Vec<_>>()
    };
    cells.iter().flat_map(of).collect()
}

impl Summary {
    /// Sizes and verdicts, where there are packages.
    pub(super) fn packages_table(&self) -> Option<Table> {
        if self.packages.is_empty() {
            return None;
        }
        let columns = vec![
            Column::text("variant", "variant"),
            Column::text("verdict", "verdict"),
            Column::text("design", "for").rank(1),
            Column::number("packages", "packages", Unit::None).rank(2),
            Column::number("size", "size", Unit::Bytes),
            Column::number("unpredicted", "unpredicted", Unit::Bytes).rank(3),
            Column::number("kl_walk", "KL to walk", Unit::Nats),
            Column::number("top1_walk", "top-1", Unit::Share),
        ];
        let row = |of: &PackagedVariant| {
            let Packaged { design, packages, size_bytes, predicted_bytes, links, .. } =
                &of.packaged;
            let steps = links.iter().find(|link| link.tokens > 0 && link.link == "steps");
            let mean = |sum: f64| steps.map_or(Value::Empty, |s| (sum / s.tokens as f64).into());
            let verdict = match of.packaged.broken() {
                Some(broken) => format!("{} BROKEN", broken.link),
                None => "proven".to_owned(),
            };
            vec![
                Value::from(of.variant.as_str()),
                Value::from(verdict),
                Value::from(design.as_str()),
                Value::from(*packages),
                Value::from(*size_bytes),
                Value::from(size_bytes.abs_diff(*predicted_bytes)),
                mean(steps.map_or(0.0, |steps| steps.kl_nats)),
                mean(steps.map_or(0.0, |steps| steps.top1_agree as f64)),
            ]
        };
        let broken = |of: &PackagedVariant| {
            let broken = of.packaged.broken()?;
            Some(format!("{}, {}: {}", of.variant, broken.link, broken.what))
        };
        let about = "Proven: files, weights bit for bit, and predictions are the model that was \
                     scored. Size on disk; unpredicted: bytes by which it differs from the size \
                     predicted from recipes and shapes. KL to walk: packages executed token by \
                     token, against what was scored above.";
        let broken = self.packages.iter().filter_map(broken);
        Some(Table {
            title: "Packages".into(),
            columns,
            rows: self.packages.iter().map(row).collect(),
            notes: broken.chain([about.to_owned()]).collect(),
        })
    }
}
