//! What was said.

pub(crate) mod summaries;

use mnemon_core::locks::Guard;
pub use mnemon_core::turns::*;
use mnemon_core::{Page, Paged, Result, Scope};
use serde::{Deserialize, Serialize};

use crate::engine::Inner;

/// What [`Turns::summarize`] did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Summarized {
    /// Links written.
    pub written: u64,
    /// Why the last call of the summariser led to none, where it did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub failed: Option<String>,
    /// How the memory's summarising stands now.
    pub standing: Standing,
}

/// What was said, of an open Mnemon; see [`crate::Mnemon::turns`].
///
/// Which of a session's memories is meant is said by a [`Key`], or by its name alone.
pub struct Turns<'a> {
    pub(crate) inner: &'a Inner,
}

impl Turns<'_> {
    /// Appends a turn to the session's memory. It never waits for a summariser.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::Conflict`] when the turn names another strategy
    /// than the memory has; [`crate::Error::Fenced`]; [`crate::Error::ScopeRequired`].
    #[doc(alias = "AddTurn")]
    pub async fn append(
        &self,
        scope: &Scope,
        turn: NewTurn,
        guard: Option<&Guard>,
    ) -> Result<TurnAppended> {
        self.inner.ready()?;
        let outcome = self.inner.store.turns().append(scope, turn, guard).await;
        self.inner.watched(scope, outcome).await
    }

    /// Lists turns, oldest first.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] for a foreign cursor; [`crate::Error::ScopeRequired`].
    pub async fn list(
        &self,
        scope: &Scope,
        key: impl Into<Key>,
        page: &Page,
    ) -> Result<Paged<Turn>> {
        self.inner.ready()?;
        let outcome = self.inner.store.turns().list(scope, &key.into(), page).await;
        self.inner.watched(scope, outcome).await
    }

    /// What a model is given: by the memory's strategy nothing, the newest turns within a budget,
    /// or a summary and the turns that it does not cover.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    #[doc(alias = "GetLLMContext")]
    pub async fn context(&self, scope: &Scope, key: impl Into<Key>) -> Result<Context> {
        self.inner.ready()?;
        let outcome = self.inner.store.turns().context(scope, &key.into()).await;
        self.inner.watched(scope, outcome).await
    }

    /// Tokens of what [`Turns::context`] would answer now.
    ///
    /// # Errors
    ///
    /// As [`Turns::context`].
    pub async fn estimate_tokens(&self, scope: &Scope, key: impl Into<Key>) -> Result<u32> {
        self.inner.ready()?;
        let outcome = self.inner.store.turns().estimate_tokens(scope, &key.into()).await;
        self.inner.watched(scope, outcome).await
    }

    /// Sets a memory's strategy, and how long what is appended from now on is kept.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::Conflict`] when a memory that holds turns would
    /// become one that keeps none; [`crate::Error::ScopeRequired`].
    pub async fn configure(
        &self,
        scope: &Scope,
        key: impl Into<Key>,
        settings: impl Into<Settings>,
    ) -> Result<()> {
        self.inner.ready()?;
        let outcome =
            self.inner.store.turns().configure(scope, &key.into(), &settings.into()).await;
        self.inner.watched(scope, outcome).await
    }

    /// Removes what a memory holds; its settings stay.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    #[doc(alias = "flush")]
    pub async fn clear(&self, scope: &Scope, key: impl Into<Key>) -> Result<Removed> {
        self.inner.ready()?;
        let outcome = self.inner.store.turns().clear(scope, &key.into()).await;
        self.inner.watched(scope, outcome).await
    }

    /// How a memory's summarising stands.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn health(&self, scope: &Scope, key: impl Into<Key>) -> Result<Standing> {
        self.inner.ready()?;
        let outcome = self.inner.store.turns().health(scope, &key.into()).await;
        self.inner.watched(scope, outcome).await
    }

    /// Has everything summarised that waits for it, now, whatever upkeep does. Ends early when the
    /// summariser fails: that is no error of the call, but part of what it answers.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Setup`] without a summariser; [`crate::Error::Held`] while somebody else
    /// summarises the memory; [`crate::Error::Closed`] when the handle is closed meanwhile;
    /// [`crate::Error::Invalid`]; [`crate::Error::ScopeRequired`].
    pub async fn summarize(&self, scope: &Scope, key: impl Into<Key>) -> Result<Summarized> {
        self.inner.ready()?;
        let outcome = self.summarize_all(scope, &key.into()).await;
        self.inner.watched(scope, outcome).await
    }

    async fn summarize_all(&self, scope: &Scope, key: &Key) -> Result<Summarized> {
        let store = self.inner.store.as_ref();
        let mut written = 0;
        // Asked first: who may not ask is not told about the configuration.
        let mut standing = store.turns().health(scope, key).await?;
        let summaries = self.inner.summaries()?;
        while let Some(done) = summaries.next(store, scope, key).await? {
            standing = done.standing;
            if done.failed.is_some() {
                return Ok(Summarized { written, failed: done.failed, standing });
            }
            written += 1;
        }
        Ok(Summarized { written, failed: None, standing })
    }

    /// Lists the chain of summaries, oldest first.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] for a foreign cursor; [`crate::Error::ScopeRequired`].
    pub async fn summaries(
        &self,
        scope: &Scope,
        key: impl Into<Key>,
        page: &Page,
    ) -> Result<Paged<Summary>> {
        self.inner.ready()?;
        let outcome = self.inner.store.turns().summaries(scope, &key.into(), page).await;
        self.inner.watched(scope, outcome).await
    }

    /// A portable copy of a memory: [`Export::to_json`] makes a text of it.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Conflict`] when it was cleared meanwhile; [`crate::Error::Invalid`] over
    /// [`mnemon_core::limits::TURN_EXPORT_BYTES`]; [`crate::Error::ScopeRequired`].
    #[doc(alias = "snapshot")]
    pub async fn export(&self, scope: &Scope, key: impl Into<Key>) -> Result<Export> {
        self.inner.ready()?;
        let outcome = self.inner.store.turns().export(scope, &key.into()).await;
        self.inner.watched(scope, outcome).await
    }

    /// Replaces what a memory holds by a copy: [`Export::parse`] reads one.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] for a copy that does not fit, or of another strategy: nothing is
    /// changed; [`crate::Error::ScopeRequired`].
    #[doc(alias = "restore")]
    pub async fn import(
        &self,
        scope: &Scope,
        key: impl Into<Key>,
        export: &Export,
    ) -> Result<Imported> {
        self.inner.ready()?;
        let outcome = self.inner.store.turns().import(scope, &key.into(), export).await;
        self.inner.watched(scope, outcome).await
    }

    /// Lists the sessions of the scope's user, by name.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] for a foreign cursor; [`crate::Error::ScopeRequired`] without
    /// tenant or user.
    pub async fn list_sessions(&self, scope: &Scope, page: &Page) -> Result<Paged<SessionInfo>> {
        self.inner.ready()?;
        let outcome = self.inner.store.turns().list_sessions(scope, page).await;
        self.inner.watched(scope, outcome).await
    }

    /// Removes every memory of the session.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`].
    pub async fn delete_session(&self, scope: &Scope) -> Result<Removed> {
        self.inner.ready()?;
        let outcome = self.inner.store.turns().delete_session(scope).await;
        self.inner.watched(scope, outcome).await
    }

    /// Removes every memory of the scope's user, in whatever session.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`] without tenant or user.
    pub async fn delete_user(&self, scope: &Scope) -> Result<Removed> {
        self.inner.ready()?;
        let outcome = self.inner.store.turns().delete_user(scope).await;
        self.inner.watched(scope, outcome).await
    }
}
