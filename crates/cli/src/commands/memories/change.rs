//! `mnemon memories update`: what is given replaces, what is not given stays.

use chrono::{DateTime, Utc};
use clap::{Args, ValueEnum};
use mnemon::{MemoryPatch, Mnemon, Scope, Visibility};
use serde_json::Value;

use super::Which;
use crate::commands::{Done, show};
use crate::output::Output;

#[derive(Args)]
pub(crate) struct Update {
    #[command(flatten)]
    which: Which,
    /// The new text; its words and its vector follow
    #[arg(long)]
    content: Option<String>,
    /// Labels instead of those it has; may be given several times
    #[arg(long, value_name = "TAG")]
    tag: Option<Vec<String>>,
    /// What kind of thing it is
    #[arg(long = "type", value_name = "TYPE")]
    node_type: Option<String>,
    /// Who may see it: private, shared or tenant
    #[arg(long)]
    visibility: Option<Visibility>,
    /// Groups it is shared with instead of those it has; may be given several times
    #[arg(long, value_name = "GROUP")]
    share_with: Option<Vec<String>>,
    /// Metadata instead of what it has, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = json)]
    metadata: Option<Value>,
    /// Where it came from
    #[arg(long)]
    source: Option<String>,
    /// The code base it is about
    #[arg(long)]
    codebase: Option<String>,
    /// Domains instead of those it has; may be given several times
    #[arg(long)]
    domain: Option<Vec<String>>,
    /// True from, as 2026-05-03T00:00:00Z
    #[arg(long, value_name = "TIME")]
    valid_from: Option<DateTime<Utc>>,
    /// True until
    #[arg(long, value_name = "TIME")]
    valid_until: Option<DateTime<Utc>>,
    /// Forgotten from this time on
    #[arg(long, value_name = "TIME")]
    expires_at: Option<DateTime<Utc>>,
    /// A field to empty; may be given several times
    #[arg(long, value_name = "FIELD")]
    clear: Vec<Field>,
}

/// What can be emptied.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Field {
    Tags,
    Domains,
    Source,
    Codebase,
    ValidFrom,
    ValidUntil,
    ExpiresAt,
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

impl Update {
    fn patch(&self) -> MemoryPatch {
        let cleared = |field| self.clear.contains(&field);
        let list = |given: &Option<Vec<String>>, field| {
            if cleared(field) { Some(Vec::new()) } else { given.clone() }
        };
        MemoryPatch {
            content: self.content.clone(),
            visibility: self.visibility,
            shared_with: self.share_with.clone(),
            node_type: self.node_type.clone(),
            tags: list(&self.tag, Field::Tags),
            metadata: self.metadata.clone(),
            codebase: given(self.codebase.clone(), cleared(Field::Codebase)),
            source: given(self.source.clone(), cleared(Field::Source)),
            domains: list(&self.domain, Field::Domains),
            domain_scores: None,
            valid_from: given(self.valid_from, cleared(Field::ValidFrom)),
            valid_until: given(self.valid_until, cleared(Field::ValidUntil)),
            expires_at: given(self.expires_at, cleared(Field::ExpiresAt)),
            embedding: None,
            vectors: Vec::new(),
        }
    }

    pub(super) async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        let id = self.which.id(db, scope).await?;
        let memory = db.memories().update(scope, id, self.patch()).await?;
        Ok(output.result(&memory, || show::full(&memory))?)
    }
}

#[expect(clippy::option_option, reason = "absent, emptied, given: three things")]
fn given<T>(value: Option<T>, cleared: bool) -> Option<Option<T>> {
    if cleared { Some(None) } else { value.map(Some) }
}
