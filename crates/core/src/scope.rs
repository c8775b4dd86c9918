//! Who is asking: the first argument of every facet call, and what each facet makes of it.
//!
//! A facet's table ([`Facet::rule`]) says for every part whether it is a *key* (required, part of
//! the primary key), the *owner* (a scope with a user sees its own rows and unowned ones; a scope
//! without a user is tenant-wide), a *filter* (applied when given) or only *noted*. A missing or
//! blank key part fails closed with [`Error::ScopeRequired`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::limits;

/// A facet of Mnemon.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Facet {
    /// Free-text memories.
    Memories,
    /// Bitemporal claims.
    Claims,
    /// Conversation turns.
    Turns,
    /// Thread checkpoints.
    Checkpoints,
    /// The event log.
    Events,
    /// Workflow runs.
    Workflows,
    /// Failed items.
    DeadLetters,
    /// Fenced leases.
    Locks,
}

/// What a facet makes of one part of a scope.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// Required; part of the primary key.
    Key,
    /// Recorded at creation; decides visibility.
    Owner,
    /// Applied when given: only rows with the same value, not those without one.
    Filter,
    /// Stored; never decides visibility.
    Noted,
    /// Not stored.
    Unused,
}

/// One row of the scope table: what a facet makes of every part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rule {
    /// The user.
    pub user: Part,
    /// The agent.
    pub agent: Part,
    /// The session.
    pub session: Part,
    /// The run.
    pub run: Part,
}

impl Facet {
    /// Every facet, in the order of the documentation.
    pub const ALL: [Self; 8] = [
        Self::Memories,
        Self::Claims,
        Self::Turns,
        Self::Checkpoints,
        Self::Events,
        Self::Workflows,
        Self::DeadLetters,
        Self::Locks,
    ];

    /// The facet's row of the scope table. The tenant is a key everywhere.
    pub const fn rule(self) -> Rule {
        use Part::{Filter, Key, Noted, Owner, Unused};
        let (user, agent, session, run) = match self {
            Self::Memories => (Owner, Filter, Noted, Noted),
            Self::Claims => (Noted, Key, Noted, Noted),
            Self::Turns => (Key, Noted, Key, Noted),
            Self::Checkpoints => (Owner, Noted, Noted, Noted),
            Self::Events | Self::Workflows | Self::DeadLetters => (Filter, Filter, Noted, Noted),
            Self::Locks => (Noted, Noted, Unused, Unused),
        };
        Rule { user, agent, session, run }
    }

    /// The facet's name: plural, as in the library and the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memories => "memories",
            Self::Claims => "claims",
            Self::Turns => "turns",
            Self::Checkpoints => "checkpoints",
            Self::Events => "events",
            Self::Workflows => "workflows",
            Self::DeadLetters => "dead_letters",
            Self::Locks => "locks",
        }
    }
}

impl fmt::Display for Facet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Who is asking. Blank parts count as missing.
///
/// ```
/// use mnemon_core::Scope;
///
/// let scope = Scope::tenant("acme").user("ada").agent("planner").group("research");
/// assert_eq!(scope.user.as_deref(), Some("ada"));
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scope {
    /// Whose installation: nothing crosses it.
    pub tenant: String,
    /// The person.
    pub user: Option<String>,
    /// The agent that acts.
    pub agent: Option<String>,
    /// The conversation.
    pub session: Option<String>,
    /// The run.
    pub run: Option<String>,
    /// Groups the caller belongs to: what is shared with them is visible.
    pub groups: Vec<String>,
}

impl Scope {
    /// The tenant of an embedded, single-person installation.
    pub const LOCAL_TENANT: &'static str = "local";

    /// A tenant-wide scope.
    pub fn tenant(tenant: impl Into<String>) -> Self {
        Self { tenant: tenant.into(), ..Self::default() }
    }

    /// The scope of an embedded, single-person installation.
    pub fn local() -> Self {
        Self::tenant(Self::LOCAL_TENANT)
    }

    /// The same scope for a user.
    #[must_use]
    pub fn user(mut self, user: impl Into<String>) -> Self {
        self.user = Some(user.into());
        self
    }

