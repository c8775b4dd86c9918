//! Writing and deleting memories, with their words, counts and vectors, in one transaction.

use mnemon_core::memories::text::{Document, Language, analyze};
use mnemon_core::memories::{NewMemory, Remembered};
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, MemoryId, RequestId};
use rusqlite::{Connection, OptionalExtension, Row, params};
use serde_json::json;
use uuid::Uuid;

use super::{language, rows, vectors, words};
use crate::error::Done;
use crate::models::{self, Set};
use crate::open::now;

pub(crate) mod sql {
    crate::sql::statements! {
        BY_REQUEST = "select memory, id, content_hash, expires_at from memories \
            where tenant = ?1 and request_id = ?4 \
            and coalesce(user_id, '') = coalesce(?2, '') \
            and coalesce(agent_id, '') = coalesce(?3, '')";
        /// A request that wrote nothing: what it found.
        BY_FOUND = "select m.memory, m.id, m.content_hash, m.expires_at from memory_requests r \
            join memories m on m.tenant = r.tenant and m.id = r.memory_id \
            where r.tenant = ?1 and r.request_id = ?4 \
            and r.user_id = coalesce(?2, '') and r.agent_id = coalesce(?3, '')";
        NOTE_REQUEST = "insert into memory_requests (tenant, user_id, agent_id, request_id, memory_id) \
            values (?1, coalesce(?2, ''), coalesce(?3, ''), ?4, ?5)";
        BY_KEY = "select memory, id, content_hash, expires_at from memories \
            where tenant = ?1 and namespace = ?4 and key = ?5 \
            and coalesce(user_id, '') = coalesce(?2, '') \
            and coalesce(agent_id, '') = coalesce(?3, '')";
        BY_CONTENT = "select memory, id, content_hash, expires_at from memories \
            where tenant = ?1 and coalesce(user_id, '') = coalesce(?2, '') \
            and coalesce(agent_id, '') = coalesce(?3, '') \
            and namespace = ?4 and content_hash = ?5 and dedup = 1";
        INSERT = "insert into memories (id, tenant, user_id, agent_id, session_id, run_id, key, \
            request_id, namespace, visibility, shared_with, content, node_type, tags, metadata, \
            codebase, source, domains, domain_scores, valid_from, valid_until, expires_at, \
            created_at, updated_at, content_hash, dedup, words, terms) \
            values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, \
            ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28)";
        ADD_TERM = "insert into text_terms (tenant, term, documents) values (?1, ?2, 1) \
            on conflict (tenant, term) do update set documents = documents + 1 returning id";
        ADD_POSTING = "insert into text_postings (term_id, memory, words, occurrences) \
            values (?1, ?2, ?3, ?4)";
        ADD_DOCUMENT = "insert into text_corpus (tenant, documents, words) values (?1, 1, ?2) \
            on conflict (tenant) do update set documents = documents + 1, words = words + ?2";
        ADD_VECTOR = "insert into embeddings_{set} (memory, content_hash, vector) \
            values (?1, ?2, ?3)";
        /// What a scope may delete: its own, and unowned ones.
        DELETABLE = "select memory from memories where tenant = ?1 and id = ?2 \
            and (expires_at is null or expires_at > ?5) \
            and (?4 is null or agent_id = ?4) \
            and (?3 is null or user_id is null or user_id = ?3)";
        WORDS_OF = "select tenant, words, terms from memories where memory = ?1";
        CHANGE_WORDS = "update memories set words = ?2, terms = ?3 where memory = ?1";
        REMOVE_POSTING = "delete from text_postings where term_id = ?1 and memory = ?2";
        REMOVE_TERM = "update text_terms set documents = documents - 1 where id = ?1 \
            returning documents";
        FORGET_TERM = "delete from text_terms where id = ?1";
        REMOVE_DOCUMENT = "update text_corpus set documents = documents - 1, words = words - ?2 \
            where tenant = ?1";
        /// Vectors go by cascade.
        REMOVE = "delete from memories where memory = ?1";
    }
}

/// A memory with what is computed from it alone, before any lock is taken.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    pub(super) memory: NewMemory,
    pub(super) hash: [u8; 32],
    /// Cut in this language.
    language: Language,
    pub(super) document: Document,
}

