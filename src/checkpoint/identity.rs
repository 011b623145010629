//! The text of a configuration that a model is identified by in records and coded files.
//!
//! Runs and baselines of earlier versions name models by it, so for models that these could read it
//! stays what it was: the fields and names of that time. Other models are identified by everything
//! that describes them.

use super::config::{Activation, Config, LayerKind, Mixer, Norm, Placement, RopeScaling, Routing};

/// The text that identifies a configuration.
pub fn text(config: &Config) -> String {
    first_families::Config::of(config)
        .map_or_else(|| format!("{config:?}"), |earlier| format!("{earlier:?}"))
}

/// Configurations as they were described when there were five families.
mod first_families {
    use super::{Activation, LayerKind, Mixer, Norm, Placement, RopeScaling, Routing};
    use crate::checkpoint::config;

    #[derive(Debug)]
    #[allow(dead_code, reason = "read by its Debug form")]
    pub struct Config<'a> {
        architecture: Architecture,
        hidden_size: usize,
        intermediate_size: usize,
        layers: usize,
        heads: usize,
        kv_heads: usize,
        head_dim: usize,
        vocab_size: usize,
        max_position_embeddings: usize,
        rms_norm_eps: f64,
        rope: Rope<'a>,
        qkv_bias: bool,
        output_bias: bool,
        mlp_bias: bool,
        qk_norm: bool,
        sinks: bool,
        sliding: Vec<Option<usize>>,
        experts: Option<Experts>,
        tied: bool,
    }

    #[derive(Debug)]
    enum Architecture {
        Llama,
        Qwen2,
        Qwen3,
        Qwen3Moe,
        GptOss,
    }

    #[derive(Debug)]
    #[allow(dead_code, reason = "read by its Debug form")]
    struct Rope<'a> {
        theta: f64,
        scaling: &'a RopeScaling,
    }

    #[derive(Debug)]
    #[allow(dead_code, reason = "read by its Debug form")]
    struct Experts {
        count: usize,
        per_token: usize,
        routing: Routing,
        router_bias: bool,
        activation: ExpertActivation,
    }

    #[derive(Debug)]
    #[allow(dead_code, reason = "read by its Debug form")]
    enum ExpertActivation {
        SwiGlu,
        ClampedSwiGlu { limit: f64 },
    }

    impl<'a> Config<'a> {
        /// The earlier description; `None` if there was none.
        pub fn of(config: &'a config::Config) -> Option<Self> {
            let architecture = match config.family {
                "llama" => Architecture::Llama,
                "qwen2" => Architecture::Qwen2,
                "qwen3" => Architecture::Qwen3,
                "qwen3_moe" => Architecture::Qwen3Moe,
                "gpt_oss" => Architecture::GptOss,
                _ => return None,
            };
            let config::Config { norm: Norm { eps, .. }, placement, .. } = config;
            let [rope] = config.ropes.as_slice() else { return None };
            let is_mixture = config.experts.is_some();
            let slides = matches!(architecture, Architecture::GptOss);
            let was_possible = |kind: &LayerKind| {
                let window = match kind.mixer {
                    Mixer::Attention { window, rope: Some(0) } => window,
                    _ => return false,
                };
                kind.mixture == is_mixture && (slides || window.is_none())
            };
            let is_plain = *placement == Placement::BEFORE
                && config.kinds.iter().all(was_possible)
                && rope.rotated == config.head_dim
                && !matches!(rope.scaling, RopeScaling::Long { .. } | RopeScaling::Dynamic { .. });
            if !is_plain {
                return None;
            }
            let sliding: Vec<Option<usize>> =
                (0..config.layers).map(|layer| config.window_tokens(layer)).collect();
            let none_slide = sliding.iter().all(Option::is_none);
            let experts = config.experts.as_ref().map(|experts| Experts {
                count: experts.count,
                per_token: experts.per_token,
                routing: experts.routing,
                router_bias: experts.router_bias,
                activation: match config.activation {
                    Activation::ClampedSwiGlu { limit } => {
                        ExpertActivation::ClampedSwiGlu { limit }
                    }
                    _ => ExpertActivation::SwiGlu,
                },
            });
            Some(Config {
                architecture,
                hidden_size: config.hidden_size,
                intermediate_size: config
                    .experts
                    .as_ref()
                    .map_or(config.intermediate_size, |experts| experts.intermediate_size),
                layers: config.layers,
                heads: config.heads,
                kv_heads: config.kv_heads,
                head_dim: config.head_dim,
                vocab_size: config.vocab_size,
                max_position_embeddings: config.max_position_embeddings,
                rms_norm_eps: *eps,
                rope: Rope { theta: rope.theta, scaling: &rope.scaling },
                qkv_bias: config.qkv_bias,
                output_bias: config.output_bias,
                mlp_bias: config.mlp_bias,
                qk_norm: config.qk_norm.is_some(),
                sinks: config.sinks,
                sliding: if none_slide { Vec::new() } else { sliding },
                experts,
                tied: config.tied,
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::checkpoint::Checkpoint;

    /// Hashes that version 0.1.0 wrote into files of coded weights before configurations were
    /// described by data. With another hash nobody could open these files, or go on with a run.
    #[test]
    fn hashes_are_those_of_earlier_versions() {
        let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
        for (path, hash) in [
            (
                "mixtures/gpt-oss-4",
                "1b29b6f1673d00dff9544a899263b64bbb4420d7a26fa8801a495380281cfb0b",
            ),
            (
                "mixtures/gpt-oss-mxfp4-4",
                "08d5479757c053c3da443d579e7aa7236fb849499afc8f3a6f4e9252d5ba7464",
            ),
            (
                "mixtures/qwen3-moe-4",
                "f00af25a426d5e51f1fc24a5dd9441465b70b60778144024f5e0de4403424c18",
            ),
            (
                "mixtures/qwen3-moe-norm-4",
                "97e6fce14ac41f4280d8c4706a8a10df679938bfd7c7a762941d148d0cb7f4bf",
            ),
            ("tiny-llama.gguf", "b99f846eb9ba1e3499ea757452d6648ee1acb401095b959987ef75df701267f4"),
        ] {
            let checkpoint = Checkpoint::open(&golden.join(path)).unwrap();
            assert_eq!(checkpoint.content_hash(), hash, "{path}");
        }
    }
}
