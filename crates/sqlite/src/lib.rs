//! Mnemon's store in one embedded SQLite file: one writer thread that merges waiting writes into
//! one durable commit, and reader threads that never wait for it.
//!
//! Every operation is a plain function over a connection; a trait call is one hop to a thread
//! that owns one. [`SqliteStore`] implements `mnemon_core::Store`, [`SqliteMigrator`] its
//! migrations.

mod archives;
mod checkpoints;
mod claims;
mod consumers;
mod dead_letters;
mod doctor;
mod error;
mod events;
#[cfg(test)]
mod kills;
mod locks;
mod memories;
mod migrate;
mod models;
mod moves;
mod open;
mod options;
mod row;
mod sets;
mod sql;
mod steps;
mod store;
mod threads;
mod turns;
mod upkeep;
mod workflows;

pub use migrate::SqliteMigrator;
pub use options::{Clock, Location, Options, Synchronous};
pub use store::SqliteStore;