impl Prepared {
    /// Hashes a memory and cuts it into words.
    pub(crate) fn of(memory: NewMemory, language: Language) -> Self {
        let hash = memory.content_hash();
        let document = analyze(language, &memory.content, &memory.node_type, &memory.tags);
        Self { memory, hash, language, document }
    }

    fn has_vectors(&self) -> bool {
        self.memory.embedding.is_some() || !self.memory.vectors.is_empty()
    }

    /// Which of the sets its vectors go to, each checked.
    pub(super) fn placed(&self, sets: &[Set]) -> Result<Vec<(usize, &[f32])>, Error> {
        models::place(sets, self.memory.embedding.as_deref(), &self.memory.vectors)
    }
}

/// How a field at fault is named.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Naming {
    /// `content`.
    Single,
    /// `memories[3].content`.
    Batch,
}

impl Naming {
    /// Names the entry in an error about a field.
    pub(crate) fn name(self, at: usize, error: Error) -> Error {
        match (self, error) {
            (Self::Batch, Error::Invalid { field, reason }) => {
                Error::Invalid { field: format!("memories[{at}].{field}").into(), reason }
            }
            (_, error) => error,
        }
    }
}

/// Writes memories, all or none. Vectors are checked before anything is written.
pub(crate) fn remember_all(
    conn: &Connection,
    scope: &Admitted<'_>,
    memories: &[Prepared],
    naming: Naming,
) -> Done<Vec<Remembered>> {
    let with_vectors = memories.iter().any(Prepared::has_vectors);
    let sets = if with_vectors { models::sets(conn)? } else { Vec::new() };
    for (at, prepared) in memories.iter().enumerate() {
        prepared.placed(&sets).map_err(|error| naming.name(at, error))?;
    }
    let (now, language) = (now(conn)?, language::wording(conn)?.language);
    let mut postings = Postings::default();
    let mut outcomes = Vec::with_capacity(memories.len());
    for prepared in memories {
        // The language may have been changed since they were cut.
        let anew = (prepared.language != language)
            .then(|| Prepared::of(prepared.memory.clone(), language));
        let prepared = anew.as_ref().unwrap_or(prepared);
        outcomes.push(remember(conn, scope, prepared, &sets, now, &mut postings)?);
    }
    postings.write(conn)?;
    Ok(outcomes)
}

/// Writes one memory, or finds what answers for it: the same request, key, or content.
fn remember(
    conn: &Connection,
    scope: &Admitted<'_>,
    prepared: &Prepared,
    sets: &[Set],
    now: i64,
    postings: &mut Postings,
) -> Done<Remembered> {
    let memory = &prepared.memory;
    let (tenant, user, agent) = (scope.tenant, scope.user, scope.agent);
    if let Some(request) = &memory.request_id {
        // The first outcome stands, even when the memory's own time is over.
        for query in [sql::BY_REQUEST, sql::BY_FOUND] {
            let values = params![tenant, user, agent, request.as_str()];
            if let Some(found) = there(conn, query, values)? {
                return Ok(found.answer());
            }
        }
    }
    let namespace = memory.namespace.as_str();
    if let Some(key) = &memory.key {
        let found = there(conn, sql::BY_KEY, params![tenant, user, agent, namespace, key])?;
        if let Some(found) = alive(conn, found, now)? {
            if found.hash == prepared.hash {
                return answered(conn, scope, prepared, &found);
            }
            return Err(Error::AlreadyExists { kind: "memory", key: key.clone() }.into());
        }
    }
    if !memory.allow_duplicate {
        let hash = prepared.hash.as_slice();
        let found = there(conn, sql::BY_CONTENT, params![tenant, user, agent, namespace, hash])?;
        if let Some(found) = alive(conn, found, now)? {
            return answered(conn, scope, prepared, &found);
        }
    }
    insert(conn, scope, prepared, sets, now, postings)
}

