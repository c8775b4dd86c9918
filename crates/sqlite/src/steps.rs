//! Steps in SQLite: every write of a step in one transaction, with its receipt.
//!
//! The writer's transaction excludes every other one of the file, so the second writer of an id
//! has waited for the first before it looks for the receipt.

use async_trait::async_trait;
use mnemon_core::checkpoints::Put;
use mnemon_core::checkpoints::pack::Packed;
use mnemon_core::checkpoints::seal::Sealing;
use mnemon_core::claims::Rules;
use mnemon_core::dead_letters::DeliveryReceipt;
use mnemon_core::locks::Guard;
use mnemon_core::memories::{Language, Remembered};
use mnemon_core::scope::Admitted;
use mnemon_core::steps::{Outcome, Receipt, Step, Steps, Write, at_write};
use mnemon_core::turns::TurnDefaults;
use mnemon_core::{Error, Facet, RequestId, Result, Scope, limits};
use rusqlite::{Connection, params};
use serde_json::json;

use crate::error::{Done, Fault};
use crate::memories::write as memories;
use crate::open::now;
use crate::store::SqliteStore;
use crate::{checkpoints, claims, dead_letters, events, locks, row, turns, workflows};

pub(crate) mod sql {
    crate::sql::statements! {
        GET = "select fingerprint, outcomes, committed_at from receipts \
            where tenant = ?1 and user_id = ?2 and agent_id = ?3 and step_id = ?4";
        KEEP = "insert into receipts (tenant, user_id, agent_id, step_id, fingerprint, outcomes, \
            committed_at) values (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        SWEEP = "delete from receipts where (tenant, user_id, agent_id, step_id) in (\
            select tenant, user_id, agent_id, step_id from receipts where committed_at <= ?1 \
            order by committed_at limit ?2)";
        OLD = "select count(*) from receipts where committed_at <= ?1";
    }
}

#[async_trait]
impl Steps for SqliteStore {
    async fn commit(&self, scope: &Scope, step: Step) -> Result<Receipt> {
        self.alive()?;
        step.check(scope)?;
        let prepared = self.prepare_step(scope, step).await?;
        let asking = scope.clone();
        let rules = self.rules();
        let appends = prepared.step.writes.iter().any(|write| matches!(write, Write::Events(_)));
        let done = self
            .write("committing a step", move |conn| commit(conn, &asking, &prepared, &rules))
            .await;
        if appends && done.is_ok() {
            self.moves.tell(&scope.tenant);
        }
        done
    }

    async fn receipt(&self, scope: &Scope, id: &RequestId) -> Result<Option<Receipt>> {
        self.alive()?;
        // Receipts need what every facet needs: a tenant.
        scope.admit(Facet::Events)?;
        let (scope, id) = (scope.clone(), id.clone());
        self.read("reading a receipt", move |conn| {
            let kept = kept(conn, &scope.admit(Facet::Events)?, &id)?;
            Ok(kept.map(|(_, receipt)| receipt))
        })
        .await
    }
}

/// A step with what is computed from it alone, before any lock is taken.
#[derive(Clone, Debug)]
struct Prepared {
    step: Step,
    fingerprint: [u8; 32],
    order: Vec<usize>,
    writes: Vec<PreparedWrite>,
}

#[derive(Clone, Debug)]
enum PreparedWrite {
    Remember(Box<memories::Prepared>),
    Checkpoint(Box<Packed<Put>>),
    Turn(Box<turns::append::Prepared>),
    AsGiven,
}

/// Steps whose texts and values are larger than this together are prepared on another thread.
const INLINE_BYTES: usize = 16 * 1024;

impl Prepared {
    fn of(
        scope: &Scope,
        step: Step,
        defaults: &TurnDefaults,
        sealing: &Sealing,
        language: Language,
    ) -> Result<Self> {
        let writes = step
            .writes
            .iter()
            .enumerate()
            .map(|(at, write)| {
                Ok(match write {
                    Write::Remember(memory) => PreparedWrite::Remember(Box::new(
                        memories::Prepared::of((**memory).clone(), language),
                    )),
                    Write::Checkpoint(put) => {
                        let packed = Packed::sealed((**put).clone(), sealing, &scope.tenant);
                        let packed = packed.map_err(|error| at_write(at, error))?;
                        PreparedWrite::Checkpoint(Box::new(packed))
                    }
                    Write::Turn(turn) => PreparedWrite::Turn(Box::new(
                        turns::append::Prepared::of((**turn).clone(), defaults),
                    )),
                    _ => PreparedWrite::AsGiven,
                })
            })
            .collect::<Result<_>>()?;
        Ok(Self { fingerprint: step.fingerprint(), order: step.lock_order(), writes, step })
    }
}

impl SqliteStore {
    async fn prepare_step(&self, scope: &Scope, step: Step) -> Result<Prepared> {
        let language = self.known.get().language;
        if step.prepared_bytes() <= INLINE_BYTES {
            return Prepared::of(scope, step, &self.turns, &self.sealing(), language);
        }
        // Neither the caller's runtime nor the writer should wait for it.
        let (scope, defaults, sealing) = (scope.clone(), self.turns.clone(), self.sealing());
        self.read("preparing a step", move |_| {
            Ok(Prepared::of(&scope, step.clone(), &defaults, &sealing, language)?)
        })
        .await
    }
}

