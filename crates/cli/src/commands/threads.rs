//! `mnemon threads list|history|show|diff|fork|prune|delete`: threads, how they came to be, and
//! what may go.

mod graph;
mod shown;

use chrono::Days;
use clap::{Args, Subcommand};
use mnemon::checkpoints::{CheckpointId, Policy, Pruned, Put, Thread, ThreadFilter, ThreadInfo};
use mnemon::{Error, Mnemon, Scope};
use serde_json::json;

use super::page::{self, PageArgs};
use super::{Done, show};
use crate::context::Context;
use crate::output::Output;

#[derive(Subcommand)]
pub(crate) enum Threads {
    /// List threads, last active first
    List(List),
    /// A thread's newest checkpoint with its channels, or the one named
    Show(Show),
    /// Draw a thread's checkpoints and what each builds on, newest first
    History(History),
    /// What differs from one checkpoint to another, by channel
    Diff(Diff),
    /// Go on from an older checkpoint: the next one builds on it
    Fork(Fork),
    /// Remove old checkpoints of a thread
    Prune(Prune),
    /// Remove a thread
    Delete(Delete),
}

#[derive(Args)]
pub(crate) struct Which {
    /// The thread's id
    #[arg(value_name = "THREAD")]
    thread: String,
    /// A part of the thread, such as a subgraph
    #[arg(long, default_value = "", hide_default_value = true)]
    namespace: String,
}

#[derive(Args)]
pub(crate) struct List {
    /// Those of this namespace only
    #[arg(long)]
    namespace: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

#[derive(Args)]
pub(crate) struct Show {
    #[command(flatten)]
    which: Which,
    /// This checkpoint instead of the newest
    #[arg(long, value_name = "ID", conflicts_with = "at")]
    checkpoint: Option<String>,
    /// The checkpoint of this version
    #[arg(long, value_name = "VERSION")]
    at: Option<i64>,
}

#[derive(Args)]
pub(crate) struct History {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    page: PageArgs,
}

#[derive(Args)]
pub(crate) struct Diff {
    #[command(flatten)]
    which: Which,
    /// From this version
    #[arg(value_name = "FROM")]
    from: i64,
    /// To this version
    #[arg(value_name = "TO")]
    to: i64,
}

#[derive(Args)]
pub(crate) struct Fork {
    #[command(flatten)]
    which: Which,
    /// The version to go on from
    #[arg(value_name = "VERSION")]
    from: i64,
}

#[derive(Args)]
#[command(group(clap::ArgGroup::new("what").required(true)))]
pub(crate) struct Prune {
    /// The threads' ids; every namespace of each is pruned by itself
    #[arg(value_name = "THREAD", required = true)]
    threads: Vec<String>,
    /// Keep the newest so many
    #[arg(long, value_name = "N", group = "what")]
    keep_latest: Option<u32>,
    /// Remove what is older than so many days; the newest stays
    #[arg(long, value_name = "DAYS", group = "what")]
    older_than: Option<u32>,
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub(crate) struct Delete {
    /// The thread's id
    #[arg(value_name = "THREAD")]
    thread: String,
    /// This namespace only
    #[arg(long)]
    namespace: Option<String>,
}

impl Which {
    fn thread(&self) -> Thread {
        Thread::new(&self.thread).namespace(&self.namespace)
    }
}

impl Threads {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
        let db = context.open().await?;
        let scope = context.scope(&db);
        let done = self.act(&db, &scope, context.output).await;
        db.close().await;
        done
    }

    async fn act(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        match self {
            Self::List(list) => list.run(db, scope, output).await,
            Self::Show(show) => show.run(db, scope, output).await,
            Self::History(history) => history.run(db, scope, output).await,
            Self::Diff(diff) => diff.run(db, scope, output).await,
            Self::Fork(fork) => fork.run(db, scope, output).await,
            Self::Prune(prune) => prune.run(db, scope, output).await,
            Self::Delete(delete) => delete.run(db, scope, output).await,
        }
    }
}

impl List {
    async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        let filter = ThreadFilter { namespace: self.namespace.clone() };
        let found = db.checkpoints().list_threads(scope, &filter, &self.page.page()).await?;
        let header = ["thread", "versions", "active"];
        page::print(output, &found, &header, |info| {
            [info.thread.to_string(), info.version.to_string(), active(info)]
        })?;
        Ok(())
    }
}

fn active(info: &ThreadInfo) -> String {
    show::about([
        Some(show::moment(info.active_at)),
        info.user.as_ref().map(|user| format!("of {user}")),
        info.fenced_by.as_ref().map(|key| format!("under the lock {key}")),
        info.expires_at.map(|at| format!("until {}", show::moment(at))),
    ])
}

impl Show {
    async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        let thread = self.which.thread();
        let found = if let Some(version) = self.at {
            db.checkpoints().get_version(scope, &thread, version).await?
        } else {
            let id = self.checkpoint.clone().map(CheckpointId);
            db.checkpoints().get(scope, &thread, id.as_ref()).await?
        };
        output.result(&found, || shown::checkpoint(&found))?;
        Ok(())
    }
}

impl History {
    async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        let thread = self.which.thread();
        let found = db.checkpoints().history(scope, &thread, &self.page.page()).await?;
        if output.json {
            output.json(&found)?;
            return Ok(());
        }
        if found.items.is_empty() {
            output.line("nothing here")?;
            return Ok(());
        }
        output.line(graph::draw(&found.items))?;
        if let Some(next) = &found.next {
            output.line(format!("more: --cursor {next}"))?;
        }
        Ok(())
    }
}

impl Diff {
    async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        let thread = self.which.thread();
        let from = db.checkpoints().get_version(scope, &thread, self.from).await?.id;
        let to = db.checkpoints().get_version(scope, &thread, self.to).await?.id;
        let changes = db.checkpoints().diff(scope, &thread, &from, &to).await?;
        output.result(&changes, || shown::changes(&changes))?;
        Ok(())
    }
}

impl Fork {
    async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        let thread = self.which.thread();
        let from = db.checkpoints().get_version(scope, &thread, self.from).await?.id;
        let put = Put { metadata: json!({ "source": "fork" }), ..Put::new(thread) }.on(from);
        let placed = db.checkpoints().put(scope, put, None).await?;
        output.result(&placed, || {
            format!("version {} goes on from version {}\n{}", placed.version, self.from, placed.id)
        })?;
        Ok(())
    }
}

impl Prune {
    async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        let policy = match (self.keep_latest, self.older_than) {
            (Some(number), _) => Policy::KeepLatest(number),
            (None, days) => {
                let days = Days::new(days.unwrap_or_default().into());
                let time = db.health().await?.now.checked_sub_days(days);
                let early = || Error::invalid("older_than", "lies before the calendar");
                Policy::OlderThan(time.ok_or_else(early)?)
            }
        };
        let pruned = db.checkpoints().prune(scope, &self.threads, &policy, self.dry_run).await?;
        let verb = if self.dry_run { "would remove" } else { "removed" };
        output.result(&pruned, || format!("{verb} {}", counted(&pruned)))?;
        Ok(())
    }
}

fn counted(pruned: &Pruned) -> String {
    format!(
        "{} checkpoints, {} pending writes, {} stored values",
        pruned.checkpoints, pruned.writes, pruned.blobs
    )
}

impl Delete {
    async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        let namespace = self.namespace.as_deref();
        let gone = db.checkpoints().delete_thread(scope, &self.thread, namespace).await?;
        output.result(&json!({ "deleted": self.thread, "checkpoints": gone }), || {
            format!("deleted {} with {gone} checkpoints", self.thread)
        })?;
        Ok(())
    }
}
