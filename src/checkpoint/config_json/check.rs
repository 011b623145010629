//! Checks that a configuration is possible.

use crate::checkpoint::config::{Activation, Config};
use crate::error::{Error, Result};

/// Most experts in all layers together (a dense layer counts as one), since each is listed by name.
const MAX_EXPERTS: usize = 1 << 20;

/// The number of layers, which what is listed per layer is compared with.
///
/// # Errors
/// An input error if it is 0 or absurd.
pub(super) fn layers(layers: usize) -> Result<usize> {
    // The names of each layer's tensors are listed before any weight is looked for.
    const MAX_LAYERS: usize = 1 << 14;
    if (1..=MAX_LAYERS).contains(&layers) {
        return Ok(layers);
    }
    Err(Error::input(format!(
        "key `num_hidden_layers`: expected 1 to {MAX_LAYERS}, found {layers}"
    )))
}

/// Fails (input) if sizes are absurd or do not fit each other.
pub(super) fn check(config: &Config) -> Result<()> {
    const MAX: usize = 1 << 24;
    let sizes = [
        ("hidden_size", config.hidden_size),
        ("intermediate_size", config.intermediate_size),
        ("num_attention_heads", config.heads),
        ("num_key_value_heads", config.kv_heads),
        ("head_dim", config.head_dim),
        ("v_head_dim", config.value_dim),
        ("moe_intermediate_size", config.widest_mlp()),
        ("vocab_size", config.vocab_size),
        ("max_position_embeddings", config.max_position_embeddings),
    ];
    for (key, value) in sizes {
        if !(1..=MAX).contains(&value) {
            return Err(Error::input(format!("key `{key}`: expected 1 to {MAX}, found {value}")));
        }
    }
    if !config.heads.is_multiple_of(config.kv_heads) {
        let (heads, kv_heads) = (config.heads, config.kv_heads);
        return Err(Error::input(format!(
            "key `num_key_value_heads`: expected a divisor of num_attention_heads ({heads}), found {kv_heads}"
        )));
    }
    latent(config)?;
    for rope in &config.ropes {
        if !rope.rotated.is_multiple_of(2) || rope.rotated == 0 {
            return Err(Error::input(format!(
                "key `head_dim`: expected even, found {}",
                rope.rotated
            )));
        }
    }
    let experts = config.experts.as_ref().map_or(1, |experts| experts.count);
    if config.layers.saturating_mul(experts) > MAX_EXPERTS {
        let layers = config.layers;
        return Err(Error::input(format!(
            "key `num_hidden_layers`: expected at most {MAX_EXPERTS} experts in all layers, found {layers} x {experts}"
        )));
    }
    let limit = match config.activation {
        Activation::ClampedSwiGlu { limit } => Some(("swiglu_limit", limit)),
        _ => None,
    };
    let thetas = config.ropes.iter().map(|rope| ("rope_theta", rope.theta));
    for (key, value) in thetas.chain(limit) {
        if !(value.is_finite() && value > 0.0) {
            return Err(Error::input(format!(
                "key `{key}`: expected a positive number, found {value}"
            )));
        }
    }
    Ok(())
}

fn latent(config: &Config) -> Result<()> {
    let Some(latent) = config.latent else { return Ok(()) };
    for (key, value) in [
        ("kv_lora_rank", latent.kv_rank),
        ("q_lora_rank", latent.query_rank.unwrap_or(1)),
        ("qk_rope_head_dim", latent.rope_dim),
    ] {
        if !(1..=1 << 20).contains(&value) {
            return Err(Error::input(format!(
                "key `{key}`: expected 1 to {}, found {value}",
                1 << 20
            )));
        }
    }
    Ok(())
}
