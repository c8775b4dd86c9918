//! A step that touches every kind of head, and what it must leave behind.

#![allow(dead_code, reason = "each test file uses its part")]

use mnemon_core::checkpoints::{ChannelValue, ExpectedHead, Put, Thread};
use mnemon_core::claims::NewClaim;
use mnemon_core::dead_letters::Burial;
use mnemon_core::events::{Append, NewEvent};
use mnemon_core::memories::NewMemory;
use mnemon_core::steps::{Step, Write};
use mnemon_core::turns::NewTurn;
use mnemon_core::workflows::SaveRun;
use mnemon_core::{RequestId, Scope};
use serde_json::json;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

/// Tables of which [`full`] writes one row each.
pub(crate) const TABLES: [&str; 15] = [
    "receipts",
    "memories",
    "text_deltas",
    "events",
    "event_streams",
    "turns",
    "turn_sessions",
    "claims",
    "claim_ledger",
    "claim_current",
    "threads",
    "checkpoints",
    "checkpoint_chunks",
    "workflow_runs",
    "dead_letter_attempts",
];

pub(crate) fn scope(tenant: &str) -> Scope {
    Scope::tenant(tenant).user("ada").agent("planner").session("s").run("r")
}

pub(crate) fn id(text: &str) -> RequestId {
    RequestId::parse(text).expect("a name")
}

pub(crate) fn remember(text: &str) -> Write {
    let memory = NewMemory { allow_duplicate: true, ..NewMemory::new(text) };
    Write::Remember(Box::new(memory))
}

pub(crate) fn event(stream: &str) -> Write {
    let events = vec![NewEvent::new("a.b", json!({ "n": 1 }))];
    Write::Events(Append { stream: stream.into(), events, expected_version: None })
}

pub(crate) fn turn() -> Write {
    Write::Turn(Box::new(NewTurn::new("hi", "hello")))
}

pub(crate) fn checkpoint(thread: &str, expected_head: ExpectedHead) -> Write {
    let put = Put { expected_head, ..Put::new(Thread::new(thread)) };
    Write::Checkpoint(Box::new(put.channel("c", ChannelValue::json(&json!("state")))))
}

/// A write of every facet.
pub(crate) fn full(step: &str) -> Step {
    Step::new(id(step))
        .write(remember("what is known"))
        .write(event("stream"))
        .write(turn())
        .write(Write::Assert(Box::new(NewClaim::new("s", "p", "v"))))
        .write(checkpoint("t", ExpectedHead::Empty))
        .write(Write::Workflow(Box::new(SaveRun::new("r", "test"))))
        .write(Write::Bury(Box::new(Burial::new("q", "i", json!(1), "broke"))))
}

/// Asserts that a tenant has so many rows in each of [`TABLES`].
pub(crate) async fn assert_rows(conn: &mut PgConnection, tenant: &str, expected: i64) {
    for table in TABLES {
        // The table's name is one of ours.
        let count = format!("select count(*) from mnemon.{table} where tenant = $1");
        let found: i64 = sqlx::query(AssertSqlSafe(count))
            .bind(tenant)
            .fetch_one(&mut *conn)
            .await
            .expect("a count")
            .get(0);
        assert_eq!(found, expected, "{table} of {tenant}");
    }
}