/// Answers what was there, and notes that this is the outcome of the request, if there is one.
fn answered(
    conn: &Connection,
    scope: &Admitted<'_>,
    prepared: &Prepared,
    found: &There,
) -> Done<Remembered> {
    if let Some(request) = &prepared.memory.request_id {
        let (tenant, user, agent) = (scope.tenant, scope.user, scope.agent);
        let values = params![tenant, user, agent, request.as_str(), found.id.as_bytes()];
        conn.prepare_cached(sql::NOTE_REQUEST)?.execute(values)?;
    }
    Ok(found.answer())
}

/// A row that stands where another is to be written.
pub(super) struct There {
    pub(super) memory: i64,
    pub(super) id: Uuid,
    hash: [u8; 32],
    expires_at: Option<i64>,
}

impl There {
    fn read(row: &Row<'_>) -> Done<Self> {
        let id = rows::id(row, 1)?;
        let hash = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
        let hash = hash
            .try_into()
            .map_err(|_| Error::corrupt(format!("memory {id}"), "its hash is not 32 bytes"))?;
        Ok(Self { memory: row.get(0)?, id, hash, expires_at: row.get(3)? })
    }

    fn answer(&self) -> Remembered {
        Remembered { id: MemoryId(self.id), created: false }
    }
}

pub(super) fn there(
    conn: &Connection,
    query: &str,
    values: &[&dyn rusqlite::ToSql],
) -> Done<Option<There>> {
    let mut statement = conn.prepare_cached(query)?;
    let mut rows = statement.query(values)?;
    rows.next()?.map(There::read).transpose()
}

/// Keeps a row whose time is not over; one whose time is goes, as it would block the new one.
pub(super) fn alive(conn: &Connection, found: Option<There>, now: i64) -> Done<Option<There>> {
    match found {
        Some(found) if found.expires_at.is_some_and(|at| at <= now) => {
            remove(conn, found.memory)?;
            Ok(None)
        }
        found => Ok(found),
    }
}

fn insert(
    conn: &Connection,
    scope: &Admitted<'_>,
    prepared: &Prepared,
    sets: &[Set],
    now: i64,
    postings: &mut Postings,
) -> Done<Remembered> {
    let (memory, document) = (&prepared.memory, &prepared.document);
    let id = Uuid::now_v7();
    let terms = terms(conn, scope.tenant, document)?;
    conn.prepare_cached(sql::INSERT)?.execute(params![
        id.as_bytes(),
        scope.tenant,
        scope.user,
        scope.agent,
        scope.session,
        scope.run,
        memory.key,
        memory.request_id.as_ref().map(RequestId::as_str),
        memory.namespace.as_str(),
        memory.visibility_for(scope).as_str(),
        json!(memory.shared_with).to_string(),
        memory.content,
        memory.node_type,
        json!(memory.tags).to_string(),
        memory.metadata.to_string(),
        memory.codebase,
        memory.source,
        json!(memory.domains).to_string(),
        json!(memory.domain_scores).to_string(),
        memory.valid_from.map(|at| at.timestamp_micros()),
        memory.valid_until.map(|at| at.timestamp_micros()),
        memory.expires_at.map(|at| at.timestamp_micros()),
        memory.created_at.map_or(now, |at| at.timestamp_micros()),
        now,
        prepared.hash.as_slice(),
        !memory.allow_duplicate,
        document.words,
        words::pack_terms(terms.clone()),
    ])?;
    let row = conn.last_insert_rowid();
    if memory.expires_at.is_some_and(|at| at.timestamp_micros() <= now) {
        // The next of this batch may remove it again.
        index(conn, scope.tenant, row, document, &terms)?;
    } else {
        postings.add(row, document, &terms);
        count(conn, scope.tenant, document)?;
    }
    add_vectors(conn, row, prepared, sets)?;
    Ok(Remembered { id: MemoryId(id), created: true })
}

/// Writes a row's vectors, each into the set of its model.
pub(super) fn add_vectors(
    conn: &Connection,
    row: i64,
    prepared: &Prepared,
    sets: &[Set],
) -> Done<()> {
    for (at, vector) in prepared.placed(sets)? {
        conn.prepare_cached(&sets[at].id.statement(sql::ADD_VECTOR))?.execute(params![
            row,
            prepared.hash.as_slice(),
            vectors::pack(vector)
        ])?;
    }
    Ok(())
}

