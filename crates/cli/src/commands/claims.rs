//! `mnemon claims`: what is believed, saying something, and everything about what was said.

mod audit;
mod changes;
mod history;
mod timeline;

use chrono::{DateTime, Utc};
use clap::{Args, Subcommand, ValueEnum};
use mnemon::claims::interval::parse_date;
use mnemon::claims::{
    AsOf, Asserted, Belief, BeliefStatus, Believed, Cardinality, ClaimId, Criticality, Disposition,
    External, Granularity, Line, NewClaim, Provenance, ValidTime,
};
use mnemon::{Error, Mnemon, RequestId, Result, Scope};
use serde_json::Value;

use super::remember::request_id;
use super::{Done, show};
use crate::context::Context;

#[derive(Subcommand)]
pub(crate) enum Claims {
    /// What is believed; needs --agent
    Belief(BeliefArgs),
    /// Say that something is so; needs --agent
    Assert(Box<Assert>),
    /// What is believed about everything said of a subject
    Subject(history::Subject),
    /// Every claim of a line, on a timeline
    History(history::History),
    /// What happened to claims: the ledger, newest first
    Audit(audit::Audit),
    /// Prove that nobody changed the ledger, or name the first entry that was
    Verify,
    /// Take a claim back
    Retract(changes::Retract),
    /// Take a claim up again, with the window it was written with
    Reinstate(changes::Reinstate),
    /// Ask the oracle again about a contested line
    Escalate(changes::Escalate),
    /// Put contested lines in order where time alone does it, and ask about the rest
    Reconcile(changes::Reconcile),
    /// Questions that nobody has answered
    Pending(super::page::PageArgs),
    /// Answer a question
    Adjudicate(changes::Adjudicate),
}

/// Both axes of time.
#[derive(Args)]
struct When {
    /// As it was known then: 2026-05-03T10:00:00Z, or a day, month or year
    #[arg(long, value_name = "TIME", value_parser = time)]
    as_of: Option<DateTime<Utc>>,
    /// What was true then [default: --as-of, or now]
    #[arg(long, value_name = "TIME", value_parser = time)]
    valid_at: Option<DateTime<Utc>>,
}

impl When {
    fn at(&self) -> AsOf {
        AsOf { as_of: self.as_of, valid_at: self.valid_at }
    }
}

#[derive(Args)]
pub(crate) struct BeliefArgs {
    /// Whom or what it is about
    subject: String,
    /// What about it
    predicate: String,
    #[command(flatten)]
    when: When,
    /// Note in the ledger that the answer was shown to a model
    #[arg(long)]
    served: bool,
}

#[derive(Args)]
pub(crate) struct Assert {
    /// Whom or what it is about
    subject: String,
    /// What about it
    predicate: String,
    /// What is so: a text
    value: String,
    /// VALUE is JSON: a number, a list, an object
    #[arg(long)]
    json_value: bool,
    /// True from, as precise as is known: 2020, 2020-03, 2020-03-15, 2020-03-15T10:00:00Z
    #[arg(long, value_name = "TIME")]
    valid_from: Option<String>,
    /// True until
    #[arg(long, value_name = "TIME")]
    valid_until: Option<String>,
    /// How sure the source is of these times, 0 to 1
    #[arg(long, value_name = "0..1", default_value_t = 1.0)]
    valid_time_confidence: f32,
    /// How sure the source is of the value, 0 to 1
    #[arg(long, value_name = "0..1", default_value_t = 1.0)]
    confidence: f32,
    /// How many values may be true at once
    #[arg(long, value_enum, default_value_t = Many::Functional)]
    cardinality: Many,
    /// Where it comes from
    #[arg(long, value_enum, default_value_t = Source::User)]
    source: Source,
    /// How much depends on it
    #[arg(long, value_enum, default_value_t = Weight::Medium)]
    criticality: Weight,
    /// A claim it was derived from; may be given several times
    #[arg(long, value_name = "CLAIM")]
    derived_from: Vec<ClaimId>,
    /// A claim it stands on: when that falls, this one is flagged; may be given several times
    #[arg(long, value_name = "CLAIM")]
    depends_on: Vec<ClaimId>,
    /// A member of the same set that it cannot be true beside; may be given several times
    #[arg(long, value_name = "CLAIM")]
    excludes: Vec<ClaimId>,
    /// How long an oracle may take over it, in seconds
    #[arg(long, value_name = "SECONDS")]
    adjudication_ttl: Option<u64>,
    /// The same id again writes nothing
    #[arg(long, value_name = "ID", value_parser = request_id)]
    request_id: Option<RequestId>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Many {
    /// One at a time
    Functional,
    /// Several side by side
    SetValued,
    /// Not known
    Unknown,
}

#[derive(Clone, Copy, ValueEnum)]
enum Source {
    /// A person said so
    User,
    /// An outside source, at first hand
    FirstHand,
    /// A model concluded it
    Model,
    /// A claim read here and said again; needs --derived-from
    Recalled,
}

#[derive(Clone, Copy, ValueEnum)]
enum Weight {
    Low,
    Medium,
    High,
    Critical,
}

fn time(text: &str) -> Result<DateTime<Utc>, String> {
    match parse_date("time", text) {
        Ok((time, _)) => Ok(time),
        Err(Error::Invalid { reason, .. }) => Err(reason),
        Err(other) => Err(other.to_string()),
    }
}

impl Claims {
    pub(crate) async fn run(&self, context: &Context<'_>) -> Done {
        let db = context.open().await?;
        let scope = context.scope(&db);
        let done = self.act(context, &db, &scope).await;
        db.close().await;
        done
    }

