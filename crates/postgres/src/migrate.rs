//! The schema's history on PostgreSQL: sqlx's migrator under a lock of ours, safe for any number
//! of processes starting at once.
//!
//! sqlx's own lock is a session lock, which a pooler breaks and which a killed client can leave
//! behind; ours is a transaction's, held on a second connection. It is polled, never waited for:
//! a waiting statement keeps a snapshot, and an index that is built concurrently waits for those.

mod failures;
mod plan;
mod script;

use std::borrow::Cow;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use chrono::Utc;
use futures_util::future::BoxFuture;
use mnemon_core::migrations::{MigrateMode, Migration, Migrations, SchemaStatus};
use mnemon_core::{Error, Result, limits};
use sqlx::migrate::{Migrate as _, Migrator};
use sqlx::postgres::{PgConnection, PgPool};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, query, query_as, query_scalar};

use self::failures::{failed, fault, has_code, stopped};
use crate::error::Fault;
use crate::options::Options;
use crate::target::Target;
use crate::{partitions, rls};

/// The steps this binary knows.
static MIGRATOR: Migrator = sqlx::migrate!();

/// The advisory lock of everything that changes the schema.
const LOCK: &str = "mnemon.migrate";
/// How often a process looks whether the lock is free.
const LOCK_POLL: Duration = Duration::from_millis(50);
/// `lock_not_available`: somebody else used the table for longer than the lock timeout.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// The newest step that this binary knows.
pub(crate) fn latest() -> i64 {
    MIGRATOR.iter().map(|step| step.version).max().unwrap_or(0)
}

/// One change of the schema.
#[derive(Clone, Copy)]
enum Change {
    /// A step up.
    Up { to: i64 },
    /// A step down, to the one below.
    Down { from: i64, to: i64 },
    /// Row-level security on or off.
    Rls(bool),
}

/// Changes the schema of one database.
pub struct PostgresMigrator {
    target: Target,
    migrator: Migrator,
}

impl PostgresMigrator {
    /// A migrator for the database of these options: over `direct_url` where given.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a connection string that cannot be read.
    #[expect(clippy::unused_async, reason = "as `open` of the store: it may reach for the server")]
    pub async fn connect(options: &Options) -> Result<Self> {
        let target = match &options.direct_url {
            Some(url) => Target::parse("direct_url", url)?,
            None => Target::parse("url", &options.url)?,
        };
        Ok(Self::to(target))
    }

    /// A migrator for the database of a pool.
    pub(crate) fn of_pool(pool: &PgPool) -> Self {
        Self::to(Target::of_pool(pool))
    }

    fn to(target: Target) -> Self {
        let migrator = Migrator {
            migrations: Cow::Borrowed(&MIGRATOR.migrations),
            ignore_missing: true,
            locking: false,
            table_name: MIGRATOR.table_name.clone(),
            create_schemas: MIGRATOR.create_schemas.clone(),
            ..Migrator::DEFAULT
        };
        Self { target, migrator }
    }

    /// The same with further steps, as a newer binary would have them. For tests.
    #[doc(hidden)]
    #[must_use]
    pub fn with_steps(mut self, steps: Vec<sqlx::migrate::Migration>) -> Self {
        let mut all = self.migrator.migrations.into_owned();
        all.extend(steps);
        all.sort();
        self.migrator.migrations = Cow::Owned(all);
        self
    }

    /// Does at opening what the mode says.
    pub(crate) async fn open(&self, mode: MigrateMode) -> Result<()> {
        match mode {
            MigrateMode::Verify => self.verify().await,
            MigrateMode::Auto => {
                let status = self.status().await?;
                plan::admit(&status)?;
                if plan::is_behind(&status) { self.up().await.map(drop) } else { Ok(()) }
            }
        }
    }

    async fn connection(&self) -> Result<PgConnection> {
        self.target.connect().await
    }

    /// Takes the lock on a connection of its own; closing that gives it back.
    async fn lock(&self) -> Result<PgConnection> {
        let mut conn = self.connection().await?;
        let since = Instant::now();
        let attempt = async {
            // The transaction idles for as long as the steps take.
            conn.execute(
                "begin; set local idle_in_transaction_session_timeout = 0; \
                 set local statement_timeout = 0",
            )
            .await?;
            while !try_lock(&mut conn).await? {
                if since.elapsed() > limits::MIGRATION_WAIT {
                    return Ok(None);
                }
                tokio::time::sleep(LOCK_POLL).await;
            }
            Ok(Some(conn))
        };
        let conn = attempt.await.map_err(|error| failed(Fault::Sql(error)))?;
        conn.ok_or_else(|| Error::Unavailable {
            what: format!(
                "the schema is being changed by another process, for longer than {} s",
                limits::MIGRATION_WAIT.as_secs()
            ),
            retry_after: None,
        })
    }

