//! Changing the model on the command line, word for word.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::House;

/// A house in which three things are remembered by the default model.
fn lived_in() -> House {
    let house = House::new();
    for text in ["The launch is on 3 May", "The rehearsal is a week before", "Cake is ordered"] {
        run(&house, &["remember", text]).exits(0);
    }
    house
}

fn run(house: &House, args: &[&str]) -> common::Said {
    house.run(&[args, &["--db", "sqlite://agent.db"]].concat())
}

#[test]
fn a_change_of_the_model_is_counted_asked_made_and_tidied_up() {
    let house = lived_in();
    let reembed =
        |args: &[&str]| run(&house, &[&["reembed", "--model", "lexical:384"], args].concat());

    insta::assert_snapshot!("reembed_dry_run", reembed(&["--dry-run"]));
    insta::assert_snapshot!("reembed_unsure", reembed(&[]));
    insta::assert_snapshot!("reembed", reembed(&["--yes"]));
    insta::assert_snapshot!("reembed_status", run(&house, &["reembed", "--status"]));
    insta::assert_snapshot!("reembed_again", reembed(&[]));
    insta::assert_snapshot!("reembed_drop_unsure", reembed(&["--drop-old"]));
    insta::assert_snapshot!("reembed_drop_old", reembed(&["--drop-old", "--yes"]));
    let found = run(&house, &["recall", "launch", "--model", "lexical:384", "-q"]).exits(0);
    assert!(found.stdout.contains("The launch is on 3 May"), "{found}");
    insta::assert_snapshot!("error_old_model", run(&house, &["recall", "launch"]));
    insta::assert_snapshot!("reembed_abandon", reembed(&["--abandon", "--yes"]));
}

#[test]
fn it_speaks_json_and_refuses_what_it_cannot_do() {
    let house = lived_in();
    let reembed = |args: &[&str]| run(&house, &[&["reembed", "--json"], args].concat());

    let dry = reembed(&["--model", "lexical:64", "--dry-run"]).exits(0).json();
    assert_eq!((dry["lacking"].as_u64(), dry["dry_run"].as_bool()), (Some(3), Some(true)));
    let done = reembed(&["--model", "lexical:64", "--yes", "--drop-old"]).exits(0).json();
    assert_eq!((done["rows"].as_u64(), done["dropped"].as_u64()), (Some(3), Some(1)));
    assert_eq!(done["model"]["dimension"], 64);
    let status = reembed(&["--status"]).exits(0).json();
    assert_eq!(
        (status["memories"].as_u64(), status["sets"][0]["vectors"].as_u64()),
        (Some(3), Some(3))
    );
    reembed(&["--model", "lexical:7", "--yes"]).exits(2);
    reembed(&["--model", "psychic", "--yes"]).exits(2);
    reembed(&["--model", "lexical", "--batch", "0", "--yes"]).exits(2);
    reembed(&["--model", "openai:m@http://127.0.0.1:9", "--yes"]).exits(5);
}
