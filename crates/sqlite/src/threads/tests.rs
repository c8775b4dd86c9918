use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use mnemon_core::Store;
use rusqlite::ffi;

use super::*;
use crate::options::{Location, Options};
use crate::store::SqliteStore;

/// A door that a job waits at, so that others line up behind it.
#[derive(Clone, Default)]
struct Door(Arc<(Mutex<bool>, Condvar)>);

impl Door {
    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }

    fn pass(&self) {
        let open = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(open, |open| !*open).unwrap());
    }
}

struct Bench {
    store: Arc<SqliteStore>,
    folder: tempfile::TempDir,
}

impl Bench {
    async fn new(change: impl FnOnce(&mut Options)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = Options::new(Location::File(folder.path().join("m.db")));
        change(&mut options);
        let store = Arc::new(SqliteStore::open(options).await.unwrap());
        store
            .write("preparing", |conn| {
                Ok(conn.execute_batch("create table probe (n integer unique)")?)
            })
            .await
            .unwrap();
        Self { store, folder }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("m.db")
    }

    fn write<T: Send + 'static>(
        &self,
        body: impl Fn(&Connection) -> Done<T> + Send + 'static,
    ) -> tokio::task::JoinHandle<Result<T>> {
        let store = Arc::clone(&self.store);
        tokio::spawn(async move { store.write("testing", body).await })
    }

    /// Keeps the writer at a door.
    async fn hold(&self, door: &Door) -> tokio::task::JoinHandle<Result<()>> {
        let (entered, waits) = (Arc::new(AtomicUsize::new(0)), door.clone());
        let seen = Arc::clone(&entered);
        let held = self.write(move |_| {
            seen.fetch_add(1, Ordering::SeqCst);
            waits.pass();
            Ok(())
        });
        while entered.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
        held
    }

    /// Waits until so many jobs stand in line.
    async fn lined_up(&self, jobs: u32) {
        while self.store.writes().load().waiting < jobs {
            tokio::task::yield_now().await;
        }
    }
}

/// The rows that another connection sees.
fn rows(path: &Path) -> i64 {
    Connection::open(path)
        .unwrap()
        .query_row("select count(*) from probe", [], |row| row.get(0))
        .unwrap()
}

fn insert(conn: &Connection, n: i64) -> Done<()> {
    conn.execute("insert into probe values (?1)", [n])?;
    Ok(())
}

#[tokio::test]
async fn writes_that_wait_together_share_one_commit() {
    let bench = Bench::new(|_| ()).await;
    let door = Door::default();
    let held = bench.hold(&door).await;
    let writes: Vec<_> = (0..20)
        .map(|n| {
            let path = bench.path();
            bench.write(move |conn| insert(conn, n).map(|()| rows(&path)))
        })
        .collect();
    bench.lined_up(20).await;

    door.open();

    held.await.unwrap().unwrap();
    for write in writes {
        assert_eq!(write.await.unwrap().unwrap(), 0, "no write stands before all were made");
        assert_eq!(rows(&bench.path()), 20, "an answered write stands");
    }
}

#[tokio::test]
async fn an_error_or_a_panic_in_a_merged_commit_hurts_no_other_write() {
    let bench = Bench::new(|_| ()).await;
    let door = Door::default();
    let held = bench.hold(&door).await;
    let first = bench.write(|conn| insert(conn, 1));
    bench.lined_up(1).await;
    let refused = bench.write(|conn| {
        insert(conn, 2)?;
        Err::<(), _>(Error::invalid("n", "is even").into())
    });
    bench.lined_up(2).await;
    let panicked = bench.write(|conn| -> Done<()> {
        insert(conn, 3)?;
        panic!("on purpose")
    });
    bench.lined_up(3).await;
    let twice = bench.write(|conn| insert(conn, 4).and_then(|()| insert(conn, 1)));
    bench.lined_up(4).await;
    let last = bench.write(|conn| insert(conn, 5));
    bench.lined_up(5).await;

    door.open();

    held.await.unwrap().unwrap();
    first.await.unwrap().unwrap();
    assert!(matches!(refused.await.unwrap(), Err(Error::Invalid { .. })));
    let panicked = panicked.await.unwrap().unwrap_err();
    assert_eq!(panicked.to_string(), "the database failed while testing");
    assert!(std::error::Error::source(&panicked).unwrap().to_string().contains("on purpose"));
    assert!(matches!(twice.await.unwrap(), Err(Error::Backend { .. })));
    last.await.unwrap().unwrap();
    assert_eq!(rows(&bench.path()), 2);
}

