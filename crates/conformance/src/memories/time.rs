//! What is expired is invisible to every verb, by the store's clock.

use chrono::TimeDelta;
use mnemon_core::Page;
use mnemon_core::memories::{MemoryFilter, Namespace, NewMemory, Recall};

use crate::check::{absent, contents, keep_at, model};
use crate::ctx::{Ctx, ada};

pub(crate) async fn an_expired_memory_is_invisible_to_every_verb(ctx: &Ctx) {
    ctx.memories().register_model(&model(2)).await.expect("a first model");
    let memory = NewMemory {
        key: Some("k".into()),
        expires_at: Some(ctx.now().await + TimeDelta::hours(1)),
        embedding: Some(vec![1.0, 0.0]),
        ..NewMemory::new("a quokka for an hour")
    };
    let id = ctx.memories().remember(&ada(), memory).await.expect("is kept").id;
    keep_at(ctx.memories(), &ada(), "a quokka for good", &[1.0, 0.5]).await;
    ctx.move_clock(TimeDelta::minutes(59)).await;
    ctx.memories().get(&ada(), id).await.expect("is still there");
    assert_eq!(ctx.memories().count(&ada()).await.expect("a count"), 2);

    ctx.move_clock(TimeDelta::minutes(2)).await;

    absent(ctx.memories().get(&ada(), id).await);
    absent(ctx.memories().by_key(&ada(), &Namespace::default(), "k").await);
    absent(ctx.memories().delete(&ada(), id).await);
    assert_eq!(ctx.memories().count(&ada()).await.expect("a count"), 1);
    let list = ctx.memories().list(&ada(), &MemoryFilter::default(), &Page::default()).await;
    assert_eq!(list.expect("a list").items.len(), 1);
    for question in [
        Recall::text("quokka"),
        Recall::vector([1.0, 0.0]),
        Recall { embedding: Some(vec![1.0, 0.0]), ..Recall::text("quokka") },
    ] {
        let hits = ctx.memories().recall(&ada(), &question).await.expect("an answer");
        assert_eq!(contents(&hits), ["a quokka for good"]);
    }
}

pub(crate) async fn the_clock_of_the_store_writes_times(ctx: &Ctx) {
    ctx.move_clock(TimeDelta::days(400)).await;
    let before = ctx.now().await;

    let id = crate::check::keep(ctx.memories(), &ada(), "later").await;

    let found = ctx.memories().get(&ada(), id).await.expect("is there");
    let now = ctx.now().await;
    assert!((before..=now).contains(&found.created_at), "{} {before} {now}", found.created_at);
    assert!((before..=now).contains(&found.updated_at));
}

pub(crate) async fn a_clock_that_goes_backwards_breaks_nothing(ctx: &Ctx) {
    let first = crate::check::keep(ctx.memories(), &ada(), "first").await;
    ctx.move_clock(TimeDelta::hours(-3)).await;

    let second = crate::check::keep(ctx.memories(), &ada(), "second").await;

    assert_ne!(first, second);
    assert_eq!(ctx.memories().count(&ada()).await.expect("a count"), 2);
    ctx.memories().get(&ada(), first).await.expect("is there");
}
