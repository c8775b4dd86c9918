//! Having summaries written: take what waits, ask the summariser without any connection, settle.

use std::sync::Arc;
use std::time::Duration;

use mnemon_core::turns::summarize::checked;
use mnemon_core::turns::{Assignment, Attempt, Key, Standing, Summarizer};
use mnemon_core::{Error, Result, Scope, Store};
use tokio::sync::watch;
use uuid::Uuid;

use crate::metrics;

/// A summariser, the time it is given, and the word to stop.
#[derive(Clone)]
pub(crate) struct Summaries {
    pub(crate) summarizer: Arc<dyn Summarizer>,
    pub(crate) timeout: Duration,
    /// True, or gone, once the handle closes.
    pub(crate) closing: watch::Receiver<bool>,
}

/// What one call of the summariser led to.
pub(crate) struct Written {
    /// Why there is no summary, where there is none.
    pub(crate) failed: Option<String>,
    pub(crate) standing: Standing,
}

impl Summaries {
    /// Writes the next summary of a memory; none when nothing waits.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] while somebody else writes it; [`Error::Fenced`] when somebody else took
    /// over; [`Error::Closed`] when the handle was closed meanwhile: the turns wait.
    pub(crate) async fn next(
        &self,
        store: &dyn Store,
        scope: &Scope,
        key: &Key,
    ) -> Result<Option<Written>> {
        let holder = format!("{}-{}", std::process::id(), Uuid::now_v7().simple());
        let Some(assignment) = store.turns().take(scope, key, &holder).await? else {
            return Ok(None);
        };
        let attempt = self.attempt(&assignment).await;
        metrics::summary(&attempt);
        let settled = store.turns().settle(scope, key, &assignment, &attempt).await;
        let failed = match attempt {
            // Given back as well as could be; else it comes free with its time.
            Attempt::Abandoned => return Err(Error::Closed),
            Attempt::Failed { reason } => {
                tracing::warn!(
                    summarizer = self.summarizer.name(),
                    reason,
                    "a summary was not written"
                );
                Some(reason)
            }
            Attempt::Summarized { .. } => None,
        };
        Ok(Some(Written { failed, standing: settled? }))
    }

    async fn attempt(&self, assignment: &Assignment) -> Attempt {
        let mut closing = self.closing.clone();
        let job = assignment.job();
        let answer = tokio::time::timeout(self.timeout, self.summarizer.summarize(&job));
        tokio::select! {
            // Also when the sender is gone: the handle was dropped.
            _ = closing.wait_for(|closing| *closing) => Attempt::Abandoned,
            answer = answer => match answer {
                Err(_) => {
                    let seconds = self.timeout.as_secs_f64();
                    Attempt::Failed { reason: format!("no answer within {seconds} s") }
                }
                Ok(Err(error)) => Attempt::Failed { reason: crate::upkeep::chain(&error) },
                Ok(Ok(answer)) => match checked(&answer) {
                    Ok(text) => Attempt::Summarized { text: text.to_owned() },
                    Err(error) => Attempt::Failed { reason: error.to_string() },
                },
            },
        }
    }
}
