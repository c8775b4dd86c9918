//! Steps on PostgreSQL: every write of a step in one transaction, with its receipt.
//!
//! A step of one append is one statement ([`lone`]). For all others locks are taken in one global
//! order: the receipt first (the second writer of an id waits on the
//! unique index for the first), then guards by key, then heads in `Step::lock_order`, memories
//! last. The whole may be sent again, also when the answer to COMMIT was lost: the second time
//! finds the receipt of its own call, which is no repeat, or writes everything.

mod lone;

use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use mnemon_core::checkpoints::Put;
use mnemon_core::checkpoints::pack::Packed;
use mnemon_core::checkpoints::seal::Sealing;
use mnemon_core::claims::Rules;
use mnemon_core::locks::Guard;
use mnemon_core::memories::text::Known;
use mnemon_core::memories::{NewMemory, Remembered};
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::steps::{Outcome, Receipt, Step, Steps, Write, at_write};
use mnemon_core::turns::TurnDefaults;
use mnemon_core::upkeep::Batch;
use mnemon_core::{Error, RequestId, Result, Scope, limits};
use serde_json::Value;
use sqlx::postgres::PgConnection;
use sqlx::{query, query_scalar};
use uuid::Uuid;

use crate::checkpoints::{Heads, Within};
use crate::error::{self, Fault};
use crate::events::append as events;
use crate::link::{Call, Retry, work};
use crate::memories::write as memories;
use crate::store::PostgresStore;
use crate::{claims, dead_letters, locks, row, turns, workflows};

const DOING: &str = "committing a step";
const READING: &str = "reading a receipt";

/// How often a receipt is looked for that upkeep removes meanwhile.
const ROUNDS: usize = 3;

#[async_trait]
impl Steps for PostgresStore {
    async fn commit(&self, scope: &Scope, step: Step) -> Result<Receipt> {
        step.check(scope)?;
        let prepared = &prepare(scope, step, &self.turns, self.sealing(), &self.known).await?;
        let tenant = scope.admit(Facet::Events)?.tenant;
        if let Some(append) = lone::append(prepared) {
            let done = self.commit_lone(scope, prepared, append).await;
            if let Some(done) = done.transpose() {
                return done;
            }
        }
        let rules = &self.rules();
        let call = Call { doing: DOING, tenant: Some(tenant), retry: Retry::Idempotent };
        let within = prepared.within(&self.heads, tenant);
        let thread = &within;
        let done = self
            .with_partition(|| {
                Box::pin(self.link.transaction(call, |conn| {
                    work(async move { commit(conn, scope, prepared, rules, thread).await })
                }))
            })
            .await;
        if done.is_ok() {
            within.committed();
        }
        if prepared.step.writes.iter().any(|write| matches!(write, Write::Events(_))) {
            self.moves.tell(tenant);
        }
        done
    }

    async fn receipt(&self, scope: &Scope, id: &RequestId) -> Result<Option<Receipt>> {
        // Receipts need what every facet needs: a tenant.
        let admitted = &scope.admit(Facet::Events)?;
        let call = Call { doing: READING, tenant: Some(admitted.tenant), retry: Retry::Idempotent };
        let kept =
            self.link.run(call, |conn| work(async move { kept(conn, admitted, id).await })).await?;
        Ok(kept.map(|kept| kept.receipt))
    }
}

impl PostgresStore {
    /// Commits a step of one append; `None` where it must go the long way.
    async fn commit_lone(
        &self,
        scope: &Scope,
        prepared: &Prepared,
        append: &events::Prepared,
    ) -> Result<Option<Receipt>> {
        let admitted = &scope.admit(Facet::Events)?;
        let call = Call { doing: DOING, tenant: Some(admitted.tenant), retry: Retry::Idempotent };
        let done = self
            .with_partition(|| {
                Box::pin(self.link.run(call, |conn| {
                    work(async move { lone::commit(conn, admitted, prepared, append).await })
                }))
            })
            .await;
        if lone::met(&done) {
            return Ok(None);
        }
        let Some(kept) = done? else { return Ok(None) };
        self.moves.tell(admitted.tenant);
        prepared.answered(kept).map(Some)
    }

    /// Commits a step inside the caller's own transaction, which must be READ COMMITTED: the step
    /// happens when that commits, together with the caller's writes. After an error the caller
    /// rolls back.
    ///
    /// # Errors
    ///
    /// As [`Steps::commit`]; nothing is retried here.
    pub async fn commit_in(
        &self,
        conn: &mut PgConnection,
        scope: &Scope,
        step: Step,
    ) -> Result<Receipt> {
        step.check(scope)?;
        let prepared = prepare(scope, step, &self.turns, self.sealing(), &self.known).await?;
        let done = async {
            self.enter(conn, scope.admit(Facet::Events)?.tenant).await?;
            commit(conn, scope, &prepared, &self.rules(), &Within::default()).await
        };
        done.await.map_err(|fault| refusal(DOING, fault))
    }

