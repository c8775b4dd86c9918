//! Cases for upkeep: one holder per task, fences, counts and sweeps.

use std::time::Duration;

use chrono::TimeDelta;
use mnemon_core::dead_letters::{Burial, LetterState};
use mnemon_core::memories::{MemoryFilter, NewMemory, Recall};
use mnemon_core::upkeep::{Batch, Task, TaskLease, TaskStatus};
use mnemon_core::{Scope, Store};
use serde_json::json;

use crate::check::{contents, everything, fails_as, keep_at, model};
use crate::ctx::{Ctx, acme, ada};
use crate::model::Model;

pub(crate) async fn take(store: &dyn Store, task: Task, holder: &str) -> Option<TaskLease> {
    store.upkeep().claim(task, holder, true).await.expect("a claim is answered")
}

pub(crate) async fn status(ctx: &Ctx, task: Task) -> TaskStatus {
    let all = ctx.upkeep().status().await.expect("a status");
    all.into_iter().find(|status| status.name == task.name()).expect("every task has one")
}

/// Runs a task to its end, as the runner does; answers the batches.
pub(crate) async fn run(ctx: &Ctx, task: Task) -> Vec<Batch> {
    let lease = take(ctx.store().as_ref(), task, "runner").await.expect("nobody holds it");
    let mut batches = Vec::new();
    loop {
        let batch = ctx.upkeep().batch(&lease).await.expect("a batch is done");
        batches.push(batch);
        if !batch.more {
            break;
        }
        assert!(batches.len() < 1_000, "{task:?} comes to an end");
    }
    ctx.upkeep().finish(&lease, None).await.expect("is given back");
    batches
}

pub(crate) fn more_than_a_lease() -> TimeDelta {
    TimeDelta::from_std(Task::TextCounts.lease()).expect("a short time") + TimeDelta::seconds(5)
}

pub(crate) async fn every_task_has_a_status_and_runs_to_its_end(ctx: &Ctx) {
    for task in Task::ALL {
        run(ctx, task).await;

        let status = status(ctx, task).await;
        assert_eq!((status.holder, status.errors, status.last_error), (None, 0, None));
        assert!(status.last_run.is_some(), "{task:?}");
    }
    assert_eq!(ctx.upkeep().status().await.expect("a status").len(), Task::ALL.len());
}

pub(crate) async fn the_depth_of_the_queues_is_measured_over_all_tenants(ctx: &Ctx) {
    let burial = |item: &str| Burial::new("mail", item, json!(item), "mailbox full");
    let review = Burial { manual_review_required: true, ..burial("m-3") };
    let rejected = Burial { reprocess_eligible: false, ..burial("m-4") };
    for letter in [burial("m-1"), burial("m-2"), review, rejected] {
        ctx.dead_letters().bury(&acme(), letter, None).await.expect("is buried");
    }
    let elsewhere = Scope::tenant("zenith");
    ctx.dead_letters().bury(&elsewhere, burial("m-1"), None).await.expect("is buried");
    let minute = Duration::from_mins(1);
    ctx.dead_letters().take(&acme(), "mail", 1, minute).await.expect("one is ready");
    let two = ctx.dead_letters().take(&acme(), "mail", 1, minute).await.expect("another is ready");
    ctx.dead_letters().nack(&acme(), &two[0].receipt, minute).await.expect("is given back");

    let depths = ctx.upkeep().depths().await.expect("is measured");

    let wanted = LetterState::ALL.map(|state| (state, 1));
    assert_eq!(depths.dead_letters, wanted);
    keep_time_going(ctx).await;
}

/// The delays of the items above are over.
async fn keep_time_going(ctx: &Ctx) {
    ctx.move_clock(TimeDelta::minutes(2)).await;

    let depths = ctx.upkeep().depths().await.expect("is measured");

    let count = |wanted| depths.dead_letters.iter().find(|(state, _)| *state == wanted);
    assert_eq!(count(LetterState::Ready), Some(&(LetterState::Ready, 3)));
    assert_eq!(count(LetterState::InFlight), Some(&(LetterState::InFlight, 0)));
}

pub(crate) async fn of_eight_claimants_one_holds(ctx: &Ctx) {
    let other = ctx.another().await;
    for task in Task::ALL {
        let mut claims = Vec::new();
        for n in 0..8 {
            let store = if n % 2 == 0 { ctx.store() } else { other.clone() };
            claims.push(tokio::spawn(async move {
                take(store.as_ref(), task, &format!("process {n}")).await
            }));
        }

        let mut held = Vec::new();
        for claim in claims {
            held.extend(claim.await.expect("no panic"));
        }

        assert_eq!(held.len(), 1, "{task:?}");
        assert_eq!(held[0].task, task);
        assert!(status(ctx, task).await.holder.is_some_and(|holder| holder.starts_with("process")));
    }
}

