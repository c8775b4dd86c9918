//! Changing the language that words are cut in.

use mnemon_core::memories::{Language, Wording};
use mnemon_core::upkeep::Task;
use mnemon_core::{Result, limits};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Memories;
use crate::upkeep::{self, UpkeepOptions};

/// After so many batches the counts of words are folded, which a question would otherwise add up.
const FOLD_EVERY: u64 = 4;

/// What a change of language did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Relanguaged {
    /// What words are cut in now.
    pub language: Language,
    /// Memories that this call cut anew; others may have cut some, too.
    pub memories: u64,
}

impl Memories<'_> {
    /// How the words of this database stand.
    ///
    /// # Errors
    ///
    /// [`mnemon_core::Error::Unavailable`] when the database does not answer;
    /// [`mnemon_core::Error::Closed`].
    pub async fn wording(self) -> Result<Wording> {
        self.inner.ready()?;
        self.inner.store.memories().wording().await
    }

    /// Changes the language of the database, whosever memories they are, and waits until all are
    /// cut anew. Meanwhile everything is found as before, by questions in either language. Called
    /// again after it was interrupted it goes on; so does upkeep ([`Task::Words`]).
    ///
    /// `progress` hears how many memories are done, batch by batch.
    ///
    /// # Errors
    ///
    /// [`mnemon_core::Error::AlreadyExists`] while a change to another language is not at its end;
    /// [`mnemon_core::Error::Setup`] for a role that may not; [`mnemon_core::Error::Unavailable`];
    /// [`mnemon_core::Error::Closed`].
    pub async fn change_language(
        self,
        to: Language,
        mut progress: impl FnMut(u64) + Send,
    ) -> Result<Relanguaged> {
        self.inner.ready()?;
        let store = &self.inner.store;
        store.memories().change_language(to).await?;
        let holder = format!("language-{}", Uuid::now_v7().simple());
        let mut memories = 0;
        while store.memories().wording().await?.before.is_some() {
            // Whoever has the task cuts them as well.
            match store.upkeep().claim(Task::Words, &holder, true).await? {
                Some(lease) => {
                    for batches in 1_u64.. {
                        let batch = store.upkeep().batch(&lease).await?;
                        memories += batch.rows;
                        progress(memories);
                        if !batch.more {
                            break;
                        }
                        if batches % FOLD_EVERY == 0 {
                            self.fold_counts().await?;
                        }
                    }
                    store.upkeep().finish(&lease, None).await?;
                }
                None => tokio::time::sleep(limits::SEGMENT_WAIT).await,
            }
        }
        self.fold_counts().await?;
        Ok(Relanguaged { language: to, memories })
    }

    async fn fold_counts(self) -> Result<()> {
        let counts = UpkeepOptions { only: vec![Task::TextCounts], force: true };
        upkeep::run(&self.inner.store, &counts, &self.inner.workers()).await.map(drop)
    }
}
