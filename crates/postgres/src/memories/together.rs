//! Memories of one scope that are written at the same time, in one commit.
//!
//! The first ones are written at once, each by itself; those that come meanwhile wait for one of
//! them to end, and are one statement. Only what nothing but an equal memory of the same owner can
//! stand in the way of comes here. What is not written is handed back, and its caller writes it
//! alone.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use mnemon_core::memories::Remembered;
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::{MemoryId, Result, Scope, limits};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::insert::insert;
use super::write::Draft;
use crate::gather::{Gather, Worker};
use crate::link::{Call, Link, Retry, work};
use crate::models::KnownSets;

/// The writes of one process.
pub(crate) type Together = Gather<Writer>;

/// Who writes.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(super) link: Link,
    pub(super) sets: Arc<KnownSets>,
}

/// A memory, and who waits for its outcome; `None` tells them to write it alone.
pub(crate) struct Job {
    scope: Scope,
    draft: Arc<Draft>,
    reply: oneshot::Sender<Option<Result<Remembered>>>,
}

/// Writes a memory, with whatever its scope writes at the same time; `None`: it is not written, and
/// is to be written alone.
pub(super) async fn remember(
    together: &Arc<Together>,
    writer: Writer,
    scope: &Scope,
    draft: &Arc<Draft>,
) -> Option<Result<Remembered>> {
    let (reply, outcome) = oneshot::channel();
    let job = Job { scope: scope.clone(), draft: Arc::clone(draft), reply };
    if let Err(error) = together.bring(writer, scope.clone(), job).await {
        return Some(Err(error));
    }
    // A job that was dropped was not written.
    outcome.await.ok().flatten()
}

impl Worker for Writer {
    type Lane = Scope;
    type Job = Job;
    const PLACES: u32 = limits::MEMORY_WRITERS;

    fn take(&self, waiting: &mut VecDeque<Job>) -> Vec<Job> {
        let mut taken: Vec<Job> = Vec::new();
        while taken.len() < limits::MEMORIES_TOGETHER
            && let Some(job) = waiting.pop_front()
        {
            if job.reply.is_closed() {
                continue;
            }
            // While the language is changed there are two.
            if taken.first().is_some_and(|first| first.draft.language != job.draft.language) {
                waiting.push_front(job);
                break;
            }
            taken.push(job);
        }
        taken
    }

    async fn work(&self, mut jobs: Vec<Job>) {
        let Some(scope) = jobs.first().map(|job| job.scope.clone()) else { return };
        // Admitted before it came here.
        let Ok(scope) = scope.admit(Facet::Memories) else { return };
        let drafts: Vec<&Draft> = jobs.iter().map(|job| &*job.draft).collect();
        match self.write(&scope, &drafts).await {
            Ok(made) => {
                for job in jobs {
                    let id = job.draft.id;
                    let done = Remembered { id: MemoryId(id), created: true };
                    // The caller may have gone; what is written stays written.
                    let _ = job.reply.send(made.contains(&id).then_some(Ok(done)));
                }
            }
            // Of several one may be to blame; sent again, each finds what it wrote.
            Err(error) => {
                if let (Some(job), true) = (jobs.pop(), jobs.is_empty()) {
                    let _ = job.reply.send(Some(Err(error)));
                }
            }
        }
    }
}

impl Writer {
    /// Writes what nothing stands in the way of, by one statement that is whole in itself; the ids
    /// written. None, where the sets are no longer those that were known.
    pub(super) async fn write(
        &self,
        scope: &Admitted<'_>,
        drafts: &[&Draft],
    ) -> Result<HashSet<Uuid>> {
        let vectors = drafts.iter().any(|draft| draft.has_vectors());
        let known = if vectors { self.sets.get() } else { Some(Arc::default()) };
        let fits = |sets: &Arc<[_]>| drafts.iter().all(|draft| draft.check(sets).is_ok());
        // Whether a vector is refused is for those sets to say that there are now.
        let Some(sets) = known.filter(fits) else { return Ok(HashSet::new()) };
        let mut first = Some(sets);
        let doing = "writing memories";
        // Every attempt writes the same ids.
        let call = Call { doing, tenant: Some(scope.tenant), retry: Retry::Idempotent };
        self.link
            .run(call, |conn| {
                // A set that was dropped meanwhile has this sent again: then it is read first.
                let known = first.take();
                work(async move {
                    let Some(sets) = known else { return Ok(HashSet::new()) };
                    let made = insert(conn, scope, drafts, &sets, vectors).await?;
                    Ok(made.into_iter().collect())
                })
            })
            .await
    }
}
