//! Changing the model: killed and resumed under searches and writes, on every database; and what a
//! handle does while its model does not answer.
#![cfg(feature = "sqlite")]
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "reembed/model.rs"]
mod model;
#[path = "reembed/places.rs"]
mod places;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mnemon::{
    Error, MemoryId, MemoryPatch, Mnemon, NewMemory, Outcome, Recall, Reembed, ReembedReport,
    Scope, SetState, Task, UpkeepOptions,
};

use model::Hashed;
use places::Place;

/// Memories that the model is changed for.
const MEMORIES: usize = 20_000;
/// The process that re-embeds is killed when it said that so many are done.
const KILLED_AT: u64 = 5_000;
/// How long its lease lasts.
const LEASE: Duration = Duration::from_secs(1);

const OLD: u32 = 256;
const NEW: u32 = 384;

const URL: &str = "MNEMON_TEST_REEMBED_URL";
const SAID: &str = "reembed: ";

fn ada() -> Scope {
    Scope::tenant("acme").user("ada")
}

fn bob() -> Scope {
    Scope::tenant("elsewhere").user("bob")
}

fn text(n: usize) -> String {
    format!("number{n} is about topic{} and thing{}", n % 97, n % 311)
}

async fn opened(url: &str, model: Arc<Hashed>) -> Mnemon {
    Mnemon::builder(url).background_upkeep(false).embedder(model).open().await.unwrap()
}

/// A handle as the command line opens one to change the model.
async fn changing(url: &str) -> Mnemon {
    Mnemon::builder(url).background_upkeep(false).words_only().open().await.unwrap()
}

/// Not a test by itself: re-embeds, and says after every batch how far it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_reembeds() {
    let Ok(url) = std::env::var(URL) else { return };
    let db = changing(&url).await;
    println!();
    let options = Reembed::to(Hashed::of(NEW))
        .lease(LEASE)
        .progress(|progress| println!("{SAID}{}", progress.done));
    db.memories().reembed(options).await.unwrap();
    db.close().await;
}

/// Starts the child and kills it with -9 when it is far enough; it never gets to the end.
fn killed_on_the_way(url: &str) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_reembeds", "--nocapture", "--test-threads=1"])
        .env(URL, url)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let done = lines
        .map_while(Result::ok)
        .filter_map(|line| line.strip_prefix(SAID)?.parse::<u64>().ok())
        .find(|done| *done >= KILLED_AT);
    assert!(done.is_some(), "the child ended before it was killed");
    // SIGKILL, on Unix.
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success());
}

