//! The tensors of a decoder: which there are, their names and their shapes.

use super::config::{Activation, Config, Experts, Mixer, Norm, QkOver, Routing};
use super::roles::{BLOCK, Role};

/// The roles of one expert.
const EXPERT: [Role; 3] = [Role::Gate, Role::Up, Role::Down];

/// One tensor of a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorId {
    /// The block it belongs to; `None` for embedding, final norm and head.
    pub layer: Option<usize>,
    /// The expert it belongs to, if any.
    pub expert: Option<usize>,
    /// Its role.
    pub role: Role,
    /// Whether it is the bias of that role rather than its weight.
    pub bias: bool,
}

impl TensorId {
    /// A tensor outside the blocks.
    pub fn model(role: Role) -> Self {
        TensorId { layer: None, expert: None, role, bias: false }
    }

    /// A weight of block `layer`.
    pub fn block(layer: usize, role: Role) -> Self {
        TensorId { layer: Some(layer), expert: None, role, bias: false }
    }

    /// A weight of an expert of block `layer`.
    pub fn expert(layer: usize, expert: usize, role: Role) -> Self {
        TensorId { expert: Some(expert), ..Self::block(layer, role) }
    }

    /// The bias of this weight.
    pub fn with_bias(self) -> Self {
        TensorId { bias: true, ..self }
    }

    /// Its name in everything that evalkit writes. It is the name in a Hugging Face checkpoint of the
    /// Llama family, and says the same of every family.
    pub fn name(&self) -> String {
        let kind = if self.bias { "bias" } else { "weight" };
        let stem = self.role.stem();
        match (self.layer, self.expert) {
            (Some(layer), _) if self.role == Role::Sinks => format!("model.layers.{layer}.{stem}"),
            (Some(layer), Some(expert)) => {
                let projection = stem.trim_start_matches("mlp.");
                format!("model.layers.{layer}.mlp.experts.{expert}.{projection}.{kind}")
            }
            (Some(layer), None) => format!("model.layers.{layer}.{stem}.{kind}"),
            (None, _) => format!("{stem}.{kind}"),
        }
    }
}

impl Config {
    /// Every tensor of one block outside its experts, in the order of the computation.
    pub fn block_tensors(&self, layer: usize) -> Vec<TensorId> {
        let mut ids = Vec::new();
        for role in BLOCK.into_iter().filter(|role| self.has_role(layer, *role)) {
            let id = TensorId::block(layer, role);
            // A norm without gains may have a bias.
            if !self.is_without_gain(role) {
                ids.push(id);
            }
            if self.has_bias(id) {
                ids.push(id.with_bias());
            }
        }
        ids
    }

    fn is_without_gain(&self, role: Role) -> bool {
        use Role::*;
        let plain = matches!(role, AttentionNorm | PostAttentionNorm | MlpNorm | PostMlpNorm);
        (plain || role == FinalNorm) && !self.norm.gain
    }

    /// Whether a layer has a role outside its experts.
    pub fn has_role(&self, layer: usize, role: Role) -> bool {
        use Role::*;
        let attention = matches!(self.kind(layer).mixer, Mixer::Attention { .. });
        let latent = attention && self.latent.is_some();
        let narrow = self.latent.is_some_and(|latent| latent.query_rank.is_some());
        let placement = self.placement;
        let mixture = self.mixture(layer);
        let shared = mixture.and_then(|experts| experts.shared);
        let dense = mixture.is_none();
        match role {
            AttentionNorm => placement.before_attention,
            PostAttentionNorm => placement.after_attention,
            MlpNorm => placement.before_mlp,
            PostMlpNorm => placement.after_mlp,
            QueryDown | QueryDownNorm | QueryUp => attention && narrow,
            KvDown | KvNorm | KvUp => latent,
            Key | Value => attention && !latent,
            Query => attention && !narrow,
            Output => attention,
            QueryNorm | KeyNorm => attention && self.qk_norm.is_some(),
            Sinks => attention && self.sinks,
            AttendedNorm => attention && self.sub_norms,
            ConvInput | ConvKernel | ConvOutput => !attention,
            Router => mixture.is_some(),
            RouterCorrection => mixture.is_some_and(Experts::has_correction),
            SharedGate => shared.is_some() && self.gated,
            SharedUp | SharedDown => shared.is_some(),
            SharedRouter => shared.is_some_and(|shared| shared.gated),
            Gate => dense && self.gated,
            Up | Down => dense,
            XieluPositive | XieluNegative => dense && self.activation == Activation::Xielu,
            InnerNorm => dense && self.sub_norms,
            Embedding | Positions | FinalNorm | Head => false,
        }
    }

    /// Every tensor of one expert, in the order of the computation.
    pub fn expert_tensors(&self, layer: usize, expert: usize) -> Vec<TensorId> {
        let mut ids = Vec::with_capacity(2 * EXPERT.len());
        for role in EXPERT.into_iter().filter(|role| self.gated || *role != Role::Gate) {
            let id = TensorId::expert(layer, expert, role);
            ids.push(id);
            if self.has_bias(id) {
                ids.push(id.with_bias());
            }
        }
        ids
    }

