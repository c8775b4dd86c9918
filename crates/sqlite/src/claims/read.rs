//! Reading a line: what counts now from the projection, what was known then from the ledger.

use chrono::{DateTime, Utc};
use mnemon_core::claims::adjudicate::Rules;
use mnemon_core::claims::fold::{Recorded, fold};
use mnemon_core::claims::{AsOf, Belief, Line};
use mnemon_core::scope::Admitted;
use rusqlite::{Connection, params};

use super::{agent, claim, head};
use crate::error::Done;
use crate::memories::rows;
use crate::open::now;
use crate::row;

pub(crate) mod sql {
    use crate::claims::columns;

    crate::sql::statements! {
        CURRENT = concat!(
            "select ", columns!(), ", n.disposition from claim_current n join claims c \
             on c.tenant = n.tenant and c.agent_id = n.agent_id and c.id = n.claim_id \
             where n.tenant = ?1 and n.agent_id = ?2 and n.subject = ?3 and n.predicate = ?4"
        );
        KNOWN_THEN = concat!(
            "select ", columns!(), ", (select l.disposition from claim_ledger l \
             where l.tenant = c.tenant and l.agent_id = c.agent_id and l.claim_id = c.id \
             and l.recorded_at <= ?5 order by l.seq desc limit 1) from claims c \
             where c.tenant = ?1 and c.agent_id = ?2 and c.subject = ?3 and c.predicate = ?4 \
             and c.recorded_at <= ?5"
        );
    }
}

/// What is believed about a line.
pub(super) fn belief(
    conn: &Connection,
    scope: &Admitted<'_>,
    line: &Line,
    when: AsOf,
) -> Done<Belief> {
    let last = head(conn, scope)?.map(|head| head.last_time);
    let (as_of, valid_at) = when.resolve(last, rows::time(now(conn)?)?);
    let recorded = match as_of {
        Some(then) if Some(then) != last => known_then(conn, scope, line, then)?,
        _ => current(conn, scope, line)?,
    };
    Ok(fold(&recorded, as_of, valid_at, Rules::default()))
}

/// The claims of a line that count now.
pub(super) fn current(conn: &Connection, scope: &Admitted<'_>, line: &Line) -> Done<Vec<Recorded>> {
    let values = params![scope.tenant, agent(scope)?, line.subject, line.predicate];
    load(conn, sql::CURRENT, values)
}

fn known_then(
    conn: &Connection,
    scope: &Admitted<'_>,
    line: &Line,
    then: DateTime<Utc>,
) -> Done<Vec<Recorded>> {
    let then = then.timestamp_micros();
    let values = params![scope.tenant, agent(scope)?, line.subject, line.predicate, then];
    load(conn, sql::KNOWN_THEN, values)
}

fn load(
    conn: &Connection,
    statement: &str,
    values: &[&dyn rusqlite::ToSql],
) -> Done<Vec<Recorded>> {
    let mut statement = conn.prepare_cached(statement)?;
    let mut rows = statement.query(values)?;
    let mut line = Vec::new();
    while let Some(row) = rows.next()? {
        line.push(Recorded {
            claim: claim(row)?,
            disposition: row::named(row, 15, "a claim")?,
            // No operation sets a bound yet.
            bounds: Vec::new(),
        });
    }
    Ok(line)
}
