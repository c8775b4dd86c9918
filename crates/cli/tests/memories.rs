//! Everything about memories on the command line, word for word.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::House;

/// A house with three connected memories; their ids.
fn lived_in() -> (House, Vec<String>) {
    let house = House::new();
    let mut ids = Vec::new();
    for (text, more) in [
        ("The launch is on 3 May", &["--metadata", r#"{"priority": 10}"#, "--tag", "launch"][..]),
        ("The rehearsal is a week before", &["--namespace", "work/plans"]),
        ("Cake is ordered", &["--metadata", r#"{"priority": 9}"#]),
    ] {
        let args = [&["--json", "remember", text], more].concat();
        let done = house.run(&args).exits(0).json();
        ids.push(done["id"].as_str().unwrap().to_owned());
    }
    house.run(&["memories", "link", &ids[0], &ids[1], "--type", "causal"]).exits(0);
    house.run(&["memories", "link", &ids[1], &ids[2], "--weight", "0.5"]).exits(0);
    (house, ids)
}

#[test]
fn what_is_found_says_why() {
    let (house, ids) = lived_in();
    house.run(&["memories", "review", &ids[0], "--rating", "good"]).exits(0);
    house.run(&["recall", "nothing", "-q"]);

    insta::assert_snapshot!("recall_spread", house.run(&["recall", "launch", "--spread", "2"]));
    let tested = house.run(&["recall", "--where", "priority>9", "-q", "launch cake"]).exits(0);
    assert!(tested.stdout.contains("launch") && !tested.stdout.contains("Cake"), "{tested}");
    insta::assert_snapshot!("error_where", house.run(&["recall", "--where", "priority", "x"]));
    let refused = house.run(&["recall", "--spread", "9", "x"]);
    insta::assert_snapshot!("error_spread", refused);
}

#[test]
fn a_memory_is_changed_reviewed_and_due() {
    let (house, ids) = lived_in();

    let content = ["memories", "update", &ids[0], "--content", "The launch is on 4 May"];
    insta::assert_snapshot!("update", house.run(&content));
    insta::assert_snapshot!("error_update", house.run(&["memories", "update", &ids[0]]));
    let cleared = house.run(&["memories", "update", &ids[0], "--clear", "tags"]).exits(0);
    assert!(!cleared.stdout.contains("tags"), "{cleared}");
    let review = ["memories", "review", &ids[0], "--rating", "3"];
    insta::assert_snapshot!("review", house.run(&review));
    insta::assert_snapshot!("reviews", house.run(&["memories", "reviews", &ids[0]]));
    insta::assert_snapshot!("due_none", house.run(&["memories", "due"]));
    let due = ["memories", "due", "--before", "2099-01-01T00:00:00Z"];
    insta::assert_snapshot!("due", house.run(&due));
    let rating = ["memories", "review", &ids[0], "--rating", "5"];
    insta::assert_snapshot!("error_rating", house.run(&rating));
}

#[test]
fn connections_and_domains_are_read_by_people() {
    let (house, ids) = lived_in();

    insta::assert_snapshot!("edges", house.run(&["memories", "edges", &ids[1]]));
    let near = ["memories", "neighbors", &ids[0], "--depth", "2"];
    insta::assert_snapshot!("neighbors", house.run(&near));
    insta::assert_snapshot!("unlink", house.run(&["memories", "unlink", &ids[0], &ids[1]]));
    insta::assert_snapshot!("error_link", house.run(&["memories", "link", &ids[0], &ids[0]]));
    let domains = |args: &[&str]| house.run(&[&["memories", "domains"], args].concat());
    insta::assert_snapshot!("domain_set", domains(&["set", "office", "--label", "The office"]));
    insta::assert_snapshot!("domain_from_tag", domains(&["from-tag", "launches", "launch"]));
    insta::assert_snapshot!("domains", domains(&["list"]));
    insta::assert_snapshot!("domain_delete", domains(&["delete", "office"]));
    insta::assert_snapshot!("error_domain", domains(&["get", "office"]));
    insta::assert_snapshot!("namespaces", house.run(&["memories", "namespaces"]));
    insta::assert_snapshot!("stats", house.run(&["memories", "stats"]));
    insta::assert_snapshot!("sweep", house.run(&["memories", "sweep"]));
}

#[test]
fn all_of_it_speaks_json() {
    let (house, ids) = lived_in();
    let json = |args: &[&str]| house.run(&[&["--json"], args].concat()).exits(0).json();

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
