//! Locks in SQLite: every verb is one statement; `core::locks::decide` is what a test holds
//! them against.

use std::time::Duration;

use async_trait::async_trait;
use mnemon_core::events::LOCK_FORCED;
use mnemon_core::locks::{Guard, Lease, Locks, check_holder, check_key, check_ttl};
use mnemon_core::scope::Admitted;
use mnemon_core::{Cursor, Error, Facet, Fence, Page, Paged, Result, Scope};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::json;

use crate::error::Done;
use crate::open::now;
use crate::store::SqliteStore;
use crate::{events, row};

pub(crate) mod sql {
    crate::sql::statements! {
        /// On conflict the row's own columns are those before the update: a live lease of the
        /// same holder goes on under its fence, everything else that is free gets the next one.
        ACQUIRE = "insert into locks (tenant, key, fence, holder, agent_id, user_id, acquired_at, \
            expires_at) values (?1, ?2, 1, ?3, ?4, ?5, ?6, ?6 + ?7) \
            on conflict (tenant, key) do update set \
            fence = fence + (holder is not ?3 or expires_at <= ?6), \
            acquired_at = iif(holder is ?3 and expires_at > ?6, acquired_at, ?6), \
            holder = ?3, agent_id = ?4, user_id = ?5, expires_at = ?6 + ?7 \
            where holder is null or holder = ?3 or expires_at <= ?6 \
            returning key, holder, fence, acquired_at, expires_at";
        UNTIL = "select expires_at from locks where tenant = ?1 and key = ?2";
        RENEW = "update locks set expires_at = ?4 + ?5 \
            where tenant = ?1 and key = ?2 and fence = ?3 and holder is not null \
            returning key, holder, fence, acquired_at, expires_at";
        /// Again is a no-op, as long as nobody got a newer fence.
        RELEASE = "update locks set holder = null where tenant = ?1 and key = ?2 and fence = ?3";
        GET = "select key, holder, fence, acquired_at, expires_at from locks \
            where tenant = ?1 and key = ?2 and holder is not null and expires_at > ?3";
        LIST = "select key, holder, fence, acquired_at, expires_at from locks \
            where tenant = ?1 and key > ?2 and holder is not null and expires_at > ?3 \
            order by key limit ?4";
        HOLDER = "select holder from locks where tenant = ?1 and key = ?2";
        FORCE = "update locks set holder = null, fence = fence + 1 \
            where tenant = ?1 and key = ?2 returning fence";
        GUARD = "select 1 from locks \
            where tenant = ?1 and key = ?2 and fence = ?3 and holder is not null";
    }
}

const CURSOR: &str = "locks";

