//! The plans that a run's folder holds: `plan.toml` for the first command that measured into it, then
//! `plan-2.toml`, `plan-3.toml`, ... for every later command with another plan.

use std::path::Path;

use super::PLAN;

/// The name of the file of the plan with this number, from 1.
pub fn plan_name(number: usize) -> String {
    match PLAN.split_once('.') {
        Some((stem, suffix)) if number > 1 => format!("{stem}-{number}.{suffix}"),
        _ => PLAN.to_owned(),
    }
}

/// The names of the plans in a folder, oldest first.
pub fn plans_in(folder: &Path) -> Vec<String> {
    (1..).map(plan_name).take_while(|name| folder.join(name).exists()).collect()
}

/// Whether a file of this name is one of the plans of a folder.
pub(super) fn is_plan(name: &str) -> bool {
    let number = PLAN.split_once('.').and_then(|(stem, suffix)| {
        name.strip_prefix(stem)?.strip_prefix('-')?.strip_suffix(suffix)?.strip_suffix('.')
    });
    name == PLAN || number.and_then(|number| number.parse().ok()).is_some_and(|n: usize| n > 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_numbered_without_gaps() {
        let folder = tempfile::tempdir().unwrap();
        assert!(plans_in(folder.path()).is_empty());
        for name in ["plan.toml", "plan-2.toml", "plan-4.toml", "plan-x.toml"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(plans_in(folder.path()), ["plan.toml", "plan-2.toml"]);
        assert!(is_plan("plan.toml") && is_plan("plan-12.toml"));
        assert!(
            ["plan-.toml", "plan-1.toml", "plan-2toml", "plans.toml"].iter().all(|n| !is_plan(n))
        );
    }
}
