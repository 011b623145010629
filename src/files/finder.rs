//! Files that macOS puts into folders by itself.

use std::ffi::OsStr;

/// Whether a file of this name is the Finder's and not part of what a folder holds: the view of the
/// folder (`.DS_Store`), its icon (`Icon` and a carriage return), its translated name (`.localized`),
/// or what a disk without extended attributes keeps beside each file (`._` and the file's name).
pub fn is_finders(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    [b".DS_Store".as_slice(), b".localized", b"Icon\r"].contains(&name) || name.starts_with(b"._")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_finder_makes_is_the_finders() {
        for name in [".DS_Store", "._model.mlmodel", "._.DS_Store", "Icon\r", ".localized"] {
            assert!(is_finders(name.as_ref()), "{name:?}");
        }
        for name in ["model.json", "Icon", ".DS_Store.bak", "DS_Store", ".git", "_.x", ""] {
            assert!(!is_finders(name.as_ref()), "{name:?}");
        }
    }
}
