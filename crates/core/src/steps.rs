//! Steps: writes to any number of facets in one database transaction, exactly once under an id
//! the caller chose.
//!
//! A repeat writes nothing and answers the first receipt. What a step *is* for that purpose is
//! its [`Step::fingerprint`]: what the caller gave, and nothing that differs from run to run.

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::checkpoints::{Placed, Put};
use crate::claims::{Asserted, Changed, ClaimWrite, NewClaim};
use crate::dead_letters::{Burial, Buried, DeliveryReceipt};
use crate::error::{Error, Result};
use crate::events::{Append, Appended};
use crate::ids::RequestId;
use crate::limits;
use crate::locks::Guard;
use crate::memories::{NewMemory, Remembered};
use crate::scope::{Facet, Scope};
use crate::turns::{NewTurn, TurnAppended};
use crate::workflows::SaveRun;

/// One write of a step.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "write")]
#[non_exhaustive]
pub enum Write {
    /// A memory to remember.
    Remember(Box<NewMemory>),
    /// A claim to assert.
    Assert(Box<NewClaim>),
    /// Something about claims that are there.
    Claims(Box<ClaimWrite>),
    /// A turn to append.
    Turn(Box<NewTurn>),
    /// A checkpoint to put.
    Checkpoint(Box<Put>),
    /// Events to append to one stream.
    Events(Append),
    /// A workflow run to save.
    Workflow(Box<SaveRun>),
    /// A failure to keep.
    Bury(Box<Burial>),
    /// A dead letter that is dealt with.
    Ack(DeliveryReceipt),
}

impl Write {
    /// The facet it writes to.
    pub const fn facet(&self) -> Facet {
        match self {
            Self::Remember(_) => Facet::Memories,
            Self::Assert(_) | Self::Claims(_) => Facet::Claims,
            Self::Turn(_) => Facet::Turns,
            Self::Checkpoint(_) => Facet::Checkpoints,
            Self::Events(_) => Facet::Events,
            Self::Workflow(_) => Facet::Workflows,
            Self::Bury(_) | Self::Ack(_) => Facet::DeadLetters,
        }
    }

    /// Bytes of what is cut into words, counted or packed before it is sent.
    fn prepared_bytes(&self) -> usize {
        match self {
            Self::Remember(memory) => memory.content.len(),
            Self::Turn(turn) => {
                let sides = [&turn.user_message, &turn.assistant_response];
                sides.into_iter().flatten().map(String::len).sum()
            }
            Self::Checkpoint(put) => put.channels.values().map(|value| value.bytes.len()).sum(),
            _ => 0,
        }
    }

    /// Its place in the global order in which transactions take their locks: heads by facet and
    /// key first, memories (which have no head) last.
    pub fn order(&self) -> (u8, String) {
        match self {
            Self::Checkpoint(put) => {
                (1, format!("{}\0{}", put.thread.thread_id, put.thread.namespace))
            }
            Self::Assert(_) | Self::Claims(_) => (2, String::new()),
            Self::Bury(burial) => (3, format!("{}\0{}", burial.queue, burial.item_id)),
            Self::Ack(receipt) => (3, format!("{}\0{}", receipt.queue, receipt.item_id)),
            Self::Events(append) => (4, append.stream.clone()),
            Self::Turn(turn) => (5, format!("{}\0{}", turn.kind, turn.run_scoped)),
            Self::Workflow(run) => (6, run.id.clone()),
            Self::Remember(_) => (7, String::new()),
        }
    }

    fn check(&self, scope: &Scope) -> Result<()> {
        let admitted = scope.admit(self.facet())?;
        match self {
            Self::Remember(memory) => memory.check(&admitted),
            Self::Assert(claim) => claim.check(),
            Self::Claims(write) => write.check(),
            Self::Turn(turn) => turn.check().and_then(|()| turn.key().run_of(&admitted).map(drop)),
            Self::Checkpoint(put) => put.check(),
            Self::Events(append) => append.check(),
            Self::Workflow(run) => run.check(),
            Self::Bury(burial) => burial.check(),
            Self::Ack(receipt) => receipt.check(),
        }
    }

    /// What two writes of one step may not both name: both claim to decide its next state.
    fn exclusive(&self) -> bool {
        matches!(self, Self::Checkpoint(_) | Self::Workflow(_) | Self::Bury(_) | Self::Ack(_))
    }
}

