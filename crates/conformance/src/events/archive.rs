//! Cases for months that leave the log: archived first, told to readers, removed, put back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use mnemon::Mnemon;
use mnemon::events::{
    Append, ArchiveOptions, ArchiveReport, ConsumerOptions, Event, EventFilter, Extent, Import,
    Imported, Month, NewEvent, Told,
};
use mnemon_core::{Cursor, Error, EventId, Page, Scope, Store};
use serde_json::json;
use uuid::Uuid;

use super::log::{assert_in_order, rest};
use crate::check::fails_as;
use crate::ctx::{Ctx, acme, ada};
use crate::failing::{FailingStore, Fault, When};
use crate::subscriptions;

/// A moment in the middle of the month so many months ago.
async fn months_ago(ctx: &Ctx, months: u32) -> DateTime<Utc> {
    Month::of(ctx.now().await).back(months).start() + TimeDelta::days(13)
}

async fn import(ctx: &Ctx, scope: &Scope, stream: &str, at: DateTime<Utc>, count: usize) {
    let event = |n| Imported {
        event: NewEvent {
            id: Some(EventId(Uuid::now_v7())),
            ..NewEvent::new("job.done", json!({ "n": n, "text": "red panda" }))
        },
        recorded_at: at,
    };
    let import = Import { stream: stream.into(), events: (0..count).map(event).collect() };
    ctx.events().import(scope, import).await.expect("an import is taken");
}

async fn write(ctx: &Ctx, scope: &Scope, stream: &str, count: usize) {
    let events = (0..count).map(|n| NewEvent::new("job.done", json!({ "n": n }))).collect();
    let append = Append { stream: stream.into(), events, expected_version: None };
    ctx.events().append(scope, append, None).await.expect("an append is taken");
}

/// Three months of two streams and one of another tenant, then what happens now.
async fn filled(ctx: &Ctx) {
    for (months, count) in [(3, 4), (2, 3), (1, 2)] {
        let at = months_ago(ctx, months).await;
        import(ctx, &ada(), "a", at, count).await;
        if months > 1 {
            import(ctx, &acme(), "b", at, 1).await;
        }
    }
    import(ctx, &Scope::tenant("globex"), "g", months_ago(ctx, 1).await, 2).await;
    write(ctx, &ada(), "a", 2).await;
    write(ctx, &acme(), "c", 1).await;
}

async fn archive(db: &Mnemon, before: DateTime<Utc>, to: &Path) -> mnemon::Result<ArchiveReport> {
    let to = Some(to.to_owned());
    db.events().archive(&ArchiveOptions { before, to, dry_run: false }).await
}

async fn whole(ctx: &Ctx, scope: &Scope) -> Vec<Event> {
    rest(ctx.store().as_ref(), scope, &EventFilter::default(), None, 3).await.0
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("a file").path()).collect();
    files.sort();
    files
}

#[track_caller]
fn gone<T: std::fmt::Debug>(outcome: mnemon::Result<T>) -> Cursor {
    match outcome {
        Err(Error::Gone { next, .. }) => next,
        other => panic!("expected that something is gone, got {other:?}"),
    }
}

