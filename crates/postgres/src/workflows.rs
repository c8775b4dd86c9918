//! Workflows on PostgreSQL: runs saved by compare-and-set, decided in core; their executions,
//! jobs and definitions.

mod definitions;
mod history;
mod read;
mod write;

use async_trait::async_trait;
use mnemon_core::locks::Guard;
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::workflows::{
    Definition, DefinitionAbout, DefinitionFilter, DefinitionInfo, DefinitionSaved, Execution, Job,
    NewDefinition, RunFilter, RunInfo, RunStats, RunStatus, SaveRun, WorkflowRun, WorkflowStats,
    Workflows, after_definition, after_execution, after_job, after_run, check_id, check_link,
};
use mnemon_core::{Page, Paged, Result, Scope, limits};

use crate::link::{Call, Retry, work};
use crate::locks;
use crate::store::PostgresStore;

pub(crate) use write::save;

const WHAT: &str = "a workflow run";

#[async_trait]
impl Workflows for PostgresStore {
    async fn save(&self, scope: &Scope, run: SaveRun, guard: Option<&Guard>) -> Result<i64> {
        let scope = &scope.admit(Facet::Workflows)?;
        run.check()?;
        locks::check_guard(guard)?;
        // A repeat after a lost answer would report a conflict with itself.
        let call = calling("saving a workflow run", scope, Retry::Never);
        let run = &run;
        self.link
            .transaction(call, |conn| {
                work(async move {
                    locks::guard(conn, scope, guard.map_or(&[], std::slice::from_ref)).await?;
                    save(conn, scope, run).await
                })
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
        let scope = &scope.admit(Facet::Workflows)?;
        check_id(id)?;
        limits::label("run.error", error.unwrap_or_default(), limits::ERROR_BYTES)?;
        locks::check_guard(guard)?;
        // A repeat after a lost answer would count one more version.
        let call = calling("moving a workflow run", scope, Retry::Never);
        self.link
            .transaction(call, |conn| {
                work(async move {
                    locks::guard(conn, scope, guard.map_or(&[], std::slice::from_ref)).await?;
                    write::update_state(conn, scope, id, status, error).await
                })
            })
            .await
    }

    async fn load(&self, scope: &Scope, id: &str) -> Result<WorkflowRun> {
        let scope = &scope.admit(Facet::Workflows)?;
        check_id(id)?;
        let call = calling("loading a workflow run", scope, Retry::Idempotent);
        self.link.run(call, |conn| work(async move { read::load(conn, scope, id).await })).await
    }

    async fn list(&self, scope: &Scope, filter: &RunFilter, page: &Page) -> Result<Paged<RunInfo>> {
        let scope = &scope.admit(Facet::Workflows)?;
        let below = &after_run(filter, page)?;
        let call = calling("listing workflow runs", scope, Retry::Idempotent);
        let found =
            self.link
                .run(call, |conn| {
                    work(async move {
                        read::list(conn, scope, filter, below.as_ref(), page.limit).await
                    })
                })
                .await?;
        Ok(Paged::cut(found, page.limit, RunInfo::cursor))
    }

    async fn delete(&self, scope: &Scope, id: &str) -> Result<()> {
        let scope = &scope.admit(Facet::Workflows)?;
        check_id(id)?;
        // A repeat after a lost answer would report the run as not found.
        let call = calling("deleting a workflow run", scope, Retry::Never);
        self.link.run(call, |conn| work(async move { write::delete(conn, scope, id).await })).await
    }

    async fn run_stats(&self, scope: &Scope, id: &str) -> Result<RunStats> {
        let scope = &scope.admit(Facet::Workflows)?;
        check_id(id)?;
        let call = calling("counting of a workflow run", scope, Retry::Idempotent);
        self.link
            .run(call, |conn| work(async move { read::run_stats(conn, scope, id).await }))
            .await
    }

    async fn stats(&self, scope: &Scope, filter: &RunFilter) -> Result<WorkflowStats> {
        let scope = &scope.admit(Facet::Workflows)?;
        filter.check()?;
        let call = calling("counting workflow runs", scope, Retry::Idempotent);
        self.link
            .run(call, |conn| work(async move { read::stats(conn, scope, filter).await }))
            .await
    }

    async fn executions(&self, scope: &Scope, id: &str, page: &Page) -> Result<Paged<Execution>> {
        let scope = &scope.admit(Facet::Workflows)?;
        let below = &after_execution(id, page)?;
        let call = calling("listing a run's executions", scope, Retry::Idempotent);
        let found =
            self.link
                .run(call, |conn| {
                    work(async move {
                        history::of_run(conn, scope, id, below.as_ref(), page.limit).await
                    })
                })
                .await?;
        Ok(Paged::cut(found, page.limit, Execution::cursor))
    }

    async fn history(
        &self,
        scope: &Scope,
        definition: &str,
        page: &Page,
    ) -> Result<Paged<Execution>> {
        let scope = &scope.admit(Facet::Workflows)?;
        let below = &after_execution(definition, page)?;
        let call = calling("listing a definition's executions", scope, Retry::Idempotent);
        let found = self
            .link
            .run(call, |conn| {
                work(async move {
                    let below = below.as_ref();
                    history::of_definition(conn, scope, definition, below, page.limit).await
                })
            })
            .await?;
        Ok(Paged::cut(found, page.limit, Execution::cursor))
    }

    async fn link_job(&self, scope: &Scope, id: &str, job: &str) -> Result<()> {
        let scope = &scope.admit(Facet::Workflows)?;
        check_link(id, job)?;
        let call = calling("linking a job to a run", scope, Retry::Idempotent);
        self.link
            .transaction(call, |conn| {
                work(async move { history::link(conn, scope, id, job).await })
            })
            .await
    }

    async fn run_of_job(&self, scope: &Scope, job: &str) -> Result<String> {
        let scope = &scope.admit(Facet::Workflows)?;
        limits::name("job", job, limits::RUN_ID_BYTES)?;
        let call = calling("looking for a job's run", scope, Retry::Idempotent);
        self.link
            .run(call, |conn| work(async move { history::run_of_job(conn, scope, job).await }))
            .await
    }

    async fn jobs(&self, scope: &Scope, id: &str, page: &Page) -> Result<Paged<Job>> {
        let scope = &scope.admit(Facet::Workflows)?;
        let after = &after_job(id, page)?;
        let call = calling("listing a run's jobs", scope, Retry::Idempotent);
        let found = self
            .link
            .run(call, |conn| {
                work(async move { history::jobs(conn, scope, id, after, page.limit).await })
            })
            .await?;
        Ok(Paged::cut(found, page.limit, Job::cursor))
    }

    async fn save_definition(
        &self,
        scope: &Scope,
        definition: NewDefinition,
    ) -> Result<DefinitionSaved> {
        let scope = &scope.admit(Facet::Workflows)?;
        definition.check()?;
        // With an expected version a repeat after a lost answer would conflict with itself.
        let retry = match definition.expected_version {
            Some(_) => Retry::Never,
            None => Retry::Idempotent,
        };
        let call = calling("saving a workflow definition", scope, retry);
        let definition = &definition;
        self.link
            .transaction(call, |conn| {
                work(async move { definitions::save(conn, scope, definition).await })
            })
            .await
    }

    async fn definition(
        &self,
        scope: &Scope,
        id: &str,
        version: Option<u32>,
    ) -> Result<Definition> {
        let scope = &scope.admit(Facet::Workflows)?;
        limits::name("definition.id", id, limits::RUN_ID_BYTES)?;
        let call = calling("reading a workflow definition", scope, Retry::Idempotent);
        self.link
            .run(call, |conn| work(async move { definitions::get(conn, scope, id, version).await }))
            .await
    }

    async fn definitions(
        &self,
        scope: &Scope,
        filter: &DefinitionFilter,
        page: &Page,
    ) -> Result<Paged<DefinitionInfo>> {
        let scope = &scope.admit(Facet::Workflows)?;
        let after = &after_definition(filter, page)?;
        let call = calling("listing workflow definitions", scope, Retry::Idempotent);
        let found = self
            .link
            .run(call, |conn| {
                work(async move { definitions::list(conn, scope, filter, after, page.limit).await })
            })
            .await?;
        Ok(Paged::cut(found, page.limit, DefinitionInfo::cursor))
    }

    async fn describe_definition(
        &self,
        scope: &Scope,
        id: &str,
        about: DefinitionAbout,
    ) -> Result<()> {
        let scope = &scope.admit(Facet::Workflows)?;
        limits::name("definition.id", id, limits::RUN_ID_BYTES)?;
        about.check()?;
        let call = calling("describing a workflow definition", scope, Retry::Idempotent);
        let about = &about;
        self.link
            .run(call, |conn| {
                work(async move { definitions::describe(conn, scope, id, about).await })
            })
            .await
    }

    async fn delete_definition(&self, scope: &Scope, id: &str) -> Result<()> {
        let scope = &scope.admit(Facet::Workflows)?;
        limits::name("definition.id", id, limits::RUN_ID_BYTES)?;
        // A repeat after a lost answer would report the definition as not found.
        let call = calling("deleting a workflow definition", scope, Retry::Never);
        self.link
            .run(call, |conn| work(async move { definitions::delete(conn, scope, id).await }))
            .await
    }
}

fn calling<'a>(doing: &'static str, scope: &Admitted<'a>, retry: Retry) -> Call<'a> {
    Call { doing, tenant: Some(scope.tenant), retry }
}
