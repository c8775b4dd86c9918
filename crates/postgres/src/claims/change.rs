//! Writing decisions: the rows of one agent's change, or of many agents', in one statement that
//! writes all of them behind their agents' heads or, where one of these has moved, nothing.
//!
//! Arrays are unnested as `(select $1)`: the planner cannot see how long each is, so that its plan
//! costs the same every time and is kept. Seen, it is planned anew at every call, which costs more
//! than running it.

use chrono::{DateTime, Utc};
use mnemon_core::claims::Claim;
use mnemon_core::claims::change::{Change, ClaimEdge, Entry};
use mnemon_core::claims::fold::Recorded;
use mnemon_core::claims::ledger::{Head, Written};
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, RequestId};
use sqlx::postgres::PgConnection;
use sqlx::{query, query_scalar};
use uuid::Uuid;

use super::rows::{column, uuids, word_of};
use super::{agent, ledger, questions};
use crate::error::Fault;

/// A change of one agent, and the head it is written behind.
#[derive(Clone, Copy)]
pub(super) struct Behind<'a> {
    pub(super) scope: &'a Admitted<'a>,
    pub(super) head: Option<Head>,
    pub(super) change: &'a Change,
}

impl Behind<'_> {
    /// Whether all of it is rows of the one statement.
    pub(super) fn is_plain(&self) -> bool {
        let change = self.change;
        change.bounds.is_empty()
            && change.questions.is_empty()
            && change.closed.is_empty()
            && change.standing.iter().all(Recorded::may_count)
    }
}

/// Writes a change; the agent's head, which is locked, moves behind it.
pub(super) async fn apply(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    head: &mut Option<Head>,
    change: &Change,
) -> Result<(), Fault> {
    if change.is_empty() {
        return Ok(());
    }
    match apply_all(conn, &[Behind { scope, head: *head, change }]).await? {
        Applied::Behind(moved) => {
            *head = moved.into_iter().next();
            Ok(())
        }
        Applied::Nothing(_) => {
            Err(Error::corrupt("an agent's ledger", "its head moved under its lock").into())
        }
    }
}

/// What became of changes that are written together.
pub(super) enum Applied {
    /// They are written; where the heads stand since.
    Behind(Vec<Head>),
    /// Nothing is written: of these, by place, the head has moved, or somebody holds it.
    Nothing(Vec<usize>),
}

/// Writes changes of different agents, none of them empty. Waits for no head; one that is not as
/// given leaves everything unwritten. What is not plain is to be written inside a transaction.
pub(super) async fn apply_all(
    conn: &mut PgConnection,
    all: &[Behind<'_>],
) -> Result<Applied, Fault> {
    let mut moved = Vec::with_capacity(all.len());
    let mut entries = Vec::new();
    for Behind { scope, head, change } in all {
        let mut head = *head;
        for entry in &change.entries {
            let written = Written::behind(&mut head, entry, change.at, ledger::salt()?);
            entries.push(Noted { scope, entry, written });
        }
        moved.push(head.ok_or_else(|| Error::corrupt("a change", "it has no entry"))?);
    }
    let held = rows(conn, all, &moved, &entries).await?;
    if held.len() < all.len() {
        return Ok(Applied::Nothing((0..all.len()).filter(|at| !held.contains(at)).collect()));
    }
    for Behind { scope, change, .. } in all {
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
    Ok(Applied::Behind(moved))
}

/// A row's writer and the row.
type Of<'a, T> = (&'a Admitted<'a>, &'a T);

/// An entry with its writer.
struct Noted<'a> {
    scope: &'a Admitted<'a>,
    entry: &'a Entry,
    written: Written,
}

