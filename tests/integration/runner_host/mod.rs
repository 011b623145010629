//! `evalkit runner` as a process of its own, driven over its connection: what it does, and every
//! way in which a client, a file or the process itself can fail it.

mod client;
mod faults;
mod jobs;
mod kills;
mod sessions;
mod transcripts;
mod transfers;
