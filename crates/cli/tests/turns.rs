//! `mnemon turns`: what people read, what scripts read, and what is refused.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::House;
use mnemon::turns::{NewTurn, Strategy};
use mnemon::{Mnemon, Scope};
use serde_json::json;

const WHO: [&str; 6] = ["--db", "sqlite://agent.db", "--user", "ada", "--session", "s1"];

/// A house in which a conversation of eight turns was had, six of them beyond the full zone.
fn lived_in() -> House {
    let house = House::new();
    let url = format!("sqlite://{}", house.path("agent.db").display());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let db = Mnemon::builder(url).background_upkeep(false).open().await.unwrap();
        let scope = Scope::tenant("local").user("ada").session("s1");
        let rolling = Strategy::RollingSummary { full_zone_turns: 2, budget_tokens: None };
        db.turns().configure(&scope, "conversation", rolling).await.unwrap();
        for n in 1..=8 {
            let at = "2026-05-03T10:00:00Z".parse().ok();
            let turn =
                NewTurn { at, ..NewTurn::new(format!("Question {n}?"), format!("Answer {n}.")) };
            db.turns().append(&scope, turn, None).await.unwrap();
        }
        db.close().await;
    });
    house
}

fn run(house: &House, args: &[&str]) -> common::Said {
    house.run(&[args, &WHO].concat())
}

fn with_outline(house: &House) {
    std::fs::write(house.path("outline.toml"), "[turns]\nsummarizer = \"outline\"\n").unwrap();
}

#[test]
fn a_conversation_is_summarised_and_read_by_people() {
    let house = lived_in();
    with_outline(&house);

    insta::assert_snapshot!("turns_health_waiting", run(&house, &["turns", "health"]));
    insta::assert_snapshot!("turns_summarize_unset", run(&house, &["turns", "summarize"]));
    let summarize = ["--config", "outline.toml", "turns", "summarize"];
    insta::assert_snapshot!("turns_summarize", run(&house, &summarize));
    run(&house, &["turns", "summaries"]).exits(0);
    insta::assert_snapshot!("turns_context_rolling", run(&house, &["turns", "context"]));
    insta::assert_snapshot!(
        "turns_configure",
        run(&house, &["turns", "configure", "truncation", "--budget", "30"])
    );
    insta::assert_snapshot!("turns_context_truncated", run(&house, &["turns", "context"]));
    insta::assert_snapshot!("turns_clear", run(&house, &["turns", "clear"]));
    insta::assert_snapshot!("turns_context_empty", run(&house, &["turns", "context"]));
}

#[test]
fn a_copy_moves_to_another_session_and_back_to_json() {
    let house = lived_in();
    with_outline(&house);
    run(&house, &["--config", "outline.toml", "turns", "summarize"]).exits(0);
    let copy = run(&house, &["--json", "turns", "export"]).exits(0).json();
    assert_eq!((&copy["format"], &copy["version"]), (&json!("mnemon.turns"), &json!(1)));
    run(&house, &["turns", "export", "--to", "copy.json"]).exits(0);
    assert_ne!(
        run(&house, &["turns", "export", "--to", "copy.json"]).code,
        0,
        "it is there already"
    );

    let other = ["--db", "sqlite://agent.db", "--user", "ada", "--session", "s2"];
    let done = house.run(&[&["--json", "turns", "import", "copy.json"][..], &other].concat());

    assert_eq!(done.exits(0).json(), json!({ "turns": 8, "summaries": 1 }));
    let again = house.run(&[&["--json", "turns", "export"][..], &other].concat()).exits(0).json();
    assert_eq!(again, copy);
    let sessions = run(&house, &["--json", "turns", "sessions"]).exits(0).json();
    let names: Vec<_> =
        sessions["items"].as_array().unwrap().iter().map(|info| &info["session"]).collect();
    assert_eq!(names, ["s1", "s2"]);
    let deleted = house.run(&[&["--json", "turns", "delete"][..], &other].concat()).exits(0).json();
    assert_eq!(deleted, json!({ "memories": 1, "turns": 8, "summaries": 1 }));
    let all = run(&house, &["--json", "turns", "delete", "--all-sessions"]).exits(0).json();
    assert_eq!(all["turns"], 8);
}

#[test]
fn what_does_not_fit_is_refused_and_changes_nothing() {
    let house = lived_in();
    let before = run(&house, &["--json", "turns", "export"]).exits(0).stdout;
    std::fs::write(house.path("cut.json"), &before[..before.len() / 2]).unwrap();
    let other = before
        .replace("rolling_summary", "truncation")
        .replace("\"full_zone_turns\":2", "\"budget_tokens\":99");
    std::fs::write(house.path("other.json"), other).unwrap();

    for (name, args) in [
        ("error_turns_strategy", &["turns", "configure", "sliding"][..]),
        ("error_turns_none", &["turns", "configure", "none"]),
        ("error_turns_import_strategy", &["turns", "import", "other.json"]),
    ] {
        insta::assert_snapshot!(name, run(&house, args));
    }
    run(&house, &["turns", "import", "cut.json"]).exits(2);

    assert_eq!(run(&house, &["--json", "turns", "export"]).exits(0).stdout, before);
}
