//! The branch by vector: the nearest of what the scope and the filter let through, exactly.
//!
//! Codes held in memory say in which order to look; every vector that can still matter is then
//! compared as it stands in its row. A code's cosine is off by at most [`codes::margin`], so the
//! search stops only where nothing further down can be nearer: the answer is a full scan's, ties
//! included. Where nothing is held, the scan itself is done.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use mnemon_core::memories::{MemoryFilter, Recall};
use mnemon_core::scope::Admitted;
use mnemon_core::{MemoryId, limits};
use rusqlite::{CachedStatement, Connection};

use super::filter::Named;
use super::held::{Held, Index, Rows};
use super::narrow::narrow;
use super::recall::{Gate, Scored, place};
use super::vectors::Probe;
use super::{codes, rows};
use crate::error::Done;
use crate::models::Set;

pub(crate) mod sql {
    use crate::memories::filter::{below, filtered, visible, worded};

    crate::sql::statements! {
        /// Everything that is let through, with its vector.
        SCAN = concat!(
            "select m.id, e.vector from embeddings_{set} e join memories m on m.memory = e.memory \
             where ", visible!(), " and ", filtered!()
        );
        /// One memory, if it is let through; its vector is read last.
        ONE = concat!(
            "select m.id, e.vector from memories m cross join embeddings_{set} e \
             on e.memory = m.memory where m.memory = :memory and ", visible!(), " and ", filtered!()
        );
        LET_THROUGH = concat!(
            "select m.memory from memories m where ", visible!(), " and ", filtered!()
        );
        LET_THROUGH_WORDED = concat!(
            "select m.memory from memories m where ", worded!(), " and ", visible!(), " and ",
            filtered!()
        );
        LET_THROUGH_BELOW = concat!(
            "select m.memory from memories m where ", below!(), " and ", visible!(), " and ",
            filtered!()
        );
    }
}

/// What is asked of the vectors.
pub(super) struct Asked<'a> {
    pub(super) scope: &'a Admitted<'a>,
    /// What the statements bind.
    pub(super) values: &'a [Named<'a>],
    pub(super) question: &'a Recall,
    pub(super) vector: &'a [f32],
}

impl Asked<'_> {
    /// The least similarity that counts.
    fn least(&self) -> f64 {
        self.question.min_similarity.map_or(f64::NEG_INFINITY, f64::from)
    }

    fn limit(&self) -> usize {
        self.question.branch_limit() as usize
    }
}

/// The nearest, best first.
pub(super) fn nearest(
    conn: &Connection,
    index: &Index,
    set: &Set,
    asked: &Asked<'_>,
) -> Done<Scored> {
    set.model.check_vector("embedding", asked.vector)?;
    match index.with(conn, set, |held| descend(conn, held, set, asked))? {
        Some(found) => Ok(found),
        None => scan(conn, set, asked),
    }
}

/// Every vector that is let through, one after the other.
fn scan(conn: &Connection, set: &Set, asked: &Asked<'_>) -> Done<Scored> {
    let probe = Probe::of(asked.vector);
    let mut best = Best::new(asked.limit(), asked.least());
    let mut statement = conn.prepare_cached(&set.id.statement(sql::SCAN))?;
    let mut found = statement.query(asked.values)?;
    while let Some(row) = found.next()? {
        let bytes = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        let similarity = probe.similarity(bytes)?;
        if best.takes(similarity) {
            best.put(similarity, MemoryId(rows::id(row, 0)?));
        }
    }
    Ok(best.finish())
}

/// Walks down the codes, nearest first, as long as something nearer may come. Where a filter lets
/// little through, what it does is listed first and only that is walked.
fn descend(conn: &Connection, held: &Held, set: &Set, asked: &Asked<'_>) -> Done<Scored> {
    let mut code = Vec::with_capacity(asked.vector.len());
    codes::encode(asked.vector, &mut code);
    let mut walk = Walk::new(conn, set, asked)?;
    let seen = held.seen_by(asked.scope);
    let bound = (seen.count / limits::FILTER_FIRST_SHARE).max(limits::FILTER_FIRST_MIN);
    let first = walk.limit * 2 + limits::VECTOR_SLACK;
    let mut most = Some(first);
    if asked.question.filter != MemoryFilter::default() {
        let sample = seen.sample(limits::FILTER_SAMPLE);
        let mut gate = Gate::new(conn, asked.values)?;
        let mut through = 0_usize;
        for at in &sample {
            through += usize::from(gate.admit(held.memory(*at))?.is_some());
        }
        // Two hits say something about the share; one says nothing.
        most = (through >= 2).then(|| first.saturating_mul(sample.len()) / through);
    }
    while let Some(down) = most.filter(|down| *down <= bound) {
        if walk.down(held, &code, &seen, down)? {
            return Ok(walk.best.finish());
        }
        most = Some(down.saturating_mul(4));
    }
    let through = listed(conn, held, asked)?;
    let mut down = first;
    while !walk.down(held, &code, &through, down)? {
        down = down.saturating_mul(4);
    }
    Ok(walk.best.finish())
}

