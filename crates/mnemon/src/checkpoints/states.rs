//! A thread's state as one value: the two calls an agent needs, and what goes with them.

use std::time::Duration;

use mnemon_core::{Error, Page, Paged, Result, Scope};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{
    AgentState, ChannelValue, CheckpointInfo, Checkpoints, ExpectedHead, Put, Thread, ThreadFilter,
    ThreadInfo,
};
use crate::core::checkpoints::state::AgentStateChange;

/// The channel that holds the state.
const CHANNEL: &str = "state";

/// How often a merge starts again because others saved meanwhile.
const ROUNDS: usize = 32;

/// States of threads in one namespace; see [`Checkpoints::states`].
///
/// ```
/// # #[cfg(feature = "sqlite")]
/// # #[tokio::main]
/// # async fn main() -> mnemon::Result<()> {
/// use mnemon::{Mnemon, Scope};
/// use mnemon::checkpoints::{AgentState, TodoItem};
///
/// let db = Mnemon::open("sqlite::memory:").await?;
/// let scope = Scope::local();
/// let mut state = AgentState::default();
/// state.todos.push(TodoItem::pending("book the train"));
///
/// db.checkpoints().save_state(&scope, "trip-42", &state).await?;
/// let loaded: Option<AgentState> = db.checkpoints().load_state(&scope, "trip-42").await?;
///
/// assert_eq!(loaded, Some(state));
/// # Ok(())
/// # }
/// # #[cfg(not(feature = "sqlite"))]
/// # fn main() {}
/// ```
pub struct States<'a> {
    pub(super) checkpoints: Checkpoints<'a>,
    pub(super) namespace: String,
    pub(super) readable: bool,
    pub(super) ttl: Option<Duration>,
}

impl<'a> Checkpoints<'a> {
    /// States of threads as one value each, in the namespace that the handle was opened with.
    pub fn states(self) -> States<'a> {
        let namespace = self.inner.namespace.clone();
        States { checkpoints: self, namespace, readable: false, ttl: None }
    }

    /// Saves a thread's state: any value that serializes to JSON. Answers its version.
    ///
    /// # Errors
    ///
    /// As [`States::save_state`].
    pub async fn save_state<T: Serialize + Sync>(
        self,
        scope: &Scope,
        thread_id: &str,
        state: &T,
    ) -> Result<i64> {
        self.states().save_state(scope, thread_id, state).await
    }

    /// Loads a thread's state; `None` when nothing was saved.
    ///
    /// # Errors
    ///
    /// As [`States::load_state`].
    pub async fn load_state<T: DeserializeOwned>(
        self,
        scope: &Scope,
        thread_id: &str,
    ) -> Result<Option<T>> {
        self.states().load_state(scope, thread_id).await
    }
}

impl States<'_> {
    /// The same in another namespace: what other systems give a table of its own.
    #[must_use]
    #[doc(alias = "table_name")]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = namespace.into();
        self
    }

    /// The same, keeping states of at most 8 KiB as JSON that SQL can read.
    #[must_use]
    pub fn readable(mut self) -> Self {
        self.readable = true;
        self
    }

    /// The same, keeping threads for so long without activity from their next save on.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Saves a thread's state. Answers its version.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a value that is no JSON, or over a limit;
    /// [`Error::NotFound`] for another user's thread; [`Error::Fenced`];
    /// [`Error::ScopeRequired`].
    pub async fn save_state<T: Serialize + Sync>(
        &self,
        scope: &Scope,
        thread_id: &str,
        state: &T,
    ) -> Result<i64> {
        self.save(scope, thread_id, state, ExpectedHead::Any).await
    }

    async fn save<T: Serialize + Sync>(
        &self,
        scope: &Scope,
        thread_id: &str,
        state: &T,
        expected_head: ExpectedHead,
    ) -> Result<i64> {
        let value = serde_json::to_value(state)
            .map_err(|error| Error::invalid("state", format!("is no JSON: {error}")))?;
        let put = Put {
            readable: self.readable,
            ttl: self.ttl,
            expected_head,
            ..Put::new(self.thread(thread_id))
        };
        let put = put.channel(CHANNEL, ChannelValue::json(&value));
        Ok(self.checkpoints.put(scope, put, None).await?.version)
    }

    /// Loads a thread's newest state; `None` when nothing was saved.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] for bytes that are not what was saved; [`Error::Invalid`] for a state
    /// that is no `T`; [`Error::ScopeRequired`].
    pub async fn load_state<T: DeserializeOwned>(
        &self,
        scope: &Scope,
        thread_id: &str,
    ) -> Result<Option<T>> {
        match self.checkpoints.get(scope, &self.thread(thread_id), None).await {
            Ok(found) => state(&found.channels).map(Some),
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Loads the state of a version.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`]; as [`States::load_state`].
    pub async fn load_version<T: DeserializeOwned>(
        &self,
        scope: &Scope,
        thread_id: &str,
        version: i64,
    ) -> Result<T> {
        let thread = self.thread(thread_id);
        state(&self.checkpoints.get_version(scope, &thread, version).await?.channels)
    }

    /// Changes an [`AgentState`] as it stands when it is saved: of two that change it at the same
    /// time both count. Answers the state after the change.
    ///
    /// # Errors
    ///
    /// [`Error::Conflict`] when others saved all the while; as [`States::save_state`].
    pub async fn merge_state(
        &self,
        scope: &Scope,
        thread_id: &str,
        change: &AgentStateChange,
    ) -> Result<AgentState> {
        let thread = self.thread(thread_id);
        let mut round = 0;
        loop {
            let (before, head) = match self.checkpoints.get(scope, &thread, None).await {
                Ok(found) => (state(&found.channels)?, ExpectedHead::Is(found.id)),
                Err(Error::NotFound { .. }) => (AgentState::default(), ExpectedHead::Empty),
                Err(error) => return Err(error),
            };
            let after = before.merge(change.clone());
            round += 1;
            match self.save(scope, thread_id, &after, head).await {
                Ok(_) => return Ok(after),
                Err(Error::Conflict { .. }) if round < ROUNDS => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A thread's versions, newest first.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a foreign cursor; [`Error::ScopeRequired`].
    pub async fn history(
        &self,
        scope: &Scope,
        thread_id: &str,
        page: &Page,
    ) -> Result<Paged<CheckpointInfo>> {
        self.checkpoints.history(scope, &self.thread(thread_id), page).await
    }

    /// Removes a thread's states in this namespace; `false` when there were none.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`]; [`Error::ScopeRequired`].
    pub async fn delete_thread(&self, scope: &Scope, thread_id: &str) -> Result<bool> {
        let namespace = Some(self.namespace.as_str());
        match self.checkpoints.delete_thread(scope, thread_id, namespace).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The namespace's threads, last active first.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a foreign cursor; [`Error::ScopeRequired`].
    pub async fn list_threads(&self, scope: &Scope, page: &Page) -> Result<Paged<ThreadInfo>> {
        let filter = ThreadFilter { namespace: Some(self.namespace.clone()) };
        self.checkpoints.list_threads(scope, &filter, page).await
    }

    fn thread(&self, thread_id: &str) -> Thread {
        Thread::new(thread_id).namespace(&self.namespace)
    }
}

fn state<T: DeserializeOwned>(
    channels: &std::collections::BTreeMap<String, ChannelValue>,
) -> Result<T> {
    let missing = || Error::invalid("state", "was not saved as one: the thread has other channels");
    let value = channels.get(CHANNEL).ok_or_else(missing)?;
    serde_json::from_slice(&value.bytes)
        .map_err(|error| Error::invalid("state", format!("is of another type: {error}")))
}
