//! Recall, and what it had to do without.

use std::sync::Arc;

use mnemon_core::memories::{Hit, ModelSignature, Recall};
use mnemon_core::{Error, Facet, Result, Scope, limits};
use serde::{Deserialize, Serialize};

use super::Memories;
use crate::embed::{Embedder, vectors};

/// What a recall found, and what it had to do without.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Recalled {
    /// The hits, best first.
    pub hits: Vec<Hit>,
    /// Why only words were searched, when a model is set and could not be used: it does not answer,
    /// or this database went over to another one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub words_only: Option<String>,
}

/// What became of a question.
enum Asked {
    /// It goes to the store as the caller put it.
    Given,
    /// Its text has a vector.
    Embedded(Recall),
    /// The model does not answer.
    Unanswered(Error),
}

impl Memories<'_> {
    /// Finds memories by words, by meaning, or both, best first. A question in words is embedded
    /// too, unless it brings a vector of its own.
    ///
    /// A model that does not answer makes no recall fail: the words are searched alone, and
    /// [`Memories::recalled`] says so.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] as [`Recall::check`], or for a vector of another dimension than the
    /// registered model's; [`Error::ModelMismatch`] for a vector of one's own after the database
    /// went over to another model; [`Error::Setup`] when a vector is given and the database has no
    /// vector support; [`Error::ScopeRequired`]; an embedder's own.
    #[doc(alias = "search")]
    pub async fn recall(self, scope: &Scope, question: &Recall) -> Result<Vec<Hit>> {
        Ok(self.recalled(scope, question).await?.hits)
    }

    /// As [`Memories::recall`], saying what had to be done without.
    ///
    /// # Errors
    ///
    /// As [`Memories::recall`].
    pub async fn recalled(self, scope: &Scope, question: &Recall) -> Result<Recalled> {
        self.inner.ready()?;
        let outcome = self.search(scope, question).await;
        self.inner.watched(scope, outcome).await
    }

    async fn search(self, scope: &Scope, question: &Recall) -> Result<Recalled> {
        let store = self.inner.store.memories();
        let Some(own) = self.inner.models.own() else {
            return Ok(Recalled { hits: store.recall(scope, question).await?, words_only: None });
        };
        let model = Some(Arc::new(own.signature().clone()));
        let (asked, words_only) = match embedded(own.as_ref(), scope, question).await? {
            Asked::Given => (Recall { model, ..question.clone() }, None),
            Asked::Embedded(asked) => (Recall { model, ..asked }, None),
            Asked::Unanswered(error) => (question.clone(), Some(error.to_string())),
        };
        self.inner.ready()?;
        let (registered, offered) = match store.recall(scope, &asked).await {
            Ok(hits) => return Ok(Recalled { hits, words_only }),
            Err(Error::ModelMismatch { registered, offered }) if question.embedding.is_none() => {
                (registered, offered)
            }
            Err(error) => return Err(error),
        };
        self.search_again(scope, question, registered, offered).await
    }

    /// The set was dropped that the handle's own model filled: the question is put by the model of
    /// the active set, if this handle knows it by now, else in words.
    async fn search_again(
        self,
        scope: &Scope,
        question: &Recall,
        registered: ModelSignature,
        offered: ModelSignature,
    ) -> Result<Recalled> {
        let store = self.inner.store.memories();
        if let Some(embedder) = self.inner.models.by(&registered)
            && let Asked::Embedded(asked) = embedded(embedder.as_ref(), scope, question).await?
        {
            let asked = Recall { model: Some(Arc::new(registered)), ..asked };
            return Ok(Recalled { hits: store.recall(scope, &asked).await?, words_only: None });
        }
        let why = Error::ModelMismatch { registered, offered }.to_string();
        Ok(Recalled { hits: store.recall(scope, question).await?, words_only: Some(why) })
    }
}

/// The question with the vector of its text. What the store will refuse is left alone.
async fn embedded(embedder: &dyn Embedder, scope: &Scope, question: &Recall) -> Result<Asked> {
    let (Some(text), None) = (&question.text, &question.embedding) else {
        return Ok(Asked::Given);
    };
    let refused = scope.admit(Facet::Memories).is_err() || question.check().is_err();
    if refused || text.trim().is_empty() {
        return Ok(Asked::Given);
    }
    let vector = match vectors(embedder, &[text]).await {
        Ok(mut vectors) => vectors.pop(),
        Err(error @ Error::Unavailable { .. }) => return Ok(Asked::Unanswered(error)),
        Err(error) => return Err(error),
    };
    let mut asked = Recall { embedding: vector, ..question.clone() };
    if !embedder.signature().semantic {
        // Without meaning every text is a little similar to every other: noise is no answer.
        asked.min_similarity.get_or_insert(limits::LEXICAL_SIMILARITY_MIN);
    }
    Ok(Asked::Embedded(asked))
}
