//! The roles of tensors in a decoder, and their Hugging Face names.

use super::config::Config;

/// A tensor's role in a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Token embedding, `[vocab, hidden]`.
    Embedding,
    /// RMS norm before attention, `[hidden]`.
    AttentionNorm,
    /// Query projection, `[heads * head_dim, hidden]`.
    Query,
    /// Key projection, `[kv_heads * head_dim, hidden]`.
    Key,
    /// Value projection, `[kv_heads * head_dim, hidden]`.
    Value,
    /// RMS norm of each query head, `[head_dim]`.
    QueryNorm,
    /// RMS norm of each key head, `[head_dim]`.
    KeyNorm,
    /// Attention sinks, `[heads]`.
    Sinks,
    /// Attention output projection, `[hidden, heads * head_dim]`.
    Output,
    /// RMS norm before the MLP, `[hidden]`.
    MlpNorm,
    /// Router of a mixture of experts, `[experts, hidden]`.
    Router,
    /// MLP gate projection, `[intermediate, hidden]`.
    Gate,
    /// MLP up projection, `[intermediate, hidden]`.
    Up,
    /// MLP down projection, `[hidden, intermediate]`.
    Down,
    /// RMS norm after the last block, `[hidden]`.
    FinalNorm,
    /// Head, `[vocab, hidden]`, which makes logits. Missing if it is tied to the embedding.
    Head,
}

/// Every role that a decoder block can have outside its experts, in the order of the computation.
const BLOCK: [Role; 13] = [
    Role::AttentionNorm,
    Role::Query,
    Role::Key,
    Role::Value,
    Role::QueryNorm,
    Role::KeyNorm,
    Role::Sinks,
    Role::Output,
    Role::MlpNorm,
    Role::Router,
    Role::Gate,
    Role::Up,
    Role::Down,
];

impl Role {
    /// Whether the role is a linear layer of a block, which is what recipes code.
    pub fn is_linear(self) -> bool {
        use Role::{Down, Gate, Key, Output, Query, Up, Value};
        matches!(self, Query | Key | Value | Output | Gate | Up | Down)
    }

    /// The middle part of the Hugging Face name.
    fn stem(self) -> &'static str {
        match self {
            Role::Embedding => "model.embed_tokens",
            Role::AttentionNorm => "input_layernorm",
            Role::Query => "self_attn.q_proj",
            Role::Key => "self_attn.k_proj",
            Role::Value => "self_attn.v_proj",
            Role::QueryNorm => "self_attn.q_norm",
            Role::KeyNorm => "self_attn.k_norm",
            Role::Sinks => "self_attn.sinks",
            Role::Output => "self_attn.o_proj",
            Role::MlpNorm => "post_attention_layernorm",
            Role::Router => "mlp.router",
            Role::Gate => "mlp.gate_proj",
            Role::Up => "mlp.up_proj",
            Role::Down => "mlp.down_proj",
            Role::FinalNorm => "model.norm",
            Role::Head => "lm_head",
        }
    }
}

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

    /// The name in a Hugging Face checkpoint.
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
        let mut ids = Vec::with_capacity(BLOCK.len() + 7);
        for role in BLOCK {
            let exists = match role {
                Role::QueryNorm | Role::KeyNorm => self.qk_norm,
                Role::Sinks => self.sinks,
                Role::Router => self.experts.is_some(),
                Role::Gate | Role::Up | Role::Down => self.experts.is_none(),
                _ => true,
            };
            if !exists {
                continue;
            }
            let id = TensorId::block(layer, role);
            ids.push(id);
            if self.has_bias(role) {
                ids.push(id.with_bias());
            }
        }
        ids
    }

    /// Every tensor of one expert, in the order of the computation.
    pub fn expert_tensors(&self, layer: usize, expert: usize) -> Vec<TensorId> {
        let mut ids = Vec::with_capacity(2 * EXPERT.len());
        for role in EXPERT {
            let id = TensorId::expert(layer, expert, role);
            ids.push(id);
            if self.has_bias(role) {
                ids.push(id.with_bias());
            }
        }
        ids
    }

    /// Every tensor of the model, in the order of the computation.
    pub fn tensors(&self) -> Vec<TensorId> {
        let mut ids = vec![TensorId::model(Role::Embedding)];
        let experts = self.experts.as_ref().map_or(0, |experts| experts.count);
        for layer in 0..self.layers {
            ids.extend(self.block_tensors(layer));
            ids.extend((0..experts).flat_map(|expert| self.expert_tensors(layer, expert)));
        }
        ids.push(TensorId::model(Role::FinalNorm));
        if !self.tied {
            ids.push(TensorId::model(Role::Head));
        }
        ids
    }

    /// Whether the linear layer `role` has a bias.
    pub fn has_bias(&self, role: Role) -> bool {
        match role {
            Role::Query | Role::Key | Role::Value => self.qkv_bias,
            Role::Output => self.output_bias,
            Role::Router => self.experts.as_ref().is_some_and(|experts| experts.router_bias),
            Role::Gate | Role::Up | Role::Down => self.mlp_bias,
            _ => false,
        }
    }

    /// The shape that the architecture requires: `[out, in]`, or `[len]` for norms and biases.
    pub fn shape_of(&self, id: TensorId) -> Vec<usize> {
        let (hidden, inner) = (self.hidden_size, self.intermediate_size);
        let (queries, keys) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        let shape = match id.role {
            Role::Embedding | Role::Head => vec![self.vocab_size, hidden],
            Role::AttentionNorm | Role::MlpNorm | Role::FinalNorm => vec![hidden],
            Role::QueryNorm | Role::KeyNorm => vec![self.head_dim],
            Role::Sinks => vec![self.heads],
            Role::Router => vec![self.experts.as_ref().map_or(0, |e| e.count), hidden],
            Role::Query => vec![queries, hidden],
            Role::Key | Role::Value => vec![keys, hidden],
            Role::Output => vec![hidden, queries],
            Role::Gate | Role::Up => vec![inner, hidden],
            Role::Down => vec![hidden, inner],
        };
        if id.bias { shape[..1].to_vec() } else { shape }
    }
}
