//! Evidence recall@10 on LoCoMo: for each question of categories 1 to 4 with usable evidence,
//! |top 10 ∩ evidence| / |evidence|, averaged over questions. Each conversation is its own user, one
//! memory per utterance.
//!
//! The limit beside it: the same BM25 over everything in memory, with no database, no index and no
//! cap. What the text branch of a database answers less than that, its candidates lost.

mod known;
mod limit;
mod variant;

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use clap::Args;
use mnemon::embed::Embedder;
use mnemon::import::locomo::{Conversation, Conversations, Question};
use mnemon::{Fusion, Hit, Recall, Scope, UpkeepOptions};

use crate::report::{Bar, Report, percentile};
use crate::target::{On, Target};
use known::Known;
use variant::Variant;

/// Hits that count.
const TOP: u32 = 10;
/// What the text branch, and recall with the default model, must reach (spec of memories).
const TARGET: f64 = 0.59;
/// What recall must reach by default with a model that carries meaning …
const SEMANTIC_TARGET: f64 = 0.64;
/// … and how much better than the better branch it must be.
const GAIN: f64 = 1.05;
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
    /// The model: `lexical`, `local:DIR` (needs the feature `local-embedder`) or `openai:MODEL`.
    #[arg(long, default_value = "lexical")]
    model: String,
    /// Only utterances as they are, without the rows for dated ones and ones with neighbours.
    #[arg(long)]
    plain: bool,
}

/// Which part of recall answers.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Branch {
    Text,
    Vector,
    Default,
    Rrf,
}

impl Branch {
    const ALL: [Self; 4] = [Self::Text, Self::Vector, Self::Default, Self::Rrf];

    const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Vector => "vector",
            Self::Default => "default",
            Self::Rrf => "RRF",
        }
    }
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
    let model = Arc::new(Known::load(&options.model).await?);
    let mut report = Report {
        bench: "locomo",
        columns: vec![
            "database",
            "indexed",
            "branch",
            "recall@10",
            "of limit",
            "p50 ms",
            "p99 ms",
            "writes/s",
        ],
        rows: Vec::new(),
        bars: Vec::new(),
        notes: vec![
            format!(
                "{} conversations, {questions} questions count; limit: exhaustive BM25 in memory",
                data.conversations.len()
            ),
            format!("model {}; texts are embedded beforehand", model.signature()),
        ],
    };
    let limit = limit::in_memory(&data)?;
    report.rows.push(row(["in memory", "plain", "limit"], limit, 1.0, None, None));
    let on = if options.on.is_empty() { On::ALL.to_vec() } else { options.on.clone() };
    let variants = if options.plain { &Variant::ALL[..1] } else { &Variant::ALL[..] };
    for variant in variants {
        for on in &on {
            one(*on, *variant, &data, &model, limit, &mut report).await?;
        }
    }
    Ok(report)
}

/// One database: writes everything, then asks everything of every branch.
async fn one(
    on: On,
    variant: Variant,
    data: &Conversations,
    model: &Arc<Known>,
    limit: f64,
    report: &mut Report,
) -> Result<(), Box<dyn std::error::Error>> {
    let embedder: Arc<dyn Embedder> = Arc::<Known>::clone(model);
    let target = Target::open_as(on, embedder).await?;
    let rate = write(&target, variant, data, model).await?;
    let mut found = Vec::new();
    for branch in Branch::ALL {
        let asked = ask(&target, data, model, branch).await?;
        let (p50, p99) = (percentile(&asked.millis, 0.5), percentile(&asked.millis, 0.99));
        let names = [target.name, variant.name(), branch.name()];
        let latency = Some((p50, p99));
        report.rows.push(row(names, asked.recall, asked.recall / limit, latency, Some(rate)));
        found.push(asked.recall);
    }
    if variant == Variant::Plain {
        bars(target.name, &found, model.signature().semantic, report);
    }
    target.db.close().await;
    Ok(())
}

