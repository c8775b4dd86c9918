//! Writers that are killed: what they were to write, and what must stand once every step was sent
//! again. For the stores' own tests, which start the writers as processes and kill them.
//!
//! A [`Run`] is a seed: the same seed gives the same steps in every process. Its rows are those of
//! a tenant of its own, so that many runs share a database. The writers of a run meet in one
//! stream, session, thread and queue, and each has streams, threads and runs of its own with
//! expected versions; every kind of write occurs.

mod effects;

use std::sync::Arc;
use std::time::Duration;

use mnemon_core::checkpoints::{ChannelValue, CheckpointId, ExpectedHead, Put, Thread};
use mnemon_core::claims::NewClaim;
use mnemon_core::dead_letters::{Burial, DeliveryReceipt};
use mnemon_core::events::{Append, NewEvent};
use mnemon_core::locks::Guard;
use mnemon_core::memories::NewMemory;
use mnemon_core::steps::{Receipt, Step, Write};
use mnemon_core::turns::NewTurn;
use mnemon_core::workflows::SaveRun;
use mnemon_core::{EventId, Fence, RequestId, Scope, Store};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::check::Dice;

/// Writers of a run.
pub const WRITERS: usize = 4;
/// Steps of each writer.
pub const STEPS: usize = 3;
/// Kinds of writes that a step may hold, each once at the most.
const KINDS: usize = 10;

const LOCK: &str = "the run";
const SHARED: &str = "shared";
/// Longer than any run.
const A_DAY: Duration = Duration::from_hours(24);

/// One run of [`WRITERS`], told by its seed.
#[derive(Clone, Debug)]
pub struct Run {
    seed: u64,
}

impl Run {
    /// The run of a seed.
    pub fn of(seed: u64) -> Self {
        Self { seed }
    }

    /// Who writes: a tenant of the run's own.
    pub fn scope(&self) -> Scope {
        let tenant = format!("run {}", self.seed);
        Scope::tenant(tenant).user("ada").agent("planner").session("s")
    }

    /// Holds the lock whose fence the steps carry, and takes what they acknowledge.
    ///
    /// # Panics
    /// When the store refuses, or the run was prepared before.
    pub async fn prepare(&self, store: &dyn Store) {
        let scope = self.scope();
        let lease = store.locks().acquire(&scope, LOCK, "us", A_DAY).await.expect("it is free");
        assert_eq!(lease.fence, Fence(1));
        for writer in 0..WRITERS {
            for n in 0..STEPS {
                let burial = Burial::new("old", item(writer, n), Value::Null, "it failed before");
                store.dead_letters().bury(&scope, burial, None).await.expect("is kept");
            }
        }
        let all = u32::try_from(WRITERS * STEPS).expect("a few");
        let taken = store.dead_letters().take(&scope, "old", all, A_DAY).await.expect("answered");
        assert_eq!(taken.len(), WRITERS * STEPS);
    }

    /// The steps of a writer, in order: each builds on the one before.
    pub fn steps(&self, writer: usize) -> Vec<Step> {
        let mut plan = Plan::new(self.seed, writer);
        (0..STEPS).map(|n| plan.step(n)).collect()
    }

    /// Commits the steps of a writer, in order.
    ///
    /// # Panics
    /// When the store refuses one, or answers another step's receipt.
    pub async fn write(&self, store: &dyn Store, writer: usize) -> Vec<Receipt> {
        let mut receipts = Vec::new();
        for step in self.steps(writer) {
            let id = step.id.clone();
            let receipt = store.steps().commit(&self.scope(), step).await;
            let receipt = receipt.unwrap_or_else(|error| panic!("{id}: {error:?}"));
            assert!(receipt.step_id == id && !receipt.differs, "{receipt:?}");
            receipts.push(receipt);
        }
        receipts
    }

    /// Sends every step of every writer again, the writers at once, and checks that one copy of
    /// each effect stands. Answers how many steps had happened before.
    ///
    /// # Panics
    /// When something is missing, doubled, or told otherwise than it stands.
    pub async fn settle(&self, store: &Arc<dyn Store>) -> usize {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (run, store) = (self.clone(), Arc::clone(store));
                tokio::spawn(async move { run.write(store.as_ref(), writer).await })
            })
            .collect();
        let mut receipts = Vec::new();
        for writer in writers {
            receipts.push(writer.await.expect("no panic"));
        }
        let before = receipts.iter().flatten().filter(|receipt| receipt.replayed).count();
        let dice = &mut Dice::seeded(self.seed);
        let (writer, n) = (dice.below(WRITERS), dice.below(STEPS));
        let step = self.steps(writer).swap_remove(n);
        let again = store.steps().commit(&self.scope(), step).await.expect("it happened");
        assert_eq!(again, Receipt { replayed: true, ..receipts[writer][n].clone() });
        effects::check(self, store.as_ref(), &receipts).await;
        before
    }
}

