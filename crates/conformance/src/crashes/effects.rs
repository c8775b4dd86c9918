//! What a run left, compared with what its steps say: nothing missing, nothing twice, and every
//! receipt tells what stands.

use std::collections::BTreeMap;

use mnemon_core::checkpoints::Thread;
use mnemon_core::dead_letters::LetterFilter;
use mnemon_core::memories::MemoryFilter;
use mnemon_core::steps::{Outcome, Receipt, Write};
use mnemon_core::turns::Key;
use mnemon_core::{Page, Scope, Store, limits};

use super::{Run, WRITERS, item};
use crate::check::everything;

/// How often something is there.
type Counts = BTreeMap<String, usize>;

fn counted(names: impl IntoIterator<Item = String>) -> Counts {
    let mut counts = Counts::new();
    for name in names {
        *counts.entry(name).or_default() += 1;
    }
    counts
}

/// Whether they are 1, 2, 3 and so on.
fn is_gapless(numbers: impl Iterator<Item = i64>) -> bool {
    numbers.zip(1..).all(|(found, expected)| found == expected)
}

/// More than a run leaves in any list.
fn page() -> Page {
    Page::first(limits::PAGE_MAX)
}

/// The writes of a run with what their receipts say of them.
type Told<'a> = [(Write, &'a Outcome)];

pub(super) async fn check(run: &Run, store: &dyn Store, receipts: &[Vec<Receipt>]) {
    let scope = &run.scope();
    let mut told = Vec::new();
    for (writer, receipts) in receipts.iter().enumerate() {
        for (step, receipt) in run.steps(writer).into_iter().zip(receipts) {
            assert_eq!(step.writes.len(), receipt.outcomes.len());
            told.extend(step.writes.into_iter().zip(&receipt.outcomes));
        }
    }
    let told = told.as_slice();
    memories(store, scope, told).await;
    events(store, scope, told).await;
    turns(store, scope, told).await;
    claims(store, scope, told).await;
    checkpoints(store, scope, told).await;
    workflows(store, scope, told).await;
    dead_letters(store, scope, told).await;
}

async fn memories(store: &dyn Store, scope: &Scope, told: &Told<'_>) {
    let (mut given, mut created) = (Vec::new(), Vec::new());
    for (write, outcome) in told {
        let (Write::Remember(memory), Outcome::Remember(done)) = (write, outcome) else { continue };
        given.push((memory.content.clone(), memory.allow_duplicate));
        if done.created {
            created.push((done.id, memory.content.clone()));
        }
    }
    let (duplicates, mut once): (Vec<_>, Vec<_>) = given.into_iter().partition(|(_, dup)| *dup);
    once.sort();
    once.dedup();
    let all = everything(store.memories(), scope, &MemoryFilter::default(), 100).await;
    let expected = counted(once.into_iter().chain(duplicates).map(|(content, _)| content));
    assert_eq!(counted(all.iter().map(|memory| memory.content.clone())), expected, "{scope:?}");
    let mut found: Vec<_> = all.iter().map(|memory| (memory.id, memory.content.clone())).collect();
    found.sort();
    created.sort();
    assert_eq!(found, created, "each was made by one step");
}

async fn events(store: &dyn Store, scope: &Scope, told: &Told<'_>) {
    let mut streams: BTreeMap<&str, BTreeMap<i64, String>> = BTreeMap::new();
    for (write, outcome) in told {
        let (Write::Events(append), Outcome::Events(done)) = (write, outcome) else { continue };
        let stream = streams.entry(append.stream.as_str()).or_default();
        assert_eq!(append.events.len(), done.versions.len());
        for (event, version) in append.events.iter().zip(&done.versions) {
            let before = stream.insert(*version, event.data.to_string());
            assert_eq!(before, None, "version {version} of {} is one event", append.stream);
        }
    }
    for (stream, versions) in streams {
        let found = store.events().read(scope, stream, &page()).await.expect("is read").items;
        let found: Vec<_> = found.iter().map(|e| (e.version, e.data.to_string())).collect();
        assert_eq!(found, versions.into_iter().collect::<Vec<_>>(), "{stream} of {scope:?}");
        assert!(is_gapless(found.iter().map(|(version, _)| *version)), "{stream}: {found:?}");
    }
}

async fn turns(store: &dyn Store, scope: &Scope, told: &Told<'_>) {
    let mut expected = BTreeMap::new();
    for (write, outcome) in told {
        let (Write::Turn(turn), Outcome::Turn(done)) = (write, outcome) else { continue };
        assert!(done.created);
        let before = expected.insert(done.seq, turn.user_message.clone());
        assert_eq!(before, None, "turn {} is one turn", done.seq);
    }
    let found = store.turns().list(scope, &Key::default(), &page()).await.expect("is read").items;
    let mut found: Vec<_> = found.into_iter().map(|turn| (turn.seq, turn.user_message)).collect();
    found.sort();
    assert!(is_gapless(found.iter().map(|(seq, _)| *seq)), "{scope:?}: {found:?}");
    assert_eq!(found, expected.into_iter().collect::<Vec<_>>(), "{scope:?}");
}