/// What was promised of one database: of words, and of recall by default.
fn bars(name: &str, found: &[f64], semantic: bool, report: &mut Report) {
    let [text, vector, default, _] = found else { return };
    report.bars.push(Bar::at_least(format!("{name} text recall@{TOP}"), *text, TARGET));
    let target = if semantic { SEMANTIC_TARGET } else { TARGET };
    report.bars.push(Bar::at_least(format!("{name} default recall@{TOP}"), *default, target));
    if semantic {
        let gain = default / text.max(*vector);
        report.bars.push(Bar::at_least(format!("{name} default of better branch"), gain, GAIN));
    }
}

async fn write(
    target: &Target,
    variant: Variant,
    data: &Conversations,
    model: &Known,
) -> mnemon::Result<f64> {
    let mut written = 0_u32;
    let mut seconds = 0.0;
    for conversation in &data.conversations {
        let scope = Scope::tenant(TENANT).user(&conversation.sample_id);
        let memories = variant.memories(conversation)?;
        let texts: Vec<&str> = memories.iter().map(|memory| memory.content.as_str()).collect();
        model.embed_batch(&texts).await?;
        let begun = Instant::now();
        for batch in memories.chunks(mnemon::core::limits::REMEMBER_BATCH) {
            written += u32::try_from(batch.len()).expect("a batch is small");
            target.db.memories().remember_many(&scope, batch.to_vec()).await?;
        }
        seconds += begun.elapsed().as_secs_f64();
        eprintln!("{}: {written} memories ({})", target.name, variant.name());
    }
    target.db.upkeep(&UpkeepOptions { force: true, ..UpkeepOptions::default() }).await?;
    Ok(f64::from(written) / seconds)
}

struct Asked {
    recall: f64,
    millis: Vec<f64>,
}

async fn ask(
    target: &Target,
    data: &Conversations,
    model: &Known,
    branch: Branch,
) -> mnemon::Result<Asked> {
    let mut shares = Vec::new();
    let mut millis = Vec::new();
    for conversation in &data.conversations {
        let scope = Scope::tenant(TENANT).user(&conversation.sample_id);
        for question in asked(conversation) {
            let vector = model.embed(&question.question).await?;
            let begun = Instant::now();
            let hits = hits(target, &scope, branch, &question.question, &vector).await?;
            millis.push(begun.elapsed().as_secs_f64() * 1_000.0);
            let found: Vec<&str> =
                hits.iter().filter_map(|hit| hit.memory.key.as_deref()).collect();
            shares.push(question.found(&found));
        }
    }
    Ok(Asked { recall: mean(&shares), millis })
}

async fn hits(
    target: &Target,
    scope: &Scope,
    branch: Branch,
    text: &str,
    vector: &[f32],
) -> mnemon::Result<Vec<Hit>> {
    let memories = target.db.memories();
    let question = Recall { limit: TOP, ..Recall::text(text) };
    match branch {
        Branch::Text => memories.fts_search(scope, text, TOP).await,
        Branch::Vector => memories.vector_search(scope, vector, TOP).await,
        Branch::Default => memories.recall(scope, &question).await,
        Branch::Rrf => {
            let fusion = Fusion::Rrf { k: 60.0 };
            memories.recall(scope, &Recall { fusion, ..question }).await
        }
    }
}

/// The questions that count.
fn asked(conversation: &Conversation) -> impl Iterator<Item = &Question> {
    conversation.questions.iter().filter(|question| question.counts())
}

#[expect(clippy::cast_precision_loss, reason = "a count of questions")]
fn mean(shares: &[f64]) -> f64 {
    shares.iter().sum::<f64>() / shares.len() as f64
}

fn row(
    names: [&str; 3],
    recall: f64,
    of_limit: f64,
    latency: Option<(f64, f64)>,
    rate: Option<f64>,
) -> Vec<String> {
    let figure = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let mut row: Vec<String> = names.map(str::to_owned).to_vec();
    row.extend([
        format!("{recall:.4}"),
        format!("{of_limit:.3}"),
        figure(latency.map(|(p50, _)| p50), 2),
        figure(latency.map(|(_, p99)| p99), 2),
        figure(rate, 0),
    ]);
    row
}