    /// The receipt of a step as the caller's own transaction sees it: also one that this very
    /// transaction wrote.
    ///
    /// # Errors
    ///
    /// As [`Steps::receipt`]; nothing is retried here.
    pub async fn receipt_in(
        &self,
        conn: &mut PgConnection,
        scope: &Scope,
        id: &RequestId,
    ) -> Result<Option<Receipt>> {
        let admitted = &scope.admit(Facet::Events)?;
        let found = async {
            self.enter(conn, admitted.tenant).await?;
            kept(conn, admitted, id).await
        };
        let found = found.await.map_err(|fault| refusal(READING, fault))?;
        Ok(found.map(|kept| kept.receipt))
    }

    /// Names the tenant to row-level security, where it is on, until the transaction ends.
    async fn enter(&self, conn: &mut PgConnection, tenant: &str) -> Result<(), Fault> {
        if self.link.rls() {
            query_scalar!("select set_config('mnemon.tenant', $1, true)", tenant)
                .fetch_one(conn)
                .await?;
        }
        Ok(())
    }
}

fn refusal(doing: &'static str, fault: Fault) -> Error {
    match fault {
        Fault::Core(error) => error,
        Fault::Sql(error) => error::sql(doing, error),
    }
}

/// A step with what is computed from it alone, before any lock is taken.
struct Prepared {
    step: Step,
    fingerprint: [u8; 32],
    /// Names the call, however often it is sent.
    call: Uuid,
    /// What is written, in the order of its locks, with its place in the step.
    writes: Vec<(usize, Ready)>,
    /// Written together, last, with their places.
    memories: Vec<memories::Draft>,
    places: Vec<usize>,
}

/// A write that is ready to be sent.
enum Ready {
    /// As it stands in the step.
    AsGiven,
    Checkpoint(Box<Packed<Put>>),
    Events(Box<events::Prepared>),
    Turn(Box<turns::append::Prepared>),
}

/// Steps whose texts and values are larger than this together are prepared on another thread.
const INLINE_BYTES: usize = 16 * 1024;

async fn prepare(
    scope: &Scope,
    step: Step,
    defaults: &TurnDefaults,
    sealing: Sealing,
    known: &Arc<Known>,
) -> Result<Prepared> {
    if step.writes.iter().map(size).sum::<usize>() <= INLINE_BYTES {
        return Prepared::of(scope, step, defaults, &sealing, known);
    }
    let (scope, defaults, known) = (scope.clone(), defaults.clone(), Arc::clone(known));
    tokio::task::spawn_blocking(move || Prepared::of(&scope, step, &defaults, &sealing, &known))
        .await
        .map_err(|error| Error::backend("preparing a step", error))?
}

fn size(write: &Write) -> usize {
    match write {
        Write::Remember(memory) => memory.content.len(),
        Write::Turn(turn) => {
            let sides = [&turn.user_message, &turn.assistant_response];
            sides.into_iter().flatten().map(String::len).sum()
        }
        Write::Checkpoint(put) => put.channels.values().map(|value| value.bytes.len()).sum(),
        _ => 0,
    }
}

impl Prepared {
    fn of(
        scope: &Scope,
        step: Step,
        defaults: &TurnDefaults,
        sealing: &Sealing,
        known: &Arc<Known>,
    ) -> Result<Self> {
        let fingerprint = step.fingerprint();
        let mut given: Vec<NewMemory> = Vec::new();
        let (mut writes, mut places) = (Vec::new(), Vec::new());
        for at in step.lock_order() {
            let ready = match &step.writes[at] {
                Write::Remember(memory) => {
                    given.push((**memory).clone());
                    places.push(at);
                    continue;
                }
                Write::Checkpoint(put) => {
                    let packed = Packed::sealed((**put).clone(), sealing, &scope.tenant);
                    Ready::Checkpoint(Box::new(packed.map_err(|error| at_write(at, error))?))
                }
                Write::Events(append) => {
                    Ready::Events(Box::new(events::Prepared::of(append.clone())))
                }
                Write::Turn(turn) => {
                    Ready::Turn(Box::new(turns::append::Prepared::of((**turn).clone(), defaults)))
                }
                _ => Ready::AsGiven,
            };
            writes.push((at, ready));
        }
        let memories = if given.is_empty() {
            Vec::new()
        } else {
            memories::draft(scope, given, false, known)?
        };
        Ok(Self { step, fingerprint, call: Uuid::now_v7(), writes, memories, places })
    }
}

