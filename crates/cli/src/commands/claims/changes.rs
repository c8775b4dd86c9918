//! `mnemon claims retract|reinstate|escalate|reconcile|pending|adjudicate`.

use clap::{Args, ValueEnum};
use mnemon::claims::{
    AdjudicationResponse, Changed, ClaimId, HandleId, Line, PendingAdjudication, Verdict,
};
use mnemon::{Mnemon, Scope};

use super::super::page::{self, PageArgs};
use super::super::{Done, show};
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

/// The open questions of an agent.
pub(super) async fn pending(output: &Output, db: &Mnemon, scope: &Scope, page: &PageArgs) -> Done {
    let found = db.claims().list_pending_adjudications(scope, &page.page()).await?;
    page::print(output, &found, &["question", "challenger", "against", "asked"], row)?;
    Ok(())
}

fn row(open: &PendingAdjudication) -> [String; 4] {
    let request = &open.request;
    let line = &request.subject_line;
    let against: Vec<String> =
        request.incumbents.iter().map(|believed| show::value(&believed.value)).collect();
    let until = open.expires_at.map(|at| format!("until {}", show::moment(at)));
    let failed = open.last_error.as_ref().map(|error| format!("not put: {error}"));
    let asked = [Some(show::moment(open.queued_at)), until, failed];
    [
        format!("{} · {}\n{}", line.subject, line.predicate, open.handle_id),
        show::value(&request.challenger.value),
        against.join("\n"),
        asked.into_iter().flatten().collect::<Vec<_>>().join("\n"),
    ]
}
