//! The documentation's generated pages say what the code says.

use std::path::Path;

/// Compares a page with what it is generated from, or writes it.
fn page(path: &str, generated: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs").join(path);
    if std::env::var_os("MNEMON_REGENERATE").is_some() {
        std::fs::write(&path, generated).expect("the docs folder is writable");
        return;
    }
    let standing = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        standing == generated,
        "{} is not what the code says; run MNEMON_REGENERATE=1 cargo test -p mnemon --test docs",
        path.display()
    );
}

#[test]
fn the_configuration_page_is_the_table_of_keys() {
    page("configuration.md", &mnemon::config::markdown());
}

#[test]
fn the_runbook_is_the_table_that_doctor_prints_from() {
    page("runbook.md", &mnemon::runbook::markdown());
}

#[test]
fn the_metrics_page_is_the_table_of_names() {
    page("metrics.md", &mnemon::metrics::markdown());
}
