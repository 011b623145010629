//! Rotary embeddings: `rope_theta` and `rope_scaling`, or transformers 5's `rope_parameters` with both,
//! for all layers or by the type of layer (transformers, `modeling_rope_utils.py`).

use serde_json::{Map, Value};

use super::keys::{ConfigKeys, other_value};
use crate::checkpoint::config::{QueryGrowth, Rope, RopeScaling};
use crate::checkpoint::families::{Family, RopeRow};
use crate::error::{At, Error, Result};

/// Keys of rotary embeddings without effect on text.
const INERT: [&str; 5] = [
    "mrope_section",
    "mrope_interleaved",
    "max_position_embeddings",
    "finetuned",
    "original_rope_type",
];

/// What the rotary embedding depends on besides its own keys.
#[derive(Debug, Clone, Copy)]
pub(super) struct Context {
    /// Width of the part of a head that may be rotated.
    pub head_dim: usize,
    /// The model's longest sequence, in tokens.
    pub positions: usize,
}

/// The rotary embeddings of a model.
pub(super) struct Ropes {
    /// The first is that of all layers, or of those without a window.
    pub ropes: Vec<Rope>,
    /// Whether the second is that of layers with a window.
    pub is_local: bool,
    /// Growth of queries.
    pub growth: Option<QueryGrowth>,
    /// Factor on attention scores (DeepSeek's YaRN).
    pub scale_factor: f32,
}

/// Reads the rotary embeddings.
///
/// # Errors
/// Input errors that name the key.
pub(super) fn rope(keys: &mut ConfigKeys, family: &Family, context: Context) -> Result<Ropes> {
    let row = family.rope;
    let none = Ropes { ropes: Vec::new(), is_local: false, growth: None, scale_factor: 1.0 };
    if !row.rotates {
        return Ok(none);
    }
    let top = Top::take(keys, row)?;
    let (mut nested, place) = nested(keys)?;
    let mut reader = Reader { family, context, top, growth: None, scale_factor: 1.0 };
    let mut by_type = |name: &str| match nested.remove(name) {
        Some(Value::Object(map)) => Some(map),
        _ => None,
    };
    let (full, sliding) = (by_type("full_attention"), by_type("sliding_attention"));
    refuse_other_forms(row, place, &nested, [&full, &sliding])?;
    let ropes = match (full, sliding, row.local) {
        (None, None, None) => vec![reader.read(nested, row.theta).at(|| place)?],
        (None, None, Some((key, local))) => {
            let theta = if key.is_empty() { None } else { keys.optional_positive(key)? };
            let local = Map::from_iter([("rope_theta".into(), theta.unwrap_or(local).into())]);
            vec![
                reader.read(nested, row.theta).at(|| place)?,
                reader.read(local, row.theta).at(|| key.to_owned())?,
            ]
        }
        (full, sliding, local) => {
            let theta = local.map_or(row.theta, |(_, theta)| theta);
            let full = reader.read(full.unwrap_or_default(), row.theta);
            let mut ropes = vec![full.at(|| "full_attention").at(|| place)?];
            let sliding = reader.read(sliding.unwrap_or_default(), theta);
            ropes.push(sliding.at(|| "sliding_attention").at(|| place)?);
            if local.is_none() {
                // One embedding for all layers, written for each type.
                if ropes[0] != ropes[1] {
                    return Err(Error::input(format!(
                        "key `{place}`: layers with and without a window differ, which {} does not have",
                        family.name
                    )));
                }
                ropes.truncate(1);
            }
            ropes
        }
    };
    let (growth, scale_factor) = (reader.growth, reader.scale_factor);
    Ok(Ropes { is_local: ropes.len() > 1, ropes, growth, scale_factor })
}

/// The object of rotary keys, and the key that it stands behind.
fn nested(keys: &mut ConfigKeys) -> Result<(Map<String, Value>, &'static str)> {
    let parameters = keys.optional::<Map<String, Value>>("rope_parameters")?;
    let scaling = keys.optional::<Map<String, Value>>("rope_scaling")?;
    let Some(parameters) = parameters else {
        return Ok((scaling.unwrap_or_default(), "rope_scaling"));
    };
    let kind = |map: &Map<String, Value>| map.get("rope_type").or(map.get("type")).cloned();
    let differs = |scaling: &Map<String, Value>| {
        let is_other = |(key, value): (&String, &Value)| {
            !matches!(key.as_str(), "type" | "rope_type") && parameters.get(key) != Some(value)
        };
        kind(scaling) != kind(&parameters) || scaling.iter().any(is_other)
    };
    if scaling.as_ref().is_some_and(differs) {
        return Err(Error::input("key `rope_scaling`: it differs from `rope_parameters`")
            .hint("both say how positions are rotated: delete the one that is not meant"));
    }
    Ok((parameters, "rope_parameters"))
}

