//! Several files into a folder: all of them, or none.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// Writes `files`, names and texts, into `folder`, which is made where it is absent. They are written
/// into a folder beside it first, so that what cannot be written leaves nothing behind.
///
/// # Errors
/// The folder cannot be made or written; no file of it has then changed.
pub fn write_all(folder: &Path, files: &[(String, String)]) -> Result<()> {
    let made = first_absent(folder);
    std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, e))?;
    let aside = folder.join(format!(".evalkit.{}.part", std::process::id()));
    let written = write_into(&aside, files).and_then(|()| {
        files.iter().try_for_each(|(name, _)| {
            let path = folder.join(name);
            std::fs::rename(aside.join(name), &path).map_err(|e| Error::io("write", &path, e))
        })
    });
    let _ = std::fs::remove_dir_all(&aside);
    if let (Err(_), Some(made)) = (&written, made) {
        let _ = std::fs::remove_dir_all(made);
    }
    written
}

fn write_into(aside: &Path, files: &[(String, String)]) -> Result<()> {
    std::fs::create_dir(aside).map_err(|e| Error::io("create", aside, e))?;
    files.iter().try_for_each(|(name, text)| {
        let path = aside.join(name);
        std::fs::write(&path, text).map_err(|e| Error::io("write", &path, e))
    })
}

/// The highest folder of a path that has to be made.
fn first_absent(folder: &Path) -> Option<PathBuf> {
    let absent =
        folder.ancestors().take_while(|path| !path.as_os_str().is_empty() && !path.exists());
    absent.last().map(Path::to_owned)
}
