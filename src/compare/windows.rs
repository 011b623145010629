//! Recorded windows as the sums that statistics take, alone or paired with those of another run.

use crate::results::Window;
use crate::stats::Scores;

/// The sums of each window, in the given order.
pub(super) fn scores(windows: &[&Window]) -> Vec<Scores> {
    let of_window = |window: &&Window| Scores {
        tokens: window.scored_tokens as f64,
        text_bytes: window.scored_bytes as f64,
        nll_nats: window.nll_nats,
        kl_nats: window.kl_nats,
        top1_agree: window.top1_agree as f64,
    };
    windows.iter().map(of_window).collect()
}

/// The windows that two lists share by index, in the order of the first; both lists ascend.
pub(super) fn in_both<'a>(
    ours: &[&'a Window],
    theirs: &[&'a Window],
) -> (Vec<&'a Window>, Vec<&'a Window>) {
    let pairs = ours.iter().filter_map(|window| {
        let at = theirs.binary_search_by_key(&window.window, |other| other.window).ok()?;
        Some((*window, theirs[at]))
    });
    pairs.unzip()
}
