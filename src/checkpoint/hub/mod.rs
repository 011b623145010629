//! Checkpoints named `hf:owner/name[@revision]`, fetched into the cache of Hugging Face's own tools.
//!
//! This file decides which files a checkpoint needs and pins all of them to one commit. Nothing that
//! a server says is believed before it is checked: names become paths only through the types of
//! `names.rs`, bytes become files only through `download.rs`, and `client.rs` decides who is told the
//! token.

mod address;
mod cache;
mod client;
mod digest;
mod download;
mod exchange;
mod failure;
mod limits;
mod names;
mod server;
mod watch;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use self::cache::{Cache, length};
use self::client::Client;
use self::digest::Digest;
use self::download::Wanted;
use self::failure::{Failure, quoted};
use self::limits::persist;
use self::names::{Commit, FileName, Spec, percent_encoded};
pub use self::server::Hub;
pub use self::watch::{Event, Watch};
use crate::checkpoint::safetensors::{INDEX_NAME as INDEX, read_index};
use crate::error::{At, Error, Exit, Result};

const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];
const OPTIONAL: [&str; 2] = ["generation_config.json", "tokenizer_config.json"];
const WEIGHTS: &str = "model.safetensors";
const MAX_SHARDS: usize = 4096;

/// How much of a checkpoint is fetched.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Extent {
    /// Configuration, tokenizer and weights.
    Whole,
    /// What gives its size: the configuration, and the index of its shards if it has one.
    Outline,
}

impl Hub {
    /// Fetches a checkpoint's configuration, tokenizer and weights, and returns their folder. Files
    /// in the cache are not fetched again; interrupted downloads are continued.
    ///
    /// # Errors
    /// Input errors for a name that is not `hf:owner/name[@revision]` and for a repository that does
    /// not exist; surroundings errors if the repository may not be read, the connection fails, or a
    /// file is not what the server announced; interruption.
    pub fn fetch(&self, spec: &str, watch: Watch<'_>) -> Result<PathBuf> {
        self.fetch_extent(spec, Extent::Whole, watch)
    }

    /// Fetches the files that give a checkpoint's size (its configuration, and the index of its
    /// shards if it has one) without weights, and returns their folder.
    ///
    /// # Errors
    /// As [`Hub::fetch`].
    pub fn fetch_outline(&self, spec: &str, watch: Watch<'_>) -> Result<PathBuf> {
        self.fetch_extent(spec, Extent::Outline, watch)
    }

    fn fetch_extent(&self, spec: &str, extent: Extent, watch: Watch<'_>) -> Result<PathBuf> {
        let spec = Spec::parse(spec)?;
        let fetched = Cache::new(&self.cache, &spec).and_then(|cache| {
            if self.offline {
                return Cached { cache: &cache, spec: &spec }.folder(extent);
            }
            self.fetch_into(&cache, &spec, extent, watch)
        });
        fetched.at(|| spec.text)
    }

    fn fetch_into(
        &self,
        cache: &Cache,
        spec: &Spec<'_>,
        extent: Extent,
        watch: Watch<'_>,
    ) -> Result<PathBuf> {
        let cached = Cached { cache, spec };
        let commit = Commit::new(spec.revision);
        // What a commit holds never changes, so nobody needs to be asked about it.
        if let Some(folder) = commit.as_ref().and_then(|commit| cached.whole(commit, extent)) {
            return Ok(folder);
        }
        let client = Client::new(self)?;
        match Fetch::pin(&client, cache, spec, watch) {
            Ok(fetch) => match extent {
                Extent::Whole => fetch.files(watch),
                Extent::Outline => fetch.outline(watch),
            },
            Err(error) if commit.is_some() && error.exit() == Exit::Surroundings => {
                let Ok(folder) = cached.folder(extent) else { return Err(error) };
                let cause = error.cause();
                watch(Event::Message(&format!(
                    "{cause}; using the files of this commit in the cache"
                )))?;
                Ok(folder)
            }
            Err(error) => Err(error),
        }
    }
}

