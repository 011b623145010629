//! Whether packages are the model that was scored, link by link.

use std::path::Path;

use super::super::verify::Verified;
use crate::package::verify::{Distance, VerificationLink};
use crate::report::{Column, Document, Fact, Table, Unit, Value};
use crate::results::label;

/// The distance of hidden states from those of the scored model, block by block.
fn blocks(relative: &[f64]) -> Table {
    let row = |(block, relative): (usize, &f64)| vec![Value::from(block), Value::from(*relative)];
    Table {
        title: "Hidden states after each block".into(),
        columns: vec![
            Column::number("block", "block", Unit::None),
            Column::number("difference", "relative difference", Unit::None),
        ],
        rows: relative.iter().enumerate().map(row).collect(),
        ..Table::default()
    }
}

/// What the links say together. Packages of which only `fp16` is broken are the model, which a phone
/// cannot compute.
fn verdict(links: &[VerificationLink]) -> &'static str {
    let mut broken = links.iter().filter(|link| !link.holds).peekable();
    if broken.peek().is_none() {
        "the packages are this model"
    } else if broken.all(|link| link.name == "fp16") {
        "the packages are this model, which OVERFLOWS fp16 on a phone"
    } else {
        "NOT this model"
    }
}

/// The links of the chain and whether they hold; with `by_block` also the error after each block.
pub fn document(verified: &Verified, folder: &Path, by_block: bool) -> Document {
    let (model, links) = (&verified.manifest.model, &verified.links);
    let mut table = Table {
        title: "Chain of truth".into(),
        columns: vec![
            Column::text("link", "link"),
            Column::text("verdict", "verdict"),
            Column::number("kl", "KL mean", Unit::Nats),
            Column::number("worst_kl", "KL worst", Unit::Nats),
            Column::number("top1", "top-1", Unit::Share),
            Column::number("max_logit", "logit difference", Unit::None),
        ],
        ..Table::default()
    };
    for link in links {
        let number = |of: fn(&Distance) -> f64| {
            link.distance.as_ref().map_or(Value::Empty, |distance| Value::from(of(distance)))
        };
        table.rows.push(vec![
            Value::from(link.name),
            Value::from(if link.holds { "holds" } else { "BROKEN" }),
            number(|d| d.kl_nats),
            number(|d| d.worst_kl_nats),
            number(|d| d.top1_agree as f64 / d.tokens.max(1) as f64),
            number(|d| d.max_logit),
        ]);
        table.notes.push(format!("{}: {}", link.name, link.what));
    }
    let blocks = by_block.then(|| blocks(&verified.differences));
    let verdict = verdict(links);
    Document {
        title: format!("{}: {verdict}", folder.display()),
        facts: vec![
            Fact::new("variant", "Variant", label(&model.variant, &[])),
            Fact::new("target", "Target", model.target.as_str()),
            Fact::new("compute", "Laid out for", model.compute.as_str()),
            Fact::new("size", "Size", model.size_bytes).in_unit(Unit::Bytes),
        ],
        tables: [table].into_iter().chain(blocks).collect(),
        notes: vec!["Predictions are compared with those of the model that a sweep scores.".into()],
        ..Document::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_that_only_overflow_fp16_are_the_model() {
        let verdict = |broken: &[&str]| {
            let link = |name: &'static str| VerificationLink {
                name,
                holds: !broken.contains(&name),
                what: String::new(),
                distance: None,
            };
            super::verdict(&["files", "weights", "logits", "steps", "fp16"].map(link))
        };
        assert_eq!(verdict(&[]), "the packages are this model");
        let overflows = "the packages are this model, which OVERFLOWS fp16 on a phone";
        assert_eq!(verdict(&["fp16"]), overflows);
        for broken in [&["weights"][..], &["steps", "fp16"], &["files", "fp16"]] {
            assert_eq!(verdict(broken), "NOT this model", "{broken:?}");
        }
    }
}
