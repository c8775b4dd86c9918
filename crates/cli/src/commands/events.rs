//! `mnemon events read STREAM`: what happened, in order.

use clap::{Args, Subcommand};
use mnemon::events::Event;

use super::page::{self, PageArgs};
use super::{Done, show};
use crate::context::Context;

#[derive(Subcommand)]
pub(crate) enum Events {
    /// Read a stream in order
    Read(Read),
}

#[derive(Args)]
pub(crate) struct Read {
    /// Its name; mnemon.system holds Mnemon's own notes
    stream: String,
    #[command(flatten)]
    page: PageArgs,
}

impl Events {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
        let Self::Read(read) = self;
        let db = context.open().await?;
        let scope = context.scope(&db);
        let found = db.events().read(&scope, &read.stream, &read.page.page()).await;
        db.close().await;
        Ok(page::print(context.output, &found?, &["version", "event"], |event| {
            [event.version.to_string(), cell(event)]
        })?)
    }
}

/// What happened, and below it when and who.
fn cell(event: &Event) -> String {
    let what = show::about([Some(event.kind.clone()), Some(show::value(&event.data))]);
    let about = show::about([
        Some(show::moment(event.occurred_at)),
        event.user.as_ref().map(|user| format!("of {user}")),
        event.agent.as_ref().map(|agent| format!("by {agent}")),
        event.correlation_id.as_ref().map(|id| format!("with {id}")),
        Some(event.id.to_string()),
    ]);
    format!("{what}\n{about}")
}
