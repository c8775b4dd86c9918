//! Properties of the pure decisions, over random input.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use mnemon_core::claims::adjudicate::next_time;
use mnemon_core::locks::{Held, Verdict, decide};
use mnemon_core::memories::bm25::{Candidate, Corpus, QueryTerm, rank};
use mnemon_core::memories::fuse::{Fusion, Words, fuse};
use mnemon_core::memories::text::{Language, Question, analyze};
use mnemon_core::{Cursor, Fence, limits};
use proptest::prelude::*;

fn at(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(seconds, 0).expect("a time in range")
}

fn branch() -> impl Strategy<Value = Vec<(u8, f64)>> {
    proptest::collection::btree_map(0_u8..60, 0.01_f64..10.0, 0..40).prop_map(|scores| {
        let mut branch: Vec<(u8, f64)> = scores.into_iter().collect();
        branch.sort_by(|a, b| b.1.total_cmp(&a.1).then(b.0.cmp(&a.0)));
        branch
    })
}

fn fusion() -> impl Strategy<Value = Fusion> {
    prop_oneof![
        (0.0_f64..=1.0).prop_map(|text| Fusion::Blend { text }),
        (1.0_f64..100.0).prop_map(|k| Fusion::Rrf { k }),
        Just(Fusion::TextFirst),
    ]
}

proptest! {
    #[test]
    fn any_text_is_analyzed_within_its_limits(text in "\\PC{0,400}", tag in "\\PC{0,40}", language in 0..Language::ALL.len()) {
        let document = analyze(Language::ALL[language], &text, "fact", &[tag]);

        for (lexeme, occurrences) in &document.lexemes {
            prop_assert!(!lexeme.is_empty() && lexeme.len() <= limits::LEXEME_BYTES);
            prop_assert!(!occurrences.is_empty());
            prop_assert!(occurrences.iter().all(|at| at.position >= 1));
        }
    }

    #[test]
    fn a_question_finds_the_words_of_the_text_it_quotes(words in proptest::collection::vec("[b-df-hj-np-tv-z]{3,8}", 1..6)) {
        let text = words.join(" ");
        let document = analyze(Language::English, &text, "fact", &[]);

        for term in Question::parse(Language::English, &text).terms {
            prop_assert!(document.lexemes.contains_key(&term), "{term}");
        }
    }

    #[test]
    fn any_question_parses(text in "\\PC{0,400}") {
        let question = Question::parse(Language::English, &text);

        let distinct: BTreeSet<&String> = question.terms.iter().collect();
        prop_assert_eq!(distinct.len(), question.terms.len());
    }

    #[test]
    fn fusion_neither_loses_nor_doubles_a_hit(text in branch(), vector in branch(), fusion in fusion()) {
        let fused = fuse(fusion, Words::bounded(&text, 1_000), &vector, 1_000);

        let all: BTreeSet<u8> = text.iter().chain(&vector).map(|(key, _)| *key).collect();
        let found: BTreeSet<u8> = fused.iter().map(|hit| hit.key).collect();
        prop_assert_eq!(fused.len(), all.len());
        prop_assert_eq!(found, all);
        prop_assert!(fused.windows(2).all(|pair| pair[0].score >= pair[1].score));
    }

    #[test]
    fn a_smaller_limit_is_a_prefix(text in branch(), vector in branch(), fusion in fusion(), limit in 0_usize..20) {
        let all = fuse(fusion, Words::bounded(&text, 1_000), &vector, 1_000);

        prop_assert_eq!(&fuse(fusion, Words::bounded(&text, 1_000), &vector, limit)[..], &all[..limit.min(all.len())]);
    }

    #[test]
    fn scores_are_finite_and_ordered(counts in proptest::collection::vec((0.0_f64..50.0, 0_u32..500), 0..30), documents in 0_u64..10_000, words in 0_u64..1_000_000) {
        let candidates: Vec<Candidate<usize>> = counts
            .iter()
            .enumerate()
            .map(|(key, (count, words))| Candidate { key, words: *words, counts: [("x".to_owned(), *count)].into() })
            .collect();
        let terms = [QueryTerm { lexeme: "x".into(), documents: counts.len() as u64 }];

        let ranked = rank(&candidates, &terms, &Corpus { documents, words }, 1_000);

        prop_assert!(ranked.iter().all(|(_, score)| score.is_finite() && *score > 0.0));
        prop_assert!(ranked.windows(2).all(|pair| pair[0].1 >= pair[1].1));
    }

    #[test]
    fn a_cursor_survives_its_journey(parts in proptest::collection::vec("[a-z0-9-]{1,12}", 2..=2)) {
        let cursor = Cursor::of("list", &[&parts[0], &parts[1]]);
        let back: Cursor = cursor.to_string().parse().unwrap();

        prop_assert_eq!(back.parts::<2>("list").unwrap(), [parts[0].as_str(), parts[1].as_str()]);
    }

    #[test]
    fn transaction_time_strictly_increases(last in 0_i64..100, now in 0_i64..100) {
        prop_assert!(next_time(Some(at(last)), at(now)) > at(last));
    }

    #[test]
    fn a_fence_never_shrinks_and_a_new_holder_has_a_larger_one(held in proptest::option::of("[ab]"), fence in 1_i64..1_000, until in 0_i64..100, now in 0_i64..100) {
        let current = Held { holder: held.clone(), fence: Fence(fence), expires_at: at(until) };

        match decide(Some(&current), "a", at(now)) {
            Verdict::Grant(new) => prop_assert!(new > current.fence),
            Verdict::Renew(same) => {
                prop_assert_eq!(same, current.fence);
                prop_assert_eq!(held.as_deref(), Some("a"));
            }
            Verdict::Refuse { until } => {
                prop_assert!(until > at(now));
                prop_assert_eq!(held.as_deref(), Some("b"));
            }
        }
    }
}
