//! The facets that agents write and people read: what a step left behind, word for word.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::time::Duration;

use common::House;
use mnemon::checkpoints::{ChannelValue, Put, Thread};
use mnemon::claims::NewClaim;
use mnemon::dead_letters::Burial;
use mnemon::events::{Append, NewEvent};
use mnemon::turns::NewTurn;
use mnemon::workflows::{RunStatus, SaveRun};
use mnemon::{Mnemon, NewMemory, RequestId, Scope, Step, Write};
use serde_json::json;

const WHO: [&str; 8] =
    ["--db", "sqlite://agent.db", "--user", "ada", "--agent", "planner", "--session", "s1"];

fn scope() -> Scope {
    Scope::tenant("local").user("ada").agent("planner").session("s1")
}

fn step(number: i64) -> Step {
    let thread = Thread::new("trip");
    let event = NewEvent::new("plan.made", json!({ "stops": number }));
    let append = Append { stream: "plans".into(), events: vec![event], expected_version: None };
    Step::new(RequestId::parse(format!("step-{number}")).unwrap())
        .write(Write::Turn(Box::new(NewTurn::new("Where to?", "To Nepal, by train."))))
        .write(Write::Remember(Box::new(NewMemory::new(format!("Stop {number} is Nepal")))))
        .write(Write::Events(append))
        .write(Write::Checkpoint(Box::new(Put {
            superstep: Some(number),
            ..Put::new(thread).channel("plan", ChannelValue::json(&json!(["Nepal"]))).channel(
                "raw",
                ChannelValue { type_tag: "msgpack".into(), bytes: vec![0x81, 0xff] },
            )
        })))
        .write(Write::Assert(Box::new(NewClaim::new("ada", "destination", "Nepal"))))
        .write(Write::Bury(Box::new(Burial::new("mails", "m-1", json!({}), "mailbox full\nagain"))))
}

/// A house in which an agent has taken two steps and holds a key.
fn lived_in() -> House {
    let house = House::new();
    let url = format!("sqlite://{}", house.path("agent.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let db = Mnemon::builder(url).background_upkeep(false).open().await.unwrap();
        db.commit(&scope(), step(1)).await.unwrap();
        db.commit(&scope(), step(2)).await.unwrap();
        let hour = Duration::from_hours(1);
        db.locks().acquire(&scope(), "thread:trip", "worker-1", hour).await.unwrap();
        let run = SaveRun {
            status: RunStatus::Running,
            repo: Some("acme/site".into()),
            state: json!({ "done": 3 }),
            counters: [("items".to_owned(), 40)].into(),
            timings_ms: [("setup".to_owned(), 1_200)].into(),
            definition: Some("nightly".into()),
            ..SaveRun::new("job-1", "mapreduce")
        };
        db.workflows().save(&scope(), run, None).await.unwrap();
        db.workflows().link_job(&scope(), "job-1", "mapreduce-20260302").await.unwrap();
        db.close().await;
    });
    house
}

fn with_who<'a>(args: &[&'a str]) -> Vec<&'a str> {
    args.iter().copied().chain(WHO).collect()
}

#[test]
fn what_a_step_left_is_read_by_people() {
    let house = lived_in();

    for (name, args) in [
        ("receipt", &["receipt", "step-1"][..]),
        ("receipt_unknown", &["receipt", "step-3"]),
        ("turns", &["turns", "list"]),
        ("turns_context", &["turns", "context"]),
        ("thread", &["threads", "show", "trip"]),
        ("thread_history", &["threads", "history", "trip"]),
        ("events", &["events", "read", "plans", "-n", "1"]),
        ("locks", &["locks", "list"]),
        ("dead_letters", &["dead-letters", "list"]),
        ("dead_letters_elsewhere", &["dead-letters", "list", "letters"]),
        ("dead_letter", &["dead-letters", "show", "mails", "m-1"]),
        ("dead_letters_stats", &["dead-letters", "stats"]),
        ("dead_letters_retry", &["dead-letters", "retry", "mails", "--reviewed"]),
        ("dead_letters_prune_unsure", &["dead-letters", "prune", "--older-than", "30d"]),
        ("dead_letters_prune_dry", &["dead-letters", "prune", "--older-than", "0s", "--dry-run"]),
        ("dead_letters_prune_span", &["dead-letters", "prune", "--older-than", "soon"]),
        ("runs", &["workflows", "runs", "list"]),
        ("run", &["workflows", "runs", "show", "job-1"]),
        ("run_paused", &["workflows", "runs", "pause", "job-1"]),
        ("run_resumed", &["workflows", "runs", "resume", "job-1"]),
        ("run_cancel_unsure", &["workflows", "runs", "cancel", "job-1"]),
        ("run_cancelled", &["workflows", "runs", "cancel", "job-1", "--yes"]),
        ("run_over", &["workflows", "runs", "resume", "job-1"]),
        ("lock_release_unsure", &["locks", "release", "thread:trip"]),
        ("lock_released", &["locks", "release", "thread:trip", "--yes"]),
        ("lock_unknown", &["locks", "release", "thread:none", "--yes"]),
    ] {
        insta::assert_snapshot!(name, house.run(&with_who(args)));
    }
}

