//! Executions and jobs.

use chrono::{DateTime, Utc};
use mnemon_core::Error;
use mnemon_core::scope::Admitted;
use mnemon_core::workflows::{Execution, Job};
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as, query_scalar};

use crate::error::Fault;
use crate::row;

struct Row {
    run: String,
    execution: i32,
    definition_id: Option<String>,
    definition_version: Option<i32>,
    status: String,
    started_at: DateTime<Utc>,
    finished_at: Option<DateTime<Utc>>,
}

impl TryFrom<Row> for Execution {
    type Error = Error;

    fn try_from(row: Row) -> Result<Self, Error> {
        Ok(Self {
            status: row::named(&row.status, "an execution")?,
            run: row.run,
            execution: row.execution.unsigned_abs(),
            definition: row.definition_id,
            definition_version: row.definition_version.map(i32::unsigned_abs),
            started_at: row.started_at,
            finished_at: row.finished_at,
        })
    }
}

/// A place in a list of executions.
type Place = (DateTime<Utc>, String, i32);

/// A run's executions below a place, the newest first.
pub(super) async fn of_run(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &str,
    below: Option<&Place>,
    limit: u32,
) -> Result<Vec<Execution>, Fault> {
    seen(conn, scope, id).await?;
    let rows = query_as!(
        Row,
        r#"
        select run, execution, definition_id, definition_version, status, started_at, finished_at
        from mnemon.workflow_executions
        where tenant = $1 and run = $2 and execution < $3
        order by execution desc
        limit $4
        "#,
        scope.tenant,
        id,
        below.map_or(i32::MAX, |(_, _, number)| *number),
        i64::from(limit) + 1,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(|row| Execution::try_from(row).map_err(Fault::Core)).collect()
}

/// The executions of runs that followed a definition, below a place, the newest first.
pub(super) async fn of_definition(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    definition: &str,
    below: Option<&Place>,
    limit: u32,
) -> Result<Vec<Execution>, Fault> {
    let rows = query_as!(
        Row,
        r#"
        select run, execution, definition_id, definition_version, status, started_at, finished_at
        from mnemon.workflow_executions
        where tenant = $1 and definition_id = $2
          and ($3::text is null or user_id = $3) and ($4::text is null or agent_id = $4)
          and ($5::timestamptz is null or (started_at, run, execution) < ($5, $6, $7))
        order by started_at desc, run desc, execution desc
        limit $8
        "#,
        scope.tenant,
        definition,
        scope.user,
        scope.agent,
        below.map(|(at, ..)| *at),
        below.map(|(_, run, _)| run.as_str()),
        below.map(|(.., number)| *number),
        i64::from(limit) + 1,
    )
    .fetch_all(conn)
    .await?;
    rows.into_iter().map(|row| Execution::try_from(row).map_err(Fault::Core)).collect()
}

/// Fails unless the scope sees the run.
async fn seen(conn: &mut PgConnection, scope: &Admitted<'_>, id: &str) -> Result<(), Fault> {
    let there = query_scalar!(
        r#"
        select exists (
            select from mnemon.workflow_runs
            where tenant = $1 and id = $2
              and ($3::text is null or user_id = $3) and ($4::text is null or agent_id = $4)
        ) as "there!"
        "#,
        scope.tenant,
        id,
        scope.user,
        scope.agent,
    )
    .fetch_one(conn)
    .await?;
    if there { Ok(()) } else { Err(Error::not_found("workflow run", id).into()) }
}

/// Links a job to a run that stays there meanwhile.
pub(super) async fn link(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &str,
    job: &str,
) -> Result<(), Fault> {
    let owner = query!(
        r#"
        select user_id, agent_id from mnemon.workflow_runs
        where tenant = $1 and id = $2
          and ($3::text is null or user_id = $3) and ($4::text is null or agent_id = $4)
        for key share
        "#,
        scope.tenant,
        id,
        scope.user,
        scope.agent,
    )
    .fetch_optional(&mut *conn)
    .await?
    .ok_or_else(|| Error::not_found("workflow run", id))?;
    query!(
        r#"
        insert into mnemon.workflow_jobs (tenant, job_id, run, user_id, agent_id, created_at)
        values ($1, $2, $3, $4, $5, mnemon.now())
        on conflict (tenant, job_id) do nothing
        "#,
        scope.tenant,
        job,
        id,
        owner.user_id,
        owner.agent_id,
    )
    .execute(&mut *conn)
    .await?;
    let linked = query_scalar!(
        "select run from mnemon.workflow_jobs where tenant = $1 and job_id = $2",
        scope.tenant,
        job,
    )
    .fetch_optional(conn)
    .await?;
    if linked.as_deref() == Some(id) {
        return Ok(());
    }
    Err(Error::AlreadyExists { kind: "job", key: job.to_owned() }.into())
}

/// The run of a job.
pub(super) async fn run_of_job(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    job: &str,
) -> Result<String, Fault> {
    let run = query_scalar!(
        r#"
        select run from mnemon.workflow_jobs
        where tenant = $1 and job_id = $2
          and ($3::text is null or user_id = $3) and ($4::text is null or agent_id = $4)
        "#,
        scope.tenant,
        job,
        scope.user,
        scope.agent,
    )
    .fetch_optional(conn)
    .await?;
    run.ok_or_else(|| Error::not_found("job", job).into())
}

/// A run's jobs after one.
pub(super) async fn jobs(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &str,
    after: &str,
    limit: u32,
) -> Result<Vec<Job>, Fault> {
    seen(conn, scope, id).await?;
    let rows = query!(
        r#"
        select job_id, created_at
        from mnemon.workflow_jobs
        where tenant = $1 and run = $2 and job_id > $3
        order by job_id
        limit $4
        "#,
        scope.tenant,
        id,
        after,
        i64::from(limit) + 1,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(|row| Job { job: row.job_id, linked_at: row.created_at }).collect())
}
