//! Executions and jobs.

use chrono::{DateTime, Utc};
use mnemon_core::scope::Admitted;
use mnemon_core::workflows::{Execution, Job};
use mnemon_core::{Error, Paged};
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::error::Done;
use crate::open::now;
use crate::row;

pub(crate) mod sql {
    crate::sql::statements! {
        SEEN = "select user_id, agent_id from workflow_runs where tenant = ?1 and id = ?2 \
            and (?3 is null or user_id = ?3) and (?4 is null or agent_id = ?4)";
        OF_RUN = "select run, execution, definition_id, definition_version, status, started_at, \
            finished_at from workflow_executions where tenant = ?1 and run = ?2 \
            and execution < ?3 order by execution desc limit ?4";
        OF_DEFINITION = "select run, execution, definition_id, definition_version, status, \
            started_at, finished_at from workflow_executions \
            where tenant = ?1 and definition_id = ?2 \
            and (?3 is null or user_id = ?3) and (?4 is null or agent_id = ?4) \
            and (?5 is null or (started_at, run, execution) < (?5, ?6, ?7)) \
            order by started_at desc, run desc, execution desc limit ?8";
        LINK = "insert into workflow_jobs (tenant, job_id, run, user_id, agent_id, created_at) \
            values (?1, ?2, ?3, ?4, ?5, ?6) on conflict (tenant, job_id) do nothing";
        LINKED = "select run from workflow_jobs where tenant = ?1 and job_id = ?2";
        RUN_OF_JOB = "select run from workflow_jobs where tenant = ?1 and job_id = ?2 \
            and (?3 is null or user_id = ?3) and (?4 is null or agent_id = ?4)";
        JOBS = "select job_id, created_at from workflow_jobs where tenant = ?1 and run = ?2 \
            and job_id > ?3 order by job_id limit ?4";
    }
}

fn read(row: &Row<'_>) -> Done<Execution> {
    Ok(Execution {
        run: row.get(0)?,
        execution: row.get(1)?,
        definition: row.get(2)?,
        definition_version: row.get(3)?,
        status: row::named(row, 4, "an execution")?,
        started_at: row::time(row, 5)?,
        finished_at: row::moment(row, 6)?,
    })
}

/// A place in a list of executions.
type Place = (DateTime<Utc>, String, i32);

/// A run's executions below a place, the newest first.
pub(super) fn of_run(
    conn: &Connection,
    scope: &Admitted<'_>,
    id: &str,
    below: Option<&Place>,
    limit: u32,
) -> Done<Paged<Execution>> {
    seen(conn, scope, id)?;
    let below = below.map_or(i32::MAX, |(_, _, number)| *number);
    let mut statement = conn.prepare_cached(sql::OF_RUN)?;
    let mut rows = statement.query(params![scope.tenant, id, below, limit + 1])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(Paged::cut(found, limit, Execution::cursor))
}

/// The executions of runs that followed a definition, below a place, the newest first.
pub(super) fn of_definition(
    conn: &Connection,
    scope: &Admitted<'_>,
    definition: &str,
    below: Option<&Place>,
    limit: u32,
) -> Done<Paged<Execution>> {
    let mut statement = conn.prepare_cached(sql::OF_DEFINITION)?;
    let mut rows = statement.query(params![
        scope.tenant,
        definition,
        scope.user,
        scope.agent,
        below.map(|(at, ..)| at.timestamp_micros()),
        below.map(|(_, run, _)| run),
        below.map(|(.., number)| number),
        limit + 1
    ])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(Paged::cut(found, limit, Execution::cursor))
}

/// Who started a run that the scope sees.
fn seen(
    conn: &Connection,
    scope: &Admitted<'_>,
    id: &str,
) -> Done<(Option<String>, Option<String>)> {
    let owner = conn
        .prepare_cached(sql::SEEN)?
        .query_row(params![scope.tenant, id, scope.user, scope.agent], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })
        .optional()?;
    owner.ok_or_else(|| Error::not_found("workflow run", id).into())
}

/// Links a job to a run.
pub(super) fn link(conn: &Connection, scope: &Admitted<'_>, id: &str, job: &str) -> Done<()> {
    let (user, agent) = seen(conn, scope, id)?;
    let values = params![scope.tenant, job, id, user, agent, now(conn)?];
    conn.prepare_cached(sql::LINK)?.execute(values)?;
    let linked: String =
        conn.prepare_cached(sql::LINKED)?.query_row([scope.tenant, job], |row| row.get(0))?;
    if linked == id {
        return Ok(());
    }
    Err(Error::AlreadyExists { kind: "job", key: job.to_owned() }.into())
}

/// The run of a job.
pub(super) fn run_of_job(conn: &Connection, scope: &Admitted<'_>, job: &str) -> Done<String> {
    let run = conn
        .prepare_cached(sql::RUN_OF_JOB)?
        .query_row(params![scope.tenant, job, scope.user, scope.agent], |row| row.get(0))
        .optional()?;
    run.ok_or_else(|| Error::not_found("job", job).into())
}

/// A run's jobs after one.
pub(super) fn jobs(
    conn: &Connection,
    scope: &Admitted<'_>,
    id: &str,
    after: &str,
    limit: u32,
) -> Done<Paged<Job>> {
    seen(conn, scope, id)?;
    let mut statement = conn.prepare_cached(sql::JOBS)?;
    let mut rows = statement.query(params![scope.tenant, id, after, limit + 1])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(Job { job: row.get(0)?, linked_at: row::time(row, 1)? });
    }
    Ok(Paged::cut(found, limit, Job::cursor))
}