pub(crate) async fn a_task_is_due_again_after_its_interval(ctx: &Ctx) {
    let task = Task::ExpiredMemories;
    let claim = |force| async move {
        let lease = ctx.upkeep().claim(task, "runner", force).await.expect("is answered");
        if let Some(lease) = &lease {
            ctx.upkeep().batch(lease).await.expect("is done");
            ctx.upkeep().finish(lease, None).await.expect("is given back");
        }
        lease.map(|lease| lease.fence)
    };

    let first = claim(false).await.expect("a task that never ran is due");
    assert_eq!(claim(false).await, None, "it has just run");
    let forced = claim(true).await.expect("force does not wait");
    ctx.move_clock(TimeDelta::from_std(task.interval()).expect("a short time")).await;
    let due = claim(false).await.expect("is due again");

    assert!(first < forced && forced < due, "each holder has a larger fence");
}

pub(crate) async fn a_takeover_has_a_larger_fence_and_stops_the_old_holder(ctx: &Ctx) {
    let other = ctx.another().await;
    let past = Some(ctx.now().await + TimeDelta::seconds(1));
    let memory = NewMemory { expires_at: past, ..NewMemory::new("over soon") };
    ctx.memories().remember(&ada(), memory).await.expect("is kept");
    let task = Task::ExpiredMemories;
    let old = take(ctx.store().as_ref(), task, "old").await.expect("nobody holds it");
    assert_eq!(take(other.as_ref(), task, "new").await, None);
    ctx.move_clock(more_than_a_lease()).await;

    let new = take(other.as_ref(), task, "new").await.expect("the lease is over");

    assert!(new.fence > old.fence);
    fails_as(ctx.upkeep().batch(&old).await, "fenced");
    fails_as(ctx.upkeep().finish(&old, None).await, "fenced");
    fails_as(ctx.upkeep().finish(&old, Some("late")).await, "fenced");
    assert_eq!(ctx.rows("memories").await, 1, "a fenced batch writes nothing");
    let found = status(ctx, task).await;
    assert_eq!((found.holder.as_deref(), found.last_error), (Some("new"), None));
    assert_eq!(other.upkeep().batch(&new).await.expect("is done").rows, 1);
    assert_eq!(ctx.rows("memories").await, 0);
    other.upkeep().finish(&new, None).await.expect("is given back");
}

pub(crate) async fn a_batch_renews_the_lease(ctx: &Ctx) {
    let task = Task::TextCounts;
    let lease = take(ctx.store().as_ref(), task, "slow").await.expect("nobody holds it");
    for _ in 0..4 {
        ctx.move_clock(TimeDelta::seconds(20)).await;
        ctx.upkeep().batch(&lease).await.expect("is done");
        assert_eq!(take(ctx.store().as_ref(), task, "eager").await, None);
    }
}

pub(crate) async fn an_expired_lease_that_nobody_took_still_works(ctx: &Ctx) {
    let task = Task::TextCounts;
    let lease = take(ctx.store().as_ref(), task, "slow").await.expect("nobody holds it");
    ctx.move_clock(more_than_a_lease()).await;

    ctx.upkeep().batch(&lease).await.expect("no newer holder exists");

    assert_eq!(take(ctx.store().as_ref(), task, "eager").await, None, "and is renewed");
}

pub(crate) async fn a_lease_given_back_works_no_more(ctx: &Ctx) {
    let task = Task::TextCounts;
    let old = take(ctx.store().as_ref(), task, "runner").await.expect("nobody holds it");
    ctx.upkeep().finish(&old, None).await.expect("is given back");
    let new = take(ctx.store().as_ref(), task, "runner").await.expect("nobody holds it");

    assert!(new.fence > old.fence, "even for the same process");
    fails_as(ctx.upkeep().batch(&old).await, "fenced");
}

pub(crate) async fn failures_are_counted_until_a_run_succeeds(ctx: &Ctx) {
    let task = Task::EventPartitions;
    for failures in 1..=3 {
        let lease = take(ctx.store().as_ref(), task, "runner").await.expect("nobody holds it");
        ctx.upkeep().finish(&lease, Some("no room")).await.expect("is given back");
        let found = status(ctx, task).await;
        assert_eq!((found.errors, found.last_error.as_deref()), (failures, Some("no room")));
    }

    run(ctx, task).await;

    let found = status(ctx, task).await;
    assert_eq!((found.errors, found.last_error), (0, None));
}

pub(crate) async fn text_counts_are_exact_before_and_after_folding(ctx: &Ctx) {
    let globex = Scope::tenant("globex");
    let mut model = Model::default();
    let mut first = None;
    for round in 0..3 {
        for n in 0..40 {
            let text = format!("quokka {round} number {n} {}", "lake ".repeat(n % 7));
            let scope = if n % 5 == 0 { &globex } else { &acme() };
            let id = crate::check::keep(ctx.memories(), scope, &text).await;
            model.keep(id, scope, NewMemory::new(text));
            if first.is_none() && n % 5 != 0 {
                first = Some(id);
            }
        }
        if let Some(id) = first.take() {
            ctx.memories().delete(&acme(), id).await.expect("is deleted");
            model.delete(id);
        }
        assert_agrees(ctx, &model, &[acme(), globex.clone()]).await;

        run(ctx, Task::TextCounts).await;

        assert_agrees(ctx, &model, &[acme(), globex.clone()]).await;
        assert_eq!(status(ctx, Task::TextCounts).await.lag, 0, "all is folded");
    }
    for memory in everything(ctx.memories(), &acme(), &MemoryFilter::default(), 100).await {
        ctx.memories().delete(&acme(), memory.id).await.expect("is deleted");
        model.delete(memory.id);
    }
    run(ctx, Task::TextCounts).await;
    assert_agrees(ctx, &model, &[acme(), globex]).await;
}

