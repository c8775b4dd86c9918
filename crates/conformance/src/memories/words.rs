//! Recall by words: the same ten memories with the same BM25 scores on every database, as core
//! computes them.

use mnemon_core::memories::{MemoryFilter, NewMemory, Recall};
use mnemon_core::{Scope, limits};

use super::World;
use crate::check::{contents, refused};
use crate::ctx::{Ctx, acme, ada, bob};

/// Clear-cut data: what a question means can be told by reading it.
const DIARY: [&str; 14] = [
    "Melanie went camping in the mountains with her kids in July",
    "The kids loved the campfire and roasting marshmallows in the mountains",
    "Caroline joined the LGBTQ support group on 7 May 2023",
    "Caroline is researching adoption agencies for her future family",
    "Melanie painted a sunrise over the lake last year",
    "Painting helps Melanie to relax after a stressful week at work",
    "The support group gave Caroline courage and a feeling of belonging",
    "They adopted a guinea pig named Oscar; Oscar loves fresh vegetables",
    "A pottery workshop with the kids: everyone made a clay bowl",
    "Running a charity race for mental health was rewarding for Melanie",
    "The museum has a new dinosaur exhibit and the kids were excited",
    "Caroline hiked to a waterfall, the waterfall was the waterfall of her dreams",
    "Her grandmother in Sweden gave Caroline a necklace",
    "lake",
];

pub(crate) async fn scores_are_those_core_computes(ctx: &Ctx) {
    let mut world = World::new(ctx);
    world.keep_texts(&ada(), &DIARY).await;

    for question in [
        "When did Melanie go camping?",
        "who supports Caroline in the group",
        "kids in the mountains",
        "adoption",
        "What does Oscar love to eat?",
        "waterfall",
        "the",
        "Melanie Caroline kids lake painting",
        "nothing of this kind: xylophone",
    ] {
        world.ask(&ada(), question).await;
    }
    assert_eq!(world.ask(&ada(), "guinea pig").await.len(), 1);
    let lake = world.ask(&ada(), "lake").await;
    assert_eq!(lake[0].memory.content, "lake", "the shorter text is the better match");
}

pub(crate) async fn evidence_of_words_is_rank_and_score(ctx: &Ctx) {
    let mut world = World::new(ctx);
    world.keep_texts(&ada(), &DIARY).await;

    let hits = world.ask(&ada(), "Melanie painting").await;

    for (place, hit) in (1..).zip(&hits) {
        assert_eq!(hit.text_rank, Some(place));
        assert_eq!((hit.vector_rank, hit.similarity), (None, None));
    }
    assert!(hits.windows(2).all(|pair| pair[0].score >= pair[1].score));
}

pub(crate) async fn a_words_place_weighs(ctx: &Ctx) {
    let mut world = World::new(ctx);
    let new = NewMemory::new;
    for memory in [
        NewMemory { tags: vec!["quokka".into()], ..new("in a tag it weighs least of all") },
        NewMemory { node_type: "quokka".into(), ..new("as a node type it weighs a bit more") },
        new("in the text a quokka weighs the most"),
    ] {
        world.keep(&ada(), memory).await;
    }

    let hits = world.ask(&ada(), "quokka").await;

    assert_eq!(hits.len(), 3);
    assert!(hits[0].memory.content.contains("most"));
    assert!(hits[2].memory.content.contains("least"));
}

pub(crate) async fn equal_scores_are_newest_first(ctx: &Ctx) {
    let mut world = World::new(ctx);
    world.keep_texts(&ada(), &["quokka one", "quokka two", "quokka three"]).await;

    let hits = world.ask(&ada(), "quokka").await;

    assert_eq!(contents(&hits), ["quokka three", "quokka two", "quokka one"]);
}

pub(crate) async fn a_phrase_must_be_there(ctx: &Ctx) {
    let mut world = World::new(ctx);
    world
        .keep_texts(
            &ada(),
            &[
                "the red panda sleeps",
                "a panda that is red",
                "red, and then a panda",
                "red pandas of the zoo",
                "red red panda",
            ],
        )
        .await;

    let hits = world.ask(&ada(), "\"red panda\"").await;

    let mut found = contents(&hits);
    found.sort_unstable();
    assert_eq!(found, ["red pandas of the zoo", "red red panda", "the red panda sleeps"]);
    assert_eq!(world.ask(&ada(), "\"red panda\" \"the zoo\"").await.len(), 1);
    assert_eq!(world.ask(&ada(), "\"panda red\"").await.len(), 0);
    assert_eq!(world.ask(&ada(), "\"panda that is red\"").await.len(), 1);
    assert_eq!(world.ask(&ada(), "\"panda").await.len(), 5, "a quote without an end is text");
}

pub(crate) async fn no_phrase_spans_text_and_tags(ctx: &Ctx) {
    let mut world = World::new(ctx);
    let tags = vec!["panda".into(), "zoo".into()];
    world.keep(&ada(), NewMemory { tags, ..NewMemory::new("it is red") }).await;

    assert_eq!(world.ask(&ada(), "\"red panda\"").await.len(), 0);
    assert_eq!(world.ask(&ada(), "\"panda zoo\"").await.len(), 0);
    assert_eq!(world.ask(&ada(), "red panda").await.len(), 1);
}

