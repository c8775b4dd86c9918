//! Durable consumers in SQLite: places that move under a partition's guard.

use std::time::Duration;

use async_trait::async_trait;
use mnemon_core::consumers::{Consumers, Failed, Failure, Progress, check_group, check_guard};
use mnemon_core::events::Position;
use mnemon_core::locks::{Guard, check_holder, check_ttl};
use mnemon_core::scope::Admitted;
use mnemon_core::{Cursor, EventId, Facet, Result, Scope};
use rusqlite::{Connection, OptionalExtension, params};
use uuid::Uuid;

use crate::error::Done;
use crate::open::now;
use crate::store::SqliteStore;
use crate::{dead_letters, locks};

pub(crate) mod sql {
    crate::sql::statements! {
        GONE = "delete from event_members \
            where tenant = ?1 and consumer = ?2 and expires_at <= ?3";
        JOIN = "insert into event_members (tenant, consumer, member, user_id, expires_at) \
            values (?1, ?2, ?3, ?4, ?5) on conflict (tenant, consumer, member) \
            do update set expires_at = excluded.expires_at";
        MEMBERS = "select member from event_members \
            where tenant = ?1 and consumer = ?2 order by member";
        LEAVE = "delete from event_members where tenant = ?1 and consumer = ?2 and member = ?3";
        PROGRESS = "select part, place, failing, failures from event_consumers \
            where tenant = ?1 and consumer = ?2 order by part";
        STANDING = "select place, failing, failures from event_consumers \
            where tenant = ?1 and consumer = ?2 and part = ?3";
        KEEP = "insert into event_consumers \
            (tenant, consumer, part, user_id, place, failing, failures, updated_at) \
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) on conflict (tenant, consumer, part) \
            do update set place = excluded.place, failing = excluded.failing, \
            failures = excluded.failures, user_id = excluded.user_id, \
            updated_at = excluded.updated_at";
    }
}

#[async_trait]
impl Consumers for SqliteStore {
    async fn join(
        &self,
        scope: &Scope,
        group: &str,
        member: &str,
        ttl: Duration,
    ) -> Result<Vec<String>> {
        self.alive()?;
        scope.admit(Facet::Events)?;
        check_group(group)?;
        check_holder(member)?;
        check_ttl(ttl)?;
        let (scope, group, member) = (scope.clone(), group.to_owned(), member.to_owned());
        self.write("joining a consumer", move |conn| {
            join(conn, &scope.admit(Facet::Events)?, &group, &member, ttl)
        })
        .await
    }

    async fn leave(&self, scope: &Scope, group: &str, member: &str) -> Result<()> {
        self.alive()?;
        scope.admit(Facet::Events)?;
        check_group(group)?;
        check_holder(member)?;
        let (scope, group, member) = (scope.clone(), group.to_owned(), member.to_owned());
        self.write("leaving a consumer", move |conn| {
            let scope = scope.admit(Facet::Events)?;
            conn.prepare_cached(sql::LEAVE)?.execute([scope.tenant, &group, &member])?;
            Ok(())
        })
        .await
    }

    async fn progress(&self, scope: &Scope, group: &str) -> Result<Vec<Progress>> {
        self.alive()?;
        scope.admit(Facet::Events)?;
        check_group(group)?;
        let (scope, group) = (scope.clone(), group.to_owned());
        self.read("reading a consumer", move |conn| {
            progress(conn, &scope.admit(Facet::Events)?, &group)
        })
        .await
    }

    async fn advance(
        &self,
        scope: &Scope,
        group: &str,
        part: u32,
        to: &Cursor,
        guard: &Guard,
    ) -> Result<()> {
        self.alive()?;
        let to = Position::after(scope.admit(Facet::Events)?.tenant, Some(to))?;
        check_guard(group, part, guard)?;
        let (scope, group, guard) = (scope.clone(), group.to_owned(), guard.clone());
        self.write("moving a consumer", move |conn| {
            let scope = scope.admit(Facet::Events)?;
            locks::guard(conn, &scope, Some(&guard))?;
            advance(conn, &scope, &group, part, &to)
        })
        .await
    }

