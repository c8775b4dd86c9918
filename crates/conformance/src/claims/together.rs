//! Cases for agents that speak at once: however a store merges their writes, each is decided and
//! answered as if alone.

use std::collections::BTreeSet;

use mnemon_core::claims::{
    AsOf, Asserted, BeliefStatus, ClaimId, Disposition, NewClaim, Rules, ValidTime,
};
use mnemon_core::{Page, RequestId, Result, Scope};

use super::ceo;
use crate::check::{fails_as, refused};
use crate::ctx::{Ctx, acme};

const AGENTS: usize = 40;
const ROUNDS: u32 = 5;

fn count(number: u32) -> usize {
    usize::try_from(number).expect("few")
}

/// Agents of two tenants, the same names in both.
fn agent(number: usize) -> Scope {
    let tenant = ["acme", "globex"][number % 2];
    Scope::tenant(tenant).agent(format!("agent {}", number / 2))
}

/// Every agent says what is made for it, at the same time.
async fn all_say(ctx: &Ctx, claim: impl Fn(usize) -> NewClaim) -> Vec<(usize, Result<Asserted>)> {
    let tasks: Vec<_> = (0..AGENTS)
        .map(|number| {
            let (store, claim) = (ctx.store(), claim(number));
            tokio::spawn(async move { store.claims().assert(&agent(number), claim, None).await })
        })
        .collect();
    let mut outcomes = Vec::new();
    for (number, task) in tasks.into_iter().enumerate() {
        outcomes.push((number, task.await.expect("no panic")));
    }
    outcomes
}

pub(crate) async fn agents_that_speak_at_once_are_each_answered(ctx: &Ctx) {
    let mut ids = BTreeSet::new();
    for round in 0..ROUNDS {
        // Succession for some, the same again for others, a conflict for the rest.
        let claim = |number: usize| match number % 3 {
            0 => {
                let (from, until) = (format!("{}", 2000 + round), format!("{}", 2001 + round));
                let valid_time = ValidTime::parse(Some(&from), Some(&until)).expect("a window");
                NewClaim { valid_time, ..ceo(format!("{number} in {from}")) }
            }
            1 => ceo(format!("{number}")),
            _ => ceo(format!("{number} or {round}")),
        };
        for (number, outcome) in all_say(ctx, claim).await {
            let told = outcome.expect("is written");
            let conflict = number % 3 == 2 && round > 0;
            let expected =
                if conflict { Disposition::Contested } else { Disposition::CommittedCheap };
            assert_eq!(told.disposition, expected, "{number}, round {round}");
            let with = if conflict { round } else { 0 };
            assert_eq!(told.contested_with.len(), count(with), "{number}, round {round}");
            ids.insert(told.id);
        }
    }

    assert_eq!(ids.len(), AGENTS * count(ROUNDS));
    for number in 0..AGENTS {
        let line = ceo("").line().expect("a line");
        let (at, _) = mnemon_core::claims::interval::parse_date("at", "2003-06").expect("a date");
        let belief = ctx.claims().belief(&agent(number), &line, AsOf::valid_at(at)).await;
        let belief = belief.expect("is read");
        match number % 3 {
            0 => assert_eq!(belief.value().expect("one"), &format!("{number} in 2003")),
            1 => {
                let primary = belief.primary.expect("one");
                assert_eq!(primary.value, number.to_string());
                assert_eq!(primary.currency_signal.corroboration_count, ROUNDS - 1);
            }
            _ => {
                assert_eq!(belief.status, BeliefStatus::Contested);
                assert_eq!(belief.alternatives.len(), count(ROUNDS));
            }
        }
        let verdict = ctx.claims().verify_audit(&agent(number)).await.expect("is read");
        assert_eq!((verdict.entries, verdict.broken), (i64::from(ROUNDS), None));
    }
    assert_eq!(ctx.claims().rebuild().await.expect("is rebuilt").differed, 0);
}

pub(crate) async fn one_that_is_refused_spoils_nothing_for_the_others(ctx: &Ctx) {
    all_say(ctx, |_| ceo("ada")).await.into_iter().for_each(|(_, outcome)| {
        outcome.expect("is written");
    });
    let nobody = ClaimId(uuid::Uuid::from_u128(7));
    let request = |number: usize| RequestId::parse(format!("request {number}")).ok();

    let mut first = Vec::new();
    for again in [false, true] {
        let claim = |number: usize| match number % 4 {
            0 => NewClaim { derived_from: vec![nobody], ..ceo("eve") },
            1 => NewClaim { subject: " ".into(), ..ceo("eve") },
            2 => NewClaim { request_id: request(number), ..ceo("bob") },
            _ => NewClaim { request_id: request(number), ..ceo("ada") },
        };
        for (number, outcome) in all_say(ctx, claim).await {
            match number % 4 {
                0 => {
                    fails_as(outcome, "not_found");
                }
                1 => {
                    refused(outcome, "subject");
                }
                place => {
                    let told = outcome.expect("is written");
                    let contested = told.disposition == Disposition::Contested;
                    assert_eq!((contested, told.created), (place == 2, !again), "{number}");
                    if !again {
                        first.push((number, told.id));
                    }
                    assert!(first.contains(&(number, told.id)), "a repeat answers the first");
                }
            }
        }
    }

    let entries = |number: usize| if number % 4 < 2 { 1 } else { 2 };
    for number in 0..AGENTS {
        let verdict = ctx.claims().verify_audit(&agent(number)).await.expect("is read");
        assert_eq!((verdict.entries, verdict.broken), (entries(number), None), "{number}");
    }
    fails_as(ctx.claims().assert(&acme(), ceo("ada"), None).await, "scope_required");
}

pub(crate) async fn questions_of_many_agents_come_with_their_claims(ctx: &Ctx) {
    ctx.claims().configure(Rules { oracle: true, ..Rules::default() });
    all_say(ctx, |_| ceo("ada")).await;

    for (number, outcome) in all_say(ctx, |_| ceo("bob")).await {
        let told = outcome.expect("is written");
        assert_eq!(told.disposition, Disposition::QueuedForAdjudication);
        let open = ctx.claims().list_pending_adjudications(&agent(number), &Page::default()).await;
        let open = open.expect("are listed").items;
        assert_eq!((open.len(), Some(open[0].handle_id)), (1, told.handle), "{number}");
        assert_eq!(open[0].challenger, told.id);
    }
}

pub(crate) async fn what_is_said_at_once_may_stand_on_other_claims(ctx: &Ctx) {
    let mut grounds = Vec::new();
    for (_, outcome) in all_say(ctx, |_| NewClaim::new("acme", "seat", "Rome")).await {
        grounds.push(outcome.expect("is written").id);
    }
    let court = |number: usize| NewClaim {
        depends_on: vec![grounds[number]],
        derived_from: vec![grounds[number]],
        ..NewClaim::new("acme", "court", "Rome's")
    };
    let mut standing = Vec::new();
    for (_, outcome) in all_say(ctx, court).await {
        standing.push(outcome.expect("is written").id);
    }

    for number in 0..AGENTS {
        let scope = agent(number);
        let done = ctx.claims().retract(&scope, grounds[number], "that was the branch").await;
        let done = done.expect("is taken back");
        let flagged = done.disposition_of(standing[number]);
        assert_eq!(flagged, Some(Disposition::PendingReview), "{number}");
    }
}
