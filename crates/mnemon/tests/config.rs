//! Which setting wins, what is refused, and that no password is ever shown.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;

use mnemon::Config;
use mnemon::config::Surroundings;

/// A folder to look for files in.
struct Place {
    folder: tempfile::TempDir,
    surroundings: Surroundings,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let surroundings = Surroundings {
            environment: Vec::new(),
            working_folder: folder.path().join("work"),
            config_folder: Some(folder.path().join("config")),
        };
        Self { folder, surroundings }
    }

    fn file(&self, path: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    fn variable(mut self, name: &str, value: &str) -> Self {
        self.surroundings.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    fn load(&self) -> mnemon::Result<Config> {
        Config::load_in(&self.surroundings, None)
    }
}

fn connections(count: u32) -> String {
    format!("[pool]\nmax_connections = {count}\n")
}

#[test]
fn without_a_file_and_a_word_everything_is_at_its_default() {
    assert_eq!(Place::new().load().unwrap(), Config::default());
}

#[test]
fn the_first_file_of_the_search_order_is_the_one_read() {
    let mut place = Place::new();
    place.file("config/mnemon/mnemon.toml", &connections(1));
    assert_eq!(place.load().unwrap().pool.max_connections, 1);

    place.file("work/mnemon.toml", &connections(2));
    assert_eq!(place.load().unwrap().pool.max_connections, 2);

    let named = place.file("elsewhere.toml", &connections(3));
    place = place.variable("MNEMON_CONFIG", named.to_str().unwrap());
    assert_eq!(place.load().unwrap().pool.max_connections, 3);

    let flag = place.file("flag.toml", &connections(4));
    let config = Config::load_in(&place.surroundings, Some(&flag)).unwrap();
    assert_eq!(config.pool.max_connections, 4);
    assert_eq!(config.file, Some(flag));
}

#[test]
fn the_environment_wins_over_the_file_and_code_over_both() {
    let place = Place::new()
        .variable("MNEMON_URL", "sqlite://env.db")
        .variable("MNEMON_POOL_MAX_CONNECTIONS", "")
        .variable("MNEMON_TENANT", "acme");
    place.file("work/mnemon.toml", &format!("{}[store]\nurl = \"sqlite://f.db\"", connections(2)));

    let mut config = place.load().unwrap();

    assert_eq!(config.url().unwrap().reveal(), "sqlite://env.db");
    assert_eq!(config.pool.max_connections, 2, "an empty variable counts as not set");
    config.set("store.url", "sqlite://code.db").unwrap();
    assert_eq!(config.url().unwrap().reveal(), "sqlite://code.db");
}

#[test]
fn a_named_file_must_be_there() {
    let place = Place::new().variable("MNEMON_CONFIG", "/nowhere/m.toml");

    let error = place.load().unwrap_err();

    assert_eq!(error.code(), "setup");
    assert!(error.to_string().contains("/nowhere/m.toml"), "{error}");
    assert!(error.to_string().contains("MNEMON_CONFIG"), "{error}");
}

#[test]
fn a_misspelt_variable_and_an_unusable_value_are_refused_by_name() {
    let misspelt = Place::new().variable("MNEMON_POOL_MAX", "3").load().unwrap_err().to_string();
    assert!(misspelt.starts_with("environment MNEMON_POOL_MAX: is no setting"), "{misspelt}");
    assert!(misspelt.contains("MNEMON_POOL_MAX_CONNECTIONS"), "{misspelt}");

    let unusable = Place::new().variable("MNEMON_POOL_IDLE_TIMEOUT", "soon").load().unwrap_err();
    assert_eq!(
        unusable.to_string(),
        "environment MNEMON_POOL_IDLE_TIMEOUT: is \"soon\", not a duration such as 500ms, 30s, \
         10min, 1h or 7d"
    );

    let unknown = Config::default().set("pool.size", "1").unwrap_err().to_string();
    assert!(unknown.contains("known are store.url"), "{unknown}");
}

#[test]
fn a_file_that_is_no_utf8_is_refused_with_its_line() {
    let place = Place::new();
    let path = place.file("work/mnemon.toml", "");
    std::fs::write(&path, b"[pool]\n# \xff\n").unwrap();

    let message = place.load().unwrap_err().to_string();

    assert!(message.ends_with("mnemon.toml:2: is not UTF-8"), "{message}");
}

#[test]
fn a_password_is_in_no_debug_output_and_no_error() {
    const CANARY: &str = "hunter2canary";
    let url = format!("postgres://u:{CANARY}@db.example/m?sslmode=require");
    let place = Place::new()
        .variable("MNEMON_URL", &url)
        .variable("MNEMON_STORE_DIRECT_URL", &format!("host=h password={CANARY}"))
        .variable("MNEMON_STORE_MAINTENANCE_URL", &format!("postgres://u:{CANARY}"));

    let config = place.load().unwrap();

    let said = format!("{config:?} {:?} {}", config.effective(), config.url().unwrap());
    assert!(said.contains("db.example"), "{said}");
    assert!(!said.contains(CANARY), "{said}");
    assert!(!format!("{:?}", mnemon::Mnemon::builder(url)).contains(CANARY));
}
