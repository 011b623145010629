//! How much a package keeps between its calls: keys and values, and last inputs of convolutions.

/// The numbers that decide how much a package keeps between its calls, as fp16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheShape {
    /// Decoder layers.
    pub layers: usize,
    /// Those that are attention. All others are short convolutions.
    pub attention_layers: usize,
    /// Width of the residual stream, and channels of a convolution.
    pub hidden_size: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Width of a key head.
    pub head_dim: usize,
    /// Width of a value head.
    pub value_dim: usize,
    /// Last inputs that each convolution keeps; `None` without convolutions.
    pub conv_tokens: Option<usize>,
}

impl CacheShape {
    /// Bytes of the keys and values of a token, of all layers.
    pub fn per_token_bytes(&self) -> u64 {
        let width = self.head_dim + self.value_dim;
        (size_of::<u16>() * self.attention_layers * self.kv_heads * width) as u64
    }

    /// Bytes of everything that is kept, with keys and values of `tokens` tokens.
    pub fn size_bytes(&self, tokens: usize) -> u64 {
        let convolutions = self.layers.saturating_sub(self.attention_layers);
        let inputs = convolutions * self.hidden_size * self.conv_tokens.unwrap_or(0);
        self.per_token_bytes() * tokens as u64 + (size_of::<u16>() * inputs) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::CacheShape;

    const DENSE: CacheShape = CacheShape {
        layers: 4,
        attention_layers: 4,
        hidden_size: 64,
        kv_heads: 2,
        head_dim: 16,
        value_dim: 16,
        conv_tokens: None,
    };

    #[test]
    fn keys_and_values_of_all_layers_are_counted() {
        assert_eq!(DENSE.per_token_bytes(), 2 * 4 * 2 * (16 + 16));
        assert_eq!(DENSE.size_bytes(10), 10 * 512);
    }

    #[test]
    fn values_may_be_narrower_than_keys() {
        let latent = CacheShape { head_dim: 24, ..DENSE };
        assert_eq!(latent.per_token_bytes(), 2 * 4 * 2 * (24 + 16));
    }

    #[test]
    fn convolutions_keep_their_last_inputs_and_no_keys() {
        let hybrid = CacheShape { attention_layers: 1, conv_tokens: Some(2), ..DENSE };
        assert_eq!(hybrid.size_bytes(10), 10 * 128 + 2 * 3 * 64 * 2);
    }
}
