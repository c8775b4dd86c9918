//! Loading a line: what counts now from the projection, what was known then from the ledger.

use chrono::{DateTime, Utc};
use mnemon_core::claims::fold::Recorded;
use mnemon_core::claims::ledger::Head;
use mnemon_core::claims::resolve::LineState;
use mnemon_core::claims::{AsOf, Line, Moment, Rules, ValidTime};
use mnemon_core::scope::Admitted;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as, query_scalar};
use uuid::Uuid;

use super::by_id::{self, Stands};
use super::rows::{Row, column, recorded};
use super::{agent, questions};
use crate::error::Fault;
use crate::row;

/// The times a question about a line is about.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    from: Option<DateTime<Utc>>,
    until: Option<DateTime<Utc>>,
}

impl Span {
    /// A window's, if it is trusted; else all.
    pub(super) fn of(window: &ValidTime, rules: &Rules) -> Self {
        if window.is_trusted(rules.valid_time_confidence_threshold) {
            Self { from: window.start, until: window.end }
        } else {
            Self::default()
        }
    }

    pub(super) fn is_all(self) -> bool {
        self.from.is_none() && self.until.is_none()
    }
}

/// The claims of a line that may count at some time of the span, and those whose window the reader
/// does not trust.
pub(super) async fn current(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    line: &Line,
    span: Span,
    rules: &Rules,
) -> Result<Vec<Recorded>, Fault> {
    let rows = query_as!(
        Row,
        r#"
        select c.id, c.subject, c.predicate, c.value, c.cardinality, c.provenance, c.valid_start,
               c.valid_end, c.valid_time_confidence, c.start_granularity, c.end_granularity,
               c.value_confidence, c.criticality, c.derivation_depth, c.excludes, c.recorded_at,
               n.disposition as "disposition!",
               n.bound_at as "bound_at?", n.re_entries::bigint as "re_entries!"
        from (
            select m.* from mnemon.claim_current m
            where m.tenant = $1 and m.agent_id = $2 and m.subject = $3 and m.predicate = $4
              and m.ends_at > coalesce($5, '-infinity'::timestamptz)
              and m.starts_at < coalesce($6, 'infinity'::timestamptz)
            union all
            select m.* from mnemon.claim_current m
            where m.tenant = $1 and m.agent_id = $2 and m.subject = $3 and m.predicate = $4
              and m.valid_time_confidence < 1 and m.bound_at is null
              and m.starts_at > '-infinity' and m.valid_time_confidence < $7
              and not (m.ends_at > coalesce($5, '-infinity'::timestamptz)
                       and m.starts_at < coalesce($6, 'infinity'::timestamptz))
        ) n
        join mnemon.claims c
          on c.tenant = n.tenant and c.agent_id = n.agent_id and c.id = n.claim_id
        "#,
        scope.tenant,
        agent(scope)?,
        line.subject,
        line.predicate,
        span.from,
        span.until,
        rules.valid_time_confidence_threshold,
    )
    .fetch_all(conn)
    .await?;
    Ok(recorded(rows)?)
}

/// Whether the line has any claim that may count.
pub(super) async fn is_said(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    line: &Line,
) -> Result<bool, Fault> {
    let said = query_scalar!(
        r#"
        select exists (
            select from mnemon.claim_current
            where tenant = $1 and agent_id = $2 and subject = $3 and predicate = $4
        ) as "said!"
        "#,
        scope.tenant,
        agent(scope)?,
        line.subject,
        line.predicate,
    )
    .fetch_one(conn)
    .await?;
    Ok(said)
}

/// A line of some agent, and the times a question about it is about.
pub(super) struct About<'a> {
    pub(super) scope: &'a Admitted<'a>,
    pub(super) line: Line,
    pub(super) span: Span,
}

/// What a decision about a line stands on, of one moment.
pub(super) struct Found {
    pub(super) head: Option<Head>,
    pub(super) now: DateTime<Utc>,
    /// As [`current`] answers it.
    pub(super) near: Vec<Recorded>,
}

