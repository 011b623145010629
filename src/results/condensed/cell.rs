//! The windows of one variant in a condensed run.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::results::ranges::{MOST, count, millis, nats};
use crate::results::read_record::check_window;
use crate::results::record::Window;

/// The windows of one variant: a column per field of [`Window`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CondensedCell {
    /// The variant.
    pub cell_id: String,
    /// Index of each window in the text, ascending.
    pub windows: Vec<usize>,
    /// Tokens scored in each window.
    pub scored_tokens: Vec<usize>,
    /// UTF-8 bytes of the scored text of each window.
    pub scored_bytes: Vec<u64>,
    /// Sum of the negative log likelihoods in each window.
    pub nll_nats: Vec<f64>,
    /// Sum of the KL divergences from the reference in each window.
    pub kl_nats: Vec<f64>,
    /// Tokens of each window at which the most likely token is the reference's.
    pub top1_agree: Vec<usize>,
    /// Tokens of each window that go to the same experts as in the reference, `[windows][layers]`;
    /// empty for models without experts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub router_agree: Vec<Vec<u32>>,
    /// Tokens of each window that were routed; empty for models without experts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routed_tokens: Vec<u32>,
    /// What is kept of the values per token.
    #[serde(flatten)]
    pub totals: Totals,
}

/// What a condensed run keeps of a variant's values per token and per expert.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Quantiles of the KL divergence over tokens; `None` for the reference.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kl_quantiles: Option<KlQuantiles>,
    /// Tokens of all windows that go to each expert, `[layers][experts]`; empty for models without
    /// experts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expert_load: Vec<Vec<u64>>,
    /// Wall time of coding the variant, if it was recorded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub coding_ms: Option<f64>,
}

/// Quantiles of the KL divergence from the reference, over all scored tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct KlQuantiles {
    /// Tokens that they rest on.
    pub tokens: usize,
    /// The median.
    pub median_nats: f64,
    /// The 99th percentile.
    pub p99_nats: f64,
}

impl CondensedCell {
    /// The windows, without values per token and per expert.
    ///
    /// # Errors
    /// Input errors: two columns differ in length, or a number is impossible.
    pub(super) fn to_windows(&self) -> Result<Vec<Window>> {
        let count = self.windows.len();
        let has_experts = !self.router_agree.is_empty();
        let optional = |len: usize| if has_experts { len } else { count };
        let lengths = [
            self.scored_tokens.len(),
            self.scored_bytes.len(),
            self.nll_nats.len(),
            self.kl_nats.len(),
            self.top1_agree.len(),
            optional(self.router_agree.len()),
            optional(self.routed_tokens.len()),
        ];
        if let Some(other) = lengths.into_iter().find(|len| *len != count) {
            let what = format!("expected {count} windows in every column, found {other}");
            return Err(Error::input(what).at(format!("variant {}", self.cell_id)));
        }
        let window = |at: usize| Window {
            cell_id: self.cell_id.clone(),
            window: self.windows[at],
            scored_tokens: self.scored_tokens[at],
            scored_bytes: self.scored_bytes[at],
            nll_nats: self.nll_nats[at],
            kl_nats: self.kl_nats[at],
            top1_agree: self.top1_agree[at],
            router_agree: self.router_agree.get(at).cloned().unwrap_or_default(),
            routed_tokens: self.routed_tokens.get(at).copied().unwrap_or_default(),
            ..Window::default()
        };
        let place = |e: Error| e.at(format!("variant {}", self.cell_id));
        let totals = &self.totals;
        totals.kl_quantiles.iter().try_for_each(check_quantiles).map_err(place)?;
        millis("coding_ms", totals.coding_ms.unwrap_or(0.0)).map_err(place)?;
        let checked = |at: usize| {
            let window = window(at);
            check_window(&window).map_err(place)?;
            Ok(window)
        };
        (0..count).map(checked).collect()
    }
}

/// Refuses (input) impossible quantiles.
fn check_quantiles(found: &KlQuantiles) -> Result<()> {
    count("tokens", found.tokens as u64, MOST)?;
    nats("median_nats", found.median_nats, 1)?;
    nats("p99_nats", found.p99_nats, 1)
}
