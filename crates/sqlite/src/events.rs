//! Events in SQLite: versions are taken in the head's update, so that they have no gaps.

pub(crate) mod append;
mod import;
pub(crate) mod read;
pub(crate) mod search;
pub(crate) mod stats;

use std::time::Duration;

use async_trait::async_trait;
use mnemon_core::events::{
    Append, Appended, Checked, Event, EventFilter, Events, Horizon, Import, Mark, SYSTEM_STREAM,
    Slice, Sought, Start, StreamStats, check_limit,
};
use mnemon_core::locks::Guard;
use mnemon_core::scope::Admitted;
use mnemon_core::{Cursor, Facet, Page, Paged, Result, Scope, limits};
use rusqlite::{Connection, OptionalExtension, params};
use serde_json::Value;
use uuid::Uuid;

use crate::error::{Done, Fault};
use crate::locks;
use crate::open::now;
use crate::store::SqliteStore;

pub(crate) mod sql {
    crate::sql::statements! {
        LAST_OF_KIND = "select recorded_at from events \
            where tenant = ?1 and stream = ?2 and kind = ?3 order by version desc limit 1";
        /// The next version, and a time that is never before the last one's.
        ADVANCE = "insert into event_streams (tenant, stream, version, recorded_at, first_kept) \
            values (?1, ?2, 1, ?3, 1) \
            on conflict (tenant, stream) do update set version = version + 1, \
            recorded_at = max(recorded_at, excluded.recorded_at) returning version, recorded_at";
        APPEND = "insert into events (tenant, stream, version, id, kind, agent_id, user_id, \
            session_id, run_id, occurred_at, recorded_at, data) \
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)";
    }
}

#[async_trait]
impl Events for SqliteStore {
    async fn append(
        &self,
        scope: &Scope,
        append: Append,
        guard: Option<&Guard>,
    ) -> Result<Appended> {
        self.alive()?;
        scope.admit(Facet::Events)?;
        append.check()?;
        locks::check_guard(guard)?;
        let (asking, guard) = (scope.clone(), guard.cloned());
        self.writing_events(&scope.tenant, "appending events", move |conn| {
            let scope = asking.admit(Facet::Events)?;
            locks::guard(conn, &scope, guard.as_ref())?;
            append::append(conn, &scope, &append)
        })
        .await
    }

    async fn append_many(
        &self,
        scope: &Scope,
        appends: Vec<Append>,
    ) -> Result<Vec<Result<Appended>>> {
        self.alive()?;
        scope.admit(Facet::Events)?;
        let Checked { good, bad } = Checked::of(appends)?;
        let asking = scope.clone();
        let done = self
            .writing_events(&scope.tenant, "appending events", move |conn| {
                let scope = asking.admit(Facet::Events)?;
                let each = |one: &Append| match append::append(conn, &scope, one) {
                    // Decided before anything of it was written: the others stand.
                    Err(Fault::Refused(error)) => Ok(Err(error)),
                    outcome => outcome.map(Ok),
                };
                good.iter().map(each).collect::<Done<Vec<_>>>()
            })
            .await?;
        Ok(bad.merge(done))
    }

    async fn import(&self, scope: &Scope, import: Import) -> Result<Appended> {
        self.alive()?;
        scope.admit(Facet::Events)?;
        import.check()?;
        let asking = scope.clone();
        self.writing_events(&scope.tenant, "importing events", move |conn| {
            import::import(conn, &asking.admit(Facet::Events)?, &import)
        })
        .await
    }

    async fn note(
        &self,
        scope: &Scope,
        kind: &'static str,
        data: Value,
        at_most_every: Duration,
    ) -> Result<Option<i64>> {
        self.alive()?;
        scope.admit(Facet::Events)?;
        limits::json("data", &data, limits::EVENT_BYTES)?;
        let asking = scope.clone();
        self.writing_events(&scope.tenant, "writing an event", move |conn| {
            note(conn, &asking.admit(Facet::Events)?, kind, &data, at_most_every)
        })
        .await
    }

    async fn read(&self, scope: &Scope, stream: &str, page: &Page) -> Result<Paged<Event>> {
        self.alive()?;
        scope.admit(Facet::Events)?;
        limits::name("stream", stream, limits::STREAM_BYTES)?;
        page.check()?;
        let after = page.cursor.as_ref().map(read::version).transpose()?;
        let (scope, stream, limit) = (scope.clone(), stream.to_owned(), page.limit);
        SqliteStore::read(self, "reading events", move |conn| {
            read::stream(conn, &scope.admit(Facet::Events)?, &stream, after, limit)
        })
        .await
    }

