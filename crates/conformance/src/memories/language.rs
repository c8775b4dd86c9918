//! The language that words are cut in: settled once, and changed while everything goes on.

use mnemon_core::memories::{Language, MemoryFilter, MemoryPatch, NewMemory, Recall, Wording};
use mnemon_core::steps::{Step, Write};
use mnemon_core::upkeep::Task;
use mnemon_core::{Error, MemoryId, RequestId, Store};

use super::World;
use crate::check::{contents, everything, fails_as, ids, keep, keep_at, model};
use crate::ctx::{Ctx, ada, bob};
use crate::upkeep::{more_than_a_lease, run, status, take};

const GERMAN: [&str; 6] = [
    "Die alten Häuser am Fluss wurden verkauft",
    "Ein Haus in den Bergen",
    "Sie vergisst ihre Schlüssel im Auto",
    "Der Schlüssel zum Erfolg",
    "Kubernetes 1.29 startet open_pool() nicht; siehe src/pool.rs",
    "Herr O'Brien grüßt aus Zürich",
];

async fn settled(ctx: &Ctx, language: Language) -> World<'_> {
    ctx.memories().register_language(language).await.expect("an open language is settled");
    World::of(ctx, language)
}

pub(crate) async fn questions_meet_the_inflections_of_the_language(ctx: &Ctx) {
    let mut world = settled(ctx, Language::German).await;
    world.keep_texts(&ada(), &GERMAN).await;

    assert_eq!(world.ask(&ada(), "Welches Haus?").await.len(), 2);
    assert_eq!(world.ask(&ada(), "Wo sind die Schlüssels").await.len(), 2);
    assert_eq!(world.ask(&ada(), "verkaufte HAEUSER Zurich").await.len(), 2);
    assert_eq!(world.ask(&ada(), "\"alte Häuser\"").await.len(), 1);
    assert_eq!(world.ask(&ada(), "Haus -Berge").await.len(), 1);
    // Function words count where nothing else is asked.
    assert!(!world.ask(&ada(), "die der das").await.is_empty());
}

pub(crate) async fn simple_words_stay_as_they_are(ctx: &Ctx) {
    let mut world = settled(ctx, Language::Simple).await;
    world.keep_texts(&ada(), &["the houses by the river", "une maison", "Das Haus"]).await;

    assert_eq!(world.ask(&ada(), "house").await.len(), 0);
    assert_eq!(world.ask(&ada(), "HOUSES maison").await.len(), 2);
    assert_eq!(world.ask(&ada(), "what about das").await.len(), 1, "no word says little");
}

pub(crate) async fn names_and_identifiers_match_in_a_language(ctx: &Ctx) {
    let mut world = settled(ctx, Language::German).await;
    world.keep_texts(&ada(), &GERMAN).await;

    for (name, n) in
        [("kubernetes", 4), ("open_pool", 4), ("pool", 4), ("src/pool.rs", 4), ("O'Brien", 5)]
    {
        let hits = world.ask(&ada(), name).await;
        assert_eq!(contents(&hits), [GERMAN[n]], "{name}");
    }
}

pub(crate) async fn another_language_is_a_mismatch(ctx: &Ctx) {
    let other = ctx.another().await;
    assert_eq!(ctx.memories().wording().await.expect("an answer"), Wording::default());
    for _ in 0..3 {
        ctx.memories().register_language(Language::German).await.expect("is settled");
    }

    let refused = other.memories().register_language(Language::French).await;

    let Error::LanguageMismatch { registered, offered } = fails_as(refused, "language_mismatch")
    else {
        unreachable!()
    };
    assert_eq!((registered, offered), (Language::German, Language::French));
    let wording = other.memories().wording().await.expect("an answer");
    assert_eq!(wording, Wording { language: Language::German, before: None });
}

pub(crate) async fn the_first_memory_settles_english_where_nobody_chose(ctx: &Ctx) {
    keep(ctx.memories(), &ada(), "the houses by the river").await;

    let refused = ctx.memories().register_language(Language::German).await;
    let error = fails_as(refused, "language_mismatch").to_string();

    assert!(error.contains("in english, not german"), "{error}");
    ctx.memories().register_language(Language::English).await.expect("it is that");
}