/// Searches and writes that go on until they are told to stop.
struct Others {
    stop: Arc<AtomicBool>,
    searches: Arc<AtomicU64>,
    writes: Arc<AtomicU64>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Others {
    fn start(url: &str, ids: &Arc<Vec<MemoryId>>) -> Self {
        let (stop, searches) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let writes: Arc<AtomicU64> = Arc::default();
        let searching = searching(url.to_owned(), Arc::clone(&stop), Arc::clone(&searches));
        let writing =
            writing(url.to_owned(), Arc::clone(&stop), Arc::clone(ids), Arc::clone(&writes));
        let tasks = vec![tokio::spawn(searching), tokio::spawn(writing)];
        Self { stop, searches, writes, tasks }
    }

    /// How many searches there were, and writes that change a text.
    async fn end(self) -> (u64, u64) {
        self.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        (self.searches.load(Ordering::SeqCst), self.writes.load(Ordering::SeqCst))
    }
}

/// By a handle that knows the old model only. Every search finds what it is for, by both branches.
async fn searching(url: String, stop: Arc<AtomicBool>, searches: Arc<AtomicU64>) {
    let db = opened(&url, Hashed::of(OLD)).await;
    let mut n = 0;
    while !stop.load(Ordering::SeqCst) {
        // Those whose number ends in 7 are never changed.
        n = (n + 3_910) % MEMORIES;
        let wanted = text(n / 10 * 10 + 7);
        let found = db.memories().recalled(&ada(), &Recall::text(&wanted)).await.unwrap();
        assert_eq!(found.words_only, None);
        let hit = &found.hits[0];
        assert_eq!(
            (&hit.memory.content, hit.text_rank, hit.vector_rank),
            (&wanted, Some(1), Some(1))
        );
        searches.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    db.close().await;
}

/// By a handle that knows the old model only: new ones, changed ones, deleted ones.
async fn writing(
    url: String,
    stop: Arc<AtomicBool>,
    ids: Arc<Vec<MemoryId>>,
    writes: Arc<AtomicU64>,
) {
    let db = opened(&url, Hashed::of(OLD)).await;
    let memories = db.memories();
    let mut n = 0;
    while !stop.load(Ordering::SeqCst) {
        memories.remember(&ada(), NewMemory::new(format!("late {n}"))).await.unwrap();
        memories.remember(&bob(), NewMemory::new(format!("late {n}"))).await.unwrap();
        // Ends in 1, over the whole range; ends in 2 for those that are deleted, once each.
        let changed = MemoryPatch::content(format!("changed {n}"));
        memories.update(&ada(), ids[(n * 1_310 + 1) % MEMORIES], changed).await.unwrap();
        if n * 10 + 2 < MEMORIES {
            memories.delete(&ada(), ids[n * 10 + 2]).await.unwrap();
        }
        n += 1;
        writes.fetch_add(3, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    db.close().await;
}

/// Re-embeds, as soon as the killed process's lease is over.
async fn resumed(db: &Mnemon) -> ReembedReport {
    loop {
        match db.memories().reembed(Reembed::to(Hashed::of(NEW)).lease(LEASE)).await {
            Ok(report) => return report,
            Err(Error::Held { .. }) => tokio::time::sleep(Duration::from_millis(100)).await,
            Err(error) => panic!("{error:?}"),
        }
    }
}

async fn twenty_thousand(place: Place) {
    let url = place.url();
    let db = opened(&url, Hashed::of(OLD)).await;
    let mut ids = Vec::new();
    let all: Vec<NewMemory> = (0..MEMORIES).map(|n| NewMemory::new(text(n))).collect();
    for batch in all.chunks(500) {
        let done = db.memories().remember_many(&ada(), batch.to_vec()).await.unwrap();
        ids.extend(done.iter().map(|done| done.id));
    }
    db.close().await;
    let ids = Arc::new(ids);
    let others = Others::start(&url, &ids);

    let child = url.clone();
    tokio::task::spawn_blocking(move || killed_on_the_way(&child)).await.unwrap();
    let db = changing(&url).await;
    let standing = db.memories().embedding_sets().await.unwrap();
    let report = resumed(&db).await;
    // The handle that changed the model writes and searches by the new one.
    let mine = db.memories().remember(&ada(), NewMemory::new("written after")).await.unwrap();
    let found = db.memories().recall(&ada(), &Recall::text(text(7))).await.unwrap();
    let (searches, writes) = others.end().await;
    let only = UpkeepOptions { only: vec![Task::Embeddings], force: true };
    let upkeep = db.upkeep(&only).await.unwrap();

    let states: Vec<SetState> = standing.sets.iter().map(|set| set.set.state).collect();
    assert_eq!(states, [SetState::Active, SetState::Filling], "killed on the way");
    assert!(standing.sets[1].vectors >= KILLED_AT, "{standing:?}");
    assert!(report.switched);
    let most = standing.sets[1].lacking + writes;
    assert!(report.rows <= most, "what was embedded before is not embedded again: {report:?}");
    assert!(searches > 10, "{searches}");
    assert_eq!(found[0].vector_rank, Some(1));
    assert_eq!(upkeep.tasks[0].outcome, Outcome::Done, "{upkeep:?}");
    let stand = db.memories().embedding_sets().await.unwrap();
    let active = stand.sets.iter().find(|set| set.set.state == SetState::Active).unwrap();
    assert_eq!(&active.set.model, Hashed::of(NEW).known());
    assert_eq!((active.lacking, active.vectors), (0, stand.memories));
    let rows = place.vectors(active.set.id).await;
    assert_eq!(rows.len() as u64, stand.memories);
    for (_, content, vector) in &rows {
        let wanted = model::vector(content, NEW);
        let near = mnemon::core::memories::vector::cosine(&wanted, vector);
        assert!(vector.len() == NEW as usize && near > 0.9999, "{content}: {near}");
    }
    let kept: BTreeSet<MemoryId> = rows.iter().map(|(id, ..)| *id).collect();
    let untouched = ids.iter().enumerate().filter(|(n, _)| n % 10 != 2);
    assert!(untouched.clone().all(|(_, id)| kept.contains(id)), "ids stay");
    assert!(kept.contains(&mine.id));
    dropped(&url, &db).await;
    db.close().await;
}

/// Once the old set is dropped, a handle of the old model goes on by words, and says so.
async fn dropped(url: &str, db: &Mnemon) {
    let old = changing(url).await;
    assert_eq!(old.memories().drop_old().await.unwrap(), 1);
    old.close().await;
    let mismatch = Mnemon::builder(url).embedder(Hashed::of(OLD)).open().await.unwrap_err();
    assert_eq!(mismatch.code(), "model_mismatch");
    let hits = db.memories().recall(&ada(), &Recall::text(text(17))).await.unwrap();
    assert_eq!(hits[0].memory.content, text(17));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_thousand_memories_change_their_model_under_way_on_sqlite() {
    twenty_thousand(Place::sqlite()).await;
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_thousand_memories_change_their_model_under_way_on_postgres18() {
    if mnemon_testkit::postgres_wanted() {
        twenty_thousand(Place::postgres(mnemon_testkit::Major::V18).await).await;
    }
}

#[cfg(feature = "postgres")]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_thousand_memories_change_their_model_under_way_on_postgres16() {
    if mnemon_testkit::postgres_wanted() {
        twenty_thousand(Place::postgres(mnemon_testkit::Major::V16).await).await;
    }
}

fn only_embeddings() -> UpkeepOptions {
    UpkeepOptions { only: vec![Task::Embeddings], force: true }
}

#[tokio::test]
async fn while_the_model_does_not_answer_memories_are_kept_and_embedded_later() {
    let model = Hashed::of(64);
    let db = opened("sqlite::memory:", Arc::clone(&model)).await;
    let one = db.memories().remember(&ada(), NewMemory::new("a red door")).await.unwrap();
    model.down(true);

    let two = db.memories().remember(&ada(), NewMemory::new("a green hill")).await.unwrap();
    let patch = MemoryPatch::content("a blue door");
    db.memories().update(&ada(), one.id, patch).await.unwrap();
    let found = db.memories().recalled(&ada(), &Recall::text("green")).await.unwrap();
    let failed = db.upkeep(&only_embeddings()).await.unwrap();
    let waiting = db.upkeep_status().await.unwrap();
    model.down(false);
    let done = db.upkeep(&only_embeddings()).await.unwrap();
    let after = db.memories().recalled(&ada(), &Recall::text("a green hill")).await.unwrap();

    assert_eq!(found.hits[0].memory.id, two.id, "found by words");
    assert_eq!(found.words_only.as_deref(), Some("the test's model is down"));
    assert_eq!((failed.tasks[0].outcome, failed.tasks[0].rows), (Outcome::Failed, 0));
    let waiting = waiting.iter().find(|task| task.name == "embeddings").unwrap();
    assert_eq!((waiting.lag, waiting.errors), (2, 1));
    assert!(waiting.last_error.as_ref().unwrap().contains("is down"));
    assert_eq!((done.tasks[0].outcome, done.tasks[0].rows), (Outcome::Done, 2));
    assert_eq!((after.words_only, after.hits[0].vector_rank), (None, Some(1)));
    let status = db.upkeep_status().await.unwrap();
    assert_eq!(status.iter().find(|task| task.name == "embeddings").unwrap().lag, 0);
}

#[tokio::test]
async fn a_dry_run_counts_and_writes_nothing() {
    let db = opened("sqlite::memory:", Hashed::of(64)).await;
    for n in 0..50 {
        db.memories().remember(&ada(), NewMemory::new(text(n))).await.unwrap();
    }

    let new = Hashed::of(32);
    let report = db.memories().reembed(Reembed::to(new.clone()).dry_run()).await.unwrap();

    assert_eq!((report.dry_run, report.lacking, report.rows), (true, 50, 0));
    assert!(report.estimated_seconds.is_some_and(|seconds| seconds >= 0.0));
    assert_eq!(new.embedded(), 32, "a sample");
    assert_eq!(db.memories().embedding_sets().await.unwrap().sets.len(), 1);
    assert_eq!(db.model().as_ref(), Some(Hashed::of(64).known()));
    for batch in [0, 501] {
        let refused = db.memories().reembed(Reembed::to(Hashed::of(32)).batch(batch)).await;
        assert!(matches!(refused, Err(Error::Invalid { field, .. }) if field == "batch"));
    }
}

#[tokio::test]
async fn the_same_model_again_embeds_what_has_no_vector() {
    let model = Hashed::of(64);
    let db = opened("sqlite::memory:", Arc::clone(&model)).await;
    model.down(true);
    db.memories().remember(&ada(), NewMemory::new("kept bare")).await.unwrap();
    model.down(false);

    let report = db.memories().reembed(Reembed::to(model.clone())).await.unwrap();
    let again = db.memories().reembed(Reembed::to(model).drop_old()).await.unwrap();

    assert_eq!((report.rows, report.switched, report.dropped), (1, false, 0));
    assert_eq!((again.rows, again.switched, again.dropped), (0, false, 0));
}

#[tokio::test]
async fn the_handle_that_changes_the_model_writes_to_both_sets() {
    let db = opened("sqlite::memory:", Hashed::of(64)).await;
    db.memories().remember(&ada(), NewMemory::new("behind the gate")).await.unwrap();
    let new = Hashed::gated(32);
    let (changing, options) = (db.clone(), Reembed::to(new.clone()).drop_old());
    let task = tokio::spawn(async move { changing.memories().reembed(options).await });
    new.reached().await;

    let during = db.memories().remember(&ada(), NewMemory::new("during")).await.unwrap();
    let patch = MemoryPatch::content("during, changed");
    db.memories().update(&ada(), during.id, patch).await.unwrap();
    let step = mnemon::Step::new(mnemon::RequestId::parse("s").unwrap())
        .write(mnemon::Write::Remember(Box::new(NewMemory::new("in a step"))));
    db.commit(&ada(), step).await.unwrap();
    let under_way = db.memories().embedding_sets().await.unwrap();
    let held = db.memories().reembed(Reembed::to(Hashed::of(32))).await.unwrap_err();
    let third = db.memories().reembed(Reembed::to(Hashed::of(48))).await.unwrap_err();
    new.open();
    let report = task.await.unwrap().unwrap();

    let counts: Vec<_> = under_way.sets.iter().map(|set| (set.vectors, set.lacking)).collect();
    assert_eq!(counts, [(3, 0), (2, 1)]);
    assert_eq!((held.code(), third.code()), ("held", "already_exists"));
    assert_eq!((report.rows, report.switched, report.dropped), (1, true, 1));
    assert_eq!(db.model().as_ref(), Some(new.known()));
    let found = db.memories().recalled(&ada(), &Recall::text("during")).await.unwrap();
    assert_eq!((found.words_only, found.hits.len()), (None, 3));
}

#[tokio::test]
async fn a_change_of_the_model_may_be_given_up() {
    let db = opened("sqlite::memory:", Hashed::of(64)).await;
    db.memories().remember(&ada(), NewMemory::new("one")).await.unwrap();
    let new = Hashed::of(32);
    new.down(true);
    let failed = db.memories().reembed(Reembed::to(new)).await.unwrap_err();

    let kept = db.memories().remember(&ada(), NewMemory::new("two")).await;
    let dropped = db.memories().abandon_reembedding().await.unwrap();

    assert_eq!(failed.code(), "unavailable");
    assert!(kept.unwrap().created);
    assert_eq!(dropped, 1);
    let sets = db.memories().embedding_sets().await.unwrap().sets;
    assert_eq!((sets.len(), sets[0].vectors), (1, 2));
    assert_eq!(db.model().as_ref(), Some(Hashed::of(64).known()));
}

#[tokio::test]
async fn a_handle_of_the_old_model_goes_on_and_mixes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("sqlite://{}", folder.path().join("m.db").display());
    let old = opened(&url, Hashed::of(64)).await;
    old.memories().remember(&ada(), NewMemory::new("a red door")).await.unwrap();
    let other = changing(&url).await;
    // Of as many dimensions: nothing but the model's name tells its vectors from the old ones.
    let new = Hashed::named("another", 64);
    other.memories().reembed(Reembed::to(new.clone()).drop_old()).await.unwrap();

    let found = old.memories().recalled(&ada(), &Recall::text("red")).await.unwrap();
    let late = old.memories().remember(&ada(), NewMemory::new("a late door")).await.unwrap();
    let vector = model::vector("a red door", 64);
    let refused = old.memories().vector_search(&ada(), &vector, 5).await.unwrap_err();
    let classified = old.memories().classify(&ada(), &vector, 5).await.unwrap_err();
    let left = old.upkeep(&only_embeddings()).await.unwrap();

    assert_eq!(found.hits.len(), 1);
    let why = found.words_only.unwrap();
    assert!(why.contains("another") && why.contains("hashed-64"), "{why}");
    assert_eq!((refused.code(), classified.code()), ("model_mismatch", "model_mismatch"));
    assert_eq!(left.tasks[0].rows, 0, "its model is none to embed with");
    let sets = other.memories().embedding_sets().await.unwrap().sets;
    assert_eq!((sets.len(), sets[0].vectors, sets[0].lacking), (1, 1, 1));
    let done = other.upkeep(&only_embeddings()).await.unwrap();
    assert_eq!(done.tasks[0].rows, 1);
    let found = other.memories().recall(&ada(), &Recall::text("a late door")).await.unwrap();
    assert_eq!((found[0].memory.id, found[0].vector_rank), (late.id, Some(1)));
}
