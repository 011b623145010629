//! A check as GitHub workflow commands: annotations that GitHub shows next to the commit.
//!
//! GitHub shows ten annotations of a kind per step and silently drops the rest, so the last one here
//! counts those that are not shown.

use super::words;
use crate::compare::check::{CheckRow, Checked};
use crate::escape::{github, github_property};
use crate::stats::Verdict;

/// Annotations of a kind that GitHub shows per step.
const SHOWN: usize = 10;

/// One workflow command per line: errors for regressions and for what cannot be compared, warnings for
/// what could not be decided, and a notice of the worsening that the check could have detected.
pub fn annotations(checked: &Checked) -> Vec<String> {
    let of = |is_error: bool| {
        let wanted = move |row: &&CheckRow| match row.verdict {
            Verdict::Improved | Verdict::Unchanged => false,
            Verdict::Inconclusive => !is_error,
            Verdict::Regressed => is_error,
            Verdict::Invalid(_) => is_error != row.is_scarce,
        };
        checked.rows.iter().filter(wanted).collect::<Vec<&CheckRow>>()
    };
    let mut lines = commands(checked, "error", &of(true));
    lines.extend(commands(checked, "warning", &of(false)));
    let summary =
        format!("{}: {}. {}", checked.model, words::counts(checked), words::detectable(checked));
    lines.push(command("notice", "evalkit check", &summary));
    lines
}

fn commands(checked: &Checked, level: &str, rows: &[&CheckRow]) -> Vec<String> {
    let shown = if rows.len() > SHOWN { SHOWN - 1 } else { rows.len() };
    let title = |row: &CheckRow| format!("evalkit check: {}", words::verdict(&row.verdict));
    let mut lines: Vec<String> = rows[..shown]
        .iter()
        .map(|row| command(level, &title(row), &words::sentence(checked, row)))
        .collect();
    if shown < rows.len() {
        let more = format!("{} more are in the step's summary", rows.len() - shown);
        lines.push(command(level, "evalkit check", &more));
    }
    lines
}

/// `::error title=…::…`, with the characters escaped that GitHub would read as syntax.
fn command(level: &str, title: &str, message: &str) -> String {
    format!("::{level} title={}::{}", github_property(title), github(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_github_takes_for_syntax_is_escaped() {
        let found = command("error", "a: b, c", "1 %\n::error::x");
        assert_eq!(found, "::error title=a%3A b%2C c::1 %25%0A::error::x");
    }
}
