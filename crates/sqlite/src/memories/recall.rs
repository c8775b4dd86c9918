//! Recall: candidates by words, newest first up to a cap, and by vector (see `nearest`); both
//! branches in one read transaction, fused by core.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};

use mnemon_core::memories::bm25::{self, Candidate, Corpus, QueryTerm};
use mnemon_core::memories::fuse::{Fused, Words, fuse};
use mnemon_core::memories::graph::{self, Walk};
use mnemon_core::memories::text::{Phrase, Plan, Question, plan};
use mnemon_core::memories::{Edge, Fusion, Hit, Recall};
use mnemon_core::scope::Admitted;
use mnemon_core::{Error, MemoryId, limits};
use rusqlite::{CachedStatement, Connection, OptionalExtension, Rows, Statement, params};

use super::filter::{Filtered, Named, Seen};
use super::held::Index;
use super::nearest::{Asked, nearest};
use super::{language, rows, words};
use crate::error::Done;
use crate::models;
use crate::open::now;

pub(crate) mod sql {
    use crate::memories::filter::{filtered, visible};
    use crate::memories::rows::columns;

    crate::sql::statements! {
        CORPUS = "select documents, words from text_corpus where tenant = ?1";
        TERM = "select id, documents from text_terms where tenant = ?1 and term = ?2";
        POSTINGS = "select memory, words, occurrences from text_postings where term_id = ?1 \
            order by memory desc";
        POSTING = "select occurrences from text_postings where term_id = ?1 and memory = ?2";
        ADMIT = concat!(
            "select m.id from memories m where m.memory = :memory and ", visible!(), " and ",
            filtered!()
        );
        /// A hit's row, and how likely it is recalled at a time; null for a new one.
        WINNER = concat!(
            "select ", columns!(), ", (select mnemon_retrievability(s.stability, \
             ?3 - s.last_review) from memory_scheduling s where s.memory = m.memory) \
             from memories m where m.tenant = ?1 and m.id = ?2"
        );
        ROW = concat!("select ", columns!(), " from memories m where m.memory = ?1");
    }
}

/// Memories with their scores, best first.
pub(super) type Scored = Vec<(MemoryId, f64)>;

/// Answers a checked question.
pub(crate) fn recall(
    conn: &Connection,
    index: &Index,
    scope: &Admitted<'_>,
    question: &Recall,
) -> Done<Vec<Hit>> {
    let now = now(conn)?;
    let seen = Seen::by(scope, now);
    let filtered = Filtered::by(&question.filter);
    let mut values = seen.values();
    values.extend(filtered.values());
    let text = match &question.text {
        Some(text) => by_words(conn, scope.tenant, text, &values, question)?,
        None => Scored::new(),
    };
    let (mut vector, mut fusion) = (Scored::new(), question.fusion);
    if let Some(embedding) = &question.embedding {
        let set = models::searched(conn, question.model.as_deref())?;
        let asked = Asked { scope, values: &values, question, vector: embedding };
        vector = nearest(conn, index, &set, &asked)?;
        if let (false, Fusion::Blend { .. }) = (set.model.semantic, fusion) {
            fusion = Fusion::TextFirst;
        }
    }
    let limit = question.limit as usize;
    let words = Words::bounded(&text, question.branch_limit() as usize);
    let fused = fuse(fusion, words, &vector, limit);
    let winners = match question.spread {
        Some(depth) => spread(conn, &seen, &filtered, fused, depth, limit)?,
        None => fused.into_iter().map(|fused| (fused, None)).collect(),
    };
    let at = question.filter.as_of.map_or(now, |at| at.timestamp_micros());
    winners.into_iter().map(|(fused, via)| hit(conn, scope.tenant, &fused, via, at)).collect()
}

/// Lets activation spread from what was found; what it reaches must be seen and let through.
fn spread(
    conn: &Connection,
    seen: &Seen<'_>,
    filtered: &Filtered<'_>,
    fused: Vec<Fused<MemoryId>>,
    depth: u32,
    limit: usize,
) -> Done<Vec<(Fused<MemoryId>, Option<Edge>)>> {
    let mut reached = super::graph::walk(conn, seen, Walk::spreading(&fused), depth)?.finish();
    let ids: Vec<MemoryId> = reached.iter().map(|(id, _)| *id).collect();
    let admitted = super::graph::admitted(conn, seen, filtered, &ids)?;
    reached.retain(|(id, _)| admitted.contains(id));
    Ok(graph::join(fused, reached, limit))
}

