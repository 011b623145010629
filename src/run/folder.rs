//! Paths of runs' folders: `<reports>/<date>-<name>-<question>`.

use std::path::{Path, PathBuf};

use crate::files::is_finders;
use crate::results::now;

/// The folder of the run of `name` with the question hash `question`, whatever its date; if there is
/// none, a new path with today's date. A copy of the folder under another name is not taken for it.
pub fn run_folder(reports: &Path, name: &str, question: &str) -> PathBuf {
    let name: String =
        name.chars().map(|c| if c.is_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let suffix = format!("-{}-{question}", name.trim_matches('.'));
    if let Ok(entries) = std::fs::read_dir(reports) {
        let mut found: Vec<PathBuf> = entries
            .flatten()
            .filter(|entry| !is_finders(&entry.file_name()))
            .filter(|entry| {
                let name = entry.file_name();
                name.to_string_lossy().strip_suffix(&suffix).is_some_and(is_date)
            })
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect();
        found.sort();
        if let Some(folder) = found.pop() {
            return folder;
        }
    }
    reports.join(format!("{}{suffix}", &now()[..10]))
}

/// Whether `text` is a date as the names of folders have it: 2027-01-02.
fn is_date(text: &str) -> bool {
    let is_of_its_place = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    text.len() == 10 && text.bytes().enumerate().all(is_of_its_place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_of_a_run_is_not_taken_for_it() {
        let reports = tempfile::tempdir().unwrap();
        let path = |name: &str| reports.path().join(name);
        for name in ["backup-2026-01-02-model-0f", "2026-01-02-my-model-0f", "2026-01-02-model-0f"]
        {
            std::fs::create_dir(path(name)).unwrap();
        }
        assert_eq!(run_folder(reports.path(), "model", "0f"), path("2026-01-02-model-0f"));
    }

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
