//! The folder of a package: reads its manifest, and checks that the folder has exactly the files
//! that the manifest lists.
//!
//! The manifest is not trusted: its paths may only name what is inside `Data/`, and links are
//! refused.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::error::{At, Error, Result};
use crate::files::{is_finders, read_regular};

/// A larger manifest is refused. It normally has a few items.
const MAX_MANIFEST_BYTES: u64 = 1 << 20;
/// A package with more files is refused. It normally has three.
const MAX_FILES: usize = 1000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct CoremlManifest {
    file_format_version: String,
    item_info_entries: BTreeMap<String, Item>,
    root_model_identifier: String,
}

#[derive(Deserialize)]
struct Item {
    path: String,
}

/// The paths of the parts of a package.
#[derive(Debug)]
pub(super) struct PackageFolder {
    /// The file with the protobuf message of the model.
    pub model: PathBuf,
    /// The weight files, by the names that programs use for them.
    pub weights: BTreeMap<String, PathBuf>,
}

impl PackageFolder {
    /// Reads the manifest of the package at `root` and finds everything that it lists.
    pub fn open(root: &Path) -> Result<Self> {
        if !root.is_dir() {
            return Err(
                Error::input("expected an .mlpackage, which is a folder").at(root.display())
            );
        }
        let files = files(root)?;
        let path = root.join("Manifest.json");
        if !files.contains("Manifest.json") {
            return Err(Error::input("the file is missing").at(path.display()));
        }
        let bytes = read_regular("read", &path, MAX_MANIFEST_BYTES)?;
        let manifest = manifest(&bytes).at(|| path.display().to_string())?;
        let mut listed: BTreeSet<&str> = BTreeSet::from(["Manifest.json"]);
        let mut model = None;
        for (identifier, item) in &manifest.item_info_entries {
            let path = inner(&item.path).at(|| path.display().to_string())?;
            let is_file = files.contains(&path);
            let within = format!("{path}/");
            let found = files.iter().filter(|file| **file == path || file.starts_with(&within));
            listed.extend(found.map(String::as_str));
            // An empty folder may be missing: archives often drop it, and nothing is lost.
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
        Ok(PackageFolder { model: root.join(&model), weights: weights.collect() })
    }
}

fn manifest(bytes: &[u8]) -> Result<CoremlManifest> {
    let manifest: CoremlManifest = serde_json::from_slice(bytes)
        .map_err(|e| Error::input("this is not a valid manifest").because(e))?;
    if !manifest.file_format_version.starts_with("1.") {
        return Err(Error::input(format!(
            "expected fileFormatVersion 1.0.0, found {:?}",
            manifest.file_format_version
        )));
    }
    Ok(manifest)
}

/// Converts a path in the manifest to a path from the package's root.
fn inner(path: &str) -> Result<String> {
    let is_plain = |part: Component| matches!(part, Component::Normal(_));
    let tricks = path.contains('\\') || path.split('/').any(|part| part.is_empty() || part == ".");
    if path.is_empty() || tricks || !Path::new(path).components().all(is_plain) {
        return Err(Error::input(format!("the path {path:?} leads out of the package")));
    }
    Ok(format!("Data/{path}"))
}

/// The paths of all files of the package from its root, with `/` between their components. What the
/// Finder adds is not part of a package.
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
            if is_finders(&entry.file_name()) && kind.is_file() {
                continue;
            }
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
