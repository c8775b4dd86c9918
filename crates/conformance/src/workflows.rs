//! Cases for workflow runs: compare-and-set, legal transitions only.

pub(crate) mod definitions;
pub(crate) mod runs;

use std::sync::Arc;

use mnemon_core::workflows::{RunStatus, SaveRun};
use mnemon_core::{Error, limits};
use serde_json::json;

use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme, ada, bob};

async fn save(ctx: &Ctx, status: RunStatus, expected_version: i64) -> mnemon_core::Result<i64> {
    let run = SaveRun { status, expected_version, ..SaveRun::new("r", "build") };
    ctx.workflows().save(&acme(), run, None).await
}

pub(crate) async fn every_field_of_a_run_comes_back(ctx: &Ctx) {
    let run = SaveRun {
        repo: Some("a/b".into()),
        state: json!({ "text": "\u{1f600} ' \\ \"", "deep": [null, { "x": 1.5 }] }),
        metadata: json!({ "k": true }),
        ..SaveRun::new("r", "build")
    };
    let version = ctx.workflows().save(&ada().agent("a"), run.clone(), None).await.expect("saved");

    let found = ctx.workflows().load(&acme(), "r").await.expect("is there");

    assert_eq!((version, found.version), (1, 1));
    assert_eq!((found.kind.as_str(), found.repo), ("build", run.repo));
    assert_eq!((found.state, found.metadata), (run.state, run.metadata));
    assert_eq!(found.status, RunStatus::Initializing);
    assert_eq!((found.user.as_deref(), found.agent.as_deref()), (Some("ada"), Some("a")));
    assert_eq!(found.started_at, found.updated_at);
}

pub(crate) async fn only_legal_transitions_are_written(ctx: &Ctx) {
    assert_eq!(save(ctx, RunStatus::Initializing, 0).await.expect("is new"), 1);
    assert_eq!(save(ctx, RunStatus::Running, 1).await.expect("is legal"), 2);
    refused(save(ctx, RunStatus::Initializing, 2).await, "run.status");
    assert_eq!(save(ctx, RunStatus::Completed, 2).await.expect("is legal"), 3);
    refused(save(ctx, RunStatus::Running, 3).await, "run.status");
    assert_eq!(ctx.workflows().load(&acme(), "r").await.expect("is there").version, 3);
}

pub(crate) async fn a_stale_version_is_a_conflict_that_names_both(ctx: &Ctx) {
    save(ctx, RunStatus::Running, 0).await.expect("is new");
    save(ctx, RunStatus::Running, 1).await.expect("is legal");

    for expected in [0, 1, 7] {
        match save(ctx, RunStatus::Running, expected).await {
            Err(Error::Conflict { expected: Some(found), actual: Some(2), .. }) => {
                assert_eq!(found, expected);
            }
            other => panic!("expected a conflict, got {other:?}"),
        }
    }
    let unknown = SaveRun { expected_version: 1, ..SaveRun::new("other", "build") };
    fails_as(ctx.workflows().save(&acme(), unknown, None).await, "conflict");
}

pub(crate) async fn of_sixteen_saves_on_one_version_one_wins(ctx: &Ctx) {
    let stores = [ctx.store(), ctx.another().await];
    for round in 0..5 {
        let tries: Vec<_> = (0..16)
            .map(|n: usize| {
                let store = Arc::clone(&stores[n % 2]);
                let run = SaveRun {
                    status: RunStatus::Running,
                    expected_version: round,
                    ..SaveRun::new("r", "build")
                };
                tokio::spawn(async move { store.workflows().save(&acme(), run, None).await })
            })
            .collect();
        let mut won = 0;
        for outcome in tries {
            match outcome.await.expect("no panic") {
                Ok(version) => {
                    assert_eq!(version, round + 1);
                    won += 1;
                }
                Err(Error::Conflict { .. }) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        assert_eq!(won, 1, "round {round}");
    }
    stores[1].close().await;
}

pub(crate) async fn another_scopes_run_is_not_found(ctx: &Ctx) {
    let workflows = ctx.workflows();
    workflows.save(&ada(), SaveRun::new("r", "build"), None).await.expect("is new");

    fails_as(workflows.load(&bob(), "r").await, "not_found");
    let over = SaveRun { expected_version: 1, ..SaveRun::new("r", "build") };
    fails_as(workflows.save(&bob(), over, None).await, "not_found");
    fails_as(workflows.load(&ada().agent("a"), "r").await, "not_found");
    assert_eq!(workflows.load(&ada(), "r").await.expect("hers").version, 1);
}

pub(crate) async fn bad_input_is_refused(ctx: &Ctx) {
    let workflows = ctx.workflows();
    refused(workflows.save(&acme(), SaveRun::new(" ", "k"), None).await, "run.id");
    let nul = SaveRun { state: json!("a\0"), ..SaveRun::new("r", "k") };
    refused(workflows.save(&acme(), nul, None).await, "run.state");
    let huge = "x".repeat(limits::RUN_STATE_BYTES);
    let large = SaveRun { state: json!(huge), ..SaveRun::new("r", "k") };
    refused(workflows.save(&acme(), large, None).await, "run.state");
    let negative = SaveRun { expected_version: -1, ..SaveRun::new("r", "k") };
    refused(workflows.save(&acme(), negative, None).await, "run.expected_version");
    fails_as(workflows.load(&acme(), "r").await, "not_found");
    assert_eq!(ctx.rows("workflow_runs").await, 0);
}
