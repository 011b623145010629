//! Checkpoints named `hf:owner/name[@revision]`, fetched into the Hugging Face cache.
//!
//! The hf-hub crate downloads files and keeps the cache's layout, so that other tools find the same
//! files. This file decides which files a checkpoint needs, pins all of them to one commit, and
//! accepts a file only if it has the length that the server announced.

mod server;

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo, Metadata};
use hf_hub::{Cache, Repo, RepoType};

pub use self::server::Hub;
use crate::checkpoint::safetensors::{INDEX_NAME as INDEX, read_index};
use crate::error::{At, Error, Exit, Result};

/// Called while a file is fetched, with its name, the bytes so far and the bytes in all.
pub type DownloadProgress<'a> = &'a mut dyn FnMut(&str, u64, u64);

const REQUIRED: [&str; 2] = ["config.json", "tokenizer.json"];
const OPTIONAL: [&str; 2] = ["generation_config.json", "tokenizer_config.json"];
const WEIGHTS: &str = "model.safetensors";
const MAX_SHARDS: usize = 4096;

impl Hub {
    /// Fetches a checkpoint's configuration, tokenizer and weights, and returns their folder. Files
    /// in the cache are not fetched again; interrupted downloads are continued.
    ///
    /// # Errors
    /// Input errors for a name that is not `hf:owner/name[@revision]` and for a repository that does
    /// not exist; surroundings errors if the repository may not be read, the connection fails, or a
    /// file does not have the announced length.
    pub fn fetch(&self, spec: &str, progress: DownloadProgress<'_>) -> Result<PathBuf> {
        let spec = Spec::parse(spec)?;
        let mut fetch = Fetch::new(self, &spec).at(|| spec.text)?;
        if self.offline {
            return fetch.cached_folder().at(|| spec.text);
        }
        fetch.pin().and_then(|()| fetch.files(progress)).at(|| spec.text)
    }

    /// Fetches the files that give a checkpoint's size (its configuration, and the index of its
    /// shards if it has one) without weights, and returns their folder.
    ///
    /// # Errors
    /// As [`Hub::fetch`].
    pub fn fetch_outline(&self, spec: &str, progress: DownloadProgress<'_>) -> Result<PathBuf> {
        let spec = Spec::parse(spec)?;
        let mut fetch = Fetch::new(self, &spec).at(|| spec.text)?;
        if self.offline {
            return fetch.cached_outline().at(|| spec.text);
        }
        fetch.pin().and_then(|()| fetch.outline(progress)).at(|| spec.text)
    }
}

/// Fetches a checkpoint from the hub that the environment describes; see [`Hub::fetch`].
///
/// # Errors
/// As [`Hub::fetch`].
pub fn fetch(spec: &str, progress: DownloadProgress<'_>) -> Result<PathBuf> {
    Hub::from_env()?.fetch(spec, progress)
}

/// Fetches the files that give a checkpoint's size; see [`Hub::fetch_outline`].
///
/// # Errors
/// As [`Hub::fetch`].
pub fn fetch_outline(spec: &str, progress: DownloadProgress<'_>) -> Result<PathBuf> {
    Hub::from_env()?.fetch_outline(spec, progress)
}

/// The parts of `hf:owner/name[@revision]`.
struct Spec<'a> {
    text: &'a str,
    repo: &'a str,
    revision: &'a str,
}

impl<'a> Spec<'a> {
    fn parse(text: &'a str) -> Result<Self> {
        let rest = text.strip_prefix("hf:").unwrap_or_default();
        let (repo, revision) = rest.split_once('@').unwrap_or((rest, "main"));
        let plain = |part: &str| is_plain(part) && part.len() <= 96;
        let owner_and_name = repo.split_once('/').is_some_and(|(o, n)| plain(o) && plain(n));
        let revision_is_plain = revision.len() <= 256 && revision.split('/').all(is_plain);
        if owner_and_name && revision_is_plain {
            return Ok(Spec { text, repo, revision });
        }
        Err(Error::input(format!("expected hf:owner/name or hf:owner/name@revision, found {text}"))
            .hint("for example hf:HuggingFaceTB/SmolLM2-135M-Instruct@main"))
    }
}

/// Whether this is one path component of letters, digits, `-`, `_` and `.` that does not begin with
/// a dot.
fn is_plain(part: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    !part.is_empty() && !part.starts_with('.') && part.chars().all(allowed)
}

/// One checkpoint being fetched.
struct Fetch {
    api: Api,
    cache: Cache,
    id: String,
    revision: String,
    repo: Repo,
    /// Names of all files in the repository at the pinned commit.
    listed: BTreeSet<String>,
}

