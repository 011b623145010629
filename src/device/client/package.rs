//! A package on this machine: a folder, and the hashes of its files.

use std::path::{Path, PathBuf};

use rayon::prelude::*;
use sha2::{Digest, Sha256};

use crate::device::protocol::manifest::{MAX_FILES, Manifest, ManifestFile, check_path};
use crate::error::{Error, Result};
use crate::files::{is_finders, open_regular};
use crate::units::hex;

/// How many bytes are hashed at a time.
const BLOCK_BYTES: usize = 1 << 20;

/// A folder that can be sent to runners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// The folder.
    pub folder: PathBuf,
    /// The files in it.
    pub manifest: Manifest,
    /// The name by which every runner knows the package.
    pub name: String,
}

impl Package {
    /// Reads and hashes every file of the folder.
    ///
    /// # Errors
    /// Input if the folder is empty, or holds links or names that the protocol does not allow.
    pub fn open(folder: &Path) -> Result<Package> {
        let manifest = manifest_of(folder)?;
        let name = manifest.package();
        Ok(Package { folder: folder.to_owned(), manifest, name })
    }
}

/// Lists and hashes the files of a folder, sorted by path.
///
/// # Errors
/// Input if the folder is empty, or holds links or names that the protocol does not allow.
pub fn manifest_of(folder: &Path) -> Result<Manifest> {
    let mut paths = Vec::new();
    walk(folder, "", &mut paths)?;
    paths.sort();
    let files: Result<Vec<ManifestFile>> =
        paths.par_iter().map(|path| hashed(folder, path)).collect();
    let manifest = Manifest { files: files? };
    manifest.check().map_err(|refusal| Error::input(refusal.message).at(folder.display()))?;
    Ok(manifest)
}

fn walk(folder: &Path, below: &str, paths: &mut Vec<String>) -> Result<()> {
    let failed = |error| Error::io("read the folder", folder, error);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let refused = |what: String| Err(Error::input(what).at(entry.path().display()));
        let kind = entry.file_type().map_err(failed)?;
        let name = entry.file_name();
        if is_finders(&name) && kind.is_file() {
            continue;
        }
        let Some(name) = name.to_str() else {
            return refused("a file whose name is not UTF-8 cannot be sent".into());
        };
        let path = if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") };
        if let Err(what) = check_path(&path) {
            return refused(what);
        }
        if kind.is_dir() {
            walk(&entry.path(), &path, paths)?;
        } else if kind.is_file() {
            paths.push(path);
        } else {
            return Err(Error::input(
                "this is neither a file nor a folder, and links cannot be sent",
            )
            .at(entry.path().display())
            .hint("replace the link with a copy of its target"));
        }
        if paths.len() > MAX_FILES {
            return Err(Error::input(format!("expected at most {MAX_FILES} files, found more"))
                .at(folder.display()));
        }
    }
    Ok(())
}

fn hashed(folder: &Path, path: &str) -> Result<ManifestFile> {
    let place = folder.join(path);
    let failed = |error| Error::io("read", &place, error);
    let (mut file, _) = open_regular("read", &place)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; BLOCK_BYTES];
    let mut size_bytes = 0;
    loop {
        let count = std::io::Read::read(&mut file, &mut block).map_err(failed)?;
        if count == 0 {
            let sha256 = hex(&hash.finalize());
            return Ok(ManifestFile { path: path.to_owned(), size_bytes, sha256 });
        }
        hash.update(&block[..count]);
        size_bytes += count as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_its_files_sorted_and_hashed_without_those_of_finder() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("a")).unwrap();
        let finders = [(".DS_Store", "x"), ("a/._b", "x"), ("Icon\r", ""), (".localized", "")];
        for (name, text) in
            [("model.json", "{}"), ("a/b", ""), ("Z", "1")].into_iter().chain(finders)
        {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let package = Package::open(folder.path()).unwrap();
        let paths: Vec<&str> = package.manifest.files.iter().map(|f| f.path.as_str()).collect();
        assert_eq!(paths, ["Z", "a/b", "model.json"]);
        let object = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
        assert_eq!(package.manifest.files[2].sha256, object);
        assert_eq!(package.name, package.manifest.package());
    }

    #[test]
    fn links_bad_names_and_an_empty_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = || manifest_of(folder.path()).unwrap_err().to_string();
        assert!(error().contains("found 0"), "{}", error());
        let file = folder.path().join("a:b");
        std::fs::write(&file, "x").unwrap();
        assert!(error().contains("':' is not allowed in a path"), "{}", error());
        std::fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", folder.path().join("link")).unwrap();
        assert!(error().contains("links cannot be sent"), "{}", error());
    }
}
