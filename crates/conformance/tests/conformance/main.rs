//! Runs every case of the suite on every database, as tests named
//! `database::facet::what_is_so`: `postgres18::memories::equal_content_is_one_memory`.

mod postgres;
mod sqlite;

use std::sync::Arc;

use libtest_mimic::{Arguments, Trial};
use mnemon_conformance::{Case, Ctx, Provider, cases};
use mnemon_testkit::Major;

/// Threads of a case's runtime: enough for its tasks to run side by side.
const WORKERS: usize = 4;

fn main() {
    let arguments = Arguments::from_args();
    let mut trials = Vec::new();
    for provider in providers() {
        let (able, unable): (Vec<Case>, Vec<Case>) = cases()
            .into_iter()
            .partition(|case| provider.row_level_security() || !case.setup.row_level_security);
        if !unable.is_empty() && !arguments.list && !arguments.exact {
            let (name, count) = (provider.name(), unable.len());
            eprintln!("{name}: {count} cases need row-level security, which it does not have");
        }
        trials.extend(able.into_iter().map(|case| trial(Arc::clone(&provider), case)));
    }
    libtest_mimic::run(&arguments, trials).exit();
}

/// SQLite always; PostgreSQL where it was asked for, else one line says how to.
fn providers() -> Vec<Arc<dyn Provider>> {
    let mut providers: Vec<Arc<dyn Provider>> = vec![Arc::new(sqlite::Sqlite)];
    if mnemon_testkit::postgres_wanted() {
        for major in Major::ALL {
            providers.push(Arc::new(postgres::Postgres(major)));
        }
    }
    providers
}

fn trial(provider: Arc<dyn Provider>, case: Case) -> Trial {
    Trial::test(format!("{}::{}", provider.name(), case.name), move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(WORKERS)
            .enable_all()
            .build()
            .expect("a runtime for the case");
        // A panic of the case passes through to the harness, which reports it.
        runtime.block_on(async {
            let ctx = Ctx::new(provider.database(&case.setup).await).await;
            case.run(&ctx).await;
            ctx.close().await;
        });
        Ok(())
    })
}
