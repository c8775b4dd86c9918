//! Many memories from a file, batch by batch: each batch is written whole or not at all.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use mnemon::import::{ImportBatch, Reader};
use mnemon::{Mnemon, Result, Scope, Task, UpkeepOptions};
use serde::Serialize;

use crate::commands::Done;
use crate::context::Context;
use crate::progress::Progress;

/// What an import did.
#[derive(Default, Serialize)]
struct Imported {
    /// Memories read.
    read: u64,
    /// Memories written.
    created: u64,
    /// Memories that were there already.
    known: u64,
    /// Users they belong to, where the file says.
    users: usize,
}

pub(super) async fn run(file: &Path, context: &Context<'_>) -> Done {
    let reader = if file == Path::new("-") {
        Reader::new("stdin".to_owned(), std::io::stdin())?
    } else {
        Reader::open(file)?
    };
    let db = context.open().await?;
    let scope = context.scope(&db);
    let started = Instant::now();
    let total = reader.remaining().map(|total| total as u64);
    let mut progress = Progress::start(context.output, "memories", total);
    let outcome = import(reader, &db, &scope, &mut progress).await;
    progress.finish();
    db.close().await;
    let done = outcome?;
    context.output.result(&done, || sentence(&done, started))?;
    Ok(())
}

async fn import(
    reader: Reader,
    db: &Mnemon,
    scope: &Scope,
    progress: &mut Progress,
) -> Result<Imported> {
    let mut done = Imported::default();
    let mut users = BTreeSet::new();
    for batch in reader {
        let batch = batch?;
        users.extend(batch.user.clone());
        write(batch, db, scope, &mut done, progress).await?;
    }
    done.users = users.len();
    // The next question should not have to add up what was just written.
    let counts = UpkeepOptions { only: vec![Task::TextCounts], force: true };
    db.upkeep(&counts).await?;
    Ok(done)
}

async fn write(
    batch: ImportBatch,
    db: &Mnemon,
    scope: &Scope,
    done: &mut Imported,
    progress: &mut Progress,
) -> Result<()> {
    let scope = batch.scope(scope);
    let places = batch.places;
    let written = db
        .memories()
        .remember_many(&scope, batch.memories)
        .await
        .map_err(|error| places.locate(error))?;
    let read = written.len() as u64;
    let created = written.iter().filter(|one| one.created).count() as u64;
    done.read += read;
    done.created += created;
    done.known += read - created;
    progress.add(read);
    Ok(())
}

fn sentence(done: &Imported, started: Instant) -> String {
    let seconds = started.elapsed().as_secs_f64();
    let mut text = format!("remembered {} memories", done.created);
    if done.users > 0 {
        text = format!("{text} of {} users", done.users);
    }
    if done.known > 0 {
        text = format!("{text}, {} already known", done.known);
    }
    format!("{text}, in {seconds:.1} s")
}
