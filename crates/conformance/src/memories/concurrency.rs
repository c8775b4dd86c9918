//! Many at once: nothing is lost, nothing doubled, nobody fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mnemon_core::memories::{MemoryFilter, NewMemory, Rating, Recall, Review};
use mnemon_core::{Page, Store};

use crate::check::{everything, keep};
use crate::ctx::{Ctx, acme, ada};
use crate::memories::World;

const WRITERS: usize = 16;
const WRITES: usize = 100;

/// Asks until told to stop; every answer must be one. Answers how often it asked.
async fn recaller(store: Arc<dyn Store>, stop: Arc<AtomicBool>) -> usize {
    let mut asked = 0;
    while !stop.load(Ordering::Relaxed) {
        let hits = store.memories().recall(&acme(), &Recall::text("quokka of writer 3")).await;
        let hits = hits.expect("a reader never fails");
        assert!(hits.iter().all(|hit| hit.text_score.is_some_and(f64::is_finite)));
        store.memories().count(&acme()).await.expect("a reader never fails");
        asked += 1;
        tokio::task::yield_now().await;
    }
    asked
}

/// Reviews what is there until told to stop; two of these meet at the same memories. Answers how
/// many reviews it wrote.
async fn scheduler(store: Arc<dyn Store>, stop: Arc<AtomicBool>) -> usize {
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        let page = store.memories().list(&acme(), &MemoryFilter::default(), &Page::first(3)).await;
        for memory in page.expect("a reader never fails").items {
            let review = Review::new(Rating::Good);
            store.memories().review(&acme(), memory.id, review).await.expect("a review is written");
            written += 1;
        }
        store.memories().due(&acme(), None, &Page::first(10)).await.expect("a reader never fails");
    }
    written
}

pub(crate) async fn sixteen_writers_and_four_readers_get_along(ctx: &Ctx) {
    let second = ctx.another().await;
    let stop = Arc::new(AtomicBool::new(false));
    let handle = |n: usize| if n.is_multiple_of(2) { ctx.store() } else { Arc::clone(&second) };
    let readers: Vec<_> =
        (0..4).map(|n| tokio::spawn(recaller(handle(n), Arc::clone(&stop)))).collect();
    let schedulers: Vec<_> =
        (0..2).map(|n| tokio::spawn(scheduler(handle(n), Arc::clone(&stop)))).collect();
    let mut writers = Vec::new();
    for n in 0..WRITERS {
        let store = handle(n);
        writers.push(tokio::spawn(async move {
            let scope = acme().user(format!("user {}", n % 4));
            for m in 0..WRITES {
                let text = format!("quokka of writer {n} number {m}");
                let done = store.memories().remember(&scope, NewMemory::new(text)).await;
                assert!(done.expect("a writer never fails").created);
            }
        }));
    }

    for writer in writers {
        writer.await.expect("no panic");
    }
    stop.store(true, Ordering::Relaxed);
    for reader in readers {
        assert!(reader.await.expect("no panic") > 0);
    }
    let mut reviews = 0;
    for scheduler in schedulers {
        reviews += scheduler.await.expect("no panic");
    }
    assert_eq!(ctx.rows("memory_reviews").await, i64::try_from(reviews).expect("a small number"));

    assert_eq!(ctx.rows("memories").await, 1_600);
    assert_eq!(ctx.memories().count(&acme()).await.expect("a count"), 1_600);
    assert_counts_are_exact(ctx).await;
}

/// The words counted while all wrote at once score as if one had written alone.
async fn assert_counts_are_exact(ctx: &Ctx) {
    let mut world = World::new(ctx);
    for memory in everything(ctx.memories(), &acme(), &MemoryFilter::default(), 500).await {
        let writer = acme().user(memory.user.expect("is owned"));
        world.model.keep(memory.id, &writer, NewMemory::new(memory.content));
    }
    for question in ["writer 3 number 77", "quokka 15", "number"] {
        world.ask(&acme(), question).await;
    }
}

pub(crate) async fn sixteen_writers_of_the_same_words_write_one(ctx: &Ctx) {
    let second = ctx.another().await;
    let mut writers = Vec::new();
    for n in 0..WRITERS {
        let store = if n % 2 == 0 { ctx.store() } else { Arc::clone(&second) };
        let key = (n % 4 == 0).then(|| "key".to_owned());
        writers.push(tokio::spawn(async move {
            let memory = NewMemory { key, ..NewMemory::new("the same words") };
            store.memories().remember(&ada(), memory).await.expect("a writer never fails")
        }));
    }

    let mut done = Vec::new();
    for writer in writers {
        done.push(writer.await.expect("no panic"));
    }

    assert_eq!(done.iter().filter(|outcome| outcome.created).count(), 1);
    assert!(done.iter().all(|outcome| outcome.id == done[0].id));
    assert_eq!(ctx.rows("memories").await, 1);
}

