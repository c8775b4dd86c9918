//! Writing memories: one statement for the whole batch ([`insert`]), in a canonical order so that
//! two batches cannot deadlock; what was already there is found by looking again, never by
//! recovering from an error.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::Datelike as _;
use mnemon_core::memories::text::{Document, Known, Language, analyze};
use mnemon_core::memories::{NewMemory, Remembered};
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::{Error, MemoryId, RequestId, Scope};
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::insert::insert;
use super::{language, ways};
use crate::error::Fault;
use crate::models;

/// How often what stands in the way is cleared before the caller is asked to try again. Each
/// round means that somebody else wrote or removed the very same memory meanwhile.
const ROUNDS: usize = 8;

/// The first whole year that a `timestamptz` holds.
const FIRST_YEAR: i32 = -4712;

/// A memory checked, cut into words and named; writing it again writes the same row.
pub(crate) struct Draft {
    pub(super) id: Uuid,
    pub(super) memory: NewMemory,
    pub(super) visibility: &'static str,
    pub(super) hash: [u8; 32],
    /// Cut in this language.
    pub(super) language: Language,
    pub(super) document: Document,
    known: Arc<Known>,
}

/// Checks every memory before anything is written. `named` says whether errors name the entry.
pub(crate) fn draft(
    scope: &Scope,
    memories: Vec<NewMemory>,
    named: bool,
    known: &Arc<Known>,
) -> Result<Vec<Draft>, Error> {
    let admitted = scope.admit(Facet::Memories)?;
    for (n, memory) in memories.iter().enumerate() {
        memory
            .check(&admitted)
            .and_then(|()| check_times(memory))
            .map_err(|error| entry(error, named.then_some(n)))?;
    }
    Ok(memories.into_iter().map(|memory| Draft::new(&admitted, memory, known)).collect())
}

/// PostgreSQL's calendar begins in 4714 BC; chrono's much earlier, and ends sooner.
pub(super) fn check_times(memory: &NewMemory) -> Result<(), Error> {
    for (field, time) in [
        ("valid_from", memory.valid_from),
        ("valid_until", memory.valid_until),
        ("expires_at", memory.expires_at),
        ("created_at", memory.created_at),
    ] {
        if time.is_some_and(|time| time.year() < FIRST_YEAR) {
            return Err(Error::invalid(field, format!("is before the year {FIRST_YEAR}")));
        }
    }
    Ok(())
}

/// Names the entry of a batch: `content` becomes `memories[3].content`.
fn entry(error: Error, n: Option<usize>) -> Error {
    match (error, n) {
        (Error::Invalid { field, reason }, Some(n)) => {
            Error::invalid(format!("memories[{n}].{field}"), reason)
        }
        (error, _) => error,
    }
}

impl Draft {
    fn new(scope: &Admitted<'_>, memory: NewMemory, known: &Arc<Known>) -> Self {
        let language = known.get().language;
        Self {
            id: Uuid::now_v7(),
            visibility: memory.visibility_for(scope).as_str(),
            hash: memory.content_hash(),
            language,
            document: analyze(language, &memory.content, &memory.node_type, &memory.tags),
            known: Arc::clone(known),
            memory,
        }
    }

    /// The same row with its words in the language that is known by now.
    fn anew(&self) -> Self {
        let (memory, language) = (self.memory.clone(), self.known.get().language);
        Self {
            id: self.id,
            visibility: self.visibility,
            hash: self.hash,
            language,
            document: analyze(language, &memory.content, &memory.node_type, &memory.tags),
            known: Arc::clone(&self.known),
            memory,
        }
    }

    /// Whether only an equal memory can stand in its way.
    pub(super) fn is_free(&self) -> bool {
        self.memory.key.is_none() && self.memory.request_id.is_none()
    }

    /// Whether it brings a vector.
    pub(super) fn has_vectors(&self) -> bool {
        self.memory.embedding.is_some() || !self.memory.vectors.is_empty()
    }

    /// Which of the sets its vectors go to, each checked.
    pub(super) fn placed(&self, sets: &[models::Set]) -> Result<Vec<(usize, &[f32])>, Error> {
        models::place(sets, self.memory.embedding.as_deref(), &self.memory.vectors)
    }

    /// Whether its vectors fit the sets.
    pub(crate) fn check(&self, sets: &[models::Set]) -> Result<(), Error> {
        self.placed(sets).map(drop)
    }

    /// The request that writes it.
    pub(super) fn request(&self) -> Option<&str> {
        self.memory.request_id.as_ref().map(RequestId::as_str)
    }
}