async fn claims(store: &dyn Store, scope: &Scope, told: &Told<'_>) {
    let expected = told.iter().filter(|(write, _)| matches!(write, Write::Assert(_))).count();
    let ledger = store
        .claims()
        .query_audit(scope, &mnemon_core::claims::AuditQuery::oldest_first(), &page())
        .await
        .expect("is read")
        .items;
    assert_eq!(ledger.len(), expected, "{scope:?}: {ledger:?}");
    assert!(is_gapless(ledger.iter().map(|entry| entry.seq)), "{scope:?}: {ledger:?}");
    let mut previous = mnemon_core::claims::ledger::GENESIS;
    for entry in &ledger {
        assert!(entry.follows(&previous), "entry {} of {scope:?}", entry.seq);
        previous = entry.hash;
    }
}

async fn checkpoints(store: &dyn Store, scope: &Scope, told: &Told<'_>) {
    let mut threads: BTreeMap<&Thread, BTreeMap<i64, String>> = BTreeMap::new();
    for (write, outcome) in told {
        let (Write::Checkpoint(put), Outcome::Checkpoint(done)) = (write, outcome) else {
            continue;
        };
        let before =
            threads.entry(&put.thread).or_default().insert(done.version, done.id.to_string());
        assert_eq!(before, None, "version {} of {} is one checkpoint", done.version, put.thread);
    }
    for (thread, versions) in threads {
        let found = store.checkpoints().history(scope, thread, &page()).await.expect("is read");
        let mut found: Vec<_> =
            found.items.into_iter().map(|info| (info.version, info.id.to_string())).collect();
        found.sort();
        assert!(is_gapless(found.iter().map(|(version, _)| *version)), "{thread}: {found:?}");
        assert_eq!(found, versions.into_iter().collect::<Vec<_>>(), "{thread} of {scope:?}");
        for (version, _) in found {
            // Every value is verified when it is loaded.
            let loaded = store.checkpoints().get_version(scope, thread, version).await;
            loaded.unwrap_or_else(|error| panic!("version {version} of {thread}: {error}"));
        }
    }
}

async fn workflows(store: &dyn Store, scope: &Scope, told: &Told<'_>) {
    for writer in 0..WRITERS {
        let id = format!("of {writer}");
        let saved: Vec<i64> = told
            .iter()
            .filter_map(|(write, outcome)| match (write, outcome) {
                (Write::Workflow(run), Outcome::Workflow { version }) if run.id == id => {
                    Some(*version)
                }
                _ => None,
            })
            .collect();
        assert!(is_gapless(saved.iter().copied()), "{id} of {scope:?}: {saved:?}");
        if let Some(newest) = saved.last() {
            let run = store.workflows().load(scope, &id).await.expect("is there");
            assert_eq!(run.version, *newest, "{id} of {scope:?}");
        }
    }
}

async fn dead_letters(store: &dyn Store, scope: &Scope, told: &Told<'_>) {
    let mut buried: BTreeMap<String, Vec<u32>> = BTreeMap::new();
    let mut left: Vec<String> = Vec::new();
    for writer in 0..WRITERS {
        left.extend((0..super::STEPS).map(|n| item(writer, n)));
    }
    for (write, outcome) in told {
        match (write, outcome) {
            (Write::Bury(burial), Outcome::Bury(done)) => {
                buried.entry(burial.item_id.clone()).or_default().push(done.attempts);
            }
            (Write::Ack(receipt), Outcome::Ack) => left.retain(|item| *item != receipt.item_id),
            _ => {}
        }
    }
    let new = store
        .dead_letters()
        .list(scope, &LetterFilter::queue("new"), &page())
        .await
        .expect("is read")
        .items;
    let found: Vec<_> = new.into_iter().map(|letter| (letter.item_id, letter.attempts)).collect();
    let mut expected = Vec::new();
    for (item, mut attempts) in buried {
        attempts.sort_unstable();
        let newest = u32::try_from(attempts.len()).expect("a few");
        assert!(attempts.iter().copied().eq(1..=newest), "{item} of {scope:?}: {attempts:?}");
        expected.push((item, newest));
    }
    assert_eq!(found, expected, "{scope:?}");
    let old = store
        .dead_letters()
        .list(scope, &LetterFilter::queue("old"), &page())
        .await
        .expect("is read")
        .items;
    let old: Vec<String> = old.into_iter().map(|letter| letter.item_id).collect();
    left.sort();
    assert_eq!(old, left, "what was acknowledged is gone, {scope:?}");
}
