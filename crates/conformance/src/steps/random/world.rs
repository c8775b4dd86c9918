//! The reference model of steps: every facet's rule in a few maps, no database.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use mnemon_core::checkpoints::{CheckpointId, ExpectedHead, Put, Thread};
use mnemon_core::claims::{ClaimId, NewClaim};
use mnemon_core::dead_letters::{Burial, DeliveryReceipt};
use mnemon_core::events::{Append, Known, NewEvent, place};
use mnemon_core::locks::Guard;
use mnemon_core::memories::NewMemory;
use mnemon_core::steps::{Outcome, Receipt, Step, Write};
use mnemon_core::turns::NewTurn;
use mnemon_core::workflows::SaveRun;
use mnemon_core::{EventId, Fence, MemoryId, RequestId, Scope};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::check::Dice;
use crate::ctx::Ctx;

const A_DAY: Duration = Duration::from_hours(24);
const LOCK: &str = "the lock";

/// Two users of two tenants. What is keyed by tenant alone carries the user's name, so that who
/// sees whose is not in question here: the isolation matrix asks that.
pub(super) fn scope(dice: &mut Dice) -> Scope {
    let tenant = *dice.pick(&["acme", "acme", "globex"]);
    let user = *dice.pick(&["ada", "bob"]);
    Scope::tenant(tenant).user(user).agent("planner").session("s")
}

/// A name of this scope's own.
fn own(scope: &Scope, name: &str) -> String {
    format!("{} of {}", name, scope.user.as_deref().unwrap_or_default())
}

/// Tenant, user, and a name.
type Key = (String, String, String);

fn key(scope: &Scope, name: &str) -> Key {
    (scope.tenant.clone(), scope.user.clone().unwrap_or_default(), name.to_owned())
}

/// A dead letter.
#[derive(Clone, Default)]
struct Letter {
    attempts: u32,
    delivery: i64,
    taken: bool,
}

/// What stands, without times.
#[derive(Clone, Default)]
pub(super) struct State {
    /// Streams of a tenant, and where events with an id stand.
    streams: BTreeMap<(String, String), i64>,
    events: BTreeMap<(String, EventId), Known>,
    sessions: BTreeMap<Key, i64>,
    requests: BTreeMap<Key, i64>,
    threads: BTreeMap<Key, (i64, Option<CheckpointId>)>,
    /// Threads whose head was written under the lock: they take writers under it only.
    fenced: BTreeSet<Key>,
    runs: BTreeMap<Key, i64>,
    letters: BTreeMap<Key, Letter>,
    memories: BTreeMap<Key, Option<MemoryId>>,
    claims: i64,
}

impl State {
    pub(super) fn learn_memory(&mut self, scope: &Scope, content: &str, id: MemoryId) {
        self.memories.insert(key(scope, content), Some(id));
    }

    pub(super) fn learn_head(&mut self, scope: &Scope, thread: &str, id: &CheckpointId) {
        let head = self.threads.entry(key(scope, thread)).or_default();
        head.1 = Some(id.clone());
    }
}

/// What a write is answered with, as far as the model knows.
#[derive(Debug)]
pub(super) enum Expected {
    Memory { created: bool, id: Option<MemoryId> },
    Claim,
    Exactly(Outcome),
    Checkpoint { version: i64, parent: Option<CheckpointId> },
}

impl Expected {
    pub(super) fn is(&self, found: &Outcome) -> bool {
        match (self, found) {
            (Self::Memory { created, id }, Outcome::Remember(done)) => {
                done.created == *created && id.is_none_or(|id| id == done.id)
            }
            (Self::Claim, Outcome::Assert(done)) => done.created,
            (Self::Checkpoint { version, parent }, Outcome::Checkpoint(placed)) => {
                placed.version == *version && placed.parent == *parent
            }
            (Self::Exactly(expected), found) => expected == found,
            _ => false,
        }
    }
}

pub(super) struct World<'c> {
    pub(super) ctx: &'c Ctx,
    state: State,
    receipts: BTreeMap<Key, ([u8; 32], Receipt)>,
    /// What was last sent under an id.
    sent: BTreeMap<Key, Step>,
    fences: BTreeMap<String, i64>,
    deliveries: Vec<(String, DeliveryReceipt)>,
    forced: i64,
    burials: i64,
    events: i64,
    turns: i64,
    checkpoints: i64,
}

impl<'c> World<'c> {
    pub(super) fn new(ctx: &'c Ctx) -> Self {
        Self {
            ctx,
            state: State::default(),
            receipts: BTreeMap::new(),
            sent: BTreeMap::new(),
            fences: BTreeMap::new(),
            deliveries: Vec::new(),
            forced: 0,
            burials: 0,
            events: 0,
            turns: 0,
            checkpoints: 0,
        }
    }

