//! The vectors of the active set in memory: their codes in one piece, beside each whose it is.
//! Brought up to date by every question, from the log of changes that all processes write.
//!
//! Who may see a memory is known here only roughly (a shared one counts as everybody's): what is
//! let through here is asked again in SQL, in the reader's own snapshot.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::thread;

use metrics::gauge;
use mnemon_core::scope::Admitted;
use mnemon_core::{limits, metric_names};
use rusqlite::{Connection, Row};

use super::codes;
use super::vectors::WIDTH;
use crate::error::Done;
use crate::models::{self, Set, SetId};

pub(crate) mod sql {
    crate::sql::statements! {
        /// Where the log begins and ends.
        SPAN = "select coalesce((select min(seq) from vector_changes), 0), \
            coalesce((select max(seq) from vector_changes), 0)";
        CHANGED = "select distinct memory from vector_changes where seq > ?1";
        EVERY = "select e.memory, e.vector, m.tenant, m.user_id, m.agent_id, m.visibility \
            from embeddings_{set} e join memories m on m.memory = e.memory";
        ONE = "select e.memory, e.vector, m.tenant, m.user_id, m.agent_id, m.visibility \
            from embeddings_{set} e join memories m on m.memory = e.memory where e.memory = ?1";
    }
}

/// Codes of fewer bytes than this are read by one thread: starting another takes as long.
const ALONE_BYTES: usize = 8 * 1024 * 1024;
/// Threads that read codes.
const THREADS: usize = 2;
/// What a row costs beside its code: its owner, its number, its place.
const ROW_BYTES: usize = 64;

/// The vectors that a process holds.
pub(crate) struct Index {
    state: RwLock<State>,
    most_bytes: usize,
}

#[derive(Default)]
enum State {
    #[default]
    Nothing,
    Held(Held),
    /// More than may be held, as it was found when the log stood at `seq`.
    TooLarge {
        set: SetId,
        seq: i64,
    },
}

/// One set's vectors as they were when the log stood at `seq`.
pub(super) struct Held {
    set: SetId,
    seq: i64,
    dimension: usize,
    codes: Vec<i16>,
    rows: Vec<Place>,
    /// Where a memory's row is.
    places: HashMap<i64, u32>,
    owners: Vec<Owner>,
    numbers: HashMap<Owner, u32>,
}

/// One vector's memory.
#[derive(Clone, Copy)]
struct Place {
    memory: i64,
    /// Into `owners`.
    owner: u32,
    /// Others than its user may see it.
    open: bool,
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Owner {
    tenant: String,
    user: Option<String>,
    agent: Option<String>,
}

/// What a scope may see of an owner's memories.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sight {
    Nothing,
    Open,
    All,
}

/// A row by its code: (sum of products, where it is).
pub(super) type Found = (i32, u32);

/// The rows nearest to a question, nearest first.
pub(super) struct Nearest {
    pub(super) rows: Vec<Found>,
    /// Whether there are no others.
    pub(super) all: bool,
}

impl Index {
    /// An index of at most so many bytes; 0 holds nothing.
    pub(crate) fn new(most_bytes: usize) -> Self {
        Self { state: RwLock::default(), most_bytes }
    }

    /// Lets `ask` see the set as the connection's snapshot has it, or newer; `None` when it is not
    /// held.
    pub(super) fn with<T>(
        &self,
        conn: &Connection,
        set: &Set,
        ask: impl FnOnce(&Held) -> Done<T>,
    ) -> Done<Option<T>> {
        let span = Span::read(conn)?;
        let state = self.read();
        if let Some(held) = state.held(set.id, &span) {
            return ask(held).map(Some);
        }
        if state.is_too_large(set.id, &span) {
            return Ok(None);
        }
        drop(state);
        self.refresh(conn, set, &span)?;
        match self.read().held(set.id, &span) {
            Some(held) => ask(held).map(Some),
            None => Ok(None),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        // A panic while it was written leaves nothing behind: see `refresh`.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Brings what is held up to the connection's snapshot.
    fn refresh(&self, conn: &Connection, set: &Set, span: &Span) -> Done<()> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if state.held(set.id, span).is_some() || state.is_too_large(set.id, span) {
            return Ok(());
        }
        // Taken out, so that an error or a panic leaves nothing rather than half of something.
        let held = match std::mem::take(&mut *state) {
            State::Held(mut held) if held.set == set.id && span.reaches(held.seq) => {
                held.follow(conn, span)?;
                Some(held)
            }
            _ if !models::is_watched(conn, set.id)? => return Ok(()),
            _ => Held::load(conn, set, span, self.most_bytes)?,
        };
        *state = match held.filter(|held| held.bytes() <= self.most_bytes) {
            Some(held) => State::Held(held),
            None => State::TooLarge { set: set.id, seq: span.last },
        };
        gauge!(metric_names::VECTORS_HELD).set(state.bytes());
        Ok(())
    }
}

impl State {
    #[expect(clippy::cast_precision_loss, reason = "a size of memory")]
    fn bytes(&self) -> f64 {
        match self {
            Self::Held(held) => held.bytes() as f64,
            Self::Nothing | Self::TooLarge { .. } => 0.0,
        }
    }