    async fn act(&self, context: &Context<'_>, db: &Mnemon, scope: &Scope) -> Done {
        let output = context.output;
        match self {
            Self::Belief(belief) => {
                let found = belief.find(db, scope).await?;
                output.result(&found, || belief.told(&found))?;
            }
            Self::Assert(assert) => {
                let done = assert.act(db, scope).await?;
                output.result(&done, || told(&done))?;
            }
            Self::Subject(subject) => subject.run(output, db, scope).await?,
            Self::History(history) => history.run(output, db, scope).await?,
            Self::Audit(audit) => audit.run(output, db, scope).await?,
            Self::Verify => audit::verify(output, db, scope).await?,
            Self::Retract(retract) => retract.run(output, db, scope).await?,
            Self::Reinstate(reinstate) => reinstate.run(output, db, scope).await?,
            Self::Escalate(escalate) => escalate.run(output, db, scope).await?,
            Self::Reconcile(reconcile) => reconcile.run(output, db, scope).await?,
            Self::Pending(page) => changes::pending(output, db, scope, page).await?,
            Self::Adjudicate(adjudicate) => adjudicate.run(output, db, scope).await?,
        }
        Ok(())
    }
}

impl BeliefArgs {
    async fn find(&self, db: &Mnemon, scope: &Scope) -> Result<Belief> {
        let line = Line::parse(&self.subject, &self.predicate)?;
        db.claims().query_memory(scope, &line, self.when.at(), self.served).await
    }

    fn told(&self, belief: &Belief) -> String {
        let verdict = match belief.status {
            BeliefStatus::Resolved => "resolved",
            BeliefStatus::Contested => "contested: several values about the same time, none picked",
            BeliefStatus::TimingUncertain => "believed, but since when is not known",
            BeliefStatus::NoBelief => "nothing is believed",
        };
        let mut lines = vec![format!("{} · {}: {verdict}", self.subject, self.predicate)];
        let mut table = show::table(&["value", "valid", "from", "said"]);
        for believed in believed(belief) {
            table.add_row(row(believed, stands_below(belief, believed)));
        }
        if table.row_count() > 0 {
            lines.push(table.to_string());
        }
        if self.when.as_of.is_some() || self.when.valid_at.is_some() {
            let known = belief.as_of.map_or_else(|| "before anything".to_owned(), show::moment);
            lines.push(format!("known {known}, true {}", show::moment(belief.valid_at)));
        }
        lines.join("\n")
    }
}

/// All that a belief shows.
fn believed(belief: &Belief) -> impl Iterator<Item = &Believed> {
    belief.primary.iter().chain(&belief.alternatives)
}

/// Whether it is shown below what it cannot contradict.
fn stands_below(belief: &Belief, one: &Believed) -> bool {
    let weak = |one: &Believed| {
        one.provenance == Provenance::ModelDerived
            || one.disposition == Disposition::PendingLowConfidence
    };
    weak(one) && believed(belief).any(|other| !weak(other))
}

/// Where a claim comes from, as people say it.
fn source(provenance: Provenance) -> &'static str {
    match provenance {
        Provenance::External(External::UserAsserted) => "a user",
        Provenance::External(External::ExternalFirstHand) => "first hand",
        Provenance::RecallReEntry => "recalled",
        Provenance::ModelDerived => "a model",
    }
}