fn hit(
    conn: &Connection,
    tenant: &str,
    fused: &Fused<MemoryId>,
    via_edge: Option<Edge>,
    at: i64,
) -> Done<Hit> {
    let mut statement = conn.prepare_cached(sql::WINNER)?;
    let mut found = statement.query(params![tenant, fused.key.0.as_bytes(), at])?;
    let row = found.next()?.ok_or_else(|| {
        Error::corrupt(format!("memory {}", fused.key), "it was found and is not there")
    })?;
    Ok(Hit {
        memory: rows::memory(row)?,
        score: fused.score,
        text_rank: fused.text_rank,
        text_score: fused.text_score,
        vector_rank: fused.vector_rank,
        similarity: fused.similarity,
        retrievability: row.get(23)?,
        via_edge,
    })
}

/// The branch by words and what is beyond its bound: one question, or, while the language is
/// changed, one in each.
fn by_words(
    conn: &Connection,
    tenant: &str,
    text: &str,
    values: &[Named<'_>],
    question: &Recall,
) -> Done<Scored> {
    let asked = Question::of(language::wording(conn)?, text);
    let mut found = Vec::with_capacity(asked.len());
    for asked in &asked {
        found.push(by_question(conn, tenant, asked, values, question)?);
    }
    Ok(match found.len() {
        0 | 1 => found.pop().unwrap_or_default(),
        _ => bm25::merge(found),
    })
}

/// Counts, plan, candidates, BM25.
fn by_question(
    conn: &Connection,
    tenant: &str,
    asked: &Question,
    values: &[Named<'_>],
    question: &Recall,
) -> Done<Scored> {
    let Some(corpus) = corpus(conn, tenant)? else { return Ok(Scored::new()) };
    let mut lexicon = Lexicon { conn, tenant, terms: HashMap::new() };
    let mut terms = Vec::with_capacity(asked.terms.len());
    for lexeme in &asked.terms {
        if let Some(term) = lexicon.term(lexeme)? {
            terms.push(QueryTerm { lexeme: lexeme.clone(), documents: term.documents });
        }
    }
    let plan = plan(terms, &corpus);
    let limit = question.branch_limit() as usize;
    let candidates = candidates(&mut lexicon, asked, &plan, values, limit)?;
    Ok(bm25::rank(&candidates, &plan.score, &corpus, candidates.len()))
}

pub(super) fn corpus(conn: &Connection, tenant: &str) -> Done<Option<Corpus>> {
    let counts: Option<(i64, i64)> = conn
        .prepare_cached(sql::CORPUS)?
        .query_row([tenant], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?;
    let count = |n: i64| u64::try_from(n).unwrap_or(0);
    Ok(counts
        .map(|(documents, words)| Corpus { documents: count(documents), words: count(words) })
        .filter(|corpus| corpus.documents > 0))
}

/// A lexeme of the tenant.
#[derive(Clone, Copy)]
struct Term {
    id: i64,
    documents: u64,
}

/// The tenant's lexemes, each looked up once.
struct Lexicon<'c> {
    conn: &'c Connection,
    tenant: &'c str,
    terms: HashMap<String, Option<Term>>,
}

impl Lexicon<'_> {
    fn term(&mut self, lexeme: &str) -> Done<Option<Term>> {
        if let Some(known) = self.terms.get(lexeme) {
            return Ok(*known);
        }
        let found = self
            .conn
            .prepare_cached(sql::TERM)?
            .query_row([self.tenant, lexeme], |row| {
                let documents: i64 = row.get(1)?;
                Ok(Term { id: row.get(0)?, documents: u64::try_from(documents).unwrap_or(0) })
            })
            .optional()?;
        self.terms.insert(lexeme.to_owned(), found);
        Ok(found)
    }

    /// A phrase's terms; `None` when one of its words is nowhere.
    fn phrase(&mut self, phrase: &Phrase) -> Done<Option<Vec<i64>>> {
        let mut ids = Vec::with_capacity(phrase.len());
        for (_, lexeme) in phrase {
            match self.term(lexeme)? {
                Some(term) => ids.push(term.id),
                None => return Ok(None),
            }
        }
        Ok(Some(ids))
    }
}

/// A phrase whose words all are somewhere.
struct Known<'q> {
    phrase: &'q Phrase,
    terms: Vec<i64>,
}