#[tokio::test]
async fn a_merged_commit_that_fills_the_disk_fails_only_the_write_at_fault() {
    let bench = Bench::new(|options| options.max_bytes = Some(800 * 1024)).await;
    let door = Door::default();
    let held = bench.hold(&door).await;
    let first = bench.write(|conn| insert(conn, 1));
    bench.lined_up(1).await;
    let large = bench.write(|conn| {
        conn.execute("insert into probe values (zeroblob(1000000))", [])?;
        Ok(())
    });
    bench.lined_up(2).await;
    let last = bench.write(|conn| insert(conn, 2));
    bench.lined_up(3).await;

    door.open();

    held.await.unwrap().unwrap();
    first.await.unwrap().unwrap();
    assert!(matches!(large.await.unwrap(), Err(Error::Setup { .. })));
    last.await.unwrap().unwrap();
    assert_eq!(rows(&bench.path()), 2);
}

#[tokio::test]
async fn a_panic_in_a_read_leaves_every_reader_at_work() {
    let bench = Bench::new(|options| options.readers = 1).await;

    let panicked = bench.store.read("testing", |_| -> Done<()> { panic!("on purpose") }).await;

    assert!(matches!(panicked, Err(Error::Backend { .. })));
    bench.store.read("testing", |_| Ok(())).await.unwrap();
}

#[tokio::test]
async fn an_io_error_makes_the_thread_open_its_connection_anew() {
    let bench = Bench::new(|_| ()).await;
    let temporary = |conn: &Connection| -> Done<()> {
        conn.execute_batch("create temporary table mark (n)")?;
        Ok(())
    };
    bench.store.write("testing", temporary).await.unwrap();
    assert!(bench.store.write("testing", temporary).await.is_err(), "the same connection");

    let failed = bench
        .store
        .write("testing", |_| -> Done<()> {
            Err(rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_IOERR_WRITE), None)
                .into())
        })
        .await;

    assert!(matches!(failed, Err(Error::Backend { .. })));
    bench.store.write("testing", temporary).await.expect("a new connection");
}

#[tokio::test]
async fn after_close_every_call_is_refused_at_once_while_running_ones_drain() {
    let bench = Bench::new(|_| ()).await;
    let door = Door::default();
    let held = bench.hold(&door).await;
    let waiting = bench.write(|conn| insert(conn, 1));
    bench.lined_up(1).await;
    let closing = tokio::spawn({
        let store = Arc::clone(&bench.store);
        async move { store.close().await }
    });
    while bench.store.alive().is_ok() {
        tokio::task::yield_now().await;
    }

    let refused = bench.store.write("testing", |_| Ok(())).await;

    assert!(matches!(refused, Err(Error::Closed)));
    assert!(!closing.is_finished(), "the runtime's only thread was not blocked");
    door.open();
    closing.await.unwrap();
    held.await.unwrap().unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(rows(&bench.path()), 1);
    bench.store.close().await;
}

#[tokio::test]
async fn a_write_that_nobody_waits_for_any_more_is_not_begun() {
    let bench = Bench::new(|_| ()).await;
    let door = Door::default();
    let held = bench.hold(&door).await;
    let given_up = bench.write(|conn| insert(conn, 1));
    bench.lined_up(1).await;
    given_up.abort();
    let _ = given_up.await;

    door.open();

    held.await.unwrap().unwrap();
    bench.write(|conn| insert(conn, 2)).await.unwrap().unwrap();
    assert_eq!(rows(&bench.path()), 1);
}
