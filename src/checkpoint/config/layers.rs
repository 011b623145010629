//! What one layer of a decoder is.

/// What one layer is: how tokens are mixed, and what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerKind {
    /// How tokens are mixed.
    pub mixer: Mixer,
    /// Whether a mixture of experts follows, and not a dense MLP.
    pub mixture: bool,
}

/// How a layer mixes tokens. Every kind keeps a state of its own between the calls of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mixer {
    /// Attention; its state is the keys and values of all tokens.
    Attention {
        /// The number of last tokens that a query sees, including its own; `None` for all.
        window: Option<usize>,
        /// The place of its rotary embedding among those of the model; `None` if nothing is rotated.
        rope: Option<usize>,
    },
    /// A short convolution; its state is the last inputs of the convolution.
    ShortConv,
}

impl LayerKind {
    /// Attention to all tokens with the model's first rotary embedding, and a dense MLP.
    pub const PLAIN: LayerKind =
        LayerKind { mixer: Mixer::Attention { window: None, rope: Some(0) }, mixture: false };

    /// The same with a mixture of experts.
    pub const MIXTURE: LayerKind = LayerKind { mixture: true, ..LayerKind::PLAIN };

    /// This layer with a sliding window.
    pub const fn sliding(self, window_tokens: usize) -> LayerKind {
        match self.mixer {
            Mixer::Attention { rope, .. } => LayerKind {
                mixer: Mixer::Attention { window: Some(window_tokens), rope },
                mixture: self.mixture,
            },
            Mixer::ShortConv => self,
        }
    }
}