/// Fetches a checkpoint from the hub that the environment describes; see [`Hub::fetch`].
///
/// # Errors
/// As [`Hub::fetch`].
pub fn fetch(spec: &str, watch: Watch<'_>) -> Result<PathBuf> {
    Hub::from_env()?.fetch(spec, watch)
}

/// Fetches the files that give a checkpoint's size; see [`Hub::fetch_outline`].
///
/// # Errors
/// As [`Hub::fetch`].
pub fn fetch_outline(spec: &str, watch: Watch<'_>) -> Result<PathBuf> {
    Hub::from_env()?.fetch_outline(spec, watch)
}

/// One checkpoint being fetched.
struct Fetch<'a> {
    client: &'a Client,
    cache: &'a Cache,
    repo: &'a str,
    commit: Commit,
    /// The files of the repository at this commit, with their digests if the hub lists them.
    listed: BTreeMap<String, Option<Digest>>,
}

/// What the hub says about a repository.
#[derive(serde::Deserialize)]
struct Repository {
    sha: String,
    siblings: Vec<Sibling>,
}

#[derive(serde::Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(rename = "blobId")]
    blob: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(serde::Deserialize)]
struct Lfs {
    sha256: Option<String>,
}

impl Sibling {
    /// Of the content, not of the pointer that stands for it.
    fn digest(&self) -> Option<Digest> {
        match &self.lfs {
            Some(lfs) => lfs.sha256.as_deref().and_then(Digest::new),
            None => self.blob.as_deref().and_then(Digest::new),
        }
    }
}

impl<'a> Fetch<'a> {
    /// Asks the server for the commit of the revision, and pins all files to it.
    fn pin(
        client: &'a Client,
        cache: &'a Cache,
        spec: &Spec<'a>,
        watch: Watch<'_>,
    ) -> Result<Self> {
        let revision = percent_encoded(spec.revision);
        let path = format!("api/models/{}/revision/{revision}?blobs=true", spec.repo);
        let ask = |watch: Watch<'_>| client.metadata(&path, watch);
        let body = persist(&client.limits, watch, ask)?;
        let found: Repository = serde_json::from_slice(&body).map_err(|cause| {
            let what = "expected what the hub says about a repository, found something else";
            Failure::odd_reply(what).error.because(cause)
        })?;
        let asked = Commit::new(spec.revision);
        let commit = Commit::new(&found.sha)
            .filter(|commit| asked.as_ref().is_none_or(|asked| asked == commit))
            .ok_or_else(|| {
                let expected =
                    if asked.is_some() { spec.revision } else { "40 hexadecimal digits" };
                let found = quoted(&found.sha);
                let what = format!("expected the commit {expected}, found {found}");
                Failure::odd_reply(what).error
            })?;
        if asked.is_none() {
            cache.set_commit(&commit)?;
        }
        let listed = found.siblings.into_iter().map(|file| {
            let digest = file.digest();
            (file.rfilename, digest)
        });
        Ok(Fetch { client, cache, repo: spec.repo, commit, listed: listed.collect() })
    }

    fn outline(&self, watch: Watch<'_>) -> Result<PathBuf> {
        self.file(REQUIRED[0], watch)?;
        if self.listed.contains_key(INDEX) {
            self.file(INDEX, watch)?;
        }
        Ok(self.cache.snapshot(&self.commit))
    }

    fn files(&self, watch: Watch<'_>) -> Result<PathBuf> {
        for name in REQUIRED {
            self.file(name, watch)?;
        }
        for name in OPTIONAL.into_iter().filter(|name| self.listed.contains_key(*name)) {
            self.file(name, watch)?;
        }
        if self.listed.contains_key(WEIGHTS) {
            if self.listed.contains_key(INDEX) {
                let line = format!("the repository has {WEIGHTS} and {INDEX}: the first is used");
                watch(Event::Message(&line))?;
            }
            self.file(WEIGHTS, watch)?;
        } else if self.listed.contains_key(INDEX) {
            for shard in shards(&self.file(INDEX, watch)?)? {
                self.file(&shard, watch)?;
            }
        } else {
            return Err(Error::input(format!("the repository has neither {WEIGHTS} nor {INDEX}"))
                .hint("if it has GGUF files, download one yourself and give its path"));
        }
        Ok(self.cache.snapshot(&self.commit))
    }

