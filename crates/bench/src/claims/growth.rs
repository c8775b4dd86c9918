//! Ingesting on a short ledger and on a long one; the belief of a line of one claim and of lines of
//! many, of which one counts.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use mnemon::claims::{AsOf, BeliefStatus, Disposition, Line, NewClaim, ValidTime};
use mnemon::{Mnemon, RequestId, Step, Write};

use super::peer::Peer;
use super::{Failed, GROWTH, Options, SHORT, row, scope};
use crate::report::{Bar, Report, percentile};
use crate::target::Target;

/// The property every claim is about.
const PREDICATE: &str = "is";
/// Claims of one step: a ledger is filled by commits of many.
const OF_A_STEP: usize = 200;
/// Ingests to an agent with a short ledger before it is another agent.
const RENEWED_AFTER: usize = 50;
/// The lines that are read.
const LINES: [&str; 3] = ["one claim", "succession", "taken back"];

/// Runs both parts, the peer beside.
pub(super) async fn run(
    target: &Target,
    options: &Options,
    report: &mut Report,
) -> Result<(), Failed> {
    let peer = if options.without_mempill { Ok(None) } else { Peer::start(target).await.map(Some) };
    let mut peer = peer.unwrap_or_else(|reason| {
        report.notes.push(format!("{}: not measured beside mempill: {reason}", target.name));
        None
    });
    ingests(target, options, peer.as_mut(), report).await?;
    beliefs(target, options, peer.as_mut(), report).await
}

/// Claims of lines of their own: an entry of the ledger each.
async fn fill(db: &Mnemon, agent: &str, count: usize) -> Result<(), Failed> {
    for begin in (0..count).step_by(OF_A_STEP) {
        let claims = (begin..count.min(begin + OF_A_STEP)).map(|n| {
            let subject = format!("filled{n}");
            NewClaim::new(subject.clone(), PREDICATE, subject)
        });
        let step = Step::new(RequestId::parse(format!("fill-{agent}-{begin}"))?);
        let step = claims.fold(step, |step, claim| step.write(Write::Assert(Box::new(claim))));
        db.commit(&scope(agent), step).await?;
    }
    Ok(())
}

async fn ingest(db: &Mnemon, agent: &str, n: usize) -> Result<f64, Failed> {
    let scope = scope(agent);
    let subject = format!("new{n}");
    let claim = NewClaim::new(subject.clone(), PREDICATE, subject);
    let begun = Instant::now();
    let done = db.claims().assert(&scope, claim, None).await?;
    let took = micros(begun);
    match done.disposition {
        Disposition::CommittedCheap => Ok(took),
        other => Err(format!("a claim of a line of its own was {}", other.as_str()).into()),
    }
}

async fn ingests(
    target: &Target,
    options: &Options,
    mut peer: Option<&mut Peer>,
    report: &mut Report,
) -> Result<(), Failed> {
    let db = &target.db;
    eprintln!("{}: ledgers of {SHORT} and {} entries", target.name, options.ledger);
    fill(db, "long", options.ledger).await?;
    if let Some(peer) = peer.as_deref_mut() {
        eprintln!("{}: mempill's of {SHORT} and {}", target.name, options.peer_ledger);
        peer.fill("long", options.peer_ledger)?;
    }
    let (mut ours, mut theirs): ([Vec<f64>; 2], [Vec<f64>; 2]) = Default::default();
    let mut short = String::new();
    for n in 0..options.ingests {
        if n % RENEWED_AFTER == 0 {
            short = format!("short{n}");
            fill(db, &short, SHORT).await?;
            if let Some(peer) = peer.as_deref_mut() {
                peer.fill(&short, SHORT)?;
            }
        }
        // The one first, then the other: who comes after the peer finds colder caches.
        for side in [n % 2, (n + 1) % 2] {
            let agent = [short.as_str(), "long"][side];
            ours[side].push(ingest(db, agent, n).await?);
            if let Some(peer) = peer.as_deref_mut() {
                theirs[side].push(peer.ingest(agent, &format!("new{n}"))?);
            }
        }
    }
    let lengths = [SHORT, options.ledger];
    let growth = pair(report, target.name, "ingest", "mnemon", lengths, "entries", &ours);
    let name = format!("{}: ingest p50 at {} beside {SHORT}", target.name, options.ledger);
    report.bars.push(Bar::at_most(name, growth, GROWTH));
    if peer.is_some() {
        let lengths = [SHORT, options.peer_ledger];
        let theirs_grow =
            pair(report, target.name, "ingest", "mempill", lengths, "entries", &theirs);
        report.notes.push(format!(
            "{}: mempill's ingest grows {theirs_grow:.2} times to {} entries; ours at {} takes \
             {:.3} of its time there",
            target.name,
            options.peer_ledger,
            options.ledger,
            percentile(&ours[1], 0.5) / percentile(&theirs[1], 0.5),
        ));
    }
    Ok(())
}