    async fn read_all(
        &self,
        scope: &Scope,
        filter: &EventFilter,
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<Slice> {
        self.alive()?;
        let start = Start::of(scope.admit(Facet::Events)?.tenant, after)?;
        filter.check()?;
        check_limit(limit)?;
        let (scope, filter) = (scope.clone(), filter.clone());
        SqliteStore::read(self, "reading the event log", move |conn| {
            read::log(conn, &scope.admit(Facet::Events)?, &filter, &start, limit)
        })
        .await
    }

    async fn list(&self, scope: &Scope, filter: &EventFilter, page: &Page) -> Result<Paged<Event>> {
        self.alive()?;
        scope.admit(Facet::Events)?;
        filter.check()?;
        page.check()?;
        let after = read::place(page.cursor.as_ref())?;
        let (scope, filter, limit) = (scope.clone(), filter.clone(), page.limit);
        SqliteStore::read(self, "listing events", move |conn| {
            read::list(conn, &scope.admit(Facet::Events)?, &filter, after.as_ref(), limit)
        })
        .await
    }

    async fn count(&self, scope: &Scope, filter: &EventFilter) -> Result<u64> {
        self.alive()?;
        scope.admit(Facet::Events)?;
        filter.check()?;
        let (scope, filter) = (scope.clone(), filter.clone());
        SqliteStore::read(self, "counting events", move |conn| {
            read::count(conn, &scope.admit(Facet::Events)?, &filter)
        })
        .await
    }

    async fn search(
        &self,
        scope: &Scope,
        text: &str,
        filter: &EventFilter,
        page: &Page,
    ) -> Result<Paged<Event>> {
        self.alive()?;
        scope.admit(Facet::Events)?;
        let sought = Sought::parse(text)?;
        filter.check()?;
        page.check()?;
        let (scope, filter, limit) = (scope.clone(), filter.clone(), page.limit);
        let cursor = page.cursor.clone();
        SqliteStore::read(self, "searching events", move |conn| {
            let after = read::place(cursor.as_ref())?;
            search::search(conn, &scope.admit(Facet::Events)?, &sought, &filter, after, limit)
        })
        .await
    }

    async fn aggregate(&self, scope: &Scope, stream: &str) -> Result<StreamStats> {
        self.alive()?;
        scope.admit(Facet::Events)?;
        limits::name("stream", stream, limits::STREAM_BYTES)?;
        let (scope, stream) = (scope.clone(), stream.to_owned());
        SqliteStore::read(self, "counting a stream", move |conn| {
            stats::stream(conn, &scope.admit(Facet::Events)?, &stream)
        })
        .await
    }

    async fn moved(&self, scope: &Scope, mark: Mark, at_most: Duration) -> Result<Mark> {
        self.alive()?;
        self.moves.wait(scope.admit(Facet::Events)?.tenant, mark, at_most).await
    }

    async fn horizon(&self) -> Result<Horizon> {
        self.alive()?;
        SqliteStore::read(self, "reading the event horizon", stats::horizon).await
    }

    async fn restored(&self) -> Result<i64> {
        self.alive()?;
        self.write("starting a new epoch", stats::raise).await
    }
}

impl SqliteStore {
    /// Appends, and tells whoever waits for events of the tenant.
    pub(crate) async fn writing_events<T, F>(
        &self,
        tenant: &str,
        doing: &'static str,
        body: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Connection) -> Done<T> + Send + 'static,
    {
        let outcome = self.write(doing, body).await;
        if outcome.is_ok() {
            self.moves.tell(tenant);
        }
        outcome
    }
}

/// Notes an event of Mnemon's own, unless one of its kind is too young.
pub(crate) fn note(
    conn: &Connection,
    scope: &Admitted<'_>,
    kind: &str,
    data: &Value,
    at_most_every: Duration,
) -> Done<Option<i64>> {
    let now = now(conn)?;
    let last: Option<i64> = conn
        .prepare_cached(sql::LAST_OF_KIND)?
        .query_row([scope.tenant, SYSTEM_STREAM, kind], |row| row.get(0))
        .optional()?;
    let pause = i64::try_from(at_most_every.as_micros()).unwrap_or(i64::MAX);
    // Without a pause every note is taken, also when the clock went backwards.
    if pause > 0 && last.is_some_and(|last| now.saturating_sub(last) < pause) {
        return Ok(None);
    }
    let (version, recorded_at): (i64, i64) = conn
        .prepare_cached(sql::ADVANCE)?
        .query_row(params![scope.tenant, SYSTEM_STREAM, now], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    conn.prepare_cached(sql::APPEND)?.execute(params![
        scope.tenant,
        SYSTEM_STREAM,
        version,
        Uuid::now_v7().as_bytes(),
        kind,
        scope.agent,
        scope.user,
        scope.session,
        scope.run,
        now,
        recorded_at,
        data.to_string(),
    ])?;
    Ok(Some(version))
}