#[async_trait]
impl Locks for SqliteStore {
    async fn acquire(
        &self,
        scope: &Scope,
        key: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Lease> {
        self.alive()?;
        scope.admit(Facet::Locks)?;
        check_key(key)?;
        check_holder(holder)?;
        check_ttl(ttl)?;
        let (scope, key, holder) = (scope.clone(), key.to_owned(), holder.to_owned());
        self.write("acquiring a lock", move |conn| {
            acquire(conn, &scope.admit(Facet::Locks)?, &key, &holder, ttl)
        })
        .await
    }

    async fn renew(&self, scope: &Scope, guard: &Guard, ttl: Duration) -> Result<Lease> {
        self.alive()?;
        scope.admit(Facet::Locks)?;
        check_key(&guard.key)?;
        check_ttl(ttl)?;
        let (scope, guard) = (scope.clone(), guard.clone());
        self.write("renewing a lock", move |conn| {
            renew(conn, &scope.admit(Facet::Locks)?, &guard, ttl)
        })
        .await
    }

    async fn release(&self, scope: &Scope, guard: &Guard) -> Result<()> {
        self.alive()?;
        scope.admit(Facet::Locks)?;
        check_key(&guard.key)?;
        let (scope, guard) = (scope.clone(), guard.clone());
        self.write("releasing a lock", move |conn| {
            release(conn, &scope.admit(Facet::Locks)?, &guard)
        })
        .await
    }

    async fn get(&self, scope: &Scope, key: &str) -> Result<Option<Lease>> {
        self.alive()?;
        scope.admit(Facet::Locks)?;
        check_key(key)?;
        let (scope, key) = (scope.clone(), key.to_owned());
        self.read("reading a lock", move |conn| {
            let scope = scope.admit(Facet::Locks)?;
            lease_of(conn, sql::GET, params![scope.tenant, key, now(conn)?])
        })
        .await
    }

    async fn list(&self, scope: &Scope, page: &Page) -> Result<Paged<Lease>> {
        self.alive()?;
        scope.admit(Facet::Locks)?;
        page.check()?;
        let after = match &page.cursor {
            Some(cursor) => cursor.parts::<1>(CURSOR)?[0].to_owned(),
            None => String::new(),
        };
        let (scope, limit) = (scope.clone(), page.limit);
        self.read("listing locks", move |conn| {
            list(conn, &scope.admit(Facet::Locks)?, &after, limit)
        })
        .await
    }

    async fn force_release(&self, scope: &Scope, key: &str) -> Result<Fence> {
        self.alive()?;
        scope.admit(Facet::Locks)?;
        check_key(key)?;
        let (scope, key) = (scope.clone(), key.to_owned());
        self.write("taking a lock away", move |conn| {
            force_release(conn, &scope.admit(Facet::Locks)?, &key)
        })
        .await
    }
}

/// Checks a guard's name before the hop.
pub(crate) fn check_guard(guard: Option<&Guard>) -> Result<()> {
    guard.map_or(Ok(()), |guard| check_key(&guard.key))
}

/// Refuses a write whose guard is no longer the newest. The writer's transaction keeps a takeover
/// out until it ends.
pub(crate) fn guard(conn: &Connection, scope: &Admitted<'_>, guard: Option<&Guard>) -> Done<()> {
    let Some(guard) = guard else { return Ok(()) };
    let held =
        conn.prepare_cached(sql::GUARD)?.exists(params![scope.tenant, guard.key, guard.fence.0])?;
    if held { Ok(()) } else { Err(fenced(guard).into()) }
}

fn fenced(guard: &Guard) -> Error {
    Error::Fenced { key: guard.key.clone() }
}

fn micros(ttl: Duration) -> i64 {
    i64::try_from(ttl.as_micros()).expect("a checked lease is at most a day")
}

fn acquire(
    conn: &Connection,
    scope: &Admitted<'_>,
    key: &str,
    holder: &str,
    ttl: Duration,
) -> Done<Lease> {
    let values =
        params![scope.tenant, key, holder, scope.agent, scope.user, now(conn)?, micros(ttl)];
    if let Some(lease) = lease_of(conn, sql::ACQUIRE, values)? {
        return Ok(lease);
    }
    let until: i64 =
        conn.prepare_cached(sql::UNTIL)?.query_row([scope.tenant, key], |row| row.get(0))?;
    let until = crate::memories::rows::time(until)?;
    Err(Error::Held { key: key.to_owned(), until }.into())
}

fn renew(conn: &Connection, scope: &Admitted<'_>, guard: &Guard, ttl: Duration) -> Done<Lease> {
    let values = params![scope.tenant, guard.key, guard.fence.0, now(conn)?, micros(ttl)];
    lease_of(conn, sql::RENEW, values)?.ok_or_else(|| fenced(guard).into())
}

fn release(conn: &Connection, scope: &Admitted<'_>, guard: &Guard) -> Done<()> {
    let changed = conn.prepare_cached(sql::RELEASE)?.execute(params![
        scope.tenant,
        guard.key,
        guard.fence.0
    ])?;
    if changed == 0 { Err(fenced(guard).into()) } else { Ok(()) }
}

fn list(conn: &Connection, scope: &Admitted<'_>, after: &str, limit: u32) -> Done<Paged<Lease>> {
    let mut statement = conn.prepare_cached(sql::LIST)?;
    let mut rows = statement.query(params![scope.tenant, after, now(conn)?, limit + 1])?;
    let mut leases = Vec::new();
    while let Some(row) = rows.next()? {
        leases.push(lease(row)?);
    }
    Ok(Paged::cut(leases, limit, |lease| Cursor::of(CURSOR, &[&lease.key])))
}

fn force_release(conn: &Connection, scope: &Admitted<'_>, key: &str) -> Done<Fence> {
    let holder: Option<Option<String>> = conn
        .prepare_cached(sql::HOLDER)?
        .query_row([scope.tenant, key], |row| row.get(0))
        .optional()?;
    let Some(holder) = holder else { return Err(Error::not_found("lock", key).into()) };
    let fence: i64 =
        conn.prepare_cached(sql::FORCE)?.query_row([scope.tenant, key], |row| row.get(0))?;
    let data = json!({ "key": key, "holder": holder, "fence": fence });
    events::note(conn, scope, LOCK_FORCED, &data, Duration::ZERO)?;
    Ok(Fence(fence))
}

fn lease_of(
    conn: &Connection,
    statement: &str,
    values: &[&dyn rusqlite::ToSql],
) -> Done<Option<Lease>> {
    let mut statement = conn.prepare_cached(statement)?;
    let mut rows = statement.query(values)?;
    rows.next()?.map(lease).transpose()
}

fn lease(row: &Row<'_>) -> Done<Lease> {
    Ok(Lease {
        key: row.get(0)?,
        holder: row.get(1)?,
        fence: Fence(row.get(2)?),
        acquired_at: row::time(row, 3)?,
        expires_at: row::time(row, 4)?,
    })
}
