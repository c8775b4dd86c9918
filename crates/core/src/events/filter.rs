//! Which events somebody asks for.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::Event;
use crate::error::{Error, Result};
use crate::limits;
use crate::scope::Admitted;

/// Which events are meant; every field that is given must fit. A user or an agent in the scope
/// filters as well.
///
/// ```
/// use mnemon_core::events::EventFilter;
///
/// let failures = EventFilter::default().kind("agent.failed").stream("job-7");
/// assert_eq!(failures.kinds, ["agent.failed"]);
/// ```
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventFilter {
    /// Of this stream.
    #[doc(alias = "job_id")]
    pub stream: Option<String>,
    /// Of any of these kinds; empty: of all.
    #[doc(alias = "event_type")]
    pub kinds: Vec<String>,
    /// Belonging to this.
    pub correlation_id: Option<String>,
    /// Written by this agent.
    pub agent: Option<String>,
    /// Written for this user.
    pub user: Option<String>,
    /// Recorded at this time or later.
    #[doc(alias = "after")]
    pub from: Option<DateTime<Utc>>,
    /// Recorded before this time.
    #[doc(alias = "before")]
    pub to: Option<DateTime<Utc>>,
}

impl EventFilter {
    /// Of a stream.
    #[must_use]
    pub fn stream(mut self, stream: impl Into<String>) -> Self {
        self.stream = Some(stream.into());
        self
    }

    /// Of this kind too.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> Self {
        self.kinds.push(kind.into());
        self
    }

    /// Belonging to this.
    #[must_use]
    pub fn correlation(mut self, id: impl Into<String>) -> Self {
        self.correlation_id = Some(id.into());
        self
    }

    /// By an agent.
    #[must_use]
    pub fn agent(mut self, agent: impl Into<String>) -> Self {
        self.agent = Some(agent.into());
        self
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        let optional = |field, text: &Option<String>, max| {
            text.as_ref().map_or(Ok(()), |text| limits::name(field, text, max))
        };
        optional("filter.stream", &self.stream, limits::STREAM_BYTES)?;
        limits::count("filter.kinds", self.kinds.len(), limits::EVENT_KINDS)?;
        for kind in &self.kinds {
            limits::name("filter.kinds", kind, limits::LABEL_BYTES)?;
        }
        optional("filter.correlation_id", &self.correlation_id, limits::LABEL_BYTES)?;
        optional("filter.agent", &self.agent, limits::SCOPE_NAME_BYTES)?;
        optional("filter.user", &self.user, limits::SCOPE_NAME_BYTES)?;
        match (self.from, self.to) {
            (Some(from), Some(to)) if to < from => {
                Err(Error::invalid("filter.to", "is before filter.from"))
            }
            _ => Ok(()),
        }
    }

    /// Whether an event of the scope's tenant is meant and the scope sees it: what the stores say
    /// in SQL.
    pub fn admits(&self, scope: &Admitted<'_>, event: &Event) -> bool {
        fn given<T: AsRef<str>>(wanted: Option<&T>, found: Option<&str>) -> bool {
            wanted.is_none_or(|wanted| found == Some(wanted.as_ref()))
        }
        given(scope.user.as_ref(), event.user.as_deref())
            && given(scope.agent.as_ref(), event.agent.as_deref())
            && given(self.user.as_ref(), event.user.as_deref())
            && given(self.agent.as_ref(), event.agent.as_deref())
            && given(self.stream.as_ref(), Some(&event.stream))
            && given(self.correlation_id.as_ref(), event.correlation_id.as_deref())
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind))
            && self.from.is_none_or(|from| event.recorded_at >= from)
            && self.to.is_none_or(|to| event.recorded_at < to)
    }
}
