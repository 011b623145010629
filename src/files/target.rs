//! Where an output goes. A link is followed: what it leads to is written, and the link stays. What
//! exists and is no regular file, such as a device or a pipe, is refused: replacing it by a file would
//! take it away from everybody who uses it.

use std::fs;
use std::path::{Path, PathBuf};

use super::regular::kind;
use super::temporary::folder_of;
use crate::error::{Error, Result};

/// Most links that lead from one to the next; Linux follows as many.
const MAX_LINKS: usize = 40;

/// Checks before a long computation that its result can be written to `path`.
///
/// # Errors
/// An input error if there is something that is no regular file.
pub fn check_output(path: &Path) -> Result<()> {
    file_target(path)?;
    if path.is_dir() { Err(no_file(path, "a folder")) } else { Ok(()) }
}

/// The path of the file that is written if `path` is named. A folder is not refused here: a file cannot
/// replace it.
///
/// # Errors
/// Input errors: there is a device, a pipe or a socket, or links lead in a circle.
pub(super) fn file_target(path: &Path) -> Result<PathBuf> {
    // Asked of the path itself: /dev/stdout leads to pipes, whose names lead nowhere.
    let found = fs::metadata(path).ok().map(|found| found.file_type());
    match found.filter(|found| !found.is_file() && !found.is_dir()) {
        Some(other) => Err(no_file(path, kind(other))),
        None => followed(path),
    }
}

fn no_file(path: &Path, found: &str) -> Error {
    Error::input(format!("cannot write: expected a file or a new name, found {found}"))
        .at(path.display())
        .hint("name a regular file, or one that does not exist yet")
}

/// The path of the folder that is written if `path` is named.
///
/// # Errors
/// Input errors: there is something that is no folder, or links lead in a circle.
pub(super) fn folder_target(path: &Path) -> Result<PathBuf> {
    // A separator at the end would make the system follow the last link itself.
    let target = followed(path.components().as_path())?;
    match fs::metadata(path).ok().filter(|found| !found.is_dir()) {
        Some(other) => {
            let what = format!("expected a folder, found {}", kind(other.file_type()));
            Err(Error::input(what).at(path.display()).hint("name a folder, or a new one"))
        }
        None => Ok(target),
    }
}

/// Where `path` leads through links, whether or not there is anything.
fn followed(path: &Path) -> Result<PathBuf> {
    let mut target = path.to_owned();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&target) {
            Ok(next) => target = folder_of(&target).join(next),
            // No link, or nothing that can be reached: writing says which.
            Err(_) => return Ok(target),
        }
    }
    Err(Error::input("cannot write: links lead in a circle")
        .at(path.display())
        .hint("remove the link, or name another file"))
}

#[cfg(test)]
pub(super) mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;
    use std::process::Command;

    use super::*;

    /// Makes things in `folder` that no output may replace: names, and what messages call them.
    pub fn specials(folder: &Path) -> (Vec<(PathBuf, &'static str)>, UnixListener) {
        let at = |name: &str| folder.join(name);
        assert!(Command::new("mkfifo").arg(at("pipe")).status().unwrap().success());
        let socket = UnixListener::bind(at("socket")).unwrap();
        symlink("pipe", at("to-pipe")).unwrap();
        let mut named =
            vec![(at("pipe"), "a pipe"), (at("socket"), "a socket"), (at("to-pipe"), "a pipe")];
        // Only root may make a device.
        let made = Command::new("mknod").arg(at("device")).args(["c", "1", "3"]).output();
        if made.is_ok_and(|made| made.status.success()) {
            named.push((at("device"), "a device"));
        }
        (named, socket)
    }

    #[test]
    fn links_are_followed_also_to_what_does_not_exist_yet() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("below")).unwrap();
        symlink("below/new", at("one")).unwrap();
        symlink("one", at("two")).unwrap();
        symlink(at("circle"), at("circle")).unwrap();
        symlink("below", at("to-folder")).unwrap();
        assert_eq!(file_target(&at("two")).unwrap(), at("below/new"));
        assert_eq!(file_target(&at("to-folder/x")).unwrap(), at("to-folder/x"));
        assert_eq!(file_target(&at("absent")).unwrap(), at("absent"));
        assert_eq!(folder_target(&at("to-folder/")).unwrap(), at("below"));
        for error in [file_target(&at("circle")), folder_target(&at("circle"))] {
            let error = error.unwrap_err();
            assert!(error.to_string().contains("in a circle"), "{error}");
            assert_eq!(error.exit().code(), 2);
        }
        let error = check_output(&at("to-folder")).unwrap_err();
        assert!(error.to_string().contains("found a folder"), "{error}");
    }

    #[test]
    fn what_is_no_file_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let (specials, _socket) = specials(folder.path());
        for (path, what) in specials {
            for error in [check_output(&path).unwrap_err(), folder_target(&path).unwrap_err()] {
                assert!(error.to_string().contains(&format!("found {what}")), "{error}");
                assert_eq!(error.exit().code(), 2);
            }
        }
    }
}
