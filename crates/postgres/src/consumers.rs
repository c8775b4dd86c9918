//! Durable consumers on PostgreSQL: places that move under a partition's guard.

use std::time::Duration;

use async_trait::async_trait;
use mnemon_core::consumers::{Consumers, Failed, Failure, Progress, check_group, check_guard};
use mnemon_core::events::Position;
use mnemon_core::locks::{Guard, check_holder, check_ttl};
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::{Cursor, Error, EventId, Result, Scope};
use sqlx::postgres::PgConnection;
use sqlx::{query, query_scalar};
use uuid::Uuid;

use crate::error::Fault;
use crate::link::{Call, Retry, work};
use crate::store::PostgresStore;
use crate::{dead_letters, locks};

#[async_trait]
impl Consumers for PostgresStore {
    async fn join(
        &self,
        scope: &Scope,
        group: &str,
        member: &str,
        ttl: Duration,
    ) -> Result<Vec<String>> {
        let scope = &scope.admit(Facet::Events)?;
        check_group(group)?;
        check_holder(member)?;
        check_ttl(ttl)?;
        self.link
            .transaction(calling("joining a consumer", scope), |conn| {
                work(async move { join(conn, scope, group, member, ttl).await })
            })
            .await
    }

    async fn leave(&self, scope: &Scope, group: &str, member: &str) -> Result<()> {
        let scope = &scope.admit(Facet::Events)?;
        check_group(group)?;
        check_holder(member)?;
        self.link
            .run(calling("leaving a consumer", scope), |conn| {
                work(async move { leave(conn, scope, group, member).await })
            })
            .await
    }