/// Refuses forms that transformers reads in another way than their words say: one object where layers with
/// a window have their own rotation, and the old `type` in an object for one type of layer.
fn refuse_other_forms(
    row: RopeRow,
    place: &str,
    nested: &Map<String, Value>,
    of_types: [&Option<Map<String, Value>>; 2],
) -> Result<()> {
    let is_flat = of_types.iter().all(|of_type| of_type.is_none());
    if place == "rope_parameters" && row.local.is_some() && is_flat && !nested.is_empty() {
        return Err(Error::input(
            "key `rope_parameters`: expected `full_attention` and `sliding_attention`",
        ));
    }
    let is_old =
        |map: &&Map<String, Value>| map.contains_key("type") && !map.contains_key("rope_type");
    match of_types.into_iter().flatten().find(is_old) {
        None => Ok(()),
        Some(_) => Err(Error::input(format!(
            "key `{place}`: expected `rope_type` for each type of layer, found the older `type`"
        ))),
    }
}

/// Keys outside of the nested objects.
struct Top {
    theta: Option<f64>,
    partial: Option<f64>,
    original: Option<usize>,
}

impl Top {
    fn take(keys: &mut ConfigKeys, row: RopeRow) -> Result<Self> {
        let theta = keys.optional_positive(row.theta_key)?;
        let other = keys.optional_positive("rope_theta")?;
        let partial = match row.partial_key {
            Some(key) => {
                let named = keys.optional(key)?;
                named.or(keys.optional("partial_rotary_factor")?)
            }
            None => None,
        };
        let original = keys.optional("original_max_position_embeddings")?;
        Ok(Top { theta: theta.or(other), partial, original })
    }
}

struct Reader<'a> {
    family: &'a Family,
    context: Context,
    top: Top,
    growth: Option<QueryGrowth>,
    scale_factor: f32,
}