pub(crate) async fn an_exclusion_must_not_be_there(ctx: &Ctx) {
    let mut world = World::new(ctx);
    let texts = ["red panda", "red fox", "red car of the zoo", "a blue car at the zoo"];
    world.keep_texts(&ada(), &texts).await;

    assert_eq!(contents(&world.ask(&ada(), "red -panda -car").await), ["red fox"]);
    assert_eq!(world.ask(&ada(), "red car -\"the zoo\"").await.len(), 2);
    assert_eq!(world.ask(&ada(), "-panda").await.len(), 0, "nothing is sought");
    assert_eq!(world.ask(&ada(), "red -red").await.len(), 0);
}

pub(crate) async fn accents_case_and_inflections_meet(ctx: &Ctx) {
    let mut world = World::new(ctx);
    let texts =
        ["She was RUNNING to the Café", "Zürich und Köln", "the runner's shoes", "ﬁne Ångström"];
    world.keep_texts(&ada(), &texts).await;

    for (question, found) in [
        ("cafe", 1),
        ("CAFE\u{301}", 1),
        ("runs", 1),
        ("zurich", 1),
        ("KÖLN", 1),
        ("fine", 1),
        ("angstrom", 1),
        ("shoe", 1),
    ] {
        assert_eq!(world.ask(&ada(), question).await.len(), found, "{question}");
    }
}

pub(crate) async fn identifiers_are_found_whole_and_by_their_parts(ctx: &Ctx) {
    let mut world = World::new(ctx);
    let texts = [
        "call open_pool before close_pool",
        "the pool is open",
        "version 3.14.1",
        "a::b, x-y, a.b.c",
    ];
    world.keep_texts(&ada(), &texts).await;

    assert_eq!(world.ask(&ada(), "open_pool").await[0].memory.content, texts[0]);
    assert_eq!(world.ask(&ada(), "pool").await.len(), 2);
    assert_eq!(world.ask(&ada(), "3.14.1").await[0].memory.content, texts[2]);
    world.ask(&ada(), "a.b.c").await;
    world.ask(&ada(), "\"open pool\"").await;
}

pub(crate) async fn scripts_without_spaces_are_found(ctx: &Ctx) {
    let mut world = World::new(ctx);
    let texts = [
        "東京は日本の首都です",
        "שלום עולם",
        "مرحبا بالعالم",
        "Привет мир",
        "สวัสดีชาวโลก",
        "👩‍🚀 in space 🚀",
    ];
    world.keep_texts(&ada(), &texts).await;

    for question in ["東京", "日本の首都", "שלום", "مرحبا", "привет", "สวัสดี", "👩‍🚀", "space 🚀"]
    {
        world.ask(&ada(), question).await;
    }
    assert_eq!(world.ask(&ada(), "東京").await.len(), 1);
    assert_eq!(world.ask(&ada(), "ПРИВЕТ").await.len(), 1);
}

pub(crate) async fn hostile_questions_are_only_text(ctx: &Ctx) {
    let mut world = World::new(ctx);
    let texts = ["quotes ' and \\ and \" and more", "a <-> b & c | !d :*", "@acme is a name", "x"];
    world.keep_texts(&ada(), &texts).await;

    for question in [
        "",
        " ",
        "& | ! ( ) : * <->",
        "!!",
        "'",
        "''",
        "\\",
        "\\'",
        "\"",
        "\"\"",
        "\"'\"",
        "-",
        "--",
        "-\"",
        "- x",
        "or",
        "OR or",
        "a & b | !c",
        "a <2> b",
        "b:*",
        "b:A",
        "'a':1A",
        "a\\b",
        "$1 $$x$$",
        "%s %",
        "{a,b}",
        "null",
        "'; drop table memories; --",
        "x') or true --",
        "near(a b)",
        "a*",
        "content:x",
        "^x",
        "x +y",
        "@acme",
        "@",
        "\u{202e}desrever",
        "\u{feff}",
        "e\u{301}\u{301}\u{301}",
        "\u{1}\u{2}",
        "\r\n\t",
        "\u{10ffff}",
    ] {
        world.ask(&ada(), question).await;
    }
    assert_eq!(world.ask(&ada(), "drop table memories").await.len(), 0);
    assert_eq!(ctx.memories().count(&ada()).await.expect("a count"), texts.len() as u64);
}