/// The rows that the scope and the filter let through.
fn listed(conn: &Connection, held: &Held, asked: &Asked<'_>) -> Done<Rows> {
    let narrow = narrow(conn, asked.scope.tenant, &asked.question.filter)?;
    let statement = narrow.of(sql::LET_THROUGH, sql::LET_THROUGH_WORDED, sql::LET_THROUGH_BELOW);
    let values: Vec<Named<'_>> = asked.values.iter().copied().chain(narrow.values()).collect();
    let mut statement = conn.prepare_cached(statement)?;
    let mut found = statement.query(values.as_slice())?;
    let mut memories = Vec::new();
    while let Some(row) = found.next()? {
        memories.push(row.get(0)?);
    }
    Ok(held.rows_of(&memories))
}

/// Comparing one memory after the other exactly.
struct Walk<'c, 'a> {
    statement: CachedStatement<'c>,
    memory: usize,
    probe: Probe<'a>,
    margin: f64,
    limit: usize,
    least: f64,
    best: Best,
}

impl<'c, 'a> Walk<'c, 'a> {
    fn new(conn: &'c Connection, set: &Set, asked: &Asked<'a>) -> Done<Self> {
        let mut statement = conn.prepare_cached(&set.id.statement(sql::ONE))?;
        for (name, value) in asked.values {
            let at = place(&statement, name)?;
            statement.raw_bind_parameter(at, value)?;
        }
        let memory = place(&statement, ":memory")?;
        let (limit, least) = (asked.limit(), asked.least());
        Ok(Self {
            statement,
            memory,
            probe: Probe::of(asked.vector),
            margin: codes::margin(asked.vector.len()),
            limit,
            least,
            best: Best::new(limit, least),
        })
    }

    /// Looks at the `most` nearest rows among some; whether nothing beyond them can matter.
    fn down(&mut self, held: &Held, code: &[i16], among: &Rows, most: usize) -> Done<bool> {
        self.best = Best::new(self.limit, self.least);
        let nearest = held.nearest(code, among, most);
        for (dot, at) in &nearest.rows {
            if self.is_settled(*dot) {
                return Ok(true);
            }
            self.compare(held.memory(*at))?;
        }
        Ok(nearest.all || nearest.rows.last().is_some_and(|(dot, _)| self.is_settled(*dot)))
    }

    /// Whether nothing with this code's cosine, or less, can still matter.
    fn is_settled(&self, dot: i32) -> bool {
        !self.best.takes(codes::cosine(dot) + self.margin)
    }

    fn compare(&mut self, memory: i64) -> Done<()> {
        self.statement.raw_bind_parameter(self.memory, memory)?;
        let mut found = self.statement.raw_query();
        let Some(row) = found.next()? else { return Ok(()) };
        let bytes = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        let similarity = self.probe.similarity(bytes)?;
        if self.best.takes(similarity) {
            self.best.put(similarity, MemoryId(rows::id(row, 0)?));
        }
        Ok(())
    }
}

/// The best so far.
struct Best {
    limit: usize,
    least: f64,
    heap: BinaryHeap<Reverse<Near>>,
}

impl Best {
    fn new(limit: usize, least: f64) -> Self {
        Self { limit, least, heap: BinaryHeap::with_capacity(limit + 1) }
    }

    /// Whether something this near may belong here; of equals, ids decide.
    fn takes(&self, similarity: f64) -> bool {
        let full = self.heap.len() == self.limit;
        let worst = self.heap.peek().map_or(f64::NEG_INFINITY, |Reverse(near)| near.similarity);
        similarity >= self.least && !(full && similarity < worst)
    }

    fn put(&mut self, similarity: f64, id: MemoryId) {
        self.heap.push(Reverse(Near { similarity, id }));
        if self.heap.len() > self.limit {
            self.heap.pop();
        }
    }

    fn finish(self) -> Scored {
        let mut nearest: Vec<Near> = self.heap.into_iter().map(|Reverse(near)| near).collect();
        nearest.sort_by(|a, b| b.cmp(a));
        nearest.into_iter().map(|near| (near.id, near.similarity)).collect()
    }
}

/// A memory by how near it is, ties by id.
#[derive(PartialEq)]
struct Near {
    similarity: f64,
    id: MemoryId,
}

impl Eq for Near {}

impl Ord for Near {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.similarity.total_cmp(&other.similarity).then_with(|| self.id.cmp(&other.id))
    }
}

impl PartialOrd for Near {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
