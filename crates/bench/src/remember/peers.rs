//! The peers: `mem0ai`'s store on pgvector and `langgraph`'s `PostgresStore`, the same vectors on the
//! same server; insert and search only, each as its maker sets it up.

use serde::Deserialize;

use crate::python::Environment;
use crate::report::Report;
use crate::vectors::{DIMENSION, Source};

const REQUIREMENTS: &str = include_str!("../../peers/memories.txt");
const PEERS: [(&str, &str); 2] = [
    ("mem0", include_str!("../../peers/mem0_store.py")),
    ("langgraph", include_str!("../../peers/langgraph_store.py")),
];
/// Memories that a peer writes one by one, and in batches.
const ROWS: usize = 3_000;

#[derive(Deserialize)]
struct Measured {
    one: f64,
    batch: f64,
    p50: f64,
    p99: f64,
}

/// Measures both; what did not work is a note.
pub(super) fn beside(url: &str, report: &mut Report) {
    for (name, script) in PEERS {
        eprintln!("{name} …");
        match measure(name, script, url) {
            Ok(measured) => {
                let rates = format!("{:.0} / {:.0}", measured.one, measured.batch);
                let search = format!("{:.2} / {:.2}", measured.p50, measured.p99);
                for (what, figure) in [
                    ("one by one / in batches of 500, rows/s", rates),
                    ("search p50 / p99 ms", search),
                ] {
                    report.rows.push(vec![format!("{name} {what}"), figure]);
                }
            }
            Err(error) => report.notes.push(format!("{name} was not measured: {error}")),
        }
    }
}

fn measure(name: &str, script: &str, url: &str) -> Result<Measured, String> {
    let environment = Environment::prepare("memories", REQUIREMENTS)?;
    let file = tempfile::NamedTempFile::new().map_err(|error| error.to_string())?;
    std::fs::write(file.path(), vectors()).map_err(|error| error.to_string())?;
    let path = file.path().display().to_string();
    let last = environment.run(script, &[url.to_owned(), path, DIMENSION.to_string()])?;
    serde_json::from_str(&last).map_err(|error| format!("{name} said {last:?}: {error}"))
}

/// The same vectors as ours, little-endian: half to write one by one, half in batches.
fn vectors() -> Vec<u8> {
    let mut source = Source::new(23);
    (0..2 * ROWS).flat_map(|_| source.text().vector).flat_map(f32::to_le_bytes).collect()
}
