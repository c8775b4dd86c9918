//! Turns of one session from two processes at once.

#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{Place, block_on, child};
use mnemon_core::turns::{Key, NewTurn, Turn, Turns};
use mnemon_core::{Page, RequestId, Scope, Store as _};
use mnemon_sqlite::{Location, Options, SqliteStore};

const FILE: &str = "MNEMON_TEST_TURNS_FILE";
const NAME: &str = "MNEMON_TEST_TURNS_NAME";
const PROCESSES: [&str; 2] = ["ada", "bob"];
const WRITERS: usize = 8;
const TURNS: usize = 100;

fn session() -> Scope {
    Scope::tenant("acme").user("ada").session("trip")
}

/// Not a test by itself: eight writers of a hundred turns each; every third turn is sent twice, as
/// after a lost answer.
#[test]
fn child_says_eight_hundred_turns() {
    let Some(path) = std::env::var_os(FILE) else { return };
    let name = std::env::var(NAME).unwrap();
    block_on(async {
        let options = Options::new(Location::File(path.into()));
        let store = Arc::new(SqliteStore::open(options).await.unwrap());
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (store, name) = (Arc::clone(&store), name.clone());
                tokio::spawn(async move {
                    for n in 0..TURNS {
                        let text = format!("{name}-{writer} {n}");
                        let request_id = Some(RequestId::parse(&text).unwrap());
                        let turn = NewTurn { request_id, ..NewTurn::new(text, "ok") };
                        let first = store.append(&session(), turn.clone(), None).await.unwrap();
                        if n.is_multiple_of(3) {
                            let again = store.append(&session(), turn, None).await.unwrap();
                            assert_eq!((again.seq, again.created), (first.seq, false));
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.await.unwrap();
        }
        store.close().await;
    });
}

/// Every turn of the session, in order.
async fn all(store: &SqliteStore) -> Vec<Turn> {
    let (mut turns, mut page) = (Vec::new(), Page::first(500));
    loop {
        let found = Turns::list(store, &session(), &Key::default(), &page).await.unwrap();
        turns.extend(found.items);
        match found.next {
            Some(next) => page.cursor = Some(next),
            None => return turns,
        }
    }
}

#[tokio::test]
async fn two_processes_of_eight_writers_lose_no_turn_and_double_none() {
    let place = Place::new();
    place.open().await.unwrap().close().await;
    let children = PROCESSES.map(|name| {
        let mut command = child("child_says_eight_hundred_turns");
        command.env(FILE, place.path()).env(NAME, name);
        command.spawn().unwrap()
    });
    for child in children {
        let ended = child.wait_with_output().unwrap();
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    }

    let store = place.open().await.unwrap();
    let turns = all(&store).await;

    let places: Vec<i64> = turns.iter().map(|turn| turn.seq).collect();
    assert_eq!(places, (1..=1_600).collect::<Vec<_>>());
    let mut said: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for turn in &turns {
        let (writer, n) = turn.user_message.as_deref().unwrap().split_once(' ').unwrap();
        said.entry(writer).or_default().push(n.parse().unwrap());
    }
    assert_eq!(said.len(), PROCESSES.len() * WRITERS);
    for (writer, said) in said {
        assert_eq!(said, (0..TURNS).collect::<Vec<_>>(), "{writer}: each once, in its order");
    }
    store.close().await;
}