    async fn progress(&self, scope: &Scope, group: &str) -> Result<Vec<Progress>> {
        let scope = &scope.admit(Facet::Events)?;
        check_group(group)?;
        self.link
            .run(calling("reading a consumer", scope), |conn| {
                work(async move { progress(conn, scope, group).await })
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
        let scope = &scope.admit(Facet::Events)?;
        check_guard(group, part, guard)?;
        let to = &Position::after(scope.tenant, Some(to))?;
        self.link
            .transaction(calling("moving a consumer", scope), |conn| {
                work(async move {
                    locks::guard(conn, scope, std::slice::from_ref(guard)).await?;
                    advance(conn, scope, group, part, to).await
                })
            })
            .await
    }

    async fn failed(&self, scope: &Scope, failure: Failure, guard: &Guard) -> Result<Failed> {
        let scope = &scope.admit(Facet::Events)?;
        failure.check()?;
        check_guard(&failure.group, failure.part, guard)?;
        let failure = &failure;
        // Sent again it would count once more.
        let call = Call { retry: Retry::Never, ..calling("noting a failure", scope) };
        self.link
            .transaction(call, |conn| {
                work(async move {
                    locks::guard(conn, scope, std::slice::from_ref(guard)).await?;
                    failed(conn, scope, failure).await
                })
            })
            .await
    }
}

fn calling<'a>(doing: &'static str, scope: &Admitted<'a>) -> Call<'a> {
    Call { doing, tenant: Some(scope.tenant), retry: Retry::Idempotent }
}

async fn join(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    group: &str,
    member: &str,
    ttl: Duration,
) -> Result<Vec<String>, Fault> {
    query!(
        "delete from mnemon.event_members m
         where m.tenant = $1 and m.consumer = $2 and m.member in (
             select e.member from mnemon.event_members e
             where e.tenant = $1 and e.consumer = $2 and e.expires_at <= mnemon.now()
             order by e.member for update skip locked)",
        scope.tenant,
        group,
    )
    .execute(&mut *conn)
    .await?;
    query!(
        r#"
        insert into mnemon.event_members (tenant, consumer, member, user_id, expires_at)
        values ($1, $2, $3, $4, mnemon.now() + make_interval(secs => $5))
        on conflict (tenant, consumer, member) do update set expires_at = excluded.expires_at
        "#,
        scope.tenant,
        group,
        member,
        scope.user,
        ttl.as_secs_f64(),
    )
    .execute(&mut *conn)
    .await?;
    let members = query_scalar!(
        r#"select member from mnemon.event_members
           where tenant = $1 and consumer = $2 and expires_at > (select mnemon.now())
           order by member collate "C""#,
        scope.tenant,
        group,
    )
    .fetch_all(conn)
    .await?;
    Ok(members)
}

async fn leave(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    group: &str,
    member: &str,
) -> Result<(), Fault> {
    query!(
        "delete from mnemon.event_members where tenant = $1 and consumer = $2 and member = $3",
        scope.tenant,
        group,
        member,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn progress(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    group: &str,
) -> Result<Vec<Progress>, Fault> {
    let rows = query!(
        "select part, place, failing, failures from mnemon.event_consumers
         where tenant = $1 and consumer = $2 order by part",
        scope.tenant,
        group,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter()
        .map(|row| {
            let place = Some(row.place).filter(|place| !place.is_empty());
            Ok(Progress {
                part: row.part.unsigned_abs(),
                place: place.map(|place| place.parse()).transpose()?,
                failing: row.failing.map(EventId),
                failures: row.failures.unsigned_abs(),
            })
        })
        .collect()
}

/// A partition's row, locked.
struct Standing {
    place: Option<Position>,
    failing: Option<Uuid>,
    failures: u32,
}

async fn standing(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    group: &str,
    part: u32,
) -> Result<Standing, Fault> {
    let row = query!(
        "select place, failing, failures from mnemon.event_consumers
         where tenant = $1 and consumer = $2 and part = $3 for update",
        scope.tenant,
        group,
        number(part)?,
    )
    .fetch_optional(conn)
    .await?;
    let Some(row) = row else {
        return Ok(Standing { place: None, failing: None, failures: 0 });
    };
    let place = Some(row.place).filter(|place| !place.is_empty());
    Ok(Standing {
        place: place.map(|place| place.parse()).transpose()?,
        failing: row.failing,
        failures: row.failures.unsigned_abs(),
    })
}

fn number(part: u32) -> Result<i32> {
    i32::try_from(part).map_err(|_| Error::invalid("part", "is no partition"))
}

async fn keep(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    group: &str,
    part: u32,
    standing: &Standing,
) -> Result<(), Fault> {
    query!(
        r#"
        insert into mnemon.event_consumers as c
            (tenant, consumer, part, user_id, place, failing, failures, updated_at)
        values ($1, $2, $3, $4, $5, $6, $7, mnemon.now())
        on conflict (tenant, consumer, part) do update
        set place = excluded.place, failing = excluded.failing, failures = excluded.failures,
            user_id = excluded.user_id, updated_at = excluded.updated_at
        "#,
        scope.tenant,
        group,
        number(part)?,
        scope.user,
        standing.place.as_ref().map(ToString::to_string).unwrap_or_default(),
        standing.failing,
        number(standing.failures)?,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn advance(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    group: &str,
    part: u32,
    to: &Position,
) -> Result<(), Fault> {
    let standing = standing(conn, scope, group, part).await?;
    if standing.place.is_some_and(|place| place >= *to) {
        return Ok(());
    }
    let moved = Standing { place: Some(to.clone()), failing: None, failures: 0 };
    keep(conn, scope, group, part, &moved).await
}

async fn failed(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    failure: &Failure,
) -> Result<Failed, Fault> {
    let (group, part) = (failure.group.as_str(), failure.part);
    let standing = standing(conn, scope, group, part).await?;
    let failed = failure.count(standing.failing.map(EventId), standing.failures);
    if failed.buried {
        dead_letters::bury(conn, scope, &failure.burial()).await?;
        advance(conn, scope, group, part, &failure.event.position).await?;
    } else {
        let counted =
            Standing { failing: Some(failure.event.id.0), failures: failed.failures, ..standing };
        keep(conn, scope, group, part, &counted).await?;
    }
    Ok(failed)
}
