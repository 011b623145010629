//! Paths of runs' folders: `<reports>/<date>-<name>-<question>`.

use std::path::{Path, PathBuf};

use crate::results::now;

/// The folder of the run of `name` with the question hash `question`, whatever its date; if there is
/// none, a new path with today's date.
pub fn run_folder(reports: &Path, name: &str, question: &str) -> PathBuf {
    let name: String =
        name.chars().map(|c| if c.is_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let suffix = format!("-{}-{question}", name.trim_matches('.'));
    if let Ok(entries) = std::fs::read_dir(reports) {
        let mut found: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.file_name().is_some_and(|n| n.to_string_lossy().ends_with(&suffix)))
            .collect();
        found.sort();
        if let Some(folder) = found.pop() {
            return folder;
        }
    }
    reports.join(format!("{}{suffix}", &now()[..10]))
}