impl Known<'_> {
    fn stands_in(&self, posting: &mut Posting<'_>, memory: i64) -> Done<bool> {
        let mut occurrences = Vec::with_capacity(self.terms.len());
        for term in &self.terms {
            match posting.find(*term, memory)? {
                Some(bytes) => occurrences.push(words::unpack(&bytes)?),
                None => return Ok(false),
            }
        }
        Ok(words::stands(self.phrase, &occurrences))
    }
}

/// Point reads of one word in one memory.
struct Posting<'c>(CachedStatement<'c>);

impl Posting<'_> {
    fn find(&mut self, term: i64, memory: i64) -> Done<Option<Vec<u8>>> {
        Ok(self.0.query_row([term, memory], |row| row.get(0)).optional()?)
    }
}

/// The candidates: what the plan seeks first, and where that is fewer than the branch wants, the
/// newest of everything it seeks.
fn candidates(
    lexicon: &mut Lexicon<'_>,
    asked: &Question,
    plan: &Plan,
    values: &[Named<'_>],
    limit: usize,
) -> Done<Vec<Candidate<MemoryId>>> {
    let mut found = Vec::new();
    if let Some(closest) = plan.closest() {
        found = matching(lexicon, asked, plan, values, &closest)?;
        if found.len() >= limit {
            return Ok(found);
        }
    }
    let any: Vec<Vec<&str>> = plan.seek.iter().map(|word| vec![word.as_str()]).collect();
    let known: HashSet<MemoryId> = found.iter().map(|candidate| candidate.key).collect();
    let rest = matching(lexicon, asked, plan, values, &any)?;
    found.extend(rest.into_iter().filter(|candidate| !known.contains(&candidate.key)));
    Ok(found)
}

/// The newest [`limits::TEXT_CANDIDATES`] memories that hold all words of one of the sets sought,
/// hold what is required and nothing that is excluded, and that the scope and the filter let
/// through. Postings are merged newest first, so that reading stops at the cap however common a
/// word is.
fn matching(
    lexicon: &mut Lexicon<'_>,
    asked: &Question,
    plan: &Plan,
    values: &[Named<'_>],
    sets: &[Vec<&str>],
) -> Done<Vec<Candidate<MemoryId>>> {
    let mut required = Vec::new();
    for phrase in &asked.required {
        match lexicon.phrase(phrase)? {
            Some(terms) => required.push(Known { phrase, terms }),
            None => return Ok(Vec::new()),
        }
    }
    let mut excluded = Vec::new();
    for phrase in &asked.excluded {
        excluded.extend(lexicon.phrase(phrase)?.map(|terms| Known { phrase, terms }));
    }
    let mut sought = Vec::new();
    let mut beside = Vec::new();
    for QueryTerm { lexeme, .. } in &plan.score {
        let Some(term) = lexicon.term(lexeme)? else { continue };
        let is_sought = sets.iter().any(|set| set.contains(&lexeme.as_str()));
        if is_sought { &mut sought } else { &mut beside }.push((lexeme, term.id));
    }
    // A set whose words are not all there holds nothing.
    let sets: Vec<Vec<usize>> = sets
        .iter()
        .filter_map(|set| {
            set.iter().map(|word| sought.iter().position(|(lexeme, _)| lexeme == word)).collect()
        })
        .collect();

    let conn = lexicon.conn;
    let mut statements = Vec::with_capacity(sought.len());
    for _ in &sought {
        statements.push(conn.prepare_cached(sql::POSTINGS)?);
    }
    let mut merge = Merge::start(&mut statements, &sought)?;
    let mut gate = Gate::new(conn, values)?;
    let mut posting = Posting(conn.prepare_cached(sql::POSTING)?);
    let mut found = Vec::new();
    while let Some((memory, words)) = merge.next()? {
        if !sets.iter().any(|set| set.iter().all(|list| merge.holds(*list))) {
            continue;
        }
        let Some(id) = gate.admit(memory)? else { continue };
        if !all(&required, |known| known.stands_in(&mut posting, memory))?
            || any(&excluded, |known| known.stands_in(&mut posting, memory))?
        {
            continue;
        }
        let mut counts = merge.counts();
        for (lexeme, term) in &beside {
            if let Some(bytes) = posting.find(*term, memory)? {
                counts.insert((*lexeme).clone(), words::weighted(&bytes)?);
            }
        }
        found.push(Candidate { key: id, words, counts });
        if found.len() >= limits::TEXT_CANDIDATES as usize {
            break;
        }
    }
    Ok(found)
}

fn all<T>(items: &[T], mut holds: impl FnMut(&T) -> Done<bool>) -> Done<bool> {
    Ok(!any(items, |item| holds(item).map(|held| !held))?)
}

fn any<T>(items: &[T], mut holds: impl FnMut(&T) -> Done<bool>) -> Done<bool> {
    for item in items {
        if holds(item)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Asks of one memory at a time whether the scope and the filter let it through; what does not
/// change is bound once.
pub(super) struct Gate<'c> {
    statement: CachedStatement<'c>,
    memory: usize,
}

impl<'c> Gate<'c> {
    pub(super) fn new(conn: &'c Connection, values: &[Named<'_>]) -> Done<Self> {
        let mut statement = conn.prepare_cached(sql::ADMIT)?;
        for (name, value) in values {
            let at = place(&statement, name)?;
            statement.raw_bind_parameter(at, value)?;
        }
        let memory = place(&statement, ":memory")?;
        Ok(Self { statement, memory })
    }

    pub(super) fn admit(&mut self, memory: i64) -> Done<Option<MemoryId>> {
        self.statement.raw_bind_parameter(self.memory, memory)?;
        let mut found = self.statement.raw_query();
        found.next()?.map(|row| rows::id(row, 0).map(MemoryId)).transpose()
    }
}

/// Where a statement binds a name.
pub(super) fn place(statement: &Statement<'_>, name: &str) -> Done<usize> {
    Ok(statement.parameter_index(name)?.expect("the statement's fragments bind this name"))
}

/// Postings of several words as one list, newest memory first.
struct Merge<'s> {
    lists: Vec<(&'s str, Rows<'s>)>,
    /// What each list stands at: memory, words, weighted count. The heap holds (memory, list).
    heads: Vec<(u32, f64)>,
    heap: BinaryHeap<(i64, Reverse<usize>)>,
    /// The lists that hold the memory that was merged last, each with its weighted count.
    merged: Vec<(usize, f64)>,
}

impl<'s> Merge<'s> {
    fn start(
        statements: &'s mut [CachedStatement<'_>],
        sought: &[(&'s String, i64)],
    ) -> Done<Self> {
        let mut merge = Self {
            lists: Vec::new(),
            heads: vec![(0, 0.0); sought.len()],
            heap: BinaryHeap::new(),
            merged: Vec::new(),
        };
        for (statement, (lexeme, term)) in statements.iter_mut().zip(sought) {
            merge.lists.push((lexeme.as_str(), statement.query([term])?));
        }
        for list in 0..merge.lists.len() {
            merge.advance(list)?;
        }
        Ok(merge)
    }

    fn advance(&mut self, list: usize) -> Done<()> {
        let Some(row) = self.lists[list].1.next()? else { return Ok(()) };
        let bytes = row.get_ref(2)?.as_blob().map_err(rusqlite::Error::from)?;
        self.heads[list] = (row.get(1)?, words::weighted(bytes)?);
        self.heap.push((row.get(0)?, Reverse(list)));
        Ok(())
    }

    /// The next memory, and how many words it has.
    fn next(&mut self) -> Done<Option<(i64, u32)>> {
        self.merged.clear();
        let Some(&(memory, Reverse(first))) = self.heap.peek() else { return Ok(None) };
        let words = self.heads[first].0;
        while let Some(&(same, Reverse(list))) = self.heap.peek()
            && same == memory
        {
            self.heap.pop();
            self.merged.push((list, self.heads[list].1));
            self.advance(list)?;
        }
        Ok(Some((memory, words)))
    }

    /// Whether a list holds the memory that was merged last.
    fn holds(&self, list: usize) -> bool {
        self.merged.iter().any(|(held, _)| *held == list)
    }

    /// How often each word stands in the memory that was merged last, weighted.
    fn counts(&self) -> HashMap<String, f64> {
        let count = |(list, count): &(usize, f64)| (self.lists[*list].0.to_owned(), *count);
        self.merged.iter().map(count).collect()
    }
}
