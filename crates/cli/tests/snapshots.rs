//! What people read, word for word. After a change meant to be seen:
//! `INSTA_UPDATE=always cargo test -p mnemon-cli --test snapshots`, and look at the difference.

mod common;

use common::House;

#[test]
fn help_lists_commands_flags_and_exit_codes() {
    insta::assert_snapshot!(House::new().run(&["--help"]));
}

#[test]
fn the_first_recall_says_that_it_goes_by_words() {
    let house = House::new();
    house.run(&["remember", "The launch is on 3 May", "--tag", "launch", "-q"]).exits(0);
    house.run(&["remember", "Ada likes tea from Nepal", "--user", "ada", "--key", "tea"]).exits(0);

    insta::assert_snapshot!("first_recall", house.run(&["recall", "when", "is", "the", "launch"]));
    insta::assert_snapshot!("second_recall", house.run(&["recall", "tea in Nepal"]));
    insta::assert_snapshot!("nothing_found", house.run(&["recall", "quantum"]));
    insta::assert_snapshot!("list", house.run(&["memories", "list"]));
}

#[test]
fn remember_says_where_it_keeps_things_the_first_time_only() {
    let house = House::new();

    insta::assert_snapshot!("first_remember", house.run(&["remember", "one"]));
    insta::assert_snapshot!("second_remember", house.run(&["remember", "one"]));
}

#[test]
fn doctor_names_every_check() {
    let house = House::new();
    house.run(&["remember", "one", "-q"]).exits(0);
    let said = house.run(&["doctor"]).to_string();
    let varying = |line: &&str| {
        !["SQLite 3.", "mnemon.db, ", "upkeep ", "clock ", " KiB"]
            .iter()
            .any(|part| line.contains(part))
    };
    let stable: Vec<&str> = said.lines().filter(varying).collect();

    insta::assert_snapshot!(stable.join("\n"));
}

#[test]
fn errors_say_what_why_and_what_to_do() {
    let house = House::new();
    house.run(&["remember", "one", "--key", "k", "-q"]).exits(0);
    house.file("broken.jsonl", "{\"content\": \"fine\"}\n{\"contents\": 1}\n");
    house.file("mnemon.toml.bad", "[pool]\nmax = 3\n");

    for (name, args) in [
        ("error_usage", &["memories", "list", "--limit", "many"][..]),
        ("error_blank", &["remember", "  "]),
        ("error_not_found", &["memories", "get", "01980000-0000-7000-8000-000000000000"]),
        ("error_exists", &["remember", "two", "--key", "k"]),
        ("error_scheme", &["recall", "x", "--db", "mysql://u:hunter2@h/d"]),
        ("error_model", &["recall", "x", "--model", "local:minilm"]),
        ("error_file", &["remember", "--from", "broken.jsonl"]),
        ("error_no_file", &["remember", "--from", "nowhere.jsonl"]),
        ("error_config", &["--config", "mnemon.toml.bad", "memories", "count"]),
        ("error_folder", &["--db", "sqlite://.", "memories", "count"]),
        ("error_down", &["migrate", "down", "--to", "0"]),
        ("error_json", &["--json", "remember", " "]),
        ("error_json_usage", &["--json", "recall"]),
    ] {
        insta::assert_snapshot!(name, house.run(args));
    }
}