pub(crate) async fn an_archived_month_is_a_file_first_and_then_gone(ctx: &Ctx) {
    let (db, folder) = (Mnemon::over(ctx.store()), tempfile::tempdir().expect("a folder"));
    filled(ctx).await;
    let before = whole(ctx, &acme()).await;
    let start = before[0].position.cursor();
    let dry = ArchiveOptions { before: ctx.now().await, to: None, dry_run: true };
    assert_eq!(db.events().archive(&dry).await.expect("is told").events(), 13);
    assert_eq!(whole(ctx, &acme()).await, before);

    // Up to the last month, which is kept.
    let last = Month::of(ctx.now().await).back(1).start();
    let report = archive(&db, last, folder.path()).await.expect("is archived");

    assert_eq!(report.months.iter().map(|month| month.events).collect::<Vec<_>>(), [5, 4]);
    assert_eq!(files(folder.path()).len(), 2);
    assert!(report.months.iter().all(|month| month.bytes > Some(0)));
    let kept = whole(ctx, &acme()).await;
    let expected: Vec<&Event> = before.iter().filter(|event| event.recorded_at >= last).collect();
    assert_eq!(kept.iter().collect::<Vec<_>>(), expected);
    assert_eq!(whole(ctx, &Scope::tenant("globex")).await.len(), 2);
    // Without a cursor a stream begins with what is kept; with one from before it is told so.
    let a = ctx.events().read(&acme(), "a", &Page::first(10)).await.expect("a page").items;
    assert_eq!(a.iter().map(|event| event.version).collect::<Vec<_>>(), [8, 9, 10, 11]);
    let stats = ctx.events().aggregate(&acme(), "a").await.expect("figures");
    assert_eq!((stats.version, stats.first_kept, stats.events), (11, 8, 4));
    let log = ctx.events().read_all(&acme(), &EventFilter::default(), Some(&start), 9).await;
    let next = gone(log);
    let (found, end) =
        rest(ctx.store().as_ref(), &acme(), &EventFilter::default(), Some(next), 2).await;
    assert_eq!(found, kept);
    write(ctx, &acme(), "a", 1).await;
    let (found, _) =
        rest(ctx.store().as_ref(), &acme(), &EventFilter::default(), Some(end), 2).await;
    assert_eq!(found.len(), 1, "from behind what is gone one goes on as ever");
    // Nothing of theirs is gone.
    let theirs = whole(ctx, &Scope::tenant("globex")).await[0].position.cursor();
    let globex = Scope::tenant("globex");
    let found = ctx.events().read_all(&globex, &EventFilter::default(), Some(&theirs), 9).await;
    assert_eq!(found.expect("nothing is missing").events.len(), 1);
    // Archived once, there is nothing more.
    assert!(archive(&db, last, folder.path()).await.expect("is asked").months.is_empty());
}

pub(crate) async fn a_reader_behind_what_is_gone_is_told(ctx: &Ctx) {
    let (db, folder) = (Mnemon::over(ctx.store()), tempfile::tempdir().expect("a folder"));
    filled(ctx).await;
    let first = ctx.events().read(&acme(), "a", &Page::first(1)).await.expect("a page");
    let mut early = db.events().subscribe(&acme(), EventFilter::default(), None).expect("listens");
    subscriptions::events(&mut early, 1).await;
    let place = early.cursor();
    drop(early);
    let options = ConsumerOptions { parts: 1, ..ConsumerOptions::default() };
    let mut mailer = db.consumer(&acme(), "mailer", options.clone()).expect("a member");
    let handed = mailer.next().await.expect("the first");
    mailer.commit(&handed).await.expect("is handled");
    mailer.leave().await.expect("leaves");

    archive(&db, ctx.now().await, folder.path()).await.expect("is archived");

    let page = Page { limit: 5, cursor: first.next };
    let next = gone(ctx.events().read(&acme(), "a", &page).await);
    let page = Page { limit: 5, cursor: Some(next) };
    let found = ctx.events().read(&acme(), "a", &page).await.expect("what is kept").items;
    assert_eq!(found.iter().map(|event| event.version).collect::<Vec<_>>(), [10, 11]);

    let mut late =
        db.events().subscribe(&acme(), EventFilter::default(), Some(&place)).expect("listens");
    let next = gone(late.next().await);
    let mut late =
        db.events().subscribe(&acme(), EventFilter::default(), Some(&next)).expect("listens");
    let kept = subscriptions::events(&mut late, 3).await;
    assert_eq!(kept, whole(ctx, &acme()).await);

    let mut mailer = db.consumer(&acme(), "mailer", options).expect("a member");
    gone(mailer.next().await);
    gone(mailer.next().await);
    mailer.skip_gone();
    let handed = mailer.next().await.expect("what is kept");
    mailer.commit(&handed).await.expect("is handled");
    mailer.leave().await.expect("leaves");
}

