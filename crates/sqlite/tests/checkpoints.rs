//! Checkpoints in one file: writers in two processes, what stands in the file under keys, and rows
//! that somebody put in another's place.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{Place, block_on, child};
use mnemon_core::checkpoints::{
    ChannelValue, DataKey, ExpectedHead, KeyProvider, Put, PutWrites, Thread,
};
use mnemon_core::{Error, Page, Result, Scope, Store};
use mnemon_sqlite::{Location, Options, SqliteStore};
use serde_json::json;

const FILE: &str = "MNEMON_TEST_CHECKPOINTS_FILE";
const WRITERS: usize = 8;
const PUTS: usize = 10;

fn scope() -> Scope {
    Scope::tenant("acme")
}

/// One key for everybody.
struct OneKey;

impl KeyProvider for OneKey {
    fn current(&self, tenant: &str) -> Result<DataKey> {
        Ok(DataKey::new("k1", *b"one key for all of these tests !")?.of_tenant(tenant))
    }

    fn key(&self, tenant: &str, id: &str) -> Result<Option<DataKey>> {
        (id == "k1").then(|| self.current(tenant)).transpose()
    }
}

/// Never stored in plain text under keys, and too short to be compressed away.
const MARK: &str = "marzipan";

fn value(text: &str) -> ChannelValue {
    ChannelValue { type_tag: "text".into(), bytes: text.into() }
}

/// Threads `t` and `u`, each with two checkpoints of two channels and pending writes of two tasks.
async fn grown(store: &dyn Store) {
    for name in ["t", "u"] {
        let thread = Thread::new(name);
        for n in 1..=2 {
            let put = Put {
                metadata: json!({ "said": format!("{MARK} {n}") }),
                ..Put::new(thread.clone())
            };
            let put = put
                .channel("a", value(&format!("{MARK} a {name} {n}")))
                .channel("b", value(&format!("{MARK} b {name} {n}")));
            let placed = store.checkpoints().put(&scope(), put, None).await.unwrap();
            for task in ["one", "two"] {
                let writes = PutWrites::new(thread.clone(), placed.id.clone(), task)
                    .write("a", value(&format!("{MARK} {task}")));
                store.checkpoints().put_writes(&scope(), writes, None).await.unwrap();
            }
        }
    }
}

