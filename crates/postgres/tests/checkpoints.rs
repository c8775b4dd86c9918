//! Checkpoints on a server: writers in two processes, what stands in the tables under keys, rows
//! that somebody put in another's place, and what hot calls scan.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::collections::BTreeMap;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use mnemon_core::checkpoints::{
    ChannelValue, Checkpoints, DataKey, ExpectedHead, KeyProvider, Policy, Put, PutWrites, Thread,
    ThreadFilter,
};
use mnemon_core::locks::{Guard, Locks};
use mnemon_core::{Error, Fence, Page, Result, Scope, Store};
use mnemon_postgres::{Options, PostgresStore};
use serde_json::json;
use sqlx::Executor as _;

const URL: &str = "MNEMON_TEST_CHECKPOINTS_URL";
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
const MARK_HEX: &str = "6d61727a6970616e";

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
#[tokio::test(flavor = "multi_thread")]
async fn child_writes_a_chain() {
    let Ok(url) = std::env::var(URL) else { return };
    let mut options = Options::new(url);
    options.pool.max_connections = 8;
    let store: Arc<dyn Store> = Arc::new(PostgresStore::open(&options).await.unwrap());
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
}

#[tokio::test(flavor = "multi_thread")]
async fn two_processes_of_eight_writers_leave_one_chain() {
    for server in common::servers() {
        let fx = common::fixture(&server).await;
        let first = Put::new(Thread::new("t")).channel("count", value("0"));
        fx.store.put(&scope(), first, None).await.unwrap();
        let children: Vec<_> = (0..2)
            .map(|_| {
                Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", "child_writes_a_chain", "--nocapture"])
                    .env(URL, fx.db.url())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .unwrap()
            })
            .collect();
        for child in children {
            let ended = child.wait_with_output().unwrap();
            assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
        }

        is_one_chain(&fx.store).await;
    }
}

