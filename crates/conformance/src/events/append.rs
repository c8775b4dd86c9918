//! Cases for appending: gapless streams, ids that are remembered, versions that are expected.

use std::sync::Arc;

use mnemon_core::events::{Append, Appended, Event, NewEvent};
use mnemon_core::{Error, EventId, Page, Scope, limits};
use serde_json::{Value, json};
use uuid::Uuid;

use super::assert_gapless;
use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme, ada, bob};

fn id(n: u128) -> EventId {
    EventId(Uuid::from_u128(n))
}

fn append(stream: &str, ids: &[Option<EventId>]) -> Append {
    let event = |id: &Option<EventId>| NewEvent { id: *id, ..NewEvent::new("a.b", json!({})) };
    Append {
        stream: stream.into(),
        events: ids.iter().map(event).collect(),
        expected_version: None,
    }
}

async fn done(ctx: &Ctx, append: Append) -> Appended {
    ctx.events().append(&acme(), append, None).await.expect("an append is taken")
}

async fn stream(ctx: &Ctx, scope: &Scope, stream: &str) -> Vec<Event> {
    let page = Page::first(limits::PAGE_MAX);
    ctx.events().read(scope, stream, &page).await.expect("a page is read").items
}

pub(crate) async fn every_field_of_an_event_comes_back(ctx: &Ctx) {
    let event = NewEvent {
        id: Some(id(7)),
        correlation_id: Some("c".into()),
        occurred_at: Some(ctx.now().await),
        ..NewEvent::new("a.b", json!({ "text": "\u{1f600} ' \\ \"", "deep": [null, { "x": 1.5 }] }))
    };
    let given = Append { events: vec![event.clone()], ..append("s", &[]) };
    ctx.events().append(&ada().agent("a"), given, None).await.expect("is taken");
    done(ctx, Append { events: vec![NewEvent::new("c.d", Value::Null)], ..append("s", &[]) }).await;

    let found = stream(ctx, &acme(), "s").await;

    assert_gapless(&found);
    assert_eq!((found[0].id, found[0].kind.as_str()), (id(7), "a.b"));
    assert_eq!((&found[0].data, &found[0].correlation_id), (&event.data, &event.correlation_id));
    assert_eq!(Some(found[0].occurred_at), event.occurred_at);
    assert_eq!((found[0].user.as_deref(), found[0].agent.as_deref()), (Some("ada"), Some("a")));
    assert_eq!((&found[1].data, &found[1].user), (&Value::Null, &None));
    assert_eq!(found[1].occurred_at, found[1].recorded_at);
    assert_eq!(stream(ctx, &bob(), "s").await, [], "a user filters");
}

pub(crate) async fn appended_versions_are_gapless_under_sixteen_writers(ctx: &Ctx) {
    let stores = [ctx.store(), ctx.another().await];
    let writers: Vec<_> = (0..16)
        .map(|n: usize| {
            let store = Arc::clone(&stores[n % 2]);
            tokio::spawn(async move {
                let mut versions = Vec::new();
                for round in 0..3 {
                    let given = n.is_multiple_of(3).then(|| id((n * 10 + round + 1) as u128));
                    let append = append("s", &[None, given, None]);
                    let done = store.events().append(&acme(), append, None).await.expect("taken");
                    assert_eq!(done.versions.last(), Some(&done.stream_version));
                    versions.extend(done.versions);
                }
                versions
            })
        })
        .collect();
    let mut versions = Vec::new();
    for writer in writers {
        versions.extend(writer.await.expect("no panic"));
    }

    versions.sort_unstable();
    assert_eq!(versions, (1..=144).collect::<Vec<_>>());
    assert_gapless(&stream(ctx, &acme(), "s").await);
    stores[1].close().await;
}

