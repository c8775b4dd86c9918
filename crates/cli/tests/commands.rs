//! The commands from end to end, on an embedded file.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use std::io::Read as _;
use std::process::Stdio;

use common::House;
use serde_json::json;

#[test]
fn a_memory_goes_in_comes_out_and_goes() {
    let house = House::new();

    let kept = house.run(&["--json", "remember", "Tea at four", "--type", "plan"]).exits(0).json();
    assert_eq!(kept["created"], true);
    let hits = house.run(&["--json", "recall", "tea"]).exits(0).json();
    assert_eq!(hits["hits"][0]["memory"]["content"], "Tea at four");
    assert_eq!(hits["hits"][0]["text_rank"], 1);
    let count = house.run(&["--json", "memories", "count"]).exits(0).json();
    assert_eq!(count, json!({ "count": 1 }));

    let id = id_of(&house, "tea");
    let got = house.run(&["memories", "get", &id]).exits(0);
    assert!(got.stdout.starts_with("Tea at four\n"), "{got}");
    house.run(&["memories", "delete", &id]).exits(0);
    house.run(&["memories", "get", &id]).exits(3);
}

/// A memory's id, which [`House::run`] takes out.
fn id_of(house: &House, text: &str) -> String {
    let output = house.command(&["--json", "recall", text]).output().unwrap();
    let hits: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    hits["hits"][0]["memory"]["id"].as_str().unwrap().to_owned()
}

#[test]
fn one_users_memories_are_not_found_by_another() {
    let house = House::new();
    house.run(&["remember", "Ada's secret tea", "--user", "ada"]).exits(0);

    let bob = house.run(&["recall", "tea", "--user", "bob"]).exits(0);
    let ada = house.run_with(&["recall", "tea"], &[("MNEMON_USER", "ada")], "").exits(0);
    let elsewhere = house.run(&["recall", "tea", "--tenant", "acme"]).exits(0);

    assert_eq!(bob.stdout, "nothing found\n");
    assert!(ada.stdout.contains("secret tea"), "{ada}");
    assert_eq!(elsewhere.stdout, "nothing found\n");
}

#[test]
fn json_lines_are_read_from_a_file_and_from_stdin() {
    let house = House::new();
    house.file("m.jsonl", "{\"content\": \"one\", \"tags\": [\"t\"]}\n\n{\"content\": \"two\"}\n");

    let first = house.run(&["--json", "remember", "--from", "m.jsonl"]).exits(0).json();
    let again = house.run(&["--json", "remember", "--from", "m.jsonl"]).exits(0).json();
    let stdin = "{\"content\": \"three\"}";
    let piped = house.run_with(&["--json", "remember", "--from", "-"], &[], stdin).exits(0).json();
    let text = house.run_with(&["remember", "-"], &[], "four\nlines\n").exits(0);

    assert_eq!(first, json!({ "read": 2, "created": 2, "known": 0, "users": 0 }));
    assert_eq!(again, json!({ "read": 2, "created": 0, "known": 2, "users": 0 }));
    assert_eq!(piped["created"], 1);
    assert!(text.stdout.starts_with("remembered"), "{text}");
    house.run(&["memories", "list", "--tag", "t"]).exits(0);
}

#[test]
fn conversations_become_memories_of_a_user_each_and_a_second_import_writes_nothing() {
    let house = House::new();
    let turn = |id: &str, text: &str| json!({ "speaker": "Ann", "dia_id": id, "text": text });
    let sample = |name: &str| {
        json!({ "sample_id": name, "sessions": [{ "session": 1,
            "date_time": "1:56 pm on 8 May, 2023",
            "turns": [turn("D1:1", "We met in Oslo"), turn("D1:2", "We met in Oslo")] }], "qa": [] })
    };
    house.file("c.json", json!([sample("conv-1"), sample("conv-2")]).to_string());

    let first = house.run(&["--json", "remember", "--from", "c.json"]).exits(0).json();
    let again = house.run(&["--json", "remember", "--from", "c.json"]).exits(0).json();
    let hits = house.run(&["--json", "recall", "Oslo", "--user", "conv-2"]).exits(0).json();

    assert_eq!(first, json!({ "read": 4, "created": 4, "known": 0, "users": 2 }));
    assert_eq!(again, json!({ "read": 4, "created": 0, "known": 4, "users": 2 }));
    assert_eq!(hits["hits"].as_array().unwrap().len(), 2);
    let memory = &hits["hits"][0]["memory"];
    assert_eq!(memory["content"], "Ann: We met in Oslo");
    assert_eq!(memory["user"], "conv-2");
    assert!(memory["created_at"].as_str().unwrap().starts_with("2023-05-08T13:56"), "{memory}");
}

#[test]
fn a_bad_line_is_named_and_its_batch_is_not_written() {
    let house = House::new();
    house.file("bad.jsonl", b"{\"content\": \"fine\"}\n{\"content\": \"\xff\"}\n");
    let tags = vec!["t"; 65];
    let long = json!({ "content": "x", "tags": tags }).to_string();
    house.file("long.jsonl", format!("{{\"content\": \"fine\"}}\n\n{long}\n"));

    let bytes = house.run(&["--json", "remember", "--from", "bad.jsonl"]).exits(2).json();
    let limit = house.run(&["--json", "remember", "--from", "long.jsonl"]).exits(2).json();

    assert_eq!(bytes["error"]["message"], "bad.jsonl:2: is not UTF-8 at byte 14");
    assert_eq!(limit["error"]["message"], "long.jsonl:3: tags: has 65 entries; the limit is 64");
    assert_eq!(house.run(&["memories", "count"]).stdout, "0\n");
}

