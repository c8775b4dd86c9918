//! Changing a memory: what moves, what follows, what is refused.

use chrono::TimeDelta;
use mnemon_core::memories::{Memory, MemoryFilter, MemoryPatch, NewMemory, Recall, Visibility};
use mnemon_core::{MemoryId, limits};
use serde_json::json;

use crate::check::{absent, contents, everything, fails_as, keep, keep_at, model, refused};
use crate::ctx::{Ctx, acme, ada, bob};
use crate::memories::World;

async fn change(ctx: &Ctx, id: MemoryId, patch: MemoryPatch) -> Memory {
    ctx.memories().update(&ada(), id, patch).await.expect("is changed")
}

pub(crate) async fn only_what_is_given_changes(ctx: &Ctx) {
    let memory = NewMemory {
        tags: vec!["a".into()],
        source: Some("mail".into()),
        codebase: Some("core".into()),
        metadata: json!({ "n": 1 }),
        domains: vec!["work".into()],
        ..NewMemory::new("the launch is on 3 May")
    };
    let id = ctx.memories().remember(&ada(), memory).await.expect("is kept").id;
    let before = ctx.memories().get(&ada(), id).await.expect("is there");
    ctx.move_clock(TimeDelta::hours(1)).await;

    let patch = MemoryPatch {
        tags: Some(vec!["b".into()]),
        source: Some(None),
        valid_until: Some(Some(before.created_at)),
        ..MemoryPatch::default()
    };
    let after = change(ctx, id, patch).await;

    let expected = Memory {
        tags: vec!["b".into()],
        source: None,
        valid_until: Some(before.created_at),
        ..before
    };
    assert_eq!(after, expected, "updated_at too: the content is the same");
    assert_eq!(ctx.memories().get(&ada(), id).await.expect("is there"), expected);
}

pub(crate) async fn updated_at_moves_with_the_content_only(ctx: &Ctx) {
    let id = keep(ctx.memories(), &ada(), "one").await;
    let first = ctx.memories().get(&ada(), id).await.expect("is there").updated_at;
    ctx.move_clock(TimeDelta::hours(1)).await;

    let same = change(ctx, id, MemoryPatch::content("one")).await.updated_at;
    let tags = Some(vec!["t".to_owned()]);
    let tagged = change(ctx, id, MemoryPatch { tags, ..MemoryPatch::default() }).await.updated_at;
    let moved = change(ctx, id, MemoryPatch::content("two")).await.updated_at;

    assert_eq!((same, tagged), (first, first));
    assert!(moved >= first + TimeDelta::hours(1));
}

pub(crate) async fn words_and_counts_follow_the_content(ctx: &Ctx) {
    let mut world = World::new(ctx);
    let ids = world.keep_texts(&ada(), &["red panda", "red fox", "blue whale", "a fox"]).await;
    let tags = vec!["panda".to_owned()];

    change(ctx, ids[0], MemoryPatch::content("green whale of the deep")).await;
    world.model.change(ids[0], |memory| memory.content = "green whale of the deep".into());
    let patch = MemoryPatch { tags: Some(tags.clone()), ..MemoryPatch::default() };
    change(ctx, ids[1], patch).await;
    world.model.change(ids[1], |memory| memory.tags = tags);
    let node_type = Some("animal".to_owned());
    change(ctx, ids[2], MemoryPatch { node_type, ..MemoryPatch::default() }).await;
    world.model.change(ids[2], |memory| memory.node_type = "animal".into());

    for question in ["panda", "red", "whale", "green deep", "animal", "fox fact"] {
        world.ask(&ada(), question).await;
    }
    world.delete(&ada(), ids[0]).await;
    world.ask(&ada(), "green whale").await;
}

pub(crate) async fn the_vector_follows_the_content(ctx: &Ctx) {
    ctx.memories().register_model(&model(2)).await.expect("a first model");
    let id = keep_at(ctx.memories(), &ada(), "one", &[1.0, 0.0]).await;
    let near = |vector: [f32; 2]| async move {
        let hits = ctx.memories().recall(&ada(), &Recall::vector(vector)).await;
        hits.expect("an answer").first().and_then(|hit| hit.similarity)
    };

    let tags = Some(vec!["t".to_owned()]);
    change(ctx, id, MemoryPatch { tags, ..MemoryPatch::default() }).await;
    assert!(near([1.0, 0.0]).await.is_some_and(|s| s > 0.99), "a tag leaves the vector");

    let embedding = Some(vec![0.0, 1.0]);
    change(ctx, id, MemoryPatch { embedding, ..MemoryPatch::content("two") }).await;
    assert!(near([0.0, 1.0]).await.is_some_and(|s| s > 0.99));

    change(ctx, id, MemoryPatch::content("three")).await;
    assert_eq!(near([0.0, 1.0]).await, None, "the old vector is another text's");
    assert_eq!(ctx.rows("embeddings_1").await, 0);

    let embedding = Some(vec![1.0, 1.0]);
    change(ctx, id, MemoryPatch { embedding, ..MemoryPatch::default() }).await;
    assert!(near([1.0, 1.0]).await.is_some_and(|s| s > 0.99), "a vector may come later");
}

