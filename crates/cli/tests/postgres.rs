//! The commands on PostgreSQL: nobody is assumed, doctor changes nothing, no password shows.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::House;
use mnemon_testkit::{Major, Server, postgres_wanted};

#[tokio::test(flavor = "multi_thread")]
async fn a_server_wants_a_tenant_and_then_answers_as_the_file_does() {
    if !postgres_wanted() {
        return;
    }
    for major in Major::ALL {
        let database = Server::get(major).database().await;
        let house = House::new();
        let run = |args: &[&str]| house.run_with(args, &[("MNEMON_URL", database.url())], "");

        let empty = run(&["doctor"]).exits(6);
        assert!(empty.stdout.contains("mnemon migrate up"), "{empty}");
        run(&["migrate", "up"]).exits(0);

        let nobody = run(&["recall", "launch"]).exits(2);
        assert!(nobody.stderr.contains("--tenant NAME, or MNEMON_TENANT"), "{nobody}");
        run(&["remember", "The launch is on 3 May", "--tenant", "acme"]).exits(0);
        let found = run(&["recall", "launch", "--tenant", "acme"]).exits(0);
        assert!(found.stdout.contains("words #1"), "{found}");
        assert!(found.stderr.contains("keyword search until a model is set"), "{found}");
        let elsewhere = run(&["recall", "launch", "--tenant", "zenith"]).exits(0);
        assert_eq!(elsewhere.stdout, "nothing found\n");

        run(&["migrate", "rls", "on"]).exits(0);
        let found = run(&["--json", "recall", "launch", "--tenant", "acme"]).exits(0).json();
        assert_eq!(found["hits"].as_array().unwrap().len(), 1);
        run(&["upkeep", "--once", "--force"]).exits(0);
        let well = run(&["--json", "doctor"]).exits(0).json();
        assert_eq!(well["ok"], true, "{well}");
    }
}
