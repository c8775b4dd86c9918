//! One suite for every Mnemon store: the contracts of `mnemon-core`'s traits as named tests, run
//! alike on SQLite, PostgreSQL 18 and PostgreSQL 16.
//!
//! ```text
//! cargo test -p mnemon-conformance                                 SQLite
//! MNEMON_TEST_POSTGRES=1 cargo test -p mnemon-conformance          all three
//! cargo test -p mnemon-conformance -- sqlite::memories::a_phrase   some
//! ```
//!
//! **A case** is a private `async fn(&Ctx)` in the module of its facet that panics when the
//! contract is broken. It gets a fresh database. Name it in [`cases`]: that list is the only way
//! into the suite, and a case missing there is dead code, which fails the build. Cases ask only
//! through `dyn Store`, with a second handle ([`Ctx::another`]), the database's clock
//! ([`Ctx::move_clock`]) and a count of rows behind the store's back ([`Ctx::rows`]). None
//! depends on how long something takes.
//!
//! **What to expect** is computed, not written down, where a rule exists: the module `model`
//! holds visibility as the scope table says it, and memories with core's own text analysis and
//! BM25 over plain vectors.
//!
//! **A facet** joins the isolation matrix with a `Probe` in `isolation/`: how to write a row of a
//! scope, and what each verb shows. Its key, owner and filter parts come from
//! [`mnemon_core::Facet::rule`]. Until then it stands in `isolation::NOT_BUILT`. Give
//! [`FailingStore`] its trait, too.
//!
//! **Crashes and fights** are the stores' own tests, as only they know where to kill a process and
//! how to move its clock; what the writers write, and what must stand afterwards, is in
//! [`crashes`] and [`fights`].
//!
//! **A database** joins with a [`Provider`] in `tests/conformance.rs`: a fresh database, further
//! handles on it, its clock, a row count. A store that cannot do something says so there
//! ([`Provider::row_level_security`]); the run prints what was left out for it.

// A case that is not in the list must fail every build, not only the one that denies warnings.
#![deny(dead_code)]

mod case;
mod check;
mod checkpoints;
mod claims;
mod consumers;
pub mod crashes;
mod ctx;
mod dead_letters;
mod events;
mod failing;
mod faults;
pub mod fights;
mod installation;
mod isolation;
mod list;
mod locks;
mod memories;
mod model;
mod steps;
mod subscriptions;
mod turns;
mod upkeep;
mod workflows;

pub use async_trait::async_trait;
pub use case::{Case, Running};
pub use ctx::{Ctx, Database, Provider, Setup};
pub use failing::{FailingStore, Fault, When};
pub use list::cases;
