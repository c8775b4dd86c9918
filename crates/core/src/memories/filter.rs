//! Which memories a list or a recall considers.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Number, Value};

use super::Namespace;
use crate::error::{Error, Result};
use crate::limits;

/// Which memories a list or a recall considers. Empty fields do not filter; all of those given
/// must hold, and they hold before any limit.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MemoryFilter {
    /// This namespace and those below it: `work` finds `work/plans`, not `workshop`.
    pub namespace: Option<Namespace>,
    /// Any of these domains.
    pub domains: Vec<String>,
    /// Any of these tags.
    pub tags: Vec<String>,
    /// Any of these node types.
    pub node_types: Vec<String>,
    /// All of these tests of the caller's metadata.
    pub metadata: Vec<MetadataTest>,
    /// Created at or after.
    pub created_from: Option<DateTime<Utc>>,
    /// Created before.
    pub created_to: Option<DateTime<Utc>>,
    /// Not over at this time: `valid_until` is after it, or open.
    pub valid_from: Option<DateTime<Utc>>,
    /// Begun before this time: `valid_from` is before it, or open.
    pub valid_to: Option<DateTime<Utc>>,
    /// As things stood then: created by then and true then; retrievability is taken at that time.
    pub as_of: Option<DateTime<Utc>>,
    /// The least retrievability, 0 to 1. A memory that was never reviewed is new and counts as 1.
    pub min_retrievability: Option<f64>,
}

impl MemoryFilter {
    /// Whether it asks for labels whose words an index knows.
    pub fn has_labels(&self) -> bool {
        !self.tags.is_empty() || !self.node_types.is_empty()
    }

    /// Checks every field against its limit.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] naming the field.
    pub fn check(&self) -> Result<()> {
        labels("filter.domains", &self.domains, limits::DOMAINS_MAX, limits::LABEL_BYTES)?;
        labels("filter.tags", &self.tags, limits::TAGS_MAX, limits::LABEL_BYTES)?;
        labels("filter.node_types", &self.node_types, limits::TAGS_MAX, limits::NODE_TYPE_BYTES)?;
        limits::count("filter.metadata", self.metadata.len(), limits::METADATA_TESTS)?;
        self.metadata.iter().try_for_each(MetadataTest::check)?;
        range("filter.created_to", "created_from", self.created_from, self.created_to)?;
        range("filter.valid_to", "valid_from", self.valid_from, self.valid_to)?;
        if self.min_retrievability.is_some_and(|least| !(0.0..=1.0).contains(&least)) {
            return Err(Error::invalid("filter.min_retrievability", "is not between 0 and 1"));
        }
        Ok(())
    }
}

fn labels(field: &'static str, texts: &[String], most: usize, bytes: usize) -> Result<()> {
    limits::count(field, texts.len(), most)?;
    texts.iter().try_for_each(|text| limits::name(field, text, bytes))
}

fn range(
    field: &'static str,
    start: &str,
    from: Option<DateTime<Utc>>,
    to: Option<DateTime<Utc>>,
) -> Result<()> {
    match (from, to) {
        (Some(from), Some(to)) if from >= to => {
            Err(Error::invalid(field, format!("is not after {start}")))
        }
        _ => Ok(()),
    }
}

/// How a value in the metadata is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Comparison {
    /// Equal.
    Eq,
    /// Not equal, or not there.
    Ne,
    /// Greater.
    Gt,
    /// Greater or equal.
    Gte,
    /// Less.
    Lt,
    /// Less or equal.
    Lte,
    /// Equal to one of a list.
    In,
}

/// A test of one key of the metadata. Values are compared by their types: numbers as numbers
/// (10 is greater than 9, and equal to 10.0), texts by code point; values of different types are
/// neither equal nor in any order.
///
/// ```
/// use mnemon_core::memories::{Comparison, MetadataTest};
/// use serde_json::json;
///
/// let test = MetadataTest::new("priority", Comparison::Gt, 9);
/// assert!(test.passes(&json!({ "priority": 10 })));
/// assert!(!test.passes(&json!({ "priority": "10" })));
/// assert!(!test.passes(&json!({})));
/// ```
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetadataTest {
    /// A key of the metadata object.
    pub key: String,
    /// How it is compared.
    #[serde(rename = "op")]
    pub comparison: Comparison,
    /// With what: a text, a number, a boolean or null; for [`Comparison::In`] a list of them.
    pub value: Value,
}

