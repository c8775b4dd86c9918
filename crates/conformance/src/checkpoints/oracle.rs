//! Whatever way a store takes to put a checkpoint (one statement that decides by itself, two, or a
//! transaction), it decides as `core::checkpoints::place::plan` does.

use mnemon_core::checkpoints::manifest::{Content, Entry, Manifest};
use mnemon_core::checkpoints::pack::{Packed, Stored};
use mnemon_core::checkpoints::place::{self, Standing};
use mnemon_core::checkpoints::{
    ChannelVersion, Checkpoint, CheckpointId, ExpectedHead, Head, Put, ThreadFilter,
};
use mnemon_core::{Error, Page};
use uuid::Uuid;

use super::{text, thread};
use crate::check::Dice;
use crate::ctx::{Ctx, acme};

const CHANNELS: [&str; 4] = ["a", "b", "c", "d"];

/// What a checkpoint holds, as core writes it down.
fn manifest(checkpoint: &Checkpoint) -> Manifest {
    let entry = |(name, version): (&String, &ChannelVersion)| {
        let content = checkpoint.channels.get(name).map(|value| {
            let (tag, size) = (value.type_tag.clone(), value.bytes.len());
            Content::Stored(Stored::at(tag, &value.hash(), size, None))
        });
        (name.clone(), Entry { version: version.clone(), content })
    };
    Manifest(checkpoint.channel_versions.iter().map(entry).collect())
}

async fn standing(ctx: &Ctx, put: &Put) -> Option<Standing> {
    let page = Page::first(10);
    let threads = ctx.checkpoints().list_threads(&acme(), &ThreadFilter::default(), &page).await;
    let info = threads.expect("a page").items.pop()?;
    let parent = put.parent.clone().unwrap_or_else(|| info.head.clone());
    let parent = match ctx.checkpoints().get(&acme(), &thread(), Some(&parent)).await {
        Ok(found) => Some(manifest(&found)),
        Err(Error::NotFound { .. }) => None,
        Err(error) => panic!("{error}"),
    };
    let head = Head { id: info.head, version: info.version };
    Some(Standing { head, owner: None, fence: None, parent, parent_key: None })
}

fn version(dice: &mut Dice) -> ChannelVersion {
    match dice.below(4) {
        0 => "1".into(),
        1 => i64::MAX.into(),
        2 => 1.into(),
        _ => 2.into(),
    }
}

fn random(dice: &mut Dice, ids: &[CheckpointId]) -> Put {
    let mut put = Put::new(thread());
    let counts = dice.below(3) == 0;
    let mut versions = std::collections::BTreeMap::new();
    for name in CHANNELS {
        let changes = dice.below(3) == 0;
        if changes {
            let value = text(["", "one", "two", "three"][dice.below(4)]);
            put = put.channel(name, value);
        } else if !counts && dice.below(6) == 0 {
            put.removed.insert(name.to_owned());
        }
        if counts && (changes || dice.below(2) == 0) {
            versions.insert(name.to_owned(), version(dice));
        }
    }
    put.channel_versions = counts.then_some(versions);
    let known = |dice: &mut Dice| {
        if ids.is_empty() || dice.below(8) == 0 {
            return CheckpointId("unknown".into());
        }
        dice.pick(ids).clone()
    };
    match dice.below(8) {
        0 => put.root = true,
        1 | 2 => put.parent = Some(known(dice)),
        _ => {}
    }
    match dice.below(8) {
        0 => put.expected_head = ExpectedHead::Empty,
        1 => put.expected_head = ExpectedHead::Is(known(dice)),
        2 => put.expected_head = ids.last().cloned().map_or(ExpectedHead::Any, ExpectedHead::Is),
        _ => {}
    }
    if dice.below(4) == 0 {
        // Some are below the head's: they are refused.
        put.id = Some(CheckpointId((1_000 + dice.below(2_000) + 20 * ids.len()).to_string()));
    }
    put
}

pub(crate) async fn every_put_is_decided_as_core_decides_it(ctx: &Ctx) {
    let mut dice = Dice::seeded(7);
    let mut ids: Vec<CheckpointId> = Vec::new();
    let (mut done, mut refused) = (0, 0);
    for _ in 0..150 {
        let put = random(&mut dice, &ids);
        if put.check().is_err() {
            continue;
        }
        let standing = standing(ctx, &put).await;
        let fresh = Uuid::now_v7();
        let plan = place::plan(standing.as_ref(), &Packed::of(put.clone()), None, &[], fresh);

        let outcome = ctx.checkpoints().put(&acme(), put.clone(), None).await;

        match (plan, outcome) {
            (Ok(plan), Ok(placed)) => {
                done += 1;
                assert_eq!(
                    (&placed.parent, placed.version),
                    (&plan.placed.parent, plan.placed.version)
                );
                assert!(put.id.is_none_or(|id| id == placed.id));
                assert!(ids.last().is_none_or(|last| *last < placed.id));
                let newest =
                    ctx.checkpoints().get(&acme(), &thread(), None).await.expect("is there");
                assert_eq!(newest.id, placed.id);
                assert_eq!(manifest(&newest), plan.manifest);
                ids.push(placed.id);
            }
            (Err(core), Err(store)) => {
                refused += 1;
                assert_eq!(core.to_string(), store.to_string());
            }
            (core, store) => panic!("core says {core:?}, the store {store:?}, to {put:?}"),
        }
    }
    assert!(done > 40 && refused > 15, "{done} done, {refused} refused");
}
