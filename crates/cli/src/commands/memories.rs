//! `mnemon memories …`: everything about memories but remembering and recalling.

mod change;
mod decay;
mod domains;
pub(super) mod graph;
mod language;

use clap::{Args, Subcommand};
use mnemon::{MemoryId, MemoryStats, Mnemon, Namespace, Scope};
use serde_json::json;

use super::page::{self, PageArgs};
use super::recall::{FilterArgs, namespace};
use super::{Done, show};
use crate::context::Context;
use crate::output::Output;

#[derive(Subcommand)]
pub(crate) enum Memories {
    /// Read one memory, by id or by key
    Get(Which),
    /// List memories, newest first
    List(List),
    /// How many there are
    Count,
    /// Change one: what is given replaces, the rest stays
    Update(change::Update),
    /// Note how well one was recalled; its next review follows
    Review(decay::ReviewArgs),
    /// The reviews of one, latest first
    Reviews(decay::Reviews),
    /// What is due to be reviewed, longest due first
    Due(decay::DueArgs),
    /// Connect one with another
    Link(graph::Link),
    /// Take a connection away
    Unlink(graph::Unlink),
    /// The connections of one
    Edges(graph::Edges),
    /// What is near one, along its connections
    Neighbors(graph::Neighbors),
    /// Named regions of what is remembered
    #[command(subcommand)]
    Domains(domains::Domains),
    /// The language that words are cut in, or going over to another one
    Language(language::LanguageArgs),
    /// The namespaces there are, with their counts
    Namespaces(Namespaces),
    /// Counts of everything
    Stats,
    /// Remove what has expired, now
    Sweep,
    /// Delete one memory, by id or by key, with its text, vector and words
    Delete(Which),
}

/// One memory.
#[derive(Args)]
pub(crate) struct Which {
    /// Its id
    #[arg(required_unless_present = "key")]
    id: Option<MemoryId>,
    /// Its key, instead of its id
    #[arg(long, conflicts_with = "id")]
    key: Option<String>,
    /// The key's namespace
    #[arg(long, value_name = "PATH", value_parser = namespace, requires = "key")]
    namespace: Option<Namespace>,
}

#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    filter: FilterArgs,
}

#[derive(Args)]
pub(crate) struct Namespaces {
    /// This one and those below it
    #[arg(default_value = "", value_parser = namespace)]
    root: Namespace,
    #[command(flatten)]
    page: PageArgs,
}

impl Memories {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
        if let Self::Language(language) = self {
            return language.run(context).await;
        }
        let db = context.open().await?;
        let scope = context.scope(&db);
        let done = self.act(&db, &scope, context.output).await;
        db.close().await;
        done
    }

    async fn act(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        match self {
            Self::Get(which) => {
                let memory = which.find(db, scope).await?;
                output.result(&memory, || show::full(&memory))?;
            }
            Self::List(list) => list.run(db, scope, output).await?,
            Self::Count => {
                let count = db.memories().count(scope).await?;
                output.result(&json!({ "count": count }), || count.to_string())?;
            }
            Self::Update(update) => update.run(db, scope, output).await?,
            Self::Review(review) => review.run(db, scope, output).await?,
            Self::Reviews(reviews) => reviews.run(db, scope, output).await?,
            Self::Due(due) => due.run(db, scope, output).await?,
            Self::Link(link) => link.run(db, scope, output).await?,
            Self::Unlink(unlink) => unlink.run(db, scope, output).await?,
            Self::Edges(edges) => edges.run(db, scope, output).await?,
            Self::Neighbors(neighbors) => neighbors.run(db, scope, output).await?,
            Self::Domains(domains) => domains.run(db, scope, output).await?,
            // It opens a database by itself.
            Self::Language(_) => {}
            Self::Namespaces(namespaces) => namespaces.run(db, scope, output).await?,
            Self::Stats => {
                let stats = db.memories().stats(scope).await?;
                output.result(&stats, || counts(&stats))?;
            }
            Self::Sweep => {
                let swept = db.memories().sweep(scope).await?;
                output.result(&swept, || {
                    let more = if swept.more { "; there is more" } else { "" };
                    format!("removed {} expired, {} orphans{more}", swept.expired, swept.orphans)
                })?;
            }
            Self::Delete(which) => {
                let id = which.id(db, scope).await?;
                db.memories().delete(scope, id).await?;
                output.result(&json!({ "deleted": id }), || format!("deleted {id}"))?;
            }
        }
        Ok(())
    }
}

fn counts(stats: &MemoryStats) -> String {
    let model = stats.model.as_ref().map_or("none", |model| model.name.as_str());
    [
        format!("memories      {}", stats.memories),
        format!("with vectors  {}", stats.with_vectors),
        format!("reviewed      {}", stats.scheduled),
        format!("due           {}", stats.due),
        format!("edges         {}", stats.edges),
        format!("domains       {}", stats.domains),
        format!("model         {model}"),
    ]
    .join("\n")
}

impl Namespaces {
    async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        let found = db.memories().list_namespaces(scope, &self.root, &self.page.page()).await?;
        Ok(page::print(output, &found, &["namespace", "memories"], |found| {
            [found.namespace.to_string(), found.memories.to_string()]
        })?)
    }
}

impl Which {
    async fn find(&self, db: &Mnemon, scope: &Scope) -> mnemon::Result<mnemon::Memory> {
        match (self.id, &self.key) {
            (Some(id), _) => db.memories().get(scope, id).await,
            (None, key) => {
                let namespace = self.namespace.clone().unwrap_or_default();
                let key = key.as_deref().unwrap_or_default();
                db.memories().by_key(scope, &namespace, key).await
            }
        }
    }

    async fn id(&self, db: &Mnemon, scope: &Scope) -> mnemon::Result<MemoryId> {
        match self.id {
            Some(id) => Ok(id),
            None => Ok(self.find(db, scope).await?.id),
        }
    }
}

impl List {
    async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        let found = db.memories().list(scope, &self.filter.filter(), &self.page.page()).await?;
        Ok(page::print(output, &found, &["memory"], |memory| [show::cell(memory)])?)
    }
}
