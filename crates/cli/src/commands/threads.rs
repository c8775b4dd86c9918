//! `mnemon threads show|history THREAD`: a thread's state, and how it came to be.

use clap::{Args, Subcommand};
use mnemon::checkpoints::{ChannelValue, Checkpoint, CheckpointId, CheckpointInfo, Thread};

use super::page::{self, PageArgs};
use super::{Done, show};
use crate::context::Context;
use crate::output::shortened;

#[derive(Subcommand)]
pub(crate) enum Threads {
    /// A thread's newest checkpoint with its channels, or the one named
    Show(Show),
    /// A thread's checkpoints, newest first
    History(History),
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
pub(crate) struct Show {
    #[command(flatten)]
    which: Which,
    /// This checkpoint instead of the newest
    #[arg(long, value_name = "ID")]
    checkpoint: Option<String>,
}

#[derive(Args)]
pub(crate) struct History {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    page: PageArgs,
}

/// Characters of a channel's value in a table.
const VALUE: usize = 400;

impl Which {
    fn thread(&self) -> Thread {
        Thread { namespace: self.namespace.clone(), ..Thread::new(&self.thread) }
    }
}

impl Threads {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
        let db = context.open().await?;
        let scope = context.scope(&db);
        match self {
            Self::Show(show) => {
                let id = show.checkpoint.clone().map(CheckpointId);
                let found = db.checkpoints().get(&scope, &show.which.thread(), id.as_ref()).await;
                db.close().await;
                let found = found?;
                context.output.result(&found, || full(&found))?;
            }
            Self::History(history) => {
                let (thread, page) = (history.which.thread(), history.page.page());
                let found = db.checkpoints().history(&scope, &thread, &page).await;
                db.close().await;
                let found = found?;
                let header = ["version", "checkpoint"];
                page::print(context.output, &found, &header, |info| {
                    [info.version.to_string(), cell(info, &found.items)]
                })?;
            }
        }
        Ok(())
    }
}

/// A checkpoint of a history: its parent is told where it is not simply the one before.
fn cell(info: &CheckpointInfo, page: &[CheckpointInfo]) -> String {
    let parent = info.parent.as_ref().filter(|parent| {
        !page.iter().any(|other| other.version + 1 == info.version && other.id == **parent)
    });
    let about = show::about([
        Some(show::moment(info.created_at)),
        info.superstep.map(|superstep| format!("superstep {superstep}")),
        parent.map(|parent| format!("on {parent}")),
        Some(show::value(&info.metadata)),
    ]);
    format!("{}\n{about}", info.id)
}

fn full(found: &Checkpoint) -> String {
    let about = show::about([
        Some(format!("{} version {}", found.thread, found.version)),
        Some(show::moment(found.created_at)),
        found.superstep.map(|superstep| format!("superstep {superstep}")),
        found.run.as_ref().map(|run| format!("run {run}")),
        Some(show::value(&found.metadata)),
    ]);
    let parent = found.parent.as_ref().map_or_else(String::new, |parent| format!(" on {parent}"));
    let head = format!("{about}\n{}{parent}", found.id);
    if found.channels.is_empty() {
        return format!("{head}\nno channels");
    }
    let mut table = show::table(&["channel", "type", "bytes", "value"]);
    for (name, value) in &found.channels {
        table.add_row([
            name.clone(),
            value.type_tag.clone(),
            value.bytes.len().to_string(),
            shown(value),
        ]);
    }
    format!("{head}\n{table}")
}

/// Text as it is; what is no text is there with `--json`.
fn shown(value: &ChannelValue) -> String {
    std::str::from_utf8(&value.bytes)
        .ok()
        .filter(|text| !text.chars().any(|c| c.is_control() && !c.is_whitespace()))
        .map_or_else(|| "(bytes; --json shows them)".to_owned(), |text| shortened(text, VALUE))
}
