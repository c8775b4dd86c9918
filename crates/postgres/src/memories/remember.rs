//! What a call that remembers does: check and cut, wait where upkeep is behind, write.

use std::sync::Arc;

use mnemon_core::memories::text::Known;
use mnemon_core::memories::{NewMemory, Remembered};
use mnemon_core::scope::Facet;
use mnemon_core::{Error, MemoryId, Result, Scope};

use super::together::Writer;
use super::{reading, together, write};
use crate::link::work;
use crate::store::PostgresStore;

impl PostgresStore {
    /// Writes memories of one scope, all or none; outcomes in the order given.
    pub(super) async fn write(
        &self,
        scope: &Scope,
        memories: Vec<NewMemory>,
        named: bool,
    ) -> Result<Vec<Remembered>> {
        let mut drafts = prepare(scope, memories, named, &self.known).await?;
        let vectors = drafts.iter().filter(|draft| draft.has_vectors()).count();
        self.pressure.ease(&self.link, vectors).await;
        let (whose, scope) = (scope, &scope.admit(Facet::Memories)?);
        let single = if drafts.len() == 1 { drafts.pop().map(Arc::new) } else { None };
        if let Some(draft) = &single
            && let Some(done) = self.write_single(whose, draft).await
        {
            return done.map(|done| vec![done]);
        }
        let drafts = single.as_deref().map_or(drafts.as_slice(), std::slice::from_ref);
        // Every attempt writes the same ids, so a repeat finds its own rows.
        let call = reading("writing memories", scope.tenant);
        self.link
            .transaction(call, |conn| {
                work(async move {
                    let sets = write::check_vectors(conn, drafts, named).await?;
                    let done = write::all(conn, scope, drafts, &sets).await?;
                    if vectors > 0 {
                        self.sets.set(sets);
                    }
                    Ok(done)
                })
            })
            .await
    }

    /// Writes a memory without a transaction; `None` where more has to be looked at.
    async fn write_single(
        &self,
        scope: &Scope,
        draft: &Arc<write::Draft>,
    ) -> Option<Result<Remembered>> {
        let writer = Writer { link: self.link.clone(), sets: Arc::clone(&self.sets) };
        if draft.is_free() {
            return together::remember(&self.gathered, writer, scope, draft).await;
        }
        let scope = match scope.admit(Facet::Memories) {
            Ok(scope) => scope,
            Err(error) => return Some(Err(error)),
        };
        match writer.write(&scope, &[draft]).await {
            Ok(made) => {
                let id = draft.id;
                made.contains(&id).then_some(Ok(Remembered { id: MemoryId(id), created: true }))
            }
            Err(error) => Some(Err(error)),
        }
    }
}

/// Checks and analyses; much text does so away from the threads that serve connections.
async fn prepare(
    scope: &Scope,
    memories: Vec<NewMemory>,
    named: bool,
    known: &Arc<Known>,
) -> Result<Vec<write::Draft>> {
    /// About a millisecond of analysis.
    const INLINE_BYTES: usize = 16 * 1024;
    if memories.iter().map(|memory| memory.content.len()).sum::<usize>() <= INLINE_BYTES {
        return write::draft(scope, memories, named, known);
    }
    let (scope, known) = (scope.clone(), Arc::clone(known));
    tokio::task::spawn_blocking(move || write::draft(&scope, memories, named, &known))
        .await
        .map_err(|error| Error::backend("analysing memories", error))?
}
