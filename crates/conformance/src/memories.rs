//! Cases for memories.

pub(crate) mod batches;
pub(crate) mod concurrency;
pub(crate) mod counting;
pub(crate) mod decay;
pub(crate) mod domains;
pub(crate) mod filters;
pub(crate) mod fusion;
pub(crate) mod graph;
pub(crate) mod identity;
pub(crate) mod language;
pub(crate) mod limits;
pub(crate) mod pages;
pub(crate) mod planned;
pub(crate) mod random;
pub(crate) mod reading;
pub(crate) mod registry;
pub(crate) mod set_filling;
pub(crate) mod set_switching;
pub(crate) mod set_writing;
mod sets;
pub(crate) mod time;
pub(crate) mod updating;
pub(crate) mod vectors;
pub(crate) mod words;
pub(crate) mod writing;

use mnemon_core::memories::{Hit, Language, MemoryFilter, NewMemory, Recall};
use mnemon_core::{MemoryId, Scope};

use crate::check::ids;
use crate::ctx::Ctx;
use crate::model::{Model, Write};

/// A store and the model of what is in it.
struct World<'a> {
    ctx: &'a Ctx,
    model: Model,
}

impl<'a> World<'a> {
    fn new(ctx: &'a Ctx) -> Self {
        Self { ctx, model: Model::default() }
    }

    /// Of a database in a language.
    fn of(ctx: &'a Ctx, language: Language) -> Self {
        Self { ctx, model: Model::of(language) }
    }

    /// Writes to both.
    async fn keep(&mut self, scope: &Scope, memory: NewMemory) -> MemoryId {
        assert_eq!(self.model.write(scope, &memory), Write::Creates);
        let done = self.ctx.memories().remember(scope, memory.clone()).await.expect("is kept");
        assert!(done.created);
        self.model.keep(done.id, scope, memory);
        done.id
    }

    /// Writes plain texts to both.
    async fn keep_texts(&mut self, scope: &Scope, texts: &[&str]) -> Vec<MemoryId> {
        let mut ids = Vec::new();
        for text in texts {
            ids.push(self.keep(scope, NewMemory::new(*text)).await);
        }
        ids
    }

    /// Writes many texts to both, in batches.
    async fn keep_many(&mut self, scope: &Scope, texts: impl IntoIterator<Item = String>) {
        let texts: Vec<NewMemory> = texts.into_iter().map(NewMemory::new).collect();
        for batch in texts.chunks(mnemon_core::limits::REMEMBER_BATCH) {
            let done = self.ctx.memories().remember_many(scope, batch.to_vec()).await;
            for (memory, done) in batch.iter().zip(done.expect("a batch is kept")) {
                assert!(done.created);
                self.model.keep(done.id, scope, memory.clone());
            }
        }
    }

    async fn delete(&mut self, scope: &Scope, id: MemoryId) {
        self.ctx.memories().delete(scope, id).await.expect("is deleted");
        self.model.delete(id);
    }

    /// Asks both, and asserts the same ten memories with the same scores.
    async fn ask(&self, scope: &Scope, text: &str) -> Vec<Hit> {
        let hits = self.ctx.memories().recall(scope, &Recall::text(text)).await.expect("an answer");
        self.assert_agrees(scope, text, &MemoryFilter::default(), &hits);
        hits
    }

    fn assert_agrees(&self, scope: &Scope, text: &str, filter: &MemoryFilter, hits: &[Hit]) {
        let limit = mnemon_core::limits::RECALL_DEFAULT as usize;
        let expected = self.model.recall(scope, text, filter, limit);
        let wanted: Vec<MemoryId> = expected.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids(hits), wanted, "{text:?} finds the same memories in the same order");
        for (hit, (_, score)) in hits.iter().zip(expected) {
            let found = hit.text_score.expect("a hit by words has its score");
            assert!((found - score).abs() < 1e-6, "{text:?}: {found} is not {score}");
        }
    }
}
