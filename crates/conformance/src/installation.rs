//! Cases for a store as a whole: health, doctor, closing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use mnemon_core::Page;
use mnemon_core::consumers::part_key;
use mnemon_core::events::{Append, EventFilter, Mark, NewEvent, SYSTEM_STREAM};
use mnemon_core::memories::{Language, MemoryFilter, Namespace, NewMemory, Recall};
use mnemon_core::store::Severity;
use mnemon_core::upkeep::Task;

use crate::check::{everything, fails_as, keep, model};
use crate::ctx::{Ctx, acme, ada};

pub(crate) async fn health_tells_how_the_database_answers(ctx: &Ctx) {
    let health = ctx.store().health().await.expect("a fresh database answers");

    assert_eq!(health.backend, ctx.store().backend());
    assert!(health.schema_version >= 1);
    assert!(health.server_version.starts_with(|c: char| c.is_ascii_digit()), "{health:?}");
    assert_eq!(health.breaker, "closed");
    assert_eq!(health.waiting, 0);
    assert!(health.connections >= health.idle);
    assert!(health.now <= ctx.now().await, "the store's clock goes on");
}

pub(crate) async fn doctor_finds_nothing_wrong_with_a_fresh_database(ctx: &Ctx) {
    let findings = ctx.store().doctor().await.expect("a fresh database answers");

    let checks: BTreeSet<&str> = findings.iter().map(|f| f.check.as_str()).collect();
    assert_eq!(checks.len(), findings.len(), "one finding a check: {findings:?}");
    for wanted in ["version", "schema", "model"] {
        assert!(checks.contains(wanted), "{wanted} is looked at: {checks:?}");
    }
    for finding in &findings {
        assert_ne!(finding.severity, Severity::Error, "{finding:?}");
        assert!(!finding.message.trim().is_empty());
        assert_eq!(
            finding.severity == Severity::Ok,
            finding.fix.is_none(),
            "what is not well has a fix: {finding:?}"
        );
    }
}

pub(crate) async fn doctor_sees_a_group_that_nobody_works_for(ctx: &Ctx) {
    let append = || Append {
        stream: "jobs".into(),
        events: vec![NewEvent::new("a.b", serde_json::json!({}))],
        expected_version: None,
    };
    let finding = async || {
        let findings = ctx.store().doctor().await.expect("answers");
        findings.into_iter().find(|finding| finding.check == "consumers").expect("is looked at")
    };
    ctx.events().append(&acme(), append(), None).await.expect("is taken");
    let (store, minute) = (ctx.store(), Duration::from_mins(1));
    let consumers = store.consumers();
    consumers.join(&acme(), "billing", "worker-1", minute).await.expect("joins");
    let key = part_key("billing", 0);
    let lease = store.locks().acquire(&acme(), &key, "worker-1", minute).await.expect("is free");
    let read = ctx.events().read_all(&acme(), &EventFilter::default(), None, 10).await;
    let place = read.expect("is read").next;
    let guard = lease.guard();
    consumers.advance(&acme(), "billing", 0, &place, &guard).await.expect("holds it");
    assert_eq!(finding().await.severity, Severity::Ok);

    consumers.leave(&acme(), "billing", "worker-1").await.expect("leaves");
    ctx.move_clock(TimeDelta::minutes(10)).await;
    assert_eq!(finding().await.severity, Severity::Ok, "nothing waits for it");
    ctx.events().append(&acme(), append(), None).await.expect("is taken");

    let away = finding().await;
    assert_eq!(away.severity, Severity::Warning, "{away:?}");
    assert!(away.message.contains("group billing"), "{away:?}");
}

pub(crate) async fn no_message_shows_a_secret(ctx: &Ctx) {
    let health = ctx.store().health().await.expect("a fresh database answers");
    let findings = ctx.store().doctor().await.expect("a fresh database answers");
    let said = format!("{health:?} {findings:?}");

    if let Some(secret) = ctx.secret() {
        assert!(!said.contains(&secret), "{said}");
    }
    assert!(!said.contains("password="), "{said}");
}