    /// Fetches one file, unless the cache has all of it.
    fn file(&self, name: &str, watch: Watch<'_>) -> Result<PathBuf> {
        let name = file_name(name)?;
        let Some(digest) = self.listed.get(name.as_str()) else {
            return Err(Error::input(format!("the repository has no {name}")));
        };
        let (repo, commit, digest) = (self.repo, &self.commit, digest.as_ref());
        let wanted = Wanted { repo, commit, name: &name, digest };
        download::fetch(self.client, self.cache, &wanted, watch).at(|| name.clone())
    }
}

/// What the cache has of a checkpoint.
struct Cached<'a> {
    cache: &'a Cache,
    spec: &'a Spec<'a>,
}

impl Cached<'_> {
    /// The cached folder, if it has all files that are needed.
    fn folder(&self, extent: Extent) -> Result<PathBuf> {
        let commit = match Commit::new(self.spec.revision) {
            Some(commit) => Some(commit),
            None => self.cache.commit()?,
        };
        let folder = commit.map(|commit| self.cache.snapshot(&commit));
        let folder = folder.ok_or_else(|| self.missing(REQUIRED[0]))?;
        match missing_of(&folder, extent)? {
            Some(name) => Err(self.missing(&name)),
            None => Ok(folder),
        }
    }

    /// The folder of a commit, if it has all files that a checkpoint can have.
    fn whole(&self, commit: &Commit, extent: Extent) -> Option<PathBuf> {
        let folder = self.cache.snapshot(commit);
        let has = |name: &&str| length(&folder.join(name)).is_some();
        let others: &[&str] = match extent {
            Extent::Whole => &OPTIONAL,
            Extent::Outline => &[INDEX],
        };
        let is_whole = matches!(missing_of(&folder, extent), Ok(None)) && others.iter().all(has);
        is_whole.then_some(folder)
    }

    fn missing(&self, name: &str) -> Error {
        Error::surroundings(format!("{name} is not in the cache, and downloads are switched off"))
            .at(self.cache.root().display())
            .hint("unset HF_HUB_OFFLINE, or run once with a network connection")
    }
}

/// The first file that a folder lacks.
fn missing_of(folder: &Path, extent: Extent) -> Result<Option<String>> {
    let lacks = |name: &str| length(&folder.join(name)).is_none();
    let required = if extent == Extent::Whole { &REQUIRED[..] } else { &REQUIRED[..1] };
    if let Some(name) = required.iter().find(|name| lacks(name)) {
        return Ok(Some((*name).to_owned()));
    }
    if extent == Extent::Outline || !lacks(WEIGHTS) {
        return Ok(None);
    }
    if lacks(INDEX) {
        return Ok(Some(WEIGHTS.to_owned()));
    }
    Ok(shards(&folder.join(INDEX))?.into_iter().find(|name| lacks(name)))
}

fn file_name(name: &str) -> Result<FileName> {
    FileName::new(name)
        .ok_or_else(|| Error::input(format!("expected a plain file name, found {}", quoted(name))))
}

/// The files that an index names. Only plain names are accepted, since they become paths.
fn shards(index: &Path) -> Result<BTreeSet<String>> {
    let place = || index.display();
    let shards: BTreeSet<String> = read_index(index)?.weight_map.into_values().collect();
    let is_shard = |name: &String| FileName::new(name).is_some() && name.ends_with(".safetensors");
    if let Some(bad) = shards.iter().find(|name| !is_shard(name)) {
        let found = quoted(bad);
        let what = format!("expected plain names of .safetensors files, found {found}");
        return Err(Error::input(what).at(place()));
    }
    if shards.is_empty() || shards.len() > MAX_SHARDS {
        let found = shards.len();
        return Err(
            Error::input(format!("expected 1 to {MAX_SHARDS} files, found {found}")).at(place())
        );
    }
    Ok(shards)
}

#[cfg(test)]
mod tests;
