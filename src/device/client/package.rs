//! A package on this side: a folder, and the hashes of all its files.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::device::protocol::content::{Content, File, MAX_FILES, check_path};
use crate::error::{Error, Result};
use crate::units::hex;

/// Bytes that are hashed at a time.
const BLOCK_BYTES: usize = 1 << 20;
/// What Finder leaves in folders; no part of a package.
const FINDER: &str = ".DS_Store";

/// A folder to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Where it is.
    pub folder: PathBuf,
    /// Its files.
    pub content: Content,
    /// Its name on every runner.
    pub name: String,
}

impl Package {
    /// Reads and hashes every file of the folder.
    ///
    /// # Errors
    /// Input errors: links, odd names, nothing in it.
    pub fn open(folder: &Path) -> Result<Package> {
        let content = content_of(folder)?;
        let name = content.package();
        Ok(Package { folder: folder.to_owned(), content, name })
    }
}

/// The files of a folder, hashed in parallel, sorted by path.
///
/// # Errors
/// Input errors: links and other things that are no files, names that the protocol does not allow.
pub fn content_of(folder: &Path) -> Result<Content> {
    let mut paths = Vec::new();
    walk(folder, "", &mut paths)?;
    paths.sort();
    let files: Result<Vec<File>> = paths.par_iter().map(|path| hashed(folder, path)).collect();
    let content = Content { files: files? };
    content.check().map_err(|(_, what)| Error::input(what).at(folder.display()))?;
    Ok(content)
}

fn walk(folder: &Path, below: &str, paths: &mut Vec<String>) -> Result<()> {
    let failed = |error| Error::io("read the folder", folder, error);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let refused = |what: String| Err(Error::input(what).at(entry.path().display()));
        let name = entry.file_name();
        let Some(name) = name.to_str() else {
            return refused("a name that is not UTF-8 cannot be sent".into());
        };
        if name == FINDER {
            continue;
        }
        let path = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        if let Err(what) = check_path(&path) {
            return refused(what);
        }
        let kind = entry.file_type().map_err(failed)?;
        if kind.is_dir() {
            walk(&entry.path(), &path, paths)?;
        } else if kind.is_file() {
            paths.push(path);
        } else {
            return Err(Error::input("neither a file nor a folder: links cannot be sent")
                .at(entry.path().display())
                .hint("put the file itself there"));
        }
        if paths.len() > MAX_FILES {
            return Err(Error::input(format!("more than {MAX_FILES} files")).at(folder.display()));
        }
    }
    Ok(())
}

fn hashed(folder: &Path, path: &str) -> Result<File> {
    let place = folder.join(path);
    let failed = |error| Error::io("read", &place, error);
    let mut file = std::fs::File::open(&place).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK_BYTES];
    let mut size_bytes = 0;
    loop {
        let count = std::io::Read::read(&mut file, &mut block).map_err(failed)?;
        if count == 0 {
            let sha256 = hex(&hash.finalize());
            return Ok(File { path: path.to_owned(), size_bytes, sha256 });
        }
        hash.update(&block[..count]);
        size_bytes += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_its_files_sorted_and_hashed_without_what_finder_leaves() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        for (name, text) in [("model.json", "{}"), ("a/b", ""), (".DS_Store", "x"), ("Z", "1")] {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let package = Package::open(folder.path()).unwrap();
        let paths: Vec<&str> = package.content.files.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["Z", "a/b", "model.json"]);
        let object = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(package.content.files[2].sha256, object);
        assert_eq!(package.name, package.content.package());
    }

    #[test]
    fn links_odd_names_and_nothing_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let told = || content_of(folder.path()).unwrap_err().to_string();
        assert!(told().contains("0 files"), "{}", told());
        let file = folder.path().join("a:b");
        std::fs::write(&file, "x").unwrap();
        assert!(told().contains("':' in a path"), "{}", told());
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        assert!(told().contains("links cannot be sent"), "{}", told());
    }
}
