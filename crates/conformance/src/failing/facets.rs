//! The failing store's facets: each call of the store beneath, counted.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mnemon_core::claims::{
    AsOf, Asked, Asserted, AuditQuery, AuditVerdict, Belief, Changed, ClaimWrite, Claims, HandleId,
    History, LedgerEntry, Line, NewClaim, PendingAdjudication, Rebuilt, Rules, SubjectBelief,
    Undelivered,
};
use mnemon_core::consumers::{Consumers, Failed, Failure, Progress};
use mnemon_core::dead_letters::{
    Attempt, Burial, Buried, DeadLetter, DeadLetters, Delivery, DeliveryReceipt, Handled,
    LetterFilter, LetterStats, Prune, Retry,
};
use mnemon_core::locks::{Guard, Lease, Locks};
use mnemon_core::steps::{Receipt, Step, Steps};
use mnemon_core::turns::{
    self, Assignment, Context, Due, Export, Imported, Key, NewTurn, Removed, SessionInfo, Settings,
    Standing, Summary, Turn, TurnAppended, Turns,
};
use mnemon_core::workflows::{
    Definition, DefinitionAbout, DefinitionFilter, DefinitionInfo, DefinitionSaved, Execution, Job,
    NewDefinition, RunFilter, RunInfo, RunStats, RunStatus, SaveRun, WorkflowRun, WorkflowStats,
    Workflows,
};
use mnemon_core::{Cursor, Fence, Page, Paged, RequestId, Result, Scope};

use super::FailingStore;

#[async_trait]
impl Consumers for FailingStore {
    async fn join(
        &self,
        scope: &Scope,
        group: &str,
        member: &str,
        ttl: Duration,
    ) -> Result<Vec<String>> {
        self.call(self.inner.consumers().join(scope, group, member, ttl)).await
    }

    async fn leave(&self, scope: &Scope, group: &str, member: &str) -> Result<()> {
        self.call(self.inner.consumers().leave(scope, group, member)).await
    }

    async fn progress(&self, scope: &Scope, group: &str) -> Result<Vec<Progress>> {
        self.call(self.inner.consumers().progress(scope, group)).await
    }

    async fn advance(
        &self,
        scope: &Scope,
        group: &str,
        part: u32,
        to: &Cursor,
        guard: &Guard,
    ) -> Result<()> {
        self.call(self.inner.consumers().advance(scope, group, part, to, guard)).await
    }

    async fn failed(&self, scope: &Scope, failure: Failure, guard: &Guard) -> Result<Failed> {
        self.call(self.inner.consumers().failed(scope, failure, guard)).await
    }
}

#[async_trait]
impl Locks for FailingStore {
    async fn acquire(
        &self,
        scope: &Scope,
        key: &str,
        holder: &str,
        ttl: Duration,
    ) -> Result<Lease> {
        self.call(self.inner.locks().acquire(scope, key, holder, ttl)).await
    }

    async fn renew(&self, scope: &Scope, guard: &Guard, ttl: Duration) -> Result<Lease> {
        self.call(self.inner.locks().renew(scope, guard, ttl)).await
    }

    async fn release(&self, scope: &Scope, guard: &Guard) -> Result<()> {
        self.call(self.inner.locks().release(scope, guard)).await
    }

    async fn get(&self, scope: &Scope, key: &str) -> Result<Option<Lease>> {
        self.call(self.inner.locks().get(scope, key)).await
    }

    async fn list(&self, scope: &Scope, page: &Page) -> Result<Paged<Lease>> {
        self.call(self.inner.locks().list(scope, page)).await
    }

    async fn force_release(&self, scope: &Scope, key: &str) -> Result<Fence> {
        self.call(self.inner.locks().force_release(scope, key)).await
    }
}

#[async_trait]
impl Turns for FailingStore {
    async fn append(
        &self,
        scope: &Scope,
        turn: NewTurn,
        guard: Option<&Guard>,
    ) -> Result<TurnAppended> {
        self.call(self.inner.turns().append(scope, turn, guard)).await
    }

