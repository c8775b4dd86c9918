//! Loading a line: what counts now from the projection, what was known then from the ledger.

use chrono::{DateTime, Utc};
use mnemon_core::Error;
use mnemon_core::claims::fold::Recorded;
use mnemon_core::claims::resolve::LineState;
use mnemon_core::claims::{Claim, ClaimId, Line, Rules, ValidTime};
use mnemon_core::scope::Admitted;
use rusqlite::{Connection, ToSql, params};

use super::rows::{ALWAYS, FOREVER, claim, micros, recorded};
use super::{agent, questions};
use crate::error::Done;

pub(crate) mod sql {
    use crate::claims::rows::{columns, standing};

    /// Whose and which line, in the first four parameters.
    macro_rules! of_line {
        ($alias:literal) => {
            concat!(
                $alias,
                ".tenant = ?1 and ",
                $alias,
                ".agent_id = ?2 and ",
                $alias,
                ".subject = ?3 and ",
                $alias,
                ".predicate = ?4"
            )
        };
    }

    /// A current standing with its claim.
    macro_rules! current {
        () => {
            concat!(
                "select ", columns!(), ", n.disposition, n.bound_at, n.re_entries \
                 from claim_current n join claims c \
                 on c.tenant = n.tenant and c.agent_id = n.agent_id and c.id = n.claim_id where "
            )
        };
    }

    crate::sql::statements! {
        /// Those that may be about a time from ?5 until ?6, and those whose window the reader does
        /// not trust (?7).
        CURRENT = concat!(
            current!(), of_line!("n"), " and n.ends_at > ?5 and n.starts_at < ?6 union all ",
            current!(), of_line!("n"), " and n.valid_time_confidence < 1 and n.bound_at is null \
             and n.starts_at > -9223372036854775808 and n.valid_time_confidence < ?7 \
             and not (n.ends_at > ?5 and n.starts_at < ?6)"
        );
        SAID = concat!("select 1 from claim_current n where ", of_line!("n"), " limit 1");
        KNOWN_THEN = concat!(
            "select ", columns!(), ", ", standing!("?5"), " from claims c where ", of_line!("c"),
            " and c.recorded_at <= ?5"
        );
        GET = concat!(
            "select ", columns!(), " from claims c \
             where c.tenant = ?1 and c.agent_id = ?2 and c.id = ?3"
        );
        /// As it stands now.
        STANDING = concat!(
            "select ", columns!(), ", ", standing!("9223372036854775807"), " from claims c \
             where c.tenant = ?1 and c.agent_id = ?2 and c.id = ?3"
        );
        /// What stands on a claim.
        DEPENDENTS = "select claim_id from claim_edges where tenant = ?1 and agent_id = ?2 \
            and target_id = ?3 and kind = 'DependsOn' order by claim_id";
        CONTESTED = "select distinct subject, predicate from claim_current where tenant = ?1 \
            and agent_id = ?2 and disposition in ('Contested', 'QueuedForAdjudication') \
            order by subject, predicate limit ?3";
    }
}

/// The times a question about a line is about.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    from: i64,
    until: i64,
}

impl Span {
    /// All of them.
    pub(super) const ALL: Self = Self { from: ALWAYS, until: FOREVER };

    /// One moment.
    pub(super) fn at(moment: DateTime<Utc>) -> Self {
        let from = micros(moment);
        Self { from, until: from.saturating_add(1) }
    }

    /// A window's, if it is trusted; else all.
    pub(super) fn of(window: &ValidTime, rules: &Rules) -> Self {
        match window.start {
            Some(start) if window.is_trusted(rules.valid_time_confidence_threshold) => {
                Self { from: micros(start), until: window.end.map_or(FOREVER, micros) }
            }
            _ => Self::ALL,
        }
    }

    pub(super) fn is_all(self) -> bool {
        (self.from, self.until) == (ALWAYS, FOREVER)
    }
}

