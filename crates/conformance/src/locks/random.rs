//! Random requests for locks, seeded, compared one by one with what core decides of a row in
//! memory. Times are hours apart, so that what the real clock adds meanwhile decides nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use mnemon_core::events::{Append, NewEvent, SYSTEM_STREAM};
use mnemon_core::locks::{Guard, Held, Lease, Verdict, decide};
use mnemon_core::{Error, Fence, Page, Scope};
use serde_json::Value;

use crate::check::{Dice, fails_as};
use crate::ctx::Ctx;

const ROUNDS: usize = 120;
/// The real clock may add as much in a case.
const SLACK: TimeDelta = TimeDelta::minutes(15);
const HALF_AN_HOUR: Duration = Duration::from_mins(30);

pub(crate) async fn random_requests_agree_with_the_model_seed_1(ctx: &Ctx) {
    run(ctx, 1).await;
}

pub(crate) async fn random_requests_agree_with_the_model_seed_2(ctx: &Ctx) {
    run(ctx, 2).await;
}

pub(crate) async fn random_requests_agree_with_the_model_seed_3(ctx: &Ctx) {
    run(ctx, 3).await;
}

/// A tenant's keys as they must stand.
type Keys = BTreeMap<String, (Held, DateTime<Utc>)>;

struct World<'c> {
    ctx: &'c Ctx,
    dice: Dice,
    /// The model's clock: what it was moved by, and nothing else.
    now: DateTime<Utc>,
    tenants: BTreeMap<&'static str, Keys>,
    /// Writes that landed, per tenant; and forced releases.
    landed: BTreeMap<&'static str, usize>,
    forced: BTreeMap<&'static str, usize>,
}

async fn run(ctx: &Ctx, seed: u64) {
    let mut world = World {
        ctx,
        dice: Dice::seeded(seed),
        now: ctx.now().await,
        tenants: BTreeMap::new(),
        landed: BTreeMap::new(),
        forced: BTreeMap::new(),
    };
    for round in 0..ROUNDS {
        let what = format!("seed {seed}, round {round}");
        world.step(&what).await;
    }
    for tenant in ["acme", "globex"] {
        let events = |stream| async move {
            let page = Page::first(500);
            let found = ctx.events().read(&Scope::tenant(tenant), stream, &page).await;
            found.expect("is read").items.len()
        };
        let of = |counts: &BTreeMap<&str, usize>| counts.get(tenant).copied().unwrap_or_default();
        assert_eq!(events("guarded").await, of(&world.landed), "only newest holders wrote");
        assert_eq!(events(SYSTEM_STREAM).await, of(&world.forced), "every force is noted");
    }
}

