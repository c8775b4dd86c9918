//! What a change of the model is asked to do, and what it did.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mnemon_core::memories::ModelSignature;
use mnemon_core::{Error, Result, limits};
use serde::{Deserialize, Serialize};

use crate::embed::Embedder;

type OnProgress = Arc<dyn Fn(ReembedProgress) + Send + Sync>;

/// How to go over to another model; see [`crate::Memories::reembed`].
#[derive(Clone)]
pub struct Reembed {
    pub(super) embedder: Arc<dyn Embedder>,
    pub(super) batch: u32,
    pub(super) lease: Duration,
    pub(super) dry_run: bool,
    pub(super) drop_old: bool,
    pub(super) progress: Option<OnProgress>,
}

impl Reembed {
    /// Goes over to a model.
    pub fn to(embedder: Arc<dyn Embedder>) -> Self {
        Self {
            embedder,
            batch: limits::REEMBED_BATCH,
            lease: limits::FILL_LEASE,
            dry_run: false,
            drop_old: false,
            progress: None,
        }
    }

    /// Memories embedded at once; twice as many are held in memory.
    #[must_use]
    pub fn batch(self, batch: u32) -> Self {
        Self { batch, ..self }
    }

    /// How long another process waits for this one after its last sign of life; longer than the
    /// model needs for a batch.
    #[must_use]
    pub fn lease(self, lease: Duration) -> Self {
        Self { lease, ..self }
    }

    /// Only counts, and estimates how long it would take.
    #[must_use]
    pub fn dry_run(self) -> Self {
        Self { dry_run: true, ..self }
    }

    /// Drops the old set after the switch, which cannot be taken back.
    #[must_use]
    pub fn drop_old(self) -> Self {
        Self { drop_old: true, ..self }
    }

    /// Is told after every batch how far it is.
    #[must_use]
    pub fn progress(self, tell: impl Fn(ReembedProgress) + Send + Sync + 'static) -> Self {
        Self { progress: Some(Arc::new(tell)), ..self }
    }

    pub(super) fn check(&self) -> Result<()> {
        self.embedder.signature().check()?;
        if (1..=limits::PAGE_MAX).contains(&self.batch) {
            return Ok(());
        }
        let reason = format!("is {}; it goes from 1 to {}", self.batch, limits::PAGE_MAX);
        Err(Error::invalid("batch", reason))
    }
}

impl fmt::Debug for Reembed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reembed")
            .field("model", self.embedder.signature())
            .field("batch", &self.batch)
            .field("dry_run", &self.dry_run)
            .field("drop_old", &self.drop_old)
            .finish_non_exhaustive()
    }
}

/// How far a change of the model is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReembedProgress {
    /// Memories embedded.
    pub done: u64,
    /// Of so many, counted at the beginning.
    pub total: u64,
}

/// What a change of the model did.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct ReembedReport {
    /// The model gone over to.
    pub model: ModelSignature,
    /// Vectors written by this run.
    pub rows: u64,
    /// Vectors not written, because the memory changed or went while it was embedded.
    pub skipped: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// Of them, building what searches go through.
    pub index_seconds: f64,
    /// Whether recall went over to the new set.
    pub switched: bool,
    /// Old sets dropped.
    pub dropped: u64,
    /// Whether it only counted.
    pub dry_run: bool,
    /// Memories that are still to be embedded: what a dry run counts.
    pub lacking: u64,
    /// How long that takes, by the look of a few; of a dry run.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub estimated_seconds: Option<f64>,
}

impl ReembedReport {
    pub(super) fn of(model: &ModelSignature) -> Self {
        Self {
            model: model.clone(),
            rows: 0,
            skipped: 0,
            seconds: 0.0,
            index_seconds: 0.0,
            switched: false,
            dropped: 0,
            dry_run: false,
            lacking: 0,
            estimated_seconds: None,
        }
    }
}
