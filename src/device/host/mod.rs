//! This machine as a runner: packages are received, checked, executed by evalkit itself, and what
//! came of it is journaled. `device-runner/PROTOCOL.md` says how it is talked to.
//!
//! ```text
//! connection ─> reader ─> session ─┬─> store     packages, by hash
//!                  alive <─ wire <─┤
//!                                  └─> jobs ─> journal
//!                                        └─> a job's thread ─> work ─> engine
//! ```
//!
//! A session lives as long as its connection, a job as long as it takes: it goes on without a
//! client, and the next session asks for it.

mod cpu;
mod engine;
mod jobs;
mod journal;
mod machine;
mod serve;
mod session;
mod store;
mod wire;
mod work;

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

pub use self::cpu::Cpu;
pub use self::engine::{Engine, Kind, Shape};
use self::jobs::Jobs;
use self::journal::Journal;
use self::machine::Machine;
pub use self::serve::{serve_listener, serve_stdio};
use self::store::Store;
use crate::device::protocol::token::Token;
use crate::error::Result;

/// What the runner calls itself.
pub const NAME: &str = concat!("evalkit-runner ", env!("CARGO_PKG_VERSION"));

/// What a runner is started with.
#[derive(Debug)]
pub struct Options {
    /// The folder of packages and journal; made where it is missing.
    pub store: PathBuf,
    /// The most bytes that packages may take.
    pub limit_bytes: Option<u64>,
    /// What a client must know.
    pub token: Token,
}

/// A runner: one store, one engine, at most one session and one job at a time.
pub struct Host {
    token: Token,
    root: PathBuf,
    kind: Kind,
    machine: Machine,
    engine: Mutex<Box<dyn Engine>>,
    loaded: Mutex<Option<LoadedModel>>,
    store: Mutex<Store>,
    jobs: Mutex<Jobs>,
    /// A job ended.
    ended: Condvar,
    /// Whether there is a session.
    session: Mutex<bool>,
    /// A session ended.
    left: Condvar,
    /// Whether the process is to end.
    over: Mutex<bool>,
    told: Condvar,
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("store", &self.root).finish_non_exhaustive()
    }
}

/// A package that can be asked.
#[derive(Debug, Clone)]
struct LoadedModel {
    package: String,
    shape: Shape,
}

impl Host {
    /// Opens the store and takes its lock.
    ///
    /// # Errors
    /// Surroundings: another process uses the store, or the disk fails.
    pub fn open(options: Options, engine: Box<dyn Engine>) -> Result<Arc<Host>> {
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
            ended: Condvar::new(),
            session: Mutex::new(false),
            left: Condvar::new(),
            over: Mutex::new(false),
            told: Condvar::new(),
        }))
    }

    /// The name of the loaded package.
    fn loaded_package(&self) -> Option<String> {
        lock(&self.loaded).as_ref().map(|model| model.package.clone())
    }
}

/// Takes a lock, also after a thread that held it panicked: what it guards is whole between
/// statements.
fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
