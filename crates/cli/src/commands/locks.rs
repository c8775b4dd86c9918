//! `mnemon locks list`: who holds what, until when.

use clap::Subcommand;

use super::page::{self, PageArgs};
use super::{Done, show};
use crate::context::Context;

#[derive(Subcommand)]
pub(crate) enum Locks {
    /// Keys held now, with their holders and fences
    List(PageArgs),
}

impl Locks {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
        let Self::List(list) = self;
        let db = context.open().await?;
        let scope = context.scope(&db);
        let found = db.locks().list(&scope, &list.page()).await;
        db.close().await;
        let header = ["key", "holder", "fence", "since", "until"];
        Ok(page::print(context.output, &found?, &header, |lease| {
            [
                lease.key.clone(),
                lease.holder.clone(),
                lease.fence.to_string(),
                show::moment(lease.acquired_at),
                show::moment(lease.expires_at),
            ]
        })?)
    }
}
