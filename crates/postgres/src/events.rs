//! Events on PostgreSQL: writers of a stream queue on its head's row, so that versions have no
//! gaps and times never go back.

pub(crate) mod append;
mod copy;
pub(crate) mod epoch;
mod import;
mod many;
mod read;
pub(crate) mod search;
pub(crate) mod stats;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use mnemon_core::events::{
    Append, Appended, Checked, Event, EventFilter, Events, Horizon, Import, Mark, SYSTEM_STREAM,
    Slice, Sought, Start, StreamStats, check_limit,
};
use mnemon_core::locks::Guard;
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::{Cursor, Page, Paged, Result, Scope, limits};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::query_scalar;
use uuid::Uuid;

use crate::error::Fault;
use crate::link::{Call, Retry, work};
use crate::locks;
use crate::store::PostgresStore;

/// Longer than any installation lasts, and short enough to be an interval.
const EVER: Duration = Duration::from_hours(24 * 365 * 100);

#[async_trait]
impl Events for PostgresStore {
    async fn append(
        &self,
        scope: &Scope,
        append: Append,
        guard: Option<&Guard>,
    ) -> Result<Appended> {
        let scope = &scope.admit(Facet::Events)?;
        append.check()?;
        locks::check_guard(guard)?;
        let prepared = &append::Prepared::of(append).by_copy(!self.link.rls());
        self.writing_events(scope.tenant, || Box::pin(append_all(self, scope, prepared, guard)))
            .await
    }

    async fn append_many(
        &self,
        scope: &Scope,
        appends: Vec<Append>,
    ) -> Result<Vec<Result<Appended>>> {
        let scope = &scope.admit(Facet::Events)?;
        let checked = Checked::of(appends)?;
        let batch = &many::Batch::of(checked.good);
        let done = self
            .writing_events(scope.tenant, || Box::pin(append_batch(self, scope, batch)))
            .await?;
        Ok(checked.bad.merge(done))
    }

