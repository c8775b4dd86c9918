//! `mnemon events`: what happened, in order; what comes, as it comes; streams in figures; what
//! leaves the log, and comes back.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand};
use mnemon::events::{ArchiveOptions, ArchiveReport, Event, EventFilter, Month, StreamStats, Told};
use mnemon::{Cursor, Error, Mnemon, Scope};
use serde_json::json;

use super::confirm::confirm;
use super::page::{self, PageArgs};
use super::{Done, show};
use crate::context::Context;
use crate::output::Output;

#[derive(Subcommand)]
pub(crate) enum Events {
    /// Read a stream in order
    Read(Read),
    /// Show what happened in all streams; with -f also what comes
    Tail(Tail),
    /// A stream in figures, or how the log stands
    Stats(Stats),
    /// Find events by their words (where events.search is on)
    Search(Search),
    /// Write whole months of the log to files, and remove them
    Archive(Archive),
    /// Put the events of archives back, the newest month first
    PutBack(PutBack),
}

#[derive(Args)]
pub(crate) struct Read {
    /// Its name; mnemon.system holds Mnemon's own notes
    stream: String,
    #[command(flatten)]
    page: PageArgs,
}

#[derive(Args)]
pub(crate) struct Tail {
    /// Go on with what comes, until interrupted
    #[arg(long, short)]
    follow: bool,
    /// Start behind this place, as --json or the end of an earlier run said; else at the start
    #[arg(long, value_name = "CURSOR", conflicts_with = "new")]
    from: Option<Cursor>,
    /// Start with what comes from now on
    #[arg(long, requires = "follow")]
    new: bool,
    /// This stream only
    #[arg(long)]
    stream: Option<String>,
    /// Events of this kind only; may be given several times
    #[arg(long)]
    kind: Vec<String>,
    /// What belongs to this only
    #[arg(long, value_name = "ID")]
    correlation: Option<String>,
    /// Stop after so many events
    #[arg(long, short = 'n', value_name = "COUNT")]
    limit: Option<u64>,
}

#[derive(Args)]
pub(crate) struct Stats {
    /// The stream; without one, the log
    stream: Option<String>,
}

impl Events {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
        let db = context.open().await?;
        let scope = context.scope(&db);
        let done = match self {
            Self::Read(read) => read.run(&db, &scope, context.output).await,
            Self::Tail(tail) => tail.run(&db, &scope, context.output).await,
            Self::Stats(stats) => stats.run(&db, &scope, context.output).await,
            Self::Search(search) => search.run(&db, &scope, context.output).await,
            Self::Archive(archive) => archive.run(&db, context.output).await,
            Self::PutBack(put_back) => put_back.run(&db, context.output).await,
        };
        db.close().await;
        done
    }
}

impl Read {
    async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        let found = db.events().read(scope, &self.stream, &self.page.page()).await?;
        Ok(page::print(output, &found, &["version", "event"], |event| {
            [event.version.to_string(), cell(event)]
        })?)
    }
}

impl Tail {
    fn filter(&self) -> EventFilter {
        EventFilter {
            stream: self.stream.clone(),
            kinds: self.kind.clone(),
            correlation_id: self.correlation.clone(),
            ..EventFilter::default()
        }
    }

    async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        let mut from = self.from.clone();
        if self.new {
            // The end of the log as it stands: a page of nothing that is asked for.
            let mut none = self.filter();
            none.kinds = vec!["mnemon.cli.nothing".to_owned()];
            from = Some(db.events().read_all(scope, &none, None, 1).await?.next);
        }
        let mut events = db.events().subscribe(scope, self.filter(), from.as_ref())?;
        let mut left = self.limit.unwrap_or(u64::MAX);
        while left > 0 {
            let told = tokio::select! {
                told = events.next() => told,
                _ = tokio::signal::ctrl_c() => break,
            };
            let told = match told {
                Err(Error::Gone { what, next }) => {
                    output.notice(&format!("{what} is gone; what is kept follows"));
                    events = db.events().subscribe(scope, self.filter(), Some(&next))?;
                    continue;
                }
                told => told?,
            };
            match told {
                Told::Event(event) => {
                    print(output, &event)?;
                    left -= 1;
                }
                Told::CaughtUp if self.follow => output.notice("caught up; what comes follows"),
                Told::CaughtUp => break,
                Told::Interrupted(error) => {
                    output.notice(&format!("the database does not answer: {error}; trying again"));
                }
                Told::Resumed => output.notice("the database answers again; nothing is lost"),
                _ => {}
            }
        }
        output.notice(&format!("--from {} goes on here", events.cursor()));
        Ok(())
    }
}

/// One line an event; with `--json` one value a line, so that a reader need not wait for the end.
fn print(output: &Output, event: &Event) -> std::io::Result<()> {
    if output.json {
        return output.line(serde_json::to_string(event)?);
    }
    output.line(show::about([
        Some(show::moment(event.recorded_at)),
        Some(format!("{}@{}", event.stream, event.version)),
        Some(event.kind.clone()),
        Some(show::value(&event.data)),
        event.user.as_ref().map(|user| format!("of {user}")),
        event.agent.as_ref().map(|agent| format!("by {agent}")),
        event.correlation_id.as_ref().map(|id| format!("with {id}")),
    ]))
}

