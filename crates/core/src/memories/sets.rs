//! Embedding sets: the vectors of one model each, and how one set takes another's place while
//! searches and writes go on.
//!
//! One set is *active*: recall searches it. Another may be *filling*: writers who know its model
//! write to it, and who fills it embeds what it lacks. When it lacks nothing, it becomes the active
//! one in one transaction; the set before is *retired*, and still answers those who come with a
//! vector of its model, until it is dropped.
//!
//! What a writer cannot embed is left out, never refused: a memory without a vector in the active
//! set is work that waits for upkeep, and found by its words meanwhile.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::ModelSignature;
use crate::error::{Error, Result};
use crate::ids::{Fence, MemoryId};
use crate::limits;
use crate::page::{Page, Paged};

/// A vector, and the model that made it.
#[derive(Clone, PartialEq, Debug)]
pub struct ModelVector {
    /// The model.
    pub model: Arc<ModelSignature>,
    /// What it made of a text.
    pub vector: Vec<f32>,
}

/// The number of an embedding set in its database.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SetId(pub i32);

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an embedding set is there for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SetState {
    /// Recall searches it; one of a database.
    Active,
    /// It is to become the active one; one of a database at the most.
    Filling,
    /// It was the active one, and is kept until it is dropped.
    Retired,
}

impl SetState {
    /// The name at rest.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Filling => "filling",
            Self::Retired => "retired",
        }
    }

    /// Reads the name at rest.
    ///
    /// # Errors
    ///
    /// [`Error::Corrupt`] for another one.
    pub fn read(text: &str) -> Result<Self> {
        match text {
            "active" => Ok(Self::Active),
            "filling" => Ok(Self::Filling),
            "retired" => Ok(Self::Retired),
            other => Err(Error::corrupt("the state of an embedding set", format!("is {other:?}"))),
        }
    }
}

/// An embedding set.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct EmbeddingSet {
    /// Its number.
    pub id: SetId,
    /// Whose vectors it holds.
    pub model: ModelSignature,
    /// What it is there for.
    pub state: SetState,
    /// When it was begun.
    pub created_at: DateTime<Utc>,
}

/// An embedding set, counted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetCounts {
    /// The set.
    pub set: EmbeddingSet,
    /// Vectors in it.
    pub vectors: u64,
    /// Memories that it has no vector of, or one of another text.
    pub lacking: u64,
    /// Who fills it now.
    pub holder: Option<String>,
}

/// Every set of a database.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SetsReport {
    /// Memories, of all tenants; those whose time is over are not counted.
    pub memories: u64,
    /// The sets, oldest first.
    pub sets: Vec<SetCounts>,
}

/// The right to fill a set, of one process at a time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FillLease {
    /// The set.
    pub set: SetId,
    /// Larger for every new holder.
    pub fence: Fence,
    /// How long it lasts after each sign of life.
    pub lasts: Duration,
}

/// A memory that a set lacks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lacking {
    /// Its tenant.
    pub tenant: String,
    /// Its id.
    pub id: MemoryId,
    /// What to embed.
    pub content: String,
    /// Of the content.
    pub content_hash: [u8; 32],
}

/// A vector for a set.
#[derive(Clone, PartialEq, Debug)]
pub struct Filling {
    /// The memory's tenant.
    pub tenant: String,
    /// The memory.
    pub id: MemoryId,
    /// The hash of the content that was embedded.
    pub content_hash: [u8; 32],
    /// The vector.
    pub vector: Vec<f32>,
}

/// What came of a batch of vectors.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Filled {
    /// Written.
    pub stored: u64,
    /// Not written: the memory is gone, or its text another one by now.
    pub skipped: u64,
}

/// What came of an attempt to make a set the active one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Switch {
    /// It is; so many domains have their middle by the new model.
    Switched {
        /// Domains whose centroid was computed anew.
        recentred: u64,
    },
    /// It still lacks this many memories; nothing was changed.
    Refused {
        /// How many.
        lacking: u64,
    },
}

/// The embedding sets of a store, over all its tenants.
///
/// # Contract
///
/// - Every method is one atomic operation.
/// - Writers, searches and these methods never wait for a model: vectors are made outside.
/// - A vector stands in the set of its model only, and only while it is of the memory's text.
/// - One process fills a set at a time; under an older fence nothing is written.
/// - Memories whose time is over are lacked by no set.
#[async_trait]
pub trait EmbeddingSets: Send + Sync {
    /// Every set, counted. Reads every memory's key: for people, not for every call.
    ///
    /// # Errors
    ///
    /// [`Error::Unavailable`] and [`Error::Backend`] only.
    async fn sets(&self) -> Result<SetsReport>;

    /// Finds the set of a model, or begins one: as the active set of a database that has none, else
    /// to be filled. The same model again answers the same set, also when a killed process began
    /// it; a retired set is filled again, with what it holds.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyExists`] while another model's set is filling; [`Error::Invalid`] as
    /// [`ModelSignature::check`]; [`Error::Setup`] when the database has no vector support.
    async fn begin(&self, model: &ModelSignature) -> Result<EmbeddingSet>;

    /// Takes the right to fill a set.
    ///
    /// # Errors
    ///
    /// [`Error::Held`] while another holder's lease lasts; [`Error::NotFound`];
    /// [`Error::Invalid`] for a lease outside [`limits::LEASE_MIN`] to [`limits::LEASE_MAX`].
    async fn claim(&self, set: SetId, holder: &str, lasts: Duration) -> Result<FillLease>;