    async fn failed(&self, scope: &Scope, failure: Failure, guard: &Guard) -> Result<Failed> {
        self.alive()?;
        scope.admit(Facet::Events)?;
        failure.check()?;
        check_guard(&failure.group, failure.part, guard)?;
        let (scope, guard) = (scope.clone(), guard.clone());
        self.write("noting a failure", move |conn| {
            let scope = scope.admit(Facet::Events)?;
            locks::guard(conn, &scope, Some(&guard))?;
            failed(conn, &scope, &failure)
        })
        .await
    }
}

fn join(
    conn: &Connection,
    scope: &Admitted<'_>,
    group: &str,
    member: &str,
    ttl: Duration,
) -> Done<Vec<String>> {
    let now = now(conn)?;
    conn.prepare_cached(sql::GONE)?.execute(params![scope.tenant, group, now])?;
    let until = now.saturating_add(i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX));
    conn.prepare_cached(sql::JOIN)?.execute(params![
        scope.tenant,
        group,
        member,
        scope.user,
        until
    ])?;
    let mut statement = conn.prepare_cached(sql::MEMBERS)?;
    let members = statement.query_map([scope.tenant, group], |row| row.get(0))?;
    Ok(members.collect::<rusqlite::Result<_>>()?)
}

/// A row's place, the event that fails, and how often.
type Row = (String, Option<Uuid>, u32);

fn progress(conn: &Connection, scope: &Admitted<'_>, group: &str) -> Done<Vec<Progress>> {
    let mut statement = conn.prepare_cached(sql::PROGRESS)?;
    let mut found = statement.query([scope.tenant, group])?;
    let mut all = Vec::new();
    while let Some(row) = found.next()? {
        let place: String = row.get(1)?;
        let failing: Option<[u8; 16]> = row.get(2)?;
        all.push(Progress {
            part: row.get(0)?,
            place: Some(place).filter(|p| !p.is_empty()).map(|p| p.parse()).transpose()?,
            failing: failing.map(|bytes| EventId(Uuid::from_bytes(bytes))),
            failures: row.get(3)?,
        });
    }
    Ok(all)
}

/// How far a partition came.
struct Standing {
    place: Option<Position>,
    failing: Option<Uuid>,
    failures: u32,
}

fn standing(conn: &Connection, scope: &Admitted<'_>, group: &str, part: u32) -> Done<Standing> {
    let found: Option<Row> = conn
        .prepare_cached(sql::STANDING)?
        .query_row(params![scope.tenant, group, part], |row| {
            let failing: Option<[u8; 16]> = row.get(1)?;
            Ok((row.get(0)?, failing.map(Uuid::from_bytes), row.get(2)?))
        })
        .optional()?;
    let (place, failing, failures) = found.unwrap_or_default();
    let place = Some(place).filter(|place| !place.is_empty());
    Ok(Standing { place: place.map(|place| place.parse()).transpose()?, failing, failures })
}

fn keep(
    conn: &Connection,
    scope: &Admitted<'_>,
    group: &str,
    part: u32,
    standing: &Standing,
) -> Done<()> {
    conn.prepare_cached(sql::KEEP)?.execute(params![
        scope.tenant,
        group,
        part,
        scope.user,
        standing.place.as_ref().map(ToString::to_string).unwrap_or_default(),
        standing.failing.map(Uuid::into_bytes),
        standing.failures,
        now(conn)?,
    ])?;
    Ok(())
}

fn advance(
    conn: &Connection,
    scope: &Admitted<'_>,
    group: &str,
    part: u32,
    to: &Position,
) -> Done<()> {
    if standing(conn, scope, group, part)?.place.is_some_and(|place| place >= *to) {
        return Ok(());
    }
    let moved = Standing { place: Some(to.clone()), failing: None, failures: 0 };
    keep(conn, scope, group, part, &moved)
}

fn failed(conn: &Connection, scope: &Admitted<'_>, failure: &Failure) -> Done<Failed> {
    let (group, part) = (failure.group.as_str(), failure.part);
    let standing = standing(conn, scope, group, part)?;
    let failed = failure.count(standing.failing.map(EventId), standing.failures);
    if failed.buried {
        dead_letters::bury(conn, scope, &failure.burial())?;
        advance(conn, scope, group, part, &failure.event.position)?;
    } else {
        let failing = Some(failure.event.id.0);
        let counted = Standing { failing, failures: failed.failures, ..standing };
        keep(conn, scope, group, part, &counted)?;
    }
    Ok(failed)
}
