//! Loading, listing and counting runs.

use chrono::{DateTime, Utc};
use mnemon_core::scope::Admitted;
use mnemon_core::workflows::{RunFilter, RunInfo, RunStats, WorkflowRun, WorkflowStats};
use mnemon_core::{Error, Paged};
use rusqlite::{Connection, ToSql, params};

use super::WHAT;
use crate::error::Done;
use crate::row;

/// The runs that a scope sees and a filter lets through. Binds [`Asked`].
macro_rules! asked {
    () => {
        "tenant = :tenant and (:user is null or user_id = :user) \
         and (:agent is null or agent_id = :agent) and (:kind is null or kind = :kind) \
         and (:definition is null or definition_id = :definition) \
         and (:after is null or started_at >= :after) \
         and (:before is null or started_at <= :before) \
         and (:status is null or status = :status) and (:repo is null or repo = :repo)"
    };
}

pub(crate) mod sql {
    crate::sql::statements! {
        LOAD = "select kind, repo, status, state, metadata, version, user_id, agent_id, \
            started_at, updated_at, completed_at, error, counters, timings, definition_id, \
            definition_version, execution, session_id \
            from workflow_runs where tenant = ?1 and id = ?2 \
            and (?3 is null or user_id = ?3) and (?4 is null or agent_id = ?4)";
        LIST = concat!(
            "select id, kind, repo, status, metadata, error, definition_id, execution, version, \
             user_id, agent_id, started_at, updated_at, completed_at from workflow_runs where ",
            asked!(),
            " and (:below is null or (started_at, id) < (:below, :id)) \
              order by started_at desc, id desc limit :limit"
        );
        /// The same, said so that the status is searched for.
        LIST_STATUS = concat!(
            "select id, kind, repo, status, metadata, error, definition_id, execution, version, \
             user_id, agent_id, started_at, updated_at, completed_at from workflow_runs where ",
            asked!(),
            " and status = :status and (:below is null or (started_at, id) < (:below, :id)) \
              order by started_at desc, id desc limit :limit"
        );
        COUNTS = concat!(
            "select status, count(*), min(started_at), max(started_at), count(completed_at), \
             total(completed_at - started_at) from workflow_runs where ", asked!(),
            " group by status"
        );
        RUN_COUNTS = "select version, execution, counters, timings, started_at, \
            coalesce(completed_at, updated_at), \
            (select count(*) from workflow_executions e where e.tenant = ?1 and e.run = ?2 \
             and e.status = 'failed'), \
            (select count(*) from workflow_jobs j where j.tenant = ?1 and j.run = ?2) \
            from workflow_runs where tenant = ?1 and id = ?2 \
            and (?3 is null or user_id = ?3) and (?4 is null or agent_id = ?4)";
    }
}

/// One run.
pub(super) fn load(conn: &Connection, scope: &Admitted<'_>, id: &str) -> Done<WorkflowRun> {
    let mut statement = conn.prepare_cached(sql::LOAD)?;
    let mut rows = statement.query(params![scope.tenant, id, scope.user, scope.agent])?;
    let row = rows.next()?.ok_or_else(|| Error::not_found("workflow run", id))?;
    Ok(WorkflowRun {
        id: id.to_owned(),
        kind: row.get(0)?,
        repo: row.get(1)?,
        status: row::named(row, 2, WHAT)?,
        state: row::json(row, 3, "a workflow run's state")?,
        metadata: row::json(row, 4, "a workflow run's metadata")?,
        version: row.get(5)?,
        user: row.get(6)?,
        agent: row.get(7)?,
        started_at: row::time(row, 8)?,
        updated_at: row::time(row, 9)?,
        completed_at: row::moment(row, 10)?,
        error: row.get(11)?,
        counters: row::json(row, 12, WHAT)?,
        timings_ms: row::json(row, 13, WHAT)?,
        definition: row.get(14)?,
        definition_version: row.get(15)?,
        executions: row.get(16)?,
        session: row.get(17)?,
    })
}

/// A named value.
type Named<'a> = (&'static str, &'a dyn ToSql);

