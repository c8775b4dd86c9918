//! Writing memories: one statement for the whole batch, in a canonical order so that two batches
//! cannot deadlock; what was already there is found by looking again, never by recovering from
//! an error.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::{DateTime, Datelike as _, Utc};
use mnemon_core::memories::text::{Document, Known, Language, analyze};
use mnemon_core::memories::{NewMemory, Remembered};
use mnemon_core::scope::{Admitted, Facet};
use mnemon_core::{Error, MemoryId, RequestId, Scope};
use sqlx::postgres::PgConnection;
use sqlx::query_scalar;
use uuid::Uuid;

use super::{language, nearest, terms, ways};
use crate::error::Fault;
use crate::models;

/// How often what stands in the way is cleared before the caller is asked to try again. Each
/// round means that somebody else wrote or removed the very same memory meanwhile.
const ROUNDS: usize = 8;

/// The first whole year that a `timestamptz` holds.
const FIRST_YEAR: i32 = -4712;

/// A memory's id, the hash of its text, and what a model made of it.
type Vector<'d> = (Uuid, &'d [u8; 32], &'d [f32]);

/// A memory checked, cut into words and named; writing it again writes the same row.
pub(crate) struct Draft {
    pub(super) id: Uuid,
    pub(super) memory: NewMemory,
    visibility: &'static str,
    pub(super) hash: [u8; 32],
    /// Cut in this language.
    language: Language,
    document: Document,
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

    /// Whether it brings a vector.
    pub(super) fn has_vectors(&self) -> bool {
        self.memory.embedding.is_some() || !self.memory.vectors.is_empty()
    }

    /// Which of the sets its vectors go to, each checked.
    fn placed(&self, sets: &[models::Set]) -> Result<Vec<(usize, &[f32])>, Error> {
        models::place(sets, self.memory.embedding.as_deref(), &self.memory.vectors)
    }

    /// The request that writes it.
    pub(super) fn request(&self) -> Option<&str> {
        self.memory.request_id.as_ref().map(RequestId::as_str)
    }
}

/// Whether one statement in autocommit can write it all: nothing but one row in one table.
pub(super) fn is_single(drafts: &[Draft]) -> bool {
    drafts.len() == 1 && !drafts[0].has_vectors()
}

/// Writes a single draft unless something is in its way.
pub(super) async fn try_single(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    drafts: &[Draft],
) -> Result<Option<Remembered>, Fault> {
    let made = insert(conn, scope, &drafts.iter().collect::<Vec<_>>()).await?;
    Ok(made.first().map(|id| Remembered { id: MemoryId(*id), created: true }))
}

