//! The schema's history: numbered steps up and down, the same questions for both databases.
//!
//! A binary refuses a schema only when its own version (the newest migration it knows) is below
//! the schema's `min_binary`, which a contracting migration raises: expand first, contract later.

use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::error::Result;

/// What opening a store does about an old schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MigrateMode {
    /// Brings it up to date; safe for many processes starting at once.
    #[default]
    Auto,
    /// Refuses it with [`crate::Error::Setup`]; for roles that may not change the schema.
    Verify,
}

/// One step of the schema's history.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Migration {
    /// Its number, from 1.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// Whether the database has it.
    pub applied: bool,
}

/// How a schema stands against this binary.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SchemaStatus {
    /// The newest step the database has; 0 for an empty one.
    pub current: i64,
    /// The newest step this binary knows.
    pub latest: i64,
    /// The oldest binary the schema admits.
    pub min_binary: i64,
    /// Every step known to either, oldest first.
    pub migrations: Vec<Migration>,
    /// Whether row-level security is on; `None` where the database has none.
    pub rls: Option<bool>,
}

/// Changes a schema; opened beside the store, because a store refuses a schema that needs it.
#[async_trait]
pub trait Migrations: Send + Sync {
    /// How the schema stands.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Unavailable`] when the database does not answer.
    async fn status(&self) -> Result<SchemaStatus>;

    /// Applies what is pending, one transaction a step; answers the steps applied.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Setup`] when the role may not, or the schema is newer than this binary
    /// admits.
    async fn up(&self) -> Result<Vec<Migration>>;

    /// Takes steps back until the schema stands at `to` (0: empty); answers the steps undone.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] when the schema is older than `to`.
    async fn down(&self, to: i64) -> Result<Vec<Migration>>;

    /// Accepts the schema or says why not, changing nothing.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Setup`] naming both versions and the command that helps.
    async fn verify(&self) -> Result<()>;

    /// Every statement [`Migrations::up`] would run, grants included, as one script.
    ///
    /// # Errors
    ///
    /// As [`Migrations::status`].
    async fn script(&self) -> Result<String>;

    /// Switches row-level security on or off for every table.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Setup`] where the database has none.
    async fn rls(&self, on: bool) -> Result<()>;
}
