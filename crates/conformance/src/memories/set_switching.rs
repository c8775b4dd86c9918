//! The switch: refused while something lacks, one moment for everybody, and never a mix.

use chrono::TimeDelta;
use mnemon_core::Error;
use mnemon_core::memories::{NewMemory, Recall, SetState, Switch};

use super::sets::{begin, claim, fill, keep, lacking, memory, named, question, sets, vector};
use crate::check::{fails_as, ids, refused};
use crate::ctx::{Ctx, ada, bob};

pub(crate) async fn a_set_that_lacks_memories_is_not_switched_to(ctx: &Ctx) {
    let (old, new) = (named("old", 2), named("new", 3));
    ctx.memories().register_model(&old).await.expect("a first model");
    for text in ["one", "two", "three"] {
        keep(ctx, &ada(), text, &[&old]).await;
    }
    let set = begin(ctx, &new).await;
    let lease = claim(ctx, &set).await;

    let refusal = sets(ctx).switch(&lease, None).await.expect("an answer");
    let before = ctx.memories().registered_model().await.expect("an answer");
    fill(ctx, &set, &lease).await;
    let done = sets(ctx).switch(&lease, None).await.expect("an answer");
    let again = sets(ctx).switch(&lease, None).await.expect("an answer");

    assert_eq!((refusal, before), (Switch::Refused { lacking: 3 }, Some(old.clone())));
    assert_eq!(
        (done, again),
        (Switch::Switched { recentred: 0 }, Switch::Switched { recentred: 0 })
    );
    let other = ctx.another().await;
    assert_eq!(other.memories().registered_model().await.expect("an answer"), Some(new.clone()));
    other.memories().register_model(&new).await.expect("is registered");
    let mismatch = fails_as(ctx.memories().register_model(&old).await, "model_mismatch");
    let Error::ModelMismatch { registered, offered } = mismatch else { unreachable!() };
    assert_eq!((registered, offered), (new.clone(), old.clone()));
    let hits = ctx.memories().recall(&ada(), &Recall::vector(vector(&new, "two"))).await;
    assert_eq!(hits.expect("an answer").len(), 3);
    refused(ctx.memories().recall(&ada(), &Recall::vector(vector(&old, "two"))).await, "embedding");
}

pub(crate) async fn what_others_wrote_since_may_be_lacking(ctx: &Ctx) {
    let (old, new) = (named("old", 2), named("new", 3));
    ctx.memories().register_model(&old).await.expect("a first model");
    let before = keep(ctx, &ada(), "before", &[&old]).await;
    let set = begin(ctx, &new).await;
    let lease = sets(ctx).claim(set.id, "filler", super::sets::MINUTE * 60).await.expect("is free");
    ctx.move_clock(TimeDelta::minutes(1)).await;
    let since = ctx.now().await;
    let late = keep(ctx, &ada(), "late", &[&old]).await;

    let early = sets(ctx).switch(&lease, Some(since)).await.expect("an answer");
    let waiting = lacking(ctx, &set).await;
    let first: Vec<_> = waiting.into_iter().filter(|memory| memory.id == before).collect();
    sets(ctx).fill(&lease, super::sets::made(&new, &first)).await.expect("is filled");
    let strict = sets(ctx).switch(&lease, None).await.expect("an answer");
    let done = sets(ctx).switch(&lease, Some(since)).await.expect("an answer");

    assert_eq!(early, Switch::Refused { lacking: 1 }, "what was there before is not left behind");
    assert_eq!(strict, Switch::Refused { lacking: 1 });
    assert!(matches!(done, Switch::Switched { .. }));
    let found = Recall::vector(vector(&new, "late"));
    assert_eq!(ids(&ctx.memories().recall(&ada(), &found).await.expect("an answer")), [before]);
    let active = begin(ctx, &new).await;
    assert_eq!(lacking(ctx, &active).await.len(), 1, "it waits as what comes later does");
    assert_eq!(fill(ctx, &active, &lease).await.stored, 1);
    let hits = ctx.memories().recall(&ada(), &found).await.expect("an answer");
    assert_eq!(ids(&hits)[0], late);
}

