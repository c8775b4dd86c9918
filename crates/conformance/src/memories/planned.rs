//! What was planned before about ranking, to the letter: twenty memories, three of them about Rust,
//! five questions.

use mnemon_core::memories::{Fusion, Hit, MemoryFilter, NewMemory, Recall};

use crate::check::{contents, ids, model};
use crate::ctx::{Ctx, ada};

/// The nearest to the question by words and by vector, in this order.
const RUST: [(&str, [f32; 2]); 3] = [
    ("rust rust rust", [1.0, 0.0]),
    ("rust with rust again", [1.0, 0.1]),
    ("one word of rust among several others", [1.0, 0.2]),
];

fn asked() -> Recall {
    let fusion = Fusion::Rrf { k: 60.0 };
    Recall { embedding: Some(vec![1.0, 0.0]), fusion, limit: 20, ..Recall::text("rust") }
}

/// The first ten in domain `dev`, the others in `home`.
async fn twenty(ctx: &Ctx) {
    ctx.memories().register_model(&model(2)).await.expect("a first model");
    let others = (3_u8..20).map(|n| (format!("memory number {n}"), [-1.0, f32::from(n) / 20.0]));
    let all = RUST.into_iter().map(|(text, vector)| (text.to_owned(), vector)).chain(others);
    let memories = all.enumerate().map(|(n, (text, vector))| NewMemory {
        embedding: Some(vector.to_vec()),
        domains: vec![if n < 10 { "dev" } else { "home" }.to_owned()],
        ..NewMemory::new(text)
    });
    ctx.memories().remember_many(&ada(), memories.collect()).await.expect("are kept");
}

async fn ask(ctx: &Ctx, question: Recall) -> Vec<Hit> {
    ctx.memories().recall(&ada(), &question).await.expect("an answer")
}

pub(crate) async fn five_questions_to_twenty_memories(ctx: &Ctx) {
    twenty(ctx).await;
    let rust = RUST.map(|(text, _)| text);

    // By words alone: the three, in order, without a vector's score.
    let hits = ask(ctx, Recall { embedding: None, ..asked() }).await;
    assert_eq!(contents(&hits), rust);
    assert!(hits.iter().all(|hit| hit.similarity.is_none() && hit.vector_rank.is_none()));

    // By vector alone: the same three before all others, without a score of words.
    let hits = ask(ctx, Recall { text: None, limit: 3, ..asked() }).await;
    assert_eq!(contents(&hits), rust);
    assert!(hits.iter().all(|hit| hit.text_score.is_none() && hit.text_rank.is_none()));

    // By both: the first is first in either.
    let hits = ask(ctx, asked()).await;
    assert_eq!(contents(&hits)[..3], rust);
    assert!((hits[0].score - 2.0 / 61.0).abs() < 1e-9, "{:?}", hits[0]);
    assert!(hits[0].text_score.is_some() && hits[0].similarity.is_some());

    // A domain lets through its own ten and nothing else.
    for (domain, about_rust) in [("dev", 3), ("home", 0)] {
        let filter = MemoryFilter { domains: vec![domain.into()], ..MemoryFilter::default() };
        let hits = ask(ctx, Recall { filter, ..asked() }).await;
        assert_eq!(hits.len(), 10);
        assert!(hits.iter().all(|hit| hit.memory.domains == [domain]));
        assert_eq!(hits.iter().filter(|hit| hit.text_rank.is_some()).count(), about_rust);
    }

    // One branch alone is that branch's own search.
    let by_vector = ctx.memories().vector_search(&ada(), &[1.0, 0.0], 20).await;
    let no_words = ask(ctx, Recall { text: Some(String::new()), ..asked() }).await;
    assert_eq!(ids(&by_vector.expect("an answer")), ids(&no_words));
    let by_words = ctx.memories().fts_search(&ada(), "rust", 20).await.expect("an answer");
    assert_eq!(ids(&by_words), ids(&ask(ctx, Recall { embedding: None, ..asked() }).await));
}
