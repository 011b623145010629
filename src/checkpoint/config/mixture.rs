//! Mixtures of experts.

/// A mixture of experts: a router picks some of them for each token.
#[derive(Debug, Clone, PartialEq)]
pub struct Experts {
    /// Number of experts in a layer.
    pub count: usize,
    /// Number of experts that each token is sent to.
    pub per_token: usize,
    /// Width inside an expert.
    pub intermediate_size: usize,
    /// How the chosen experts are weighted.
    pub routing: Routing,
    /// Bias on the router's logits.
    pub router_bias: bool,
    /// Biases in the experts.
    pub bias: bool,
    /// An expert that every token is sent to.
    pub shared: Option<SharedExpert>,
}

/// An expert that every token is sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedExpert {
    /// Width inside it.
    pub intermediate_size: usize,
    /// Whether its result is multiplied by the sigmoid of a learned projection of its input.
    pub gated: bool,
}

/// How router logits become weights of the chosen experts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Routing {
    /// The largest logits are chosen; their weights are the softmax over the chosen logits only
    /// (gpt-oss, Mixtral).
    SoftmaxOfChosen,
    /// Softmax over all logits; the weights of the chosen experts are kept (Qwen 3).
    ChosenOfSoftmax {
        /// Whether the kept weights are scaled to sum to 1.
        renormalize: bool,
    },
    /// Scores of all experts, chosen by corrected scores and perhaps by groups (DeepSeek-V3).
    Scored(Scored),
}

/// Routing by scores.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    /// How logits become scores.
    pub score: Score,
    /// Whether a learned vector is added to the scores for choosing. Weights are those without it.
    pub correction: bool,
    /// The groups that are chosen first.
    pub groups: Option<Groups>,
    /// Whether the weights are scaled to sum to 1.
    pub renormalize: bool,
    /// The least sum of weights that they are divided by, or what is added to it.
    pub sum_floor: SumFloor,
    /// Factor on the weights.
    pub factor: f32,
}

/// What keeps the sum that weights are divided by from being 0.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum SumFloor {
    /// This number is added to the sum.
    Added(f32),
    /// The sum is at least this number.
    AtLeast(f32),
}

/// How a logit becomes a score.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Score {
    /// Softmax over all experts.
    Softmax,
    /// The sigmoid of each logit.
    Sigmoid,
}

/// Groups of experts, of which the best are chosen before experts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Groups {
    /// Their number; consecutive experts are a group.
    pub count: usize,
    /// How many are chosen.
    pub chosen: usize,
    /// The number of largest scores of a group whose sum it is chosen by.
    pub by_largest: usize,
}
