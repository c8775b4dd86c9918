//! What is appended, and the decision of an append: which versions its events get.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::{Error, Result};
use crate::ids::EventId;
use crate::limits;

/// An event to append.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEvent {
    /// The caller's id, so that appending it again is the first time.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub id: Option<EventId>,
    /// What happened.
    pub kind: String,
    /// The details.
    #[serde(default)]
    pub data: Value,
    /// What it belongs to.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub correlation_id: Option<String>,
    /// When it happened; the time it is recorded otherwise.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub occurred_at: Option<DateTime<Utc>>,
}

impl NewEvent {
    /// An event of a kind.
    pub fn new(kind: impl Into<String>, data: Value) -> Self {
        Self { id: None, kind: kind.into(), data, correlation_id: None, occurred_at: None }
    }
}

/// Events to append to one stream, together.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Append {
    /// Where.
    #[doc(alias = "job_id")]
    pub stream: String,
    /// What, in order.
    pub events: Vec<NewEvent>,
    /// The version the stream must stand at: 0 for a new one. Not asked when every event of the
    /// append is known already: that is a repeat.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub expected_version: Option<i64>,
}

impl Append {
    /// Checks every field. The streams whose name begins with `mnemon.` are Mnemon's own.
    ///
    /// # Errors
    ///
    /// [`crate::Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        check_stream(&self.stream)?;
        check_events(self.events.iter(), limits::EVENT_BATCH)
    }
}

/// Checks the events of one append together.
fn check_events<'a>(
    events: impl ExactSizeIterator<Item = &'a NewEvent>,
    most: usize,
) -> Result<()> {
    if events.len() == 0 {
        return Err(Error::invalid("events", "is empty"));
    }
    limits::count("events", events.len(), most)?;
    let mut bytes = 0;
    let mut ids = std::collections::BTreeSet::new();
    for (at, event) in events.enumerate() {
        bytes += event.check().map_err(|error| match error {
            Error::Invalid { field, reason } => {
                Error::invalid(format!("events[{at}].{field}"), reason)
            }
            other => other,
        })?;
        if event.id.is_some_and(|id| !ids.insert(id)) {
            return Err(Error::invalid(format!("events[{at}].id"), "is given twice"));
        }
    }
    if bytes > limits::APPEND_BYTES {
        let reason = format!("are {bytes} bytes of JSON; the limit is {}", limits::APPEND_BYTES);
        return Err(Error::invalid("events", reason));
    }
    Ok(())
}

/// Appends that passed their checks, and what became of those that did not.
#[derive(Debug)]
pub struct Checked {
    /// Those to do, in the order given.
    pub good: Vec<Append>,
    /// The others.
    pub bad: Refused,
}

/// Per append that was given: why it was refused, if it was.
#[derive(Debug)]
pub struct Refused(Vec<Option<Error>>);

impl Checked {
    /// Checks every append alone, and all of them together.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for more than [`limits::APPENDS`] appends, [`limits::EVENT_BATCH`]
    /// events or [`limits::APPEND_BYTES`] of payload together.
    pub fn of(appends: Vec<Append>) -> Result<Self> {
        limits::count("appends", appends.len(), limits::APPENDS)?;
        let events: usize = appends.iter().map(|append| append.events.len()).sum();
        limits::count("appends", events, limits::EVENT_BATCH)?;
        let (mut good, mut bad) = (Vec::with_capacity(appends.len()), Vec::new());
        for append in appends {
            let refused = append.check().err();
            if refused.is_none() {
                good.push(append);
            }
            bad.push(refused);
        }
        Ok(Self { good, bad: Refused(bad) })
    }
}

impl Refused {
    /// Puts the outcomes of the good ones into their places.
    pub fn merge(self, done: Vec<Result<Appended>>) -> Vec<Result<Appended>> {
        let mut done = done.into_iter();
        let missing = || Err(Error::corrupt("an append", "has no outcome"));
        let outcome = |refused: Option<Error>| match refused {
            Some(error) => Err(error),
            None => done.next().unwrap_or_else(missing),
        };
        self.0.into_iter().map(outcome).collect()
    }
}

/// An event with the time at which it was recorded elsewhere.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Imported {
    /// The event.
    pub event: NewEvent,
    /// When it was recorded; it counts as when it happened unless the event says.
    pub recorded_at: DateTime<Utc>,
}

/// Events recorded elsewhere, for one stream.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// Where.
    pub stream: String,
    /// What, in order.
    pub events: Vec<Imported>,
}

