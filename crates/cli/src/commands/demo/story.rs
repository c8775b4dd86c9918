//! The story: three days of Iris, who helps Ada with a launch. Everything in it really happens;
//! the answers are the database's.

use std::time::Instant;

use chrono::Utc;
use mnemon::checkpoints::{ChannelValue, Put, Thread};
use mnemon::claims::{
    AsOf, Asserted, Belief, BeliefStatus, Believed, External, Line, NewClaim, Provenance,
};
use mnemon::events::{Append, NewEvent};
use mnemon::turns::NewTurn;
use mnemon::{
    Error, Hit, Mnemon, NewMemory, Recall, Receipt, RequestId, Result, Scope, Step, StepOutcome,
    Write,
};
use serde_json::json;

use super::letters::{self, LETTERS};
use super::standing::{self, Standing};
use super::teller::Teller;
use crate::commands::Done;
use crate::context::Context;
use crate::failure::Failure;

/// What Ada is asked on the third day.
const QUESTION: &str = "why is the launch on 3 May?";

/// Plays the story.
pub(super) async fn run(db: &Mnemon, context: &Context<'_>) -> Done {
    let started = Instant::now();
    let mut teller = Teller::new(context.output);
    // A tenant of its own: told again in the same database, it is another story.
    let begun = Utc::now().format("%m%d-%H%M%S%3f");
    let story = Story { db, tenant: format!("{}-{begun}", super::tenant(context)) };
    teller.aside(&format!(
        "Three days of Iris, an assistant, and of Ada, whom she helps. Database: {}.",
        if context.db_given { db.place() } else { "a temporary file" }
    ))?;
    let monday = story.first_day(&mut teller).await?;
    story.second_day(&mut teller, context).await?;
    story.third_day(&mut teller, &monday).await?;
    teller.aside(&last_words(context, &story.tenant, started))?;
    teller.end()?;
    Ok(())
}

/// What a part of the story answers.
type Told<T> = std::result::Result<T, Failure>;

struct Story<'a> {
    db: &'a Mnemon,
    tenant: String,
}

