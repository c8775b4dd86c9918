//! Random steps, seeded, compared one by one with a reference model: what each is answered, and
//! how many rows of every kind stand.

mod world;

use mnemon_core::steps::{Outcome, Receipt, Write};
use mnemon_core::{Error, RequestId, Scope};

use self::world::{State, World};
use crate::check::Dice;
use crate::ctx::Ctx;

const ROUNDS: usize = 120;

pub(crate) async fn random_steps_agree_with_the_model_seed_1(ctx: &Ctx) {
    run(ctx, 1).await;
}

pub(crate) async fn random_steps_agree_with_the_model_seed_2(ctx: &Ctx) {
    run(ctx, 2).await;
}

pub(crate) async fn random_steps_agree_with_the_model_seed_3(ctx: &Ctx) {
    run(ctx, 3).await;
}

async fn run(ctx: &Ctx, seed: u64) {
    let (mut world, mut dice) = (World::new(ctx), Dice::seeded(seed));
    let mut told = [0; 4];
    for round in 0..ROUNDS {
        let what = format!("seed {seed}, round {round}");
        let scope = world::scope(&mut dice);
        match dice.below(10) {
            0 => world.turn_the_lock(&scope, &mut dice).await,
            1 => world.take(&scope, &mut dice).await,
            2 => ask(&world, &scope, &mut dice, &what).await,
            _ => told[commit(&mut world, &scope, &mut dice, &what).await] += 1,
        }
        if round % 10 == 9 {
            world.count(&what).await;
        }
    }
    assert!(
        told.iter().all(|times| *times > 0),
        "seed {seed}: written, repeated, refused: {told:?}"
    );
}

/// Asks for a receipt, of a step that happened or of none.
async fn ask(world: &World<'_>, scope: &Scope, dice: &mut Dice, what: &str) {
    let id = name(dice);
    let found = world.ctx.steps().receipt(scope, &id).await.expect("is asked");
    let expected = world.receipt(scope, &id).map(|(_, receipt)| receipt.clone());
    assert_eq!(found, expected, "{what}");
}

fn name(dice: &mut Dice) -> RequestId {
    RequestId::parse(format!("step {}", dice.below(12))).expect("a name")
}

/// Commits a step and compares; which of the four kinds of answers it was.
async fn commit(world: &mut World<'_>, scope: &Scope, dice: &mut Dice, what: &str) -> usize {
    let id = name(dice);
    let step = match world.last(scope, &id) {
        // Sent again as it was, or something else under its name.
        Some(step) if dice.below(2) == 0 => step,
        _ => world.step(scope, id.clone(), dice),
    };
    let step = if dice.below(3) == 0 { step.strict() } else { step };
    let found = world.ctx.steps().commit(scope, step.clone()).await;
    world.sent(scope, &step);
    if let Err(error) = step.check(scope) {
        assert_eq!(code(&found), error.code(), "{what}: {step:?}");
        return 3;
    }
    if let Some((fingerprint, first)) = world.receipt(scope, &id) {
        let differs = *fingerprint != step.fingerprint();
        if differs && step.strict {
            assert_eq!(code(&found), "step_reused", "{what}: {step:?}");
            return 3;
        }
        let expected = Receipt { differs, ..first.clone() };
        assert_eq!(found.unwrap_or_else(|error| panic!("{what}: {error:?}")), expected, "{what}");
        return if differs { 2 } else { 1 };
    }
    match world.expect(scope, &step) {
        Err(expected) => {
            assert_eq!(code(&found), expected, "{what}: {step:?}");
            3
        }
        Ok((mut state, outcomes)) => {
            let receipt = found.unwrap_or_else(|error| panic!("{what}: {error:?} of {step:?}"));
            assert!(!receipt.replayed && !receipt.differs && receipt.step_id == id, "{what}");
            assert_eq!(receipt.outcomes.len(), outcomes.len(), "{what}");
            for (at, expected) in outcomes.iter().enumerate() {
                let found = &receipt.outcomes[at];
                assert!(expected.is(found), "{what}: writes[{at}] {expected:?}, but {found:?}");
                learn(&mut state, scope, &step.writes[at], found);
            }
            world.keep(scope, &step, state, receipt);
            0
        }
    }
}

/// Notes the ids that the store made.
fn learn(state: &mut State, scope: &Scope, write: &Write, outcome: &Outcome) {
    match (write, outcome) {
        (Write::Remember(memory), Outcome::Remember(done)) => {
            state.learn_memory(scope, &memory.content, done.id);
        }
        (Write::Checkpoint(put), Outcome::Checkpoint(placed)) => {
            state.learn_head(scope, &put.thread.thread_id, &placed.id);
        }
        _ => {}
    }
}

fn code<T>(outcome: &Result<T, Error>) -> &'static str {
    outcome.as_ref().err().map_or("nothing", Error::code)
}