#[test]
fn upkeep_runs_once_and_shows_its_standing() {
    let house = House::new();
    house.run(&["remember", "one"]).exits(0);

    let once = house.run(&["--json", "upkeep", "--once"]).exits(0).json();
    let only = house.run(&["--json", "upkeep", "--once", "--only", "text-counts"]).exits(0).json();
    let status = house.run(&["--json", "upkeep", "--status"]).exits(0).json();

    assert_eq!(once["tasks"].as_array().unwrap().len(), mnemon::Task::ALL.len());
    assert_eq!(only["tasks"][0]["task"], "text-counts");
    assert_eq!(only["tasks"][0]["outcome"], "done");
    // Left to processes that have an oracle, or that are told to.
    let others = ["oracle-questions", "event-retention", "event-search"];
    let mine = |task: &&serde_json::Value| !others.iter().any(|other| task["name"] == *other);
    let mut tasks = status["tasks"].as_array().unwrap().iter().filter(mine);
    assert!(tasks.all(|task| !task["last_run"].is_null()));
    let unknown = house.run(&["upkeep", "--once", "--only", "sweep"]).exits(2);
    assert!(unknown.stderr.contains("known are words"), "{unknown}");
}

#[test]
fn the_schema_goes_up_and_down() {
    let house = House::new();

    let up = house.run(&["--json", "migrate", "up"]).exits(0).json();
    assert!(!up["applied"].as_array().unwrap().is_empty());
    house.run(&["migrate", "verify"]).exits(0);
    let status = house.run(&["--json", "migrate", "status"]).exits(0).json();
    assert_eq!(status["current"], status["latest"]);
    house.run(&["migrate", "down", "--to", "0", "--yes"]).exits(0);
    house.run(&["migrate", "verify"]).exits(6);
    let script = house.run(&["migrate", "up", "--print"]).exits(0);
    assert!(script.stdout.contains("create table"), "{script}");
    house.run(&["migrate", "rls", "on"]).exits(6);
}

#[test]
fn doctor_answers_json_and_its_exit_code_tells() {
    let house = House::new();

    let well = house.run(&["--json", "doctor"]).exits(0).json();
    assert_eq!(well["ok"], true);
    assert_eq!(well["backend"], "sqlite");

    house.file("not.db", "this is no database, however long it may be: ".repeat(100));
    let ill = house.run(&["--json", "--db", "sqlite://not.db", "doctor"]);
    assert_ne!(ill.code, 0, "{ill}");
    assert_eq!(ill.json()["ok"], false);
}

#[test]
fn the_configuration_in_effect_is_shown_without_passwords() {
    let house = House::new();
    house.file("mnemon.toml", "[pool]\nmax_connections = 3\n");
    let url = [("MNEMON_URL", "postgres://u:hunter2@db.example/m?password=hunter2")];

    let json = house.run_with(&["--json", "config"], &url, "").exits(0);
    let text = house.run_with(&["config"], &url, "").exits(0);

    assert_eq!(json.json()["values"]["pool.max_connections"], "3");
    assert_eq!(json.json()["values"]["store.url"], "postgres://db.example/m");
    assert!(!format!("{json}{text}").contains("hunter2"));
}

#[test]
fn a_password_is_in_nothing_that_fails() {
    let house = House::new();
    for url in [
        "postgres://u:hunter2@127.0.0.1:1/m",
        "postgres://u:hunter2@127.0.0.1:1/m?nonsense=hunter2",
        "host=127.0.0.1 port=1 user=u password=hunter2 dbname=m",
        "host=127.0.0.1 port=1 nonsense=hunter2",
        "mysql://u:hunter2@h/d",
        "u:hunter2@h",
    ] {
        for args in
            [&["-vv", "doctor"][..], &["--json", "recall", "x", "--tenant", "t"], &["config"]]
        {
            let mut args = args.to_vec();
            args.extend(["--db", url]);
            let quick = [("MNEMON_POOL_ACQUIRE_TIMEOUT", "500ms")];
            let said = house.run_with(&args, &quick, "");
            assert!(!said.to_string().contains("hunter2"), "{said}");
        }
    }
}

#[test]
fn completions_come_for_every_shell() {
    let house = House::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = house.run(&["completions", shell]).exits(0);
        assert!(script.stdout.contains("mnemon"), "{shell}");
    }
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let house = House::new();
    let lines: Vec<String> =
        (0..400).map(|n| json!({ "content": format!("memory number {n}") }).to_string()).collect();
    house.file("many.jsonl", lines.join("\n"));
    house.run(&["-q", "remember", "--from", "many.jsonl"]).exits(0);

    for args in [&["memories", "list", "-n", "400"][..], &["completions", "bash"], &["--help"]] {
        let mut command = house.command(args);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert!(child.wait().unwrap().success(), "{args:?}: {stderr}");
        assert_eq!(stderr, "", "{args:?}");
    }
}
