//! Cases with a store that fails after N calls: the wrapper is proven, and what resumes resumes.

use std::sync::Arc;

use mnemon_core::claims::AuditQuery;
use mnemon_core::memories::NewMemory;
use mnemon_core::turns::Key;
use mnemon_core::{Error, RequestId, Result, Store};

use crate::check::fails_as;
use crate::ctx::{Ctx, ada};
use crate::failing::{FailingStore, Fault, When};

fn failing(ctx: &Ctx, after: u64, times: u64, when: When) -> Arc<FailingStore> {
    Arc::new(FailingStore::new(ctx.store(), Fault { after, times, when }))
}

pub(crate) async fn a_refused_call_writes_nothing_and_the_next_works(ctx: &Ctx) {
    let store = failing(ctx, 1, 2, When::Refused);
    let write = |text: &'static str| {
        let store = Arc::clone(&store);
        async move { store.memories().remember(&ada(), NewMemory::new(text)).await }
    };

    write("one").await.expect("the first works");
    let error = fails_as(write("two").await, "unavailable");
    fails_as(store.health().await, "unavailable");
    assert_eq!(ctx.memories().count(&ada()).await.expect("a count"), 1);
    write("two").await.expect("works again");

    assert!(error.is_retryable());
    assert_eq!(store.calls(), 4);
    assert_eq!(ctx.memories().count(&ada()).await.expect("a count"), 2);
}

pub(crate) async fn a_lost_answer_is_found_again(ctx: &Ctx) {
    let store = failing(ctx, 0, 1, When::AnswerLost);
    let memory = NewMemory { request_id: RequestId::parse("r").ok(), ..NewMemory::new("one") };

    let lost = store.memories().remember(&ada(), memory.clone()).await;
    let again = store.memories().remember(&ada(), memory).await.expect("works again");

    fails_as(lost, "unavailable");
    assert!(!again.created, "the lost call had written it");
    assert_eq!(ctx.memories().count(&ada()).await.expect("a count"), 1);
}

/// Writes batches one after the other, each until it is answered: what every importer does.
async fn import(store: &dyn Store, batches: &[Vec<NewMemory>]) -> Result<u64> {
    let mut created = 0;
    for batch in batches {
        loop {
            match store.memories().remember_many(&ada(), batch.clone()).await {
                Ok(done) => break created += done.iter().filter(|d| d.created).count() as u64,
                Err(Error::Unavailable { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(created)
}

pub(crate) async fn an_import_resumes_wherever_it_fails(ctx: &Ctx) {
    let mut expected = 0;
    for after in 0..4 {
        for when in [When::Refused, When::AnswerLost] {
            let batches: Vec<Vec<NewMemory>> = (0..4)
                .map(|batch| {
                    let text = |n| NewMemory::new(format!("{after} {when:?} {batch} {n}"));
                    (0..10).map(text).collect()
                })
                .collect();

            let store = failing(ctx, after, 2, when);
            import(store.as_ref(), &batches).await.expect("resumes");

            expected += 40;
            let count = ctx.memories().count(&ada()).await.expect("a count");
            assert_eq!(count, expected, "each text once: {when:?} after {after}");
        }
    }
}

pub(crate) async fn every_facet_of_a_failing_store_fails(ctx: &Ctx) {
    let store = failing(ctx, 0, u64::MAX, When::Refused);
    let page = mnemon_core::Page::default();

    fails_as(store.memories().count(&ada()).await, "unavailable");
    fails_as(store.events().read(&ada(), "x", &page).await, "unavailable");
    fails_as(store.upkeep().status().await, "unavailable");
    fails_as(store.locks().list(&ada(), &page).await, "unavailable");
    fails_as(store.turns().list(&ada(), &Key::from("x"), &page).await, "unavailable");
    fails_as(
        store.claims().query_audit(&ada(), &AuditQuery::default(), &page).await,
        "unavailable",
    );
    fails_as(store.workflows().load(&ada(), "x").await, "unavailable");
    let thread = mnemon_core::checkpoints::Thread::new("x");
    fails_as(store.checkpoints().get(&ada(), &thread, None).await, "unavailable");
    let moment = std::time::Duration::from_secs(1);
    fails_as(store.dead_letters().take(&ada(), "x", 1, moment).await, "unavailable");
    let id = mnemon_core::RequestId::parse("x").expect("a name");
    fails_as(store.steps().receipt(&ada(), &id).await, "unavailable");
    fails_as(store.doctor().await, "unavailable");
    assert_eq!(store.calls(), 11);
    assert_eq!(store.backend(), ctx.store().backend());
}