/// The heads of different agents that have one, each with what may count of a line of theirs, in
/// the order asked. Heads and standings are one statement's, so that they fit.
pub(super) async fn found(
    conn: &mut PgConnection,
    all: &[About<'_>],
    rules: &Rules,
) -> Result<Vec<Option<Found>>, Fault> {
    // What lies behind a lateral reference is asked once per line, by its index: `offset 0` keeps
    // the planner from joining whole tables instead.
    let rows = query!(
        r#"
        select k.place as "place!", h.last_time, h.ledger_seq, h.ledger_hash,
               mnemon.now() as "now!", n.claim_id as "claim_id?",
               n.disposition as "disposition?", n.bound_at as "bound_at?",
               n.re_entries as "re_entries?"
        from unnest((select $1::text[]), (select $2::text[]), (select $3::text[]),
                    (select $4::text[]), (select $5::timestamptz[]), (select $6::timestamptz[]))
            with ordinality as k (tenant, agent_id, subject, predicate, since, until, place)
        cross join lateral (
            select a.last_time, a.ledger_seq, a.ledger_hash from mnemon.claim_agents a
            where a.tenant = k.tenant and a.agent_id = k.agent_id
            offset 0
        ) h
        left join lateral (
            select m.claim_id, m.disposition, m.bound_at, m.re_entries
            from mnemon.claim_current m
            where m.tenant = k.tenant and m.agent_id = k.agent_id and m.subject = k.subject
              and m.predicate = k.predicate
              and m.ends_at > coalesce(k.since, '-infinity'::timestamptz)
              and m.starts_at < coalesce(k.until, 'infinity'::timestamptz)
            union all
            select m.claim_id, m.disposition, m.bound_at, m.re_entries
            from mnemon.claim_current m
            where m.tenant = k.tenant and m.agent_id = k.agent_id and m.subject = k.subject
              and m.predicate = k.predicate
              and m.valid_time_confidence < 1 and m.bound_at is null
              and m.starts_at > '-infinity' and m.valid_time_confidence < $7
              and not (m.ends_at > coalesce(k.since, '-infinity'::timestamptz)
                       and m.starts_at < coalesce(k.until, 'infinity'::timestamptz))
            offset 0
        ) n on true
        "#,
        &column(all, |about| about.scope.tenant) as &[&str],
        &column(all, |about| about.scope.agent) as &[Option<&str>],
        &column(all, |about| about.line.subject.as_str()) as &[&str],
        &column(all, |about| about.line.predicate.as_str()) as &[&str],
        &column(all, |about| about.span.from) as &[Option<DateTime<Utc>>],
        &column(all, |about| about.span.until) as &[Option<DateTime<Utc>>],
        rules.valid_time_confidence_threshold,
    )
    .fetch_all(&mut *conn)
    .await?;
    let mut found: Vec<Option<Found>> = all.iter().map(|_| None).collect();
    let mut stands = Vec::new();
    for row in rows {
        let place = usize::try_from(row.place - 1).unwrap_or(usize::MAX);
        let Some(about) = all.get(place) else { continue };
        if found[place].is_none() {
            let hash = row::hash(&row.ledger_hash, "an agent's ledger")?;
            let head = Head { last_time: row.last_time, seq: row.ledger_seq, hash };
            let head = (head.seq > 0).then_some(head);
            found[place] = Some(Found { head, now: row.now, near: Vec::new() });
        }
        if let (Some(claim), Some(disposition)) = (row.claim_id, row.disposition) {
            let re_entries = row.re_entries.unwrap_or_default();
            let bound_at = row.bound_at;
            let scope = about.scope;
            stands.push((place, Stands { scope, claim, disposition, bound_at, re_entries }));
        }
    }
    let (places, stands): (Vec<usize>, Vec<Stands<'_>>) = stands.into_iter().unzip();
    for (place, recorded) in places.into_iter().zip(by_id::standing_so(conn, &stands).await?) {
        if let Some(found) = &mut found[place] {
            found.near.push(recorded);
        }
    }
    Ok(found)
}

/// A reading of some predicates of a subject: when it is, and what may count then. The agent's
/// head and what stands are one statement's, so that they fit; claims themselves never change.
pub(super) async fn known(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    subject: &str,
    predicates: &[String],
    when: AsOf,
    rules: &Rules,
) -> Result<(Moment, Vec<Recorded>), Fault> {
    // Hidden behind a subquery, the predicates cost the planner's custom plan as much as the kept one.
    let found = query!(
        r#"
        select h.now as "now!", a.last_time as "last_time?",
               coalesce(r.ids, '{}') as "ids!: Vec<Uuid>",
               coalesce(r.dispositions, '{}') as "dispositions!: Vec<String>",
               coalesce(r.bounds, '{}') as "bounds!: Vec<Option<DateTime<Utc>>>",
               coalesce(r.re_entries, '{}') as "re_entries!: Vec<i32>"
        from (select mnemon.now() as now) h
        left join mnemon.claim_agents a
          on a.tenant = $1 and a.agent_id = $2 and a.ledger_seq > 0
        left join lateral (
            select array_agg(n.claim_id) as ids, array_agg(n.disposition) as dispositions,
                   array_agg(n.bound_at) as bounds, array_agg(n.re_entries) as re_entries
            from (
                select m.claim_id, m.disposition, m.bound_at, m.re_entries
                from mnemon.claim_current m
                where m.tenant = $1 and m.agent_id = $2 and m.subject = $3
                  and m.predicate = any ((select $4::text[])::text[])
                  and m.ends_at > coalesce($5, $6, h.now)
                  and m.starts_at <= coalesce($5, $6, h.now)
                union all
                select m.claim_id, m.disposition, m.bound_at, m.re_entries
                from mnemon.claim_current m
                where m.tenant = $1 and m.agent_id = $2 and m.subject = $3
                  and m.predicate = any ((select $4::text[])::text[])
                  and m.valid_time_confidence < 1 and m.bound_at is null
                  and m.starts_at > '-infinity' and m.valid_time_confidence < $7
                  and not (m.ends_at > coalesce($5, $6, h.now)
                           and m.starts_at <= coalesce($5, $6, h.now))
            ) n
        ) r on true
        "#,
        scope.tenant,
        agent(scope)?,
        subject,
        predicates,
        when.valid_at,
        when.as_of,
        rules.valid_time_confidence_threshold,
    )
    .fetch_one(&mut *conn)
    .await?;
    let moment = when.resolve(found.last_time, found.now);
    if let Some(then) = moment.as_of
        && moment.as_of != found.last_time
    {
        return Ok((moment, known_then(conn, scope, subject, predicates, then).await?));
    }
    let stands: Vec<Stands<'_>> = found
        .ids
        .into_iter()
        .zip(found.dispositions)
        .zip(found.bounds)
        .zip(found.re_entries)
        .map(|(((claim, disposition), bound_at), re_entries)| Stands {
            scope,
            claim,
            disposition,
            bound_at,
            re_entries,
        })
        .collect();
    Ok((moment, by_id::standing_so(conn, &stands).await?))
}

/// Every claim of some predicates of a subject as it stood then.
async fn known_then(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    subject: &str,
    predicates: &[String],
    then: DateTime<Utc>,
) -> Result<Vec<Recorded>, Fault> {
    let rows = query_as!(
        Row,
        r#"
        select c.id, c.subject, c.predicate, c.value, c.cardinality, c.provenance, c.valid_start,
               c.valid_end, c.valid_time_confidence, c.start_granularity, c.end_granularity,
               c.value_confidence, c.criticality, c.derivation_depth, c.excludes, c.recorded_at,
               s.disposition as "disposition!",
               s.bound_at as "bound_at?", s.re_entries as "re_entries!"
        from mnemon.claims c
        cross join lateral mnemon.claim_standing(c.tenant, c.agent_id, c.id, $5) s
        where c.tenant = $1 and c.agent_id = $2 and c.subject = $3 and c.predicate = any ($4)
          and c.recorded_at <= $5
        "#,
        scope.tenant,
        agent(scope)?,
        subject,
        predicates,
        then,
    )
    .fetch_all(conn)
    .await?;
    Ok(recorded(rows)?)
}

/// A line as a decision about it needs it.
pub(super) async fn state(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    line: &Line,
    rules: &Rules,
) -> Result<LineState, Fault> {
    Ok(LineState {
        line: line.clone(),
        claims: current(conn, scope, line, Span::default(), rules).await?,
        open: questions::of_line(conn, scope, line).await?,
    })
}

/// Lines with a contested claim.
pub(super) async fn contested(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    most: usize,
) -> Result<Vec<Line>, Fault> {
    let lines = query_as!(
        Line,
        "select distinct subject, predicate from mnemon.claim_current
         where tenant = $1 and agent_id = $2
           and disposition in ('Contested', 'QueuedForAdjudication')
         order by subject, predicate
         limit $3",
        scope.tenant,
        agent(scope)?,
        i64::try_from(most).unwrap_or(i64::MAX),
    )
    .fetch_all(conn)
    .await?;
    Ok(lines)
}