fn row(believed: &Believed, below: bool) -> [String; 4] {
    let more = believed.currency_signal.corroboration_count;
    let said = show::about([
        Some(show::moment(believed.recorded_at)),
        (more > 0).then(|| format!("and {more} more")),
    ]);
    let sure = believed.confidence.value_confidence;
    let from = show::about([
        Some(source(believed.provenance).to_owned()),
        (sure < 1.0).then(|| format!("{:.0} % sure", sure * 100.0)),
        below.then(|| "stands below".to_owned()),
    ]);
    [
        format!("{}\n{}", show::value(&believed.value), believed.claim),
        window(&believed.valid_time),
        from,
        said,
    ]
}

/// A window with no more precision than its source gave.
fn window(valid: &ValidTime) -> String {
    let date = |time: DateTime<Utc>, granularity: Option<Granularity>| {
        let format = match granularity {
            Some(Granularity::Year) => "%Y",
            Some(Granularity::Month) => "%Y-%m",
            Some(Granularity::Day) => "%Y-%m-%d",
            Some(Granularity::Instant) | None => "%Y-%m-%d %H:%M:%S",
        };
        time.format(format).to_string()
    };
    let start = valid.start.map(|start| format!("from {}", date(start, valid.start_granularity)));
    let end = valid.end.map(|end| format!("until {}", date(end, valid.end_granularity)));
    match (start, end) {
        (None, None) => "not known".to_owned(),
        (start, end) => [start, end].into_iter().flatten().collect::<Vec<_>>().join("\n"),
    }
}

impl Assert {
    fn claim(&self) -> Result<NewClaim> {
        let value = if self.json_value {
            serde_json::from_str(&self.value)
                .map_err(|error| Error::invalid("value", format!("is not JSON: {error}")))?
        } else {
            Value::from(self.value.as_str())
        };
        let valid_time = match (self.valid_from.as_deref(), self.valid_until.as_deref()) {
            (None, None) => ValidTime::default(),
            (from, until) => ValidTime {
                valid_time_confidence: self.valid_time_confidence,
                ..ValidTime::parse(from, until)?
            },
        };
        Ok(NewClaim {
            cardinality: match self.cardinality {
                Many::Functional => Cardinality::Functional,
                Many::SetValued => Cardinality::SetValued,
                Many::Unknown => Cardinality::Unknown,
            },
            provenance: match self.source {
                Source::User => Provenance::External(External::UserAsserted),
                Source::FirstHand => Provenance::External(External::ExternalFirstHand),
                Source::Model => Provenance::ModelDerived,
                Source::Recalled => Provenance::RecallReEntry,
            },
            criticality: match self.criticality {
                Weight::Low => Criticality::Low,
                Weight::Medium => Criticality::Medium,
                Weight::High => Criticality::High,
                Weight::Critical => Criticality::Critical,
            },
            valid_time,
            value_confidence: self.confidence,
            derived_from: self.derived_from.clone(),
            depends_on: self.depends_on.clone(),
            excludes: self.excludes.clone(),
            adjudication_ttl_seconds: self.adjudication_ttl,
            request_id: self.request_id.clone(),
            ..NewClaim::new(&self.subject, &self.predicate, value)
        })
    }

    async fn act(&self, db: &Mnemon, scope: &Scope) -> Result<Asserted> {
        db.claims().assert(scope, self.claim()?, None).await
    }
}

fn told(done: &Asserted) -> String {
    let what = if done.created { "asserted" } else { "asserted before" };
    let mut lines = vec![format!("{what} {}: {}", done.id, done.disposition.as_str())];
    lines.extend(done.contested_with.iter().map(|claim| format!("  contradicts {claim}")));
    lines.extend(done.handle.map(|handle| format!("  asked about as {handle}")));
    lines.join("\n")
}
