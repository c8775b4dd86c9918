//! `mnemon remember TEXT`, `mnemon remember --from FILE`, `… | mnemon remember -`

mod import;

use std::io::Read as _;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::Args;
use mnemon::{Error, Namespace, NewMemory, RequestId, Visibility};
use serde_json::Value;

use super::Done;
use super::recall::namespace;
use crate::context::Context;
use crate::failure::Failure;

#[derive(Args)]
pub(crate) struct Remember {
    /// The text; `-` reads it from stdin
    #[arg(required_unless_present = "from")]
    text: Option<String>,
    /// Memories from a file instead: JSON lines, or LoCoMo conversations; `-` reads JSON lines
    /// from stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["text", "About"])]
    from: Option<PathBuf>,
    #[command(flatten)]
    about: About,
}

/// What is said about one memory.
#[derive(Args)]
#[group(id = "About", multiple = true)]
struct About {
    /// A name for it, unique per owner, agent and namespace
    #[arg(long)]
    key: Option<String>,
    /// Where it belongs: work/plans
    #[arg(long, value_name = "PATH", value_parser = namespace)]
    namespace: Option<Namespace>,
    /// What kind of thing it is [default: fact]
    #[arg(long = "type", value_name = "TYPE")]
    node_type: Option<String>,
    /// A label, searched with the text; may be given several times
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Who may see it: private, shared or tenant [default: private with --user, tenant without]
    #[arg(long)]
    visibility: Option<Visibility>,
    /// A group it is shared with, for --visibility shared; may be given several times
    #[arg(long, value_name = "GROUP")]
    share_with: Vec<String>,
    /// Anything of yours, as a JSON object
    #[arg(long, value_name = "JSON", value_parser = json)]
    metadata: Option<Value>,
    /// Where it came from
    #[arg(long)]
    source: Option<String>,
    /// The code base it is about
    #[arg(long)]
    codebase: Option<String>,
    /// A domain it belongs to; may be given several times
    #[arg(long)]
    domain: Vec<String>,
    /// True from, as 2026-05-03T00:00:00Z
    #[arg(long, value_name = "TIME")]
    valid_from: Option<DateTime<Utc>>,
    /// True until
    #[arg(long, value_name = "TIME")]
    valid_until: Option<DateTime<Utc>>,
    /// Forgotten from this time on
    #[arg(long, value_name = "TIME")]
    expires_at: Option<DateTime<Utc>>,
    /// When it came to be, if not now
    #[arg(long, value_name = "TIME")]
    created_at: Option<DateTime<Utc>>,
    /// The same id again writes nothing
    #[arg(long, value_name = "ID", value_parser = request_id)]
    request_id: Option<RequestId>,
    /// Write it even when the same text is there
    #[arg(long)]
    allow_duplicate: bool,
}

fn json(text: &str) -> Result<Value, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

/// Parses a request id; the name of the field is clap's to say.
pub(super) fn request_id(text: &str) -> Result<RequestId, String> {
    RequestId::parse(text).map_err(|error| error.to_string())
}

impl About {
    fn memory(&self, content: String) -> NewMemory {
        let blank = NewMemory::new(content);
        NewMemory {
            key: self.key.clone(),
            namespace: self.namespace.clone().unwrap_or_default(),
            visibility: self.visibility,
            shared_with: self.share_with.clone(),
            node_type: self.node_type.clone().unwrap_or(blank.node_type),
            tags: self.tag.clone(),
            metadata: self.metadata.clone().unwrap_or(blank.metadata),
            codebase: self.codebase.clone(),
            source: self.source.clone(),
            domains: self.domain.clone(),
            valid_from: self.valid_from,
            valid_until: self.valid_until,
            expires_at: self.expires_at,
            created_at: self.created_at,
            request_id: self.request_id.clone(),
            allow_duplicate: self.allow_duplicate,
            content: blank.content,
            domain_scores: blank.domain_scores,
            embedding: None,
            vectors: Vec::new(),
        }
    }
}

impl Remember {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
        if let Some(file) = &self.from {
            return import::run(file, context).await;
        }
        let memory = self.about.memory(self.content()?);
        let db = context.open().await?;
        let scope = context.scope(&db);
        let done = db.memories().remember(&scope, memory).await;
        db.close().await;
        let done = done?;
        context.output.result(&done, || {
            let what = if done.created { "remembered" } else { "already known" };
            format!("{what} {}", done.id)
        })?;
        Ok(())
    }

    fn content(&self) -> Result<String, Failure> {
        match self.text.as_deref() {
            Some("-") => {
                let mut bytes = Vec::new();
                std::io::stdin().read_to_end(&mut bytes)?;
                let text = String::from_utf8(bytes)
                    .map_err(|_| Error::invalid("stdin", "is not UTF-8"))?;
                Ok(text.trim_end_matches(['\n', '\r']).to_owned())
            }
            text => Ok(text.unwrap_or_default().to_owned()),
        }
    }
}
