//! Which checkpoints a list shows: by thread, by run, and by what their metadata says, compared
//! by type: 10 is above 9, and `"10"` is no number.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::put::CheckpointId;
use super::thread;
use crate::error::{Error, Result};
use crate::limits;

/// How a field of the metadata compares with the value given.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Compare {
    /// The same value; numbers by what they are, 1 and 1.0 alike.
    Equal,
    /// Another value, or none.
    NotEqual,
    /// A smaller one of the same type: numbers, texts.
    Below,
    /// Smaller or the same.
    AtMost,
    /// A larger one of the same type.
    Above,
    /// Larger or the same.
    AtLeast,
}

/// A condition on one field of the metadata.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// The field: a key of the metadata object.
    pub field: String,
    /// How it compares.
    pub compare: Compare,
    /// With what.
    pub value: Value,
}

impl Condition {
    /// The field has this value.
    pub fn equal(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self { field: field.into(), compare: Compare::Equal, value: value.into() }
    }

    /// Whether metadata meets it.
    pub fn met(&self, metadata: &Value) -> bool {
        let found = metadata.get(&self.field);
        let same = found.is_some_and(|found| equal(found, &self.value));
        let order = found.and_then(|found| order(found, &self.value));
        match self.compare {
            Compare::Equal => same,
            Compare::NotEqual => !same,
            Compare::Below => order == Some(Ordering::Less),
            Compare::AtMost => order.is_some_and(Ordering::is_le),
            Compare::Above => order == Some(Ordering::Greater),
            Compare::AtLeast => order.is_some_and(Ordering::is_ge),
        }
    }
}

fn equal(one: &Value, other: &Value) -> bool {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => numbers(one, other) == Some(Ordering::Equal),
        (Value::Array(one), Value::Array(other)) => {
            one.len() == other.len() && one.iter().zip(other).all(|(one, other)| equal(one, other))
        }
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len()
                && one
                    .iter()
                    .all(|(key, one)| other.get(key).is_some_and(|other| equal(one, other)))
        }
        _ => one == other,
    }
}

/// Values of one type in order; others have none.
fn order(one: &Value, other: &Value) -> Option<Ordering> {
    match (one, other) {
        (Value::Number(one), Value::Number(other)) => numbers(one, other),
        (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
        _ => None,
    }
}

fn numbers(one: &Number, other: &Number) -> Option<Ordering> {
    let whole = |number: &Number| {
        number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))
    };
    match (whole(one), whole(other)) {
        (Some(one), Some(other)) => Some(one.cmp(&other)),
        _ => one.as_f64()?.partial_cmp(&other.as_f64()?),
    }
}

/// Which checkpoints to list; every part given must hold.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CheckpointFilter {
    /// Those of this thread.
    pub thread_id: Option<String>,
    /// Those of this namespace; `''`: of threads themselves.
    pub namespace: Option<String>,
    /// Those of this run.
    pub run: Option<String>,
    /// Those with an id below this one.
    pub before: Option<CheckpointId>,
    /// Those whose metadata meets every condition.
    pub metadata: Vec<Condition>,
}

impl CheckpointFilter {
    /// Every checkpoint of a thread and its namespaces.
    pub fn of(thread_id: impl Into<String>) -> Self {
        Self { thread_id: Some(thread_id.into()), ..Self::default() }
    }

    /// The same under one more condition.
    #[must_use]
    pub fn with(mut self, condition: Condition) -> Self {
        self.metadata.push(condition);
        self
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field and the limit.
    pub fn check(&self) -> Result<()> {
        if let Some(thread_id) = &self.thread_id {
            thread::check_id(thread_id)?;
        }
        if let Some(namespace) = &self.namespace {
            limits::label("namespace", namespace, limits::THREAD_BYTES)?;
        }
        if let Some(run) = &self.run {
            limits::name("run", run, limits::SCOPE_NAME_BYTES)?;
        }
        if let Some(before) = &self.before {
            before.check("before")?;
        }
        limits::count("metadata", self.metadata.len(), limits::CONDITIONS_MAX)?;
        for condition in &self.metadata {
            limits::name("metadata.field", &condition.field, limits::LABEL_BYTES)?;
            limits::json("metadata.value", &condition.value, limits::METADATA_BYTES)?;
            let ordered = matches!(condition.value, Value::Number(_) | Value::String(_));
            let asks_order = !matches!(condition.compare, Compare::Equal | Compare::NotEqual);
            if asks_order && !ordered {
                return Err(Error::invalid(
                    "metadata.value",
                    "has no order; a number or a text has",
                ));
            }
        }
        Ok(())
    }

    /// Whether metadata meets every condition.
    pub fn met(&self, metadata: &Value) -> bool {
        self.metadata.iter().all(|condition| condition.met(metadata))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "reads better")]
    fn met(found: Value, compare: Compare, value: Value) -> bool {
        Condition { field: "n".into(), compare, value }.met(&json!({ "n": found }))
    }

    #[test]
    fn values_compare_by_type() {
        assert!(met(json!(10), Compare::Above, json!(9)));
        assert!(!met(json!("10"), Compare::Above, json!("9")));
        assert!(!met(json!("10"), Compare::Above, json!(9)));
        assert!(met(json!(1), Compare::Equal, json!(1.0)));
        assert!(met(json!(u64::MAX), Compare::Above, json!(i64::MAX)));
        assert!(met(json!(2.5), Compare::Below, json!(3)));
        assert!(met(json!({ "a": [1] }), Compare::Equal, json!({ "a": [1.0] })));
        assert!(!met(json!(null), Compare::Below, json!(1)));
        assert!(!met(json!(true), Compare::Equal, json!(1)));
    }

    #[test]
    fn a_missing_field_is_not_equal_and_in_no_order() {
        let missing = |compare| {
            Condition { field: "x".into(), compare, value: json!(1) }.met(&json!({ "n": 1 }))
        };

        assert!(missing(Compare::NotEqual));
        assert!(
            !missing(Compare::Equal) && !missing(Compare::AtMost) && !missing(Compare::AtLeast)
        );
    }

    #[test]
    fn what_has_no_order_is_not_asked_for_one() {
        let condition = Condition { compare: Compare::Above, ..Condition::equal("n", json!([])) };

        assert!(CheckpointFilter::default().with(condition).check().is_err());
    }
}