impl MetadataTest {
    /// A test.
    pub fn new(key: impl Into<String>, comparison: Comparison, value: impl Into<Value>) -> Self {
        Self { key: key.into(), comparison, value: value.into() }
    }

    /// Whether an object passes.
    pub fn passes(&self, metadata: &Value) -> bool {
        let found = metadata.get(&self.key);
        let ordered = |wanted: fn(Ordering) -> bool| {
            found.and_then(|found| order(found, &self.value)).is_some_and(wanted)
        };
        let is = |value: &Value| found.is_some_and(|found| same(found, value));
        match self.comparison {
            Comparison::Eq => is(&self.value),
            Comparison::Ne => !is(&self.value),
            Comparison::Gt => ordered(Ordering::is_gt),
            Comparison::Gte => ordered(Ordering::is_ge),
            Comparison::Lt => ordered(Ordering::is_lt),
            Comparison::Lte => ordered(Ordering::is_le),
            Comparison::In => self.value.as_array().is_some_and(|list| list.iter().any(is)),
        }
    }

    fn check(&self) -> Result<()> {
        const FIELD: &str = "filter.metadata";
        limits::name(FIELD, &self.key, limits::LABEL_BYTES)?;
        limits::json(FIELD, &self.value, limits::METADATA_BYTES)?;
        match (self.comparison, &self.value) {
            (Comparison::In, Value::Array(list)) => {
                limits::count(FIELD, list.len(), limits::METADATA_IN)?;
                if list.iter().any(|value| value.is_array() || value.is_object()) {
                    return Err(Error::invalid(FIELD, "`in` takes a list of plain values"));
                }
                Ok(())
            }
            (Comparison::In, _) => Err(Error::invalid(FIELD, "`in` takes a list")),
            (_, Value::Array(_) | Value::Object(_)) => {
                Err(Error::invalid(FIELD, "compares with a plain value, not a list or an object"))
            }
            (Comparison::Eq | Comparison::Ne, _) | (_, Value::Number(_) | Value::String(_)) => {
                Ok(())
            }
            _ => Err(Error::invalid(FIELD, "only numbers and texts have an order")),
        }
    }
}

fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(_) | Value::String(_), _) => order(a, b) == Some(Ordering::Equal),
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Null, Value::Null) => true,
        _ => false,
    }
}

fn order(a: &Value, b: &Value) -> Option<Ordering> {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => numbers(a, b),
        (Value::String(a), Value::String(b)) => Some(a.as_bytes().cmp(b.as_bytes())),
        _ => None,
    }
}

fn numbers(a: &Number, b: &Number) -> Option<Ordering> {
    match (a.as_i128(), b.as_i128()) {
        (Some(a), Some(b)) => Some(a.cmp(&b)),
        _ => a.as_f64()?.partial_cmp(&b.as_f64()?),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_compared_by_their_types() {
        use Comparison::{Eq, Gt, Gte, In, Lt, Lte, Ne};
        for (comparison, value, passes) in [
            (Eq, json!(10), true),
            (Eq, json!(10.0), true),
            (Eq, json!("10"), false),
            (Ne, json!(10), false),
            (Ne, json!("10"), true),
            (Gt, json!(9), true),
            (Gt, json!("9"), false),
            (Gte, json!(10), true),
            (Lt, json!(9), false),
            (Lt, json!(10.5), true),
            (Lte, json!(10), true),
            (In, json!([1, 10]), true),
            (In, json!(["10"]), false),
            (In, json!([]), false),
        ] {
            let test = MetadataTest::new("n", comparison, value);
            assert_eq!(test.passes(&json!({ "n": 10 })), passes, "{test:?}");
        }
    }

    #[test]
    fn what_is_not_there_is_only_unequal() {
        for (comparison, passes) in [
            (Comparison::Eq, false),
            (Comparison::Ne, true),
            (Comparison::Lt, false),
            (Comparison::Gte, false),
        ] {
            assert_eq!(MetadataTest::new("n", comparison, 1).passes(&json!({})), passes);
        }
    }
}