pub(crate) async fn a_change_is_checked_as_a_new_memory_is(ctx: &Ctx) {
    let id = keep(ctx.memories(), &ada(), "one").await;
    let house = keep(ctx.memories(), &acme(), "house").await;
    let update = |patch| async move { ctx.memories().update(&ada(), id, patch).await };
    let long = "x".repeat(limits::MEMORY_CONTENT_BYTES + 1);

    refused(update(MemoryPatch::default()).await, "patch");
    refused(update(MemoryPatch::content(" ")).await, "content");
    refused(update(MemoryPatch::content(long)).await, "content");
    refused(update(MemoryPatch::content("a\0b")).await, "content");
    let metadata = Some(json!([]));
    refused(update(MemoryPatch { metadata, ..MemoryPatch::default() }).await, "metadata");
    let visibility = Some(Visibility::Shared);
    refused(update(MemoryPatch { visibility, ..MemoryPatch::default() }).await, "shared_with");
    let embedding = Some(vec![1.0]);
    refused(update(MemoryPatch { embedding, ..MemoryPatch::default() }).await, "embedding");
    let patch = MemoryPatch { visibility: Some(Visibility::Private), ..MemoryPatch::default() };
    refused(ctx.memories().update(&acme(), house, patch).await, "visibility");

    let untouched = ctx.memories().get(&ada(), id).await.expect("is there");
    assert_eq!(untouched.content, "one");
}

pub(crate) async fn what_others_share_is_not_ours_to_change(ctx: &Ctx) {
    let open = NewMemory { visibility: Some(Visibility::Tenant), ..NewMemory::new("open") };
    let id = ctx.memories().remember(&ada(), open).await.expect("is kept").id;
    ctx.memories().get(&bob(), id).await.expect("is visible");

    absent(ctx.memories().update(&bob(), id, MemoryPatch::content("mine")).await);

    ctx.memories().update(&acme(), id, MemoryPatch::content("ours")).await.expect("a service");
    assert_eq!(ctx.memories().get(&ada(), id).await.expect("is there").user, ada().user);
}

pub(crate) async fn equal_content_of_another_memory_is_refused(ctx: &Ctx) {
    let one = keep(ctx.memories(), &ada(), "one").await;
    let two = keep(ctx.memories(), &ada(), "two").await;
    keep(ctx.memories(), &bob(), "three").await;

    let taken = ctx.memories().update(&ada(), two, MemoryPatch::content("one")).await;
    let named = fails_as(taken, "already_exists").to_string();
    change(ctx, two, MemoryPatch::content("three")).await;

    assert!(named.contains(&one.to_string()), "{named}");
    let all = everything(ctx.memories(), &ada(), &MemoryFilter::default(), 10).await;
    assert_eq!(
        all.iter().map(|memory| memory.content.as_str()).collect::<Vec<_>>(),
        ["three", "one"]
    );
}

pub(crate) async fn sixteen_changes_of_one_memory_leave_one_text(ctx: &Ctx) {
    let id = keep(ctx.memories(), &ada(), "start").await;
    let mut tasks = Vec::new();
    for n in 0..16 {
        let store = ctx.store();
        tasks.push(tokio::spawn(async move {
            let patch = MemoryPatch::content(format!("quokka number {n}"));
            store.memories().update(&ada(), id, patch).await.expect("nobody fails")
        }));
    }
    for task in tasks {
        task.await.expect("no panic");
    }

    let mut world = World::new(ctx);
    let left = ctx.memories().get(&ada(), id).await.expect("is there").content;
    world.model.keep(id, &ada(), NewMemory::new(left.clone()));
    let hits = world.ask(&ada(), "quokka start").await;
    assert_eq!(contents(&hits), [left]);
}
