//! Steps: writes to any number of facets together, exactly once.

#[cfg(feature = "postgres")]
mod joined;

use mnemon_core::memories::NewMemory;
pub use mnemon_core::steps::*;
use mnemon_core::{Facet, RequestId, Result, Scope};

use crate::engine::Mnemon;

impl Mnemon {
    /// Commits a step: all its writes in one transaction, exactly once under its id. A repeat
    /// writes nothing, asks no model, and answers the first receipt.
    ///
    /// ```
    /// # #[cfg(feature = "sqlite")]
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> mnemon::Result<()> {
    /// use mnemon::turns::NewTurn;
    /// use mnemon::{Mnemon, NewMemory, RequestId, Scope, Step, Write};
    ///
    /// let db = Mnemon::open("sqlite::memory:").await?;
    /// let scope = Scope::tenant("acme").user("ada").session("s1");
    /// let step = Step::new(RequestId::parse("turn-1")?)
    ///     .write(Write::Turn(Box::new(NewTurn::new("I like tea", "Noted."))))
    ///     .write(Write::Remember(Box::new(NewMemory::new("Ada likes tea"))));
    ///
    /// let first = db.commit(&scope, step.clone()).await?;
    /// let again = db.commit(&scope, step).await?;
    ///
    /// assert!(!first.replayed && again.replayed);
    /// assert_eq!(first.outcomes, again.outcomes);
    /// # Ok(())
    /// # }
    /// # #[cfg(not(feature = "sqlite"))]
    /// # fn main() {}
    /// ```
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] naming the write at fault; what each write itself may answer;
    /// [`crate::Error::Fenced`] when a guard is stale; [`crate::Error::StepReused`] for a strict
    /// step whose payload differs; [`crate::Error::ScopeRequired`].
    pub async fn commit(&self, scope: &Scope, step: Step) -> Result<Receipt> {
        let inner = self.inner();
        inner.ready()?;
        let outcome = match step.check(scope) {
            Ok(()) => self.commit_checked(scope, step).await,
            Err(error) => Err(error),
        };
        inner.watched(scope, outcome).await
    }

    /// The receipt of a step, to be asked before expensive work (a model's call) is done again.
    ///
    /// # Errors
    ///
    /// [`crate::Error::ScopeRequired`].
    pub async fn receipt(&self, scope: &Scope, id: &RequestId) -> Result<Option<Receipt>> {
        let inner = self.inner();
        inner.ready()?;
        let outcome = inner.store.steps().receipt(scope, id).await;
        inner.watched(scope, outcome).await
    }

    /// The same step with a vector for every memory that brings none: what [`Mnemon::commit`] does
    /// by itself. For hosts that commit in a transaction of their own and should not hold it open
    /// while a model works. A step that has happened already comes back as it is.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] as [`Step::check`]; [`crate::Error::ScopeRequired`]; an embedder's
    /// own.
    pub async fn embed_step(&self, scope: &Scope, step: Step) -> Result<Step> {
        let inner = self.inner();
        inner.ready()?;
        let outcome = match step.check(scope) {
            Ok(()) => self.embedded(scope, step).await,
            Err(error) => Err(error),
        };
        inner.watched(scope, outcome).await
    }

    async fn commit_checked(&self, scope: &Scope, step: Step) -> Result<Receipt> {
        let inner = self.inner();
        let step = self.embedded(scope, step).await?;
        inner.ready()?;
        inner.store.steps().commit(scope, step).await
    }

    /// A checked step with its vectors; one that happened needs none, whatever model is set now.
    async fn embedded(&self, scope: &Scope, mut step: Step) -> Result<Step> {
        if self.wants_vectors(&step) {
            let asks = self.asks_model(&step);
            let known =
                asks && self.inner().store.steps().receipt(scope, &step.id).await?.is_some();
            if !known {
                self.add_vectors(scope, &mut step).await?;
            }
        }
        Ok(step)
    }

    /// Whether a model has to work for a step's vectors, for longer than it takes to look whether
    /// the step happened already.
    fn asks_model(&self, step: &Step) -> bool {
        let bare = |at: usize| memory(&step.writes[at]).is_some_and(|m| m.embedding.is_none());
        !self.inner().models.are_instant() && wanting(step).into_iter().any(bare)
    }

    fn wants_vectors(&self, step: &Step) -> bool {
        self.inner().models.any() && !wanting(step).is_empty()
    }

    async fn add_vectors(&self, scope: &Scope, step: &mut Step) -> Result<()> {
        scope.admit(Facet::Memories)?;
        let models = &self.inner().models;
        let wanting = wanting(step);
        let texts: Vec<&str> = wanting
            .iter()
            .filter_map(|at| memory(&step.writes[*at]))
            .filter(|m| m.embedding.is_none())
            .map(|m| m.content.as_str())
            .collect();
        let mut found = models.embed(&texts).await?.into_iter();
        for at in wanting {
            let Write::Remember(memory) = &mut step.writes[at] else { continue };
            memory.vectors = match memory.embedding.take() {
                Some(vector) => models.given(vector).into_iter().collect(),
                None => found.next().unwrap_or_default(),
            };
        }
        Ok(())
    }
}

/// Places of the memories whose vectors do not say yet which model they are of.
fn wanting(step: &Step) -> Vec<usize> {
    let bare = |write: &Write| memory(write).is_some_and(|memory| memory.vectors.is_empty());
    (0..step.writes.len()).filter(|at| bare(&step.writes[*at])).collect()
}

fn memory(write: &Write) -> Option<&NewMemory> {
    match write {
        Write::Remember(memory) => Some(memory),
        _ => None,
    }
}
