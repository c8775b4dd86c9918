//! `mnemon claims history SUBJECT PREDICATE` and `claims subject SUBJECT`.

use clap::Args;
use mnemon::claims::{BeliefStatus, Line, SubjectBelief};
use mnemon::{Mnemon, Scope};

use super::super::page::{self, PageArgs};
use super::super::{Done, show};
use super::{When, stands_below, timeline};
use crate::output::{Output, width};

#[derive(Args)]
pub(crate) struct History {
    /// Whom or what it is about
    subject: String,
    /// What about it
    predicate: String,
    #[command(flatten)]
    when: When,
    #[command(flatten)]
    page: PageArgs,
}

impl History {
    pub(super) async fn run(&self, output: &Output, db: &Mnemon, scope: &Scope) -> Done {
        let line = Line::parse(&self.subject, &self.predicate)?;
        let page = self.page.page();
        let found = db.claims().history(scope, &line, self.when.at(), &page).await?;
        output.result(&found, || timeline::draw(&line, &found, usize::from(width())))?;
        Ok(())
    }
}

#[derive(Args)]
pub(crate) struct Subject {
    /// Whom or what it is about
    #[arg(value_name = "SUBJECT")]
    about: String,
    #[command(flatten)]
    when: When,
    #[command(flatten)]
    page: PageArgs,
}

impl Subject {
    pub(super) async fn run(&self, output: &Output, db: &Mnemon, scope: &Scope) -> Done {
        let (when, page) = (self.when.at(), self.page.page());
        let found = db.claims().query_subject(scope, &self.about, when, &page).await?;
        page::print(output, &found, &["property", "value", "status"], row)?;
        Ok(())
    }
}

fn row(told: &SubjectBelief) -> [String; 3] {
    let belief = &told.belief;
    let values: Vec<String> = match &belief.primary {
        Some(primary) => vec![show::value(&primary.value)],
        None => belief
            .alternatives
            .iter()
            .filter(|believed| !stands_below(belief, believed))
            .map(|believed| show::value(&believed.value))
            .collect(),
    };
    let status = match belief.status {
        BeliefStatus::Resolved => "resolved",
        BeliefStatus::Contested => "contested",
        BeliefStatus::TimingUncertain => "since when is not known",
        BeliefStatus::NoBelief => "nothing is believed",
    };
    [told.predicate.clone(), values.join("\n"), status.to_owned()]
}
