//! Recall by vector: exact cosine order, ties, thresholds, and vectors that cannot be.

use mnemon_core::memories::vector::cosine;
use mnemon_core::memories::{Hit, MemoryFilter, MemoryPatch, NewMemory, Recall, Visibility};
use mnemon_core::{MemoryId, Scope, limits};

use crate::check::{Dice, contents, ids, keep, keep_at, model, refused};
use crate::ctx::{Ctx, acme, ada, bob};

async fn ask(ctx: &Ctx, scope: &Scope, question: Recall) -> Vec<Hit> {
    ctx.memories().recall(scope, &question).await.expect("an answer")
}

async fn register(ctx: &Ctx, dimension: u32) {
    ctx.memories().register_model(&model(dimension)).await.expect("a first model");
}

/// What a similarity may be off by: PostgreSQL keeps vectors in half precision.
const HALF: f64 = 1e-3;

/// Whole quarters: equal vectors stay equal in any precision.
fn vector(dice: &mut Dice, dimension: usize) -> Vec<f32> {
    const QUARTERS: [f32; 9] = [-1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 0.75, 1.0];
    let mut vector: Vec<f32> = (0..dimension).map(|_| *dice.pick(&QUARTERS)).collect();
    vector[0] = 1.0;
    vector
}

pub(crate) async fn the_order_is_that_of_exact_cosines(ctx: &Ctx) {
    register(ctx, 16).await;
    let mut dice = Dice::seeded(3);
    let mut rows: Vec<(MemoryId, Vec<f32>)> = Vec::new();
    let batch: Vec<NewMemory> = (0..300)
        .map(|n| NewMemory {
            embedding: Some(vector(&mut dice, 16)),
            ..NewMemory::new(format!("number {n}"))
        })
        .collect();
    let done = ctx.memories().remember_many(&ada(), batch.clone()).await.expect("is kept");
    for (memory, done) in batch.into_iter().zip(done) {
        rows.push((done.id, memory.embedding.expect("given above")));
    }

    for _ in 0..5 {
        let question = vector(&mut dice, 16);
        let mut expected: Vec<(MemoryId, f64)> =
            rows.iter().map(|(id, row)| (*id, cosine(row, &question))).collect();
        expected.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let limit = limits::RECALL_MAX;

        let hits = ask(ctx, &ada(), Recall { limit, ..Recall::vector(question) }).await;

        assert_eq!(hits.len(), limit as usize);
        for (place, (hit, (_, best))) in (1..).zip(hits.iter().zip(&expected)) {
            let found = hit.similarity.expect("a hit by vector has its similarity");
            let own = expected.iter().find(|(id, _)| *id == hit.memory.id).expect("was written").1;
            assert!((found - own).abs() < HALF, "{found} is not {own}");
            assert!((found - best).abs() < HALF, "{found} is not place {place}, {best}");
            assert_eq!(hit.vector_rank, Some(place));
            assert_eq!((hit.text_rank, hit.text_score), (None, None));
        }
        assert!(hits.windows(2).all(|pair| pair[0].similarity >= pair[1].similarity));
    }
}

pub(crate) async fn equal_similarities_are_newest_first(ctx: &Ctx) {
    register(ctx, 2).await;
    let mut written = Vec::new();
    for n in 0..60 {
        written.push(keep_at(ctx.memories(), &ada(), &format!("n {n}"), &[1.0, 0.5]).await);
    }
    written.reverse();

    let all = ask(ctx, &ada(), Recall { limit: 60, ..Recall::vector([1.0, 0.0]) }).await;
    let few = ask(ctx, &ada(), Recall { limit: 5, ..Recall::vector([1.0, 0.0]) }).await;

    assert_eq!(ids(&all), written);
    assert_eq!(ids(&few), written[..5], "the limit keeps the newest, too");
}

pub(crate) async fn a_least_similarity_bounds_what_only_the_vector_found(ctx: &Ctx) {
    register(ctx, 2).await;
    for (text, vector) in [
        ("near", [1.0, 0.0]),
        ("middle", [1.0, 1.0]),
        ("far quokka", [0.0, 1.0]),
        ("opposite", [-1.0, 0.0]),
    ] {
        keep_at(ctx.memories(), &ada(), text, &vector).await;
    }
    let least = |least| Recall { min_similarity: Some(least), ..Recall::vector([1.0, 0.0]) };

    assert_eq!(contents(&ask(ctx, &ada(), least(0.5)).await), ["near", "middle"]);
    assert_eq!(contents(&ask(ctx, &ada(), least(0.9)).await), ["near"]);
    assert_eq!(ask(ctx, &ada(), least(-1.0)).await.len(), 4);
    assert_eq!(ask(ctx, &ada(), Recall::vector([1.0, 0.0])).await.len(), 4);
    let both = Recall { text: Some("quokka".into()), ..least(0.9) };
    let mut found = ask(ctx, &ada(), both).await;
    found.sort_by(|a, b| a.memory.content.cmp(&b.memory.content));
    assert_eq!(contents(&found), ["far quokka", "near"], "what the words found stays");
    for bad in [1.5, -1.5, f32::NAN] {
        refused(ctx.memories().recall(&ada(), &least(bad)).await, "min_similarity");
    }
}

