//! Workflows in SQLite: runs saved by compare-and-set, decided in core; their executions, jobs
//! and definitions.

pub(crate) mod definitions;
pub(crate) mod history;
pub(crate) mod read;
pub(crate) mod write;

use async_trait::async_trait;
use mnemon_core::locks::Guard;
use mnemon_core::workflows::{
    Definition, DefinitionAbout, DefinitionFilter, DefinitionInfo, DefinitionSaved, Execution, Job,
    NewDefinition, RunFilter, RunInfo, RunStats, RunStatus, SaveRun, WorkflowRun, WorkflowStats,
    Workflows, after_definition, after_execution, after_job, after_run, check_id, check_link,
};
use mnemon_core::{Facet, Page, Paged, Result, Scope, limits};

use crate::locks;
use crate::store::SqliteStore;

pub(crate) use write::save;

const WHAT: &str = "a workflow run";

#[async_trait]
impl Workflows for SqliteStore {
    async fn save(&self, scope: &Scope, run: SaveRun, guard: Option<&Guard>) -> Result<i64> {
        self.alive()?;
        scope.admit(Facet::Workflows)?;
        run.check()?;
        locks::check_guard(guard)?;
        let (scope, guard) = (scope.clone(), guard.cloned());
        self.write("saving a workflow run", move |conn| {
            let scope = scope.admit(Facet::Workflows)?;
            locks::guard(conn, &scope, guard.as_ref())?;
            save(conn, &scope, &run)
        })
        .await
    }

    async fn update_state(
        &self,
        scope: &Scope,
        id: &str,
        status: RunStatus,
        error: Option<&str>,
        guard: Option<&Guard>,
    ) -> Result<i64> {
        self.alive()?;
        scope.admit(Facet::Workflows)?;
        check_id(id)?;
        limits::label("run.error", error.unwrap_or_default(), limits::ERROR_BYTES)?;
        locks::check_guard(guard)?;
        let (scope, guard) = (scope.clone(), guard.cloned());
        let (id, error) = (id.to_owned(), error.map(str::to_owned));
        self.write("moving a workflow run", move |conn| {
            let scope = scope.admit(Facet::Workflows)?;
            locks::guard(conn, &scope, guard.as_ref())?;
            write::update_state(conn, &scope, &id, status, error.as_deref())
        })
        .await
    }

    async fn load(&self, scope: &Scope, id: &str) -> Result<WorkflowRun> {
        self.alive()?;
        scope.admit(Facet::Workflows)?;
        check_id(id)?;
        let (scope, id) = (scope.clone(), id.to_owned());
        self.read("loading a workflow run", move |conn| {
            read::load(conn, &scope.admit(Facet::Workflows)?, &id)
        })
        .await
    }

    async fn list(&self, scope: &Scope, filter: &RunFilter, page: &Page) -> Result<Paged<RunInfo>> {
        self.alive()?;
        scope.admit(Facet::Workflows)?;
        let below = after_run(filter, page)?;
        let (scope, filter, limit) = (scope.clone(), filter.clone(), page.limit);
        self.read("listing workflow runs", move |conn| {
            read::list(conn, &scope.admit(Facet::Workflows)?, &filter, below.as_ref(), limit)
        })
        .await
    }

    async fn delete(&self, scope: &Scope, id: &str) -> Result<()> {
        self.alive()?;
        scope.admit(Facet::Workflows)?;
        check_id(id)?;
        let (scope, id) = (scope.clone(), id.to_owned());
        self.write("deleting a workflow run", move |conn| {
            write::delete(conn, &scope.admit(Facet::Workflows)?, &id)
        })
        .await
    }

    async fn run_stats(&self, scope: &Scope, id: &str) -> Result<RunStats> {
        self.alive()?;
        scope.admit(Facet::Workflows)?;
        check_id(id)?;
        let (scope, id) = (scope.clone(), id.to_owned());
        self.read("counting of a workflow run", move |conn| {
            read::run_stats(conn, &scope.admit(Facet::Workflows)?, &id)
        })
        .await
    }

    async fn stats(&self, scope: &Scope, filter: &RunFilter) -> Result<WorkflowStats> {
        self.alive()?;
        scope.admit(Facet::Workflows)?;
        filter.check()?;
        let (scope, filter) = (scope.clone(), filter.clone());
        self.read("counting workflow runs", move |conn| {
            read::stats(conn, &scope.admit(Facet::Workflows)?, &filter)
        })
        .await
    }

