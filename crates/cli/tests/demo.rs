//! The story of `mnemon demo`, as it is read where there is no terminal.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Command;

/// What differs from one telling to the next, made the same.
fn redacted(told: &str) -> String {
    let lines = told.lines().map(|line| {
        if let Some((before, after)) = line.split_once("→ process ")
            && let Some((_, how)) = after.split_once(' ')
        {
            format!("{before}→ process [pid] {how}")
        } else if line.contains("→ it finds ") {
            one_number(line)
        } else if let Some((_, rest)) = line.split_once(" s. Try next") {
            format!("That took [seconds] s. Try next{rest}")
        } else {
            line.to_owned()
        }
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// The counts behind a crash are not known before, but equal.
fn one_number(line: &str) -> String {
    let numbers: Vec<&str> = line.split(' ').filter(|word| word.parse::<u32>().is_ok()).collect();
    assert_eq!(numbers.len(), 4, "{line}");
    assert!(numbers.iter().all(|number| *number == numbers[0]), "{line}");
    line.replace(&format!(" {} ", numbers[0]), " [n] ")
}

fn demo(arguments: &[&str]) -> String {
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mnemon"))
        .arg("demo")
        .args(arguments)
        .current_dir(home.path())
        .env_remove("MNEMON_URL")
        .env_remove("MNEMON_CONFIG")
        .env("HOME", home.path())
        .env("XDG_CONFIG_HOME", home.path())
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    assert_eq!(errors, "");
    let left = std::fs::read_dir(home.path()).unwrap().count();
    assert_eq!(left, 0, "the story leaves nothing behind");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_story_is_told_the_same_every_time() {
    insta::assert_snapshot!("story", redacted(&demo(&[])));
}

#[test]
fn the_story_is_one_json_value_for_programs() {
    let told: serde_json::Value = serde_json::from_str(&demo(&["--json"])).unwrap();

    let lines = told["story"].as_array().unwrap();
    assert!(lines.iter().any(|line| line["refuses"].is_string()), "{told}");
}
