//! Writing decisions: the rows of one agent's change or of many agents' in a few statements, each
//! behind its agent's head, and where each claim stands.
//!
//! Arrays are unnested as `(select $1)`: the planner cannot see how long each is, so that its plan
//! costs the same every time and is kept. Seen, it is planned anew at every call, which costs more
//! than running it.

use chrono::{DateTime, Utc};
use mnemon_core::claims::Claim;
use mnemon_core::claims::change::Change;
use mnemon_core::claims::fold::Recorded;
use mnemon_core::scope::Admitted;
use sqlx::postgres::PgConnection;
use sqlx::query;
use uuid::Uuid;

use super::rows::{column, uuids, word_of};
use super::{Head, agent, ledger, questions};
use crate::error::Fault;

/// A change of one agent, and the head it is written behind.
pub(super) struct Behind<'a> {
    pub(super) scope: &'a Admitted<'a>,
    pub(super) head: Option<Head>,
    pub(super) change: &'a Change,
}

/// Writes a change; the agent's head moves behind it.
pub(super) async fn apply(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    head: &mut Option<Head>,
    change: &Change,
) -> Result<(), Fault> {
    let mut one = [Behind { scope, head: *head, change }];
    apply_all(conn, &mut one).await?;
    *head = one[0].head;
    Ok(())
}

/// Writes changes of different agents, whose heads are locked.
pub(super) async fn apply_all(
    conn: &mut PgConnection,
    all: &mut [Behind<'_>],
) -> Result<(), Fault> {
    claims(conn, all).await?;
    for Behind { scope, change, .. } in all.iter() {
        if !change.edges.is_empty() {
            edges(conn, scope, change).await?;
        }
        if !change.bounds.is_empty() {
            bounds(conn, scope, change).await?;
        }
        for recorded in change.standing.iter().filter(|recorded| !recorded.may_count()) {
            displace(conn, scope, recorded).await?;
        }
        for question in &change.questions {
            questions::insert(conn, scope, question, change.at).await?;
        }
        for closed in &change.closed {
            questions::close(conn, scope, closed, change.at).await?;
        }
    }
    ledger::append(conn, all).await
}

/// A row's writer and the row.
type Of<'a, T> = (&'a Admitted<'a>, &'a T);