    async fn list(&self, scope: &Scope, key: &Key, page: &Page) -> Result<Paged<Turn>> {
        self.call(self.inner.turns().list(scope, key, page)).await
    }

    async fn context(&self, scope: &Scope, key: &Key) -> Result<Context> {
        self.call(self.inner.turns().context(scope, key)).await
    }

    async fn configure(&self, scope: &Scope, key: &Key, settings: &Settings) -> Result<()> {
        self.call(self.inner.turns().configure(scope, key, settings)).await
    }

    async fn clear(&self, scope: &Scope, key: &Key) -> Result<Removed> {
        self.call(self.inner.turns().clear(scope, key)).await
    }

    async fn health(&self, scope: &Scope, key: &Key) -> Result<Standing> {
        self.call(self.inner.turns().health(scope, key)).await
    }

    async fn summaries(&self, scope: &Scope, key: &Key, page: &Page) -> Result<Paged<Summary>> {
        self.call(self.inner.turns().summaries(scope, key, page)).await
    }

    async fn export(&self, scope: &Scope, key: &Key) -> Result<Export> {
        self.call(self.inner.turns().export(scope, key)).await
    }

    async fn import(&self, scope: &Scope, key: &Key, export: &Export) -> Result<Imported> {
        self.call(self.inner.turns().import(scope, key, export)).await
    }

    async fn list_sessions(&self, scope: &Scope, page: &Page) -> Result<Paged<SessionInfo>> {
        self.call(self.inner.turns().list_sessions(scope, page)).await
    }

    async fn delete_session(&self, scope: &Scope) -> Result<Removed> {
        self.call(self.inner.turns().delete_session(scope)).await
    }

    async fn delete_user(&self, scope: &Scope) -> Result<Removed> {
        self.call(self.inner.turns().delete_user(scope)).await
    }

    async fn take(&self, scope: &Scope, key: &Key, holder: &str) -> Result<Option<Assignment>> {
        self.call(self.inner.turns().take(scope, key, holder)).await
    }

    async fn settle(
        &self,
        scope: &Scope,
        key: &Key,
        assignment: &Assignment,
        attempt: &turns::Attempt,
    ) -> Result<Standing> {
        self.call(self.inner.turns().settle(scope, key, assignment, attempt)).await
    }

    async fn due(&self, limit: u32) -> Result<Vec<Due>> {
        self.call(self.inner.turns().due(limit)).await
    }
}

#[async_trait]
impl Claims for FailingStore {
    fn configure(&self, rules: Rules) {
        self.inner.claims().configure(rules);
    }

    async fn assert(
        &self,
        scope: &Scope,
        claim: NewClaim,
        guard: Option<&Guard>,
    ) -> Result<Asserted> {
        self.call(self.inner.claims().assert(scope, claim, guard)).await
    }

    async fn belief(&self, scope: &Scope, line: &Line, when: AsOf) -> Result<Belief> {
        self.call(self.inner.claims().belief(scope, line, when)).await
    }

    async fn change(
        &self,
        scope: &Scope,
        write: ClaimWrite,
        guard: Option<&Guard>,
    ) -> Result<Changed> {
        self.call(self.inner.claims().change(scope, write, guard)).await
    }

    async fn belief_served(&self, scope: &Scope, line: &Line, when: AsOf) -> Result<Belief> {
        self.call(self.inner.claims().belief_served(scope, line, when)).await
    }

    async fn query_subject(
        &self,
        scope: &Scope,
        subject: &str,
        when: AsOf,
        page: &Page,
    ) -> Result<Paged<SubjectBelief>> {
        self.call(self.inner.claims().query_subject(scope, subject, when, page)).await
    }

    async fn history(
        &self,
        scope: &Scope,
        line: &Line,
        when: AsOf,
        page: &Page,
    ) -> Result<History> {
        self.call(self.inner.claims().history(scope, line, when, page)).await
    }

