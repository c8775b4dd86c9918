//! Locks on PostgreSQL: `acquire`, `renew` and `release` are one statement each; what they decide
//! is `core::locks::decide`, which a test holds them against.
//!
//! The fence is part of a unique index, so a takeover changes a key and waits for every open
//! transaction that holds the row FOR KEY SHARE ([`guard`]); renewing and releasing do not.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mnemon_core::events::LOCK_FORCED;
use mnemon_core::locks::{Guard, Lease, Locks, check_holder, check_key, check_ttl};
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::{Cursor, Error, Fence, Page, Paged, Result, Scope};
use serde_json::json;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as, query_scalar};
use uuid::Uuid;

use crate::error::Fault;
use crate::events;
use crate::link::{Call, Retry, work};
use crate::store::PostgresStore;

/// The list that cursors of this facet belong to.
const LIST: &str = "locks";

/// How often a request looks again when others changed the row while it did.
const ROUNDS: usize = 16;

#[async_trait]
impl Locks for PostgresStore {
    async fn acquire(
        &self,
        scope: &Scope,
        key: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Lease> {
        let scope = &scope.admit(Facet::Locks)?;
        check_key(key)?;
        check_holder(holder)?;
        check_ttl(ttl)?;
        let call = calling("acquiring a lock", scope, Retry::Idempotent);
        self.link
            .run(call, |conn| work(async move { acquire(conn, scope, key, holder, ttl).await }))
            .await
    }

    async fn renew(&self, scope: &Scope, guard: &Guard, ttl: Duration) -> Result<Lease> {
        let scope = &scope.admit(Facet::Locks)?;
        check_key(&guard.key)?;
        check_ttl(ttl)?;
        let call = calling("renewing a lock", scope, Retry::Idempotent);
        self.link.run(call, |conn| work(async move { renew(conn, scope, guard, ttl).await })).await
    }

    async fn release(&self, scope: &Scope, guard: &Guard) -> Result<()> {
        let scope = &scope.admit(Facet::Locks)?;
        check_key(&guard.key)?;
        let call = calling("releasing a lock", scope, Retry::Idempotent);
        self.link.run(call, |conn| work(async move { release(conn, scope, guard).await })).await
    }

    async fn get(&self, scope: &Scope, key: &str) -> Result<Option<Lease>> {
        let scope = &scope.admit(Facet::Locks)?;
        check_key(key)?;
        let call = calling("reading a lock", scope, Retry::Idempotent);
        self.link.run(call, |conn| work(async move { get(conn, scope, key).await })).await
    }

    async fn list(&self, scope: &Scope, page: &Page) -> Result<Paged<Lease>> {
        let scope = &scope.admit(Facet::Locks)?;
        page.check()?;
        let after = match &page.cursor {
            Some(cursor) => cursor.parts::<1>(LIST)?[0],
            None => "",
        };
        let limit = page.limit;
        let call = calling("listing locks", scope, Retry::Idempotent);
        let leases = self
            .link
            .run(call, |conn| work(async move { list(conn, scope, after, limit).await }))
            .await?;
        Ok(Paged::cut(leases, limit, |lease| Cursor::of(LIST, &[&lease.key])))
    }

    async fn force_release(&self, scope: &Scope, key: &str) -> Result<Fence> {
        let scope = &scope.admit(Facet::Locks)?;
        check_key(key)?;
        // A repeat would raise the fence, and be noted, once more.
        let call = calling("taking a lock away", scope, Retry::Never);
        self.writing_events(scope.tenant, || {
            Box::pin(self.link.transaction(call, |conn| {
                work(async move { force_release(conn, scope, key).await })
            }))
        })
        .await
    }
}

fn calling<'a>(doing: &'static str, scope: &Admitted<'a>, retry: Retry) -> Call<'a> {
    Call { doing, tenant: Some(scope.tenant), retry }
}

/// Checks the name in a write's guard.
pub(crate) fn check_guard(guard: Option<&Guard>) -> Result<()> {
    guard.map_or(Ok(()), |guard| check_key(&guard.key))
}

/// Refuses a write unless every guard is the newest of its key, and keeps takeovers out until the
/// transaction ends. Rows are locked in the order of their keys.
pub(crate) async fn guard(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    guards: &[Guard],
) -> Result<(), Fault> {
    if guards.is_empty() {
        return Ok(());
    }
    let keys: Vec<String> = guards.iter().map(|guard| guard.key.clone()).collect();
    let fences: Vec<i64> = guards.iter().map(|guard| guard.fence.0).collect();
    let held = query!(
        r#"
        select l.key, l.fence
        from mnemon.locks l
        where l.tenant = $1
          and (l.key, l.fence) in (select g.key, g.fence from unnest($2::text[], $3::int8[]) as g (key, fence))
          and l.holder is not null
        order by l.key
        for key share of l
        "#,
        scope.tenant,
        &keys,
        &fences,
    )
    .fetch_all(conn)
    .await?;
    let stale = guards
        .iter()
        .find(|guard| !held.iter().any(|row| row.key == guard.key && row.fence == guard.fence.0));
    match stale {
        Some(guard) => Err(fenced(guard)),
        None => Ok(()),
    }
}

fn fenced(guard: &Guard) -> Fault {
    Error::Fenced { key: guard.key.clone() }.into()
}

/// A lock's row while it is held.
struct Row {
    key: String,
    holder: String,
    fence: i64,
    acquired_at: DateTime<Utc>,
    expires_at: DateTime<Utc>,
}

impl From<Row> for Lease {
    fn from(row: Row) -> Self {
        Self {
            key: row.key,
            holder: row.holder,
            fence: Fence(row.fence),
            acquired_at: row.acquired_at,
            expires_at: row.expires_at,
        }
    }
}

/// Takes the key, or goes on holding it. Each branch of the statement is one verdict, and no two
/// of them meet the same row; a live lease of somebody else's is not locked, so that `Held` does
/// not wait for that holder's open steps.
async fn acquire(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    key: &str,
    holder: &str,
    ttl: Duration,
) -> Result<Lease, Fault> {
    for _ in 0..ROUNDS {
        let found = query!(
            r#"
            with clock as materialized (
                select mnemon.now() as at
            ), renewed as (
                update mnemon.locks l
                set expires_at = c.at + make_interval(secs => $6), agent_id = $4, user_id = $5
                from clock c
                where l.tenant = $1 and l.key = $2 and l.holder = $3 and l.expires_at > c.at
                returning l.fence, l.acquired_at, l.expires_at
            ), taken as (
                update mnemon.locks l
                set fence = l.fence + 1, holder = $3, agent_id = $4, user_id = $5,
                    acquired_at = c.at, expires_at = c.at + make_interval(secs => $6)
                from clock c
                where l.tenant = $1 and l.key = $2 and (l.holder is null or l.expires_at <= c.at)
                returning l.fence, l.acquired_at, l.expires_at
            ), made as (
                insert into mnemon.locks
                    (tenant, key, fence, holder, agent_id, user_id, acquired_at, expires_at)
                select $1, $2, 1, $3, $4, $5, c.at, c.at + make_interval(secs => $6)
                from clock c
                where not exists (select from mnemon.locks l where l.tenant = $1 and l.key = $2)
                -- Without a target: two first holders may also meet in the fence's index.
                on conflict do nothing
                returning fence, acquired_at, expires_at
            ), got as (
                select * from renewed union all select * from taken union all select * from made
            )
            select g.fence as "fence?", g.acquired_at as "acquired_at!", g.expires_at as "expires_at!",
                   mnemon.now() > c.at + make_interval(secs => $6 / 2) as "late!"
            from got g, clock c
            union all
            select null, l.acquired_at, l.expires_at, false
            from mnemon.locks l, clock c
            where l.tenant = $1 and l.key = $2 and l.holder <> $3 and l.expires_at > c.at
            "#,
            scope.tenant,
            key,
            holder,
            scope.agent,
            scope.user,
            ttl.as_secs_f64(),
        )
        .fetch_optional(&mut *conn)
        .await?;
        match found {
            // Somebody was faster, or most of the lease went by while it waited for an open step.
            None => {}
            Some(row) if row.late => {}
            Some(row) => {
                let Some(fence) = row.fence else {
                    return Err(Error::Held { key: key.to_owned(), until: row.expires_at }.into());
                };
                return Ok(Lease {
                    key: key.to_owned(),
                    holder: holder.to_owned(),
                    fence: Fence(fence),
                    acquired_at: row.acquired_at,
                    expires_at: row.expires_at,
                });
            }
        }
    }
    Err(Error::Conflict { kind: "lock", key: key.to_owned(), expected: None, actual: None }.into())
}

async fn renew(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    guard: &Guard,
    ttl: Duration,
) -> Result<Lease, Fault> {
    // The fence is not set: the row's key stays, and open steps under it go on.
    let row = query_as!(
        Row,
        r#"
        update mnemon.locks
        set expires_at = mnemon.now() + make_interval(secs => $4)
        where tenant = $1 and key = $2 and fence = $3 and holder is not null
        returning key, holder as "holder!", fence, acquired_at, expires_at
        "#,
        scope.tenant,
        guard.key,
        guard.fence.0,
        ttl.as_secs_f64(),
    )
    .fetch_optional(conn)
    .await?;
    row.map(Lease::from).ok_or_else(|| fenced(guard))
}

async fn release(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    guard: &Guard,
) -> Result<(), Fault> {
    let done = query!(
        "update mnemon.locks set holder = null where tenant = $1 and key = $2 and fence = $3",
        scope.tenant,
        guard.key,
        guard.fence.0,
    )
    .execute(conn)
    .await?;
    if done.rows_affected() == 0 { Err(fenced(guard)) } else { Ok(()) }
}

async fn get(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    key: &str,
) -> Result<Option<Lease>, Fault> {
    let row = query_as!(
        Row,
        r#"
        select key, holder as "holder!", fence, acquired_at, expires_at
        from mnemon.locks
        where tenant = $1 and key = $2 and holder is not null
          and expires_at > (select mnemon.now())
        "#,
        scope.tenant,
        key,
    )
    .fetch_optional(conn)
    .await?;
    Ok(row.map(Lease::from))
}

async fn list(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    after: &str,
    limit: u32,
) -> Result<Vec<Lease>, Fault> {
    let rows = query_as!(
        Row,
        r#"
        select key, holder as "holder!", fence, acquired_at, expires_at
        from mnemon.locks
        where tenant = $1 and key > $2 and holder is not null
          and expires_at > (select mnemon.now())
        order by key
        limit $3
        "#,
        scope.tenant,
        after,
        i64::from(limit) + 1,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(Lease::from).collect())
}

async fn force_release(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    key: &str,
) -> Result<Fence, Fault> {
    let holder = query_scalar!(
        "select holder from mnemon.locks where tenant = $1 and key = $2 for update",
        scope.tenant,
        key,
    )
    .fetch_optional(&mut *conn)
    .await?;
    let Some(holder) = holder else { return Err(Error::not_found("lock", key).into()) };
    let fence = query_scalar!(
        "update mnemon.locks set holder = null, fence = fence + 1
         where tenant = $1 and key = $2 returning fence",
        scope.tenant,
        key,
    )
    .fetch_one(&mut *conn)
    .await?;
    let data = json!({ "key": key, "holder": holder, "fence": fence });
    events::append::note(conn, scope, Uuid::now_v7(), LOCK_FORCED, data).await?;
    Ok(Fence(fence))
}
