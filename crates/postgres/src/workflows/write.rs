//! Saving a run and moving it from status to status. The run's row is locked first, so that its
//! executions need no lock of their own.

use mnemon_core::Error;
use mnemon_core::scope::Admitted;
use mnemon_core::workflows::{RunStatus, SaveRun, Turn, decide, decide_state, execution};
use sqlx::postgres::PgConnection;
use sqlx::{query, query_scalar};

use super::WHAT;
use crate::error::Fault;
use crate::row;

/// A run as it stands.
struct Current {
    version: i64,
    status: RunStatus,
}

impl Current {
    fn of(found: Option<&Self>) -> Option<(i64, RunStatus)> {
        found.map(|current| (current.version, current.status))
    }
}

/// Saves a run on the version it builds on, inside the caller's transaction. A run that the scope
/// does not see is not found.
pub(crate) async fn save(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    run: &SaveRun,
) -> Result<i64, Fault> {
    let mut found = current(conn, scope, &run.id).await?;
    let mut version = decide(Current::of(found.as_ref()), run)?;
    if found.is_none() {
        if insert(conn, scope, run, version).await? {
            turn(conn, scope, &run.id, execution(None, run.status), run.status).await?;
            return Ok(version);
        }
        // Somebody else made it meanwhile.
        found = current(conn, scope, &run.id).await?;
        version = decide(Current::of(found.as_ref()), run)?;
    }
    update(conn, scope, run, version).await?;
    let from = found.map(|current| current.status);
    turn(conn, scope, &run.id, execution(from, run.status), run.status).await?;
    Ok(version)
}

/// Moves a run to a status.
pub(super) async fn update_state(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &str,
    status: RunStatus,
    error: Option<&str>,
) -> Result<i64, Fault> {
    let found = current(conn, scope, id).await?;
    let found = found.ok_or_else(|| Error::not_found("workflow run", id))?;
    let version = decide_state((found.version, found.status), status)?;
    query!(
        r#"
        update mnemon.workflow_runs w
        set status = $3, version = $4, error = $5, updated_at = c.at,
            completed_at = case when $6 then coalesce(w.completed_at, c.at) end
        from (select mnemon.now() as at) c
        where w.tenant = $1 and w.id = $2
        "#,
        scope.tenant,
        id,
        status.as_str(),
        version,
        error,
        status.ended(),
    )
    .execute(&mut *conn)
    .await?;
    turn(conn, scope, id, execution(Some(found.status), status), status).await?;
    Ok(version)
}

/// Whether the run was made: nobody else was faster.
async fn insert(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    run: &SaveRun,
    version: i64,
) -> Result<bool, Fault> {
    let done = query!(
        r#"
        insert into mnemon.workflow_runs
            (tenant, id, kind, repo, status, version, definition_id, definition_version, execution,
             user_id, agent_id, session_id, run_id, started_at, updated_at, completed_at, error,
             counters, timings, metadata, state)
        select $1, $2, $3, $4, $5, $6, $7, $8, 0, $9, $10, $11, $12, c.at, c.at,
               case when $13 then c.at end, $14, $15, $16, $17, $18
        from (select mnemon.now() as at) c
        on conflict (tenant, id) do nothing
        "#,
        scope.tenant,
        run.id,
        run.kind,
        run.repo,
        run.status.as_str(),
        version,
        run.definition,
        run.definition_version.map(u32::cast_signed),
        scope.user,
        scope.agent,
        scope.session,
        scope.run,
        run.status.ended(),
        run.error,
        serde_json::json!(run.counters),
        serde_json::json!(run.timings_ms),
        run.metadata,
        run.state,
    )
    .execute(conn)
    .await?;
    Ok(done.rows_affected() == 1)
}

