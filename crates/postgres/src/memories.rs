//! Memories on PostgreSQL: every method is one call through the link; what it does is a function
//! over a connection, so that a step can do the same inside its own transaction.

mod nearest;
mod read;
mod recall;
mod rows;
mod terms;
mod ways;
pub(crate) mod write;

use async_trait::async_trait;
use mnemon_core::memories::{
    Hit, Memories, Memory, MemoryFilter, ModelSignature, Namespace, NewMemory, Recall, Remembered,
};
use mnemon_core::scope::Facet;
use mnemon_core::{Error, MemoryId, Page, Paged, Result, Scope, limits};

use crate::link::{Call, Retry, work};
use crate::models;
use crate::store::PostgresStore;

#[async_trait]
impl Memories for PostgresStore {
    async fn remember(&self, scope: &Scope, memory: NewMemory) -> Result<Remembered> {
        let mut done = self.write(scope, vec![memory], false).await?;
        done.pop().ok_or_else(|| Error::corrupt("a write's outcome", "is missing"))
    }

    async fn remember_many(
        &self,
        scope: &Scope,
        memories: Vec<NewMemory>,
    ) -> Result<Vec<Remembered>> {
        scope.admit(Facet::Memories)?;
        limits::count("memories", memories.len(), limits::REMEMBER_BATCH)?;
        if memories.is_empty() {
            return Ok(Vec::new());
        }
        self.write(scope, memories, true).await
    }

    async fn get(&self, scope: &Scope, id: MemoryId) -> Result<Memory> {
        let scope = &scope.admit(Facet::Memories)?;
        let call = reading("reading a memory", scope.tenant);
        self.link.run(call, |conn| work(async move { read::get(conn, scope, id).await })).await
    }

    async fn by_key(&self, scope: &Scope, namespace: &Namespace, key: &str) -> Result<Memory> {
        let scope = &scope.admit(Facet::Memories)?;
        limits::name("key", key, limits::MEMORY_KEY_BYTES)?;
        let call = reading("reading a memory", scope.tenant);
        self.link
            .run(call, |conn| work(async move { read::by_key(conn, scope, namespace, key).await }))
            .await
    }

    async fn delete(&self, scope: &Scope, id: MemoryId) -> Result<()> {
        let scope = &scope.admit(Facet::Memories)?;
        // A repeat after a lost answer would report the deleted memory as not found.
        let call =
            Call { doing: "deleting a memory", tenant: Some(scope.tenant), retry: Retry::Never };
        self.link.run(call, |conn| work(async move { read::delete(conn, scope, id).await })).await
    }

    async fn list(
        &self,
        scope: &Scope,
        filter: &MemoryFilter,
        page: &Page,
    ) -> Result<Paged<Memory>> {
        let scope = &scope.admit(Facet::Memories)?;
        filter.check()?;
        page.check()?;
        let call = reading("listing memories", scope.tenant);
        self.link
            .run(call, |conn| work(async move { read::list(conn, scope, filter, page).await }))
            .await
    }

    async fn recall(&self, scope: &Scope, question: &Recall) -> Result<Vec<Hit>> {
        let scope = &scope.admit(Facet::Memories)?;
        question.check()?;
        let call = reading("recalling memories", scope.tenant);
        self.link
            .run(call, |conn| work(async move { recall::recall(conn, scope, question).await }))
            .await
    }

    async fn count(&self, scope: &Scope) -> Result<u64> {
        let scope = &scope.admit(Facet::Memories)?;
        let call = reading("counting memories", scope.tenant);
        self.link.run(call, |conn| work(async move { read::count(conn, scope).await })).await
    }

    async fn registered_model(&self) -> Result<Option<ModelSignature>> {
        let call = Call { doing: "reading the model", tenant: None, retry: Retry::Idempotent };
        Ok(self
            .link
            .run(call, |conn| work(async move { models::active(conn).await }))
            .await?
            .map(|set| set.model))
    }

    async fn register_model(&self, model: &ModelSignature) -> Result<()> {
        model.check()?;
        let call = Call { doing: "registering a model", tenant: None, retry: Retry::Idempotent };
        // Only the owner may make the set's table; everybody may see that it is there.
        if self
            .link
            .run(call, |conn| work(async move { models::active(conn).await }))
            .await?
            .is_some_and(|set| set.model == *model)
        {
            return Ok(());
        }
        self.link
            .maintenance()
            .transaction(call, |conn| work(async move { models::register(conn, model).await }))
            .await
    }
}

impl PostgresStore {
    async fn write(
        &self,
        scope: &Scope,
        memories: Vec<NewMemory>,
        named: bool,
    ) -> Result<Vec<Remembered>> {
        let drafts = &prepare(scope, memories, named).await?;
        let scope = &scope.admit(Facet::Memories)?;
        // Every attempt writes the same ids, so a repeat finds its own rows.
        let call = reading("writing memories", scope.tenant);
        if write::is_single(drafts) {
            let done = self
                .link
                .run(call, |conn| work(async move { write::try_single(conn, scope, drafts).await }))
                .await?;
            if let Some(done) = done {
                return Ok(vec![done]);
            }
        }
        self.link
            .transaction(call, |conn| {
                work(async move { write::all(conn, scope, drafts, named).await })
            })
            .await
    }
}

/// Checks and analyses; much text does so away from the threads that serve connections.
async fn prepare(
    scope: &Scope,
    memories: Vec<NewMemory>,
    named: bool,
) -> Result<Vec<write::Draft>> {
    /// About a millisecond of analysis.
    const INLINE_BYTES: usize = 16 * 1024;
    if memories.iter().map(|memory| memory.content.len()).sum::<usize>() <= INLINE_BYTES {
        return write::draft(scope, memories, named);
    }
    let scope = scope.clone();
    tokio::task::spawn_blocking(move || write::draft(&scope, memories, named))
        .await
        .map_err(|error| Error::backend("analysing memories", error))?
}

fn reading<'a>(doing: &'static str, tenant: &'a str) -> Call<'a> {
    Call { doing, tenant: Some(tenant), retry: Retry::Idempotent }
}
