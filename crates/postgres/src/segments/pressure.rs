//! What slows writers of vectors down when upkeep does not keep up: they wait a little before they
//! write, the longer the more is unindexed. Nobody is refused.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mnemon_core::{limits, metric_names as names};

use super::unindexed;
use crate::link::{Call, Link, Retry, work};
use crate::models;

/// After this many vectors of its own a process counts again.
const LOOK_EVERY: u64 = 2_000;
/// Where counting ends: no writer waits longer for more.
const MOST: u64 = 4 * limits::UNINDEXED_SLOW;

/// What a process knows about the unindexed part.
#[derive(Default)]
pub(crate) struct Pressure {
    /// Vectors written since it counted.
    written: AtomicU64,
    /// What it counted.
    unindexed: AtomicU64,
}

impl Pressure {
    /// Waits before vectors are written, when there is reason to.
    pub(crate) async fn ease(&self, link: &Link, vectors: usize) {
        if vectors == 0 {
            return;
        }
        let before = self.written.fetch_add(vectors as u64, Ordering::Relaxed);
        if before / LOOK_EVERY != (before + vectors as u64) / LOOK_EVERY {
            self.look(link.maintenance()).await;
        }
        let pause = pause(self.unindexed.load(Ordering::Relaxed), vectors);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }

    /// Counts. A role that may not see all rows writes without being slowed.
    pub(crate) async fn look(&self, link: &Link) {
        let call =
            Call { doing: "counting unindexed vectors", tenant: None, retry: Retry::Idempotent };
        let most = i64::try_from(MOST).unwrap_or(i64::MAX);
        let rows = link
            .run(call, |conn| {
                work(async move {
                    match models::active(conn).await? {
                        Some(set) if super::can_index(&set.model) => {
                            unindexed(conn, &set, most).await
                        }
                        _ => Ok(0),
                    }
                })
            })
            .await;
        if let Ok(rows) = rows {
            self.note(rows);
        }
    }

    fn note(&self, unindexed: u64) {
        self.unindexed.store(unindexed, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "a count")]
        metrics::gauge!(names::VECTORS_UNINDEXED).set(unindexed as f64);
    }
}

/// A millisecond a vector for each [`limits::UNINDEXED_SLOW`] too many.
#[expect(clippy::cast_precision_loss, reason = "counts")]
fn pause(unindexed: u64, vectors: usize) -> Duration {
    let over = unindexed.saturating_sub(limits::UNINDEXED_SLOW) as f64;
    let share = over / limits::UNINDEXED_SLOW as f64;
    Duration::from_secs_f64(share * vectors as f64 / 1_000.0).min(limits::UNINDEXED_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_wait_only_above_the_limit_and_never_for_long() {
        let slow = limits::UNINDEXED_SLOW;

        assert_eq!(pause(slow, 500), Duration::ZERO);
        assert_eq!(pause(2 * slow, 1), Duration::from_millis(1));
        assert_eq!(pause(u64::MAX, 500), limits::UNINDEXED_PAUSE);
    }
}
