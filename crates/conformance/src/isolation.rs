//! The isolation matrix, generated from the scope table ([`Facet::rule`]).
//!
//! Real rows are written from every scope through every write verb; then every other verb is
//! tried from every scope, and what it shows is compared with what [`model::sees`] computes from
//! the table. A facet joins by a [`Probe`] in [`probes`]; until then it stands in [`NOT_BUILT`],
//! and a case fails when a facet is in neither.

mod checkpoints;
mod claims;
mod dead_letters;
mod events;
mod locks;
mod memories;
mod turns;
mod workflows;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use mnemon_core::scope::{Part, Rule};
use mnemon_core::{Error, Facet, Result, Scope, Store};

use crate::case::Case;
use crate::check::model as test_model;
use crate::ctx::{Ctx, Setup};
use crate::model::{self, Sharing};

/// Facets without a trait yet.
const NOT_BUILT: [Facet; 0] = [];

/// How the matrix writes and asks one facet.
#[async_trait]
pub(crate) trait Probe: Send + Sync {
    fn facet(&self) -> Facet;

    /// Whether rows can be shared beyond their owner.
    fn shares(&self) -> bool;

    /// Verbs that write a row.
    fn writes(&self) -> &'static [&'static str];

    /// Verbs that show rows.
    fn reads(&self) -> &'static [&'static str];

    /// Verbs that change or delete one row, which then is gone.
    fn changes(&self) -> &'static [&'static str];

    /// Verbs that change one row, which then is still there.
    fn touches(&self) -> &'static [&'static str] {
        &[]
    }

    /// Writes a row; answers the name it is asked for by.
    async fn write(&self, store: &dyn Store, verb: &str, row: &Row) -> Result<String>;

    /// Asks by a verb which of the rows a scope sees.
    async fn read(
        &self,
        store: &dyn Store,
        verb: &str,
        reader: &Scope,
        rows: &[Standing],
    ) -> Result<Seen>;

    /// Tries to change a row.
    async fn change(&self, store: &dyn Store, verb: &str, by: &Scope, row: &Standing)
    -> Result<()>;
}

/// A row to write: by whom, open to whom, and a label no other row has.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) writer: Scope,
    pub(crate) sharing: Sharing,
    pub(crate) label: String,
}

/// A row that was written.
#[derive(Clone, Debug)]
pub(crate) struct Standing {
    pub(crate) row: Row,
    pub(crate) name: String,
}

/// What a verb showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Seen {
    /// The rows' labels.
    Labels(BTreeSet<String>),
    /// How many.
    Count(usize),
}

fn probes() -> Vec<Arc<dyn Probe>> {
    vec![
        Arc::new(memories::MemoriesProbe),
        Arc::new(claims::ClaimsProbe),
        Arc::new(turns::TurnsProbe),
        Arc::new(checkpoints::CheckpointsProbe),
        Arc::new(events::EventsProbe),
        Arc::new(workflows::WorkflowsProbe),
        Arc::new(dead_letters::DeadLettersProbe),
        Arc::new(locks::LocksProbe),
    ]
}

