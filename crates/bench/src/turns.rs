//! What appending a turn costs as a session grows, beside a session that stays short and beside
//! the raw statement that writes the same row.
//!
//! One session has ten turns, another ten thousand; appends to both and to the raw table
//! alternate one by one on one connection's worth of work, so that whatever else the machine does
//! falls on all of them alike. The short session is cleared before it is long.

mod raw;

use std::time::Instant;

use clap::Args;
use mnemon::turns::{Export, NewTurn, Strategy, Turn};
use mnemon::{Mnemon, Scope};

use self::raw::Raw;
use crate::report::{Bar, Report, percentile};
use crate::target::{On, Target};

/// How much more an append to a long session may cost than one to a short one.
const GROWTH: f64 = 1.3;
/// Turns of the short session.
const SHORT: usize = 10;
/// Turns appended to the short session until it is cleared.
const CLEARED_AFTER: usize = 20;

/// What to measure.
#[derive(Args)]
pub(crate) struct Options {
    /// Databases to run on; all when none is named.
    #[arg(long, value_enum)]
    on: Vec<On>,
    /// Turns of the long session.
    #[arg(long, default_value_t = 10_000)]
    turns: usize,
    /// Appends that are measured on each side.
    #[arg(long, default_value_t = 400)]
    appends: usize,
}

type Failed = Box<dyn std::error::Error>;

/// Runs the bench on every database asked for.
pub(crate) async fn run(options: &Options) -> Result<Report, Failed> {
    if options.turns < 2 * CLEARED_AFTER || options.appends < SHORT {
        return Err(format!("--turns is at least {}, --appends {SHORT}", 2 * CLEARED_AFTER).into());
    }
    let mut report = Report {
        bench: "turns",
        columns: vec!["database", "strategy", "side", "append p50 µs", "p99 µs", "context p50 µs"],
        rows: Vec::new(),
        bars: Vec::new(),
        notes: vec![format!(
            "{} appends of about 200 bytes on each side, one after the other; the long session has \
             {} turns, the short one {SHORT} to {}; raw: the row of a turn and its head by prepared \
             statements in one transaction, with the durability Mnemon opens the database with",
            options.appends,
            options.turns,
            SHORT + CLEARED_AFTER,
        )],
    };
    let on = if options.on.is_empty() { On::ALL.to_vec() } else { options.on.clone() };
    for on in on {
        let target = Target::open(on).await?;
        for strategy in [
            Strategy::Truncation { budget_tokens: 4_000 },
            Strategy::RollingSummary { full_zone_turns: 4, budget_tokens: Some(4_000) },
        ] {
            one(&target, strategy, options, &mut report).await?;
        }
        target.db.close().await;
    }
    Ok(report)
}

fn scope(session: &str) -> Scope {
    Scope::tenant("bench").user("ada").session(session)
}

/// A turn of about 200 bytes, another one each time.
fn turn(n: usize) -> NewTurn {
    NewTurn::new(
        format!("Question {n}: {}", "what did we say about the trip? ".repeat(3)),
        format!("Answer {n}: {}", "by train, in May, as planned. ".repeat(3)),
    )
}

/// Begins a session with so many turns.
async fn begin(db: &Mnemon, session: &str, strategy: Strategy, turns: usize) -> Result<(), Failed> {
    let scope = scope(session);
    db.turns().configure(&scope, "conversation", strategy).await?;
    db.turns().append(&scope, turn(1), None).await?;
    let mut copy = db.turns().export(&scope, "conversation").await?;
    let first = copy.turns[0].clone();
    copy.turns = (1..=turns)
        .map(|n| {
            let NewTurn { user_message, assistant_response, .. } = turn(n);
            let seq = i64::try_from(n).unwrap_or(i64::MAX);
            Turn { seq, user_message, assistant_response, ..first.clone() }
        })
        .collect();
    db.turns().import(&scope, "conversation", &Export::parse(&copy.to_json()?)?).await?;
    Ok(())
}

async fn one(
    target: &Target,
    strategy: Strategy,
    options: &Options,
    report: &mut Report,
) -> Result<(), Failed> {
    let db = &target.db;
    let (short, long) = (format!("{} short", strategy.name()), format!("{} long", strategy.name()));
    eprintln!("{}: {} of {} turns", target.name, strategy.name(), options.turns);
    begin(db, &short, strategy, SHORT).await?;
    begin(db, &long, strategy, options.turns).await?;
    let mut raw = Raw::open(target, &long).await?;
    let mut times: [Vec<f64>; 3] = Default::default();
    let mut contexts: [Vec<f64>; 2] = Default::default();
    for n in 0..options.appends {
        if n % CLEARED_AFTER == CLEARED_AFTER - 1 {
            db.turns().clear(&scope(&short), "conversation").await?;
            begin(db, &short, strategy, SHORT).await?;
        }
        // The one first, then the other, in turn.
        for side in [n % 2, (n + 1) % 2] {
            let (scope, turn) = (scope([&short, &long][side]), turn(n));
            let begun = Instant::now();
            db.turns().append(&scope, turn, None).await?;
            times[side].push(micros(begun));
            let begun = Instant::now();
            db.turns().context(&scope, "conversation").await?;
            contexts[side].push(micros(begun));
        }
        let begun = Instant::now();
        raw.append(n).await?;
        times[2].push(micros(begun));
    }
    let sides = [format!("{SHORT} turns"), format!("{} turns", options.turns), "raw".to_owned()];
    for (at, side) in sides.into_iter().enumerate() {
        report.rows.push(vec![
            target.name.to_owned(),
            strategy.name().to_owned(),
            side,
            format!("{:.0}", percentile(&times[at], 0.5)),
            format!("{:.0}", percentile(&times[at], 0.99)),
            contexts.get(at).map_or_else(String::new, |c| format!("{:.0}", percentile(c, 0.5))),
        ]);
    }
    let growth = percentile(&times[1], 0.5) / percentile(&times[0], 0.5);
    let name = format!(
        "{} {}: append p50 at {} turns beside {SHORT}",
        target.name,
        strategy.name(),
        options.turns
    );
    report.bars.push(Bar::at_most(name, growth, GROWTH));
    let share = percentile(&times[2], 0.5) / percentile(&times[1], 0.5);
    report.notes.push(format!(
        "{} {}: an append reaches {share:.2} of raw",
        target.name,
        strategy.name()
    ));
    Ok(())
}

fn micros(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e6
}