    async fn import(&self, scope: &Scope, import: Import) -> Result<Appended> {
        let scope = &scope.admit(Facet::Events)?;
        import.check()?;
        self.months_for(&import).await?;
        let prepared = &import::Prepared::of(import);
        let call = calling("importing events", scope);
        self.writing_events(scope.tenant, || {
            Box::pin(self.link.transaction(call, |conn| {
                work(async move { import::import(conn, scope, prepared).await })
            }))
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
        let scope = &scope.admit(Facet::Events)?;
        limits::json("data", &data, limits::EVENT_BYTES)?;
        let (data, id) = (&data, Uuid::now_v7());
        let call = calling("writing an event", scope);
        // Almost every note of a busy tenant comes too soon: that costs one read.
        if self
            .link
            .run(call, |conn| {
                work(async move { is_recent(conn, scope, kind, at_most_every).await })
            })
            .await?
        {
            return Ok(None);
        }
        self.writing_events(scope.tenant, || {
            Box::pin(self.link.transaction(call, |conn| {
                work(async move { note(conn, scope, id, kind, data, at_most_every).await })
            }))
        })
        .await
    }

    async fn read(&self, scope: &Scope, stream: &str, page: &Page) -> Result<Paged<Event>> {
        let scope = &scope.admit(Facet::Events)?;
        limits::name("stream", stream, limits::STREAM_BYTES)?;
        page.check()?;
        let after = page.cursor.as_ref().map(read::version).transpose()?;
        let limit = page.limit;
        let events = self
            .link
            .run(calling("reading events", scope), |conn| {
                work(async move {
                    let from = after.unwrap_or(0);
                    let events = read::stream(conn, scope, stream, from, limit).await?;
                    // The next version says that nothing is missing before it.
                    let follows = events.first().is_some_and(|event| event.version == from + 1);
                    if after.is_some() && !follows {
                        read::check_kept(conn, scope, stream, from).await?;
                    }
                    Ok(events)
                })
            })
            .await?;
        Ok(read::page(events, limit))
    }

    async fn read_all(
        &self,
        scope: &Scope,
        filter: &EventFilter,
        after: Option<&Cursor>,
        limit: u32,
    ) -> Result<Slice> {
        let scope = &scope.admit(Facet::Events)?;
        filter.check()?;
        check_limit(limit)?;
        let start = &Start::of(scope.tenant, after)?;
        self.link
            .run(calling("reading the event log", scope), |conn| {
                work(async move { read::log(conn, scope, filter, start, limit).await })
            })
            .await
    }

    async fn list(&self, scope: &Scope, filter: &EventFilter, page: &Page) -> Result<Paged<Event>> {
        let scope = &scope.admit(Facet::Events)?;
        filter.check()?;
        page.check()?;
        let after = &read::place(page.cursor.as_ref())?;
        let limit = page.limit;
        self.link
            .run(calling("listing events", scope), |conn| {
                work(async move { read::list(conn, scope, filter, after.as_ref(), limit).await })
            })
            .await
    }

    async fn count(&self, scope: &Scope, filter: &EventFilter) -> Result<u64> {
        let scope = &scope.admit(Facet::Events)?;
        filter.check()?;
        self.link
            .run(calling("counting events", scope), |conn| {
                work(async move { read::count(conn, scope, filter).await })
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
        let scope = &scope.admit(Facet::Events)?;
        let sought = &Sought::parse(text)?;
        filter.check()?;
        page.check()?;
        let after = &read::place(page.cursor.as_ref())?;
        let limit = page.limit;
        self.link
            .run(calling("searching events", scope), |conn| {
                work(async move {
                    search::search(conn, scope, sought, filter, after.as_ref(), limit).await
                })
            })
            .await
    }

    async fn aggregate(&self, scope: &Scope, stream: &str) -> Result<StreamStats> {
        let scope = &scope.admit(Facet::Events)?;
        limits::name("stream", stream, limits::STREAM_BYTES)?;
        self.link
            .transaction(calling("counting a stream", scope), |conn| {
                work(async move { stats::stream(conn, scope, stream).await })
            })
            .await
    }

    async fn moved(&self, scope: &Scope, mark: Mark, at_most: Duration) -> Result<Mark> {
        let scope = scope.admit(Facet::Events)?;
        self.moves.wait(scope.tenant, mark, at_most).await
    }

    async fn horizon(&self) -> Result<Horizon> {
        let call =
            Call { doing: "reading the event horizon", tenant: None, retry: Retry::Idempotent };
        self.link.run(call, |conn| work(async move { stats::horizon(conn).await })).await
    }

    async fn restored(&self) -> Result<i64> {
        let call = Call { doing: "starting a new epoch", tenant: None, retry: Retry::Never };
        self.link
            .maintenance()
            .transaction(call, |conn| work(async move { epoch::raise(conn).await }))
            .await
    }
}

fn calling<'a>(doing: &'static str, scope: &Admitted<'a>) -> Call<'a> {
    Call { doing, tenant: Some(scope.tenant), retry: Retry::Idempotent }
}

/// Appends: in one statement in autocommit where nothing has to be looked up. When that is sent
/// again, its first time may have been done, so that its ids are looked for.
async fn append_all(
    store: &PostgresStore,
    scope: &Admitted<'_>,
    prepared: &append::Prepared,
    guard: Option<&Guard>,
) -> Result<Appended> {
    let call = calling("appending events", scope);
    let sent = &AtomicBool::new(false);
    if guard.is_none() && prepared.is_one_statement() {
        let done = store
            .link
            .run(call, |conn| {
                work(async move {
                    if sent.swap(true, Ordering::Relaxed) {
                        return Ok(None);
                    }
                    append::unseen(conn, scope, prepared).await.map(Some)
                })
            })
            .await?;
        if let Some(done) = done {
            return Ok(done);
        }
    }
    store
        .link
        .transaction(call, |conn| {
            work(async move {
                locks::guard(conn, scope, guard.map_or(&[], std::slice::from_ref)).await?;
                if sent.swap(true, Ordering::Relaxed) {
                    append::seen(conn, scope, prepared).await
                } else {
                    append::append(conn, scope, prepared).await
                }
            })
        })
        .await
}

/// The same for appends to many streams.
async fn append_batch(
    store: &PostgresStore,
    scope: &Admitted<'_>,
    batch: &many::Batch,
) -> Result<Vec<Result<Appended>>> {
    let call = calling("appending events", scope);
    let sent = &AtomicBool::new(false);
    if batch.is_new() {
        let done = store
            .link
            .run(call, |conn| {
                work(async move {
                    if sent.swap(true, Ordering::Relaxed) {
                        return Ok(None);
                    }
                    many::unseen(conn, scope, batch).await.map(Some)
                })
            })
            .await?;
        if let Some(done) = done {
            return Ok(done);
        }
    }
    store
        .link
        .transaction(call, |conn| work(async move { many::seen(conn, scope, batch).await }))
        .await
}

/// Whether a note of this kind is younger than that.
async fn is_recent(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    kind: &str,
    within: Duration,
) -> Result<bool, Fault> {
    // Without a pause every note is taken, also when the clock went backwards.
    if within.is_zero() {
        return Ok(false);
    }
    let recent = query_scalar!(
        r#"
        select exists (
            select from mnemon.events
            where tenant = $1 and stream = $2 and kind = $3
              and recorded_at > (select mnemon.now()) - make_interval(secs => $4)
        ) as "recent!"
        "#,
        scope.tenant,
        SYSTEM_STREAM,
        kind,
        within.min(EVER).as_secs_f64(),
    )
    .fetch_one(conn)
    .await?;
    Ok(recent)
}

/// Appends a note inside the caller's transaction, unless it comes too soon; its version.
async fn note(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: Uuid,
    kind: &str,
    data: &Value,
    at_most_every: Duration,
) -> Result<Option<i64>, Fault> {
    // The head's lock first: what is read after it includes every earlier note.
    append::lock(conn, scope, SYSTEM_STREAM).await?;
    if is_recent(conn, scope, kind, at_most_every).await? {
        return Ok(None);
    }
    append::note(conn, scope, id, kind, data.clone()).await.map(Some)
}