pub(crate) async fn what_was_archived_comes_back_to_its_place(ctx: &Ctx) {
    let (db, folder) = (Mnemon::over(ctx.store()), tempfile::tempdir().expect("a folder"));
    filled(ctx).await;
    let before = whole(ctx, &acme()).await;
    let start = before[0].position.cursor();
    archive(&db, ctx.now().await, folder.path()).await.expect("is archived");
    assert_eq!(whole(ctx, &acme()).await.len(), 3);

    for file in files(folder.path()).iter().rev() {
        assert!(db.events().put_back(file).await.expect("fits") > 0);
        assert_eq!(db.events().put_back(file).await.expect("is there"), 0);
    }

    assert_eq!(whole(ctx, &acme()).await, before);
    let (found, _) =
        rest(ctx.store().as_ref(), &acme(), &EventFilter::default(), Some(start), 4).await;
    assert_eq!(found, before[1..], "a cursor from before it is good again");
    let stats = ctx.events().aggregate(&acme(), "a").await.expect("figures");
    assert_eq!((stats.first_kept, stats.events), (1, 11));
    write(ctx, &acme(), "a", 1).await;
    // It leaves again, as the files say that hold just that.
    archive(&db, ctx.now().await, folder.path()).await.expect("is archived");
    assert_eq!(files(folder.path()).len(), 3);
    assert_eq!(whole(ctx, &acme()).await.len(), 4);
}

pub(crate) async fn an_archive_of_another_log_is_new_here(ctx: &Ctx) {
    filled(ctx).await;
    let month = Month::of(ctx.now().await).back(3);
    let archives = ctx.store();
    let archives = archives.archives();
    let mut events = archives.read_month(month, None, 100).await.expect("a month");
    for event in &mut events {
        "moved".clone_into(&mut event.tenant);
        event.id = EventId(Uuid::now_v7());
        event.version += 40;
    }
    let other = Uuid::now_v7();
    let (first, rest_of_it) = events.split_at(2);

    assert_eq!(archives.put_back(other, first.to_vec()).await.expect("fits"), 2);
    assert_eq!(archives.put_back(other, rest_of_it.to_vec()).await.expect("fits"), 3);
    assert_eq!(archives.put_back(other, events.clone()).await.expect("is there"), 0);

    let moved = Scope::tenant("moved");
    let found = whole(ctx, &moved).await;
    assert_eq!(found.len(), 5);
    let stats = ctx.events().aggregate(&moved, "a").await.expect("figures");
    assert_eq!((stats.version, stats.first_kept, stats.events), (44, 41, 4));
    // Another event in the place of one, a gap, and what another log had before.
    let stranger = |version: i64| {
        let mut event = events[0].clone();
        (event.id, event.version) = (EventId(Uuid::now_v7()), version);
        vec![event]
    };
    fails_as(archives.put_back(other, stranger(41)).await, "already_exists");
    fails_as(archives.put_back(other, stranger(50)).await, "invalid");
    fails_as(archives.put_back(other, stranger(3)).await, "invalid");
    assert_eq!(whole(ctx, &moved).await, found);
}

pub(crate) async fn a_month_that_is_not_what_was_archived_stays(ctx: &Ctx) {
    filled(ctx).await;
    let store = ctx.store();
    let now = ctx.now().await;
    let months = store.archives().months(now).await.expect("months");
    let month = months.iter().find(|month| month.extent.events == 5).expect("the oldest");
    import(ctx, &acme(), "late", month.month.start(), 1).await;

    let refused = store.archives().retire(month.month, month.extent).await;

    let error = fails_as(refused, "conflict");
    assert!(error.to_string().contains("expected version 5, found 6"), "{error}");
    assert_eq!(whole(ctx, &acme()).await.len(), 15);
    let running = store.archives().retire(Month::of(now), Extent::default()).await;
    fails_as(running, "invalid");
}

