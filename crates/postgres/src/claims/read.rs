//! Reading a line: what counts now from the projection, what was known then from the ledger.

use chrono::{DateTime, Utc};
use mnemon_core::claims::adjudicate::Rules;
use mnemon_core::claims::fold::{Recorded, fold};
use mnemon_core::claims::{AsOf, Belief, Claim, Line};
use mnemon_core::scope::Admitted;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as};

use super::{Row, WHAT, agent};
use crate::error::Fault;
use crate::row;

/// What is believed about a line.
pub(super) async fn belief(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    line: &Line,
    when: AsOf,
) -> Result<Belief, Fault> {
    let head = query!(
        r#"
        select c.at as "now!", a.last_time as "last_time?"
        from (select mnemon.now() as at) c
        left join mnemon.claim_agents a
          on a.tenant = $1 and a.agent_id = $2 and a.ledger_seq > 0
        "#,
        scope.tenant,
        agent(scope)?,
    )
    .fetch_one(&mut *conn)
    .await?;
    let (as_of, valid_at) = when.resolve(head.last_time, head.now);
    // The projection may be of a write after the head was read: only the ledger says what was
    // known at a time.
    let recorded = match as_of {
        None => Vec::new(),
        Some(then) if Some(then) == head.last_time => {
            let recorded = current(conn, scope, line).await?;
            if recorded.iter().any(|recorded| recorded.claim.recorded_at > then) {
                known_then(conn, scope, line, then).await?
            } else {
                recorded
            }
        }
        Some(then) => known_then(conn, scope, line, then).await?,
    };
    Ok(fold(&recorded, as_of, valid_at, Rules::default()))
}

/// The claims of a line that count now.
pub(super) async fn current(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    line: &Line,
) -> Result<Vec<Recorded>, Fault> {
    let rows = query_as!(
        Row,
        r#"
        select c.id, c.subject, c.predicate, c.value, c.cardinality, c.provenance, c.valid_start,
               c.valid_end, c.valid_time_confidence, c.start_granularity, c.end_granularity,
               c.value_confidence, c.criticality, c.derivation_depth, c.recorded_at, n.disposition
        from mnemon.claim_current n
        join mnemon.claims c
          on c.tenant = n.tenant and c.agent_id = n.agent_id and c.id = n.claim_id
        where n.tenant = $1 and n.agent_id = $2 and n.subject = $3 and n.predicate = $4
        "#,
        scope.tenant,
        agent(scope)?,
        line.subject,
        line.predicate,
    )
    .fetch_all(conn)
    .await?;
    recorded(rows)
}

async fn known_then(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    line: &Line,
    then: DateTime<Utc>,
) -> Result<Vec<Recorded>, Fault> {
    let rows = query_as!(
        Row,
        r#"
        select c.id, c.subject, c.predicate, c.value, c.cardinality, c.provenance, c.valid_start,
               c.valid_end, c.valid_time_confidence, c.start_granularity, c.end_granularity,
               c.value_confidence, c.criticality, c.derivation_depth, c.recorded_at, l.disposition
        from mnemon.claims c
        cross join lateral (
            select l.disposition
            from mnemon.claim_ledger l
            where l.tenant = c.tenant and l.agent_id = c.agent_id and l.claim_id = c.id
              and l.recorded_at <= $5
            order by l.seq desc
            limit 1
        ) l
        where c.tenant = $1 and c.agent_id = $2 and c.subject = $3 and c.predicate = $4
          and c.recorded_at <= $5
        "#,
        scope.tenant,
        agent(scope)?,
        line.subject,
        line.predicate,
        then,
    )
    .fetch_all(conn)
    .await?;
    recorded(rows)
}

fn recorded(rows: Vec<Row>) -> Result<Vec<Recorded>, Fault> {
    let mut line = Vec::with_capacity(rows.len());
    for row in rows {
        let disposition = row::named(&row.disposition, WHAT)?;
        // No operation sets a bound yet.
        line.push(Recorded { claim: Claim::try_from(row)?, disposition, bounds: Vec::new() });
    }
    Ok(line)
}
