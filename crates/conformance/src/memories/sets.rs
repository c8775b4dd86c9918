//! What the cases about embedding sets share: models, their vectors, a writer and a filler.
use std::sync::Arc;
use std::time::Duration;

use mnemon_core::memories::{
    EmbeddingSet, EmbeddingSets, FillLease, Filled, Filling, Lacking, ModelSignature, ModelVector,
    NewMemory, Recall,
};
use mnemon_core::{MemoryId, Page, Scope};

use crate::check::model;
use crate::ctx::Ctx;

pub(super) const MINUTE: Duration = Duration::from_mins(1);

/// A model by name; the dimension is part of what it is.
pub(super) fn named(name: &str, dimension: u32) -> ModelSignature {
    ModelSignature { name: name.to_owned(), hash: format!("hash of {name}"), ..model(dimension) }
}

/// What a model makes of a text: a direction of the model's own, and one of the text's.
pub(super) fn vector(model: &ModelSignature, text: &str) -> Vec<f32> {
    let bytes = text.bytes().chain(model.name.bytes());
    let hash = bytes.fold(7_u32, |hash, byte| hash.wrapping_mul(31).wrapping_add(u32::from(byte)));
    let at = |n: u32| f32::from(u8::try_from((hash >> (n % 24)) & 0xff).expect("a byte")) + 1.0;
    (0..model.dimension).map(at).collect()
}

pub(super) fn by(model: &ModelSignature, text: &str) -> ModelVector {
    ModelVector { model: Arc::new(model.clone()), vector: vector(model, text) }
}

/// A memory as a writer who knows these models writes it.
pub(super) fn memory(text: &str, models: &[&ModelSignature]) -> NewMemory {
    NewMemory {
        vectors: models.iter().map(|model| by(model, text)).collect(),
        ..NewMemory::new(text)
    }
}

pub(super) async fn keep(
    ctx: &Ctx,
    scope: &Scope,
    text: &str,
    models: &[&ModelSignature],
) -> MemoryId {
    ctx.memories().remember(scope, memory(text, models)).await.expect("is kept").id
}

/// A question by the vector of a text.
pub(super) fn question(model: &ModelSignature, text: &str) -> Recall {
    Recall { model: Some(Arc::new(model.clone())), ..Recall::vector(vector(model, text)) }
}

pub(super) fn sets(ctx: &Ctx) -> &dyn EmbeddingSets {
    ctx.sets()
}

pub(super) async fn begin(ctx: &Ctx, model: &ModelSignature) -> EmbeddingSet {
    sets(ctx).begin(model).await.expect("is begun")
}

pub(super) async fn claim(ctx: &Ctx, set: &EmbeddingSet) -> FillLease {
    sets(ctx).claim(set.id, "filler", MINUTE).await.expect("nobody fills it")
}

pub(super) async fn lacking(ctx: &Ctx, set: &EmbeddingSet) -> Vec<Lacking> {
    let mut page = Page::first(2);
    let mut all = Vec::new();
    loop {
        let piece = sets(ctx).lacking(Some(set.id), &page).await.expect("a page is read");
        all.extend(piece.items);
        match piece.next {
            Some(cursor) => page.cursor = Some(cursor),
            None => return all,
        }
    }
}

pub(super) fn made(model: &ModelSignature, lacking: &[Lacking]) -> Vec<Filling> {
    lacking
        .iter()
        .map(|memory| Filling {
            tenant: memory.tenant.clone(),
            id: memory.id,
            content_hash: memory.content_hash,
            vector: vector(model, &memory.content),
        })
        .collect()
}

/// Embeds what a set lacks.
pub(super) async fn fill(ctx: &Ctx, set: &EmbeddingSet, lease: &FillLease) -> Filled {
    let vectors = made(&set.model, &lacking(ctx, set).await);
    sets(ctx).fill(lease, vectors).await.expect("is filled")
}