impl Story<'_> {
    fn session(&self, name: &str) -> Scope {
        Scope::tenant(&self.tenant).user("ada").agent("iris").session(name)
    }

    async fn first_day(&self, teller: &mut Teller<'_>) -> Told<Asserted> {
        teller.day("Day 1", "Iris is told something")?;
        let scope = self.session("day-1");
        teller.happens(
            "Ada says when the launch is, and why. Iris writes what was said, what to remember, \
             what happened, what she believes and where she stands as ONE step:",
        )?;
        let receipt = self.db.commit(&scope, first_step()?).await?;
        let claim = told_receipt(teller, &receipt)?;
        teller.happens("The answer got lost on the way, so Iris sends the same step again:")?;
        let again = self.db.commit(&scope, first_step()?).await?;
        let same = again.outcomes == receipt.outcomes;
        teller.answers(format!(
            "replayed: {}, the same receipt: {same}; nothing was written twice",
            again.replayed
        ))?;
        Ok(claim)
    }

    async fn second_day(&self, teller: &mut Teller<'_>, context: &Context<'_>) -> Done {
        teller.day("Day 2", "Iris is contradicted, and crashes")?;
        self.contradiction(teller).await?;
        teller.happens(format!(
            "{} letters came. A process of its own reads them under a lock, one step each; \
             somewhere after letter {} it is killed with SIGKILL:",
            LETTERS.len(),
            letters::TOLD
        ))?;
        let killed = letters::start_and_kill(context, &self.tenant)?;
        teller.answers(format!("process {} ended: {}", killed.pid, killed.how))?;
        self.resume(teller, killed.told).await
    }

    async fn contradiction(&self, teller: &mut Teller<'_>) -> Done {
        teller.happens("The staff register says Ada works in Porto; on Monday Ada said Lisbon:")?;
        let claim = NewClaim {
            provenance: Provenance::External(External::ExternalFirstHand),
            ..NewClaim::new("ada", "works_in", "Porto")
        };
        let scope = self.session("day-2");
        let taken = self.db.claims().assert(&scope, claim, None).await?;
        teller.answers(format!(
            "taken as {}, against {} claim",
            taken.disposition.as_str(),
            taken.contested_with.len()
        ))?;
        let belief = self.belief(&scope, AsOf::default()).await?;
        teller.answers(format!("Iris now believes: {}", believed(&belief)))?;
        Ok(())
    }

    async fn resume(&self, teller: &mut Teller<'_>, told: usize) -> Done {
        teller.happens(
            "A new process takes over. It need not clean up: the dead one's lock runs out, and \
             the new lease has a larger fence:",
        )?;
        let lease = letters::hold(self.db, &self.tenant, "second process").await?;
        teller.answers(format!("{} is held under fence {}", lease.key, lease.fence))?;
        // Only now: a server may still have been at the last commit of the dead process.
        teller.answers(format!("it finds {}", counted(&self.letters().await?)))?;
        teller.answers("the step that was cut off is there as a whole or not at all")?;
        teller.happens(format!(
            "It starts again at letter {told}, the last it heard of, and goes on to the end:"
        ))?;
        for at in told - 1..LETTERS.len() {
            let receipt = letters::read(self.db, &self.tenant, at, lease.guard()).await?;
            if at == told - 1 {
                teller.answers(format!(
                    "letter {told}: replayed: {}, answered by its first receipt",
                    receipt.replayed
                ))?;
            }
        }
        teller.answers(format!("{}: none lost, none doubled", counted(&self.letters().await?)))?;
        self.fenced(teller).await
    }

    async fn fenced(&self, teller: &mut Teller<'_>) -> Done {
        teller.happens("Had the first process only been asleep, it would wake and write now:")?;
        let scope = letters::scope(&self.tenant);
        let stale = mnemon::locks::Guard { key: letters::LOCK.into(), fence: mnemon::Fence(1) };
        let late = Step::new(RequestId::parse("letter-21")?)
            .write(Write::Turn(Box::new(NewTurn::new("Letter 21, read in a dream", "Noted."))))
            .guard(stale);
        match self.db.commit(&scope, late).await {
            Err(error @ Error::Fenced { .. }) => teller.refuses(format!("Fenced: {error}"))?,
            Err(error) => return Err(error.into()),
            Ok(_) => {
                return Err(Error::corrupt("the letter box", "a stale fence was let in").into());
            }
        }
        teller.answers(format!("still {}", counted(&self.letters().await?)))?;
        Ok(())
    }

    async fn third_day(&self, teller: &mut Teller<'_>, monday: &Asserted) -> Done {
        teller.day("Day 3", "Iris recalls why")?;
        let scope = self.session("day-3");
        teller.happens(format!("Ada asks: {QUESTION}"))?;
        let wanted = Recall { limit: 1, ..Recall::text(QUESTION) };
        for hit in self.db.memories().recall(&scope, &wanted).await? {
            teller.answers(format!("\"{}\"", hit.memory.content))?;
            teller.answers(format!("evidence: {}", evidence(&hit)))?;
        }
        teller.happens("And where does Ada work? Iris picks no side, and names who said what:")?;
        teller.answers(believed(&self.belief(&scope, AsOf::default()).await?))?;
        teller.happens("What did Iris believe on Monday, before the register spoke?")?;
        let then = AsOf { as_of: Some(monday.recorded_at), valid_at: None };
        teller.answers(believed(&self.belief(&scope, then).await?))?;
        Ok(())
    }

    async fn belief(&self, scope: &Scope, when: AsOf) -> Result<Belief> {
        self.db.claims().belief(scope, &Line::parse("ada", "works_in")?, when).await
    }

    async fn letters(&self) -> Result<Standing> {
        let scope = letters::scope(&self.tenant);
        let standing =
            standing::of_session(self.db, &scope, letters::STREAM, &letters::thread()).await?;
        // The memory of the first day is Ada's too.
        Ok(Standing { memories: standing.memories.saturating_sub(1), ..standing })
    }
}