    async fn query_audit(
        &self,
        scope: &Scope,
        query: &AuditQuery,
        page: &Page,
    ) -> Result<Paged<LedgerEntry>> {
        self.call(self.inner.claims().query_audit(scope, query, page)).await
    }

    async fn verify_audit(&self, scope: &Scope) -> Result<AuditVerdict> {
        self.call(self.inner.claims().verify_audit(scope)).await
    }

    async fn list_pending_adjudications(
        &self,
        scope: &Scope,
        page: &Page,
    ) -> Result<Paged<PendingAdjudication>> {
        self.call(self.inner.claims().list_pending_adjudications(scope, page)).await
    }

    async fn sweep_expired_adjudications(&self, scope: &Scope) -> Result<u64> {
        self.call(self.inner.claims().sweep_expired_adjudications(scope)).await
    }

    async fn take_undelivered(&self, most: u32, visibility: Duration) -> Result<Vec<Undelivered>> {
        self.call(self.inner.claims().take_undelivered(most, visibility)).await
    }

    async fn note_asked(&self, scope: &Scope, handle: HandleId, asked: Asked) -> Result<()> {
        self.call(self.inner.claims().note_asked(scope, handle, asked)).await
    }

    async fn rebuild(&self) -> Result<Rebuilt> {
        self.call(self.inner.claims().rebuild()).await
    }
}

#[async_trait]
impl Workflows for FailingStore {
    async fn save(&self, scope: &Scope, run: SaveRun, guard: Option<&Guard>) -> Result<i64> {
        self.call(self.inner.workflows().save(scope, run, guard)).await
    }

    async fn update_state(
        &self,
        scope: &Scope,
        id: &str,
        status: RunStatus,
        error: Option<&str>,
        guard: Option<&Guard>,
    ) -> Result<i64> {
        self.call(self.inner.workflows().update_state(scope, id, status, error, guard)).await
    }

    async fn load(&self, scope: &Scope, id: &str) -> Result<WorkflowRun> {
        self.call(self.inner.workflows().load(scope, id)).await
    }

    async fn list(&self, scope: &Scope, filter: &RunFilter, page: &Page) -> Result<Paged<RunInfo>> {
        self.call(self.inner.workflows().list(scope, filter, page)).await
    }

    async fn delete(&self, scope: &Scope, id: &str) -> Result<()> {
        self.call(self.inner.workflows().delete(scope, id)).await
    }

    async fn run_stats(&self, scope: &Scope, id: &str) -> Result<RunStats> {
        self.call(self.inner.workflows().run_stats(scope, id)).await
    }

    async fn stats(&self, scope: &Scope, filter: &RunFilter) -> Result<WorkflowStats> {
        self.call(self.inner.workflows().stats(scope, filter)).await
    }

    async fn executions(&self, scope: &Scope, id: &str, page: &Page) -> Result<Paged<Execution>> {
        self.call(self.inner.workflows().executions(scope, id, page)).await
    }

    async fn history(
        &self,
        scope: &Scope,
        definition: &str,
        page: &Page,
    ) -> Result<Paged<Execution>> {
        self.call(self.inner.workflows().history(scope, definition, page)).await
    }

    async fn link_job(&self, scope: &Scope, id: &str, job: &str) -> Result<()> {
        self.call(self.inner.workflows().link_job(scope, id, job)).await
    }

    async fn run_of_job(&self, scope: &Scope, job: &str) -> Result<String> {
        self.call(self.inner.workflows().run_of_job(scope, job)).await
    }

    async fn jobs(&self, scope: &Scope, id: &str, page: &Page) -> Result<Paged<Job>> {
        self.call(self.inner.workflows().jobs(scope, id, page)).await
    }

    async fn save_definition(
        &self,
        scope: &Scope,
        definition: NewDefinition,
    ) -> Result<DefinitionSaved> {
        self.call(self.inner.workflows().save_definition(scope, definition)).await
    }

    async fn definition(
        &self,
        scope: &Scope,
        id: &str,
        version: Option<u32>,
    ) -> Result<Definition> {
        self.call(self.inner.workflows().definition(scope, id, version)).await
    }