async fn beliefs(
    target: &Target,
    options: &Options,
    mut peer: Option<&mut Peer>,
    report: &mut Report,
) -> Result<(), Failed> {
    let db = &target.db;
    eprintln!("{}: lines of 1 and {} claims", target.name, options.line);
    let lines = LINES.map(|subject| Line { subject: subject.into(), predicate: PREDICATE.into() });
    let reader = scope("reader");
    let one = NewClaim::new(LINES[0], PREDICATE, "so").valid_from("2020")?;
    db.claims().assert(&reader, one, None).await?;
    succession(db, LINES[1], options.line).await?;
    taken_back(db, LINES[2], options.line).await?;
    if let Some(peer) = peer.as_deref_mut() {
        peer.succession("reader", "one", 1)?;
        peer.succession("reader", "many", options.line)?;
    }
    let mut ours: [Vec<f64>; 3] = Default::default();
    let mut theirs: [Vec<f64>; 2] = Default::default();
    for n in 0..options.reads {
        // In another order each time: who comes after the peer finds colder caches.
        for side in (0..lines.len()).map(|place| (place + n) % lines.len()) {
            let line = &lines[side];
            let begun = Instant::now();
            let belief = db.claims().belief(&reader, line, AsOf::default()).await?;
            ours[side].push(micros(begun));
            if belief.status != BeliefStatus::Resolved {
                return Err(format!("{} is {:?}", line.subject, belief.status).into());
            }
        }
        if let Some(peer) = peer.as_deref_mut() {
            for side in [n % 2, (n + 1) % 2] {
                theirs[side].push(peer.belief("reader", ["one", "many"][side])?);
            }
        }
    }
    let [single, many, fallen] = ours;
    for (what, long) in [("in succession", many.clone()), ("all but one taken back", fallen)] {
        let what = format!("belief, {what}");
        let sides = [single.clone(), long];
        let lengths = [1, options.line];
        let growth = pair(report, target.name, &what, "mnemon", lengths, "claims", &sides);
        let name = format!("{}: {what}: p50 of {} claims beside 1", target.name, options.line);
        report.bars.push(Bar::at_most(name, growth, GROWTH));
    }
    if peer.is_some() {
        let lengths = [1, options.line];
        let what = "belief, in succession";
        let growth = pair(report, target.name, what, "mempill", lengths, "claims", &theirs);
        report.notes.push(format!(
            "{}: mempill's belief grows {growth:.1} times to {} claims; ours takes {:.3} of its \
             time there",
            target.name,
            options.line,
            percentile(&many, 0.5) / percentile(&theirs[1], 0.5),
        ));
    }
    Ok(())
}

/// Windows of a day that end yesterday, and one that holds since.
async fn succession(db: &Mnemon, subject: &str, count: usize) -> Result<(), Failed> {
    let today = Utc::now().timestamp() / 86_400;
    let day = |back: usize| {
        let day = today - 1 - i64::try_from(back).unwrap_or(i64::MAX);
        DateTime::from_timestamp(day * 86_400, 0)
    };
    for n in 0..count {
        let start = day(count - 1 - n);
        let last = n + 1 == count;
        let valid_time = ValidTime {
            start,
            end: start.filter(|_| !last).map(|start| start + TimeDelta::days(1)),
            valid_time_confidence: 1.0,
            ..ValidTime::default()
        };
        let claim = NewClaim { valid_time, ..NewClaim::new(subject, PREDICATE, format!("{n}")) };
        let done = db.claims().assert(&scope("reader"), claim, None).await?;
        if done.disposition != Disposition::CommittedCheap {
            return Err(format!("window {n} was {}", done.disposition.as_str()).into());
        }
    }
    Ok(())
}

/// Values that were each taken back before the next was said; the last one stands.
async fn taken_back(db: &Mnemon, subject: &str, count: usize) -> Result<(), Failed> {
    for n in 0..count {
        let claim = NewClaim::new(subject, PREDICATE, format!("{n}")).valid_from("2020")?;
        let done = db.claims().assert(&scope("reader"), claim, None).await?;
        if n + 1 < count {
            db.claims().retract(&scope("reader"), done.id, "said by mistake").await?;
        }
    }
    Ok(())
}

/// Two rows of figures; answers how the medians compare.
fn pair(
    report: &mut Report,
    database: &str,
    what: &str,
    who: &str,
    lengths: [usize; 2],
    of: &str,
    times: &[Vec<f64>; 2],
) -> f64 {
    for (length, times) in lengths.into_iter().zip(times) {
        let p50 = format!("{:.0}", percentile(times, 0.5));
        let p99 = format!("{:.0}", percentile(times, 0.99));
        let side = format!("{who}, {length} {of}");
        row(report, database, what, &side, [p50, p99, String::new(), String::new()]);
    }
    percentile(&times[1], 0.5) / percentile(&times[0], 0.5)
}

fn micros(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e6
}