impl Import {
    /// Checks every field; the times are also checked against each other.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        check_stream(&self.stream)?;
        check_events(self.events.iter().map(|imported| &imported.event), limits::IMPORT_BATCH)?;
        let back =
            self.events.windows(2).position(|pair| pair[1].recorded_at < pair[0].recorded_at);
        match back {
            Some(at) => {
                let field = format!("events[{}].recorded_at", at + 1);
                Err(Error::invalid(field, "is before the one before it"))
            }
            None => Ok(()),
        }
    }

    /// Checks the times against the clock and the stream's newest event.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for a time before `last` or after `now`.
    pub fn check_times(&self, last: Option<DateTime<Utc>>, now: DateTime<Utc>) -> Result<()> {
        let (first, newest) = (self.events.first(), self.events.last());
        if first.is_some_and(|first| now - first.recorded_at > limits::IMPORT_AGE) {
            let days = limits::IMPORT_AGE.num_days();
            let reason = format!("is further back than {days} days");
            return Err(Error::invalid("events[0].recorded_at", reason));
        }
        if let (Some(first), Some(last)) = (first, last)
            && first.recorded_at < last
        {
            let reason = format!("is before the stream's newest event, recorded at {last}");
            return Err(Error::invalid("events[0].recorded_at", reason));
        }
        if newest.is_some_and(|newest| newest.recorded_at > now) {
            let field = format!("events[{}].recorded_at", self.events.len() - 1);
            return Err(Error::invalid(field, "is in the future"));
        }
        Ok(())
    }

    /// The same as an append, and the times in the same order.
    pub fn into_append(self) -> (Append, Vec<DateTime<Utc>>) {
        let times = self.events.iter().map(|imported| imported.recorded_at).collect();
        let events = self.events.into_iter().map(|imported| imported.event).collect();
        (Append { stream: self.stream, events, expected_version: None }, times)
    }
}

/// Checks a stream's name that a caller writes to. Those that begin with `mnemon.` are Mnemon's own.
fn check_stream(stream: &str) -> Result<()> {
    limits::name("stream", stream, limits::STREAM_BYTES)?;
    if stream.starts_with("mnemon.") {
        return Err(Error::invalid("stream", "begins with mnemon., which is reserved"));
    }
    Ok(())
}

/// Where an event stands that a store found by its id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    /// Its stream.
    pub stream: String,
    /// Its version there.
    pub version: i64,
}

/// Decides an append to a stream that stands at `head` (0: there is none yet): the version of
/// each event. `known` says, in the order of the events, which ids were found; the others are
/// new and follow the head. Versions above `head` are to be written.
///
/// # Errors
///
/// [`Error::AlreadyExists`] for an id of another stream; [`Error::Conflict`] when something is to
/// be written and the stream does not stand at the expected version.
pub fn place(append: &Append, head: i64, known: &[Option<Known>]) -> Result<Appended> {
    let mut stream_version = head;
    let mut versions = Vec::with_capacity(append.events.len());
    for (at, event) in append.events.iter().enumerate() {
        match known.get(at).and_then(Option::as_ref) {
            Some(known) if known.stream == append.stream => versions.push(known.version),
            Some(_) => {
                let key = event.id.map_or_else(String::new, |id| id.to_string());
                return Err(Error::AlreadyExists { kind: "event", key });
            }
            None => {
                stream_version += 1;
                versions.push(stream_version);
            }
        }
    }
    match append.expected_version {
        Some(expected) if expected != head && stream_version > head => Err(Error::Conflict {
            kind: "stream",
            key: append.stream.clone(),
            expected: Some(expected),
            actual: Some(head),
        }),
        _ => Ok(Appended { versions, stream_version }),
    }
}

impl NewEvent {
    /// Checks every field; the bytes of its data.
    fn check(&self) -> Result<usize> {
        limits::name("kind", &self.kind, limits::LABEL_BYTES)?;
        let bytes = limits::json_bytes("data", &self.data, limits::EVENT_BYTES)?;
        if let Some(id) = &self.correlation_id {
            limits::name("correlation_id", id, limits::LABEL_BYTES)?;
        }
        Ok(bytes)
    }
}

/// What an append did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Appended {
    /// The version of each event, in the order given; for an id known before, its first one.
    pub versions: Vec<i64>,
    /// The version the stream stands at.
    pub stream_version: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(events: usize, expected_version: Option<i64>) -> Append {
        let events = (0..events).map(|_| NewEvent::new("k", Value::Null)).collect();
        Append { stream: "s".into(), events, expected_version }
    }

    fn known(stream: &str, version: i64) -> Known {
        Known { stream: stream.into(), version }
    }

    #[test]
    fn new_events_follow_the_head_and_known_ones_keep_their_version() {
        let placed = place(&append(3, None), 7, &[None, Some(known("s", 2)), None]).unwrap();

        assert_eq!(placed, Appended { versions: vec![8, 2, 9], stream_version: 9 });
    }

    #[test]
    fn a_repeat_of_known_events_is_no_conflict() {
        let all_known = [Some(known("s", 1)), Some(known("s", 2))];

        assert_eq!(place(&append(2, Some(0)), 5, &all_known).unwrap().versions, [1, 2]);
        assert!(matches!(
            place(&append(2, Some(0)), 5, &[Some(known("s", 1)), None]),
            Err(Error::Conflict { expected: Some(0), actual: Some(5), .. })
        ));
    }

    #[test]
    fn an_id_of_another_stream_already_exists() {
        let outcome = place(&append(1, None), 0, &[Some(known("other", 1))]);

        assert!(matches!(outcome, Err(Error::AlreadyExists { kind: "event", .. })));
    }

    #[test]
    fn an_id_given_twice_is_refused() {
        let event = NewEvent {
            id: Some(EventId(uuid::Uuid::from_u128(7))),
            ..NewEvent::new("k", Value::Null)
        };
        let append = Append { events: vec![event.clone(), event], ..append(0, None) };

        assert_eq!(append.check().unwrap_err().to_string(), "events[1].id: is given twice");
    }
}
