//! The index of words stays exact whatever happens, and `doctor` says what is wrong and what to
//! do about it.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use chrono::{TimeDelta, Utc};
use common::{Place, remember};
use mnemon_core::memories::{ModelSignature, NewMemory};
use mnemon_core::store::{Finding, Severity};
use mnemon_core::upkeep::Task;
use mnemon_core::{MemoryId, Scope, Store};
use mnemon_sqlite::{Clock, Options, SqliteStore};

/// A clock that a test moves, in seconds ahead of the machine's.
fn clock() -> (Clock, Arc<AtomicI64>) {
    let ahead = Arc::new(AtomicI64::new(0));
    let seconds = Arc::clone(&ahead);
    let clock =
        Clock::from_fn(move || Utc::now() + TimeDelta::seconds(seconds.load(Ordering::SeqCst)));
    (clock, ahead)
}

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

/// What must hold in every state of the file; each counts its violations.
const INVARIANTS: &[(&str, &str)] = &[
    (
        "a term's documents are its postings",
        "select count(*) from text_terms t where documents <= 0 or documents <> \
         (select count(*) from text_postings p where p.term_id = t.id)",
    ),
    (
        "a posting belongs to a term and a memory of one tenant",
        "select count(*) from text_postings p left join text_terms t on t.id = p.term_id \
         left join memories m on m.memory = p.memory \
         where t.tenant is null or m.tenant is null or t.tenant <> m.tenant or p.words <> m.words",
    ),
    (
        "a corpus counts its memories and their words",
        "select count(*) from text_corpus c where \
         (documents, words) <> (select count(*), coalesce(sum(m.words), 0) from memories m \
         where m.tenant = c.tenant)",
    ),
    (
        "a vector belongs to a memory of the same content",
        "select count(*) from embeddings_1 e left join memories m on m.memory = e.memory \
         where m.content_hash is null or m.content_hash <> e.content_hash",
    ),
];

fn check(place: &Place, step: u64) {
    for (name, violations) in INVARIANTS {
        let found: i64 = place.raw().query_row(violations, [], |row| row.get(0)).expect(name);
        assert_eq!(found, 0, "after step {step}: {name}");
    }
}

fn some_memory(dice: &mut Dice) -> NewMemory {
    let words: Vec<String> =
        (0..=dice.roll(12)).map(|_| format!("word{}", dice.roll(30))).collect();
    let expires_at = (dice.roll(3) == 0)
        .then(|| Utc::now() + TimeDelta::seconds(1000 + dice.roll(3000).cast_signed()));
    NewMemory {
        expires_at,
        allow_duplicate: dice.roll(4) == 0,
        tags: (0..dice.roll(3)).map(|n| format!("tag{n}")).collect(),
        key: (dice.roll(5) == 0).then(|| format!("key{}", dice.roll(5))),
        embedding: (dice.roll(2) == 0).then(|| vec![1.0, 0.5]),
        ..NewMemory::new(words.join(" "))
    }
}

