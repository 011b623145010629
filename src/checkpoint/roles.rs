//! The roles of tensors in a decoder.

/// A tensor's role in a decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Token embedding, `[vocab, hidden]`.
    Embedding,
    /// Learned position embedding, `[positions, hidden]`.
    Positions,
    /// Norm before attention, `[hidden]`.
    AttentionNorm,
    /// Projection of hidden states to the state that queries come from, `[query_rank, hidden]`.
    QueryDown,
    /// Norm of that state, `[query_rank]`.
    QueryDownNorm,
    /// Projection of that state to queries, `[heads * head_dim, query_rank]`.
    QueryUp,
    /// Query projection of hidden states, `[heads * head_dim, hidden]`.
    Query,
    /// Key projection, `[kv_heads * head_dim, hidden]`.
    Key,
    /// Value projection, `[kv_heads * value_dim, hidden]`.
    Value,
    /// Projection of hidden states to the rotated part of all keys and the state that keys and
    /// values come from, `[rope_dim + kv_rank, hidden]`.
    KvDown,
    /// Norm of that state, `[kv_rank]`.
    KvNorm,
    /// Projection of that state to the other part of each head's key and to its value,
    /// `[heads * (head_dim - rope_dim + value_dim), kv_rank]`.
    KvUp,
    /// Norm of queries: `[head_dim]` or `[heads * head_dim]`.
    QueryNorm,
    /// Norm of keys: `[head_dim]` or `[kv_heads * head_dim]`.
    KeyNorm,
    /// Attention sinks, `[heads]`.
    Sinks,
    /// Norm of the result of attention before its projection, `[heads * value_dim]`.
    AttendedNorm,
    /// Attention output projection, `[hidden, heads * value_dim]`.
    Output,
    /// Input projection of a short convolution: two gates and its input, `[3 * hidden, hidden]`.
    ConvInput,
    /// Kernel of a short convolution, `[hidden, kernel]`, the oldest token first.
    ConvKernel,
    /// Output projection of a short convolution, `[hidden, hidden]`.
    ConvOutput,
    /// Norm of what attention adds, `[hidden]`.
    PostAttentionNorm,
    /// Norm before the MLP, `[hidden]`.
    MlpNorm,
    /// Router of a mixture of experts, `[experts, hidden]`.
    Router,
    /// What is added to the router's scores for choosing, `[experts]`.
    RouterCorrection,
    /// Gate of the shared expert's result, `[1, hidden]`.
    SharedRouter,
    /// Gate projection of the shared expert, `[intermediate, hidden]`.
    SharedGate,
    /// Up projection of the shared expert, `[intermediate, hidden]`.
    SharedUp,
    /// Down projection of the shared expert, `[hidden, intermediate]`.
    SharedDown,
    /// MLP gate projection, `[intermediate, hidden]`.
    Gate,
    /// MLP up projection, `[intermediate, hidden]`.
    Up,
    /// The numbers of xIELU for positive inputs, `[1]`.
    XieluPositive,
    /// The numbers of xIELU for negative inputs, `[1]`.
    XieluNegative,
    /// Norm of the inner state of the MLP, `[intermediate]`.
    InnerNorm,
    /// MLP down projection, `[hidden, intermediate]`.
    Down,
    /// Norm of what the MLP adds, `[hidden]`.
    PostMlpNorm,
    /// Norm after the last layer, `[hidden]`.
    FinalNorm,
    /// Head, `[vocab, hidden]`, which makes logits. Missing if it is tied to the embedding.
    Head,
}

/// Every role that a layer can have outside its experts, in the order of the computation.
pub(super) const BLOCK: [Role; 33] = [
    Role::AttentionNorm,
    Role::QueryDown,
    Role::QueryDownNorm,
    Role::QueryUp,
    Role::Query,
    Role::Key,
    Role::Value,
    Role::KvDown,
    Role::KvNorm,
    Role::KvUp,
    Role::QueryNorm,
    Role::KeyNorm,
    Role::Sinks,
    Role::AttendedNorm,
    Role::Output,
    Role::ConvInput,
    Role::ConvKernel,
    Role::ConvOutput,
    Role::PostAttentionNorm,
    Role::MlpNorm,
    Role::Router,
    Role::RouterCorrection,
    Role::SharedRouter,
    Role::SharedGate,
    Role::SharedUp,
    Role::SharedDown,
    Role::Gate,
    Role::Up,
    Role::XieluPositive,
    Role::XieluNegative,
    Role::InnerNorm,
    Role::Down,
    Role::PostMlpNorm,
];

