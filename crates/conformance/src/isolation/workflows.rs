//! How the isolation matrix writes and asks workflow runs.

use std::collections::BTreeSet;

use async_trait::async_trait;
use mnemon_core::workflows::{
    DefinitionAbout, DefinitionFilter, Format, NewDefinition, RunFilter, RunStatus, SaveRun,
};
use mnemon_core::{Facet, Page, Result, Scope, Store, limits};

use super::{Probe, Row, Seen, Standing, noted};

pub(super) struct WorkflowsProbe;

#[async_trait]
impl Probe for WorkflowsProbe {
    fn facet(&self) -> Facet {
        Facet::Workflows
    }

    fn shares(&self) -> bool {
        false
    }

    fn writes(&self) -> &'static [&'static str] {
        &["save"]
    }

    fn reads(&self) -> &'static [&'static str] {
        &[
            "list",
            "load",
            "stats",
            "run_stats",
            "executions",
            "history",
            "jobs",
            "run_of_job",
            "definition",
            "definitions",
            "update_state",
            "link_job",
            "describe_definition",
        ]
    }

    fn changes(&self) -> &'static [&'static str] {
        &["delete", "delete_definition"]
    }

    /// A run that follows a definition of its own name, with a job of that name.
    async fn write(&self, store: &dyn Store, _verb: &str, row: &Row) -> Result<String> {
        let label = row.label.as_str();
        let run = SaveRun {
            status: RunStatus::Running,
            definition: Some(label.to_owned()),
            ..SaveRun::new(label, "test")
        };
        store.workflows().save(&row.writer, run, None).await?;
        store.workflows().link_job(&row.writer, label, label).await?;
        let definition = NewDefinition::new(label, Format::Yaml, "x");
        store.workflows().save_definition(&row.writer, definition).await?;
        Ok(row.label.clone())
    }

    async fn read(
        &self,
        store: &dyn Store,
        verb: &str,
        reader: &Scope,
        rows: &[Standing],
    ) -> Result<Seen> {
        let (workflows, page) = (store.workflows(), Page::first(limits::PAGE_MAX));
        let mut labels = BTreeSet::new();
        match verb {
            "list" => {
                let found = workflows.list(reader, &RunFilter::default(), &page).await?;
                labels.extend(found.items.into_iter().map(|run| run.id));
                return Ok(Seen::Labels(labels));
            }
            "definitions" => {
                let all = DefinitionFilter::default();
                let found = workflows.definitions(reader, &all, &page).await?;
                assert!(found.items.iter().all(|info| info.executions == 1), "what it sees");
                labels.extend(found.items.into_iter().map(|info| info.id));
                return Ok(Seen::Labels(labels));
            }
            "stats" => {
                let total = workflows.stats(reader, &RunFilter::default()).await?.total;
                return Ok(Seen::Count(usize::try_from(total).expect("few rows")));
            }
            "history" => {
                for row in rows {
                    let found = workflows.history(reader, &row.name, &page).await?;
                    labels.extend(found.items.into_iter().map(|one| one.run));
                }
                return Ok(Seen::Labels(labels));
            }
            _ => {}
        }
        for row in rows {
            let name = row.name.as_str();
            let found = match verb {
                "load" => workflows.load(reader, name).await.map(drop),
                "run_stats" => workflows.run_stats(reader, name).await.map(drop),
                "executions" => workflows.executions(reader, name, &page).await.map(drop),
                "jobs" => workflows.jobs(reader, name, &page).await.map(drop),
                "run_of_job" => workflows.run_of_job(reader, name).await.map(drop),
                "definition" => workflows.definition(reader, name, None).await.map(drop),
                "update_state" => {
                    let status = RunStatus::Running;
                    workflows.update_state(reader, name, status, None, None).await.map(drop)
                }
                "link_job" => workflows.link_job(reader, name, name).await,
                _ => {
                    let about = DefinitionAbout::default();
                    workflows.describe_definition(reader, name, about).await
                }
            };
            noted(&mut labels, row, found)?;
        }
        Ok(Seen::Labels(labels))
    }

    async fn change(
        &self,
        store: &dyn Store,
        verb: &str,
        by: &Scope,
        row: &Standing,
    ) -> Result<()> {
        if verb == "delete_definition" {
            store.workflows().delete_definition(by, &row.name).await?;
        }
        // After the definition the run, which would stand where nobody looks for it.
        store.workflows().delete(by, &row.name).await
    }
}