impl Reader<'_> {
    /// Reads one rotary embedding. `theta` is the base if none is given.
    fn read(&mut self, map: Map<String, Value>, theta: f64) -> Result<Rope> {
        let mut keys = ConfigKeys { map };
        INERT.iter().for_each(|key| drop(keys.map.remove(*key)));
        let given = keys.optional_positive("rope_theta")?;
        let mut theta = given.or(self.top.theta).unwrap_or(theta);
        let rotated = self.rotated(&mut keys)?;
        let legacy = keys.optional::<String>("type")?;
        let kind = keys.optional::<String>("rope_type")?.or(legacy).unwrap_or("default".into());
        let row = &self.family.rope;
        let scaling = match kind.as_str() {
            "dynamic" if row.grows_by_alpha => {
                let dim = rotated as f64;
                theta *= keys.positive("alpha")?.powf(dim / (dim - 2.0));
                for key in ["factor", "beta_fast", "beta_slow", "mscale", "mscale_all_dim"] {
                    keys.map.remove(key);
                }
                RopeScaling::None
            }
            kind if row.long.contains(&kind) => self.long(&mut keys, rotated)?,
            "yarn" => self.yarn(&mut keys)?,
            _ => {
                plain_scaling(&kind, &mut keys, self.context.positions, |keys| self.original(keys))?
            }
        };
        keys.refuse_the_rest(None)?;
        Ok(Rope { theta, rotated, scaling })
    }

    /// The number of rotated dimensions.
    fn rotated(&self, keys: &mut ConfigKeys) -> Result<usize> {
        let dim = self.context.head_dim;
        if self.family.rope.partial_key.is_none() {
            return Ok(dim);
        }
        let key = "partial_rotary_factor";
        let given: Option<f64> = keys.optional(key)?;
        let share = given.or(self.top.partial).unwrap_or(self.family.rope.partial);
        let rotated = (dim as f64 * share) as usize;
        if !(share > 0.0 && share <= 1.0 && rotated >= 2 && rotated.is_multiple_of(2)) {
            return Err(Error::input(format!(
                "key `{key}`: expected a share of the {dim} dimensions of a head that is an even number of them, found {share}"
            )));
        }
        Ok(rotated)
    }

    /// The length of the first training, in tokens.
    fn original(&self, keys: &mut ConfigKeys) -> Result<usize> {
        let nested = keys.optional("original_max_position_embeddings")?;
        let usual = self.family.rope.original_tokens.unwrap_or(self.context.positions);
        Ok(self.top.original.or(nested).unwrap_or(usual))
    }

    fn yarn(&mut self, keys: &mut ConfigKeys) -> Result<RopeScaling> {
        let original = self.original(keys)?;
        let factor = match keys.optional_positive("factor")? {
            Some(factor) => factor,
            None => self.context.positions as f64 / original.max(1) as f64,
        };
        let given: Option<f64> = keys.optional("attention_factor")?;
        let mscale: Option<f64> = keys.optional("mscale")?;
        let of_all: Option<f64> = keys.optional("mscale_all_dim")?;
        let growth = |m: f64| if factor > 1.0 { 0.1 * m * factor.ln() + 1.0 } else { 1.0 };
        let attention_factor = match (given, mscale, of_all) {
            (Some(given), ..) => given,
            (None, Some(m), Some(all)) if m != 0.0 && all != 0.0 => growth(m) / growth(all),
            _ => growth(1.0),
        };
        if self.family.latent
            && let Some(all) = of_all.filter(|all| *all != 0.0)
        {
            self.scale_factor = (growth(all) * growth(all)) as f32;
        }
        if let Some(beta) =
            keys.optional::<f64>("llama_4_scaling_beta")?.filter(|beta| *beta != 0.0)
        {
            self.growth = Some(QueryGrowth { beta, original_max_position_embeddings: original });
        }
        let not_zero = |value: Option<f64>, default| value.filter(|v| *v != 0.0).unwrap_or(default);
        Ok(RopeScaling::Yarn {
            factor,
            beta_fast: not_zero(keys.optional("beta_fast")?, 32.0),
            beta_slow: not_zero(keys.optional("beta_slow")?, 1.0),
            original_max_position_embeddings: original,
            truncate: keys.optional("truncate")?.unwrap_or(true),
            attention_factor,
        })
    }

    fn long(&self, keys: &mut ConfigKeys, rotated: usize) -> Result<RopeScaling> {
        let original = self.original(keys)?;
        let mut factors = |key: &str| -> Result<Vec<f32>> {
            let list: Vec<f32> = keys.take(key)?;
            let good = list.iter().all(|factor| factor.is_finite() && *factor > 0.0);
            if list.len() == rotated / 2 && good {
                return Ok(list);
            }
            Err(Error::input(format!(
                "key `{key}`: expected {} positive factors (half of the rotated dimensions), found {}",
                rotated / 2,
                list.len()
            )))
        };
        let (short, long) = (factors("short_factor")?, factors("long_factor")?);
        let factor = match keys.optional_positive("factor")? {
            Some(factor) => factor,
            None => self.context.positions as f64 / original.max(1) as f64,
        };
        let given: Option<f64> = keys.optional("attention_factor")?;
        let usual =
            if factor > 1.0 { (1.0 + factor.ln() / (original as f64).ln()).sqrt() } else { 1.0 };
        Ok(RopeScaling::Long {
            short,
            long,
            original_max_position_embeddings: original,
            attention_factor: given.unwrap_or(usual),
        })
    }
}

fn plain_scaling(
    kind: &str,
    keys: &mut ConfigKeys,
    positions: usize,
    original: impl FnOnce(&mut ConfigKeys) -> Result<usize>,
) -> Result<RopeScaling> {
    match kind {
        "dynamic" => Ok(RopeScaling::Dynamic {
            factor: keys.positive("factor")?,
            original_max_position_embeddings: positions,
        }),
        "default" => {
            // A length without a scaling that reads it.
            keys.map.remove("original_max_position_embeddings");
            Ok(RopeScaling::None)
        }
        "linear" => Ok(RopeScaling::Linear { factor: keys.positive("factor")? }),
        "llama3" => Ok(RopeScaling::Llama3 {
            factor: keys.positive("factor")?,
            low_freq_factor: keys.positive("low_freq_factor")?,
            high_freq_factor: keys.positive("high_freq_factor")?,
            original_max_position_embeddings: original(keys)?,
        }),
        _ => Err(other_value(
            "rope_type",
            "default, linear, dynamic, llama3, yarn or longrope",
            kind,
        )),
    }
}