    /// Every tensor of the model, in the order of the computation.
    pub fn tensors(&self) -> Vec<TensorId> {
        let mut ids = vec![TensorId::model(Role::Embedding)];
        ids.extend(self.learned_positions.then_some(TensorId::model(Role::Positions)));
        for layer in 0..self.layers {
            ids.extend(self.block_tensors(layer));
            let experts = 0..self.expert_count(layer);
            ids.extend(experts.flat_map(|expert| self.expert_tensors(layer, expert)));
        }
        ids.extend(self.final_norm_tensors());
        let head = TensorId::model(Role::Head);
        ids.extend((!self.tied).then_some(head));
        ids.extend(self.head_bias.then_some(head.with_bias()));
        ids
    }

    /// The gain and the bias of the final norm, as far as there are.
    pub fn final_norm_tensors(&self) -> Vec<TensorId> {
        let id = TensorId::model(Role::FinalNorm);
        let Norm { gain, bias, .. } = self.norm;
        gain.then_some(id).into_iter().chain(bias.then_some(id.with_bias())).collect()
    }

    /// Whether a linear layer or norm has a bias.
    pub fn has_bias(&self, id: TensorId) -> bool {
        use Role::*;
        if id.expert.is_some() {
            return self.experts.as_ref().is_some_and(|experts| experts.bias);
        }
        match id.role {
            // In latent attention only the projections of hidden states have biases.
            Query => self.qkv_bias && self.latent.is_none(),
            Key | Value | QueryDown | KvDown => self.qkv_bias,
            Output => self.output_bias,
            Router => self.experts.as_ref().is_some_and(|experts| experts.router_bias),
            Gate | Up | Down | SharedGate | SharedUp | SharedDown => self.mlp_bias,
            ConvInput | ConvKernel | ConvOutput => self.conv.is_some_and(|conv| conv.bias),
            AttentionNorm | PostAttentionNorm | MlpNorm | PostMlpNorm | FinalNorm => self.norm.bias,
            QueryNorm | KeyNorm => self.qk_norm.is_some_and(|norm| norm.bias),
            Head => self.head_bias,
            _ => false,
        }
    }

    /// The shape that the architecture requires: `[out, in]`, or `[len]` for norms and biases.
    pub fn shape_of(&self, id: TensorId) -> Vec<usize> {
        use Role::*;
        let hidden = self.hidden_size;
        let inner = match (id.expert, &self.experts) {
            (Some(_), Some(experts)) => experts.intermediate_size,
            _ => self.intermediate_size,
        };
        let experts = self.experts.as_ref();
        let shared = experts.and_then(|e| e.shared).map_or(0, |shared| shared.intermediate_size);
        let count = experts.map_or(0, |experts| experts.count);
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let attended = self.heads * self.value_dim;
        let over = self.qk_norm.map(|norm| norm.over);
        let of_heads = |all: usize| match over {
            Some(QkOver::HeadWithOwnGains | QkOver::All) => all,
            _ => self.head_dim,
        };
        let latent = self.latent.unwrap_or_default();
        let rank = latent.query_rank;
        let shape = match id.role {
            Embedding | Head => vec![self.vocab_size, hidden],
            Positions => vec![self.max_position_embeddings, hidden],
            AttentionNorm | PostAttentionNorm | MlpNorm | PostMlpNorm | FinalNorm => vec![hidden],
            QueryDown => vec![rank.unwrap_or(0), hidden],
            QueryDownNorm => vec![rank.unwrap_or(0)],
            QueryUp => vec![queries, rank.unwrap_or(0)],
            Query => vec![queries, hidden],
            Key => vec![keys, hidden],
            Value => vec![self.kv_heads * self.value_dim, hidden],
            KvDown => vec![latent.rope_dim + latent.kv_rank, hidden],
            KvNorm => vec![latent.kv_rank],
            KvUp => {
                let of_head = (self.head_dim + self.value_dim).saturating_sub(latent.rope_dim);
                vec![self.heads * of_head, latent.kv_rank]
            }
            QueryNorm => vec![of_heads(queries)],
            KeyNorm => vec![of_heads(keys)],
            Sinks => vec![self.heads],
            AttendedNorm => vec![attended],
            Output => vec![hidden, attended],
            ConvInput => vec![3 * hidden, hidden],
            ConvKernel => vec![hidden, self.conv.map_or(0, |conv| conv.kernel_tokens)],
            ConvOutput => vec![hidden, hidden],
            Router => vec![count, hidden],
            RouterCorrection => vec![count],
            SharedRouter => vec![1, hidden],
            SharedGate | SharedUp => vec![shared, hidden],
            SharedDown => vec![hidden, shared],
            Gate | Up => vec![inner, hidden],
            XieluPositive | XieluNegative => vec![1],
            InnerNorm => vec![inner],
            Down => vec![hidden, inner],
        };
        if id.bias { shape[..1].to_vec() } else { shape }
    }
}

impl Experts {
    /// Whether a learned vector corrects the router's scores.
    pub fn has_correction(&self) -> bool {
        matches!(self.routing, Routing::Scored(scored) if scored.correction)
    }
}
