//! Cases for what is done with runs: moved, listed, counted, tried again, linked to jobs, deleted.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use mnemon_core::workflows::{RunFilter, RunStatus, SaveRun, Turn, WorkflowStats, execution};
use mnemon_core::{Page, limits};
use serde_json::json;

use crate::check::{Dice, fails_as, refused};
use crate::ctx::{Ctx, acme, ada};

async fn start(ctx: &Ctx, id: &str, status: RunStatus) {
    let run = SaveRun { status, ..SaveRun::new(id, "build") };
    ctx.workflows().save(&acme(), run, None).await.expect("is new");
}

async fn names(ctx: &Ctx, filter: &RunFilter, size: u32) -> Vec<String> {
    let (mut page, mut all) = (Page::first(size), Vec::new());
    loop {
        let piece = ctx.workflows().list(&acme(), filter, &page).await.expect("a page");
        all.extend(piece.items.into_iter().map(|run| run.id));
        match piece.next {
            Some(next) => page.cursor = Some(next),
            None => return all,
        }
    }
}

pub(crate) async fn counters_timings_and_errors_come_back(ctx: &Ctx) {
    let run = SaveRun {
        status: RunStatus::Failed,
        counters: BTreeMap::from([("items".into(), -3), ("\u{1f600}".into(), i64::MAX)]),
        timings_ms: BTreeMap::from([("build".into(), 12_000)]),
        error: Some("tests failed".into()),
        definition: Some("lint".into()),
        definition_version: Some(4),
        ..SaveRun::new("r", "build")
    };
    ctx.workflows().save(&ada().session("s"), run.clone(), None).await.expect("is new");

    let found = ctx.workflows().load(&acme(), "r").await.expect("is there");

    assert_eq!((&found.counters, &found.timings_ms), (&run.counters, &run.timings_ms));
    assert_eq!((&found.error, &found.definition), (&run.error, &run.definition));
    assert_eq!((found.definition_version, found.executions), (Some(4), 1));
    assert_eq!(found.session.as_deref(), Some("s"));
    assert_eq!(found.completed_at, Some(found.updated_at));
    assert_eq!(found.to_save(), SaveRun { expected_version: 1, ..run });
}

pub(crate) async fn a_status_moves_whatever_the_version(ctx: &Ctx) {
    let workflows = ctx.workflows();
    start(ctx, "r", RunStatus::Running).await;
    let saved = workflows.load(&acme(), "r").await.expect("is there");
    ctx.move_clock(TimeDelta::seconds(1)).await;

    let paused = workflows.update_state(&acme(), "r", RunStatus::Paused, None, None).await;
    assert_eq!(paused.expect("is legal"), 2);
    let illegal = workflows.update_state(&acme(), "r", RunStatus::Completed, None, None).await;
    refused(illegal, "run.status");
    let error = Some("gave up");
    let failed = workflows.update_state(&acme(), "r", RunStatus::Failed, error, None).await;

    assert_eq!(failed.expect("is legal"), 3);
    let found = workflows.load(&acme(), "r").await.expect("is there");
    assert_eq!((found.status, found.error.as_deref()), (RunStatus::Failed, error));
    assert_eq!(found.state, saved.state, "the rest stays");
    assert!(found.updated_at > saved.updated_at);
    assert_eq!(found.completed_at, Some(found.updated_at));
    let stale = SaveRun { expected_version: 1, ..SaveRun::new("r", "build") };
    fails_as(workflows.save(&acme(), stale, None).await, "conflict");
    let again = workflows.update_state(&acme(), "r", RunStatus::Running, None, None).await;
    assert_eq!(again.expect("is tried again"), 4);
    let found = workflows.load(&acme(), "r").await.expect("is there");
    assert_eq!((found.completed_at, found.error), (None, None));
    let nobody = workflows.update_state(&acme(), "x", RunStatus::Running, None, None).await;
    fails_as(nobody, "not_found");
}

pub(crate) async fn every_transition_is_as_the_table_says(ctx: &Ctx) {
    let workflows = ctx.workflows();
    for from in RunStatus::ALL {
        for to in RunStatus::ALL {
            for how in ["save", "move"] {
                let id = format!("{how}-{}-{}", from.as_str(), to.as_str());
                start(ctx, &id, from).await;
                let save = SaveRun {
                    status: to,
                    expected_version: 1,
                    ..SaveRun::new(id.as_str(), "build")
                };

                let outcome = match how {
                    "save" => workflows.save(&acme(), save, None).await,
                    _ => workflows.update_state(&acme(), &id, to, None, None).await,
                };

                if from.may_become(to) {
                    assert_eq!(outcome.expect(&id), 2);
                } else {
                    refused(outcome, "run.status");
                    let found = workflows.load(&acme(), &id).await.expect("is there");
                    assert_eq!((found.status, found.version), (from, 1), "{id}");
                }
            }
        }
    }
}