#[tokio::test]
async fn counts_postings_and_vectors_are_exact_after_any_sequence() {
    let place = Place::new();
    let (clock, ahead) = clock();
    let store = SqliteStore::open(Options { clock, ..place.options() }).await.unwrap();
    let model = ModelSignature { name: "m".into(), dimension: 2, hash: "h".into(), semantic: true };
    store.memories().register_model(&model).await.unwrap();
    let scopes = [Scope::tenant("a"), Scope::tenant("b"), Scope::tenant("a").user("ada")];
    let mut known: Vec<(Scope, MemoryId)> = Vec::new();
    let mut dice = Dice(7);

    for step in 0..600 {
        let scope = &scopes[usize::try_from(dice.roll(3)).unwrap()];
        match dice.roll(10) {
            0..=5 => {
                // A key that is taken by other content is refused; nothing is left of it.
                if let Ok(done) = store.memories().remember(scope, some_memory(&mut dice)).await {
                    known.push((scope.clone(), done.id));
                }
            }
            6 => {
                let batch = (0..5).map(|_| some_memory(&mut dice)).collect();
                let done = store.memories().remember_many(scope, batch).await.unwrap_or_default();
                known.extend(done.iter().map(|done| (scope.clone(), done.id)));
            }
            7 | 8 if !known.is_empty() => {
                let at = usize::try_from(dice.roll(known.len() as u64)).unwrap();
                let (scope, id) = known.swap_remove(at);
                let _ = store.memories().delete(&scope, id).await;
            }
            _ => {
                ahead.fetch_add(120, Ordering::SeqCst);
                let lease =
                    store.upkeep().claim(Task::ExpiredMemories, "test", true).await.unwrap();
                let lease = lease.unwrap();
                store.upkeep().batch(&lease).await.unwrap();
                store.upkeep().finish(&lease, None).await.unwrap();
            }
        }
        if step % 20 == 0 {
            check(&place, step);
        }
    }

    let kept: i64 =
        place.raw().query_row("select count(*) from memories", [], |row| row.get(0)).unwrap();
    assert!(kept > 50, "the sequence kept something to check: {kept}");
    for (scope, id) in known {
        let _ = store.memories().delete(&scope, id).await;
    }
    ahead.fetch_add(100_000, Ordering::SeqCst);
    check(&place, 600);
}

fn finding<'f>(findings: &'f [Finding], check: &str) -> &'f Finding {
    findings.iter().find(|finding| finding.check == check).expect(check)
}

#[tokio::test]
async fn a_sound_file_has_only_good_findings() {
    let place = Place::new();
    let store = place.open().await.unwrap();
    remember(&store, "something").await.unwrap();

    let findings = store.doctor().await.unwrap();

    assert!(findings.iter().all(|finding| finding.severity == Severity::Ok), "{findings:#?}");
    assert!(findings.len() >= 8);
}

#[tokio::test]
async fn expired_memories_wait_until_somebody_removes_them() {
    let place = Place::new();
    let (clock, ahead) = clock();
    let store = SqliteStore::open(Options { clock, ..place.options() }).await.unwrap();
    let memory = NewMemory {
        expires_at: Some(Utc::now() + TimeDelta::minutes(5)),
        ..NewMemory::new("for a moment")
    };
    store.memories().remember(&Scope::local(), memory).await.unwrap();
    ahead.store(100_000, Ordering::SeqCst);

    let waiting = lag(&store).await;
    let lease = store.upkeep().claim(Task::ExpiredMemories, "me", false).await.unwrap().unwrap();
    let batch = store.upkeep().batch(&lease).await.unwrap();
    store.upkeep().finish(&lease, None).await.unwrap();
    let left = lag(&store).await;

    assert_eq!((batch.rows, batch.more), (1, false));
    assert_eq!((waiting, left), (1, 0));
}

/// Expired memories that are still there.
async fn lag(store: &SqliteStore) -> u64 {
    let status = store.upkeep().status().await.expect("every task");
    let task = status.iter().find(|task| task.name == Task::ExpiredMemories.name());
    task.expect("is one of them").lag
}

#[cfg(unix)]
#[tokio::test]
async fn a_new_file_is_its_owner_s_alone_and_one_open_to_others_is_pointed_out() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    let store = place.open().await.unwrap();
    let mode = std::fs::metadata(place.path()).unwrap().permissions().mode();
    std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o644)).unwrap();

    let findings = store.doctor().await.unwrap();

    assert_eq!(mode & 0o777, 0o600);
    let file = finding(&findings, "file");
    assert_eq!(file.severity, Severity::Warning);
    assert!(file.fix.as_deref().unwrap().starts_with("run `chmod 600"));
}

#[tokio::test]
async fn health_tells_the_clock_and_the_threads() {
    let place = Place::new();
    let (clock, ahead) = clock();
    ahead.store(3_600, Ordering::SeqCst);
    let store = SqliteStore::open(Options { clock, readers: 2, ..place.options() }).await.unwrap();

    let health = store.health().await.unwrap();

    assert_eq!(health.connections, 3);
    assert!(health.schema_version >= 2);
    assert!(health.now > Utc::now() + TimeDelta::minutes(59));
}
