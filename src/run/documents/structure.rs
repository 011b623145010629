//! The structure of a checkpoint and its size at each bit-width.

use super::super::bit_widths;
use crate::checkpoint::config::{Config, Mixer, Rope, RopeScaling};
use crate::checkpoint::{Checkpoint, Outline, StoredTensor, TensorId};
use crate::error::Result;
use crate::eval::Variant;
use crate::quantize::Recipe;
use crate::report::{Column, Document, Fact, Table, Unit, Value};
use crate::units::BitsPerWeight;

/// The bit-widths of the size table, besides fp32, fp16 and as stored.
const LADDER_BITS: [u8; 5] = [8, 4, 3, 2, 1];

/// Structure and sizes of a checkpoint: a line per role, or one per tensor if `lists_tensors`.
///
/// # Errors
/// Input errors of recipes that do not fit the checkpoint.
pub fn document(outline: &Outline, lists_tensors: bool) -> Result<Document> {
    let Outline { checkpoint, absent } = outline;
    let structure = if lists_tensors { tensors(checkpoint) } else { roles(checkpoint) };
    let skipped = checkpoint.passed_over.iter().map(ToString::to_string);
    Ok(Document {
        title: format!("{}: structure and sizes", checkpoint.name),
        facts: facts(checkpoint),
        tables: vec![structure, sizes(checkpoint)?, reads(checkpoint)?],
        warnings: absent.iter().cloned().chain(skipped).collect(),
        notes: vec![
            "Sizes count codes, tables and scales exactly; effective bits are the size divided by the weights.".into(),
            "Per token: each weight that is used counts once; cache and activations are not counted.".into(),
        ],
        ..Document::default()
    })
}

/// What the layers are, with the number of each kind, in the order in which they first occur.
fn layer_kinds(config: &Config) -> String {
    let mut kinds: Vec<(String, usize)> = Vec::new();
    for layer in 0..config.layers {
        let mixer = match config.kind(layer).mixer {
            Mixer::ShortConv => "short convolution".to_owned(),
            Mixer::Attention { window, rope } => {
                let seen = window.map_or("all".to_owned(), |tokens| format!("{tokens}"));
                let rotated =
                    if rope.is_none() && !config.ropes.is_empty() { ", not rotated" } else { "" };
                format!("attention to {seen} tokens{rotated}")
            }
        };
        let mixture = config.mixture(layer);
        let dense = if config.experts.is_some() { ", dense" } else { "" };
        let mixture = mixture.map_or(dense.to_owned(), |experts| {
            format!(", {} of {} experts", experts.per_token, experts.count)
        });
        let kind = format!("{mixer}{mixture}");
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, count)) => *count += 1,
            None => kinds.push((kind, 1)),
        }
    }
    let listed: Vec<String> =
        kinds.into_iter().map(|(kind, count)| format!("{count} x {kind}")).collect();
    listed.join(" + ")
}

/// One value for all rotary embeddings, or each in turn.
fn of_ropes(config: &Config, of: impl Fn(&Rope) -> String) -> String {
    let mut values: Vec<String> = config.ropes.iter().map(of).collect();
    values.dedup();
    if values.is_empty() { "none".into() } else { values.join(" and ") }
}

fn scaling(scaling: &RopeScaling) -> String {
    match scaling {
        RopeScaling::None => "none".to_owned(),
        RopeScaling::Linear { factor } => format!("linear, factor {factor}"),
        RopeScaling::Llama3 { factor, .. } => format!("llama3, factor {factor}"),
        RopeScaling::Yarn { factor, .. } => format!("yarn, factor {factor}"),
        RopeScaling::Dynamic { factor, .. } => format!("dynamic, factor {factor}"),
        RopeScaling::Long { original_max_position_embeddings: original, .. } => {
            format!("longrope, other factors beyond {original} tokens")
        }
        RopeScaling::Factors(factors) => format!("{} factors, one per frequency", factors.len()),
    }
}

fn facts(checkpoint: &Checkpoint) -> Vec<Fact> {
    let config = &checkpoint.config;
    let yes_no = |yes: bool| if yes { "yes" } else { "no" };
    let rope_scaling = of_ropes(config, |rope| scaling(&rope.scaling));
    let rope_theta = match config.ropes.as_slice() {
        [one] => Value::exact(one.theta),
        _ => Value::from(of_ropes(config, |rope| rope.theta.to_string())),
    };
    vec![
        Fact::new("architecture", "Architecture", config.family),
        Fact::new("layers", "Layers", config.layers),
        Fact::new("layer_kinds", "Kinds of layers", layer_kinds(config)),
        Fact::new("hidden_size", "Hidden size", config.hidden_size),
        Fact::new("intermediate_size", "Intermediate size", config.intermediate_size),
        Fact::new("heads", "Query heads", config.heads),
        Fact::new("kv_heads", "Key/value heads", config.kv_heads),
        Fact::new("head_dim", "Head size", config.head_dim),
        Fact::new("vocabulary", "Vocabulary", config.vocab_size),
        Fact::new("context_tokens", "Context", config.max_position_embeddings),
        Fact::new("rope_theta", "RoPE theta", rope_theta),
        Fact::new("rope_scaling", "RoPE scaling", rope_scaling),
        Fact::new("tied", "Tied head", yes_no(config.tied)),
        Fact::new("parameters", "Parameters", checkpoint.parameters()),
        Fact::new("cache", "Key/value cache per token in fp16", config.cache().per_token_bytes())
            .in_unit(Unit::Bytes),
    ]
}

