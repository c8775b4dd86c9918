//! What this process wrote to threads last, so that whoever goes on there need not look first.
//!
//! A memory decides nothing: the statement that builds on it writes only if the thread's row is
//! still the very one that was written then, which every put, removal and setting of anybody
//! replaces. Where it is not, the put starts over with a look.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mnemon_core::checkpoints::manifest::{Content, Manifest};
use mnemon_core::checkpoints::pack::{Key, Packed};
use mnemon_core::checkpoints::place::Plan;
use mnemon_core::checkpoints::{Placed, Put, Thread};

use super::put::Locked;

/// Threads of one generation; two are kept.
const THREADS: usize = 500;
/// A longer manifest is not kept, nor is one that holds values itself.
const CHANNELS: usize = 64;
/// Keys of values known to be there, of one thread.
const KEYS: usize = 512;
/// How long a memory counts: a stamp is a transaction's number, and those come again after four
/// thousand million transactions.
const KEPT_FOR: Duration = Duration::from_mins(10);
/// How long a thread is not remembered to which others were found to write.
const SHARED_FOR: Duration = Duration::from_mins(1);

/// A thread as it was seen, or as it was written.
pub(super) struct Seen {
    pub(super) row: Locked,
    /// Another one as soon as anybody writes to the thread's row, which every put, removal and
    /// setting does: nothing that was seen is gone while it stands.
    pub(super) stamp: String,
    /// Of what a put builds on: the head, or the parent that was asked for.
    pub(super) manifest: Option<Manifest>,
    pub(super) key_id: Option<String>,
    /// Values that are there; others may be too.
    pub(super) present: HashSet<Key>,
}

impl Seen {
    /// A thread as a put leaves it that was written under this stamp: what was decided, whose the
    /// thread is, and which values were there before.
    pub(super) fn written(
        packed: &Packed<Put>,
        plan: Plan,
        stamp: String,
        owner: Option<String>,
        mut present: HashSet<Key>,
    ) -> (Placed, Self) {
        present.extend(packed.keys());
        let (placed, manifest) = (plan.placed, Some(plan.manifest));
        let row = Locked::written(&placed, owner, plan.fence);
        let key_id = plan.at_rest.key_id;
        (placed, Self { row, stamp, manifest, key_id, present })
    }

    /// Whether it is short enough to be kept.
    fn is_short(&self) -> bool {
        let Some(Manifest(channels)) = &self.manifest else { return false };
        channels.len() <= CHANNELS
            && self.present.len() <= KEYS
            && channels.values().all(|e| !matches!(e.content, Some(Content::Readable { .. })))
    }
}

enum Entry {
    Seen(Box<Seen>),
    /// Others write to it too.
    Shared,
}

#[derive(Default)]
struct Generations {
    young: HashMap<String, (Instant, Entry)>,
    old: HashMap<String, (Instant, Entry)>,
}

impl Generations {
    fn put(&mut self, key: String, entry: Entry) {
        if self.young.len() >= THREADS {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(key, (Instant::now(), entry));
    }
}

/// The threads this process wrote to last.
#[derive(Default)]
pub(crate) struct Heads(Mutex<Generations>);

impl Heads {
    /// What is known of a thread. Whoever goes on from it has it alone.
    pub(super) fn take(&self, tenant: &str, thread: &Thread) -> Option<Seen> {
        let mut kept = self.kept();
        let key = key(tenant, thread);
        let (since, entry) = kept.young.remove(&key).or_else(|| kept.old.remove(&key))?;
        match entry {
            Entry::Seen(seen) => (since.elapsed() < KEPT_FOR).then_some(*seen),
            Entry::Shared => {
                if since.elapsed() < SHARED_FOR {
                    kept.young.insert(key, (since, Entry::Shared));
                }
                None
            }
        }
    }

    /// Keeps what was just written to a thread.
    pub(super) fn keep(&self, tenant: &str, thread: &Thread, seen: Seen) {
        let key = key(tenant, thread);
        let mut kept = self.kept();
        if seen.is_short() && !kept.young.contains_key(&key) {
            kept.put(key, Entry::Seen(Box::new(seen)));
        }
    }

    /// Notes that what was known of a thread was not true any more.
    pub(super) fn share(&self, tenant: &str, thread: &Thread) {
        self.kept().put(key(tenant, thread), Entry::Shared);
    }

    fn kept(&self) -> MutexGuard<'_, Generations> {
        // Inserts and removals cannot be torn by a panic.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No name holds a NUL.
fn key(tenant: &str, thread: &Thread) -> String {
    format!("{tenant}\0{}\0{}", thread.thread_id, thread.namespace)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(head: &str) -> Seen {
        Seen {
            row: Locked {
                head_id: head.to_owned(),
                version: 1,
                user_id: None,
                fence_key: None,
                fence: None,
            },
            stamp: "7".to_owned(),
            manifest: Some(Manifest::default()),
            key_id: None,
            present: HashSet::new(),
        }
    }

    fn head(heads: &Heads, thread: &Thread) -> Option<String> {
        heads.take("acme", thread).map(|seen| seen.row.head_id)
    }

    #[test]
    fn what_is_known_is_had_by_one_and_by_its_tenant() {
        let (heads, thread) = (Heads::default(), Thread::new("t"));
        heads.keep("acme", &thread, seen("a"));

        assert!(heads.take("globex", &thread).is_none());
        assert!(head(&heads, &thread.clone().namespace("n")).is_none());
        assert_eq!(head(&heads, &thread).as_deref(), Some("a"));
        assert_eq!(head(&heads, &thread), None);
    }

    #[test]
    fn a_thread_that_others_write_to_is_not_remembered() {
        let (heads, thread) = (Heads::default(), Thread::new("t"));
        heads.share("acme", &thread);

        for _ in 0..2 {
            assert_eq!(head(&heads, &thread), None);
            heads.keep("acme", &thread, seen("a"));
        }
    }

    #[test]
    fn the_threads_of_longest_ago_are_forgotten() {
        let heads = Heads::default();
        let threads: Vec<_> = (0..=2 * THREADS).map(|n| Thread::new(format!("t{n}"))).collect();
        for thread in &threads {
            heads.keep("acme", thread, seen(&thread.thread_id));
        }

        assert_eq!(head(&heads, &threads[0]), None);
        assert_eq!(head(&heads, &threads[THREADS]).as_deref(), Some("t500"));
        assert_eq!(head(&heads, &threads[2 * THREADS]).as_deref(), Some("t1000"));
    }

    #[test]
    fn what_is_long_is_not_kept() {
        let (heads, thread) = (Heads::default(), Thread::new("t"));
        let present = (0..=KEYS).map(numbered).collect();
        heads.keep("acme", &thread, Seen { present, ..seen("a") });

        assert_eq!(head(&heads, &thread), None);
    }

    /// A key for each number.
    fn numbered(n: usize) -> Key {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_le_bytes());
        key
    }
}