    fn held(&self, set: SetId, span: &Span) -> Option<&Held> {
        match self {
            Self::Held(held) if held.set == set && held.seq >= span.last => Some(held),
            _ => None,
        }
    }

    /// Too large a while ago is too large still, until much has changed.
    fn is_too_large(&self, set: SetId, span: &Span) -> bool {
        matches!(self, Self::TooLarge { set: of, seq }
            if *of == set && span.last < seq + limits::VECTOR_CHANGES / 10)
    }
}

/// Where the log of changes begins and ends, as a snapshot sees it.
struct Span {
    first: i64,
    last: i64,
}

impl Span {
    fn read(conn: &Connection) -> Done<Self> {
        Ok(conn
            .prepare_cached(sql::SPAN)?
            .query_row([], |row| Ok(Self { first: row.get(0)?, last: row.get(1)? }))?)
    }

    /// Whether nothing after `seq` was trimmed yet.
    fn reaches(&self, seq: i64) -> bool {
        self.first <= seq + 1
    }
}

impl Held {
    fn load(conn: &Connection, set: &Set, span: &Span, most_bytes: usize) -> Done<Option<Self>> {
        let mut held = Self {
            set: set.id,
            seq: span.last,
            dimension: set.model.dimension as usize,
            codes: Vec::new(),
            rows: Vec::new(),
            places: HashMap::new(),
            owners: Vec::new(),
            numbers: HashMap::new(),
        };
        let mut statement = conn.prepare(&set.id.statement(sql::EVERY))?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if held.bytes() + held.row_bytes() > most_bytes {
                return Ok(None);
            }
            held.put(row)?;
        }
        Ok(Some(held))
    }

