//! What Mnemon decides, without a database: facet types, one object-safe trait per facet, and
//! pure decisions. Nothing here reads a clock, draws a random number, or blocks.
//!
//! The stores (`mnemon-sqlite`, `mnemon-postgres`) act on these decisions; the `mnemon` crate
//! composes both into what users import.

pub mod checkpoints;
pub mod claims;
pub mod consumers;
pub mod dead_letters;
pub mod error;
pub mod events;
pub mod ids;
pub mod limits;
pub mod locks;
pub mod memories;
pub mod metric_names;
pub mod migrations;
pub mod page;
pub mod scope;
pub mod steps;
pub mod store;
pub mod troubles;
pub mod turns;
pub mod upkeep;
pub mod workflows;

pub use error::{Error, Result};
pub use ids::{EventId, Fence, MemoryId, RequestId};
pub use page::{Cursor, Page, Paged};
pub use scope::{Facet, Scope};
pub use store::Store;