impl Prepared {
    /// What is answered where the step has a receipt: this call's own, or an earlier one's.
    fn answered(&self, kept: Kept) -> Result<Receipt> {
        let Kept { fingerprint, call, receipt } = kept;
        let differs = fingerprint != self.fingerprint;
        if differs && self.step.strict {
            return Err(Error::StepReused { id: self.step.id.to_string() });
        }
        Ok(Receipt { differs, replayed: call != self.call, ..receipt })
    }

    /// What is known of the thread of the only checkpoint. A fence is looked at under the lock.
    fn within<'a>(&self, heads: &'a Heads, tenant: &'a str) -> Within<'a> {
        let puts = self.writes.iter().filter_map(|(_, ready)| match ready {
            Ready::Checkpoint(put) => Some(put),
            _ => None,
        });
        match (puts.collect::<Vec<_>>().as_slice(), self.step.guards.as_slice()) {
            ([put], []) => Within::of(heads, tenant, put),
            _ => Within::default(),
        }
    }
}

/// Commits a step within the caller's transaction, or answers its first receipt.
async fn commit(
    conn: &mut PgConnection,
    scope: &Scope,
    prepared: &Prepared,
    rules: &Rules,
    thread: &Within<'_>,
) -> Result<Receipt, Fault> {
    let step = &prepared.step;
    let admitted = &scope.admit(Facet::Events)?;
    if let Some(kept) = claim(conn, admitted, prepared).await? {
        return Ok(prepared.answered(kept)?);
    }
    locks::guard(conn, admitted, &step.guards).await?;
    let mut outcomes: Vec<Option<Outcome>> = vec![None; step.writes.len()];
    for (at, ready) in &prepared.writes {
        let around = Around { guards: &step.guards, rules, thread };
        let done = apply(conn, scope, &step.writes[*at], ready, &around).await;
        outcomes[*at] = Some(done.map_err(|fault| named(*at, fault))?);
    }
    if !prepared.memories.is_empty() {
        let done = remember(conn, scope, prepared).await?;
        for (at, remembered) in prepared.places.iter().zip(done) {
            outcomes[*at] = Some(Outcome::Remember(remembered));
        }
    }
    let outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
    let committed_at = keep(conn, admitted, &step.id, &outcomes).await?;
    Ok(Receipt {
        step_id: step.id.clone(),
        committed_at,
        outcomes,
        replayed: false,
        differs: false,
    })
}

/// Takes the step's id, or answers who had it. A second writer of the id waits here for the first.
async fn claim(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    prepared: &Prepared,
) -> Result<Option<Kept>, Fault> {
    for _ in 0..ROUNDS {
        let done = query!(
            r#"
            insert into mnemon.receipts
                (tenant, user_id, agent_id, step_id, fingerprint, outcomes, committed_at, call_id)
            values ($1, $2, $3, $4, $5, '[]', mnemon.now(), $6)
            on conflict (tenant, user_id, agent_id, step_id) do nothing
            "#,
            scope.tenant,
            scope.user.unwrap_or_default(),
            scope.agent.unwrap_or_default(),
            prepared.step.id.as_str(),
            prepared.fingerprint.as_slice(),
            prepared.call,
        )
        .execute(&mut *conn)
        .await?;
        if done.rows_affected() == 1 {
            return Ok(None);
        }
        if let Some(kept) = kept(conn, scope, &prepared.step.id).await? {
            return Ok(Some(kept));
        }
    }
    let key = prepared.step.id.to_string();
    Err(Error::Conflict { kind: "step", key, expected: None, actual: None }.into())
}

/// What every write of a step is under.
struct Around<'a> {
    guards: &'a [Guard],
    rules: &'a Rules,
    thread: &'a Within<'a>,
}

