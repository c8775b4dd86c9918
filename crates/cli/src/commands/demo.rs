//! `mnemon demo`: a short story with a real crash in it, or with `--data` the conversations of a
//! file, one step per utterance.

mod data;
mod letters;
mod recalled;
mod standing;
mod story;
mod teller;
mod utterance;

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use mnemon::config::SecretUrl;
use tempfile::TempDir;

use super::Done;
use crate::context::Context;

/// Whose data it is, unless `--tenant` says otherwise.
const TENANT: &str = "demo";

#[derive(Args)]
pub(crate) struct Demo {
    /// Play these conversations instead of the story: the published locomo10.json, or the reduced
    /// shape of it. Interrupted and run again with the same --db it goes on where it stopped
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// Wait this long after each step, in milliseconds, to watch it or to interrupt it
    #[arg(long, value_name = "MS", default_value_t = 0, requires = "data")]
    pause: u64,
    /// The story's second process, which reads letters for this tenant until it is killed
    #[arg(long, value_name = "TENANT", hide = true, conflicts_with = "data")]
    read_letters_of: Option<String>,
}

impl Demo {
    pub(crate) async fn run(&self, mut context: Context<'_>) -> Done {
        if let Some(tenant) = &self.read_letters_of {
            let db = context.open().await?;
            return letters::read_until_killed(&db, tenant).await;
        }
        // Kept until the end: dropping it deletes the file.
        let _folder = place(&mut context)?;
        let db = context.open().await?;
        let done = match &self.data {
            Some(file) => {
                let pause = Duration::from_millis(self.pause);
                data::run(file, pause, tenant(&context), &db, context.output).await
            }
            None => story::run(&db, &context).await,
        };
        db.close().await;
        done
    }
}

/// Examples are written to a file of their own that goes away, unless `--db` says where: the
/// database of the configuration may hold what somebody needs.
fn place(context: &mut Context<'_>) -> std::io::Result<Option<TempDir>> {
    let private = |url: &SecretUrl| url.reveal().starts_with("sqlite::memory:");
    if context.db_given && !context.config.store.url.as_ref().is_some_and(private) {
        return Ok(None);
    }
    if context.config.store.url.is_some() && !context.db_given {
        context.output.notice("this plays in a temporary file; --db URL plays it in a database");
    }
    let folder = tempfile::Builder::new().prefix("mnemon-demo-").tempdir()?;
    let file = folder.path().join("demo.db");
    // The URL's own marks in a folder's name, so that they are read back as letters.
    let file = file.display().to_string().replace('%', "%25").replace('?', "%3f");
    context.config.store.url = Some(SecretUrl::new(format!("sqlite://{file}")));
    Ok(Some(folder))
}

fn tenant(context: &Context<'_>) -> String {
    context.scope.tenant.clone().unwrap_or_else(|| TENANT.to_owned())
}