pub(crate) async fn what_one_scope_writes_at_once_is_all_there(ctx: &Ctx) {
    const TEXTS: usize = 120;
    let mut writers = Vec::new();
    for n in 0..2 * TEXTS {
        // Every text twice; some under keys, which are written by themselves.
        let (store, text) = (ctx.store(), n % TEXTS);
        let key = text.is_multiple_of(10).then(|| format!("key {text}"));
        writers.push(tokio::spawn(async move {
            let memory = NewMemory { key, ..NewMemory::new(format!("quokka {text}")) };
            store.memories().remember(&ada(), memory).await.expect("a writer never fails")
        }));
    }

    let mut done = Vec::new();
    for writer in writers {
        done.push(writer.await.expect("no panic"));
    }

    let (first, second) = done.split_at(TEXTS);
    for (text, (one, other)) in first.iter().zip(second).enumerate() {
        assert_eq!(one.id, other.id, "text {text}");
        assert!(one.created != other.created, "text {text}");
        let memory = ctx.memories().get(&ada(), one.id).await.expect("is there");
        assert_eq!(memory.content, format!("quokka {text}"));
    }
    assert_eq!(ctx.memories().count(&ada()).await.expect("a count"), TEXTS as u64);
    let question = Recall { limit: 200, ..Recall::text("quokka") };
    let hits = ctx.memories().recall(&ada(), &question).await.expect("an answer");
    assert_eq!(hits.len(), TEXTS);
}

pub(crate) async fn who_gives_up_waiting_keeps_nobody_from_writing(ctx: &Ctx) {
    let mut writers = Vec::new();
    for n in 0..60 {
        let store = ctx.store();
        writers.push(tokio::spawn(async move {
            let memory = NewMemory::new(format!("quokka {n}"));
            store.memories().remember(&ada(), memory).await.expect("a writer never fails")
        }));
        if n % 3 == 1 {
            tokio::task::yield_now().await;
        }
    }

    for (n, writer) in writers.iter().enumerate() {
        if n % 3 == 0 {
            writer.abort();
        }
    }
    let mut kept = 0;
    for (n, writer) in writers.into_iter().enumerate() {
        match writer.await {
            Ok(done) => {
                let memory = ctx.memories().get(&ada(), done.id).await.expect("is there");
                assert_eq!(memory.content, format!("quokka {n}"));
                kept += 1;
            }
            Err(error) => assert!(error.is_cancelled() && n % 3 == 0, "{n}: {error}"),
        }
    }

    let count = ctx.memories().count(&ada()).await.expect("a count");
    assert!((kept..=60).contains(&count), "{kept} were told, {count} are there");
    // Whoever comes now finds a free place.
    keep(ctx.memories(), &ada(), "the last one").await;
}

pub(crate) async fn of_two_texts_under_one_key_one_wins(ctx: &Ctx) {
    let second = ctx.another().await;
    let mut writers = Vec::new();
    for n in 0..WRITERS {
        let store = if n % 2 == 0 { ctx.store() } else { Arc::clone(&second) };
        writers.push(tokio::spawn(async move {
            let memory =
                NewMemory { key: Some("key".into()), ..NewMemory::new(format!("text of {n}")) };
            store.memories().remember(&ada(), memory).await
        }));
    }

    let mut won = 0;
    for writer in writers {
        match writer.await.expect("no panic") {
            Ok(outcome) => won += usize::from(outcome.created),
            Err(error) => assert_eq!(error.code(), "already_exists", "{error:?}"),
        }
    }

    assert_eq!(won, 1);
    assert_eq!(ctx.rows("memories").await, 1);
}

pub(crate) async fn a_row_is_deleted_once(ctx: &Ctx) {
    let id = keep(ctx.memories(), &ada(), "one").await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let store = ctx.store();
        tasks.push(tokio::spawn(async move { store.memories().delete(&ada(), id).await }));
    }

    let mut deleted = 0;
    for task in tasks {
        match task.await.expect("no panic") {
            Ok(()) => deleted += 1,
            Err(error) => assert_eq!(error.code(), "not_found", "{error:?}"),
        }
    }

    assert_eq!(deleted, 1);
}

pub(crate) async fn a_batch_is_seen_whole_or_not_at_all(ctx: &Ctx) {
    let reader = ctx.another().await;
    let store = ctx.store();
    let writer = tokio::spawn(async move {
        for round in 0..10 {
            let batch = (0..50).map(|n| NewMemory::new(format!("quokka {round} {n}"))).collect();
            store.memories().remember_many(&ada(), batch).await.expect("a writer never fails");
        }
    });

    while !writer.is_finished() {
        let count = reader.memories().count(&ada()).await.expect("a reader never fails");
        assert_eq!(count % 50, 0, "a part of a batch is seen");
        let question = Recall { limit: 200, ..Recall::text("quokka") };
        let hits = reader.memories().recall(&ada(), &question).await;
        let found = hits.expect("a reader never fails").len();
        assert!(found % 50 == 0, "{found} hits are a part of a batch");
        tokio::task::yield_now().await;
    }

    writer.await.expect("no panic");
    assert_eq!(reader.memories().count(&ada()).await.expect("a count"), 500);
}

pub(crate) async fn another_handle_sees_writes_at_once(ctx: &Ctx) {
    let other = ctx.another().await;
    for n in 0..20 {
        let text = format!("quokka {n}");
        let id = keep(ctx.memories(), &ada(), &text).await;
        assert_eq!(other.memories().get(&ada(), id).await.expect("is seen").content, text);
        let hits = other.memories().recall(&ada(), &Recall::text(text.as_str())).await;
        assert_eq!(hits.expect("an answer")[0].memory.id, id);

        other.memories().delete(&ada(), id).await.expect("is deleted");
        let hits = ctx.memories().recall(&ada(), &Recall::text(text)).await;
        assert_eq!(hits.expect("an answer"), []);
    }
}
