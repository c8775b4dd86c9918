//! A batch is all or none, and an error names the entry.

use mnemon_core::memories::{MemoryFilter, NewMemory, Remembered};
use mnemon_core::{Page, RequestId, Result, limits};

use crate::check::{fails_as, model, refused};
use crate::ctx::{Ctx, acme, ada};

fn texts(texts: &[&str]) -> Vec<NewMemory> {
    texts.iter().map(|text| NewMemory::new(*text)).collect()
}

async fn write(ctx: &Ctx, memories: Vec<NewMemory>) -> Result<Vec<Remembered>> {
    ctx.memories().remember_many(&ada(), memories).await
}

async fn count(ctx: &Ctx) -> u64 {
    ctx.memories().count(&ada()).await.expect("a count")
}

pub(crate) async fn outcomes_come_in_the_order_given(ctx: &Ctx) {
    let before = crate::check::keep(ctx.memories(), &ada(), "m").await;

    let done = write(ctx, texts(&["z", "a", "m", "b", "y"])).await.expect("is kept");

    for (outcome, text) in done.iter().zip(["z", "a", "m", "b", "y"]) {
        let found = ctx.memories().get(&ada(), outcome.id).await.expect("is there");
        assert_eq!(found.content, text);
        assert_eq!(outcome.created, text != "m");
    }
    assert_eq!(done[2].id, before);
    let list = ctx.memories().list(&ada(), &MemoryFilter::default(), &Page::default()).await;
    let listed: Vec<String> = list.expect("a list").items.into_iter().map(|m| m.content).collect();
    assert_eq!(listed, ["y", "b", "a", "z", "m"], "the last given is the newest");
}

pub(crate) async fn equal_content_within_a_batch_is_one_memory(ctx: &Ctx) {
    let done = write(ctx, texts(&["a", "b", "a", "a"])).await.expect("is kept");

    assert_eq!(done.iter().map(|d| d.created).collect::<Vec<_>>(), [true, true, false, false]);
    assert!(done[2].id == done[0].id && done[3].id == done[0].id);
    assert_eq!(count(ctx).await, 2);
}

pub(crate) async fn a_request_id_twice_in_a_batch_is_one_memory(ctx: &Ctx) {
    let request =
        |text: &str| NewMemory { request_id: RequestId::parse("r").ok(), ..NewMemory::new(text) };

    let done = write(ctx, vec![request("a"), request("b")]).await.expect("is kept");

    assert_eq!(done[1], Remembered { id: done[0].id, created: false });
    assert_eq!(count(ctx).await, 1);
}

pub(crate) async fn an_empty_batch_does_nothing(ctx: &Ctx) {
    assert_eq!(write(ctx, Vec::new()).await.expect("is done"), []);
}

pub(crate) async fn a_full_batch_is_kept_and_one_more_is_refused(ctx: &Ctx) {
    let many = |n: usize| (0..n).map(|n| NewMemory::new(format!("number {n}"))).collect();
    let over = write(ctx, many(limits::REMEMBER_BATCH + 1)).await;
    let error = fails_as(over, "invalid");
    assert!(error.to_string().contains(&limits::REMEMBER_BATCH.to_string()), "{error}");
    assert_eq!(count(ctx).await, 0);

    let done = write(ctx, many(limits::REMEMBER_BATCH)).await.expect("is kept");

    assert_eq!(done.len(), limits::REMEMBER_BATCH);
    assert_eq!(count(ctx).await, limits::REMEMBER_BATCH as u64);
}

pub(crate) async fn one_bad_entry_refuses_all_and_is_named(ctx: &Ctx) {
    ctx.memories().register_model(&model(2)).await.expect("a first model");
    let bad: [(&str, NewMemory); 4] = [
        ("content", NewMemory::new("")),
        ("tags", NewMemory { tags: vec![" ".into()], ..NewMemory::new("x") }),
        ("embedding", NewMemory { embedding: Some(vec![0.0, 0.0]), ..NewMemory::new("x") }),
        ("embedding", NewMemory { embedding: Some(vec![1.0; 3]), ..NewMemory::new("x") }),
    ];
    for (field, memory) in bad {
        let mut batch = texts(&["a", "b", "c", "d", "e"]);
        batch[3] = memory;

        refused(write(ctx, batch).await, &format!("memories[3].{field}"));
    }

    assert_eq!(ctx.rows("memories").await, 0);
    refused(ctx.memories().remember(&acme(), NewMemory::new("")).await, "content");
}

pub(crate) async fn a_taken_key_refuses_the_whole_batch(ctx: &Ctx) {
    let keyed = |text: &str| NewMemory { key: Some("k".into()), ..NewMemory::new(text) };
    let standing = write(ctx, vec![keyed("standing")]).await.expect("is kept");
    let before = texts(&["a"]);

    let taken = write(ctx, [before.clone(), vec![keyed("other")]].concat()).await;
    fails_as(taken, "already_exists");
    let mut other = keyed("x");
    other.key = Some("twice".into());
    let twice = vec![other.clone(), NewMemory { content: "y".into(), ..other }];
    fails_as(write(ctx, [before, twice].concat()).await, "already_exists");

    assert_eq!(count(ctx).await, 1);
    assert_eq!(write(ctx, vec![keyed("standing")]).await.expect("is found")[0].id, standing[0].id);
}

pub(crate) async fn crossing_batches_of_the_same_texts_never_deadlock(ctx: &Ctx) {
    let other = ctx.another().await;
    let mut forward: Vec<NewMemory> =
        (0..200).map(|n| NewMemory::new(format!("text {n}"))).collect();
    let mut tasks = Vec::new();
    for n in 0..8 {
        let store = if n % 2 == 0 { ctx.store() } else { other.clone() };
        forward.reverse();
        forward.rotate_left(n * 7);
        let batch = forward.clone();
        tasks
            .push(tokio::spawn(async move { store.memories().remember_many(&ada(), batch).await }));
    }

    let mut created = 0;
    for task in tasks {
        let done = task.await.expect("no panic").expect("no batch fails");
        created += done.iter().filter(|outcome| outcome.created).count();
    }

    assert_eq!(created, 200, "each text is written by one of the batches");
    assert_eq!(count(ctx).await, 200);
}

pub(crate) async fn crossing_batches_of_the_same_keys_are_kept_or_refused_whole(ctx: &Ctx) {
    let other = ctx.another().await;
    let mut tasks = Vec::new();
    for n in 0..8_usize {
        let store = if n.is_multiple_of(2) { ctx.store() } else { other.clone() };
        let mut batch: Vec<NewMemory> = (0..40)
            .map(|key| NewMemory {
                key: Some(format!("key {key}")),
                ..NewMemory::new(format!("text of {n} under {key}"))
            })
            .collect();
        batch.rotate_left(n * 5);
        tasks
            .push(tokio::spawn(async move { store.memories().remember_many(&ada(), batch).await }));
    }

    let mut kept = 0;
    for task in tasks {
        match task.await.expect("no panic") {
            Ok(done) => kept += done.iter().filter(|outcome| outcome.created).count(),
            Err(error) => assert_eq!(error.code(), "already_exists", "{error:?}"),
        }
    }

    assert_eq!(kept, 40, "one batch is kept whole");
    assert_eq!(count(ctx).await, 40);
}