    async fn executions(&self, scope: &Scope, id: &str, page: &Page) -> Result<Paged<Execution>> {
        self.alive()?;
        scope.admit(Facet::Workflows)?;
        let below = after_execution(id, page)?;
        let (scope, id, limit) = (scope.clone(), id.to_owned(), page.limit);
        self.read("listing a run's executions", move |conn| {
            history::of_run(conn, &scope.admit(Facet::Workflows)?, &id, below.as_ref(), limit)
        })
        .await
    }

    async fn history(
        &self,
        scope: &Scope,
        definition: &str,
        page: &Page,
    ) -> Result<Paged<Execution>> {
        self.alive()?;
        scope.admit(Facet::Workflows)?;
        let below = after_execution(definition, page)?;
        let (scope, id, limit) = (scope.clone(), definition.to_owned(), page.limit);
        self.read("listing a definition's executions", move |conn| {
            let scope = scope.admit(Facet::Workflows)?;
            history::of_definition(conn, &scope, &id, below.as_ref(), limit)
        })
        .await
    }

    async fn link_job(&self, scope: &Scope, id: &str, job: &str) -> Result<()> {
        self.alive()?;
        scope.admit(Facet::Workflows)?;
        check_link(id, job)?;
        let (scope, id, job) = (scope.clone(), id.to_owned(), job.to_owned());
        self.write("linking a job to a run", move |conn| {
            history::link(conn, &scope.admit(Facet::Workflows)?, &id, &job)
        })
        .await
    }

    async fn run_of_job(&self, scope: &Scope, job: &str) -> Result<String> {
        self.alive()?;
        scope.admit(Facet::Workflows)?;
        limits::name("job", job, limits::RUN_ID_BYTES)?;
        let (scope, job) = (scope.clone(), job.to_owned());
        self.read("looking for a job's run", move |conn| {
            history::run_of_job(conn, &scope.admit(Facet::Workflows)?, &job)
        })
        .await
    }

    async fn jobs(&self, scope: &Scope, id: &str, page: &Page) -> Result<Paged<Job>> {
        self.alive()?;
        scope.admit(Facet::Workflows)?;
        let after = after_job(id, page)?;
        let (scope, id, limit) = (scope.clone(), id.to_owned(), page.limit);
        self.read("listing a run's jobs", move |conn| {
            history::jobs(conn, &scope.admit(Facet::Workflows)?, &id, &after, limit)
        })
        .await
    }

    async fn save_definition(
        &self,
        scope: &Scope,
        definition: NewDefinition,
    ) -> Result<DefinitionSaved> {
        self.alive()?;
        scope.admit(Facet::Workflows)?;
        definition.check()?;
        let scope = scope.clone();
        self.write("saving a workflow definition", move |conn| {
            definitions::save(conn, &scope.admit(Facet::Workflows)?, &definition)
        })
        .await
    }

    async fn definition(
        &self,
        scope: &Scope,
        id: &str,
        version: Option<u32>,
    ) -> Result<Definition> {
        self.alive()?;
        scope.admit(Facet::Workflows)?;
        limits::name("definition.id", id, limits::RUN_ID_BYTES)?;
        let (scope, id) = (scope.clone(), id.to_owned());
        self.read("reading a workflow definition", move |conn| {
            definitions::get(conn, &scope.admit(Facet::Workflows)?, &id, version)
        })
        .await
    }

    async fn definitions(
        &self,
        scope: &Scope,
        filter: &DefinitionFilter,
        page: &Page,
    ) -> Result<Paged<DefinitionInfo>> {
        self.alive()?;
        scope.admit(Facet::Workflows)?;
        let after = after_definition(filter, page)?;
        let (scope, filter, limit) = (scope.clone(), filter.clone(), page.limit);
        self.read("listing workflow definitions", move |conn| {
            definitions::list(conn, &scope.admit(Facet::Workflows)?, &filter, &after, limit)
        })
        .await
    }

    async fn describe_definition(
        &self,
        scope: &Scope,
        id: &str,
        about: DefinitionAbout,
    ) -> Result<()> {
        self.alive()?;
        scope.admit(Facet::Workflows)?;
        limits::name("definition.id", id, limits::RUN_ID_BYTES)?;
        about.check()?;
        let (scope, id) = (scope.clone(), id.to_owned());
        self.write("describing a workflow definition", move |conn| {
            definitions::describe(conn, &scope.admit(Facet::Workflows)?, &id, &about)
        })
        .await
    }

    async fn delete_definition(&self, scope: &Scope, id: &str) -> Result<()> {
        self.alive()?;
        scope.admit(Facet::Workflows)?;
        limits::name("definition.id", id, limits::RUN_ID_BYTES)?;
        let (scope, id) = (scope.clone(), id.to_owned());
        self.write("deleting a workflow definition", move |conn| {
            definitions::delete(conn, &scope.admit(Facet::Workflows)?, &id)
        })
        .await
    }
}