/// Writes that happen together, exactly once.
///
/// ```
/// use mnemon_core::memories::NewMemory;
/// use mnemon_core::steps::{Step, Write};
/// use mnemon_core::{RequestId, Scope};
/// use mnemon_core::turns::NewTurn;
///
/// let step = Step::new(RequestId::parse("turn-42")?)
///     .write(Write::Turn(Box::new(NewTurn::new("hi", "hello"))))
///     .write(Write::Remember(Box::new(NewMemory::new("Ada said hi"))));
/// step.check(&Scope::tenant("acme").user("ada").session("s1"))?;
/// # Ok::<(), mnemon_core::Error>(())
/// ```
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The caller's id, unique per tenant, user and agent.
    pub id: RequestId,
    /// What is written, in the order outcomes are answered.
    pub writes: Vec<Write>,
    /// Every fence that must still be the newest.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub guards: Vec<Guard>,
    /// Whether a repeat with another payload is an error.
    #[serde(default)]
    pub strict: bool,
}

impl Step {
    /// An empty step.
    pub fn new(id: RequestId) -> Self {
        Self { id, writes: Vec::new(), guards: Vec::new(), strict: false }
    }

    /// The same with one more write.
    #[must_use]
    pub fn write(mut self, write: Write) -> Self {
        self.writes.push(write);
        self
    }

    /// The same under a fence.
    #[must_use]
    pub fn guard(mut self, guard: Guard) -> Self {
        self.guards.push(guard);
        self
    }

    /// The same, refusing a repeat with another payload ([`Error::StepReused`]).
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// Reads a step that came as JSON.
    ///
    /// ```
    /// use mnemon_core::steps::Step;
    ///
    /// let error = Step::from_json(r#"{"id": "s", "writes": [{"write": "telepathy"}]}"#).unwrap_err();
    /// assert!(error.to_string().starts_with("step: unknown variant `telepathy`"));
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] of `step` for what is no step: an unknown facet or field, an id over its
    /// limit, broken JSON. The fields themselves are checked by [`Step::check`].
    pub fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| Error::invalid("step", error.to_string()))
    }

    /// Checks the step and every write of it against the scope.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the write at fault: no writes, over [`limits::STEP_WRITES`],
    /// a field over its limit, two writes that contradict each other; [`Error::ScopeRequired`].
    pub fn check(&self, scope: &Scope) -> Result<()> {
        if self.writes.is_empty() {
            return Err(Error::invalid("step.writes", "is empty"));
        }
        limits::count("step.writes", self.writes.len(), limits::STEP_WRITES)?;
        limits::count("step.guards", self.guards.len(), limits::STEP_GUARDS)?;
        for guard in &self.guards {
            crate::locks::check_key(&guard.key)?;
        }
        for (at, write) in self.writes.iter().enumerate() {
            write.check(scope).map_err(|error| at_write(at, error))?;
        }
        let mut seen = std::collections::BTreeMap::new();
        for (at, write) in self.writes.iter().enumerate().filter(|(_, write)| write.exclusive()) {
            if let Some(first) = seen.insert(write.order(), at) {
                return Err(Error::invalid(
                    format!("step.writes[{at}]"),
                    format!("contradicts writes[{first}]: both decide the same {}", write.facet()),
                ));
            }
        }
        Ok(())
    }

    /// Places of the writes in the order in which their locks are taken.
    pub fn lock_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.writes.len()).collect();
        order.sort_by_cached_key(|at| (self.writes[*at].order(), *at));
        order
    }

    /// Bytes of its texts and values that a store works through before it takes any lock.
    pub fn prepared_bytes(&self) -> usize {
        self.writes.iter().map(Write::prepared_bytes).sum()
    }

    /// What the step is: blake3 over what the caller gave, as canonical JSON. Vectors, guards
    /// and the strictness are not part of it.
    pub fn fingerprint(&self) -> [u8; 32] {
        let bare: Vec<Write> = self.writes.iter().map(without_vector).collect();
        // serde_json's map is ordered by key: the text is canonical.
        let canonical = serde_json::to_value(bare).expect("writes are plain data");
        *blake3::hash(canonical.to_string().as_bytes()).as_bytes()
    }
}

fn without_vector(write: &Write) -> Write {
    match write {
        Write::Remember(memory) => {
            Write::Remember(Box::new(NewMemory { embedding: None, ..(**memory).clone() }))
        }
        other => other.clone(),
    }
}

/// Names the write at fault in an error about a field.
pub fn at_write(at: usize, error: Error) -> Error {
    match error {
        Error::Invalid { field, reason } => {
            Error::invalid(format!("step.writes[{at}].{field}"), reason)
        }
        other => other,
    }
}