pub(crate) async fn unusable_vectors_are_refused(ctx: &Ctx) {
    register(ctx, 3).await;
    keep_at(ctx.memories(), &ada(), "one", &[1.0, 0.0, 0.0]).await;
    for vector in [
        vec![],
        vec![0.0, 0.0, 0.0],
        vec![1.0, f32::NAN, 0.0],
        vec![f32::INFINITY, 0.0, 0.0],
        vec![1.0, f32::NEG_INFINITY, 0.0],
        vec![1.0, 0.0],
        vec![1.0, 0.0, 0.0, 0.0],
        vec![1.0; limits::EMBEDDING_DIMENSIONS + 1],
    ] {
        let question = Recall::vector(vector.clone());
        refused(ctx.memories().recall(&ada(), &question).await, "embedding");
        let both = Recall { text: Some("one".into()), ..question };
        refused(ctx.memories().recall(&ada(), &both).await, "embedding");
        let memory = NewMemory { embedding: Some(vector), ..NewMemory::new("two") };
        refused(ctx.memories().remember(&ada(), memory).await, "embedding");
    }

    assert_eq!(ctx.memories().count(&ada()).await.expect("a count"), 1);
}

pub(crate) async fn extreme_but_finite_vectors_are_kept_and_found(ctx: &Ctx) {
    register(ctx, 2).await;
    for (text, vector) in
        [("large", [3.0e38, 0.0]), ("small", [0.0, 1.0e-15]), ("mixed", [1.0e9, -1.0])]
    {
        keep_at(ctx.memories(), &ada(), text, &vector).await;
    }

    let hits = ask(ctx, &ada(), Recall::vector([1.0e-15, 0.0])).await;

    assert_eq!(hits.len(), 3);
    for hit in &hits {
        let similarity = hit.similarity.expect("has one");
        assert!((-1.0..=1.0).contains(&similarity), "{similarity}");
    }
    assert_eq!(hits[2].memory.content, "small");
}

pub(crate) async fn without_a_model_a_vector_is_refused(ctx: &Ctx) {
    keep(ctx.memories(), &ada(), "words only").await;

    let asked = ctx.memories().recall(&ada(), &Recall::vector([1.0, 0.0])).await;
    let reason = refused(asked, "embedding");
    let memory = NewMemory { embedding: Some(vec![1.0, 0.0]), ..NewMemory::new("two") };
    let written = refused(ctx.memories().remember(&ada(), memory).await, "embedding");

    assert!(reason.contains("no model"), "{reason}");
    assert!(written.contains("no model"), "{written}");
    assert_eq!(ctx.memories().count(&ada()).await.expect("a count"), 1);
    assert_eq!(ask(ctx, &ada(), Recall::text("words")).await.len(), 1);
}

pub(crate) async fn memories_without_a_vector_are_found_by_words_only(ctx: &Ctx) {
    register(ctx, 2).await;
    keep(ctx.memories(), &ada(), "a quokka without").await;
    keep_at(ctx.memories(), &ada(), "a panda with", &[1.0, 0.0]).await;

    assert_eq!(contents(&ask(ctx, &ada(), Recall::vector([0.0, 1.0])).await), ["a panda with"]);
    assert_eq!(contents(&ask(ctx, &ada(), Recall::text("quokka")).await), ["a quokka without"]);
}

pub(crate) async fn a_deleted_memory_leaves_no_vector(ctx: &Ctx) {
    register(ctx, 2).await;
    let id = keep_at(ctx.memories(), &ada(), "one", &[1.0, 0.0]).await;
    keep_at(ctx.memories(), &ada(), "two", &[1.0, 0.5]).await;
    assert_eq!(ctx.rows("embeddings_1").await, 2);

    ctx.memories().delete(&ada(), id).await.expect("is deleted");

    assert_eq!(contents(&ask(ctx, &ada(), Recall::vector([1.0, 0.0])).await), ["two"]);
    assert_eq!(ctx.rows("embeddings_1").await, 1);
}

pub(crate) async fn an_equal_memory_keeps_the_vector_it_has(ctx: &Ctx) {
    register(ctx, 2).await;
    let first = keep_at(ctx.memories(), &ada(), "one", &[1.0, 0.0]).await;

    let second = keep_at(ctx.memories(), &ada(), "one", &[0.0, 1.0]).await;

    assert_eq!(first, second);
    let hits = ask(ctx, &ada(), Recall::vector([1.0, 0.0])).await;
    assert!(hits[0].similarity.is_some_and(|similarity| similarity > 0.99));
    assert_eq!(ctx.rows("embeddings_1").await, 1);
}

