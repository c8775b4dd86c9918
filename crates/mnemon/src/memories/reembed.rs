//! Changing the model: a new embedding set is filled, batch by batch, while everything goes on, and
//! takes the old one's place in one transaction.

mod options;

use std::sync::Arc;
use std::time::{Duration, Instant};

use mnemon_core::memories::{
    EmbeddingSets, FillLease, Filling, Lacking, SetId, SetState, SetsReport, Switch,
};
use mnemon_core::{Error, Page, Result, limits};
use uuid::Uuid;

pub use self::options::{Reembed, ReembedProgress, ReembedReport};
use super::Memories;
use crate::embed::{Embedder, vectors};

impl Memories<'_> {
    /// Goes over to another model without a pause: embeds every memory of every tenant by it, into a
    /// set of its own, and has recall search that set from one moment to the next. Ids, texts and
    /// everything else of the memories stay.
    ///
    /// Searches go on in the old set until then; writes of this handle go to both, and what other
    /// processes write without knowing the new model is embedded here, too. Killed at any time, it
    /// goes on where it stopped when it is called again with the same model. Afterwards this handle
    /// embeds by the new model; others, opened with the old one, keep what they write without a
    /// vector of the new one until upkeep embeds it, and search the old set for as long as it is
    /// kept.
    ///
    /// With the model that the database has already, it embeds what has no vector, and nothing is
    /// switched.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mnemon::Result<()> {
    /// use std::sync::Arc;
    ///
    /// use mnemon::embed::Lexical;
    /// use mnemon::{Mnemon, NewMemory, Recall, Reembed, Scope};
    ///
    /// let db = Mnemon::open("sqlite::memory:").await?;
    /// let ada = Scope::tenant("acme").user("ada");
    /// let kept = db.memories().remember(&ada, NewMemory::new("The launch is on 3 May")).await?;
    ///
    /// let report = db.memories().reembed(Reembed::to(Arc::new(Lexical::of(384)?))).await?;
    ///
    /// assert_eq!((report.rows, report.switched), (1, true));
    /// let hits = db.memories().recall(&ada, &Recall::text("launch")).await?;
    /// assert_eq!(hits[0].memory.id, kept.id);
    /// assert_eq!(db.model().expect("a model").name, "lexical-384");
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "sqlite"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Held`] while another process re-embeds, or one that was killed did a moment ago;
    /// [`Error::AlreadyExists`] while the set of a third model is being filled; [`Error::Fenced`]
    /// when another process took over; [`Error::Invalid`] for a batch of 0 or over
    /// [`limits::PAGE_MAX`]; [`Error::Conflict`] when memories change faster than they can be
    /// embedded; an embedder's own. What is embedded by then stays.
    pub async fn reembed(self, options: Reembed) -> Result<ReembedReport> {
        self.inner.ready()?;
        options.check()?;
        if options.dry_run {
            return self.estimate(&options).await;
        }
        let began = Instant::now();
        let sets = self.inner.store.embedding_sets();
        let set = sets.begin(options.embedder.signature()).await?;
        let holder = format!("{}-{}", std::process::id(), Uuid::now_v7().simple());
        let lease = sets.claim(set.id, &holder, options.lease).await?;
        let total = lacking_in(&sets.sets().await?, Some(set.id));
        let mut run = Run {
            memories: self,
            sets,
            lease,
            options: &options,
            total,
            done: 0,
            skipped: 0,
            indexing: Duration::ZERO,
        };
        let worked = run.whole(set.state).await;
        let lacking = worked.as_ref().map_or(1, |_| 0);
        let released = sets.release(&run.lease, lacking).await;
        let switched = worked?;
        released?;
        let mut report = ReembedReport {
            rows: run.done,
            skipped: run.skipped,
            index_seconds: run.indexing.as_secs_f64(),
            switched,
            ..ReembedReport::of(options.embedder.signature())
        };
        if options.drop_old {
            report.dropped = self.drop_old().await?;
        }
        report.seconds = began.elapsed().as_secs_f64();
        Ok(report)
    }

    /// Drops the sets that are searched no more; how many.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] while somebody fills one of them.
    pub async fn drop_old(self) -> Result<u64> {
        self.drop_sets(SetState::Retired).await
    }

    /// Drops the set that is being filled, when the change of the model is given up; how many.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] while somebody fills it.
    pub async fn abandon_reembedding(self) -> Result<u64> {
        self.drop_sets(SetState::Filling).await
    }

    async fn drop_sets(self, state: SetState) -> Result<u64> {
        self.inner.ready()?;
        let sets = self.inner.store.embedding_sets();
        let mut dropped = 0;
        for counts in sets.sets().await?.sets {
            if counts.set.state == state {
                sets.drop_set(counts.set.id).await?;
                dropped += 1;
            }
        }
        Ok(dropped)
    }

    /// The embedding sets of this database, counted over all tenants.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] and [`Error::Backend`] only.
    pub async fn embedding_sets(self) -> Result<SetsReport> {
        self.inner.ready()?;
        self.inner.store.embedding_sets().sets().await
    }

    /// What there is to embed, and how long that takes by the look of a few: nothing is written.
    async fn estimate(self, options: &Reembed) -> Result<ReembedReport> {
        let sets = self.inner.store.embedding_sets();
        let found = sets.sets().await?;
        let signature = options.embedder.signature();
        let set = found.sets.iter().find(|counts| counts.set.model == *signature);
        let set = set.map(|counts| counts.set.id);
        let lacking = lacking_in(&found, set);
        let sample = sets.lacking(set, &Page::first(limits::REEMBED_SAMPLE)).await?.items;
        let (count, began) = (sample.len(), Instant::now());
        made(options.embedder.as_ref(), sample).await?;
        let share = if count == 0 { 0.0 } else { ratio(lacking, count) };
        Ok(ReembedReport {
            dry_run: true,
            lacking,
            estimated_seconds: Some(began.elapsed().as_secs_f64() * share),
            ..ReembedReport::of(signature)
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "an estimate")]
fn ratio(all: u64, some: usize) -> f64 {
    all as f64 / some as f64
}

/// What a set lacks; one that is not there lacks everything.
fn lacking_in(found: &SetsReport, set: Option<SetId>) -> u64 {
    let counts = found.sets.iter().find(|counts| Some(counts.set.id) == set);
    counts.map_or(found.memories, |counts| counts.lacking)
}

/// The vectors of a batch; its texts are let go.
pub(super) async fn made(embedder: &dyn Embedder, batch: Vec<Lacking>) -> Result<Vec<Filling>> {
    let texts: Vec<&str> = batch.iter().map(|memory| memory.content.as_str()).collect();
    let found = vectors(embedder, &texts).await?;
    let filling = batch
        .into_iter()
        .zip(found)
        .map(|(memory, vector)| Filling {
            tenant: memory.tenant,
            id: memory.id,
            content_hash: memory.content_hash,
            vector,
        })
        .collect();
    Ok(filling)
}

/// One run: under one lease, to the end or to an error.
struct Run<'r> {
    memories: Memories<'r>,
    sets: &'r dyn EmbeddingSets,
    lease: FillLease,
    options: &'r Reembed,
    total: u64,
    done: u64,
    skipped: u64,
    indexing: Duration,
}

impl Run<'_> {
    /// Fills the set and switches to it, where it is not the active one; whether it switched.
    async fn whole(&mut self, state: SetState) -> Result<bool> {
        if state == SetState::Active {
            self.pass().await?;
            return Ok(false);
        }
        let models = &self.memories.inner.models;
        let expecting = models.expect(Arc::clone(&self.options.embedder));
        for pass in 1..=limits::REEMBED_PASSES_MAX {
            let since = self.memories.inner.store.health().await?.now;
            self.pass().await?;
            self.index().await?;
            // Of writers that do not know the new model one may always be the last: after some
            // passes, what they wrote during one is left to be embedded after the switch.
            let since = (pass > limits::REEMBED_PASSES).then_some(since);
            if let Switch::Switched { .. } = self.sets.switch(&self.lease, since).await? {
                expecting.arrived();
                self.pass().await?;
                return Ok(true);
            }
        }
        let kind = "the memories while they were embedded for";
        let key = self.options.embedder.signature().to_string();
        Err(Error::Conflict { kind, key, expected: None, actual: None })
    }

    /// Indexes what stands in the set by now, so that recall finds it indexed from its first question.
    async fn index(&mut self) -> Result<()> {
        let began = Instant::now();
        let memories = self.memories.inner.store.memories();
        memories.index_vectors(self.options.embedder.signature()).await?;
        self.indexing += began.elapsed();
        Ok(())
    }

    /// Embeds what the set lacks, from the first memory to the last. One batch is written while the
    /// next one is embedded, so that no more than two are held.
    async fn pass(&mut self) -> Result<()> {
        let (sets, options, set) = (self.sets, self.options, self.lease.set);
        let mut page = Some(Page::first(options.batch));
        let mut ready = Some(Vec::new());
        while let Some(vectors) = ready.take() {
            self.memories.inner.ready()?;
            let next = next(sets, options, set, &mut page);
            (ready, ()) = futures_util::future::try_join(next, self.write(vectors)).await?;
        }
        Ok(())
    }

    async fn write(&mut self, vectors: Vec<Filling>) -> Result<()> {
        if vectors.is_empty() {
            return Ok(());
        }
        let filled = self.sets.fill(&self.lease, vectors).await?;
        self.done += filled.stored;
        self.skipped += filled.skipped;
        if let Some(progress) = &self.options.progress {
            let (done, total) = (self.done, self.total.max(self.done));
            progress(ReembedProgress { done, total });
        }
        Ok(())
    }
}

/// The next batch, embedded; none behind the last one, where no page is left.
async fn next(
    sets: &dyn EmbeddingSets,
    options: &Reembed,
    set: SetId,
    page: &mut Option<Page>,
) -> Result<Option<Vec<Filling>>> {
    let Some(asked) = page.take() else { return Ok(None) };
    let found = sets.lacking(Some(set), &asked).await?;
    *page = found.next.map(|cursor| Page { cursor: Some(cursor), ..asked });
    if found.items.is_empty() {
        return Ok(None);
    }
    made(options.embedder.as_ref(), found.items).await.map(Some)
}