    /// The receipt of a step as a look-up answers it.
    pub(super) fn receipt(&self, scope: &Scope, id: &RequestId) -> Option<&([u8; 32], Receipt)> {
        self.receipts.get(&key(scope, id.as_str()))
    }

    pub(super) fn last(&self, scope: &Scope, id: &RequestId) -> Option<Step> {
        self.sent.get(&key(scope, id.as_str())).cloned().map(|step| Step { strict: false, ..step })
    }

    pub(super) fn sent(&mut self, scope: &Scope, step: &Step) {
        self.sent.insert(key(scope, step.id.as_str()), step.clone());
    }

    /// Raises the fence of the tenant's lock.
    pub(super) async fn turn_the_lock(&mut self, scope: &Scope, dice: &mut Dice) {
        let locks = self.ctx.locks();
        let before = self.fences.get(&scope.tenant).copied().unwrap_or_default();
        if before > 0 && dice.below(2) == 0 {
            locks.force_release(scope, LOCK).await.expect("it is there");
            self.forced += 1;
        } else if before > 0 {
            let newest = Guard { key: LOCK.into(), fence: Fence(before) };
            locks.release(scope, &newest).await.expect("it is ours");
        }
        let lease = locks.acquire(scope, LOCK, "us", A_DAY).await.expect("it is free");
        assert!(lease.fence.0 > before);
        self.fences.insert(scope.tenant.clone(), lease.fence.0);
    }

    /// Takes a dead letter, to be acknowledged by a step.
    pub(super) async fn take(&mut self, scope: &Scope, dice: &mut Dice) {
        let queue = own(scope, "queue");
        let item = format!("i{}", dice.below(2));
        let ready = self
            .state
            .letters
            .iter()
            .filter(|((tenant, user, _), letter)| {
                *tenant == scope.tenant && Some(user) == scope.user.as_ref() && !letter.taken
            })
            .count();
        let taken = self.ctx.dead_letters().take(scope, &queue, 1, A_DAY).await.expect("answered");
        assert_eq!(taken.len(), ready.min(1), "{item}");
        for delivery in taken {
            let letter = self
                .state
                .letters
                .get_mut(&key(scope, &delivery.receipt.item_id))
                .expect("only what was buried is taken");
            letter.taken = true;
            letter.delivery += 1;
            assert_eq!(letter.delivery, delivery.receipt.delivery);
            assert_eq!(letter.attempts, delivery.attempts);
            self.deliveries.push((scope.tenant.clone(), delivery.receipt));
        }
    }

    /// A step of random writes; some of them cannot be done.
    pub(super) fn step(&self, scope: &Scope, id: RequestId, dice: &mut Dice) -> Step {
        let mut step = Step::new(id);
        for _ in 0..=dice.below(4) {
            step = step.write(self.write(scope, dice));
        }
        if dice.below(3) == 0 {
            let newest = self.fences.get(&scope.tenant).copied().unwrap_or_default();
            let fence = Fence(newest - i64::from(dice.below(3) == 0));
            step = step.guard(Guard { key: LOCK.into(), fence });
        }
        step
    }

    fn write(&self, scope: &Scope, dice: &mut Dice) -> Write {
        match dice.below(8) {
            0 => {
                let text = format!("text {}", dice.below(12));
                Write::Remember(Box::new(NewMemory::new(text)))
            }
            1 => {
                let claim =
                    NewClaim::new(format!("s{}", dice.below(3)), "p", *dice.pick(&["v", "w"]));
                let nobody = ClaimId(Uuid::from_u128(7));
                let derived_from = if dice.below(8) == 0 { vec![nobody] } else { Vec::new() };
                Write::Assert(Box::new(NewClaim { derived_from, ..claim }))
            }
            2 => {
                let request = format!("turn {}", dice.below(6));
                let request_id = (dice.below(2) == 0).then(|| RequestId::parse(request).ok());
                let turn = NewTurn::new("question", "answer");
                Write::Turn(Box::new(NewTurn { request_id: request_id.flatten(), ..turn }))
            }
            3 => self.put(scope, dice),
            4 => self.append(scope, dice),
            5 => {
                let name = own(scope, &format!("run {}", dice.below(2)));
                let version = self.state.runs.get(&key(scope, &name)).copied().unwrap_or_default();
                let off = i64::from(dice.below(6) == 0);
                let run = SaveRun::new(name, "test");
                Write::Workflow(Box::new(SaveRun { expected_version: version + off, ..run }))
            }
            6 => {
                let item = format!("i{}", dice.below(2));
                let burial = Burial::new(own(scope, "queue"), item, Value::Null, "it failed");
                Write::Bury(Box::new(burial))
            }
            _ => self.ack(scope, dice),
        }
    }

