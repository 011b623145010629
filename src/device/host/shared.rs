//! What the sessions and jobs of a runner share.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};

use super::engine::{Engine, EngineKind, ModelShape};
use super::jobs::Jobs;
use super::journal::Journal;
use super::locks::lock;
use super::machine::Machine;
use super::store::Store;
use crate::device::protocol::token::Token;
use crate::error::Result;

/// What a runner is started with.
#[derive(Debug)]
pub struct HostOptions {
    /// The folder of packages and journal; created if it does not exist.
    pub store: PathBuf,
    /// The most bytes that packages may take [default: 32 GB or half of the disk, and one package that is
    /// larger].
    pub limit_bytes: Option<u64>,
    /// The token that a client must know.
    pub token: Token,
}

/// A runner: one store, one engine, at most one session and one job at a time.
pub struct Host {
    pub(super) token: Token,
    pub(super) root: PathBuf,
    pub(super) kind: EngineKind,
    pub(super) machine: Machine,
    pub(super) engine: Mutex<Box<dyn Engine>>,
    pub(super) loaded: Mutex<Option<LoadedModel>>,
    pub(super) store: Mutex<Store>,
    pub(super) jobs: Mutex<Jobs>,
    /// Notified when a job has ended.
    pub(super) job_ended: Condvar,
    /// Whether there is a session.
    pub(super) session: Mutex<bool>,
    /// Notified when a session has ended.
    pub(super) session_ended: Condvar,
    /// Whether a client has asked the runner to exit.
    pub(super) exiting: Mutex<bool>,
    /// Notified when a client has asked the runner to exit.
    pub(super) exit_asked: Condvar,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("store", &self.root).finish_non_exhaustive()
    }
}

/// The package that is loaded.
#[derive(Debug, Clone)]
pub(super) struct LoadedModel {
    pub package: String,
    pub shape: ModelShape,
}

impl Host {
    /// Opens the store and locks it.
    ///
    /// # Errors
    /// Surroundings if another process uses the store, or if the disk fails; input if the folder is not
    /// the runner's alone.
    pub fn open(options: HostOptions, engine: Box<dyn Engine>) -> Result<Arc<Host>> {
        let store = Store::open(&options.store, options.limit_bytes)?;
        let journal = Journal::open(store.root())?;
        Ok(Arc::new(Host {
            token: options.token,
            root: store.root().to_owned(),
            kind: engine.kind(),
            machine: Machine::new(),
            engine: Mutex::new(engine),
            loaded: Mutex::new(None),
            store: Mutex::new(store),
            jobs: Mutex::new(Jobs::new(journal)),
            job_ended: Condvar::new(),
            session: Mutex::new(false),
            session_ended: Condvar::new(),
            exiting: Mutex::new(false),
            exit_asked: Condvar::new(),
        }))
    }

    /// The name of the loaded package, if one is loaded.
    pub(super) fn loaded_package(&self) -> Option<String> {
        lock(&self.loaded).as_ref().map(|model| model.package.clone())
    }
}
