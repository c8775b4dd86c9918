//! `mnemon turns export` and `import`: portable copies of a session's memory.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::Args;
use mnemon::{Mnemon, Scope};

use super::Which;
use super::print::counted;
use crate::commands::Done;
use crate::context::Context;

#[derive(Args)]
pub(crate) struct Export {
    #[command(flatten)]
    which: Which,
    /// Into this file, which must not be there yet
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Import {
    #[command(flatten)]
    which: Which,
    /// A copy that `export` made; `-` reads it from stdin
    file: PathBuf,
}

impl Export {
    pub(super) async fn run(&self, context: &Context<'_>, db: &Mnemon, scope: &Scope) -> Done {
        let copy = db.turns().export(scope, self.which.key()).await?;
        let text = copy.to_json()?;
        match &self.to {
            None => context.output.line(text)?,
            Some(file) => {
                let mut to = fs::File::create_new(file)?;
                io::Write::write_all(&mut to, text.as_bytes())?;
                to.sync_all()?;
                let done = serde_json::json!({
                    "turns": copy.turns.len(), "summaries": copy.summaries.len(), "file": file,
                });
                context.output.result(&done, || {
                    let turns = counted(copy.turns.len() as u64, "turn");
                    format!("{turns} in {}", file.display())
                })?;
            }
        }
        Ok(())
    }
}

impl Import {
    pub(super) async fn run(&self, context: &Context<'_>, db: &Mnemon, scope: &Scope) -> Done {
        let mut text = String::new();
        if self.file == Path::new("-") {
            io::stdin().lock().read_to_string(&mut text)?;
        } else {
            fs::File::open(&self.file)?.read_to_string(&mut text)?;
        }
        let copy = mnemon::turns::Export::parse(text.trim_end())?;
        let done = db.turns().import(scope, self.which.key(), &copy).await?;
        context.output.result(&done, || {
            format!("{} and {}", counted(done.turns, "turn"), counted(done.summaries, "summary"))
        })?;
        Ok(())
    }
}
