//! Writing: under the agent's lock, reads inside it, decided by core.

use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, TimeDelta, Utc};
use mnemon_core::claims::adjudicate::{Decided, Fresh, Seen, assertion, next_time, re_entry};
use mnemon_core::claims::change::Change;
use mnemon_core::claims::ledger::Head;
use mnemon_core::claims::resolve::{self, LineState};
use mnemon_core::claims::{
    Asserted, Changed, ClaimId, ClaimWrite, HandleId, Line, NewClaim, Provenance, Rules,
};
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, limits};
use sqlx::postgres::PgConnection;
use sqlx::{Connection as _, query};
use uuid::Uuid;

use super::change::{Applied, Behind};
use super::lines::{About, Found, Span};
use super::{agent, by_id, change, ledger, lines, questions};
use crate::error::{self, Cure, Fault};
use crate::row;

/// Writes a claim inside the caller's transaction, or answers what it repeats.
pub(crate) async fn assert(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    new: &NewClaim,
    rules: &Rules,
) -> Result<Asserted, Fault> {
    let (mut head, now) = ledger::lock(conn, scope).await?;
    if let Some(first) = first_outcome(conn, scope, new).await? {
        return Ok(first);
    }
    let at = next_time(head.map(|head| head.last_time), now);
    let decided = if new.provenance == Provenance::RecallReEntry {
        let named = new.derived_from.first().expect("checked: it names one claim");
        let repeated = by_id::standing(conn, scope, *named).await?;
        let since = at - limits::RE_ENTRY_WINDOW;
        let recent = ledger::re_entries_since(conn, scope, *named, since).await?;
        re_entry(new, &repeated, recent, at, rules)?
    } else {
        decide(conn, scope, new, at, rules).await?
    };
    change::apply(conn, scope, &mut head, &decided.change).await?;
    Ok(decided.asserted)
}

async fn decide(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    new: &NewClaim,
    at: DateTime<Utc>,
    rules: &Rules,
) -> Result<Decided, Fault> {
    let named = by_id::named(conn, scope, &new.named()).await?;
    let line = new.line()?;
    let span = Span::of(&new.valid_time, rules);
    let near = lines::current(conn, scope, &line, span, rules).await?;
    let beyond = near.is_empty() && !span.is_all() && lines::is_said(conn, scope, &line).await?;
    let seen = Seen { line: &near, beyond, named: &named, at };
    Ok(assertion(scope, new, fresh(), seen, rules)?)
}

/// What the caller of one claim is told.
pub(super) type Outcome = mnemon_core::Result<Asserted>;

/// A claim to write together with those of other agents.
#[derive(Clone, Copy)]
pub(super) struct Said<'a> {
    pub(super) scope: &'a Admitted<'a>,
    pub(super) claim: &'a NewClaim,
}