/// One write, by the same function as the facet's own call.
async fn apply(
    conn: &mut PgConnection,
    scope: &Scope,
    write: &Write,
    ready: &Ready,
    around: &Around<'_>,
) -> Result<Outcome, Fault> {
    let scope = &scope.admit(write.facet())?;
    let Around { guards, rules, thread } = around;
    Ok(match (write, ready) {
        (_, Ready::Checkpoint(put)) => {
            Outcome::Checkpoint(thread.put(conn, scope, put, guards).await?)
        }
        (_, Ready::Events(append)) => Outcome::Events(events::append(conn, scope, append).await?),
        (Write::Assert(claim), _) => {
            Outcome::Assert(claims::write::assert(conn, scope, claim, rules).await?)
        }
        (Write::Claims(write), _) => {
            Outcome::Claims(claims::write::change(conn, scope, write, rules).await?)
        }
        (_, Ready::Turn(turn)) => Outcome::Turn(turns::append::append(conn, scope, turn).await?),
        (Write::Workflow(run), _) => {
            Outcome::Workflow { version: workflows::save(conn, scope, run).await? }
        }
        (Write::Bury(burial), _) => Outcome::Bury(dead_letters::bury(conn, scope, burial).await?),
        (Write::Ack(receipt), _) => {
            dead_letters::ack(conn, scope, receipt).await?;
            Outcome::Ack
        }
        _ => return Err(Error::invalid("write", "is of a kind this store does not know").into()),
    })
}

/// All memories in one insert; outcomes in the order of their places.
async fn remember(
    conn: &mut PgConnection,
    scope: &Scope,
    prepared: &Prepared,
) -> Result<Vec<Remembered>, Fault> {
    let scope = &scope.admit(Facet::Memories)?;
    let (places, drafts) = (&prepared.places, &prepared.memories);
    let sets = memories::sets_for(conn, drafts).await?;
    // What the vectors lack is said of the write, not of the place in this batch.
    for (at, draft) in places.iter().zip(drafts) {
        draft.check(&sets).map_err(|error| at_write(*at, error))?;
    }
    memories::all(conn, scope, drafts, &sets).await
}

fn named(at: usize, fault: Fault) -> Fault {
    match fault {
        Fault::Core(error) => Fault::Core(at_write(at, error)),
        Fault::Sql(cause) => Fault::Sql(cause),
    }
}

/// Completes the receipt; when.
async fn keep(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &RequestId,
    outcomes: &[Outcome],
) -> Result<DateTime<Utc>, Fault> {
    let outcomes: Value = serde_json::to_value(outcomes).expect("outcomes are JSON");
    let at = query_scalar!(
        r#"
        update mnemon.receipts
        set outcomes = $5, committed_at = mnemon.now()
        where tenant = $1 and user_id = $2 and agent_id = $3 and step_id = $4
        returning committed_at
        "#,
        scope.tenant,
        scope.user.unwrap_or_default(),
        scope.agent.unwrap_or_default(),
        id.as_str(),
        outcomes,
    )
    .fetch_one(conn)
    .await?;
    Ok(at)
}

/// A receipt as a repeat answers it, with what the step was and which call wrote it.
struct Kept {
    fingerprint: [u8; 32],
    call: Uuid,
    receipt: Receipt,
}

async fn kept(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    id: &RequestId,
) -> Result<Option<Kept>, Fault> {
    let found = query!(
        "select fingerprint, outcomes, committed_at, call_id from mnemon.receipts
         where tenant = $1 and user_id = $2 and agent_id = $3 and step_id = $4",
        scope.tenant,
        scope.user.unwrap_or_default(),
        scope.agent.unwrap_or_default(),
        id.as_str(),
    )
    .fetch_optional(conn)
    .await?;
    let Some(found) = found else { return Ok(None) };
    let kept = kept_of(id, &found.fingerprint, found.outcomes, found.committed_at, found.call_id)?;
    Ok(Some(kept))
}

/// A receipt from its row.
fn kept_of(
    id: &RequestId,
    fingerprint: &[u8],
    outcomes: Value,
    committed_at: DateTime<Utc>,
    call: Uuid,
) -> Result<Kept> {
    const WHAT: &str = "a receipt";
    let outcomes = row::json(outcomes, WHAT)?;
    let receipt =
        Receipt { step_id: id.clone(), committed_at, outcomes, replayed: true, differs: false };
    Ok(Kept { fingerprint: row::hash(fingerprint, WHAT)?, call, receipt })
}

/// Removes a batch of receipts that were kept long enough.
pub(crate) async fn sweep(conn: &mut PgConnection, size: u32) -> Result<Batch, Fault> {
    let done = query!(
        r#"
        delete from mnemon.receipts r
        where (r.tenant, r.user_id, r.agent_id, r.step_id) in (
            select tenant, user_id, agent_id, step_id from mnemon.receipts
            where committed_at <= (select mnemon.now()) - make_interval(secs => $2)
            limit $1
            for update skip locked
        )
        "#,
        i64::from(size),
        limits::RECEIPTS_KEPT.as_secs_f64(),
    )
    .execute(conn)
    .await?;
    let rows = done.rows_affected();
    Ok(Batch { rows, more: rows == u64::from(size) })
}