    /// Takes over what changed since.
    fn follow(&mut self, conn: &Connection, span: &Span) -> Done<()> {
        let mut statement = conn.prepare_cached(sql::CHANGED)?;
        let changed: Vec<i64> =
            statement.query_map([self.seq], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        let mut one = conn.prepare_cached(&self.set.statement(sql::ONE))?;
        for memory in changed {
            let mut rows = one.query([memory])?;
            match rows.next()? {
                Some(row) => self.put(row)?,
                None => self.remove(memory),
            }
        }
        self.seq = span.last;
        Ok(())
    }

    /// Holds a row, in place of what stood for its memory. A damaged vector fails the question, as it
    /// would a scan.
    fn put(&mut self, row: &Row<'_>) -> Done<()> {
        let memory = row.get(0)?;
        let bytes = row.get_ref(1)?.as_blob().map_err(rusqlite::Error::from)?;
        if bytes.len() != self.dimension * WIDTH {
            return Err(super::vectors::wrong_size(bytes.len(), self.dimension).into());
        }
        let visibility = row.get_ref(5)?.as_str().map_err(rusqlite::Error::from)?;
        let open = visibility != mnemon_core::memories::Visibility::Private.as_str();
        let owner = Owner { tenant: row.get(2)?, user: row.get(3)?, agent: row.get(4)? };
        self.remove(memory);
        let place = Place { memory, owner: self.number(owner), open };
        self.places.insert(memory, u32::try_from(self.rows.len()).unwrap_or(u32::MAX));
        self.rows.push(place);
        codes::encode_packed(bytes, &mut self.codes);
        Ok(())
    }

    /// Forgets a memory; the last row takes its place.
    fn remove(&mut self, memory: i64) {
        let Some(place) = self.places.remove(&memory) else { return };
        let (at, last) = (place as usize, self.rows.len() - 1);
        self.rows.swap_remove(at);
        if at < last {
            self.places.insert(self.rows[at].memory, place);
            self.codes.copy_within(last * self.dimension.., at * self.dimension);
        }
        self.codes.truncate(last * self.dimension);
    }

    fn number(&mut self, owner: Owner) -> u32 {
        if let Some(number) = self.numbers.get(&owner) {
            return *number;
        }
        let number = u32::try_from(self.owners.len()).unwrap_or(u32::MAX);
        self.owners.push(owner.clone());
        self.numbers.insert(owner, number);
        number
    }

    fn row_bytes(&self) -> usize {
        self.dimension * size_of::<i16>() + ROW_BYTES
    }

    fn bytes(&self) -> usize {
        self.rows.len() * self.row_bytes()
    }

    /// The memory of a row.
    pub(super) fn memory(&self, at: u32) -> i64 {
        self.rows[at as usize].memory
    }

    /// Which rows a scope may see, roughly: one flag a row.
    pub(super) fn seen_by(&self, scope: &Admitted<'_>) -> Rows {
        let sights: Vec<Sight> = self.owners.iter().map(|owner| owner.sight(scope)).collect();
        let flags = self.rows.iter().map(|row| match sights[row.owner as usize] {
            Sight::Nothing => false,
            Sight::Open => row.open,
            Sight::All => true,
        });
        Rows::of(flags.collect())
    }

    /// The rows of these memories.
    pub(super) fn rows_of(&self, memories: &[i64]) -> Rows {
        let mut flags = vec![false; self.rows.len()];
        for memory in memories {
            if let Some(at) = self.places.get(memory) {
                flags[*at as usize] = true;
            }
        }
        Rows::of(flags)
    }

    /// The `most` rows nearest to a code, among some.
    pub(super) fn nearest(&self, code: &[i16], among: &Rows, most: usize) -> Nearest {
        let share = self.rows.len().div_ceil(THREADS).max(1);
        let large = self.codes.len() * size_of::<i16>() > ALONE_BYTES;
        let mut rows = if large {
            let parts: Vec<(usize, &[bool])> =
                among.flags.chunks(share).enumerate().map(|(n, part)| (n * share, part)).collect();
            thread::scope(|scope| {
                let workers: Vec<_> = parts
                    .iter()
                    .skip(1)
                    .map(|&(start, flags)| scope.spawn(move || self.part(code, start, flags, most)))
                    .collect();
                let mut rows = self.part(code, parts[0].0, parts[0].1, most);
                for worker in workers {
                    rows.extend(worker.join().unwrap_or_else(|panic| {
                        std::panic::resume_unwind(panic);
                    }));
                }
                rows
            })
        } else {
            self.part(code, 0, &among.flags, most)
        };
        rows.sort_unstable_by(|a, b| b.cmp(a));
        rows.truncate(most);
        Nearest { rows, all: among.count <= most }
    }

    /// The nearest among the rows from `start` on.
    fn part(&self, code: &[i16], start: usize, flags: &[bool], most: usize) -> Vec<Found> {
        let codes = self.codes[start * self.dimension..].chunks_exact(self.dimension);
        let mut best: BinaryHeap<Reverse<Found>> = BinaryHeap::with_capacity(most.min(flags.len()));
        let mut worst = i32::MIN;
        for (at, (row, flag)) in codes.zip(flags).enumerate() {
            if !flag {
                continue;
            }
            let near = codes::dot(code, row);
            if best.len() < most {
                best.push(Reverse((near, number(start + at))));
            } else if near > worst {
                best.pop();
                best.push(Reverse((near, number(start + at))));
            }
            if best.len() == most {
                worst = best.peek().map_or(i32::MIN, |Reverse((near, _))| *near);
            }
        }
        best.into_iter().map(|Reverse(found)| found).collect()
    }
}

fn number(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Some of the rows.
pub(super) struct Rows {
    flags: Vec<bool>,
    pub(super) count: usize,
}

impl Rows {
    fn of(flags: Vec<bool>) -> Self {
        let count = flags.iter().filter(|flag| **flag).count();
        Self { flags, count }
    }

    /// Up to `most` of them, evenly spread.
    pub(super) fn sample(&self, most: usize) -> Vec<u32> {
        let step = self.count.div_ceil(most.max(1)).max(1);
        let chosen = self.flags.iter().enumerate().filter(|(_, flag)| **flag).step_by(step);
        chosen.map(|(at, _)| number(at)).collect()
    }
}

impl Owner {
    fn sight(&self, scope: &Admitted<'_>) -> Sight {
        let other_agent = scope.agent.is_some() && scope.agent != self.agent.as_deref();
        if self.tenant != scope.tenant || other_agent {
            Sight::Nothing
        } else if scope.user.is_none() || self.user.is_none() || scope.user == self.user.as_deref()
        {
            Sight::All
        } else {
            Sight::Open
        }
    }
}
