//! What a variant's values per token and per expert add up to: from its windows, or as a condensed run
//! keeps it.

use crate::error::{Error, Result};
use crate::results::{Condensed, CondensedCell, Index, KlQuantiles, Record, RunFolder, Totals};
use crate::stats::Sample;

/// Quantiles of the KL divergence over all scored tokens; `None` for the reference.
pub(super) fn kl_quantiles(index: &Index, cell_id: &str) -> Option<KlQuantiles> {
    if let Some(totals) = index.totals(cell_id) {
        return totals.kl_quantiles;
    }
    let windows = index.windows_of(cell_id);
    let tokens = windows.iter().flat_map(|w| &w.kl_tokens).map(|&kl| f64::from(kl)).collect();
    let sample = Sample::new(tokens).ok()?;
    Some(KlQuantiles {
        tokens: sample.sorted().len(),
        median_nats: sample.median(),
        p99_nats: sample.quantile(0.99),
    })
}

/// Tokens over all windows that go to each expert, `[layers][experts]`; empty for models without
/// experts.
pub(super) fn expert_load(index: &Index, cell_id: &str) -> Vec<Vec<u64>> {
    if let Some(totals) = index.totals(cell_id) {
        return totals.expert_load.clone();
    }
    let windows = index.windows_of(cell_id);
    let Some(first) = windows.first() else { return Vec::new() };
    let mut load: Vec<Vec<u64>> =
        first.expert_load.iter().map(|experts| vec![0; experts.len()]).collect();
    for window in windows {
        for (sums, tokens) in load.iter_mut().zip(&window.expert_load) {
            sums.iter_mut().zip(tokens).for_each(|(sum, tokens)| *sum += u64::from(*tokens));
        }
    }
    load
}

/// A run without its values per token: the sums of every window, and the numbers that tables show of
/// the rest.
///
/// # Errors
/// Input errors: nothing was scored, or the run is condensed already.
pub fn condensed(run: &RunFolder) -> Result<Condensed> {
    if run.is_condensed {
        return Err(Error::input("this run is condensed already").at(&run.name));
    }
    if run.index.run().is_none() {
        let what = "expected a run with scored variants, found only measurements on devices";
        return Err(Error::input(what).at(&run.name));
    }
    let is_kept = |record: &&Record| !matches!(record, Record::Window(_));
    let records = run.index.records().iter().filter(is_kept).cloned().collect();
    let cells = run.index.cells().map(|cell| of_cell(run, &cell.cell_id)).collect();
    Ok(Condensed { records, cells })
}

fn of_cell(run: &RunFolder, cell_id: &str) -> CondensedCell {
    let windows = run.index.windows_of(cell_id);
    let has_experts = windows.iter().any(|window| !window.router_agree.is_empty());
    let of_experts = || windows.iter().filter(|_| has_experts);
    CondensedCell {
        cell_id: cell_id.to_owned(),
        windows: windows.iter().map(|window| window.window).collect(),
        scored_tokens: windows.iter().map(|window| window.scored_tokens).collect(),
        scored_bytes: windows.iter().map(|window| window.scored_bytes).collect(),
        nll_nats: windows.iter().map(|window| window.nll_nats).collect(),
        kl_nats: windows.iter().map(|window| window.kl_nats).collect(),
        top1_agree: windows.iter().map(|window| window.top1_agree).collect(),
        router_agree: of_experts().map(|window| window.router_agree.clone()).collect(),
        routed_tokens: of_experts().map(|window| window.routed_tokens).collect(),
        totals: Totals {
            kl_quantiles: kl_quantiles(&run.index, cell_id),
            expert_load: expert_load(&run.index, cell_id),
            coding_ms: run.coding_ms.get(cell_id).copied(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::Tolerances;
    use crate::compare::check::check;
    use crate::compare::fixture::{folder, records};
    use crate::compare::summary::Summary;
    use crate::compare::versus::versus;
    use crate::results::Store;

    /// The usual run, as one of a model with experts.
    fn with_experts() -> Vec<Record> {
        let mut records = records();
        for record in &mut records {
            if let Record::Window(window) = record {
                let tokens = window.window as u32;
                window.router_agree = vec![100 - tokens, 90 - tokens];
                window.expert_load = vec![vec![60 + tokens, 40 - tokens], vec![100, 0]];
                window.routed_tokens = 100;
            }
        }
        records
    }

    #[test]
    fn a_condensed_run_has_the_same_summary() {
        for records in [records(), with_experts()] {
            let temporary = tempfile::tempdir().unwrap();
            let [full, short] = ["full/tiny", "short/tiny"].map(|name| temporary.path().join(name));
            Store::open(&full).unwrap().append(&records).unwrap();
            let run = RunFolder::read(&full).unwrap();
            condensed(&run).unwrap().write(&full, &short).unwrap();
            let read = RunFolder::read(&short).unwrap();
            assert_eq!((&read.name, &read.hash), (&run.name, &run.hash));
            assert_eq!(Summary::of(&read).unwrap(), Summary::of(&run).unwrap());
            assert_eq!(versus(&read, &run).unwrap(), versus(&run, &run).unwrap());
            let tolerances = Tolerances::resolve([]).unwrap();
            let checked = |now| check(now, &run, &tolerances, 7);
            assert_eq!(checked(&read), checked(&run));
            let error = condensed(&read).unwrap_err().to_string();
            assert!(error.contains("condensed already"), "{error}");
        }
        condensed(&RunFolder::default()).unwrap_err();
        assert!(condensed(&folder("a", &records())).unwrap().records.len() < records().len());
    }
}
