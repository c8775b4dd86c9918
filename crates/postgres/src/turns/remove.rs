//! Removing turns: a memory's, a session's, a person's, and those whose time is over. Heads are
//! locked or deleted first: appends wait for them, and so see all of a removal or nothing.

use mnemon_core::scope::Admitted;
use mnemon_core::turns::{Place, Removed};
use mnemon_core::upkeep::Batch;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_scalar};

use crate::error::Fault;

/// Removes what a memory holds; its settings stay. Whoever was writing a summary has no right to
/// it any more.
pub(super) async fn clear(conn: &mut PgConnection, place: &Place<'_>) -> Result<Removed, Fault> {
    let Place { tenant, user, session, run, kind } = *place;
    let reset = query!(
        r#"
        update mnemon.turn_sessions
        set seq = 0, covered_seq = 0, health = 'healthy', failures = 0, paused = false,
            last_error = null, holder = null, lease_until = null, fence = fence + 1
        where tenant = $1 and user_id = $2 and session_id = $3 and run_key = $4 and kind = $5
        "#,
        tenant,
        user,
        session,
        run,
        kind,
    )
    .execute(&mut *conn)
    .await?;
    let gone = query!(
        r#"
        with gone as (
            delete from mnemon.turns
            where tenant = $1 and user_id = $2 and session_id = $3 and run_key = $4 and kind = $5
            returning 1
        ), summaries as (
            delete from mnemon.turn_summaries
            where tenant = $1 and user_id = $2 and session_id = $3 and run_key = $4 and kind = $5
            returning 1
        ), backlog as (
            delete from mnemon.turn_backlog
            where tenant = $1 and user_id = $2 and session_id = $3 and run_key = $4 and kind = $5
        )
        select (select count(*) from gone) as "turns!", (select count(*) from summaries) as "summaries!"
        "#,
        tenant,
        user,
        session,
        run,
        kind,
    )
    .fetch_one(conn)
    .await?;
    Ok(Removed {
        memories: reset.rows_affected(),
        turns: gone.turns.unsigned_abs(),
        summaries: gone.summaries.unsigned_abs(),
    })
}

/// Removes every memory of a session, or of a person.
pub(super) async fn delete(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    session: Option<&str>,
) -> Result<Removed, Fault> {
    let heads = query!(
        "delete from mnemon.turn_sessions
         where tenant = $1 and user_id = $2 and ($3::text is null or session_id = $3)",
        scope.tenant,
        scope.user,
        session,
    )
    .execute(&mut *conn)
    .await?;
    let gone = query!(
        r#"
        with gone as (
            delete from mnemon.turns
            where tenant = $1 and user_id = $2 and ($3::text is null or session_id = $3)
            returning 1
        ), summaries as (
            delete from mnemon.turn_summaries
            where tenant = $1 and user_id = $2 and ($3::text is null or session_id = $3)
            returning 1
        ), backlog as (
            delete from mnemon.turn_backlog
            where tenant = $1 and user_id = $2 and ($3::text is null or session_id = $3)
        )
        select (select count(*) from gone) as "turns!", (select count(*) from summaries) as "summaries!"
        "#,
        scope.tenant,
        scope.user,
        session,
    )
    .fetch_one(conn)
    .await?;
    Ok(Removed {
        memories: heads.rows_affected(),
        turns: gone.turns.unsigned_abs(),
        summaries: gone.summaries.unsigned_abs(),
    })
}

/// Removes a batch of turns whose time is over, and memories that hold none any more. Turns that
/// still wait for a summary stay until they have it.
pub(crate) async fn expire(conn: &mut PgConnection, size: u32) -> Result<Batch, Fault> {
    // Memories that are busy are left for the next time.
    let heads = query!(
        r#"
        with due as (
            select t.tenant, t.user_id, t.session_id, t.run_key, t.kind
            from mnemon.turns t
            join mnemon.turn_sessions s using (tenant, user_id, session_id, run_key, kind)
            where t.expires_at <= (select mnemon.now())
              and (s.strategy <> 'rolling_summary' or t.seq <= s.covered_seq)
            order by t.expires_at
            limit $1
        )
        select s.tenant, s.user_id, s.session_id, s.run_key, s.kind
        from mnemon.turn_sessions s
        where (s.tenant, s.user_id, s.session_id, s.run_key, s.kind) in (select * from due)
        order by s.tenant, s.user_id, s.session_id, s.run_key, s.kind
        for update skip locked
        "#,
        i64::from(size),
    )
    .fetch_all(&mut *conn)
    .await?;
    let column = |of: fn(&_) -> &String| heads.iter().map(of).cloned().collect::<Vec<String>>();
    let (tenants, users) = (column(|row| &row.tenant), column(|row| &row.user_id));
    let (sessions, runs) = (column(|row| &row.session_id), column(|row| &row.run_key));
    let kinds = column(|row| &row.kind);
    let gone = query_scalar!(
        r#"
        with heads as (
            select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
                as h (tenant, user_id, session_id, run_key, kind)
        ), gone as (
            delete from mnemon.turns t
            where t.ctid = any (array(
                select e.ctid
                from heads h
                join mnemon.turn_sessions s using (tenant, user_id, session_id, run_key, kind)
                join mnemon.turns e using (tenant, user_id, session_id, run_key, kind)
                where e.expires_at <= (select mnemon.now())
                  and (s.strategy <> 'rolling_summary' or e.seq <= s.covered_seq)
                order by e.expires_at
                limit $6
            ))
            returning 1
        )
        select count(*) as "gone!" from gone
        "#,
        &tenants,
        &users,
        &sessions,
        &runs,
        &kinds,
        i64::from(size),
    )
    .fetch_one(&mut *conn)
    .await?;
    query!(
        r#"
        with heads as (
            select * from unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[])
                as h (tenant, user_id, session_id, run_key, kind)
        ), empty as (
            delete from mnemon.turn_sessions s
            using heads h
            where (s.tenant, s.user_id, s.session_id, s.run_key, s.kind)
                    = (h.tenant, h.user_id, h.session_id, h.run_key, h.kind)
              and not exists (
                  select from mnemon.turns t
                  where (t.tenant, t.user_id, t.session_id, t.run_key, t.kind)
                          = (h.tenant, h.user_id, h.session_id, h.run_key, h.kind))
            returning s.tenant, s.user_id, s.session_id, s.run_key, s.kind
        ), summaries as (
            delete from mnemon.turn_summaries m using empty e
            where (m.tenant, m.user_id, m.session_id, m.run_key, m.kind)
                    = (e.tenant, e.user_id, e.session_id, e.run_key, e.kind)
        )
        delete from mnemon.turn_backlog b using empty e
        where (b.tenant, b.user_id, b.session_id, b.run_key, b.kind)
                = (e.tenant, e.user_id, e.session_id, e.run_key, e.kind)
        "#,
        &tenants,
        &users,
        &sessions,
        &runs,
        &kinds,
    )
    .execute(conn)
    .await?;
    Ok(Batch { rows: gone.unsigned_abs(), more: gone.unsigned_abs() == u64::from(size) })
}