pub(crate) async fn two_models_of_one_dimension_never_mix(ctx: &Ctx) {
    let (old, new) = (named("old", 3), named("new", 3));
    ctx.memories().register_model(&old).await.expect("a first model");
    let one = keep(ctx, &ada(), "one", &[&old]).await;
    let set = begin(ctx, &new).await;
    let lease = claim(ctx, &set).await;
    let filling = ctx.memories().recall(&ada(), &question(&new, "one")).await;
    fails_as(filling, "model_mismatch");
    fill(ctx, &set, &lease).await;
    sets(ctx).switch(&lease, None).await.expect("an answer");

    // A writer that was opened before, and one that was opened after.
    let two = keep(ctx, &ada(), "two", &[&old]).await;
    let three = keep(ctx, &ada(), "three", &[&new]).await;

    for (model, wanted) in [(&old, [one, two]), (&new, [one, three])] {
        for text in ["one", "two", "three"] {
            let hits = ctx.memories().recall(&ada(), &question(model, text)).await;
            let mut seen = ids(&hits.expect("an answer"));
            seen.sort_unstable();
            assert_eq!(seen, wanted, "{text} by {model}");
        }
    }
    let hits = ctx.memories().recall(&ada(), &question(&new, "three")).await.expect("an answer");
    let similarity = hits[0].similarity.expect("found by vector");
    assert!(ids(&hits)[0] == three && similarity > 0.999, "{similarity}");
    let waiting = lacking(ctx, &set).await;
    assert_eq!(waiting.iter().map(|memory| memory.id).collect::<Vec<_>>(), [two]);
}

pub(crate) async fn a_retired_set_answers_until_it_is_dropped(ctx: &Ctx) {
    let (old, new) = (named("old", 2), named("new", 3));
    ctx.memories().register_model(&old).await.expect("a first model");
    let id = keep(ctx, &ada(), "one", &[&old]).await;
    let retired = begin(ctx, &old).await;
    let set = begin(ctx, &new).await;
    let lease = claim(ctx, &set).await;
    fill(ctx, &set, &lease).await;
    refused(sets(ctx).drop_set(retired.id).await, "set");
    fails_as(sets(ctx).drop_set(set.id).await, "held");
    sets(ctx).switch(&lease, None).await.expect("an answer");
    let states: Vec<_> =
        sets(ctx).sets().await.expect("an answer").sets.iter().map(|set| set.set.state).collect();
    assert_eq!(states, [SetState::Retired, SetState::Active]);
    let hits = ctx.memories().recall(&ada(), &question(&old, "one")).await.expect("an answer");
    assert_eq!(ids(&hits), [id]);

    sets(ctx).drop_set(retired.id).await.expect("is dropped");

    let error =
        fails_as(ctx.memories().recall(&ada(), &question(&old, "one")).await, "model_mismatch");
    let Error::ModelMismatch { registered, offered } = error else { unreachable!() };
    assert_eq!((&registered, &offered), (&new, &old));
    assert_eq!(ctx.rows("embedding_sets").await, 1);
    fails_as(sets(ctx).drop_set(retired.id).await, "not_found");
    refused(sets(ctx).drop_set(set.id).await, "set");
    // Who knows the dropped model only writes on, and is found by words.
    let late = keep(ctx, &ada(), "a late quokka", &[&old]).await;
    let hits = ctx.memories().recall(&ada(), &Recall::text("quokka")).await.expect("an answer");
    assert_eq!(ids(&hits), [late]);
    ctx.memories().delete(&ada(), id).await.expect("is deleted");
}

pub(crate) async fn a_retired_set_is_filled_again_with_what_it_has(ctx: &Ctx) {
    let (old, new) = (named("old", 2), named("new", 3));
    ctx.memories().register_model(&old).await.expect("a first model");
    keep(ctx, &ada(), "one", &[&old]).await;
    let first = begin(ctx, &old).await;
    let set = begin(ctx, &new).await;
    let lease = claim(ctx, &set).await;
    fill(ctx, &set, &lease).await;
    sets(ctx).switch(&lease, None).await.expect("an answer");
    sets(ctx).release(&lease, 0).await.expect("is released");
    let two = keep(ctx, &ada(), "two", &[&new]).await;
    let back = sets(ctx).claim(first.id, "filler", super::sets::MINUTE).await.expect("is free");
    refused(sets(ctx).switch(&back, None).await, "set");

    let again = begin(ctx, &old).await;

    assert_eq!((again.id, again.state), (first.id, SetState::Filling));
    let waiting = lacking(ctx, &again).await;
    assert_eq!(waiting.iter().map(|memory| memory.id).collect::<Vec<_>>(), [two]);
    assert_eq!(fill(ctx, &again, &back).await.stored, 1);
    assert!(matches!(sets(ctx).switch(&back, None).await, Ok(Switch::Switched { .. })));
    assert_eq!(ctx.memories().registered_model().await.expect("an answer"), Some(old));
}