    /// Makes one change, again while it fails for want of a lock.
    async fn retried(&self, conn: &mut PgConnection, change: Change) -> Result<(), Fault> {
        let mut pause = LOCK_POLL;
        for _ in 1..limits::RETRY_ATTEMPTS {
            match self.change(conn, change).await {
                Err(fault) if has_code(&fault, LOCK_NOT_AVAILABLE) => {
                    tokio::time::sleep(pause).await;
                    pause *= 4;
                }
                done => return done,
            }
        }
        self.change(conn, change).await
    }

    /// Makes one change in one transaction, unless it is a step that says that it cannot be.
    ///
    /// Boxed, because what sqlx asks of a connection is not general enough for a trait's future.
    fn change<'a>(
        &'a self,
        conn: &'a mut PgConnection,
        change: Change,
    ) -> BoxFuture<'a, Result<(), Fault>> {
        Box::pin(async move {
            if self.is_no_tx(change) {
                drop_invalid_indexes(conn).await?;
                return self.apply(conn, change).await;
            }
            let mut tx = conn.begin().await?;
            limit_locks(&mut tx).await?;
            self.apply(&mut tx, change).await?;
            Ok(tx.commit().await?)
        })
    }

    async fn apply(&self, conn: &mut PgConnection, change: Change) -> Result<(), Fault> {
        match change {
            Change::Up { to } => {
                let table = &*self.migrator.table_name;
                for schema in self.migrator.create_schemas.iter() {
                    conn.create_schema_if_not_exists(schema).await.map_err(fault)?;
                }
                conn.ensure_migrations_table(table).await.map_err(fault)?;
                conn.apply(table, self.step(to, false)?).await.map_err(fault)?;
                Ok(set_version(conn, to).await?)
            }
            Change::Down { from, to } => {
                let table = &*self.migrator.table_name;
                conn.revert(table, self.step(from, true)?).await.map_err(fault)?;
                if to > 0 {
                    return Ok(set_version(conn, to).await?);
                }
                let rest = "drop table mnemon.schema_migrations; drop schema mnemon";
                Ok(conn.execute(rest).await.map(drop)?)
            }
            Change::Rls(on) => rls::switch(conn, on).await,
        }
    }

    /// The step of this number, up or down.
    fn step(&self, version: i64, down: bool) -> Result<&sqlx::migrate::Migration> {
        self.migrator
            .iter()
            .find(|step| step.version == version && is_down(step) == down)
            .ok_or_else(|| {
                Error::setup(
                    format!("step {version} of the schema has no way back"),
                    "restore the database from before it",
                )
            })
    }

    fn is_no_tx(&self, change: Change) -> bool {
        let step = match change {
            Change::Up { to } => self.step(to, false),
            Change::Down { from, .. } => self.step(from, true),
            Change::Rls(_) => return false,
        };
        step.is_ok_and(|step| step.no_tx)
    }

    /// Refuses a schema made by other steps than this binary's of the same number.
    fn compare(&self, applied: &[(i64, String, Vec<u8>)]) -> Result<()> {
        for (version, _, checksum) in applied {
            let known = self.migrator.iter().find(|s| s.version == *version && !is_down(s));
            if known.is_some_and(|step| *step.checksum != **checksum) {
                return Err(Error::setup(
                    format!("step {version} of the schema is not the one that this binary has"),
                    "use the binary that made it, or restore the database from before it",
                ));
            }
        }
        Ok(())
    }

    async fn read_status(&self, conn: &mut PgConnection) -> Result<SchemaStatus, Fault> {
        let there: (bool, bool) = query_as(
            "select to_regclass('mnemon.schema_migrations') is not null, \
                    to_regclass('mnemon.meta') is not null",
        )
        .fetch_one(&mut *conn)
        .await?;
        let applied: Vec<(i64, String, Vec<u8>)> = if there.0 {
            query_as(
                "select version, description, checksum from mnemon.schema_migrations \
                 where success order by version",
            )
            .fetch_all(&mut *conn)
            .await?
        } else {
            Vec::new()
        };
        self.compare(&applied)?;
        let applied = applied.into_iter().map(|(version, name, _)| (version, name)).collect();
        let meta: Option<(i32, bool)> = if there.1 {
            query_as("select min_binary, rls from mnemon.meta").fetch_optional(conn).await?
        } else {
            None
        };
        let known = self.migrator.iter().filter(|step| !is_down(step));
        Ok(plan::status(known.map(|s| (s.version, &*s.description)), applied, meta))
    }
}

#[async_trait]
impl Migrations for PostgresMigrator {
    async fn status(&self) -> Result<SchemaStatus> {
        let mut conn = self.connection().await?;
        let status = self.read_status(&mut conn).await.map_err(failed)?;
        close(conn).await;
        Ok(status)
    }

