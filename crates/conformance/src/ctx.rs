//! What a case works with: a store, further handles on the same database, its clock, its rows.

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use mnemon_core::checkpoints::Checkpoints;
use mnemon_core::claims::Claims;
use mnemon_core::dead_letters::DeadLetters;
use mnemon_core::events::Events;
use mnemon_core::locks::Locks;
use mnemon_core::memories::{EmbeddingSets, Memories, ModelSignature};
use mnemon_core::steps::Steps;
use mnemon_core::store::Backend;
use mnemon_core::turns::Turns;
use mnemon_core::upkeep::Upkeep;
use mnemon_core::workflows::Workflows;
use mnemon_core::{Scope, Store};

/// What a case needs of its database before its first handle is opened.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Setup {
    /// Row-level security is on and the store logs in as a role that cannot bypass it. Databases
    /// without it do not run the case; they say so by [`Provider::row_level_security`].
    pub row_level_security: bool,
    /// A model that is registered beforehand, by the schema's owner.
    pub model: Option<ModelSignature>,
}

/// Somewhere databases come from: one entry per kind and version of database.
#[async_trait]
pub trait Provider: Send + Sync {
    /// The first part of its tests' names: `postgres18`.
    fn name(&self) -> &'static str;

    /// Whether it can run cases under row-level security.
    fn row_level_security(&self) -> bool;

    /// A fresh database, as the case needs it.
    async fn database(&self, setup: &Setup) -> Box<dyn Database>;
}

/// One fresh database, dropped with this value.
#[async_trait]
pub trait Database: Send + Sync {
    /// Another handle, as another process would have it.
    async fn open(&self) -> Arc<dyn Store>;

    /// Moves the clock of the database, for every handle, backwards when negative.
    async fn move_clock(&self, by: TimeDelta);

    /// Counts a table's rows behind the store's back, over all tenants. The name is without a
    /// schema and written by a case, never by input.
    async fn rows(&self, table: &str) -> i64;

    /// What no message may show: the password in its URL, where it has one.
    fn secret(&self) -> Option<String> {
        None
    }
}

/// A case's surroundings.
pub struct Ctx {
    store: Arc<dyn Store>,
    database: Box<dyn Database>,
}

impl Ctx {
    /// Opens the first handle on a fresh database.
    pub async fn new(database: Box<dyn Database>) -> Self {
        Self { store: database.open().await, database }
    }

    /// Closes the first handle; the database goes with the value.
    pub async fn close(self) {
        self.store.close().await;
    }

    /// The first handle.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// Another handle on the same database.
    pub async fn another(&self) -> Arc<dyn Store> {
        self.database.open().await
    }

    /// The memories of the first handle.
    pub fn memories(&self) -> &dyn Memories {
        self.store.memories()
    }

    /// The embedding sets of the first handle.
    pub fn sets(&self) -> &dyn EmbeddingSets {
        self.store.embedding_sets()
    }

    /// The events of the first handle.
    pub fn events(&self) -> &dyn Events {
        self.store.events()
    }

    /// The locks of the first handle.
    pub fn locks(&self) -> &dyn Locks {
        self.store.locks()
    }

    /// The checkpoints of the first handle.
    pub fn checkpoints(&self) -> &dyn Checkpoints {
        self.store.checkpoints()
    }

    /// The turns of the first handle.
    pub fn turns(&self) -> &dyn Turns {
        self.store.turns()
    }

    /// The claims of the first handle.
    pub fn claims(&self) -> &dyn Claims {
        self.store.claims()
    }

    /// The workflow runs of the first handle.
    pub fn workflows(&self) -> &dyn Workflows {
        self.store.workflows()
    }

    /// The dead letters of the first handle.
    pub fn dead_letters(&self) -> &dyn DeadLetters {
        self.store.dead_letters()
    }

    /// The steps of the first handle.
    pub fn steps(&self) -> &dyn Steps {
        self.store.steps()
    }

    /// The upkeep of the first handle.
    pub fn upkeep(&self) -> &dyn Upkeep {
        self.store.upkeep()
    }

    /// Moves the database's clock.
    pub async fn move_clock(&self, by: TimeDelta) {
        self.database.move_clock(by).await;
    }

    /// The database's time.
    pub async fn now(&self) -> DateTime<Utc> {
        self.store.health().await.expect("a fresh database answers").now
    }

    /// Rows of a table, over all tenants.
    pub async fn rows(&self, table: &str) -> i64 {
        self.database.rows(table).await
    }

    /// Whether the database is embedded.
    pub fn embedded(&self) -> bool {
        self.store.backend() == Backend::Sqlite
    }

    /// What no message may show.
    pub fn secret(&self) -> Option<String> {
        self.database.secret()
    }
}

/// The scope of most cases.
pub(crate) fn acme() -> Scope {
    Scope::tenant("acme")
}

/// A person of [`acme`].
pub(crate) fn ada() -> Scope {
    acme().user("ada")
}

/// Another person of [`acme`].
pub(crate) fn bob() -> Scope {
    acme().user("bob")
}
