//! Saving a run and moving it from status to status, with its executions.

use mnemon_core::Error;
use mnemon_core::scope::Admitted;
use mnemon_core::workflows::{RunStatus, SaveRun, Turn, decide, decide_state, execution};
use rusqlite::{Connection, params};
use serde_json::json;

use super::WHAT;
use crate::error::Done;
use crate::open::now;
use crate::row;

pub(crate) mod sql {
    crate::sql::statements! {
        CURRENT = "select version, status, \
            (?3 is null or user_id = ?3) and (?4 is null or agent_id = ?4) \
            from workflow_runs where tenant = ?1 and id = ?2";
        INSERT = "insert into workflow_runs (tenant, id, kind, repo, status, version, \
            definition_id, definition_version, execution, user_id, agent_id, session_id, run_id, \
            started_at, updated_at, completed_at, error, counters, timings, metadata, state) \
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?15, ?16, ?17, ?18, ?9, ?9, \
            iif(?10, ?9, null), ?11, ?12, ?13, ?14, ?19)";
        UPDATE = "update workflow_runs set kind = ?3, repo = ?4, status = ?5, version = ?6, \
            definition_id = ?7, definition_version = ?8, updated_at = ?9, \
            completed_at = iif(?10, coalesce(completed_at, ?9), null), error = ?11, \
            counters = ?12, timings = ?13, metadata = ?14, state = ?15 \
            where tenant = ?1 and id = ?2";
        MOVE = "update workflow_runs set status = ?3, version = ?4, error = ?5, updated_at = ?6, \
            completed_at = iif(?7, coalesce(completed_at, ?6), null) \
            where tenant = ?1 and id = ?2";
        COUNT_ONE = "update workflow_runs set execution = execution + 1 \
            where tenant = ?1 and id = ?2";
        OPEN = "insert into workflow_executions (tenant, run, execution, definition_id, \
            definition_version, status, user_id, agent_id, started_at, finished_at) \
            select tenant, id, execution, definition_id, definition_version, ?3, user_id, \
            agent_id, ?4, ?5 from workflow_runs where tenant = ?1 and id = ?2";
        CLOSE = "update workflow_executions set status = ?3, finished_at = ?4 \
            where tenant = ?1 and run = ?2 and execution = \
            (select execution from workflow_runs where tenant = ?1 and id = ?2)";
        FORGET_EXECUTIONS = "delete from workflow_executions where tenant = ?1 and run = ?2";
        FORGET_JOBS = "delete from workflow_jobs where tenant = ?1 and run = ?2";
        FORGET = "delete from workflow_runs where tenant = ?1 and id = ?2";
    }
}

/// Saves a run on the version it builds on. A run that the scope does not see is not found.
pub(crate) fn save(conn: &Connection, scope: &Admitted<'_>, run: &SaveRun) -> Done<i64> {
    let current = current(conn, scope, &run.id)?;
    let version = decide(current, run)?;
    let (now, status) = (now(conn)?, run.status.as_str());
    let (counters, timings) = (json!(run.counters).to_string(), json!(run.timings_ms).to_string());
    let (metadata, state) = (run.metadata.to_string(), run.state.to_string());
    if current.is_some() {
        conn.prepare_cached(sql::UPDATE)?.execute(params![
            scope.tenant,
            run.id,
            run.kind,
            run.repo,
            status,
            version,
            run.definition,
            run.definition_version,
            now,
            run.status.ended(),
            run.error,
            counters,
            timings,
            metadata,
            state
        ])?;
    } else {
        conn.prepare_cached(sql::INSERT)?.execute(params![
            scope.tenant,
            run.id,
            run.kind,
            run.repo,
            status,
            version,
            run.definition,
            run.definition_version,
            now,
            run.status.ended(),
            run.error,
            counters,
            timings,
            metadata,
            scope.user,
            scope.agent,
            scope.session,
            scope.run,
            state
        ])?;
    }
    let turned = execution(current.map(|(_, status)| status), run.status);
    turn(conn, scope, &run.id, turned, run.status, now)?;
    Ok(version)
}

/// Moves a run to a status.
pub(super) fn update_state(
    conn: &Connection,
    scope: &Admitted<'_>,
    id: &str,
    status: RunStatus,
    error: Option<&str>,
) -> Done<i64> {
    let found = current(conn, scope, id)?.ok_or_else(|| Error::not_found("workflow run", id))?;
    let version = decide_state(found, status)?;
    let now = now(conn)?;
    conn.prepare_cached(sql::MOVE)?.execute(params![
        scope.tenant,
        id,
        status.as_str(),
        version,
        error,
        now,
        status.ended()
    ])?;
    turn(conn, scope, id, execution(Some(found.1), status), status, now)?;
    Ok(version)
}

/// Opens or closes an execution of a run that stands as it was just written.
fn turn(
    conn: &Connection,
    scope: &Admitted<'_>,
    id: &str,
    turn: Turn,
    status: RunStatus,
    now: i64,
) -> Done<()> {
    match turn {
        Turn::None => {}
        Turn::Opens | Turn::Passes => {
            let (status, finished_at) = match turn {
                Turn::Passes => (status, Some(now)),
                _ => (RunStatus::Running, None),
            };
            conn.prepare_cached(sql::COUNT_ONE)?.execute([scope.tenant, id])?;
            conn.prepare_cached(sql::OPEN)?.execute(params![
                scope.tenant,
                id,
                status.as_str(),
                now,
                finished_at
            ])?;
        }
        Turn::Closes => {
            let values = params![scope.tenant, id, status.as_str(), now];
            conn.prepare_cached(sql::CLOSE)?.execute(values)?;
        }
    }
    Ok(())
}

fn current(conn: &Connection, scope: &Admitted<'_>, id: &str) -> Done<Option<(i64, RunStatus)>> {
    let mut statement = conn.prepare_cached(sql::CURRENT)?;
    let mut rows = statement.query(params![scope.tenant, id, scope.user, scope.agent])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    if !row.get::<_, Option<bool>>(2)?.unwrap_or(false) {
        return Err(Error::not_found("workflow run", id).into());
    }
    Ok(Some((row.get(0)?, row::named(row, 1, WHAT)?)))
}

/// Removes a run with its executions and links.
pub(super) fn delete(conn: &Connection, scope: &Admitted<'_>, id: &str) -> Done<()> {
    current(conn, scope, id)?.ok_or_else(|| Error::not_found("workflow run", id))?;
    for statement in [sql::FORGET_EXECUTIONS, sql::FORGET_JOBS, sql::FORGET] {
        conn.prepare_cached(statement)?.execute([scope.tenant, id])?;
    }
    Ok(())
}
