//! What is computed from a step alone, before any lock is taken.

use std::sync::Arc;

use mnemon_core::checkpoints::Put;
use mnemon_core::checkpoints::pack::Packed;
use mnemon_core::checkpoints::seal::Sealing;
use mnemon_core::memories::NewMemory;
use mnemon_core::memories::text::Known;
use mnemon_core::steps::{Receipt, Step, Write, at_write};
use mnemon_core::turns::TurnDefaults;
use mnemon_core::{Error, Result, Scope};
use uuid::Uuid;

use super::receipts::Kept;
use crate::checkpoints::{Heads, Within};
use crate::events::append as events;
use crate::memories::write as memories;
use crate::turns;

/// A step with what is computed from it.
pub(super) struct Prepared {
    pub(super) step: Step,
    pub(super) fingerprint: [u8; 32],
    /// Names the call, however often it is sent.
    pub(super) call: Uuid,
    /// What is written, in the order of its locks, with its place in the step.
    pub(super) writes: Vec<(usize, Ready)>,
    /// Written together, last, with their places.
    pub(super) memories: Vec<memories::Draft>,
    pub(super) places: Vec<usize>,
}

/// A write that is ready to be sent.
pub(super) enum Ready {
    /// As it stands in the step.
    AsGiven,
    Checkpoint(Box<Packed<Put>>),
    Events(Box<events::Prepared>),
    Turn(Box<turns::append::Prepared>),
}

/// Steps whose texts and values are larger than this together are prepared on another thread.
const INLINE_BYTES: usize = 16 * 1024;

/// Checks the writes and computes; much of it away from the threads that serve connections.
pub(super) async fn prepare(
    scope: &Scope,
    step: Step,
    defaults: &TurnDefaults,
    sealing: Sealing,
    known: &Arc<Known>,
) -> Result<Prepared> {
    if step.prepared_bytes() <= INLINE_BYTES {
        return Prepared::of(scope, step, defaults, &sealing, known);
    }
    let (scope, defaults, known) = (scope.clone(), defaults.clone(), Arc::clone(known));
    tokio::task::spawn_blocking(move || Prepared::of(&scope, step, &defaults, &sealing, &known))
        .await
        .map_err(|error| Error::backend("preparing a step", error))?
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
    pub(super) fn answered(&self, kept: Kept) -> Result<Receipt> {
        let Kept { fingerprint, call, receipt } = kept;
        let differs = fingerprint != self.fingerprint;
        if differs && self.step.strict {
            return Err(Error::StepReused { id: self.step.id.to_string() });
        }
        Ok(Receipt { differs, replayed: call != self.call, ..receipt })
    }

    /// What is known of the thread of the only checkpoint. A fence is looked at under the lock.
    pub(super) fn within<'a>(&self, heads: &'a Heads, tenant: &'a str) -> Within<'a> {
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
