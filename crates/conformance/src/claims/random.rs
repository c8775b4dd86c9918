//! Random operations beside a reference model: claims in a plain vector, changed by nothing but
//! what the store answered, and a belief read off them by the rules in words.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use mnemon_core::claims::{
    AdjudicationResponse, AsOf, Asserted, Belief, BeliefStatus, Cardinality, Changed, ClaimId,
    Disposition, HandleId, HistoryStatus, LedgerKind, Line, NewClaim, Provenance, Rules, Verdict,
};
use mnemon_core::{Error, Page};

use super::planner;
use crate::check::{Dice, at};
use crate::ctx::Ctx;

const STEPS: usize = 60;

pub(crate) async fn random_claims_agree_with_the_model_seed_1(ctx: &Ctx) {
    run(ctx, 1).await;
}

pub(crate) async fn random_claims_agree_with_the_model_seed_2(ctx: &Ctx) {
    run(ctx, 2).await;
}

pub(crate) async fn random_claims_agree_with_the_model_seed_3(ctx: &Ctx) {
    run(ctx, 3).await;
}

fn lines() -> [Line; 2] {
    ["ceo", "seat"].map(|predicate| Line::parse("acme", predicate).expect("a line"))
}

fn year(year: usize) -> DateTime<Utc> {
    at(i32::try_from(2000 + year).expect("a year"), 1, 1, 0)
}

fn claim(dice: &mut Dice, known: &[ClaimId]) -> NewClaim {
    let line = dice.pick(&lines()).clone();
    let mut claim = NewClaim::new(line.subject, line.predicate, dice.below(3));
    if dice.below(4) > 0 {
        let start = dice.below(20);
        claim.valid_time.start = Some(year(start));
        claim.valid_time.end = (dice.below(2) == 0).then(|| year(start + 1 + dice.below(8)));
        claim.valid_time.valid_time_confidence = *dice.pick(&[1.0, 1.0, 0.8, 0.3]);
    }
    if dice.below(6) == 0 {
        claim.provenance = Provenance::ModelDerived;
    }
    if dice.below(5) == 0 {
        claim.cardinality = Cardinality::SetValued;
    }
    if dice.below(6) == 0 && !known.is_empty() {
        claim.depends_on = vec![*dice.pick(known)];
    }
    claim
}

/// A claim of the model.
struct Kept {
    id: ClaimId,
    said: NewClaim,
    disposition: Disposition,
    closed_at: Option<DateTime<Utc>>,
}

/// The claims of an agent, as its answers tell.
#[derive(Default)]
struct Model(Vec<Kept>);

impl Model {
    fn say(&mut self, said: NewClaim, done: &Asserted) {
        let (id, disposition) = (done.id, done.disposition);
        self.0.push(Kept { id, said, disposition, closed_at: None });
    }

    fn change(&mut self, done: &Changed) {
        for outcome in &done.outcomes {
            let kept = self.0.iter_mut().find(|kept| kept.id == outcome.claim);
            let kept = kept.expect("only claims that were said change");
            kept.disposition = outcome.disposition;
            let reopened = outcome.kind == LedgerKind::Reinstated;
            let earlier = kept.closed_at.filter(|_| !reopened);
            kept.closed_at = [earlier, outcome.closed_at].into_iter().flatten().min();
        }
    }

    /// The status and the values of a line at a time.
    fn belief(&self, line: &Line, at: DateTime<Utc>) -> (BeliefStatus, BTreeSet<String>) {
        let holding: Vec<&Kept> = self
            .0
            .iter()
            .filter(|kept| kept.said.subject == line.subject)
            .filter(|kept| kept.said.predicate == line.predicate)
            .filter(|kept| kept.holds(at))
            .collect();
        read_off(&holding)
    }
}

impl Kept {
    fn holds(&self, at: DateTime<Utc>) -> bool {
        use Disposition::{Invalidated, Quarantined, Rejected, Superseded};

        let window = self.said.valid_time;
        let trusted = window.start.is_some() && window.valid_time_confidence >= 0.7;
        let ended = self.disposition == Superseded || self.closed_at.is_some();
        let end = [window.end, self.closed_at].into_iter().flatten().min();
        let inside = window.start.is_none_or(|start| start <= at) && end.is_none_or(|end| at < end);
        let out = matches!(self.disposition, Invalidated | Quarantined | Rejected);
        !out && if trusted { inside } else { !ended }
    }

    fn is_weak(&self) -> bool {
        self.said.provenance == Provenance::ModelDerived
            || self.disposition == Disposition::PendingLowConfidence
    }
}