pub(crate) async fn every_try_is_an_execution(ctx: &Ctx) {
    let workflows = ctx.workflows();
    let run = SaveRun {
        definition: Some("lint".into()),
        definition_version: Some(2),
        ..SaveRun::new("r", "build")
    };
    workflows.save(&acme(), run, None).await.expect("is new");
    let page = Page::default();
    let none = workflows.executions(&acme(), "r", &page).await.expect("a page");
    assert_eq!(none.items, [], "it has not begun");
    for status in [
        RunStatus::Running,
        RunStatus::Paused,
        RunStatus::Running,
        RunStatus::Failed,
        RunStatus::Running,
        RunStatus::Completed,
    ] {
        ctx.move_clock(TimeDelta::seconds(10)).await;
        workflows.update_state(&acme(), "r", status, None, None).await.expect("is legal");
    }
    start(ctx, "passed", RunStatus::Completed).await;

    let tries = workflows.executions(&acme(), "r", &page).await.expect("a page").items;
    let passed = workflows.executions(&acme(), "passed", &page).await.expect("a page").items;
    let history = workflows.history(&acme(), "lint", &page).await.expect("a page").items;
    let stats = workflows.run_stats(&acme(), "r").await.expect("is there");

    assert_eq!(tries.iter().map(|one| one.execution).collect::<Vec<_>>(), [2, 1]);
    let how = |at: usize| (tries[at].status, tries[at].duration().expect("ended").as_secs());
    assert_eq!(how(0).0, RunStatus::Completed);
    assert_eq!(how(1).0, RunStatus::Failed);
    assert!((10..20).contains(&how(0).1) && (30..40).contains(&how(1).1), "{tries:?}");
    assert_eq!(tries[0].definition_version, Some(2));
    assert_eq!((passed.len(), passed[0].status), (1, RunStatus::Completed));
    assert_eq!(passed[0].finished_at, Some(passed[0].started_at));
    assert_eq!(history, tries);
    assert_eq!((stats.executions, stats.failures, stats.saves), (2, 1, 7));
    assert!((60_000..80_000).contains(&stats.duration_ms), "{stats:?}");
    fails_as(workflows.executions(&acme(), "x", &page).await, "not_found");
    fails_as(workflows.run_stats(&acme(), "x").await, "not_found");
}

pub(crate) async fn executions_and_histories_are_paged(ctx: &Ctx) {
    let workflows = ctx.workflows();
    for id in ["a", "b"] {
        let run = SaveRun {
            status: RunStatus::Running,
            definition: Some("d:1".into()),
            ..SaveRun::new(id, "build")
        };
        workflows.save(&acme(), run, None).await.expect("is new");
        for status in [RunStatus::Failed, RunStatus::Running, RunStatus::Failed] {
            ctx.move_clock(TimeDelta::seconds(1)).await;
            workflows.update_state(&acme(), id, status, None, None).await.expect("is legal");
        }
    }
    let mut found = Vec::new();
    let mut page = Page::first(1);
    loop {
        let piece = workflows.history(&acme(), "d:1", &page).await.expect("a page");
        found.extend(piece.items.into_iter().map(|one| (one.run, one.execution)));
        match piece.next {
            Some(next) => page.cursor = Some(next),
            None => break,
        }
    }
    let expected: Vec<(String, u32)> =
        [("b", 2), ("b", 1), ("a", 2), ("a", 1)].map(|(run, n)| (run.to_owned(), n)).into();
    assert_eq!(found, expected);

    let first = workflows.executions(&acme(), "a", &Page::first(1)).await.expect("a page");
    let rest = Page { limit: 5, cursor: first.next };
    let rest = workflows.executions(&acme(), "a", &rest).await.expect("a page");
    assert_eq!((rest.items[0].execution, rest.next), (1, None));
    let foreign = Page { cursor: "workflow_runs:1:a".parse().ok(), ..Page::default() };
    refused(workflows.history(&acme(), "d", &foreign).await, "page.cursor");
}

