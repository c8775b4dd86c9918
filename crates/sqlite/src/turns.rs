//! Turns in SQLite: a head per key counts, rows are appended and never rewritten.

/// The condition on a key, whose parts are the first five values.
macro_rules! at_key {
    () => {
        "tenant = ?1 and user_id = ?2 and session_id = ?3 and run_key = ?4 and kind = ?5"
    };
}

pub(crate) mod append;
pub(crate) mod copy;
pub(crate) mod read;
pub(crate) mod remove;
pub(crate) mod summarize;

use async_trait::async_trait;
use mnemon_core::locks::{Guard, check_holder};
use mnemon_core::turns::{
    Assignment, Attempt, Context, Due, Export, Imported, Key, NewTurn, Place, Removed, SessionInfo,
    Settings, Standing, Summary, Turn, TurnAppended, Turns,
};
use mnemon_core::{Facet, Page, Paged, Result, Scope};
use rusqlite::Connection;

use crate::error::Done;
use crate::locks;
use crate::store::SqliteStore;

impl SqliteStore {
    /// Reads at a key.
    async fn read_at<T, F>(
        &self,
        doing: &'static str,
        scope: &Scope,
        key: &Key,
        body: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Connection, &Place<'_>) -> Done<T> + Send + 'static,
    {
        self.alive()?;
        Place::of(&scope.admit(Facet::Turns)?, key)?;
        let (scope, key) = (scope.clone(), key.clone());
        self.read(doing, move |conn| body(conn, &Place::of(&scope.admit(Facet::Turns)?, &key)?))
            .await
    }

    /// Writes at a key.
    async fn write_at<T, F>(
        &self,
        doing: &'static str,
        scope: &Scope,
        key: &Key,
        body: F,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: Fn(&Connection, &Place<'_>) -> Done<T> + Send + 'static,
    {
        self.alive()?;
        Place::of(&scope.admit(Facet::Turns)?, key)?;
        let (scope, key) = (scope.clone(), key.clone());
        self.write(doing, move |conn| body(conn, &Place::of(&scope.admit(Facet::Turns)?, &key)?))
            .await
    }
}

#[async_trait]
impl Turns for SqliteStore {
    async fn append(
        &self,
        scope: &Scope,
        turn: NewTurn,
        guard: Option<&Guard>,
    ) -> Result<TurnAppended> {
        self.alive()?;
        let admitted = scope.admit(Facet::Turns)?;
        turn.check()?;
        turn.key().run_of(&admitted)?;
        locks::check_guard(guard)?;
        let (scope, guard) = (scope.clone(), guard.cloned());
        let turn = append::Prepared::of(turn, &self.turns);
        self.write("appending a turn", move |conn| {
            let scope = scope.admit(Facet::Turns)?;
            locks::guard(conn, &scope, guard.as_ref())?;
            append::append(conn, &scope, &turn)
        })
        .await
    }

    async fn list(&self, scope: &Scope, key: &Key, page: &Page) -> Result<Paged<Turn>> {
        scope.admit(Facet::Turns)?;
        let (after, limit) = read::after(page, read::LIST)?;
        self.read_at("listing turns", scope, key, move |conn, place| {
            read::list(conn, place, after, limit)
        })
        .await
    }

    async fn context(&self, scope: &Scope, key: &Key) -> Result<Context> {
        let defaults = self.turns.clone();
        self.read_at("reading a context", scope, key, move |conn, place| {
            read::context(conn, place, &defaults)
        })
        .await
    }

    async fn configure(&self, scope: &Scope, key: &Key, settings: &Settings) -> Result<()> {
        scope.admit(Facet::Turns)?;
        settings.check()?;
        let settings = *settings;
        self.write_at("configuring turns", scope, key, move |conn, place| {
            append::configure(conn, place, &settings)
        })
        .await
    }

    async fn clear(&self, scope: &Scope, key: &Key) -> Result<Removed> {
        self.write_at("clearing turns", scope, key, remove::clear).await
    }

    async fn health(&self, scope: &Scope, key: &Key) -> Result<Standing> {
        self.read_at("reading a session's health", scope, key, |conn, place| {
            Ok(read::head(conn, place)?.map(|head| head.standing()).unwrap_or_default())
        })
        .await
    }

    async fn summaries(&self, scope: &Scope, key: &Key, page: &Page) -> Result<Paged<Summary>> {
        scope.admit(Facet::Turns)?;
        let (after, limit) = read::after(page, read::SUMMARIES)?;
        self.read_at("listing summaries", scope, key, move |conn, place| {
            read::summaries(conn, place, after, limit)
        })
        .await
    }

    async fn export(&self, scope: &Scope, key: &Key) -> Result<Export> {
        let defaults = self.turns.clone();
        self.read_at("exporting turns", scope, key, move |conn, place| {
            copy::export(conn, place, &defaults)
        })
        .await
    }

    async fn import(&self, scope: &Scope, key: &Key, export: &Export) -> Result<Imported> {
        scope.admit(Facet::Turns)?;
        export.check()?;
        let (export, retention) = (export.clone(), self.turns.settings.retention);
        self.write_at("importing turns", scope, key, move |conn, place| {
            copy::import(conn, place, &export, retention)
        })
        .await
    }

    async fn list_sessions(&self, scope: &Scope, page: &Page) -> Result<Paged<SessionInfo>> {
        self.alive()?;
        scope.admit_person(Facet::Turns)?;
        page.check()?;
        let after = match &page.cursor {
            Some(cursor) => cursor.parts::<1>(read::SESSIONS)?[0].to_owned(),
            None => String::new(),
        };
        let (scope, limit) = (scope.clone(), page.limit);
        self.read("listing sessions", move |conn| {
            read::sessions(conn, &scope.admit_person(Facet::Turns)?, &after, limit)
        })
        .await
    }

    async fn delete_session(&self, scope: &Scope) -> Result<Removed> {
        self.alive()?;
        scope.admit(Facet::Turns)?;
        let scope = scope.clone();
        self.write("deleting a session", move |conn| {
            let scope = scope.admit(Facet::Turns)?;
            remove::delete(conn, &scope, scope.session)
        })
        .await
    }

    async fn delete_user(&self, scope: &Scope) -> Result<Removed> {
        self.alive()?;
        scope.admit_person(Facet::Turns)?;
        let scope = scope.clone();
        self.write("deleting a user's turns", move |conn| {
            remove::delete(conn, &scope.admit_person(Facet::Turns)?, None)
        })
        .await
    }

    async fn take(&self, scope: &Scope, key: &Key, holder: &str) -> Result<Option<Assignment>> {
        scope.admit(Facet::Turns)?;
        check_holder(holder)?;
        let holder = holder.to_owned();
        self.write_at("taking a summary", scope, key, move |conn, place| {
            summarize::take(conn, place, &holder)
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
        self.alive()?;
        Place::of(&scope.admit(Facet::Turns)?, key)?;
        let (scope, key) = (scope.clone(), key.clone());
        let (assignment, attempt) = (assignment.clone(), attempt.clone());
        let defaults = self.turns.clone();
        self.write("settling a summary", move |conn| {
            let scope = scope.admit(Facet::Turns)?;
            summarize::settle(conn, &scope, &key, &assignment, &attempt, &defaults)
        })
        .await
    }

    async fn due(&self, limit: u32) -> Result<Vec<Due>> {
        self.alive()?;
        self.read("looking for due summaries", move |conn| summarize::due(conn, limit)).await
    }
}