impl Fetch {
    fn new(hub: &Hub, spec: &Spec<'_>) -> Result<Self> {
        // The crate can only link absolute paths.
        let root = std::path::absolute(&hub.cache)
            .map_err(|e| Error::io("find the cache", &hub.cache, e))?;
        let cache = Cache::new(root);
        let api = ApiBuilder::from_cache(cache.clone())
            .with_endpoint(hub.endpoint.trim_end_matches('/').to_owned())
            .with_token(hub.token.clone())
            .with_progress(false)
            .with_user_agent(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
            .build()
            .map_err(|e| Error::surroundings("cannot set up the connection").because(e))?;
        let (id, revision) = (spec.repo.to_owned(), spec.revision.to_owned());
        let repo = Repo::with_revision(id.clone(), RepoType::Model, revision.clone());
        Ok(Fetch { api, cache, id, revision, repo, listed: BTreeSet::new() })
    }

    /// Asks the server for the commit of the revision, and pins all files to it.
    fn pin(&mut self) -> Result<()> {
        let info =
            self.api.repo(self.repo.clone()).info().map_err(|e| refused(e, "the repository"))?;
        if !is_plain(&info.sha) {
            return Err(Error::surroundings(format!(
                "expected a commit from the server, found {:?}",
                info.sha
            )));
        }
        self.listed = info.siblings.into_iter().map(|file| file.rfilename).collect();
        self.cache
            .repo(self.repo.clone())
            .create_ref(&info.sha)
            .map_err(|e| Error::io("store the revision", self.cache.path(), e))?;
        self.repo = Repo::with_revision(self.id.clone(), RepoType::Model, info.sha);
        Ok(())
    }

    fn outline(&self, progress: DownloadProgress<'_>) -> Result<PathBuf> {
        let config = self.file(REQUIRED[0], progress)?;
        if self.listed.contains(INDEX) {
            self.file(INDEX, progress)?;
        }
        folder_of(&config)
    }

    fn files(&self, progress: DownloadProgress<'_>) -> Result<PathBuf> {
        for name in REQUIRED {
            self.file(name, progress)?;
        }
        for name in OPTIONAL.into_iter().filter(|name| self.listed.contains(*name)) {
            self.file(name, progress)?;
        }
        let weights = if self.listed.contains(WEIGHTS) {
            self.file(WEIGHTS, progress)?
        } else if self.listed.contains(INDEX) {
            let index = self.file(INDEX, progress)?;
            for shard in shards(&index)? {
                self.file(&shard, progress)?;
            }
            index
        } else {
            return Err(Error::input(format!("the repository has neither {WEIGHTS} nor {INDEX}"))
                .hint("if it has GGUF files, download one yourself and give its path"));
        };
        folder_of(&weights)
    }

    /// Fetches one file, unless the cache has all of it.
    fn file(&self, name: &str, progress: DownloadProgress<'_>) -> Result<PathBuf> {
        if !self.listed.contains(name) {
            return Err(Error::input(format!("the repository has no {name}")));
        }
        self.checked_file(&self.api.repo(self.repo.clone()), name, progress).at(|| name.to_owned())
    }

    fn checked_file(
        &self,
        repo: &ApiRepo,
        name: &str,
        progress: DownloadProgress<'_>,
    ) -> Result<PathBuf> {
        let url = repo.url(name);
        let announced = self.api.metadata(&url).map_err(|e| refused(e, "the file"))?;
        self.refuse_paths(&announced)?;
        let size = announced.size() as u64;
        let cached = self.cache.repo(self.repo.clone());
        let expected = cached.pointer_path(self.repo.revision()).join(name);
        if length(&expected) == Some(size) {
            return Ok(expected);
        }
        let blob = cached.blob_path(announced.etag());
        // A damaged cache may have a dangling link, or a partial file that is too long.
        remove(&expected)?;
        let part = blob.with_extension("part");
        if length(&part).is_some_and(|len| len >= size) {
            remove(&part)?;
        }
        let bar = Bar { name, done: 0, total: size, tell: progress };
        let fetched = repo.download_with_progress(name, bar).map_err(|e| refused(e, "the file"))?;
        let found = length(&fetched).unwrap_or(0);
        if found == size {
            return Ok(fetched);
        }
        remove(&fetched)?;
        remove(&blob)?;
        Err(Error::surroundings(format!("expected {size} bytes, received {found}"))
            .hint("run the same command again"))
    }

    /// Fails (surroundings) if the server's answer would lead out of the cache, since the crate
    /// makes paths from it.
    fn refuse_paths(&self, announced: &Metadata) -> Result<()> {
        let etag = announced.etag();
        let inside = Path::new(etag).components().all(|part| matches!(part, Component::Normal(_)));
        if announced.commit_hash() != self.repo.revision() || !inside || etag.is_empty() {
            return Err(Error::surroundings(format!(
                "expected commit {} and a plain etag, found commit {:?} and etag {etag:?}",
                self.repo.revision(),
                announced.commit_hash()
            ))
            .hint("the server is not a Hugging Face hub, or the repository has just changed"));
        }
        Ok(())
    }

    /// The cached folder with the configuration.
    fn cached_outline(&self) -> Result<PathBuf> {
        match self.cache.repo(self.repo.clone()).get(REQUIRED[0]) {
            Some(config) => folder_of(&config),
            None => Err(self.not_cached(REQUIRED[0])),
        }
    }

    fn not_cached(&self, name: &str) -> Error {
        Error::surroundings(format!("{name} is not in the cache, and downloads are switched off"))
            .at(self.cache.path().display())
            .hint("unset HF_HUB_OFFLINE, or run once with a network connection")
    }

    /// The cached folder, if it has all files of a checkpoint.
    fn cached_folder(&self) -> Result<PathBuf> {
        let cached = self.cache.repo(self.repo.clone());
        let folder = match cached.get(REQUIRED[0]) {
            Some(config) => folder_of(&config)?,
            None => cached.pointer_path(&self.revision),
        };
        let has = |name: &str| length(&folder.join(name)).is_some();
        if let Some(name) = REQUIRED.into_iter().find(|name| !has(name)) {
            return Err(self.not_cached(name));
        }
        if has(WEIGHTS) {
            return Ok(folder);
        }
        if !has(INDEX) {
            return Err(self.not_cached(WEIGHTS));
        }
        match shards(&folder.join(INDEX))?.into_iter().find(|name| !has(name)) {
            Some(name) => Err(self.not_cached(&name)),
            None => Ok(folder),
        }
    }
}

fn folder_of(file: &Path) -> Result<PathBuf> {
    file.parent()
        .map(Path::to_path_buf)
        .ok_or_else(|| Error::bug(format!("{} has no folder", file.display())))
}

/// The files that an index names. Only plain names are accepted, since they become paths.
fn shards(index: &Path) -> Result<BTreeSet<String>> {
    let place = || index.display();
    let shards: BTreeSet<String> = read_index(index)?.weight_map.into_values().collect();
    if let Some(bad) = shards.iter().find(|s| !is_plain(s) || !s.ends_with(".safetensors")) {
        return Err(Error::input(format!(
            "expected plain names of .safetensors files, found {bad:?}"
        ))
        .at(place()));
    }
    if shards.is_empty() || shards.len() > MAX_SHARDS {
        let found = shards.len();
        return Err(
            Error::input(format!("expected 1 to {MAX_SHARDS} files, found {found}")).at(place())
        );
    }
    Ok(shards)
}

fn length(path: &Path) -> Option<u64> {
    std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file).map(|meta| meta.len())
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
        _ => Ok(()),
    }
}

