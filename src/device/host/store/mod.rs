//! The packages that were sent to this runner: received into a folder of their own, checked, renamed
//! into place, and evicted when room is needed, those first that were not used for longest. The store
//! knows manifests and the disk, but neither sessions nor jobs.
//!
//! ```text
//! lock                      locked by the one process that uses the store
//! incoming/<H>/<n>.part     a file that is being received; n is its rank among the sorted paths
//! incoming/<H>/tree/…       complete files, whose hashes were compared
//! packages/<H>/…            complete packages; the folder's time is that of its last use
//! gone/<H>                  packages that are being removed
//! journal.jsonl, jobs/      what was asked and answered
//! loads.jsonl               what was ever loaded
//! ```
//!
//! The path of the store may contain links. Within the store no link is followed, and links are
//! removed.

pub(super) mod disk;
mod packages;
mod partial_package;
mod permissions;
mod receive;
mod transfer;

pub(super) use self::packages::Store;
pub(super) use self::receive::Receiving;