/// The claims of a line that may count at some time of the span.
pub(super) fn current(
    conn: &Connection,
    scope: &Admitted<'_>,
    line: &Line,
    span: Span,
    rules: &Rules,
) -> Done<Vec<Recorded>> {
    let threshold = rules.valid_time_confidence_threshold;
    let values = params![
        scope.tenant,
        agent(scope)?,
        line.subject,
        line.predicate,
        span.from,
        span.until,
        threshold
    ];
    load(conn, sql::CURRENT, values)
}

/// Whether the line has any claim that may count.
pub(super) fn is_said(conn: &Connection, scope: &Admitted<'_>, line: &Line) -> Done<bool> {
    let mut statement = conn.prepare_cached(sql::SAID)?;
    let values = params![scope.tenant, agent(scope)?, line.subject, line.predicate];
    Ok(statement.exists(values)?)
}

/// Every claim of a line as it stood then.
pub(super) fn known_then(
    conn: &Connection,
    scope: &Admitted<'_>,
    line: &Line,
    then: DateTime<Utc>,
) -> Done<Vec<Recorded>> {
    let then = micros(then);
    let values = params![scope.tenant, agent(scope)?, line.subject, line.predicate, then];
    load(conn, sql::KNOWN_THEN, values)
}

pub(super) fn load(
    conn: &Connection,
    statement: &str,
    values: &[&dyn ToSql],
) -> Done<Vec<Recorded>> {
    let mut statement = conn.prepare_cached(statement)?;
    let mut rows = statement.query(values)?;
    let mut line = Vec::new();
    while let Some(row) = rows.next()? {
        line.push(recorded(row)?);
    }
    Ok(line)
}

/// The claims of these ids.
pub(super) fn claims(conn: &Connection, scope: &Admitted<'_>, ids: &[ClaimId]) -> Done<Vec<Claim>> {
    let mut statement = conn.prepare_cached(sql::GET)?;
    let agent = agent(scope)?;
    ids.iter()
        .map(|id| {
            let mut rows = statement.query(params![scope.tenant, agent, id.0.as_bytes()])?;
            match rows.next()? {
                Some(row) => claim(row),
                None => Err(Error::not_found("claim", id).into()),
            }
        })
        .collect()
}

/// A claim as it stands now.
pub(super) fn standing(conn: &Connection, scope: &Admitted<'_>, id: ClaimId) -> Done<Recorded> {
    let values = params![scope.tenant, agent(scope)?, id.0.as_bytes()];
    let found = load(conn, sql::STANDING, values)?.pop();
    found.ok_or_else(|| Error::not_found("claim", id).into())
}

/// A line as a decision about it needs it.
pub(super) fn state(
    conn: &Connection,
    scope: &Admitted<'_>,
    line: &Line,
    rules: &Rules,
) -> Done<LineState> {
    Ok(LineState {
        line: line.clone(),
        claims: current(conn, scope, line, Span::ALL, rules)?,
        open: questions::of_line(conn, scope, line)?,
    })
}

/// What stands on claims that fall.
pub(super) fn dependents(
    conn: &Connection,
    scope: &Admitted<'_>,
    fallen: &[ClaimId],
) -> Done<Vec<(ClaimId, Recorded)>> {
    let mut statement = conn.prepare_cached(sql::DEPENDENTS)?;
    let mut found = Vec::new();
    for claim in fallen {
        let key = params![scope.tenant, agent(scope)?, claim.0.as_bytes()];
        let mut rows = statement.query(key)?;
        while let Some(row) = rows.next()? {
            found.push((*claim, standing(conn, scope, ClaimId(crate::row::id(row, 0)?))?));
        }
    }
    Ok(found)
}

/// Lines with a contested claim.
pub(super) fn contested(conn: &Connection, scope: &Admitted<'_>, most: usize) -> Done<Vec<Line>> {
    let mut statement = conn.prepare_cached(sql::CONTESTED)?;
    let most = i64::try_from(most).unwrap_or(i64::MAX);
    let values = params![scope.tenant, agent(scope)?, most];
    let lines = statement
        .query_map(values, |row| Ok(Line { subject: row.get(0)?, predicate: row.get(1)? }))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(lines)
}
