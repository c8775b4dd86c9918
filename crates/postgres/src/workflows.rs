//! Workflow runs on PostgreSQL: saved by compare-and-set, decided in core.

use async_trait::async_trait;
use mnemon_core::locks::Guard;
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::workflows::{RunStatus, SaveRun, WorkflowRun, Workflows, decide};
use mnemon_core::{Error, Result, Scope, limits};
use sqlx::postgres::PgConnection;
use sqlx::query;

use crate::error::Fault;
use crate::link::{Call, Retry, work};
use crate::store::PostgresStore;
use crate::{locks, row};

const WHAT: &str = "a workflow run";

#[async_trait]
impl Workflows for PostgresStore {
    async fn save(&self, scope: &Scope, run: SaveRun, guard: Option<&Guard>) -> Result<i64> {
        let scope = &scope.admit(Facet::Workflows)?;
        run.check()?;
        locks::check_guard(guard)?;
        // A repeat after a lost answer would report a conflict with itself.
        let call = Call {
            doing: "saving a workflow run",
            tenant: Some(scope.tenant),
            retry: Retry::Never,
        };
        let run = &run;
        self.link
            .transaction(call, |conn| {
                work(async move {
                    locks::guard(conn, scope, guard.map_or(&[], std::slice::from_ref)).await?;
                    save(conn, scope, run).await
                })
            })
            .await
    }

    async fn load(&self, scope: &Scope, id: &str) -> Result<WorkflowRun> {
        let scope = &scope.admit(Facet::Workflows)?;
        limits::name("run.id", id, limits::RUN_ID_BYTES)?;
        let call = Call {
            doing: "loading a workflow run",
            tenant: Some(scope.tenant),
            retry: Retry::Idempotent,
        };
        self.link.run(call, |conn| work(async move { load(conn, scope, id).await })).await
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
    let mut version = decide(found, run)?;
    if found.is_none() {
        if insert(conn, scope, run, version).await? {
            return Ok(version);
        }
        // Somebody else made it meanwhile.
        found = current(conn, scope, &run.id).await?;
        version = decide(found, run)?;
    }
    update(conn, scope, run, version).await?;
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
            (tenant, id, kind, repo, status, version, user_id, agent_id, session_id, run_id,
             started_at, updated_at, metadata, state)
        select $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, c.at, c.at, $11, $12
        from (select mnemon.now() as at) c
        on conflict (tenant, id) do nothing
        "#,
        scope.tenant,
        run.id,
        run.kind,
        run.repo,
        run.status.as_str(),
        version,
        scope.user,
        scope.agent,
        scope.session,
        scope.run,
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
        update mnemon.workflow_runs
        set kind = $3, repo = $4, status = $5, version = $6, updated_at = mnemon.now(),
            metadata = $7, state = $8
        where tenant = $1 and id = $2
        "#,
        scope.tenant,
        run.id,
        run.kind,
        run.repo,
        run.status.as_str(),
        version,
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
) -> Result<Option<(i64, RunStatus)>, Fault> {
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
        Some(found) => Ok(Some((found.version, row::named(&found.status, WHAT)?))),
    }
}

async fn load(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &str,
) -> Result<WorkflowRun, Fault> {
    let found = query!(
        r#"
        select kind, repo, status, state, metadata, version, user_id, agent_id, started_at,
               updated_at
        from mnemon.workflow_runs
        where tenant = $1 and id = $2
          and ($3::text is null or user_id = $3) and ($4::text is null or agent_id = $4)
        "#,
        scope.tenant,
        id,
        scope.user,
        scope.agent,
    )
    .fetch_optional(conn)
    .await?
    .ok_or_else(|| Error::not_found("workflow run", id))?;
    Ok(WorkflowRun {
        id: id.to_owned(),
        kind: found.kind,
        repo: found.repo,
        status: row::named(&found.status, WHAT)?,
        state: found.state,
        metadata: found.metadata,
        version: found.version,
        user: found.user_id,
        agent: found.agent_id,
        started_at: found.started_at,
        updated_at: found.updated_at,
    })
}