pub(crate) async fn visibility_and_filters_hold_before_the_limit(ctx: &Ctx) {
    register(ctx, 2).await;
    let foreign: Vec<NewMemory> = (0..300)
        .map(|n| NewMemory {
            embedding: Some(vec![1.0, 0.0]),
            ..NewMemory::new(format!("near {n}"))
        })
        .collect();
    for scope in [bob(), Scope::tenant("globex")] {
        ctx.memories().remember_many(&scope, foreign.clone()).await.expect("is kept");
    }
    for n in 0..3 {
        let memory = NewMemory {
            node_type: "mine".into(),
            embedding: Some(vec![0.0, 1.0]),
            ..NewMemory::new(format!("far {n}"))
        };
        ctx.memories().remember(&ada(), memory).await.expect("is kept");
    }

    let question = Recall { limit: 3, ..Recall::vector([1.0, 0.0]) };
    assert_eq!(ask(ctx, &ada(), question.clone()).await.len(), 3);
    let filter = MemoryFilter { node_types: vec!["mine".into()], ..MemoryFilter::default() };
    let mine = ask(ctx, &acme(), Recall { filter, ..question }).await;
    assert_eq!(mine.len(), 3);
    assert!(mine.iter().all(|hit| hit.memory.node_type == "mine"));
}

pub(crate) async fn the_largest_dimension_works(ctx: &Ctx) {
    let dimension = limits::EMBEDDING_DIMENSIONS;
    register(ctx, u32::try_from(dimension).expect("a small number")).await;
    let mut near = vec![0.0; dimension];
    near[dimension - 1] = 1.0;
    let far = vec![0.5; dimension];
    keep_at(ctx.memories(), &ada(), "near", &near).await;
    keep_at(ctx.memories(), &ada(), "far", &far).await;

    let hits = ask(ctx, &ada(), Recall::vector(near)).await;

    assert_eq!(contents(&hits), ["near", "far"]);
}

/// What one handle keeps of the vectors is of no use once another has changed them.
pub(crate) async fn another_handles_vectors_are_seen_at_once(ctx: &Ctx) {
    register(ctx, 2).await;
    let other = ctx.another().await;
    let east = || Recall::vector([1.0, 0.0]);
    let first = keep_at(ctx.memories(), &ada(), "first", &[1.0, 0.2]).await;
    assert_eq!(contents(&ask(ctx, &ada(), east()).await), ["first"]);

    keep_at(other.memories(), &ada(), "second", &[1.0, 0.1]).await;
    assert_eq!(contents(&ask(ctx, &ada(), east()).await), ["second", "first"]);

    let nearer = MemoryPatch { embedding: Some(vec![1.0, 0.0]), ..MemoryPatch::default() };
    other.memories().update(&ada(), first, nearer).await.expect("is changed");
    assert_eq!(contents(&ask(ctx, &ada(), east()).await), ["first", "second"]);

    other.memories().delete(&ada(), first).await.expect("is deleted");
    assert_eq!(contents(&ask(ctx, &ada(), east()).await), ["second"]);
    other.close().await;
}

pub(crate) async fn what_is_opened_to_others_is_found_by_them_at_once(ctx: &Ctx) {
    register(ctx, 2).await;
    let other = ctx.another().await;
    let id = keep_at(ctx.memories(), &ada(), "mine", &[1.0, 0.0]).await;
    let east = || Recall::vector([1.0, 0.0]);
    assert_eq!(ask(ctx, &bob(), east()).await.len(), 0);

    let open = |visibility| MemoryPatch { visibility: Some(visibility), ..MemoryPatch::default() };
    other.memories().update(&ada(), id, open(Visibility::Tenant)).await.expect("is changed");
    assert_eq!(contents(&ask(ctx, &bob(), east()).await), ["mine"]);

    other.memories().update(&ada(), id, open(Visibility::Private)).await.expect("is changed");
    assert_eq!(ask(ctx, &bob(), east()).await.len(), 0);
    other.close().await;
}

/// One memory in a thousand, and none of them near what is asked.
pub(crate) async fn a_filter_of_one_in_a_thousand_finds_all_it_lets_through(ctx: &Ctx) {
    register(ctx, 8).await;
    let mut dice = Dice::seeded(17);
    for batch in 0..12 {
        let memories = (0..limits::REMEMBER_BATCH).map(|n| {
            let rare = n == 250;
            let mut embedding = vector(&mut dice, 8);
            if rare {
                embedding = vec![-1.0; 8];
            }
            NewMemory {
                node_type: if rare { "rare" } else { "fact" }.into(),
                embedding: Some(embedding),
                ..NewMemory::new(format!("{batch} {n}"))
            }
        });
        ctx.memories().remember_many(&ada(), memories.collect()).await.expect("is kept");
    }

    let filter = MemoryFilter { node_types: vec!["rare".into()], ..MemoryFilter::default() };
    let question = Recall { limit: 10, filter, ..Recall::vector([1.0; 8]) };
    let hits = ask(ctx, &ada(), question).await;

    assert_eq!(hits.len(), 10);
    assert!(hits.iter().all(|hit| hit.memory.node_type == "rare"));
}
