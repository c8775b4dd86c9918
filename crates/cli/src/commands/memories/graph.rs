//! `mnemon memories link|unlink|edges|neighbors`

use clap::Args;
use mnemon::{Edge, MemoryId, Mnemon, NewEdge, Scope};
use serde_json::json;

use super::Which;
use crate::commands::page::{self, PageArgs};
use crate::commands::{Done, show};
use crate::output::Output;

#[derive(Args)]
pub(crate) struct Link {
    /// From: a memory of yours
    source: MemoryId,
    /// To: a memory you see
    target: MemoryId,
    /// What kind of connection
    #[arg(long = "type", value_name = "TYPE", default_value = "related")]
    edge_type: String,
    /// How strong, above 0 up to 1
    #[arg(long, default_value_t = 1.0)]
    weight: f64,
}

impl Link {
    pub(super) async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        let edge = NewEdge {
            edge_type: self.edge_type.clone(),
            weight: self.weight,
            ..NewEdge::new(self.source, self.target)
        };
        let edge = db.memories().add_edge(scope, edge).await?;
        Ok(output.result(&edge, || format!("linked {}", told(&edge)))?)
    }
}

/// An edge in words.
pub(in crate::commands) fn told(edge: &Edge) -> String {
    format!("{} --{} {:.2}--> {}", edge.source, edge.edge_type, edge.weight, edge.target)
}

#[derive(Args)]
pub(crate) struct Unlink {
    /// From
    source: MemoryId,
    /// To
    target: MemoryId,
    /// This kind of connection only
    #[arg(long = "type", value_name = "TYPE")]
    edge_type: Option<String>,
}

impl Unlink {
    pub(super) async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        let edge_type = self.edge_type.as_deref();
        let removed = db.memories().remove_edge(scope, self.source, self.target, edge_type).await?;
        Ok(output.result(&json!({ "removed": removed }), || format!("removed {removed}"))?)
    }
}

#[derive(Args)]
pub(crate) struct Edges {
    #[command(flatten)]
    which: Which,
    /// This kind of connection only
    #[arg(long = "type", value_name = "TYPE")]
    edge_type: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

impl Edges {
    pub(super) async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        let id = self.which.id(db, scope).await?;
        let (kind, page) = (self.edge_type.as_deref(), self.page.page());
        let found = db.memories().edges(scope, id, kind, &page).await?;
        Ok(page::print(output, &found, &["edge"], |edge| [told(edge)])?)
    }
}

#[derive(Args)]
pub(crate) struct Neighbors {
    #[command(flatten)]
    which: Which,
    /// Hops, 1 to 6
    #[arg(long, short, default_value_t = 1)]
    depth: u32,
}

impl Neighbors {
    pub(super) async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        let id = self.which.id(db, scope).await?;
        let found = db.memories().neighbors(scope, id, self.depth).await?;
        if output.json {
            return Ok(output.json(&json!({ "neighbors": found }))?);
        }
        if found.is_empty() {
            return Ok(output.line("nothing near")?);
        }
        let mut table = show::table(&["memory", "how near"]);
        for near in &found {
            let hops =
                if near.hops == 1 { "1 hop".to_owned() } else { format!("{} hops", near.hops) };
            let how = format!("weight {:.2}, {hops}\n{}", near.weight, told(&near.via_edge));
            table.add_row([show::cell(&near.memory), how]);
        }
        Ok(output.line(table.to_string())?)
    }
}