/// Writes claims of different agents, each as if alone, all of them at once; waits for no agent.
/// `None` for a claim whose agent is new, or that somebody else writes for: it is still to be
/// written.
///
/// Nothing is locked while it is decided. What was read still holds when it is written, for every
/// write of an agent moves its head, and the write asks for the heads as they were read. `sent`
/// says whether the outcome is open: the write went out, and no answer came.
pub(super) async fn assert_all(
    conn: &mut PgConnection,
    all: &[Said<'_>],
    rules: &Rules,
    sent: &AtomicBool,
) -> Result<Vec<Option<Outcome>>, Fault> {
    let mut done: Vec<Option<Outcome>> = all.iter().map(|_| None).collect();
    let mut about = Vec::with_capacity(all.len());
    for Said { scope, claim } in all {
        about.push(About { scope, line: claim.line()?, span: Span::of(&claim.valid_time, rules) });
    }
    let found = lines::found(conn, &about, rules).await?;
    let mut decided = Vec::with_capacity(all.len());
    for (place, ((said, about), found)) in all.iter().zip(&about).zip(found).enumerate() {
        let Some(found) = found else { continue };
        match told(conn, *said, about, &found, rules).await {
            Ok(Told::First(first)) => done[place] = Some(Ok(first)),
            Ok(Told::Decided(outcome)) => decided.push((place, found.head, *outcome)),
            Err(Fault::Core(error)) => done[place] = Some(Err(error)),
            Err(fault) => return Err(fault),
        }
    }
    while !decided.is_empty() {
        let behind: Vec<Behind<'_>> = decided
            .iter()
            .map(|(place, head, outcome)| Behind {
                scope: all[*place].scope,
                head: *head,
                change: &outcome.change,
            })
            .collect();
        match write(conn, &behind, sent).await? {
            Applied::Behind(_) => {
                for (place, _, outcome) in decided {
                    done[place] = Some(Ok(outcome.asserted));
                }
                break;
            }
            // Theirs are left to be written alone; the others' heads still stand.
            Applied::Nothing(moved) => {
                let mut at = 0..;
                decided.retain(|_| !at.next().is_some_and(|at| moved.contains(&at)));
            }
        }
    }
    Ok(done)
}

/// Writes decisions in one statement, or in one transaction where that does not take all of them.
async fn write(
    conn: &mut PgConnection,
    all: &[Behind<'_>],
    sent: &AtomicBool,
) -> Result<Applied, Fault> {
    sent.store(true, Ordering::Release);
    let written = if all.iter().all(Behind::is_plain) {
        change::apply_all(conn, all).await
    } else {
        whole(conn, all).await
    };
    // Whoever was answered, be it with a refusal, knows.
    let answered = match &written {
        Ok(_) | Err(Fault::Core(_)) => true,
        Err(Fault::Sql(cause)) => {
            cause.as_database_error().is_some() && error::cure(cause) != Cure::Reconnect
        }
    };
    if answered {
        sent.store(false, Ordering::Release);
    }
    written
}

async fn whole(conn: &mut PgConnection, all: &[Behind<'_>]) -> Result<Applied, Fault> {
    let mut tx = conn.begin().await?;
    match change::apply_all(&mut tx, all).await {
        Ok(applied) => {
            tx.commit().await?;
            Ok(applied)
        }
        Err(fault) => {
            // Whoever hears of it finds no lock of its own.
            let _ = tx.rollback().await;
            Err(fault)
        }
    }
}

/// What one of several is told.
enum Told {
    /// It repeats a request.
    First(Asserted),
    /// What becomes of it.
    Decided(Box<Decided>),
}

async fn told(
    conn: &mut PgConnection,
    said: Said<'_>,
    about: &About<'_>,
    found: &Found,
    rules: &Rules,
) -> Result<Told, Fault> {
    let Said { scope, claim } = said;
    if let Some(first) = first_outcome(conn, scope, claim).await? {
        return Ok(Told::First(first));
    }
    let named = &by_id::named(conn, scope, &claim.named()).await?;
    let near = &found.near;
    let beyond =
        near.is_empty() && !about.span.is_all() && lines::is_said(conn, scope, &about.line).await?;
    let at = next_time(found.head.map(|head| head.last_time), found.now);
    let seen = Seen { line: near, beyond, named, at };
    Ok(Told::Decided(Box::new(assertion(scope, claim, fresh(), seen, rules)?)))
}

/// Ids for what a decision may make.
fn fresh() -> Fresh {
    Fresh { claim: ClaimId(Uuid::now_v7()), handle: HandleId(Uuid::now_v7()) }
}

/// Writes about claims that are there, inside the caller's transaction.
pub(crate) async fn change(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    write: &ClaimWrite,
    rules: &Rules,
) -> Result<Changed, Fault> {
    let (head, now) = ledger::lock(conn, scope).await?;
    let at = next_time(head.map(|head| head.last_time), now);
    let mut writing = Writing { conn, scope, head, rules, changed: Changed::default() };
    match write {
        ClaimWrite::Retract { claim, reason } => {
            let target = by_id::standing(writing.conn, scope, *claim).await?;
            let state = writing.state(&target.claim.line).await?;
            writing.apply(resolve::retract(&state, &target, reason, at, rules)).await?;
        }
        ClaimWrite::Reinstate { claim, reason } => {
            let target = by_id::standing(writing.conn, scope, *claim).await?;
            writing.apply(resolve::reinstate(&target, reason, at)).await?;
        }
        ClaimWrite::Escalate { line } => {
            let state = writing.state(line).await?;
            writing.apply(resolve::escalate(scope, &state, &handles(), at, rules)?).await?;
        }
        ClaimWrite::Adjudicate { response } => {
            let question = questions::get(writing.conn, scope, response.handle_id).await?;
            let state = writing.state(&question.request.subject_line).await?;
            writing.apply(resolve::verdict(&state, &question, response, at, rules)?).await?;
        }
        ClaimWrite::Reconcile { lines } => {
            let lines = if lines.is_empty() { writing.contested().await? } else { lines.clone() };
            for (n, line) in lines.iter().enumerate() {
                let state = writing.state(line).await?;
                // Each line is a write of its own in the agent's order.
                let at = at + TimeDelta::microseconds(i64::try_from(n).unwrap_or(0));
                writing.apply(resolve::reconcile(scope, &state, &handles(), at, rules)).await?;
            }
        }
        _ => return Err(Error::invalid("write", "is of a kind this store does not know").into()),
    }
    Ok(writing.changed)
}

/// A write under way, and what it did so far.
struct Writing<'w, 's> {
    conn: &'w mut PgConnection,
    scope: &'w Admitted<'s>,
    head: Option<Head>,
    rules: &'w Rules,
    changed: Changed,
}

impl Writing<'_, '_> {
    async fn state(&mut self, line: &Line) -> Result<LineState, Fault> {
        lines::state(self.conn, self.scope, line, self.rules).await
    }

    /// The agent's contested lines, as many as one call takes; says whether there are more.
    async fn contested(&mut self) -> Result<Vec<Line>, Fault> {
        let most = limits::RECONCILE_LINES;
        let mut lines = lines::contested(self.conn, self.scope, most + 1).await?;
        self.changed.more = lines.len() > most;
        lines.truncate(most);
        Ok(lines)
    }

    /// Writes a decision, and flags what stood on claims that fall by it.
    async fn apply(&mut self, mut decided: Change) -> Result<(), Fault> {
        let fallen = decided.fallen();
        if !fallen.is_empty() {
            decided.flag(&by_id::dependents(self.conn, self.scope, &fallen).await?);
        }
        change::apply(self.conn, self.scope, &mut self.head, &decided).await?;
        self.changed.take(&decided);
        Ok(())
    }
}

/// Ids for the questions that one line may give rise to.
fn handles() -> Vec<HandleId> {
    (0..limits::LINE_QUESTIONS).map(|_| HandleId(Uuid::now_v7())).collect()
}

async fn first_outcome(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    new: &NewClaim,
) -> Result<Option<Asserted>, Fault> {
    let Some(request) = &new.request_id else { return Ok(None) };
    let found = query!(
        r#"
        select l.claim_id, l.disposition, l.contested_with, c.recorded_at,
               (select q.handle_id from mnemon.claim_questions q
                where q.tenant = l.tenant and q.agent_id = l.agent_id
                  and q.challenger = l.claim_id and l.disposition = 'QueuedForAdjudication'
                order by q.queued_at limit 1) as "handle?"
        from mnemon.claim_ledger l
        join mnemon.claims c
          on c.tenant = l.tenant and c.agent_id = l.agent_id and c.id = l.claim_id
        where l.tenant = $1 and l.agent_id = $2 and l.request_id = $3
        "#,
        scope.tenant,
        agent(scope)?,
        request.as_str(),
    )
    .fetch_optional(conn)
    .await?;
    let Some(found) = found else { return Ok(None) };
    Ok(Some(Asserted {
        id: ClaimId(found.claim_id),
        disposition: row::named(&found.disposition, "a ledger entry")?,
        contested_with: found.contested_with.into_iter().map(ClaimId).collect(),
        handle: found.handle.map(HandleId),
        recorded_at: found.recorded_at,
        created: false,
    }))
}