/// The error for a failed request, by the server's status.
fn refused(error: ApiError, what: &str) -> Error {
    let status = match &error {
        ApiError::RequestError(request) => match **request {
            ureq::Error::StatusCode(status) => Some(status),
            _ => None,
        },
        _ => None,
    };
    let (exit, meaning, hint) = match status {
        Some(404) => (
            Exit::Input,
            "there is no such repository, revision or file",
            "check the spelling of hf:owner/name@revision",
        ),
        Some(401 | 403) => (
            Exit::Surroundings,
            "the repository does not exist, is private, or requires you to accept a licence",
            "accept the licence on the repository's page, then set HF_TOKEN to a token that may read it",
        ),
        _ => (
            Exit::Surroundings,
            "the connection failed",
            "run the same command again: it continues where it stopped; HF_HUB_OFFLINE=1 uses only the cache",
        ),
    };
    Error::new(exit, format!("cannot fetch {what}: {meaning}")).because(error).hint(hint)
}

struct Bar<'a, 'b> {
    name: &'a str,
    done: u64,
    total: u64,
    tell: &'a mut (dyn FnMut(&str, u64, u64) + 'b),
}

impl hf_hub::api::Progress for Bar<'_, '_> {
    fn init(&mut self, size: usize, _filename: &str) {
        (self.done, self.total) = (0, size as u64);
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        (self.tell)(self.name, self.done, self.total);
    }

    fn finish(&mut self) {}
}

#[cfg(test)]
mod tests;