/// Every row of these changes that has a column here. Answers which heads, by place, stand as they
/// were; unless all do, nothing is written.
#[expect(clippy::too_many_lines, reason = "one statement and its columns")]
async fn rows(
    conn: &mut PgConnection,
    all: &[Behind<'_>],
    moved: &[Head],
    entries: &[Noted<'_>],
) -> Result<Vec<usize>, Fault> {
    let claims: Vec<Of<'_, Claim>> = all
        .iter()
        .filter_map(|one| one.change.claim.as_ref().map(|claim| (one.scope, claim)))
        .collect();
    let standing: Vec<Of<'_, Recorded>> = all
        .iter()
        .flat_map(|one| one.change.standing.iter().map(move |recorded| (one.scope, recorded)))
        .filter(|(_, recorded)| recorded.may_count())
        .collect();
    let edges: Vec<(&Behind<'_>, &ClaimEdge)> =
        all.iter().flat_map(|one| one.change.edges.iter().map(move |edge| (one, edge))).collect();
    // A head that is there is moved by an insert that conflicts: it finds each by its key, however
    // the planner would join them.
    let held = query_scalar!(
        r#"
        with held as materialized (
            select k.place
            from unnest((select $1::text[]), (select $2::text[]), (select $3::bigint[]))
                with ordinality as k (tenant, agent_id, was, place)
            cross join lateral (
                select from mnemon.claim_agents a
                where a.tenant = k.tenant and a.agent_id = k.agent_id and a.ledger_seq = k.was
                for no key update skip locked
            ) h
        ), go as materialized (
            select count(*) = cardinality((select $1::text[])) as ahead from held
        ), head as (
            insert into mnemon.claim_agents (tenant, agent_id, last_time, ledger_seq, ledger_hash)
            select h.tenant, h.agent_id, h.last_time, h.ledger_seq, h.ledger_hash
            from unnest((select $1::text[]), (select $2::text[]), (select $4::timestamptz[]),
                        (select $5::bigint[]), (select $6::bytea[]))
                as h (tenant, agent_id, last_time, ledger_seq, ledger_hash)
            where (select ahead from go)
            on conflict (tenant, agent_id) do update
            set last_time = excluded.last_time, ledger_seq = excluded.ledger_seq,
                ledger_hash = excluded.ledger_hash
        ), claim as (
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
            from unnest((select $7::text[]), (select $8::text[]), (select $9::uuid[]),
                        (select $10::text[]), (select $11::text[]), (select $12::text[]),
                        (select $13::text[]), (select $14::text[]), (select $15::timestamptz[]),
                        (select $16::timestamptz[]), (select $17::real[]), (select $18::text[]),
                        (select $19::text[]), (select $20::real[]), (select $21::text[]),
                        (select $22::integer[]), (select $23::text[]), (select $24::text[]),
                        (select $25::text[]), (select $26::text[]), (select $27::timestamptz[]))
                as c (tenant, agent_id, id, subject, predicate, value, cardinality, provenance,
                      valid_start, valid_end, valid_time_confidence, start_granularity,
                      end_granularity, value_confidence, criticality, derivation_depth, excludes,
                      user_id, session_id, run_id, recorded_at)
            where (select ahead from go)
        ), current as (
            insert into mnemon.claim_current
                (tenant, agent_id, subject, predicate, claim_id, disposition,
                 valid_time_confidence, starts_at, ends_at, bound_at, re_entries, user_id)
            select n.tenant, n.agent_id, n.subject, n.predicate, n.claim_id, n.disposition,
                   n.valid_time_confidence, coalesce(n.starts_at, '-infinity'),
                   coalesce(n.ends_at, 'infinity'), n.bound_at, n.re_entries, n.user_id
            from unnest((select $28::text[]), (select $29::text[]), (select $30::text[]),
                        (select $31::text[]), (select $32::uuid[]), (select $33::text[]),
                        (select $34::real[]), (select $35::timestamptz[]),
                        (select $36::timestamptz[]), (select $37::timestamptz[]),
                        (select $38::integer[]), (select $39::text[]))
                as n (tenant, agent_id, subject, predicate, claim_id, disposition,
                      valid_time_confidence, starts_at, ends_at, bound_at, re_entries, user_id)
            where (select ahead from go)
            on conflict (tenant, agent_id, subject, predicate, claim_id) do update
            set disposition = excluded.disposition, ends_at = excluded.ends_at,
                bound_at = excluded.bound_at, re_entries = excluded.re_entries
        ), entry as (
            insert into mnemon.claim_ledger
                (tenant, agent_id, seq, kind, claim_id, disposition, request_id, contested_with,
                 user_id, recorded_at, digest, hash)
            select l.tenant, l.agent_id, l.seq, l.kind, l.claim_id, l.disposition, l.request_id,
                   l.contested_with::uuid[], l.user_id, l.recorded_at, l.digest, l.hash
            from unnest((select $40::text[]), (select $41::text[]), (select $42::bigint[]),
                        (select $43::text[]), (select $44::uuid[]), (select $45::text[]),
                        (select $46::text[]), (select $47::text[]), (select $48::text[]),
                        (select $49::timestamptz[]), (select $50::bytea[]),
                        (select $51::bytea[]))
                as l (tenant, agent_id, seq, kind, claim_id, disposition, request_id,
                      contested_with, user_id, recorded_at, digest, hash)
            where (select ahead from go)
        ), payload as (
            insert into mnemon.claim_ledger_payloads
                (tenant, agent_id, seq, user_id, salt, payload)
            select p.tenant, p.agent_id, p.seq, p.user_id, p.salt, p.payload
            from unnest((select $40::text[]), (select $41::text[]), (select $42::bigint[]),
                        (select $48::text[]), (select $52::bytea[]), (select $53::text[]))
                as p (tenant, agent_id, seq, user_id, salt, payload)
            where (select ahead from go)
        ), edge as (
            insert into mnemon.claim_edges
                (tenant, agent_id, claim_id, kind, target_id, user_id, recorded_at)
            select g.tenant, g.agent_id, g.claim_id, g.kind, g.target_id, g.user_id,
                   g.recorded_at
            from unnest((select $54::text[]), (select $55::text[]), (select $56::uuid[]),
                        (select $57::text[]), (select $58::uuid[]), (select $59::text[]),
                        (select $60::timestamptz[]))
                as g (tenant, agent_id, claim_id, kind, target_id, user_id, recorded_at)
            where (select ahead from go)
            on conflict do nothing
        )
        select place as "place!" from held
        "#,
        &column(all, |one| one.scope.tenant) as &[&str],
        &column(all, |one| one.scope.agent) as &[Option<&str>],
        &column(all, |one| one.head.map_or(0, |head| head.seq)),
        &column(moved, |head| head.last_time),
        &column(moved, |head| head.seq),
        &column(moved, |head| head.hash.to_vec()),
        &column(&claims, |(scope, _)| scope.tenant) as &[&str],
        &column(&claims, |(scope, _)| scope.agent) as &[Option<&str>],
        &column(&claims, |(_, claim)| claim.id.0),
        &column(&claims, |(_, claim)| claim.line.subject.as_str()) as &[&str],
        &column(&claims, |(_, claim)| claim.line.predicate.as_str()) as &[&str],
        &column(&claims, |(_, claim)| claim.value.to_string()),
        &column(&claims, |(_, claim)| claim.cardinality.as_str()) as &[&str],
        &column(&claims, |(_, claim)| claim.provenance.as_str()) as &[&str],
        &column(&claims, |(_, claim)| claim.valid_time.start) as &[Option<DateTime<Utc>>],
        &column(&claims, |(_, claim)| claim.valid_time.end) as &[Option<DateTime<Utc>>],
        &column(&claims, |(_, claim)| claim.valid_time.valid_time_confidence),
        &column(&claims, |(_, claim)| word_of(claim.valid_time.start_granularity))
            as &[Option<String>],
        &column(&claims, |(_, claim)| word_of(claim.valid_time.end_granularity))
            as &[Option<String>],
        &column(&claims, |(_, claim)| claim.value_confidence),
        &column(&claims, |(_, claim)| claim.criticality.as_str()) as &[&str],
        &column(&claims, |(_, claim)| i32::try_from(claim.derivation_depth).unwrap_or(i32::MAX)),
        &column(&claims, |(_, claim)| uuids(&claim.excludes)),
        &column(&claims, |(scope, _)| scope.user) as &[Option<&str>],
        &column(&claims, |(scope, _)| scope.session) as &[Option<&str>],
        &column(&claims, |(scope, _)| scope.run) as &[Option<&str>],
        &column(&claims, |(_, claim)| claim.recorded_at),
        &column(&standing, |(scope, _)| scope.tenant) as &[&str],
        &column(&standing, |(scope, _)| scope.agent) as &[Option<&str>],
        &column(&standing, |(_, one)| one.claim.line.subject.as_str()) as &[&str],
        &column(&standing, |(_, one)| one.claim.line.predicate.as_str()) as &[&str],
        &column(&standing, |(_, one)| one.claim.id.0),
        &column(&standing, |(_, one)| one.disposition.as_str()) as &[&str],
        &column(&standing, |(_, one)| one.claim.valid_time.valid_time_confidence),
        &column(&standing, |(_, one)| one.window().start) as &[Option<DateTime<Utc>>],
        &column(&standing, |(_, one)| ends_at(one)) as &[Option<DateTime<Utc>>],
        &column(&standing, |(_, one)| one.bound) as &[Option<DateTime<Utc>>],
        &column(&standing, |(_, one)| i32::try_from(one.re_entries).unwrap_or(i32::MAX)),
        &column(&standing, |(scope, _)| scope.user) as &[Option<&str>],
        &column(entries, |one| one.scope.tenant) as &[&str],
        &column(entries, |one| one.scope.agent) as &[Option<&str>],
        &column(entries, |one| one.written.header.seq),
        &column(entries, |one| one.written.header.kind.as_str()) as &[&str],
        &column(entries, |one| one.written.header.claim.0),
        &column(entries, |one| one.written.header.disposition.as_str()) as &[&str],
        &column(entries, |one| one.entry.request.as_ref().map(RequestId::as_str))
            as &[Option<&str>],
        &column(entries, |one| uuids(&one.entry.contested_with)),
        &column(entries, |one| one.scope.user) as &[Option<&str>],
        &column(entries, |one| one.written.header.recorded_at),
        &column(entries, |one| one.written.digest.to_vec()),
        &column(entries, |one| one.written.hash.to_vec()),
        &column(entries, |one| one.written.salt.to_vec()),
        &column(entries, |one| one.written.payload.as_str()) as &[&str],
        &column(&edges, |(by, _)| by.scope.tenant) as &[&str],
        &column(&edges, |(by, _)| by.scope.agent) as &[Option<&str>],
        &column(&edges, |(_, edge)| edge.from.0),
        &column(&edges, |(_, edge)| edge.kind.as_str()) as &[&str],
        &column(&edges, |(_, edge)| edge.to.0),
        &column(&edges, |(by, _)| by.scope.user) as &[Option<&str>],
        &column(&edges, |(by, _)| by.change.at),
    )
    .fetch_all(conn)
    .await?;
    Ok(held.into_iter().filter_map(|place| usize::try_from(place - 1).ok()).collect())
}

/// Where its window ends; without a start it is about any time.
fn ends_at(recorded: &Recorded) -> Option<DateTime<Utc>> {
    let window = recorded.window();
    window.end.filter(|_| window.start.is_some())
}

/// Writes where one claim stands, or that it counts no more.
pub(super) async fn put(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    recorded: &Recorded,
) -> Result<(), Fault> {
    if !recorded.may_count() {
        return displace(conn, scope, recorded).await;
    }
    let claim = &recorded.claim;
    query!(
        r#"
        insert into mnemon.claim_current
            (tenant, agent_id, subject, predicate, claim_id, disposition, valid_time_confidence,
             starts_at, ends_at, bound_at, re_entries, user_id)
        values ($1, $2, $3, $4, $5, $6, $7, coalesce($8, '-infinity'::timestamptz),
                coalesce($9, 'infinity'::timestamptz), $10, $11, $12)
        "#,
        scope.tenant,
        agent(scope)?,
        claim.line.subject,
        claim.line.predicate,
        claim.id.0,
        recorded.disposition.as_str(),
        claim.valid_time.valid_time_confidence,
        recorded.window().start,
        ends_at(recorded),
        recorded.bound,
        i32::try_from(recorded.re_entries).unwrap_or(i32::MAX),
        scope.user,
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