async fn update(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    run: &SaveRun,
    version: i64,
) -> Result<(), Fault> {
    query!(
        r#"
        update mnemon.workflow_runs w
        set kind = $3, repo = $4, status = $5, version = $6, definition_id = $7,
            definition_version = $8, updated_at = c.at,
            completed_at = case when $9 then coalesce(w.completed_at, c.at) end, error = $10,
            counters = $11, timings = $12, metadata = $13, state = $14
        from (select mnemon.now() as at) c
        where w.tenant = $1 and w.id = $2
        "#,
        scope.tenant,
        run.id,
        run.kind,
        run.repo,
        run.status.as_str(),
        version,
        run.definition,
        run.definition_version.map(u32::cast_signed),
        run.status.ended(),
        run.error,
        serde_json::json!(run.counters),
        serde_json::json!(run.timings_ms),
        run.metadata,
        run.state,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The run as it stands, locked until the transaction ends.
async fn current(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &str,
) -> Result<Option<Current>, Fault> {
    let found = query!(
        r#"
        select version, status,
               coalesce(($3::text is null or user_id = $3) and ($4::text is null or agent_id = $4),
                        false) as "visible!"
        from mnemon.workflow_runs
        where tenant = $1 and id = $2
        for no key update
        "#,
        scope.tenant,
        id,
        scope.user,
        scope.agent,
    )
    .fetch_optional(conn)
    .await?;
    match found {
        None => Ok(None),
        Some(found) if !found.visible => Err(Error::not_found("workflow run", id).into()),
        Some(found) => {
            Ok(Some(Current { version: found.version, status: row::named(&found.status, WHAT)? }))
        }
    }
}

/// Opens or closes an execution of a run that stands as it was just written, in the same moment.
async fn turn(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &str,
    turn: Turn,
    status: RunStatus,
) -> Result<(), Fault> {
    match turn {
        Turn::None => {}
        Turn::Opens | Turn::Passes => {
            let status = if turn == Turn::Passes { status } else { RunStatus::Running };
            query!(
                r#"
                with run as (
                    update mnemon.workflow_runs
                    set execution = execution + 1
                    where tenant = $1 and id = $2
                    returning execution, definition_id, definition_version, user_id, agent_id,
                              updated_at
                )
                insert into mnemon.workflow_executions
                    (tenant, run, execution, definition_id, definition_version, status, user_id,
                     agent_id, started_at, finished_at)
                select $1, $2, execution, definition_id, definition_version, $3, user_id, agent_id,
                       updated_at, case when $4 then updated_at end
                from run
                "#,
                scope.tenant,
                id,
                status.as_str(),
                turn == Turn::Passes,
            )
            .execute(conn)
            .await?;
        }
        Turn::Closes => {
            query!(
                r#"
                update mnemon.workflow_executions e
                set status = w.status, finished_at = w.updated_at
                from mnemon.workflow_runs w
                where w.tenant = $1 and w.id = $2
                  and e.tenant = $1 and e.run = $2 and e.execution = w.execution
                "#,
                scope.tenant,
                id,
            )
            .execute(conn)
            .await?;
        }
    }
    Ok(())
}

/// Removes a run with its executions and links.
pub(super) async fn delete(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &str,
) -> Result<(), Fault> {
    let gone = query_scalar!(
        r#"
        with gone as (
            delete from mnemon.workflow_runs
            where tenant = $1 and id = $2
              and ($3::text is null or user_id = $3) and ($4::text is null or agent_id = $4)
            returning id
        ), executions as (
            delete from mnemon.workflow_executions e
            using gone g
            where e.tenant = $1 and e.run = g.id
        ), jobs as (
            delete from mnemon.workflow_jobs j
            using gone g
            where j.tenant = $1 and j.run = g.id
        )
        select count(*) as "count!" from gone
        "#,
        scope.tenant,
        id,
        scope.user,
        scope.agent,
    )
    .fetch_one(conn)
    .await?;
    if gone == 1 { Ok(()) } else { Err(Error::not_found("workflow run", id).into()) }
}