fn first_step() -> Result<Step> {
    Ok(Step::new(RequestId::parse("monday-1")?)
        .write(Write::Turn(Box::new(NewTurn::new(
            "The launch is on 3 May, because the hall is free then. I work in Lisbon.",
            "Noted.",
        ))))
        .write(Write::Remember(Box::new(NewMemory {
            source: Some("Ada, day 1".to_owned()),
            ..NewMemory::new("The launch is on 3 May, because the hall is free only then")
        })))
        .write(Write::Events(Append {
            stream: "launch".to_owned(),
            events: vec![NewEvent::new("launch.dated", json!({ "on": "3 May" }))],
            expected_version: Some(0),
        }))
        .write(Write::Assert(Box::new(NewClaim::new("ada", "works_in", "Lisbon"))))
        .write(Write::Checkpoint(Box::new(
            Put::new(Thread::new("launch"))
                .channel("plan", ChannelValue::json(&json!({ "launch": "3 May" }))),
        ))))
}

/// Tells what the first step did; answers what became of its claim.
fn told_receipt(teller: &mut Teller<'_>, receipt: &Receipt) -> Told<Asserted> {
    let mut claim = None;
    let mut done = Vec::new();
    for outcome in &receipt.outcomes {
        done.push(match outcome {
            StepOutcome::Turn(turn) => format!("turn {}", turn.seq),
            StepOutcome::Remember(_) => "1 memory".to_owned(),
            StepOutcome::Events(events) => format!("event {}", events.stream_version),
            StepOutcome::Checkpoint(placed) => format!("checkpoint {}", placed.version),
            StepOutcome::Assert(asserted) => {
                claim = Some(asserted.clone());
                format!("1 claim ({})", asserted.disposition.as_str())
            }
            _ => continue,
        });
    }
    teller.answers(format!("committed: {}", done.join(", ")))?;
    claim.ok_or_else(|| Error::corrupt("the receipt of monday-1", "names no claim").into())
}

fn counted(standing: &Standing) -> String {
    let Standing { turns, memories, events, checkpoints } = standing;
    format!("{turns} turns, {memories} memories, {events} events, {checkpoints} checkpoints")
}

fn believed(belief: &Belief) -> String {
    let values: Vec<String> = belief.primary.iter().chain(&belief.alternatives).map(said).collect();
    let uncertain = belief.status == BeliefStatus::TimingUncertain;
    let why = if uncertain { ", as nobody said since when" } else { "" };
    format!("{:?}{why}: {}", belief.status, values.join(" or "))
}

fn said(claim: &Believed) -> String {
    let by = match claim.provenance {
        Provenance::External(External::UserAsserted) => "Ada said so",
        Provenance::External(External::ExternalFirstHand) => "the register said so",
        Provenance::RecallReEntry => "said again",
        Provenance::ModelDerived => "inferred",
    };
    format!("{} ({by})", claim.value.as_str().unwrap_or_default())
}

/// Why a memory was found, and where it came from.
fn evidence(hit: &Hit) -> String {
    let mut why = Vec::new();
    if let (Some(rank), Some(score)) = (hit.text_rank, hit.text_score) {
        why.push(format!("its words rank #{rank} (BM25 {score:.2})"));
    }
    if let Some(session) = &hit.memory.session {
        why.push(format!("written in session {session}"));
    }
    if let Some(source) = &hit.memory.source {
        why.push(format!("from {source}"));
    }
    why.join(", ")
}

fn last_words(context: &Context<'_>, tenant: &str, started: Instant) -> String {
    let look = if context.db_given {
        format!("mnemon recall --db URL --tenant {tenant} --user ada letters")
    } else {
        "mnemon demo --db sqlite://demo.db        the same in a database of yours".to_owned()
    };
    format!(
        "\nThat took {:.1} s. Try next:\n  \
         mnemon remember 'The launch is on 3 May'\n  \
         mnemon recall 'when do we launch?'\n  \
         {look}\n  \
         mnemon demo --data locomo10.json --db sqlite://demo.db\n  \
         \u{20}                                        thousands of steps: interrupt it, run it again",
        started.elapsed().as_secs_f64()
    )
}
