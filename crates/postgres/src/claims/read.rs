//! Reading: what is believed, of one line or of a whole subject, and a line's history.

use mnemon_core::Paged;
use mnemon_core::claims::adjudicate::next_time;
use mnemon_core::claims::change::{Change, Entry};
use mnemon_core::claims::fold::{Recorded, fold};
use mnemon_core::claims::history::{self, Place};
use mnemon_core::claims::{
    AsOf, Belief, Believed, History, LedgerKind, Line, Rules, SubjectBelief,
};
use mnemon_core::scope::Admitted;
use serde_json::json;
use sqlx::postgres::PgConnection;
use sqlx::{query_as, query_scalar};

use super::rows::{Row, recorded, time};
use super::{agent, change, ledger, lines};
use crate::error::Fault;

/// What is believed about a line.
pub(super) async fn belief(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    line: &Line,
    when: AsOf,
    rules: &Rules,
) -> Result<Belief, Fault> {
    let predicates = std::slice::from_ref(&line.predicate);
    let (moment, known) = lines::known(conn, scope, &line.subject, predicates, when, rules).await?;
    Ok(fold(&known, moment, rules))
}

/// The same, noting what was shown.
pub(super) async fn served(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    line: &Line,
    when: AsOf,
    rules: &Rules,
) -> Result<Belief, Fault> {
    let (mut head, now) = ledger::lock(conn, scope).await?;
    let belief = belief(conn, scope, line, when, rules).await?;
    let mut noted = Change::new(next_time(head.map(|head| head.last_time), now));
    noted.entries = belief.primary.iter().chain(&belief.alternatives).map(shown).collect();
    change::apply(conn, scope, &mut head, &noted).await?;
    Ok(belief)
}

fn shown(believed: &Believed) -> Entry {
    Entry {
        kind: LedgerKind::ServedAsInjected,
        claim: believed.claim,
        disposition: believed.disposition,
        contested_with: Vec::new(),
        request: None,
        payload: json!({}),
    }
}

/// What is believed about a subject, by predicate, behind one.
pub(super) async fn subject(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    subject: &str,
    when: AsOf,
    (after, limit): (&str, u32),
    rules: &Rules,
) -> Result<Paged<SubjectBelief>, Fault> {
    let predicates = query_scalar!(
        r#"
        select distinct predicate collate "C" as "predicate!"
        from mnemon.claims
        where tenant = $1 and agent_id = $2 and subject = $3 and predicate collate "C" > $4
        order by 1
        limit $5
        "#,
        scope.tenant,
        agent(scope)?,
        subject,
        after,
        i64::from(limit) + 1,
    )
    .fetch_all(&mut *conn)
    .await?;
    let page = Paged::cut(predicates, limit, |predicate| history::predicate_cursor(predicate));
    let (moment, known) = lines::known(conn, scope, subject, &page.items, when, rules).await?;
    let items = page
        .items
        .into_iter()
        .map(|predicate| {
            let line: Vec<Recorded> = known
                .iter()
                .filter(|recorded| recorded.claim.line.predicate == predicate)
                .cloned()
                .collect();
            SubjectBelief { belief: fold(&line, moment, rules), predicate }
        })
        .collect();
    Ok(Paged { items, next: page.next })
}

/// A page of a line's history, in canonical order.
pub(super) async fn history(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    line: &Line,
    when: AsOf,
    (after, limit): (Option<Place>, u32),
    rules: &Rules,
) -> Result<History, Fault> {
    let predicates = std::slice::from_ref(&line.predicate);
    let (moment, known) = lines::known(conn, scope, &line.subject, predicates, when, rules).await?;
    let belief = fold(&known, moment, rules);
    let (place, recorded_at, id) = match after {
        Some((place, recorded_at, id)) => (Some(time(place)?), Some(time(recorded_at)?), id.0),
        None => (None, None, uuid::Uuid::nil()),
    };
    let rows = query_as!(
        Row,
        r#"
        select c.id, c.subject, c.predicate, c.value, c.cardinality, c.provenance, c.valid_start,
               c.valid_end, c.valid_time_confidence, c.start_granularity, c.end_granularity,
               c.value_confidence, c.criticality, c.derivation_depth, c.excludes, c.recorded_at,
               s.disposition as "disposition!",
               s.bound_at as "bound_at?", s.re_entries as "re_entries!"
        from (
            select c.*, case when c.valid_start is not null and c.valid_time_confidence >= $6
                             then c.valid_start else c.recorded_at end as place
            from mnemon.claims c
            where c.tenant = $1 and c.agent_id = $2 and c.subject = $3 and c.predicate = $4
              and c.recorded_at <= coalesce($5, '-infinity'::timestamptz)
        ) c
        cross join lateral mnemon.claim_standing(
            c.tenant, c.agent_id, c.id, coalesce($5, '-infinity'::timestamptz)) s
        where (c.place, c.recorded_at, c.id)
              > (coalesce($7, '-infinity'::timestamptz), coalesce($8, '-infinity'::timestamptz), $9)
        order by c.place, c.recorded_at, c.id
        limit $10
        "#,
        scope.tenant,
        agent(scope)?,
        line.subject,
        line.predicate,
        moment.as_of,
        rules.valid_time_confidence_threshold,
        place,
        recorded_at,
        id,
        i64::from(limit) + 1,
    )
    .fetch_all(conn)
    .await?;
    let page =
        Paged::cut(recorded(rows)?, limit, |recorded| history::cursor(&recorded.claim, rules));
    Ok(History {
        entries: page
            .items
            .iter()
            .map(|recorded| history::entry(recorded, &belief, moment, rules))
            .collect(),
        next: page.next,
        as_of: moment.as_of,
        valid_at: moment.valid_at,
    })
}
