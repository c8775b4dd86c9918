//! Events on PostgreSQL: writers of a stream queue on its head's row, so that versions have no
//! gaps and times never go back.

pub(crate) mod append;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mnemon_core::events::{Append, Appended, Event, Events, SYSTEM_STREAM};
use mnemon_core::locks::Guard;
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::{Cursor, Error, EventId, Page, Paged, Result, Scope, limits};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{query_as, query_scalar};
use uuid::Uuid;

use crate::error::Fault;
use crate::link::{Call, Retry, work};
use crate::locks;
use crate::store::PostgresStore;

/// The list that cursors of this facet belong to.
const LIST: &str = "events";

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
        let prepared = &append::Prepared::of(append);
        self.with_partition(|| Box::pin(append_all(self, scope, prepared, guard))).await
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
        let call = Call {
            doing: "writing an event",
            tenant: Some(scope.tenant),
            retry: Retry::Idempotent,
        };
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
        self.with_partition(|| {
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
        let after = match &page.cursor {
            Some(cursor) => place(cursor)?,
            None => 0,
        };
        let limit = page.limit;
        let call =
            Call { doing: "reading events", tenant: Some(scope.tenant), retry: Retry::Idempotent };
        let events = self
            .link
            .run(call, |conn| work(async move { read(conn, scope, stream, after, limit).await }))
            .await?;
        Ok(Paged::cut(events, limit, |event| Cursor::of(LIST, &[&event.version.to_string()])))
    }
}

fn place(cursor: &Cursor) -> Result<i64> {
    let [version] = cursor.parts::<1>(LIST)?;
    version.parse().map_err(|_| Error::invalid("page.cursor", format!("is not a cursor of {LIST}")))
}

/// Appends: in one statement in autocommit where nothing has to be looked up. When that is sent
/// again, its first time may have been done, so that its ids are looked for.
async fn append_all(
    store: &PostgresStore,
    scope: &Admitted<'_>,
    prepared: &append::Prepared,
    guard: Option<&Guard>,
) -> Result<Appended> {
    let call =
        Call { doing: "appending events", tenant: Some(scope.tenant), retry: Retry::Idempotent };
    let sent = &AtomicBool::new(false);
    if guard.is_none() && prepared.is_new() {
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

struct Row {
    id: Uuid,
    version: i64,
    kind: String,
    data: Value,
    correlation_id: Option<String>,
    user_id: Option<String>,
    agent_id: Option<String>,
    occurred_at: DateTime<Utc>,
    recorded_at: DateTime<Utc>,
}

/// The events of a stream after a version, one more than asked. A user and an agent in the scope
/// filter.
async fn read(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    stream: &str,
    after: i64,
    limit: u32,
) -> Result<Vec<Event>, Fault> {
    let rows = query_as!(
        Row,
        r#"
        select id, version, kind, data, correlation_id, user_id, agent_id, occurred_at,
               recorded_at
        from mnemon.events
        where tenant = $1 and stream = $2 and version > $3
          and ($4::text is null or user_id = $4)
          and ($5::text is null or agent_id = $5)
        order by version
        limit $6
        "#,
        scope.tenant,
        stream,
        after,
        scope.user,
        scope.agent,
        i64::from(limit) + 1,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows
        .into_iter()
        .map(|row| Event {
            id: EventId(row.id),
            stream: stream.to_owned(),
            version: row.version,
            kind: row.kind,
            data: row.data,
            correlation_id: row.correlation_id,
            user: row.user_id,
            agent: row.agent_id,
            occurred_at: row.occurred_at,
            recorded_at: row.recorded_at,
        })
        .collect())
}