/// The numbers of a document's lexemes, each counted once more.
pub(super) fn terms(conn: &Connection, tenant: &str, document: &Document) -> Done<Vec<i64>> {
    let mut add_term = conn.prepare_cached(sql::ADD_TERM)?;
    let mut terms = Vec::with_capacity(document.lexemes.len());
    for lexeme in document.lexemes.keys() {
        terms.push(add_term.query_row(params![tenant, lexeme], |row| row.get(0))?);
    }
    Ok(terms)
}

/// Makes a row findable by its words.
pub(super) fn index(
    conn: &Connection,
    tenant: &str,
    row: i64,
    document: &Document,
    terms: &[i64],
) -> Done<()> {
    let mut postings = Postings::default();
    postings.add(row, document, terms);
    postings.write(conn)?;
    count(conn, tenant, document)
}

/// Counts a document into its tenant's corpus.
fn count(conn: &Connection, tenant: &str, document: &Document) -> Done<()> {
    conn.prepare_cached(sql::ADD_DOCUMENT)?.execute(params![tenant, document.words])?;
    Ok(())
}

/// Postings to be written in their own order. A word's postings stand together, a memory's are all
/// over the table: a batch written memory by memory would touch nearly every page once a memory.
#[derive(Default)]
struct Postings(Vec<(i64, i64, u32, Vec<u8>)>);

impl Postings {
    fn add(&mut self, row: i64, document: &Document, terms: &[i64]) {
        for (term, occurrences) in terms.iter().zip(document.lexemes.values()) {
            self.0.push((*term, row, document.words, words::pack(occurrences)));
        }
    }

    fn write(mut self, conn: &Connection) -> Done<()> {
        self.0.sort_unstable();
        let mut add_posting = conn.prepare_cached(sql::ADD_POSTING)?;
        for (term, row, words, occurrences) in self.0 {
            add_posting.execute(params![term, row, words, occurrences])?;
        }
        Ok(())
    }
}

/// Makes a row findable by other words than before.
pub(super) fn reindex(conn: &Connection, tenant: &str, row: i64, document: &Document) -> Done<()> {
    unindex(conn, row)?;
    let terms = terms(conn, tenant, document)?;
    index(conn, tenant, row, document, &terms)?;
    let values = params![row, document.words, words::pack_terms(terms)];
    conn.prepare_cached(sql::CHANGE_WORDS)?.execute(values)?;
    Ok(())
}

/// Deletes what the scope owns, and unowned ones; what others share with it is not found.
pub(crate) fn delete(conn: &Connection, scope: &Admitted<'_>, id: MemoryId) -> Done<()> {
    let found: Option<i64> = conn
        .prepare_cached(sql::DELETABLE)?
        .query_row(
            params![scope.tenant, id.0.as_bytes(), scope.user, scope.agent, now(conn)?],
            |row| row.get(0),
        )
        .optional()?;
    match found {
        Some(memory) => remove(conn, memory),
        None => Err(Error::not_found("memory", id).into()),
    }
}

/// Removes a row with its postings, counts and vectors.
pub(crate) fn remove(conn: &Connection, memory: i64) -> Done<()> {
    unindex(conn, memory)?;
    conn.prepare_cached(sql::REMOVE)?.execute([memory])?;
    Ok(())
}

/// Takes a row's words out of the postings and the counts.
pub(super) fn unindex(conn: &Connection, memory: i64) -> Done<()> {
    let (tenant, length, terms): (String, i64, Vec<u8>) = conn
        .prepare_cached(sql::WORDS_OF)?
        .query_row([memory], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    for term in words::unpack_terms(&terms)? {
        conn.prepare_cached(sql::REMOVE_POSTING)?.execute([term, memory])?;
        let left: i64 =
            conn.prepare_cached(sql::REMOVE_TERM)?.query_row([term], |row| row.get(0))?;
        if left <= 0 {
            conn.prepare_cached(sql::FORGET_TERM)?.execute([term])?;
        }
    }
    conn.prepare_cached(sql::REMOVE_DOCUMENT)?.execute(params![tenant, length])?;
    Ok(())
}
