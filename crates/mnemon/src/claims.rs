//! What is believed.

pub use mnemon_core::claims::*;
use mnemon_core::locks::Guard;
use mnemon_core::{Page, Paged, Result, Scope};

use crate::engine::Inner;

/// What is believed of an open Mnemon; see [`crate::Mnemon::claims`].
///
/// The short way is [`Claims::assert`], [`Claims::belief`] and [`Claims::history`]; mempill's
/// calls stand beside them under their names.
pub struct Claims<'a> {
    pub(crate) inner: &'a Inner,
}

impl Claims<'_> {
    fn store(&self) -> &dyn mnemon_core::claims::Claims {
        self.inner.store.claims()
    }

    /// Writes a claim, decided against every live claim of its line.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::NotFound`]; [`crate::Error::Fenced`];
    /// [`crate::Error::ScopeRequired`].
    pub async fn assert(
        &self,
        scope: &Scope,
        claim: NewClaim,
        guard: Option<&Guard>,
    ) -> Result<Asserted> {
        self.inner.ready()?;
        let outcome = self.store().assert(scope, claim, guard).await;
        self.inner.watched(scope, outcome).await
    }

    /// [`Claims::assert`] in mempill's words.
    ///
    /// # Errors
    ///
    /// As [`Claims::assert`]; [`crate::Error::Invalid`] when the request says two different
    /// confidences of its window.
    pub async fn ingest_claim(
        &self,
        scope: &Scope,
        request: IngestClaimRequest,
    ) -> Result<Asserted> {
        self.assert(scope, request.try_into()?, None).await
    }

    /// What is believed about a line, at a point of both axes of time.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn belief(&self, scope: &Scope, line: &Line, when: AsOf) -> Result<Belief> {
        self.inner.ready()?;
        let outcome = self.store().belief(scope, line, when).await;
        self.inner.watched(scope, outcome).await
    }

    /// [`Claims::belief`] in mempill's words; `record_served` notes in the ledger that what is
    /// answered was shown to a model.
    ///
    /// # Errors
    ///
    /// As [`Claims::belief`].
    pub async fn query_memory(
        &self,
        scope: &Scope,
        line: &Line,
        when: AsOf,
        record_served: bool,
    ) -> Result<Belief> {
        if !record_served {
            return self.belief(scope, line, when).await;
        }
        self.inner.ready()?;
        let outcome = self.store().belief_served(scope, line, when).await;
        self.inner.watched(scope, outcome).await
    }

    /// What is believed about everything said of a subject, by predicate.
    ///
    /// # Errors
    ///
    /// As [`Claims::belief`]; [`crate::Error::Invalid`] for a foreign cursor.
    pub async fn query_subject(
        &self,
        scope: &Scope,
        subject: &str,
        when: AsOf,
        page: &Page,
    ) -> Result<Paged<SubjectBelief>> {
        self.inner.ready()?;
        let outcome = self.store().query_subject(scope, subject, when, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// Every claim of a line in canonical order, and how each stands.
    ///
    /// # Errors
    ///
    /// As [`Claims::query_subject`].
    #[doc(alias = "query_history")]
    pub async fn history(
        &self,
        scope: &Scope,
        line: &Line,
        when: AsOf,
        page: &Page,
    ) -> Result<History> {
        self.inner.ready()?;
        let outcome = self.store().history(scope, line, when, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// [`Claims::history`] in mempill's words: as it stands now.
    ///
    /// # Errors
    ///
    /// As [`Claims::history`].
    pub async fn query_history(&self, scope: &Scope, line: &Line, page: &Page) -> Result<History> {
        self.history(scope, line, AsOf::default(), page).await
    }

    /// The agent's ledger: filtered first, then paged, newest first unless asked otherwise.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] for a foreign cursor or a bad filter;
    /// [`crate::Error::ScopeRequired`].
    pub async fn query_audit(
        &self,
        scope: &Scope,
        query: &AuditQuery,
        page: &Page,
    ) -> Result<Paged<LedgerEntry>> {
        self.inner.ready()?;
        let outcome = self.store().query_audit(scope, query, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// Walks the agent's ledger and names the first entry that cannot be what was written.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`].
    pub async fn verify_audit(&self, scope: &Scope) -> Result<AuditVerdict> {
        self.inner.ready()?;
        let outcome = self.store().verify_audit(scope).await;
        self.inner.watched(scope, outcome).await
    }

    /// Writes about claims that are there, under a guard.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::NotFound`]; [`crate::Error::Setup`] for a
    /// question without an oracle; [`crate::Error::Fenced`]; [`crate::Error::ScopeRequired`].
    pub async fn change(
        &self,
        scope: &Scope,
        write: ClaimWrite,
        guard: Option<&Guard>,
    ) -> Result<Changed> {
        self.inner.ready()?;
        let outcome = self.store().change(scope, write, guard).await;
        self.inner.watched(scope, outcome).await
    }

    /// Takes a claim back: it counts no more.
    ///
    /// # Errors
    ///
    /// As [`Claims::change`].
    pub async fn retract(&self, scope: &Scope, claim: ClaimId, reason: &str) -> Result<Changed> {
        let reason = reason.to_owned();
        self.change(scope, ClaimWrite::Retract { claim, reason }, None).await
    }

    /// Takes a claim up again, with the window it was written with.
    ///
    /// # Errors
    ///
    /// As [`Claims::change`].
    pub async fn reinstate(&self, scope: &Scope, claim: ClaimId, reason: &str) -> Result<Changed> {
        let reason = reason.to_owned();
        self.change(scope, ClaimWrite::Reinstate { claim, reason }, None).await
    }

    /// Asks the oracle again about a contested line.
    ///
    /// # Errors
    ///
    /// As [`Claims::change`]; [`crate::Error::AlreadyExists`] when it is asked about already.
    pub async fn escalate(&self, scope: &Scope, line: &Line) -> Result<Changed> {
        self.change(scope, ClaimWrite::Escalate { line: line.clone() }, None).await
    }

    /// Puts contested lines in order where time alone does it, and asks about the rest; all of the
    /// agent's lines when none is named.
    ///
    /// # Errors
    ///
    /// As [`Claims::change`].
    pub async fn reconcile(&self, scope: &Scope, lines: &[Line]) -> Result<Changed> {
        self.change(scope, ClaimWrite::Reconcile { lines: lines.to_vec() }, None).await
    }

    /// The open questions of an agent, oldest first.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] for a foreign cursor; [`crate::Error::ScopeRequired`].
    pub async fn list_pending_adjudications(
        &self,
        scope: &Scope,
        page: &Page,
    ) -> Result<Paged<PendingAdjudication>> {
        self.inner.ready()?;
        let outcome = self.store().list_pending_adjudications(scope, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// Answers a question.
    ///
    /// # Errors
    ///
    /// [`crate::Error::NotFound`] when it is closed, unknown, or its time is over;
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn submit_adjudication(
        &self,
        scope: &Scope,
        response: AdjudicationResponse,
    ) -> Result<AdjudicationOutcome> {
        self.inner.ready()?;
        let outcome = self.store().submit_adjudication(scope, response).await;
        self.inner.watched(scope, outcome).await
    }

    /// Turns the agent's unanswered questions whose time is over back into contested claims; how
    /// many. Upkeep does so for all agents.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`].
    pub async fn sweep_expired_adjudications(&self, scope: &Scope) -> Result<u64> {
        self.inner.ready()?;
        let outcome = self.store().sweep_expired_adjudications(scope).await;
        self.inner.watched(scope, outcome).await
    }

    /// Makes every agent's current standings anew from claims and ledger.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Unavailable`] when the database does not answer.
    pub async fn rebuild(&self) -> Result<Rebuilt> {
        self.inner.ready()?;
        self.store().rebuild().await
    }
}