pub(crate) async fn after_close_every_call_is_refused(ctx: &Ctx) {
    let store = ctx.another().await;
    let id = keep(store.memories(), &ada(), "one").await;
    let lease = store.upkeep().claim(Task::TextCounts, "x", true).await;
    let lease = lease.expect("is answered").expect("nobody holds it");

    store.close().await;
    store.close().await;

    let (memories, events, upkeep) = (store.memories(), store.events(), store.upkeep());
    let page = Page::default();
    fails_as(memories.remember(&ada(), NewMemory::new("two")).await, "closed");
    fails_as(memories.remember_many(&ada(), vec![NewMemory::new("two")]).await, "closed");
    fails_as(memories.get(&ada(), id).await, "closed");
    fails_as(memories.by_key(&ada(), &Namespace::default(), "k").await, "closed");
    fails_as(memories.delete(&ada(), id).await, "closed");
    fails_as(memories.list(&ada(), &MemoryFilter::default(), &page).await, "closed");
    fails_as(memories.recall(&ada(), &Recall::text("one")).await, "closed");
    fails_as(memories.count(&ada()).await, "closed");
    fails_as(memories.registered_model().await, "closed");
    fails_as(memories.register_model(&model(2)).await, "closed");
    fails_as(memories.wording().await, "closed");
    fails_as(memories.register_language(Language::German).await, "closed");
    fails_as(memories.change_language(Language::German).await, "closed");
    fails_as(events.note(&ada(), "x", serde_json::json!({}), Duration::ZERO).await, "closed");
    fails_as(events.read(&ada(), SYSTEM_STREAM, &page).await, "closed");
    let all = EventFilter::default();
    fails_as(events.read_all(&ada(), &all, None, 1).await, "closed");
    fails_as(events.list(&ada(), &all, &page).await, "closed");
    fails_as(events.count(&ada(), &all).await, "closed");
    fails_as(events.aggregate(&ada(), "s").await, "closed");
    fails_as(events.append_many(&ada(), vec![]).await, "closed");
    fails_as(events.moved(&ada(), Mark::default(), Duration::ZERO).await, "closed");
    fails_as(events.horizon().await, "closed");
    fails_as(events.restored().await, "closed");
    fails_as(upkeep.claim(Task::TextCounts, "x", true).await, "closed");
    fails_as(upkeep.batch(&lease).await, "closed");
    fails_as(upkeep.finish(&lease, None).await, "closed");
    fails_as(upkeep.status().await, "closed");
    fails_as(store.health().await, "closed");
    fails_as(store.doctor().await, "closed");
    ctx.memories().get(&ada(), id).await.expect("another handle stays open");
}

pub(crate) async fn closing_refuses_new_calls_while_running_ones_drain(ctx: &Ctx) {
    let store = ctx.another().await;
    let mut running = Vec::new();
    for n in 0..8 {
        let store = Arc::clone(&store);
        running.push(tokio::spawn(async move {
            let batch = (0..200).map(|m| NewMemory::new(format!("batch {n} text {m}"))).collect();
            store.memories().remember_many(&ada(), batch).await
        }));
    }
    tokio::task::yield_now().await;
    let closing = tokio::spawn({
        let store = Arc::clone(&store);
        async move { store.close().await }
    });

    // Open calls may still be answered before the close begins; then never again.
    while let Ok(count) = store.memories().count(&ada()).await {
        assert!(count % 200 == 0, "a batch is whole or not there");
    }
    fails_as(store.memories().count(&ada()).await, "closed");
    let mut written = 0;
    for task in running {
        match task.await.expect("no panic") {
            Ok(done) => written += done.len(),
            Err(error) => assert_eq!(error.code(), "closed", "{error:?}"),
        }
    }
    closing.await.expect("no panic");

    let found = everything(ctx.memories(), &ada(), &MemoryFilter::default(), 500).await;
    assert_eq!(found.len(), written, "what was answered is there, and nothing else");
}

pub(crate) async fn an_error_leaves_the_store_usable(ctx: &Ctx) {
    for n in 0..30 {
        let bad = NewMemory { key: Some("k".into()), ..NewMemory::new(format!("text {n}")) };
        let outcome = ctx.memories().remember(&ada(), bad).await;
        assert_eq!(outcome.is_ok(), n == 0);
        fails_as(ctx.memories().remember(&ada(), NewMemory::new("")).await, "invalid");
    }

    assert_eq!(ctx.memories().count(&ada()).await.expect("a count"), 1);
}

pub(crate) async fn an_abandoned_call_leaves_the_store_usable(ctx: &Ctx) {
    for n in 0..60_u64 {
        let store = ctx.store();
        let call = tokio::spawn(async move {
            let batch = (0..20).map(|m| NewMemory::new(format!("call {n} text {m}"))).collect();
            store.memories().remember_many(&ada(), batch).await
        });
        for _ in 0..n % 7 {
            tokio::task::yield_now().await;
        }
        call.abort();
        let _ = call.await;
    }

    // Whole batches only, and the handle goes on.
    let found = ctx.memories().count(&ada()).await.expect("a count");
    assert_eq!(found % 20, 0, "an abandoned batch is whole or not there");
    for n in 0..30 {
        keep(ctx.memories(), &ada(), &format!("after {n}")).await;
    }
}