pub(crate) async fn of_eight_languages_at_once_one_is_settled(ctx: &Ctx) {
    let mut tasks = Vec::new();
    for language in Language::ALL.into_iter().take(8) {
        let store = ctx.another().await;
        tasks.push(tokio::spawn(async move {
            store.memories().register_language(language).await.map(|()| language)
        }));
    }

    let mut won = Vec::new();
    for task in tasks {
        match task.await.expect("no panic") {
            Ok(language) => won.push(language),
            Err(error) => assert_eq!(error.code(), "language_mismatch", "{error:?}"),
        }
    }

    assert_eq!(won.len(), 1);
    assert_eq!(ctx.memories().wording().await.expect("an answer").language, won[0]);
}

/// Memories enough for three batches, of two tenants and two users, each with words that only one
/// of the languages brings together with a question's.
async fn library(world: &mut World<'_>) {
    world.keep_texts(&ada(), &GERMAN).await;
    let many = (0..Task::Words.batch() * 2).map(|n| format!("Häuser der Straßen Nummer z{n}"));
    world.keep_many(&bob(), many).await;
    world.keep_texts(&ada(), &["ein Rathaus", "the houses", "zwei alte Häuser"]).await;
}

pub(crate) async fn a_changed_language_answers_as_if_it_had_been_from_the_start(ctx: &Ctx) {
    let mut world = World::new(ctx);
    library(&mut world).await;
    world.ask(&ada(), "Haus").await;

    let begun = ctx.memories().change_language(Language::German).await.expect("begins");
    let before = Some(Language::English);
    assert_eq!(begun, Wording { language: Language::German, before });
    let batches = run(ctx, Task::Words).await;

    assert!(batches.len() >= 3, "{batches:?}");
    let wording = ctx.memories().wording().await.expect("an answer");
    assert_eq!(wording, Wording { language: Language::German, before: None });
    world.model.cut_in(Language::German);
    for question in ["Haus", "verkaufen", "Straße z7", "der Schlüssel", "\"alte Häuser\"", "houses"]
    {
        world.ask(&ada(), question).await;
        world.ask(&bob(), question).await;
    }
    run(ctx, Task::TextCounts).await;
    world.ask(&ada(), "Haus am Fluss").await;
}

pub(crate) async fn while_a_language_is_changed_nothing_is_lost(ctx: &Ctx) {
    let mut world = World::new(ctx);
    library(&mut world).await;
    let other = ctx.another().await;
    let asked = |store: std::sync::Arc<dyn Store>, text: &'static str| async move {
        let hits = store.memories().recall(&ada(), &Recall::text(text)).await.expect("an answer");
        ids(&hits)
    };
    let (old, phrase) =
        (asked(ctx.store(), "Häuser").await, asked(ctx.store(), "\"alten Häuser\"").await);
    assert!(!old.is_empty() && phrase.len() == 1);

    ctx.memories().change_language(Language::German).await.expect("begins");
    let lease = take(ctx.store().as_ref(), Task::Words, "one").await.expect("is free");
    for _ in 0..3 {
        for store in [ctx.store(), std::sync::Arc::clone(&other)] {
            let now = asked(std::sync::Arc::clone(&store), "Häuser").await;
            assert!(old.iter().all(|id| now.contains(id)), "{now:?} holds {old:?}");
            assert!(
                asked(std::sync::Arc::clone(&store), "\"alten Häuser\"").await.contains(&phrase[0])
            );
            // Left out in either language.
            assert!(!asked(store, "Häuser -alten").await.contains(&phrase[0]));
        }
        ctx.upkeep().batch(&lease).await.expect("a batch is done");
    }
    ctx.upkeep().finish(&lease, None).await.expect("is given back");

    let now = asked(other, "Haus").await;
    assert!(old.iter().all(|id| now.contains(id)));
    assert_eq!(status(ctx, Task::Words).await.lag, 0);
}

async fn finds(ctx: &Ctx, text: &str) -> Vec<MemoryId> {
    ids(&ctx.memories().recall(&ada(), &Recall::text(text)).await.expect("an answer"))
}

