//! The folder of a package: its manifest, and that it holds what the manifest lists and no more.
//!
//! A path in a manifest comes from strangers: it may name only what lies within `Data/`, and no
//! link leads out of the package.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::error::{At, Error, Result};

/// A manifest of a few items is well below this.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// Files that a package may have; Core ML's own have three.
const MAX_FILES: usize = 1000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    file_format_version: String,
    item_info_entries: BTreeMap<String, Item>,
    root_model_identifier: String,
}

#[derive(Deserialize)]
struct Item {
    path: String,
}

/// Where the parts of a package are.
#[derive(Debug)]
pub(super) struct Folder {
    /// The protobuf of the model.
    pub model: PathBuf,
    /// Weight files by the name that programs call them.
    pub weights: BTreeMap<String, PathBuf>,
}

impl Folder {
    /// Reads the manifest of the package at `root` and finds everything it lists.
    pub fn open(root: &Path) -> Result<Self> {
        if !root.is_dir() {
            return Err(Error::input("expected the folder of an .mlpackage").at(root.display()));
        }
        let files = files(root)?;
        let path = root.join("Manifest.json");
        let manifest = manifest(&path, &files).at(|| path.display().to_string())?;
        let mut listed: BTreeSet<&str> = BTreeSet::from(["Manifest.json"]);
        let mut model = None;
        for (identifier, item) in &manifest.item_info_entries {
            let path = inner(&item.path).at(|| path.display().to_string())?;
            let is_file = files.contains(&path);
            let within = format!("{path}/");
            let found = files.iter().filter(|file| **file == path || file.starts_with(&within));
            listed.extend(found.map(String::as_str));
            // A folder without files gets lost in archives, and has nothing to miss.
            let is_folder = Path::new(&path).extension().is_none();
            if !is_file && !is_folder {
                return Err(Error::input(format!("the manifest lists `{path}`, which is missing"))
                    .at(root.display()));
            }
            if *identifier == manifest.root_model_identifier && is_file {
                model = Some(path);
            }
        }
        if let Some(extra) = files.iter().find(|file| !listed.contains(file.as_str())) {
            return Err(
                Error::input(format!("`{extra}` is not listed in the manifest")).at(root.display())
            );
        }
        let model = model.ok_or_else(|| {
            Error::input("rootModelIdentifier names no file of the package").at(path.display())
        })?;
        let parent = model.rsplit_once('/').map_or("", |(parent, _)| parent);
        let prefix = format!("{parent}/");
        let weights = files.iter().filter(|file| **file != model).filter_map(|file| {
            let name = file.strip_prefix(&prefix)?;
            Some((format!("@model_path/{name}"), root.join(file)))
        });
        Ok(Folder { model: root.join(&model), weights: weights.collect() })
    }
}

fn manifest(path: &Path, files: &BTreeSet<String>) -> Result<Manifest> {
    if !files.contains("Manifest.json") {
        return Err(Error::input("the file is missing"));
    }
    let size = fs::metadata(path).map_err(|e| Error::io("examine", path, e))?.len();
    if size > MAX_MANIFEST_BYTES {
        return Err(Error::input(format!(
            "expected at most {MAX_MANIFEST_BYTES} bytes, found {size}"
        )));
    }
    let bytes = fs::read(path).map_err(|e| Error::io("read", path, e))?;
    let manifest: Manifest = serde_json::from_slice(&bytes)
        .map_err(|e| Error::input("this is no manifest").because(e))?;
    if !manifest.file_format_version.starts_with("1.") {
        return Err(Error::input(format!(
            "expected fileFormatVersion 1.0.0, found {:?}",
            manifest.file_format_version
        )));
    }
    Ok(manifest)
}

/// The path from the package's root of what the manifest calls `path`.
fn inner(path: &str) -> Result<String> {
    let is_plain = |part: Component| matches!(part, Component::Normal(_));
    let tricks = path.contains('\\') || path.split('/').any(|part| part.is_empty() || part == ".");
    if path.is_empty() || tricks || !Path::new(path).components().all(is_plain) {
        return Err(Error::input(format!("the path {path:?} leads out of the package")));
    }
    Ok(format!("Data/{path}"))
}

/// Every file of the package, as a path with `/` from its root.
fn files(root: &Path) -> Result<BTreeSet<String>> {
    let mut open = vec![String::new()];
    let mut files = BTreeSet::new();
    while let Some(folder) = open.pop() {
        let path = root.join(&folder);
        let entries = fs::read_dir(&path).map_err(|e| Error::io("list", &path, e))?;
        for entry in entries {
            let entry = entry.map_err(|e| Error::io("list", &path, e))?;
            let kind = entry.file_type().map_err(|e| Error::io("examine", &path, e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let name = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            if kind.is_dir() {
                open.push(name);
            } else if kind.is_file() {
                files.insert(name);
            } else {
                return Err(Error::input(format!("`{name}` is a link or a device"))
                    .at(root.display())
                    .hint("copy the package with its links followed (cp -RL)"));
            }
            if files.len() + open.len() > MAX_FILES {
                return Err(
                    Error::input(format!("it has more than {MAX_FILES} files")).at(root.display())
                );
            }
        }
    }
    Ok(files)
}