fn structure_table(first: Column) -> Table {
    Table {
        title: "Structure".into(),
        columns: vec![
            first,
            Column::text("shape", "shape"),
            Column::text("dtype", "dtype"),
            Column::number("weights", "weights", Unit::None),
            Column::number("size", "size", Unit::Bytes),
        ],
        ..Table::default()
    }
}

fn shape(stored: &StoredTensor) -> String {
    let dims: Vec<String> = stored.shape.iter().map(usize::to_string).collect();
    dims.join(" x ")
}

fn tensors(checkpoint: &Checkpoint) -> Table {
    let mut table = structure_table(Column::text("tensor", "tensor"));
    for (_, stored) in checkpoint.tensors() {
        table.rows.push(vec![
            Value::from(stored.name.as_str()),
            Value::from(shape(stored)),
            Value::from(stored.dtype.name()),
            Value::from(stored.weights()),
            Value::from(stored.size_bytes()),
        ]);
    }
    table
}

/// One line per role: its tensors of all layers, with every shape and type that occurs.
fn roles(checkpoint: &Checkpoint) -> Table {
    let mut lines: Vec<(TensorId, Vec<&StoredTensor>)> = Vec::new();
    for (id, stored) in checkpoint.tensors() {
        match lines.iter_mut().find(|(of, _)| (of.role, of.bias) == (id.role, id.bias)) {
            Some((_, tensors)) => tensors.push(stored),
            None => lines.push((id, vec![stored])),
        }
    }
    let mut table = structure_table(Column::text("role", "role"));
    table.columns.insert(1, Column::number("tensors", "tensors", Unit::None));
    for (TensorId { role, bias, .. }, tensors) in lines {
        let distinct = |text: fn(&StoredTensor) -> String| {
            let mut found: Vec<String> = tensors.iter().map(|stored| text(stored)).collect();
            found.sort();
            found.dedup();
            found.join(", ")
        };
        let name = format!("{role:?}{}", if bias { " bias" } else { "" });
        table.rows.push(vec![
            Value::from(name),
            Value::from(tensors.len()),
            Value::from(distinct(shape)),
            Value::from(distinct(|stored| stored.dtype.name())),
            Value::from(tensors.iter().map(|stored| stored.weights()).sum::<u64>()),
            Value::from(tensors.iter().map(|stored| stored.size_bytes()).sum::<u64>()),
        ]);
    }
    table
}

/// The variants of the size table: fp16, as stored, then each width by its recommended recipe.
///
/// # Errors
/// Input errors of widths that the checkpoint cannot have.
pub fn ladder(checkpoint: &Checkpoint) -> Result<Vec<Variant>> {
    let mut variants = vec![Variant::uniform(Recipe::Half), Variant::reference()];
    for bits in LADDER_BITS {
        variants.push(Variant::uniform(bit_widths::recipe(bits, checkpoint)?));
    }
    Ok(variants)
}

/// The name of a variant in the size table.
fn blocks_as(variant: &Variant) -> String {
    if variant.is_reference() { "as stored".into() } else { variant.mlp.to_string() }
}

/// Sizes at each width: blocks under the recommended recipe, embedding and head in fp16.
fn sizes(checkpoint: &Checkpoint) -> Result<Table> {
    let parameters = checkpoint.parameters();
    let mut table = Table {
        title: "Model size".into(),
        columns: vec![
            Column::text("blocks", "blocks as"),
            Column::text("rest", "embedding and head as"),
            Column::number("blocks_effective", "blocks", Unit::BitsPerWeight),
            Column::number("file_effective", "file", Unit::BitsPerWeight),
            Column::number("size", "size", Unit::Bytes),
        ],
        ..Table::default()
    };
    let mut row = |blocks: String, rest: String, blocks_bits: f64, size_bytes: u64| {
        table.rows.push(vec![
            Value::from(blocks),
            Value::from(rest),
            Value::from(blocks_bits),
            Value::from(BitsPerWeight::of(size_bytes, parameters).0),
            Value::from(size_bytes),
        ]);
    };
    row("fp32".into(), "fp32".into(), 32.0, parameters * 4);
    for variant in ladder(checkpoint)? {
        let parts = variant.parts(checkpoint)?;
        let size_bytes = parts.iter().map(|part| part.size_bytes).sum();
        let bits = bit_widths::blocks_bits(&parts);
        let is_reference = variant.is_reference();
        let rest = if is_reference { "as stored".into() } else { variant.embedding.to_string() };
        row(blocks_as(&variant), rest, bits, size_bytes);
    }
    Ok(table)
}

/// Bytes that computing one token reads at each width, by part.
fn reads(checkpoint: &Checkpoint) -> Result<Table> {
    let mut table = Table {
        title: "Read per token".into(),
        columns: vec![Column::text("blocks", "blocks as")],
        ..Table::default()
    };
    if let Some(experts) = &checkpoint.config.experts {
        table.title = format!("Read per token, {} of {} experts", experts.per_token, experts.count);
    }
    let variants = ladder(checkpoint)?;
    let of_reference = Variant::reference().parts_per_token(checkpoint)?;
    for part in &of_reference {
        table.columns.push(Column::number(&part.part.replace(' ', "_"), &part.part, Unit::Bytes));
    }
    table.columns.push(Column::number("sum", "sum", Unit::Bytes));
    for variant in variants {
        let parts = variant.parts_per_token(checkpoint)?;
        let sizes = parts.iter().map(|part| part.size_bytes);
        let sum_bytes: u64 = sizes.clone().sum();
        let cells = sizes.chain([sum_bytes]).map(Value::from);
        table.rows.push([Value::from(blocks_as(&variant))].into_iter().chain(cells).collect());
    }
    Ok(table)
}