pub(crate) async fn a_handle_that_knows_the_old_language_writes_in_the_new_one(ctx: &Ctx) {
    let other = ctx.another().await;
    let first = keep(other.memories(), &ada(), "the first one").await;
    ctx.memories().change_language(Language::German).await.expect("begins");
    run(ctx, Task::Words).await;

    // Each by a handle that has seen nothing of it.
    let memories = ctx.another().await;
    let one = keep(memories.memories(), &ada(), "Häuser eins").await;
    let store = ctx.another().await;
    let batch = ["Häuser zwei", "Häuser drei"].map(NewMemory::new).to_vec();
    let many = store.memories().remember_many(&ada(), batch).await.expect("are kept");
    let store = ctx.another().await;
    let patch = MemoryPatch::content("Häuser vier");
    store.memories().update(&ada(), first, patch).await.expect("is changed");
    let store = ctx.another().await;
    let step = Step::new(RequestId::parse("s").expect("a name"))
        .write(Write::Remember(Box::new(NewMemory::new("Häuser fünf"))));
    store.steps().commit(&ada(), step).await.expect("is committed");
    let again = keep(other.memories(), &ada(), "Häuser eins").await;

    assert_eq!(again, one);
    assert!(many.iter().all(|done| done.created));
    assert_eq!(finds(ctx, "Haus").await.len(), 5);
    let hits = other.memories().recall(&ada(), &Recall::text("Haus")).await.expect("an answer");
    assert_eq!(hits.len(), 5);
}

pub(crate) async fn a_change_that_was_interrupted_goes_on_where_it_stopped(ctx: &Ctx) {
    let mut world = World::new(ctx);
    library(&mut world).await;
    ctx.memories().change_language(Language::German).await.expect("begins");
    let all = status(ctx, Task::Words).await.lag;
    let lost = take(ctx.store().as_ref(), Task::Words, "one").await.expect("is free");
    ctx.upkeep().batch(&lost).await.expect("a batch is done");
    ctx.move_clock(more_than_a_lease()).await;

    let again = ctx.memories().change_language(Language::German).await.expect("is under way");
    assert_eq!(again.before, Some(Language::English));
    assert_eq!(status(ctx, Task::Words).await.lag, all - u64::from(Task::Words.batch()));
    let third = ctx.memories().change_language(Language::French).await;
    fails_as(third, "already_exists");
    run(ctx, Task::Words).await;

    fails_as(ctx.upkeep().batch(&lost).await, "fenced");
    world.model.cut_in(Language::German);
    world.ask(&ada(), "Haus").await;
    ctx.memories().change_language(Language::English).await.expect("and back");
    run(ctx, Task::Words).await;
    world.model.cut_in(Language::English);
    world.ask(&ada(), "Haus houses").await;
}

pub(crate) async fn a_filter_by_tag_holds_in_every_language(ctx: &Ctx) {
    ctx.memories().register_model(&model(2)).await.expect("a first model");
    let (tags, other) = (["alte Häuser", "★", "running"], "laufen");
    for (n, tag) in tags.into_iter().chain([other]).enumerate() {
        let memory = NewMemory {
            tags: vec![tag.into()],
            embedding: Some(vec![1.0, 0.5]),
            ..NewMemory::new(format!("number {n}"))
        };
        ctx.memories().remember(&ada(), memory).await.expect("is kept");
    }
    keep_at(ctx.memories(), &ada(), "running in alte Häuser ★", &[1.0, 0.0]).await;
    let found = || async {
        for tag in tags {
            let filter = MemoryFilter { tags: vec![tag.into()], ..MemoryFilter::default() };
            assert_eq!(everything(ctx.memories(), &ada(), &filter, 10).await.len(), 1, "{tag}");
            let question = Recall { filter, ..Recall::vector([1.0, 0.0]) };
            let hits = ctx.memories().recall(&ada(), &question).await.expect("an answer");
            assert_eq!(hits.len(), 1, "{tag}");
        }
        let both = vec![tags[0].to_owned(), other.to_owned()];
        let filter = MemoryFilter { tags: both, ..MemoryFilter::default() };
        assert_eq!(everything(ctx.memories(), &ada(), &filter, 10).await.len(), 2);
    };

    found().await;
    ctx.memories().change_language(Language::German).await.expect("begins");
    found().await;
    run(ctx, Task::Words).await;
    found().await;
}
