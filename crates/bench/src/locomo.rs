//! Evidence recall@10 on LoCoMo: for each question of categories 1 to 4 with usable evidence,
//! |top 10 ∩ evidence| / |evidence|, averaged over questions. Each conversation is its own user, one
//! memory per utterance.
//!
//! The limit beside it: the same BM25 over everything in memory, with no database, no index and no
//! cap. What a database answers less than that, its candidates lost.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use mnemon::core::memories::bm25::{Candidate, Corpus, QueryTerm, rank};
use mnemon::core::memories::text::{Document, Question as Words, analyze, plan};
use mnemon::import::locomo::{Conversation, Conversations, Question, Utterance};
use mnemon::{Recall, Scope, UpkeepOptions};

use crate::report::{Bar, Report, percentile};
use crate::target::{On, Target};

/// Hits that count.
const TOP: u32 = 10;
/// What the text branch, and recall with the default model, must reach (spec of memories).
const TARGET: f64 = 0.59;
/// The tenant of all conversations together.
const TENANT: &str = "locomo";

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// The conversations: the published `locomo10.json` or the reduced shape.
    data: PathBuf,
    /// Databases to run on; all three when none is named.
    #[arg(long, value_enum)]
    on: Vec<On>,
}

/// Runs the bench on every database asked for.
pub(crate) async fn run(options: &Options) -> Result<Report, Box<dyn std::error::Error>> {
    let file = File::open(&options.data)
        .map_err(|cause| format!("{} cannot be read: {cause}", options.data.display()))?;
    let data = Conversations::read(&options.data.display().to_string(), file)?;
    let questions: usize = data.conversations.iter().map(|c| asked(c).count()).sum();
    if questions == 0 {
        return Err("no question of categories 1 to 4 has usable evidence".into());
    }
    let mut report = Report {
        bench: "locomo",
        columns: vec![
            "database",
            "branch",
            "recall@10",
            "of limit",
            "p50 ms",
            "p99 ms",
            "writes/s",
        ],
        rows: Vec::new(),
        bars: Vec::new(),
        notes: vec![format!(
            "{} conversations, {questions} questions count; limit: exhaustive BM25 in memory",
            data.conversations.len()
        )],
    };
    let limit = in_memory(&data)?;
    report.rows.push(row("in memory", "limit", limit, 1.0, None, None));
    let on = if options.on.is_empty() { On::ALL.to_vec() } else { options.on.clone() };
    for on in on {
        one(on, &data, limit, &mut report).await?;
    }
    Ok(report)
}

/// One database: writes everything, then asks everything twice, by words alone and by default.
async fn one(
    on: On,
    data: &Conversations,
    limit: f64,
    report: &mut Report,
) -> Result<(), Box<dyn std::error::Error>> {
    let target = Target::open(on).await?;
    let rate = write(&target, data).await?;
    for (branch, by_default) in [("text", false), ("default (lexical)", true)] {
        let asked = ask(&target, data, by_default).await?;
        let (p50, p99) = (percentile(&asked.millis, 0.5), percentile(&asked.millis, 0.99));
        report.rows.push(row(
            target.name,
            branch,
            asked.recall,
            asked.recall / limit,
            Some((p50, p99)),
            Some(rate),
        ));
        let name = format!("{} {branch} recall@{TOP}", target.name);
        report.bars.push(Bar::at_least(name, asked.recall, TARGET));
    }
    target.db.close().await;
    Ok(())
}

async fn write(target: &Target, data: &Conversations) -> mnemon::Result<f64> {
    let begun = Instant::now();
    let mut written = 0_u32;
    for conversation in &data.conversations {
        let scope = Scope::tenant(TENANT).user(&conversation.sample_id);
        for batch in conversation.utterances.chunks(mnemon::core::limits::REMEMBER_BATCH) {
            let memories =
                batch.iter().map(Utterance::memory).collect::<mnemon::Result<Vec<_>>>()?;
            written += u32::try_from(memories.len()).expect("a batch is small");
            target.db.memories().remember_many(&scope, memories).await?;
        }
        eprintln!("{}: {written} memories", target.name);
    }
    let rate = f64::from(written) / begun.elapsed().as_secs_f64();
    target.db.upkeep(&UpkeepOptions { force: true, ..UpkeepOptions::default() }).await?;
    Ok(rate)
}

struct Asked {
    recall: f64,
    millis: Vec<f64>,
}

async fn ask(target: &Target, data: &Conversations, by_default: bool) -> mnemon::Result<Asked> {
    let mut shares = Vec::new();
    let mut millis = Vec::new();
    for conversation in &data.conversations {
        let scope = Scope::tenant(TENANT).user(&conversation.sample_id);
        for question in asked(conversation) {
            let wanted = Recall { limit: TOP, ..Recall::text(&question.question) };
            let begun = Instant::now();
            let hits = if by_default {
                target.db.memories().recall(&scope, &wanted).await?
            } else {
                // The store itself embeds nothing: the branch by words alone.
                target.db.store().memories().recall(&scope, &wanted).await?
            };
            millis.push(begun.elapsed().as_secs_f64() * 1_000.0);
            let found: Vec<&str> =
                hits.iter().filter_map(|hit| hit.memory.key.as_deref()).collect();
            shares.push(question.found(&found));
        }
    }
    Ok(Asked { recall: mean(&shares), millis })
}

/// The questions that count.
fn asked(conversation: &Conversation) -> impl Iterator<Item = &Question> {
    conversation.questions.iter().filter(|question| question.counts())
}

#[expect(clippy::cast_precision_loss, reason = "a count of questions")]
fn mean(shares: &[f64]) -> f64 {
    shares.iter().sum::<f64>() / shares.len() as f64
}

/// The same questions with every memory of the conversation as a candidate.
fn in_memory(data: &Conversations) -> mnemon::Result<f64> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    let mut corpus = Corpus::default();
    let mut conversations = Vec::new();
    for conversation in &data.conversations {
        let mut documents = Vec::new();
        for utterance in &conversation.utterances {
            let document = analyze(&utterance.memory()?.content, "fact", &[]);
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
    let terms = Words::parse(&question.question)
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

fn row(
    database: &str,
    branch: &str,
    recall: f64,
    of_limit: f64,
    latency: Option<(f64, f64)>,
    rate: Option<f64>,
) -> Vec<String> {
    let figure = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    vec![
        database.to_owned(),
        branch.to_owned(),
        format!("{recall:.4}"),
        format!("{of_limit:.3}"),
        figure(latency.map(|(p50, _)| p50), 2),
        figure(latency.map(|(_, p99)| p99), 2),
        figure(rate, 0),
    ]
}