/// Notes a row that was found by its name; what is not found is not seen.
fn noted<T>(labels: &mut BTreeSet<String>, row: &Standing, found: Result<T>) -> Result<()> {
    match found {
        Ok(_) => {
            labels.insert(row.row.label.clone());
            Ok(())
        }
        Err(Error::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

/// A case per facet and verb, with row-level security off and on.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for row_level_security in [false, true] {
        let setup = Setup { row_level_security, model: Some(test_model(2)) };
        let suite = if row_level_security { "isolation_rls" } else { "isolation" };
        for probe in probes() {
            let facet = probe.facet().name();
            for verb in probe.reads() {
                let probe = Arc::clone(&probe);
                let name = format!("{suite}::{facet}_{verb}_shows_what_the_scope_table_says");
                cases.push(Case::new(name, setup.clone(), move |ctx| {
                    let probe = Arc::clone(&probe);
                    Box::pin(async move { reads(ctx, probe.as_ref(), verb).await })
                }));
            }
            for verb in probe.changes() {
                let probe = Arc::clone(&probe);
                let name = format!("{suite}::{facet}_{verb}_reaches_what_the_scope_table_says");
                cases.push(Case::new(name, setup.clone(), move |ctx| {
                    let probe = Arc::clone(&probe);
                    Box::pin(async move { changes(ctx, probe.as_ref(), verb).await })
                }));
            }
            for verb in probe.touches() {
                let probe = Arc::clone(&probe);
                let name = format!("{suite}::{facet}_{verb}_reaches_what_the_scope_table_says");
                cases.push(Case::new(name, setup.clone(), move |ctx| {
                    let probe = Arc::clone(&probe);
                    Box::pin(async move { touches(ctx, probe.as_ref(), verb).await })
                }));
            }
            let name = format!("{suite}::{facet}_refuses_an_incomplete_scope");
            cases.push(Case::new(name, setup.clone(), move |ctx| {
                let probe = Arc::clone(&probe);
                Box::pin(async move { refuses(ctx, probe.as_ref()).await })
            }));
        }
    }
    cases.push(Case::new(
        "isolation::every_facet_is_probed_or_not_built",
        Setup::default(),
        |_| Box::pin(every_facet_is_probed_or_not_built()),
    ));
    cases
}

#[expect(clippy::unused_async, reason = "cases are async")]
async fn every_facet_is_probed_or_not_built() {
    let probed: Vec<Facet> = probes().iter().map(|probe| probe.facet()).collect();

    for facet in Facet::ALL {
        assert_ne!(
            probed.contains(&facet),
            NOT_BUILT.contains(&facet),
            "{facet} is probed or not built, one of both"
        );
    }
}

async fn reads(ctx: &Ctx, probe: &dyn Probe, verb: &str) {
    let store = ctx.store();
    let rule = probe.facet().rule();
    let rows = write_all(store.as_ref(), probe).await;

    for reader in scopes(rule, Groups::Vary) {
        let expected: BTreeSet<String> = rows
            .iter()
            .filter(|standing| {
                model::sees(rule, &reader, &standing.row.writer, &standing.row.sharing)
            })
            .map(|standing| standing.row.label.clone())
            .collect();

        let seen = probe.read(store.as_ref(), verb, &reader, &rows).await;

        match seen.unwrap_or_else(|error| panic!("{verb} by {reader:?}: {error:?}")) {
            Seen::Labels(found) => assert_eq!(found, expected, "{verb} by {reader:?}"),
            Seen::Count(found) => assert_eq!(found, expected.len(), "{verb} by {reader:?}"),
        }
    }
}

async fn changes(ctx: &Ctx, probe: &dyn Probe, verb: &str) {
    let store = ctx.store();
    let rule = probe.facet().rule();
    let rows = write_all(store.as_ref(), probe).await;
    let write = probe.writes()[0];

    for (number, reader) in scopes(rule, Groups::Vary).iter().enumerate() {
        for standing in &rows {
            if !model::owns(rule, reader, &standing.row.writer) {
                let refused = probe.change(store.as_ref(), verb, reader, standing).await;
                assert!(
                    matches!(refused, Err(Error::NotFound { .. })),
                    "{verb} by {reader:?} of {standing:?}: {refused:?}"
                );
                continue;
            }
            // One of its own for everybody who may: the standing ones stay for the others.
            let label = format!("{}x{number}", standing.row.label);
            let row = Row { label, ..standing.row.clone() };
            let name = probe.write(store.as_ref(), write, &row).await.expect("a row is written");
            let own = Standing { row, name };
            let outcome = probe.change(store.as_ref(), verb, reader, &own).await;
            assert!(outcome.is_ok(), "{verb} by {reader:?} of {own:?}: {outcome:?}");
            let again = probe.change(store.as_ref(), verb, reader, &own).await;
            assert!(matches!(again, Err(Error::NotFound { .. })), "{own:?}: {again:?}");
        }
    }
    for tenant in TENANTS {
        let service = service(rule, tenant);
        let all = rows.iter().filter(|standing| {
            model::sees(rule, &service, &standing.row.writer, &standing.row.sharing)
        });
        let labels = all.map(|standing| standing.row.label.clone()).collect();
        let left = probe.read(store.as_ref(), probe.reads()[0], &service, &rows).await;
        assert_eq!(left.expect("a service reads"), Seen::Labels(labels), "what was not reached");
    }
}

/// As [`changes`], for verbs after which the row is still there.
async fn touches(ctx: &Ctx, probe: &dyn Probe, verb: &str) {
    let store = ctx.store();
    let rule = probe.facet().rule();
    let rows = write_all(store.as_ref(), probe).await;

    for by in scopes(rule, Groups::Vary) {
        for standing in &rows {
            let outcome = probe.change(store.as_ref(), verb, &by, standing).await;
            if model::owns(rule, &by, &standing.row.writer) {
                assert!(outcome.is_ok(), "{verb} by {by:?} of {standing:?}: {outcome:?}");
            } else {
                let refused = matches!(outcome, Err(Error::NotFound { .. }));
                assert!(refused, "{verb} by {by:?} of {standing:?}: {outcome:?}");
            }
        }
    }
}

async fn refuses(ctx: &Ctx, probe: &dyn Probe) {
    let store = ctx.store();
    let rule = probe.facet().rule();
    let rows = write_all(store.as_ref(), probe).await;

    for scope in incomplete(rule) {
        assert!(!model::admitted(rule, &scope), "{scope:?} is incomplete");
        for verb in probe.reads() {
            let answer = probe.read(store.as_ref(), verb, &scope, &rows).await;
            assert!(matches!(answer, Err(Error::ScopeRequired { .. })), "{verb}: {answer:?}");
        }
        for verb in probe.changes().iter().chain(probe.touches()) {
            let answer = probe.change(store.as_ref(), verb, &scope, &rows[0]).await;
            assert!(matches!(answer, Err(Error::ScopeRequired { .. })), "{verb}: {answer:?}");
        }
        for verb in probe.writes() {
            let row = Row { writer: scope.clone(), sharing: Sharing::Tenant, label: "no".into() };
            let answer = probe.write(store.as_ref(), verb, &row).await;
            assert!(matches!(answer, Err(Error::ScopeRequired { .. })), "{verb}: {answer:?}");
        }
    }
}

/// Rows from every scope, by every write verb, private ones, shared ones and open ones.
async fn write_all(store: &dyn Store, probe: &dyn Probe) -> Vec<Standing> {
    let rule = probe.facet().rule();
    let mut rows = Vec::new();
    for verb in probe.writes() {
        for writer in scopes(rule, Groups::None) {
            for sharing in sharings(probe, &writer) {
                let label = format!("row{:03}", rows.len());
                let row = Row { writer: writer.clone(), sharing, label };
                let name = probe.write(store, verb, &row).await;
                let name = name.unwrap_or_else(|error| panic!("{verb} of {row:?}: {error:?}"));
                rows.push(Standing { row, name });
            }
        }
    }
    rows
}

fn sharings(probe: &dyn Probe, writer: &Scope) -> Vec<Sharing> {
    if !probe.shares() {
        return vec![Sharing::Owner];
    }
    let mut sharings = vec![Sharing::Groups(vec![GROUPS[0].to_owned()]), Sharing::Tenant];
    // Without an owner nothing can be private.
    if writer.user.is_some() {
        sharings.push(Sharing::Owner);
    }
    sharings
}

const TENANTS: [&str; 2] = ["acme", "globex"];
const NAMES: [Option<&str>; 3] = [None, Some("one"), Some("two")];
const GROUPS: [&str; 2] = ["red", "blue"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Groups {
    None,
    Vary,
}

/// Every complete scope: parts that decide something in all combinations, the others in turn.
/// The same names are used in both tenants, and for users and agents.
fn scopes(rule: Rule, groups: Groups) -> Vec<Scope> {
    let mut scopes = Vec::new();
    let groups: &[Option<&str>] = match groups {
        Groups::None => &[None],
        Groups::Vary => &[None, Some(GROUPS[0]), Some(GROUPS[1])],
    };
    let mut turn = NAMES.iter().cycle();
    for tenant in TENANTS {
        for user in values(rule.user) {
            for agent in values(rule.agent) {
                for session in values(rule.session) {
                    for run in values(rule.run) {
                        for group in groups {
                            let mut next = |part: Part, value: Option<&str>| {
                                let noted = matches!(part, Part::Noted | Part::Unused);
                                let value =
                                    if noted { *turn.next().expect("endless") } else { value };
                                value.map(str::to_owned)
                            };
                            scopes.push(Scope {
                                tenant: tenant.to_owned(),
                                user: next(rule.user, user),
                                agent: next(rule.agent, agent),
                                session: next(rule.session, session),
                                run: next(rule.run, run),
                                groups: group.iter().map(ToString::to_string).collect(),
                            });
                        }
                    }
                }
            }
        }
    }
    scopes
}

/// A part's values: every one where it decides, one (replaced in turn) where it does not.
fn values(part: Part) -> Vec<Option<&'static str>> {
    match part {
        Part::Key => NAMES[1..].to_vec(),
        Part::Owner | Part::Filter => NAMES.to_vec(),
        Part::Noted | Part::Unused => vec![None],
    }
}

/// A scope that sees as much of its tenant as the table lets one scope see.
fn service(rule: Rule, tenant: &str) -> Scope {
    let key = |part: Part| (part == Part::Key).then(|| "one".to_owned());
    Scope {
        tenant: tenant.to_owned(),
        user: key(rule.user),
        agent: key(rule.agent),
        session: key(rule.session),
        run: key(rule.run),
        groups: Vec::new(),
    }
}

/// Scopes without a tenant, and without each key part; missing and blank.
fn incomplete(rule: Rule) -> Vec<Scope> {
    let mut scopes = Vec::new();
    for blank in [None, Some(" \t"), Some("")] {
        let complete = service(rule, TENANTS[0]);
        let blank = || blank.map(str::to_owned);
        scopes.push(Scope { tenant: blank().unwrap_or_default(), ..complete.clone() });
        if rule.user == Part::Key {
            scopes.push(Scope { user: blank(), ..complete.clone() });
        }
        if rule.agent == Part::Key {
            scopes.push(Scope { agent: blank(), ..complete.clone() });
        }
        if rule.session == Part::Key {
            scopes.push(Scope { session: blank(), ..complete.clone() });
        }
        if rule.run == Part::Key {
            scopes.push(Scope { run: blank(), ..complete });
        }
    }
    scopes
}