pub(crate) async fn an_id_appended_again_is_the_first_event(ctx: &Ctx) {
    let first = done(ctx, append("s", &[Some(id(1)), Some(id(2))])).await;
    assert_eq!(first, Appended { versions: vec![1, 2], stream_version: 2 });

    let mixed = done(ctx, append("s", &[Some(id(3)), Some(id(1)), None])).await;
    let again = Append { expected_version: Some(0), ..append("s", &[Some(id(1)), Some(id(2))]) };

    assert_eq!(mixed, Appended { versions: vec![3, 1, 4], stream_version: 4 });
    assert_eq!(done(ctx, again).await, Appended { versions: vec![1, 2], stream_version: 4 });
    let elsewhere = ctx.events().append(&acme(), append("t", &[None, Some(id(1))]), None).await;
    fails_as(elsewhere, "already_exists");
    assert_eq!(stream(ctx, &acme(), "t").await, []);
    let theirs = Scope::tenant("globex");
    let own = ctx.events().append(&theirs, append("t", &[Some(id(1))]), None).await;
    assert_eq!(own.expect("ids are a tenant's").versions, [1]);
    assert_gapless(&stream(ctx, &acme(), "s").await);
}

pub(crate) async fn the_same_id_at_once_is_one_event(ctx: &Ctx) {
    let stores = [ctx.store(), ctx.another().await];
    for round in 0..4_u128 {
        let tries: Vec<_> = (0..16)
            .map(|n: usize| {
                let store = Arc::clone(&stores[n % 2]);
                let append = append("s", &[Some(id(round + 1))]);
                tokio::spawn(async move { store.events().append(&acme(), append, None).await })
            })
            .collect();
        for outcome in tries {
            let done = outcome.await.expect("no panic").expect("is taken or known");
            assert_eq!(u128::try_from(done.versions[0]).ok(), Some(round + 1));
        }
    }
    assert_eq!(ctx.rows("events").await, 4);
    stores[1].close().await;
}

pub(crate) async fn another_version_than_expected_is_a_conflict(ctx: &Ctx) {
    let expecting =
        |expected, given| Append { expected_version: Some(expected), ..append("s", &[given]) };
    assert_eq!(done(ctx, expecting(0, None)).await.stream_version, 1);
    assert_eq!(done(ctx, expecting(1, Some(id(1)))).await.stream_version, 2);

    for append in [expecting(0, None), expecting(1, None), expecting(7, Some(id(9)))] {
        let expected = append.expected_version;
        match ctx.events().append(&acme(), append, None).await {
            Err(Error::Conflict { expected: found, actual: Some(2), .. }) => {
                assert_eq!(found, expected);
            }
            other => panic!("expected a conflict, got {other:?}"),
        }
    }
    let absent = Append { expected_version: Some(1), ..append("new", &[None]) };
    fails_as(ctx.events().append(&acme(), absent, None).await, "conflict");
    assert_eq!(ctx.rows("events").await, 2);
}

pub(crate) async fn a_bad_append_is_refused(ctx: &Ctx) {
    let events = ctx.events();
    refused(events.append(&acme(), append("mnemon.system", &[None]), None).await, "stream");
    refused(events.append(&acme(), append(" ", &[None]), None).await, "stream");
    for name in ["s\0".to_owned(), "s".repeat(limits::STREAM_BYTES + 1)] {
        refused(events.append(&acme(), append(&name, &[None]), None).await, "stream");
    }
    refused(events.append(&acme(), append("s", &[]), None).await, "events");
    let twice = append("s", &[Some(id(1)), Some(id(1))]);
    refused(events.append(&acme(), twice, None).await, "events[1].id");
    let nul = Append { events: vec![NewEvent::new("k", json!("\0"))], ..append("s", &[]) };
    refused(events.append(&acme(), nul, None).await, "events[0].data");
    let text = json!("x".repeat(limits::EVENT_BYTES - 1));
    let over = Append { events: vec![NewEvent::new("k", text)], ..append("s", &[]) };
    refused(events.append(&acme(), over, None).await, "events[0].data");
    fails_as(events.append(&Scope::default(), append("s", &[None]), None).await, "scope_required");
    assert_eq!(ctx.rows("events").await, 0);
}
