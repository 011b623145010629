//! Several files: all of them, or none.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Writes every file, path and text, making folders where they are absent. All are written aside
/// first, so that what cannot be written leaves nothing behind.
///
/// # Errors
/// A folder cannot be made or a file written; no file has then changed.
pub fn write_all(files: &[(PathBuf, String)]) -> Result<()> {
    let mut made = Made::default();
    let written = files.iter().try_for_each(|(path, text)| made.aside(path, text));
    if let Err(error) = written {
        made.undo();
        return Err(error);
    }
    for (path, aside) in &made.asides {
        let renamed = std::fs::rename(aside, path).map_err(|e| Error::io("write", path, e));
        if let Err(error) = renamed {
            made.undo();
            return Err(error);
        }
    }
    Ok(())
}

/// What was made before anything was replaced.
#[derive(Default)]
struct Made {
    /// Each file, and where its text lies until all are there.
    asides: Vec<(PathBuf, PathBuf)>,
    folders: Vec<PathBuf>,
}

impl Made {
    fn aside(&mut self, path: &Path, text: &str) -> Result<()> {
        let name = path.file_name().filter(|_| !path.is_dir()).ok_or_else(|| {
            Error::input("expected the name of a file, found a folder").at(path.display())
        })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        if folder.is_file() {
            let what = "expected a folder, found a file";
            return Err(Error::input(what).at(folder.display()));
        }
        self.folders.extend(first_absent(folder));
        if !folder.as_os_str().is_empty() {
            std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
        }
        let name = format!(".{}.{}.part", name.to_string_lossy(), std::process::id());
        let aside = path.with_file_name(name);
        self.asides.push((path.to_owned(), aside.clone()));
        std::fs::write(&aside, text).map_err(|e| Error::io("write", path, e))
    }

    fn undo(&self) {
        for (_, aside) in &self.asides {
            let _ = std::fs::remove_file(aside);
        }
        for folder in &self.folders {
            let _ = std::fs::remove_dir_all(folder);
        }
    }
}

/// The highest folder of a path that has to be made.
fn first_absent(folder: &Path) -> Option<PathBuf> {
    let absent =
        folder.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
    absent.last().map(Path::to_owned)
}