/// Inserts the claims of these changes, and where what they touch stands.
async fn claims(conn: &mut PgConnection, all: &[Behind<'_>]) -> Result<(), Fault> {
    let new: Vec<Of<'_, Claim>> = all
        .iter()
        .filter_map(|one| one.change.claim.as_ref().map(|claim| (one.scope, claim)))
        .collect();
    let standing: Vec<Of<'_, Recorded>> = all
        .iter()
        .flat_map(|one| one.change.standing.iter().map(move |recorded| (one.scope, recorded)))
        .filter(|(_, recorded)| recorded.may_count())
        .collect();
    if new.is_empty() {
        return place(conn, &standing).await;
    }
    let places = Places::of(&standing);
    query!(
        r#"
        with claim as (
            insert into mnemon.claims
                (tenant, agent_id, id, subject, predicate, value, cardinality, provenance,
                 valid_start, valid_end, valid_time_confidence, start_granularity,
                 end_granularity, value_confidence, criticality, derivation_depth, excludes,
                 user_id, session_id, run_id, recorded_at)
            select c.tenant, c.agent_id, c.id, c.subject, c.predicate, c.value::json,
                   c.cardinality, c.provenance, c.valid_start, c.valid_end,
                   c.valid_time_confidence, c.start_granularity, c.end_granularity,
                   c.value_confidence, c.criticality, c.derivation_depth, c.excludes::uuid[],
                   c.user_id, c.session_id, c.run_id, c.recorded_at
            from unnest((select $1::text[]), (select $2::text[]), (select $3::uuid[]), (select $4::text[]), (select $5::text[]), (select $6::text[]),
                        (select $7::text[]), (select $8::text[]), (select $9::timestamptz[]), (select $10::timestamptz[]),
                        (select $11::real[]), (select $12::text[]), (select $13::text[]), (select $14::real[]), (select $15::text[]),
                        (select $16::integer[]), (select $17::text[]), (select $18::text[]), (select $19::text[]), (select $20::text[]),
                        (select $21::timestamptz[]))
                as c (tenant, agent_id, id, subject, predicate, value, cardinality, provenance,
                      valid_start, valid_end, valid_time_confidence, start_granularity,
                      end_granularity, value_confidence, criticality, derivation_depth, excludes,
                      user_id, session_id, run_id, recorded_at)
        )
        insert into mnemon.claim_current
            (tenant, agent_id, subject, predicate, claim_id, disposition, valid_time_confidence,
             starts_at, ends_at, bound_at, re_entries, user_id)
        select n.tenant, n.agent_id, n.subject, n.predicate, n.claim_id, n.disposition,
               n.valid_time_confidence, coalesce(n.starts_at, '-infinity'),
               coalesce(n.ends_at, 'infinity'), n.bound_at, n.re_entries, n.user_id
        from unnest((select $22::text[]), (select $23::text[]), (select $24::text[]), (select $25::text[]), (select $26::uuid[]), (select $27::text[]),
                    (select $28::real[]), (select $29::timestamptz[]), (select $30::timestamptz[]), (select $31::timestamptz[]),
                    (select $32::integer[]), (select $33::text[]))
            as n (tenant, agent_id, subject, predicate, claim_id, disposition,
                  valid_time_confidence, starts_at, ends_at, bound_at, re_entries, user_id)
        on conflict (tenant, agent_id, subject, predicate, claim_id) do update
        set disposition = excluded.disposition, ends_at = excluded.ends_at,
            bound_at = excluded.bound_at, re_entries = excluded.re_entries
        "#,
        &column(&new, |(scope, _)| scope.tenant) as &[&str],
        &column(&new, |(scope, _)| scope.agent) as &[Option<&str>],
        &column(&new, |(_, claim)| claim.id.0),
        &column(&new, |(_, claim)| claim.line.subject.as_str()) as &[&str],
        &column(&new, |(_, claim)| claim.line.predicate.as_str()) as &[&str],
        &column(&new, |(_, claim)| claim.value.to_string()),
        &column(&new, |(_, claim)| claim.cardinality.as_str()) as &[&str],
        &column(&new, |(_, claim)| claim.provenance.as_str()) as &[&str],
        &column(&new, |(_, claim)| claim.valid_time.start) as &[Option<DateTime<Utc>>],
        &column(&new, |(_, claim)| claim.valid_time.end) as &[Option<DateTime<Utc>>],
        &column(&new, |(_, claim)| claim.valid_time.valid_time_confidence),
        &column(&new, |(_, claim)| word_of(claim.valid_time.start_granularity))
            as &[Option<String>],
        &column(&new, |(_, claim)| word_of(claim.valid_time.end_granularity))
            as &[Option<String>],
        &column(&new, |(_, claim)| claim.value_confidence),
        &column(&new, |(_, claim)| claim.criticality.as_str()) as &[&str],
        &column(&new, |(_, claim)| i32::try_from(claim.derivation_depth).unwrap_or(i32::MAX)),
        &column(&new, |(_, claim)| uuids(&claim.excludes)),
        &column(&new, |(scope, _)| scope.user) as &[Option<&str>],
        &column(&new, |(scope, _)| scope.session) as &[Option<&str>],
        &column(&new, |(scope, _)| scope.run) as &[Option<&str>],
        &column(&new, |(_, claim)| claim.recorded_at),
        &places.tenants as &[&str],
        &places.agents as &[Option<&str>],
        &places.subjects as &[&str],
        &places.predicates as &[&str],
        &places.claims,
        &places.dispositions as &[&str],
        &places.confidences,
        &places.starts as &[Option<DateTime<Utc>>],
        &places.ends as &[Option<DateTime<Utc>>],
        &places.bounds as &[Option<DateTime<Utc>>],
        &places.re_entries,
        &places.users as &[Option<&str>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// The columns of rows of `claim_current`.
struct Places<'a> {
    tenants: Vec<&'a str>,
    agents: Vec<Option<&'a str>>,
    subjects: Vec<&'a str>,
    predicates: Vec<&'a str>,
    claims: Vec<Uuid>,
    dispositions: Vec<&'static str>,
    confidences: Vec<f32>,
    starts: Vec<Option<DateTime<Utc>>>,
    ends: Vec<Option<DateTime<Utc>>>,
    bounds: Vec<Option<DateTime<Utc>>>,
    re_entries: Vec<i32>,
    users: Vec<Option<&'a str>>,
}

impl<'a> Places<'a> {
    fn of(rows: &'a [Of<'a, Recorded>]) -> Self {
        Self {
            tenants: column(rows, |(scope, _)| scope.tenant),
            agents: column(rows, |(scope, _)| scope.agent),
            subjects: column(rows, |(_, recorded)| recorded.claim.line.subject.as_str()),
            predicates: column(rows, |(_, recorded)| recorded.claim.line.predicate.as_str()),
            claims: column(rows, |(_, recorded)| recorded.claim.id.0),
            dispositions: column(rows, |(_, recorded)| recorded.disposition.as_str()),
            confidences: column(rows, |(_, r)| r.claim.valid_time.valid_time_confidence),
            starts: column(rows, |(_, recorded)| recorded.window().start),
            // Without a start it is about any time.
            ends: column(rows, |(_, recorded)| {
                let window = recorded.window();
                window.end.filter(|_| window.start.is_some())
            }),
            bounds: column(rows, |(_, recorded)| recorded.bound),
            re_entries: column(rows, |(_, r)| i32::try_from(r.re_entries).unwrap_or(i32::MAX)),
            users: column(rows, |(scope, _)| scope.user),
        }
    }
}

/// Writes where claims that may count stand among the current ones.
async fn place(conn: &mut PgConnection, standing: &[Of<'_, Recorded>]) -> Result<(), Fault> {
    if standing.is_empty() {
        return Ok(());
    }
    let places = Places::of(standing);
    query!(
        r#"
        insert into mnemon.claim_current
            (tenant, agent_id, subject, predicate, claim_id, disposition, valid_time_confidence,
             starts_at, ends_at, bound_at, re_entries, user_id)
        select n.tenant, n.agent_id, n.subject, n.predicate, n.claim_id, n.disposition,
               n.valid_time_confidence, coalesce(n.starts_at, '-infinity'),
               coalesce(n.ends_at, 'infinity'), n.bound_at, n.re_entries, n.user_id
        from unnest((select $1::text[]), (select $2::text[]), (select $3::text[]), (select $4::text[]), (select $5::uuid[]), (select $6::text[]),
                    (select $7::real[]), (select $8::timestamptz[]), (select $9::timestamptz[]), (select $10::timestamptz[]),
                    (select $11::integer[]), (select $12::text[]))
            as n (tenant, agent_id, subject, predicate, claim_id, disposition,
                  valid_time_confidence, starts_at, ends_at, bound_at, re_entries, user_id)
        on conflict (tenant, agent_id, subject, predicate, claim_id) do update
        set disposition = excluded.disposition, ends_at = excluded.ends_at,
            bound_at = excluded.bound_at, re_entries = excluded.re_entries
        "#,
        &places.tenants as &[&str],
        &places.agents as &[Option<&str>],
        &places.subjects as &[&str],
        &places.predicates as &[&str],
        &places.claims,
        &places.dispositions as &[&str],
        &places.confidences,
        &places.starts as &[Option<DateTime<Utc>>],
        &places.ends as &[Option<DateTime<Utc>>],
        &places.bounds as &[Option<DateTime<Utc>>],
        &places.re_entries,
        &places.users as &[Option<&str>],
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Writes where one claim stands, or that it counts no more.
pub(super) async fn put(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    recorded: &Recorded,
) -> Result<(), Fault> {
    if recorded.may_count() {
        place(conn, &[(scope, recorded)]).await
    } else {
        displace(conn, scope, recorded).await
    }
}

async fn edges(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    change: &Change,
) -> Result<(), Fault> {
    let from: Vec<Uuid> = change.edges.iter().map(|edge| edge.from.0).collect();
    let kinds: Vec<String> = change.edges.iter().map(|e| e.kind.as_str().to_owned()).collect();
    let to: Vec<Uuid> = change.edges.iter().map(|edge| edge.to.0).collect();
    query!(
        r#"
        insert into mnemon.claim_edges
            (tenant, agent_id, claim_id, kind, target_id, user_id, recorded_at)
        select $1, $2, g.claim_id, g.kind, g.target_id, $6, $7
        from unnest((select $3::uuid[]), (select $4::text[]), (select $5::uuid[])) as g (claim_id, kind, target_id)
        on conflict do nothing
        "#,
        scope.tenant,
        agent(scope)?,
        &from,
        &kinds,
        &to,
        scope.user,
        change.at,
    )
    .execute(conn)
    .await?;
    Ok(())
}

async fn bounds(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    change: &Change,
) -> Result<(), Fault> {
    let targets: Vec<Uuid> = change.bounds.iter().map(|bound| bound.target_claim.0).collect();
    let kinds: Vec<String> = change.bounds.iter().map(|b| b.kind.as_str().to_owned()).collect();
    let ends: Vec<Option<DateTime<Utc>>> =
        change.bounds.iter().map(|bound| bound.kind.bound_at()).collect();
    query!(
        r#"
        insert into mnemon.claim_bounds
            (tenant, agent_id, claim_id, recorded_at, kind, bound_at, user_id)
        select $1, $2, g.claim_id, $6, g.kind, g.bound_at, $7
        from unnest((select $3::uuid[]), (select $4::text[]), (select $5::timestamptz[])) as g (claim_id, kind, bound_at)
        "#,
        scope.tenant,
        agent(scope)?,
        &targets,
        &kinds,
        &ends as &[Option<DateTime<Utc>>],
        change.at,
        scope.user,
    )
    .execute(conn)
    .await?;
    Ok(())
}

/// Takes a claim from among the current ones.
pub(super) async fn displace(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    recorded: &Recorded,
) -> Result<(), Fault> {
    let claim = &recorded.claim;
    query!(
        "delete from mnemon.claim_current where tenant = $1 and agent_id = $2
           and subject = $3 and predicate = $4 and claim_id = $5",
        scope.tenant,
        agent(scope)?,
        claim.line.subject,
        claim.line.predicate,
        claim.id.0,
    )
    .execute(conn)
    .await?;
    Ok(())
}
