//! The PostgreSQL store: opened once, shared by everybody.

use std::sync::{Arc, RwLock};
use std::time::Instant;

use async_trait::async_trait;
use mnemon_core::checkpoints::Checkpoints;
use mnemon_core::checkpoints::seal::Sealing;
use mnemon_core::claims::{Claims, Rules};
use mnemon_core::consumers::Consumers;
use mnemon_core::dead_letters::DeadLetters;
use mnemon_core::events::{Archives, Events};
use mnemon_core::locks::Locks;
use mnemon_core::memories::text::Known;
use mnemon_core::memories::{EmbeddingSets, Memories};
use mnemon_core::migrations::Migrations as _;
use mnemon_core::steps::Steps;
use mnemon_core::store::{Backend, Finding, StoreHealth};
use mnemon_core::turns::{TurnDefaults, Turns};
use mnemon_core::upkeep::Upkeep;
use mnemon_core::workflows::Workflows;
use mnemon_core::{Error, Result, Store};
use sqlx::postgres::PgPool;
use sqlx::{query, query_scalar};

use crate::announce::Moves;
use crate::checkpoints::Heads;
use crate::claims::together::Together;
use crate::events::epoch;
use crate::link::{Call, Link, Retry, work};
use crate::memories::together::Together as Gathered;
use crate::migrate::PostgresMigrator;
use crate::models::KnownSets;
use crate::options::{Options, PoolOptions};
use crate::partitions;
use crate::segments::Pressure;
use crate::target::Target;

/// A durable store on PostgreSQL.
pub struct PostgresStore {
    pub(crate) link: Link,
    pub(crate) moves: Arc<Moves>,
    /// Where statements go that run in no transaction: past any pooler, as the owner.
    pub(crate) ddl: Target,
    pub(crate) turns: TurnDefaults,
    /// How claims are decided.
    pub(crate) rules: RwLock<Rules>,
    /// Claims that are written together.
    pub(crate) together: Arc<Together>,
    /// The keys of checkpoints.
    pub(crate) sealing: RwLock<Sealing>,
    /// What was written to threads last.
    pub(crate) heads: Heads,
    /// What is known of the language of words.
    pub(crate) known: Arc<Known>,
    /// Memories that are written together.
    pub(crate) gathered: Arc<Gathered>,
    /// What is known of the embedding sets.
    pub(crate) sets: Arc<KnownSets>,
    /// What slows writers of vectors down.
    pub(crate) pressure: Pressure,
}

impl PostgresStore {
    /// Opens the database of these options: brings its schema up to date or verifies it, and
    /// keeps a pool of connections.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for options that cannot be read; [`Error::Unavailable`] when no server
    /// answers; [`Error::Setup`] when the schema or the role does not fit.
    pub async fn open(options: &Options) -> Result<Self> {
        PostgresMigrator::connect(options).await?.open(options.migrate).await?;
        let link = Link::open(options).await?;
        let target = match &options.direct_url {
            Some(url) => Some(Target::parse("direct_url", url)?),
            None if link.is_pooled() => None,
            None => Some(Target::parse("url", &options.url)?),
        };
        let ddl = match (&options.maintenance_url, &options.direct_url) {
            (Some(url), _) => Target::parse("maintenance_url", url)?,
            (None, Some(url)) => Target::parse("direct_url", url)?,
            (None, None) => Target::parse("url", &options.url)?,
        };
        Self::over(link, target, ddl).await
    }

    /// Takes a pool of the caller's. Its schema is verified, not changed: the pool says nothing
    /// about who may.
    ///
    /// # Errors
    ///
    /// As [`PostgresStore::open`].
    pub async fn from_pool(pool: PgPool) -> Result<Self> {
        PostgresMigrator::of_pool(&pool).verify().await?;
        let target = Target::of_pool(&pool);
        let link = Link::over(pool, PoolOptions::default()).await?;
        let ddl = target.clone();
        let target = (!link.is_pooled()).then_some(target);
        Self::over(link, target, ddl).await
    }