/// Every row of every table of the facet, as text; bytes are hex there.
const ROWS: &str = "
    select t::text from mnemon.threads t union all select c::text from mnemon.checkpoints c
    union all select w::text from mnemon.checkpoint_writes w
    union all select k::text from mnemon.checkpoint_chunks k
    union all select r::text from mnemon.receipts r";

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_of_the_tables_finds_no_plain_text_under_keys() {
    for server in common::servers() {
        for on in [false, true] {
            let fx = common::fixture(&server).await;
            fx.store.seal_with(on.then(|| Arc::new(OneKey) as Arc<dyn KeyProvider>));
            grown(&fx.store).await;
            let mut conn = common::connect(fx.db.url()).await;

            let rows: Vec<String> = sqlx::query_scalar(ROWS).fetch_all(&mut conn).await.unwrap();

            let found =
                rows.iter().filter(|row| row.contains(MARK) || row.contains(MARK_HEX)).count();
            assert_eq!(found > 0, !on, "keys {on}: {found} rows");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_in_another_s_place_does_not_open() {
    let swapped = "jsonb_build_object('a', manifest -> 'b', 'b', manifest -> 'a')";
    let of_u = |what: &str| {
        format!(
            "update mnemon.checkpoints t set {what} from mnemon.checkpoints u
             where t.thread_id = 't' and u.thread_id = 'u' and t.version = 2 and u.version = 2"
        )
    };
    for server in common::servers() {
        for damage in [
            format!("update mnemon.checkpoints set manifest = {swapped}, hashes = null where thread_id = 't'"),
            of_u("sealed = u.sealed"),
            of_u("manifest = u.manifest, hashes = u.hashes"),
            // A whole thread in the place of another.
            "update mnemon.checkpoints set thread_id = thread_id || 'x';
             update mnemon.checkpoint_chunks set thread_id = thread_id || 'x';
             update mnemon.checkpoint_writes set thread_id = thread_id || 'x';
             update mnemon.checkpoints set thread_id = 't' where thread_id = 'ux';
             update mnemon.checkpoint_chunks set thread_id = 't' where thread_id = 'ux';
             update mnemon.checkpoint_writes set thread_id = 't' where thread_id = 'ux';
             update mnemon.threads set head_id =
                (select c.id from mnemon.checkpoints c where c.thread_id = 't' and c.version = 2)
             where thread_id = 't'".to_owned(),
            // An older version of the same thread as the newest.
            "update mnemon.checkpoints n set manifest = o.manifest, sealed = o.sealed, hashes = o.hashes
             from mnemon.checkpoints o
             where n.thread_id = 't' and o.thread_id = 't' and n.version = 2 and o.version = 1".to_owned(),
            // One task's write in the place of another's.
            "update mnemon.checkpoint_writes w set hash = o.hash from mnemon.checkpoint_writes o
             where w.thread_id = 't' and o.thread_id = 't' and w.checkpoint_id = o.checkpoint_id
               and w.task_id = 'one' and o.task_id = 'two'".to_owned(),
            "update mnemon.checkpoint_chunks set bytes = set_byte(bytes, 40, 255 - get_byte(bytes, 40))".to_owned(),
        ] {
            let fx = common::fixture(&server).await;
            fx.store.seal_with(Some(Arc::new(OneKey)));
            grown(&fx.store).await;
            Checkpoints::get(&fx.store, &scope(), &Thread::new("t"), None).await.unwrap();
            let mut conn = common::connect(fx.db.url()).await;
            sqlx::raw_sql(sqlx::AssertSqlSafe(damage.as_str())).execute(&mut conn).await.unwrap();

            let read = Checkpoints::get(&fx.store, &scope(), &Thread::new("t"), None).await;

            let error = read.expect_err(&damage);
            assert!(matches!(error, Error::Corrupt { .. }), "{damage}: {error}");
            assert!(error.to_string().contains("of thread t is corrupt"), "{damage}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupted_chunk_names_thread_and_channel() {
    for server in common::servers() {
        for (damage, channel) in [
            ("update mnemon.checkpoint_chunks set bytes = set_byte(bytes, 0, 255 - get_byte(bytes, 0))
              where octet_length(bytes) < 20", "short"),
            ("update mnemon.checkpoint_chunks set bytes = set_byte(bytes, 40, 255 - get_byte(bytes, 40))
              where octet_length(bytes) > 20 and codec <> 2", "long"),
            ("update mnemon.checkpoint_chunks set bytes = substring(bytes for 32) where codec = 2", "long"),
            ("update mnemon.checkpoint_chunks set codec = 7 where octet_length(bytes) < 20", "short"),
            ("delete from mnemon.checkpoint_chunks where octet_length(bytes) > 20 and codec <> 2", "long"),
            ("delete from mnemon.checkpoint_chunks where octet_length(bytes) < 20", "short"),
        ] {
            let fx = common::fixture(&server).await;
            let thread = Thread::new("t");
            let long = ChannelValue { type_tag: "b".into(), bytes: long() };
            let put = Put::new(thread.clone()).channel("short", value("a")).channel("long", long);
            fx.store.put(&scope(), put, None).await.unwrap();
            let mut conn = common::connect(fx.db.url()).await;
            sqlx::query(damage).execute(&mut conn).await.unwrap();

            let read = Checkpoints::get(&fx.store, &scope(), &thread, None).await;

            let error = read.expect_err(damage);
            assert_eq!(error.code(), "corrupt", "{damage}: {error}");
            let named = format!("channel {channel} of thread t");
            assert!(error.to_string().contains(&named), "{damage}: {error}");
        }
    }
}

/// A value of several parts.
fn long() -> Vec<u8> {
    (0..60_000_u32).flat_map(u32::to_le_bytes).collect()
}

/// Many threads, so that reading all of a table would be seen.
const LOAD: &str = "
    insert into mnemon.threads (tenant, thread_id, namespace, head_id, version, active_at, created_at)
    select 'acme', 'n' || n, '', 'id' || n, 1, mnemon.now(), mnemon.now()
    from generate_series(1, 5000) as n;
    insert into mnemon.checkpoint_chunks (tenant, thread_id, namespace, hash, codec, bytes)
    select 'acme', 'n' || n, '', sha256(n::text::bytea), 0, n::text::bytea
    from generate_series(1, 5000) as n;
    insert into mnemon.checkpoints
        (tenant, thread_id, namespace, version, id, created_at, metadata, manifest)
    select 'acme', 'n' || n, '', 1, 'id' || n, mnemon.now(), '{}', '{}'
    from generate_series(1, 5000) as n;
    insert into mnemon.checkpoint_writes
        (tenant, thread_id, namespace, checkpoint_id, task_id, idx, task_path, channel, type_tag,
         hash, size, written_at)
    select 'acme', 'n' || n, '', 'id' || n, 't', 0, '', 'c', 'b', sha256(n::text::bytea), 1, mnemon.now()
    from generate_series(1, 5000) as n;
    analyze";

/// Every hot call, more often than a plan is made anew for.
async fn call_often(store: &PostgresStore) {
    let thread = Thread::new("mine");
    for n in 0..8_u8 {
        let short = Put::new(thread.clone()).channel("short", value(&n.to_string()));
        let placed = store.put(&scope(), short, None).await.unwrap();
        let mut bytes = long();
        bytes.push(n);
        let cut = ChannelValue { type_tag: "b".into(), bytes };
        store.put(&scope(), Put::new(thread.clone()).channel("long", cut), None).await.unwrap();
        let writes = PutWrites::new(thread.clone(), placed.id.clone(), "t").write("w", value("x"));
        store.put_writes(&scope(), writes, None).await.unwrap();
        Checkpoints::get(store, &scope(), &thread, None).await.unwrap();
        Checkpoints::get(store, &scope(), &thread, Some(&placed.id)).await.unwrap();
        store.get_version(&scope(), &thread, 1).await.unwrap();
        store.history(&scope(), &thread, &Page::first(2)).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn puts_loads_and_lists_go_through_indexes() {
    for server in common::servers() {
        let db = common::migrated(&server).await;
        let mut conn = common::connect(db.url()).await;
        conn.execute(LOAD).await.unwrap();
        // The server's books are closed only when nobody else is there.
        drop(conn);
        let before = db.scans().await;
        let store = PostgresStore::open(&Options::new(db.url())).await.unwrap();
        call_often(&store).await;
        for _ in 0..8 {
            let page = Page::first(2);
            store.list_threads(&scope(), &ThreadFilter::default(), &page).await.unwrap();
        }
        store.close().await;

        let scans = db.scans().await.since(&before);

        for table in ["threads", "checkpoints", "checkpoint_chunks", "checkpoint_writes"] {
            assert!(!scans.tables.contains_key(table), "all of {table} is read: {scans:?}");
        }
        assert!(scans.indexes.contains_key("checkpoint_chunks_pkey"), "{scans:?}");
        assert!(scans.indexes.contains_key("threads_recent"), "{scans:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_statistics_finds_a_thread_by_its_key() {
    for server in common::servers() {
        let db = common::migrated(&server).await;
        let before = db.scans().await;
        let store = PostgresStore::open(&Options::new(db.url())).await.unwrap();
        call_often(&store).await;
        store.close().await;

        let scans = db.scans().await.since(&before);

        // That index leads through every thread of the tenant.
        assert!(!scans.indexes.contains_key("threads_recent"), "{scans:?}");
        assert!(scans.indexes.contains_key("threads_pkey"), "{scans:?}");
    }
}

/// Two handles know nothing of each other: what one remembers of a thread, the other one changes.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_handle_remembers_of_a_thread_is_checked() {
    for server in common::servers() {
        let fx = common::fixture(&server).await;
        let (here, there) =
            (&fx.store, PostgresStore::open(&Options::new(fx.db.url())).await.unwrap());
        let put =
            |thread: &str, text: &str| Put::new(Thread::new(thread)).channel("a", value(text));
        let long = ChannelValue { type_tag: "b".into(), bytes: long() };
        let put_long = || Put::new(Thread::new("pruned")).channel("long", long.clone());

        // Remembered with its parts, which the other one removes.
        here.put(&scope(), put_long(), None).await.unwrap();
        let without = Put { root: true, ..put("pruned", "there") };
        let head = there.put(&scope(), without, None).await.unwrap();
        there.prune(&scope(), &["pruned".into()], &Policy::KeepLatest(1), false).await.unwrap();
        let placed = here.put(&scope(), put_long(), None).await.unwrap();
        assert_eq!((placed.version, placed.parent), (3, Some(head.id)));
        let found = Checkpoints::get(here, &scope(), &Thread::new("pruned"), None).await.unwrap();
        assert_eq!((&found.channels["a"], &found.channels["long"]), (&value("there"), &long));

        // A thread that was deleted starts anew.
        here.put(&scope(), put("deleted", "first"), None).await.unwrap();
        there.delete_thread(&scope(), "deleted", None).await.unwrap();
        assert_eq!(here.put(&scope(), put("deleted", "anew"), None).await.unwrap().version, 1);

        // A lock that somebody took counts at once.
        here.put(&scope(), put("locked", "first"), None).await.unwrap();
        let lock = Guard { key: "locked".into(), fence: fence(&there, "locked").await };
        there.put(&scope(), put("locked", "there"), Some(&lock)).await.unwrap();
        let late = here.put(&scope(), put("locked", "late"), None).await.unwrap_err();
        assert_eq!(late.code(), "fenced");

        // Nobody else: it goes on.
        for version in 1..=3 {
            let text = version.to_string();
            let placed = here.put(&scope(), put("own", &text), None).await.unwrap();
            assert_eq!(placed.version, version);
        }
        there.close().await;
    }
}

async fn fence(store: &PostgresStore, key: &str) -> Fence {
    let lease = store.acquire(&scope(), key, "there", Duration::from_mins(1)).await.unwrap();
    lease.fence
}
