//! Claims on PostgreSQL: insert-only rows, an agent's head on whose row its writers queue and that
//! gives times and places, and a projection of what counts, so that a current read costs what is
//! live.

mod by_id;
mod change;
mod ledger;
mod lines;
pub(crate) mod questions;
mod read;
mod rebuild;
mod rows;
pub(crate) mod together;
pub(crate) mod write;

use std::sync::PoisonError;
use std::time::Duration;

use async_trait::async_trait;
use mnemon_core::claims::{
    AsOf, Asked, Asserted, AuditQuery, AuditVerdict, Belief, Changed, ClaimWrite, Claims, HandleId,
    History, LedgerEntry, Line, NewClaim, PendingAdjudication, Provenance, Rebuilt, Rules,
    SubjectBelief, Undelivered, history, pending,
};
use mnemon_core::locks::Guard;
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::{Error, Page, Paged, Result, Scope, limits};

use crate::link::{Call, Retry, work};
use crate::locks;
use crate::store::PostgresStore;

impl PostgresStore {
    /// How this handle decides.
    pub(crate) fn rules(&self) -> Rules {
        *self.rules.read().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Claims for PostgresStore {
    fn configure(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = rules;
    }

    async fn assert(
        &self,
        scope: &Scope,
        claim: NewClaim,
        guard: Option<&Guard>,
    ) -> Result<Asserted> {
        let whose = scope;
        let scope = &scope.admit(Facet::Claims)?;
        claim.check()?;
        locks::check_guard(guard)?;
        if guard.is_none() && claim.provenance != Provenance::RecallReEntry {
            let (link, rules) = (&self.link, self.rules());
            let told = together::assert(&self.together, link, whose, &claim, rules).await;
            if let Some(outcome) = told {
                return outcome;
            }
        }
        // Without a request's name a repeat after a lost answer would be one more claim.
        let retry = match claim.request_id {
            Some(_) => Retry::Idempotent,
            None => Retry::Never,
        };
        let call = Call { doing: "asserting a claim", tenant: Some(scope.tenant), retry };
        let (claim, rules) = (&claim, &self.rules());
        self.link
            .transaction(call, |conn| {
                work(async move {
                    locks::guard(conn, scope, guard.map_or(&[], std::slice::from_ref)).await?;
                    write::assert(conn, scope, claim, rules).await
                })
            })
            .await
    }

    async fn change(
        &self,
        scope: &Scope,
        write: ClaimWrite,
        guard: Option<&Guard>,
    ) -> Result<Changed> {
        let scope = &scope.admit(Facet::Claims)?;
        write.check()?;
        locks::check_guard(guard)?;
        // A verdict sent again after a lost answer would find its question closed.
        let retry = match write {
            ClaimWrite::Adjudicate { .. } | ClaimWrite::Escalate { .. } => Retry::Never,
            _ => Retry::Idempotent,
        };
        let doing = "changing how claims stand";
        let call = Call { doing, tenant: Some(scope.tenant), retry };
        let (write, rules) = (&write, &self.rules());
        self.link
            .transaction(call, |conn| {
                work(async move {
                    locks::guard(conn, scope, guard.map_or(&[], std::slice::from_ref)).await?;
                    write::change(conn, scope, write, rules).await
                })
            })
            .await
    }

    async fn belief(&self, scope: &Scope, line: &Line, when: AsOf) -> Result<Belief> {
        let scope = &scope.admit(Facet::Claims)?;
        let line = &Line::parse(&line.subject, &line.predicate)?;
        let rules = &self.rules();
        self.link
            .run(reading("reading a belief", scope), |conn| {
                work(async move { read::belief(conn, scope, line, when, rules).await })
            })
            .await
    }

    async fn belief_served(&self, scope: &Scope, line: &Line, when: AsOf) -> Result<Belief> {
        let scope = &scope.admit(Facet::Claims)?;
        let line = &Line::parse(&line.subject, &line.predicate)?;
        let rules = &self.rules();
        // Shown again is noted again.
        self.link
            .transaction(reading("serving a belief", scope), |conn| {
                work(async move { read::served(conn, scope, line, when, rules).await })
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
        let scope = &scope.admit(Facet::Claims)?;
        limits::name("subject", subject, limits::CLAIM_NAME_BYTES)?;
        let (after, limit) = (&history::after_predicate(page)?, page.limit);
        let rules = &self.rules();
        self.link
            .run(reading("reading a subject", scope), |conn| {
                work(async move {
                    read::subject(conn, scope, subject, when, (after, limit), rules).await
                })
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
        let scope = &scope.admit(Facet::Claims)?;
        let line = &Line::parse(&line.subject, &line.predicate)?;
        let part = (history::after(page)?, page.limit);
        let rules = &self.rules();
        self.link
            .run(reading("reading a history", scope), |conn| {
                work(async move { read::history(conn, scope, line, when, part, rules).await })
            })
            .await
    }

    async fn query_audit(
        &self,
        scope: &Scope,
        query: &AuditQuery,
        page: &Page,
    ) -> Result<Paged<LedgerEntry>> {
        let scope = &scope.admit(Facet::Claims)?;
        let (after, limit) = (query.after(page)?, page.limit);
        let entries = self
            .link
            .run(reading("reading a ledger", scope), |conn| {
                work(async move { ledger::list(conn, scope, query, after, limit).await })
            })
            .await?;
        Ok(Paged::cut(entries, limit, |entry| query.cursor(entry)))
    }

    async fn verify_audit(&self, scope: &Scope) -> Result<AuditVerdict> {
        let scope = &scope.admit(Facet::Claims)?;
        self.link
            .run(reading("verifying a ledger", scope), |conn| {
                work(async move { ledger::verify(conn, scope).await })
            })
            .await
    }

    async fn list_pending_adjudications(
        &self,
        scope: &Scope,
        page: &Page,
    ) -> Result<Paged<PendingAdjudication>> {
        let scope = &scope.admit(Facet::Claims)?;
        let (after, limit) = (pending::after(page)?, page.limit);
        let open = self
            .link
            .run(reading("listing questions", scope), |conn| {
                work(async move { questions::list(conn, scope, after, limit).await })
            })
            .await?;
        Ok(Paged::cut(open, limit, pending::cursor))
    }

    async fn sweep_expired_adjudications(&self, scope: &Scope) -> Result<u64> {
        let scope = &scope.admit(Facet::Claims)?;
        self.link
            .transaction(reading("sweeping questions", scope), |conn| {
                work(async move { questions::sweep(conn, scope).await })
            })
            .await
    }

    async fn take_undelivered(&self, most: u32, visibility: Duration) -> Result<Vec<Undelivered>> {
        let doing = "taking questions";
        // What a lost answer carried comes back when its visibility ends.
        let call = Call { doing, tenant: None, retry: Retry::Idempotent };
        self.link
            .maintenance()
            .run(call, |conn| work(async move { questions::take(conn, most, visibility).await }))
            .await
    }

    async fn note_asked(&self, scope: &Scope, handle: HandleId, asked: Asked) -> Result<()> {
        let scope = &scope.admit(Facet::Claims)?;
        let asked = &asked;
        self.link
            .maintenance()
            .run(reading("noting a question", scope), |conn| {
                work(async move { questions::note(conn, scope, handle, asked).await })
            })
            .await
    }

    async fn rebuild(&self) -> Result<Rebuilt> {
        let call =
            Call { doing: "making current claims anew", tenant: None, retry: Retry::Idempotent };
        let link = self.link.maintenance();
        let agents =
            link.run(call, |conn| work(async move { rebuild::agents(conn).await })).await?;
        let mut rebuilt = Rebuilt::default();
        for agent in &agents {
            // A transaction each: nobody waits for more than one agent's.
            let one = link
                .transaction(call, |conn| work(async move { rebuild::one(conn, agent).await }))
                .await?;
            rebuilt.rows += one.rows;
            rebuilt.differed += one.differed;
        }
        Ok(rebuilt)
    }
}

fn reading<'a>(doing: &'static str, scope: &Admitted<'a>) -> Call<'a> {
    Call { doing, tenant: Some(scope.tenant), retry: Retry::Idempotent }
}

/// The agent of a scope that was admitted for claims.
fn agent<'a>(scope: &Admitted<'a>) -> Result<&'a str> {
    scope.agent.ok_or(Error::ScopeRequired { facet: Facet::Claims, missing: "agent" })
}
