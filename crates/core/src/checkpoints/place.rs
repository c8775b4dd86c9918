//! Where a put is placed in its thread, and what it writes: decided against the thread as a store
//! found it.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::manifest::Manifest;
use super::pack::Packed;
use super::put::{CheckpointId, ExpectedHead, Put};
use super::seal::AtRest;
use super::thread::Thread;
use crate::error::{Error, Result};
use crate::limits;
use crate::locks::Guard;

/// A thread's newest checkpoint, as a store found it under the thread's lock.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Head {
    /// Its id.
    pub id: CheckpointId,
    /// The greatest version the thread gave out.
    pub version: i64,
}

/// What a put becomes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Placed {
    /// The id it gets.
    pub id: CheckpointId,
    /// What it builds on.
    pub parent: Option<CheckpointId>,
    /// The version it gets: one above the head's.
    pub version: i64,
}

/// Decides a put against the thread's head. `fresh` is a new `UUIDv7`; where the clock ran behind
/// it is raised above the head's id, so that newest, greatest version and greatest id agree.
///
/// # Errors
///
/// [`Error::Conflict`] when the head is not the expected one; [`Error::Invalid`] when the
/// caller's id is not above the head's, or the head's leaves no room for a generated one above it.
pub fn place(head: Option<&Head>, put: &Put, fresh: Uuid) -> Result<Placed> {
    let met = match (&put.expected_head, head) {
        (ExpectedHead::Any, _) | (ExpectedHead::Empty, None) => true,
        (ExpectedHead::Is(id), Some(head)) => *id == head.id,
        (ExpectedHead::Empty, Some(_)) | (ExpectedHead::Is(_), None) => false,
    };
    if !met {
        return Err(Error::Conflict {
            kind: "thread",
            key: put.thread.to_string(),
            expected: None,
            actual: head.map(|head| head.version),
        });
    }
    let parent = if put.root {
        None
    } else {
        put.parent.clone().or_else(|| head.map(|head| head.id.clone()))
    };
    let id = match (&put.id, head) {
        (Some(id), Some(head)) if *id <= head.id => {
            return Err(Error::invalid("id", format!("is not above the newest one, {}", head.id)));
        }
        (Some(id), _) => id.clone(),
        (None, head) => raise(fresh, head.map(|head| &head.id))?,
    };
    Ok(Placed { id, parent, version: head.map_or(0, |head| head.version) + 1 })
}

fn raise(fresh: Uuid, head: Option<&CheckpointId>) -> Result<CheckpointId> {
    let plain = CheckpointId(fresh.to_string());
    let Some(head) = head.filter(|head| plain <= **head) else { return Ok(plain) };
    if let Some(next) = after(&head.0, fresh) {
        return Ok(CheckpointId(next));
    }
    // A caller's own scheme sorts above every UUID: a longer text is greater. The next one takes
    // the place of this one's UUID, so that ids do not grow with every put.
    let next =
        match head.0.rsplit_once('.').and_then(|(own, last)| Some((own, after(last, fresh)?))) {
            Some((own, last)) => format!("{own}.{last}"),
            None => format!("{}.{fresh}", head.0),
        };
    if next.len() > limits::CHECKPOINT_ID_BYTES {
        return Err(Error::invalid(
            "id",
            format!("must be given: after the newest one, {head}, a generated one is too long"),
        ));
    }
    Ok(CheckpointId(next))
}

/// The fresh UUID, or where it is not above this text the next one after it; `None` when the text
/// is no UUID as they are written here, or the last one.
fn after(text: &str, fresh: Uuid) -> Option<String> {
    let uuid = Uuid::parse_str(text).ok().filter(|uuid| uuid.to_string() == text)?;
    let next = Uuid::from_u128(uuid.as_u128().checked_add(1)?);
    Some(next.max(fresh).to_string())
}

/// Under which fence the next head stands: a thread written under one refuses writers without it.
///
/// Of several guards the one of the thread's own lock counts; on a thread without one, the first
/// by key.
///
/// # Errors
///
/// [`Error::Fenced`] when the thread's head was written under a fence that is not among these.
pub fn fence<'a>(standing: Option<&Guard>, guards: &'a [Guard]) -> Result<Option<&'a Guard>> {
    let Some(standing) = standing else { return Ok(guards.iter().min()) };
    guards
        .iter()
        .find(|guard| guard.key == standing.key && guard.fence >= standing.fence)
        .map(Some)
        .ok_or_else(|| Error::Fenced { key: standing.key.clone() })
}

/// A thread as a store found it.
#[derive(Clone, PartialEq, Debug)]
pub struct Standing {
    /// Its newest checkpoint.
    pub head: Head,
    /// Whose it is; `None`: every user's of the tenant.
    pub owner: Option<String>,
    /// The fence its head was written under.
    pub fence: Option<Guard>,
    /// What the parent of the put holds; `None`: there is no such checkpoint.
    pub parent: Option<Manifest>,
    /// The key that the parent is encrypted under.
    pub parent_key: Option<String>,
}

/// What a put writes.
#[derive(Clone, PartialEq, Debug)]
pub struct Plan {
    /// Where it stands.
    pub placed: Placed,
    /// What it holds.
    pub manifest: Manifest,
    /// The fence the thread stands under from now on.
    pub fence: Option<Guard>,
    /// The metadata as it is kept.
    pub at_rest: AtRest,
}