fn item(writer: usize, n: usize) -> String {
    format!("item {writer}/{n}")
}

/// How far a writer has come with what it alone writes.
struct Plan {
    dice: Dice,
    seed: u64,
    writer: usize,
    stream: i64,
    head: Option<CheckpointId>,
    run: i64,
}

impl Plan {
    fn new(seed: u64, writer: usize) -> Self {
        let dice = Dice::seeded(seed.wrapping_mul(31).wrapping_add(writer as u64));
        Self { dice, seed, writer, stream: 0, head: None, run: 0 }
    }

    fn step(&mut self, n: usize) -> Step {
        let name = format!("{}/{n}", self.writer);
        let mut step = Step::new(RequestId::parse(format!("step {name}")).expect("a name"));
        let guarded = self.dice.below(2) == 0;
        let mut kinds: Vec<usize> = (0..KINDS).collect();
        for _ in 0..=self.dice.below(4) {
            let kind = kinds.swap_remove(self.dice.below(kinds.len()));
            step = step.write(self.any(kind, &name, n));
        }
        // A thread that was written under a guard refuses writers without it from then on.
        let of_thread = step.writes.iter().any(|write| matches!(write, Write::Checkpoint(_)));
        if guarded || of_thread {
            step = step.guard(Guard { key: LOCK.into(), fence: Fence(1) });
        }
        step
    }

    fn any(&mut self, kind: usize, name: &str, n: usize) -> Write {
        match kind {
            0 => memory(NewMemory::new(format!("of {name}"))),
            // Whoever comes first writes it, the others find it.
            1 => memory(NewMemory::new(format!("everybody's {}", self.dice.below(2)))),
            2 => memory(NewMemory { allow_duplicate: true, ..NewMemory::new("a duplicate") }),
            3 => Write::Turn(Box::new(NewTurn::new(name, "done"))),
            4 => {
                let subject = format!("s{}", self.dice.below(2));
                let value = i64::try_from(self.dice.below(2)).expect("0 or 1");
                Write::Assert(Box::new(NewClaim::new(subject, "p", value)))
            }
            5 => self.events(SHARED.to_owned(), name, false),
            6 => self.events(format!("of {}", self.writer), name, true),
            7 => self.checkpoint(name, n),
            8 => self.workflow(),
            _ if self.dice.below(2) == 0 => {
                let item = format!("i{}", self.dice.below(2));
                Write::Bury(Box::new(Burial::new("new", item, json!(name), "it failed")))
            }
            _ => Write::Ack(DeliveryReceipt {
                queue: "old".into(),
                item_id: item(self.writer, n),
                delivery: 1,
            }),
        }
    }

    fn events(&mut self, stream: String, name: &str, own: bool) -> Write {
        let count = self.dice.below(3) + 1;
        let events = (0..count)
            .map(|at| {
                let id = u128::from(self.dice.next()) << 64 | u128::from(self.seed);
                let data = json!({ "by": format!("{name}/{at}") });
                NewEvent {
                    id: own.then_some(EventId(Uuid::from_u128(id))),
                    ..NewEvent::new("step.done", data)
                }
            })
            .collect();
        let expected_version = own.then_some(self.stream);
        if own {
            self.stream += i64::try_from(count).expect("a few");
        }
        Write::Events(Append { stream, events, expected_version })
    }

    /// On the writer's own thread, each on the one before; or on the shared one.
    fn checkpoint(&mut self, name: &str, n: usize) -> Write {
        let own = self.dice.below(2) == 0;
        let thread = if own { format!("of {}", self.writer) } else { SHARED.to_owned() };
        let mut put = Put::new(Thread::new(thread)).channel("by", ChannelValue::json(&json!(name)));
        if n.is_multiple_of(2) {
            // In parts, most of which the thread has already.
            let bytes =
                (0..8_000 + u32::from(n.is_multiple_of(8))).flat_map(u32::to_le_bytes).collect();
            put = put.channel("long", ChannelValue { type_tag: "bytes".into(), bytes });
        }
        if !own {
            return Write::Checkpoint(Box::new(put));
        }
        let id = CheckpointId(format!("cp-{n}"));
        let before = self.head.replace(id.clone());
        let expected_head = before.map_or(ExpectedHead::Empty, ExpectedHead::Is);
        Write::Checkpoint(Box::new(Put { id: Some(id), expected_head, ..put }))
    }

    fn workflow(&mut self) -> Write {
        let expected_version = self.run;
        self.run += 1;
        let run = SaveRun::new(format!("of {}", self.writer), "test");
        Write::Workflow(Box::new(SaveRun { expected_version, ..run }))
    }
}

fn memory(memory: NewMemory) -> Write {
    Write::Remember(Box::new(memory))
}
