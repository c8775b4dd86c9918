//! Namespaces, statistics, the sweep, and either branch alone.

use chrono::TimeDelta;
use mnemon_core::memories::{
    MemoryFilter, MemoryStats, Namespace, NewDomain, NewEdge, NewMemory, Rating, Recall, Review,
    Swept, Visibility,
};
use mnemon_core::{Page, Scope};

use crate::check::{everything, ids, keep, keep_at, model, refused};
use crate::ctx::{Ctx, acme, ada, bob};

fn at(path: &str) -> Namespace {
    Namespace::parse(path).expect("a namespace")
}

async fn namespaces(ctx: &Ctx, scope: &Scope, root: &str, size: u32) -> Vec<(String, u64)> {
    let mut page = Page::first(size);
    let mut all = Vec::new();
    loop {
        let piece = ctx.memories().list_namespaces(scope, &at(root), &page).await.expect("a page");
        assert!(piece.items.len() <= size as usize);
        all.extend(piece.items.into_iter().map(|n| (n.namespace.to_string(), n.memories)));
        match piece.next {
            Some(cursor) => page.cursor = Some(cursor),
            None => return all,
        }
    }
}

pub(crate) async fn namespaces_are_listed_with_their_counts(ctx: &Ctx) {
    for (scope, path, text) in [
        (ada(), "", "root"),
        (ada(), "work", "a"),
        (ada(), "work", "b"),
        (ada(), "work/plans", "c"),
        (ada(), "workshop", "d"),
        (ada(), "Work", "e"),
        (ada(), "zoo/ä", "f"),
        (bob(), "bob", "g"),
    ] {
        let memory = NewMemory { namespace: at(path), ..NewMemory::new(text) };
        ctx.memories().remember(&scope, memory).await.expect("is kept");
    }
    let named = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
        list.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect()
    };
    let all = [("", 1), ("Work", 1), ("work", 2), ("work/plans", 1), ("workshop", 1), ("zoo/ä", 1)];

    assert_eq!(namespaces(ctx, &ada(), "", 2).await, named(&all));
    assert_eq!(namespaces(ctx, &ada(), "work", 50).await, named(&[("work", 2), ("work/plans", 1)]));
    assert_eq!(namespaces(ctx, &bob(), "", 1).await, named(&[("bob", 1)]));
    assert_eq!(namespaces(ctx, &acme(), "", 3).await.len(), 7);
    let page = Page { limit: 0, cursor: None };
    refused(ctx.memories().list_namespaces(&ada(), &at(""), &page).await, "page.limit");
}

pub(crate) async fn statistics_are_what_the_scope_sees(ctx: &Ctx) {
    ctx.memories().register_model(&model(2)).await.expect("a first model");
    let one = keep_at(ctx.memories(), &ada(), "one", &[1.0, 0.0]).await;
    let open = NewMemory { visibility: Some(Visibility::Tenant), ..NewMemory::new("open") };
    let open = ctx.memories().remember(&ada(), open).await.expect("is kept").id;
    keep(ctx.memories(), &bob(), "bob's").await;
    ctx.memories().add_edge(&ada(), NewEdge::new(one, open)).await.expect("is connected");
    for id in [one, open] {
        ctx.memories().review(&ada(), id, Review::new(Rating::Again)).await.expect("is reviewed");
    }
    ctx.memories().upsert_domain(&ada(), NewDomain::new("d")).await.expect("is kept");
    let stats = |scope| async move { ctx.memories().stats(&scope).await.expect("statistics") };

    let adas = stats(ada()).await;
    let bobs = stats(bob()).await;
    let all = stats(acme()).await;
    ctx.move_clock(TimeDelta::days(2)).await;
    let later = stats(ada()).await;

    let expected = MemoryStats {
        memories: 2,
        with_vectors: 1,
        scheduled: 2,
        due: 0,
        edges: 1,
        domains: 1,
        model: Some(model(2)),
    };
    assert_eq!(adas, expected);
    assert_eq!(later, MemoryStats { due: 2, ..expected.clone() });
    let bobs_own = MemoryStats { with_vectors: 0, scheduled: 1, edges: 0, domains: 0, ..expected };
    assert_eq!(bobs, bobs_own);
    assert_eq!((all.memories, all.edges), (3, 1));
    let none = stats(Scope::tenant("globex")).await;
    assert_eq!((none.memories, none.with_vectors, none.scheduled), (0, 0, 0));
}

pub(crate) async fn a_sweep_removes_what_is_over_and_the_scope_s(ctx: &Ctx) {
    let hour = Some(ctx.now().await + TimeDelta::hours(1));
    for scope in [ada(), bob(), acme(), Scope::tenant("globex")] {
        let memory = NewMemory { expires_at: hour, ..NewMemory::new("a quokka for an hour") };
        ctx.memories().remember(&scope, memory).await.expect("is kept");
        keep(ctx.memories(), &scope, "a quokka for good").await;
    }
    let early = ctx.memories().sweep(&ada()).await.expect("a sweep");
    ctx.move_clock(TimeDelta::hours(2)).await;

    let swept = ctx.memories().sweep(&ada()).await.expect("a sweep");
    let again = ctx.memories().sweep(&ada()).await.expect("a sweep");

    assert_eq!((early, again), (Swept::default(), Swept::default()));
    assert_eq!(swept, Swept { expired: 2, orphans: 0, more: false }, "ada's and the unowned one");
    assert_eq!(ctx.rows("memories").await, 6);
    let rest = ctx.memories().sweep(&acme()).await.expect("a sweep");
    assert_eq!(rest.expired, 1, "bob's; another tenant's stays");
    let mut world = crate::memories::World::new(ctx);
    for scope in [ada(), bob(), acme()] {
        let found = everything(ctx.memories(), &scope, &MemoryFilter::default(), 10).await;
        for memory in found.into_iter().filter(|memory| memory.user == scope.user) {
            world.model.keep(memory.id, &scope, NewMemory::new(memory.content));
        }
    }
    world.ask(&acme(), "quokka hour good").await;
}

pub(crate) async fn either_search_is_its_branch_of_recall(ctx: &Ctx) {
    ctx.memories().register_model(&model(2)).await.expect("a first model");
    for n in 0_u8..20 {
        let vector = [1.0, f32::from(n)];
        keep_at(ctx.memories(), &ada(), &format!("quokka {n}"), &vector).await;
    }
    let recall = |question: Recall| async move {
        ctx.memories().recall(&ada(), &question).await.expect("an answer")
    };

    let words = ctx.memories().fts_search(&ada(), "quokka 7", 5).await.expect("an answer");
    let vectors = ctx.memories().vector_search(&ada(), &[1.0, 3.0], 5).await.expect("an answer");
    let by_words = recall(Recall { limit: 5, ..Recall::text("quokka 7") }).await;
    let by_vector = recall(Recall { limit: 5, ..Recall::vector([1.0, 3.0]) }).await;

    assert_eq!((ids(&words), words.len()), (ids(&by_words), 5));
    assert_eq!((ids(&vectors), vectors.len()), (ids(&by_vector), 5));
    assert!(words.iter().all(|hit| hit.similarity.is_none() && hit.text_score.is_some()));
    assert!(vectors.iter().all(|hit| hit.text_score.is_none() && hit.similarity.is_some()));
    refused(ctx.memories().fts_search(&ada(), "quokka", 0).await, "limit");
    refused(ctx.memories().vector_search(&ada(), &[1.0, 0.0], 201).await, "limit");
    refused(ctx.memories().vector_search(&ada(), &[0.0, 0.0], 5).await, "embedding");
}
