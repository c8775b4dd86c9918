//! Writing: one transaction, reads inside it, decided by core.

use chrono::{DateTime, Utc};
use mnemon_core::claims::adjudicate::{Decided, Fresh, Seen, assertion, next_time, re_entry};
use mnemon_core::claims::change::Change;
use mnemon_core::claims::ledger::Head;
use mnemon_core::claims::resolve::{self, LineState};
use mnemon_core::claims::{
    Asserted, Changed, ClaimId, ClaimWrite, HandleId, Line, NewClaim, Provenance, Rules,
};
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, limits};
use rusqlite::{Connection, params};
use uuid::Uuid;

use super::lines::Span;
use super::{agent, change, head, ledger, lines, questions};
use crate::error::Done;
use crate::memories::rows;
use crate::open::now;
use crate::row;

pub(crate) mod sql {
    crate::sql::statements! {
        /// The first outcome of a request.
        BY_REQUEST = "select l.claim_id, l.disposition, l.contested_with, c.recorded_at, \
            (select q.handle_id from claim_questions q where q.tenant = l.tenant \
            and q.agent_id = l.agent_id and q.challenger = l.claim_id \
            and l.disposition = 'QueuedForAdjudication' order by q.queued_at limit 1) \
            from claim_ledger l join claims c \
            on c.tenant = l.tenant and c.agent_id = l.agent_id and c.id = l.claim_id \
            where l.tenant = ?1 and l.agent_id = ?2 and l.request_id = ?3";
    }
}

/// Writes a claim, or answers what it repeats.
pub(crate) fn assert(
    conn: &Connection,
    scope: &Admitted<'_>,
    new: &NewClaim,
    rules: &Rules,
) -> Done<Asserted> {
    if let Some(first) = first_outcome(conn, scope, new)? {
        return Ok(first);
    }
    let mut head = head(conn, scope)?;
    let at = time_of_write(conn, head)?;
    let decided = if new.provenance == Provenance::RecallReEntry {
        let named = new.derived_from.first().expect("checked: it names one claim");
        let repeated = lines::standing(conn, scope, *named)?;
        let recent = ledger::re_entries_since(conn, scope, *named, at - limits::RE_ENTRY_WINDOW)?;
        re_entry(new, &repeated, recent, at, rules)?
    } else {
        decide(conn, scope, new, at, rules)?
    };
    change::apply(conn, scope, &mut head, &decided.change)?;
    Ok(decided.asserted)
}

fn decide(
    conn: &Connection,
    scope: &Admitted<'_>,
    new: &NewClaim,
    at: DateTime<Utc>,
    rules: &Rules,
) -> Done<Decided> {
    let named = lines::claims(conn, scope, &new.named())?;
    let line = new.line()?;
    let span = Span::of(&new.valid_time, rules);
    let near = lines::current(conn, scope, &line, span, rules)?;
    let beyond = near.is_empty() && !span.is_all() && lines::is_said(conn, scope, &line)?;
    let fresh = Fresh { claim: ClaimId(Uuid::now_v7()), handle: HandleId(Uuid::now_v7()) };
    let seen = Seen { line: &near, beyond, named: &named, at };
    Ok(assertion(scope, new, fresh, seen, rules)?)
}

