//! Cases for appends to many streams in one commit.

use std::sync::Arc;

use mnemon_core::events::{Append, Appended, EventFilter, NewEvent};
use mnemon_core::{EventId, limits};
use serde_json::json;
use uuid::Uuid;

use super::log::{assert_in_order, rest};
use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme, ada};

fn id(n: u128) -> EventId {
    EventId(Uuid::from_u128(n))
}

fn append(stream: &str, ids: &[Option<EventId>]) -> Append {
    let event =
        |id: &Option<EventId>| NewEvent { id: *id, ..NewEvent::new("k", json!({ "a": 1 })) };
    Append {
        stream: stream.into(),
        events: ids.iter().map(event).collect(),
        expected_version: None,
    }
}

fn versions(done: &mnemon_core::Result<Appended>) -> &[i64] {
    &done.as_ref().expect("is taken").versions
}

pub(crate) async fn appends_to_many_streams_are_decided_each_alone(ctx: &Ctx) {
    let events = ctx.events();
    let plain = vec![append("b", &[None, None]), append("a", &[None]), append("b", &[None])];
    let done = events.append_many(&ada(), plain).await.expect("taken");
    assert_eq!(done.iter().map(versions).collect::<Vec<_>>(), [&[1, 2][..], &[1], &[3]]);
    assert_eq!(done[2].as_ref().expect("taken").stream_version, 3);
    let known = vec![append("a", &[Some(id(7))])];
    events.append_many(&ada(), known).await.expect("taken");

    let stale = Append { expected_version: Some(1), ..append("a", &[None]) };
    let right = Append { expected_version: Some(2), ..append("a", &[None]) };
    let mixed = vec![
        append("mnemon.system", &[None]),
        stale,
        right,
        append("c", &[Some(id(7))]),
        append("a", &[Some(id(7)), None]),
        append("c", &[]),
        append("b", &[None]),
    ];
    let mut done = events.append_many(&ada(), mixed).await.expect("answered").into_iter();
    let mut next = || done.next().expect("one outcome each");

    refused(next(), "stream");
    fails_as(next(), "conflict");
    assert_eq!(versions(&next()), [3]);
    fails_as(next(), "already_exists");
    assert_eq!(versions(&next()), [2, 4]);
    refused(next(), "events");
    assert_eq!(versions(&next()), [4]);
    assert_eq!(events.append_many(&ada(), vec![]).await.expect("nothing is done").len(), 0);
    let (all, _) = rest(ctx.store().as_ref(), &ada(), &EventFilter::default(), None, 3).await;
    assert_in_order(&all);
    assert_eq!(all.len(), 8);
}

pub(crate) async fn gathered_appends_are_gapless_under_sixteen_writers(ctx: &Ctx) {
    let stores = [ctx.store(), ctx.another().await];
    let writers: Vec<_> = (0..16_usize)
        .map(|n| {
            let store = Arc::clone(&stores[n % 2]);
            tokio::spawn(async move {
                for round in 0..6_usize {
                    // In an order of its own: what is locked is sorted by the store.
                    let mut appends: Vec<Append> = (0..5)
                        .map(|at| {
                            let own = (n * 100 + round * 10 + at + 1) as u128;
                            let given = (at + n).is_multiple_of(2).then(|| id(own));
                            append(&format!("s{}", (at + n) % 5), &[given, None])
                        })
                        .collect();
                    appends.rotate_left(n % 5);
                    let done = store.events().append_many(&acme(), appends).await.expect("taken");
                    assert!(done.iter().all(Result::is_ok));
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.expect("no panic");
    }

    let (all, _) = rest(stores[0].as_ref(), &acme(), &EventFilter::default(), None, 500).await;
    assert_eq!(all.len(), 16 * 6 * 5 * 2);
    assert_in_order(&all);
    stores[1].close().await;
}

pub(crate) async fn a_repeated_id_within_a_batch_is_the_first_event(ctx: &Ctx) {
    let twice = vec![append("a", &[Some(id(1))]), append("a", &[Some(id(1)), None])];
    let done = ctx.events().append_many(&acme(), twice).await.expect("taken");
    assert_eq!(done.iter().map(versions).collect::<Vec<_>>(), [&[1][..], &[1, 2]]);

    let elsewhere = vec![append("x", &[Some(id(2))]), append("y", &[Some(id(2))])];
    let mut done = ctx.events().append_many(&acme(), elsewhere).await.expect("answered");

    fails_as(done.remove(1), "already_exists");
    assert_eq!(versions(&done[0]), [1]);
    assert_eq!(ctx.rows("events").await, 3);
}

pub(crate) async fn what_is_too_much_together_is_refused(ctx: &Ctx) {
    let appends = vec![append("s", &[None]); limits::APPENDS + 1];
    refused(ctx.events().append_many(&acme(), appends).await, "appends");
    let half = append("s", &vec![None; limits::EVENT_BATCH / 2 + 1]);
    refused(ctx.events().append_many(&acme(), vec![half.clone(), half]).await, "appends");
    let over = append("s", &vec![None; limits::EVENT_BATCH + 1]);
    refused(ctx.events().append(&acme(), over, None).await, "events");
    let large = NewEvent::new("k", json!("x".repeat(limits::EVENT_BYTES - 2)));
    let count = limits::APPEND_BYTES / limits::EVENT_BYTES + 1;
    let heavy = Append { events: vec![large; count], ..append("s", &[]) };
    let reason = refused(ctx.events().append(&acme(), heavy, None).await, "events");
    assert!(reason.contains(&limits::APPEND_BYTES.to_string()), "{reason}");
    assert_eq!(ctx.rows("events").await, 0);
}

pub(crate) async fn fifty_thousand_events_come_in_one_commit(ctx: &Ctx) {
    let count = limits::EVENT_COPY;
    let odd = ["plain", "tab\there", "line\nbreak", "back\\slash", "\\N", "\u{1}\u{1f600}"];
    let events: Vec<NewEvent> = (0..count)
        .map(|n| NewEvent {
            correlation_id: n.is_multiple_of(3).then(|| odd[n % odd.len()].to_owned()),
            ..NewEvent::new("k", json!({ "n": n, "text": odd[n % odd.len()] }))
        })
        .collect();
    let first = NewEvent { id: Some(id(5)), ..NewEvent::new("k", json!({})) };
    let one = Append { events: vec![first.clone()], ..append("s", &[]) };
    ctx.events().append(&ada(), one, None).await.expect("is taken");

    let mut given = events.clone();
    given[1] = first;
    let whole = Append { events: given, ..append("s", &[]) };
    let done = ctx.events().append(&ada(), whole, None).await.expect("is taken");

    let end = i64::try_from(count).expect("a small number");
    assert_eq!((done.versions[0], done.versions[1], done.stream_version), (2, 1, end));
    let (all, _) =
        rest(ctx.store().as_ref(), &ada(), &EventFilter::default(), None, limits::READ_MAX).await;
    assert_in_order(&all);
    assert_eq!(all.len(), count);
    for n in [0, 2, 3, 4, 5, 6, 7, count - 1] {
        let found = &all[if n == 0 { 1 } else { n }];
        assert_eq!(
            (&found.data, &found.correlation_id),
            (&events[n].data, &events[n].correlation_id)
        );
        assert_eq!(found.user.as_deref(), Some("ada"));
    }
}
