//! Writing: under the agent's lock, reads inside it, decided by core.

use chrono::{DateTime, TimeDelta, Utc};
use mnemon_core::claims::adjudicate::{Decided, Fresh, Seen, assertion, next_time, re_entry};
use mnemon_core::claims::change::Change;
use mnemon_core::claims::resolve::{self, LineState};
use mnemon_core::claims::{
    Asserted, Changed, Claim, ClaimId, ClaimWrite, HandleId, Line, NewClaim, Provenance, Rules,
};
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, limits};
use sqlx::postgres::PgConnection;
use sqlx::query;
use uuid::Uuid;

use super::change::Behind;
use super::lines::{About, Span};
use super::{Head, agent, change, ledger, lines, questions};
use crate::error::Fault;
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
        let repeated = lines::standing(conn, scope, *named).await?;
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
    let named = lines::named(conn, scope, &new.named()).await?;
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

/// Writes claims of different agents inside the caller's transaction, each as if alone; waits for no
/// agent. `None` for a claim whose agent is new, or that somebody else writes for: it is still to
/// be written.
pub(super) async fn assert_all(
    conn: &mut PgConnection,
    all: &[Said<'_>],
    rules: &Rules,
) -> Result<Vec<Option<Outcome>>, Fault> {
    let scopes: Vec<&Admitted<'_>> = all.iter().map(|said| said.scope).collect();
    let heads = ledger::lock_free(conn, &scopes).await?;
    let mut done: Vec<Option<Outcome>> = all.iter().map(|_| None).collect();
    let mut open = Vec::new();
    for (place, (said, head)) in all.iter().zip(heads).enumerate() {
        let Some((head, now)) = head else { continue };
        match prepare(conn, *said, rules).await {
            Ok(Ready::First(first)) => done[place] = Some(Ok(first)),
            Ok(Ready::About(named, about)) => {
                let at = next_time(head.map(|head| head.last_time), now);
                open.push((Open { place, said: *said, head, at, named }, about));
            }
            Err(Fault::Core(error)) => done[place] = Some(Err(error)),
            Err(fault) => return Err(fault),
        }
    }
    if open.is_empty() {
        return Ok(done);
    }
    let (open, about): (Vec<Open<'_>>, Vec<About<'_>>) = open.into_iter().unzip();
    let near = lines::current_of(conn, &about, rules).await?;
    let mut decided = Vec::new();
    for ((open, about), near) in open.iter().zip(&about).zip(&near) {
        let beyond = near.is_empty()
            && !about.span.is_all()
            && lines::is_said(conn, about.scope, &about.line).await?;
        let seen = Seen { line: near, beyond, named: &open.named, at: open.at };
        match assertion(open.said.scope, open.said.claim, fresh(), seen, rules) {
            Ok(outcome) => decided.push((open, outcome)),
            Err(error) => done[open.place] = Some(Err(error)),
        }
    }
    let mut written: Vec<Behind<'_>> = decided
        .iter()
        .map(|(open, decided)| Behind {
            scope: open.said.scope,
            head: open.head,
            change: &decided.change,
        })
        .collect();
    change::apply_all(conn, &mut written).await?;
    for (open, decided) in decided {
        done[open.place] = Some(Ok(decided.asserted));
    }
    Ok(done)
}

/// A claim of several that is still to be decided.
struct Open<'a> {
    place: usize,
    said: Said<'a>,
    head: Option<Head>,
    at: DateTime<Utc>,
    named: Vec<Claim>,
}

/// What is known of a claim under its agent's lock.
enum Ready<'a> {
    /// It repeats a request.
    First(Asserted),
    /// The claims it names, and the line it is about.
    About(Vec<Claim>, About<'a>),
}

async fn prepare<'a>(
    conn: &mut PgConnection,
    said: Said<'a>,
    rules: &Rules,
) -> Result<Ready<'a>, Fault> {
    let Said { scope, claim } = said;
    if let Some(first) = first_outcome(conn, scope, claim).await? {
        return Ok(Ready::First(first));
    }
    let named = lines::named(conn, scope, &claim.named()).await?;
    let span = Span::of(&claim.valid_time, rules);
    Ok(Ready::About(named, About { scope, line: claim.line()?, span }))
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
            let target = lines::standing(writing.conn, scope, *claim).await?;
            let state = writing.state(&target.claim.line).await?;
            writing.apply(resolve::retract(&state, &target, reason, at, rules)).await?;
        }
        ClaimWrite::Reinstate { claim, reason } => {
            let target = lines::standing(writing.conn, scope, *claim).await?;
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
            decided.flag(&lines::dependents(self.conn, self.scope, &fallen).await?);
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
