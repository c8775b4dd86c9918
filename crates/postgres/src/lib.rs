//! Mnemon's store on PostgreSQL 16 and newer, with pgvector for recall by meaning.
//!
//! Start at [`options`] for what can be chosen; the connection side is `connect` (hosts, TLS,
//! pool) and `link` (how every call reaches the database).

pub mod options;

mod announce;
mod archives;
mod breaker;
mod checkpoints;
mod claims;
mod connect;
mod consumers;
mod dead_letters;
mod doctor;
mod error;
mod events;
mod gate;
mod gather;
mod lease;
mod link;
mod locks;
mod memories;
mod migrate;
mod models;
mod partitions;
mod pooler;
mod rls;
mod row;
mod segments;
mod sets;
mod steps;
mod store;
mod target;
mod turns;
mod upkeep;
mod url;
mod workflows;

#[cfg(test)]
mod tests;

pub use migrate::PostgresMigrator;
pub use options::{Options, PoolOptions};
/// What [`PostgresStore::from_pool`] and [`PostgresStore::commit_in`] take.
pub use sqlx::postgres::{PgConnection, PgPool};
pub use store::PostgresStore;
