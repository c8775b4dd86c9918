//! Values that cannot be: rows that nobody can have written, times outside the calendar.

mod common;

use mnemon_core::memories::{Memories, MemoryFilter, NewMemory, Recall};
use mnemon_core::{Error, Page, Scope};
use sqlx::Executor as _;

#[tokio::test(flavor = "multi_thread")]
async fn a_corrupt_row_is_named_by_every_read() {
    for server in common::servers() {
        for damage in [
            "alter table mnemon.memories drop constraint memories_visibility_check; \
             update mnemon.memories set visibility = 'public'",
            "update mnemon.memories set namespace = 'a//b'",
            "update mnemon.memories set domain_scores = '{\"a\": \"high\"}'",
        ] {
            let fx = common::fixture(&server).await;
            let (store, scope) = (&fx.store, Scope::local());
            let id = store.remember(&scope, NewMemory::new("a quokka")).await.unwrap().id;
            let mut conn = common::connect(fx.db.url()).await;
            conn.execute(damage).await.unwrap();

            let page = Page::default();
            let errors = [
                store.get(&scope, id).await.err(),
                store.list(&scope, &MemoryFilter::default(), &page).await.err(),
                store.recall(&scope, &Recall::text("quokka")).await.err(),
            ];

            for error in errors {
                let error = error.expect("the row is corrupt");
                assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
                assert!(error.to_string().contains(&id.to_string()), "{error}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_byte_of_a_channel_is_corrupt_and_named() {
    use mnemon_core::checkpoints::{ChannelValue, Checkpoints, Put, Thread};
    for server in common::servers() {
        let fx = common::fixture(&server).await;
        let (store, scope, thread) = (&fx.store, Scope::local(), Thread::new("t"));
        let bytes: Vec<u8> = (0..100_000_u32).flat_map(|n| (n / 7).to_le_bytes()).collect();
        let value = ChannelValue { type_tag: "bytes".into(), bytes };
        let put = Put::new(thread.clone()).channel("big", value.clone());
        store.put(&scope, put, None).await.unwrap();
        let loaded = Checkpoints::get(store, &scope, &thread, None).await.unwrap();
        assert!(loaded.channels["big"] == value);
        let mut conn = common::connect(fx.db.url()).await;

        for damage in [
            "update mnemon.checkpoint_chunks set bytes = set_byte(bytes, 9, 255 - get_byte(bytes, 9))
             where hash = (select hash from mnemon.checkpoint_chunks where codec = 1 order by hash limit 1)",
            "update mnemon.checkpoint_chunks set bytes = substring(bytes from 33) where codec = 2",
            "update mnemon.checkpoint_chunks set codec = 9 where codec = 1",
            "delete from mnemon.checkpoint_chunks",
        ] {
            conn.execute(damage).await.unwrap();
            let error = Checkpoints::get(store, &scope, &thread, None).await.unwrap_err();
            let text = error.to_string();
            assert!(text.starts_with("channel big of thread t is corrupt"), "{text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_outside_the_calendar_is_refused_by_name() {
    for server in common::servers() {
        let fx = common::fixture(&server).await;
        let memory = NewMemory {
            valid_from: Some(chrono::DateTime::<chrono::Utc>::MIN_UTC),
            ..NewMemory::new("before writing")
        };

        let error = fx.store.remember(&Scope::local(), memory).await.unwrap_err();

        assert_eq!(error.to_string(), "valid_from: is before the year -4712");
        let memory = NewMemory {
            expires_at: Some(chrono::DateTime::<chrono::Utc>::MAX_UTC),
            ..NewMemory::new("for ever")
        };
        let done = fx.store.remember(&Scope::local(), memory).await.unwrap();
        assert!(fx.store.get(&Scope::local(), done.id).await.is_ok());
    }
}