pub(crate) async fn domains_have_their_middle_in_the_set_that_is_searched(ctx: &Ctx) {
    let (old, new) = (named("old", 2), named("new", 3));
    ctx.memories().register_model(&old).await.expect("a first model");
    for (scope, text) in [(ada(), "one"), (ada(), "two"), (bob(), "three")] {
        let tagged = NewMemory { tags: vec!["launch".into()], ..memory(text, &[&old]) };
        ctx.memories().remember(&scope, tagged).await.expect("is kept");
    }
    let memories = ctx.memories();
    memories.set_domain_from_tag(&ada(), "launches", "launch").await.expect("is made");
    let empty = mnemon_core::memories::NewDomain {
        id: "empty".into(),
        label: "Empty".into(),
        centroid: Some(vec![1.0, 0.0]),
        top_terms: Vec::new(),
    };
    memories.upsert_domain(&ada(), empty).await.expect("is made");
    let set = begin(ctx, &new).await;
    let lease = claim(ctx, &set).await;
    fill(ctx, &set, &lease).await;

    let done = sets(ctx).switch(&lease, None).await.expect("an answer");

    assert_eq!(done, Switch::Switched { recentred: 1 });
    let middle = memories.domain(&ada(), "launches").await.expect("is there").centroid;
    assert_eq!(middle.as_ref().map(Vec::len), Some(3));
    let made = memories.set_domain_from_tag(&ada(), "same", "launch").await.expect("is made");
    for (moved, made) in middle.expect("above").iter().zip(made.centroid.expect("has vectors")) {
        assert!((moved - made).abs() < 1e-3, "as one made by the new model");
    }
    let near = memories.classify(&ada(), &vector(&new, "one"), 5).await.expect("an answer");
    assert_eq!(near.len(), 2, "one without memories has no middle: {near:?}");
    let retired = sets(ctx).sets().await.expect("an answer").sets[0].set.id;
    sets(ctx).drop_set(retired).await.expect("is dropped");
    let empty = memories.domain(&ada(), "empty").await.expect("is there");
    assert_eq!(empty.centroid, None);
}

pub(crate) async fn searches_and_writes_go_on_through_switches_and_drops(ctx: &Ctx) {
    let models = [named("m0", 3), named("m1", 3), named("m2", 4)];
    ctx.memories().register_model(&models[0]).await.expect("a first model");
    for n in 0..20 {
        keep(ctx, &ada(), &format!("text {n}"), &[&models[0]]).await;
    }
    let store = ctx.store();
    let writer = tokio::spawn({
        let (store, models) = (ctx.another().await, models.clone());
        async move {
            for n in 20..80 {
                let known: Vec<_> = models.iter().collect();
                let written = memory(&format!("text {n}"), &known[..=(n % 3)]);
                store.memories().remember(&ada(), written).await.expect("a write never fails");
            }
        }
    });
    let reader = tokio::spawn(async move {
        let mut answers = 0;
        for n in 0..200 {
            let asked = Recall { text: Some("text 7".into()), ..Recall::default() };
            let registered = store.memories().registered_model().await.expect("an answer");
            let model = registered.expect("one is always active");
            let by_vector = question(&model, "text 7");
            let asked = if n % 2 == 0 { asked } else { Recall { text: asked.text, ..by_vector } };
            match store.memories().recall(&ada(), &asked).await {
                Ok(hits) => {
                    assert!(hits.iter().any(|hit| hit.memory.content == "text 7"));
                    answers += 1;
                }
                // Two switches and a drop lay between looking and asking.
                Err(Error::ModelMismatch { .. }) => {}
                Err(error) => panic!("a search never fails: {error:?}"),
            }
        }
        answers
    });

    for model in models.iter().skip(1).chain([&models[0]]) {
        let before =
            ctx.memories().registered_model().await.expect("an answer").expect("is active");
        let before = begin(ctx, &before).await;
        let set = begin(ctx, model).await;
        let lease = claim(ctx, &set).await;
        loop {
            let since = ctx.now().await;
            fill(ctx, &set, &lease).await;
            let done = sets(ctx).switch(&lease, Some(since)).await.expect("an answer");
            if matches!(done, Switch::Switched { .. }) {
                break;
            }
        }
        sets(ctx).release(&lease, 0).await.expect("is released");
        sets(ctx).drop_set(before.id).await.expect("is dropped");
    }

    writer.await.expect("no panic");
    assert!(reader.await.expect("no panic") > 0);
    let set = begin(ctx, &models[0]).await;
    let lease = claim(ctx, &set).await;
    fill(ctx, &set, &lease).await;
    let counts = sets(ctx).sets().await.expect("an answer");
    assert_eq!((counts.memories, counts.sets.len()), (80, 1));
    assert_eq!((counts.sets[0].vectors, counts.sets[0].lacking), (80, 0));
}