#[test]
fn a_thread_is_listed_forked_compared_pruned_and_deleted() {
    let house = lived_in();

    for (name, args) in [
        ("threads_list", &["threads", "list"][..]),
        ("threads_fork", &["threads", "fork", "trip", "1"]),
        ("threads_history", &["threads", "history", "trip"]),
        ("threads_version", &["threads", "show", "trip", "--at", "3"]),
        ("threads_diff", &["threads", "diff", "trip", "1", "2"]),
        ("threads_diff_none", &["threads", "diff", "trip", "1", "9"]),
        ("threads_prune_dry", &["threads", "prune", "trip", "--keep-latest", "1", "--dry-run"]),
        ("threads_prune", &["threads", "prune", "trip", "--keep-latest", "1"]),
        ("threads_prune_how", &["threads", "prune", "trip"]),
        ("threads_prune_nothing", &["threads", "prune", "trip", "--keep-latest", "0"]),
        ("threads_prune_old", &["threads", "prune", "trip", "--older-than", "30"]),
        ("threads_delete", &["threads", "delete", "trip"]),
        ("threads_delete_again", &["threads", "delete", "trip"]),
    ] {
        insta::assert_snapshot!(name, house.run(&with_who(args)));
    }
}

#[test]
fn a_contested_belief_shows_both_values() {
    let house = House::new();
    let belief = ["claims", "belief", "ada", "employer"];
    let say = |args: &[&str]| {
        let args: Vec<&str> =
            ["claims", "assert", "ada", "employer"].iter().chain(args).copied().collect();
        house.run(&with_who(&args))
    };

    insta::assert_snapshot!("belief_none", house.run(&with_who(&belief)));
    let first = ["Acme", "--valid-from", "2020", "--valid-until", "2023-05"];
    insta::assert_snapshot!("assert", say(&first));
    say(&["Globex", "--valid-from", "2023-05"]).exits(0);
    insta::assert_snapshot!("belief_now", house.run(&with_who(&belief)));
    let then = [&belief[..], &["--valid-at", "2021-06-01"]].concat();
    let then = house.run(&with_who(&then)).exits(0);
    assert!(then.stdout.contains("Acme") && !then.stdout.contains("Globex"), "{then}");
    insta::assert_snapshot!("assert_contested", say(&["Initech", "--valid-from", "2024-01-15"]));
    insta::assert_snapshot!("belief_contested", house.run(&with_who(&belief)));
}