    /// The same scope for an agent.
    #[must_use]
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = Some(agent.into());
        self
    }

    /// The same scope in a session.
    #[must_use]
    pub fn session(mut self, session: impl Into<String>) -> Self {
        self.session = Some(session.into());
        self
    }

    /// The same scope in a run.
    #[must_use]
    pub fn run(mut self, run: impl Into<String>) -> Self {
        self.run = Some(run.into());
        self
    }

    /// The same scope as a member of a group.
    #[must_use]
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.groups.push(group.into());
        self
    }

    /// Checks the scope for a facet and hands out its parts, with blank ones as missing.
    ///
    /// # Errors
    ///
    /// [`Error::ScopeRequired`] when a key part is missing or blank; [`Error::Invalid`] when a
    /// part is over its limit or holds a NUL.
    pub fn admit(&self, facet: Facet) -> Result<Admitted<'_>> {
        self.admit_by(facet, facet.rule())
    }

    /// As [`Scope::admit`], for the verbs that concern a person and not one of their sessions: a
    /// missing session is no error.
    ///
    /// # Errors
    ///
    /// As [`Scope::admit`].
    pub fn admit_person(&self, facet: Facet) -> Result<Admitted<'_>> {
        self.admit_by(facet, Rule { session: Part::Noted, ..facet.rule() })
    }

    fn admit_by(&self, facet: Facet, rule: Rule) -> Result<Admitted<'_>> {
        let admitted = Admitted {
            tenant: part("scope.tenant", Some(&self.tenant))?.unwrap_or_default(),
            user: part("scope.user", self.user.as_deref())?,
            agent: part("scope.agent", self.agent.as_deref())?,
            session: part("scope.session", self.session.as_deref())?,
            run: part("scope.run", self.run.as_deref())?,
            groups: &self.groups,
        };
        let missing = |missing| Err(Error::ScopeRequired { facet, missing });
        if admitted.tenant.is_empty() {
            return missing("tenant");
        }
        for (name, rule, found) in [
            ("user", rule.user, admitted.user),
            ("agent", rule.agent, admitted.agent),
            ("session", rule.session, admitted.session),
            ("run", rule.run, admitted.run),
        ] {
            if rule == Part::Key && found.is_none() {
                return missing(name);
            }
        }
        limits::count("scope.groups", self.groups.len(), limits::SCOPE_GROUPS)?;
        for group in &self.groups {
            limits::name("scope.groups", group, limits::SCOPE_NAME_BYTES)?;
        }
        Ok(admitted)
    }
}

/// A scope that was checked for a facet; what stores work with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Admitted<'a> {
    /// The tenant: never blank.
    pub tenant: &'a str,
    /// The user, if given.
    pub user: Option<&'a str>,
    /// The agent, if given.
    pub agent: Option<&'a str>,
    /// The session, if given.
    pub session: Option<&'a str>,
    /// The run, if given.
    pub run: Option<&'a str>,
    /// The caller's groups.
    pub groups: &'a [String],
}

fn part<'a>(field: &'static str, text: Option<&'a str>) -> Result<Option<&'a str>> {
    let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
        return Ok(None);
    };
    limits::label(field, text, limits::SCOPE_NAME_BYTES)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blank_tenant_fails_closed_in_every_facet() {
        for facet in Facet::ALL {
            let error = Scope::tenant(" \t").admit(facet).unwrap_err();

            assert!(matches!(error, Error::ScopeRequired { missing: "tenant", .. }), "{facet}");
        }
    }

    #[test]
    fn a_missing_key_part_is_named() {
        let error = Scope::tenant("t").user("u").admit(Facet::Turns).unwrap_err();

        assert_eq!(error.to_string(), "turns needs a scope with session");
    }

    #[test]
    fn an_over_long_part_names_its_limit() {
        let scope = Scope::tenant("t".repeat(limits::SCOPE_NAME_BYTES + 1));

        let error = scope.admit(Facet::Memories).unwrap_err();

        assert_eq!(error.to_string(), "scope.tenant: is 257 bytes; the limit is 256");
    }
}