pub(crate) async fn a_question_may_be_as_long_as_its_limit(ctx: &Ctx) {
    let mut world = World::new(ctx);
    world.keep_texts(&ada(), &["w5000 is here", "w1 and w9999", "nothing of it"]).await;
    let many: String = (0..10_000).flat_map(|n| [format!("w{n}"), " ".to_owned()]).collect();
    let endless = "x".repeat(limits::RECALL_TEXT_BYTES);
    let quotes = "\"a b\" ".repeat(5_000);
    let exclusions = "-a ".repeat(10_000);

    assert_eq!(world.ask(&ada(), &many).await.len(), 2);
    for question in [&endless, &quotes, &exclusions] {
        world.ask(&ada(), question).await;
    }
    let over = "x".repeat(limits::RECALL_TEXT_BYTES + 1);
    refused(ctx.memories().recall(&ada(), &Recall::text(over)).await, "text");
    refused(ctx.memories().recall(&ada(), &Recall::text("a\0b")).await, "text");
}

pub(crate) async fn a_question_needs_text_or_vector_and_a_limit(ctx: &Ctx) {
    let ask = |question: Recall| async move { ctx.memories().recall(&ada(), &question).await };

    refused(ask(Recall::default()).await, "recall");
    refused(ask(Recall { limit: 0, ..Recall::text("x") }).await, "limit");
    refused(ask(Recall { limit: limits::RECALL_MAX + 1, ..Recall::text("x") }).await, "limit");
    assert!(ask(Recall { limit: limits::RECALL_MAX, ..Recall::text("x") }).await.is_ok());
    assert_eq!(ask(Recall::text("x")).await.expect("an answer of an empty store"), []);
}

pub(crate) async fn a_limit_takes_the_best(ctx: &Ctx) {
    let mut world = World::new(ctx);
    let texts = (1..=60).map(|n| format!("quokka {}", "filler ".repeat(n)));
    world.keep_many(&ada(), texts).await;
    let ask = |limit| {
        let question = Recall { limit, ..Recall::text("quokka") };
        async move { ctx.memories().recall(&ada(), &question).await.expect("an answer") }
    };

    let all = ask(200).await;
    let few = ask(3).await;

    assert_eq!(all.len(), 60);
    assert_eq!(contents(&few), contents(&all)[..3]);
    assert_eq!(few[0].memory.content, "quokka filler ");
}

pub(crate) async fn another_tenants_words_change_no_score(ctx: &Ctx) {
    let mut world = World::new(ctx);
    world.keep_texts(&ada(), &DIARY).await;
    let before = world.ask(&ada(), "kids at the lake").await;

    let other = Scope::tenant("globex").user("ada");
    world.keep_many(&other, (0..100).map(|n| format!("kids and kids {n}"))).await;

    let after = world.ask(&ada(), "kids at the lake").await;
    assert_eq!(before, after);
}

pub(crate) async fn frequencies_are_the_tenants_whoever_asks(ctx: &Ctx) {
    let mut world = World::new(ctx);
    world.keep_texts(&ada(), &["lake house", "lake", "boat"]).await;
    world.keep_texts(&bob(), &["lake", "lake lake", "a car"]).await;
    world.keep_texts(&acme(), &["the lake of the tenant"]).await;

    for scope in [ada(), bob(), acme(), acme().user("eve"), acme().agent("none")] {
        world.ask(&scope, "lake boat car").await;
    }
    assert_eq!(world.ask(&ada(), "lake").await.len(), 3);
    assert_eq!(world.ask(&acme(), "lake").await.len(), 5);
}

pub(crate) async fn a_deleted_memory_counts_no_more(ctx: &Ctx) {
    let mut world = World::new(ctx);
    let ids = world.keep_texts(&ada(), &DIARY).await;

    for id in &ids[2..9] {
        world.delete(&ada(), *id).await;
        world.ask(&ada(), "Caroline Melanie kids support").await;
    }
    // And written again, it counts again.
    world.keep_texts(&ada(), &[DIARY[2]]).await;

    world.ask(&ada(), "Caroline support group").await;
}

pub(crate) async fn a_common_word_finds_nothing_of_its_own(ctx: &Ctx) {
    let mut world = World::new(ctx);
    let day = |n| format!("a day like any other {}", if n % 400 == 7 { "quokka" } else { "cat" });
    world.keep_many(&ada(), (0..1_200).map(|n| format!("{} {n}", day(n)))).await;

    assert_eq!(world.ask(&ada(), "day quokka").await.len(), 3);
    // Alone it is all there is: the newest thousand are scored.
    assert_eq!(world.ask(&ada(), "day").await.len(), 10);
}

pub(crate) async fn filters_and_words_agree_with_the_model(ctx: &Ctx) {
    let mut world = World::new(ctx);
    for (n, text) in DIARY.iter().enumerate() {
        let tags = vec![if n % 2 == 0 { "even" } else { "odd" }.to_owned()];
        world.keep(&ada(), NewMemory { tags, ..NewMemory::new(*text) }).await;
    }

    for tag in ["even", "odd", "none"] {
        let filter = MemoryFilter { tags: vec![tag.to_owned()], ..MemoryFilter::default() };
        let question = Recall { filter: filter.clone(), ..Recall::text("Melanie and the kids") };
        let hits = ctx.memories().recall(&ada(), &question).await.expect("an answer");
        world.assert_agrees(&ada(), "Melanie and the kids", &filter, &hits);
    }
}
