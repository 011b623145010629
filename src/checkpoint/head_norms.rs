//! Norms of queries and keys that files store head by head, as `q_layernorm.norms.0.weight` and so on
//! (transformers, `modeling_stablelm.py`). Joining changes only byte ranges and row orders; nothing is
//! read or copied.

use std::collections::BTreeMap;

use super::config::{Config, QkOver};
use super::layout::FileLayout;
use super::names::TensorId;
use super::roles::Role;
use super::stored::{RowOrder, StoredTensor, absent};
use crate::error::{Error, Result};

/// Replaces the norms of single heads in `found` by one of all heads, per layer and role.
///
/// # Errors
/// Input errors that name the tensor: missing, of another shape, or not beside those of other heads.
pub fn join(
    found: &mut BTreeMap<String, StoredTensor>,
    config: &Config,
    layout: &FileLayout<'_>,
) -> Result<()> {
    if config.qk_norm.is_none_or(|norm| norm.over != QkOver::HeadWithOwnGains) {
        return Ok(());
    }
    for layer in 0..config.layers {
        for (role, heads) in [(Role::QueryNorm, config.heads), (Role::KeyNorm, config.kv_heads)] {
            for source in layout.sources(TensorId::block(layer, role)) {
                let name = source.name;
                if found.contains_key(&of_head(&name, 0)) {
                    let all = joined(found, &name, heads, config.head_dim)?;
                    found.insert(name, all);
                }
            }
        }
    }
    Ok(())
}

/// What files call the norm of one head, if they call that of all heads `name`.
pub fn of_head(name: &str, head: usize) -> String {
    let stem = name.strip_suffix(".weight").unwrap_or(name);
    format!("{stem}.norms.{head}.weight")
}

fn joined(
    found: &mut BTreeMap<String, StoredTensor>,
    name: &str,
    heads: usize,
    head_dim: usize,
) -> Result<StoredTensor> {
    let mut parts = Vec::new();
    for head in 0..heads {
        let name = of_head(name, head);
        let part = found.remove(&name).ok_or_else(|| absent(&name))?;
        if part.shape != [head_dim] {
            let what = format!("expected shape [{head_dim}], found {:?}", part.shape);
            return Err(Error::input(what).at(format!("tensor {name}")));
        }
        parts.push(part);
    }
    let by_number: Vec<&StoredTensor> = parts.iter().collect();
    let mut by_name = by_number.clone();
    by_name.sort_by(|a, b| a.name.cmp(&b.name));
    let (order, rows) = if are_adjacent(&by_number) {
        (by_number, RowOrder::Plain)
    } else if are_adjacent(&by_name) {
        (by_name, RowOrder::HeadsByName { heads })
    } else {
        return Err(Error::input(format!(
            "expected the norms of {heads} heads beside each other in one file and of one type"
        ))
        .at(format!("tensor {}", of_head(name, 0)))
        .hint("write the checkpoint with transformers' save_pretrained"));
    };
    let (Some(first), Some(last)) = (order.first(), order.last()) else {
        return Err(Error::bug("norms of no heads"));
    };
    let (range, shape) = (first.range.start..last.range.end, vec![heads * head_dim]);
    Ok(StoredTensor { name: name.to_owned(), range, shape, rows, ..(*first).clone() })
}

fn are_adjacent(parts: &[&StoredTensor]) -> bool {
    parts.windows(2).all(|pair| {
        let (a, b) = (pair[0], pair[1]);
        (a.file, a.range.end, a.dtype) == (b.file, b.range.start, b.dtype)
    })
}

#[cfg(test)]
mod tests {
    use super::super::config_json;
    use super::super::dtype::Dtype;
    use super::*;

    const HEADS: usize = 12;
    const NAME: &str = "model.layers.0.self_attn.q_layernorm.weight";

    /// Norms of the heads of queries and of one head of keys, in the order of their names.
    fn found() -> BTreeMap<String, StoredTensor> {
        let key = NAME.replace("q_layernorm", "k_layernorm");
        let mut names: Vec<String> = (0..HEADS).map(|head| of_head(NAME, head)).collect();
        names.push(of_head(&key, 0));
        names.sort();
        let stored = |(at, name): (usize, String)| {
            let tensor = StoredTensor {
                name: name.clone(),
                file: 0,
                range: 16 * at..16 * (at + 1),
                shape: vec![4],
                dtype: Dtype::F32,
                rows: RowOrder::Plain,
                scales: None,
                minus_one: false,
            };
            (name, tensor)
        };
        names.into_iter().enumerate().map(stored).collect()
    }

    fn join_in(found: &mut BTreeMap<String, StoredTensor>) -> Result<()> {
        let text = format!(
            r#"{{"model_type": "stablelm", "hidden_size": {}, "intermediate_size": 8,
            "num_hidden_layers": 1, "num_attention_heads": {HEADS}, "num_key_value_heads": 1,
            "vocab_size": 4, "max_position_embeddings": 8, "qk_layernorm": true,
            "partial_rotary_factor": 0.5}}"#,
            4 * HEADS
        );
        let config = config_json::parse(text.as_bytes()).unwrap();
        join(found, &config, &FileLayout::new(&config).unwrap())
    }

    #[test]
    fn heads_in_the_order_of_their_names_become_one_tensor() {
        let mut found = found();
        join_in(&mut found).unwrap();
        assert_eq!(found.len(), 2);
        let queries = &found[NAME];
        assert_eq!((&queries.shape[..], queries.range.clone()), (&[48][..], 16..208));
        // In the file: 0, 1, 10, 11, 2, 3, …
        for (head, place) in [(0, 0), (1, 1), (10, 2), (11, 3), (2, 4), (9, 11)] {
            assert_eq!(queries.rows.place(head * 4 + 3, 48), place * 4 + 3, "head {head}");
        }
        assert!(queries.rows.is_of_elements());
        assert_eq!(found[&NAME.replace("q_layer", "k_layer")].rows, RowOrder::Plain);
    }

    #[test]
    fn heads_in_the_order_of_their_numbers_are_left_as_they_are() {
        let mut found = found();
        for head in 0..HEADS {
            let at = 16 + 16 * head;
            found.get_mut(&of_head(NAME, head)).unwrap().range = at..at + 16;
        }
        join_in(&mut found).unwrap();
        assert_eq!(found[NAME].rows, RowOrder::Plain);
    }

    #[test]
    fn heads_that_are_missing_or_apart_are_refused_by_name() {
        let mut lacking = found();
        lacking.remove(&of_head(NAME, 7));
        let error = join_in(&mut lacking).unwrap_err().to_string();
        assert!(error.contains("norms.7.weight"), "{error}");
        let mut apart = found();
        apart.get_mut(&of_head(NAME, 7)).unwrap().file = 1;
        let error = join_in(&mut apart).unwrap_err().to_string();
        assert!(error.contains("12 heads beside each other"), "{error}");
        let mut other = found();
        other.get_mut(&of_head(NAME, 7)).unwrap().shape = vec![2, 2];
        let error = join_in(&mut other).unwrap_err().to_string();
        assert!(error.contains("expected shape [4], found [2, 2]"), "{error}");
    }
}
