//! A step inside a transaction of the host's: its tables and Mnemon's change together, or neither.

use mnemon_core::steps::{Receipt, Step};
use mnemon_core::{Error, Result, Scope};
use mnemon_postgres::{PgConnection, PostgresStore};

use crate::engine::Mnemon;

impl Mnemon {
    /// Commits a step inside the caller's own transaction (READ COMMITTED), on PostgreSQL: it
    /// happens when that commits, together with what the caller writes, and not at all when that
    /// is rolled back. The receipt is true once the caller has committed; after an error the
    /// caller rolls back, and sends the whole again.
    ///
    /// Memories without a vector are embedded here, unless the step has happened already, while
    /// the caller's transaction stands open. [`Mnemon::embed_step`] beforehand leaves nothing to
    /// embed. No other connection than the caller's is used, so a pool of one is enough.
    ///
    /// ```no_run
    /// # async fn example(pool: mnemon::PgPool) -> Result<(), Box<dyn std::error::Error>> {
    /// use mnemon::{Mnemon, NewMemory, RequestId, Scope, Step, Write};
    ///
    /// let db = Mnemon::from_pool(pool.clone()).await?;
    /// let scope = Scope::tenant("acme").user("ada");
    /// let step = Step::new(RequestId::parse("order-7")?)
    ///     .write(Write::Remember(Box::new(NewMemory::new("Ada ordered a tent"))));
    ///
    /// let step = db.embed_step(&scope, step).await?;
    /// let mut tx = pool.begin().await?;
    /// sqlx::query("insert into orders (id) values (7)").execute(&mut *tx).await?;
    /// db.commit_in(&mut tx, &scope, step).await?;
    /// tx.commit().await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`Mnemon::commit`]; [`Error::Setup`] on an embedded database. Nothing is sent again here:
    /// the transaction is the caller's.
    pub async fn commit_in(
        &self,
        conn: &mut PgConnection,
        scope: &Scope,
        step: Step,
    ) -> Result<Receipt> {
        self.inner().ready()?;
        let outcome = match step.check(scope) {
            Ok(()) => self.join(conn, scope, step).await,
            Err(error) => Err(error),
        };
        self.watched_aside(scope, &outcome);
        outcome
    }

    async fn join(
        &self,
        conn: &mut PgConnection,
        scope: &Scope,
        mut step: Step,
    ) -> Result<Receipt> {
        let store = self.postgres()?;
        // By the caller's connection: another one may be more than its pool has.
        if self.wants_vectors(&step) && store.receipt_in(conn, scope, &step.id).await?.is_none() {
            self.add_vectors(scope, &mut step).await?;
        }
        self.inner().ready()?;
        store.commit_in(conn, scope, step).await
    }

    fn postgres(&self) -> Result<&PostgresStore> {
        self.inner().postgres.as_deref().ok_or_else(|| {
            Error::setup(
                "an embedded database has no transaction that a host could join",
                "open PostgreSQL, or commit the step by itself",
            )
        })
    }

    /// Notes a refused scope without waiting for a connection, as the caller holds one.
    fn watched_aside<T>(&self, scope: &Scope, outcome: &Result<T>) {
        let Err(Error::ScopeRequired { facet, missing }) = outcome else { return };
        let (db, scope, facet, missing) = (self.clone(), scope.clone(), *facet, *missing);
        tokio::spawn(async move {
            let inner = db.inner();
            inner.rejections.note(inner.store.as_ref(), &scope, facet, missing).await;
        });
    }
}