/// Lets one batch of an owner with keys or request ids write at a time. Rows go in by content, so
/// batches meet in one order there; but no order of rows is also an order of their keys, and
/// batches that met in both indexes could wait for each other.
async fn one_batch_at_a_time(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    drafts: &[Draft],
) -> Result<(), Fault> {
    if drafts.len() < 2 || drafts.iter().all(Draft::is_free) {
        return Ok(());
    }
    let owner = format!(
        "mnemon.memories\u{1f}{}\u{1f}{}\u{1f}{}",
        scope.tenant,
        scope.user.unwrap_or_default(),
        scope.agent.unwrap_or_default()
    );
    sqlx::query("select pg_advisory_xact_lock(hashtextextended($1, 0))")
        .bind(owner)
        .execute(conn)
        .await?;
    Ok(())
}

/// Writes a batch inside the caller's transaction, with vectors for these sets, as
/// [`check_vectors`] found them; outcomes in the order given.
pub(crate) async fn all(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    drafts: &[Draft],
    sets: &[models::Set],
) -> Result<Vec<Remembered>, Fault> {
    one_batch_at_a_time(conn, scope, drafts).await?;
    let mut outcomes: BTreeMap<Uuid, Remembered> = BTreeMap::new();
    let (mut left, repeats) = first_requests(drafts);
    for _ in 0..ROUNDS {
        let made = insert(conn, scope, &left, sets, false).await?;
        for id in made {
            outcomes.insert(id, Remembered { id: MemoryId(id), created: true });
        }
        left.retain(|draft| !outcomes.contains_key(&draft.id));
        if left.is_empty() {
            break;
        }
        if outcomes.is_empty() && is_outdated(conn, left[0]).await? {
            let drafts: Vec<Draft> = drafts.iter().map(Draft::anew).collect();
            return Box::pin(all(conn, scope, &drafts, sets)).await;
        }
        let found = ways::find(conn, scope, &left).await?;
        ways::remove_expired(conn, scope, &found).await?;
        let mut met = Vec::new();
        left = ways::settle(left, &found, &mut outcomes, &mut met)?;
        ways::note_requests(conn, scope, &met).await?;
        if left.is_empty() {
            break;
        }
    }
    if let Some(draft) = left.first() {
        let key = draft.memory.key.clone().unwrap_or_else(|| draft.id.to_string());
        return Err(Error::Conflict { kind: "memory", key, expected: None, actual: None }.into());
    }
    for (repeat, first) in repeats {
        let first = outcomes[&first];
        outcomes.insert(repeat, Remembered { created: false, ..first });
    }
    Ok(drafts.iter().map(|draft| outcomes[&draft.id]).collect())
}

/// Whether the language was changed since a draft was cut: then nothing was inserted. It cannot
/// change any more from the first insert on, which holds off who would change it.
async fn is_outdated(conn: &mut PgConnection, draft: &Draft) -> Result<bool, Fault> {
    let wording = language::wording(conn).await?;
    draft.known.set(wording);
    Ok(wording.language != draft.language)
}

/// The drafts without those that repeat a request of the batch, and these with the draft whose
/// outcome they get: rows are inserted in another order than given, and the first given counts.
fn first_requests(drafts: &[Draft]) -> (Vec<&Draft>, Vec<(Uuid, Uuid)>) {
    let mut first: BTreeMap<&str, Uuid> = BTreeMap::new();
    let (mut left, mut repeats) = (Vec::new(), Vec::new());
    for draft in drafts {
        let known = draft.request().map(|request| *first.entry(request).or_insert(draft.id));
        match known {
            Some(id) if id != draft.id => repeats.push((draft.id, id)),
            _ => left.push(draft),
        }
    }
    (left, repeats)
}

/// The sets that the given vectors may belong to; none where no vector is given.
pub(crate) async fn sets_for(
    conn: &mut PgConnection,
    drafts: &[Draft],
) -> Result<Vec<models::Set>, Fault> {
    if drafts.iter().any(Draft::has_vectors) { models::sets(conn).await } else { Ok(Vec::new()) }
}

/// The same, with each vector checked against its model.
pub(super) async fn check_vectors(
    conn: &mut PgConnection,
    drafts: &[Draft],
    named: bool,
) -> Result<Vec<models::Set>, Fault> {
    let sets = sets_for(conn, drafts).await?;
    for (n, draft) in drafts.iter().enumerate() {
        draft.check(&sets).map_err(|error| entry(error, named.then_some(n)))?;
    }
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_names_the_entry_at_fault() {
        let memories = vec![NewMemory::new("fine"), NewMemory::new(" ")];

        let error =
            draft(&Scope::local(), memories, true, &Arc::default()).err().expect("a blank content");

        assert_eq!(error.to_string(), "memories[1].content: is blank");
    }
}