/// Decides a put: who may write, where it is placed, what it holds. `fresh` is a new `UUIDv7`.
///
/// # Errors
///
/// [`Error::NotFound`] for another user's thread and for an unknown parent; [`Error::Sealed`] for a
/// parent that is encrypted where the put is not, or the other way round; as [`fence`] and [`place`].
pub fn plan(
    standing: Option<&Standing>,
    packed: &Packed<Put>,
    user: Option<&str>,
    guards: &[Guard],
    fresh: Uuid,
) -> Result<Plan> {
    let put = packed.given();
    if let Some(standing) = standing {
        check_owner(&put.thread, standing.owner.as_deref(), user)?;
    }
    let fence = fence(standing.and_then(|standing| standing.fence.as_ref()), guards)?.cloned();
    let placed = place(standing.map(|standing| &standing.head), put, fresh)?;
    let nothing = Manifest::default();
    let before = match &placed.parent {
        None => &nothing,
        Some(parent) => {
            let found = standing.and_then(|standing| standing.parent.as_ref());
            let found = found.ok_or_else(|| Error::not_found("checkpoint", parent))?;
            packed.check_base(standing.and_then(|standing| standing.parent_key.as_deref()))?;
            found
        }
    };
    let manifest = before.next(packed);
    let at_rest = packed.at_rest(&placed, &manifest);
    Ok(Plan { placed, manifest, fence, at_rest })
}

/// Refuses another user's thread as one that is not there.
///
/// # Errors
///
/// [`Error::NotFound`].
pub fn check_owner(thread: &Thread, owner: Option<&str>, user: Option<&str>) -> Result<()> {
    match (user, owner) {
        (Some(user), Some(owner)) if user != owner => Err(Error::not_found("thread", thread)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Fence;

    fn head(id: &str, version: i64) -> Head {
        Head { id: CheckpointId(id.into()), version }
    }

    #[test]
    fn a_clock_that_ran_behind_does_not_put_the_newest_below_the_head() {
        let head = head("ffffffff-0000-7000-8000-000000000001", 4);
        let put = Put::new(Thread::new("t"));

        let placed = place(Some(&head), &put, Uuid::from_u128(1)).unwrap();

        assert!(placed.id > head.id);
        assert_eq!(placed.version, 5);
        assert_eq!(placed.parent, Some(head.id));
    }

    #[test]
    fn an_id_of_another_scheme_is_followed_by_a_greater_one() {
        for id in ["step-9", "ffffffff-ffff-ffff-ffff-ffffffffffff", "{F}", "FFFF"] {
            let head = head(id, 1);
            let put = Put::new(Thread::new("t"));
            let placed = place(Some(&head), &put, Uuid::from_u128(1)).unwrap();

            assert!(placed.id > head.id, "{id}");
        }
    }

    #[test]
    fn generated_ids_after_a_caller_s_do_not_grow() {
        let put = Put::new(Thread::new("t"));
        let mut newest = head("step-9", 1);
        for n in 0..100 {
            let placed = place(Some(&newest), &put, Uuid::from_u128(n)).unwrap();
            assert!(placed.id > newest.id && placed.id.0.len() <= "step-9.".len() + 36);
            newest = Head { id: placed.id, version: placed.version };
        }
        let long = head(&"z".repeat(limits::CHECKPOINT_ID_BYTES), 1);
        let refused = place(Some(&long), &put, Uuid::from_u128(1));
        assert!(matches!(refused, Err(Error::Invalid { field, .. }) if field == "id"));
    }

    #[test]
    fn another_head_than_expected_is_a_conflict() {
        let put = Put {
            expected_head: ExpectedHead::Is(CheckpointId("a".into())),
            ..Put::new(Thread::new("t"))
        };

        assert!(matches!(
            place(Some(&head("b", 2)), &put, Uuid::from_u128(1)),
            Err(Error::Conflict { actual: Some(2), .. })
        ));
    }

    #[test]
    fn a_root_has_no_parent() {
        let put = Put { root: true, ..Put::new(Thread::new("t")) };

        let placed = place(Some(&head("a", 2)), &put, Uuid::from_u128(1)).unwrap();

        assert_eq!((placed.parent, placed.version), (None, 3));
    }

    #[test]
    fn a_fenced_thread_takes_its_own_lock_s_newer_fence_only() {
        let guard = |key: &str, fence| Guard { key: key.into(), fence: Fence(fence) };
        let standing = guard("k", 4);

        assert_eq!(fence(None, &[]).unwrap(), None);
        assert_eq!(fence(None, &[guard("k", 1)]).unwrap(), Some(&guard("k", 1)));
        assert!(matches!(fence(Some(&standing), &[]), Err(Error::Fenced { .. })));
        assert!(fence(Some(&standing), &[guard("k", 3)]).is_err());
        assert!(fence(Some(&standing), &[guard("other", 9)]).is_err());
        let guards = [guard("a", 9), guard("k", 5)];
        assert_eq!(fence(Some(&standing), &guards).unwrap(), Some(&guards[1]));
    }
}
