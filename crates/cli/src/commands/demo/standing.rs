//! What stands in the database, counted there and not on the way in.

use std::collections::BTreeSet;
use std::sync::Arc;

use mnemon::checkpoints::Thread;
use mnemon::core::limits;
use mnemon::import::locomo::Conversation;
use mnemon::turns::CONVERSATION;
use mnemon::{Memory, MemoryFilter, Mnemon, Page, Paged, Result, Scope};
use serde::Serialize;

use super::utterance;

/// Rows of each facet.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Standing {
    pub(super) turns: u64,
    pub(super) memories: u64,
    pub(super) events: u64,
    pub(super) checkpoints: u64,
}

/// Counts what one session, its user, stream and thread hold.
pub(super) async fn of_session(
    db: &Mnemon,
    session: &Scope,
    stream: &str,
    thread: &Thread,
) -> Result<Standing> {
    Ok(Standing {
        turns: turns(db, session).await?,
        memories: memories(db, session).await?,
        events: events(db, session, stream).await?,
        checkpoints: checkpoints(db, session, thread).await?,
    })
}

/// Counts what the conversations wrote.
pub(super) async fn of(db: &Mnemon, tenant: &str, data: &[Arc<Conversation>]) -> Result<Standing> {
    let mut standing = Standing::default();
    for conversation in data {
        let user = utterance::user(tenant, conversation);
        let sessions: BTreeSet<u32> =
            conversation.utterances.iter().map(|said| said.session).collect();
        for number in sessions {
            let session = utterance::session(tenant, conversation, number);
            standing.turns += turns(db, &session).await?;
        }
        standing.memories += memories(db, &user).await?;
        standing.events += events(db, &user, &utterance::stream(conversation)).await?;
        standing.checkpoints += checkpoints(db, &user, &utterance::thread(conversation)).await?;
    }
    Ok(standing)
}

async fn turns(db: &Mnemon, session: &Scope) -> Result<u64> {
    count(async |page| db.turns().list(session, CONVERSATION, &page).await, |_| true).await
}

/// Those of the user: what a tenant shares is seen too, and not counted.
async fn memories(db: &Mnemon, user: &Scope) -> Result<u64> {
    let all = MemoryFilter::default();
    let theirs = |memory: &Memory| memory.user == user.user;
    count(async |page| db.memories().list(user, &all, &page).await, theirs).await
}

async fn events(db: &Mnemon, user: &Scope, stream: &str) -> Result<u64> {
    count(async |page| db.events().read(user, stream, &page).await, |_| true).await
}

async fn checkpoints(db: &Mnemon, user: &Scope, thread: &Thread) -> Result<u64> {
    count(async |page| db.checkpoints().history(user, thread, &page).await, |_| true).await
}

/// How many rows of a list count, read piece by piece.
async fn count<T>(
    read: impl AsyncFn(Page) -> Result<Paged<T>>,
    counts: impl Fn(&T) -> bool,
) -> Result<u64> {
    let mut page = Page::first(limits::PAGE_MAX);
    let mut count = 0;
    loop {
        let piece = read(page.clone()).await?;
        count += piece.items.iter().filter(|item| counts(item)).count() as u64;
        match piece.next {
            Some(next) => page.cursor = Some(next),
            None => return Ok(count),
        }
    }
}
