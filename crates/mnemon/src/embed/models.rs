//! The models a handle knows: its own, and while it re-embeds the one that is to come.

use std::sync::{Arc, PoisonError, RwLock};

use mnemon_core::memories::{ModelSignature, ModelVector};
use mnemon_core::{Error, Result};

use super::Embedder;

/// The embedders of a handle, which changes its own when it has re-embedded.
#[derive(Default)]
pub(crate) struct Models {
    known: RwLock<Known>,
}

#[derive(Clone, Default)]
struct Known {
    own: Option<Arc<dyn Embedder>>,
    coming: Option<Arc<dyn Embedder>>,
}

impl Models {
    pub(crate) fn of(own: Option<Arc<dyn Embedder>>) -> Self {
        Self { known: RwLock::new(Known { own, coming: None }) }
    }

    fn known(&self) -> Known {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn change(&self, change: impl FnOnce(&mut Known)) {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// The model that questions are embedded with.
    pub(crate) fn own(&self) -> Option<Arc<dyn Embedder>> {
        self.known().own
    }

    /// Every model that texts are embedded with, the handle's own first.
    fn writing(&self) -> Vec<Arc<dyn Embedder>> {
        let Known { own, coming } = self.known();
        own.into_iter().chain(coming).collect()
    }

    /// Whether texts are embedded at all.
    pub(crate) fn any(&self) -> bool {
        self.known().own.is_some()
    }

    /// Whether none of them takes longer than asking a database.
    pub(crate) fn are_instant(&self) -> bool {
        self.writing().iter().all(|embedder| embedder.is_instant())
    }

    /// The known model of a signature.
    pub(crate) fn by(&self, signature: &ModelSignature) -> Option<Arc<dyn Embedder>> {
        self.writing().into_iter().find(|embedder| embedder.signature() == signature)
    }

    /// From now on texts are embedded for a set that is filling, too, until the guard goes.
    pub(crate) fn expect(self: &Arc<Self>, coming: Arc<dyn Embedder>) -> Expecting {
        self.change(|known| known.coming = Some(coming));
        Expecting { models: Arc::clone(self) }
    }

    /// The vectors of texts by every model, one list per text. A model that cannot be reached is
    /// left out: what is kept without a vector is embedded later.
    pub(crate) async fn embed(&self, texts: &[&str]) -> Result<Vec<Vec<ModelVector>>> {
        let mut found: Vec<Vec<ModelVector>> = vec![Vec::new(); texts.len()];
        if texts.is_empty() {
            return Ok(found);
        }
        for embedder in self.writing() {
            let vectors = match vectors(embedder.as_ref(), texts).await {
                Ok(vectors) => vectors,
                Err(error @ Error::Unavailable { .. }) => {
                    tracing::warn!(%error, "kept without a vector until the model answers");
                    continue;
                }
                Err(error) => return Err(error),
            };
            let model = Arc::new(embedder.signature().clone());
            for (of_text, vector) in found.iter_mut().zip(vectors) {
                of_text.push(ModelVector { model: Arc::clone(&model), vector });
            }
        }
        Ok(found)
    }

    /// A vector that the caller gave, as one of the handle's own model.
    pub(crate) fn given(&self, vector: Vec<f32>) -> Option<ModelVector> {
        let own = self.own()?;
        Some(ModelVector { model: Arc::new(own.signature().clone()), vector })
    }
}

/// While it lives, texts are embedded by the coming model, too.
pub(crate) struct Expecting {
    models: Arc<Models>,
}

impl Expecting {
    /// The set took the other's place: the coming model is the handle's own now.
    pub(crate) fn arrived(&self) {
        self.models.change(|known| {
            if let Some(coming) = known.coming.take() {
                known.own = Some(coming);
            }
        });
    }
}

impl Drop for Expecting {
    fn drop(&mut self) {
        self.models.change(|known| known.coming = None);
    }
}

/// Asks an embedder and checks what it answers, so that a fault is named after it and not after
/// the caller's input.
pub(crate) async fn vectors(embedder: &dyn Embedder, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let vectors = embedder.embed_batch(texts).await?;
    let name = &embedder.signature().name;
    if vectors.len() != texts.len() {
        let reason = format!("answered {} vectors for {} texts", vectors.len(), texts.len());
        return Err(Error::corrupt(format!("the answer of {name}"), reason));
    }
    for vector in &vectors {
        embedder
            .signature()
            .check_vector("embedding", vector)
            .map_err(|error| Error::corrupt(format!("the answer of {name}"), error.to_string()))?;
    }
    Ok(vectors)
}