pub(crate) async fn runs_are_listed_newest_first_by_what_they_are(ctx: &Ctx) {
    let workflows = ctx.workflows();
    for (id, kind, repo, status) in [
        ("a:1", "build", Some("x"), RunStatus::Running),
        ("b", "build", Some("y"), RunStatus::Completed),
        ("c", "test", None, RunStatus::Running),
        ("d", "test", Some("x"), RunStatus::Failed),
    ] {
        let run = SaveRun {
            status,
            repo: repo.map(str::to_owned),
            definition: (kind == "test").then(|| "t".to_owned()),
            state: json!("not in a list"),
            ..SaveRun::new(id, kind)
        };
        workflows.save(&acme(), run, None).await.expect("is new");
        ctx.move_clock(TimeDelta::seconds(5)).await;
    }
    let all = RunFilter::default();
    for size in 1..=5 {
        assert_eq!(names(ctx, &all, size).await, ["d", "c", "b", "a:1"]);
    }
    assert_eq!(names(ctx, &RunFilter::status(RunStatus::Running), 1).await, ["c", "a:1"]);
    let kind = RunFilter { kind: Some("build".into()), ..all.clone() };
    assert_eq!(names(ctx, &kind, 9).await, ["b", "a:1"]);
    let repo = RunFilter { repo: Some("x".into()), ..all.clone() };
    assert_eq!(names(ctx, &repo, 1).await, ["d", "a:1"]);
    let definition = RunFilter { definition: Some("t".into()), ..all.clone() };
    assert_eq!(names(ctx, &definition, 9).await, ["d", "c"]);
    let at = workflows.load(&acme(), "b").await.expect("is there").started_at;
    let from = RunFilter { after: Some(at), ..all.clone() };
    assert_eq!(names(ctx, &from, 9).await, ["d", "c", "b"], "inclusive");
    let until = RunFilter { before: Some(at), ..all.clone() };
    assert_eq!(names(ctx, &until, 9).await, ["b", "a:1"], "inclusive");

    let stats = workflows.stats(&acme(), &all).await.expect("answered");
    assert_eq!(stats.total, 4);
    let count = |status: &str| stats.by_status.get(status).copied();
    assert_eq!((count("running"), count("failed"), count("paused")), (Some(2), Some(1), None));
    assert!(stats.average_duration_ms.is_some_and(|average| average.abs() < f64::EPSILON));
    assert!(stats.first_started < stats.last_started);
    let none = workflows.stats(&acme(), &RunFilter::status(RunStatus::Paused)).await;
    assert_eq!(none.expect("answered"), WorkflowStats::default());
}

pub(crate) async fn a_job_belongs_to_one_run(ctx: &Ctx) {
    let workflows = ctx.workflows();
    start(ctx, "r", RunStatus::Running).await;
    start(ctx, "s", RunStatus::Running).await;
    for job in ["j2", "j1", "j:3"] {
        workflows.link_job(&acme(), "r", job).await.expect("is linked");
    }

    workflows.link_job(&acme(), "r", "j1").await.expect("again is a no-op");

    fails_as(workflows.link_job(&acme(), "s", "j1").await, "already_exists");
    fails_as(workflows.link_job(&acme(), "x", "j9").await, "not_found");
    assert_eq!(workflows.run_of_job(&acme(), "j1").await.expect("is linked"), "r");
    fails_as(workflows.run_of_job(&acme(), "j9").await, "not_found");
    let first = workflows.jobs(&acme(), "r", &Page::first(2)).await.expect("a page");
    let rest = Page { limit: 2, cursor: first.next };
    let rest = workflows.jobs(&acme(), "r", &rest).await.expect("a page");
    let jobs: Vec<&str> =
        first.items.iter().chain(&rest.items).map(|job| job.job.as_str()).collect();
    assert_eq!((jobs, rest.next), (vec!["j1", "j2", "j:3"], None));
    assert_eq!(workflows.run_stats(&acme(), "r").await.expect("is there").jobs, 3);
    fails_as(workflows.jobs(&acme(), "x", &Page::default()).await, "not_found");
}

pub(crate) async fn a_run_is_deleted_with_what_belongs_to_it(ctx: &Ctx) {
    let workflows = ctx.workflows();
    for id in ["r", "s"] {
        start(ctx, id, RunStatus::Running).await;
        workflows.link_job(&acme(), id, &format!("job of {id}")).await.expect("is linked");
    }

    workflows.delete(&acme(), "r").await.expect("is there");

    fails_as(workflows.delete(&acme(), "r").await, "not_found");
    fails_as(workflows.load(&acme(), "r").await, "not_found");
    fails_as(workflows.run_of_job(&acme(), "job of r").await, "not_found");
    for table in ["workflow_runs", "workflow_executions", "workflow_jobs"] {
        assert_eq!(ctx.rows(table).await, 1, "{table}");
    }
    workflows.link_job(&acme(), "s", "job of r").await.expect("is free again");
    start(ctx, "r", RunStatus::Initializing).await;
    assert_eq!(workflows.load(&acme(), "r").await.expect("a new one").version, 1);
}

