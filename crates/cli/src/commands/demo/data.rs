//! `mnemon demo --data FILE`: every utterance once, whatever happens to the process, and then the
//! questions.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use mnemon::import::locomo::{Conversation, Conversations};
use mnemon::{Backend, Error, Mnemon, Result, Scope, Task, UpkeepOptions};
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::recalled::{self, Recalled};
use super::standing::{self, Standing};
use super::utterance;
use crate::commands::Done;
use crate::failure::Failure;
use crate::output::Output;
use crate::progress::Progress;

/// Conversations played side by side, so that their commits can share a flush.
const AT_ONCE: usize = 8;

/// What is answered; the counts are what the database holds.
#[derive(Serialize)]
struct Played {
    backend: Backend,
    #[serde(flatten)]
    standing: Standing,
    /// Steps that an earlier run had done.
    steps_replayed: u64,
    /// Questions that count.
    questions: usize,
    recall_at_10: f64,
    seconds: f64,
}

/// Plays a file, going on where an earlier run stopped, and asks its questions.
pub(super) async fn run(
    file: &Path,
    pause: Duration,
    tenant: String,
    db: &Mnemon,
    output: &Output,
) -> Done {
    let started = Instant::now();
    let data = read(file)?;
    let stage = Arc::new(Stage { db: db.clone(), tenant: tenant.clone(), pause });
    let steps_replayed = play(&stage, &data, output).await?;
    // The questions should not have to add up what was just written.
    let counts = UpkeepOptions { only: vec![Task::TextCounts], force: true };
    db.upkeep(&counts).await?;
    let standing = standing::of(db, &tenant, &data).await?;
    let Recalled { questions, recall } = recalled::ask(db, &tenant, &data, output).await?;
    let played = Played {
        backend: db.backend(),
        standing,
        steps_replayed,
        questions,
        recall_at_10: rounded(recall, 4),
        seconds: rounded(started.elapsed().as_secs_f64(), 3),
    };
    output.result(&played, || sentences(&played, data.len(), &tenant))?;
    Ok(())
}

fn read(file: &Path) -> std::result::Result<Vec<Arc<Conversation>>, Failure> {
    let name = file.display().to_string();
    let opened = File::open(file).map_err(|cause| {
        Error::setup(format!("{name} cannot be read: {cause}"), "check the path given to --data")
    })?;
    let read = Conversations::read(&name, opened)?;
    Ok(read.conversations.into_iter().map(Arc::new).collect())
}

/// Plays every conversation to its end; answers how many steps were there already.
async fn play(stage: &Arc<Stage>, data: &[Arc<Conversation>], output: &Output) -> Result<u64> {
    let total = data.iter().map(|conversation| conversation.utterances.len() as u64).sum();
    let progress = Arc::new(Mutex::new(Progress::start(output, "utterances", Some(total))));
    let slots = Arc::new(Semaphore::new(AT_ONCE));
    let mut playing = JoinSet::new();
    for conversation in data {
        let (stage, conversation) = (Arc::clone(stage), Arc::clone(conversation));
        let (progress, slots) = (Arc::clone(&progress), Arc::clone(&slots));
        playing.spawn(async move {
            let _slot = slots.acquire().await.expect("nobody closes it");
            let step_done = || progress.lock().unwrap_or_else(PoisonError::into_inner).add(1);
            stage.conversation(&conversation, step_done).await
        });
    }
    let mut replayed = 0;
    // An error ends the others with the set; what they committed stands.
    while let Some(ended) = playing.join_next().await {
        replayed += ended.expect("a conversation does not panic")?;
    }
    if let Ok(progress) = Arc::try_unwrap(progress) {
        progress.into_inner().unwrap_or_else(PoisonError::into_inner).finish();
    }
    Ok(replayed)
}

/// Where conversations are played, and how fast.
struct Stage {
    db: Mnemon,
    tenant: String,
    pause: Duration,
}

/// Where a conversation stands: what its checkpoints carry.
#[derive(Deserialize)]
struct State {
    last: String,
    messages: usize,
}

impl Stage {
    /// Plays a conversation in order from where it stands; answers how many steps were done.
    async fn conversation(&self, conversation: &Conversation, step_done: impl Fn()) -> Result<u64> {
        let user = utterance::user(&self.tenant, conversation);
        let done = self.standing(&user, conversation).await?;
        let mut replayed = 0;
        for at in 0..conversation.utterances.len() {
            let replayed_now = if at < done {
                // The thread says it is done, and its receipt, as long as those are kept, agrees.
                self.db.receipt(&user, &utterance::id(conversation, at)?).await?.is_some()
            } else {
                self.step(conversation, at).await?
            };
            replayed += u64::from(replayed_now);
            step_done();
        }
        Ok(replayed)
    }

    /// Commits one step; answers whether it was there already.
    async fn step(&self, conversation: &Conversation, at: usize) -> Result<bool> {
        let session = conversation.utterances[at].session;
        let scope = utterance::session(&self.tenant, conversation, session);
        let receipt = self.db.commit(&scope, utterance::step(conversation, at)?).await?;
        if !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
        Ok(receipt.replayed)
    }

    /// How many utterances the conversation's thread says are done.
    async fn standing(&self, user: &Scope, conversation: &Conversation) -> Result<usize> {
        let thread = utterance::thread(conversation);
        let head = match self.db.checkpoints().get(user, &thread, None).await {
            Ok(head) => head,
            Err(Error::NotFound { .. }) => return Ok(0),
            Err(error) => return Err(error),
        };
        let state = head.channels.get(utterance::STATE);
        let state: State = state
            .and_then(|state| serde_json::from_slice(&state.bytes).ok())
            .ok_or_else(|| foreign(conversation))?;
        let last = state.messages.checked_sub(1).and_then(|at| conversation.utterances.get(at));
        match last {
            Some(last) if last.dia_id == state.last => Ok(state.messages),
            _ => Err(foreign(conversation)),
        }
    }
}

fn foreign(conversation: &Conversation) -> Error {
    Error::setup(
        format!("this database holds another conversation named {}", conversation.sample_id),
        "play the file in another database, or with another --tenant",
    )
}

fn sentences(played: &Played, conversations: usize, tenant: &str) -> String {
    let Standing { turns, memories, events, checkpoints } = played.standing;
    format!(
        "{conversations} conversations: {turns} turns, {memories} memories, {events} events, \
         {checkpoints} checkpoints; {} steps were there already\n\
         {} questions count, evidence recall@10 {:.4}\n\
         in {:.1} s; ask on with `mnemon recall --db URL --tenant {tenant} --user NAME QUESTION`",
        played.steps_replayed, played.questions, played.recall_at_10, played.seconds
    )
}

fn rounded(value: f64, digits: i32) -> f64 {
    let unit = 10_f64.powi(digits);
    (value * unit).round() / unit
}