/// A device that is always full stands where the file would be written.
pub(crate) async fn a_full_disk_removes_nothing(ctx: &Ctx) {
    let (db, folder) = (Mnemon::over(ctx.store()), tempfile::tempdir().expect("a folder"));
    filled(ctx).await;
    let before = whole(ctx, &acme()).await;
    let month = Month::of(ctx.now().await).back(2);
    let part = folder.path().join(format!("events-{month}.jsonl.zst.part"));
    std::os::unix::fs::symlink("/dev/full", &part).expect("a link");

    let outcome = archive(&db, ctx.now().await, folder.path()).await;

    let error = fails_as(outcome, "setup");
    assert!(error.to_string().contains("No space left on device"), "{error}");
    // The month before it had gone; of the one that was not written everything is there.
    let end = month.start();
    let kept = whole(ctx, &acme()).await;
    assert_eq!(
        kept.iter().collect::<Vec<_>>(),
        before.iter().filter(|event| event.recorded_at >= end).collect::<Vec<_>>()
    );
    let report = archive(&db, ctx.now().await, folder.path()).await.expect("there is room again");
    assert_eq!(report.months.iter().map(|month| month.events).collect::<Vec<_>>(), [4, 4]);
}

/// Whatever call fails or loses its answer: another run ends it, and every event is either in the
/// log or in a file.
pub(crate) async fn an_interrupted_archive_goes_on(ctx: &Ctx) {
    let folder = tempfile::tempdir().expect("a folder");
    let db = Mnemon::over(ctx.store());
    let (mut imported, mut after) = (0, 0);
    for when in [When::Refused, When::AnswerLost] {
        for at in 0..12 {
            let stream = format!("s{imported}");
            import(ctx, &acme(), &stream, months_ago(ctx, 2).await, 3).await;
            import(ctx, &acme(), &stream, months_ago(ctx, 1).await, 2).await;
            imported += 5;
            let fault = Fault { after: at, times: 1, when };
            let failing: Arc<dyn Store> = Arc::new(FailingStore::new(ctx.store(), fault));
            let failed = archive(&Mnemon::over(failing), ctx.now().await, folder.path()).await;
            after += u32::from(failed.is_err());

            archive(&db, ctx.now().await, folder.path()).await.expect("goes on");

            assert!(whole(ctx, &acme()).await.is_empty(), "{when:?} {at}");
        }
    }
    assert!(after > 12, "{after} runs were interrupted");
    // The newest first, so that every stream is whole again.
    let mut all = files(folder.path());
    all.sort_by_key(|path| std::cmp::Reverse(path.file_name().map(ToOwned::to_owned)));
    for file in all {
        db.events().put_back(&file).await.expect("fits");
    }
    let back = whole(ctx, &acme()).await;
    assert_eq!(back.len(), imported);
    let ids: BTreeSet<EventId> = back.iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), imported);
    assert_in_order(&back);
}

/// Nobody who writes or listens is held up for good, and nothing of what is kept is missed.
pub(crate) async fn months_leave_beside_writers_and_subscribers(ctx: &Ctx) {
    let (db, folder) = (Mnemon::over(ctx.store()), tempfile::tempdir().expect("a folder"));
    for months in 1..=4 {
        let at = months_ago(ctx, months).await;
        import(ctx, &Scope::tenant("old"), &format!("m{months}"), at, 20).await;
    }
    let mut all = db.events().subscribe(&acme(), EventFilter::default(), None).expect("listens");
    let writers: Vec<_> = (0..4)
        .map(|n| {
            let store = ctx.store();
            tokio::spawn(async move {
                for _ in 0..50 {
                    let events = vec![NewEvent::new("a.b", json!({}))];
                    let append = Append { stream: format!("s{n}"), events, expected_version: None };
                    store.events().append(&acme(), append, None).await.expect("is taken");
                }
            })
        })
        .collect();

    let report = archive(&db, ctx.now().await, folder.path()).await.expect("is archived");

    assert_eq!(report.events(), 80);
    for writer in writers {
        writer.await.expect("no panic");
    }
    let mut told = Vec::new();
    while told.len() < 200 {
        if let Told::Event(event) = all.next().await.expect("goes on") {
            told.push(*event);
        }
    }
    assert_in_order(&told);
}
