//! Counts: what a scope sees, by namespace and altogether, and what a sweep removed.

use serde::{Deserialize, Serialize};

use super::{ModelSignature, Namespace};

/// A namespace and how many memories a scope sees in it, those below it not counted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NamespaceCount {
    /// The namespace.
    pub namespace: Namespace,
    /// Memories in it.
    pub memories: u64,
}

/// What a scope sees, counted.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[doc(alias = "StoreStats")]
pub struct MemoryStats {
    /// Memories.
    pub memories: u64,
    /// Those with a vector of the registered model.
    pub with_vectors: u64,
    /// Those that were reviewed.
    pub scheduled: u64,
    /// Those that are due now.
    pub due: u64,
    /// Edges of which both ends are seen.
    pub edges: u64,
    /// Domains.
    pub domains: u64,
    /// The registered model.
    pub model: Option<ModelSignature>,
}

/// What a sweep removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Swept {
    /// Memories whose time was over.
    pub expired: u64,
    /// Vectors of another text than their memory's.
    pub orphans: u64,
    /// Whether there may be more: a sweep takes at most [`crate::limits::SWEEP_BATCH`] memories.
    pub more: bool,
}
