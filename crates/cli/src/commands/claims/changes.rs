//! `mnemon claims retract|reinstate|escalate|reconcile|pending|adjudicate`.

use clap::{Args, ValueEnum};
use mnemon::claims::{
    AdjudicationResponse, Changed, ClaimId, Criticality, HandleId, Line, PendingAdjudication,
    Provenance, ValidTime, Verdict,
};
use mnemon::{Mnemon, Scope};
use serde_json::Value;

use super::super::page::{self, PageArgs};
use super::super::{Done, show};
use super::{source, window};
use crate::output::Output;

#[derive(Args)]
pub(crate) struct Retract {
    /// Which claim
    claim: ClaimId,
    /// Why
    #[arg(long, value_name = "REASON")]
    because: String,
}

#[derive(Args)]
pub(crate) struct Reinstate {
    /// Which claim
    claim: ClaimId,
    /// Why
    #[arg(long, value_name = "REASON")]
    because: String,
}

#[derive(Args)]
pub(crate) struct Escalate {
    /// Whom or what it is about
    subject: String,
    /// What about it
    predicate: String,
}

#[derive(Args)]
pub(crate) struct Reconcile {
    /// Whom or what it is about [default: everything that is contested]
    #[arg(requires = "predicate")]
    subject: Option<String>,
    /// What about it
    predicate: Option<String>,
}

#[derive(Args)]
pub(crate) struct Adjudicate {
    /// Which question, as `claims pending` names it
    handle: HandleId,
    /// What is so
    #[arg(value_enum)]
    verdict: Answer,
    /// Why
    #[arg(long, value_name = "REASON")]
    because: Option<String>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Answer {
    /// The challenger is right: what it contradicts gives way
    Affirm,
    /// The challenger is wrong
    Deny,
    /// Nobody can tell: the line stays contested
    Unknown,
}

impl Retract {
    pub(super) async fn run(&self, output: &Output, db: &Mnemon, scope: &Scope) -> Done {
        let done = db.claims().retract(scope, self.claim, &self.because).await?;
        Ok(output.result(&done, || told(&done))?)
    }
}

impl Reinstate {
    pub(super) async fn run(&self, output: &Output, db: &Mnemon, scope: &Scope) -> Done {
        let done = db.claims().reinstate(scope, self.claim, &self.because).await?;
        Ok(output.result(&done, || told(&done))?)
    }
}

impl Escalate {
    pub(super) async fn run(&self, output: &Output, db: &Mnemon, scope: &Scope) -> Done {
        let line = Line::parse(&self.subject, &self.predicate)?;
        let done = db.claims().escalate(scope, &line).await?;
        Ok(output.result(&done, || told(&done))?)
    }
}

impl Reconcile {
    pub(super) async fn run(&self, output: &Output, db: &Mnemon, scope: &Scope) -> Done {
        let lines = match (&self.subject, &self.predicate) {
            (Some(subject), Some(predicate)) => vec![Line::parse(subject, predicate)?],
            _ => Vec::new(),
        };
        let done = db.claims().reconcile(scope, &lines).await?;
        Ok(output.result(&done, || told(&done))?)
    }
}

impl Adjudicate {
    pub(super) async fn run(&self, output: &Output, db: &Mnemon, scope: &Scope) -> Done {
        let verdict = match self.verdict {
            Answer::Affirm => Verdict::Affirm,
            Answer::Deny => Verdict::Deny,
            Answer::Unknown => Verdict::Unknown,
        };
        let response = AdjudicationResponse {
            because: self.because.clone(),
            ..AdjudicationResponse::new(self.handle, verdict)
        };
        let done = db.claims().submit_adjudication(scope, response).await?;
        let text = || format!("{} is {} now", done.claim_ref, done.disposition);
        Ok(output.result(&done, text)?)
    }
}

/// What a write did, a claim a line.
fn told(done: &Changed) -> String {
    let mut lines: Vec<String> = done
        .outcomes
        .iter()
        .map(|outcome| {
            let closed = outcome
                .closed_at
                .map(|at| format!(", closed at {} (reinstate opens it again)", show::moment(at)));
            let closed = closed.unwrap_or_default();
            format!("{} {}: {}{closed}", outcome.claim, outcome.kind, outcome.disposition)
        })
        .collect();
    lines.extend(done.escalated.iter().map(|handle| format!("asked as {handle}")));
    if lines.is_empty() {
        lines.push("nothing was to be done".to_owned());
    }
    if done.more {
        lines.push("more lines are contested: run it again".to_owned());
    }
    lines.join("\n")
}

/// The open questions of an agent, and how to answer one.
pub(super) async fn pending(output: &Output, db: &Mnemon, scope: &Scope, page: &PageArgs) -> Done {
    let found = db.claims().list_pending_adjudications(scope, &page.page()).await?;
    page::print(output, &found, &["question", "is it", "or", "asked"], row)?;
    if !output.json && !found.items.is_empty() {
        output
            .line("answer: mnemon claims adjudicate QUESTION affirm|deny|unknown --because WHY")?;
        output.line("affirm: it is so; deny: it is not; unknown: nobody can tell")?;
    }
    Ok(())
}

fn row(open: &PendingAdjudication) -> [String; 4] {
    let request = &open.request;
    let (line, challenger) = (&request.subject_line, &request.challenger);
    let weight = (request.criticality >= Criticality::High)
        .then(|| format!("criticality {}", request.criticality.as_str()));
    let question = [
        Some(format!("{} · {}", line.subject, line.predicate)),
        Some(open.handle_id.to_string()),
        weight,
    ];
    let against: Vec<String> = request
        .incumbents
        .iter()
        .map(|one| side(&one.value, one.provenance, &one.valid_time))
        .collect();
    let until = open.expires_at.map(|at| format!("until {}", show::moment(at)));
    let failed = open.last_error.as_ref().map(|error| format!("not put: {error}"));
    let asked = [Some(show::moment(open.queued_at)), until, failed];
    [
        question.into_iter().flatten().collect::<Vec<_>>().join("\n"),
        side(&challenger.value, challenger.provenance, &challenger.valid_time),
        against.join("\n"),
        asked.into_iter().flatten().collect::<Vec<_>>().join("\n"),
    ]
}

/// One side of a question: what it says, who said so, and when it holds.
fn side(value: &Value, provenance: Provenance, valid: &ValidTime) -> String {
    let dated = valid.start.is_some() || valid.end.is_some();
    let when = dated.then(|| window(valid).replace('\n', " "));
    let about = show::about([Some(source(provenance).to_owned()), when]);
    format!("{}\n({about})", show::value(value))
}
