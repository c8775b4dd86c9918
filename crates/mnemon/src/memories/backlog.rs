//! What the active set lacks, embedded by upkeep: memories kept while the model did not answer, and
//! those of writers that do not know it.

use std::sync::Arc;

use mnemon_core::memories::{FillLease, SetState};
use mnemon_core::upkeep::{Batch, TaskLease};
use mnemon_core::{Error, Page, Result, Store, limits};

use super::reembed::made;
use crate::embed::Embedder;
use crate::metrics;

/// A pass over what the active set lacks.
pub(crate) struct Backlog<'s> {
    store: &'s dyn Store,
    embedder: Arc<dyn Embedder>,
    lease: FillLease,
    page: Page,
}

impl<'s> Backlog<'s> {
    /// Takes the active set, if it is of this model and nobody else fills it.
    pub(crate) async fn of(
        store: &'s dyn Store,
        embedder: Arc<dyn Embedder>,
        holder: &str,
    ) -> Result<Option<Self>> {
        // Whoever has another model than the database leaves its backlog to others.
        let registered = store.memories().registered_model().await?;
        if registered.as_ref() != Some(embedder.signature()) {
            return Ok(None);
        }
        let set = store.embedding_sets().begin(embedder.signature()).await?;
        if set.state != SetState::Active {
            return Ok(None);
        }
        let lease = match store.embedding_sets().claim(set.id, holder, limits::FILL_LEASE).await {
            Ok(lease) => lease,
            Err(Error::Held { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let page = Page::first(limits::REEMBED_BATCH);
        Ok(Some(Self { store, embedder, lease, page }))
    }

    /// Embeds one batch.
    pub(crate) async fn next(&mut self, task: &TaskLease) -> Result<Batch> {
        self.store.upkeep().batch(task).await?;
        let sets = self.store.embedding_sets();
        let found = sets.lacking(Some(self.lease.set), &self.page).await?;
        let mut rows = 0;
        if !found.items.is_empty() {
            let vectors = made(self.embedder.as_ref(), found.items).await?;
            // What changed meanwhile waits for the next pass, if it still lacks anything.
            rows = sets.fill(&self.lease, vectors).await?.stored;
        }
        self.page.cursor = found.next;
        Ok(Batch { rows, more: self.page.cursor.is_some() })
    }

    /// Gives the set back, with what the pass left.
    pub(crate) async fn end(self, whole: bool) -> Result<()> {
        let sets = self.store.embedding_sets();
        let left = if whole && self.page.cursor.is_none() {
            0
        } else {
            // The pass did not come to its end: what waits is counted, which costs about as much.
            let found = sets.sets().await?.sets;
            let own = found.iter().find(|counts| counts.set.id == self.lease.set);
            own.map_or(0, |counts| counts.lacking)
        };
        metrics::embedding_backlog(left);
        match sets.release(&self.lease, left).await {
            Err(Error::Fenced { .. }) => Ok(()),
            other => other,
        }
    }
}