/// Lets one batch of an owner with keys or request ids write at a time. Rows go in by content, so
/// batches meet in one order there; but no order of rows is also an order of their keys, and
/// batches that met in both indexes could wait for each other.
async fn one_batch_at_a_time(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    drafts: &[Draft],
) -> Result<(), Fault> {
    let named = |draft: &Draft| draft.memory.key.is_some() || draft.memory.request_id.is_some();
    if drafts.len() < 2 || !drafts.iter().any(named) {
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

/// Writes a batch inside the caller's transaction; outcomes in the order given.
pub(crate) async fn all(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    drafts: &[Draft],
    named: bool,
) -> Result<Vec<Remembered>, Fault> {
    let sets = check_vectors(conn, drafts, named).await?;
    one_batch_at_a_time(conn, scope, drafts).await?;
    let mut outcomes: BTreeMap<Uuid, Remembered> = BTreeMap::new();
    let (mut left, repeats) = first_requests(drafts);
    for _ in 0..ROUNDS {
        let made = insert(conn, scope, &left).await?;
        for id in made {
            outcomes.insert(id, Remembered { id: MemoryId(id), created: true });
        }
        left.retain(|draft| !outcomes.contains_key(&draft.id));
        if left.is_empty() {
            break;
        }
        if outcomes.is_empty() && is_outdated(conn, left[0]).await? {
            let drafts: Vec<Draft> = drafts.iter().map(Draft::anew).collect();
            return Box::pin(all(conn, scope, &drafts, named)).await;
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
    let mut vectors: Vec<Vec<Vector<'_>>> = vec![Vec::new(); sets.len()];
    for draft in drafts.iter().filter(|draft| outcomes[&draft.id].created) {
        for (at, vector) in draft.placed(&sets)? {
            vectors[at].push((draft.id, &draft.hash, vector));
        }
    }
    for (set, vectors) in sets.iter().zip(&vectors) {
        nearest::store(conn, scope, set, vectors).await?;
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

/// The sets that the given vectors belong to, each of them checked against its model; none where
/// no vector is given.
pub(crate) async fn check_vectors(
    conn: &mut PgConnection,
    drafts: &[Draft],
    named: bool,
) -> Result<Vec<models::Set>, Fault> {
    if !drafts.iter().any(Draft::has_vectors) {
        return Ok(Vec::new());
    }
    let sets = models::sets(conn).await?;
    for (n, draft) in drafts.iter().enumerate() {
        draft.placed(&sets).map_err(|error| entry(error, named.then_some(n)))?;
    }
    Ok(sets)
}

/// Inserts what nothing stands in the way of, if it is cut in the language of now; the ids written.
async fn insert(
    conn: &mut PgConnection,
    scope: &Admitted<'_>,
    drafts: &[&Draft],
) -> Result<Vec<Uuid>, Fault> {
    let each = |of: &dyn Fn(&Draft) -> Option<String>| -> Vec<Option<String>> {
        drafts.iter().map(|draft| of(draft)).collect()
    };
    let times = |of: &dyn Fn(&NewMemory) -> Option<DateTime<Utc>>| -> Vec<Option<DateTime<Utc>>> {
        drafts.iter().map(|draft| of(&draft.memory)).collect()
    };
    let ids: Vec<Uuid> = drafts.iter().map(|draft| draft.id).collect();
    let hashes: Vec<Vec<u8>> = drafts.iter().map(|draft| draft.hash.to_vec()).collect();
    let dedups: Vec<bool> = drafts.iter().map(|draft| !draft.memory.allow_duplicate).collect();
    let words: Vec<i32> = drafts
        .iter()
        .map(|draft| i32::try_from(draft.document.words).unwrap_or(i32::MAX))
        .collect();
    let language = drafts.first().map_or_else(Language::default, |draft| draft.language);
    let made = query_scalar!(
        r#"
        with given as (
            select *
            from unnest($6::uuid[], $7::text[], $8::text[], $9::text[], $10::text[], $11::text[],
                        $12::text[], $13::text[], $14::text[], $15::text[], $16::text[],
                        $17::text[], $18::text[], $19::text[], $20::timestamptz[],
                        $21::timestamptz[], $22::timestamptz[], $23::timestamptz[], $24::bytea[],
                        $25::bool[], $26::int4[], $27::text[]) with ordinality
                 as g (id, key, request_id, namespace, visibility, shared_with, content, node_type,
                       tags, metadata, codebase, source, domains, domain_scores, valid_from,
                       valid_until, expires_at, created_at, content_hash, dedup, words, terms, n)
        ), clock as materialized (
            select mnemon.now() as at
        ), made as (
            insert into mnemon.memories
                (tenant, user_id, agent_id, session_id, run_id, id, key, request_id, namespace,
                 visibility, shared_with, content, node_type, tags, metadata, codebase, source,
                 domains, domain_scores, valid_from, valid_until, expires_at, created_at,
                 updated_at, content_hash, dedup, words, terms)
            select $1, $2, $3, $4, $5, g.id, g.key, g.request_id, g.namespace, g.visibility,
                   g.shared_with::text[], g.content, g.node_type, g.tags::text[],
                   g.metadata::jsonb, g.codebase, g.source, g.domains::text[],
                   g.domain_scores::jsonb, g.valid_from, g.valid_until, g.expires_at,
                   coalesce(g.created_at, clock.at), clock.at, g.content_hash, g.dedup, g.words,
                   g.terms::tsvector
            from given g, clock
            where $28 = (select coalesce(l.language, 'english') from mnemon.text_language l)
            -- A request that found a memory keeps answering it.
            and not exists (
                select from mnemon.memory_requests r
                where r.tenant = $1 and r.request_id = g.request_id
                  and r.user_id = coalesce($2, '') and r.agent_id = coalesce($3, '')
            )
            order by g.content_hash, g.namespace, g.n
            on conflict do nothing
            returning id, tenant, user_id, terms, words
        ), counted as (
            insert into mnemon.text_deltas (tenant, user_id, terms, documents, words)
            select tenant, user_id, array_remove(tsvector_to_array(terms), '@' || tenant), 1, words
            from made
        )
        select id from made
        "#,
        scope.tenant,
        scope.user,
        scope.agent,
        scope.session,
        scope.run,
        &ids,
        &each(&|draft| draft.memory.key.clone()) as &[Option<String>],
        &each(&|draft| draft.request().map(str::to_owned)) as &[Option<String>],
        &each(&|draft| Some(draft.memory.namespace.to_string())) as &[Option<String>],
        &each(&|draft| Some(draft.visibility.to_owned())) as &[Option<String>],
        &each(&|draft| Some(array(&draft.memory.shared_with))) as &[Option<String>],
        &each(&|draft| Some(draft.memory.content.clone())) as &[Option<String>],
        &each(&|draft| Some(draft.memory.node_type.clone())) as &[Option<String>],
        &each(&|draft| Some(array(&draft.memory.tags))) as &[Option<String>],
        &each(&|draft| Some(draft.memory.metadata.to_string())) as &[Option<String>],
        &each(&|draft| draft.memory.codebase.clone()) as &[Option<String>],
        &each(&|draft| draft.memory.source.clone()) as &[Option<String>],
        &each(&|draft| Some(array(&draft.memory.domains))) as &[Option<String>],
        &each(&|draft| Some(scores(&draft.memory.domain_scores))) as &[Option<String>],
        &times(&|memory| memory.valid_from) as &[Option<DateTime<Utc>>],
        &times(&|memory| memory.valid_until) as &[Option<DateTime<Utc>>],
        &times(&|memory| memory.expires_at) as &[Option<DateTime<Utc>>],
        &times(&|memory| memory.created_at) as &[Option<DateTime<Utc>>],
        &hashes,
        &dedups,
        &words,
        &each(&|draft| Some(terms::vector(&draft.document, scope.tenant))) as &[Option<String>],
        language.name(),
    )
    .fetch_all(conn)
    .await?;
    Ok(made)
}

/// A `text[]` literal: arrays of arrays of different lengths do not cross as one parameter.
fn array(texts: &[String]) -> String {
    let quoted: Vec<String> = texts
        .iter()
        .map(|text| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")))
        .collect();
    format!("{{{}}}", quoted.join(","))
}

fn scores(scores: &BTreeMap<String, f64>) -> String {
    serde_json::to_string(scores).expect("names and finite numbers are JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_literal_quotes_what_would_end_it() {
        assert_eq!(array(&["a\"b\\c,{}".into(), "NULL".into()]), r#"{"a\"b\\c,{}","NULL"}"#);
        assert_eq!(array(&[]), "{}");
    }

    #[test]
    fn a_batch_names_the_entry_at_fault() {
        let memories = vec![NewMemory::new("fine"), NewMemory::new(" ")];

        let error =
            draft(&Scope::local(), memories, true, &Arc::default()).err().expect("a blank content");

        assert_eq!(error.to_string(), "memories[1].content: is blank");
    }
}