impl Role {
    /// Whether the role is a linear layer of a block, which is what recipes code.
    pub fn is_linear(self) -> bool {
        use Role::*;
        matches!(
            self,
            QueryDown
                | QueryUp
                | Query
                | Key
                | Value
                | KvDown
                | KvUp
                | Output
                | ConvInput
                | ConvOutput
                | SharedGate
                | SharedUp
                | SharedDown
                | Gate
                | Up
                | Down
        )
    }

    /// Whether the role is a linear layer of the MLP, an expert or the shared expert, and not of what
    /// mixes tokens.
    pub fn is_of_mlp(self) -> bool {
        use Role::*;
        matches!(self, SharedGate | SharedUp | SharedDown | Gate | Up | Down)
    }

    /// Whether the role is a matrix that no recipe codes: it is stored as fp16.
    pub fn is_small_matrix(self) -> bool {
        matches!(self, Role::Router | Role::SharedRouter | Role::ConvKernel)
    }

    /// Whether the role is the norm of hidden states, or of a state inside attention or MLP.
    pub fn is_norm(self) -> bool {
        use Role::*;
        matches!(
            self,
            AttentionNorm
                | QueryDownNorm
                | KvNorm
                | QueryNorm
                | KeyNorm
                | AttendedNorm
                | PostAttentionNorm
                | MlpNorm
                | InnerNorm
                | PostMlpNorm
                | FinalNorm
        )
    }

    /// The role's part of the name. Names are those of Llama's files where Llama has the role.
    pub(super) fn stem(self) -> &'static str {
        match self {
            Role::Embedding => "model.embed_tokens",
            Role::Positions => "model.embed_positions",
            Role::AttentionNorm => "input_layernorm",
            Role::QueryDown => "self_attn.q_a_proj",
            Role::QueryDownNorm => "self_attn.q_a_layernorm",
            Role::QueryUp => "self_attn.q_b_proj",
            Role::Query => "self_attn.q_proj",
            Role::Key => "self_attn.k_proj",
            Role::Value => "self_attn.v_proj",
            Role::KvDown => "self_attn.kv_a_proj_with_mqa",
            Role::KvNorm => "self_attn.kv_a_layernorm",
            Role::KvUp => "self_attn.kv_b_proj",
            Role::QueryNorm => "self_attn.q_norm",
            Role::KeyNorm => "self_attn.k_norm",
            Role::Sinks => "self_attn.sinks",
            Role::AttendedNorm => "self_attn.attn_sub_norm",
            Role::Output => "self_attn.o_proj",
            Role::ConvInput => "conv.in_proj",
            Role::ConvKernel => "conv.conv",
            Role::ConvOutput => "conv.out_proj",
            Role::PostAttentionNorm => "self_attn.post_norm",
            Role::MlpNorm => "post_attention_layernorm",
            Role::Router => "mlp.router",
            Role::RouterCorrection => "mlp.router.correction",
            Role::SharedRouter => "mlp.shared_expert_gate",
            Role::SharedGate => "mlp.shared_expert.gate_proj",
            Role::SharedUp => "mlp.shared_expert.up_proj",
            Role::SharedDown => "mlp.shared_expert.down_proj",
            Role::Gate => "mlp.gate_proj",
            Role::Up => "mlp.up_proj",
            Role::XieluPositive => "mlp.xielu_positive",
            Role::XieluNegative => "mlp.xielu_negative",
            Role::InnerNorm => "mlp.ffn_sub_norm",
            Role::Down => "mlp.down_proj",
            Role::PostMlpNorm => "mlp.post_norm",
            Role::FinalNorm => "model.norm",
            Role::Head => "lm_head",
        }
    }
}
