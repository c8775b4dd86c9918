//! Steps on PostgreSQL: every write of a step in one transaction, with its receipt.
//!
//! A step of one append is one statement ([`lone`]). For all others locks are taken in one global
//! order: the receipt first (the second writer of an id waits on the unique index for the first),
//! then guards by key, then heads in `Step::lock_order`, memories last. The whole may be sent
//! again, also when the answer to COMMIT was lost: the second time finds the receipt of its own
//! call, which is no repeat, or writes everything.

mod lone;
mod prepare;
mod receipts;

use async_trait::async_trait;
use mnemon_core::claims::Rules;
use mnemon_core::locks::Guard;
use mnemon_core::memories::Remembered;
use mnemon_core::scope::Facet;
use mnemon_core::steps::{Outcome, Receipt, Step, Steps, Write, at_write};
use mnemon_core::{Error, RequestId, Result, Scope};
use sqlx::postgres::PgConnection;
use sqlx::query_scalar;

use self::prepare::{Prepared, Ready, prepare};
use self::receipts::{claim, keep, kept};
use crate::checkpoints::Within;
use crate::error::{self, Fault};
use crate::events::append as events;
use crate::link::{Call, Retry, work};
use crate::memories::write as memories;
use crate::store::PostgresStore;
use crate::{claims, dead_letters, locks, turns, workflows};

pub(crate) use receipts::sweep;

const DOING: &str = "committing a step";
const READING: &str = "reading a receipt";

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
