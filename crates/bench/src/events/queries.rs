//! Questions among all events that the bench wrote.

use std::time::Instant;

use mnemon::events::EventFilter;
use mnemon::{Page, Scope};

use super::load::{KINDS, correlation};
use super::{Failed, name};
use crate::report::{Bar, Report, percentile};
use crate::target::Target;

/// How often each is asked.
const TIMES: u64 = 500;

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    Stream,
    Kind,
    Correlation,
    Stats,
    Log,
}

impl Question {
    const ALL: [Self; 5] = [Self::Stream, Self::Kind, Self::Correlation, Self::Stats, Self::Log];

    const fn name(self) -> &'static str {
        match self {
            Self::Stream => "a page of a stream",
            Self::Kind => "a page of a kind, newest first",
            Self::Correlation => "what belongs together",
            Self::Stats => "a count of a correlation",
            Self::Log => "a hundred of the log from a cursor",
        }
    }
}

/// Asks every question often; their p99 is a bar.
pub(super) async fn run(target: &Target, events: u64, report: &mut Report) -> Result<(), Failed> {
    if let Some(database) = target.server() {
        // As autovacuum leaves them.
        let mut conn = <sqlx::PgConnection as sqlx::Connection>::connect(database.url()).await?;
        sqlx::Executor::execute(&mut conn, "vacuum analyze mnemon.events").await?;
        sqlx::Connection::close(conn).await?;
    }
    let scope = Scope::tenant("sustained");
    for question in Question::ALL {
        let mut times = Vec::new();
        for n in 0..TIMES {
            let number = n.wrapping_mul(0x9E37_79B9) % events.max(1);
            times.push(ask(target, &scope, question, n, number).await?);
        }
        let p99 = percentile(&times, 0.99);
        report.figure(target.name, question.name(), percentile(&times, 0.5), "ms, median");
        report.bars.push(Bar::at_most(
            name(target, &format!("{}, p99 ms", question.name())),
            p99,
            10.0,
        ));
    }
    Ok(())
}

/// One question; the milliseconds of its answer.
async fn ask(
    target: &Target,
    scope: &Scope,
    question: Question,
    n: u64,
    number: u64,
) -> Result<f64, Failed> {
    let events = target.db.events();
    let page = Page::first(50);
    let begun = Instant::now();
    let found = match question {
        Question::Stream => {
            let stream = format!("job-{}-{}", n % 2, (number / 20_000).saturating_sub(1));
            events.read(scope, &stream, &page).await?.items.len()
        }
        Question::Kind => {
            let kind = KINDS[usize::try_from(n % 8)?];
            events.list(scope, &EventFilter::default().kind(kind), &page).await?.items.len()
        }
        Question::Correlation => {
            let filter = EventFilter::default().correlation(correlation(number));
            events.list(scope, &filter, &page).await?.items.len()
        }
        Question::Stats => {
            let filter = EventFilter::default().correlation(correlation(number));
            usize::try_from(events.count(scope, &filter).await?)?
        }
        Question::Log => {
            // A place somewhere in the log: behind an event of a correlation.
            let filter = EventFilter::default().correlation(correlation(number));
            let place = events.list(scope, &filter, &Page::first(1)).await?;
            let from = place.items.first().map(|event| event.position.cursor());
            let begun = Instant::now();
            events.read_all(scope, &EventFilter::default(), from.as_ref(), 100).await?;
            return Ok(begun.elapsed().as_secs_f64() * 1_000.0);
        }
    };
    let took = begun.elapsed().as_secs_f64() * 1_000.0;
    if found == 0 {
        return Err(format!("{} found nothing", question.name()).into());
    }
    Ok(took)
}
