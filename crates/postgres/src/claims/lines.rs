//! Loading a line: what counts now from the projection, what was known then from the ledger.

use chrono::{DateTime, Utc};
use mnemon_core::Error;
use mnemon_core::claims::fold::Recorded;
use mnemon_core::claims::resolve::LineState;
use mnemon_core::claims::{AsOf, Claim, ClaimId, Line, Moment, Rules, ValidTime};
use mnemon_core::scope::Admitted;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_as, query_scalar};
use uuid::Uuid;

use super::rows::{Row, WHAT, claim, column, recorded};
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

/// [`current`] of lines of different agents, in the order asked.
pub(super) async fn current_of(
    conn: &mut PgConnection,
    all: &[About<'_>],
    rules: &Rules,
) -> Result<Vec<Vec<Recorded>>, Fault> {
    // What lies behind a lateral reference is asked once per line, by its index: `offset 0` keeps
    // the planner from joining whole tables instead.
    let found = query!(
        r#"
        select k.place as "place!", c.id, c.subject, c.predicate, c.value, c.cardinality,
               c.provenance, c.valid_start, c.valid_end, c.valid_time_confidence,
               c.start_granularity, c.end_granularity, c.value_confidence, c.criticality,
               c.derivation_depth, c.excludes, c.recorded_at, n.disposition as "disposition!",
               n.bound_at as "bound_at?", n.re_entries::bigint as "re_entries!"
        from unnest((select $1::text[]), (select $2::text[]), (select $3::text[]), (select $4::text[]), (select $5::timestamptz[]),
                    (select $6::timestamptz[])) with ordinality
            as k (tenant, agent_id, subject, predicate, since, until, place)
        cross join lateral (
            select m.* from mnemon.claim_current m
            where m.tenant = k.tenant and m.agent_id = k.agent_id and m.subject = k.subject
              and m.predicate = k.predicate
              and m.ends_at > coalesce(k.since, '-infinity'::timestamptz)
              and m.starts_at < coalesce(k.until, 'infinity'::timestamptz)
            union all
            select m.* from mnemon.claim_current m
            where m.tenant = k.tenant and m.agent_id = k.agent_id and m.subject = k.subject
              and m.predicate = k.predicate
              and m.valid_time_confidence < 1 and m.bound_at is null
              and m.starts_at > '-infinity' and m.valid_time_confidence < $7
              and not (m.ends_at > coalesce(k.since, '-infinity'::timestamptz)
                       and m.starts_at < coalesce(k.until, 'infinity'::timestamptz))
            offset 0
        ) n
        cross join lateral (
            select c.* from mnemon.claims c
            where c.tenant = n.tenant and c.agent_id = n.agent_id and c.id = n.claim_id
            offset 0
        ) c
        "#,
        &column(all, |about| about.scope.tenant) as &[&str],
        &column(all, |about| about.scope.agent) as &[Option<&str>],
        &column(all, |about| about.line.subject.as_str()) as &[&str],
        &column(all, |about| about.line.predicate.as_str()) as &[&str],
        &column(all, |about| about.span.from) as &[Option<DateTime<Utc>>],
        &column(all, |about| about.span.until) as &[Option<DateTime<Utc>>],
        rules.valid_time_confidence_threshold,
    )
    .fetch_all(conn)
    .await?;
    let mut lines = vec![Vec::new(); all.len()];
    for found in found {
        let place = usize::try_from(found.place - 1).unwrap_or(usize::MAX);
        let row = Row {
            id: found.id,
            subject: found.subject,
            predicate: found.predicate,
            value: found.value,
            cardinality: found.cardinality,
            provenance: found.provenance,
            valid_start: found.valid_start,
            valid_end: found.valid_end,
            valid_time_confidence: found.valid_time_confidence,
            start_granularity: found.start_granularity,
            end_granularity: found.end_granularity,
            value_confidence: found.value_confidence,
            criticality: found.criticality,
            derivation_depth: found.derivation_depth,
            excludes: found.excludes,
            recorded_at: found.recorded_at,
            disposition: found.disposition,
            bound_at: found.bound_at,
            re_entries: found.re_entries,
        };
        if let Some(line) = lines.get_mut(place) {
            line.push(row.try_into()?);
        }
    }
    Ok(lines)
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
                  and m.predicate = any ($4)
                  and m.ends_at > coalesce($5, $6, h.now)
                  and m.starts_at <= coalesce($5, $6, h.now)
                union all
                select m.claim_id, m.disposition, m.bound_at, m.re_entries
                from mnemon.claim_current m
                where m.tenant = $1 and m.agent_id = $2 and m.subject = $3
                  and m.predicate = any ($4)
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
    let mut standings = Vec::with_capacity(found.ids.len());
    let claims = claims(conn, scope, &found.ids).await?;
    for (at, id) in found.ids.iter().enumerate() {
        let claim = claims.iter().find(|claim| claim.id.0 == *id);
        let claim = claim.ok_or_else(|| Error::corrupt(WHAT, format!("{id} is not there")))?;
        standings.push(Recorded {
            claim: claim.clone(),
            disposition: row::named(&found.dispositions[at], WHAT)?,
            bound: found.bounds[at],
            re_entries: found.re_entries[at].unsigned_abs(),
        });
    }
    Ok((moment, standings))
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

/// Those of these ids that are there, in no order.
pub(super) async fn claims(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    ids: &[Uuid],
) -> Result<Vec<Claim>, Fault> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let rows = query_as!(
        Row,
        r#"
        select c.id, c.subject, c.predicate, c.value, c.cardinality, c.provenance, c.valid_start,
               c.valid_end, c.valid_time_confidence, c.start_granularity, c.end_granularity,
               c.value_confidence, c.criticality, c.derivation_depth, c.excludes, c.recorded_at,
               '' as "disposition!", null::timestamptz as "bound_at?", 0::bigint as "re_entries!"
        from mnemon.claims c
        where c.tenant = $1 and c.agent_id = $2 and c.id = any ($3)
        "#,
        scope.tenant,
        agent(scope)?,
        ids,
    )
    .fetch_all(conn)
    .await?;
    Ok(rows.into_iter().map(claim).collect::<Result<_, _>>()?)
}

/// All of these ids.
pub(super) async fn named(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    ids: &[ClaimId],
) -> Result<Vec<Claim>, Fault> {
    let plain: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
    let found = claims(conn, scope, &plain).await?;
    match ids.iter().find(|id| !found.iter().any(|claim| claim.id == **id)) {
        Some(missing) => Err(Error::not_found("claim", missing).into()),
        None => Ok(found),
    }
}

/// A claim as it stands now.
pub(super) async fn standing(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: ClaimId,
) -> Result<Recorded, Fault> {
    let found = standings(conn, scope, &[id.0]).await?.pop();
    found.ok_or_else(|| Error::not_found("claim", id).into())
}

/// Claims as they stand now.
async fn standings(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    ids: &[Uuid],
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
        cross join lateral mnemon.claim_standing(c.tenant, c.agent_id, c.id, 'infinity') s
        where c.tenant = $1 and c.agent_id = $2 and c.id = any ($3)
        "#,
        scope.tenant,
        agent(scope)?,
        ids,
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

/// What stands on claims that fall.
pub(super) async fn dependents(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    fallen: &[ClaimId],
) -> Result<Vec<(ClaimId, Recorded)>, Fault> {
    let fallen: Vec<Uuid> = fallen.iter().map(|claim| claim.0).collect();
    let edges = query!(
        "select target_id, claim_id from mnemon.claim_edges
         where tenant = $1 and agent_id = $2 and target_id = any ($3) and kind = 'DependsOn'
         order by target_id, claim_id",
        scope.tenant,
        agent(scope)?,
        &fallen,
    )
    .fetch_all(&mut *conn)
    .await?;
    if edges.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<Uuid> = edges.iter().map(|edge| edge.claim_id).collect();
    let standings = standings(conn, scope, &ids).await?;
    let of = |id: Uuid| standings.iter().find(|recorded| recorded.claim.id.0 == id).cloned();
    Ok(edges
        .into_iter()
        .filter_map(|edge| Some((ClaimId(edge.target_id), of(edge.claim_id)?)))
        .collect())
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