/// Strong claims hide weak ones; one value is believed; several are contested unless all are of a
/// set.
fn read_off(holding: &[&Kept]) -> (BeliefStatus, BTreeSet<String>) {
    let strong: Vec<&&Kept> = holding.iter().filter(|kept| !kept.is_weak()).collect();
    let counted = if strong.is_empty() { holding.iter().collect() } else { strong };
    let values: BTreeSet<String> = counted.iter().map(|kept| kept.said.value.to_string()).collect();
    let set = counted.iter().all(|kept| kept.said.cardinality == Cardinality::SetValued);
    let dated = counted.iter().any(|kept| kept.said.valid_time.start.is_some());
    let status = match values.len() {
        0 => BeliefStatus::NoBelief,
        1 if dated => BeliefStatus::Resolved,
        1 => BeliefStatus::TimingUncertain,
        _ if set => BeliefStatus::Resolved,
        _ => BeliefStatus::Contested,
    };
    (status, values)
}

/// What a belief shows, without what stands below it.
fn shown(belief: &Belief) -> BTreeSet<String> {
    let all = || belief.primary.iter().chain(&belief.alternatives);
    let weak = |believed: &&mnemon_core::claims::Believed| {
        believed.provenance == Provenance::ModelDerived
            || believed.disposition == Disposition::PendingLowConfidence
    };
    let strong: BTreeSet<String> =
        all().filter(|b| !weak(b)).map(|b| b.value.to_string()).collect();
    if strong.is_empty() { all().map(|b| b.value.to_string()).collect() } else { strong }
}

async fn run(ctx: &Ctx, seed: u64) {
    let mut dice = Dice::seeded(seed);
    let oracle = seed.is_multiple_of(2);
    ctx.claims().configure(Rules { oracle, ..Rules::default() });
    let claims = ctx.claims();
    let mut known: Vec<ClaimId> = Vec::new();
    let mut model = Model::default();
    let mut snapshots: Vec<(Line, Belief)> = Vec::new();
    for _ in 0..STEPS {
        let outcome = match dice.below(10) {
            0 if !known.is_empty() => claims.retract(&planner(), *dice.pick(&known), "why").await,
            1 if !known.is_empty() => claims.reinstate(&planner(), *dice.pick(&known), "why").await,
            2 => claims.reconcile(&planner(), &[]).await,
            3 => claims.escalate(&planner(), dice.pick(&lines())).await,
            4 => match open(ctx).await.first() {
                Some(handle) => {
                    let verdict = *dice.pick(&[Verdict::Affirm, Verdict::Deny, Verdict::Unknown]);
                    let response = AdjudicationResponse::new(*handle, verdict);
                    let write = mnemon_core::claims::ClaimWrite::Adjudicate { response };
                    claims.change(&planner(), write, None).await
                }
                None => Ok(Changed::default()),
            },
            _ => {
                let new = claim(&mut dice, &known);
                let done = claims.assert(&planner(), new.clone(), None).await.expect("is written");
                known.push(done.id);
                model.say(new, &done);
                Ok(Changed::default())
            }
        };
        match outcome {
            Ok(done) => model.change(&done),
            Err(Error::NotFound { .. } | Error::AlreadyExists { .. }) => {}
            Err(Error::Setup { .. }) => assert!(!oracle, "there is one"),
            Err(error) => panic!("{error}"),
        }
        let line = dice.pick(&lines()).clone();
        let valid_at = year(dice.below(30));
        let belief = claims.belief(&planner(), &line, AsOf::valid_at(valid_at)).await;
        let belief = belief.expect("is read");
        assert_eq!((belief.status, shown(&belief)), model.belief(&line, valid_at), "{belief:#?}");
        snapshots.push((line, belief));
    }
    check(ctx, &snapshots).await;
}

async fn open(ctx: &Ctx) -> Vec<HandleId> {
    let open = ctx.claims().list_pending_adjudications(&planner(), &Page::first(5)).await;
    open.expect("are listed").items.into_iter().map(|open| open.handle_id).collect()
}

/// What was read from the projection is what the ledger says of that time, and a history's claims
/// fold into the same belief.
async fn check(ctx: &Ctx, snapshots: &[(Line, Belief)]) {
    let claims = ctx.claims();
    for (line, then) in snapshots {
        let when = AsOf { as_of: then.as_of, valid_at: Some(then.valid_at) };
        if then.as_of.is_some() {
            let again = claims.belief(&planner(), line, when).await.expect("is read");
            assert_eq!(&again, then);
        }
    }
    let rebuilt = claims.rebuild().await.expect("is rebuilt");
    assert_eq!(rebuilt.differed, 0, "the projection is the fold of the ledger");
    let verdict = claims.verify_audit(&planner()).await.expect("is verified");
    assert_eq!(verdict.broken, None);
    for line in lines() {
        let page = Page::first(500);
        let history = claims.history(&planner(), &line, AsOf::default(), &page).await;
        let history = history.expect("is read");
        let belief = claims.belief(&planner(), &line, AsOf::default()).await.expect("is read");
        let current = history.entries.iter().filter(|entry| {
            matches!(entry.status, HistoryStatus::Current | HistoryStatus::Contested)
        });
        let values: BTreeSet<String> = current.map(|entry| entry.value.to_string()).collect();
        let none = values.is_empty();
        assert_eq!(none, belief.status == BeliefStatus::NoBelief, "{history:#?}");
    }
}
