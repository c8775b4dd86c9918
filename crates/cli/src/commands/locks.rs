//! `mnemon locks list|release`: who holds what, until when, and taking a key from a holder that hangs.

use clap::{Args, Subcommand};
use serde_json::json;

use super::confirm::confirm;
use super::page::{self, PageArgs};
use super::{Done, show};
use crate::context::Context;

#[derive(Subcommand)]
pub(crate) enum Locks {
    /// Keys held now, with their holders and fences
    List(PageArgs),
    /// Take a key from whoever holds it; what they still write under it is refused
    Release(Release),
}

#[derive(Args)]
pub(crate) struct Release {
    /// The key
    key: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Locks {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
        match self {
            Self::List(list) => list_all(list, context).await,
            Self::Release(release) => release.run(context).await,
        }
    }
}

async fn list_all(list: &PageArgs, context: &Context<'_>) -> Done {
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

impl Release {
    async fn run(&self, context: &Context<'_>) -> Done {
        let key = &self.key;
        confirm(
            self.yes,
            &format!("whoever holds {key} loses it, and what they were about to write"),
        )?;
        let db = context.open().await?;
        let scope = context.scope(&db);
        let fence = db.locks().force_release(&scope, key).await;
        db.close().await;
        let fence = fence?;
        context.output.result(&json!({ "key": key, "fence": fence }), || {
            format!("{key} is free; writes under a fence below {fence} are refused")
        })?;
        Ok(())
    }
}
