//! The model of a database is registered once, whoever is first.

use std::sync::Arc;

use mnemon_core::memories::{ModelSignature, NewMemory, Recall};
use mnemon_core::{Error, Store, limits};

use crate::check::{fails_as, keep_at, model, refused};
use crate::ctx::{Ctx, ada};

pub(crate) async fn the_same_model_again_is_a_no_op(ctx: &Ctx) {
    assert_eq!(ctx.memories().registered_model().await.expect("an answer"), None);

    for _ in 0..3 {
        ctx.memories().register_model(&model(4)).await.expect("is registered");
    }

    let other = ctx.another().await;
    let found = other.memories().registered_model().await.expect("an answer");
    assert_eq!(found, Some(model(4)));
    assert_eq!(ctx.rows("embedding_sets").await, 1);
}

pub(crate) async fn another_model_is_a_mismatch(ctx: &Ctx) {
    ctx.memories().register_model(&model(4)).await.expect("a first model");
    for offered in [
        model(5),
        ModelSignature { name: "other".into(), ..model(4) },
        ModelSignature { hash: "11".into(), ..model(4) },
        ModelSignature { semantic: false, ..model(4) },
    ] {
        let error = fails_as(ctx.memories().register_model(&offered).await, "model_mismatch");

        let Error::ModelMismatch { registered, offered: named } = error else { unreachable!() };
        assert_eq!((registered, named), (model(4), offered));
    }
    let found = ctx.memories().registered_model().await.expect("an answer");
    assert_eq!(found, Some(model(4)));
    assert_eq!(ctx.rows("embedding_sets").await, 1);
}

pub(crate) async fn an_unusable_signature_is_refused(ctx: &Ctx) {
    let over = u32::try_from(limits::EMBEDDING_DIMENSIONS).expect("a small number") + 1;
    for (field, bad) in [
        ("model.dimension", model(0)),
        ("model.dimension", model(over)),
        ("model.name", ModelSignature { name: " ".into(), ..model(4) }),
        ("model.name", ModelSignature { name: "a\0".into(), ..model(4) }),
        ("model.hash", ModelSignature { hash: String::new(), ..model(4) }),
    ] {
        refused(ctx.memories().register_model(&bad).await, field);
    }
    assert_eq!(ctx.memories().registered_model().await.expect("an answer"), None);
}

async fn handles(ctx: &Ctx, count: usize) -> Vec<Arc<dyn Store>> {
    let mut handles = vec![ctx.store()];
    while handles.len() < count {
        handles.push(ctx.another().await);
    }
    handles
}

pub(crate) async fn eight_at_once_register_one(ctx: &Ctx) {
    let mut tasks = Vec::new();
    for store in handles(ctx, 4).await.into_iter().cycle().take(8) {
        tasks.push(tokio::spawn(async move { store.memories().register_model(&model(4)).await }));
    }

    for task in tasks {
        task.await.expect("no panic").expect("each succeeds");
    }

    assert_eq!(ctx.rows("embedding_sets").await, 1);
    keep_at(ctx.memories(), &ada(), "one", &[1.0, 0.0, 0.0, 0.0]).await;
}

pub(crate) async fn of_eight_different_models_one_wins(ctx: &Ctx) {
    let mut tasks = Vec::new();
    for (n, store) in handles(ctx, 4).await.into_iter().cycle().take(8).enumerate() {
        let offered = ModelSignature { name: format!("model-{n}"), ..model(4) };
        tasks.push(tokio::spawn(async move { store.memories().register_model(&offered).await }));
    }

    let mut won = 0;
    for task in tasks {
        match task.await.expect("no panic") {
            Ok(()) => won += 1,
            Err(error) => assert_eq!(error.code(), "model_mismatch", "{error:?}"),
        }
    }

    assert_eq!(won, 1);
    assert_eq!(ctx.rows("embedding_sets").await, 1);
}

pub(crate) async fn a_model_registered_elsewhere_is_used_at_once(ctx: &Ctx) {
    let other = ctx.another().await;
    // This handle has seen that there is none.
    refused(ctx.memories().recall(&ada(), &Recall::vector([1.0, 0.0])).await, "embedding");

    other.memories().register_model(&model(2)).await.expect("a first model");

    let memory = NewMemory { embedding: Some(vec![1.0, 0.0]), ..NewMemory::new("one") };
    ctx.memories().remember(&ada(), memory).await.expect("is kept");
    let hits = other.memories().recall(&ada(), &Recall::vector([1.0, 0.0])).await;
    assert_eq!(hits.expect("an answer").len(), 1);
}
