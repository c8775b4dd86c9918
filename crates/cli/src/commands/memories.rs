//! `mnemon memories get|list|count|delete`

use clap::{Args, Subcommand};
use mnemon::{MemoryId, Mnemon, Namespace, Scope};
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

impl Memories {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
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
            Self::Delete(which) => {
                let id = which.id(db, scope).await?;
                db.memories().delete(scope, id).await?;
                output.result(&json!({ "deleted": id }), || format!("deleted {id}"))?;
            }
        }
        Ok(())
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
