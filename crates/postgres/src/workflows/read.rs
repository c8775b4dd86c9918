//! Loading, listing and counting runs.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use mnemon_core::Error;
use mnemon_core::scope::Admitted;
use mnemon_core::workflows::{RunFilter, RunInfo, RunStats, WorkflowRun, WorkflowStats};
use serde_json::Value;
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{FromRow, QueryBuilder, query};

use super::WHAT;
use crate::error::Fault;
use crate::row;

/// One run.
pub(super) async fn load(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &str,
) -> Result<WorkflowRun, Fault> {
    let found = query!(
        r#"
        select kind, repo, status, state, metadata, version, definition_id, definition_version,
               execution, user_id, agent_id, session_id, started_at, updated_at, completed_at,
               error, counters, timings
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
        counters: row::json(found.counters, WHAT)?,
        timings_ms: row::json(found.timings, WHAT)?,
        error: found.error,
        definition: found.definition_id,
        definition_version: found.definition_version.map(i32::unsigned_abs),
        executions: found.execution.unsigned_abs(),
        version: found.version,
        user: found.user_id,
        agent: found.agent_id,
        session: found.session_id,
        started_at: found.started_at,
        updated_at: found.updated_at,
        completed_at: found.completed_at,
    })
}

#[derive(FromRow)]
struct InfoRow {
    id: String,
    kind: String,
    repo: Option<String>,
    status: String,
    metadata: Value,
    error: Option<String>,
    definition_id: Option<String>,
    execution: i32,
    version: i64,
    user_id: Option<String>,
    agent_id: Option<String>,
    started_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    completed_at: Option<DateTime<Utc>>,
}

impl TryFrom<InfoRow> for RunInfo {
    type Error = Error;

    fn try_from(row: InfoRow) -> Result<Self, Error> {
        Ok(Self {
            status: row::named(&row.status, WHAT)?,
            id: row.id,
            kind: row.kind,
            repo: row.repo,
            metadata: row.metadata,
            error: row.error,
            definition: row.definition_id,
            executions: row.execution.unsigned_abs(),
            version: row.version,
            user: row.user_id,
            agent: row.agent_id,
            started_at: row.started_at,
            updated_at: row.updated_at,
            completed_at: row.completed_at,
        })
    }
}

/// The runs that a scope sees and a filter lets through. Every part is a constant, every value is
/// bound.
fn push_asked(query: &mut QueryBuilder<Postgres>, scope: &Admitted<'_>, filter: &RunFilter) {
    query.push("tenant = ").push_bind(scope.tenant.to_owned());
    let texts = [
        (" and user_id = ", scope.user),
        (" and agent_id = ", scope.agent),
        (" and status = ", filter.status.map(mnemon_core::workflows::RunStatus::as_str)),
        (" and kind = ", filter.kind.as_deref()),
        (" and repo = ", filter.repo.as_deref()),
        (" and definition_id = ", filter.definition.as_deref()),
    ];
    for (part, value) in texts {
        if let Some(value) = value {
            query.push(part).push_bind(value.to_owned());
        }
    }
    for (part, at) in
        [(" and started_at >= ", filter.after), (" and started_at <= ", filter.before)]
    {
        if let Some(at) = at {
            query.push(part).push_bind(at);
        }
    }
}

/// Runs from a place on, the newest first.
pub(super) async fn list(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    filter: &RunFilter,
    below: Option<&(DateTime<Utc>, String)>,
    limit: u32,
) -> Result<Vec<RunInfo>, Fault> {
    let mut query = QueryBuilder::<Postgres>::new(
        "select id, kind, repo, status, metadata, error, definition_id, execution, version, \
         user_id, agent_id, started_at, updated_at, completed_at from mnemon.workflow_runs where ",
    );
    push_asked(&mut query, scope, filter);
    if let Some((at, id)) = below {
        query.push(" and (started_at, id) < (").push_bind(*at);
        query.push(", ").push_bind(id.clone()).push(")");
    }
    query.push(" order by started_at desc, id desc limit ").push_bind(i64::from(limit) + 1);
    let rows: Vec<InfoRow> = query.build_query_as().fetch_all(conn).await?;
    rows.into_iter().map(|row| RunInfo::try_from(row).map_err(Fault::Core)).collect()
}

/// What is counted of one run.
pub(super) async fn run_stats(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &str,
) -> Result<RunStats, Fault> {
    let found = query!(
        r#"
        select version, execution, counters, timings, started_at,
               coalesce(completed_at, updated_at) as "until!",
               (select count(*) from mnemon.workflow_executions e
                where e.tenant = $1 and e.run = $2 and e.status = 'failed') as "failures!",
               (select count(*) from mnemon.workflow_jobs j
                where j.tenant = $1 and j.run = $2) as "jobs!"
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
    let duration = (found.until - found.started_at).num_milliseconds();
    Ok(RunStats {
        duration_ms: duration.try_into().unwrap_or_default(),
        executions: found.execution.unsigned_abs(),
        failures: found.failures.try_into().unwrap_or(u32::MAX),
        jobs: found.jobs.try_into().unwrap_or(u32::MAX),
        saves: found.version,
        counters: row::json(found.counters, WHAT)?,
        timings_ms: row::json(found.timings, WHAT)?,
    })
}

#[derive(FromRow)]
struct CountRow {
    status: String,
    runs: i64,
    first: DateTime<Utc>,
    last: DateTime<Utc>,
    ended: i64,
    total_ms: Option<f64>,
}

/// What is counted of many runs, in one statement.
pub(super) async fn stats(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    filter: &RunFilter,
) -> Result<WorkflowStats, Fault> {
    let mut query = QueryBuilder::<Postgres>::new(
        "select status, count(*) as runs, min(started_at) as first, max(started_at) as last, \
         count(completed_at) as ended, \
         sum(extract(epoch from completed_at - started_at) * 1000)::float8 as total_ms \
         from mnemon.workflow_runs where ",
    );
    push_asked(&mut query, scope, filter);
    query.push(" group by status");
    let rows: Vec<CountRow> = query.build_query_as().fetch_all(conn).await?;
    let (mut stats, mut ended, mut total_ms) = (WorkflowStats::default(), 0, 0.0);
    let mut by_status = BTreeMap::new();
    for row in rows {
        stats.total += row.runs.unsigned_abs();
        by_status.insert(row.status, row.runs.unsigned_abs());
        stats.first_started = Some(stats.first_started.map_or(row.first, |at| at.min(row.first)));
        stats.last_started = Some(stats.last_started.map_or(row.last, |at| at.max(row.last)));
        ended += row.ended;
        total_ms += row.total_ms.unwrap_or_default();
    }
    stats.by_status = by_status;
    #[expect(clippy::cast_precision_loss, reason = "an average")]
    let average = (ended > 0).then(|| total_ms / ended as f64);
    stats.average_duration_ms = average;
    Ok(stats)
}
