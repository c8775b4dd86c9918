//! Several processes and handles on one file, processes that are killed, and disks that fail.

mod common;

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use common::{Place, block_on, child, remember, texts};
use mnemon_core::memories::{NewMemory, Recall};
use mnemon_core::{Error, Scope, Store};
use mnemon_sqlite::{Location, Options, SqliteStore};

/// Tells a child which file is meant.
const FILE: &str = "MNEMON_TEST_FILE";
/// The child's number.
const NUMBER: &str = "MNEMON_TEST_NUMBER";

fn file_of_child() -> Option<Options> {
    std::env::var_os(FILE).map(|path| Options::new(Location::File(path.into())))
}

/// Not a test by itself: opens the file that a parent names and writes one memory.
#[test]
fn child_opens_and_writes() {
    let Some(options) = file_of_child() else { return };
    let number = std::env::var(NUMBER).unwrap();
    block_on(async {
        let store = SqliteStore::open(options).await.unwrap();
        remember(&store, &format!("from process {number}")).await.unwrap();
        store.close().await;
    });
}

#[tokio::test]
async fn eight_processes_open_an_empty_file_at_once_in_twenty_rounds() {
    for round in 0..20 {
        let place = Place::new();
        let children: Vec<_> = (0..8)
            .map(|number| {
                let mut command = child("child_opens_and_writes");
                command.env(FILE, place.path()).env(NUMBER, number.to_string());
                command.spawn().unwrap()
            })
            .collect();
        for started in children {
            let ended = started.wait_with_output().unwrap();
            let said = String::from_utf8_lossy(&ended.stderr);
            assert!(ended.status.success(), "round {round}: {said}");
        }
        let store = place.open().await.unwrap();
        assert_eq!(texts(&store).await.unwrap().len(), 8, "round {round}");
        let hits =
            store.memories().recall(&Scope::local(), &Recall::text("process")).await.unwrap();
        assert_eq!(hits.len(), 8, "round {round}");
    }
}

