//! Turns on PostgreSQL: a head per key counts, rows are appended and never rewritten.

pub(crate) mod append;
mod copy;
mod read;
pub(crate) mod remove;
mod summarize;

use async_trait::async_trait;
use mnemon_core::locks::{Guard, check_holder};
use mnemon_core::scope::Facet;
use mnemon_core::turns::{
    Assignment, Attempt, Context, Due, Export, Imported, Key, NewTurn, Place, Removed, SessionInfo,
    Settings, Standing, Summary, Turn, TurnAppended, Turns,
};
use mnemon_core::{Cursor, Page, Paged, Result, Scope};

use crate::link::{Call, Retry, work};
use crate::locks;
use crate::store::PostgresStore;

fn calling<'a>(doing: &'static str, tenant: &'a str) -> Call<'a> {
    Call { doing, tenant: Some(tenant), retry: Retry::Idempotent }
}

#[async_trait]
impl Turns for PostgresStore {
    async fn append(
        &self,
        scope: &Scope,
        turn: NewTurn,
        guard: Option<&Guard>,
    ) -> Result<TurnAppended> {
        let scope = &scope.admit(Facet::Turns)?;
        turn.check()?;
        let key = turn.key();
        Place::of(scope, &key)?;
        locks::check_guard(guard)?;
        let call = calling("appending a turn", scope.tenant);
        let turn = &append::Prepared::of(turn, &self.turns).named();
        if let Some(guard) = guard {
            return self
                .link
                .transaction(call, |conn| {
                    work(async move {
                        locks::guard(conn, scope, std::slice::from_ref(guard)).await?;
                        append::append(conn, scope, turn).await
                    })
                })
                .await;
        }
        for _ in 1..append::ROUNDS {
            let done = self
                .link
                .run(call, |conn| work(async move { append::alone(conn, scope, turn).await }))
                .await;
            // Two calls of one request met: one of them wrote it, and is found next time.
            if !append::met(&done) {
                return done;
            }
        }
        self.link
            .transaction(call, |conn| work(async move { append::append(conn, scope, turn).await }))
            .await
    }

    async fn list(&self, scope: &Scope, key: &Key, page: &Page) -> Result<Paged<Turn>> {
        let place = &Place::of(&scope.admit(Facet::Turns)?, key)?;
        let after = read::after(page, read::LIST)?;
        let most = i64::from(page.limit) + 1;
        let turns = self
            .link
            .run(calling("listing turns", place.tenant), |conn| {
                work(async move { read::following(conn, place, after, most).await })
            })
            .await?;
        let cursor = |turn: &Turn| Cursor::of(read::LIST, &[&turn.seq.to_string()]);
        Ok(Paged::cut(turns, page.limit, cursor))
    }

    async fn context(&self, scope: &Scope, key: &Key) -> Result<Context> {
        let place = &Place::of(&scope.admit(Facet::Turns)?, key)?;
        let defaults = &self.turns;
        self.link
            .run(calling("reading a context", place.tenant), |conn| {
                work(async move { read::context(conn, place, defaults).await })
            })
            .await
    }

    async fn configure(&self, scope: &Scope, key: &Key, settings: &Settings) -> Result<()> {
        let place = &Place::of(&scope.admit(Facet::Turns)?, key)?;
        settings.check()?;
        self.link
            .transaction(calling("configuring turns", place.tenant), |conn| {
                work(async move { append::configure(conn, place, settings).await })
            })
            .await
    }

    async fn clear(&self, scope: &Scope, key: &Key) -> Result<Removed> {
        let place = &Place::of(&scope.admit(Facet::Turns)?, key)?;
        self.link
            .transaction(calling("clearing turns", place.tenant), |conn| {
                work(async move { remove::clear(conn, place).await })
            })
            .await
    }

    async fn health(&self, scope: &Scope, key: &Key) -> Result<Standing> {
        let place = &Place::of(&scope.admit(Facet::Turns)?, key)?;
        let head = self
            .link
            .run(calling("reading a session's health", place.tenant), |conn| {
                work(async move { read::head(conn, place).await })
            })
            .await?;
        Ok(head.map(|head| head.standing()).unwrap_or_default())
    }