async fn assert_agrees(ctx: &Ctx, model: &Model, scopes: &[Scope]) {
    for scope in scopes {
        for text in ["quokka lake", "number 7", "1"] {
            let question = Recall { limit: 10, ..Recall::text(text) };
            let hits = ctx.memories().recall(scope, &question).await.expect("an answer");
            let expected = model.recall(scope, text, &MemoryFilter::default(), 10);
            assert_eq!(hits.len(), expected.len(), "{text}");
            for (hit, (id, score)) in hits.iter().zip(expected) {
                assert_eq!(hit.memory.id, id, "{text}");
                let found = hit.text_score.expect("by words");
                assert!((found - score).abs() < 1e-6, "{text}: {found} is not {score}");
            }
        }
    }
}

pub(crate) async fn counts_stay_exact_while_folding_and_writing(ctx: &Ctx) {
    let store = ctx.another().await;
    let writer = tokio::spawn(async move {
        let mut written = Vec::new();
        for n in 0..150 {
            let text = format!("quokka number {n} {}", "lake ".repeat(n % 3));
            let id = crate::check::keep(store.memories(), &acme(), &text).await;
            written.push((id, text));
        }
        written
    });
    while !writer.is_finished() {
        run(ctx, Task::TextCounts).await;
    }

    let mut model = Model::default();
    for (id, text) in writer.await.expect("no panic") {
        model.keep(id, &acme(), NewMemory::new(text));
    }

    assert_agrees(ctx, &model, &[acme()]).await;
    run(ctx, Task::TextCounts).await;
    assert_agrees(ctx, &model, &[acme()]).await;
}

pub(crate) async fn expired_memories_are_swept_with_words_and_vectors(ctx: &Ctx) {
    ctx.memories().register_model(&model(2)).await.expect("a first model");
    let soon = Some(ctx.now().await + TimeDelta::hours(1));
    let full = usize::try_from(Task::ExpiredMemories.batch()).expect("a small number");
    let expiring: Vec<NewMemory> = (0..full + 100)
        .map(|n| NewMemory {
            expires_at: soon,
            embedding: Some(vec![1.0, 0.5]),
            ..NewMemory::new(format!("quokka {n}"))
        })
        .collect();
    for batch in expiring.chunks(mnemon_core::limits::REMEMBER_BATCH) {
        ctx.memories().remember_many(&ada(), batch.to_vec()).await.expect("is kept");
    }
    let mut standing = Model::default();
    for n in 0..10 {
        let text = format!("a quokka for good {n}");
        let id = keep_at(ctx.memories(), &acme(), &text, &[1.0, 0.0]).await;
        standing.keep(id, &acme(), NewMemory::new(text));
    }
    assert_eq!(run(ctx, Task::ExpiredMemories).await, [Batch { rows: 0, more: false }]);
    ctx.move_clock(TimeDelta::hours(2)).await;

    let batches = run(ctx, Task::ExpiredMemories).await;

    assert!(batches.len() >= 2 && batches[0].more, "in batches: {batches:?}");
    assert!(batches.iter().all(|batch| batch.rows <= u64::from(Task::ExpiredMemories.batch())));
    assert_eq!(batches.iter().map(|batch| batch.rows).sum::<u64>(), full as u64 + 100);
    assert_eq!(ctx.rows("memories").await, 10);
    assert_eq!(ctx.rows("embeddings_1").await, 10);
    assert_agrees(ctx, &standing, &[acme()]).await;
    run(ctx, Task::TextCounts).await;
    assert_agrees(ctx, &standing, &[acme()]).await;
    let question = Recall { limit: 200, ..Recall::vector([1.0, 0.5]) };
    let hits = ctx.memories().recall(&acme(), &question).await.expect("an answer");
    assert_eq!(contents(&hits).len(), 10);
}

pub(crate) async fn events_are_written_far_into_the_future(ctx: &Ctx) {
    for _ in 0..3 {
        // Past every partition made at the start, so upkeep has to keep up.
        ctx.move_clock(TimeDelta::days(75)).await;
        run(ctx, Task::EventPartitions).await;
        let done = ctx.events().note(&acme(), "a", json!({}), Duration::ZERO).await;
        done.expect("a partition is there").expect("is written");
    }

    assert_eq!(ctx.rows("events").await, 3);
}