    fn put(&self, scope: &Scope, dice: &mut Dice) -> Write {
        let thread = own(scope, &format!("thread {}", dice.below(2)));
        let head = self.state.threads.get(&key(scope, &thread)).and_then(|(_, id)| id.clone());
        let expected_head = match (dice.below(6), head) {
            (0, _) => ExpectedHead::Is(CheckpointId("none".into())),
            (1, _) => ExpectedHead::Empty,
            (2..4, Some(head)) => ExpectedHead::Is(head),
            _ => ExpectedHead::Any,
        };
        let put = Put { expected_head, ..Put::new(Thread::new(thread)) };
        Write::Checkpoint(Box::new(put))
    }

    fn append(&self, scope: &Scope, dice: &mut Dice) -> Write {
        let stream = format!("stream {}", dice.below(2));
        let at = (scope.tenant.clone(), stream.clone());
        let version = self.state.streams.get(&at).copied().unwrap_or_default();
        let expected_version = match dice.below(6) {
            0 => Some(version + 1),
            1 | 2 => Some(version),
            _ => None,
        };
        let mut ids: Vec<u128> = (1..20).collect();
        let events = (0..=dice.below(2))
            .map(|n| {
                let id = Uuid::from_u128(ids.swap_remove(dice.below(ids.len())));
                let id = (dice.below(2) == 0).then_some(EventId(id));
                NewEvent { id, ..NewEvent::new("a.b", json!(n)) }
            })
            .collect();
        Write::Events(Append { stream, events, expected_version })
    }

    /// A delivery of this tenant's, mostly; of this user's or another's.
    fn ack(&self, scope: &Scope, dice: &mut Dice) -> Write {
        let queue = own(scope, "queue");
        let mine: Vec<&DeliveryReceipt> = self
            .deliveries
            .iter()
            .filter(|(tenant, receipt)| *tenant == scope.tenant && receipt.queue == queue)
            .map(|(_, receipt)| receipt)
            .collect();
        let gone = DeliveryReceipt { queue, item_id: "gone".into(), delivery: 1 };
        Write::Ack(mine.last().filter(|_| dice.below(5) > 0).map_or(gone, |last| (*last).clone()))
    }

    /// What the step must be answered with, and what stands afterwards; or the error's code.
    pub(super) fn expect(
        &self,
        scope: &Scope,
        step: &Step,
    ) -> Result<(State, Vec<Expected>), &'static str> {
        let newest = self.fences.get(&scope.tenant).copied();
        if step.guards.iter().any(|guard| Some(guard.fence.0) != newest) {
            return Err("fenced");
        }
        let mut state = self.state.clone();
        let mut outcomes: BTreeMap<usize, Expected> = BTreeMap::new();
        for at in step.lock_order() {
            if let Write::Checkpoint(put) = &step.writes[at] {
                let thread = key(scope, &put.thread.thread_id);
                if step.guards.is_empty() && state.fenced.contains(&thread) {
                    return Err("fenced");
                }
                if !step.guards.is_empty() {
                    state.fenced.insert(thread);
                }
            }
            outcomes.insert(at, state.apply(scope, &step.writes[at])?);
        }
        Ok((state, outcomes.into_values().collect()))
    }

    /// Takes over what a step left.
    pub(super) fn keep(&mut self, scope: &Scope, step: &Step, state: State, receipt: Receipt) {
        for (write, outcome) in step.writes.iter().zip(&receipt.outcomes) {
            match (write, outcome) {
                (Write::Bury(_), _) => self.burials += 1,
                (Write::Checkpoint(_), _) => self.checkpoints += 1,
                (Write::Turn(_), Outcome::Turn(done)) => self.turns += i64::from(done.created),
                (Write::Ack(receipt), _) => {
                    let letter = &self.state.letters[&key(scope, &receipt.item_id)];
                    self.burials -= i64::from(letter.attempts);
                }
                _ => {}
            }
        }
        self.state = state;
        self.events = self.state.streams.values().sum();
        let kept = Receipt { replayed: true, ..receipt };
        self.receipts.insert(key(scope, step.id.as_str()), (step.fingerprint(), kept));
    }

    /// Rows of every kind, over all tenants.
    pub(super) async fn count(&self, what: &str) {
        let length = |n: usize| i64::try_from(n).expect("a few");
        let state = &self.state;
        for (table, expected) in [
            ("receipts", length(self.receipts.len())),
            ("memories", length(state.memories.len())),
            ("events", self.events + self.forced),
            ("turns", self.turns),
            ("claims", state.claims),
            ("claim_ledger", state.claims),
            ("checkpoints", self.checkpoints),
            ("workflow_runs", length(state.runs.len())),
            ("dead_letters", length(state.letters.len())),
            ("dead_letter_attempts", self.burials),
        ] {
            assert_eq!(self.ctx.rows(table).await, expected, "{what}: {table}");
        }
    }
}