pub(crate) async fn a_run_over_its_limits_is_refused(ctx: &Ctx) {
    let workflows = ctx.workflows();
    let run = || SaveRun::new("r", "k");
    let many = (0..=limits::RUN_COUNTERS).map(|n| (n.to_string(), 1)).collect();
    let counters = SaveRun { counters: many, ..run() };
    refused(workflows.save(&acme(), counters, None).await, "run.counters");
    let nul = SaveRun { timings_ms: BTreeMap::from([("\0".into(), 1)]), ..run() };
    refused(workflows.save(&acme(), nul, None).await, "run.timings_ms");
    let beyond = SaveRun { timings_ms: BTreeMap::from([("t".into(), u64::MAX)]), ..run() };
    refused(workflows.save(&acme(), beyond, None).await, "run.timings_ms");
    let long = SaveRun { error: Some("e".repeat(limits::ERROR_BYTES + 1)), ..run() };
    refused(workflows.save(&acme(), long, None).await, "run.error");
    let version = SaveRun { definition_version: Some(1), ..run() };
    refused(workflows.save(&acme(), version, None).await, "run.definition_version");
    let zero = SaveRun { definition: Some("d".into()), definition_version: Some(0), ..run() };
    refused(workflows.save(&acme(), zero, None).await, "run.definition_version");
    let page = Page::default();
    let blank = RunFilter { repo: Some(" ".into()), ..RunFilter::default() };
    refused(workflows.list(&acme(), &blank, &page).await, "filter.repo");
    refused(workflows.stats(&acme(), &blank).await, "filter.repo");
    let all = RunFilter::default();
    refused(workflows.list(&acme(), &all, &Page::first(501)).await, "page.limit");
    for cursor in ["events:1", "workflow_runs:x:a", "workflow_runs:9223372036854775807:a"] {
        let foreign = Page { cursor: cursor.parse().ok(), ..Page::default() };
        refused(workflows.list(&acme(), &all, &foreign).await, "page.cursor");
    }
    refused(workflows.delete(&acme(), " ").await, "run.id");
    refused(workflows.link_job(&acme(), "r", "").await, "job");
    refused(workflows.run_of_job(&acme(), "\0").await, "job");
    refused(workflows.executions(&acme(), "", &page).await, "id");
    let error = "e".repeat(limits::ERROR_BYTES + 1);
    let moved = workflows.update_state(&acme(), "r", RunStatus::Failed, Some(&error), None).await;
    refused(moved, "run.error");
    assert_eq!(ctx.rows("workflow_runs").await, 0);
}

/// Random saves and moves against the transition table and a version in memory.
pub(crate) async fn random_moves_agree_with_the_model(ctx: &Ctx) {
    let (mut dice, workflows) = (Dice::seeded(8), ctx.workflows());
    let mut model: BTreeMap<String, (i64, RunStatus, u32)> = BTreeMap::new();
    for turn in 0..300 {
        let id = format!("r{}", dice.below(6));
        let status = *dice.pick(&RunStatus::ALL);
        let current = model.get(&id).copied();
        let found = if dice.below(8) == 0 {
            let gone = workflows.delete(&acme(), &id).await;
            assert_eq!(gone.is_ok(), model.remove(&id).is_some(), "turn {turn}");
            continue;
        } else if dice.below(2) == 0 {
            let moved = workflows.update_state(&acme(), &id, status, None, None).await;
            (moved, current.map(|(version, ..)| version))
        } else {
            let expected_version =
                current.map_or(0, |(version, ..)| version) - i64::from(dice.below(5) == 0);
            let expected_version = expected_version.max(0);
            let run = SaveRun { status, expected_version, ..SaveRun::new(id.as_str(), "k") };
            let fits = current.map_or(0, |(version, ..)| version) == expected_version;
            (workflows.save(&acme(), run, None).await, fits.then_some(expected_version))
        };
        let legal = current.is_none_or(|(_, from, _)| from.may_become(status));
        match found {
            (Ok(version), Some(before)) if legal => {
                assert_eq!(version, before + 1, "turn {turn}");
                let tries = current.map_or(0, |(.., tries)| tries);
                let turned = execution(current.map(|(_, from, _)| from), status);
                let more = u32::from(matches!(turned, Turn::Opens | Turn::Passes));
                model.insert(id, (version, status, tries + more));
            }
            (Err(_), None) => {}
            (Err(_), Some(_)) if !legal => {}
            (outcome, expected) => panic!("turn {turn}: {outcome:?}, expected {expected:?}"),
        }
    }
    for (id, (version, status, tries)) in &model {
        let found = workflows.load(&acme(), id).await.expect("is there");
        assert_eq!((found.version, found.status, found.executions), (*version, *status, *tries));
        let page = Page::first(limits::PAGE_MAX);
        let all = workflows.executions(&acme(), id, &page).await.expect("a page").items;
        assert_eq!(all.len(), *tries as usize);
        let open = all.iter().filter(|one| one.finished_at.is_none()).count();
        let under_way = matches!(status, RunStatus::Running | RunStatus::Paused);
        assert_eq!(open, usize::from(under_way), "{id}: {all:?}");
    }
}
