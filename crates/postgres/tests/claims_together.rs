//! Claims of many agents in one commit: whoever holds one agent's head holds nobody else up, and a
//! connection that dies at any message leaves every claim written once or its caller told.

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use std::sync::Arc;

use mnemon_core::claims::{Asserted, AuditQuery, Claims as _, NewClaim};
use mnemon_core::{Page, RequestId, Result, Scope, Store as _};
use mnemon_postgres::{Options, PostgresStore};
use mnemon_testkit::{Proxy, Trip, When};
use sqlx::{Connection as _, Executor as _};

const AGENTS: usize = 12;
/// More than are ever sent.
const NEVER: u64 = 1 << 60;

fn agent(number: usize) -> Scope {
    Scope::tenant("acme").agent(format!("agent {number}"))
}

fn said(value: &str) -> NewClaim {
    NewClaim::new("acme", "ceo", value)
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_one_agents_head_holds_nobody_else_up() {
    for server in common::servers() {
        let fixture = common::fixture(&server).await;
        let store = Arc::new(fixture.store);
        for number in 0..AGENTS {
            store.assert(&agent(number), said("ada"), None).await.unwrap();
        }
        let mut conn = common::connect(fixture.db.url()).await;
        let mut held = conn.begin().await.unwrap();
        held.execute("select from mnemon.claim_agents where agent_id = 'agent 0' for update")
            .await
            .unwrap();

        let mut writes: Vec<_> = (0..AGENTS)
            .map(|number| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { store.assert(&agent(number), said("ada"), None).await })
            })
            .collect();
        let waits = writes.remove(0);
        for write in writes {
            write.await.unwrap().unwrap();
        }
        assert!(!waits.is_finished(), "its head is held");
        held.rollback().await.unwrap();
        waits.await.unwrap().unwrap();

        for number in 0..AGENTS {
            let verdict = store.verify_audit(&agent(number)).await.unwrap();
            assert_eq!((verdict.entries, verdict.broken), (2, None), "{number}");
        }
        store.close().await;
    }
}

/// How many entries the agent's ledger has.
async fn entries(store: &PostgresStore, scope: &Scope) -> usize {
    let all = AuditQuery::oldest_first();
    let page = store.query_audit(scope, &all, &Page::default()).await.unwrap();
    assert!(store.verify_audit(scope).await.unwrap().broken.is_none());
    page.items.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_cut_at_any_message_leaves_a_claim_once_or_its_caller_told() {
    for server in common::servers() {
        let db = common::migrated(&server).await;
        let proxy = Proxy::to(&server.address());
        let mut options = Options::new(proxy.url(db.url()));
        options.pool.max_connections = 1;
        let messages = {
            let (store, scope) = (PostgresStore::open(&options).await.unwrap(), agent(0));
            store.assert(&scope, said("ada"), None).await.unwrap();
            let before = proxy.messages();
            // One that is named takes more.
            let request_id = Some(RequestId::parse("once").unwrap());
            store.assert(&scope, NewClaim { request_id, ..said("bob") }, None).await.unwrap();
            store.close().await;
            proxy.messages() - before
        };
        let (mut failed, mut found) = (0, 0);
        for n in 1..=messages {
            for when in [When::Before, When::After] {
                for named in [false, true] {
                    let scope = Scope::tenant("acme").agent(format!("{n} {when:?} {named}"));
                    let store = PostgresStore::open(&options).await.unwrap();
                    store.assert(&scope, said("ada"), None).await.unwrap();
                    let request = named.then(|| RequestId::parse("once").unwrap());
                    let claim = NewClaim { request_id: request, ..said("bob") };
                    proxy.cut_at(Trip::Message(n), when);

                    let done: Result<Asserted> = store.assert(&scope, claim.clone(), None).await;

                    proxy.cut_at(Trip::Message(NEVER), When::Before);
                    let there = entries(&store, &scope).await;
                    match &done {
                        Ok(_) => assert_eq!(there, 2, "{n} {when:?} {named}"),
                        Err(_) => assert!(!named && there <= 2, "{n} {when:?}: {done:?}"),
                    }
                    failed += usize::from(done.is_err());
                    found += usize::from(done.is_ok_and(|told| !told.created));
                    if named {
                        let again = store.assert(&scope, claim, None).await.unwrap();
                        assert!(!again.created, "{n} {when:?}");
                        assert_eq!(entries(&store, &scope).await, 2, "{n} {when:?}");
                    }
                    store.close().await;
                }
            }
        }
        assert!(failed > 0 && found > 0, "of {messages}: {failed} failed, {found} there");
    }
}
