//! Turns: what was said, appended one by one and never rewritten, and the part of it that a model
//! is given: none, the newest within a budget, or a summary of the older and the newest whole.

pub mod context;
pub mod export;
pub mod health;
mod model;
mod strategy;
pub mod summarize;
pub mod truncate;

use async_trait::async_trait;

pub use context::Context;
pub use export::{Export, Imported};
pub use health::Health;
pub use model::{
    CONVERSATION, Digest, Key, NewTurn, Place, Removed, SessionInfo, Turn, TurnAppended,
};
pub use strategy::{Settings, Strategy, TurnDefaults};
pub use summarize::{Assignment, Attempt, Due, Outline, Standing, Summarizer, Summary, SummaryJob};
pub use truncate::{Estimate, Tokens};

use crate::error::Result;
use crate::locks::Guard;
use crate::page::{Page, Paged};
use crate::scope::Scope;

/// The turns of a store.
///
/// # Contract
///
/// - The key is (tenant, user, session, kind), and the run where [`Key::run_scoped`] says so; a
///   missing part fails closed.
/// - Rows are appended; replicas and overlapping calls lose nothing, and `seq` has no gaps.
/// - A repeated `request_id` answers the first outcome.
/// - Strategy and budget are the key's from its first turn on; a call that counts on others is
///   refused with [`crate::Error::Conflict`] and writes nothing.
/// - Summaries form a chain over turns in order: no turn is in two of them, and what none covers
///   is in the context. Writing one needs the key's lease ([`Turns::take`]), whose fence grows.
#[async_trait]
pub trait Turns: Send + Sync {
    /// Appends a turn; in a memory that keeps none, does nothing.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::Conflict`] when the turn names another strategy
    /// than the key has; [`crate::Error::Fenced`] under a stale guard;
    /// [`crate::Error::ScopeRequired`].
    async fn append(
        &self,
        scope: &Scope,
        turn: NewTurn,
        guard: Option<&Guard>,
    ) -> Result<TurnAppended>;

    /// Lists turns, oldest first.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] for a foreign cursor; [`crate::Error::ScopeRequired`].
    async fn list(&self, scope: &Scope, key: &Key, page: &Page) -> Result<Paged<Turn>>;

    /// What a model is given by the key's strategy; empty for an unknown key.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`]; [`crate::Error::Invalid`].
    #[doc(alias = "GetLLMContext")]
    async fn context(&self, scope: &Scope, key: &Key) -> Result<Context>;

    /// Tokens of what [`Turns::context`] would answer now.
    ///
    /// # Errors
    ///
    /// As [`Turns::context`].
    async fn estimate_tokens(&self, scope: &Scope, key: &Key) -> Result<u32> {
        Ok(self.context(scope, key).await?.tokens)
    }

    /// Sets a memory's strategy and retention, before its first turn or later.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`]; [`crate::Error::Conflict`] when a memory that holds turns would
    /// become one that keeps none; [`crate::Error::ScopeRequired`].
    async fn configure(&self, scope: &Scope, key: &Key, settings: &Settings) -> Result<()>;

    /// Removes what a memory holds and begins again at 1, healthy, with its settings.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`]; [`crate::Error::Invalid`].
    #[doc(alias = "flush")]
    async fn clear(&self, scope: &Scope, key: &Key) -> Result<Removed>;

    /// How a memory's summarising stands; healthy for an unknown key.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`]; [`crate::Error::Invalid`].
    async fn health(&self, scope: &Scope, key: &Key) -> Result<Standing>;

    /// Lists the chain of summaries, oldest first.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] for a foreign cursor; [`crate::Error::ScopeRequired`].
    async fn summaries(&self, scope: &Scope, key: &Key, page: &Page) -> Result<Paged<Summary>>;

    /// A portable copy of a memory; one without turns for an unknown key.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Conflict`] when it was cleared meanwhile; [`crate::Error::ScopeRequired`].
    #[doc(alias = "snapshot")]
    async fn export(&self, scope: &Scope, key: &Key) -> Result<Export>;

    /// Replaces what a memory holds by a copy.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] for a copy that does not fit, or of another strategy than the
    /// key has (with the field `strategy`): nothing is changed; [`crate::Error::ScopeRequired`].
    #[doc(alias = "restore")]
    async fn import(&self, scope: &Scope, key: &Key, export: &Export) -> Result<Imported>;

    /// Lists the sessions of the scope's user, by name; the scope's own session is not asked for.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`] without tenant or user; [`crate::Error::Invalid`] for a
    /// foreign cursor.
    async fn list_sessions(&self, scope: &Scope, page: &Page) -> Result<Paged<SessionInfo>>;

    /// Removes every memory of the session, settings included.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`].
    async fn delete_session(&self, scope: &Scope) -> Result<Removed>;

    /// Removes every memory of the scope's user, whatever the session.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`] without tenant or user.
    async fn delete_user(&self, scope: &Scope) -> Result<Removed>;

    /// Takes the right to write the next summary, and reads what goes into it; none when nothing
    /// waits. The same holder asking again is answered the same.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Held`] while somebody else has it; [`crate::Error::Invalid`];
    /// [`crate::Error::ScopeRequired`].
    async fn take(&self, scope: &Scope, key: &Key, holder: &str) -> Result<Option<Assignment>>;

    /// Ends an assignment: the summary and what follows from the outcome, all or none. Sent again,
    /// a summary that was written is answered as it stands.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Fenced`] when somebody else has the right now, or the memory was cleared:
    /// nothing is written.
    async fn settle(
        &self,
        scope: &Scope,
        key: &Key,
        assignment: &Assignment,
        attempt: &Attempt,
    ) -> Result<Standing>;

    /// Memories of every tenant with turns whose summary is due, longest due first. For upkeep.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Unavailable`] and [`crate::Error::Backend`] only.
    async fn due(&self, limit: u32) -> Result<Vec<Due>>;
}
