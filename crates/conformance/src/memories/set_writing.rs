//! While a set fills, each writer writes to the sets of the models it knows, and what it cannot
//! embed is work for who fills.

use mnemon_core::memories::{MemoryPatch, NewMemory, Recall};
use mnemon_core::steps::{Step, Write};
use mnemon_core::{RequestId, Scope};

use super::sets::{begin, by, claim, fill, keep, lacking, memory, named, question, sets, vector};
use crate::check::{ids, refused};
use crate::ctx::{Ctx, ada, bob};

pub(crate) async fn writers_of_both_models_write_to_both_sets(ctx: &Ctx) {
    let (old, new) = (named("old", 2), named("new", 3));
    ctx.memories().register_model(&old).await.expect("a first model");
    let set = begin(ctx, &new).await;
    let both = [&old, &new];

    let one = keep(ctx, &ada(), "one", &both).await;
    let many = vec![memory("two", &both), memory("one", &both), memory("three", &both)];
    ctx.memories().remember_many(&ada(), many).await.expect("are kept");
    let step = Step::new(RequestId::parse("s").expect("a name"))
        .write(Write::Remember(Box::new(memory("four", &both))));
    ctx.steps().commit(&ada(), step).await.expect("is committed");
    let patch = MemoryPatch {
        vectors: vec![by(&new, "changed"), by(&old, "changed")],
        ..MemoryPatch::content("changed")
    };
    ctx.memories().update(&ada(), one, patch).await.expect("is changed");

    assert!(lacking(ctx, &set).await.is_empty());
    assert_eq!((ctx.rows("embeddings_1").await, ctx.rows("embeddings_2").await), (4, 4));
    let lease = claim(ctx, &set).await;
    let hits = ctx.memories().recall(&ada(), &question(&old, "changed")).await;
    assert_eq!(ids(&hits.expect("an answer"))[0], one, "the old set answers until the switch");
    sets(ctx).switch(&lease, None).await.expect("nothing lacks");
    let hits = ctx.memories().recall(&ada(), &question(&new, "changed")).await.expect("an answer");
    assert_eq!((ids(&hits)[0], hits.len()), (one, 4));
    assert!(
        ctx.memories().recall(&bob(), &question(&new, "changed")).await.expect("ok").is_empty()
    );
}

pub(crate) async fn a_writer_of_the_old_model_alone_leaves_work(ctx: &Ctx) {
    let (old, new) = (named("old", 2), named("new", 3));
    ctx.memories().register_model(&old).await.expect("a first model");
    let id = keep(ctx, &ada(), "one", &[&old, &new]).await;
    let set = begin(ctx, &new).await;
    let bare = NewMemory { embedding: Some(vector(&old, "two")), ..NewMemory::new("two") };
    let two = ctx.memories().remember(&ada(), bare).await.expect("is kept").id;

    let mut waiting: Vec<_> = lacking(ctx, &set).await.iter().map(|found| found.id).collect();
    waiting.sort_unstable();
    assert_eq!(waiting, [id, two], "one was written before there was a set");
    let lease = claim(ctx, &set).await;
    assert_eq!(fill(ctx, &set, &lease).await.stored, 2);
    // A vector alone replaces that of its model; the other one is of the same text still.
    let patch = MemoryPatch { embedding: Some(vec![1.0, 0.5]), ..MemoryPatch::default() };
    ctx.memories().update(&ada(), two, patch).await.expect("is changed");
    assert!(lacking(ctx, &set).await.is_empty());
    ctx.memories().delete(&ada(), id).await.expect("is deleted");
    assert_eq!((ctx.rows("embeddings_1").await, ctx.rows("embeddings_2").await), (1, 1));
}

pub(crate) async fn a_vector_of_a_model_without_a_set_is_left_out(ctx: &Ctx) {
    let (old, unknown) = (named("old", 2), named("unknown", 2));
    ctx.memories().register_model(&old).await.expect("a first model");

    let id = keep(ctx, &ada(), "a quokka", &[&unknown]).await;

    let hits = ctx.memories().recall(&ada(), &Recall::text("quokka")).await.expect("an answer");
    assert_eq!(ids(&hits), [id], "found by its words");
    let by_vector = Recall { embedding: Some(vector(&old, "a quokka")), ..Recall::default() };
    assert!(ctx.memories().recall(&ada(), &by_vector).await.expect("an answer").is_empty());
    let active = begin(ctx, &old).await;
    assert_eq!(lacking(ctx, &active).await.len(), 1, "and embedded later");
    let wrong = NewMemory { embedding: Some(vec![1.0; 3]), ..NewMemory::new("x") };
    refused(ctx.memories().remember(&ada(), wrong).await, "embedding");
    let wrong = mnemon_core::memories::ModelVector { vector: vec![1.0; 3], ..by(&old, "x") };
    let wrong = NewMemory { vectors: vec![wrong], ..NewMemory::new("x") };
    let refusal = ctx.memories().remember_many(&ada(), vec![NewMemory::new("y"), wrong]).await;
    refused(refusal, "memories[1].embedding");
}

pub(crate) async fn no_tenant_sees_anothers_vectors_in_any_set(ctx: &Ctx) {
    let (old, new) = (named("old", 2), named("new", 3));
    ctx.memories().register_model(&old).await.expect("a first model");
    let stranger = Scope::tenant("elsewhere").user("ada");
    let ours = keep(ctx, &ada(), "ours", &[&old]).await;
    let theirs = keep(ctx, &stranger, "theirs", &[&old]).await;
    let set = begin(ctx, &new).await;
    let lease = claim(ctx, &set).await;
    let both = keep(ctx, &ada(), "of both", &[&old, &new]).await;
    assert_eq!(fill(ctx, &set, &lease).await.stored, 2);
    sets(ctx).switch(&lease, None).await.expect("nothing lacks");

    for (scope, wanted) in [(ada(), vec![ours, both]), (stranger, vec![theirs])] {
        for model in [&old, &new] {
            let hits = ctx.memories().recall(&scope, &question(model, "theirs")).await;
            let mut seen = ids(&hits.expect("an answer"));
            seen.sort_unstable();
            assert_eq!(seen, wanted, "{scope:?} by {model}");
        }
        let stats = ctx.memories().stats(&scope).await.expect("an answer");
        assert_eq!(stats.with_vectors, wanted.len() as u64);
    }
    assert!(ctx.memories().recall(&bob(), &question(&new, "ours")).await.expect("ok").is_empty());
}
