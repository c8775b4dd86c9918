//! `mnemon memories domains list|get|set|from-tag|delete|classify`

use clap::{Args, Subcommand};
use mnemon::{Domain, Mnemon, NewDomain, Scope};
use serde_json::json;

use crate::commands::page::{self, PageArgs};
use crate::commands::{Done, show};
use crate::output::Output;

#[derive(Subcommand)]
pub(crate) enum Domains {
    /// List domains
    List(List),
    /// Read one
    Get {
        /// Its id
        id: String,
    },
    /// Write one, or replace it; memories join it by --domain
    Set(Set),
    /// Put every memory of yours with a tag into one; its centroid becomes their middle
    FromTag {
        /// The domain's id
        id: String,
        /// The tag
        tag: String,
    },
    /// Delete one; memories keep its name
    Delete {
        /// Its id
        id: String,
    },
    /// The domains nearest to a text, by the model that is set
    Classify(Classify),
}

#[derive(Args)]
pub(crate) struct List {
    #[command(flatten)]
    page: PageArgs,
}

#[derive(Args)]
pub(crate) struct Set {
    /// Its id
    id: String,
    /// What people call it
    #[arg(long)]
    label: Option<String>,
    /// A word that is typical of it; may be given several times
    #[arg(long)]
    term: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Classify {
    /// The text
    text: String,
    /// Domains wanted, 1 to 200
    #[arg(long, short = 'n', default_value_t = 10)]
    limit: u32,
}

impl Domains {
    pub(super) async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        let memories = db.memories();
        match self {
            Self::List(list) => {
                let found = memories.domains(scope, &list.page.page()).await?;
                page::print(output, &found, &["domain", "memories", "typical words"], |domain| {
                    [name(domain), domain.memory_count.to_string(), domain.top_terms.join(", ")]
                })?;
            }
            Self::Get { id } => one(output, &memories.domain(scope, id).await?)?,
            Self::Set(set) => {
                let label = set.label.clone().unwrap_or_else(|| set.id.clone());
                let new =
                    NewDomain { label, top_terms: set.term.clone(), ..NewDomain::new(&set.id) };
                one(output, &memories.upsert_domain(scope, new).await?)?;
            }
            Self::FromTag { id, tag } => {
                one(output, &memories.set_domain_from_tag(scope, id, tag).await?)?;
            }
            Self::Delete { id } => {
                memories.delete_domain(scope, id).await?;
                output.result(&json!({ "deleted": id }), || format!("deleted {id}"))?;
            }
            Self::Classify(asked) => {
                let found = memories.classify_text(scope, &asked.text, asked.limit).await?;
                if output.json {
                    return Ok(output.json(&json!({ "domains": found }))?);
                }
                let mut table = show::table(&["domain", "similarity"]);
                for domain in &found {
                    table.add_row([domain.id.clone(), format!("{:.2}", domain.similarity)]);
                }
                output.line(table.to_string())?;
            }
        }
        Ok(())
    }
}

fn name(domain: &Domain) -> String {
    let owner = domain.user.as_ref().map(|user| format!("of {user}"));
    let label = (domain.label != domain.id).then(|| domain.label.clone());
    show::about([Some(domain.id.clone()), label, owner])
}

fn one(output: &Output, domain: &Domain) -> std::io::Result<()> {
    output.result(domain, || {
        let middle = if domain.centroid.is_some() { "has a centroid" } else { "has no centroid" };
        let memories = match domain.memory_count {
            1 => "1 memory".to_owned(),
            more => format!("{more} memories"),
        };
        format!("{}: {memories}, {middle}", name(domain))
    })
}