    /// The same store with other defaults for turns.
    #[must_use]
    pub fn with_turns(mut self, defaults: TurnDefaults) -> Self {
        self.turns = defaults;
        self
    }

    async fn over(link: Link, listen: Option<Target>, ddl: Target) -> Result<Self> {
        let call = Call { doing: "opening the store", tenant: None, retry: Retry::Idempotent };
        let rls = link
            .run(call, |conn| {
                work(async move {
                    Ok(query_scalar!("select rls from mnemon.meta").fetch_one(conn).await?)
                })
            })
            .await?;
        link.set_rls(rls);
        epoch::settle(&link).await?;
        let moves = Moves::new(link.clone(), listen);
        let turns = TurnDefaults::default();
        let (rules, sealing) = (RwLock::new(Rules::default()), RwLock::default());
        let heads = Heads::default();
        let (together, pressure) = (Arc::default(), Pressure::default());
        let (known, sets, gathered) = (Arc::default(), Arc::default(), Arc::default());
        let store = Self {
            link,
            moves,
            ddl,
            turns,
            rules,
            together,
            sealing,
            heads,
            known,
            gathered,
            sets,
            pressure,
        };
        store.make_partitions().await?;
        Ok(store)
    }

    /// Makes the partitions that an installation left alone for months lacks. A role that may not
    /// opens all the same: writing an event, and `doctor`, say what is missing.
    async fn make_partitions(&self) -> Result<()> {
        let call = Call { doing: "making partitions", tenant: None, retry: Retry::Idempotent };
        let missing = self
            .link
            .run(call, |conn| work(async move { partitions::missing(conn).await }))
            .await?;
        if missing.is_empty() {
            return Ok(());
        }
        let made = self
            .link
            .maintenance()
            .run(call, |conn| work(async move { partitions::ensure(conn).await }))
            .await;
        match made {
            Err(error @ Error::Setup { .. }) => {
                tracing::warn!(%error, "partitions of the event log are missing");
                Ok(())
            }
            made => made.map(drop),
        }
    }
}

#[async_trait]
impl Store for PostgresStore {
    fn backend(&self) -> Backend {
        Backend::Postgres
    }

    fn memories(&self) -> &dyn Memories {
        self
    }

    fn embedding_sets(&self) -> &dyn EmbeddingSets {
        self
    }

    fn events(&self) -> &dyn Events {
        self
    }

    fn archives(&self) -> &dyn Archives {
        self
    }

    fn consumers(&self) -> &dyn Consumers {
        self
    }

    fn locks(&self) -> &dyn Locks {
        self
    }

    fn checkpoints(&self) -> &dyn Checkpoints {
        self
    }

    fn turns(&self) -> &dyn Turns {
        self
    }

    fn claims(&self) -> &dyn Claims {
        self
    }

    fn workflows(&self) -> &dyn Workflows {
        self
    }

    fn dead_letters(&self) -> &dyn DeadLetters {
        self
    }

    fn steps(&self) -> &dyn Steps {
        self
    }

    fn upkeep(&self) -> &dyn Upkeep {
        self
    }

    async fn health(&self) -> Result<StoreHealth> {
        let call = Call { doing: "asking for health", tenant: None, retry: Retry::Idempotent };
        let since = Instant::now();
        let row = self
            .link
            .run(call, |conn| {
                work(async move {
                    Ok(query!(
                        r#"select current_setting('server_version') as "version!",
                                  schema_version, mnemon.now() as "now!" from mnemon.meta"#
                    )
                    .fetch_one(conn)
                    .await?)
                })
            })
            .await?;
        let (connections, idle, waiting, breaker) = self.link.health_counts();
        Ok(StoreHealth {
            backend: Backend::Postgres,
            server_version: row.version,
            schema_version: i64::from(row.schema_version),
            latency_us: u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX),
            now: row.now,
            connections,
            idle,
            waiting,
            breaker: breaker.to_owned(),
        })
    }

    async fn doctor(&self) -> Result<Vec<Finding>> {
        crate::doctor::doctor(&self.link).await
    }

    async fn close(&self) {
        self.moves.close();
        self.link.close().await;
    }
}