/// Puts checkpoints on the head it has seen, again when somebody was faster.
async fn chain(store: &dyn Store) {
    let thread = Thread::new("t");
    for _ in 0..PUTS {
        loop {
            let head = store.checkpoints().get(&scope(), &thread, None).await.unwrap();
            let count: usize =
                String::from_utf8(head.channels["count"].bytes.clone()).unwrap().parse().unwrap();
            let put = Put {
                expected_head: ExpectedHead::Is(head.id),
                ..Put::new(thread.clone()).channel("count", value(&(count + 1).to_string()))
            };
            match store.checkpoints().put(&scope(), put, None).await {
                Ok(_) => break,
                Err(Error::Conflict { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// One chain without a fork, and nobody's count was lost.
async fn is_one_chain(store: &dyn Store) {
    let thread = Thread::new("t");
    let mut parents = BTreeMap::new();
    let mut page = Page::first(500);
    loop {
        let found = store.checkpoints().history(&scope(), &thread, &page).await.unwrap();
        parents.extend(found.items.into_iter().map(|info| (info.version, (info.id, info.parent))));
        match found.next {
            Some(next) => page.cursor = Some(next),
            None => break,
        }
    }
    let all = i64::try_from(2 * WRITERS * PUTS + 1).unwrap();
    assert_eq!(parents.keys().copied().collect::<Vec<_>>(), (1..=all).collect::<Vec<_>>());
    for version in 2..=all {
        assert_eq!(parents[&version].1.as_ref(), Some(&parents[&(version - 1)].0));
    }
    let head = store.checkpoints().get(&scope(), &thread, None).await.unwrap();
    assert_eq!(head.channels["count"], value(&(all - 1).to_string()));
}

/// Not a test by itself: eight writers on one thread.
#[test]
fn child_writes_a_chain() {
    let Some(path) = std::env::var_os(FILE) else { return };
    block_on(async {
        let options = Options::new(Location::File(path.into()));
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(options).await.unwrap());
        let writers: Vec<_> = (0..WRITERS)
            .map(|_| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { chain(store.as_ref()).await })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        store.close().await;
    });
}

#[tokio::test]
async fn two_processes_of_eight_writers_leave_one_chain() {
    let place = Place::new();
    let store = place.open().await.unwrap();
    let first = Put::new(Thread::new("t")).channel("count", value("0"));
    store.checkpoints().put(&scope(), first, None).await.unwrap();
    let children: Vec<_> = (0..2)
        .map(|_| {
            let mut command = child("child_writes_a_chain");
            command.env(FILE, place.path());
            command.spawn().unwrap()
        })
        .collect();
    for child in children {
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }

    is_one_chain(&store).await;
    store.close().await;
}

#[tokio::test]
async fn a_scan_of_the_file_finds_no_plain_text_under_keys() {
    for on in [false, true] {
        let place = Place::new();
        let store = place.open().await.unwrap();
        store.checkpoints().seal_with(on.then(|| Arc::new(OneKey) as Arc<dyn KeyProvider>));
        grown(&store).await;

        // The file, and the log that is not in it yet.
        let files = std::fs::read_dir(place.folder.path()).unwrap();
        let found = files
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .filter(|bytes| bytes.windows(MARK.len()).any(|part| part == MARK.as_bytes()))
            .count();

        assert_eq!(found > 0, !on, "keys {on}: {found} files");
        store.close().await;
    }
}

#[tokio::test]
async fn a_row_in_another_s_place_does_not_open() {
    for damage in [
        "update checkpoints set manifest = json_object('a', manifest -> 'b', 'b', manifest -> 'a') \
         where thread_id = 't'",
        "update checkpoints set sealed = (select u.sealed from checkpoints u where \
         u.thread_id = 'u' and u.version = 2) where thread_id = 't' and version = 2",
        "update checkpoints set manifest = (select u.manifest from checkpoints u where \
         u.thread_id = 'u' and u.version = 2) where thread_id = 't' and version = 2",
        // A whole thread in the place of another.
        "update checkpoints set thread_id = thread_id || 'x'; \
         update checkpoint_chunks set thread_id = thread_id || 'x'; \
         update checkpoint_writes set thread_id = thread_id || 'x'; \
         update checkpoints set thread_id = 't' where thread_id = 'ux'; \
         update checkpoint_chunks set thread_id = 't' where thread_id = 'ux'; \
         update checkpoint_writes set thread_id = 't' where thread_id = 'ux'; \
         update threads set head_id = (select c.id from checkpoints c where c.thread_id = 't' \
         and c.version = 2) where thread_id = 't'",
        // An older version of the same thread as the newest.
        "update checkpoints set (manifest, sealed) = (select o.manifest, o.sealed from checkpoints o \
         where o.thread_id = 't' and o.version = 1) where thread_id = 't' and version = 2",
        // One task's write in the place of another's.
        "update checkpoint_writes set hash = (select o.hash from checkpoint_writes o where \
         o.thread_id = 't' and o.task_id = 'two' and \
         o.checkpoint_id = checkpoint_writes.checkpoint_id) where thread_id = 't' and task_id = 'one'",
        "update checkpoint_chunks set bytes = zeroblob(length(bytes))",
    ] {
        let place = Place::new();
        let store = place.open().await.unwrap();
        store.checkpoints().seal_with(Some(Arc::new(OneKey)));
        grown(&store).await;
        store.checkpoints().get(&scope(), &Thread::new("t"), None).await.unwrap();
        place.raw().execute_batch(damage).unwrap();

        let read = store.checkpoints().get(&scope(), &Thread::new("t"), None).await;

        let error = read.expect_err(damage);
        let corrupt = matches!(error, Error::Corrupt { .. } | Error::Sealed { .. });
        assert!(corrupt && error.to_string().contains("thread t"), "{damage}: {error}");
        store.close().await;
    }
}

#[tokio::test]
async fn a_corrupted_chunk_names_thread_and_channel() {
    for (damage, channel) in [
        (
            "update checkpoint_chunks set bytes = zeroblob(length(bytes)) where length(bytes) < 20",
            "short",
        ),
        (
            "update checkpoint_chunks set bytes = zeroblob(length(bytes)) where length(bytes) > 20 and codec <> 2",
            "long",
        ),
        ("update checkpoint_chunks set bytes = substr(bytes, 1, 32) where codec = 2", "long"),
        ("update checkpoint_chunks set codec = 7 where length(bytes) < 20", "short"),
        ("delete from checkpoint_chunks where length(bytes) > 20 and codec <> 2", "long"),
        ("delete from checkpoint_chunks where length(bytes) < 20", "short"),
    ] {
        let place = Place::new();
        let store = place.open().await.unwrap();
        let thread = Thread::new("t");
        // Of several parts.
        let long = (0..60_000_u32).flat_map(u32::to_le_bytes).collect();
        let long = ChannelValue { type_tag: "b".into(), bytes: long };
        let put = Put::new(thread.clone()).channel("short", value("a")).channel("long", long);
        store.checkpoints().put(&scope(), put, None).await.unwrap();
        place.raw().execute_batch(damage).unwrap();

        let read = store.checkpoints().get(&scope(), &thread, None).await;

        let error = read.expect_err(damage);
        assert_eq!(error.code(), "corrupt", "{damage}: {error}");
        let named = format!("channel {channel} of thread t");
        assert!(error.to_string().contains(&named), "{damage}: {error}");
        store.close().await;
    }
}
