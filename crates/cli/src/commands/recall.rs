//! `mnemon recall TEXT`: what was found, and why.

use chrono::{DateTime, Utc};
use clap::Args;
use mnemon::core::events::KEYWORDS_ONLY_TOLD;
use mnemon::{
    Comparison, Hit, MemoryFilter, MetadataTest, Mnemon, Namespace, Recall, Recalled, Scope,
};
use serde_json::{Value, json};

use super::{Done, show};
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;

#[derive(Args)]
pub(crate) struct RecallArgs {
    /// What to find: any of the words, rarest first; "a phrase" in quotes must be there; after
    /// `--`, -word must not
    #[arg(required = true, num_args = 1..)]
    text: Vec<String>,
    /// Hits wanted, 1 to 200
    #[arg(long, short = 'n', default_value_t = mnemon::core::limits::RECALL_DEFAULT)]
    limit: u32,
    #[command(flatten)]
    filter: FilterArgs,
    /// The least similarity of a hit that only its vector found, -1 to 1
    #[arg(long, value_name = "COSINE", allow_negative_numbers = true)]
    min_similarity: Option<f32>,
    /// Let activation spread from the hits along connections, this many hops, 1 to 3
    #[arg(long, value_name = "HOPS")]
    spread: Option<u32>,
    /// Note one access event with the hits; reading alone strengthens nothing
    #[arg(long)]
    reinforce: bool,
}

/// Which memories are considered.
#[derive(Args)]
pub(crate) struct FilterArgs {
    /// This namespace and those below it
    #[arg(long, value_name = "PATH", value_parser = namespace)]
    namespace: Option<Namespace>,
    /// Any of these tags; may be given several times
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Any of these types; may be given several times
    #[arg(long = "type", value_name = "TYPE")]
    node_type: Vec<String>,
    /// Created at or after, as 2026-05-03T00:00:00Z
    #[arg(long, value_name = "TIME")]
    since: Option<DateTime<Utc>>,
    /// Created before
    #[arg(long, value_name = "TIME")]
    until: Option<DateTime<Utc>>,
    /// Any of these domains; may be given several times
    #[arg(long, value_name = "DOMAIN")]
    domain: Vec<String>,
    /// A test of the metadata: priority>9, status=open, lang!="de"; all must hold
    #[arg(long = "where", value_name = "TEST", value_parser = test)]
    tests: Vec<MetadataTest>,
    /// As things stood then: written by then and true then
    #[arg(long, value_name = "TIME")]
    as_of: Option<DateTime<Utc>>,
    /// The least retrievability, 0 to 1; what was never reviewed counts as 1
    #[arg(long, value_name = "SHARE")]
    min_retrievability: Option<f64>,
}

/// Parses `key>value`; a value that is no JSON is a text.
fn test(text: &str) -> Result<MetadataTest, String> {
    const SIGNS: [(&str, Comparison); 6] = [
        (">=", Comparison::Gte),
        ("<=", Comparison::Lte),
        ("!=", Comparison::Ne),
        (">", Comparison::Gt),
        ("<", Comparison::Lt),
        ("=", Comparison::Eq),
    ];
    let at = text.find(['>', '<', '!', '=']).ok_or("has none of = != > >= < <=")?;
    let (key, rest) = text.split_at(at);
    let (sign, comparison) =
        SIGNS.iter().find(|(sign, _)| rest.starts_with(sign)).ok_or("has ! without =")?;
    let value = &rest[sign.len()..];
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
    Ok(MetadataTest::new(key.trim(), *comparison, value))
}

/// Parses a namespace; the name of the field is clap's to say.
pub(super) fn namespace(text: &str) -> Result<Namespace, String> {
    Namespace::parse(text).map_err(|error| error.to_string())
}

impl FilterArgs {
    pub(super) fn filter(&self) -> MemoryFilter {
        MemoryFilter {
            namespace: self.namespace.clone(),
            tags: self.tag.clone(),
            node_types: self.node_type.clone(),
            created_from: self.since,
            created_to: self.until,
            domains: self.domain.clone(),
            metadata: self.tests.clone(),
            as_of: self.as_of,
            min_retrievability: self.min_retrievability,
            ..MemoryFilter::default()
        }
    }
}

impl RecallArgs {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
        let text = self.text.join(" ");
        if text.trim().is_empty() {
            return Err(Failure::Usage("nothing to recall was given".to_owned()));
        }
        let question = Recall {
            limit: self.limit,
            filter: self.filter.filter(),
            min_similarity: self.min_similarity,
            spread: self.spread,
            reinforce: self.reinforce,
            ..Recall::text(text)
        };
        let db = context.open().await?;
        let scope = context.scope(&db);
        let recalled = db.memories().recalled(&scope, &question).await?;
        match &recalled.words_only {
            Some(why) => context.output.notice(&format!("recall was by words only: {why}")),
            None => keywords_only(&db, &scope, context.output).await,
        }
        let printed = print(&recalled, context.output);
        db.close().await;
        Ok(printed?)
    }
}

/// Says once per tenant that a search without a model goes by words, and how to change that.
async fn keywords_only(db: &Mnemon, scope: &Scope, output: &Output) {
    if db.model().is_some_and(|model| model.semantic) {
        return;
    }
    let once = std::time::Duration::MAX;
    let told = db.store().events().note(scope, KEYWORDS_ONLY_TOLD, json!({}), once).await;
    // Where it cannot be noted (a read-only file) it is said every time.
    if !matches!(told, Ok(None)) {
        output.notice(
            "this is keyword search until a model is set: --model local:DIR or openai:MODEL, \
             MNEMON_EMBEDDER_MODEL, or [embedder] model in mnemon.toml",
        );
    }
}

fn print(recalled: &Recalled, output: &Output) -> std::io::Result<()> {
    if output.json {
        return output.json(recalled);
    }
    let hits = &recalled.hits;
    if hits.is_empty() {
        return output.line("nothing found");
    }
    let mut table = show::table(&["", "memory", "found by"]);
    for (place, hit) in (1..).zip(hits) {
        table.add_row([place.to_string(), show::cell(&hit.memory), evidence(hit)]);
    }
    output.line(table.to_string())
}

/// Why a memory was found, in words.
fn evidence(hit: &Hit) -> String {
    let mut lines = Vec::new();
    match (hit.text_rank, hit.text_score) {
        (Some(rank), Some(score)) => lines.push(format!("words #{rank}, BM25 {score:.2}")),
        // Beyond the bound of its branch; the vector found it.
        (None, Some(score)) => lines.push(format!("words, BM25 {score:.2}")),
        _ => {}
    }
    if let (Some(rank), Some(similarity)) = (hit.vector_rank, hit.similarity) {
        lines.push(format!("vector #{rank}, similarity {similarity:.2}"));
    }
    if let Some(retrievability) = hit.retrievability {
        lines.push(format!("retrievability {retrievability:.2}"));
    }
    if let Some(edge) = &hit.via_edge {
        let from = if edge.source == hit.memory.id { edge.target } else { edge.source };
        lines.push(format!("edge {} {:.2} from {from}", edge.edge_type, edge.weight));
    }
    lines.join("\n")
}
