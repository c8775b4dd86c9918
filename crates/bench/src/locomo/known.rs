//! A model that embeds every text once: what is measured is the database, not the model.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use mnemon::ModelSignature;
use mnemon::embed::{Embedder, ModelChoice};

/// An embedder that remembers its answers.
pub(super) struct Known {
    inner: Arc<dyn Embedder>,
    vectors: Mutex<HashMap<String, Vec<f32>>>,
}

impl Known {
    /// The model of this name, as `--model` says it.
    pub(super) async fn load(model: &str) -> mnemon::Result<Self> {
        let config = mnemon::Config::default();
        let inner = model.parse::<ModelChoice>()?.load(&config.embedder, None).await?;
        Ok(Self { inner, vectors: Mutex::default() })
    }

    fn known(&self, text: &str) -> Option<Vec<f32>> {
        self.vectors.lock().unwrap_or_else(PoisonError::into_inner).get(text).cloned()
    }
}

#[async_trait::async_trait]
impl Embedder for Known {
    fn signature(&self) -> &ModelSignature {
        self.inner.signature()
    }

    async fn embed(&self, text: &str) -> mnemon::Result<Vec<f32>> {
        let mut vectors = self.embed_batch(&[text]).await?;
        Ok(vectors.pop().expect("one text in, one vector out"))
    }

    async fn embed_batch(&self, texts: &[&str]) -> mnemon::Result<Vec<Vec<f32>>> {
        let unknown: Vec<&str> =
            texts.iter().copied().filter(|text| self.known(text).is_none()).collect();
        if !unknown.is_empty() {
            let vectors = self.inner.embed_batch(&unknown).await?;
            let mut known = self.vectors.lock().unwrap_or_else(PoisonError::into_inner);
            known.extend(unknown.into_iter().map(str::to_owned).zip(vectors));
        }
        Ok(texts.iter().map(|text| self.known(text).expect("embedded above")).collect())
    }
}