impl Stats {
    async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        if let Some(stream) = &self.stream {
            let stats = db.events().aggregate(scope, stream).await?;
            return Ok(output.result(&stats, || figures(&stats))?);
        }
        let events = db.events().count(scope, &EventFilter::default()).await?;
        let horizon = db.events().horizon().await?;
        let age = horizon.age.as_secs_f64();
        let value = json!({ "events": events, "epoch": horizon.epoch, "horizon_age_s": age });
        let text =
            || format!("{events} events\nepoch {}\nhorizon {age:.1} s behind", horizon.epoch);
        Ok(output.result(&value, text)?)
    }
}

#[derive(Args)]
pub(crate) struct Search {
    /// Words that must all be there; "a phrase"; -excluded
    text: String,
    /// Of this stream only
    #[arg(long)]
    stream: Option<String>,
    /// Of this kind only; may be given several times
    #[arg(long)]
    kind: Vec<String>,
    #[command(flatten)]
    page: PageArgs,
}

impl Search {
    async fn run(&self, db: &Mnemon, scope: &Scope, output: &Output) -> Done {
        let filter = EventFilter {
            stream: self.stream.clone(),
            kinds: self.kind.clone(),
            ..EventFilter::default()
        };
        let found = db.events().search(scope, &self.text, &filter, &self.page.page()).await?;
        Ok(page::print(output, &found, &["version", "event"], |event| {
            [format!("{}@{}", event.stream, event.version), cell(event)]
        })?)
    }
}

#[derive(Args)]
pub(crate) struct Archive {
    /// Months that ended by then go: 2026-01, 2026-01-01 or a time
    #[arg(long, value_name = "TIME", value_parser = moment)]
    before: DateTime<Utc>,
    /// The folder for the files, events-YYYY-MM.jsonl.zst
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Only say what would go
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

/// A time, a day, or a month by its first moment.
fn moment(text: &str) -> Result<DateTime<Utc>, String> {
    if let Ok(month) = text.parse::<Month>() {
        return Ok(month.start());
    }
    let whole = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    whole.parse().map_err(|_| "is none of 2026-01, 2026-01-01, 2026-01-01T00:00:00Z".to_owned())
}

impl Archive {
    async fn run(&self, db: &Mnemon, output: &Output) -> Done {
        let options =
            |dry_run| ArchiveOptions { before: self.before, to: Some(self.to.clone()), dry_run };
        let goes = db.events().archive(&options(true)).await?;
        if self.dry_run || goes.months.is_empty() {
            return Ok(output.result(&goes, || gone(&goes, "would go"))?);
        }
        let (events, months) = (goes.events(), goes.months.len());
        let folder = self.to.display();
        confirm(
            self.yes,
            &format!("{events} events of {months} months leave the log for {folder}"),
        )?;
        let report = db.events().archive(&options(false)).await?;
        Ok(output.result(&report, || gone(&report, "archived and removed"))?)
    }
}

fn gone(report: &ArchiveReport, done: &str) -> String {
    if report.months.is_empty() {
        return "no month ended by then".to_owned();
    }
    let line = |month: &mnemon::events::ArchivedMonth| {
        let file = month.file.as_ref().map(|file| format!(", {}", file.display()));
        format!("{}: {} events {done}{}", month.month, month.events, file.unwrap_or_default())
    };
    report.months.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[derive(Args)]
pub(crate) struct PutBack {
    /// The files, as archive wrote them
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

impl PutBack {
    async fn run(&self, db: &Mnemon, output: &Output) -> Done {
        let (mut files, mut total) = (self.files.clone(), 0);
        // Named by their months: the newest that is gone comes first.
        files.sort_by_key(|file| std::cmp::Reverse(file.file_name().map(ToOwned::to_owned)));
        for file in &files {
            let events = db.events().put_back(file).await?;
            output.notice(&format!("{}: {events} events", file.display()));
            total += events;
        }
        Ok(output.result(&json!({ "events": total }), || format!("{total} events put back"))?)
    }
}

fn figures(stats: &StreamStats) -> String {
    let mut lines = Vec::new();
    let mut field = |name: &str, value: String| lines.push(format!("{name:<12} {value}"));
    field("stream", stats.stream.clone());
    field("version", stats.version.to_string());
    if stats.first_kept > 1 {
        field("kept from", stats.first_kept.to_string());
    }
    field("events", stats.events.to_string());
    field("succeeded", stats.succeeded.to_string());
    field("failed", stats.failed.to_string());
    if let (Some(first), Some(last)) = (stats.first_at, stats.last_at) {
        field("first", show::moment(first));
        field("last", show::moment(last));
    }
    if let Some(average) = stats.average_duration_ms {
        field("average", format!("{average:.1} ms"));
    }
    for (kind, count) in &stats.by_kind {
        field("", format!("{count} {kind}"));
    }
    lines.join("\n")
}

/// What happened, and below it when and who.
fn cell(event: &Event) -> String {
    let what = show::about([Some(event.kind.clone()), Some(show::value(&event.data))]);
    let about = show::about([
        Some(show::moment(event.occurred_at)),
        event.user.as_ref().map(|user| format!("of {user}")),
        event.agent.as_ref().map(|agent| format!("by {agent}")),
        event.correlation_id.as_ref().map(|id| format!("with {id}")),
        Some(event.id.to_string()),
    ]);
    format!("{what}\n{about}")
}
