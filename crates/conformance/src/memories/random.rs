//! Random operations, seeded, compared step by step with the reference model.

use mnemon_core::memories::{MemoryFilter, Namespace, NewMemory, Recall, Visibility};
use mnemon_core::{MemoryId, Scope};

use super::World;
use crate::check::{Dice, absent, everything, fails_as};
use crate::ctx::Ctx;
use crate::model::Write;

const STEPS: usize = 150;
const WORDS: [&str; 12] = [
    "lake",
    "kids",
    "quokka",
    "running",
    "runs",
    "Café",
    "cafe",
    "open_pool",
    "the",
    "May",
    "7",
    "red",
];

pub(crate) async fn random_operations_agree_with_the_model_seed_1(ctx: &Ctx) {
    run(ctx, 1).await;
}

pub(crate) async fn random_operations_agree_with_the_model_seed_2(ctx: &Ctx) {
    run(ctx, 2).await;
}

pub(crate) async fn random_operations_agree_with_the_model_seed_3(ctx: &Ctx) {
    run(ctx, 3).await;
}

pub(crate) async fn random_operations_agree_with_the_model_seed_4(ctx: &Ctx) {
    run(ctx, 4).await;
}

async fn run(ctx: &Ctx, seed: u64) {
    let mut dice = Dice::seeded(seed);
    let mut world = World::new(ctx);
    for step in 0..STEPS {
        let scope = scope(&mut dice);
        match dice.below(10) {
            0..=3 => remember(&mut world, &mut dice, &scope).await,
            4 => delete(&mut world, &mut dice, &scope).await,
            5 => get(&world, &mut dice, &scope).await,
            6 => list(&world, &mut dice, &scope).await,
            _ => recall(&world, &mut dice, &scope).await,
        }
        let count = ctx.memories().count(&scope).await.expect("a count");
        let expected = world.model.list(&scope, &MemoryFilter::default()).len();
        assert_eq!(count, expected as u64, "seed {seed}, step {step}, {scope:?}");
    }
}

async fn remember(world: &mut World<'_>, dice: &mut Dice, scope: &Scope) {
    let memory = memory(dice, scope);
    let expected = world.model.write(scope, &memory);
    let outcome = world.ctx.memories().remember(scope, memory.clone()).await;
    match expected {
        Write::Creates => {
            let done = outcome.expect("is kept");
            assert!(done.created, "{memory:?} by {scope:?}");
            world.model.keep(done.id, scope, memory);
        }
        Write::Finds(id) => {
            let done = outcome.expect("is found");
            assert_eq!((done.id, done.created), (id, false), "{memory:?} by {scope:?}");
        }
        Write::KeyTaken => {
            fails_as(outcome, "already_exists");
        }
    }
}

async fn delete(world: &mut World<'_>, dice: &mut Dice, scope: &Scope) {
    let Some(id) = some_id(world, dice) else { return };
    let outcome = world.ctx.memories().delete(scope, id).await;
    if world.model.deletes(scope, id) {
        outcome.expect("is deleted");
        world.model.delete(id);
    } else {
        absent(outcome);
    }
}

async fn get(world: &World<'_>, dice: &mut Dice, scope: &Scope) {
    let Some(id) = some_id(world, dice) else { return };
    let outcome = world.ctx.memories().get(scope, id).await;
    if world.model.shows(scope, id) {
        assert_eq!(outcome.expect("is visible").id, id);
    } else {
        absent(outcome);
    }
}

async fn list(world: &World<'_>, dice: &mut Dice, scope: &Scope) {
    let filter = filter(dice);
    let size = u32::try_from(dice.below(9) + 1).expect("a small number");
    let found = everything(world.ctx.memories(), scope, &filter, size).await;
    let found: Vec<MemoryId> = found.iter().map(|memory| memory.id).collect();
    assert_eq!(found, world.model.list(scope, &filter), "{filter:?} by {scope:?}");
}

async fn recall(world: &World<'_>, dice: &mut Dice, scope: &Scope) {
    let filter = filter(dice);
    let mut text = words(dice, 3);
    match dice.below(4) {
        0 => text = format!("\"{text}\""),
        1 => text = format!("{text} -{}", dice.pick(&WORDS)),
        _ => {}
    }
    let question = Recall { filter: filter.clone(), ..Recall::text(text.as_str()) };
    let hits = world.ctx.memories().recall(scope, &question).await.expect("an answer");
    world.assert_agrees(scope, &text, &filter, &hits);
}

fn some_id(world: &World<'_>, dice: &mut Dice) -> Option<MemoryId> {
    let rows = world.model.rows();
    (!rows.is_empty()).then(|| dice.pick(rows).id)
}

fn scope(dice: &mut Dice) -> Scope {
    let mut scope = Scope::tenant(*dice.pick(&["acme", "acme", "globex"]));
    scope.user = dice.pick(&[None, Some("ada"), Some("bob")]).map(str::to_owned);
    scope.agent = dice.pick(&[None, None, Some("planner")]).map(str::to_owned);
    scope.session = dice.pick(&[None, Some("s")]).map(str::to_owned);
    scope.groups = dice.pick(&[None, Some("red")]).map(str::to_owned).into_iter().collect();
    scope
}

fn memory(dice: &mut Dice, scope: &Scope) -> NewMemory {
    let key = dice.pick(&[None, None, None, Some("k1"), Some("k2")]).map(str::to_owned);
    let visibility = match dice.below(4) {
        0 => Some(Visibility::Tenant),
        1 => Some(Visibility::Shared),
        2 if scope.user.is_some() => Some(Visibility::Private),
        _ => None,
    };
    let shared = visibility == Some(Visibility::Shared);
    NewMemory {
        key,
        visibility,
        shared_with: if shared { vec!["red".to_owned()] } else { Vec::new() },
        namespace: namespace(dice),
        tags: dice
            .pick(&[None, Some("lake"), Some("odd")])
            .map(str::to_owned)
            .into_iter()
            .collect(),
        allow_duplicate: dice.below(8) == 0,
        ..NewMemory::new(words(dice, 4))
    }
}

fn words(dice: &mut Dice, most: usize) -> String {
    let count = dice.below(most) + 1;
    (0..count).map(|_| *dice.pick(&WORDS)).collect::<Vec<_>>().join(" ")
}

fn namespace(dice: &mut Dice) -> Namespace {
    Namespace::parse(*dice.pick(&["", "work", "work/plans", "workshop"])).expect("a path")
}

fn filter(dice: &mut Dice) -> MemoryFilter {
    let mut filter = MemoryFilter::default();
    match dice.below(5) {
        0 => filter.namespace = Some(namespace(dice)),
        1 => filter.tags = vec!["lake".to_owned()],
        2 => filter.tags = vec!["odd".to_owned(), "lake".to_owned()],
        _ => {}
    }
    filter
}