/// Commits a step within the writer's transaction, or answers its first receipt.
fn commit(conn: &Connection, scope: &Scope, prepared: &Prepared, rules: &Rules) -> Done<Receipt> {
    let step = &prepared.step;
    let admitted = scope.admit(Facet::Events)?;
    if let Some((fingerprint, receipt)) = kept(conn, &admitted, &step.id)? {
        let differs = fingerprint != prepared.fingerprint;
        if differs && step.strict {
            return Err(Error::StepReused { id: step.id.to_string() }.into());
        }
        return Ok(Receipt { differs, ..receipt });
    }
    let mut guards: Vec<_> = step.guards.iter().collect();
    guards.sort_unstable();
    for guard in guards {
        locks::guard(conn, &admitted, Some(guard))?;
    }
    let mut outcomes: Vec<Option<Outcome>> = vec![None; step.writes.len()];
    for at in prepared.order.iter().copied() {
        let done = apply(conn, scope, &step.writes[at], &prepared.writes[at], &step.guards, rules);
        outcomes[at] = Some(done.map_err(|fault| named(at, fault))?);
    }
    let outcomes: Vec<Outcome> = outcomes.into_iter().flatten().collect();
    let committed_at = now(conn)?;
    conn.prepare_cached(sql::KEEP)?.execute(params![
        admitted.tenant,
        admitted.user.unwrap_or_default(),
        admitted.agent.unwrap_or_default(),
        step.id.as_str(),
        prepared.fingerprint.as_slice(),
        json!(outcomes).to_string(),
        committed_at,
    ])?;
    Ok(Receipt {
        step_id: step.id.clone(),
        committed_at: crate::memories::rows::time(committed_at)?,
        outcomes,
        replayed: false,
        differs: false,
    })
}

fn named(at: usize, fault: Fault) -> Fault {
    match fault {
        Fault::Refused(error) => Fault::Refused(at_write(at, error)),
        fault => fault,
    }
}

/// One write, by the same function as the facet's own call.
fn apply(
    conn: &Connection,
    scope: &Scope,
    write: &Write,
    prepared: &PreparedWrite,
    guards: &[Guard],
    rules: &Rules,
) -> Done<Outcome> {
    let scope = scope.admit(write.facet())?;
    Ok(match (write, prepared) {
        (_, PreparedWrite::Remember(memory)) => Outcome::Remember(remember(conn, &scope, memory)?),
        (_, PreparedWrite::Checkpoint(put)) => {
            Outcome::Checkpoint(checkpoints::put(conn, &scope, put, guards)?)
        }
        (Write::Assert(claim), _) => {
            Outcome::Assert(claims::write::assert(conn, &scope, claim, rules)?)
        }
        (Write::Claims(write), _) => {
            Outcome::Claims(claims::write::change(conn, &scope, write, rules)?)
        }
        (_, PreparedWrite::Turn(turn)) => Outcome::Turn(turns::append::append(conn, &scope, turn)?),
        (Write::Events(append), _) => {
            Outcome::Events(events::append::append(conn, &scope, append)?)
        }
        (Write::Workflow(run), _) => {
            Outcome::Workflow { version: workflows::save(conn, &scope, run)? }
        }
        (Write::Bury(burial), _) => Outcome::Bury(dead_letters::bury(conn, &scope, burial)?),
        (Write::Ack(receipt), _) => acknowledged(conn, &scope, receipt)?,
        _ => return Err(Error::invalid("write", "is of a kind this store does not know").into()),
    })
}

fn remember(
    conn: &Connection,
    scope: &Admitted<'_>,
    memory: &memories::Prepared,
) -> Done<Remembered> {
    let one = std::slice::from_ref(memory);
    let mut done = memories::remember_all(conn, scope, one, memories::Naming::Single)?;
    Ok(done.pop().expect("one memory in, one outcome out"))
}

fn acknowledged(
    conn: &Connection,
    scope: &Admitted<'_>,
    receipt: &DeliveryReceipt,
) -> Done<Outcome> {
    dead_letters::ack(conn, scope, receipt)?;
    Ok(Outcome::Ack)
}

/// The receipt of a step as a repeat answers it, with the step's fingerprint.
fn kept(
    conn: &Connection,
    scope: &Admitted<'_>,
    id: &RequestId,
) -> Done<Option<([u8; 32], Receipt)>> {
    const WHAT: &str = "a receipt";
    let mut statement = conn.prepare_cached(sql::GET)?;
    let mut rows = statement.query(params![
        scope.tenant,
        scope.user.unwrap_or_default(),
        scope.agent.unwrap_or_default(),
        id.as_str()
    ])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    let receipt = Receipt {
        step_id: id.clone(),
        committed_at: row::time(row, 2)?,
        outcomes: row::json(row, 1, WHAT)?,
        replayed: true,
        differs: false,
    };
    Ok(Some((row::hash(row, 0, WHAT)?, receipt)))
}

/// Receipts committed at or before this are swept.
fn kept_until(now: i64) -> i64 {
    now.saturating_sub(i64::try_from(limits::RECEIPTS_KEPT.as_micros()).unwrap_or(i64::MAX))
}

/// Removes a batch of old receipts; answers how many.
pub(crate) fn sweep(conn: &Connection, most: u32, now: i64) -> Done<usize> {
    Ok(conn.prepare_cached(sql::SWEEP)?.execute(params![kept_until(now), most])?)
}

/// How many receipts are to be swept.
pub(crate) fn old(conn: &Connection, now: i64) -> Done<i64> {
    Ok(conn.prepare_cached(sql::OLD)?.query_row([kept_until(now)], |row| row.get(0))?)
}
