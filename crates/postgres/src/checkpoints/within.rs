//! Putting a checkpoint inside the transaction of a step: from what this process wrote to the
//! thread last, where that is still so, else under the thread's lock. Only a step that was
//! committed leaves anything known.

use std::sync::{Mutex, MutexGuard, PoisonError};

use mnemon_core::checkpoints::pack::Packed;
use mnemon_core::checkpoints::{Placed, Put, Thread};
use mnemon_core::locks::Guard;
use mnemon_core::scope::Admitted;
use sqlx::postgres::PgConnection;

use super::heads::{Heads, Seen};
use super::{ahead, put};
use crate::error::Fault;

/// What is known of the thread of a step's checkpoint, before it and after it.
#[derive(Default)]
pub(crate) struct Within<'a> {
    known: Option<(&'a Heads, &'a str)>,
    before: Mutex<Option<Seen>>,
    after: Mutex<Option<(Thread, Seen)>>,
}

impl<'a> Within<'a> {
    /// For a step of this tenant, and its only checkpoint.
    pub(crate) fn of(heads: &'a Heads, tenant: &'a str, packed: &Packed<Put>) -> Self {
        let seen = heads.take(tenant, &packed.given().thread);
        let before = seen.filter(|seen| ahead::continues(packed, seen));
        let (before, after) = (Mutex::new(before), Mutex::default());
        Self { known: Some((heads, tenant)), before, after }
    }

    /// Puts the checkpoint.
    pub(crate) async fn put(
        &self,
        conn: &mut PgConnection,
        scope: &Admitted<'_>,
        packed: &Packed<Put>,
        guards: &[Guard],
    ) -> Result<Placed, Fault> {
        let before = held(&self.before).take();
        if let Some(seen) = before {
            if let Some((placed, seen)) = ahead::go_on_within(conn, scope, packed, seen).await? {
                self.note(packed, seen);
                return Ok(placed);
            }
            if let Some((heads, tenant)) = self.known {
                heads.share(tenant, &packed.given().thread);
            }
        }
        let (placed, seen) = put::under_lock(conn, scope, packed, guards).await?;
        self.note(packed, seen);
        Ok(placed)
    }

    fn note(&self, packed: &Packed<Put>, seen: Seen) {
        if self.known.is_some() {
            *held(&self.after) = Some((packed.given().thread.clone(), seen));
        }
    }

    /// The step was committed: its thread stands as it left it.
    pub(crate) fn committed(self) {
        let after = held(&self.after).take();
        if let (Some((heads, tenant)), Some((thread, seen))) = (self.known, after) {
            heads.keep(tenant, &thread, seen);
        }
    }
}

/// What is behind a lock. Nothing that can panic runs under it.
fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}