    /// Memories that a set has no vector of, or one of another text; of no set: all. In an order
    /// that a cursor keeps its place in.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`] for the set; [`Error::Invalid`] for a foreign cursor.
    async fn lacking(&self, set: Option<SetId>, page: &Page) -> Result<Paged<Lacking>>;

    /// Writes vectors of the set's model, each where the memory still has the text it was made of,
    /// and renews the lease.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] when a newer holder exists; [`Error::Invalid`] for a vector that is none of
    /// the model's, or more than [`limits::REMEMBER_BATCH`] of them. Nothing is written then.
    async fn fill(&self, lease: &FillLease, vectors: Vec<Filling>) -> Result<Filled>;

    /// Makes the set the active one, and the one before a retired one, unless it lacks memories;
    /// which is decided where it is done. With `since`, memories changed at or after it may be
    /// lacking: their writers do not know the new model, and they are work for upkeep like all that
    /// such a writer writes after the switch. Domains whose centroid is of the set before get the
    /// middle of their memories in the new one.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] when a newer holder exists; [`Error::Invalid`] for a retired set.
    async fn switch(&self, lease: &FillLease, since: Option<DateTime<Utc>>) -> Result<Switch>;

    /// Gives the right to fill a set back, noting how many memories it lacked last.
    ///
    /// # Errors
    ///
    /// [`Error::Fenced`] when a newer holder exists.
    async fn release(&self, lease: &FillLease, lacking: u64) -> Result<()>;

    /// Drops a set that is not the active one, with its vectors.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for the active set; [`Error::Held`] while somebody fills it;
    /// [`Error::NotFound`].
    async fn drop_set(&self, set: SetId) -> Result<()>;
}

/// Where a memory's vectors go, by place in `sets`: the bare one to the active set, a model's to
/// that model's set. A vector of a model without a set here is left out, and of two for one set the
/// first counts.
///
/// # Errors
///
/// [`Error::Invalid`] for a vector that is none of its set's model; for a bare one without an
/// active set.
pub fn place<'v, S>(
    sets: &[S],
    known: impl Fn(&S) -> (&ModelSignature, SetState),
    bare: Option<&'v [f32]>,
    of_models: &'v [ModelVector],
) -> Result<Vec<(usize, &'v [f32])>> {
    let mut placed: Vec<(usize, &[f32])> = Vec::with_capacity(1 + of_models.len());
    if let Some(vector) = bare {
        let active = sets.iter().position(|set| known(set).1 == SetState::Active);
        let at = active.ok_or_else(|| {
            Error::invalid("embedding", "is given, but no model is registered in this database")
        })?;
        placed.push((at, vector));
    }
    for ModelVector { model, vector } in of_models {
        if let Some(at) = sets.iter().position(|set| known(set).0 == &**model)
            && !placed.iter().any(|(there, _)| *there == at)
        {
            placed.push((at, vector));
        }
    }
    for (at, vector) in &placed {
        known(&sets[*at]).0.check_vector("embedding", vector)?;
    }
    Ok(placed)
}

/// Checks what a batch for a set may be before it is sent.
///
/// # Errors
///
/// [`Error::Invalid`] for more than [`limits::REMEMBER_BATCH`] vectors.
pub fn check_batch(vectors: &[Filling]) -> Result<()> {
    limits::count("vectors", vectors.len(), limits::REMEMBER_BATCH)
}

/// Checks a lease's length.
///
/// # Errors
///
/// [`Error::Invalid`] outside [`limits::LEASE_MIN`] to [`limits::LEASE_MAX`].
pub fn check_lease(lasts: Duration) -> Result<()> {
    if (limits::LEASE_MIN..=limits::LEASE_MAX).contains(&lasts) {
        return Ok(());
    }
    Err(Error::invalid(
        "lease",
        format!(
            "is {} ms; it goes from {} to {}",
            lasts.as_millis(),
            limits::LEASE_MIN.as_millis(),
            limits::LEASE_MAX.as_millis()
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(name: &str) -> ModelSignature {
        ModelSignature { name: name.into(), dimension: 2, hash: name.into(), semantic: true }
    }

    fn by(name: &str, x: f32) -> ModelVector {
        ModelVector { model: Arc::new(model(name)), vector: vec![x, 1.0] }
    }

    fn placed(bare: Option<&[f32]>, of_models: &[ModelVector]) -> Result<Vec<(usize, Vec<f32>)>> {
        let sets = [
            (model("old"), SetState::Retired),
            (model("now"), SetState::Active),
            (model("next"), SetState::Filling),
        ];
        let placed = place(&sets, |(model, state)| (model, *state), bare, of_models)?;
        Ok(placed.into_iter().map(|(at, vector)| (at, vector.to_vec())).collect())
    }

    #[test]
    fn a_vector_goes_into_the_set_of_its_model_and_no_other() {
        let given = [by("next", 2.0), by("old", 3.0), by("unknown", 4.0), by("now", 5.0)];

        let found = placed(Some(&[1.0, 1.0]), &given).unwrap();

        assert_eq!(found, [(1, vec![1.0, 1.0]), (2, vec![2.0, 1.0]), (0, vec![3.0, 1.0])]);
        assert_eq!(placed(None, &[by("unknown", 1.0)]).unwrap(), []);
    }

    #[test]
    fn a_vector_that_is_none_of_its_set_s_model_is_refused() {
        let error = placed(Some(&[1.0]), &[]).unwrap_err();
        assert_eq!(error.to_string(), "embedding: has 1 dimensions; now has 2");

        let zero = ModelVector { vector: vec![0.0, 0.0], ..by("next", 1.0) };
        assert!(placed(None, &[zero]).is_err());
    }
}
