//! Paths of runs' folders: `<reports>/<date>-<name>-<question>`.

use std::path::{Path, PathBuf};

use crate::files::is_finders;
use crate::results::now;

/// The folder of the run of `name` with the question hash `question`, whatever its date; if there is
/// none, a new path with today's date.
pub fn run_folder(reports: &Path, name: &str, question: &str) -> PathBuf {
    let name: String =
        name.chars().map(|c| if c.is_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let suffix = format!("-{}-{question}", name.trim_matches('.'));
    if let Ok(entries) = std::fs::read_dir(reports) {
        let mut found: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| !is_finders(&entry.file_name()))
            .map(|entry| entry.path())
            .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().ends_with(&suffix)))
            .collect();
        found.sort();
        if let Some(folder) = found.pop() {
            return folder;
        }
    }
    reports.join(format!("{}{suffix}", &now()[..10]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_found_beside_what_the_finder_keeps_of_its_folder() {
        let reports = tempfile::tempdir().unwrap();
        let path = |name: &str| reports.path().join(name);
        std::fs::write(path("._2026-01-02-model-0f"), "").unwrap();
        let new = run_folder(reports.path(), "model", "0f");
        assert!(!new.exists(), "{}", new.display());
        std::fs::create_dir(path("2026-01-02-model-0f")).unwrap();
        assert_eq!(run_folder(reports.path(), "model", "0f"), path("2026-01-02-model-0f"));
    }
}