    async fn summaries(&self, scope: &Scope, key: &Key, page: &Page) -> Result<Paged<Summary>> {
        let place = &Place::of(&scope.admit(Facet::Turns)?, key)?;
        let after = read::after(page, read::SUMMARIES)?;
        let most = i64::from(page.limit) + 1;
        let links = self
            .link
            .run(calling("listing summaries", place.tenant), |conn| {
                work(async move { read::chain(conn, place, after, most).await })
            })
            .await?;
        let cursor = |link: &Summary| Cursor::of(read::SUMMARIES, &[&link.seq_to.to_string()]);
        Ok(Paged::cut(links, page.limit, cursor))
    }

    async fn export(&self, scope: &Scope, key: &Key) -> Result<Export> {
        let place = &Place::of(&scope.admit(Facet::Turns)?, key)?;
        let defaults = &self.turns;
        self.link
            .run(calling("exporting turns", place.tenant), |conn| {
                work(async move { copy::export(conn, place, defaults).await })
            })
            .await
    }

    async fn import(&self, scope: &Scope, key: &Key, export: &Export) -> Result<Imported> {
        let place = &Place::of(&scope.admit(Facet::Turns)?, key)?;
        export.check()?;
        let retention = self.turns.settings.retention;
        self.link
            .transaction(calling("importing turns", place.tenant), |conn| {
                work(async move { copy::import(conn, place, export, retention).await })
            })
            .await
    }

    async fn list_sessions(&self, scope: &Scope, page: &Page) -> Result<Paged<SessionInfo>> {
        let scope = &scope.admit_person(Facet::Turns)?;
        page.check()?;
        let after = match &page.cursor {
            Some(cursor) => cursor.parts::<1>(read::SESSIONS)?[0],
            None => "",
        };
        let limit = page.limit;
        let found = self
            .link
            .run(calling("listing sessions", scope.tenant), |conn| {
                work(async move { read::sessions(conn, scope, after, limit).await })
            })
            .await?;
        Ok(Paged::cut(found, limit, |info| Cursor::of(read::SESSIONS, &[&info.session])))
    }

    async fn delete_session(&self, scope: &Scope) -> Result<Removed> {
        let scope = &scope.admit(Facet::Turns)?;
        self.link
            .transaction(calling("deleting a session", scope.tenant), |conn| {
                work(async move { remove::delete(conn, scope, scope.session).await })
            })
            .await
    }

    async fn delete_user(&self, scope: &Scope) -> Result<Removed> {
        let scope = &scope.admit_person(Facet::Turns)?;
        self.link
            .transaction(calling("deleting a user's turns", scope.tenant), |conn| {
                work(async move { remove::delete(conn, scope, None).await })
            })
            .await
    }

    async fn take(&self, scope: &Scope, key: &Key, holder: &str) -> Result<Option<Assignment>> {
        let place = &Place::of(&scope.admit(Facet::Turns)?, key)?;
        check_holder(holder)?;
        self.link
            .transaction(calling("taking a summary", place.tenant), |conn| {
                work(async move { summarize::take(conn, place, holder).await })
            })
            .await
    }

    async fn settle(
        &self,
        scope: &Scope,
        key: &Key,
        assignment: &Assignment,
        attempt: &Attempt,
    ) -> Result<Standing> {
        let scope = &scope.admit(Facet::Turns)?;
        let place = &Place::of(scope, key)?;
        let call = calling("settling a summary", place.tenant);
        let defaults = &self.turns;
        self.with_partition(|| {
            Box::pin(self.link.transaction(call, |conn| {
                work(async move {
                    summarize::settle(conn, scope, place, assignment, attempt, defaults).await
                })
            }))
        })
        .await
    }

    async fn due(&self, limit: u32) -> Result<Vec<Due>> {
        let call =
            Call { doing: "looking for due summaries", tenant: None, retry: Retry::Idempotent };
        self.link
            .maintenance()
            .run(call, |conn| work(async move { summarize::due(conn, limit).await }))
            .await
    }
}