/// What [`asked`] binds.
struct Asked<'a> {
    texts: [(&'static str, Option<&'a str>); 7],
    times: [(&'static str, Option<i64>); 2],
}

impl<'a> Asked<'a> {
    fn by(scope: &Admitted<'a>, filter: &'a RunFilter) -> Self {
        let micros = |at: Option<DateTime<Utc>>| at.map(|at| at.timestamp_micros());
        Self {
            texts: [
                (":tenant", Some(scope.tenant)),
                (":user", scope.user),
                (":agent", scope.agent),
                (":status", filter.status.map(mnemon_core::workflows::RunStatus::as_str)),
                (":kind", filter.kind.as_deref()),
                (":repo", filter.repo.as_deref()),
                (":definition", filter.definition.as_deref()),
            ],
            times: [(":after", micros(filter.after)), (":before", micros(filter.before))],
        }
    }

    fn values(&self) -> Vec<Named<'_>> {
        let texts = self.texts.iter().map(|(name, text)| (*name, text as &dyn ToSql));
        texts.chain(self.times.iter().map(|(name, at)| (*name, at as &dyn ToSql))).collect()
    }
}

/// Runs from a place on, the newest first.
pub(super) fn list(
    conn: &Connection,
    scope: &Admitted<'_>,
    filter: &RunFilter,
    below: Option<&(DateTime<Utc>, String)>,
    limit: u32,
) -> Done<Paged<RunInfo>> {
    let (at, id) = (below.map(|(at, _)| at.timestamp_micros()), below.map(|(_, id)| id));
    let (asked, most) = (Asked::by(scope, filter), limit + 1);
    let mut values = asked.values();
    values.push((":below", &at));
    values.push((":id", &id));
    values.push((":limit", &most));
    let statement = if filter.status.is_some() { sql::LIST_STATUS } else { sql::LIST };
    let mut statement = conn.prepare_cached(statement)?;
    let mut rows = statement.query(values.as_slice())?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(RunInfo {
            id: row.get(0)?,
            kind: row.get(1)?,
            repo: row.get(2)?,
            status: row::named(row, 3, WHAT)?,
            metadata: row::json(row, 4, WHAT)?,
            error: row.get(5)?,
            definition: row.get(6)?,
            executions: row.get(7)?,
            version: row.get(8)?,
            user: row.get(9)?,
            agent: row.get(10)?,
            started_at: row::time(row, 11)?,
            updated_at: row::time(row, 12)?,
            completed_at: row::moment(row, 13)?,
        });
    }
    Ok(Paged::cut(found, limit, RunInfo::cursor))
}

/// What is counted of one run.
pub(super) fn run_stats(conn: &Connection, scope: &Admitted<'_>, id: &str) -> Done<RunStats> {
    let mut statement = conn.prepare_cached(sql::RUN_COUNTS)?;
    let mut rows = statement.query(params![scope.tenant, id, scope.user, scope.agent])?;
    let row = rows.next()?.ok_or_else(|| Error::not_found("workflow run", id))?;
    let duration = (row::time(row, 5)? - row::time(row, 4)?).num_milliseconds();
    Ok(RunStats {
        duration_ms: duration.try_into().unwrap_or_default(),
        executions: row.get(1)?,
        failures: row.get(6)?,
        jobs: row.get(7)?,
        saves: row.get(0)?,
        counters: row::json(row, 2, WHAT)?,
        timings_ms: row::json(row, 3, WHAT)?,
    })
}

/// What is counted of many runs.
pub(super) fn stats(
    conn: &Connection,
    scope: &Admitted<'_>,
    filter: &RunFilter,
) -> Done<WorkflowStats> {
    let asked = Asked::by(scope, filter);
    let mut statement = conn.prepare_cached(sql::COUNTS)?;
    let mut rows = statement.query(asked.values().as_slice())?;
    let (mut stats, mut ended, mut total) = (WorkflowStats::default(), 0_i64, 0.0_f64);
    while let Some(row) = rows.next()? {
        let runs = row.get::<_, i64>(1)?.unsigned_abs();
        let (first, last) = (row::time(row, 2)?, row::time(row, 3)?);
        stats.total += runs;
        stats.by_status.insert(row.get(0)?, runs);
        stats.first_started = Some(stats.first_started.map_or(first, |at| at.min(first)));
        stats.last_started = Some(stats.last_started.map_or(last, |at| at.max(last)));
        ended += row.get::<_, i64>(4)?;
        total += row.get::<_, f64>(5)?;
    }
    #[expect(clippy::cast_precision_loss, reason = "an average")]
    let average = (ended > 0).then(|| total / 1000.0 / ended as f64);
    stats.average_duration_ms = average;
    Ok(stats)
}
