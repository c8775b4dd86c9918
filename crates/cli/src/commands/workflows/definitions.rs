//! `mnemon workflows definitions list|show|save|delete`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use mnemon::workflows::{
    Definition, DefinitionAbout, DefinitionFilter, DefinitionInfo, Format, NewDefinition,
};
use serde_json::json;

use crate::commands::confirm::confirm;
use crate::commands::page::{self, PageArgs};
use crate::commands::{Done, show};
use crate::context::Context;
use crate::failure::Failure;

#[derive(Subcommand)]
pub(crate) enum Definitions {
    /// Definitions, by id
    List(List),
    /// The text of one: its newest version, or the one asked for
    Show(Show),
    /// Keep a file as a definition; other content is a new version
    Save(Save),
    /// Remove one with all of its versions
    Delete(Delete),
}

#[derive(Args)]
pub(crate) struct List {
    /// Whose name holds this
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// With this tag
    #[arg(long)]
    tag: Option<String>,
    /// By this author
    #[arg(long)]
    author: Option<String>,
    #[command(flatten)]
    page: PageArgs,
}

#[derive(Args)]
pub(crate) struct Show {
    /// The definition's id
    #[arg(value_name = "DEFINITION")]
    id: String,
    /// This version instead of the newest
    #[arg(long = "definition-version", value_name = "N")]
    number: Option<u32>,
}

#[derive(Args)]
pub(crate) struct Save {
    /// The definition's id
    #[arg(value_name = "DEFINITION")]
    id: String,
    /// The file; .json holds JSON, anything else YAML
    file: PathBuf,
    /// What people call it [default: its id]
    #[arg(long)]
    name: Option<String>,
    /// What its author calls this version
    #[arg(long)]
    label: Option<String>,
    /// What it is for
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Who wrote it
    #[arg(long)]
    author: Option<String>,
    /// What it is found by; may be given several times
    #[arg(long)]
    tag: Vec<String>,
}

#[derive(Args)]
pub(crate) struct Delete {
    /// The definition's id
    #[arg(value_name = "DEFINITION")]
    id: String,
    /// Do not ask
    #[arg(long, short)]
    yes: bool,
}

impl Definitions {
    pub(super) async fn run(&self, context: &Context<'_>) -> Done {
        let given = match self {
            Self::Save(save) => Some(save.read()?),
            Self::Delete(delete) => {
                let question = format!("removing {} removes all of its versions", delete.id);
                confirm(delete.yes, &question)?;
                None
            }
            _ => None,
        };
        let db = context.open().await?;
        let (scope, output) = (context.scope(&db), context.output);
        match self {
            Self::List(list) => {
                let (filter, page) = (list.filter(), list.page.page());
                let found = db.workflows().definitions(&scope, &filter, &page).await;
                db.close().await;
                page::print(output, &found?, &["definition", "about"], |info| {
                    [info.id.clone(), about(info)]
                })?;
            }
            Self::Show(one) => {
                let found = db.workflows().definition(&scope, &one.id, one.number).await;
                db.close().await;
                let found = found?;
                output.result(&found, || full(&found))?;
            }
            Self::Save(save) => {
                let definition = given.expect("read above");
                let saved = db.workflows().save_definition(&scope, definition).await;
                db.close().await;
                let saved = saved?;
                output.result(&saved, || {
                    let kept = if saved.created { "is kept" } else { "was known" };
                    format!("{} version {} {kept}", save.id, saved.version)
                })?;
            }
            Self::Delete(delete) => {
                let gone = db.workflows().delete_definition(&scope, &delete.id).await;
                db.close().await;
                gone?;
                output.result(&json!({ "deleted": delete.id }), || {
                    format!("{} is removed", delete.id)
                })?;
            }
        }
        Ok(())
    }
}

impl List {
    fn filter(&self) -> DefinitionFilter {
        DefinitionFilter {
            name: self.name.clone(),
            tag: self.tag.clone(),
            author: self.author.clone(),
            ..DefinitionFilter::default()
        }
    }
}

impl Save {
    fn read(&self) -> Result<NewDefinition, Failure> {
        let content = std::fs::read_to_string(&self.file).map_err(|error| {
            std::io::Error::new(error.kind(), format!("{}: {error}", self.file.display()))
        })?;
        let json = self.file.extension().is_some_and(|extension| extension == "json");
        let format = if json { Format::Json } else { Format::Yaml };
        let about = DefinitionAbout {
            description: self.description.clone(),
            author: self.author.clone(),
            tags: self.tag.clone(),
            ..DefinitionAbout::default()
        };
        let name = self.name.clone().unwrap_or_else(|| self.id.clone());
        let new = NewDefinition::new(self.id.as_str(), format, content);
        Ok(NewDefinition { name, label: self.label.clone(), about, ..new })
    }
}

fn about(info: &DefinitionInfo) -> String {
    let tags: Vec<String> = info.about.tags.iter().map(|tag| format!("#{tag}")).collect();
    let line = show::about([
        Some(format!("version {}", info.version)),
        (info.executions > 0).then(|| format!("{} executions", info.executions)),
        info.about.author.as_ref().map(|author| format!("by {author}")),
        Some(tags.join(" ")),
    ]);
    let said = info.about.description.clone().unwrap_or_else(|| info.name.clone());
    format!("{said}\n{line}")
}

fn full(found: &Definition) -> String {
    let label = found.label.as_ref().map(|label| format!("called {label}"));
    let head = show::about([
        Some(format!("{} version {} of {}", found.info.id, found.version, found.info.version)),
        label,
        Some(show::moment(found.saved_at)),
    ]);
    format!("{head}\n{}", found.content.trim_end())
}