/// What one write did: ids and versions, never payloads.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "write")]
#[non_exhaustive]
pub enum Outcome {
    /// Of [`Write::Remember`].
    Remember(Remembered),
    /// Of [`Write::Assert`].
    Assert(Asserted),
    /// Of [`Write::Claims`].
    Claims(Changed),
    /// Of [`Write::Turn`].
    Turn(TurnAppended),
    /// Of [`Write::Checkpoint`].
    Checkpoint(Placed),
    /// Of [`Write::Events`].
    Events(Appended),
    /// Of [`Write::Workflow`].
    Workflow {
        /// The version it was saved as.
        version: i64,
    },
    /// Of [`Write::Bury`].
    Bury(Buried),
    /// Of [`Write::Ack`].
    Ack,
}

/// The proof that a step happened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Receipt {
    /// The step.
    pub step_id: RequestId,
    /// When it happened.
    pub committed_at: DateTime<Utc>,
    /// What each write did, in the order given.
    pub outcomes: Vec<Outcome>,
    /// Whether this answers a repeat or a look-up: this call wrote nothing. A store that sends a
    /// call again by itself, because the answer to its COMMIT was lost, says `false` where it finds
    /// what that very call had written.
    pub replayed: bool,
    /// Whether the repeat's payload was another one.
    pub differs: bool,
}

/// The steps of a store.
///
/// # Contract
///
/// - All writes of a step are seen together or not at all; if any check fails nothing is written.
/// - Receipts are keyed by tenant, user, agent and step id; the second writer of an id waits for
///   the first and answers its receipt.
/// - Of all calls with one id exactly one is answered without `replayed`, unless the answer of the
///   one that wrote never reached its caller.
/// - Transactions take their locks in one global order ([`Write::order`]).
#[async_trait]
pub trait Steps: Send + Sync {
    /// Commits a step, or answers the receipt of the first time.
    ///
    /// # Errors
    ///
    /// As [`Step::check`] and as each write; [`Error::Fenced`] when a guard is stale;
    /// [`Error::StepReused`] for a strict step whose payload differs.
    async fn commit(&self, scope: &Scope, step: Step) -> Result<Receipt>;

    /// The receipt of a step, to be asked before expensive work is done again. It answers as a
    /// repeat with an equal payload would: `replayed`, and not `differs`.
    ///
    /// # Errors
    ///
    /// [`Error::ScopeRequired`].
    async fn receipt(&self, scope: &Scope, id: &RequestId) -> Result<Option<Receipt>>;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoints::Thread;

    fn step(writes: Vec<Write>) -> Step {
        Step { writes, ..Step::new(RequestId::parse("s").unwrap()) }
    }

    fn remember(text: &str, embedding: Option<Vec<f32>>) -> Write {
        Write::Remember(Box::new(NewMemory { embedding, ..NewMemory::new(text) }))
    }

    #[test]
    fn a_vector_does_not_make_another_step() {
        let bare = step(vec![remember("a", None)]);
        let embedded = step(vec![remember("a", Some(vec![1.0]))]);
        let other = step(vec![remember("b", None)]);

        assert_eq!(bare.fingerprint(), embedded.fingerprint());
        assert_ne!(bare.fingerprint(), other.fingerprint());
    }

    #[test]
    fn two_writes_that_decide_the_same_thread_contradict_each_other() {
        let put = || Write::Checkpoint(Box::new(Put::new(Thread::new("t"))));

        let error = step(vec![put(), put()]).check(&Scope::tenant("t")).unwrap_err();

        assert!(error.to_string().starts_with("step.writes[1]: contradicts writes[0]"), "{error}");
    }

    #[test]
    fn an_empty_step_is_refused() {
        let error = step(Vec::new()).check(&Scope::tenant("t")).unwrap_err();

        assert_eq!(error.to_string(), "step.writes: is empty");
    }

    #[test]
    fn locks_are_taken_heads_first_whatever_the_order_given() {
        let append = |stream: &str| {
            Write::Events(Append {
                stream: stream.into(),
                events: Vec::new(),
                expected_version: None,
            })
        };
        let step = step(vec![
            remember("a", None),
            append("b"),
            append("a"),
            Write::Checkpoint(Box::new(Put::new(Thread::new("t")))),
        ]);

        assert_eq!(step.lock_order(), [3, 2, 1, 0]);
    }

    #[test]
    fn an_unknown_write_is_refused() {
        let json = r#"{"id": "s", "writes": [{"write": "telepathy"}]}"#;

        let error = Step::from_json(json).unwrap_err();

        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        assert!(error.to_string().contains("telepathy"), "{error}");
    }
}
