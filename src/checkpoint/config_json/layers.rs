//! What each layer is: its window, its rotation, whether it is a convolution or a mixture.

use super::keys::{ConfigKeys, refused};
use crate::checkpoint::config::{LayerKind, Mixer};
use crate::checkpoint::families::{Family, MixtureLayers, Windows, WithoutRope};
use crate::error::{Error, Result};

/// Names of layers in `layer_types`.
const FULL: &str = "full_attention";
const SLIDING: &str = "sliding_attention";
const CONV: &str = "conv";

/// The kinds of all layers. `is_local` says that layers with a window have the second rotary embedding.
///
/// # Errors
/// Input errors that name the key.
pub(super) fn kinds(
    keys: &mut ConfigKeys,
    family: &Family,
    layers: usize,
    is_local: bool,
) -> Result<Vec<LayerKind>> {
    let types = types(keys, family, layers)?;
    let mixtures = mixtures(keys, family, layers)?;
    let rotated = rotated(keys, family, layers)?;
    let windows = windows(keys, family, types.as_deref(), &rotated, layers)?;
    let some_slide = windows.iter().any(Option::is_some);
    let kind = |layer: usize| {
        let window = windows[layer];
        let is_rotated = family.rope.rotates
            && rotated[layer]
            && match family.rope.without {
                WithoutRope::None | WithoutRope::Listed => true,
                WithoutRope::BesideSliding => window.is_some() || !some_slide,
                WithoutRope::Full => window.is_some(),
            };
        let rope = is_rotated.then_some(usize::from(is_local && window.is_some()));
        let is_conv =
            family.convolutions && types.as_ref().is_some_and(|types| types[layer] == CONV);
        let mixer = if is_conv { Mixer::ShortConv } else { Mixer::Attention { window, rope } };
        LayerKind { mixer, mixture: mixtures[layer] }
    };
    Ok((0..layers).map(kind).collect())
}

/// The types of the layers, if the configuration names them.
fn types(keys: &mut ConfigKeys, family: &Family, layers: usize) -> Result<Option<Vec<String>>> {
    let named = keys.optional::<Vec<String>>("layer_types")?;
    let attention = keys.optional::<Vec<usize>>("full_attn_idxs")?.filter(|_| family.convolutions);
    let types = named.or(attention.map(|full| {
        let of = |layer| if full.contains(&layer) { FULL } else { CONV };
        (0..layers).map(|layer| of(layer).to_owned()).collect()
    }));
    let Some(types) = types else { return Ok(None) };
    if types.len() != layers {
        return Err(Error::input(format!(
            "key `layer_types`: expected {layers} entries (num_hidden_layers), found {}",
            types.len()
        )));
    }
    let slides = family.windows != Windows::Never;
    let is_known = |kind: &&String| match kind.as_str() {
        FULL => true,
        SLIDING => slides,
        CONV => family.convolutions,
        _ => false,
    };
    match types.iter().find(|kind| !is_known(kind)) {
        Some(kind) => Err(refused("layer_types", kind)),
        None => Ok(Some(types)),
    }
}

/// Which layers are rotated, as far as a list says so.
fn rotated(keys: &mut ConfigKeys, family: &Family, layers: usize) -> Result<Vec<bool>> {
    if family.rope.without != WithoutRope::Listed {
        return Ok(vec![true; layers]);
    }
    let listed = keys.optional::<Vec<u8>>("no_rope_layers")?;
    let interval = keys.optional::<usize>("no_rope_layer_interval")?.unwrap_or(4).max(1);
    match listed {
        None => Ok((0..layers).map(|layer| !(layer + 1).is_multiple_of(interval)).collect()),
        Some(listed) if listed.len() == layers => Ok(listed.iter().map(|one| *one != 0).collect()),
        Some(listed) => Err(Error::input(format!(
            "key `no_rope_layers`: expected {layers} entries (num_hidden_layers), found {}",
            listed.len()
        ))),
    }
}

