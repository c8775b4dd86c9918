//! Mnemon: one durable engine for everything an AI agent must not lose. Open a database, say who
//! is asking, remember, recall.
//!
//! ```
//! use mnemon::{Mnemon, NewMemory, Recall, Scope};
//!
//! # #[cfg(feature = "sqlite")]
//! #[tokio::main]
//! async fn main() -> mnemon::Result<()> {
//!     // One SQLite file; `postgres://…` opens a server, with the same answers.
//!     let db = Mnemon::open("sqlite::memory:").await?;
//!     let ada = Scope::tenant("acme").user("ada");
//!
//!     db.memories().remember(&ada, NewMemory::new("The launch is on 3 May")).await?;
//!     let hits = db.memories().recall(&ada, &Recall::text("when do we launch?")).await?;
//!
//!     assert_eq!(hits[0].memory.content, "The launch is on 3 May");
//!     db.close().await;
//!     Ok(())
//! }
//! # #[cfg(not(feature = "sqlite"))]
//! # fn main() {}
//! ```
//!
//! Every call takes a [`Scope`] first: nothing crosses a tenant, and what a user may not see is
//! not found. Every call fails with one [`Error`], whose variants say what a caller can do.
//!
//! Features: `sqlite` (default) and `postgres`, the databases built in.

mod builder;
pub mod checkpoints;
pub mod claims;
pub mod config;
pub mod dead_letters;
pub mod embed;
mod engine;
pub mod events;
mod http;
pub mod import;
mod location;
pub mod locks;
mod memories;
pub mod metrics;
pub mod oracle;
mod rejections;
pub mod runbook;
pub mod steps;
pub mod summarize;
#[cfg(feature = "tiktoken")]
pub mod tokens;
pub mod turns;
mod upkeep;
pub mod workflows;

pub use mnemon_core as core;

pub use builder::{Builder, migrations};
pub use config::Config;
pub use engine::Mnemon;
pub use memories::{Memories, Recalled, Reembed, ReembedProgress, ReembedReport, Relanguaged};
pub use upkeep::{Outcome, TaskReport, UpkeepOptions, UpkeepReport};

pub use mnemon_core::memories::{
    Classified, Comparison, Domain, Due, Edge, EmbeddingSet, Fusion, Hit, Language, Memory,
    MemoryFilter, MemoryPatch, MemoryStats, MetadataTest, ModelSignature, Namespace,
    NamespaceCount, Neighbor, NewDomain, NewEdge, NewMemory, Rating, Recall, Remembered, Review,
    ReviewEvent, Scheduling, SetCounts, SetId, SetState, SetsReport, Swept, Visibility, Wording,
};
pub use mnemon_core::migrations::{MigrateMode, Migration, Migrations, SchemaStatus};
pub use mnemon_core::steps::{Outcome as StepOutcome, Receipt, Step, Write};
pub use mnemon_core::store::{Backend, Finding, Severity, StoreHealth};
pub use mnemon_core::upkeep::{Task, TaskStatus};
pub use mnemon_core::{
    Cursor, Error, EventId, Facet, Fence, MemoryId, Page, Paged, RequestId, Result, Scope, Store,
};

#[cfg(feature = "postgres")]
pub use mnemon_postgres::{PgConnection, PgPool};
#[cfg(feature = "sqlite")]
pub use mnemon_sqlite::Clock;

/// This library's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The examples of the guides, run as tests; they open the embedded store.
#[cfg(all(doctest, feature = "sqlite"))]
mod guides {
    #[doc = include_str!("../../../README.md")]
    mod readme {}
    #[doc = include_str!("../../../docs/memories.md")]
    mod memories {}
    #[doc = include_str!("../../../docs/events.md")]
    mod events {}
    #[doc = include_str!("../../../docs/steps.md")]
    mod steps {}
    #[doc = include_str!("../../../docs/checkpoints.md")]
    mod checkpoints {}
    #[doc = include_str!("../../../docs/beliefs.md")]
    mod beliefs {}
    #[doc = include_str!("../../../docs/writing-an-oracle.md")]
    mod writing_an_oracle {}
    #[doc = include_str!("../../../docs/conversation-memory.md")]
    mod conversation_memory {}
    #[doc = include_str!("../../../docs/workflows-and-dead-letters.md")]
    mod workflows_and_dead_letters {}
}
