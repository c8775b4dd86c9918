//! A case: a name, what it needs of its database, and an async function that panics when a store
//! breaks its contract.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::ctx::{Ctx, Setup};

/// What a running case is.
pub type Running<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

type Run = Arc<dyn for<'a> Fn(&'a Ctx) -> Running<'a> + Send + Sync>;

/// One contract, checked on a fresh database.
#[derive(Clone)]
pub struct Case {
    /// `memories::equal_content_is_one_memory`.
    pub name: String,
    /// What its database must have before it starts.
    pub setup: Setup,
    run: Run,
}

impl Case {
    /// A case of a function.
    pub(crate) fn new(
        name: impl Into<String>,
        setup: Setup,
        run: impl for<'a> Fn(&'a Ctx) -> Running<'a> + Send + Sync + 'static,
    ) -> Self {
        Self { name: name.into(), setup, run: Arc::new(run) }
    }

    /// Runs the case on a database of its own.
    pub async fn run(&self, ctx: &Ctx) {
        (self.run)(ctx).await;
    }
}

impl std::fmt::Debug for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .field("setup", &self.setup)
            .finish_non_exhaustive()
    }
}

/// Makes private case functions public: `setup; facet => module::{case, case}`. The only way into
/// the suite; a case that is not here is dead code, and dead code fails the build.
macro_rules! cases {
    ($setup:expr; $($facet:literal => $module:ident $(:: $inner:ident)? { $($case:ident),* $(,)? })*) => {
        {
            let mut cases = Vec::new();
            $({
                use $module $(:: $inner)? as group;
                cases.extend([$(
                    $crate::case::Case::new(
                        concat!($facet, "::", stringify!($case)),
                        $setup.clone(),
                        |ctx| Box::pin(group::$case(ctx)),
                    ),
                )*]);
            })*
            cases
        }
    };
}

pub(crate) use cases;
