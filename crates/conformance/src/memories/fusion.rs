//! Words and vectors become one list, as core's pure function says, with evidence.

use mnemon_core::memories::fuse::{Words, fuse};
use mnemon_core::memories::{Fusion, Hit, ModelSignature, NewMemory, Recall};
use mnemon_core::{MemoryId, limits};

use crate::check::{ids, model};
use crate::ctx::{Ctx, ada};

const QUESTION: [f32; 2] = [1.0, 0.0];

/// Words and vectors disagree: what the one likes best the other likes least.
async fn fill(ctx: &Ctx, model: &ModelSignature) {
    ctx.memories().register_model(model).await.expect("a first model");
    let rows: [(&str, Option<[f32; 2]>); 8] = [
        ("quokka quokka quokka", Some([0.0, 1.0])),
        ("quokka and a panda", Some([0.25, 1.0])),
        ("one quokka among many other words in this text", Some([0.5, 1.0])),
        ("a quokka without a vector", None),
        ("nothing of the kind", Some([1.0, 0.0])),
        ("something else", Some([1.0, 0.25])),
        ("far away", Some([-1.0, 0.0])),
        ("neither", None),
    ];
    for (text, vector) in rows {
        let embedding = vector.map(|vector| vector.to_vec());
        let memory = NewMemory { embedding, ..NewMemory::new(text) };
        ctx.memories().remember(&ada(), memory).await.expect("is kept");
    }
}

async fn ask(ctx: &Ctx, question: Recall) -> Vec<Hit> {
    ctx.memories().recall(&ada(), &question).await.expect("an answer")
}

fn words() -> Recall {
    Recall { limit: limits::RECALL_MAX, ..Recall::text("quokka") }
}

fn vector() -> Recall {
    Recall { limit: limits::RECALL_MAX, ..Recall::vector(QUESTION) }
}

/// Asserts that an answer is what core makes of the two branches.
async fn fuses_as(ctx: &Ctx, asked: Fusion, expected: Fusion) {
    let text: Vec<(MemoryId, f64)> = ask(ctx, words())
        .await
        .iter()
        .map(|hit| (hit.memory.id, hit.text_score.expect("by words")))
        .collect();
    let similar: Vec<(MemoryId, f64)> = ask(ctx, vector())
        .await
        .iter()
        .map(|hit| (hit.memory.id, hit.similarity.expect("by vector")))
        .collect();

    for limit in [1, 3, 10] {
        let embedding = Some(QUESTION.to_vec());
        let question = Recall { embedding, limit, fusion: asked, ..words() };
        let hits = ask(ctx, question).await;

        let fused = fuse(expected, Words::bounded(&text, text.len()), &similar, limit as usize);
        let wanted: Vec<MemoryId> = fused.iter().map(|hit| hit.key).collect();
        assert_eq!(ids(&hits), wanted, "{asked:?}, limit {limit}");
        for (hit, fused) in hits.iter().zip(&fused) {
            assert!((hit.score - fused.score).abs() < 1e-6, "{hit:?}: {fused:?}");
            assert_eq!(hit.text_rank, fused.text_rank);
            assert_eq!(hit.vector_rank, fused.vector_rank);
            assert_eq!(hit.text_score.is_some(), fused.text_score.is_some());
            assert_eq!(hit.similarity.is_some(), fused.similarity.is_some());
        }
    }
}

pub(crate) async fn every_fusion_is_cores(ctx: &Ctx) {
    fill(ctx, &model(2)).await;

    for fusion in [
        Fusion::default(),
        Fusion::Blend { text: 0.0 },
        Fusion::Blend { text: 1.0 },
        Fusion::Rrf { k: 60.0 },
        Fusion::Rrf { k: 1.0 },
        Fusion::TextFirst,
    ] {
        fuses_as(ctx, fusion, fusion).await;
    }
}

pub(crate) async fn a_model_without_meaning_never_overtakes_a_word(ctx: &Ctx) {
    fill(ctx, &ModelSignature { semantic: false, ..model(2) }).await;

    fuses_as(ctx, Fusion::default(), Fusion::TextFirst).await;
    fuses_as(ctx, Fusion::Blend { text: 0.5 }, Fusion::TextFirst).await;
    fuses_as(ctx, Fusion::Rrf { k: 60.0 }, Fusion::Rrf { k: 60.0 }).await;
}

pub(crate) async fn words_beyond_their_bound_count_for_what_the_vector_finds(ctx: &Ctx) {
    ctx.memories().register_model(&model(2)).await.expect("a first model");
    // The longer, the less its word counts: the last ones are beyond the bound.
    for length in 1..=limits::OVERFETCH_MIN + 5 {
        let text = format!("quokka{}", " among others".repeat(length as usize));
        let memory = NewMemory { embedding: Some(vec![0.0, 1.0]), ..NewMemory::new(text) };
        ctx.memories().remember(&ada(), memory).await.expect("is kept");
    }
    let text = format!("quokka{}", " among others".repeat(200));
    let memory = NewMemory { embedding: Some(QUESTION.to_vec()), ..NewMemory::new(text) };
    let nearest = ctx.memories().remember(&ada(), memory).await.expect("is kept").id;

    let fusion = Fusion::Blend { text: 0.1 };
    let question = Recall { limit: 1, fusion, text: words().text, ..vector() };
    let hits = ask(ctx, question).await;

    assert_eq!(ids(&hits), [nearest]);
    assert_eq!((hits[0].text_rank, hits[0].vector_rank), (None, Some(1)));
    let score = hits[0].text_score.expect("it holds the word");
    let best = ask(ctx, Recall { limit: 1, ..words() }).await[0].text_score.expect("the best");
    assert!(hits[0].score > 0.9 && (hits[0].score - (0.9 + 0.1 * score / best)).abs() < 1e-6);
}

pub(crate) async fn one_branch_alone_keeps_its_order(ctx: &Ctx) {
    fill(ctx, &model(2)).await;
    let by_words = ids(&ask(ctx, words()).await);
    let by_vector = ids(&ask(ctx, vector()).await);
    assert_eq!((by_words.len(), by_vector.len()), (4, 6));

    for fusion in [Fusion::default(), Fusion::Rrf { k: 60.0 }, Fusion::TextFirst] {
        assert_eq!(ids(&ask(ctx, Recall { fusion, ..words() }).await), by_words);
        assert_eq!(ids(&ask(ctx, Recall { fusion, ..vector() }).await), by_vector);
        // Words that find nothing leave the order to the vector.
        let text = Some("xylophone".to_owned());
        assert_eq!(ids(&ask(ctx, Recall { text, fusion, ..vector() }).await), by_vector);
    }
}