impl World<'_> {
    async fn step(&mut self, what: &str) {
        let tenant = *self.dice.pick(&["acme", "acme", "globex"]);
        let scope = Scope::tenant(tenant);
        let key = *self.dice.pick(&["a", "b", "c"]);
        match self.dice.below(12) {
            0..4 => self.acquire(&scope, tenant, key, what).await,
            4 | 5 => self.renew(&scope, tenant, key, what).await,
            6 => self.release(&scope, tenant, key, what).await,
            7 => self.force(&scope, tenant, key, what).await,
            8 | 9 => self.write(&scope, tenant, key, what).await,
            _ => {
                // Forwards mostly, backwards too.
                let by = TimeDelta::hours(*self.dice.pick(&[1, 2, 2, -1]));
                self.ctx.move_clock(by).await;
                self.now += by;
            }
        }
        self.check(&scope, tenant, what).await;
    }

    fn row(&self, tenant: &str, key: &str) -> Option<&Held> {
        self.tenants.get(tenant)?.get(key).map(|(held, _)| held)
    }

    /// Half an hour, or that and some hours: no lease ends when something else happens.
    fn ttl(&mut self) -> Duration {
        HALF_AN_HOUR + Duration::from_hours(self.dice.below(3) as u64)
    }

    /// The newest fence of a key, or an older one.
    fn guard(&mut self, tenant: &str, key: &str) -> Guard {
        let newest = self.row(tenant, key).map_or(1, |held| held.fence.0);
        let back = i64::from(self.dice.below(4) == 0);
        Guard { key: key.to_owned(), fence: Fence(newest - back) }
    }

    /// The row whose newest fence this is.
    fn newest(&self, tenant: &str, guard: &Guard) -> Option<Held> {
        self.row(tenant, &guard.key).filter(|held| held.fence == guard.fence).cloned()
    }

    fn keep(&mut self, tenant: &'static str, key: &str, held: Held, since: DateTime<Utc>) {
        self.tenants.entry(tenant).or_default().insert(key.to_owned(), (held, since));
    }

    fn since(&self, tenant: &str, key: &str) -> DateTime<Utc> {
        self.tenants.get(tenant).and_then(|keys| keys.get(key)).map_or(self.now, |(_, at)| *at)
    }

    async fn acquire(&mut self, scope: &Scope, tenant: &'static str, key: &str, what: &str) {
        let holder = *self.dice.pick(&["one", "two", "three"]);
        let (ttl, now) = (self.ttl(), self.now);
        let found = self.ctx.locks().acquire(scope, key, holder, ttl).await;
        let (fence, since) = match decide(self.row(tenant, key), holder, now) {
            Verdict::Refuse { until } => {
                let held = matches!(&found, Err(Error::Held { until: told, .. })
                    if near(*told, until));
                assert!(held, "{what}: {found:?}, held until {until}");
                return;
            }
            Verdict::Grant(fence) => (fence, now),
            Verdict::Renew(fence) => (fence, self.since(tenant, key)),
        };
        let held = Held { holder: Some(holder.to_owned()), fence, expires_at: now + ttl };
        let lease = found.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        same(&lease, &held, since, what);
        self.keep(tenant, key, held, since);
    }

    async fn renew(&mut self, scope: &Scope, tenant: &'static str, key: &str, what: &str) {
        let (guard, ttl) = (self.guard(tenant, key), self.ttl());
        let found = self.ctx.locks().renew(scope, &guard, ttl).await;
        let Some(held) = self.newest(tenant, &guard).filter(|held| held.holder.is_some()) else {
            fails_as(found, "fenced");
            return;
        };
        let (held, since) = (Held { expires_at: self.now + ttl, ..held }, self.since(tenant, key));
        same(&found.unwrap_or_else(|error| panic!("{what}: {error:?}")), &held, since, what);
        self.keep(tenant, key, held, since);
    }

    async fn release(&mut self, scope: &Scope, tenant: &'static str, key: &str, what: &str) {
        let guard = self.guard(tenant, key);
        let found = self.ctx.locks().release(scope, &guard).await;
        let Some(held) = self.newest(tenant, &guard) else {
            fails_as(found, "fenced");
            return;
        };
        found.unwrap_or_else(|error| panic!("{what}: {error:?}"));
        let since = self.since(tenant, key);
        self.keep(tenant, key, Held { holder: None, ..held }, since);
    }

    async fn force(&mut self, scope: &Scope, tenant: &'static str, key: &str, what: &str) {
        let found = self.ctx.locks().force_release(scope, key).await;
        let Some(held) = self.row(tenant, key).cloned() else {
            fails_as(found, "not_found");
            return;
        };
        let fence = Fence(held.fence.0 + 1);
        assert_eq!(found.unwrap_or_else(|error| panic!("{what}: {error:?}")), fence, "{what}");
        let since = self.since(tenant, key);
        self.keep(tenant, key, Held { holder: None, fence, ..held }, since);
        *self.forced.entry(tenant).or_default() += 1;
    }

    /// A write under a guard lands as long as nobody newer came, also after the lease's end.
    async fn write(&mut self, scope: &Scope, tenant: &'static str, key: &str, what: &str) {
        let guard = self.guard(tenant, key);
        let events = vec![NewEvent::new("a.b", Value::Null)];
        let append = Append { stream: "guarded".into(), events, expected_version: None };
        let found = self.ctx.events().append(scope, append, Some(&guard)).await;
        if self.newest(tenant, &guard).is_some_and(|held| held.holder.is_some()) {
            found.unwrap_or_else(|error| panic!("{what}: {error:?}"));
            *self.landed.entry(tenant).or_default() += 1;
        } else {
            fails_as(found, "fenced");
        }
    }

    /// Every live lease is listed, and no other.
    async fn check(&self, scope: &Scope, tenant: &str, what: &str) {
        let none = Keys::new();
        let keys = self.tenants.get(tenant).unwrap_or(&none);
        let live: Vec<(&String, &Held)> = keys
            .iter()
            .map(|(key, (held, _))| (key, held))
            .filter(|(_, held)| held.holder.is_some() && held.expires_at > self.now)
            .collect();
        let found = self.ctx.locks().list(scope, &Page::default()).await.expect("is listed").items;
        let found: Vec<_> = found.iter().map(|l| (&l.key, l.fence, Some(&l.holder))).collect();
        let expected: Vec<_> =
            live.iter().map(|(key, held)| (*key, held.fence, held.holder.as_ref())).collect();
        assert_eq!(found, expected, "{what}");
        for key in ["a", "b", "c"] {
            let found = self.ctx.locks().get(scope, key).await.expect("is read");
            let expected = live.iter().find(|(live, _)| *live == key).map(|(_, held)| held.fence);
            assert_eq!(found.map(|lease| lease.fence), expected, "{what}: {key}");
        }
    }
}

fn near(found: DateTime<Utc>, expected: DateTime<Utc>) -> bool {
    (found - expected).abs() < SLACK
}

#[track_caller]
fn same(lease: &Lease, held: &Held, since: DateTime<Utc>, what: &str) {
    assert_eq!((Some(&lease.holder), lease.fence), (held.holder.as_ref(), held.fence), "{what}");
    assert!(near(lease.expires_at, held.expires_at), "{what}: {lease:?}, expected {held:?}");
    assert!(near(lease.acquired_at, since), "{what}: {lease:?}, held since {since}");
}
