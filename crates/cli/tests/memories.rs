//! Everything about memories on the command line, word for word.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::House;
use mnemon::{Mnemon, Namespace, NewMemory, Scope};
use serde_json::json;

/// A house with three memories; their ids, which its output does not show.
fn house_of_three() -> (House, Vec<String>) {
    let house = House::new();
    let url = format!("sqlite://{}", house.path("agent.db").display());
    let plans = Namespace::parse("work/plans").unwrap();
    let new = NewMemory::new;
    let memories = vec![
        NewMemory {
            metadata: json!({ "priority": 10 }),
            tags: vec!["launch".into()],
            ..new("The launch is on 3 May")
        },
        NewMemory { namespace: plans, ..new("The rehearsal is a week before") },
        NewMemory { metadata: json!({ "priority": 9 }), ..new("Cake is ordered") },
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ids = runtime.block_on(async {
        let db = Mnemon::builder(url).background_upkeep(false).open().await.unwrap();
        let scope = Scope::tenant("local");
        let done = db.memories().remember_many(&scope, memories).await.unwrap();
        db.close().await;
        done.iter().map(|done| done.id.to_string()).collect()
    });
    (house, ids)
}

/// The same, connected.
fn lived_in() -> (House, Vec<String>) {
    let (house, ids) = house_of_three();
    run(&house, &["memories", "link", &ids[0], &ids[1], "--type", "causal"]).exits(0);
    run(&house, &["memories", "link", &ids[1], &ids[2], "--weight", "0.5"]).exits(0);
    (house, ids)
}

fn run(house: &House, args: &[&str]) -> common::Said {
    house.run(&[args, &["--db", "sqlite://agent.db"]].concat())
}

#[test]
fn what_is_found_says_why() {
    let (house, ids) = lived_in();
    run(&house, &["memories", "review", &ids[0], "--rating", "good"]).exits(0);
    run(&house, &["recall", "nothing", "-q"]);

    insta::assert_snapshot!("recall_spread", run(&house, &["recall", "launch", "--spread", "2"]));
    let tested = run(&house, &["recall", "--where", "priority>9", "-q", "launch cake"]).exits(0);
    assert!(tested.stdout.contains("launch") && !tested.stdout.contains("Cake"), "{tested}");
    insta::assert_snapshot!("error_where", run(&house, &["recall", "--where", "priority", "x"]));
    let refused = run(&house, &["recall", "--spread", "9", "x"]);
    insta::assert_snapshot!("error_spread", refused);
}

#[test]
fn a_memory_is_changed_reviewed_and_due() {
    let (house, ids) = lived_in();

    let content = ["memories", "update", &ids[0], "--content", "The launch is on 4 May"];
    let changed = run(&house, &content).exits(0);
    assert!(changed.stdout.starts_with("The launch is on 4 May\n"), "{changed}");
    insta::assert_snapshot!("error_update", run(&house, &["memories", "update", &ids[0]]));
    let cleared = run(&house, &["memories", "update", &ids[0], "--clear", "tags"]).exits(0);
    assert!(!cleared.stdout.contains("tags"), "{cleared}");
    let review = ["memories", "review", &ids[0], "--rating", "3"];
    insta::assert_snapshot!("review", run(&house, &review));
    insta::assert_snapshot!("reviews", run(&house, &["memories", "reviews", &ids[0]]));
    insta::assert_snapshot!("due_none", run(&house, &["memories", "due"]));
    let due = ["memories", "due", "--before", "2099-01-01T00:00:00Z"];
    insta::assert_snapshot!("due", run(&house, &due));
    let rating = ["memories", "review", &ids[0], "--rating", "5"];
    insta::assert_snapshot!("error_rating", run(&house, &rating));
}

#[test]
fn connections_and_domains_are_read_by_people() {
    let (house, ids) = lived_in();

    insta::assert_snapshot!("edges", run(&house, &["memories", "edges", &ids[1]]));
    let near = ["memories", "neighbors", &ids[0], "--depth", "2"];
    insta::assert_snapshot!("neighbors", run(&house, &near));
    insta::assert_snapshot!("unlink", run(&house, &["memories", "unlink", &ids[0], &ids[1]]));
    insta::assert_snapshot!("error_link", run(&house, &["memories", "link", &ids[0], &ids[0]]));
    let domains = |args: &[&str]| run(&house, &[&["memories", "domains"], args].concat());
    insta::assert_snapshot!("domain_set", domains(&["set", "office", "--label", "The office"]));
    insta::assert_snapshot!("domain_from_tag", domains(&["from-tag", "launches", "launch"]));
    insta::assert_snapshot!("domains", domains(&["list"]));
    insta::assert_snapshot!("domain_delete", domains(&["delete", "office"]));
    insta::assert_snapshot!("error_domain", domains(&["get", "office"]));
    insta::assert_snapshot!("namespaces", run(&house, &["memories", "namespaces"]));
    insta::assert_snapshot!("stats", run(&house, &["memories", "stats"]));
    insta::assert_snapshot!("sweep", run(&house, &["memories", "sweep"]));
}

#[test]
fn all_of_it_speaks_json() {
    let (house, ids) = lived_in();
    let json = |args: &[&str]| run(&house, &[&["--json"], args].concat()).exits(0).json();

    let hits = json(&["recall", "launch", "--spread", "1"]);
    assert_eq!(hits["hits"][1]["via_edge"]["type"], "causal");
    assert_eq!(json(&["memories", "neighbors", &ids[0]])["neighbors"][0]["hops"], 1);
    let state = json(&["memories", "review", &ids[0], "--rating", "good"]);
    assert_eq!(state["reps"], 1);
    let due = json(&["memories", "due", "--before", "2099-01-01T00:00:00Z"]);
    assert_eq!(due["items"][0]["scheduling"]["reps"], 1);
    assert_eq!(json(&["memories", "stats"])["edges"], 2);
    let update = json(&["memories", "update", &ids[0], "--source", "mail"]);
    assert_eq!(update["source"], "mail");
    let domain = json(&["memories", "domains", "from-tag", "d", "launch"]);
    assert_eq!(domain["memory_count"], 1);
}

#[test]
fn a_language_is_settled_once_and_changed_by_a_command() {
    let (house, _) = house_of_three();
    let german = [("MNEMON_MEMORIES_LANGUAGE", "german")];
    let with = |args: &[&str]| {
        house.run_with(&[args, &["--db", "sqlite://agent.db"]].concat(), &german, "")
    };

    assert_eq!(run(&house, &["memories", "language"]).exits(0).stdout, "english\n");
    let refused = with(&["recall", "launch"]);
    insta::assert_snapshot!("error_language", refused);
    insta::assert_snapshot!("language", with(&["memories", "language", "german"]));
    assert_eq!(run(&house, &["memories", "language"]).exits(0).stdout, "german\n");
    let json = run(&house, &["--json", "memories", "language", "simple"]).exits(0).json();
    assert_eq!(json, json!({ "language": "simple", "memories": 3 }));
    let unknown = run(&house, &["memories", "language", "klingon"]);
    assert!(unknown.stderr.contains("[possible values: arabic, danish"), "{unknown}");
}
