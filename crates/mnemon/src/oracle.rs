//! Oracles: who is asked about conflicts, and the loop that asks after commit.
//!
//! A question is a row that was written with its claim. Upkeep takes the rows that are to be put,
//! puts each in a task of its own, and notes what became of it; a question of a process that died
//! is put again when its time with that process is over.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use mnemon_core::claims::pending::pause_after;
use mnemon_core::claims::{
    AdjudicationRequest, AdjudicationResponse, Asked, Oracle, OracleError, Undelivered,
};
use mnemon_core::{Error, Result, Scope, Store, limits};
use tokio::task::JoinSet;

/// The oracle of installations where people decide: every question waits until somebody answers
/// it, by `mnemon claims adjudicate` or `submit_adjudication`.
///
/// ```
/// # async fn example() -> mnemon::Result<()> {
/// use std::sync::Arc;
///
/// use mnemon::Mnemon;
/// use mnemon::oracle::PeopleDecide;
///
/// let db = Mnemon::builder("sqlite::memory:").oracle(Arc::new(PeopleDecide)).open().await?;
/// # db.close().await;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct PeopleDecide;

#[async_trait]
impl Oracle for PeopleDecide {
    async fn request_adjudication(
        &self,
        _request: &AdjudicationRequest,
    ) -> Result<Option<AdjudicationResponse>, OracleError> {
        Ok(None)
    }
}

/// Puts questions to a process's oracle.
pub(crate) struct Asker {
    oracle: Arc<dyn Oracle>,
    store: Arc<dyn Store>,
    calls: Mutex<JoinSet<()>>,
}

impl Asker {
    pub(crate) fn new(store: &Arc<dyn Store>, oracle: Arc<dyn Oracle>) -> Self {
        Self { oracle, store: Arc::clone(store), calls: Mutex::new(JoinSet::new()) }
    }

    /// Takes what is to be put and starts putting it; how many.
    pub(crate) async fn turn(&self) -> Result<u64> {
        let under_way = self.with_calls(|calls| {
            while calls.try_join_next().is_some() {}
            calls.len()
        });
        let under_way = u32::try_from(under_way).unwrap_or(u32::MAX);
        let most = limits::ORACLE_AT_ONCE.saturating_sub(under_way);
        if most == 0 {
            return Ok(0);
        }
        let claims = self.store.claims();
        let taken = claims.take_undelivered(most, limits::ORACLE_VISIBILITY).await?;
        let rows = taken.len() as u64;
        self.with_calls(|calls| {
            for asked in taken {
                let (store, oracle) = (Arc::clone(&self.store), Arc::clone(&self.oracle));
                calls.spawn(async move {
                    let handle = asked.request.handle_id;
                    if let Err(error) = put(store.as_ref(), oracle.as_ref(), &asked).await {
                        // It is put again when its time with this process is over.
                        tracing::warn!(%handle, %error, "a question's fate was not noted");
                    }
                });
            }
        });
        Ok(rows)
    }

    /// Waits for the calls under way, but not for those that take long.
    pub(crate) async fn wait(&self) {
        let mut calls = self.with_calls(std::mem::take);
        let all = async { while calls.join_next().await.is_some() {} };
        // What is left goes on elsewhere: dropping the set ends its calls.
        let _ = tokio::time::timeout(limits::ORACLE_WAIT, all).await;
    }

    fn with_calls<T>(&self, act: impl FnOnce(&mut JoinSet<()>) -> T) -> T {
        act(&mut self.calls.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Puts one question, as long as it takes, and notes what became of it.
async fn put(store: &dyn Store, oracle: &dyn Oracle, asked: &Undelivered) -> Result<()> {
    let request = &asked.request;
    let scope = Scope::tenant(request.tenant.as_str()).agent(request.agent_id.as_str());
    let claims = store.claims();
    let mut call = oracle.request_adjudication(request);
    let answer = loop {
        tokio::select! {
            answer = &mut call => break answer,
            () = tokio::time::sleep(limits::ORACLE_VISIBILITY / 2) => {
                let busy = Asked::Busy { until: limits::ORACLE_VISIBILITY };
                claims.note_asked(&scope, request.handle_id, busy).await?;
            }
        }
    };
    let failed = |error: String| Asked::Failed { error, retry_after: pause_after(asked.attempts) };
    let became = match answer {
        Ok(None) => Asked::Taken,
        Ok(Some(answer)) if answer.handle_id != request.handle_id => {
            failed(format!("it answered another question, {}", answer.handle_id))
        }
        Ok(Some(answer)) => match claims.submit_adjudication(&scope, answer).await {
            // Somebody else answered meanwhile, or its time was over.
            Ok(_) | Err(Error::NotFound { .. }) => return Ok(()),
            Err(error) => failed(error.to_string()),
        },
        Err(error) => failed(said(error.as_ref())),
    };
    claims.note_asked(&scope, request.handle_id, became).await
}

/// An error with its causes.
fn said(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