impl State {
    fn apply(&mut self, scope: &Scope, write: &Write) -> Result<Expected, &'static str> {
        Ok(match write {
            Write::Remember(memory) => {
                let at = key(scope, &memory.content);
                let id = self.memories.get(&at).copied().flatten();
                let created = !self.memories.contains_key(&at);
                self.memories.entry(at).or_insert(None);
                Expected::Memory { created, id }
            }
            Write::Assert(claim) if claim.derived_from.is_empty() => {
                self.claims += 1;
                Expected::Claim
            }
            Write::Assert(_) => return Err("not_found"),
            Write::Turn(turn) => self.turn(scope, turn),
            Write::Checkpoint(put) => self.checkpoint(scope, put)?,
            Write::Events(append) => self.append(scope, append)?,
            Write::Workflow(run) => {
                let version = self.runs.entry(key(scope, &run.id)).or_default();
                if *version != run.expected_version {
                    return Err("conflict");
                }
                *version += 1;
                Expected::Exactly(Outcome::Workflow { version: *version })
            }
            Write::Bury(burial) => {
                let letter = self.letters.entry(key(scope, &burial.item_id)).or_default();
                let again = i64::from(letter.attempts > 0);
                letter.attempts += 1;
                letter.delivery += again;
                letter.taken = false;
                let attempts = letter.attempts;
                Expected::Exactly(Outcome::Bury(mnemon_core::dead_letters::Buried { attempts }))
            }
            Write::Ack(receipt) => {
                let at = key(scope, &receipt.item_id);
                let letter = self.letters.get(&at).ok_or("not_found")?;
                if letter.delivery != receipt.delivery || !letter.taken {
                    return Err("fenced");
                }
                self.letters.remove(&at);
                Expected::Exactly(Outcome::Ack)
            }
            other => unreachable!("the generator makes no {other:?}"),
        })
    }

    fn turn(&mut self, scope: &Scope, turn: &NewTurn) -> Expected {
        let seq = self.sessions.entry(key(scope, "s")).or_default();
        let first = turn.request_id.as_ref().map(|id| key(scope, id.as_str()));
        let known = first.as_ref().and_then(|first| self.requests.get(first)).copied();
        if known.is_none() {
            *seq += 1;
            if let Some(first) = first {
                self.requests.insert(first, *seq);
            }
        }
        let (seq, created) = (known.unwrap_or(*seq), known.is_none());
        Expected::Exactly(Outcome::Turn(mnemon_core::turns::TurnAppended { seq, created }))
    }

    fn checkpoint(&mut self, scope: &Scope, put: &Put) -> Result<Expected, &'static str> {
        let (version, head) = self.threads.entry(key(scope, &put.thread.thread_id)).or_default();
        let holds = match &put.expected_head {
            ExpectedHead::Any => true,
            ExpectedHead::Empty => head.is_none(),
            ExpectedHead::Is(id) => head.as_ref() == Some(id),
        };
        if !holds {
            return Err("conflict");
        }
        *version += 1;
        Ok(Expected::Checkpoint { version: *version, parent: head.clone() })
    }

    fn append(&mut self, scope: &Scope, append: &Append) -> Result<Expected, &'static str> {
        let tenant = scope.tenant.as_str();
        let head = self.streams.entry((tenant.to_owned(), append.stream.clone())).or_default();
        let known: Vec<Option<Known>> = append
            .events
            .iter()
            .map(|event| self.events.get(&(tenant.to_owned(), event.id?)).cloned())
            .collect();
        let done = place(append, *head, &known).map_err(|error| error.code())?;
        *head = done.stream_version;
        let new: BTreeSet<usize> = (0..known.len()).filter(|at| known[*at].is_none()).collect();
        for at in new {
            if let Some(id) = append.events[at].id {
                let known = Known { stream: append.stream.clone(), version: done.versions[at] };
                self.events.insert((tenant.to_owned(), id), known);
            }
        }
        Ok(Expected::Exactly(Outcome::Events(done)))
    }
}
