//! The limit of the text branch: the same BM25 over everything in memory.

use std::collections::HashMap;

use mnemon::core::memories::bm25::{Candidate, Corpus, QueryTerm, rank};
use mnemon::core::memories::text::{Document, Language, Question as Words, analyze, plan};
use mnemon::import::locomo::{Conversations, Question};

use super::{TOP, asked, mean};

const LANGUAGE: Language = Language::English;

/// The same questions with every memory of the conversation as a candidate.
pub(super) fn in_memory(data: &Conversations) -> mnemon::Result<f64> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    let mut corpus = Corpus::default();
    let mut conversations = Vec::new();
    for conversation in &data.conversations {
        let mut documents = Vec::new();
        for utterance in &conversation.utterances {
            let document = analyze(LANGUAGE, &utterance.memory()?.content, "fact", &[]);
            for lexeme in document.lexemes.keys() {
                *counts.entry(lexeme.clone()).or_default() += 1;
            }
            corpus.documents += 1;
            corpus.words += u64::from(document.words);
            documents.push((utterance.dia_id.as_str(), document));
        }
        conversations.push((conversation, documents));
    }
    let mut shares = Vec::new();
    for (conversation, documents) in &conversations {
        for question in asked(conversation) {
            shares.push(question.found(&exhaustive(question, documents, &counts, corpus)));
        }
    }
    Ok(mean(&shares))
}

fn exhaustive<'d>(
    question: &Question,
    documents: &[(&'d str, Document)],
    counts: &HashMap<String, u64>,
    corpus: Corpus,
) -> Vec<&'d str> {
    let terms = Words::parse(LANGUAGE, &question.question)
        .terms
        .into_iter()
        .map(|lexeme| QueryTerm { documents: counts.get(&lexeme).copied().unwrap_or(0), lexeme })
        .collect();
    let terms = plan(terms, &corpus).score;
    let candidates: Vec<Candidate<usize>> = documents
        .iter()
        .enumerate()
        .map(|(key, (_, document))| Candidate {
            key,
            words: document.words,
            counts: terms
                .iter()
                .map(|term| (term.lexeme.clone(), document.count(&term.lexeme)))
                .filter(|(_, count)| *count > 0.0)
                .collect(),
        })
        .collect();
    rank(&candidates, &terms, &corpus, TOP as usize)
        .iter()
        .map(|(at, _)| documents[*at].0)
        .collect()
}