    async fn definitions(
        &self,
        scope: &Scope,
        filter: &DefinitionFilter,
        page: &Page,
    ) -> Result<Paged<DefinitionInfo>> {
        self.call(self.inner.workflows().definitions(scope, filter, page)).await
    }

    async fn describe_definition(
        &self,
        scope: &Scope,
        id: &str,
        about: DefinitionAbout,
    ) -> Result<()> {
        self.call(self.inner.workflows().describe_definition(scope, id, about)).await
    }

    async fn delete_definition(&self, scope: &Scope, id: &str) -> Result<()> {
        self.call(self.inner.workflows().delete_definition(scope, id)).await
    }
}

#[async_trait]
impl DeadLetters for FailingStore {
    async fn bury(&self, scope: &Scope, burial: Burial, guard: Option<&Guard>) -> Result<Buried> {
        self.call(self.inner.dead_letters().bury(scope, burial, guard)).await
    }

    async fn take(
        &self,
        scope: &Scope,
        queue: &str,
        count: u32,
        visibility: Duration,
    ) -> Result<Vec<Delivery>> {
        self.call(self.inner.dead_letters().take(scope, queue, count, visibility)).await
    }

    async fn ack(&self, scope: &Scope, receipt: &DeliveryReceipt) -> Result<()> {
        self.call(self.inner.dead_letters().ack(scope, receipt)).await
    }

    async fn nack(
        &self,
        scope: &Scope,
        receipt: &DeliveryReceipt,
        delay: Duration,
    ) -> Result<DateTime<Utc>> {
        self.call(self.inner.dead_letters().nack(scope, receipt, delay)).await
    }

    async fn extend(
        &self,
        scope: &Scope,
        receipt: &DeliveryReceipt,
        visibility: Duration,
    ) -> Result<DateTime<Utc>> {
        self.call(self.inner.dead_letters().extend(scope, receipt, visibility)).await
    }

    async fn release_expired(&self, scope: &Scope, queue: Option<&str>) -> Result<Handled> {
        self.call(self.inner.dead_letters().release_expired(scope, queue)).await
    }

    async fn retry_all(&self, scope: &Scope, retry: &Retry) -> Result<Handled> {
        self.call(self.inner.dead_letters().retry_all(scope, retry)).await
    }

    async fn list(
        &self,
        scope: &Scope,
        filter: &LetterFilter,
        page: &Page,
    ) -> Result<Paged<DeadLetter>> {
        self.call(self.inner.dead_letters().list(scope, filter, page)).await
    }

    async fn get(&self, scope: &Scope, queue: &str, item_id: &str) -> Result<DeadLetter> {
        self.call(self.inner.dead_letters().get(scope, queue, item_id)).await
    }

    async fn attempts(
        &self,
        scope: &Scope,
        queue: &str,
        item_id: &str,
        page: &Page,
    ) -> Result<Paged<Attempt>> {
        self.call(self.inner.dead_letters().attempts(scope, queue, item_id, page)).await
    }

    async fn stats(&self, scope: &Scope, queue: Option<&str>) -> Result<LetterStats> {
        self.call(self.inner.dead_letters().stats(scope, queue)).await
    }

    async fn delete(&self, scope: &Scope, queue: &str, item_id: &str) -> Result<()> {
        self.call(self.inner.dead_letters().delete(scope, queue, item_id)).await
    }

    async fn prune(&self, scope: &Scope, prune: &Prune) -> Result<Handled> {
        self.call(self.inner.dead_letters().prune(scope, prune)).await
    }
}

#[async_trait]
impl Steps for FailingStore {
    async fn commit(&self, scope: &Scope, step: Step) -> Result<Receipt> {
        self.call(self.inner.steps().commit(scope, step)).await
    }

    async fn receipt(&self, scope: &Scope, id: &RequestId) -> Result<Option<Receipt>> {
        self.call(self.inner.steps().receipt(scope, id)).await
    }
}