/// Not a test by itself: writes until it is killed, naming every memory once it is acknowledged.
/// Four writers at once, so that commits are merged.
#[test]
fn child_writes_until_killed() {
    let Some(options) = file_of_child() else { return };
    let number = std::env::var(NUMBER).unwrap();
    block_on(async {
        let store = std::sync::Arc::new(SqliteStore::open(options).await.unwrap());
        let writers: Vec<_> = (0..4)
            .map(|writer| {
                let (store, number) = (store.clone(), number.clone());
                tokio::spawn(async move {
                    for n in 0.. {
                        let text = format!("memory {number} {writer} {n}");
                        let id = remember(&store, &text).await.unwrap();
                        println!("kept {id}");
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
    });
}

#[tokio::test]
async fn a_writer_that_is_killed_loses_nothing_that_it_acknowledged() {
    let place = Place::new();
    let mut acknowledged = Vec::new();
    for round in 0..10_u64 {
        let mut writer = child("child_writes_until_killed")
            .env(FILE, place.path())
            .env(NUMBER, round.to_string())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(writer.stdout.take().unwrap()).lines();
        let before = acknowledged.len();
        // Killed at the n-th acknowledgement: another number each round.
        while acknowledged.len() - before < 1 + usize::try_from(round * round * 3).unwrap() {
            let line = lines.next().expect("the child writes").unwrap();
            acknowledged.extend(line.strip_prefix("kept ").map(str::to_owned));
        }
        writer.kill().unwrap();
        writer.wait().unwrap();
        // What was printed before the kill took effect.
        for line in lines.map_while(Result::ok) {
            // The last line may be cut off.
            acknowledged
                .extend(line.strip_prefix("kept ").filter(|id| id.len() == 36).map(str::to_owned));
        }

        let store = place.open().await.unwrap();

        for id in &acknowledged {
            let read = store.memories().get(&Scope::local(), id.parse().unwrap()).await;
            assert!(read.is_ok(), "round {round}: {id}: {read:?}");
        }
        store.close().await;
    }
    let check: String =
        place.raw().query_row("pragma integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

#[tokio::test]
async fn two_handles_see_each_other_s_writes_at_once() {
    let place = Place::new();
    let (one, two) = (place.open().await.unwrap(), place.open().await.unwrap());
    for n in 0..50 {
        let (writer, reader) = if n % 2 == 0 { (&one, &two) } else { (&two, &one) };

        let id = remember(writer, &format!("number {n}")).await.unwrap();

        reader.memories().get(&Scope::local(), id).await.unwrap();
        let found = reader
            .memories()
            .recall(&Scope::local(), &Recall::text(format!("\"number {n}\"")))
            .await
            .unwrap();
        assert_eq!(found.len(), 1);
        writer.memories().delete(&Scope::local(), id).await.unwrap();
        assert!(reader.memories().get(&Scope::local(), id).await.is_err());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_never_wait_for_a_writer_and_a_writer_waits_its_turn() {
    let place = Place::new();
    let store = std::sync::Arc::new(place.open().await.unwrap());
    remember(&store, "before").await.unwrap();
    let other = place.raw();
    other.execute_batch("begin immediate; update meta set created_at = 1").unwrap();
    let waiting = tokio::spawn({
        let store = store.clone();
        async move { remember(&store, "after").await }
    });

    for _ in 0..100 {
        assert_eq!(texts(&store).await.unwrap(), ["before"]);
    }

    assert!(!waiting.is_finished());
    other.execute_batch("commit").unwrap();
    waiting.await.unwrap().unwrap();
    assert_eq!(texts(&store).await.unwrap(), ["after", "before"]);
}

#[tokio::test]
async fn equal_content_from_many_handles_at_once_is_one_memory() {
    let place = Place::new();
    let mut stores = Vec::new();
    for _ in 0..4 {
        stores.push(std::sync::Arc::new(place.open().await.unwrap()));
    }
    let writes: Vec<_> = (0..40)
        .map(|n| {
            let store = stores[n % 4].clone();
            tokio::spawn(async move {
                store
                    .memories()
                    .remember(&Scope::local(), NewMemory::new(format!("text {}", n / 8)))
                    .await
            })
        })
        .collect();

    let mut created = 0;
    for write in writes {
        created += usize::from(write.await.unwrap().unwrap().created);
    }

    assert_eq!(created, 5);
    assert_eq!(texts(&stores[0]).await.unwrap().len(), 5);
}

/// Not a test by itself: started where files cannot grow, it writes until that fails, has the
/// limit lifted, and goes on with the same handle.
#[test]
fn child_meets_an_io_error() {
    let Some(options) = file_of_child() else { return };
    block_on(async {
        let store = SqliteStore::open(options).await.unwrap();
        let mut kept = 0;
        let error = loop {
            match remember(&store, &format!("{kept} {}", "some text ".repeat(300))).await {
                Ok(_) => kept += 1,
                Err(error) => break error,
            }
            assert!(kept < 10_000, "the limit holds");
        };
        assert!(matches!(error, Error::Backend { .. }), "{error:?}");
        assert_eq!(texts(&store).await.unwrap().len(), kept, "reading goes on");
        let lifted = Command::new("prlimit")
            .args([format!("--pid={}", std::process::id()), "--fsize=unlimited".to_owned()])
            .status()
            .unwrap();
        assert!(lifted.success());
        remember(&store, "after the error").await.unwrap();
        assert_eq!(texts(&store).await.unwrap().len(), kept + 1);
        store.close().await;
    });
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_io_error_refuses_the_write_and_leaves_the_handle_usable() {
    let place = Place::new();
    place.open().await.unwrap().close().await;
    let binary = std::env::current_exe().unwrap();
    // Blocks of 1,024 bytes; without the trap the signal would end the process.
    let script = "trap '' XFSZ; ulimit -S -f 600; exec \"$0\" \"$@\"";
    let mut started = Command::new("bash")
        .args(["-c", script])
        .arg(binary)
        .args(["--exact", "child_meets_an_io_error", "--nocapture"])
        .env(FILE, place.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();

    let mut said = String::new();
    started.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let status = started.wait().unwrap();

    assert!(status.success(), "{said}");
    let store = place.open().await.unwrap();
    assert_eq!(texts(&store).await.unwrap()[0], "after the error");
}

#[tokio::test]
async fn a_private_store_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let private = |folder: &std::path::Path| {
        std::fs::read_dir(folder).unwrap().filter_map(Result::ok).count()
    };
    // Run in a child, so that its temporary folder can be another one.
    let ended = child("child_keeps_a_private_store")
        .env("TMPDIR", folder.path())
        .env(NUMBER, "1")
        .output()
        .unwrap();

    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(private(folder.path()), 0);
}

/// Not a test by itself: see above.
#[test]
fn child_keeps_a_private_store() {
    if std::env::var_os(NUMBER).is_none() {
        return;
    }
    let count = || std::fs::read_dir(std::env::temp_dir()).unwrap().count();
    block_on(async {
        let closed = SqliteStore::open(Options::new(Location::Memory)).await.unwrap();
        let dropped = SqliteStore::open(Options::new(Location::Memory)).await.unwrap();
        remember(&closed, "one").await.unwrap();
        remember(&dropped, "two").await.unwrap();
        assert_eq!(texts(&closed).await.unwrap(), ["one"], "private means private");
        assert_eq!(count(), 2);
        closed.close().await;
        assert_eq!(count(), 1);
        drop(dropped);
        assert_eq!(count(), 0);
    });
}