/// Writes about claims that are there.
pub(crate) fn change(
    conn: &Connection,
    scope: &Admitted<'_>,
    write: &ClaimWrite,
    rules: &Rules,
) -> Done<Changed> {
    let mut head = head(conn, scope)?;
    let at = time_of_write(conn, head)?;
    let mut writing = Writing::new(conn, scope, &mut head, rules);
    match write {
        ClaimWrite::Retract { claim, reason } => {
            let target = lines::standing(conn, scope, *claim)?;
            let state = writing.state(&target.claim.line)?;
            writing.apply(resolve::retract(&state, &target, reason, at, rules))?;
        }
        ClaimWrite::Reinstate { claim, reason } => {
            let target = lines::standing(conn, scope, *claim)?;
            writing.apply(resolve::reinstate(&target, reason, at))?;
        }
        ClaimWrite::Escalate { line } => {
            let state = writing.state(line)?;
            writing.apply(resolve::escalate(scope, &state, &handles(), at, rules)?)?;
        }
        ClaimWrite::Adjudicate { response } => {
            let question = questions::get(conn, scope, response.handle_id)?;
            let state = writing.state(&question.request.subject_line)?;
            writing.apply(resolve::verdict(&state, &question, response, at, rules)?)?;
        }
        ClaimWrite::Reconcile { lines } => {
            let (lines, more) =
                if lines.is_empty() { writing.contested()? } else { (lines.clone(), false) };
            writing.changed.more = more;
            for (n, line) in lines.iter().enumerate() {
                let state = writing.state(line)?;
                // Each line is a write of its own in the agent's order.
                let at = at + chrono::TimeDelta::microseconds(i64::try_from(n).unwrap_or(0));
                writing.apply(resolve::reconcile(scope, &state, &handles(), at, rules))?;
            }
        }
        _ => return Err(Error::invalid("write", "is of a kind this store does not know").into()),
    }
    Ok(writing.changed)
}

/// A write under way, and what it did so far.
struct Writing<'w, 's> {
    conn: &'w Connection,
    scope: &'w Admitted<'s>,
    head: &'w mut Option<Head>,
    rules: &'w Rules,
    changed: Changed,
}

impl<'w, 's> Writing<'w, 's> {
    fn new(
        conn: &'w Connection,
        scope: &'w Admitted<'s>,
        head: &'w mut Option<Head>,
        rules: &'w Rules,
    ) -> Self {
        Self { conn, scope, head, rules, changed: Changed::default() }
    }

    fn state(&self, line: &Line) -> Done<LineState> {
        lines::state(self.conn, self.scope, line, self.rules)
    }

    /// The agent's contested lines, as many as one call takes, and whether there are more.
    fn contested(&self) -> Done<(Vec<Line>, bool)> {
        let most = limits::RECONCILE_LINES;
        let mut lines = lines::contested(self.conn, self.scope, most + 1)?;
        let more = lines.len() > most;
        lines.truncate(most);
        Ok((lines, more))
    }

    /// Writes a decision, and flags what stood on claims that fall by it.
    fn apply(&mut self, mut decided: Change) -> Done<()> {
        let fallen = decided.fallen();
        if !fallen.is_empty() {
            decided.flag(&lines::dependents(self.conn, self.scope, &fallen)?);
        }
        change::apply(self.conn, self.scope, self.head, &decided)?;
        self.changed.take(&decided);
        Ok(())
    }
}

/// Ids for the questions that one line may give rise to.
fn handles() -> Vec<HandleId> {
    (0..limits::LINE_QUESTIONS).map(|_| HandleId(Uuid::now_v7())).collect()
}

/// Strictly above the agent's last one, however the clock moves.
pub(super) fn time_of_write(conn: &Connection, head: Option<Head>) -> Done<DateTime<Utc>> {
    Ok(next_time(head.map(|head| head.last_time), rows::time(now(conn)?)?))
}

fn first_outcome(
    conn: &Connection,
    scope: &Admitted<'_>,
    new: &NewClaim,
) -> Done<Option<Asserted>> {
    let Some(request) = &new.request_id else { return Ok(None) };
    let mut statement = conn.prepare_cached(sql::BY_REQUEST)?;
    let mut rows = statement.query(params![scope.tenant, agent(scope)?, request.as_str()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let queued = row.get_ref(4)? != rusqlite::types::ValueRef::Null;
    Ok(Some(Asserted {
        id: ClaimId(row::id(row, 0)?),
        disposition: row::named(row, 1, "a ledger entry")?,
        contested_with: row::json(row, 2, "a ledger entry")?,
        handle: if queued { Some(HandleId(row::id(row, 4)?)) } else { None },
        recorded_at: row::time(row, 3)?,
        created: false,
    }))
}
