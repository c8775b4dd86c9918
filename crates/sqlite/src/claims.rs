//! Claims in SQLite: insert-only rows, an agent's head that gives times and places, and a
//! projection of what counts, so that a current read costs what is live.

pub(crate) mod change;
pub(crate) mod ledger;
pub(crate) mod lines;
pub(crate) mod questions;
pub(crate) mod read;
pub(crate) mod rebuild;
pub(crate) mod rows;
pub(crate) mod write;

use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use mnemon_core::claims::ledger::Head;
use mnemon_core::claims::{
    AsOf, Asked, Asserted, AuditQuery, AuditVerdict, Belief, Changed, ClaimWrite, Claims, HandleId,
    History, LedgerEntry, Line, NewClaim, PendingAdjudication, Rebuilt, Rules, SubjectBelief,
    Undelivered, history, pending,
};
use mnemon_core::locks::Guard;
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, Facet, Page, Paged, Result, Scope, limits};
use rusqlite::Connection;

use crate::error::Done;
use crate::store::SqliteStore;
use crate::{locks, row};

pub(crate) mod sql {
    crate::sql::statements! {
        HEAD = "select last_time, ledger_seq, ledger_hash from claim_agents \
            where tenant = ?1 and agent_id = ?2";
    }
}

impl SqliteStore {
    /// How this handle decides.
    pub(crate) fn rules(&self) -> Rules {
        *self.rules.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads as an agent.
    async fn asked<T: Send + 'static>(
        &self,
        doing: &'static str,
        scope: &Scope,
        body: impl Fn(&Connection, &Admitted<'_>, &Rules) -> Done<T> + Send + 'static,
    ) -> Result<T> {
        scope.admit(Facet::Claims)?;
        let (scope, rules) = (scope.clone(), self.rules());
        self.read(doing, move |conn| body(conn, &scope.admit(Facet::Claims)?, &rules)).await
    }

    /// Writes as an agent, under a guard.
    async fn told<T: Send + 'static>(
        &self,
        doing: &'static str,
        scope: &Scope,
        guard: Option<&Guard>,
        body: impl Fn(&Connection, &Admitted<'_>, &Rules) -> Done<T> + Send + 'static,
    ) -> Result<T> {
        scope.admit(Facet::Claims)?;
        locks::check_guard(guard)?;
        let (scope, guard, rules) = (scope.clone(), guard.cloned(), self.rules());
        self.write(doing, move |conn| {
            let scope = scope.admit(Facet::Claims)?;
            locks::guard(conn, &scope, guard.as_ref())?;
            body(conn, &scope, &rules)
        })
        .await
    }
}

#[async_trait]
impl Claims for SqliteStore {
    fn configure(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    async fn assert(
        &self,
        scope: &Scope,
        claim: NewClaim,
        guard: Option<&Guard>,
    ) -> Result<Asserted> {
        self.alive()?;
        scope.admit(Facet::Claims)?;
        claim.check()?;
        self.told("asserting a claim", scope, guard, move |conn, scope, rules| {
            write::assert(conn, scope, &claim, rules)
        })
        .await
    }

    async fn change(
        &self,
        scope: &Scope,
        write: ClaimWrite,
        guard: Option<&Guard>,
    ) -> Result<Changed> {
        self.alive()?;
        scope.admit(Facet::Claims)?;
        write.check()?;
        self.told("changing how claims stand", scope, guard, move |conn, scope, rules| {
            write::change(conn, scope, &write, rules)
        })
        .await
    }

    async fn belief(&self, scope: &Scope, line: &Line, when: AsOf) -> Result<Belief> {
        self.alive()?;
        scope.admit(Facet::Claims)?;
        let line = Line::parse(&line.subject, &line.predicate)?;
        self.asked("reading a belief", scope, move |conn, scope, rules| {
            read::belief(conn, scope, &line, when, rules)
        })
        .await
    }

    async fn belief_served(&self, scope: &Scope, line: &Line, when: AsOf) -> Result<Belief> {
        self.alive()?;
        scope.admit(Facet::Claims)?;
        let line = Line::parse(&line.subject, &line.predicate)?;
        self.told("serving a belief", scope, None, move |conn, scope, rules| {
            read::served(conn, scope, &line, when, rules)
        })
        .await
    }

    async fn query_subject(
        &self,
        scope: &Scope,
        subject: &str,
        when: AsOf,
        page: &Page,
    ) -> Result<Paged<SubjectBelief>> {
        self.alive()?;
        scope.admit(Facet::Claims)?;
        limits::name("subject", subject, limits::CLAIM_NAME_BYTES)?;
        let after = history::after_predicate(page)?;
        let (subject, limit) = (subject.to_owned(), page.limit);
        self.asked("reading a subject", scope, move |conn, scope, rules| {
            read::subject(conn, scope, &subject, when, (&after, limit), rules)
        })
        .await
    }

    async fn history(
        &self,
        scope: &Scope,
        line: &Line,
        when: AsOf,
        page: &Page,
    ) -> Result<History> {
        self.alive()?;
        scope.admit(Facet::Claims)?;
        let line = Line::parse(&line.subject, &line.predicate)?;
        let part = (history::after(page)?, page.limit);
        self.asked("reading a history", scope, move |conn, scope, rules| {
            read::history(conn, scope, &line, when, part, rules)
        })
        .await
    }

    async fn query_audit(
        &self,
        scope: &Scope,
        query: &AuditQuery,
        page: &Page,
    ) -> Result<Paged<LedgerEntry>> {
        self.alive()?;
        scope.admit(Facet::Claims)?;
        let (query, after, limit) = (query.clone(), query.after(page)?, page.limit);
        self.asked("reading a ledger", scope, move |conn, scope, _| {
            ledger::list(conn, scope, &query, after, limit)
        })
        .await
    }

    async fn verify_audit(&self, scope: &Scope) -> Result<AuditVerdict> {
        self.alive()?;
        self.asked("verifying a ledger", scope, |conn, scope, _| ledger::verify(conn, scope)).await
    }

    async fn list_pending_adjudications(
        &self,
        scope: &Scope,
        page: &Page,
    ) -> Result<Paged<PendingAdjudication>> {
        self.alive()?;
        scope.admit(Facet::Claims)?;
        let (after, limit) = (pending::after(page)?, page.limit);
        self.asked("listing questions", scope, move |conn, scope, _| {
            questions::list(conn, scope, after, limit)
        })
        .await
    }

    async fn sweep_expired_adjudications(&self, scope: &Scope) -> Result<u64> {
        self.alive()?;
        self.told("sweeping questions", scope, None, |conn, scope, _| {
            questions::sweep(conn, Some(scope), u32::MAX)
        })
        .await
    }

    async fn take_undelivered(&self, most: u32, visibility: Duration) -> Result<Vec<Undelivered>> {
        self.alive()?;
        self.write("taking questions", move |conn| questions::take(conn, most, visibility)).await
    }

    async fn note_asked(&self, scope: &Scope, handle: HandleId, asked: Asked) -> Result<()> {
        self.alive()?;
        self.told("noting a question", scope, None, move |conn, scope, _| {
            questions::note(conn, scope, handle, &asked)
        })
        .await
    }

    async fn rebuild(&self) -> Result<Rebuilt> {
        self.alive()?;
        self.write("making current claims anew", rebuild::all).await
    }
}

/// The agent of a scope that was admitted for claims.
fn agent<'a>(scope: &Admitted<'a>) -> Result<&'a str> {
    scope.agent.ok_or(Error::ScopeRequired { facet: Facet::Claims, missing: "agent" })
}

fn head(conn: &Connection, scope: &Admitted<'_>) -> Done<Option<Head>> {
    let mut statement = conn.prepare_cached(sql::HEAD)?;
    let mut rows = statement.query([scope.tenant, agent(scope)?])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Head {
        last_time: row::time(row, 0)?,
        seq: row.get(1)?,
        hash: row::hash(row, 2, "an agent's ledger")?,
    }))
}