/// What a command answers, with its ids.
fn as_it_is(house: &House, args: &[&str]) -> serde_json::Value {
    let output = house.command(args).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A line with a succession, a contest and a claim that was taken back.
#[test]
fn a_history_is_a_timeline() {
    let house = House::new();
    let say = |args: &[&str]| {
        let args: Vec<&str> =
            ["--json", "claims", "assert", "acme", "ceo"].iter().chain(args).copied().collect();
        as_it_is(&house, &with_who(&args))["id"].as_str().unwrap().to_owned()
    };
    say(&["Ada", "--valid-from", "2010", "--valid-until", "2016"]);
    say(&["Bob", "--valid-from", "2016", "--valid-until", "2020-06"]);
    say(&["Cat", "--valid-from", "2020-06"]);
    say(&["Dan", "--valid-from", "2022-01-15"]);
    let eve = say(&["Eve", "--valid-from", "2012", "--valid-until", "2014"]);
    house.run(&with_who(&["claims", "retract", &eve, "--because", "hearsay"])).exits(0);
    let history = ["claims", "history", "acme", "ceo", "--valid-at", "2024"];

    insta::assert_snapshot!("history", house.run(&with_who(&history)));
    insta::assert_snapshot!(
        "history_then",
        house.run(&with_who(&["claims", "history", "acme", "ceo", "--valid-at", "2018"]))
    );
    insta::assert_snapshot!("reconcile", house.run(&with_who(&["claims", "reconcile"])));
    insta::assert_snapshot!("history_reconciled", house.run(&with_who(&history)));
    insta::assert_snapshot!(
        "subject",
        house.run(&with_who(&["claims", "subject", "acme", "--valid-at", "2018"]))
    );
    insta::assert_snapshot!("verify", house.run(&with_who(&["claims", "verify"])));
    let audit = ["--json", "claims", "audit", "--kind", "Retracted"];
    let audit = house.run(&with_who(&audit)).exits(0).json();
    assert_eq!(audit["items"][0]["payload"]["reason"], "hearsay");
    let nothing = ["claims", "history", "acme", "ceo", "--as-of", "2001", "--valid-at", "2018"];
    insta::assert_snapshot!("history_nothing", house.run(&with_who(&nothing)));
    let rebuilt = house.run(&["doctor", "--rebuild"]).exits(0);
    assert!(rebuilt.stdout.contains("count now, as their ledgers say"), "{rebuilt}");
}

#[test]
fn people_decide_what_is_contested() {
    let house = House::new();
    house.file("mnemon.toml", "[claims]\noracle = \"human\"\n");
    let run = |args: &[&str]| house.run(&with_who(args));
    run(&["claims", "assert", "ada", "allergy", "peanuts"]).exits(0);
    run(&["claims", "assert", "ada", "allergy", "none"]).exits(0);

    insta::assert_snapshot!("pending", run(&["claims", "pending"]));
    let open = as_it_is(&house, &with_who(&["--json", "claims", "pending"]));
    let handle = open["items"][0]["handle_id"].as_str().unwrap().to_owned();
    let deny = ["claims", "adjudicate", &handle, "deny", "--because", "her doctor says so"];
    insta::assert_snapshot!("adjudicate", run(&deny));
    insta::assert_snapshot!("adjudicate_again", run(&deny));
    let belief = run(&["--json", "claims", "belief", "ada", "allergy"]).exits(0).json();
    assert_eq!(belief["primary"]["value"], "peanuts");
    let audit = run(&["claims", "audit", "--oldest"]).exits(0);
    assert!(audit.stdout.contains("contradicts 1"), "{audit}");
    assert!(audit.stdout.contains("Deny · her doctor"), "{audit}");
    insta::assert_snapshot!("pending_none", run(&["claims", "pending"]));
    insta::assert_snapshot!("escalate_nothing", run(&["claims", "escalate", "ada", "allergy"]));
}

#[test]
fn every_facet_speaks_json() {
    let house = lived_in();
    let json = |args: &[&str]| {
        let args: Vec<&str> = ["--json"].iter().chain(args).copied().collect();
        house.run(&with_who(&args)).exits(0).json()
    };

    let receipt = json(&["receipt", "step-2"]);
    assert_eq!(receipt["outcomes"][0], json!({ "write": "turn", "seq": 2, "created": true }));
    assert_eq!(json(&["turns", "list"])["items"][1]["seq"], 2);
    assert_eq!(json(&["turns", "context"])["recent_turns"][0]["user_message"], "Where to?");
    assert_eq!(json(&["threads", "show", "trip"])["channels"]["raw"]["bytes"], "81ff");
    assert_eq!(json(&["threads", "history", "trip"])["items"][0]["version"], 2);
    assert_eq!(json(&["threads", "list"])["items"][0]["thread"]["thread_id"], "trip");
    assert_eq!(json(&["threads", "diff", "trip", "1", "2"]), json!({}));
    assert_eq!(json(&["threads", "fork", "trip", "1"])["version"], 3);
    let dry = json(&["threads", "prune", "trip", "--keep-latest", "1", "--dry-run"]);
    assert_eq!(dry, json!({ "threads": 0, "checkpoints": 2, "writes": 0, "blobs": 0 }));
    assert_eq!(json(&["threads", "delete", "trip"])["checkpoints"], 3);
    assert_eq!(json(&["events", "read", "plans"])["items"][1]["data"]["stops"], 2);
    assert_eq!(json(&["locks", "list"])["items"][0]["fence"], 1);
    assert_eq!(json(&["dead-letters", "list", "mails"])["items"][0]["attempts"], 2);
    assert_eq!(json(&["dead-letters", "show", "mails", "m-1"])["attempts"][0]["attempt"], 2);
    assert_eq!(json(&["dead-letters", "stats"])["by_state"]["ready"], 1);
    assert_eq!(json(&["dead-letters", "retry"])["ready"], 0);
    let dry = json(&["dead-letters", "prune", "--older-than", "0s", "--dry-run"]);
    assert_eq!(dry, json!({ "items": 1, "dry_run": true }));
    assert_eq!(json(&["workflows", "runs", "list"])["items"][0]["id"], "job-1");
    assert_eq!(json(&["workflows", "runs", "show", "job-1"])["stats"]["jobs"], 1);
    assert_eq!(json(&["workflows", "runs", "pause", "job-1"])["version"], 2);
    let belief = json(&["claims", "belief", "ada", "destination"]);
    assert_eq!(belief["primary"]["value"], "Nepal");
    assert_eq!(belief["primary"]["currency_signal"]["corroboration_count"], 1);
}

#[test]
fn definitions_are_kept_version_by_version() {
    let house = House::new();
    house.file("lint.yml", "steps:\n  - shell: cargo clippy\n");
    house.file("lint2.json", "{\"steps\": []}");
    house.file("bad.json", "{");
    let save: Vec<&str> = "workflows definitions save lint".split(' ').collect();
    let said = |args: &[&str]| house.run(&with_who(args));
    let about = ["lint.yml", "--tag", "ci", "--author", "ada", "--label", "1.0"];

    insta::assert_snapshot!("definition_saved", said(&[&save[..], &about].concat()));
    insta::assert_snapshot!("definition_known", said(&[&save[..], &about].concat()));
    said(&[&save[..], &["lint2.json", "--tag", "ci"]].concat()).exits(0);
    insta::assert_snapshot!("definition_bad", said(&[&save[..], &["bad.json"]].concat()));
    said(&[&save[..], &["nowhere.yml"]].concat()).exits(1);
    let list = ["workflows", "definitions", "list", "--tag", "ci"];
    insta::assert_snapshot!("definitions", said(&list));
    let show = ["workflows", "definitions", "show", "lint", "--definition-version", "1"];
    insta::assert_snapshot!("definition", said(&show));
    let json = said(&["--json", "workflows", "definitions", "show", "lint"]).exits(0).json();
    assert_eq!((&json["version"], &json["format"]), (&json!(2), &json!("json")));
    let delete = ["workflows", "definitions", "delete", "lint"];
    insta::assert_snapshot!("definition_unsure", said(&delete));
    said(&[&delete[..], &["--yes"]].concat()).exits(0);
    said(&show).exits(3);
}

#[test]
fn a_list_goes_on_where_its_page_ended() {
    let house = lived_in();
    let page = house.run(&with_who(&["--json", "turns", "list", "-n", "1"])).exits(0).json();

    let cursor = page["next"].as_str().unwrap();
    let rest = ["--json", "turns", "list", "-n", "1", "--cursor", cursor];
    let rest = house.run(&with_who(&rest)).exits(0).json();

    assert_eq!(rest["items"][0]["seq"], 2);
    assert!(rest.get("next").is_none());
}

#[test]
fn what_another_user_wrote_is_not_found() {
    let house = lived_in();
    let bob = |args: &[&str]| {
        let who = ["--db", "sqlite://agent.db", "--user", "bob", "--session", "s1"];
        house.run(&[args, &who].concat())
    };

    bob(&["receipt", "step-1"]).exits(3);
    bob(&["threads", "show", "trip"]).exits(3);
    assert_eq!(bob(&["turns", "list"]).exits(0).stdout, "nothing here\n");
    assert_eq!(bob(&["events", "read", "plans"]).exits(0).stdout, "nothing here\n");
}

#[test]
fn input_that_cannot_be_accepted_exits_2_and_says_why() {
    let house = House::new();

    for (name, args) in [
        ("error_claim_value", &["claims", "assert", "a", "b", "{", "--json-value"][..]),
        ("error_claim_time", &["claims", "assert", "a", "b", "c", "--valid-from", "May"]),
        ("error_claim_as_of", &["claims", "belief", "a", "b", "--as-of", "May"]),
        ("error_thread_blank", &["threads", "show", " "]),
    ] {
        insta::assert_snapshot!(name, house.run(&with_who(args)));
    }
    let nobody = ["--db", "sqlite://agent.db", "turns", "list"];
    insta::assert_snapshot!("error_turns_scope", house.run(&nobody));
}
