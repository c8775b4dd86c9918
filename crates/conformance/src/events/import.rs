//! Cases for imports, and for months: made ahead, made for the past, crossed.

use std::time::Duration;

use chrono::{DateTime, Datelike as _, TimeDelta, TimeZone as _, Utc};
use mnemon_core::events::{Append, EventFilter, Import, Imported, NewEvent};
use mnemon_core::upkeep::Task;
use mnemon_core::{EventId, Page, limits};
use serde_json::json;
use uuid::Uuid;

use super::log::{assert_in_order, rest};
use crate::check::refused;
use crate::ctx::{Ctx, acme, ada};

fn import(stream: &str, times: &[DateTime<Utc>]) -> Import {
    let event = |(n, at): (u128, &DateTime<Utc>)| Imported {
        event: NewEvent { id: Some(EventId(Uuid::from_u128(n))), ..NewEvent::new("k", json!({})) },
        recorded_at: *at,
    };
    Import { stream: stream.into(), events: (1..).zip(times).map(event).collect() }
}

pub(crate) async fn an_import_keeps_its_times_and_makes_its_months(ctx: &Ctx) {
    let now = ctx.now().await;
    let times = [now - TimeDelta::days(800), now - TimeDelta::days(400), now - TimeDelta::days(40)];
    let mut given = import("old", &times);
    given.events[1].event.occurred_at = Some(times[0]);

    let done = ctx.events().import(&ada(), given).await.expect("is taken");

    assert_eq!(done.versions, [1, 2, 3]);
    let found = ctx.events().read(&acme(), "old", &Page::first(10)).await.expect("a page").items;
    assert_eq!(found.iter().map(|event| event.recorded_at).collect::<Vec<_>>(), times);
    assert_eq!(found[1].occurred_at, times[0]);
    assert_eq!(found[2].occurred_at, times[2]);
    let late = Append {
        stream: "old".into(),
        events: vec![NewEvent::new("k", json!({}))],
        expected_version: Some(3),
    };
    assert_eq!(ctx.events().append(&ada(), late, None).await.expect("taken").versions, [4]);
    let past = EventFilter { to: Some(now - TimeDelta::days(100)), ..EventFilter::default() };
    assert_eq!(ctx.events().count(&acme(), &past).await.expect("a count"), 2);
    let (all, _) = rest(ctx.store().as_ref(), &acme(), &EventFilter::default(), None, 2).await;
    assert_in_order(&all);
    assert_eq!(all.len(), 4, "readers of the log get them when they were imported");
}

pub(crate) async fn an_import_again_is_the_first_one(ctx: &Ctx) {
    let now = ctx.now().await;
    let times: Vec<_> = (0..5).map(|n| now - TimeDelta::days(300 - n)).collect();
    let first = ctx.events().import(&ada(), import("s", &times[..3])).await.expect("is taken");

    let again = ctx.events().import(&ada(), import("s", &times)).await.expect("goes on");

    assert_eq!(first.versions, [1, 2, 3]);
    assert_eq!(again.versions, [1, 2, 3, 4, 5]);
    assert_eq!(ctx.rows("events").await, 5);
}

pub(crate) async fn times_that_go_back_are_refused(ctx: &Ctx) {
    let now = ctx.now().await;
    let ago = |days| now - TimeDelta::days(days);
    ctx.events().import(&ada(), import("s", &[ago(30)])).await.expect("is taken");
    let fresh = |times: &[DateTime<Utc>]| {
        let mut import = import("s", times);
        for (n, imported) in (50_u128..).zip(&mut import.events) {
            imported.event.id = Some(EventId(Uuid::from_u128(n)));
        }
        import
    };

    let events = ctx.events();
    let back = events.import(&ada(), fresh(&[ago(10), ago(11)])).await;
    refused(back, "events[1].recorded_at");
    let before = events.import(&ada(), fresh(&[ago(31), ago(10)])).await;
    assert!(refused(before, "events[0].recorded_at").contains("newest event"));
    let ahead = events.import(&ada(), fresh(&[ago(10), now + TimeDelta::hours(1)])).await;
    refused(ahead, "events[1].recorded_at");
    let ancient = events.import(&ada(), fresh(&[now - limits::IMPORT_AGE * 2])).await;
    refused(ancient, "events[0].recorded_at");
    let system = events.import(&ada(), import("mnemon.system", &[now])).await;
    refused(system, "stream");
    let many = import("t", &vec![ago(1); limits::IMPORT_BATCH + 1]);
    refused(events.import(&ada(), many).await, "events");
    assert_eq!(ctx.rows("events").await, 1);
    assert_eq!(events.import(&ada(), fresh(&[ago(30)])).await.expect("as old").versions, [2]);
}

pub(crate) async fn a_month_ends_between_two_events(ctx: &Ctx) {
    let now = ctx.now().await;
    let first = Utc.with_ymd_and_hms(now.year() - 1, 3, 1, 0, 0, 0).single().expect("a date");
    let micro = TimeDelta::microseconds(1);
    let times = [first - micro, first, first + micro];

    ctx.events().import(&acme(), import("s", &times)).await.expect("is taken");

    let found = ctx.events().read(&acme(), "s", &Page::first(10)).await.expect("a page").items;
    assert_eq!(found.iter().map(|event| event.recorded_at).collect::<Vec<_>>(), times);
    let march = EventFilter { from: Some(first), ..EventFilter::default() };
    assert_eq!(ctx.events().count(&acme(), &march).await.expect("a count"), 2);
}

pub(crate) async fn the_store_s_clock_moves_into_months_made_ahead(ctx: &Ctx) {
    let write = async || {
        let note = ctx.events().note(&acme(), "a.b", json!({}), Duration::ZERO).await;
        note.expect("a partition is there").expect("is written")
    };
    for expected in 1..=6 {
        // Twenty days a time: some moves cross a month, all of them stay within what was made.
        assert_eq!(write().await, expected);
        ctx.move_clock(TimeDelta::days(20)).await;
        let lease = ctx.upkeep().claim(Task::EventPartitions, "x", true).await.expect("answered");
        let lease = lease.expect("nobody holds it");
        while ctx.upkeep().batch(&lease).await.expect("is done").more {}
        ctx.upkeep().finish(&lease, None).await.expect("is given back");
    }
    // Further than upkeep ever looked: the writer makes its month itself.
    ctx.move_clock(TimeDelta::days(400)).await;
    assert_eq!(write().await, 7);
    let (all, _) = rest(ctx.store().as_ref(), &acme(), &EventFilter::default(), None, 2).await;
    assert_in_order(&all);
    assert_eq!(all.len(), 7);
}