    async fn up(&self) -> Result<Vec<Migration>> {
        let lock = self.lock().await?;
        let mut conn = self.connection().await?;
        // Read again: another process may have done it all while this one waited.
        let status = self.read_status(&mut conn).await.map_err(failed)?;
        plan::admit(&status)?;
        let mut done = Vec::new();
        for step in status.migrations.into_iter().filter(|step| !step.applied) {
            let up = Change::Up { to: step.version };
            self.retried(&mut conn, up).await.map_err(|fault| stopped(fault, &step))?;
            done.push(Migration { applied: true, ..step });
        }
        add_extension(&mut conn).await.map_err(failed)?;
        partitions::ensure(&mut conn).await.map_err(failed)?;
        close(conn).await;
        close(lock).await;
        Ok(done)
    }

    async fn down(&self, to: i64) -> Result<Vec<Migration>> {
        let lock = self.lock().await?;
        let mut conn = self.connection().await?;
        let status = self.read_status(&mut conn).await.map_err(failed)?;
        let steps = plan::down(&status, to)?;
        let mut done = Vec::new();
        for (step, below) in steps {
            let down = Change::Down { from: step.version, to: below };
            self.retried(&mut conn, down).await.map_err(|fault| stopped(fault, &step))?;
            done.push(Migration { applied: false, ..step });
        }
        close(conn).await;
        close(lock).await;
        Ok(done)
    }

    async fn verify(&self) -> Result<()> {
        let status = self.status().await?;
        plan::admit(&status)?;
        plan::up_to_date(&status)
    }

    async fn script(&self) -> Result<String> {
        let mut conn = self.connection().await?;
        let status = self.read_status(&mut conn).await.map_err(failed)?;
        close(conn).await;
        plan::admit(&status)?;
        // There may be no schema to ask for the time; what is missing then, opening adds.
        Ok(script::up(&self.migrator, &status, Utc::now()))
    }

    async fn rls(&self, on: bool) -> Result<()> {
        self.verify().await?;
        let lock = self.lock().await?;
        let mut conn = self.connection().await?;
        self.retried(&mut conn, Change::Rls(on)).await.map_err(failed)?;
        close(conn).await;
        close(lock).await;
        Ok(())
    }
}

fn is_down(step: &sqlx::migrate::Migration) -> bool {
    step.migration_type.is_down_migration()
}

async fn try_lock(conn: &mut PgConnection) -> Result<bool, sqlx::Error> {
    query_scalar("select pg_try_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(LOCK)
        .fetch_one(conn)
        .await
}

/// A step waits for other users of a table only so long, because everybody queues behind it.
async fn limit_locks(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    // A number of ours stands in the statement.
    let limit = limits::LOCK_TIMEOUT.as_millis();
    let set = format!("set local lock_timeout = {limit}; set local statement_timeout = 0");
    conn.execute(AssertSqlSafe(set)).await.map(drop)
}

async fn set_version(conn: &mut PgConnection, version: i64) -> Result<(), sqlx::Error> {
    query("update mnemon.meta set schema_version = $1")
        .bind(i32::try_from(version).unwrap_or(i32::MAX))
        .execute(conn)
        .await
        .map(drop)
}

/// Removes what an index that was built concurrently and killed has left.
async fn drop_invalid_indexes(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let leftovers: Vec<String> = query_scalar(
        "select i.indexrelid::regclass::text from pg_index i
         join pg_class c on c.oid = i.indexrelid
         where not i.indisvalid and c.relkind = 'i' and c.relnamespace = to_regnamespace('mnemon')",
    )
    .fetch_all(&mut *conn)
    .await?;
    for index in leftovers {
        // The name comes quoted from the catalogue.
        conn.execute(AssertSqlSafe(format!("drop index concurrently if exists {index}"))).await?;
    }
    Ok(())
}

/// Adds pgvector where the server has it and the role may; vectors wait for it otherwise, and
/// registering a model says so.
async fn add_extension(conn: &mut PgConnection) -> Result<(), Fault> {
    let offered: bool = query_scalar(
        "select exists (select from pg_available_extensions
                        where name = 'vector' and installed_version is null)",
    )
    .fetch_one(&mut *conn)
    .await?;
    if !offered {
        return Ok(());
    }
    match conn.execute("create extension if not exists vector").await {
        Err(sqlx::Error::Database(error)) => {
            tracing::info!(reason = error.message(), "the extension vector was not added");
            Ok(())
        }
        done => Ok(done.map(drop)?),
    }
}

/// Says good-bye; that it cannot be heard changes nothing.
async fn close(conn: PgConnection) {
    let _ = conn.close().await;
}
