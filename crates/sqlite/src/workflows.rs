//! Workflow runs in SQLite: saved by compare-and-set, decided in core.

use async_trait::async_trait;
use mnemon_core::locks::Guard;
use mnemon_core::scope::Admitted;
use mnemon_core::workflows::{RunStatus, SaveRun, WorkflowRun, Workflows, decide};
use mnemon_core::{Error, Facet, Result, Scope, limits};
use rusqlite::{Connection, params};

use crate::error::Done;
use crate::open::now;
use crate::store::SqliteStore;
use crate::{locks, row};

pub(crate) mod sql {
    crate::sql::statements! {
        CURRENT = "select version, status, \
            (?3 is null or user_id = ?3) and (?4 is null or agent_id = ?4) \
            from workflow_runs where tenant = ?1 and id = ?2";
        INSERT = "insert into workflow_runs (tenant, id, kind, repo, status, version, user_id, \
            agent_id, session_id, run_id, started_at, updated_at, metadata, state) \
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?11, ?12, ?13)";
        UPDATE = "update workflow_runs set kind = ?3, repo = ?4, status = ?5, version = ?6, \
            updated_at = ?7, metadata = ?8, state = ?9 where tenant = ?1 and id = ?2";
        LOAD = "select kind, repo, status, state, metadata, version, user_id, agent_id, \
            started_at, updated_at from workflow_runs where tenant = ?1 and id = ?2 \
            and (?3 is null or user_id = ?3) and (?4 is null or agent_id = ?4)";
    }
}

#[async_trait]
impl Workflows for SqliteStore {
    async fn save(&self, scope: &Scope, run: SaveRun, guard: Option<&Guard>) -> Result<i64> {
        self.alive()?;
        scope.admit(Facet::Workflows)?;
        run.check()?;
        locks::check_guard(guard)?;
        let (scope, guard) = (scope.clone(), guard.cloned());
        self.write("saving a workflow run", move |conn| {
            let scope = scope.admit(Facet::Workflows)?;
            locks::guard(conn, &scope, guard.as_ref())?;
            save(conn, &scope, &run)
        })
        .await
    }

    async fn load(&self, scope: &Scope, id: &str) -> Result<WorkflowRun> {
        self.alive()?;
        scope.admit(Facet::Workflows)?;
        limits::name("run.id", id, limits::RUN_ID_BYTES)?;
        let (scope, id) = (scope.clone(), id.to_owned());
        self.read("loading a workflow run", move |conn| {
            load(conn, &scope.admit(Facet::Workflows)?, &id)
        })
        .await
    }
}

/// Saves a run on the version it builds on. A run that the scope does not see is not found.
pub(crate) fn save(conn: &Connection, scope: &Admitted<'_>, run: &SaveRun) -> Done<i64> {
    let current = current(conn, scope, &run.id)?;
    let version = decide(current, run)?;
    let (now, status) = (now(conn)?, run.status.as_str());
    let (metadata, state) = (run.metadata.to_string(), run.state.to_string());
    if current.is_some() {
        conn.prepare_cached(sql::UPDATE)?.execute(params![
            scope.tenant,
            run.id,
            run.kind,
            run.repo,
            status,
            version,
            now,
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
            scope.user,
            scope.agent,
            scope.session,
            scope.run,
            now,
            metadata,
            state
        ])?;
    }
    Ok(version)
}

fn current(conn: &Connection, scope: &Admitted<'_>, id: &str) -> Done<Option<(i64, RunStatus)>> {
    let mut statement = conn.prepare_cached(sql::CURRENT)?;
    let mut rows = statement.query(params![scope.tenant, id, scope.user, scope.agent])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    if !row.get::<_, Option<bool>>(2)?.unwrap_or(false) {
        return Err(Error::not_found("workflow run", id).into());
    }
    Ok(Some((row.get(0)?, row::named(row, 1, "a workflow run")?)))
}

fn load(conn: &Connection, scope: &Admitted<'_>, id: &str) -> Done<WorkflowRun> {
    let mut statement = conn.prepare_cached(sql::LOAD)?;
    let mut rows = statement.query(params![scope.tenant, id, scope.user, scope.agent])?;
    let Some(row) = rows.next()? else {
        return Err(Error::not_found("workflow run", id).into());
    };
    Ok(WorkflowRun {
        id: id.to_owned(),
        kind: row.get(0)?,
        repo: row.get(1)?,
        status: row::named(row, 2, "a workflow run")?,
        state: row::json(row, 3, "a workflow run's state")?,
        metadata: row::json(row, 4, "a workflow run's metadata")?,
        version: row.get(5)?,
        user: row.get(6)?,
        agent: row.get(7)?,
        started_at: row::time(row, 8)?,
        updated_at: row::time(row, 9)?,
    })
}
