//! The keys of a family's configuration that are not sizes: factors, windows, experts, convolutions.

use serde_json::{Map, Value};

use crate::checkpoint::families::{
    Family, MixtureLayers, MixtureRow, RoutingRow, ScaleRow, SharedRow, Windows,
};
use crate::error::{Error, Result};

use super::architectures::Architecture;
use super::keys::MetadataKeys;
use super::metadata::MetadataValue;
use super::sizes::Sizes;

/// Adds them to `map`.
///
/// # Errors
/// Input errors that name the key.
pub(super) fn add(
    keys: &MetadataKeys<'_>,
    architecture: &Architecture,
    family: &Family,
    sizes: &Sizes,
    map: &mut Map<String, Value>,
) -> Result<()> {
    let implied: Map<String, Value> = serde_json::from_str(architecture.implied).map_err(|e| {
        Error::bug(format!("what {} implies is no JSON", architecture.name)).because(e)
    })?;
    map.extend(implied);
    for (key, ours) in architecture.keys {
        if let Some(value) = keys.value(key)? {
            map.insert((*ours).to_owned(), value);
        }
    }
    for (key, only) in architecture.only {
        keys.expect(key, *only)?;
    }
    scale(architecture, family, sizes, map);
    windows(keys, architecture, family, sizes, map)?;
    if let Some(row) = &family.mixture {
        mixture(keys, row, map)?;
    }
    if family.convolutions {
        let kind = |conv: &bool| if *conv { "conv" } else { "full_attention" };
        let types: Vec<&str> = sizes.convolutions.iter().map(kind).collect();
        map.insert("layer_types".to_owned(), types.into());
    }
    Ok(())
}

/// The factor on attention scores. Files do not say it where it follows from sizes.
fn scale(
    architecture: &Architecture,
    family: &Family,
    sizes: &Sizes,
    map: &mut Map<String, Value>,
) {
    let (key, value) = match family.factors.scale {
        ScaleRow::HeadDim => return,
        ScaleRow::RootOf(key) if architecture.wide_scale_layers == Some(sizes.layers) => {
            (key, Value::from(sizes.hidden / sizes.heads))
        }
        ScaleRow::RootOf(key) => (key, sizes.head_dim.into()),
        ScaleRow::Key(key) => (key, (sizes.head_dim as f64).powf(-0.5).into()),
    };
    if map.get(key).is_none_or(Value::is_null) {
        map.insert(key.to_owned(), value);
    }
}

/// The window, and which layers have it.
fn windows(
    keys: &MetadataKeys<'_>,
    architecture: &Architecture,
    family: &Family,
    sizes: &Sizes,
    map: &mut Map<String, Value>,
) -> Result<()> {
    let (key, ours) = ("attention.sliding_window", "sliding_window");
    let has_pattern =
        matches!(family.windows, Windows::Pattern(_) | Windows::Fixed(_) | Windows::Listed);
    let has_windows = has_pattern || matches!(family.windows, Windows::All | Windows::AllAlike);
    let window = match has_windows {
        true => match keys.value(key)? {
            Some(value) if value == 0 => Value::Null,
            Some(value) => value,
            None => map.get(ours).cloned().unwrap_or_default(),
        },
        // llama.cpp has no windows in these.
        false => Value::Null,
    };
    if let (Some(usual), true, false) = (architecture.pattern, has_pattern, window.is_null()) {
        map.insert("layer_types".to_owned(), sliding(keys, usual, sizes)?.into());
    }
    map.insert(ours.to_owned(), window);
    Ok(())
}

/// The types of layers in an architecture with windows.
fn sliding(keys: &MetadataKeys<'_>, usual: usize, sizes: &Sizes) -> Result<Vec<&'static str>> {
    let key = keys.full("attention.sliding_window_pattern");
    let slides: Vec<bool> = match keys.metadata.get(&key) {
        Some(MetadataValue::Integers(list)) if list.len() == sizes.blocks => {
            list.iter().take(sizes.layers).map(|one| *one != 0).collect()
        }
        Some(MetadataValue::Integer(_)) | None => {
            let every = keys.optional_size("attention.sliding_window_pattern")?;
            let every = every.unwrap_or(usual);
            (1..=sizes.layers).map(|layer| !layer.is_multiple_of(every)).collect()
        }
        Some(_) => {
            let blocks = sizes.blocks;
            return Err(Error::input(format!(
                "expected a number, or one for each of {blocks} layers"
            ))
            .at(format!("key {key}")));
        }
    };
    let of = |slides: &bool| if *slides { "sliding_attention" } else { "full_attention" };
    Ok(slides.iter().map(of).collect())
}

/// The mixture of experts. A missing key is what llama.cpp takes for it.
fn mixture(keys: &MetadataKeys<'_>, row: &MixtureRow, map: &mut Map<String, Value>) -> Result<()> {
    let width = "expert_feed_forward_length";
    let mut found: Vec<(&str, Value)> = Vec::new();
    let or = |key: &str, default: Value| keys.value(key).map(|value| value.unwrap_or(default));
    for (names, key) in [(row.count, "expert_count"), (row.per_token, "expert_used_count")] {
        found.extend(
            names.first().map(|ours| keys.size(key).map(|n| (*ours, n.into()))).transpose()?,
        );
    }
    if row.width != "intermediate_size" {
        found.push((row.width, keys.size(width)?.into()));
    } else if let Some(size) = keys.optional_size(width)? {
        found.push((row.width, size.into()));
    }
    match row.shared {
        SharedRow::None => {}
        SharedRow::Width(ours) => {
            found.push((ours, keys.size("expert_shared_feed_forward_length")?.into()));
        }
        SharedRow::Times(ours) => found.push((ours, or("expert_shared_count", 0.into())?)),
    }
    if matches!(row.routing, RoutingRow::Sigmoid) {
        found.extend([
            ("n_group", or("expert_group_count", 1.into())?),
            ("topk_group", or("expert_group_used_count", 1.into())?),
            ("norm_topk_prob", or("expert_weights_norm", false.into())?),
            ("routed_scaling_factor", or("expert_weights_scale", 1.0.into())?),
        ]);
    }
    let dense = "leading_dense_block_count";
    match row.layers {
        MixtureLayers::All | MixtureLayers::Sparse => {}
        MixtureLayers::AfterDense => found.push(("first_k_dense_replace", or(dense, 0.into())?)),
        MixtureLayers::Interval => found.extend([
            ("moe_layer_start_index", or(dense, 0.into())?),
            ("moe_layer_interval", or("interleave_moe_layer_step", 1.into())?),
        ]),
    }
    map.extend(found.into_iter().map(|(ours, value)| (ours.to_owned(), value)));
    Ok(())
}