/// The sliding window of each layer.
fn windows(
    keys: &mut ConfigKeys,
    family: &Family,
    types: Option<&[String]>,
    rotated: &[bool],
    layers: usize,
) -> Result<Vec<Option<usize>>> {
    let switch = keys.optional::<bool>("use_sliding_window")?;
    let window = keys.optional::<usize>("sliding_window")?;
    let first = keys.optional::<usize>("max_window_layers")?.unwrap_or(28);
    let pattern = pattern(keys)?;
    let used = switch == Some(true);
    let slides: Vec<bool> = match (family.windows, types) {
        (Windows::Never, _) => match (switch, window) {
            (Some(true), _) => return Err(refused("use_sliding_window", "true")),
            (None, Some(window)) => {
                return Err(refused("sliding_window", &window.to_string()));
            }
            _ => vec![false; layers],
        },
        (Windows::Listed, None) => return Err(Error::input("key `layer_types`: missing")),
        (Windows::AllAlike, Some(types))
            if types.iter().any(|kind| (kind == SLIDING) != window.is_some()) =>
        {
            return Err(refused("layer_types", "windows in some layers only"));
        }
        (Windows::All | Windows::AllAlike, None) => vec![window.is_some(); layers],
        (Windows::Fixed(usual), _) if pattern.is_some_and(|every| every != usual) => {
            return Err(refused("sliding_window_pattern", "another pattern than the family's"));
        }
        (Windows::AllIfUsed | Windows::Late, Some(types))
            if !used && types.iter().any(|kind| kind == SLIDING) =>
        {
            return Err(refused("layer_types", SLIDING));
        }
        (Windows::AllIfUsed, _) => vec![used; layers],
        (_, Some(types)) => types.iter().map(|kind| kind == SLIDING).collect(),
        (Windows::Pattern(_) | Windows::Fixed(_), None) if window.is_none() => vec![false; layers],
        (Windows::Pattern(usual) | Windows::Fixed(usual), None) => {
            let every = pattern.unwrap_or(usual);
            (1..=layers).map(|layer| every == 0 || !layer.is_multiple_of(every)).collect()
        }
        (Windows::Late, None) if used && family.mixture.is_some() => {
            return Err(Error::input("key `layer_types`: missing")
                .hint("with use_sliding_window, name the layers that slide"));
        }
        (Windows::Late, None) => (0..layers).map(|layer| used && layer >= first).collect(),
        (Windows::From, None) => {
            (0..layers).map(|layer| window.is_some() && layer >= first).collect()
        }
        (Windows::Unrotated, None) => {
            rotated.iter().map(|on| used && window.is_some() && !on).collect()
        }
    };
    let of_layer = |slides: &bool| match (slides, window) {
        (false, _) => Ok(None),
        (true, Some(window @ 1..)) => Ok(Some(window)),
        // transformers writes 0 beside a switch that is off.
        (true, found) => Err(Error::input(format!(
            "key `sliding_window`: expected 1 token or more, found {}",
            found.map_or("none".into(), |window| window.to_string())
        ))),
    };
    slides.iter().map(of_layer).collect()
}

/// Every how many layers one has no window: a number, or a word such as `LLLG`.
fn pattern(keys: &mut ConfigKeys) -> Result<Option<usize>> {
    let key = "sliding_window_pattern";
    match keys.optional::<serde_json::Value>(key)? {
        None => Ok(None),
        Some(serde_json::Value::String(word)) => {
            let local = word.chars().take_while(|letter| *letter == 'L').count();
            match word.strip_prefix(&"L".repeat(local)) {
                Some("G") => Ok(Some(local + 1)),
                _ => Err(Error::input(format!("key `{key}`: cannot use {word:.60}"))),
            }
        }
        Some(value) => match value.as_u64().and_then(|number| usize::try_from(number).ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(Error::input(format!("key `{key}`: cannot use {value:.60}"))),
        },
    }
}

/// Which layers are mixtures of experts.
fn mixtures(keys: &mut ConfigKeys, family: &Family, layers: usize) -> Result<Vec<bool>> {
    let Some(row) = family.mixture else { return Ok(vec![false; layers]) };
    match row.layers {
        MixtureLayers::All => Ok(vec![true; layers]),
        MixtureLayers::Sparse => {
            let step = keys.optional::<usize>("decoder_sparse_step")?.unwrap_or(1).max(1);
            let dense = keys.optional::<Vec<usize>>("mlp_only_layers")?.unwrap_or_default();
            let is = |layer: usize| (layer + 1).is_multiple_of(step) && !dense.contains(&layer);
            Ok((0..layers).map(is).collect())
        }
        MixtureLayers::AfterDense => {
            let first = keys.take::<usize>("first_k_dense_replace")?;
            Ok((0..layers).map(|layer| layer >= first).collect())
        }
        MixtureLayers::Interval => {
            let step = keys.take::<usize>("moe_layer_interval")?.max(1);
            let first = keys.take::<usize>("moe_layer_start_index")?;
            let last: i64 = keys.take("moe_layer_end_index")?;
            let last = usize::try_from(last).unwrap_or(layers);
            let is =
                |layer: usize| (layer + 1).is_multiple_of(step) && (first..=last).contains(&layer);
            Ok((0..layers).map(is).collect())
        }
    }
}
